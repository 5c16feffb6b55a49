#include "vmm/machine/dry_run.h"

#include "devices/bus.h"
#include "devices/pci/pci.h"
#include "memory/x86/layout.h"
#include "vmm/machine/legacy_devices.h"
#include "vmm/maps/device_plan.h"
#include "vmm/maps/maps.h"

#include <inttypes.h>
#include <unistd.h>

static void ignore_level(void *context, uint32_t gsi, int level)
{
    (void)context;
    (void)gsi;
    (void)level;
}

static void ignore_request(void *context, enum system_request request, uint32_t argument)
{
    (void)context;
    (void)request;
    (void)argument;
}

static size_t accept_output(void *context, const uint8_t *bytes, size_t size)
{
    (void)context;
    (void)bytes;
    return size;
}

static void print_comment(void *context, const char *text)
{
    fprintf(context, "# %s\n", text);
}

static int print_maps(const struct config *config, FILE *out, struct error *error)
{
    struct memory_plan plan;

    if (memory_plan_create(config, &plan, error) < 0)
        return -1;
    config_print(config, out);
    fprintf(out, "\n");
    maps_write_text(&plan, NULL, print_comment, out);
    memory_plan_free(&plan);
    return 0;
}

static void print_ports(const struct bus *ports, FILE *out)
{
    uint64_t base, size;
    const char *name;
    const size_t count = bus_list(ports, SIZE_MAX, NULL, NULL, NULL);

    fprintf(out, "# I/O ports:\n");
    for (size_t i = 0; i < count; i++) {
        bus_list(ports, i, &base, &size, &name);
        fprintf(out, "#   0x%04" PRIx64 " - 0x%04" PRIx64 "  %s\n", base, base + size - 1, name);
    }
}

/* A PCI bus, where the machine has one; *ret_bus is to be destroyed. */
static int attach_pci(const struct config *config, struct bus *ports, struct pci_bus **ret_bus, struct error *error)
{
    const struct irq_line pins = {.set_level = ignore_level};

    *ret_bus = NULL;
    if (device_plan_count(config, CONFIG_TRANSPORT_PCI) == 0)
        return 0;
    *ret_bus = pci_bus_create(LAYOUT_PCI_WINDOW_GPA, LAYOUT_PCI_WINDOW_SIZE, &pins);
    if (*ret_bus == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    return pci_bus_attach_ports(*ret_bus, ports, error);
}

int dry_run_print(const struct config *config, FILE *out, struct error *error)
{
    struct log log = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    const struct legacy_environment environment = {
        .set_level = ignore_level,
        .serial_backend = {.write = accept_output},
        .requests = {.request = ignore_request},
        .log = &log,
    };
    struct legacy_devices devices;
    struct pci_bus *pci;

    if (print_maps(config, out, error) < 0)
        return -1;
    struct bus *ports = bus_create("ports", LEGACY_PORT_COUNT);
    if (ports == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (legacy_devices_create(&devices, &environment, ports, error) < 0) {
        bus_destroy(ports);
        return -1;
    }
    const int result = attach_pci(config, ports, &pci, error);
    if (result == 0)
        print_ports(ports, out);
    pci_bus_destroy(pci);
    legacy_devices_destroy(&devices);
    bus_destroy(ports);
    return result;
}
