/*
 * The loader's view of guest memory, given by whoever builds the machine.
 */
#ifndef LOADER_GUEST_MEMORY_H
#define LOADER_GUEST_MEMORY_H

#include "memory/support/error.h"

#include <stdint.h>

struct guest_memory {
    /*
     * The host address of guest-physical [gpa, gpa + size), or NULL where that is not wholly RAM or ROM of the machine,
     * contiguous in the host. Fresh memory reads as zeroes.
     */
    void *(*host_address)(void *context, uint64_t gpa, uint64_t size);
    void *context;
};

/*
 * The host address of a range that every machine has, in *ret_address. -1 with an ERROR_HOST where it is missing: the
 * machine and its description do not agree.
 */
int guest_memory_find(const struct guest_memory *memory, uint64_t gpa, uint64_t size, void **ret_address,
                      struct error *error);

#endif
