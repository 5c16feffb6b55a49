/*
 * What a PVH kernel is told: Xen's "x86/HVM direct boot ABI" (docs/misc/pvh.pandoc, and the public header
 * arch-x86/hvm/start_info.h).
 */
#ifndef LOADER_X86_PVH_H
#define LOADER_X86_PVH_H

#include "loader/loader.h"

/*
 * Writes hvm_start_info and what it points to at LAYOUT_PVH_START_INFO_GPA. The command line is at LAYOUT_CMDLINE_GPA.
 * rsdp_gpa 0, initrd->size 0: there is none.
 */
int pvh_write(const struct platform *platform, const struct layout_range *initrd, uint64_t rsdp_gpa,
              const struct guest_memory *memory, struct error *error);

#endif
