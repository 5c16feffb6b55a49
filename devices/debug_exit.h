/*
 * A port for test programs: what the guest writes, 1, 2 or 4 bytes to the first port, ends the machine with that code.
 */
#ifndef DEVICES_DEBUG_EXIT_H
#define DEVICES_DEBUG_EXIT_H

#include "devices/device.h"

/* What it takes on the bus, in bytes. */
#define DEBUG_EXIT_PORT_COUNT 4u

struct debug_exit;

/* The table is copied. NULL: no memory. */
struct debug_exit *debug_exit_create(const struct system_requests *requests);

/* Takes NULL. */
void debug_exit_destroy(struct debug_exit *debug_exit);

struct device *debug_exit_device(struct debug_exit *debug_exit);

#endif
