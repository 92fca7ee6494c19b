// Helper of the guest for video devices.
//   video control DEVICE NAME VALUE            sets a control by its name (vivid's faults are such)
//   video feed DEVICE FOURCC WIDTH HEIGHT PACE PIDFILE FILE...
//       writes pictures into a v4l2loopback, one each time the process is at rest, at least PACE ms apart; then ends the process
#include "guest.h"

#include <fcntl.h>
#include <linux/videodev2.h>
#include <sys/ioctl.h>

static int control(char **arguments) {
    int device = open(arguments[0], O_RDWR | O_NONBLOCK);
    if (device < 0) fail("%s", arguments[0]);
    struct v4l2_queryctrl query = {.id = V4L2_CTRL_FLAG_NEXT_CTRL};
    while (!ioctl(device, VIDIOC_QUERYCTRL, &query)) {
        if (!strncmp((char *)query.name, arguments[1], sizeof query.name - 1)) {
            struct v4l2_control set = {.id = query.id, .value = atoi(arguments[2])};
            if (ioctl(device, VIDIOC_S_CTRL, &set)) fail("%s", arguments[1]);
            return 0;
        }
        query.id |= V4L2_CTRL_FLAG_NEXT_CTRL;
    }
    fail("no control %s", arguments[1]);
    return 1;
}

static int feed(int count, char **arguments) {
    int device = open(arguments[0], O_RDWR);
    if (device < 0) fail("%s", arguments[0]);
    int width = atoi(arguments[2]), height = atoi(arguments[3]), pace = atoi(arguments[4]);
    const char *name = arguments[1];
    struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_OUTPUT};
    format.fmt.pix.width = width;
    format.fmt.pix.height = height;
    format.fmt.pix.pixelformat = v4l2_fourcc(name[0], name[1], name[2], name[3]);
    format.fmt.pix.field = V4L2_FIELD_NONE;
    format.fmt.pix.sizeimage = width * height * 3;
    if (ioctl(device, VIDIOC_S_FMT, &format)) fail("format %s", name);
    if (memcmp(&format.fmt.pix.pixelformat, name, 4)) fail("format %s became another", name);
    int pid = 0;
    long long last = 0;
    for (int at = 6; at < count; at++) {
        size_t bytes;
        unsigned char *data = contents(arguments[at], &bytes);
        // The first picture is there before anybody looks: to wait for a device that never held one is an error.
        if (at == 7) pid = process_in(arguments[5]);
        if (pid && !wait_for_rest(pid)) fail("the process ended before picture %d", at - 6);
        long long left = last + pace - now();
        if (left > 0) nap(left);
        last = now();
        if (write(device, data, bytes) != (ssize_t)bytes) fail("picture %d", at - 6);
        free(data);
        if (at == 6) printf("ready\n");
        fflush(stdout);
        nap(100);
    }
    wait_for_rest(pid);
    kill(pid, SIGTERM);
    return 0;
}

int main(int count, char **arguments) {
    if (count == 5 && !strcmp(arguments[1], "control")) return control(arguments + 2);
    if (count > 8 && !strcmp(arguments[1], "feed")) return feed(count - 2, arguments + 2);
    fprintf(stderr, "usage: video control DEVICE NAME VALUE | video feed DEVICE FOURCC WIDTH HEIGHT PACE PIDFILE FILE...\n");
    return 2;
}
