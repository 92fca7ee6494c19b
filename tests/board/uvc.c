// A USB camera of the guest, made of messages: it speaks USB/IP to the kernel's vhci_hcd over a socket pair, so that the real
// uvcvideo driver finds a UVC 1.0 camera with one MJPEG mode and a bulk endpoint. (A gadget on dummy_hcd cannot do it: the
// kernel's f_uvc streams isochronously only, and dummy_hcd fails every isochronous transfer.)
//   uvc WIDTH HEIGHT PACE PIDFILE UNPLUG FILE...
//       gives the JPEG files, one each time the process is at rest, at least PACE ms apart; unplugs itself for two seconds
//       before picture number UNPLUG (0: never); ends the process after the last one
#include "guest.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

enum { SUBMIT = 1, UNLINK = 2, SUBMITTED = 3, UNLINKED = 4 };
// A payload fills one request of the driver (32 packets of 512 bytes); the picture is cut into as many as it needs.
enum { DEVICE_ID = 0x10002, HIGH_SPEED = 3, LARGEST = 128 * 1024, PAYLOAD = 32 * 512, HEAD = 2, PENDING = 64 };

struct message {
    uint32_t command, sequence, device, in, endpoint;
    union {
        struct { uint32_t flags; int32_t length, start, packets, interval; uint8_t setup[8]; } submit;
        struct { int32_t status, length, start, packets, errors; uint32_t padding[2]; } submitted;
        struct { uint32_t sequence, padding[6]; } unlink;
        struct { int32_t status; uint32_t padding[6]; } unlinked;
    };
};

#define WORD(x) (x) & 255, (x) >> 8 & 255
#define LONG(x) WORD(x), (x) >> 16 & 255, (x) >> 24 & 255

static const uint8_t device_descriptor[] = {18, 1, WORD(0x200), 0xef, 2, 1, 64, WORD(0x1d6b), WORD(0x0102), WORD(1), 1, 2, 0, 1};
static const char *const strings[] = {"", "nformer-edge", "Emulated camera"};
static uint8_t configuration[256];
static size_t configuration_length;
// The part of probe and commit that UVC 1.0 knows.
static uint8_t probe[26];

static int wire = -1;
// Requests for picture data that wait for some, and how many bytes each takes.
static struct { uint32_t sequence; size_t length; } pending[PENDING];
static int waiting;

static void describe(int width, int height) {
    const unsigned interval = 2000000, rate = 8u * LARGEST * 5;
    const uint8_t control[] = {
        13, 0x24, 1, WORD(0x100), WORD(13 + 18 + 9), LONG(48000000u), 1, 1,
        18, 0x24, 2, 1, WORD(0x201), 0, 0, WORD(0), WORD(0), WORD(0), 3, 0, 0, 0,
        9, 0x24, 3, 3, WORD(0x101), 0, 1, 0,
    };
    const uint8_t streaming[] = {
        14, 0x24, 1, 1, WORD(14 + 11 + 30 + 6), 0x81, 0, 3, 0, 0, 0, 1, 0,
        11, 0x24, 6, 1, 1, 1, 1, 0, 0, 0, 0,
        30, 0x24, 7, 1, 0, WORD(width), WORD(height), LONG(rate), LONG(rate), LONG((unsigned)LARGEST), LONG(interval), 1, LONG(interval),
        6, 0x24, 13, 1, 1, 4,
    };
    const uint8_t head[] = {9, 2, 0, 0, 2, 1, 0, 0x80, 250, 8, 11, 0, 2, 14, 3, 0, 0, 9, 4, 0, 0, 0, 14, 1, 0, 0};
    const uint8_t interface[] = {9, 4, 1, 0, 1, 14, 2, 0, 0};
    const uint8_t endpoint[] = {7, 5, 0x81, 2, WORD(512), 0};
    const struct { const uint8_t *bytes; size_t length; } parts[] = {{head, sizeof head}, {control, sizeof control},
        {interface, sizeof interface}, {streaming, sizeof streaming}, {endpoint, sizeof endpoint}};
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) {
        memcpy(configuration + configuration_length, parts[part].bytes, parts[part].length);
        configuration_length += parts[part].length;
    }
    configuration[2] = configuration_length & 255;
    configuration[3] = configuration_length >> 8;
    const uint8_t mode[] = {WORD(1), 1, 1, LONG(interval), WORD(0), WORD(0), WORD(0), WORD(0), WORD(0),
        LONG((unsigned)LARGEST), LONG((unsigned)PAYLOAD)};
    memcpy(probe, mode, sizeof probe);
}

static int receive(void *bytes, size_t length) {
    for (size_t got = 0; got < length;) {
        ssize_t more = read(wire, (char *)bytes + got, length - got);
        if (more <= 0) return 0;
        got += more;
    }
    return 1;
}

static void send_all(const void *bytes, size_t length) {
    for (size_t sent = 0; sent < length;) {
        ssize_t more = write(wire, (const char *)bytes + sent, length - sent);
        if (more <= 0) return;
        sent += more;
    }
}

// The answer to a request: `length` bytes follow; `counted` were taken or given.
static void answer(uint32_t sequence, int status, const void *bytes, size_t length, size_t counted) {
    struct message reply = {.command = htonl(SUBMITTED), .sequence = htonl(sequence)};
    reply.submitted.status = htonl(status);
    reply.submitted.length = htonl(counted);
    reply.submitted.packets = 0xffffffff;
    send_all(&reply, sizeof reply);
    if (length) send_all(bytes, length);
}

// A control request; `data` is what came with it.
static void control_request(uint32_t sequence, const uint8_t *setup, const uint8_t *data) {
    uint8_t string[128];
    const void *bytes = NULL;
    size_t length = 0, wanted = setup[6] | setup[7] << 8;
    int known = 1;
    switch (setup[0] << 8 | setup[1]) {
    case 0x8006:
        if (setup[3] == 1) bytes = device_descriptor, length = sizeof device_descriptor;
        else if (setup[3] == 2) bytes = configuration, length = configuration_length;
        else if (setup[3] == 3 && setup[2] < sizeof strings / sizeof *strings) {
            const char *text = strings[setup[2]];
            length = setup[2] ? 2 + 2 * strlen(text) : 4;
            string[0] = length, string[1] = 3, string[2] = 9, string[3] = 4;
            for (size_t at = 0; setup[2] && text[at]; at++) string[2 + 2 * at] = text[at], string[3 + 2 * at] = 0;
            bytes = string;
        } else known = 0;
        break;
    case 0x8000: string[0] = string[1] = 0, bytes = string, length = 2; break;
    case 0x0009: case 0x010b: case 0x0201: break;  // configuration, interface, endpoint no longer halted
    case 0x2101: memcpy(probe + 2, data + 2, wanted >= 8 ? 6 : 0); break;  // what the driver chooses
    case 0xa181: case 0xa182: case 0xa183: case 0xa187: bytes = probe, length = sizeof probe; break;
    case 0xa185: string[0] = sizeof probe, string[1] = 0, bytes = string, length = 2; break;
    case 0xa186: string[0] = 3, bytes = string, length = 1; break;
    default: known = 0;
    }
    if (!known) {
        answer(sequence, -EPIPE, NULL, 0, 0);
    } else if (setup[0] & 0x80) {
        if (length > wanted) length = wanted;
        answer(sequence, 0, bytes, length, length);
    } else {
        answer(sequence, 0, NULL, 0, wanted);
    }
}

// Hands one end of a pair to the kernel. Just after an unplug its port may still be in use.
static void plug_in(void) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) fail("socketpair");
    for (int attempt = 0;; attempt++) {
        FILE *attach = fopen("/sys/devices/platform/vhci_hcd.0/attach", "w");
        if (!attach) fail("attach");
        fprintf(attach, "0 %d %d %d", pair[1], DEVICE_ID, HIGH_SPEED);
        if (!fclose(attach)) break;
        if (attempt == 100) fail("attach");
        nap(100);
    }
    close(pair[1]);
    wire = pair[0];
    waiting = 0;
}

// Takes one message of the kernel's; 0 once it has hung up.
static int serve(void) {
    struct message ask;
    static uint8_t data[4096];
    if (!receive(&ask, sizeof ask)) return 0;
    uint32_t sequence = ntohl(ask.sequence);
    if (ntohl(ask.command) == UNLINK) {
        struct message reply = {.command = htonl(UNLINKED), .sequence = ask.sequence};
        for (int at = 0; at < waiting; at++)
            if (pending[at].sequence == ntohl(ask.unlink.sequence)) {
                memmove(pending + at, pending + at + 1, (--waiting - at) * sizeof *pending);
                reply.unlinked.status = htonl(-ECONNRESET);
                break;
            }
        send_all(&reply, sizeof reply);
        return 1;
    }
    size_t length = ntohl(ask.submit.length);
    if (!ask.in && (length > sizeof data || !receive(data, length))) return 0;
    if (ask.endpoint) {
        if (waiting < PENDING) pending[waiting].sequence = sequence, pending[waiting++].length = length;
    } else {
        control_request(sequence, ask.submit.setup, data);
    }
    return 1;
}

// One picture in as many payloads as it needs, the last one marked.
static void give_picture(const char *path, int number) {
    static uint8_t payload[PAYLOAD];
    size_t bytes;
    unsigned char *picture = contents(path, &bytes);
    if (bytes > LARGEST) fail("%s is too large", path);
    for (size_t sent = 0; sent < bytes;) {
        while (!waiting)
            if (!serve()) fail("the kernel hung up in picture %d", number);
        if (pending[0].length < PAYLOAD) fail("a request of %zu bytes", pending[0].length);
        size_t part = bytes - sent < PAYLOAD - HEAD ? bytes - sent : PAYLOAD - HEAD;
        memcpy(payload + HEAD, picture + sent, part);
        sent += part;
        payload[0] = HEAD, payload[1] = 0x80 | (sent == bytes ? 2 : 0) | (number & 1);
        answer(pending[0].sequence, 0, payload, part + HEAD, part + HEAD);
        memmove(pending, pending + 1, --waiting * sizeof *pending);
    }
    free(picture);
}

int main(int count, char **arguments) {
    if (count < 7) {
        fprintf(stderr, "usage: uvc WIDTH HEIGHT PACE PIDFILE UNPLUG FILE...\n");
        return 2;
    }
    describe(atoi(arguments[1]), atoi(arguments[2]));
    int pace = atoi(arguments[3]), unplug = atoi(arguments[5]), pid = 0, still = 0;
    long long last = 0, ticks = -1;
    plug_in();
    for (int at = 6; at < count;) {
        struct pollfd watched = {.fd = wire, .events = POLLIN};
        if (poll(&watched, 1, 20) > 0) {
            if (!serve()) fail("the kernel hung up before picture %d", at - 6);
            still = 0;
            continue;
        }
        if (!pid) {
            FILE *file = fopen(arguments[4], "r");
            if (file && fscanf(file, "%d", &pid) != 1) pid = 0;
            if (file) fclose(file);
            continue;
        }
        long long used = at_rest(pid);
        if (used == -2) fail("the process ended before picture %d", at - 6);
        still = used >= 0 && used == ticks ? still + 1 : 0;
        ticks = used;
        if (!waiting || still < 10 || now() - last < pace) continue;
        if (unplug && at - 6 == unplug) {
            printf("@usb unplugged %lld.%03lld\n", now() / 1000, now() % 1000);
            fflush(stdout);
            close(wire);
            nap(2000);
            plug_in();
            printf("@usb plugged-in %lld.%03lld\n", now() / 1000, now() % 1000);
            fflush(stdout);
            unplug = 0;
            continue;
        }
        give_picture(arguments[at], at - 6);
        last = now(), still = 0, at++;
    }
    wait_for_rest(pid);
    kill(pid, SIGTERM);
    // To close the camera, the process needs answers.
    while (at_rest(pid) != -2) {
        struct pollfd watched = {.fd = wire, .events = POLLIN};
        if (poll(&watched, 1, 50) > 0 && !serve()) break;
    }
    return 0;
}
