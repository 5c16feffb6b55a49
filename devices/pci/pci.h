/*
 * A PCI bus with one host bridge: configuration space by ports and by memory (PCI Express's ECAM), and base address
 * registers that the guest may move inside one window. PCI Local Bus 3.0, chapter 6; PCI Express Base 3.0, 7.2.2.
 *
 * Registers' offsets and bits are <linux/pci_regs.h>'s.
 */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H

#include "devices/bus.h"
#include "devices/device.h"
#include "memory/support/error.h"

#include <linux/pci_regs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PCI_CONFIG_SIZE 256u
#define PCI_BAR_COUNT 6u
/* Of the bus; slot 0 is the host bridge. */
#define PCI_SLOT_COUNT 32u

/* Of the configuration space in memory: one bus. */
#define PCI_ECAM_SIZE (1u << 20)

struct pci_function;

/* What a function is made of. Constant. */
struct pci_identity {
    uint16_t vendor;
    uint16_t device;
    uint16_t subsystem_vendor;
    uint16_t subsystem;
    /* base class, subclass and interface: PCI Code and ID Assignment 1.11, 1 */
    uint32_t class_code;
    uint8_t revision;
};

struct pci_ops {
    /*
     * An access of the guest to a base address register's memory. On a vCPU's thread, with the window's lock held; the
     * guest chooses everything.
     */
    uint64_t (*read)(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size);
    void (*write)(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
    /*
     * Some bytes of the configuration space have been written, after they have changed. With the bus's lock held. NULL:
     * nothing to do.
     */
    void (*config_written)(struct pci_function *function, unsigned offset, unsigned size);
    /* The same for a read that is about to happen. NULL: nothing to do. */
    void (*config_read)(struct pci_function *function, unsigned offset, unsigned size);
    /* A memory register has got another address, or none (UINT64_MAX). With the bus's lock held. NULL: never mind. */
    void (*moved)(struct pci_function *function, unsigned bar, uint64_t gpa);
};

/* What is saved of a function. Plain data. */
struct pci_state {
    uint8_t config[PCI_CONFIG_SIZE];
};

/* The first member of each function's struct. */
struct pci_function {
    const struct pci_ops *ops;
    struct pci_state state;
    /* Bits that the guest may change, and what they are after power-on. */
    uint8_t writable[PCI_CONFIG_SIZE];
    uint8_t power_on[PCI_CONFIG_SIZE];
    struct {
        uint64_t size;
        /* Where it is decoded now; UINT64_MAX: nowhere. */
        uint64_t gpa;
    } bars[PCI_BAR_COUNT];
    /* Where the next capability goes, and where the last one is; 0: there is none yet. */
    uint8_t next_capability;
    uint8_t last_capability;
    struct pci_bus *bus;
    uint8_t slot;
    /* It asks for an interrupt by its pin. */
    atomic_bool is_requested;
    /* Guarded by the bus: its pin is asserted. */
    bool is_asserted;
};

/* Fills in a function without any register. */
void pci_function_init(struct pci_function *function, const struct pci_ops *ops, const struct pci_identity *identity);

/* Gives it 32-bit memory of a size that is a power of two, 4096 or more. Before pci_bus_attach(). */
void pci_function_add_bar(struct pci_function *function, unsigned bar, uint32_t size);

/* Gives it an interrupt pin, INTA#. Before pci_bus_attach(). */
void pci_function_add_pin(struct pci_function *function);

/*
 * Adds a capability of size bytes, its id among them; returns its offset. What the guest may write is told by
 * pci_function_set_writable(). Before pci_bus_attach(). The sizes of all fit: an assertion.
 */
uint8_t pci_function_add_capability(struct pci_function *function, uint8_t id, uint8_t size);

/* Writes a constant into the space, before pci_bus_attach(), little-endian; and says which bits the guest may change.
 */
void pci_function_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value);
void pci_function_set_writable(struct pci_function *function, unsigned offset, unsigned size, uint32_t bits);

/* A little-endian number of the space. */
uint32_t pci_function_get(const struct pci_function *function, unsigned offset, unsigned size);

/* Whether the guest lets it make requests of its own: to memory, and interrupts as messages. Any thread. */
bool pci_function_is_bus_master(const struct pci_function *function);

/*
 * Says whether the function asks for an interrupt by its pin; the guest may have forbidden that. Any thread, with no
 * lock of the bus's.
 */
void pci_function_set_pin(struct pci_function *function, bool is_asserted);

/*
 * Adds what is saved. And after it has been read: constants are again what they are here, registers are decoded where
 * the state says, and config_written is called for the whole space. No vCPU may be running. The bus's own state, with
 * its bridge's, is pci_bus_address()'s.
 */
void pci_function_add_state(struct pci_function *function, struct state_parts *parts);
void pci_function_restored(struct pci_function *function);

struct pci_bus;

/* The input of the interrupt controllers that slots' pins are wired to; several share one. */
uint32_t pci_slot_gsi(unsigned slot);

/* window: guest-physical addresses that base address registers may be given. pins: of any GSI, which set_level gets.
 * NULL: no memory. */
struct pci_bus *pci_bus_create(uint64_t window_gpa, uint64_t window_size, const struct irq_line *pins);

/* Functions are not the bus's to destroy. Takes NULL. */
void pci_bus_destroy(struct pci_bus *bus);

/*
 * Puts a function into a slot from 1 on, with addresses from the window for its registers. Before the machine runs.
 * Refused: the slot is taken, the window is full.
 */
int pci_bus_attach(struct pci_bus *bus, unsigned slot, struct pci_function *function, struct error *error);

/* Everything as after power-on, and the registers where they were then. No vCPU may be running. */
void pci_bus_reset(struct pci_bus *bus);

/*
 * Puts what is the bus's own where memory/x86/layout.h has it: two registers on ports; the configuration space and the
 * window in memory. Before the machine runs. 0, or -1 with *error.
 */
int pci_bus_attach_ports(struct pci_bus *bus, struct bus *ports, struct error *error);
int pci_bus_attach_memory(struct pci_bus *bus, struct bus *mmio, struct error *error);

/* The address register, with which the bus's state is saved. */
struct device *pci_bus_address(struct pci_bus *bus);

#endif
