/*
 * Where a machine's virtio devices are, worked out from its configuration: which PCI slot, or which of the places
 * without PCI.
 */
#ifndef VMM_MAPS_DEVICE_PLAN_H
#define VMM_MAPS_DEVICE_PLAN_H

#include "vmm/config/config.h"

#include <stddef.h>
#include <stdint.h>

struct plan_device {
    const struct config_device *config;
    /* Of PCI, from 1 on; or the number of its page of registers, from 0 on. */
    unsigned place;
};

/*
 * Fills in one entry for each of config->lists.devices, in their order. Slots that the file gives are kept; the others
 * are the lowest that are free, in the order of the file. config has passed config_check().
 */
void device_plan_fill(const struct config *config, struct plan_device *devices);

/* What messages call a kind: "rng". */
const char *device_plan_kind(enum config_device_kind kind);

/* How many have this transport. */
size_t device_plan_count(const struct config *config, enum config_transport transport);

#endif
