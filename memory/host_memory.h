/*
 * Host memory that backs guests.
 */
#ifndef MEMORY_HOST_MEMORY_H
#define MEMORY_HOST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Gives size bytes (a multiple of 4096) of zero-filled anonymous memory, kept out of core dumps, aligned so that huge
 * pages of guest and host can coincide, and using them where the host has them. NULL with errno: the host refuses.
 */
void *host_memory_allocate(size_t size);

/* size as it was given. Takes NULL. */
void host_memory_free(void *memory, size_t size);

/* Whether all of [address, address + size) is mapped in this process now. */
bool host_memory_is_mapped(const void *address, size_t size);

#endif
