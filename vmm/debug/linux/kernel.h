/*
 * Finds a 64-bit Linux kernel in a guest's memory, and reads what it has mapped, without symbols on the host: from its
 * VMCOREINFO alone, so also after a crash, whatever page tables the vCPUs were left with. A kernel has VMCOREINFO from
 * its subsys_initcalls on, if it was built with CONFIG_VMCORE_INFO (before Linux 6.9, CONFIG_CRASH_CORE).
 *
 * Threads: any, while the guest is stopped.
 */
#ifndef VMM_DEBUG_LINUX_KERNEL_H
#define VMM_DEBUG_LINUX_KERNEL_H

#include "memory/support/error.h"
#include "vmm/debug/linux/memory.h"
#include "vmm/debug/linux/vmcoreinfo.h"

struct linux_kernel {
    /* The caller's. */
    const struct linux_memory *memory;
    struct vmcoreinfo info;
    uint64_t info_gpa;
    /* The kernel's own page tables. */
    struct walk_registers tables;
    /* A vCPU's tables agree with them. If not, this may be user code's imitation of a kernel. */
    bool is_certain;
};

/* Looks through memory. -1 with an error: there is no such kernel, or it cannot be read. */
int linux_kernel_find(const struct linux_memory *memory, struct linux_kernel *ret_kernel, struct error *error);

/* Reads at a kernel's address: all of it, or false. */
bool linux_kernel_read(const struct linux_kernel *kernel, uint64_t linear, void *buffer, size_t size);

#endif
