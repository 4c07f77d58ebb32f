/* The writer: one record every WRITE_PERIOD_MS, acknowledged on the console once it is durable. */
#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct target {
    const char *disk; /* "data" or "root" */
    char device[16];
    uint64_t offset, length;
};

static void sleep_until(struct timespec *next, long ms)
{
    struct timespec now;
    next->tv_nsec += ms * 1000000;
    next->tv_sec += next->tv_nsec / 1000000000;
    next->tv_nsec %= 1000000000;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec > next->tv_sec || (now.tv_sec == next->tv_sec && now.tv_nsec > next->tv_nsec))
        *next = now; /* late: go on from here, no burst to catch up */
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
}

static void serial_of(char letter, char serial[32])
{
    char path[48];
    snprintf(path, sizeof path, "/sys/block/vd%c/serial", letter);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, serial, 31);
    serial[got > 0 ? got : 0] = 0;
    serial[strcspn(serial, "\n")] = 0;
    if (fd >= 0)
        close(fd);
}

static uint64_t size_of(const char *device)
{
    uint64_t size = 0;
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ioctl(fd, BLKGETSIZE64, &size);
        close(fd);
    }
    return size;
}

/* Disk data if there is one, else the reserved tail of the boot disk. */
static int find_target(struct target *target)
{
    char serial[32];
    for (char letter = 'a'; letter <= 'z'; letter++) {
        serial_of(letter, serial);
        snprintf(target->device, sizeof target->device, "/dev/vd%c", letter);
        target->length = size_of(target->device);
        if (!strcmp(serial, "data") && target->length >= LOG_MIN_BYTES) {
            target->disk = "data";
            target->offset = 0;
            return 0;
        }
    }
    strcpy(target->device, "/dev/vda");
    target->disk = "root";
    target->offset = LOG_ROOT_OFFSET;
    target->length = size_of(target->device);
    if (target->length < LOG_ROOT_OFFSET + LOG_MIN_BYTES)
        return -ENOSPC;
    target->length -= LOG_ROOT_OFFSET;
    return 0;
}

static void append(struct log *log, const char *disk)
{
    uint64_t seq = log->next.seq;
    int error = log_append(log);
    if (error)
        say("error %" PRIu64 " %016" PRIx64 " %s %s", seq, log->next.boot, disk, strerror(-error));
    else
        say("ack %" PRIu64 " %016" PRIx64 " %s", seq, log->next.boot, disk);
}

static int open_log(struct log *log, const struct target *target, const char *server,
                    uint64_t boot)
{
    int fd = open(target->device, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = log_open(log, fd, target->offset, target->length, server, boot);
    if (error)
        close(fd);
    return error;
}

/* Never returns. */
void writer(const char *server, uint64_t boot)
{
    struct target target;
    struct log log = {0};
    struct timespec next, up;
    for (;;) {
        int error = find_target(&target);
        if (!error)
            error = open_log(&log, &target, server, boot);
        if (!error)
            break;
        say("error no log on %s: %s", target.device, strerror(-error));
        sleep(1);
    }
    clock_gettime(CLOCK_BOOTTIME, &up);
    say("boot %016" PRIx64 " server=%s disk=%s nth=%" PRIu64 " first=%" PRIu64 " up=%ld.%02ld",
        boot, server, target.disk, log.next.nth, log.next.first, (long)up.tv_sec,
        up.tv_nsec / 10000000);
    clock_gettime(CLOCK_MONOTONIC, &next);
    for (;;) {
        append(&log, target.disk);
        sleep_until(&next, WRITE_PERIOD_MS);
    }
}

/* On the host, for tests and planted faults: init append FILE OFFSET LENGTH COUNT SERVER BOOT DISK
 * appends as a booted guest would, as fast as it goes. */
int append_tool(int argc, char **argv)
{
    struct log log = {0};
    if (argc != 9) {
        fprintf(stderr, "usage: init append FILE OFFSET LENGTH COUNT SERVER BOOT DISK\n");
        return 2;
    }
    int fd = open(argv[2], O_RDWR | O_CLOEXEC);
    int error = fd < 0 ? -errno
                       : log_open(&log, fd, strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0),
                                  argv[6], strtoull(argv[7], NULL, 16));
    if (error) {
        fprintf(stderr, "%s: %s\n", argv[2], strerror(-error));
        return 1;
    }
    for (long count = atol(argv[5]); count > 0; count--)
        append(&log, argv[8]);
    return 0;
}
