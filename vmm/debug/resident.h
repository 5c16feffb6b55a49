/*
 * Which pages of memory the host has something for: looking at others would have it make some. Any thread.
 */
#ifndef VMM_DEBUG_RESIDENT_H
#define VMM_DEBUG_RESIDENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How much is looked at in one call, in bytes. */
#define RESIDENT_WINDOW (16u << 20)

/*
 * The first run of such pages in the first RESIDENT_WINDOW bytes, as offsets; bytes and size are whole pages. false:
 * there are none. pagemap: a descriptor of /proc/self/pagemap, with which pages that are in swap count too; or -1.
 */
bool resident_find(const uint8_t *bytes, uint64_t size, int pagemap, uint64_t *ret_start, uint64_t *ret_end);

#endif
