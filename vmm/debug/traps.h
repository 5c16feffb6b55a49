/*
 * Lists of pages whose accesses are trapped, by space and address, each page once: see hvx_vm_set_traps(). Any thread,
 * while nobody changes the list.
 */
#ifndef VMM_DEBUG_TRAPS_H
#define VMM_DEBUG_TRAPS_H

#include <Hypervisor/hvx.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRAPS_PAGE_SIZE = 4096 };

/* The traps of one page. */
struct point_trap {
    hv_vm_space_t space;
    uint64_t gpa;
    hv_memory_flags_t access;
};

/* The lists' order, for qsort(); 0: the same page. */
int traps_compare(const void *left, const void *right);

/* The place of a page's traps, or where they would be. */
size_t traps_find(const struct point_trap *traps, size_t count, hv_vm_space_t space, uint64_t page);
/* What of one page is trapped. */
hv_memory_flags_t traps_of_page(const struct point_trap *traps, size_t count, hv_vm_space_t space, uint64_t page);

/*
 * Puts traps in force, or out of it; of pages that follow one another in one call. False: the host has no memory, or
 * slots, for them; some may be done.
 */
bool traps_set(const struct point_trap *traps, size_t count, bool in_force);

#endif
