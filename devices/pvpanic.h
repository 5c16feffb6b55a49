/*
 * pvpanic: a port through which a guest kernel says that it has panicked (QEMU, docs/specs/pvpanic.rst).
 */
#ifndef DEVICES_PVPANIC_H
#define DEVICES_PVPANIC_H

#include "devices/device.h"
#include "memory/support/log.h"

/* What it takes on the bus, in bytes. */
#define PVPANIC_PORT_COUNT 1u

struct pvpanic;

/* log is kept, requests is copied. NULL: no memory. */
struct pvpanic *pvpanic_create(const struct system_requests *requests, const struct log *log);

/* Takes NULL. */
void pvpanic_destroy(struct pvpanic *pvpanic);

struct device *pvpanic_device(struct pvpanic *pvpanic);

#endif
