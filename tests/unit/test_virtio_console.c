/*
 * devices/virtio: the console, between a driver of several ports and back ends of this file.
 */
#include "devices/virtio/console.h"

#include "fake_guest.h"
#include "unit_test.h"

#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    RINGS = 0x10000,
    BUFFERS = 0x100000,
    BUFFER_SIZE = 0x100,
    RING_SIZE = 16,
    PORTS = 3,
    QUEUES = 2 * PORTS + 2,
    CONTROL_IN = 2,
    CONTROL_OUT = 3,
    BIG = 0x200000,
};

/* What a back end has got, and how much more it takes. */
struct end {
    uint8_t bytes[1 << 20];
    size_t used;
    size_t room;
    unsigned writes;
    unsigned asked;
    /* What it was told of the guest's end, and how often. */
    bool is_open;
    unsigned told;
};

static struct virtio_console *console;
static struct virtio_device *device;
static struct fake_transport transport;
static struct fake_queue queues[QUEUES];
static struct event_loop *loop;
static struct end ends[PORTS];
static struct log log_nowhere = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};

static const struct {
    const char *name;
    bool is_console;
} port_kinds[PORTS] = {{NULL, true}, {"org.quire.0", false}, {"second", true}};

static size_t end_write(void *context, const uint8_t *bytes, size_t len)
{
    struct end *end = context;
    const size_t taken = len < end->room ? len : end->room;

    memcpy(end->bytes + end->used, bytes, taken);
    end->used += taken;
    end->room -= taken;
    end->writes++;
    return taken;
}

static void end_input_room(void *context)
{
    ((struct end *)context)->asked++;
}

static void end_opened(void *context, bool is_open)
{
    struct end *end = context;

    end->is_open = is_open;
    end->told++;
}

static struct virtio_console *create(unsigned port_count, struct error *error)
{
    const struct virtio_environment environment = {.name = "console0", .loop = loop, .log = &log_nowhere};
    struct virtio_console_port_options options[PORTS];

    for (unsigned i = 0; i < PORTS; i++)
        options[i] = (struct virtio_console_port_options){
            .name = port_kinds[i].name,
            .is_console = port_kinds[i].is_console,
            .backend = {.write = end_write, .input_room = end_input_room, .opened = end_opened, .context = &ends[i]},
        };
    return virtio_console_create(&environment, options, port_count, error);
}

static void setup(void)
{
    struct error error;

    fake_guest_reset();
    memset(ends, 0, sizeof(ends));
    for (unsigned i = 0; i < PORTS; i++)
        ends[i].room = sizeof(ends[i].bytes);
    loop = event_loop_create(&error);
    console = create(PORTS, &error);
    ck_assert_ptr_nonnull(console);
    device = virtio_console_device(console);
    device->transport = fake_transport_make(&transport);
}

static void teardown(void)
{
    virtio_console_destroy(console);
    event_loop_destroy(loop);
    ck_assert_int_eq(fake_guest_pins, 0);
}

/* ---- The driver ---- */

static const uint64_t MULTIPORT = 1ull << VIRTIO_CONSOLE_F_MULTIPORT | 1ull << VIRTIO_CONSOLE_F_SIZE;

static unsigned in_queue(unsigned port)
{
    return port == 0 ? 0 : 2 + 2 * port;
}

static unsigned out_queue(unsigned port)
{
    return in_queue(port) + 1;
}

static void start(uint64_t features)
{
    const unsigned count = features & MULTIPORT ? QUEUES : 2;

    ck_assert(fake_driver_begin(device, features));
    for (unsigned i = 0; i < count; i++)
        fake_queue_enable(&queues[i], device, i, RING_SIZE, RINGS + 0x10000u * i);
    fake_driver_start(device);
}

static bool needs_reset(void)
{
    return (device->state.status & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

/* Each queue has a piece of memory, of which one request after the other takes a part. */
static uint64_t buffer_of(unsigned queue, unsigned index)
{
    return BUFFERS + 0x10000u * queue + BUFFER_SIZE * (index % RING_SIZE);
}

/* Whether the device has notified itself; it has not from here on. */
static bool has_notified_itself(unsigned queue)
{
    uint64_t count;

    return read(device->queues[queue].eventfd, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

/* Serves a queue, and as often as the device asks for that itself. */
static void serve(unsigned queue)
{
    do {
        fake_queue_serve(&queues[queue]);
    } while (has_notified_itself(queue));
}

static void send_control(uint32_t port, uint16_t event, uint16_t value)
{
    const struct virtio_console_control message = {.id = port, .event = event, .value = value};
    const struct fake_buffer buffer = {buffer_of(CONTROL_OUT, 0), sizeof(message), false};
    uint16_t id;
    uint32_t written;

    memcpy(fake_guest_memory + buffer.gpa, &message, sizeof(message));
    fake_queue_add(&queues[CONTROL_OUT], &buffer, 1);
    serve(CONTROL_OUT);
    ck_assert(fake_queue_used(&queues[CONTROL_OUT], &id, &written));
    ck_assert_uint_eq(written, 0);
}

/* Gives the device one buffer for a control message and returns what came: its size, or 0. */
static size_t take_control(struct virtio_console_control *message, uint8_t rest[BUFFER_SIZE])
{
    static bool is_waiting;
    static struct fake_buffer buffer;
    uint16_t id;
    uint32_t written = 0;

    if (queues[CONTROL_IN].next == 0 && queues[CONTROL_IN].wrap && queues[CONTROL_IN].next_used == 0)
        is_waiting = false; /* a new driver */
    if (!is_waiting) {
        buffer = (struct fake_buffer){buffer_of(CONTROL_IN, 0), BUFFER_SIZE, true};
        fake_queue_add(&queues[CONTROL_IN], &buffer, 1);
    }
    serve(CONTROL_IN);
    is_waiting = !fake_queue_used(&queues[CONTROL_IN], &id, &written);
    memcpy(message, fake_guest_memory + buffer.gpa, sizeof(*message));
    memcpy(rest, fake_guest_memory + buffer.gpa + sizeof(*message), BUFFER_SIZE - sizeof(*message));
    return written;
}

static void expect_control(uint32_t port, uint16_t event, uint16_t value, const void *rest, size_t rest_size)
{
    struct virtio_console_control message;
    uint8_t got[BUFFER_SIZE];

    ck_assert_uint_eq(take_control(&message, got), sizeof(message) + rest_size);
    ck_assert_uint_eq(message.id, port);
    ck_assert_uint_eq(message.event, event);
    ck_assert_uint_eq(message.value, value);
    if (rest_size > 0)
        ck_assert_mem_eq(got, rest, rest_size);
}

static void expect_no_control(void)
{
    struct virtio_console_control message;
    uint8_t got[BUFFER_SIZE];

    ck_assert_uint_eq(take_control(&message, got), 0);
}

static void shake_hands(void)
{
    send_control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (unsigned port = 0; port < PORTS; port++)
        expect_control(port, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
    for (unsigned port = 0; port < PORTS; port++) {
        send_control(port, VIRTIO_CONSOLE_PORT_READY, 1);
        if (port_kinds[port].is_console)
            expect_control(port, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL, 0);
        if (port_kinds[port].name != NULL)
            expect_control(port, VIRTIO_CONSOLE_PORT_NAME, 1, port_kinds[port].name, strlen(port_kinds[port].name));
    }
    expect_no_control();
}

/* A driver of several ports that has opened all of them. */
static void start_and_open(uint64_t form)
{
    start(form | MULTIPORT);
    shake_hands();
    for (unsigned port = 0; port < PORTS; port++)
        send_control(port, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

static void send(unsigned port, const char *text)
{
    static unsigned index;
    const struct fake_buffer buffer = {buffer_of(out_queue(port), index++), (uint32_t)strlen(text), false};

    memcpy(fake_guest_memory + buffer.gpa, text, strlen(text));
    fake_queue_add(&queues[out_queue(port)], &buffer, 1);
    serve(out_queue(port));
}

/* How many of the requests of a queue have come back. */
static unsigned count_used(unsigned queue)
{
    unsigned count = 0;
    uint16_t id;
    uint32_t written;

    while (fake_queue_used(&queues[queue], &id, &written))
        count++;
    return count;
}

static void expect_output(unsigned port, const char *text)
{
    ck_assert_uint_eq(ends[port].used, strlen(text));
    ck_assert_mem_eq(ends[port].bytes, text, strlen(text));
    ends[port].used = 0;
}

static void add_input_buffers(unsigned port, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++)
        fake_queue_add(&queues[in_queue(port)], &(struct fake_buffer){buffer_of(in_queue(port), i), size, true}, 1);
    serve(in_queue(port));
}

static size_t receive(unsigned port, const char *text)
{
    return virtio_console_receive(console, port, (const uint8_t *)text, strlen(text));
}

/* ---- Control ---- */

START_TEST(driver_hears_of_all_ports)
{
    start(fake_queue_forms[_i] | MULTIPORT);
    shake_hands();
    ck_assert(!needs_reset());
    ck_assert_uint_gt(transport.interrupts, 0);
}
END_TEST

START_TEST(second_time_ready_tells_nothing_new)
{
    start(MULTIPORT);
    shake_hands();
    send_control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    send_control(1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_no_control();
}
END_TEST

START_TEST(driver_that_is_not_ready_hears_nothing)
{
    start(MULTIPORT);
    virtio_console_set_connected(console, 1, true);
    virtio_console_resize(console, 0, 80, 25);
    send_control(0, VIRTIO_CONSOLE_DEVICE_READY, 0);
    send_control(0, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_no_control();
    send_control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    expect_control(0, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
    expect_control(1, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
    send_control(1, VIRTIO_CONSOLE_PORT_READY, 0);
    expect_control(2, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
    expect_no_control();
}
END_TEST

START_TEST(state_of_the_host_is_told_when_a_port_is_ready)
{
    const uint16_t size[] = {132, 43};

    virtio_console_resize(console, 2, 132, 43);
    virtio_console_set_connected(console, 2, true);
    start(MULTIPORT);
    send_control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (unsigned port = 0; port < PORTS; port++)
        expect_control(port, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
    send_control(2, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_control(2, VIRTIO_CONSOLE_CONSOLE_PORT, 1, NULL, 0);
    expect_control(2, VIRTIO_CONSOLE_PORT_NAME, 1, "second", 6);
    expect_control(2, VIRTIO_CONSOLE_RESIZE, 1, size, sizeof(size));
    expect_control(2, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
    expect_no_control();
}
END_TEST

START_TEST(clients_that_come_and_go_are_told_and_take_no_room)
{
    start_and_open(fake_queue_forms[_i]);
    transport.interrupts = 0;
    virtio_console_set_connected(console, 1, true);
    /* A driver that gives no event index has all of them interrupt. */
    if (!(fake_queue_forms[_i] >> VIRTIO_RING_F_EVENT_IDX & 1))
        ck_assert_uint_eq(transport.interrupts, 1);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
    virtio_console_set_connected(console, 1, true);
    expect_no_control();
    /* Of the two messages the first takes the buffer that waits, and the second and all others wait. */
    for (unsigned i = 0; i < 1000; i++) {
        virtio_console_set_connected(console, 1, false);
        virtio_console_set_connected(console, 1, true);
    }
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
    expect_no_control();
    virtio_console_set_connected(console, 1, false);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
}
END_TEST

START_TEST(client_that_has_left_before_it_was_told_is_not_told_as_there)
{
    start(MULTIPORT);
    shake_hands();
    virtio_console_set_connected(console, 0, true); /* takes the buffer that waits */
    virtio_console_set_connected(console, 1, true);
    virtio_console_set_connected(console, 1, false);
    expect_control(0, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 0, NULL, 0);
    expect_no_control();
}
END_TEST

/* Of a split queue with event indices: whether the device wants to hear of the next request. */
static bool asks_for_notifications(unsigned queue)
{
    const uint8_t *rings = fake_guest_memory + queues[queue].gpa;
    const uint16_t *event = (const uint16_t *)(const void *)(rings + 0x8000 + 4 + 8 * RING_SIZE);

    return *event == ((const uint16_t *)(const void *)(rings + 0x4000))[1];
}

START_TEST(message_that_comes_while_there_is_no_buffer_waits)
{
    start(MULTIPORT | 1ull << VIRTIO_RING_F_EVENT_IDX);
    shake_hands();
    expect_no_control(); /* a buffer waits now */
    virtio_console_set_connected(console, 0, true);
    ck_assert(!asks_for_notifications(CONTROL_IN));
    virtio_console_set_connected(console, 1, true);
    ck_assert(asks_for_notifications(CONTROL_IN));
    expect_control(0, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
}
END_TEST

/* ---- Sizes ---- */

static struct virtio_console_config read_config(void)
{
    struct virtio_console_config config;

    pthread_mutex_lock(&device->lock);
    virtio_read_config(device, 0, &config, sizeof(config));
    pthread_mutex_unlock(&device->lock);
    return config;
}

START_TEST(terminal_that_changes_its_size_is_told_in_the_configuration)
{
    start(1ull << VIRTIO_CONSOLE_F_SIZE);
    ck_assert_uint_eq(read_config().cols, 0);
    ck_assert_uint_eq(read_config().max_nr_ports, PORTS);
    virtio_console_resize(console, 0, 80, 25);
    ck_assert_uint_eq(transport.config_interrupts, 1);
    ck_assert_uint_eq(read_config().cols, 80);
    ck_assert_uint_eq(read_config().rows, 25);
    const uint8_t generation = device->state.config_generation;
    virtio_console_resize(console, 0, 80, 25);
    ck_assert_uint_eq(transport.config_interrupts, 1);
    virtio_console_resize(console, 0, 80, 24);
    ck_assert_uint_eq(transport.config_interrupts, 2);
    ck_assert_uint_ne(device->state.config_generation, generation);
    /* The configuration is of the first port alone. */
    virtio_console_resize(console, 2, 1, 1);
    ck_assert_uint_eq(transport.config_interrupts, 2);
    ck_assert_uint_eq(read_config().cols, 80);
}
END_TEST

START_TEST(consoles_are_told_their_size_by_message)
{
    const uint16_t size[] = {100, 50};

    start_and_open(fake_queue_forms[_i]);
    virtio_console_resize(console, 2, 7, 8);
    virtio_console_resize(console, 1, 100, 50); /* a channel has none */
    virtio_console_resize(console, 0, 100, 50);
    virtio_console_resize(console, 2, 100, 50);
    struct virtio_console_control message;
    uint8_t rest[BUFFER_SIZE];
    /* The first found a buffer; and then the last. */
    ck_assert_uint_eq(take_control(&message, rest), 12);
    ck_assert_uint_eq(message.id, 2);
    ck_assert_uint_eq(rest[0], 7);
    expect_control(0, VIRTIO_CONSOLE_RESIZE, 1, size, sizeof(size));
    expect_control(2, VIRTIO_CONSOLE_RESIZE, 1, size, sizeof(size));
    expect_no_control();
    ck_assert_uint_eq(read_config().cols, 100);
}
END_TEST

/* ---- Output ---- */

START_TEST(output_goes_to_the_port_that_it_is_for)
{
    start_and_open(fake_queue_forms[_i]);
    for (unsigned round = 0; round < 100; round++) {
        send(0, "to the console\n");
        send(2, "to the second");
        send(1, "to the channel");
        send(2, " console\n");
        expect_output(0, "to the console\n");
        expect_output(1, "to the channel");
        expect_output(2, "to the second console\n");
        for (unsigned port = 0; port < PORTS; port++)
            ck_assert_uint_eq(count_used(out_queue(port)), port == 2 ? 2 : 1);
    }
}
END_TEST

START_TEST(driver_of_one_port_needs_no_messages)
{
    start(fake_queue_forms[_i]);
    send(0, "hello");
    expect_output(0, "hello");
    add_input_buffers(0, 1, 16);
    ck_assert_uint_eq(receive(0, "world"), 5);
    ck_assert_mem_eq(fake_guest_memory + buffer_of(0, 0), "world", 5);
    ck_assert_uint_eq(receive(1, "nobody"), 0);
    virtio_console_writable(console, 1);
    virtio_console_set_connected(console, 0, true);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(request_waits_for_a_back_end_without_room)
{
    start_and_open(fake_queue_forms[_i]);
    ends[1].room = 4;
    send(1, "0123456789");
    ck_assert_uint_eq(count_used(out_queue(1)), 0);
    ck_assert_int_eq(fake_guest_pins, 0);
    const unsigned writes = ends[1].writes;
    send(1, "abc");
    serve(out_queue(1)); /* notifications change nothing */
    ck_assert_uint_eq(ends[1].writes, writes);
    send(2, "others go on");
    expect_output(2, "others go on");
    ends[1].room = 3;
    virtio_console_writable(console, 1);
    ck_assert_uint_eq(ends[1].used, 7);
    ck_assert_uint_eq(count_used(out_queue(1)), 0);
    ends[1].room = 100;
    virtio_console_writable(console, 1);
    ck_assert_uint_eq(count_used(out_queue(1)), 2);
    expect_output(1, "0123456789abc");
    send(1, "!");
    expect_output(1, "!");
}
END_TEST

START_TEST(large_request_takes_turns)
{
    const struct fake_buffer buffers[] = {{BIG, 200000, false}, {BIG + 200000, 100000, false}};
    unsigned turns = 0;

    start_and_open(fake_queue_forms[_i]);
    for (size_t i = 0; i < 300000; i++)
        fake_guest_memory[BIG + i] = (uint8_t)(i * 7 + (i >> 8));
    fake_queue_add(&queues[out_queue(1)], buffers, 2);
    do {
        const size_t before = ends[1].used;
        fake_queue_serve(&queues[out_queue(1)]);
        ck_assert_uint_le(ends[1].used - before, 64 << 10);
        turns++;
    } while (has_notified_itself(out_queue(1)));
    ck_assert_uint_eq(turns, 5);
    ck_assert_uint_eq(ends[1].used, 300000);
    ck_assert_mem_eq(ends[1].bytes, fake_guest_memory + BIG, 300000);
    ck_assert_uint_eq(count_used(out_queue(1)), 1);
}
END_TEST

START_TEST(request_that_shrinks_while_it_waits_is_over)
{
    start_and_open(0);
    ends[0].room = 6;
    send(0, "0123456789");
    ((struct vring_desc *)(void *)(fake_guest_memory + queues[out_queue(0)].gpa))->len = 2;
    ends[0].room = 100;
    virtio_console_writable(console, 0);
    ck_assert_uint_eq(count_used(out_queue(0)), 1);
    expect_output(0, "012345");
    send(0, "next");
    expect_output(0, "next");
}
END_TEST

START_TEST(emergency_writes_need_no_driver)
{
    const uint32_t value = '!';

    pthread_mutex_lock(&device->lock);
    virtio_write_config(device, 8, &value, 4);
    virtio_write_config(device, 8, &value, 1);
    virtio_write_config(device, 4, &value, 4);
    virtio_write_config(device, 0, &value, 2);
    ends[0].room = 0;
    virtio_write_config(device, 8, &value, 4);
    pthread_mutex_unlock(&device->lock);
    expect_output(0, "!!");
    ck_assert_uint_eq(read_config().emerg_wr, 0);
    ck_assert_uint_eq(read_config().max_nr_ports, PORTS);
}
END_TEST

/* ---- Input ---- */

START_TEST(input_fills_the_buffers_of_its_port)
{
    uint16_t id;
    uint32_t written;

    start_and_open(fake_queue_forms[_i]);
    for (unsigned round = 0; round < 40; round++) {
        add_input_buffers(1, 2, 4);
        add_input_buffers(2, 1, 100);
        ck_assert_uint_eq(receive(1, "abcdef"), 6);
        ck_assert_uint_eq(receive(2, "xyz"), 3);
        ck_assert(fake_queue_used(&queues[in_queue(1)], &id, &written));
        ck_assert_uint_eq(written, 4);
        ck_assert(fake_queue_used(&queues[in_queue(1)], &id, &written));
        ck_assert_uint_eq(written, 2);
        ck_assert(fake_queue_used(&queues[in_queue(2)], &id, &written));
        ck_assert_uint_eq(written, 3);
        ck_assert_mem_eq(fake_guest_memory + buffer_of(in_queue(1), 0), "abcd", 4);
        ck_assert_mem_eq(fake_guest_memory + buffer_of(in_queue(1), 1), "ef", 2);
        ck_assert_mem_eq(fake_guest_memory + buffer_of(in_queue(2), 0), "xyz", 3);
    }
    ck_assert_uint_eq(ends[1].asked, 0);
}
END_TEST

START_TEST(input_waits_for_buffers)
{
    start_and_open(fake_queue_forms[_i]);
    ck_assert_uint_eq(receive(1, "abcdef"), 0);
    serve(in_queue(1));
    ck_assert_uint_eq(ends[1].asked, 1);
    ck_assert_uint_eq(receive(1, "abcdef"), 0);
    add_input_buffers(1, 1, 4);
    ck_assert_uint_eq(ends[1].asked, 2);
    ck_assert_uint_eq(receive(1, "abcdef"), 4);
    serve(in_queue(1));
    ck_assert_uint_eq(ends[1].asked, 3);
    /* Nobody is asked who has nothing. */
    serve(in_queue(1));
    serve(in_queue(0));
    ck_assert_uint_eq(ends[1].asked, 3);
    ck_assert_uint_eq(ends[0].asked, 0);
}
END_TEST

START_TEST(input_waits_while_the_port_is_closed)
{
    start(MULTIPORT);
    shake_hands();
    add_input_buffers(1, 4, 16);
    ck_assert_uint_eq(receive(1, "early"), 0);
    send_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    ck_assert_uint_eq(ends[1].asked, 1);
    ck_assert_uint_eq(receive(1, "early"), 5);
    send_control(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
    ck_assert_uint_eq(receive(1, "late"), 0);
    ck_assert_uint_eq(count_used(in_queue(1)), 1);
}
END_TEST

START_TEST(back_end_is_told_whether_the_guest_s_end_is_open)
{
    start(MULTIPORT);
    shake_hands();
    send_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    ck_assert(ends[1].is_open);
    send_control(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
    ck_assert(!ends[1].is_open);
    ck_assert_uint_eq(ends[1].told, 2);
    ck_assert_uint_eq(ends[2].told, 0);
    send_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    fake_driver_reset(device);
    ck_assert(!ends[1].is_open);
    ck_assert_uint_eq(ends[1].told, 4);
    ck_assert_uint_eq(ends[2].told, 0);
}
END_TEST

START_TEST(input_is_asked_for_when_a_driver_starts)
{
    ck_assert_uint_eq(receive(0, "typed ahead"), 0);
    start(0);
    ck_assert(has_notified_itself(0));
    add_input_buffers(0, 1, 16);
    ck_assert_uint_eq(ends[0].asked, 1);
    ck_assert_uint_eq(receive(0, "typed ahead"), 11);
}
END_TEST

START_TEST(buffers_without_room_take_a_bounded_time)
{
    start_and_open(0);
    add_input_buffers(1, RING_SIZE, 0);
    ck_assert_uint_eq(receive(1, "abc"), 0);
    ck_assert_uint_eq(count_used(in_queue(1)), RING_SIZE);
    ck_assert(!needs_reset());
}
END_TEST

/* ---- Hostile drivers ---- */

START_TEST(messages_about_ports_that_are_not_there_are_ignored)
{
    static const uint32_t ids[] = {PORTS, PORTS + 1, VIRTIO_CONSOLE_PORT_MAX, 0x80000000, VIRTIO_CONSOLE_BAD_ID};

    start_and_open(fake_queue_forms[_i]);
    for (uint16_t event = 1; event < 12; event++)
        for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
            send_control(ids[i], event, 1);
    for (uint16_t event = 8; event < 100; event++)
        send_control(1, event, 1);
    /* What only the device may say. */
    send_control(1, VIRTIO_CONSOLE_PORT_ADD, 1);
    send_control(1, VIRTIO_CONSOLE_PORT_REMOVE, 1);
    send_control(1, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
    send_control(1, VIRTIO_CONSOLE_RESIZE, 1);
    send_control(1, VIRTIO_CONSOLE_PORT_NAME, 1);
    expect_no_control();
    ck_assert(!needs_reset());
    send(1, "still here");
    expect_output(1, "still here");
}
END_TEST

START_TEST(message_that_is_too_short_breaks_the_device)
{
    const struct fake_buffer buffer = {buffer_of(CONTROL_OUT, 0), 7, false};

    start(fake_queue_forms[_i] | MULTIPORT);
    fake_queue_add(&queues[CONTROL_OUT], &buffer, 1);
    serve(CONTROL_OUT);
    ck_assert(needs_reset());
    ck_assert_uint_eq(transport.config_interrupts, 1);
}
END_TEST

START_TEST(buffer_too_small_for_a_message_breaks_the_device)
{
    const struct fake_buffer buffer = {buffer_of(CONTROL_IN, 0), 7, true};

    start(fake_queue_forms[_i] | MULTIPORT);
    fake_queue_add(&queues[CONTROL_IN], &buffer, 1);
    send_control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    ck_assert(needs_reset());
    for (unsigned i = 0; i < 7; i++)
        ck_assert_uint_eq(fake_guest_memory[buffer.gpa + i], 0);
}
END_TEST

/* A queue, and what goes on there that needs its buffer. */
static const unsigned refusing_queues[] = {CONTROL_IN, CONTROL_OUT, 4, 5};

START_TEST(buffer_that_is_refused_breaks_the_device)
{
    const unsigned queue = refusing_queues[_i % 4];
    const bool is_written = queue % 2 == 0;
    const uint64_t gpa = BIG;
    const struct fake_buffer buffers[] = {{gpa, 64, is_written}, {gpa + 4096, 64, is_written}};

    start_and_open(fake_queue_forms[_i / 4]);
    fake_guest_protect(gpa + 4096, 4096, is_written ? HV_MEMORY_READ : HV_MEMORY_WRITE);
    fake_queue_add(&queues[queue], buffers, 2);
    if (queue == CONTROL_IN) {
        virtio_console_set_connected(console, 1, true); /* for which a good one waits in front of it */
        virtio_console_set_connected(console, 1, false);
    }
    if (queue == 4)
        ck_assert_uint_eq(receive(1, "lost?"), 0);
    serve(queue);
    ck_assert(needs_reset());
    for (unsigned i = 0; i < 64; i++)
        ck_assert_uint_eq(fake_guest_memory[gpa + i], 0);
    ck_assert_uint_eq(ends[1].used, 0);
    /* And a reset makes it good again. */
    start_and_open(fake_queue_forms[_i / 4]);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(queues_of_ports_that_were_not_agreed_on_are_left_alone)
{
    ck_assert(fake_driver_begin(device, fake_queue_forms[_i]));
    for (unsigned i = 0; i < QUEUES; i++)
        fake_queue_enable(&queues[i], device, i, RING_SIZE, RINGS + 0x10000u * i);
    fake_driver_start(device);
    for (unsigned i = 2; i < QUEUES; i++)
        fake_queue_add(&queues[i], &(struct fake_buffer){buffer_of(i, 0), BUFFER_SIZE, i % 2 == 0}, 1);
    for (unsigned i = 2; i < QUEUES; i++)
        serve(i);
    virtio_console_writable(console, 1);
    virtio_console_set_connected(console, 1, true);
    ck_assert_uint_eq(receive(1, "abc"), 0);
    for (unsigned i = 2; i < QUEUES; i++)
        ck_assert_uint_eq(count_used(i), 0);
    ck_assert_uint_eq(ends[1].used, 0);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(message_in_pieces_and_with_room_for_an_answer_is_read)
{
    const uint64_t gpa = buffer_of(CONTROL_OUT, 0);
    const struct fake_buffer buffers[] = {{gpa, 3, false}, {gpa + 3, 0, false}, {gpa + 3, 50, false}, {gpa, 4, true}};
    const struct virtio_console_control message = {.event = VIRTIO_CONSOLE_DEVICE_READY, .value = 1};

    start(fake_queue_forms[_i] | MULTIPORT);
    memcpy(fake_guest_memory + gpa, &message, sizeof(message));
    fake_queue_add(&queues[CONTROL_OUT], buffers, 4);
    serve(CONTROL_OUT);
    expect_control(0, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
}
END_TEST

START_TEST(rings_that_go_away_break_the_device_at_any_moment)
{
    start_and_open(fake_queue_forms[_i]);
    add_input_buffers(1, 4, 16);
    for (unsigned queue = 0; queue < QUEUES; queue++)
        fake_guest_protect(RINGS + 0x10000u * queue, 0x10000, 0);
    ck_assert_uint_eq(receive(1, "abc"), 0);
    ck_assert(needs_reset());
    virtio_console_set_connected(console, 1, true);
    virtio_console_resize(console, 0, 1, 2);
    virtio_console_writable(console, 1);
    for (unsigned queue = 0; queue < QUEUES; queue++)
        serve(queue);
}
END_TEST

/* ---- Resets ---- */

START_TEST(reset_drops_all_that_was_the_driver_s)
{
    start_and_open(fake_queue_forms[_i]);
    virtio_console_set_connected(console, 1, true);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
    virtio_console_set_connected(console, 1, false); /* is pending */
    ends[1].room = 4;
    send(1, "0123456789");
    fake_driver_reset(device);
    ck_assert_int_eq(fake_guest_pins, 0);
    ck_assert_uint_eq(receive(1, "abc"), 0);
    ends[1].used = 0;
    ends[1].room = 100;
    virtio_console_writable(console, 1);
    ck_assert_uint_eq(ends[1].used, 0);
    /* The next begins at the beginning: all ports are closed, and requests are sent from their first byte. */
    start(fake_queue_forms[_i] | MULTIPORT);
    shake_hands();
    add_input_buffers(1, 1, 16);
    ck_assert_uint_eq(receive(1, "abc"), 0);
    send(1, "ABCDEFGH");
    expect_output(1, "ABCDEFGH");
}
END_TEST

START_TEST(driver_after_a_reset_is_not_stuck_behind_a_back_end_that_has_room)
{
    start_and_open(fake_queue_forms[_i]);
    ends[1].room = 0;
    send(1, "old");
    fake_driver_reset(device);
    ends[1].room = 100;
    start_and_open(fake_queue_forms[_i]);
    send(1, "new");
    expect_output(1, "new");
}
END_TEST

START_TEST(host_s_state_outlives_a_reset)
{
    virtio_console_resize(console, 0, 80, 25);
    virtio_console_set_connected(console, 1, true);
    start(MULTIPORT);
    fake_driver_reset(device);
    start(MULTIPORT);
    ck_assert_uint_eq(read_config().rows, 25);
    send_control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
    for (unsigned port = 0; port < PORTS; port++)
        expect_control(port, VIRTIO_CONSOLE_PORT_ADD, 1, NULL, 0);
    send_control(1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_control(1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.quire.0", 11);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
}
END_TEST

/* ---- Creation ---- */

START_TEST(saved_state_makes_another_console_the_same)
{
    const uint16_t terminal[] = {132, 43};
    struct error error;
    size_t size, size_again;

    start_and_open(fake_queue_forms[_i]);
    virtio_console_set_connected(console, 1, true);
    expect_control(1, VIRTIO_CONSOLE_PORT_OPEN, 1, NULL, 0);
    send_control(2, VIRTIO_CONSOLE_PORT_OPEN, 0);
    ends[1].room = 4;
    send(1, "0123456789");
    uint8_t *bytes = virtio_save(device, &size);
    ck_assert_ptr_nonnull(bytes);
    virtio_console_destroy(console);
    console = create(PORTS, &error);
    device = virtio_console_device(console);
    device->transport = fake_transport_make(&transport);
    for (unsigned i = 0; i < QUEUES; i++)
        queues[i].device = device;
    ck_assert_int_eq(virtio_restore(device, bytes, size, &error), 0);
    uint8_t *again = virtio_save(device, &size_again);
    ck_assert_uint_eq(size_again, size);
    ck_assert_mem_eq(again, bytes, size);
    /* The rest of the request that was half done, and no more. */
    ends[1].room = 100;
    serve(out_queue(1));
    expect_output(1, "0123456789");
    ck_assert_uint_eq(count_used(out_queue(1)), 1);
    /* The driver is ready as before: what happens is told, and what it knows is not. */
    virtio_console_set_connected(console, 1, true);
    expect_no_control();
    virtio_console_resize(console, 2, 132, 43);
    expect_control(2, VIRTIO_CONSOLE_RESIZE, 1, terminal, sizeof(terminal));
    add_input_buffers(0, 1, 64);
    ck_assert_uint_eq(receive(0, "hello"), 5);
    for (size_t cut = 0; cut < size; cut++)
        ck_assert_int_eq(virtio_restore(device, bytes, cut, &error), -1);
    free(again);
    free(bytes);
}
END_TEST

START_TEST(ports_that_cannot_be_are_an_error)
{
    const struct virtio_environment environment = {.name = "console1", .loop = loop, .log = &log_nowhere};
    struct virtio_console_port_options options[VIRTIO_CONSOLE_PORT_MAX + 1] = {{0}};
    char name[VIRTIO_CONSOLE_NAME_MAX + 2];
    struct error error;

    ck_assert_ptr_null(virtio_console_create(&environment, options, 0, &error));
    ck_assert_ptr_null(virtio_console_create(&environment, options, VIRTIO_CONSOLE_PORT_MAX + 1, &error));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    options[1].name = name;
    ck_assert_ptr_null(virtio_console_create(&environment, options, 2, &error));
    ck_assert_ptr_nonnull(strstr(error.text, name));
    name[sizeof(name) - 2] = '\0';
    struct virtio_console *all = virtio_console_create(&environment, options, VIRTIO_CONSOLE_PORT_MAX, &error);
    ck_assert_ptr_nonnull(all);
    virtio_console_destroy(all);
}
END_TEST

static void add_all(TCase *tests)
{
    tcase_add_loop_test(tests, driver_hears_of_all_ports, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, second_time_ready_tells_nothing_new);
    tcase_add_test(tests, driver_that_is_not_ready_hears_nothing);
    tcase_add_test(tests, state_of_the_host_is_told_when_a_port_is_ready);
    tcase_add_loop_test(tests, clients_that_come_and_go_are_told_and_take_no_room, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, client_that_has_left_before_it_was_told_is_not_told_as_there);
    tcase_add_test(tests, message_that_comes_while_there_is_no_buffer_waits);
    tcase_add_test(tests, terminal_that_changes_its_size_is_told_in_the_configuration);
    tcase_add_loop_test(tests, consoles_are_told_their_size_by_message, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, output_goes_to_the_port_that_it_is_for, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, driver_of_one_port_needs_no_messages, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, request_waits_for_a_back_end_without_room, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, large_request_takes_turns, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, request_that_shrinks_while_it_waits_is_over);
    tcase_add_test(tests, emergency_writes_need_no_driver);
    tcase_add_loop_test(tests, input_fills_the_buffers_of_its_port, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, input_waits_for_buffers, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, input_waits_while_the_port_is_closed);
    tcase_add_test(tests, back_end_is_told_whether_the_guest_s_end_is_open);
    tcase_add_test(tests, input_is_asked_for_when_a_driver_starts);
    tcase_add_test(tests, buffers_without_room_take_a_bounded_time);
    tcase_add_loop_test(tests, messages_about_ports_that_are_not_there_are_ignored, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, message_that_is_too_short_breaks_the_device, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, buffer_too_small_for_a_message_breaks_the_device, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, buffer_that_is_refused_breaks_the_device, 0, 4 * FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, queues_of_ports_that_were_not_agreed_on_are_left_alone, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, message_in_pieces_and_with_room_for_an_answer_is_read, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, rings_that_go_away_break_the_device_at_any_moment, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, reset_drops_all_that_was_the_driver_s, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, driver_after_a_reset_is_not_stuck_behind_a_back_end_that_has_room, 0,
                        FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, host_s_state_outlives_a_reset);
    tcase_add_loop_test(tests, saved_state_makes_another_console_the_same, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, ports_that_cannot_be_are_an_error);
}

int main(void)
{
    Suite *suite = suite_create("virtio_console");
    TCase *tests = tcase_create("console");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    add_all(tests);
    suite_add_tcase(suite, tests);
    return unit_test_run(suite);
}
