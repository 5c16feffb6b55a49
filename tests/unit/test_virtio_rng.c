/*
 * devices/virtio: the rng, and through it what all kinds have in common.
 */
#include "devices/virtio/rng.h"

#include "fake_guest.h"
#include "unit_test.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

enum { RINGS = 0x10000, BUFFERS = 0x40000, TABLE = 0x30000 };

static struct virtio_rng *rng;
static struct virtio_device *device;
static struct fake_transport transport;
static struct fake_queue queue;
static struct event_loop *loop;
static struct log log_nowhere = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};

static ssize_t count_up(void *context, void *buffer, size_t size)
{
    uint8_t *next = context;

    for (size_t i = 0; i < size; i++)
        ((uint8_t *)buffer)[i] = ++*next;
    return (ssize_t)size;
}

static uint8_t next_byte;

static void setup(void)
{
    struct error error;

    fake_guest_reset();
    next_byte = 0;
    loop = event_loop_create(&error);
    const struct virtio_environment environment = {.name = "rng0", .loop = loop, .log = &log_nowhere};
    rng = virtio_rng_create(&environment, count_up, &next_byte, &error);
    ck_assert_ptr_nonnull(rng);
    device = virtio_rng_device(rng);
    device->transport = fake_transport_make(&transport);
}

static void teardown(void)
{
    virtio_rng_destroy(rng);
    event_loop_destroy(loop);
    ck_assert_int_eq(fake_guest_pins, 0);
}

static void start(uint64_t features, uint16_t size)
{
    ck_assert(fake_driver_begin(device, features));
    fake_queue_enable(&queue, device, 0, size, RINGS);
    fake_driver_start(device);
}

static bool needs_reset(void)
{
    return (device->state.status & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

START_TEST(requests_are_served_round_and_round)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 3, true}, {BUFFERS + 0x100, 5, true}};
    uint16_t id, used;
    uint32_t written;

    start(fake_queue_forms[_i], 4);
    for (unsigned round = 0; round < 1000; round++) {
        memset(fake_guest_memory + BUFFERS, 0, 0x200);
        next_byte = (uint8_t)round;
        id = fake_queue_add(&queue, buffers, 2);
        fake_queue_serve(&queue);
        ck_assert(fake_queue_used(&queue, &used, &written));
        ck_assert_uint_eq(used, id);
        ck_assert_uint_eq(written, 8);
        ck_assert_uint_eq(fake_guest_memory[BUFFERS + 2], (uint8_t)(round + 3));
        ck_assert_uint_eq(fake_guest_memory[BUFFERS + 3], 0);
        ck_assert_uint_eq(fake_guest_memory[BUFFERS + 0x104], (uint8_t)(round + 8));
        ck_assert(!fake_queue_used(&queue, &used, &written));
    }
    ck_assert(!needs_reset());
    ck_assert_uint_gt(transport.interrupts, 0);
}
END_TEST

START_TEST(indirect_tables_are_followed_where_they_were_agreed_on)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 3, true}, {0x100000 - 2, 4, true}};
    uint16_t used;
    uint32_t written;

    start(fake_queue_forms[_i], 4);
    fake_queue_add_indirect(&queue, TABLE, buffers, 2);
    fake_queue_serve(&queue);
    if (!(fake_queue_forms[_i] >> VIRTIO_RING_F_INDIRECT_DESC & 1)) {
        ck_assert(needs_reset());
        ck_assert_uint_eq(transport.config_interrupts, 1);
        return;
    }
    ck_assert(fake_queue_used(&queue, &used, &written));
    ck_assert_uint_eq(written, 7);
    ck_assert_uint_eq(fake_guest_memory[0x100001], 7);
}
END_TEST

START_TEST(buffer_that_may_not_be_written_breaks_the_device)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 16, true}};

    fake_guest_protect(BUFFERS, 4096, HV_MEMORY_READ);
    start(fake_queue_forms[_i], 4);
    fake_queue_add(&queue, buffers, 1);
    fake_queue_serve(&queue);
    ck_assert(needs_reset());
    ck_assert_uint_eq(fake_guest_memory[BUFFERS], 0);
    /* And a reset makes it good again. */
    fake_guest_protect(BUFFERS, 4096, HV_MEMORY_READ | HV_MEMORY_WRITE);
    start(fake_queue_forms[_i], 4);
    fake_queue_add(&queue, buffers, 1);
    fake_queue_serve(&queue);
    ck_assert(!needs_reset());
    ck_assert_uint_eq(fake_guest_memory[BUFFERS + 15], 16);
}
END_TEST

START_TEST(readable_buffer_behind_a_writable_one_breaks_the_queue)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 16, true}, {BUFFERS, 16, false}};

    start(fake_queue_forms[_i], 4);
    fake_queue_add(&queue, buffers, 2);
    fake_queue_serve(&queue);
    ck_assert(needs_reset());
}
END_TEST

START_TEST(rings_outside_of_memory_break_the_queue)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 16, true}};

    start(fake_queue_forms[_i], 4);
    fake_queue_add(&queue, buffers, 1);
    fake_guest_protect(RINGS, 0x10000, 0);
    fake_queue_serve(&queue);
    ck_assert(needs_reset());
}
END_TEST

START_TEST(loop_in_a_chain_breaks_the_queue)
{
    struct vring_desc *table = (struct vring_desc *)(void *)(fake_guest_memory + RINGS);

    start(0, 4);
    fake_queue_add(&queue, (struct fake_buffer[]){{BUFFERS, 1, true}, {BUFFERS, 1, true}}, 2);
    table[1].flags |= VRING_DESC_F_NEXT;
    table[1].next = 0;
    fake_queue_serve(&queue);
    ck_assert(needs_reset());
}
END_TEST

START_TEST(index_that_jumps_breaks_the_queue)
{
    struct vring_avail *ring = (struct vring_avail *)(void *)(fake_guest_memory + RINGS + 0x4000);

    start(0, 4);
    ring->idx = 5;
    fake_queue_serve(&queue);
    ck_assert(needs_reset());
}
END_TEST

START_TEST(driver_that_asks_for_what_was_not_offered_gets_no_further)
{
    ck_assert(!fake_driver_begin(device, 1));
    fake_driver_start(device);
    ck_assert(!virtio_is_running(device));
}
END_TEST

START_TEST(size_that_is_no_power_of_two_breaks_a_split_queue_only)
{
    struct virtq_state *state = &device->queues[0].ring.state;
    const bool is_packed = fake_queue_forms[_i] >> VIRTIO_F_RING_PACKED & 1;

    ck_assert(fake_driver_begin(device, fake_queue_forms[_i]));
    state->size = 3;
    pthread_mutex_lock(&device->lock);
    ck_assert_int_eq(virtio_enable_queue(device, 0), is_packed);
    pthread_mutex_unlock(&device->lock);
    ck_assert_int_eq(needs_reset(), !is_packed);
}
END_TEST

START_TEST(interrupts_come_only_where_they_are_wanted)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 1, true}};
    uint16_t *driver = (uint16_t *)(void *)(fake_guest_memory + RINGS + 0x4000);
    const bool is_packed = fake_queue_forms[_i] >> VIRTIO_F_RING_PACKED & 1;
    const bool has_event = fake_queue_forms[_i] >> VIRTIO_RING_F_EVENT_IDX & 1;

    start(fake_queue_forms[_i], 8);
    if (is_packed)
        driver[1] = VRING_PACKED_EVENT_FLAG_DISABLE;
    else if (has_event)
        driver[2 + 8] = 3; /* the fourth is to be told */
    else
        driver[0] = VRING_AVAIL_F_NO_INTERRUPT;
    fake_queue_add(&queue, buffers, 1);
    fake_queue_serve(&queue);
    /* The first of all is told where that is the way to begin. */
    transport.interrupts = 0;
    for (unsigned i = 0; i < 2; i++) {
        fake_queue_add(&queue, buffers, 1);
        fake_queue_serve(&queue);
    }
    ck_assert_uint_eq(transport.interrupts, 0);
    if (!is_packed && !has_event)
        driver[0] = 0;
    if (is_packed)
        driver[1] = VRING_PACKED_EVENT_FLAG_ENABLE;
    fake_queue_add(&queue, buffers, 1);
    fake_queue_serve(&queue);
    ck_assert_uint_eq(transport.interrupts, 1);
}
END_TEST

START_TEST(interrupt_is_not_lost_after_more_than_a_turn_of_a_packed_ring)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 1, true}};
    uint16_t *driver = (uint16_t *)(void *)(fake_guest_memory + RINGS + 0x4000);
    uint16_t used;
    uint32_t written;

    start(1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_RING_F_EVENT_IDX, 8);
    fake_queue_add(&queue, buffers, 1);
    fake_queue_serve(&queue);
    ck_assert(fake_queue_used(&queue, &used, &written));
    /* A driver that polls meanwhile gets nine more, and wants to be told from the eighth of them on. */
    for (unsigned i = 0; i < 9; i++) {
        fake_queue_add(&queue, buffers, 1);
        struct virtq_chain *chain = virtio_pop(device, 0);
        ck_assert_ptr_nonnull(chain);
        virtio_push(device, 0, chain, 1);
        ck_assert(fake_queue_used(&queue, &used, &written));
    }
    driver[0] = 0; /* place 0 of the second turn */
    driver[1] = VRING_PACKED_EVENT_FLAG_DESC;
    transport.interrupts = 0;
    virtio_flush(device, 0);
    ck_assert_uint_eq(transport.interrupts, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("virtio_rng");
    TCase *tests = tcase_create("rng");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, requests_are_served_round_and_round, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, indirect_tables_are_followed_where_they_were_agreed_on, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, buffer_that_may_not_be_written_breaks_the_device, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, readable_buffer_behind_a_writable_one_breaks_the_queue, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, rings_outside_of_memory_break_the_queue, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, loop_in_a_chain_breaks_the_queue);
    tcase_add_test(tests, index_that_jumps_breaks_the_queue);
    tcase_add_test(tests, driver_that_asks_for_what_was_not_offered_gets_no_further);
    tcase_add_loop_test(tests, size_that_is_no_power_of_two_breaks_a_split_queue_only, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, interrupts_come_only_where_they_are_wanted, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, interrupt_is_not_lost_after_more_than_a_turn_of_a_packed_ring);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
