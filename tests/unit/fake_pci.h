/*
 * A machine's PCI bus for tests, without KVM: both buses, interrupt pins, messages and notifications, all recorded.
 */
#ifndef TESTS_UNIT_FAKE_PCI_H
#define TESTS_UNIT_FAKE_PCI_H

#include "devices/bus.h"
#include "devices/pci/msix.h"
#include "devices/virtio/virtio_pci.h"
#include "memory/x86/layout.h"

#include <stdbool.h>
#include <stdint.h>

enum { FAKE_PCI_MESSAGES = 160, FAKE_PCI_ATTACHED = 64, FAKE_PCI_GSIS = 24 };

struct fake_pci {
    struct pci_bus *bus;
    struct bus *ports;
    struct bus *mmio;
    int levels[FAKE_PCI_GSIS];
    struct {
        int eventfd;
        uint64_t address;
        uint32_t data;
    } messages[FAKE_PCI_MESSAGES];
    unsigned message_count;
    /* How many can be allocated; and whether messages cannot be set now. */
    unsigned message_limit;
    bool refuses_messages;
    /* What is attached now. fd -1: free. */
    struct {
        uint64_t gpa;
        int fd;
    } attached[FAKE_PCI_ATTACHED];
    bool refuses_notifications;
};

/* The bus is on ports and in memory where the machine has it. */
void fake_pci_begin(struct fake_pci *pci);
void fake_pci_end(struct fake_pci *pci);

struct msi_controller fake_pci_messages(struct fake_pci *pci);
struct notify_controller fake_pci_notifications(struct fake_pci *pci);

/* How many notifications are attached at a place; and how often a message has been sent since the last call. */
unsigned fake_pci_attached_at(const struct fake_pci *pci, uint64_t gpa);
uint64_t fake_pci_sent(const struct fake_pci *pci, unsigned message);

/* The configuration of a slot, through memory. */
uint32_t fake_pci_get(struct fake_pci *pci, unsigned slot, unsigned offset, unsigned size);
void fake_pci_set(struct fake_pci *pci, unsigned slot, unsigned offset, unsigned size, uint32_t value);

/* Where a slot has its capability of this kind that follows the one at after, or the first; 0: it has none. */
unsigned fake_pci_capability(struct fake_pci *pci, unsigned slot, uint8_t id, unsigned after);

#endif
