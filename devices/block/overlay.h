/*
 * Which sectors of an image have been written to its overlay. One thread at a time.
 */
#ifndef DEVICES_BLOCK_OVERLAY_H
#define DEVICES_BLOCK_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

struct block_overlay;

/* size: bytes of the image; limit: bytes that may be kept. NULL: no memory. */
struct block_overlay *block_overlay_create(uint64_t size, uint64_t limit);

/* Takes NULL. */
void block_overlay_destroy(struct block_overlay *overlay);

/* Ranges are in bytes, multiples of sectors, inside of the image. */

/* How much of a range, from its start on, is in one place: the overlay (*ret_is_kept), or the image. */
uint64_t block_overlay_run(const struct block_overlay *overlay, uint64_t offset, uint64_t size, bool *ret_is_kept);

/*
 * Sets room aside for a range that is about to be written; how many bytes go into *ret_reserved, for
 * block_overlay_release(). false: the limit is reached.
 */
bool block_overlay_reserve(struct block_overlay *overlay, uint64_t offset, uint64_t size, uint64_t *ret_reserved);
void block_overlay_release(struct block_overlay *overlay, uint64_t reserved);

/* The range is in the overlay from now on. */
void block_overlay_keep(struct block_overlay *overlay, uint64_t offset, uint64_t size);

#endif
