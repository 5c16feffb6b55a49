#include "devices/block/overlay.h"

#include "devices/block/image.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { BITS = 64 };

struct block_overlay {
    /* A bit for each sector. Memory that is not touched is not there, so a large image costs what is written of it. */
    uint64_t *words;
    uint64_t word_count;
    /* In sectors. */
    uint64_t limit;
    uint64_t kept;
    uint64_t reserved;
};

struct block_overlay *block_overlay_create(uint64_t size, uint64_t limit)
{
    struct block_overlay *overlay = calloc(1, sizeof(*overlay));

    if (overlay == NULL)
        return NULL;
    overlay->word_count = (size / BLOCK_SECTOR + BITS - 1) / BITS;
    overlay->limit = limit / BLOCK_SECTOR;
    void *words = mmap(NULL, overlay->word_count * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (words == MAP_FAILED) {
        free(overlay);
        return NULL;
    }
    overlay->words = words;
    return overlay;
}

void block_overlay_destroy(struct block_overlay *overlay)
{
    if (overlay == NULL)
        return;
    munmap(overlay->words, overlay->word_count * sizeof(uint64_t));
    free(overlay);
}

/* The bits of a word that belong to the sectors [first, end), of which first is in the word. */
static uint64_t mask_of(uint64_t first, uint64_t end)
{
    const uint64_t from = UINT64_MAX << (first % BITS);
    const uint64_t word_end = (first / BITS + 1) * BITS;

    return end < word_end ? from & ~(UINT64_MAX << (end % BITS)) : from;
}

static uint64_t next_word(uint64_t sector)
{
    return (sector / BITS + 1) * BITS;
}

uint64_t block_overlay_run(const struct block_overlay *overlay, uint64_t offset, uint64_t size, bool *ret_is_kept)
{
    const uint64_t first = offset / BLOCK_SECTOR;
    const uint64_t end = first + size / BLOCK_SECTOR;
    const bool is_kept = overlay->words[first / BITS] >> (first % BITS) & 1;

    *ret_is_kept = is_kept;
    for (uint64_t sector = first; sector < end; sector = next_word(sector)) {
        const uint64_t word = overlay->words[sector / BITS];
        const uint64_t other = (is_kept ? ~word : word) & mask_of(sector, end);
        if (other != 0)
            return (sector / BITS * BITS + (uint64_t)__builtin_ctzll(other) - first) * BLOCK_SECTOR;
    }
    return size;
}

static uint64_t count_kept(const struct block_overlay *overlay, uint64_t first, uint64_t end)
{
    uint64_t count = 0;

    for (uint64_t sector = first; sector < end; sector = next_word(sector))
        count += (uint64_t)__builtin_popcountll(overlay->words[sector / BITS] & mask_of(sector, end));
    return count;
}

bool block_overlay_reserve(struct block_overlay *overlay, uint64_t offset, uint64_t size, uint64_t *ret_reserved)
{
    const uint64_t first = offset / BLOCK_SECTOR;
    const uint64_t sectors = size / BLOCK_SECTOR;
    const uint64_t fresh = sectors - count_kept(overlay, first, first + sectors);

    *ret_reserved = 0;
    if (fresh > 0 && fresh + overlay->kept + overlay->reserved > overlay->limit)
        return false;
    overlay->reserved += fresh;
    *ret_reserved = fresh * BLOCK_SECTOR;
    return true;
}

void block_overlay_release(struct block_overlay *overlay, uint64_t reserved)
{
    overlay->reserved -= reserved / BLOCK_SECTOR;
}

void block_overlay_keep(struct block_overlay *overlay, uint64_t offset, uint64_t size)
{
    const uint64_t end = (offset + size) / BLOCK_SECTOR;

    for (uint64_t sector = offset / BLOCK_SECTOR; sector < end; sector = next_word(sector)) {
        const uint64_t mask = mask_of(sector, end);
        overlay->kept += (uint64_t)__builtin_popcountll(mask & ~overlay->words[sector / BITS]);
        overlay->words[sector / BITS] |= mask;
    }
}
