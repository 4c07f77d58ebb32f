/* The record log: numbered sectors that prove what was written, and by whom.
 *
 * Writers never trust that they are alone. Each claims extents of its own, chosen at random among
 * the empty and the oldest, so two writers that read the same disk do not write the same sectors:
 * what a stale one still writes stays visible beside the owner's records. */
#define _GNU_SOURCE
#include "guest.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SLOTS (LOG_EXTENT / LOG_SECTOR)

_Static_assert(sizeof(struct record) == 112, "the reader in evidence.py knows this layout");

uint32_t crc32(const void *data, unsigned long length)
{
    const unsigned char *byte = data;
    uint32_t crc = ~0u;
    while (length--) {
        crc ^= *byte++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static uint32_t record_crc(const struct record *record)
{
    return crc32(record, sizeof *record - sizeof record->crc);
}

static int is_record(const struct record *record)
{
    return !memcmp(record->magic, LOG_MAGIC, 8) && record->crc == record_crc(record);
}

static uint64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void raise_to(uint64_t *value, uint64_t at_least)
{
    if (*value < at_least)
        *value = at_least;
}

/* Read one extent; learn its highest seq, and into `seen` the highest nth, seq and floor. */
static int scan(struct log *log, uint32_t extent, struct record *seen)
{
    uint64_t at = log->offset + (uint64_t)extent * LOG_EXTENT;
    ssize_t got = pread(log->fd, log->buffer, LOG_EXTENT, (off_t)at);
    if (got != LOG_EXTENT)
        return got < 0 ? -errno : -EIO;
    log->last[extent] = 0;
    /* Backwards: the highest is met early, and only what would raise something is summed. */
    for (int slot = SLOTS - 1; slot >= 0; slot--) {
        const struct record *record = (void *)(log->buffer + slot * LOG_SECTOR);
        if (record->seq <= log->last[extent] && record->nth <= seen->nth &&
            record->floor <= seen->floor)
            continue;
        if (!is_record(record))
            continue;
        raise_to(&log->last[extent], record->seq);
        raise_to(&seen->nth, record->nth);
        raise_to(&seen->floor, record->floor);
    }
    raise_to(&seen->seq, log->last[extent]);
    return 0;
}

int log_open(struct log *log, int fd, uint64_t offset, uint64_t length, const char *server,
             uint64_t boot)
{
    struct record seen = {0};
    if (!log->last) {
        log->extents = (uint32_t)((length < LOG_BYTES ? length : LOG_BYTES) / LOG_EXTENT);
        log->last = calloc(log->extents, sizeof *log->last);
        if (!log->last || posix_memalign((void **)&log->buffer, 4096, LOG_EXTENT))
            return -ENOMEM;
    }
    log->fd = fd;
    log->offset = offset;
    for (uint32_t extent = 0; extent < log->extents; extent++) {
        int error = scan(log, extent, &seen);
        if (error)
            return error;
    }
    log->random = boot;
    log->next = (struct record){.magic = LOG_MAGIC, .boot = boot, .nth = seen.nth + 1,
                                .first = seen.seq + 1, .seq = seen.seq + 1, .floor = seen.floor};
    strncpy(log->next.server, server, sizeof log->next.server - 1);
    return 0;
}

/* splitmix64: the boot ID is random already, this spreads it over the claims of one boot */
static uint64_t random_next(struct log *log)
{
    uint64_t z = log->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint32_t rank(const struct log *log, uint32_t extent)
{
    uint32_t older = 0;
    for (uint32_t other = 0; other < log->extents; other++)
        older += log->last[other] < log->last[extent] ||
                 (log->last[other] == log->last[extent] && other < extent);
    return older;
}

/* One of the empty extents, or of the oldest quarter when fewer are empty. */
static uint32_t pick(struct log *log)
{
    uint32_t choices = log->extents / 4, empty = 0, extent = 0;
    for (uint32_t other = 0; other < log->extents; other++)
        empty += !log->last[other];
    if (choices < empty)
        choices = empty;
    uint32_t wanted = (uint32_t)(random_next(log) % choices);
    while (rank(log, extent) != wanted)
        extent++;
    return extent;
}

static int claim(struct log *log)
{
    struct record ignored = {0};
    for (uint32_t tries = 0; tries < log->extents; tries++) {
        uint32_t extent = pick(log);
        uint64_t known = log->last[extent];
        int error = scan(log, extent, &ignored);
        if (error) {
            log->last[extent] = known;
            return error;
        }
        if (log->last[extent] != known)
            continue; /* somebody else writes here: leave the evidence, take another */
        raise_to(&log->next.floor, known);
        log->extent = extent;
        log->slot = 0;
        log->claimed = 1;
        return 0;
    }
    return -EBUSY;
}

/* Write the next record and make it durable. After an error the same record goes to the same
 * sector again: a number is given up by nobody, so a gap on the disk is a loss. */
int log_append(struct log *log)
{
    if (!log->claimed) {
        int error = claim(log);
        if (error)
            return error;
    }
    struct record *next = &log->next;
    next->wall = wall_ns();
    if (next->seq == next->first)
        next->first_wall = next->wall;
    next->crc = record_crc(next);
    memset(log->buffer, 0, LOG_SECTOR);
    memcpy(log->buffer, next, sizeof *next);
    uint64_t at = log->offset + (uint64_t)log->extent * LOG_EXTENT + log->slot * LOG_SECTOR;
    ssize_t put = pwrite(log->fd, log->buffer, LOG_SECTOR, (off_t)at);
    if (put != LOG_SECTOR)
        return put < 0 ? -errno : -EIO;
    if (fsync(log->fd))
        return -errno;
    log->last[log->extent] = next->seq++;
    log->claimed = ++log->slot < SLOTS;
    return 0;
}
