/*
 * Any sequence of accesses to a virtio-rng behind PCI: its configuration space, its registers and the ports, with rings
 * in guest memory that are the input's too, and its queue served in between.
 */
#include "devices/virtio/rng.h"
#include "fake_guest.h"
#include "fake_pci.h"
#include "fuzz_require.h"

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOT = 3, RINGS = 0x10000, COMMON = 0 };

struct input {
    const uint8_t *at;
    size_t left;
};

struct machine {
    struct fake_pci pci;
    struct event_loop *loop;
    struct log log;
    struct virtio_rng *rng;
    struct virtio_pci *transport;
};

/* A number of so many bytes; what is behind the end is 0. */
static uint64_t take(struct input *input, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && input->left > 0; i++, input->left--)
        value |= (uint64_t)*input->at++ << 8 * i;
    return value;
}

static ssize_t fill(void *context, void *buffer, size_t size)
{
    (void)context;
    memset(buffer, 0x5a, size);
    return (ssize_t)size;
}

static void begin(struct machine *machine)
{
    struct error error;

    fake_guest_reset();
    fake_pci_begin(&machine->pci);
    machine->loop = event_loop_create(&error);
    machine->log = (struct log){.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    const struct virtio_environment device = {.name = "rng0", .loop = machine->loop, .log = &machine->log};
    machine->rng = virtio_rng_create(&device, fill, NULL, &error);
    require(machine->rng != NULL);
    const struct virtio_pci_environment environment = {
        .bus = machine->pci.bus,
        .slot = SLOT,
        .msi = fake_pci_messages(&machine->pci),
        .notify = fake_pci_notifications(&machine->pci),
    };
    machine->transport = virtio_pci_create(virtio_rng_device(machine->rng), &environment, &error);
    require(machine->transport != NULL);
    fake_pci_set(&machine->pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void end(struct machine *machine)
{
    virtio_pci_destroy(machine->transport);
    virtio_rng_destroy(machine->rng);
    event_loop_destroy(machine->loop);
    fake_pci_end(&machine->pci);
    require(fake_guest_pins == 0);
}

static uint64_t bar(struct machine *machine)
{
    return fake_pci_get(&machine->pci, SLOT, PCI_BASE_ADDRESS_0, 4);
}

static void set(struct machine *machine, uint64_t offset, unsigned size, uint64_t value)
{
    bus_write(machine->pci.mmio, bar(machine) + offset, size, value);
}

/* A driver that does all right, with features and a size of the input's. */
static void start(struct machine *machine, struct input *input)
{
    const uint64_t features = take(input, 5) | 1ull << VIRTIO_F_VERSION_1;
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

    set(machine, VIRTIO_PCI_COMMON_STATUS, 1, 0);
    set(machine, VIRTIO_PCI_COMMON_STATUS, 1, status);
    for (unsigned half = 0; half < 2; half++) {
        set(machine, VIRTIO_PCI_COMMON_GFSELECT, 4, half);
        set(machine, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * half));
    }
    status |= VIRTIO_CONFIG_S_FEATURES_OK;
    set(machine, VIRTIO_PCI_COMMON_STATUS, 1, status);
    set(machine, VIRTIO_PCI_COMMON_Q_SIZE, 2, 1u << take(input, 1) % 8);
    set(machine, VIRTIO_PCI_COMMON_Q_DESCLO, 8, RINGS);
    set(machine, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, RINGS + 0x1000);
    set(machine, VIRTIO_PCI_COMMON_Q_USEDLO, 8, RINGS + 0x2000);
    set(machine, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    set(machine, VIRTIO_PCI_COMMON_STATUS, 1, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void access_bus(struct bus *bus, uint64_t address, unsigned choice, struct input *input)
{
    const unsigned size = 1u << choice % 4;

    if (choice & 4)
        bus_write(bus, address, size, take(input, size));
    else if (size < 8)
        require(bus_read(bus, address, size) >> 8 * size == 0);
    else
        (void)bus_read(bus, address, size);
}

static void serve(struct machine *machine)
{
    struct fake_queue queue = {.device = virtio_rng_device(machine->rng)};

    fake_queue_serve(&queue);
    require(fake_guest_pins == 0);
}

static void write_memory(struct input *input)
{
    const uint64_t place = RINGS + take(input, 2);
    const size_t length = take(input, 1);
    const size_t there = length < input->left ? length : input->left;

    memcpy(fake_guest_memory + place, input->at, there);
    input->at += there;
    input->left -= there;
}

static void step(struct machine *machine, struct input *input)
{
    struct fake_pci *pci = &machine->pci;
    const unsigned choice = (unsigned)take(input, 1);

    switch (choice >> 4) {
    case 0:
    case 1:
        access_bus(pci->mmio, LAYOUT_PCI_MMCONFIG_GPA + (SLOT << 15) + take(input, 1), choice, input);
        break;
    case 2:
        access_bus(pci->mmio, LAYOUT_PCI_MMCONFIG_GPA + take(input, 3), choice, input);
        break;
    case 3:
        access_bus(pci->ports, LAYOUT_PCI_CONFIG_PORT + take(input, 1) % 8, choice, input);
        break;
    case 4:
        access_bus(pci->mmio, LAYOUT_PCI_WINDOW_GPA + take(input, 4) % LAYOUT_PCI_WINDOW_SIZE, choice, input);
        break;
    case 5:
    case 6:
    case 7:
        access_bus(pci->mmio, bar(machine) + take(input, 2), choice, input);
        break;
    case 8:
        fake_guest_protect(RINGS + take(input, 1) % 16 * 4096, 4096, choice & 3);
        break;
    case 9:
        pci_bus_reset(pci->bus);
        virtio_pci_reset(machine->transport);
        break;
    case 10:
        start(machine, input);
        break;
    case 11:
        pci->refuses_messages = choice & 1;
        pci->refuses_notifications = choice & 2;
        break;
    case 12:
    case 13:
        write_memory(input);
        break;
    default:
        serve(machine);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine machine;
    struct input input = {.at = data, .left = size};

    begin(&machine);
    while (input.left > 0)
        step(&machine, &input);
    end(&machine);
    return 0;
}
