/*
 * MSI-X: interrupts as messages, one for each of a function's vectors. PCI Local Bus 3.0, 6.8.2.
 */
#ifndef DEVICES_PCI_MSIX_H
#define DEVICES_PCI_MSIX_H

#include "devices/pci/pci.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Bytes of an entry of the table, and vectors at the most. */
#define MSIX_ENTRY_SIZE 16u
#define MSIX_VECTOR_MAX 65u

/* Who sends the messages. */
struct msi_controller {
    /*
     * Makes a message that is sent whenever eventfd is written to. Returns its handle; -1: there are no more. Before
     * the machine runs.
     */
    int (*allocate)(void *context, int eventfd);
    /* Says what it is from now on; 0, or -1: the host has no memory, and it is as before. Any thread. */
    int (*set_message)(void *context, int handle, uint64_t address, uint32_t data);
    void *context;
};

/* What is saved. Plain data. */
struct msix_state {
    /* As the guest sees the table: address in two halves, data, control. */
    uint32_t table[MSIX_VECTOR_MAX][4];
    /* It has been raised while it was not open. */
    bool is_pending[MSIX_VECTOR_MAX];
    uint8_t unused[3];
};

struct msix {
    struct pci_function *function;
    const struct msi_controller *controller;
    struct msix_state state;
    unsigned count;
    uint8_t capability;
    atomic_bool is_enabled;
    struct {
        int eventfd;
        int handle;
        /* Neither this vector nor the function is masked, messages are on, and the function may send them. */
        atomic_bool is_open;
    } vectors[MSIX_VECTOR_MAX];
};

/*
 * Adds the capability, with a table at table_offset and a bit for each pending vector at pending_offset of a base
 * address register. The controller outlives all this. 0, or -1 with *error and nothing left.
 */
int msix_init(struct msix *msix, struct pci_function *function, const struct msi_controller *controller, unsigned count,
              unsigned bar, uint32_t table_offset, uint32_t pending_offset, struct error *error);

/* A zeroed struct is fine. */
void msix_fini(struct msix *msix);

/* The guest's accesses, 4 or 8 bytes at a multiple of that: others read as 0 and do nothing. One at a time. */
uint64_t msix_table_read(const struct msix *msix, uint64_t offset, unsigned size);
void msix_table_write(struct msix *msix, uint64_t offset, unsigned size, uint64_t value);
uint64_t msix_pending_read(const struct msix *msix, uint64_t offset, unsigned size);

/* After the function's configuration has been written. One at a time with the above. */
void msix_config_written(struct msix *msix);

/* Everything as after power-on. */
void msix_reset(struct msix *msix);

/* Adds what is saved. And after it has been read, before the function's own state is restored. */
void msix_add_state(struct msix *msix, struct state_parts *parts);
void msix_restored(struct msix *msix);

/* Whether interrupts go by messages. Any thread. */
bool msix_is_enabled(const struct msix *msix);

/* Raises a vector, or keeps it for later; a number that is none does nothing. Any thread. */
void msix_raise(struct msix *msix, unsigned vector);

#endif
