#include "devices/pci/pci.h"

#include "memory/x86/layout.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The host bridge is no product's: vendor and device are those that QEMU has for such a one, "PCIe host bridge". */
#define BRIDGE_VENDOR 0x1b36u
#define BRIDGE_DEVICE 0x0008u
#define CLASS_HOST_BRIDGE 0x060000u

enum {
    /* PCI Local Bus 3.0, 3.2.2.3.2: the address register's parts. */
    ADDRESS_ENABLE_SHIFT = 31,
    ADDRESS_BUS_SHIFT = 16,
    ADDRESS_DEVICE_SHIFT = 11,
    ADDRESS_FUNCTION_SHIFT = 8,
    ADDRESS_REGISTER_MASK = 0xfc,
    ADDRESS_RESERVED = 0x7f000003,
    /* PCI Express Base 3.0, table 7-1: an address in the configuration space in memory. */
    ECAM_BUS_SHIFT = 20,
    ECAM_DEVICE_SHIFT = 15,
    ECAM_FUNCTION_SHIFT = 12,
    ECAM_REGISTER_MASK = 0xfff,
};

static const struct state_field function_fields[] = {STATE_ARRAY(struct pci_state, config)};
STATE_DESCRIPTION(function_description, struct pci_state, "pci_function", 1, function_fields);

/* What is saved of the bus. Plain data. */
struct pci_bus_state {
    uint32_t address;
};

static const struct state_field bus_fields[] = {STATE_FIELD(struct pci_bus_state, address)};
STATE_DESCRIPTION(bus_description, struct pci_bus_state, "pci_bus", 1, bus_fields);

struct pci_bus {
    struct device address_device;
    struct device data_device;
    struct device ecam;
    struct device window;
    /* Guards the configuration of all functions; taken with one of the devices' locks held. */
    pthread_mutex_t lock;
    uint64_t window_gpa;
    uint64_t window_size;
    /* Where the next register goes. */
    uint64_t next_gpa;
    struct pci_bus_state state;
    struct pci_function bridge;
    struct pci_function *functions[PCI_SLOT_COUNT];
    struct irq_line pins;
    /* Guards what functions ask for by their pins. Taken last. */
    pthread_mutex_t pin_lock;
};

/* ---- A function's space ---- */

uint32_t pci_function_get(const struct pci_function *function, unsigned offset, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)__atomic_load_n(&function->state.config[offset + i], __ATOMIC_ACQUIRE) << (8 * i);
    return value;
}

void pci_function_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
    for (unsigned i = 0; i < size; i++)
        function->state.config[offset + i] = function->power_on[offset + i] = (uint8_t)(value >> (8 * i));
}

void pci_function_set_writable(struct pci_function *function, unsigned offset, unsigned size, uint32_t bits)
{
    for (unsigned i = 0; i < size; i++)
        function->writable[offset + i] = (uint8_t)(bits >> (8 * i));
}

void pci_function_init(struct pci_function *function, const struct pci_ops *ops, const struct pci_identity *identity)
{
    memset(function, 0, sizeof(*function));
    function->ops = ops;
    function->next_capability = PCI_STD_HEADER_SIZEOF;
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++)
        function->bars[i].gpa = UINT64_MAX;
    pci_function_set(function, PCI_VENDOR_ID, 2, identity->vendor);
    pci_function_set(function, PCI_DEVICE_ID, 2, identity->device);
    pci_function_set(function, PCI_CLASS_REVISION, 4, identity->class_code << 8 | identity->revision);
    pci_function_set(function, PCI_SUBSYSTEM_VENDOR_ID, 2, identity->subsystem_vendor);
    pci_function_set(function, PCI_SUBSYSTEM_ID, 2, identity->subsystem);
    pci_function_set_writable(function, PCI_COMMAND, 2,
                              PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    pci_function_set_writable(function, PCI_CACHE_LINE_SIZE, 1, UINT8_MAX);
    pci_function_set_writable(function, PCI_INTERRUPT_LINE, 1, UINT8_MAX);
}

void pci_function_add_bar(struct pci_function *function, unsigned bar, uint32_t size)
{
    assert(size >= 4096 && (size & (size - 1)) == 0);
    function->bars[bar].size = size;
    pci_function_set_writable(function, PCI_BASE_ADDRESS_0 + 4 * bar, 4, ~(size - 1));
}

void pci_function_add_pin(struct pci_function *function)
{
    enum { INTA = 1 };

    pci_function_set(function, PCI_INTERRUPT_PIN, 1, INTA);
}

uint8_t pci_function_add_capability(struct pci_function *function, uint8_t id, uint8_t size)
{
    const uint8_t offset = function->next_capability;
    const unsigned link =
        function->last_capability == 0 ? PCI_CAPABILITY_LIST : function->last_capability + PCI_CAP_LIST_NEXT;

    assert(offset + size <= PCI_CONFIG_SIZE - 4);
    pci_function_set(function, link, 1, offset);
    pci_function_set(function, PCI_STATUS, 2, PCI_STATUS_CAP_LIST);
    pci_function_set(function, offset + PCI_CAP_LIST_ID, 1, id);
    function->last_capability = offset;
    /* Each begins at a multiple of 4. */
    function->next_capability = (uint8_t)((offset + size + 3) & ~3);
    return offset;
}

bool pci_function_is_bus_master(const struct pci_function *function)
{
    return (pci_function_get(function, PCI_COMMAND, 1) & PCI_COMMAND_MASTER) != 0;
}

/* ---- Interrupt pins ---- */

uint32_t pci_slot_gsi(unsigned slot)
{
    return LAYOUT_PCI_FIRST_GSI + slot % LAYOUT_PCI_GSI_COUNT;
}

void pci_function_set_pin(struct pci_function *function, bool is_asserted)
{
    struct pci_bus *bus = function->bus;
    const bool is_allowed = !(pci_function_get(function, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
    bool level = false;

    pthread_mutex_lock(&bus->pin_lock);
    atomic_store(&function->is_requested, is_asserted);
    function->is_asserted = is_asserted && is_allowed;
    for (unsigned slot = function->slot % LAYOUT_PCI_GSI_COUNT; slot < PCI_SLOT_COUNT; slot += LAYOUT_PCI_GSI_COUNT)
        level |= bus->functions[slot] != NULL && bus->functions[slot]->is_asserted;
    bus->pins.set_level(bus->pins.context, pci_slot_gsi(function->slot), level);
    pthread_mutex_unlock(&bus->pin_lock);
}

/* ---- Where registers are decoded ---- */

/* Only inside the window: what the guest puts elsewhere, onto its RAM for one, is nowhere. */
static uint64_t decoded_address(const struct pci_bus *bus, const struct pci_function *function, unsigned bar)
{
    const uint64_t size = function->bars[bar].size;
    const uint64_t gpa = pci_function_get(function, PCI_BASE_ADDRESS_0 + 4 * bar, 4) & ~(size - 1);
    const uint32_t command = pci_function_get(function, PCI_COMMAND, 2);

    if (!(command & PCI_COMMAND_MEMORY) || gpa < bus->window_gpa || size > bus->window_size ||
        gpa - bus->window_gpa > bus->window_size - size)
        return UINT64_MAX;
    return gpa;
}

static void update_bars(struct pci_bus *bus, struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        if (function->bars[i].size == 0)
            continue;
        const uint64_t gpa = decoded_address(bus, function, i);
        if (gpa == function->bars[i].gpa)
            continue;
        function->bars[i].gpa = gpa;
        if (function->ops->moved != NULL)
            function->ops->moved(function, i, gpa);
    }
}

/*
 * The function whose register has all of [gpa, gpa + size), which bar it is, and where in that; NULL where there is
 * none. Of those that the guest has put onto each other the lowest slot answers.
 */
static struct pci_function *find_bar(const struct pci_bus *bus, uint64_t gpa, unsigned size, unsigned *ret_bar,
                                     uint64_t *ret_offset)
{
    for (unsigned slot = 0; slot < PCI_SLOT_COUNT; slot++) {
        struct pci_function *function = bus->functions[slot];
        for (unsigned i = 0; function != NULL && i < PCI_BAR_COUNT; i++) {
            const uint64_t start = function->bars[i].gpa;
            if (start == UINT64_MAX || gpa < start || gpa - start >= function->bars[i].size ||
                function->bars[i].size - (gpa - start) < size)
                continue;
            *ret_bar = i;
            *ret_offset = gpa - start;
            return function;
        }
    }
    return NULL;
}

/* ---- Accesses to configuration spaces ---- */

/*
 * The interrupt bit of the status register as an access sees it, whether or not the pin is forbidden: 6.2.3. Other
 * threads change it, so it is not kept in the space.
 */
static uint32_t interrupt_status(const struct pci_function *function, unsigned offset, unsigned size)
{
    if (offset > PCI_STATUS || offset + size <= PCI_STATUS || !atomic_load(&function->is_requested))
        return 0;
    return (uint32_t)PCI_STATUS_INTERRUPT << 8 * (PCI_STATUS - offset);
}

static uint32_t config_read(struct pci_function *function, unsigned offset, unsigned size)
{
    if (function == NULL || offset + size > PCI_CONFIG_SIZE)
        return UINT32_MAX;
    if (function->ops->config_read != NULL)
        function->ops->config_read(function, offset, size);
    return pci_function_get(function, offset, size) | interrupt_status(function, offset, size);
}

static void config_write(struct pci_bus *bus, struct pci_function *function, unsigned offset, unsigned size,
                         uint32_t value)
{
    if (function == NULL || offset + size > PCI_CONFIG_SIZE)
        return;
    for (unsigned i = 0; i < size; i++) {
        const uint8_t bits = function->writable[offset + i];
        uint8_t *byte = &function->state.config[offset + i];
        /* Others look at the command register without the lock. */
        __atomic_store_n(byte, (uint8_t)((*byte & ~bits) | ((uint8_t)(value >> (8 * i)) & bits)), __ATOMIC_RELEASE);
    }
    update_bars(bus, function);
    if (function->ops->config_written != NULL)
        function->ops->config_written(function, offset, size);
}

/* The function that the port's address register chooses, and the register; NULL where there is none. */
static struct pci_function *selected(const struct pci_bus *bus, unsigned *ret_register)
{
    const uint32_t address = bus->state.address;

    *ret_register = address & ADDRESS_REGISTER_MASK;
    if (!(address >> ADDRESS_ENABLE_SHIFT) || (address >> ADDRESS_BUS_SHIFT & 0xff) != 0 ||
        (address >> ADDRESS_FUNCTION_SHIFT & 7) != 0)
        return NULL;
    return bus->functions[address >> ADDRESS_DEVICE_SHIFT & 0x1f];
}

static struct pci_bus *bus_of_address(struct device *device)
{
    return (struct pci_bus *)(void *)((char *)device - offsetof(struct pci_bus, address_device));
}

static uint64_t address_read(struct device *device, uint64_t offset, unsigned size)
{
    struct pci_bus *bus = bus_of_address(device);

    (void)offset;
    (void)size;
    pthread_mutex_lock(&bus->lock);
    const uint32_t address = bus->state.address;
    pthread_mutex_unlock(&bus->lock);
    return address;
}

static void address_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_bus *bus = bus_of_address(device);

    (void)offset;
    (void)size;
    pthread_mutex_lock(&bus->lock);
    bus->state.address = (uint32_t)value & ~(uint32_t)ADDRESS_RESERVED;
    pthread_mutex_unlock(&bus->lock);
}

static struct pci_bus *bus_of_data(struct device *device)
{
    return (struct pci_bus *)(void *)((char *)device - offsetof(struct pci_bus, data_device));
}

static uint64_t data_read(struct device *device, uint64_t offset, unsigned size)
{
    struct pci_bus *bus = bus_of_data(device);
    unsigned reg;

    pthread_mutex_lock(&bus->lock);
    struct pci_function *function = selected(bus, &reg);
    const uint32_t value = config_read(function, reg + (unsigned)offset, size);
    pthread_mutex_unlock(&bus->lock);
    return value;
}

static void data_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_bus *bus = bus_of_data(device);
    unsigned reg;

    pthread_mutex_lock(&bus->lock);
    struct pci_function *function = selected(bus, &reg);
    config_write(bus, function, reg + (unsigned)offset, size, (uint32_t)value);
    pthread_mutex_unlock(&bus->lock);
}

static struct pci_bus *bus_of_ecam(struct device *device)
{
    return (struct pci_bus *)(void *)((char *)device - offsetof(struct pci_bus, ecam));
}

static struct pci_function *function_at(const struct pci_bus *bus, uint64_t offset)
{
    if (offset >> ECAM_BUS_SHIFT != 0 || (offset >> ECAM_FUNCTION_SHIFT & 7) != 0)
        return NULL;
    return bus->functions[offset >> ECAM_DEVICE_SHIFT & 0x1f];
}

static uint64_t ecam_read(struct device *device, uint64_t offset, unsigned size)
{
    struct pci_bus *bus = bus_of_ecam(device);

    pthread_mutex_lock(&bus->lock);
    struct pci_function *function = function_at(bus, offset);
    const unsigned reg = offset & ECAM_REGISTER_MASK;
    /* Behind the first 256 bytes there is an empty list of extended capabilities. */
    const uint64_t value = function != NULL && reg >= PCI_CONFIG_SIZE ? 0 : config_read(function, reg, size);
    pthread_mutex_unlock(&bus->lock);
    return value;
}

static void ecam_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_bus *bus = bus_of_ecam(device);

    pthread_mutex_lock(&bus->lock);
    config_write(bus, function_at(bus, offset), offset & ECAM_REGISTER_MASK, size, (uint32_t)value);
    pthread_mutex_unlock(&bus->lock);
}

/* ---- Accesses to registers in the window ---- */

static struct pci_bus *bus_of_window(struct device *device)
{
    return (struct pci_bus *)(void *)((char *)device - offsetof(struct pci_bus, window));
}

static uint64_t window_read(struct device *device, uint64_t offset, unsigned size)
{
    struct pci_bus *bus = bus_of_window(device);
    uint64_t in_bar;
    unsigned bar;

    pthread_mutex_lock(&bus->lock);
    struct pci_function *function = find_bar(bus, bus->window_gpa + offset, size, &bar, &in_bar);
    pthread_mutex_unlock(&bus->lock);
    return function != NULL ? function->ops->read(function, bar, in_bar, size) : UINT64_MAX;
}

static void window_write(struct device *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct pci_bus *bus = bus_of_window(device);
    uint64_t in_bar;
    unsigned bar;

    pthread_mutex_lock(&bus->lock);
    struct pci_function *function = find_bar(bus, bus->window_gpa + offset, size, &bar, &in_bar);
    pthread_mutex_unlock(&bus->lock);
    if (function != NULL)
        function->ops->write(function, bar, in_bar, size, value);
}

/* ---- Saved state ---- */

/* With the bus's lock held. */
static void restored(struct pci_bus *bus, struct pci_function *function)
{
    for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++) {
        const uint8_t bits = function->writable[i];
        uint8_t *byte = &function->state.config[i];
        __atomic_store_n(byte, (uint8_t)((function->power_on[i] & ~bits) | (*byte & bits)), __ATOMIC_RELEASE);
    }
    update_bars(bus, function);
    if (function->ops->config_written != NULL)
        function->ops->config_written(function, 0, PCI_CONFIG_SIZE);
}

void pci_function_add_state(struct pci_function *function, struct state_parts *parts)
{
    state_add(parts, &function_description, &function->state);
}

void pci_function_restored(struct pci_function *function)
{
    pthread_mutex_lock(&function->bus->lock);
    restored(function->bus, function);
    pthread_mutex_unlock(&function->bus->lock);
}

static void bus_add_state(struct device *device, struct state_parts *parts)
{
    struct pci_bus *bus = bus_of_address(device);

    state_add(parts, &bus_description, &bus->state);
    pci_function_add_state(&bus->bridge, parts);
}

static void bus_restored(struct device *device)
{
    struct pci_bus *bus = bus_of_address(device);

    pthread_mutex_lock(&bus->lock);
    bus->state.address &= ~(uint32_t)ADDRESS_RESERVED;
    restored(bus, &bus->bridge);
    pthread_mutex_unlock(&bus->lock);
}

/* The bus is reset as a whole: pci_bus_reset(). */
static void reset_nothing(struct device *device)
{
    (void)device;
}

static const struct device_ops address_ops = {
    .name = "PCI address",
    .min_access = 4,
    .max_access = 4,
    .may_reach_over = true,
    .read = address_read,
    .write = address_write,
    .reset = reset_nothing,
    .add_state = bus_add_state,
    .restored = bus_restored,
};
static const struct device_ops data_ops = {
    .name = "PCI data",
    .min_access = 1,
    .max_access = 4,
    .read = data_read,
    .write = data_write,
    .reset = reset_nothing,
};
static const struct device_ops ecam_ops = {
    .name = "PCI configuration in memory",
    .min_access = 1,
    .max_access = 4,
    .read = ecam_read,
    .write = ecam_write,
    .reset = reset_nothing,
};
static const struct device_ops window_ops = {
    .name = "PCI registers",
    .min_access = 1,
    .max_access = 8,
    .read = window_read,
    .write = window_write,
    .reset = reset_nothing,
};

/* ---- The bus ---- */

struct pci_bus *pci_bus_create(uint64_t window_gpa, uint64_t window_size, const struct irq_line *pins)
{
    static const struct pci_ops nothing;
    static const struct pci_identity bridge = {
        .vendor = BRIDGE_VENDOR, .device = BRIDGE_DEVICE, .class_code = CLASS_HOST_BRIDGE};
    struct pci_bus *bus = calloc(1, sizeof(*bus));

    if (bus == NULL)
        return NULL;
    device_init(&bus->address_device, &address_ops);
    device_init(&bus->data_device, &data_ops);
    device_init(&bus->ecam, &ecam_ops);
    device_init(&bus->window, &window_ops);
    pthread_mutex_init(&bus->lock, NULL);
    pthread_mutex_init(&bus->pin_lock, NULL);
    bus->pins = *pins;
    bus->window_gpa = bus->next_gpa = window_gpa;
    bus->window_size = window_size;
    pci_function_init(&bus->bridge, &nothing, &bridge);
    bus->functions[0] = &bus->bridge;
    return bus;
}

void pci_bus_destroy(struct pci_bus *bus)
{
    if (bus == NULL)
        return;
    pthread_mutex_destroy(&bus->pin_lock);
    pthread_mutex_destroy(&bus->lock);
    device_fini(&bus->window);
    device_fini(&bus->ecam);
    device_fini(&bus->data_device);
    device_fini(&bus->address_device);
    free(bus);
}

int pci_bus_attach(struct pci_bus *bus, unsigned slot, struct pci_function *function, struct error *error)
{
    if (slot == 0 || slot >= PCI_SLOT_COUNT || bus->functions[slot] != NULL)
        return error_set(error, ERROR_CONFIG, "PCI slot %u is taken, or there is none; there are 1 to %u", slot,
                         PCI_SLOT_COUNT - 1);
    for (unsigned i = 0; i < PCI_BAR_COUNT; i++) {
        const uint64_t size = function->bars[i].size;
        if (size == 0)
            continue;
        const uint64_t gpa = (bus->next_gpa + size - 1) & ~(size - 1);
        if (gpa + size > bus->window_gpa + bus->window_size)
            return error_set(error, ERROR_CONFIG, "there is no room for the registers of PCI slot %u", slot);
        pci_function_set(function, PCI_BASE_ADDRESS_0 + 4 * i, 4, (uint32_t)gpa);
        bus->next_gpa = gpa + size;
    }
    function->bus = bus;
    function->slot = (uint8_t)slot;
    bus->functions[slot] = function;
    return 0;
}

void pci_bus_reset(struct pci_bus *bus)
{
    pthread_mutex_lock(&bus->lock);
    bus->state.address = 0;
    for (unsigned slot = 0; slot < PCI_SLOT_COUNT; slot++) {
        struct pci_function *function = bus->functions[slot];
        if (function == NULL)
            continue;
        memcpy(function->state.config, function->power_on, sizeof(function->power_on));
        update_bars(bus, function);
        if (function->ops->config_written != NULL)
            function->ops->config_written(function, 0, PCI_CONFIG_SIZE);
    }
    pthread_mutex_unlock(&bus->lock);
}

struct device *pci_bus_address(struct pci_bus *bus)
{
    return &bus->address_device;
}

int pci_bus_attach_ports(struct pci_bus *bus, struct bus *ports, struct error *error)
{
    /* Of the address register other devices may have all ports but the first. */
    enum { ADDRESS_PORT_COUNT = 1, DATA_OFFSET = 4, DATA_PORT_COUNT = 4 };

    if (bus_attach(ports, LAYOUT_PCI_CONFIG_PORT, ADDRESS_PORT_COUNT, &bus->address_device, error) < 0)
        return -1;
    return bus_attach(ports, LAYOUT_PCI_CONFIG_PORT + DATA_OFFSET, DATA_PORT_COUNT, &bus->data_device, error);
}

int pci_bus_attach_memory(struct pci_bus *bus, struct bus *mmio, struct error *error)
{
    if (bus_attach(mmio, LAYOUT_PCI_MMCONFIG_GPA, PCI_ECAM_SIZE, &bus->ecam, error) < 0)
        return -1;
    return bus_attach(mmio, bus->window_gpa, bus->window_size, &bus->window, error);
}
