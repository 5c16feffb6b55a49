/*
 * One of each device that can be saved, on buses, without KVM: for tests that save and restore.
 */
#ifndef TESTS_UNIT_STATE_RIG_H
#define TESTS_UNIT_STATE_RIG_H

#include "devices/device.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_mmio.h"
#include "fake_guest.h"
#include "fake_pci.h"

enum state_rig_kind {
    RIG_SERIAL,
    RIG_CMOS,
    RIG_ACPI_PM,
    RIG_I8042,
    RIG_PVPANIC,
    RIG_RESET_REGISTER,
    RIG_DEBUG_EXIT,
    RIG_PCI_BUS,
    RIG_VIRTIO_PCI,
    RIG_VIRTIO_MMIO,
    RIG_KINDS,
};

enum {
    RIG_SLOT = 2,
    RIG_SERIAL_GSI = 4,
    RIG_SCI_GSI = 9,
    RIG_MMIO_GSI = 11,
    RIG_SERIAL_PORT = 0x3f8,
    RIG_CMOS_PORT = 0x70,
    RIG_ACPI_PORT = 0x600,
    RIG_I8042_PORT = 0x60,
    RIG_PVPANIC_PORT = 0x505,
    RIG_RESET_PORT = 0xcf9,
    RIG_EXIT_PORT = 0xf4,
    /* Where the driver has its rings, for queues of 8. */
    RIG_RINGS = 0x10000,
    RIG_BUFFERS = 0x40000,
};

struct state_rig {
    struct fake_pci pci;
    struct device *devices[RIG_KINDS];
    struct serial *serial;
    struct cmos *cmos;
    struct acpi_pm *acpi_pm;
    struct i8042 *i8042;
    struct pvpanic *pvpanic;
    struct reset_register *reset_register;
    struct debug_exit *debug_exit;
    struct event_loop *loop;
    struct log log;
    struct virtio_rng *rngs[2];
    struct virtio_pci *virtio_pci;
    struct virtio_mmio *virtio_mmio;
    /* What the serial port's back end takes now, and has taken; and how often it was told of room for input. */
    size_t serial_room;
    size_t serial_taken;
    unsigned input_rooms;
};

/* false: no memory. */
bool state_rig_begin(struct state_rig *rig);
void state_rig_end(struct state_rig *rig);

/* As device_save() and virtio_save(), and so on. */
uint8_t *state_rig_save(struct state_rig *rig, enum state_rig_kind kind, size_t *ret_size);
int state_rig_restore(struct state_rig *rig, enum state_rig_kind kind, const void *bytes, size_t size,
                      struct error *error);
void state_rig_reset(struct state_rig *rig, enum state_rig_kind kind);

/* The virtio device of a kind, or NULL. */
struct virtio_device *state_rig_virtio(struct state_rig *rig, enum state_rig_kind kind);

/* All that a guest can read of it, with what reading does; returns how much of the room it took. */
enum { RIG_IMAGE_SIZE = 8192 };
size_t state_rig_read(struct state_rig *rig, enum state_rig_kind kind, uint8_t image[RIG_IMAGE_SIZE]);

#endif
