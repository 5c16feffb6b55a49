/*
 * The machine's devices that every PC has, or that take their place: what there is, where, in which order.
 */
#ifndef VMM_MACHINE_LEGACY_DEVICES_H
#define VMM_MACHINE_LEGACY_DEVICES_H

#include "devices/acpi_pm.h"
#include "devices/bus.h"
#include "devices/cmos.h"
#include "devices/debug_exit.h"
#include "devices/i8042.h"
#include "devices/pvpanic.h"
#include "devices/reset_register.h"
#include "devices/serial.h"
#include "memory/support/log.h"

struct legacy_devices {
    struct serial *serial;
    /* The second port, which leads to the guest's agent; NULL: there is none. */
    struct serial *agent_serial;
    struct cmos *cmos;
    struct i8042 *i8042;
    struct acpi_pm *acpi_pm;
    struct reset_register *reset_register;
    struct debug_exit *debug_exit;
    struct pvpanic *pvpanic;
};

/* How many ports there are. */
#define LEGACY_PORT_COUNT 0x10000u

/* What the devices are connected to. The pointers must outlive them. */
struct legacy_environment {
    /* For all interrupts; context is set_level's. */
    void (*set_level)(void *context, uint32_t gsi, int level);
    void *irq_context;
    struct serial_backend serial_backend;
    /* NULL: there is no second port. */
    const struct serial_backend *agent_backend;
    struct system_requests requests;
    const struct log *log;
};

/* Makes all of them and attaches them to the port bus. 0, or -1 with *error and nothing left but the attachments. */
int legacy_devices_create(struct legacy_devices *devices, const struct legacy_environment *environment,
                          struct bus *ports, struct error *error);

/* Back to power-on state. No vCPU may be running. */
void legacy_devices_reset(struct legacy_devices *devices);

/* A zeroed or half-built struct is fine. */
void legacy_devices_destroy(struct legacy_devices *devices);

#endif
