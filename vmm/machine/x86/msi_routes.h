/*
 * What devices' interrupts come to in KVM: its table of GSIs, of which the first are inputs of the interrupt
 * controllers and the rest messages; and stores to guest addresses that KVM turns into events.
 */
#ifndef VMM_MACHINE_X86_MSI_ROUTES_H
#define VMM_MACHINE_X86_MSI_ROUTES_H

#include "devices/pci/msix.h"
#include "devices/virtio/virtio_pci.h"
#include "memory/support/error.h"

struct msi_routes;

/* The VM behind vm_fd has its interrupt controllers, which outlive this. NULL with *error. */
struct msi_routes *msi_routes_create(int vm_fd, struct error *error);

/* Takes NULL. */
void msi_routes_destroy(struct msi_routes *routes);

/* For devices. */
struct msi_controller msi_routes_controller(struct msi_routes *routes);
struct notify_controller msi_routes_notify(struct msi_routes *routes);

#endif
