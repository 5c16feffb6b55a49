/*
 * virtio over PCI: virtio 1.2, 4.1. No legacy interface.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H

#include "devices/pci/msix.h"
#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"

struct virtio_pci;

/*
 * Who has the host's kernel write to a descriptor when the guest stores to an address, so that the vCPU need not leave.
 */
struct notify_controller {
    /* From now on a store of 2 bytes at gpa writes to fd, and goes nowhere else. 0, or -1: stores exit as ever. */
    int (*attach)(void *context, uint64_t gpa, int fd);
    void (*detach)(void *context, uint64_t gpa, int fd);
    void *context;
};

/* Connections of a device; copied. */
struct virtio_pci_environment {
    struct pci_bus *bus;
    unsigned slot;
    /* base class and subclass: PCI Code and ID Assignment 1.11, 1 */
    uint16_t class_code;
    struct msi_controller msi;
    struct notify_controller notify;
};

/* Puts a device on the bus; it outlives the result. NULL with *error. Before the machine runs. */
struct virtio_pci *virtio_pci_create(struct virtio_device *device, const struct virtio_pci_environment *environment,
                                     struct error *error);

/* The bus is not used any more. Takes NULL. */
void virtio_pci_destroy(struct virtio_pci *pci);

/* The device and its registers as after power-on; after pci_bus_reset(). No vCPU may be running. */
void virtio_pci_reset(struct virtio_pci *pci);

#endif
