/*
 * What every device is to the buses: a table of functions and a lock.
 */
#ifndef DEVICES_DEVICE_H
#define DEVICES_DEVICE_H

#include "devices/state.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct device;

/* One constant table per kind of device. The bus holds device->lock around read, write and reset. */
struct device_ops {
    /* As in messages: "serial", "cmos". */
    const char *name;
    /* Accesses in bytes that the device takes: powers of two. The bus answers others with all ones, or drops them. */
    uint8_t min_access;
    uint8_t max_access;
    /*
     * An access that begins in the device's range may reach over its end: PCs have other ports inside PCI's address
     * register, which is accessed as a whole.
     */
    bool may_reach_over;
    /* offset counts from where the device was attached. The guest chooses everything: nothing is an error here. */
    uint64_t (*read)(struct device *device, uint64_t offset, unsigned size);
    void (*write)(struct device *device, uint64_t offset, unsigned size, uint64_t value);
    /* Back to power-on state; host resources stay. */
    void (*reset)(struct device *device);
    /* Adds what is to be saved of it, brought up to date. NULL: it has no state. */
    void (*add_state)(struct device *device, struct state_parts *parts);
    /* Its state has been read: makes everything else agree with it, such as its interrupt. NULL: nothing to do. */
    void (*restored)(struct device *device);
};

/* The first member of each device's struct. A device knows its offset, never its address, and nothing of KVM. */
struct device {
    const struct device_ops *ops;
    /* Guards the device's state: taken by the bus, and by the device's own entries from host threads. */
    pthread_mutex_t lock;
};

void device_init(struct device *device, const struct device_ops *ops);
void device_fini(struct device *device);

/* Calls ops->reset under the lock. */
void device_reset(struct device *device);

/*
 * What is saved of the device, as state_write() and state_read(); without state that is no parts. No vCPU may be
 * running.
 */
uint8_t *device_save(struct device *device, size_t *ret_size);
int device_restore(struct device *device, const void *bytes, size_t size, struct error *error);

/* A device's way to an interrupt controller: the level of one input. Called with the device's lock held. */
struct irq_line {
    void (*set_level)(void *context, uint32_t gsi, int level);
    void *context;
    uint32_t gsi;
};

void irq_line_set(const struct irq_line *line, int level);

/*
 * What a device can ask of the machine. Called on the vCPU thread whose access asked, with the device's lock held: it
 * may not reset devices.
 */
enum system_request {
    SYSTEM_POWER_OFF,
    SYSTEM_RESET,
    /* The guest kernel reports that it has panicked. */
    SYSTEM_GUEST_PANIC,
    /* The guest ends the machine with a code (debug-exit): argument is what it wrote. */
    SYSTEM_DEBUG_EXIT,
};

struct system_requests {
    void (*request)(void *context, enum system_request request, uint32_t argument);
    void *context;
};

#endif
