/*
 * Which pages of a space have been written: bitmaps for the ranges that somebody tracks.
 *
 * Like a map, a log never changes once made, apart from the bits, which any thread may set. So readers of the space may
 * mark pages under RCU while ranges come and go.
 */
#ifndef MEMORY_DIRTY_LOG_H
#define MEMORY_DIRTY_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One bit a page, the first page's in the lowest bit of the first word. */
struct dirty_range {
    uint64_t gpa;
    uint64_t size;
    _Atomic uint64_t *bits;
};

/* The words of a bitmap for size bytes. */
uint64_t dirty_bitmap_words(uint64_t size);

struct dirty_log {
    size_t count;
    struct dirty_range ranges[];
};

/* A log with a further range, whose pages are clean. NULL: no memory. old may be NULL, which is the empty log. */
struct dirty_log *dirty_log_with(const struct dirty_log *old, uint64_t gpa, uint64_t size);

/* A log without a range of old, which is this one exactly. NULL with *ret_empty: it would be empty; NULL: no memory. */
struct dirty_log *dirty_log_without(const struct dirty_log *old, uint64_t gpa, uint64_t size, bool *ret_empty);

/*
 * Frees a log that has been replaced by next, with the bits of the ranges that next has no more; next NULL: with all.
 * Takes NULL.
 */
void dirty_log_free(struct dirty_log *log, const struct dirty_log *next);

/* The range that holds all of [gpa, gpa + size), or NULL. */
const struct dirty_range *dirty_log_find(const struct dirty_log *log, uint64_t gpa, uint64_t size);

/* Whether it tracks a page of [gpa, gpa + size). log may be NULL. */
bool dirty_log_overlaps(const struct dirty_log *log, uint64_t gpa, uint64_t size);

/* Marks the tracked pages of [gpa, gpa + size), of any alignment. log may be NULL. Any thread. */
void dirty_log_mark(const struct dirty_log *log, uint64_t gpa, uint64_t size);

/* Marks what a bitmap of pages from gpa on has set, as far as it is tracked. */
void dirty_log_merge(const struct dirty_log *log, uint64_t gpa, const uint64_t *bits, uint64_t page_count);

/* Adds the bits of [gpa, gpa + size), whole pages of the range, to those at bitmap, and clears them here. */
void dirty_range_fetch(const struct dirty_range *range, uint64_t gpa, uint64_t size, uint64_t *bitmap);

#endif
