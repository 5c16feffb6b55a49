/*
 * The machine's RAM and ROM: host memory, mapped into the default space.
 */
#ifndef VMM_MACHINE_GUEST_RAM_H
#define VMM_MACHINE_GUEST_RAM_H

#include "loader/guest_memory.h"
#include "memory/support/error.h"
#include "memory/x86/layout.h"
#include "vmm/config/config.h"

#include <stdbool.h>

struct guest_ram {
    struct ram_layout layout;
    /*
     * All of the RAM: what the guest has below 3 GiB is at the same offset here, and the rest comes behind it. So guest
     * and host addresses have the same offset in 2 MiB, without which KVM cannot map that much at once.
     */
    void *memory;
    uint64_t size;
    /* It is a file's or a memfd's. */
    bool is_shared;
    void *rom;
};

/* Allocates and maps. There is a VM. 0, or -1 with *error and nothing left behind. */
int guest_ram_create(struct guest_ram *ram, const struct config *config, struct error *error);

/* Unmaps and frees. A zeroed struct is fine. */
void guest_ram_destroy(struct guest_ram *ram);

/* Makes all of it zero again, as after power-on, and gives its pages back to the host. No vCPU may be running. */
int guest_ram_clear(struct guest_ram *ram, struct error *error);

/* For the loader: works as long as the VM does. */
struct guest_memory guest_ram_loader_view(void);

#endif
