/*
 * The machine's spaces and their memory, as a plan has it: host memory, mapped.
 */
#ifndef VMM_MACHINE_MACHINE_MEMORY_H
#define VMM_MACHINE_MACHINE_MEMORY_H

#include "loader/guest_memory.h"
#include "memory/support/error.h"
#include "vmm/maps/memory_plan.h"

#include <Hypervisor/hvx.h>

struct machine_memory {
    const struct memory_plan *plan;
    /* By the plan's numbers: the host's addresses, NULL where there is none yet; and the spaces' ids. */
    void **memories;
    hv_vm_space_t *spaces;
    size_t space_count;
};

/*
 * Allocates, makes the spaces, and maps. There is a VM, and the plan outlives all this. 0, or -1 with *error and
 * nothing left behind.
 */
int machine_memory_create(struct machine_memory *memory, const struct memory_plan *plan, struct error *error);

/* Unmaps and frees; all vCPUs have ended. A zeroed struct is fine. */
void machine_memory_destroy(struct machine_memory *memory);

/*
 * Makes it zero again, as after power-on, and gives its pages back to the host; what a file is behind, other than the
 * RAM, stays. No vCPU may be running.
 */
int machine_memory_clear(struct machine_memory *memory, struct error *error);

/* What the configuration calls a space; "?" for one that is not the machine's. Any thread, once it is there. */
const char *machine_memory_space_name(const struct machine_memory *memory, hv_vm_space_t space);

/* A space as the loader sees it: works as long as the VM does. */
struct guest_memory machine_memory_loader_view(hv_vm_space_t space);

#endif
