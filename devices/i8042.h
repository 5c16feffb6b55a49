/*
 * What a machine without a keyboard keeps of its keyboard controller: the pulse on the processor's reset line. A driver
 * that probes finds none: the data that it drains first never ends.
 */
#ifndef DEVICES_I8042_H
#define DEVICES_I8042_H

#include "devices/device.h"

/* What it takes on the bus, in bytes: from the data port to the command port; nothing is between them. */
#define I8042_PORT_COUNT 5u

struct i8042;

/* The table is copied. NULL: no memory. */
struct i8042 *i8042_create(const struct system_requests *requests);

/* Takes NULL. */
void i8042_destroy(struct i8042 *i8042);

struct device *i8042_device(struct i8042 *i8042);

#endif
