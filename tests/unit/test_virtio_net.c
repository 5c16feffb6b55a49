/*
 * devices/virtio/net, against a driver and a host's side of our own.
 */
#include "devices/virtio/net.h"

#include "fake_guest.h"
#include "unit_test.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    RINGS = 0x10000,
    RING_SIZE = 0x10000,
    BUFFERS = 0x100000,
    HEADER = sizeof(struct virtio_net_hdr_v1),
    PAIRS = 2,
    SLOTS = 300,
    PACKET_MAX = 70000,
    RECEIVE = 0,
    SEND = 1,
};

/* With headers. */
static struct packet {
    uint8_t bytes[PACKET_MAX];
    size_t size;
} sent[SLOTS], incoming[SLOTS];

/* A host's side that keeps what is sent, and has packets to be received. */
static struct {
    struct net_backend backend;
    struct net_client client;
    size_t sent_count, incoming_count, incoming_next;
    size_t receives;
    int send_result, receive_result, pairs_result;
    bool for_packets, for_room;
    unsigned pairs, offloads, last_pair;
    bool is_closed;
} host;

static int host_attach(struct net_backend *backend, struct event_loop *loop, const char *name, const struct log *log,
                       const struct net_client *client, struct error *error)
{
    (void)backend, (void)loop, (void)name, (void)log, (void)error;
    host.client = *client;
    return 0;
}

static int host_send(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    uint8_t *to = sent[host.sent_count].bytes;

    (void)backend;
    ck_assert_uint_eq(pieces[0].iov_len, HEADER);
    if (host.send_result < 0)
        return host.send_result;
    ck_assert_uint_lt(host.sent_count, SLOTS);
    for (size_t i = 0; i < count; i++) {
        memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
        to += pieces[i].iov_len;
    }
    sent[host.sent_count].size = (size_t)(to - sent[host.sent_count].bytes);
    host.sent_count++;
    host.last_pair = pair;
    return 0;
}

static ssize_t host_receive(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    size_t done = 0;

    (void)backend, (void)pair;
    if (host.receive_result < 0)
        return host.receive_result;
    if (host.incoming_next == host.incoming_count)
        return -EAGAIN;
    host.receives++;
    const size_t size = incoming[host.incoming_next].size;
    for (size_t i = 0; i < count && done < size; i++) {
        const size_t length = size - done < pieces[i].iov_len ? size - done : pieces[i].iov_len;
        memcpy(pieces[i].iov_base, incoming[host.incoming_next].bytes + done, length);
        done += length;
    }
    host.incoming_next++;
    return (ssize_t)done;
}

static void host_listen(struct net_backend *backend, unsigned pair, bool for_packets, bool for_room)
{
    (void)backend, (void)pair;
    host.for_packets = for_packets;
    host.for_room = for_room;
}

static int host_set_pairs(struct net_backend *backend, unsigned pairs)
{
    (void)backend;
    if (host.pairs_result == 0)
        host.pairs = pairs;
    return host.pairs_result;
}

static void host_set_offloads(struct net_backend *backend, unsigned offloads)
{
    (void)backend;
    host.offloads = offloads;
}

static void host_close(struct net_backend *backend)
{
    (void)backend;
    host.is_closed = true;
}

static const struct net_backend_ops host_ops = {
    .attach = host_attach,
    .send = host_send,
    .receive = host_receive,
    .listen = host_listen,
    .set_pairs = host_set_pairs,
    .set_offloads = host_set_offloads,
    .close = host_close,
};

static struct virtio_net *net;
static struct virtio_device *device;
static struct fake_transport transport;
static struct fake_queue queues[2 * PAIRS + 1];
static struct event_loop *loop;
static struct log log_nowhere = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
static const uint8_t MAC[NET_MAC_SIZE] = {0x52, 0x54, 0, 1, 2, 3};

static const uint64_t MERGEABLE = 1ull << VIRTIO_NET_F_MRG_RXBUF;
static const uint64_t CONTROL = 1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX |
                                1ull << VIRTIO_NET_F_CTRL_RX_EXTRA | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR;
static const uint64_t OFFLOADS =
    1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_ECN;

static void make(void)
{
    const struct virtio_net_options options = {.mac = {MAC[0], MAC[1], MAC[2], MAC[3], MAC[4], MAC[5]},
                                               .queue_pairs = PAIRS};
    struct error error;

    memset(&host, 0, sizeof(host));
    host.backend = (struct net_backend){.ops = &host_ops, .offloads = 15, .queue_pairs = PAIRS};
    loop = event_loop_create(&error);
    const struct virtio_environment environment = {.name = "net0", .loop = loop, .log = &log_nowhere};
    net = virtio_net_create(&environment, &host.backend, &options, &error);
    ck_assert_ptr_nonnull(net);
    device = virtio_net_device(net);
    device->transport = fake_transport_make(&transport);
}

static void setup(void)
{
    fake_guest_reset();
    make();
}

static void teardown(void)
{
    virtio_net_destroy(net);
    event_loop_destroy(loop);
    ck_assert(host.is_closed);
    ck_assert_int_eq(fake_guest_pins, 0);
}

/* All queues that the features give. */
static void start(uint64_t features, uint16_t size)
{
    const unsigned count = features >> VIRTIO_NET_F_MQ & 1 ? 2 * PAIRS + 1 : 3;

    ck_assert(fake_driver_begin(device, features));
    for (unsigned i = 0; i < count; i++)
        fake_queue_enable(&queues[i], device, i, size, RINGS + i * RING_SIZE);
    fake_driver_start(device);
    fake_queue_serve(&queues[RECEIVE]);
}

static bool needs_reset(void)
{
    return (device->state.status & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

static void fill(uint8_t *bytes, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(seed + i + i / 251);
}

/* A packet comes: size is the frame's. */
static void arrive(size_t size, unsigned seed)
{
    uint8_t *bytes = incoming[host.incoming_count].bytes;

    memset(bytes, 0, HEADER);
    fill(bytes + HEADER, size, seed);
    incoming[host.incoming_count++].size = HEADER + size;
}

static void tell_of_packets(void)
{
    if (host.for_packets)
        host.client.readable(host.client.context, 0);
}

/* Bytes of a packet that was sent or that lies in guest memory are as arrive() or send() made them. */
static void check_frame(const uint8_t *bytes, size_t size, unsigned seed)
{
    static uint8_t expected[PACKET_MAX];

    fill(expected, size, seed);
    ck_assert_mem_eq(bytes, expected, size);
}

static const struct virtio_net_counters *counters(void)
{
    return virtio_net_counters(net);
}

/* ---- Sending ---- */

/* A packet of the driver's in two buffers at gpa. */
static void add_packet(uint64_t gpa, const struct virtio_net_hdr_v1 *header, uint32_t size, unsigned seed)
{
    const struct fake_buffer buffers[] = {{gpa, HEADER + 7, false}, {gpa + 0x100, size - 7, false}};

    memcpy(fake_guest_memory + gpa, header, HEADER);
    fill(fake_guest_memory + gpa + HEADER, 7, seed);
    for (size_t i = 7; i < size; i++)
        fake_guest_memory[gpa + 0x100 - 7 + i] = (uint8_t)(seed + i + i / 251);
    fake_queue_add(&queues[SEND], buffers, 2);
}

static void serve_send(void)
{
    uint16_t id;
    uint32_t written;

    fake_queue_serve(&queues[SEND]);
    while (fake_queue_used(&queues[SEND], &id, &written))
        ck_assert_uint_eq(written, 0);
}

START_TEST(packets_are_sent_round_and_round)
{
    const struct virtio_net_hdr_v1 header = {.num_buffers = 9, .hdr_len = 3, .csum_start = 5};
    const struct virtio_net_hdr_v1 clean = {0};

    start(fake_queue_forms[_i], 8);
    for (unsigned round = 0; round < 100; round++) {
        add_packet(BUFFERS, &header, 60 + round, round);
        serve_send();
        ck_assert_uint_eq(host.sent_count, round + 1);
        ck_assert_uint_eq(sent[round].size, HEADER + 60 + round);
        ck_assert_mem_eq(sent[round].bytes, &clean, HEADER);
        check_frame(sent[round].bytes + HEADER, 60 + round, round);
    }
    ck_assert(!needs_reset());
    ck_assert_uint_eq(counters()->sent, 100);
}
END_TEST

/* Headers of a frame of 100 bytes, and what the host is to get of them: NULL where it gets nothing. */
static const struct {
    struct virtio_net_hdr_v1 header;
    bool is_good;
} headers[] = {
    {{.flags = 1, .csum_start = 34, .csum_offset = 16}, true},
    {{.flags = 1, .csum_start = 82, .csum_offset = 16}, true},
    {{.flags = 1, .csum_start = 83, .csum_offset = 16}, false},
    {{.flags = 1, .csum_start = 13, .csum_offset = 16}, false},
    {{.flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff}, false},
    {{.flags = 1, .csum_start = 34, .csum_offset = 0xfffe}, false},
    {{.flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 20, .csum_start = 34, .csum_offset = 16}, true},
    {{.flags = 1, .gso_type = 0x81, .hdr_len = 54, .gso_size = 20, .csum_start = 34, .csum_offset = 16}, true},
    {{.flags = 1, .gso_type = 1, .hdr_len = 101, .gso_size = 20, .csum_start = 34, .csum_offset = 16}, false},
    {{.flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 0, .csum_start = 34, .csum_offset = 16}, false},
    {{.flags = 1, .gso_type = 1, .hdr_len = 54, .gso_size = 100, .csum_start = 34, .csum_offset = 16}, false},
    {{.flags = 0, .gso_type = 1, .hdr_len = 54, .gso_size = 20}, false},
    /* UFO, TSO6 that was not agreed on, what there is not, ECN alone */
    {{.flags = 1, .gso_type = 3, .hdr_len = 54, .gso_size = 20, .csum_start = 34, .csum_offset = 16}, false},
    {{.flags = 1, .gso_type = 4, .hdr_len = 54, .gso_size = 20, .csum_start = 34, .csum_offset = 16}, false},
    {{.flags = 1, .gso_type = 0x40, .hdr_len = 54, .gso_size = 20, .csum_start = 34, .csum_offset = 16}, false},
    {{.flags = 1, .gso_type = 0x80, .hdr_len = 54, .gso_size = 20, .csum_start = 34, .csum_offset = 16}, false},
};
enum { HEADER_COUNT = sizeof(headers) / sizeof(headers[0]) };

START_TEST(headers_are_checked_against_the_packet)
{
    struct virtio_net_hdr_v1 header = headers[_i].header;

    start(OFFLOADS, 8);
    add_packet(BUFFERS, &header, 100, 1);
    serve_send();
    ck_assert_uint_eq(host.sent_count, headers[_i].is_good);
    ck_assert_uint_eq(counters()->sent_dropped, !headers[_i].is_good);
    if (headers[_i].is_good)
        ck_assert_mem_eq(sent[0].bytes, &header, HEADER);
    ck_assert(!needs_reset());
    /* Nothing of that kind without having agreed. */
    start(0, 8);
    add_packet(BUFFERS, &header, 100, 1);
    serve_send();
    ck_assert_uint_eq(host.sent_count, headers[_i].is_good);
}
END_TEST

START_TEST(ecn_needs_its_own_feature)
{
    const struct virtio_net_hdr_v1 header = {
        .flags = 1, .gso_type = 0x81, .hdr_len = 54, .gso_size = 20, .csum_start = 34, .csum_offset = 16};

    start(OFFLOADS & ~(1ull << VIRTIO_NET_F_HOST_ECN), 8);
    add_packet(BUFFERS, &header, 100, 1);
    serve_send();
    ck_assert_uint_eq(counters()->sent_dropped, 1);
}
END_TEST

START_TEST(malformed_packets_are_dropped_and_given_back)
{
    const struct fake_buffer bad[][2] = {
        {{BUFFERS, HEADER - 1, false}, {0}},
        {{BUFFERS, HEADER, false}, {0}},
        {{BUFFERS, HEADER + 13, false}, {0}},
        {{BUFFERS, HEADER, false}, {BUFFERS, 65535 + 14 + 9, false}},
        {{BUFFERS, HEADER, false}, {BUFFERS, 2u << 20, false}},
        {{BUFFERS, 100, true}, {0}},
        {{FAKE_GUEST_SIZE - 64, 100, false}, {0}},
        {{BUFFERS, HEADER, false}, {UINT64_MAX - 5, 100, false}},
    };
    const struct virtio_net_hdr_v1 header = {0};
    const unsigned count = sizeof(bad) / sizeof(bad[0]);
    uint16_t id;
    uint32_t written;

    start(fake_queue_forms[_i], 32);
    for (unsigned i = 0; i < count; i++) {
        fake_queue_add(&queues[SEND], bad[i], bad[i][1].length > 0 ? 2 : 1);
        fake_queue_serve(&queues[SEND]);
        ck_assert_msg(fake_queue_used(&queues[SEND], &id, &written), "packet %u", i);
    }
    ck_assert_uint_eq(host.sent_count, 0);
    ck_assert_uint_eq(counters()->sent_dropped, count);
    ck_assert(!needs_reset());
    add_packet(BUFFERS, &header, 60, 1);
    serve_send();
    ck_assert_uint_eq(host.sent_count, 1);
}
END_TEST

START_TEST(packets_wait_in_the_ring_while_the_host_has_no_room)
{
    const struct virtio_net_hdr_v1 header = {0};
    uint16_t id;
    uint32_t written;

    start(fake_queue_forms[_i], 8);
    host.send_result = -EAGAIN;
    add_packet(BUFFERS, &header, 60, 1);
    add_packet(BUFFERS + 0x1000, &header, 60, 2);
    fake_queue_serve(&queues[SEND]);
    ck_assert(host.for_room);
    ck_assert(host.for_packets == (device->queues[RECEIVE].ring.state.next_available > 0));
    ck_assert(!fake_queue_used(&queues[SEND], &id, &written));
    ck_assert_int_eq(fake_guest_pins, 0);
    host.send_result = 0;
    host.client.writable(host.client.context, 0);
    ck_assert_uint_eq(host.sent_count, 2);
    check_frame(sent[0].bytes + HEADER, 60, 1);
    check_frame(sent[1].bytes + HEADER, 60, 2);
    ck_assert(!host.for_room);
    ck_assert_uint_eq(counters()->sent_dropped, 0);
}
END_TEST

START_TEST(packets_that_the_host_does_not_take_are_dropped)
{
    const struct virtio_net_hdr_v1 header = {0};

    start(0, 8);
    host.send_result = -EIO;
    add_packet(BUFFERS, &header, 60, 1);
    serve_send();
    ck_assert_uint_eq(counters()->sent_dropped, 1);
    host.send_result = 0;
    add_packet(BUFFERS, &header, 60, 1);
    serve_send();
    ck_assert_uint_eq(counters()->sent, 1);
    ck_assert(!needs_reset());
}
END_TEST

/* Whether the device has notified itself: there is more for it to do. */
static bool is_notified(unsigned queue)
{
    struct pollfd poll_fd = {.fd = device->queues[queue].eventfd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}

static void clear_notification(unsigned queue)
{
    uint64_t count;

    ck_assert_int_eq(read(device->queues[queue].eventfd, &count, sizeof(count)), sizeof(count));
}

START_TEST(turns_are_bounded)
{
    const struct virtio_net_hdr_v1 header = {0};

    start(fake_queue_forms[_i], 256);
    clear_notification(SEND);
    for (unsigned i = 0; i < 100; i++)
        add_packet(BUFFERS, &header, 60, 0);
    fake_queue_serve(&queues[SEND]);
    ck_assert_uint_eq(host.sent_count, 64);
    ck_assert(is_notified(SEND));
    ck_assert_uint_le(transport.interrupts, 1);
    clear_notification(SEND);
    fake_queue_serve(&queues[SEND]);
    ck_assert_uint_eq(host.sent_count, 100);
    ck_assert(!is_notified(SEND));
}
END_TEST

/* ---- Receiving ---- */

/* Buffers of one size, one after the other from BUFFERS on. */
static void add_buffers(unsigned first, unsigned count, uint32_t size)
{
    for (unsigned i = first; i < first + count; i++)
        fake_queue_add(&queues[RECEIVE], &(struct fake_buffer){BUFFERS + (uint64_t)i * size, size, true}, 1);
}

/* The next used buffers have the packet; their addresses follow each other. Returns how many. */
static unsigned check_received(unsigned first, uint32_t buffer_size, size_t size, unsigned seed)
{
    const uint8_t *bytes = fake_guest_memory + BUFFERS + (uint64_t)first * buffer_size;
    const unsigned count = (unsigned)((HEADER + size + buffer_size - 1) / buffer_size);
    struct virtio_net_hdr_v1 header;
    size_t total = 0;
    uint16_t id;
    uint32_t written;

    for (unsigned i = 0; i < count; i++) {
        ck_assert(fake_queue_used(&queues[RECEIVE], &id, &written));
        total += written;
    }
    memcpy(&header, bytes, HEADER);
    ck_assert_uint_eq(header.num_buffers, count);
    ck_assert_uint_eq(total, HEADER + size);
    check_frame(bytes + HEADER, size, seed);
    return count;
}

static bool is_used_up(void)
{
    uint16_t id;
    uint32_t written;

    return !fake_queue_used(&queues[RECEIVE], &id, &written);
}

START_TEST(packets_are_received_round_and_round)
{
    start(fake_queue_forms[_i], 4);
    for (unsigned round = 0; round < 100; round++) {
        add_buffers(0, 1, 2048);
        fake_queue_serve(&queues[RECEIVE]);
        arrive(60 + round, round);
        tell_of_packets();
        check_received(0, 2048, 60 + round, round);
        ck_assert(is_used_up());
    }
    ck_assert_uint_eq(counters()->received, 100);
    ck_assert(!needs_reset());
    ck_assert_uint_gt(transport.interrupts, 0);
}
END_TEST

START_TEST(large_packets_are_spread_over_buffers)
{
    const uint64_t features = fake_queue_forms[_i] | MERGEABLE;
    unsigned next = 0;

    start(features, 256);
    add_buffers(0, 256, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    /* The first is larger than was expected, those that follow are not. */
    arrive(65535, 1);
    arrive(65000, 2);
    arrive(50, 3);
    arrive(1524, 4);
    arrive(1525, 5);
    tell_of_packets();
    next += check_received(next, 1536, 65535, 1);
    next += check_received(next, 1536, 65000, 2);
    next += check_received(next, 1536, 50, 3);
    next += check_received(next, 1536, 1524, 4);
    ck_assert_uint_eq(check_received(next, 1536, 1525, 5), 2);
    ck_assert(is_used_up());
    ck_assert(host.for_packets);
    ck_assert_int_eq(fake_guest_pins, 0);
    ck_assert_uint_eq(counters()->received_dropped, 0);
}
END_TEST

START_TEST(flags_are_for_drivers_that_have_asked)
{
    const uint64_t features = _i == 1 ? 1ull << VIRTIO_NET_F_GUEST_CSUM : 0;

    start(features, 8);
    add_buffers(0, 1, 2048);
    fake_queue_serve(&queues[RECEIVE]);
    arrive(100, 1);
    incoming[0].bytes[0] = VIRTIO_NET_HDR_F_DATA_VALID;
    tell_of_packets();
    ck_assert_uint_eq(fake_guest_memory[BUFFERS], _i == 1 ? VIRTIO_NET_HDR_F_DATA_VALID : 0);
    check_received(0, 2048, 100, 1);
}
END_TEST

START_TEST(merged_buffers_go_round_and_round)
{
    start(fake_queue_forms[_i] | MERGEABLE, 8);
    for (unsigned round = 0; round < 50; round++) {
        add_buffers(0, 3, 1536);
        fake_queue_serve(&queues[RECEIVE]);
        arrive(4000, round);
        tell_of_packets();
        ck_assert_uint_eq(check_received(0, 1536, 4000, round), 3);
        ck_assert(is_used_up());
    }
    ck_assert_uint_eq(counters()->received_dropped, 0);
}
END_TEST

START_TEST(packets_stay_with_the_host_while_there_are_no_buffers)
{
    start(fake_queue_forms[_i], 8);
    ck_assert(!host.for_packets);
    arrive(100, 1);
    arrive(100, 2);
    tell_of_packets();
    ck_assert_uint_eq(host.receives, 0);
    add_buffers(0, 1, 2048);
    fake_queue_serve(&queues[RECEIVE]);
    check_received(0, 2048, 100, 1);
    ck_assert(is_used_up());
    ck_assert(!host.for_packets);
    ck_assert_uint_eq(host.receives, 1);
    add_buffers(1, 2, 2048);
    fake_queue_serve(&queues[RECEIVE]);
    check_received(1, 2048, 100, 2);
    ck_assert(host.for_packets);
}
END_TEST

START_TEST(large_packet_waits_for_more_buffers)
{
    start(fake_queue_forms[_i] | MERGEABLE, 64);
    /* Not from before the start. */
    clear_notification(RECEIVE);
    add_buffers(0, 10, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    ck_assert(host.for_packets);
    arrive(30000, 1);
    arrive(100, 2);
    tell_of_packets();
    ck_assert(is_used_up());
    ck_assert(!host.for_packets);
    ck_assert_int_eq(fake_guest_pins, 0);
    /* It does not look again before there is something new. */
    ck_assert(!is_notified(RECEIVE));
    fake_queue_serve(&queues[RECEIVE]);
    ck_assert(is_used_up());
    add_buffers(10, 20, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    ck_assert_uint_eq(check_received(0, 1536, 30000, 1), 20);
    check_received(20, 1536, 100, 2);
    ck_assert(host.for_packets);
    ck_assert_uint_eq(counters()->received_dropped, 0);
}
END_TEST

START_TEST(packet_that_can_never_fit_is_dropped)
{
    start(fake_queue_forms[_i] | MERGEABLE, 4);
    add_buffers(0, 4, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    arrive(30000, 1);
    arrive(100, 2);
    tell_of_packets();
    check_received(0, 1536, 100, 2);
    ck_assert_uint_eq(counters()->received_dropped, 1);
    /* Nor does one in more buffers than one packet may have. */
    start(fake_queue_forms[_i] | MERGEABLE, 256);
    add_buffers(0, 256, 64);
    fake_queue_serve(&queues[RECEIVE]);
    arrive(5000, 1);
    tell_of_packets();
    ck_assert_uint_eq(counters()->received_dropped, 2);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(without_merging_a_packet_has_one_buffer)
{
    start(fake_queue_forms[_i], 8);
    add_buffers(0, 4, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    arrive(1525, 1);
    arrive(1524, 2);
    tell_of_packets();
    check_received(0, 1536, 1524, 2);
    ck_assert(is_used_up());
    ck_assert_uint_eq(counters()->received_dropped, 1);
}
END_TEST

START_TEST(unusable_receive_buffers_break_the_device)
{
    const struct fake_buffer bad[] = {
        {BUFFERS, HEADER - 1, true}, {BUFFERS, 2048, false}, {FAKE_GUEST_SIZE - 64, 2048, true}};

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        start(fake_queue_forms[_i] | MERGEABLE, 8);
        host.incoming_next = host.incoming_count = 0;
        fake_queue_add(&queues[RECEIVE], &bad[i], 1);
        fake_queue_serve(&queues[RECEIVE]);
        ck_assert(needs_reset());
        ck_assert(!host.for_packets);
    }
    /* Behind good ones, in the middle of a packet. */
    start(fake_queue_forms[_i] | MERGEABLE, 8);
    add_buffers(0, 2, 2048);
    fake_queue_add(&queues[RECEIVE], &bad[2], 1);
    fake_queue_serve(&queues[RECEIVE]);
    ck_assert(!needs_reset());
    arrive(9000, 1);
    tell_of_packets();
    ck_assert(needs_reset());
    ck_assert_int_eq(fake_guest_pins, 0);
}
END_TEST

START_TEST(receiving_is_bounded_and_interrupts_once)
{
    start(fake_queue_forms[_i], 256);
    add_buffers(0, 100, 2048);
    fake_queue_serve(&queues[RECEIVE]);
    for (unsigned i = 0; i < 100; i++)
        arrive(100, i);
    transport.interrupts = 0;
    tell_of_packets();
    ck_assert_uint_eq(counters()->received, 64);
    ck_assert_uint_le(transport.interrupts, 1);
    ck_assert(host.for_packets);
    tell_of_packets();
    ck_assert_uint_eq(counters()->received, 100);
    for (unsigned i = 0; i < 100; i++)
        check_received(i, 2048, 100, i);
}
END_TEST

START_TEST(sizes_that_no_packet_has_are_dropped)
{
    start(MERGEABLE, 256);
    add_buffers(0, 256, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    arrive(69000, 1);
    incoming[host.incoming_count++].size = HEADER - 1;
    arrive(100, 2);
    tell_of_packets();
    check_received(0, 1536, 100, 2);
    ck_assert_uint_eq(counters()->received_dropped, 2);
}
END_TEST

/* ---- Interrupts for what has been sent ---- */

static void stop_loop(void *context, uint32_t events)
{
    (void)context, (void)events;
    event_loop_stop(loop);
}

/* One turn of the loop, which comes to an end even if nothing happens. */
static void turn(void)
{
    const int fd = eventfd(1, EFD_CLOEXEC);
    struct error error;

    ck_assert_int_eq(event_loop_add(loop, fd, EPOLLIN, stop_loop, NULL, &error), 0);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    event_loop_remove(loop, fd);
    close(fd);
}

/* A driver that has buffers and sends a packet, to which the host has as many answers. */
static void send_and_get(unsigned answers)
{
    const struct virtio_net_hdr_v1 header = {0};

    for (unsigned i = 0; i < answers; i++)
        arrive(100, i);
    add_packet(BUFFERS + 0x80000, &header, 60, 1);
    serve_send();
}

static void start_with_buffers(uint64_t features)
{
    start(features, 64);
    add_buffers(0, 32, 2048);
    fake_queue_serve(&queues[RECEIVE]);
    turn();
    transport.interrupts = 0;
}

START_TEST(answers_come_with_what_was_sent_and_one_interrupt)
{
    start_with_buffers(fake_queue_forms[_i]);
    send_and_get(2);
    ck_assert_uint_eq(counters()->received, 2);
    ck_assert_uint_eq(transport.interrupts, 1);
    turn();
    ck_assert_uint_eq(transport.interrupts, 1);
    /* The driver has not looked: it is told in the next turn. */
    turn();
    ck_assert_uint_eq(transport.interrupts, 2);
    turn();
    ck_assert_uint_eq(transport.interrupts, 2);
}
END_TEST

START_TEST(sent_packets_without_answers_interrupt_at_once)
{
    start_with_buffers(fake_queue_forms[_i]);
    send_and_get(0);
    ck_assert_uint_eq(transport.interrupts, 1);
    turn();
    turn();
    ck_assert_uint_eq(transport.interrupts, 1);
}
END_TEST

START_TEST(second_packet_waits_for_no_interrupt)
{
    start_with_buffers(0);
    send_and_get(1);
    ck_assert_uint_eq(transport.interrupts, 1);
    send_and_get(1);
    ck_assert_uint_eq(counters()->received, 1);
    ck_assert_uint_eq(transport.interrupts, 2);
    turn();
    turn();
    ck_assert_uint_eq(transport.interrupts, 2);
}
END_TEST

START_TEST(interrupt_that_waits_goes_with_a_reset)
{
    start_with_buffers(0);
    send_and_get(1);
    ck_assert_uint_eq(transport.interrupts, 1);
    fake_driver_reset(device);
    turn();
    start(0, 64);
    turn();
    turn();
    ck_assert_uint_eq(transport.interrupts, 1);
}
END_TEST

/* ---- When the thread goes on ---- */

/* So many turns of a packet sent and one received, if its size is not 0. */
static void exchange(unsigned count, uint32_t sent_size, size_t received_size)
{
    const struct virtio_net_hdr_v1 header = {0};

    host.incoming_count = 0;
    host.incoming_next = 0;
    host.sent_count = 0;
    for (unsigned i = 0; i < count; i++) {
        if (received_size > 0)
            arrive(received_size, i);
        add_packet(BUFFERS + 0x80000, &header, sent_size, 1);
        serve_send();
        tell_of_packets();
        turn();
    }
}

START_TEST(thread_is_patient_with_streams_and_not_with_pings)
{
    const struct sched_param parameters = {0};

    ck_assert_int_eq(sched_setscheduler(0, SCHED_OTHER, &parameters), 0);
    teardown();
    setup();
    start_with_buffers(MERGEABLE);
    exchange(10, 60, 60);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
    exchange(1, 60000, 0);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    exchange(10, 60, 0);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
    exchange(1, 60, 6000);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    exchange(10, 60, 0);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
    for (unsigned i = 0; i < 4; i++) {
        add_packet(BUFFERS + 0x90000, &(struct virtio_net_hdr_v1){0}, 60, 1);
        exchange(1, 60, 0);
    }
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
}
END_TEST

/* ---- The host's troubles ---- */

static uint16_t status_of_link(void)
{
    struct virtio_net_config config;

    pthread_mutex_lock(&device->lock);
    virtio_read_config(device, 0, &config, sizeof(config));
    pthread_mutex_unlock(&device->lock);
    ck_assert_mem_eq(config.mac, virtio_net_state(net)->mac, NET_MAC_SIZE);
    ck_assert_uint_eq(config.max_virtqueue_pairs, PAIRS);
    ck_assert_uint_eq(config.mtu, 0);
    return config.status;
}

START_TEST(lost_host_takes_the_link_down_and_nothing_else)
{
    const struct virtio_net_hdr_v1 header = {0};

    start(0, 8);
    ck_assert_uint_eq(status_of_link(), VIRTIO_NET_S_LINK_UP);
    host.send_result = -EAGAIN;
    add_packet(BUFFERS, &header, 60, 1);
    fake_queue_serve(&queues[SEND]);
    host.send_result = -EBADFD;
    host.client.lost(host.client.context, "it is gone");
    ck_assert_uint_eq(status_of_link(), 0);
    ck_assert_uint_eq(transport.config_interrupts, 1);
    ck_assert(is_notified(SEND));
    serve_send();
    ck_assert_uint_eq(counters()->sent_dropped, 1);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(failing_reads_do_not_go_on_without_end)
{
    start(0, 8);
    add_buffers(0, 4, 2048);
    fake_queue_serve(&queues[RECEIVE]);
    host.receive_result = -ENOMEM;
    tell_of_packets();
    ck_assert_uint_le(counters()->received_dropped, 64);
    ck_assert(host.for_packets);
    host.receive_result = -EBADFD;
    tell_of_packets();
    ck_assert(!host.for_packets);
    ck_assert_uint_eq(status_of_link(), 0);
    ck_assert(is_used_up());
}
END_TEST

/* ---- Control ---- */

/* The answer to a control request of class, command and data. */
static uint8_t control_at(struct fake_queue *queue, unsigned class, unsigned command, const void *data, uint32_t size)
{
    const struct fake_buffer buffers[] = {{BUFFERS, 2, false}, {BUFFERS + 0x100, size, false}, {BUFFERS + 2, 1, true}};
    const struct fake_buffer short_buffers[] = {buffers[0], buffers[2]};
    uint16_t id;
    uint32_t written;

    fake_guest_memory[BUFFERS] = (uint8_t) class;
    fake_guest_memory[BUFFERS + 1] = (uint8_t)command;
    fake_guest_memory[BUFFERS + 2] = 0xaa;
    if (size > 0)
        memcpy(fake_guest_memory + BUFFERS + 0x100, data, size);
    fake_queue_add(queue, size > 0 ? buffers : short_buffers, size > 0 ? 3 : 2);
    fake_queue_serve(queue);
    ck_assert(fake_queue_used(queue, &id, &written));
    ck_assert_uint_eq(written, 1);
    return fake_guest_memory[BUFFERS + 2];
}

START_TEST(control_requests_are_answered)
{
    static const uint8_t mac[] = {2, 3, 4, 5, 6, 7};
    static const uint8_t multicast[] = {1, 3, 4, 5, 6, 7};
    static const uint8_t tables[] = {1, 0, 0, 0, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0};
    static const uint8_t more[] = {1, 0, 0, 0, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0};
    static const uint8_t wild[] = {0xff, 0xff, 0xff, 0xff, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0};
    static const uint8_t on = 1;
    static const uint8_t large[5000];
    struct fake_queue *queue = &queues[2];

    start(fake_queue_forms[_i] | CONTROL, 16);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_RX, 0, &on, 1), VIRTIO_NET_OK);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_RX, 5, &on, 1), VIRTIO_NET_OK);
    ck_assert_uint_eq(virtio_net_state(net)->receive_modes, 0x21);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_RX, 6, &on, 1), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_RX, 0, NULL, 0), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 0, tables, sizeof(tables)), VIRTIO_NET_OK);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 0, tables, sizeof(tables) - 1), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 0, wild, sizeof(wild)), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 0, more, sizeof(more)), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 0, large, sizeof(large)), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 1, mac, 6), VIRTIO_NET_OK);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 1, mac, 5), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MAC, 1, multicast, 6), VIRTIO_NET_ERR);
    ck_assert_mem_eq(virtio_net_state(net)->mac, mac, 6);
    (void)status_of_link();
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){1}, 2), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, VIRTIO_NET_CTRL_VLAN, 0, &(uint16_t){1}, 2), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(queue, 77, 77, NULL, 0), VIRTIO_NET_ERR);
    ck_assert(!needs_reset());
    start(fake_queue_forms[_i], 16);
    ck_assert_uint_eq(virtio_net_state(net)->receive_modes, 0);
    ck_assert_mem_eq(virtio_net_state(net)->mac, MAC, 6);
}
END_TEST

START_TEST(control_requests_without_a_header_or_an_answer)
{
    const struct fake_buffer no_header[] = {{BUFFERS, 1, false}, {BUFFERS + 2, 1, true}};
    const struct fake_buffer no_answer[] = {{BUFFERS, 3, false}};
    const struct fake_buffer refused[] = {{BUFFERS, 3, false}, {UINT64_MAX - 1, 1, true}};

    start(fake_queue_forms[_i] | CONTROL, 16);
    fake_queue_add(&queues[2], no_header, 2);
    fake_queue_serve(&queues[2]);
    ck_assert_uint_eq(fake_guest_memory[BUFFERS + 2], VIRTIO_NET_ERR);
    ck_assert(!needs_reset());
    fake_queue_add(&queues[2], no_answer, 1);
    fake_queue_serve(&queues[2]);
    ck_assert(needs_reset());
    start(fake_queue_forms[_i] | CONTROL, 16);
    fake_queue_add(&queues[2], refused, 2);
    fake_queue_serve(&queues[2]);
    ck_assert(needs_reset());
}
END_TEST

START_TEST(several_pairs_are_used_once_they_are_asked_for)
{
    const struct virtio_net_hdr_v1 header = {0};
    const struct fake_buffer packet = {BUFFERS, HEADER + 60, false};
    struct fake_queue *control = &queues[2 * PAIRS];

    start(fake_queue_forms[_i] | CONTROL | 1ull << VIRTIO_NET_F_MQ, 16);
    memcpy(fake_guest_memory + BUFFERS, &header, HEADER);
    ck_assert_uint_eq(host.pairs, 1);
    fake_queue_add(&queues[3], &packet, 1);
    fake_queue_serve(&queues[3]);
    ck_assert_uint_eq(host.sent_count, 0);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){0}, 2), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){PAIRS + 1}, 2), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){PAIRS}, 1), VIRTIO_NET_ERR);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MQ, 1, &(uint16_t){PAIRS}, 2), VIRTIO_NET_ERR);
    host.pairs_result = -1;
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){PAIRS}, 2), VIRTIO_NET_ERR);
    host.pairs_result = 0;
    ck_assert_uint_eq(virtio_net_state(net)->active_pairs, 1);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){PAIRS}, 2), VIRTIO_NET_OK);
    ck_assert_uint_eq(host.pairs, PAIRS);
    ck_assert(is_notified(3));
    memcpy(fake_guest_memory + BUFFERS, &header, HEADER);
    fake_queue_serve(&queues[3]);
    ck_assert_uint_eq(host.sent_count, 1);
    ck_assert_uint_eq(host.last_pair, 1);
    fake_queue_add(&queues[2], &(struct fake_buffer){BUFFERS, 2048, true}, 1);
    fake_queue_serve(&queues[2]);
    ck_assert(host.for_packets);
    arrive(100, 1);
    host.client.readable(host.client.context, 1);
    check_frame(fake_guest_memory + BUFFERS + HEADER, 100, 1);
    start(0, 16);
    ck_assert_uint_eq(host.pairs, 1);
}
END_TEST

/* ---- Features and resets ---- */

START_TEST(offloads_follow_the_features)
{
    const uint64_t all = 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6 |
                         1ull << VIRTIO_NET_F_GUEST_ECN | 1ull << VIRTIO_NET_F_GUEST_CSUM;

    start(all, 8);
    ck_assert_uint_eq(host.offloads, 15);
    start(1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO6, 8);
    ck_assert_uint_eq(host.offloads, NET_OFFLOAD_CHECKSUM | NET_OFFLOAD_TSO6);
    start(1ull << VIRTIO_NET_F_GUEST_TSO4, 8);
    ck_assert_uint_eq(host.offloads, 0);
    ck_assert(!fake_driver_begin(device, 1ull << VIRTIO_NET_F_GUEST_UFO));
    ck_assert(!fake_driver_begin(device, 1ull << VIRTIO_NET_F_HOST_UFO));
}
END_TEST

START_TEST(saved_state_makes_another_device_the_same)
{
    static const uint8_t mac[] = {2, 3, 4, 5, 6, 7};
    const uint64_t features =
        fake_queue_forms[_i] | CONTROL | MERGEABLE | 1ull << VIRTIO_NET_F_MQ | 1ull << VIRTIO_NET_F_GUEST_CSUM;
    struct fake_queue *control = &queues[2 * PAIRS];
    struct error error;
    size_t size, size_again;

    start(features, 16);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MAC, 1, mac, 6), VIRTIO_NET_OK);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_RX, 0, &(uint8_t){1}, 1), VIRTIO_NET_OK);
    ck_assert_uint_eq(control_at(control, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){PAIRS}, 2), VIRTIO_NET_OK);
    uint8_t *bytes = virtio_save(device, &size);
    ck_assert_ptr_nonnull(bytes);
    teardown();
    make();
    for (unsigned i = 0; i < 2 * PAIRS + 1; i++)
        queues[i].device = device;
    ck_assert_int_eq(virtio_restore(device, bytes, size, &error), 0);
    uint8_t *again = virtio_save(device, &size_again);
    ck_assert_uint_eq(size_again, size);
    ck_assert_mem_eq(again, bytes, size);
    ck_assert_mem_eq(virtio_net_state(net)->mac, mac, 6);
    ck_assert_uint_eq(virtio_net_state(net)->receive_modes, 1);
    /* The host's side is told on the loop's thread. */
    add_buffers(0, 4, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    ck_assert_uint_eq(host.pairs, PAIRS);
    ck_assert_uint_eq(host.offloads, NET_OFFLOAD_CHECKSUM);
    arrive(1000, 1);
    tell_of_packets();
    ck_assert_uint_eq(check_received(0, 1536, 1000, 1), 1);
    for (size_t cut = 0; cut < size; cut++)
        ck_assert_int_eq(virtio_restore(device, bytes, cut, &error), -1);
    free(again);
    free(bytes);
}
END_TEST

START_TEST(reset_leaves_nothing_of_the_old_driver)
{
    const struct virtio_net_hdr_v1 header = {0};

    start(fake_queue_forms[_i] | MERGEABLE, 64);
    add_buffers(0, 10, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    arrive(30000, 1);
    tell_of_packets();
    host.send_result = -EAGAIN;
    add_packet(BUFFERS + 0x80000, &header, 60, 1);
    fake_queue_serve(&queues[SEND]);
    ck_assert(host.for_room);
    fake_driver_reset(device);
    /* Nothing is read or written for a device that has been reset. */
    memset(fake_guest_memory, 0x5a, sizeof(fake_guest_memory));
    host.send_result = 0;
    arrive(100, 2);
    host.client.writable(host.client.context, 0);
    host.client.readable(host.client.context, 0);
    ck_assert(!host.for_packets && !host.for_room);
    ck_assert_uint_eq(host.sent_count, 0);
    size_t same = 0;
    while (same < sizeof(fake_guest_memory) && fake_guest_memory[same] == 0x5a)
        same++;
    ck_assert_uint_eq(same, sizeof(fake_guest_memory));
    /* What came before the new driver is not for it. */
    start(fake_queue_forms[_i] | MERGEABLE, 64);
    add_buffers(0, 40, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    ck_assert(is_used_up());
    arrive(100, 3);
    tell_of_packets();
    check_received(0, 1536, 100, 3);
    add_packet(BUFFERS + 0x80000, &header, 60, 1);
    serve_send();
    ck_assert_uint_eq(host.sent_count, 1);
}
END_TEST

START_TEST(rings_outside_of_memory_break_the_queue)
{
    start(fake_queue_forms[_i] | MERGEABLE, 64);
    add_buffers(0, 10, 1536);
    fake_queue_serve(&queues[RECEIVE]);
    fake_guest_protect(RINGS, RING_SIZE, HV_MEMORY_READ);
    arrive(5000, 1);
    tell_of_packets();
    ck_assert(needs_reset());
    ck_assert(!host.for_packets);
}
END_TEST

/* ---- Addresses ---- */

START_TEST(addresses_are_read_and_derived)
{
    static const char *const bad[] = {"",
                                      "52:54:00:12:34",
                                      "52:54:00:12:34:5",
                                      "52:54:00:12:34:56:",
                                      "52-54-00-12-34-56",
                                      "5g:54:00:12:34:56",
                                      "53:54:00:12:34:56",
                                      "00:00:00:00:00:00"};
    static const uint8_t expected[] = {0x52, 0x54, 0x00, 0x1a, 0xBC, 0xff};
    uint8_t mac[NET_MAC_SIZE], other[NET_MAC_SIZE];

    ck_assert(net_mac_parse("52:54:00:1A:bc:fF", mac));
    ck_assert_mem_eq(mac, expected, sizeof(mac));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!net_mac_parse(bad[i], mac), "%s", bad[i]);
    net_mac_derive("machine", "net0", mac);
    ck_assert_uint_eq(mac[0] & 3, 2);
    net_mac_derive("machine", "net0", other);
    ck_assert_mem_eq(mac, other, sizeof(mac));
    net_mac_derive("machine", "net1", other);
    ck_assert_mem_ne(mac, other, sizeof(mac));
    net_mac_derive("machinen", "et0", other);
    ck_assert_mem_ne(mac, other, sizeof(mac));
}
END_TEST

/* It stays the same in all versions: guests' leases hang from it. */
START_TEST(derived_address_is_stable)
{
    static const uint8_t expected[] = {0xd6, 0x4d, 0xe5, 0xaf, 0x44, 0x6a};
    uint8_t mac[NET_MAC_SIZE];

    net_mac_derive("machine", "net0", mac);
    ck_assert_mem_eq(mac, expected, sizeof(expected));
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("virtio_net");
    TCase *tests = tcase_create("net");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, packets_are_sent_round_and_round, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, headers_are_checked_against_the_packet, 0, HEADER_COUNT);
    tcase_add_test(tests, ecn_needs_its_own_feature);
    tcase_add_loop_test(tests, malformed_packets_are_dropped_and_given_back, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, packets_wait_in_the_ring_while_the_host_has_no_room, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, packets_that_the_host_does_not_take_are_dropped);
    tcase_add_loop_test(tests, turns_are_bounded, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, packets_are_received_round_and_round, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, large_packets_are_spread_over_buffers, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, flags_are_for_drivers_that_have_asked, 0, 2);
    tcase_add_loop_test(tests, merged_buffers_go_round_and_round, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, packets_stay_with_the_host_while_there_are_no_buffers, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, large_packet_waits_for_more_buffers, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, packet_that_can_never_fit_is_dropped, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, without_merging_a_packet_has_one_buffer, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, unusable_receive_buffers_break_the_device, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, receiving_is_bounded_and_interrupts_once, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, sizes_that_no_packet_has_are_dropped);
    tcase_add_loop_test(tests, answers_come_with_what_was_sent_and_one_interrupt, 0, 2);
    tcase_add_loop_test(tests, sent_packets_without_answers_interrupt_at_once, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, second_packet_waits_for_no_interrupt);
    tcase_add_test(tests, interrupt_that_waits_goes_with_a_reset);
    tcase_add_test(tests, thread_is_patient_with_streams_and_not_with_pings);
    tcase_add_test(tests, lost_host_takes_the_link_down_and_nothing_else);
    tcase_add_test(tests, failing_reads_do_not_go_on_without_end);
    tcase_add_loop_test(tests, control_requests_are_answered, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, control_requests_without_a_header_or_an_answer, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, several_pairs_are_used_once_they_are_asked_for, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, offloads_follow_the_features);
    tcase_add_loop_test(tests, reset_leaves_nothing_of_the_old_driver, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, saved_state_makes_another_device_the_same, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, rings_outside_of_memory_break_the_queue, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, addresses_are_read_and_derived);
    tcase_add_test(tests, derived_address_is_stable);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
