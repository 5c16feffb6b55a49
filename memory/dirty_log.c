#include "memory/dirty_log.h"

#include <stdlib.h>
#include <string.h>

enum { PAGE_SHIFT = 12, WORD_BITS = 64 };

uint64_t dirty_bitmap_words(uint64_t size)
{
    return ((size >> PAGE_SHIFT) + WORD_BITS - 1) / WORD_BITS;
}

static struct dirty_log *log_allocate(size_t count)
{
    struct dirty_log *log = malloc(sizeof(*log) + count * sizeof(log->ranges[0]));
    if (log != NULL)
        log->count = count;
    return log;
}

struct dirty_log *dirty_log_with(const struct dirty_log *old, uint64_t gpa, uint64_t size)
{
    const size_t count = old == NULL ? 0 : old->count;
    struct dirty_log *log = log_allocate(count + 1);
    _Atomic uint64_t *bits = calloc(dirty_bitmap_words(size), sizeof(*bits));

    if (log == NULL || bits == NULL) {
        free(log);
        free(bits);
        return NULL;
    }
    if (count > 0)
        memcpy(log->ranges, old->ranges, count * sizeof(log->ranges[0]));
    log->ranges[count] = (struct dirty_range){.gpa = gpa, .size = size, .bits = bits};
    return log;
}

struct dirty_log *dirty_log_without(const struct dirty_log *old, uint64_t gpa, uint64_t size, bool *ret_empty)
{
    *ret_empty = old->count == 1;
    if (*ret_empty)
        return NULL;
    struct dirty_log *log = log_allocate(old->count - 1);
    if (log == NULL)
        return NULL;
    size_t kept = 0;
    for (size_t i = 0; i < old->count; i++)
        if (old->ranges[i].gpa != gpa || old->ranges[i].size != size)
            log->ranges[kept++] = old->ranges[i];
    return log;
}

static bool has_bits(const struct dirty_log *log, const _Atomic uint64_t *bits)
{
    for (size_t i = 0; log != NULL && i < log->count; i++)
        if (log->ranges[i].bits == bits)
            return true;
    return false;
}

void dirty_log_free(struct dirty_log *log, const struct dirty_log *next)
{
    if (log == NULL)
        return;
    for (size_t i = 0; i < log->count; i++)
        if (!has_bits(next, log->ranges[i].bits))
            free(log->ranges[i].bits);
    free(log);
}

const struct dirty_range *dirty_log_find(const struct dirty_log *log, uint64_t gpa, uint64_t size)
{
    for (size_t i = 0; log != NULL && i < log->count; i++) {
        const struct dirty_range *range = &log->ranges[i];
        if (gpa >= range->gpa && size <= range->size && gpa - range->gpa <= range->size - size)
            return range;
    }
    return NULL;
}

/* The part of a range in [*gpa, *end), or nothing. */
static bool clip(const struct dirty_range *range, uint64_t *gpa, uint64_t *end)
{
    if (*gpa < range->gpa)
        *gpa = range->gpa;
    if (*end > range->gpa + range->size)
        *end = range->gpa + range->size;
    return *gpa < *end;
}

bool dirty_log_overlaps(const struct dirty_log *log, uint64_t gpa, uint64_t size)
{
    for (size_t i = 0; log != NULL && i < log->count; i++) {
        uint64_t start = gpa;
        uint64_t end = gpa + size;
        if (clip(&log->ranges[i], &start, &end))
            return true;
    }
    return false;
}

static void mark_page(const struct dirty_range *range, uint64_t page)
{
    const uint64_t bit = 1ull << (page % WORD_BITS);
    _Atomic uint64_t *word = &range->bits[page / WORD_BITS];

    /* A page is often marked already, and then its cache line stays shared. */
    if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
        atomic_fetch_or(word, bit);
}

void dirty_log_mark(const struct dirty_log *log, uint64_t gpa, uint64_t size)
{
    for (size_t i = 0; log != NULL && size > 0 && i < log->count; i++) {
        const struct dirty_range *range = &log->ranges[i];
        uint64_t start = gpa;
        uint64_t end = gpa + size;
        if (!clip(range, &start, &end))
            continue;
        const uint64_t last = (end - 1 - range->gpa) >> PAGE_SHIFT;
        for (uint64_t page = (start - range->gpa) >> PAGE_SHIFT; page <= last; page++)
            mark_page(range, page);
    }
}

static void or_word(_Atomic uint64_t *word, uint64_t bits)
{
    if (bits & ~atomic_load_explicit(word, memory_order_relaxed))
        atomic_fetch_or(word, bits);
}

/* Merges the bits of up to 64 pages from `page` of a range on. */
static void merge_word(const struct dirty_range *range, uint64_t page, uint64_t bits)
{
    const uint64_t shift = page % WORD_BITS;

    or_word(&range->bits[page / WORD_BITS], bits << shift);
    if (shift != 0 && bits >> (WORD_BITS - shift) != 0)
        or_word(&range->bits[page / WORD_BITS + 1], bits >> (WORD_BITS - shift));
}

/* The bits from `first` to, not including, `end`. */
static uint64_t bits_between(uint64_t bits, uint64_t first, uint64_t end)
{
    bits &= ~0ull << first;
    return end < WORD_BITS ? bits & ((1ull << end) - 1) : bits;
}

static void merge_range(const struct dirty_range *range, uint64_t gpa, const uint64_t *bits, uint64_t page_count)
{
    uint64_t start = gpa;
    uint64_t end = gpa + (page_count << PAGE_SHIFT);

    if (!clip(range, &start, &end))
        return;
    const uint64_t first = (start - gpa) >> PAGE_SHIFT;
    const uint64_t last = (end - gpa) >> PAGE_SHIFT;
    for (uint64_t word = first / WORD_BITS; word * WORD_BITS < last; word++) {
        const uint64_t base = word * WORD_BITS;
        const uint64_t skipped = base < first ? first - base : 0;
        const uint64_t wanted = bits_between(bits[word], skipped, last - base);
        if (wanted != 0)
            merge_word(range, ((gpa + ((base + skipped) << PAGE_SHIFT)) - range->gpa) >> PAGE_SHIFT, wanted >> skipped);
    }
}

void dirty_log_merge(const struct dirty_log *log, uint64_t gpa, const uint64_t *bits, uint64_t page_count)
{
    for (size_t i = 0; log != NULL && i < log->count; i++)
        merge_range(&log->ranges[i], gpa, bits, page_count);
}

/* The bits of a word, which is cleared. Most words are clear, and are only read. */
static uint64_t take_bits(_Atomic uint64_t *word, uint64_t mask)
{
    return atomic_load_explicit(word, memory_order_relaxed) & mask ? atomic_fetch_and(word, ~mask) & mask : 0;
}

void dirty_range_fetch(const struct dirty_range *range, uint64_t gpa, uint64_t size, uint64_t *bitmap)
{
    const uint64_t first = (gpa - range->gpa) >> PAGE_SHIFT;
    const uint64_t count = size >> PAGE_SHIFT;
    uint64_t done = 0;

    if (first % WORD_BITS == 0)
        /* Most words are clear, and this is most of what a fetch costs. */
        for (; count - done >= WORD_BITS; done += WORD_BITS)
            if (atomic_load_explicit(&range->bits[(first + done) / WORD_BITS], memory_order_relaxed) != 0)
                bitmap[done / WORD_BITS] |= take_bits(&range->bits[(first + done) / WORD_BITS], ~0ull);
    while (done < count) {
        const uint64_t page = first + done;
        const uint64_t shift = page % WORD_BITS;
        const uint64_t room = WORD_BITS - shift;
        const uint64_t taken = room < count - done ? room : count - done;
        const uint64_t mask = (taken == WORD_BITS ? ~0ull : (1ull << taken) - 1) << shift;
        const uint64_t bits = take_bits(&range->bits[page / WORD_BITS], mask) >> shift;
        bitmap[done / WORD_BITS] |= bits << (done % WORD_BITS);
        if (done % WORD_BITS + taken > WORD_BITS)
            bitmap[done / WORD_BITS + 1] |= bits >> (WORD_BITS - done % WORD_BITS);
        done += taken;
    }
}
