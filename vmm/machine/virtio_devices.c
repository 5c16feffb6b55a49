#include "vmm/machine/virtio_devices.h"

#include "devices/host/worker.h"
#include "devices/pci/pci.h"
#include "devices/virtio/rng.h"
#include "devices/virtio/virtio_mmio.h"
#include "devices/virtio/virtio_pci.h"
#include "memory/x86/layout.h"
#include "vmm/machine/x86/msi_routes.h"
#include "vmm/maps/device_plan.h"
#include "vmm/sandbox/sandbox.h"

#include <stdlib.h>
#include <sys/random.h>

/* One device: what it is, and how it is reached. */
struct entry {
    struct virtio_devices *devices;
    const struct config_device *config;
    /* Its PCI slot, or its page of registers. */
    unsigned place;
    /* NULL where the machine's loop serves it. */
    struct worker *worker;
    struct virtio_device *device;
    /* One of the kinds. */
    struct virtio_rng *rng;
    /* One of the transports. */
    struct virtio_pci *pci;
    struct virtio_mmio *mmio;
};

struct virtio_devices {
    struct virtio_devices_environment environment;
    /* NULL where nothing is on it. */
    struct pci_bus *bus;
    struct msi_routes *routes;
    size_t count;
    struct entry entries[];
};

/* Which thread serves a kind: the machine's loop, or one of its own. */
static enum sandbox_thread thread_of(enum config_device_kind kind)
{
    switch (kind) {
    case CONFIG_DEVICE_RNG:
        return SANDBOX_LOOP;
    }
    return SANDBOX_LOOP;
}

unsigned virtio_devices_sandboxes(const struct config *config)
{
    unsigned kinds = 0;

    for (size_t i = 0; i < config->lists.device_count; i++)
        kinds |= 1u << thread_of(config->lists.devices[i].kind);
    return kinds;
}

/* ---- Threads ---- */

static int enter_sandbox(void *context, const char *thread_name, struct error *error)
{
    const struct entry *entry = context;

    return sandbox_enter(thread_of(entry->config->kind), thread_name, error);
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

    if (thread_of(entry->config->kind) == SANDBOX_LOOP)
        return entry->devices->environment.loop;
    entry->worker = worker_create(entry->config->name, &hooks, error);
    return entry->worker != NULL ? worker_loop(entry->worker) : NULL;
}

int virtio_devices_start(struct virtio_devices *devices, struct error *error)
{
    for (size_t i = 0; i < devices->count; i++)
        if (devices->entries[i].worker != NULL && worker_start(devices->entries[i].worker, error) < 0)
            return -1;
    return 0;
}

/* ---- Kinds ---- */

static ssize_t host_random(void *context, void *buffer, size_t size)
{
    (void)context;
    return getrandom(buffer, size, GRND_NONBLOCK);
}

static int make_device(struct virtio_devices *devices, struct entry *entry, struct error *error)
{
    const struct machine_memory *memory = devices->environment.memory;
    const struct virtio_environment environment = {
        .name = entry->config->name,
        .space = memory->spaces[memory_plan_space(memory->plan, entry->config->space)],
        .loop = make_loop(entry, error),
        .log = devices->environment.log,
    };

    if (environment.loop == NULL)
        return -1;

    switch (entry->config->kind) {
    case CONFIG_DEVICE_RNG:
        entry->rng = virtio_rng_create(&environment, host_random, NULL, error);
        entry->device = entry->rng != NULL ? virtio_rng_device(entry->rng) : NULL;
        break;
    }
    return entry->device != NULL ? 0 : -1;
}

/* Base class and subclass of a kind: PCI Code and ID Assignment 1.11, 1. */
static uint16_t class_of(enum config_device_kind kind)
{
    switch (kind) {
    case CONFIG_DEVICE_RNG:
        return 0x1000; /* encryption: network and computing, which a source of random numbers comes nearest to */
    }
    return 0xff00; /* no class */
}

static void destroy_device(const struct entry *entry)
{
    if (entry->device == NULL)
        return;
    switch (entry->config->kind) {
    case CONFIG_DEVICE_RNG:
        virtio_rng_destroy(entry->rng);
        break;
    }
}

/* ---- Transports ---- */

static int attach_pci(struct virtio_devices *devices, struct entry *entry, struct error *error)
{
    const struct virtio_pci_environment environment = {
        .bus = devices->bus,
        .slot = entry->place,
        .class_code = class_of(entry->config->kind),
        .msi = msi_routes_controller(devices->routes),
        .notify = msi_routes_notify(devices->routes),
    };

    entry->pci = virtio_pci_create(entry->device, &environment, error);
    return entry->pci != NULL ? 0 : -1;
}

static int attach_mmio(struct virtio_devices *devices, struct entry *entry, struct error *error)
{
    const unsigned index = entry->place;
    const struct irq_line irq = {.set_level = devices->environment.set_level,
                                 .context = devices->environment.irq_context,
                                 .gsi = LAYOUT_PCI_FIRST_GSI + index % LAYOUT_PCI_GSI_COUNT};

    entry->mmio = virtio_mmio_create(entry->device, &irq);
    if (entry->mmio == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    return bus_attach(devices->environment.mmio, LAYOUT_VIRTIO_MMIO_GPA + (uint64_t)index * LAYOUT_VIRTIO_MMIO_SIZE,
                      LAYOUT_VIRTIO_MMIO_SIZE, virtio_mmio_device(entry->mmio), error);
}

static int attach_bus(struct pci_bus *bus, const struct virtio_devices_environment *environment, struct error *error)
{
    if (bus_attach(environment->ports, LAYOUT_PCI_CONFIG_PORT, PCI_ADDRESS_PORT_COUNT, pci_bus_address(bus), error) <
            0 ||
        bus_attach(environment->ports, LAYOUT_PCI_CONFIG_PORT + PCI_DATA_OFFSET, PCI_DATA_PORT_COUNT, pci_bus_data(bus),
                   error) < 0 ||
        bus_attach(environment->mmio, LAYOUT_PCI_MMCONFIG_GPA, PCI_ECAM_SIZE, pci_bus_ecam(bus), error) < 0)
        return -1;
    return bus_attach(environment->mmio, LAYOUT_PCI_WINDOW_GPA, LAYOUT_PCI_WINDOW_SIZE, pci_bus_window(bus), error);
}

static int make_bus(struct virtio_devices *devices, struct error *error)
{
    const struct virtio_devices_environment *environment = &devices->environment;
    const struct irq_line pins = {.set_level = environment->set_level, .context = environment->irq_context};

    if (device_plan_count(environment->config, CONFIG_TRANSPORT_PCI) == 0)
        return 0;
    devices->routes = msi_routes_create(environment->vm_fd, error);
    if (devices->routes == NULL)
        return -1;
    devices->bus = pci_bus_create(LAYOUT_PCI_WINDOW_GPA, LAYOUT_PCI_WINDOW_SIZE, &pins);
    if (devices->bus == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    return attach_bus(devices->bus, environment, error);
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
        entry->config = planned[i].config;
        entry->place = planned[i].place;
        entry->devices = devices;
        if (make_device(devices, entry, error) < 0)
            return -1;
        if ((entry->config->transport == CONFIG_TRANSPORT_PCI ? attach_pci(devices, entry, error)
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
        virtio_wait_stopped(entry->device);
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
        destroy_device(&devices->entries[i]);
        worker_destroy(devices->entries[i].worker);
    }
    pci_bus_destroy(devices->bus);
    msi_routes_destroy(devices->routes);
    free(devices);
}
