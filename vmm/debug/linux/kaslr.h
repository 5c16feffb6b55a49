/*
 * Where a Linux guest's kernel has been moved to, and so what a debugger adds to its symbols' addresses.
 *
 * Threads: any, while the guest is stopped.
 */
#ifndef VMM_DEBUG_LINUX_KASLR_H
#define VMM_DEBUG_LINUX_KASLR_H

#include "vmm/debug/linux/kernel.h"

struct kaslr {
    /* Bytes; 0 if it runs where it was linked. */
    uint64_t offset;
    /* The kernel said so. If not, it is where the vCPU's tables have the first page of kernel text. */
    bool is_said;
    /* As uname -r has it, and as `readelf -n vmlinux` shows it; each may be empty. */
    char release[65];
    char build_id[65];
};

/* -1 with an error: no 64-bit kernel says it, and none is mapped (yet). */
int kaslr_find(const struct linux_memory *memory, struct kaslr *ret_kaslr, struct error *error);

/* The offset, which vmlinux it is for, and what to tell gdb, in lines. */
void kaslr_print(const struct kaslr *kaslr, const struct debug_output *output);

#endif
