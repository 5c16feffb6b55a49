/*
 * Guest memory as a debugger reaches it: by guest-physical addresses of a space, or by linear ones through a vCPU's
 * page tables. What is not memory is not touched. Any thread.
 */
#ifndef VMM_DEBUG_GUEST_VIEW_H
#define VMM_DEBUG_GUEST_VIEW_H

#include "vmm/debug/x86/registers.h"
#include "vmm/debug/x86/walk.h"

#include <Hypervisor/hvx.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whose eyes. */
struct guest_view {
    hv_vm_space_t space;
    /* Addresses are guest-physical, and walk is not looked at. */
    bool is_physical;
    struct walk_registers walk;
};

struct guest_view guest_view_of(const struct debug_registers *registers, hv_vm_space_t space);

/* For walk_address(), with a struct guest_view as the context. */
bool guest_view_read_physical(void *context, uint64_t gpa, void *buffer, size_t size);

void guest_view_walk(const struct guest_view *view, uint64_t address, struct walk *ret_walk);

/* How many bytes could be read, from the first on. */
size_t guest_view_read(const struct guest_view *view, uint64_t address, void *buffer, size_t size);

/* Whether all of it was written; nothing otherwise. */
bool guest_view_write(const struct guest_view *view, uint64_t address, const void *buffer, size_t size);

#endif
