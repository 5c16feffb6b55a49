#include "vmm/machine/legacy_devices.h"

#include "memory/x86/layout.h"

#include <string.h>
#include <time.h>

enum { DEVICE_MAX = 8 };

struct placement {
    struct device *device;
    uint64_t base;
    uint64_t size;
};

/* The one list: attaching and resetting follow it. How many there are. */
static size_t list_placements(const struct legacy_devices *devices, struct placement list[DEVICE_MAX])
{
    const struct placement placements[] = {
        {serial_device(devices->serial), LAYOUT_COM1_PORT, SERIAL_PORT_COUNT},
        {cmos_device(devices->cmos), LAYOUT_CMOS_PORT, CMOS_PORT_COUNT},
        {i8042_device(devices->i8042), LAYOUT_I8042_PORT, I8042_PORT_COUNT},
        {acpi_pm_device(devices->acpi_pm), LAYOUT_ACPI_PM_PORT, ACPI_PM_BLOCK_SIZE},
        {reset_register_device(devices->reset_register), LAYOUT_RESET_PORT, RESET_REGISTER_PORT_COUNT},
        {debug_exit_device(devices->debug_exit), LAYOUT_DEBUG_EXIT_PORT, DEBUG_EXIT_PORT_COUNT},
        {pvpanic_device(devices->pvpanic), LAYOUT_PVPANIC_PORT, PVPANIC_PORT_COUNT},
    };
    size_t count = sizeof(placements) / sizeof(placements[0]);

    memcpy(list, placements, sizeof(placements));
    if (devices->agent_serial != NULL)
        list[count++] = (struct placement){serial_device(devices->agent_serial), LAYOUT_COM2_PORT, SERIAL_PORT_COUNT};
    return count;
}

static struct irq_line irq(const struct legacy_environment *environment, uint32_t gsi)
{
    return (struct irq_line){.set_level = environment->set_level, .context = environment->irq_context, .gsi = gsi};
}

int legacy_devices_create(struct legacy_devices *devices, const struct legacy_environment *environment,
                          struct bus *ports, struct error *error)
{
    const struct irq_line serial_irq = irq(environment, LAYOUT_COM1_GSI);
    const struct irq_line agent_irq = irq(environment, LAYOUT_COM2_GSI);
    const struct irq_line sci = irq(environment, LAYOUT_ACPI_SCI_GSI);
    const struct system_requests *requests = &environment->requests;
    struct placement placements[DEVICE_MAX];

    *devices = (struct legacy_devices){
        .serial = serial_create(&environment->serial_backend, &serial_irq),
        .cmos = cmos_create(time),
        .i8042 = i8042_create(requests),
        .acpi_pm = acpi_pm_create(&sci, requests, NULL),
        .reset_register = reset_register_create(requests),
        .debug_exit = debug_exit_create(requests),
        .pvpanic = pvpanic_create(requests, environment->log),
    };
    if (environment->agent_backend != NULL)
        devices->agent_serial = serial_create(environment->agent_backend, &agent_irq);
    if ((environment->agent_backend != NULL && devices->agent_serial == NULL) || devices->serial == NULL ||
        devices->cmos == NULL || devices->i8042 == NULL || devices->acpi_pm == NULL ||
        devices->reset_register == NULL || devices->debug_exit == NULL || devices->pvpanic == NULL) {
        legacy_devices_destroy(devices);
        return error_set(error, ERROR_HOST, "out of memory");
    }
    const size_t count = list_placements(devices, placements);
    for (size_t i = 0; i < count; i++) {
        if (bus_attach(ports, placements[i].base, placements[i].size, placements[i].device, error) < 0) {
            legacy_devices_destroy(devices);
            return -1;
        }
    }
    return 0;
}

void legacy_devices_reset(struct legacy_devices *devices)
{
    struct placement placements[DEVICE_MAX];

    const size_t count = list_placements(devices, placements);
    for (size_t i = 0; i < count; i++)
        device_reset(placements[i].device);
}

void legacy_devices_destroy(struct legacy_devices *devices)
{
    pvpanic_destroy(devices->pvpanic);
    debug_exit_destroy(devices->debug_exit);
    reset_register_destroy(devices->reset_register);
    acpi_pm_destroy(devices->acpi_pm);
    i8042_destroy(devices->i8042);
    cmos_destroy(devices->cmos);
    serial_destroy(devices->agent_serial);
    serial_destroy(devices->serial);
    *devices = (struct legacy_devices){0};
}
