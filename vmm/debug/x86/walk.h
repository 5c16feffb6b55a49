/*
 * A guest's page tables, walked as its processor does: Intel SDM volume 3, chapter 4 (AMD APM volume 2, chapter 5).
 * Reads tables and changes nothing, so no accessed bit is set. Reserved bits are not looked at, but for the page size
 * bit where no page can be.
 *
 * Threads: any; all state is the caller's.
 */
#ifndef VMM_DEBUG_X86_WALK_H
#define VMM_DEBUG_X86_WALK_H

#include "vmm/debug/target.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WALK_MAX_LEVELS 5u

/* Reads guest-physical memory: all of it, or false. An entry never crosses a page. */
typedef bool walk_read(void *context, uint64_t gpa, void *buffer, size_t size);

/* What decides how addresses are translated. EFER.LMA says that it is the 64-bit way. */
struct walk_registers {
    uint64_t cr0, cr3, cr4, efer;
};

/* An entry that was looked at. */
struct walk_level {
    /* "PML5", "PML4", "PDPT", "PD" or "PT". */
    const char *name;
    uint64_t entry_gpa;
    /* 0 if it is not readable. 32-bit entries are extended with zeroes. */
    uint64_t entry;
    /* Of the 32-bit and PAE walks, not all bits mean what they mean elsewhere. */
    unsigned entry_size;
    bool readable;
};

struct walk {
    bool is_mapped;
    /* The rest up to levels is for what is mapped. */
    uint64_t gpa;
    /* Bytes; gpa and the linear address have the same offset in the page. 4096 without paging. */
    uint64_t page_size;
    /* Privileged code may write: all entries allow it, or CR0.WP is clear. Protection keys, SMEP and SMAP are not
     * asked. */
    bool is_writable;
    bool is_user;
    bool is_executable;
    /* From the root on; the last is the page's, or the one that stopped the walk. None without paging. */
    struct walk_level levels[WALK_MAX_LEVELS];
    unsigned level_count;
    /* Why it is not mapped, for "ADDRESS is not mapped: ..."; NULL if it is. Static. */
    const char *problem;
};

void walk_address(const struct walk_registers *registers, walk_read *read, void *context, uint64_t linear,
                  struct walk *ret_walk);

/* The walk level by level, in lines, for `monitor translate`. */
void walk_print(const struct walk *walk, uint64_t linear, const struct debug_output *output);

#endif
