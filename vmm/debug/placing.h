/*
 * Where break- and watchpoints are put: in which memory, by which mechanism, and in force while the guest runs. For the
 * main thread, with all vCPUs parked.
 */
#ifndef VMM_DEBUG_PLACING_H
#define VMM_DEBUG_PLACING_H

#include "vmm/debug/engine.h"

/* Where a kernel that has no page tables yet will have an address; false: it has them, or no such address. */
bool placing_find_in_kernel(const struct debugger *debugger, const struct guest_view *view, uint64_t linear,
                            uint64_t *ret_gpa);

/* The target's insert() and remove(): see target.h. What they change is in force with the two calls below. */
int placing_insert(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                   struct error *error);
int placing_remove(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                   struct error *error);

/* Makes the traps of pages those that the points want. -1 with *error: none is in force. */
int placing_update_traps(struct debugger *debugger, struct error *error);
/* Writes an INT3 at each place that has one, or gives back what was there. */
void placing_patch_all(struct debugger *debugger, bool in_force);

/* Takes all points away, and out of force. */
void placing_drop(struct debugger *debugger);

/* The kernel has been loaded anew: a point's INT3s are gone, and its addresses are those of before its page tables. */
void placing_relocate(struct debugger *debugger, struct point *point);

#endif
