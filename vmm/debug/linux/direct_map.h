/*
 * Where a Linux kernel has all of the guest's memory mapped.
 */
#ifndef VMM_DEBUG_LINUX_DIRECT_MAP_H
#define VMM_DEBUG_LINUX_DIRECT_MAP_H

#include "vmm/debug/linux/kernel.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * The linear address of guest-physical 0, as the kernel's tables have it; KASLR moves it by multiples of 1 GiB. false:
 * it is not found.
 */
bool linux_direct_map_find(const struct linux_kernel *kernel, uint64_t *ret_base);

#endif
