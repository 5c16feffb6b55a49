#include "state_rig.h"

#include "devices/acpi_pm.h"
#include "devices/cmos.h"
#include "devices/debug_exit.h"
#include "devices/i8042.h"
#include "devices/pvpanic.h"
#include "devices/reset_register.h"
#include "devices/serial.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERIAL_REGISTERS = 8, CMOS_REGISTERS = 128, MMIO_REGISTERS = 0x200, PCI_PAGE = 0x1000 };

static void set_level(void *context, uint32_t gsi, int level)
{
    ((struct fake_pci *)context)->levels[gsi] = level;
}

static void ignore_request(void *context, enum system_request request, uint32_t argument)
{
    (void)context;
    (void)request;
    (void)argument;
}

static size_t take_output(void *context, const uint8_t *bytes, size_t length)
{
    struct state_rig *rig = context;
    const size_t taken = length < rig->serial_room ? length : rig->serial_room;

    (void)bytes;
    rig->serial_room -= taken;
    rig->serial_taken += taken;
    return taken;
}

static void input_room(void *context)
{
    ((struct state_rig *)context)->input_rooms++;
}

static time_t fixed_time(time_t *unused)
{
    (void)unused;
    return 1700000000;
}

static ssize_t fill(void *context, void *buffer, size_t size)
{
    (void)context;
    memset(buffer, 0x5a, size);
    return (ssize_t)size;
}

static void make_legacy(struct state_rig *rig)
{
    const struct irq_line serial_irq = {.set_level = set_level, .context = &rig->pci, .gsi = RIG_SERIAL_GSI};
    const struct irq_line sci = {.set_level = set_level, .context = &rig->pci, .gsi = RIG_SCI_GSI};
    const struct serial_backend backend = {.write = take_output, .input_room = input_room, .ctx = rig};
    const struct system_requests requests = {.request = ignore_request};

    rig->devices[RIG_SERIAL] = serial_device(rig->serial = serial_create(&backend, &serial_irq));
    rig->devices[RIG_CMOS] = cmos_device(rig->cmos = cmos_create(fixed_time));
    rig->devices[RIG_ACPI_PM] = acpi_pm_device(rig->acpi_pm = acpi_pm_create(&sci, &requests, &rig->log));
    rig->devices[RIG_I8042] = i8042_device(rig->i8042 = i8042_create(&requests));
    rig->devices[RIG_PVPANIC] = pvpanic_device(rig->pvpanic = pvpanic_create(&requests, &rig->log));
    rig->devices[RIG_RESET_REGISTER] = reset_register_device(rig->reset_register = reset_register_create(&requests));
    rig->devices[RIG_DEBUG_EXIT] = debug_exit_device(rig->debug_exit = debug_exit_create(&requests));
    rig->devices[RIG_PCI_BUS] = pci_bus_address(rig->pci.bus);
}

static bool attach_legacy(struct state_rig *rig)
{
    static const struct {
        enum state_rig_kind kind;
        uint64_t port;
        uint64_t count;
    } places[] = {
        {RIG_SERIAL, RIG_SERIAL_PORT, SERIAL_PORT_COUNT},
        {RIG_CMOS, RIG_CMOS_PORT, CMOS_PORT_COUNT},
        {RIG_ACPI_PM, RIG_ACPI_PORT, ACPI_PM_BLOCK_SIZE},
        {RIG_I8042, RIG_I8042_PORT, 5},
        {RIG_PVPANIC, RIG_PVPANIC_PORT, 1},
        {RIG_RESET_REGISTER, RIG_RESET_PORT, 1},
        {RIG_DEBUG_EXIT, RIG_EXIT_PORT, DEBUG_EXIT_PORT_COUNT},
    };
    struct error error;

    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (bus_attach(rig->pci.ports, places[i].port, places[i].count, rig->devices[places[i].kind], &error) < 0)
            return false;
    return true;
}

static bool make_virtio(struct state_rig *rig)
{
    const struct irq_line irq = {.set_level = set_level, .context = &rig->pci, .gsi = RIG_MMIO_GSI};
    struct error error;

    rig->loop = event_loop_create(&error);
    const struct virtio_environment device = {.name = "rng", .loop = rig->loop, .log = &rig->log};
    for (unsigned i = 0; i < 2; i++)
        rig->rngs[i] = virtio_rng_create(&device, fill, NULL, &error);
    const struct virtio_pci_environment environment = {
        .bus = rig->pci.bus,
        .slot = RIG_SLOT,
        .msi = fake_pci_messages(&rig->pci),
        .notify = fake_pci_notifications(&rig->pci),
    };
    rig->virtio_pci = virtio_pci_create(virtio_rng_device(rig->rngs[0]), &environment, &error);
    rig->virtio_mmio = virtio_mmio_create(virtio_rng_device(rig->rngs[1]), &irq);
    return rig->virtio_pci != NULL && rig->virtio_mmio != NULL &&
           bus_attach(rig->pci.mmio, LAYOUT_VIRTIO_MMIO_GPA, LAYOUT_VIRTIO_MMIO_SIZE,
                      virtio_mmio_device(rig->virtio_mmio), &error) == 0;
}

bool state_rig_begin(struct state_rig *rig)
{
    memset(rig, 0, sizeof(*rig));
    rig->log = (struct log){.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    fake_guest_reset();
    fake_pci_begin(&rig->pci);
    make_legacy(rig);
    return attach_legacy(rig) && make_virtio(rig);
}

void state_rig_end(struct state_rig *rig)
{
    virtio_mmio_destroy(rig->virtio_mmio);
    virtio_pci_destroy(rig->virtio_pci);
    for (unsigned i = 0; i < 2; i++)
        virtio_rng_destroy(rig->rngs[i]);
    event_loop_destroy(rig->loop);
    serial_destroy(rig->serial);
    cmos_destroy(rig->cmos);
    acpi_pm_destroy(rig->acpi_pm);
    i8042_destroy(rig->i8042);
    pvpanic_destroy(rig->pvpanic);
    reset_register_destroy(rig->reset_register);
    debug_exit_destroy(rig->debug_exit);
    fake_pci_end(&rig->pci);
}

struct virtio_device *state_rig_virtio(struct state_rig *rig, enum state_rig_kind kind)
{
    if (kind == RIG_VIRTIO_PCI)
        return virtio_rng_device(rig->rngs[0]);
    return kind == RIG_VIRTIO_MMIO ? virtio_rng_device(rig->rngs[1]) : NULL;
}

uint8_t *state_rig_save(struct state_rig *rig, enum state_rig_kind kind, size_t *ret_size)
{
    struct virtio_device *virtio = state_rig_virtio(rig, kind);

    return virtio != NULL ? virtio_save(virtio, ret_size) : device_save(rig->devices[kind], ret_size);
}

int state_rig_restore(struct state_rig *rig, enum state_rig_kind kind, const void *bytes, size_t size,
                      struct error *error)
{
    struct virtio_device *virtio = state_rig_virtio(rig, kind);

    return virtio != NULL ? virtio_restore(virtio, bytes, size, error)
                          : device_restore(rig->devices[kind], bytes, size, error);
}

void state_rig_reset(struct state_rig *rig, enum state_rig_kind kind)
{
    if (kind == RIG_PCI_BUS || kind == RIG_VIRTIO_PCI) {
        pci_bus_reset(rig->pci.bus);
        virtio_pci_reset(rig->virtio_pci);
    } else {
        device_reset(kind == RIG_VIRTIO_MMIO ? virtio_mmio_device(rig->virtio_mmio) : rig->devices[kind]);
    }
}

/* ---- Registers ---- */

struct image {
    uint8_t *bytes;
    size_t used;
};

static void add(struct image *image, struct bus *bus, uint64_t address, unsigned width)
{
    const uint64_t value = bus_read(bus, address, width);

    memcpy(image->bytes + image->used, &value, width);
    image->used += width;
}

static void read_serial(struct state_rig *rig, struct image *image)
{
    /* IIR, LSR and MSR are cleared by reading, and a FIFO is as long as two rounds. */
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < SERIAL_REGISTERS; i++)
            add(image, rig->pci.ports, RIG_SERIAL_PORT + (i + 1) % SERIAL_REGISTERS, 1);
}

static void read_cmos(struct state_rig *rig, struct image *image)
{
    /* First where the index stands. */
    add(image, rig->pci.ports, RIG_CMOS_PORT + 1, 1);
    for (unsigned i = 0; i < CMOS_REGISTERS; i++) {
        bus_write(rig->pci.ports, RIG_CMOS_PORT, 1, i);
        add(image, rig->pci.ports, RIG_CMOS_PORT + 1, 1);
    }
}

static void read_pci_bus(struct state_rig *rig, struct image *image)
{
    add(image, rig->pci.ports, LAYOUT_PCI_CONFIG_PORT, 4);
    add(image, rig->pci.ports, LAYOUT_PCI_CONFIG_PORT + 4, 4);
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i += 4)
        add(image, rig->pci.mmio, LAYOUT_PCI_MMCONFIG_GPA + i, 4);
}

static void read_virtio_pci(struct state_rig *rig, struct image *image)
{
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i += 4)
        add(image, rig->pci.mmio, LAYOUT_PCI_MMCONFIG_GPA + (RIG_SLOT << 15) + i, 4);
    const uint64_t base = fake_pci_get(&rig->pci, RIG_SLOT, PCI_BASE_ADDRESS_0, 4);
    for (uint64_t page = 0; page < 8; page++)
        for (unsigned i = 0; i < 64; i += 4)
            add(image, rig->pci.mmio, base + page * PCI_PAGE + i, 4);
    add(image, rig->pci.mmio, base + 1 * PCI_PAGE, 1);
    memcpy(image->bytes + image->used, rig->pci.levels, sizeof(rig->pci.levels));
    image->used += sizeof(rig->pci.levels);
}

static void read_block(struct state_rig *rig, struct image *image, enum state_rig_kind kind)
{
    struct bus *ports = rig->pci.ports;

    switch (kind) {
    case RIG_ACPI_PM:
        /* All but the timer. */
        for (unsigned i = 0; i < ACPI_PM_TIMER_OFFSET; i++)
            add(image, ports, RIG_ACPI_PORT + i, 1);
        break;
    case RIG_I8042:
        for (unsigned i = 0; i < 5; i++)
            add(image, ports, RIG_I8042_PORT + i, 1);
        break;
    case RIG_PVPANIC:
        add(image, ports, RIG_PVPANIC_PORT, 1);
        break;
    case RIG_RESET_REGISTER:
        add(image, ports, RIG_RESET_PORT, 1);
        break;
    case RIG_DEBUG_EXIT:
        add(image, ports, RIG_EXIT_PORT, 4);
        break;
    default:
        for (unsigned i = 0; i < MMIO_REGISTERS; i += 4)
            add(image, rig->pci.mmio, LAYOUT_VIRTIO_MMIO_GPA + i, 4);
        break;
    }
}

size_t state_rig_read(struct state_rig *rig, enum state_rig_kind kind, uint8_t bytes[RIG_IMAGE_SIZE])
{
    struct image image = {.bytes = bytes};

    switch (kind) {
    case RIG_SERIAL:
        read_serial(rig, &image);
        break;
    case RIG_CMOS:
        read_cmos(rig, &image);
        break;
    case RIG_PCI_BUS:
        read_pci_bus(rig, &image);
        break;
    case RIG_VIRTIO_PCI:
        read_virtio_pci(rig, &image);
        break;
    default:
        read_block(rig, &image, kind);
        break;
    }
    return image.used;
}
