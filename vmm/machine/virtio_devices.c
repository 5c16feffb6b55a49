#include "vmm/machine/virtio_devices.h"

#include "devices/host/worker.h"
#include "devices/pci/pci.h"
#include "devices/virtio/virtio_mmio.h"
#include "devices/virtio/virtio_pci.h"
#include "memory/x86/layout.h"
#include "vmm/machine/virtio_instance.h"
#include "vmm/machine/x86/msi_routes.h"
#include "vmm/maps/device_plan.h"
#include "vmm/sandbox/sandbox.h"

#include <stdlib.h>

/* One device: what it is, and how it is reached. */
struct entry {
    struct virtio_devices *devices;
    struct virtio_instance instance;
    /* Its PCI slot, or its page of registers. */
    unsigned place;
    /* NULL where the machine's loop serves it. */
    struct worker *worker;
    /* One of the transports. */
    struct virtio_pci *pci;
    struct virtio_mmio *mmio;
};

struct virtio_devices {
    struct virtio_devices_environment environment;
    /* Of PCI's pins, as KVM has been told; guarded by the bus, which sets them. */
    bool levels[LAYOUT_PCI_GSI_COUNT];
    /* NULL where nothing is on it. */
    struct pci_bus *bus;
    struct msi_routes *routes;
    size_t count;
    struct entry entries[];
};

unsigned virtio_devices_sandboxes(const struct config *config)
{
    unsigned kinds = 0;

    for (size_t i = 0; i < config->lists.device_count; i++)
        kinds |= 1u << virtio_instance_thread(&config->lists.devices[i]);
    return kinds;
}

/* ---- Threads ---- */

static int enter_sandbox(void *context, const char *thread_name, struct error *error)
{
    const struct entry *entry = context;

    return sandbox_enter(virtio_instance_thread(entry->instance.device_config), thread_name, error);
}

static void worker_failed(void *context, const struct error *error)
{
    const struct entry *entry = context;
    const struct virtio_devices_environment *environment = &entry->devices->environment;

    environment->failed(environment->failed_context, error);
}

/* The loop that serves a device, which is made if it is the device's own. NULL with *error. */
static struct event_loop *make_loop(struct entry *entry, struct error *error)
{
    const struct worker_hooks hooks = {.enter = enter_sandbox, .failed = worker_failed, .context = entry};

    if (virtio_instance_thread(entry->instance.device_config) == SANDBOX_LOOP)
        return entry->devices->environment.loop;
    entry->worker = worker_create(entry->instance.device_config->name, &hooks, error);
    return entry->worker != NULL ? worker_loop(entry->worker) : NULL;
}

int virtio_devices_start(struct virtio_devices *devices, struct error *error)
{
    for (size_t i = 0; i < devices->count; i++) {
        struct entry *entry = &devices->entries[i];
        if (virtio_instance_start(&entry->instance, error) < 0 ||
            (entry->worker != NULL && worker_start(entry->worker, error) < 0))
            return -1;
    }
    return 0;
}

static int make_device(struct entry *entry, struct error *error)
{
    const struct virtio_devices_environment *machine = &entry->devices->environment;
    const struct config_device *config = entry->instance.device_config;
    const struct machine_memory *memory = machine->memory;
    const struct virtio_instance_environment environment = {
        .device = {.name = config->name,
                   .space = memory->spaces[memory_plan_space(memory->plan, config->space)],
                   .loop = make_loop(entry, error),
                   .log = machine->log},
        .log = machine->log,
        .commands = machine->commands,
        .agent = machine->agent,
        .hooks = {.enter = enter_sandbox, .failed = worker_failed, .context = entry},
    };

    return environment.device.loop == NULL ? -1 : virtio_instance_make(&entry->instance, &environment, error);
}

/* ---- Transports ---- */

static int attach_pci(struct virtio_devices *devices, struct entry *entry, struct error *error)
{
    const struct virtio_pci_environment environment = {
        .bus = devices->bus,
        .slot = entry->place,
        .class_code = virtio_instance_class(entry->instance.device_config->kind),
        .msi = msi_routes_controller(devices->routes),
        .notify = msi_routes_notify(devices->routes),
    };

    entry->pci = virtio_pci_create(entry->instance.device, &environment, error);
    return entry->pci != NULL ? 0 : -1;
}

static int attach_mmio(struct virtio_devices *devices, struct entry *entry, struct error *error)
{
    const unsigned index = entry->place;
    const struct irq_line irq = {
        .set_level = devices->environment.set_level,
        .context = devices->environment.irq_context,
        .gsi = layout_virtio_mmio_gsi(index, devices->environment.config->boot.tables != CONFIG_TABLES_NONE)};

    entry->mmio = virtio_mmio_create(entry->instance.device, &irq);
    if (entry->mmio == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    return bus_attach(devices->environment.mmio, LAYOUT_VIRTIO_MMIO_GPA + (uint64_t)index * LAYOUT_VIRTIO_MMIO_SIZE,
                      LAYOUT_VIRTIO_MMIO_SIZE, virtio_mmio_device(entry->mmio), error);
}

/* A device sets its pin whenever it interrupts, by message too; a system call is for changes only. */
static void set_pin(void *context, uint32_t gsi, int level)
{
    struct virtio_devices *devices = context;
    bool *known = &devices->levels[gsi - LAYOUT_PCI_FIRST_GSI];

    if (*known == (level != 0))
        return;
    *known = level != 0;
    devices->environment.set_level(devices->environment.irq_context, gsi, level);
}

static int make_bus(struct virtio_devices *devices, struct error *error)
{
    const struct virtio_devices_environment *environment = &devices->environment;
    const struct irq_line pins = {.set_level = set_pin, .context = devices};

    if (device_plan_count(environment->config, CONFIG_TRANSPORT_PCI) == 0)
        return 0;
    devices->routes = msi_routes_create(environment->vm_fd, error);
    if (devices->routes == NULL)
        return -1;
    devices->bus = pci_bus_create(LAYOUT_PCI_WINDOW_GPA, LAYOUT_PCI_WINDOW_SIZE, &pins);
    if (devices->bus == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (pci_bus_attach_ports(devices->bus, environment->ports, error) < 0)
        return -1;
    return pci_bus_attach_memory(devices->bus, environment->mmio, error);
}

/* ---- All of them ---- */

static int make_all(struct virtio_devices *devices, struct error *error)
{
    const struct config *config = devices->environment.config;
    struct plan_device planned[CONFIG_MAX_SLOT + LAYOUT_VIRTIO_MMIO_COUNT];

    if (make_bus(devices, error) < 0)
        return -1;
    device_plan_fill(config, planned);
    for (size_t i = 0; i < config->lists.device_count; i++) {
        struct entry *entry = &devices->entries[devices->count++];
        entry->instance = (struct virtio_instance){.config = config, .device_config = planned[i].config};
        entry->place = planned[i].place;
        entry->devices = devices;
        if (make_device(entry, error) < 0)
            return -1;
        if ((entry->instance.device_config->transport == CONFIG_TRANSPORT_PCI ? attach_pci(devices, entry, error)
                                                                              : attach_mmio(devices, entry, error)) < 0)
            return -1;
    }
    if (devices->bus != NULL)
        pci_bus_reset(devices->bus);
    return 0;
}

struct virtio_devices *virtio_devices_create(const struct virtio_devices_environment *environment, struct error *error)
{
    const size_t count = environment->config->lists.device_count;
    struct virtio_devices *devices = calloc(1, sizeof(*devices) + count * sizeof(devices->entries[0]));

    if (devices == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    devices->environment = *environment;
    if (make_all(devices, error) == 0)
        return devices;
    virtio_devices_destroy(devices);
    return NULL;
}

void virtio_devices_reset(struct virtio_devices *devices)
{
    if (devices->bus != NULL)
        pci_bus_reset(devices->bus);
    for (size_t i = 0; i < devices->count; i++) {
        const struct entry *entry = &devices->entries[i];
        if (entry->pci != NULL)
            virtio_pci_reset(entry->pci);
        else
            device_reset(virtio_mmio_device(entry->mmio));
        virtio_wait_stopped(entry->instance.device);
    }
}

void virtio_devices_terminal_resized(struct virtio_devices *devices)
{
    for (size_t i = 0; i < devices->count; i++)
        virtio_instance_terminal_resized(&devices->entries[i].instance);
}

void virtio_devices_finish(struct virtio_devices *devices)
{
    for (size_t i = 0; i < devices->count; i++) {
        worker_stop(devices->entries[i].worker);
        virtio_instance_finish(&devices->entries[i].instance);
    }
}

void virtio_devices_destroy(struct virtio_devices *devices)
{
    if (devices == NULL)
        return;
    for (size_t i = 0; i < devices->count; i++) {
        worker_stop(devices->entries[i].worker);
        virtio_pci_destroy(devices->entries[i].pci);
        virtio_mmio_destroy(devices->entries[i].mmio);
        virtio_instance_destroy(&devices->entries[i].instance);
        worker_destroy(devices->entries[i].worker);
    }
    pci_bus_destroy(devices->bus);
    msi_routes_destroy(devices->routes);
    free(devices);
}
