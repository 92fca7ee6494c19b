// What the helpers of the guest share: when to hand over the next picture, and ends of the program.
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s\n", strerror(errno));
    exit(1);
}

static void nap(int milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

// A whole file; its length goes to `bytes`.
static unsigned char *contents(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("%s", path);
    fseek(file, 0, SEEK_END);
    *bytes = ftell(file);
    rewind(file);
    unsigned char *data = malloc(*bytes + 1);
    if (!data || fread(data, 1, *bytes, file) != *bytes) fail("%s", path);
    fclose(file);
    return data;
}

// Processor time of the main thread of process `pid` in ticks, or -1 while it runs; -2 once it is gone.
static long long at_rest(int pid) {
    char path[64], text[512], state;
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, pid);
    FILE *file = fopen(path, "r");
    if (!file) return -2;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    unsigned long user, system;
    char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 2, "%c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &user, &system) != 3) return -2;
    if (state == 'Z' || state == 'X') return -2;
    return state == 'S' ? (long long)(user + system) : -1;
}

// Waits until the main thread of `pid` has nothing to do: it waits for the next picture. Returns 0 once it is gone.
static int wait_for_rest(int pid) {
    long long before = -1;
    for (int still = 0; still < 10;) {
        long long ticks = at_rest(pid);
        if (ticks == -2) return 0;
        still = ticks >= 0 && ticks == before ? still + 1 : 0;
        before = ticks;
        nap(20);
    }
    return 1;
}

// The process whose number stands in a file, once it does.
static int process_in(const char *path) {
    for (;;) {
        FILE *file = fopen(path, "r");
        int pid = 0;
        if (file) {
            if (fscanf(file, "%d", &pid) != 1) pid = 0;
            fclose(file);
        }
        if (pid > 0) return pid;
        nap(50);
    }
}
