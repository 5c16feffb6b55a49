/*
 * The machine's RAM and ROM: host memory, mapped into the default space.
 */
#ifndef VMM_MACHINE_GUEST_RAM_H
#define VMM_MACHINE_GUEST_RAM_H

#include "loader/guest_memory.h"
#include "memory/support/error.h"
#include "memory/x86/layout.h"

/* A piece of RAM or ROM: where the guest has it, and the allocation that it is the end of. */
struct ram_piece {
    uint64_t gpa;
    uint64_t size;
    void *memory;
    uint64_t allocated;
};

struct guest_ram {
    struct ram_layout layout;
    /* One for each range of the layout, and the ROM. */
    struct ram_piece pieces[4];
    size_t count;
};

/* Allocates and maps. There is a VM. 0, or -1 with *error and nothing left behind. */
int guest_ram_create(struct guest_ram *ram, uint64_t size, struct error *error);

/* Unmaps and frees. A zeroed struct is fine. */
void guest_ram_destroy(struct guest_ram *ram);

/* Makes all of it zero again, as after power-on, and gives its pages back to the host. No vCPU may be running. */
int guest_ram_clear(struct guest_ram *ram, struct error *error);

/* For the loader: works as long as the VM does. */
struct guest_memory guest_ram_loader_view(void);

#endif
