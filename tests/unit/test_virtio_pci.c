/*
 * devices/virtio/virtio_pci.c: every register as a driver sees it, with the rng and with a kind that has a
 * configuration.
 */
#include "devices/virtio/virtio_pci.h"

#include "devices/virtio/rng.h"
#include "fake_kind.h"
#include "fake_pci.h"
#include "unit_test.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

enum {
    SLOT = 2,
    COMMON = 0x0000,
    ISR = 0x1000,
    CONFIG = 0x2000,
    NOTIFY = 0x3000,
    TABLE = 0x4000,
    PENDING = 0x5000,
    BAR_SIZE = 0x8000,
    RINGS = 0x10000,
    BUFFERS = 0x40000,
    READY = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
};

static struct fake_pci pci;
static struct fake_kind kind;
static struct virtio_rng *rng;
static struct virtio_device *device;
static struct virtio_pci *transport;
static uint64_t base;

static ssize_t fill(void *context, void *buffer, size_t size)
{
    (void)context;
    memset(buffer, 0x5a, size);
    return (ssize_t)size;
}

static void attach(struct virtio_device *attached)
{
    const struct virtio_pci_environment environment = {
        .bus = pci.bus,
        .slot = SLOT,
        .class_code = 0x00ff,
        .msi = fake_pci_messages(&pci),
        .notify = fake_pci_notifications(&pci),
    };
    struct error error;

    device = attached;
    transport = virtio_pci_create(device, &environment, &error);
    ck_assert_ptr_nonnull(transport);
    base = fake_pci_get(&pci, SLOT, PCI_BASE_ADDRESS_0, 4);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void setup_kind(void)
{
    fake_guest_reset();
    fake_pci_begin(&pci);
    ck_assert(fake_kind_begin(&kind));
    attach(&kind.device);
}

static void teardown_kind(void)
{
    virtio_pci_destroy(transport);
    fake_kind_end(&kind);
    fake_pci_end(&pci);
}

static void setup_rng(void)
{
    static const struct log log = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    struct error error;

    fake_guest_reset();
    fake_pci_begin(&pci);
    kind.loop = event_loop_create(&error);
    const struct virtio_environment environment = {.name = "rng0", .loop = kind.loop, .log = &log};
    rng = virtio_rng_create(&environment, fill, NULL, &error);
    attach(virtio_rng_device(rng));
}

static void teardown_rng(void)
{
    virtio_pci_destroy(transport);
    virtio_rng_destroy(rng);
    event_loop_destroy(kind.loop);
    fake_pci_end(&pci);
    ck_assert_int_eq(fake_guest_pins, 0);
}

static uint64_t get(uint64_t offset, unsigned size)
{
    return bus_read(pci.mmio, base + offset, size);
}

static void set(uint64_t offset, unsigned size, uint64_t value)
{
    bus_write(pci.mmio, base + offset, size, value);
}

static int pin(void)
{
    return pci.levels[pci_slot_gsi(SLOT)];
}

/* Up to DRIVER_OK, with queue 0 at RINGS if there is a size for it. */
static void start(uint64_t features, uint16_t size)
{
    features |= 1ull << VIRTIO_F_VERSION_1;
    set(VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (unsigned half = 0; half < 2; half++) {
        set(VIRTIO_PCI_COMMON_GFSELECT, 4, half);
        set(VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> 32 * half));
    }
    set(VIRTIO_PCI_COMMON_STATUS, 1, READY);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), READY);
    if (size > 0) {
        set(VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
        set(VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
        set(VIRTIO_PCI_COMMON_Q_DESCLO, 4, RINGS);
        set(VIRTIO_PCI_COMMON_Q_AVAILLO, 4, RINGS + 0x4000);
        set(VIRTIO_PCI_COMMON_Q_USEDLO, 4, RINGS + 0x8000);
        set(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    }
    set(VIRTIO_PCI_COMMON_STATUS, 1, READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void enable_messages(void)
{
    const unsigned at = fake_pci_capability(&pci, SLOT, PCI_CAP_ID_MSIX, 0);

    for (unsigned i = 0; i <= device->queue_count; i++)
        set(TABLE + i * MSIX_ENTRY_SIZE + 12, 4, 0);
    fake_pci_set(&pci, SLOT, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static void change_config(void)
{
    pthread_mutex_lock(&device->lock);
    virtio_config_changed(device);
    pthread_mutex_unlock(&device->lock);
}

static void break_device(void)
{
    pthread_mutex_lock(&device->lock);
    virtio_fail(device, 0, "a test says so");
    pthread_mutex_unlock(&device->lock);
}

START_TEST(identity_is_virtio)
{
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_VENDOR_ID, 2), 0x1af4);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_DEVICE_ID, 2), 0x1040 + VIRTIO_ID_RNG);
    ck_assert_uint_ge(fake_pci_get(&pci, SLOT, PCI_REVISION_ID, 1), 1);
}
END_TEST

/* 4.1.4: one capability for each structure, and each inside of the register. */
START_TEST(capabilities_say_where_structures_are)
{
    static const uint32_t places[] = {[VIRTIO_PCI_CAP_COMMON_CFG] = COMMON,
                                      [VIRTIO_PCI_CAP_NOTIFY_CFG] = NOTIFY,
                                      [VIRTIO_PCI_CAP_ISR_CFG] = ISR,
                                      [VIRTIO_PCI_CAP_DEVICE_CFG] = CONFIG};
    unsigned at = 0;
    unsigned seen = 0;

    while ((at = fake_pci_capability(&pci, SLOT, PCI_CAP_ID_VNDR, at)) != 0) {
        const unsigned type = fake_pci_get(&pci, SLOT, at + VIRTIO_PCI_CAP_CFG_TYPE, 1);
        const uint32_t offset = fake_pci_get(&pci, SLOT, at + VIRTIO_PCI_CAP_OFFSET, 4);
        const uint32_t length = fake_pci_get(&pci, SLOT, at + VIRTIO_PCI_CAP_LENGTH, 4);
        ck_assert_uint_eq(at % 4, 0);
        ck_assert_uint_eq(seen >> type & 1, 0);
        seen |= 1u << type;
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, at + VIRTIO_PCI_CAP_BAR, 1), 0);
        if (type == VIRTIO_PCI_CAP_PCI_CFG) {
            ck_assert_uint_eq(fake_pci_get(&pci, SLOT, at + VIRTIO_PCI_CAP_LEN, 1), 20);
            continue;
        }
        ck_assert_uint_eq(offset, places[type]);
        ck_assert_uint_gt(length, 0);
        ck_assert_uint_le(offset + length, BAR_SIZE);
        if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
            ck_assert_uint_eq(fake_pci_get(&pci, SLOT, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4), 4);
    }
    ck_assert_uint_eq(seen, 1u << VIRTIO_PCI_CAP_COMMON_CFG | 1u << VIRTIO_PCI_CAP_NOTIFY_CFG |
                                1u << VIRTIO_PCI_CAP_ISR_CFG | 1u << VIRTIO_PCI_CAP_DEVICE_CFG |
                                1u << VIRTIO_PCI_CAP_PCI_CFG);
}
END_TEST

/* 4.1.4.3: offset, size, and whether it can be written; queue 0 is selected. */
static const struct common_register {
    unsigned offset;
    unsigned size;
    bool is_writable;
    bool is_queue;
} registers[] = {
    {VIRTIO_PCI_COMMON_DFSELECT, 4, true, false}, {VIRTIO_PCI_COMMON_DF, 4, false, false},
    {VIRTIO_PCI_COMMON_GFSELECT, 4, true, false}, {VIRTIO_PCI_COMMON_GF, 4, true, false},
    {VIRTIO_PCI_COMMON_MSIX, 2, true, false},     {VIRTIO_PCI_COMMON_NUMQ, 2, false, false},
    {VIRTIO_PCI_COMMON_STATUS, 1, true, false},   {VIRTIO_PCI_COMMON_CFGGENERATION, 1, false, false},
    {VIRTIO_PCI_COMMON_Q_SELECT, 2, true, false}, {VIRTIO_PCI_COMMON_Q_SIZE, 2, true, true},
    {VIRTIO_PCI_COMMON_Q_MSIX, 2, true, true},    {VIRTIO_PCI_COMMON_Q_ENABLE, 2, true, true},
    {VIRTIO_PCI_COMMON_Q_NOFF, 2, false, true},   {VIRTIO_PCI_COMMON_Q_DESCLO, 4, true, true},
    {VIRTIO_PCI_COMMON_Q_DESCHI, 4, true, true},  {VIRTIO_PCI_COMMON_Q_AVAILLO, 4, true, true},
    {VIRTIO_PCI_COMMON_Q_AVAILHI, 4, true, true}, {VIRTIO_PCI_COMMON_Q_USEDLO, 4, true, true},
    {VIRTIO_PCI_COMMON_Q_USEDHI, 4, true, true},
};
enum { REGISTER_COUNT = sizeof(registers) / sizeof(registers[0]) };

static void snapshot(uint8_t image[sizeof(struct virtio_pci_common_cfg)])
{
    for (unsigned i = 0; i < sizeof(struct virtio_pci_common_cfg); i++)
        image[i] = (uint8_t)get(i, 1);
}

START_TEST(registers_read_at_each_width)
{
    uint8_t image[sizeof(struct virtio_pci_common_cfg)];

    set(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    snapshot(image);
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned offset = 0; offset < sizeof(image) + 8; offset++) {
            uint64_t expected = 0;
            if (offset + size <= sizeof(image))
                memcpy(&expected, image + offset, size);
            ck_assert_uint_eq(get(offset, size), expected);
        }
    }
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_NUMQ, 2), FAKE_KIND_QUEUES);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), FAKE_KIND_QUEUE_SIZE);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_NOFF, 2), 1);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
}
END_TEST

/* 4.1.3.1: a driver uses the register's own width; the halves of an address can be written together. */
START_TEST(registers_are_written_at_their_own_width_only)
{
    uint8_t before[sizeof(struct virtio_pci_common_cfg)], after[sizeof(struct virtio_pci_common_cfg)];

    snapshot(before);
    for (unsigned offset = 0; offset < sizeof(before) + 8; offset++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            bool is_register = false;
            for (unsigned i = 0; i < REGISTER_COUNT; i++)
                is_register |= registers[i].offset == offset && registers[i].size == size && registers[i].is_writable;
            is_register |= size == 8 && (offset == VIRTIO_PCI_COMMON_Q_DESCLO ||
                                         offset == VIRTIO_PCI_COMMON_Q_AVAILLO || offset == VIRTIO_PCI_COMMON_Q_USEDLO);
            if (is_register)
                continue;
            set(offset, size, 0x0101010101010101);
            snapshot(after);
            ck_assert_mem_eq(before, after, sizeof(before));
        }
    }
}
END_TEST

START_TEST(registers_read_back_what_was_written)
{
    static const unsigned addresses[] = {VIRTIO_PCI_COMMON_Q_DESCLO, VIRTIO_PCI_COMMON_Q_AVAILLO,
                                         VIRTIO_PCI_COMMON_Q_USEDLO};

    set(VIRTIO_PCI_COMMON_DFSELECT, 4, 0xffffffff);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_DFSELECT, 4), 0xffffffff);
    set(VIRTIO_PCI_COMMON_GFSELECT, 4, 0x80000001);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_GFSELECT, 4), 0x80000001);
    set(VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), 4);
    for (unsigned i = 0; i < 3; i++) {
        set(addresses[i], 4, 0x11111110 * (i + 1));
        set(addresses[i] + 4, 4, i + 1);
        ck_assert_uint_eq(get(addresses[i], 8), (uint64_t)(i + 1) << 32 | 0x11111110 * (i + 1));
        set(addresses[i], 8, 0x123456789abcdef0);
        ck_assert_uint_eq(get(addresses[i], 4), 0x9abcdef0);
        ck_assert_uint_eq(get(addresses[i] + 4, 4), 0x12345678);
    }
    /* The other queue has its own. */
    set(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), FAKE_KIND_QUEUE_SIZE);
}
END_TEST

START_TEST(queue_that_is_not_there_has_no_size)
{
    set(VIRTIO_PCI_COMMON_Q_SELECT, 2, FAKE_KIND_QUEUES);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SELECT, 2), FAKE_KIND_QUEUES);
    for (unsigned i = 0; i < REGISTER_COUNT; i++) {
        if (!registers[i].is_queue)
            continue;
        set(registers[i].offset, registers[i].size, 1);
        ck_assert_uint_eq(get(registers[i].offset, registers[i].size), 0);
    }
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
}
END_TEST

START_TEST(features_come_in_halves)
{
    const uint64_t offered = 1 | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED |
                             1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX;

    for (unsigned half = 0; half < 4; half++) {
        set(VIRTIO_PCI_COMMON_DFSELECT, 4, half);
        ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_DF, 4), half < 2 ? (uint32_t)(offered >> 32 * half) : 0);
        set(VIRTIO_PCI_COMMON_GFSELECT, 4, half);
        set(VIRTIO_PCI_COMMON_GF, 4, 1);
        ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_GF, 4), half < 2);
    }
    ck_assert_uint_eq(device->state.driver_features, 1ull << 32 | 1);
    /* Once agreed on, they stay. */
    set(VIRTIO_PCI_COMMON_STATUS, 1, READY);
    set(VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
    set(VIRTIO_PCI_COMMON_GF, 4, 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_GF, 4), 1);
}
END_TEST

START_TEST(features_that_were_not_offered_are_refused)
{
    set(VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
    set(VIRTIO_PCI_COMMON_GF, 4, _i == 0 ? 0 : 0x80000001);
    set(VIRTIO_PCI_COMMON_STATUS, 1, READY);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), READY & ~VIRTIO_CONFIG_S_FEATURES_OK);
    set(VIRTIO_PCI_COMMON_STATUS, 1, READY | VIRTIO_CONFIG_S_DRIVER_OK);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), READY & ~VIRTIO_CONFIG_S_FEATURES_OK);
    ck_assert_uint_eq(kind.starts, 0);
}
END_TEST

START_TEST(queue_with_a_bad_size_or_address_is_not_enabled)
{
    static const struct {
        unsigned offset;
        unsigned size;
        uint64_t value;
    } bad[] = {
        {VIRTIO_PCI_COMMON_Q_SIZE, 2, 0},      {VIRTIO_PCI_COMMON_Q_SIZE, 2, 3},   {VIRTIO_PCI_COMMON_Q_SIZE, 2, 32},
        {VIRTIO_PCI_COMMON_Q_SIZE, 2, 0xffff}, {VIRTIO_PCI_COMMON_Q_DESCLO, 4, 8}, {VIRTIO_PCI_COMMON_Q_AVAILLO, 4, 1},
        {VIRTIO_PCI_COMMON_Q_USEDLO, 4, 2},
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set(VIRTIO_PCI_COMMON_STATUS, 1, 0);
        start(0, 0);
        set(bad[i].offset, bad[i].size, bad[i].value);
        set(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
        ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
        ck_assert_uint_ne(get(VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    }
    set(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    set(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
}
END_TEST

START_TEST(enabled_queue_changes_its_vector_only)
{
    start(0, 8);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
    set(VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
    set(VIRTIO_PCI_COMMON_Q_DESCLO, 8, 0);
    set(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), 8);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_DESCLO, 8), RINGS);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
    set(VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
}
END_TEST

/* 4.1.5.1.2.1: one that is not there reads back as none. */
START_TEST(vectors_beyond_the_table_are_none)
{
    static const unsigned offsets[] = {VIRTIO_PCI_COMMON_MSIX, VIRTIO_PCI_COMMON_Q_MSIX};

    for (unsigned i = 0; i < 2; i++) {
        for (unsigned vector = 0; vector <= FAKE_KIND_QUEUES; vector++) {
            set(offsets[i], 2, vector);
            ck_assert_uint_eq(get(offsets[i], 2), vector);
        }
        set(offsets[i], 2, FAKE_KIND_QUEUES + 1);
        ck_assert_uint_eq(get(offsets[i], 2), VIRTIO_MSI_NO_VECTOR);
    }
}
END_TEST

START_TEST(notifications_are_attached_where_the_register_is)
{
    const uint32_t elsewhere = LAYOUT_PCI_WINDOW_GPA + 0x100000;

    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY), 1);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY + 4), 1);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY + 8), 0);
    fake_pci_set(&pci, SLOT, PCI_BASE_ADDRESS_0, 4, elsewhere);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY), 0);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, elsewhere + NOTIFY + 4), 1);
    fake_pci_set(&pci, SLOT, PCI_BASE_ADDRESS_0, 4, 0x1000000);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, elsewhere + NOTIFY), 0);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, 0x1000000 + NOTIFY), 0);
    fake_pci_set(&pci, SLOT, PCI_BASE_ADDRESS_0, 4, (uint32_t)base);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY), 1);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY), 0);
}
END_TEST

START_TEST(notifications_come_by_stores_too)
{
    pci.refuses_notifications = true;
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, 0);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY), 0);
    set(NOTIFY, 2, 0);
    set(NOTIFY + 4, 2, 1);
    set(NOTIFY + 4, 4, 1);
    set(NOTIFY + 8, 2, 2);
    set(NOTIFY + 0xffc, 4, 0);
    ck_assert_uint_eq(fake_kind_notifications(device, 0), 1);
    ck_assert_uint_eq(fake_kind_notifications(device, 1), 2);
    ck_assert_uint_eq(get(NOTIFY, 2), 0);
    /* What was refused is not detached, which the fake would abort at. */
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, 0);
}
END_TEST

START_TEST(isr_raises_the_pin_and_reading_lowers_it)
{
    start(0, 0);
    change_config();
    ck_assert_int_eq(pin(), 1);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
    ck_assert_uint_eq(get(ISR + 1, 1), 0);
    ck_assert_int_eq(pin(), 1);
    ck_assert_uint_eq(get(ISR, 1), VIRTIO_PCI_ISR_CONFIG);
    ck_assert_int_eq(pin(), 0);
    ck_assert_uint_eq(get(ISR, 1), 0);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
}
END_TEST

START_TEST(forbidden_pin_rises_when_it_is_allowed)
{
    start(0, 0);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
    change_config();
    ck_assert_int_eq(pin(), 0);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    ck_assert_int_eq(pin(), 1);
}
END_TEST

/* 4.1.4.5.1: with messages the pin is quiet; the ISR tells of the configuration all the same. */
START_TEST(messages_take_the_place_of_the_pin)
{
    enable_messages();
    set(VIRTIO_PCI_COMMON_MSIX, 2, 2);
    start(0, 0);
    change_config();
    ck_assert_uint_eq(fake_pci_sent(&pci, 2), 1);
    ck_assert_int_eq(pin(), 0);
    ck_assert_uint_eq(get(ISR, 1), VIRTIO_PCI_ISR_CONFIG);
    set(VIRTIO_PCI_COMMON_MSIX, 2, VIRTIO_MSI_NO_VECTOR);
    change_config();
    for (unsigned i = 0; i <= FAKE_KIND_QUEUES; i++)
        ck_assert_uint_eq(fake_pci_sent(&pci, i), 0);
    ck_assert_int_eq(pin(), 0);
}
END_TEST

START_TEST(table_and_pending_bits_are_in_the_register)
{
    set(TABLE + 16, 8, 0xfee00000);
    ck_assert_uint_eq(get(TABLE + 16, 8), 0xfee00000);
    ck_assert_uint_eq(get(TABLE + 12, 4), 1);
    set(VIRTIO_PCI_COMMON_MSIX, 2, 1);
    fake_pci_set(&pci, SLOT, fake_pci_capability(&pci, SLOT, PCI_CAP_ID_MSIX, 0) + PCI_MSIX_FLAGS, 2,
                 PCI_MSIX_FLAGS_ENABLE);
    start(0, 0);
    change_config();
    ck_assert_uint_eq(get(PENDING, 8), 2);
    set(PENDING, 8, 0);
    ck_assert_uint_eq(get(PENDING, 8), 2);
    set(TABLE + 16 + 12, 4, 0);
    ck_assert_uint_eq(fake_pci_sent(&pci, 1), 1);
    ck_assert_uint_eq(get(PENDING, 8), 0);
}
END_TEST

START_TEST(configuration_reads_at_each_width_and_ends)
{
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned offset = 0; offset < FAKE_KIND_CONFIG + 8; offset++) {
            uint64_t expected = 0;
            for (unsigned i = 0; i < size && offset + i < FAKE_KIND_CONFIG; i++)
                expected |= (uint64_t)(0x10 + offset + i) << 8 * i;
            ck_assert_uint_eq(get(CONFIG + offset, size), expected);
        }
    }
    set(CONFIG + 2, 4, 0xa1a2a3a4);
    ck_assert_uint_eq(get(CONFIG, 8), 0x1716a1a2a3a41110);
    set(CONFIG + FAKE_KIND_CONFIG - 1, 1, 0xff);
    set(CONFIG + FAKE_KIND_CONFIG - 1, 2, 0);
    set(CONFIG + FAKE_KIND_CONFIG, 8, UINT64_MAX);
    ck_assert_uint_eq(get(CONFIG + FAKE_KIND_CONFIG - 1, 2), 0xff);
}
END_TEST

START_TEST(generation_counts_changes_and_a_reset_keeps_it)
{
    change_config();
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
    /* Before the driver is ready nobody is told. */
    ck_assert_int_eq(pin(), 0);
    ck_assert_uint_eq(get(ISR, 1), 0);
    set(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_CFGGENERATION, 1), 1);
}
END_TEST

START_TEST(reset_by_status_clears_all_but_the_bus)
{
    set(VIRTIO_PCI_COMMON_MSIX, 2, 1);
    start(1, 8);
    change_config();
    set(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
    ck_assert_int_eq(pin(), 0);
    ck_assert_uint_eq(get(ISR, 1), 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), FAKE_KIND_QUEUE_SIZE);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
    ck_assert_uint_eq(device->state.driver_features, 0);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY), 1);
    ck_assert_uint_eq(kind.stops, 1);
}
END_TEST

START_TEST(slow_reset_shows_in_the_status)
{
    kind.is_slow = true;
    start(0, 0);
    set(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    ck_assert_uint_ne(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
    set(VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_CONFIG_S_FAILED);
    set(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    ck_assert_uint_eq(kind.stops, 1);
    pthread_mutex_lock(&device->lock);
    virtio_stopped(device);
    pthread_mutex_unlock(&device->lock);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
}
END_TEST

/* 2.1.2 */
START_TEST(driver_is_told_once_that_a_reset_is_needed)
{
    start(0, 0);
    break_device();
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1),
                      READY | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
    ck_assert_uint_eq(get(ISR, 1), VIRTIO_PCI_ISR_CONFIG);
    break_device();
    ck_assert_uint_eq(get(ISR, 1), 0);
    /* The driver cannot clear it otherwise. */
    set(VIRTIO_PCI_COMMON_STATUS, 1, READY);
    ck_assert_uint_ne(get(VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    set(VIRTIO_PCI_COMMON_STATUS, 1, 0);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
}
END_TEST

/* ---- The capability through which the registers can be reached: 4.1.4.9 ---- */

static unsigned window(void)
{
    unsigned at = 0;

    do
        at = fake_pci_capability(&pci, SLOT, PCI_CAP_ID_VNDR, at);
    while (fake_pci_get(&pci, SLOT, at + VIRTIO_PCI_CAP_CFG_TYPE, 1) != VIRTIO_PCI_CAP_PCI_CFG);
    return at;
}

static void aim(uint32_t offset, uint32_t size)
{
    fake_pci_set(&pci, SLOT, window() + VIRTIO_PCI_CAP_OFFSET, 4, offset);
    fake_pci_set(&pci, SLOT, window() + VIRTIO_PCI_CAP_LENGTH, 4, size);
}

static uint32_t look(unsigned size)
{
    return fake_pci_get(&pci, SLOT, window() + 16, size);
}

static void poke(unsigned size, uint32_t value)
{
    fake_pci_set(&pci, SLOT, window() + 16, size, value);
}

START_TEST(window_reaches_the_registers_without_memory)
{
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, 0);
    for (unsigned size = 1; size <= 4; size *= 2) {
        aim(CONFIG + 4, size);
        ck_assert_uint_eq(look(size), 0x17161514 & (UINT32_MAX >> (32 - 8 * size)));
    }
    aim(VIRTIO_PCI_COMMON_Q_DESCLO, 4);
    poke(4, 0x1000);
    ck_assert_uint_eq(device->queues[0].ring.state.descriptors, 0x1000);
    aim(VIRTIO_PCI_COMMON_STATUS, 1);
    poke(1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    ck_assert_uint_eq(look(1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    aim(NOTIFY + 4, 2);
    poke(2, 1);
    ck_assert_uint_eq(fake_kind_notifications(device, 1), 1);
}
END_TEST

START_TEST(window_reads_have_their_effect_once)
{
    start(0, 0);
    change_config();
    aim(ISR, 1);
    ck_assert_int_eq(pin(), 1);
    ck_assert_uint_eq(look(1), VIRTIO_PCI_ISR_CONFIG);
    ck_assert_int_eq(pin(), 0);
    ck_assert_uint_eq(look(1), 0);
}
END_TEST

START_TEST(window_that_is_aimed_badly_does_nothing)
{
    static const struct {
        uint32_t bar, offset, size;
    } bad[] = {{0, VIRTIO_PCI_COMMON_Q_DESCLO, 0},
               {0, VIRTIO_PCI_COMMON_Q_DESCLO, 3},
               {0, VIRTIO_PCI_COMMON_Q_DESCLO, 8},
               {0, VIRTIO_PCI_COMMON_Q_DESCLO, UINT32_MAX},
               {0, VIRTIO_PCI_COMMON_Q_DESCLO + 1, 4},
               {1, VIRTIO_PCI_COMMON_Q_DESCLO, 4},
               {0, BAR_SIZE, 4},
               {0, UINT32_MAX - 3, 4}};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fake_pci_set(&pci, SLOT, window() + VIRTIO_PCI_CAP_BAR, 1, bad[i].bar);
        aim(bad[i].offset, bad[i].size);
        poke(4, 0x5550);
        ck_assert_uint_eq(look(4), 0x5550);
        ck_assert_uint_eq(device->queues[0].ring.state.descriptors, 0);
    }
}
END_TEST

START_TEST(bus_reset_and_reset_are_power_on)
{
    enable_messages();
    set(VIRTIO_PCI_COMMON_MSIX, 2, 1);
    start(1, 8);
    change_config();
    aim(ISR, 1);
    pci_bus_reset(pci.bus);
    virtio_pci_reset(transport);
    ck_assert_uint_eq(bus_read(pci.mmio, base, 4), UINT32_MAX);
    ck_assert_uint_eq(fake_pci_attached_at(&pci, base + NOTIFY), 0);
    ck_assert_int_eq(pin(), 0);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_STATUS, 1), 0);
    ck_assert_uint_eq(get(TABLE + 12, 4), 1);
    ck_assert_uint_eq(get(ISR, 1), 0);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, window() + VIRTIO_PCI_CAP_LENGTH, 4), 0);
}
END_TEST

/* ---- The rng behind it ---- */

static void add_request(uint16_t index)
{
    struct vring_desc *table = (struct vring_desc *)(void *)(fake_guest_memory + RINGS);
    struct vring_avail *ring = (struct vring_avail *)(void *)(fake_guest_memory + RINGS + 0x4000);

    table[index] = (struct vring_desc){.addr = BUFFERS, .len = 16, .flags = VRING_DESC_F_WRITE};
    ring->ring[ring->idx % 8] = index;
    ring->idx++;
}

static uint16_t used_count(void)
{
    return ((struct vring_used *)(void *)(fake_guest_memory + RINGS + 0x8000))->idx;
}

static void serve(void)
{
    struct fake_queue queue = {.device = device};

    fake_queue_serve(&queue);
}

START_TEST(request_is_served_and_raises_the_pin)
{
    start(0, 8);
    add_request(0);
    serve();
    ck_assert_uint_eq(used_count(), 1);
    ck_assert_uint_eq(fake_guest_memory[BUFFERS + 15], 0x5a);
    ck_assert_int_eq(pin(), 1);
    ck_assert_uint_eq(get(ISR, 1), 1);
    ck_assert_uint_eq(get(CONFIG, 4), 0);
}
END_TEST

START_TEST(request_is_served_and_sends_a_message)
{
    enable_messages();
    start(0, 8);
    set(VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
    add_request(0);
    serve();
    ck_assert_uint_eq(fake_pci_sent(&pci, 1), 1);
    ck_assert_int_eq(pin(), 0);
    ck_assert_uint_eq(get(ISR, 1), 0);
}
END_TEST

START_TEST(memory_is_left_alone_until_the_bus_allows_it)
{
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    start(0, 8);
    add_request(0);
    serve();
    ck_assert_uint_eq(used_count(), 0);
    (void)fake_kind_notifications(device, 0);
    /* What came before is looked at when it is allowed. */
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    ck_assert_uint_ge(fake_kind_notifications(device, 0), 1);
    serve();
    ck_assert_uint_eq(used_count(), 1);
}
END_TEST

static void add_register_tests(TCase *tests)
{
    tcase_add_test(tests, capabilities_say_where_structures_are);
    tcase_add_test(tests, registers_read_at_each_width);
    tcase_add_test(tests, registers_are_written_at_their_own_width_only);
    tcase_add_test(tests, registers_read_back_what_was_written);
    tcase_add_test(tests, queue_that_is_not_there_has_no_size);
    tcase_add_test(tests, features_come_in_halves);
    tcase_add_loop_test(tests, features_that_were_not_offered_are_refused, 0, 2);
    tcase_add_test(tests, queue_with_a_bad_size_or_address_is_not_enabled);
    tcase_add_test(tests, enabled_queue_changes_its_vector_only);
    tcase_add_test(tests, vectors_beyond_the_table_are_none);
    tcase_add_test(tests, notifications_are_attached_where_the_register_is);
    tcase_add_test(tests, notifications_come_by_stores_too);
    tcase_add_test(tests, isr_raises_the_pin_and_reading_lowers_it);
    tcase_add_test(tests, forbidden_pin_rises_when_it_is_allowed);
    tcase_add_test(tests, messages_take_the_place_of_the_pin);
    tcase_add_test(tests, table_and_pending_bits_are_in_the_register);
    tcase_add_test(tests, configuration_reads_at_each_width_and_ends);
    tcase_add_test(tests, generation_counts_changes_and_a_reset_keeps_it);
    tcase_add_test(tests, reset_by_status_clears_all_but_the_bus);
    tcase_add_test(tests, slow_reset_shows_in_the_status);
    tcase_add_test(tests, driver_is_told_once_that_a_reset_is_needed);
    tcase_add_test(tests, window_reaches_the_registers_without_memory);
    tcase_add_test(tests, window_reads_have_their_effect_once);
    tcase_add_test(tests, window_that_is_aimed_badly_does_nothing);
    tcase_add_test(tests, bus_reset_and_reset_are_power_on);
}

static Suite *suite(void)
{
    Suite *all = suite_create("virtio_pci");
    TCase *tests = tcase_create("registers");
    TCase *with_rng = tcase_create("rng");

    tcase_add_checked_fixture(tests, setup_kind, teardown_kind);
    add_register_tests(tests);
    suite_add_tcase(all, tests);
    tcase_add_checked_fixture(with_rng, setup_rng, teardown_rng);
    tcase_add_test(with_rng, identity_is_virtio);
    tcase_add_test(with_rng, request_is_served_and_raises_the_pin);
    tcase_add_test(with_rng, request_is_served_and_sends_a_message);
    tcase_add_test(with_rng, memory_is_left_alone_until_the_bus_allows_it);
    suite_add_tcase(all, with_rng);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
