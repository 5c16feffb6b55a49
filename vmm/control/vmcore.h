/*
 * A guest's memory and registers as an ELF core file, as crash(8) and gdb open it: PT_LOADs with guest-physical
 * addresses, an NT_PRSTATUS for each vCPU, and a Linux kernel's VMCOREINFO. Pages that the host has no memory for are
 * holes of the file.
 *
 * It is written in portions, for an event loop; the guest does not run meanwhile. System calls: write, lseek, mincore,
 * pread, fstat, fcntl (F_GETFL). One thread at a time.
 */
#ifndef VMM_CONTROL_VMCORE_H
#define VMM_CONTROL_VMCORE_H

#include "memory/support/error.h"
#include "vmm/debug/linux/kernel.h"
#include "vmm/debug/x86/registers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmcore;

/* Whole pages of guest-physical memory. */
struct vmcore_range {
    uint64_t gpa;
    uint64_t size;
    const uint8_t *bytes;
    /* What the host has no memory for may hold something all the same: a file is behind it. */
    bool is_files;
};

struct vmcore_contents {
    const struct vmcore_range *ranges;
    size_t range_count;
    const struct debug_registers *vcpus;
    size_t vcpu_count;
    /*
     * NULL: none is known. Then linear addresses are given as the guest-physical ones, and otherwise as the kernel has
     * its memory mapped: once all of it, where that is found, and once more what its own text and data are in.
     */
    const struct linux_kernel *kernel;
};

struct vmcore_progress {
    /* Bytes of guest memory: looked at, all, and written. */
    uint64_t done;
    uint64_t total;
    uint64_t written;
};

/*
 * fd: an empty regular file that can be written to; it is taken over, whatever the result. pagemap: see
 * resident_find(); the caller's. The contents are copied but for the memory itself, which is to stay. NULL with *error.
 */
struct vmcore *vmcore_begin(const struct vmcore_contents *contents, int fd, int pagemap, struct error *error);

/* Writes a portion, of at most a MiB. 1: there is more; 0: the file is complete; -1 with *error. */
int vmcore_step(struct vmcore *vmcore, struct error *error);

void vmcore_progress(const struct vmcore *vmcore, struct vmcore_progress *ret_progress);

/* Closes the file, complete or not. Takes NULL. */
void vmcore_end(struct vmcore *vmcore);

#endif
