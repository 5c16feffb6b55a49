/*
 * Two buses reach all devices: one of I/O ports, one of memory-mapped registers.
 */
#ifndef DEVICES_BUS_H
#define DEVICES_BUS_H

#include "devices/device.h"
#include "memory/support/error.h"

#include <stddef.h>
#include <stdint.h>

struct bus;

/* name is for messages ("ports", "mmio") and is kept; addresses go from 0 to size - 1. NULL: no memory. */
struct bus *bus_create(const char *name, uint64_t size);

/* Devices are not the bus's to destroy. Takes NULL. */
void bus_destroy(struct bus *bus);

/*
 * Puts a device at [base, base + size). Refused with an error that names both: overlap, wrapping, empty, beyond the
 * end. Before the machine runs only.
 */
int bus_attach(struct bus *bus, uint64_t base, uint64_t size, struct device *device, struct error *error);

/*
 * One guest access of 1, 2, 4 or 8 bytes. Where no device is, or it does not take the width, or the access crosses its
 * end, which few allow, a read gives all ones and a write is dropped. Any vCPU thread.
 */
uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size);
void bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value);

/* Lists what is attached, in ascending order: returns the count, for index below it fills in what is not NULL. */
size_t bus_list(const struct bus *bus, size_t index, uint64_t *base, uint64_t *size, const char **name);

#endif
