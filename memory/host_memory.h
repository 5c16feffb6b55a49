/*
 * Host memory that backs guests.
 */
#ifndef MEMORY_HOST_MEMORY_H
#define MEMORY_HOST_MEMORY_H

#include <Hypervisor/hvx.h>

#include <stddef.h>

/*
 * Gives size bytes (a multiple of 4096) of memory, kept out of core dumps, aligned so that huge pages of guest and host
 * can coincide. Anonymous memory is filled with zeros. NULL with errno: the host refuses;
 * ENXIO for a node that it has not, ENOSYS where it knows none.
 */
void *host_memory_allocate(size_t size, const hvx_backing_t *backing);

/* size as it was given. Takes NULL. */
void host_memory_free(void *memory, size_t size);

/* What this process may do with all of a range of its memory, as it is now. */
enum host_access { HOST_NOT_MAPPED, HOST_READ_ONLY, HOST_WRITABLE };

/* For any range that does not wrap. Reads /proc/self/maps; where that cannot be, what is mapped counts as writable. */
enum host_access host_memory_access(const void *address, size_t size);

#endif
