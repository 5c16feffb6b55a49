/*
 * devices/virtio/virtio_mmio.c: every register as a driver sees it. virtio 1.2, 4.2.2.
 */
#include "devices/virtio/virtio_mmio.h"

#include "devices/bus.h"
#include "devices/virtio/rng.h"
#include "fake_kind.h"
#include "memory/x86/layout.h"
#include "unit_test.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

enum {
    BASE = 0x4000,
    GSI = 19,
    RINGS = 0x10000,
    BUFFERS = 0x40000,
    READY = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
};

static struct fake_kind kind;
static struct virtio_rng *rng;
static struct virtio_device *device;
static struct virtio_mmio *transport;
static struct bus *bus;
static int level;

static void set_level(void *context, uint32_t gsi, int new_level)
{
    (void)context;
    ck_assert_uint_eq(gsi, GSI);
    level = new_level;
}

static ssize_t fill(void *context, void *buffer, size_t size)
{
    (void)context;
    memset(buffer, 0x5a, size);
    return (ssize_t)size;
}

static void attach(struct virtio_device *attached)
{
    const struct irq_line irq = {.set_level = set_level, .gsi = GSI};
    struct error error;

    device = attached;
    transport = virtio_mmio_create(device, &irq);
    bus = bus_create("mmio", 0x10000);
    ck_assert_int_eq(bus_attach(bus, BASE, LAYOUT_VIRTIO_MMIO_SIZE, virtio_mmio_device(transport), &error), 0);
}

static void setup_kind(void)
{
    fake_guest_reset();
    ck_assert(fake_kind_begin(&kind));
    attach(&kind.device);
}

static void teardown_kind(void)
{
    bus_destroy(bus);
    virtio_mmio_destroy(transport);
    fake_kind_end(&kind);
}

static void setup_rng(void)
{
    static const struct log log = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    struct error error;

    fake_guest_reset();
    kind.loop = event_loop_create(&error);
    const struct virtio_environment environment = {.name = "rng0", .loop = kind.loop, .log = &log};
    rng = virtio_rng_create(&environment, fill, NULL, &error);
    attach(virtio_rng_device(rng));
}

static void teardown_rng(void)
{
    bus_destroy(bus);
    virtio_mmio_destroy(transport);
    virtio_rng_destroy(rng);
    event_loop_destroy(kind.loop);
    ck_assert_int_eq(fake_guest_pins, 0);
}

static uint32_t get(unsigned offset)
{
    return (uint32_t)bus_read(bus, BASE + offset, 4);
}

static void set(unsigned offset, uint32_t value)
{
    bus_write(bus, BASE + offset, 4, value);
}

static void start(uint16_t size)
{
    set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    set(VIRTIO_MMIO_DRIVER_FEATURES, 1u << (VIRTIO_F_VERSION_1 - 32));
    set(VIRTIO_MMIO_STATUS, READY);
    if (size > 0) {
        set(VIRTIO_MMIO_QUEUE_SEL, 0);
        set(VIRTIO_MMIO_QUEUE_NUM, size);
        set(VIRTIO_MMIO_QUEUE_DESC_LOW, RINGS);
        set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, RINGS + 0x4000);
        set(VIRTIO_MMIO_QUEUE_USED_LOW, RINGS + 0x8000);
        set(VIRTIO_MMIO_QUEUE_READY, 1);
    }
    set(VIRTIO_MMIO_STATUS, READY | VIRTIO_CONFIG_S_DRIVER_OK);
    ck_assert_uint_eq(get(VIRTIO_MMIO_STATUS), READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void change_config(void)
{
    pthread_mutex_lock(&device->lock);
    virtio_config_changed(device);
    pthread_mutex_unlock(&device->lock);
}

START_TEST(constants_are_the_standards)
{
    ck_assert_uint_eq(get(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    ck_assert_uint_eq(get(VIRTIO_MMIO_VERSION), 2);
    ck_assert_uint_eq(get(VIRTIO_MMIO_DEVICE_ID), FAKE_KIND_ID);
    ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_NUM_MAX), FAKE_KIND_QUEUE_SIZE);
    ck_assert_uint_eq(get(VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
    ck_assert_uint_eq(get(VIRTIO_MMIO_SHM_LEN_HIGH), UINT32_MAX);
    for (unsigned offset = 0; offset < VIRTIO_MMIO_DEVICE_FEATURES; offset += 4) {
        const uint32_t before = get(offset);
        set(offset, ~before);
        ck_assert_uint_eq(get(offset), before);
    }
}
END_TEST

/* 4.2.2.2: registers are read and written whole. */
START_TEST(registers_have_one_width)
{
    static const unsigned widths[] = {1, 2, 8};

    for (unsigned offset = 0; offset < VIRTIO_MMIO_CONFIG; offset++) {
        for (unsigned i = 0; i < 3; i++) {
            bus_write(bus, BASE + offset, widths[i], 0x0101010101010101);
            ck_assert_uint_eq(bus_read(bus, BASE + offset, widths[i]), 0);
        }
        if (offset % 4 != 0) {
            bus_write(bus, BASE + offset, 4, 0x01010101);
            ck_assert_uint_eq(bus_read(bus, BASE + offset, 4), 0);
        }
    }
    ck_assert_uint_eq(get(VIRTIO_MMIO_STATUS), 0);
    ck_assert_uint_eq(fake_kind_notifications(device, 1), 0);
    ck_assert_uint_eq(device->state.queue_select, 0);
    ck_assert_uint_eq(device->state.driver_features, 0);
    ck_assert_uint_eq(device->queues[0].ring.state.descriptors, 0);
}
END_TEST

START_TEST(registers_to_be_written_read_as_zero)
{
    static const unsigned offsets[] = {
        VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DRIVER_FEATURES,  VIRTIO_MMIO_DRIVER_FEATURES_SEL,
        VIRTIO_MMIO_QUEUE_NUM,           VIRTIO_MMIO_QUEUE_DESC_LOW,   VIRTIO_MMIO_QUEUE_DESC_HIGH,
        VIRTIO_MMIO_QUEUE_AVAIL_LOW,     VIRTIO_MMIO_QUEUE_AVAIL_HIGH, VIRTIO_MMIO_QUEUE_USED_LOW,
        VIRTIO_MMIO_QUEUE_USED_HIGH,
    };
    const struct virtq_state *state = &device->queues[0].ring.state;

    for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        set(offsets[i], i + 1);
        ck_assert_uint_eq(get(offsets[i]), 0);
    }
    ck_assert_uint_eq(device->state.device_feature_select, 1);
    ck_assert_uint_eq(state->size, 4);
    ck_assert_uint_eq(state->descriptors, 6ull << 32 | 5);
    ck_assert_uint_eq(state->driver, 8ull << 32 | 7);
    ck_assert_uint_eq(state->device, 10ull << 32 | 9);
    set(VIRTIO_MMIO_QUEUE_NUM, 0x10004);
    ck_assert_uint_eq(state->size, 0);
}
END_TEST

START_TEST(features_come_in_halves)
{
    const uint64_t offered = 1 | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED |
                             1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX;

    for (unsigned half = 0; half < 4; half++) {
        set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
        ck_assert_uint_eq(get(VIRTIO_MMIO_DEVICE_FEATURES), half < 2 ? (uint32_t)(offered >> 32 * half) : 0);
        set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
        set(VIRTIO_MMIO_DRIVER_FEATURES, 1);
    }
    ck_assert_uint_eq(device->state.driver_features, 1ull << 32 | 1);
}
END_TEST

START_TEST(queue_that_is_not_there_has_no_size)
{
    static const uint32_t none[] = {FAKE_KIND_QUEUES, UINT16_MAX, 0x10000, 0x10001, UINT32_MAX};

    for (unsigned i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        set(VIRTIO_MMIO_QUEUE_SEL, none[i]);
        ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
        set(VIRTIO_MMIO_QUEUE_NUM, 2);
        set(VIRTIO_MMIO_QUEUE_READY, 1);
        ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
    }
    ck_assert_uint_eq(get(VIRTIO_MMIO_STATUS), 0);
}
END_TEST

START_TEST(queue_with_a_bad_size_or_address_is_not_ready)
{
    static const struct {
        unsigned offset;
        uint32_t value;
    } bad[] = {
        {VIRTIO_MMIO_QUEUE_NUM, 0},       {VIRTIO_MMIO_QUEUE_NUM, 3},      {VIRTIO_MMIO_QUEUE_NUM, 32},
        {VIRTIO_MMIO_QUEUE_NUM, 0x10004}, {VIRTIO_MMIO_QUEUE_DESC_LOW, 8}, {VIRTIO_MMIO_QUEUE_AVAIL_LOW, 1},
        {VIRTIO_MMIO_QUEUE_USED_LOW, 2},
    };

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set(VIRTIO_MMIO_STATUS, 0);
        start(0);
        set(bad[i].offset, bad[i].value);
        set(VIRTIO_MMIO_QUEUE_READY, 1);
        ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
        ck_assert_uint_ne(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
        ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
        ck_assert_int_eq(level, 1);
    }
}
END_TEST

START_TEST(ready_queue_does_not_change)
{
    const struct virtq_state *state = &device->queues[0].ring.state;

    start(8);
    set(VIRTIO_MMIO_QUEUE_NUM, 4);
    set(VIRTIO_MMIO_QUEUE_DESC_HIGH, 1);
    ck_assert_uint_eq(state->size, 8);
    ck_assert_uint_eq(state->descriptors, RINGS);
}
END_TEST

START_TEST(notifications_name_their_queue)
{
    set(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    set(VIRTIO_MMIO_QUEUE_NOTIFY, FAKE_KIND_QUEUES);
    set(VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
    ck_assert_uint_eq(fake_kind_notifications(device, 0), 0);
    ck_assert_uint_eq(fake_kind_notifications(device, 1), 1);
}
END_TEST

START_TEST(acknowledging_all_lowers_the_line)
{
    start(0);
    change_config();
    device->transport.interrupt(device->transport.context, 0, false);
    ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    set(VIRTIO_MMIO_INTERRUPT_ACK, 1);
    ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 2);
    ck_assert_int_eq(level, 1);
    set(VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
    ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    ck_assert_int_eq(level, 0);
}
END_TEST

START_TEST(configuration_reads_at_each_width_and_ends)
{
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned offset = 0; offset < FAKE_KIND_CONFIG + 8; offset++) {
            uint64_t expected = 0;
            for (unsigned i = 0; i < size && offset + i < FAKE_KIND_CONFIG; i++)
                expected |= (uint64_t)(0x10 + offset + i) << 8 * i;
            ck_assert_uint_eq(bus_read(bus, BASE + VIRTIO_MMIO_CONFIG + offset, size), expected);
        }
    }
    bus_write(bus, BASE + VIRTIO_MMIO_CONFIG + 1, 2, 0xa1a2);
    ck_assert_uint_eq(get(VIRTIO_MMIO_CONFIG), 0x13a1a210);
    bus_write(bus, BASE + VIRTIO_MMIO_CONFIG + FAKE_KIND_CONFIG - 1, 2, 0);
    ck_assert_uint_eq(bus_read(bus, BASE + VIRTIO_MMIO_CONFIG + FAKE_KIND_CONFIG - 1, 1), 0x19);
    ck_assert_uint_eq(bus_read(bus, BASE + LAYOUT_VIRTIO_MMIO_SIZE - 8, 8), 0);
}
END_TEST

START_TEST(generation_counts_changes)
{
    change_config();
    change_config();
    ck_assert_uint_eq(get(VIRTIO_MMIO_CONFIG_GENERATION), 2);
    ck_assert_int_eq(level, 0);
}
END_TEST

START_TEST(resets_clear_everything)
{
    start(8);
    change_config();
    if (_i == 0)
        set(VIRTIO_MMIO_STATUS, 0);
    else
        device_reset(virtio_mmio_device(transport));
    ck_assert_uint_eq(get(VIRTIO_MMIO_STATUS), 0);
    ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
    ck_assert_uint_eq(get(VIRTIO_MMIO_CONFIG_GENERATION), 1);
    ck_assert_int_eq(level, 0);
    ck_assert_uint_eq(device->state.driver_features, 0);
    ck_assert_uint_eq(kind.stops, 1);
}
END_TEST

/* ---- The rng behind it ---- */

static void add_request(void)
{
    struct vring_desc *table = (struct vring_desc *)(void *)(fake_guest_memory + RINGS);
    struct vring_avail *ring = (struct vring_avail *)(void *)(fake_guest_memory + RINGS + 0x4000);

    table[0] = (struct vring_desc){.addr = BUFFERS, .len = 16, .flags = VRING_DESC_F_WRITE};
    ring->ring[ring->idx % 8] = 0;
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

START_TEST(request_is_served_and_raises_the_line)
{
    ck_assert_uint_eq(get(VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_RNG);
    start(8);
    add_request();
    serve();
    ck_assert_uint_eq(used_count(), 1);
    ck_assert_uint_eq(fake_guest_memory[BUFFERS + 15], 0x5a);
    ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    ck_assert_int_eq(level, 1);
    ck_assert_uint_eq(get(VIRTIO_MMIO_CONFIG), 0);
}
END_TEST

/* 4.2.2.2: a driver stops using a queue so, and reads it back. */
START_TEST(queue_can_be_taken_back_and_begun_anew)
{
    start(8);
    add_request();
    serve();
    set(VIRTIO_MMIO_QUEUE_READY, 2);
    ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
    set(VIRTIO_MMIO_QUEUE_READY, 0);
    ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_READY), 0);
    add_request();
    serve();
    ck_assert_uint_eq(used_count(), 1);
    memset(fake_guest_memory + RINGS, 0, 0x10000);
    set(VIRTIO_MMIO_QUEUE_NUM, 4);
    set(VIRTIO_MMIO_QUEUE_READY, 1);
    ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_READY), 1);
    add_request();
    serve();
    ck_assert_uint_eq(used_count(), 1);
    ck_assert_uint_eq(get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("virtio_mmio");
    TCase *tests = tcase_create("registers");
    TCase *with_rng = tcase_create("rng");

    tcase_add_checked_fixture(tests, setup_kind, teardown_kind);
    tcase_add_test(tests, constants_are_the_standards);
    tcase_add_test(tests, registers_have_one_width);
    tcase_add_test(tests, registers_to_be_written_read_as_zero);
    tcase_add_test(tests, features_come_in_halves);
    tcase_add_test(tests, queue_that_is_not_there_has_no_size);
    tcase_add_test(tests, queue_with_a_bad_size_or_address_is_not_ready);
    tcase_add_test(tests, ready_queue_does_not_change);
    tcase_add_test(tests, notifications_name_their_queue);
    tcase_add_test(tests, acknowledging_all_lowers_the_line);
    tcase_add_test(tests, configuration_reads_at_each_width_and_ends);
    tcase_add_test(tests, generation_counts_changes);
    tcase_add_loop_test(tests, resets_clear_everything, 0, 2);
    suite_add_tcase(all, tests);
    tcase_add_checked_fixture(with_rng, setup_rng, teardown_rng);
    tcase_add_test(with_rng, request_is_served_and_raises_the_line);
    tcase_add_test(with_rng, queue_can_be_taken_back_and_begun_anew);
    suite_add_tcase(all, with_rng);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
