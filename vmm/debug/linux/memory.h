/*
 * A guest's memory, as what looks for a Linux kernel in it needs it.
 */
#ifndef VMM_DEBUG_LINUX_MEMORY_H
#define VMM_DEBUG_LINUX_MEMORY_H

#include "vmm/debug/x86/walk.h"

#include <stdbool.h>
#include <stdint.h>

/* Addresses in bytes. */
struct linux_range {
    uint64_t gpa;
    uint64_t size;
    /* Where it is on the host, for reading without a call for each page; or NULL. */
    const uint8_t *bytes;
};

struct linux_memory {
    void *context;
    /* Guest-physical, as for walk_address(). */
    walk_read *read;
    /*
     * RAM to look through, by ascending address: the first range that ends behind gpa; it may begin before it. false:
     * there is none. The first bytes of each page are read. Where that would have the host make memory for pages that
     * the guest has never touched (holes of files and memfds; lseek(2) with SEEK_DATA finds what is none), leave these
     * out.
     */
    bool (*next_range)(void *context, uint64_t gpa, struct linux_range *ret_range);
    /*
     * Those of a vCPU, or NULL. User code can imitate what a kernel has in memory, but not what its tables map; so what
     * agrees with these is believed first.
     */
    const struct walk_registers *registers;
};

#endif
