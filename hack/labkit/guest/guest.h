/* The lab's guest: what its parts share, and the constants that the host's side repeats
 * (hack/labkit/evidence.py, guestctl.py; a unit test compares them). docs/lab-guest.md says why. */
#ifndef GUEST_H
#define GUEST_H

#include <stdint.h>

#define LOG_SECTOR 512
#define LOG_EXTENT 65536          /* bytes one writer claims at a time */
#define LOG_BYTES 8388608         /* the whole log; less on a smaller disk */
#define LOG_MIN_BYTES 262144      /* a data disk below this is left alone */
#define LOG_ROOT_OFFSET 33554432  /* where the log begins on disk root; on disk data at 0 */
#define LOG_MAGIC "RSPWNLOG"
#define WRITE_PERIOD_MS 200
#define CONTROL_PORT 7911         /* UDP */

/* One sector of the log. It says everything about itself, so that it counts wherever it is
 * found. Integers are little-endian; crc is zlib's crc32 of the bytes before it. */
struct record {
    char magic[8];
    char server[40];     /* the domain's UUID, from SMBIOS; NUL-padded text */
    uint64_t boot;       /* random, new at each boot */
    uint64_t nth;        /* 1 + the highest one found on the disk at boot */
    uint64_t first;      /* this boot's first seq: 1 + the highest one found at boot */
    uint64_t seq;
    uint64_t floor;      /* no record above this seq was ever overwritten on purpose */
    uint64_t first_wall; /* guest's clock at the boot's first record, ns since 1970 */
    uint64_t wall;       /* guest's clock at this record */
    uint32_t reserved;
    uint32_t crc;
};

struct log {
    int fd;
    uint64_t offset;       /* of the log on the disk, bytes */
    uint32_t extents;
    uint64_t *last;        /* per extent: the highest seq known in it, 0 = empty */
    unsigned char *buffer; /* LOG_EXTENT bytes, aligned for O_DIRECT */
    uint64_t random;
    struct record next;    /* the record that is written next */
    uint32_t extent, slot; /* where it goes */
    int claimed;           /* extent is ours and has room */
};

/* log.c; both return 0 or a negative errno, and may be called again after an error */
int log_open(struct log *log, int fd, uint64_t offset, uint64_t length, const char *server,
             uint64_t boot);
int log_append(struct log *log);
uint32_t crc32(const void *data, unsigned long length);

/* network.c */
int network_up(void);
int network_event(const char *event);

/* writer.c */
void writer(const char *server, uint64_t boot);
int append_tool(int argc, char **argv);

/* init.c */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
