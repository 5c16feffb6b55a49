/*
 * The reset control register of PC chip sets, which the FADT names: ACPI guests reboot through it.
 */
#ifndef DEVICES_RESET_REGISTER_H
#define DEVICES_RESET_REGISTER_H

#include "devices/device.h"

/* What it takes on the bus, in bytes. */
#define RESET_REGISTER_PORT_COUNT 1u
/* What a guest writes to reset the machine, as the FADT announces it: bits 1 and 2. */
#define RESET_REGISTER_VALUE 0x06u

struct reset_register;

/* The table is copied. NULL: no memory. */
struct reset_register *reset_register_create(const struct system_requests *requests);

/* Takes NULL. */
void reset_register_destroy(struct reset_register *reset_register);

struct device *reset_register_device(struct reset_register *reset_register);

#endif
