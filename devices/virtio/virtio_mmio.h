/*
 * virtio over memory-mapped registers: virtio 1.2, 4.2. Version 2 only.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_MMIO_H
#define DEVICES_VIRTIO_VIRTIO_MMIO_H

#include "devices/device.h"
#include "devices/virtio/virtio.h"

struct virtio_mmio;

/* The device outlives the result, which is to be put on a bus. NULL: no memory. */
struct virtio_mmio *virtio_mmio_create(struct virtio_device *device, const struct irq_line *irq);

/* Takes NULL. */
void virtio_mmio_destroy(struct virtio_mmio *mmio);

/* What belongs on the bus: LAYOUT_VIRTIO_MMIO_SIZE bytes. */
struct device *virtio_mmio_device(struct virtio_mmio *mmio);

#endif
