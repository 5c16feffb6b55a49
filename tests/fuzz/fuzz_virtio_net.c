/* A driver of virtio-net that does anything, and a host's side that fails at times. */
#include "devices/virtio/net.h"

#include "fake_guest.h"
#include "fuzz_require.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RINGS = 0x10000, RING_SIZE = 0x10000, PAIRS = 2, QUEUES = 2 * PAIRS + 1, PACKET_MAX = 70000 };

/* ---- What the driver does, byte by byte ---- */

static const uint8_t *input, *input_end;

static unsigned next8(void)
{
    return input < input_end ? *input++ : 0;
}

static unsigned next16(void)
{
    const unsigned low = next8();

    return low | next8() << 8;
}

/* ---- The host's side ---- */

static struct {
    struct net_backend backend;
    struct net_client client;
    int send_result, receive_result, pairs_result;
    size_t incoming, incoming_size;
    bool for_packets;
} host;

static uint8_t packet[PACKET_MAX];

static int host_attach(struct net_backend *backend, struct event_loop *loop, const char *name, const struct log *log,
                       const struct net_client *client, struct error *error)
{
    (void)backend, (void)loop, (void)name, (void)log, (void)error;
    host.client = *client;
    return 0;
}

/* What devices/virtio/net.h promises of what reaches the host. */
static int host_send(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    struct virtio_net_hdr_v1 header;
    size_t total = 0;

    (void)backend;
    require(pair < PAIRS && pieces[0].iov_len == sizeof(header) && count <= 1024);
    memcpy(&header, pieces[0].iov_base, sizeof(header));
    for (size_t i = 1; i < count; i++) {
        require(pieces[i].iov_len <= PACKET_MAX - total);
        memcpy(packet + total, pieces[i].iov_base, pieces[i].iov_len);
        total += pieces[i].iov_len;
    }
    require(total >= 14 && header.flags <= 1 && header.num_buffers == 0 && header.hdr_len <= total);
    require(header.flags == 0 || (size_t)header.csum_start + header.csum_offset + 2 <= total);
    require(header.gso_type == 0 || (header.gso_size != 0 && header.flags == 1));
    return host.send_result;
}

static ssize_t host_receive(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    size_t done = 0;

    (void)backend, (void)pair;
    if (host.receive_result < 0)
        return host.receive_result;
    if (host.incoming == 0)
        return -EAGAIN;
    host.incoming--;
    for (size_t i = 0; i < count && done < host.incoming_size; i++) {
        const size_t rest = host.incoming_size - done;
        const size_t length = rest < pieces[i].iov_len ? rest : pieces[i].iov_len;
        memset(pieces[i].iov_base, 0, length);
        done += length;
    }
    return (ssize_t)done;
}

static void host_listen(struct net_backend *backend, unsigned pair, bool for_packets, bool for_room)
{
    (void)backend, (void)pair, (void)for_room;
    host.for_packets = for_packets;
}

static int host_set_pairs(struct net_backend *backend, unsigned pairs)
{
    (void)backend;
    require(pairs >= 1 && pairs <= PAIRS);
    return host.pairs_result;
}

static void host_set_offloads(struct net_backend *backend, unsigned offloads)
{
    (void)backend, (void)offloads;
}

static void host_close(struct net_backend *backend)
{
    (void)backend;
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

/* ---- The driver ---- */

static struct virtio_device *device;
static struct fake_queue queues[QUEUES];

static void start(void)
{
    const unsigned choice = next16();
    uint64_t features = choice & 1 ? device->features : 0;

    if (choice & 2)
        features &= ~(1ull << VIRTIO_F_RING_PACKED);
    if (choice & 4)
        features &= ~(1ull << VIRTIO_NET_F_MQ);
    if (choice & 8)
        features |= 1ull << VIRTIO_NET_F_MRG_RXBUF;
    if (choice & 16)
        features ^= (uint64_t)next16();
    if (!fake_driver_begin(device, features))
        return;
    for (unsigned i = 0; i < QUEUES; i++)
        fake_queue_enable(&queues[i], device, i, (uint16_t)(1u << (choice >> 8) % 9), RINGS + i * RING_SIZE);
    fake_driver_start(device);
}

static struct fake_buffer next_buffer(void)
{
    static const uint32_t sizes[] = {0, 1, 2, 12, 13, 26, 64, 1536, 4096, 65550, 65562, 1u << 20, UINT32_MAX};
    const unsigned kind = next8();
    const uint32_t length = kind & 1 ? next16() : sizes[(kind >> 2) % 13];

    return (struct fake_buffer){
        .gpa = (uint64_t)next16() << 6 | next8(), .length = length, .is_written = (kind & 2) != 0};
}

static void add_request(struct fake_queue *queue, unsigned count, bool is_indirect)
{
    struct fake_buffer buffers[8];

    for (unsigned i = 0; i < count; i++)
        buffers[i] = next_buffer();
    if (queue->device == NULL)
        return;
    if (is_indirect)
        (void)fake_queue_add_indirect(queue, 0x8000, buffers, count);
    else
        (void)fake_queue_add(queue, buffers, count);
}

static void write_memory(void)
{
    const size_t at = (size_t)next16() << 5 | next8();
    const size_t count = next8();

    for (size_t i = 0; i < count && at + i < FAKE_GUEST_SIZE; i++)
        fake_guest_memory[at + i] = (uint8_t)next8();
}

static void change_host(void)
{
    static const int results[] = {0, 0, 0, -EAGAIN, -EINVAL, -EBADFD, -ENOMEM};
    const unsigned choice = next16();

    host.send_result = results[choice % 7];
    host.receive_result = results[choice / 7 % 7];
    host.pairs_result = choice & 0x8000 ? -1 : 0;
    if ((choice & 0x7f00) == 0x7f00)
        host.client.lost(host.client.context, "gone");
}

static void receive_packets(unsigned pair)
{
    host.incoming = next8();
    host.incoming_size = next16() + (size_t)(host.incoming & 1) * 5000;
    host.client.readable(host.client.context, pair);
}

static void act(void)
{
    const unsigned what = next8();
    struct fake_queue *queue = &queues[(what >> 4) % QUEUES];

    switch (what & 15) {
    case 0:
        write_memory();
        break;
    case 1:
        start();
        break;
    case 2:
        fake_driver_reset(device);
        break;
    case 3:
        change_host();
        break;
    case 4:
        fake_guest_protect(next16() % (FAKE_GUEST_SIZE / 4096) * 4096ull, 4096, next8() & 3);
        break;
    case 5:
    case 6:
        receive_packets((what >> 4) % PAIRS);
        break;
    case 7:
        host.client.writable(host.client.context, (what >> 4) % PAIRS);
        break;
    case 8:
    case 9:
        if (queue->device != NULL && device->queues[queue->index].ring.state.is_enabled)
            fake_queue_serve(queue);
        break;
    case 10:
        add_request(queue, 1 + next8() % 8, true);
        break;
    default:
        add_request(queue, 1 + (what & 3), false);
        break;
    }
    require(fake_guest_pins == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct log silent = {.level = LOG_LEVEL_ERROR, .fd = 2};
    const struct virtio_net_options options = {.mac = {2}, .queue_pairs = PAIRS};
    struct fake_transport transport;
    struct error error;

    input = data;
    input_end = data + size;
    fake_guest_reset();
    memset(queues, 0, sizeof(queues));
    memset(&host, 0, sizeof(host));
    host.backend = (struct net_backend){.ops = &host_ops, .offloads = 15, .queue_pairs = PAIRS};
    struct event_loop *loop = event_loop_create(&error);
    const struct virtio_environment environment = {.name = "net0", .loop = loop, .log = &silent};
    struct virtio_net *net = virtio_net_create(&environment, &host.backend, &options, &error);
    require(net != NULL);
    device = virtio_net_device(net);
    device->transport = fake_transport_make(&transport);
    start();
    for (unsigned steps = 0; steps < 200 && input < input_end; steps++)
        act();
    virtio_net_destroy(net);
    event_loop_destroy(loop);
    return 0;
}
