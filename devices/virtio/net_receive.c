#include "devices/virtio/net_private.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
    /* Buffers that one packet may be spread over. */
    BUFFERS_MAX = 64,
    /* Their pieces of host memory: more than one chain can have, and with the spill fewer than IOV_MAX. */
    PIECES_MAX = 768,
};

/* Buffers that are out for packets to come, in the order in which they were popped. */
struct buffers {
    struct virtq_chain *chains[BUFFERS_MAX];
    size_t count;
    size_t size;
    size_t pieces;
    /* of the ring */
    size_t places;
};

/* ---- Buffers ---- */

/* Gives back what has not been used, as if it had not been taken. */
static void give_back(struct virtio_net *net, unsigned queue, struct buffers *buffers)
{
    while (buffers->count > 0)
        virtq_unpop(virtio_queue(&net->device, queue), buffers->chains[--buffers->count]);
    *buffers = (struct buffers){0};
}

/* How many buffers one packet may have. */
static size_t buffers_max(const struct virtio_net *net)
{
    return virtio_has_feature(&net->device, VIRTIO_NET_F_MRG_RXBUF) ? BUFFERS_MAX : 1;
}

/* Takes buffers until they have room for size bytes; whether they have. */
static bool take(struct virtio_net *net, unsigned queue, struct buffers *buffers, size_t size)
{
    struct virtio_device *device = &net->device;

    while (buffers->size < size && buffers->count < buffers_max(net)) {
        struct virtq_chain *chain = virtio_pop(device, queue);
        if (chain == NULL)
            return false;
        if (chain->is_refused || chain->writable_size < NET_HEADER_SIZE) {
            const bool is_refused = chain->is_refused;
            virtq_unpop(virtio_queue(device, queue), chain);
            virtio_fail(device, queue,
                        is_refused ? "a buffer may not be written" : "a buffer has no room for a header");
            return false;
        }
        if (buffers->pieces + chain->writable_count > PIECES_MAX) {
            virtq_unpop(virtio_queue(device, queue), chain);
            return false;
        }
        buffers->chains[buffers->count++] = chain;
        buffers->size += chain->writable_size;
        buffers->pieces += chain->writable_count;
        buffers->places += chain->descriptor_count;
    }
    return buffers->size >= size;
}

/* Whether more buffers than these cannot come: the driver's ring is used up, or the device's bounds are reached. */
static bool is_at_end(struct virtio_net *net, unsigned queue, const struct buffers *buffers)
{
    return buffers->count == buffers_max(net) || buffers->pieces > PIECES_MAX - 2 * VIRTQ_CHAIN_MAX ||
           buffers->places >= virtio_queue(&net->device, queue)->state.size;
}

/* Copies between buffers, from an offset on, and bytes: to them, or from them. */
static void copy(const struct buffers *buffers, size_t offset, uint8_t *bytes, size_t size, bool to_buffers)
{
    for (size_t i = 0; i < buffers->count && size > 0; i++) {
        const struct iovec *pieces = buffers->chains[i]->writable;
        for (size_t k = 0; k < buffers->chains[i]->writable_count && size > 0; k++) {
            if (offset >= pieces[k].iov_len) {
                offset -= pieces[k].iov_len;
                continue;
            }
            const size_t rest = pieces[k].iov_len - offset;
            const size_t length = rest < size ? rest : size;
            uint8_t *guest = (uint8_t *)pieces[k].iov_base + offset;
            memcpy(to_buffers ? guest : bytes, to_buffers ? bytes : guest, length);
            bytes += length;
            size -= length;
            offset = 0;
        }
    }
}

/* Forgets the first buffers, which are the driver's again. */
static void forget(struct buffers *buffers, size_t count)
{
    buffers->count -= count;
    memmove(buffers->chains, buffers->chains + count, buffers->count * sizeof(buffers->chains[0]));
    buffers->size = 0;
    buffers->pieces = 0;
    buffers->places = 0;
    for (size_t i = 0; i < buffers->count; i++) {
        buffers->size += buffers->chains[i]->writable_size;
        buffers->pieces += buffers->chains[i]->writable_count;
        buffers->places += buffers->chains[i]->descriptor_count;
    }
}

/* ---- One packet ---- */

/* Gives the driver a packet that is in the buffers. */
static void deliver(struct virtio_net *net, unsigned pair, struct buffers *buffers, size_t size)
{
    uint32_t written[BUFFERS_MAX];
    size_t used = 0;

    for (size_t rest = size; rest > 0; used++) {
        const size_t room = buffers->chains[used]->writable_size;
        written[used] = (uint32_t)(rest < room ? rest : room);
        rest -= written[used];
    }
    uint16_t count = htole16((uint16_t)used);
    copy(buffers, offsetof(struct virtio_net_hdr_v1, num_buffers), (uint8_t *)&count, sizeof(count), true);
    /* The host may know of a good checksum, which is for drivers that have asked: virtio 1.2, 5.1.6.4.1. */
    if (!virtio_has_feature(&net->device, VIRTIO_NET_F_GUEST_CSUM))
        copy(buffers, offsetof(struct virtio_net_hdr_v1, flags), &(uint8_t){0}, 1, true);
    virtio_push_all(&net->device, net_receive_queue(pair), buffers->chains, written, used);
    forget(buffers, used);
    net->counters.received++;
    net->has_large = net->has_large || size >= NET_LARGE_MIN;
}

static void drop_received(struct virtio_net *net, const char *why)
{
    net->counters.received_dropped++;
    net_report_dropped(net, "a packet for the guest", why);
}

/* A packet is in spill, whole. false: it waits for more buffers. */
static bool deliver_pending(struct virtio_net *net, unsigned pair, struct buffers *buffers)
{
    struct net_pair *state = &net->pairs[pair];

    if (take(net, net_receive_queue(pair), buffers, state->pending)) {
        copy(buffers, 0, state->spill, state->pending, true);
        deliver(net, pair, buffers, state->pending);
    } else if (is_at_end(net, net_receive_queue(pair), buffers)) {
        drop_received(net, "the driver's buffers are too small");
    } else {
        return false;
    }
    state->pending = 0;
    return true;
}

/* A packet is in the buffers, and what is beyond them in spill. false: it waits for more buffers. */
static bool deliver_spilled(struct virtio_net *net, unsigned pair, struct buffers *buffers, size_t size)
{
    struct net_pair *state = &net->pairs[pair];
    const size_t head = buffers->size;

    if (take(net, net_receive_queue(pair), buffers, size)) {
        copy(buffers, head, state->spill, size - head, true);
        deliver(net, pair, buffers, size);
        return true;
    }
    memmove(state->spill + head, state->spill, size - head);
    copy(buffers, 0, state->spill, head, false);
    state->pending = size;
    return deliver_pending(net, pair, buffers);
}

static void expect(struct net_pair *state, size_t size)
{
    const size_t less = state->expected - (state->expected - NET_EXPECTED_MIN) / 8;

    state->expected = size > less ? size : less;
}

/* Reads a packet into buffers and spill: its size, or a negative errno. */
static ssize_t read_packet(struct virtio_net *net, unsigned pair, const struct buffers *buffers)
{
    struct iovec pieces[PIECES_MAX + 1];
    size_t count = 0;

    for (size_t i = 0; i < buffers->count; i++) {
        const struct virtq_chain *chain = buffers->chains[i];
        memcpy(pieces + count, chain->writable, chain->writable_count * sizeof(pieces[0]));
        count += chain->writable_count;
    }
    pieces[count] = (struct iovec){.iov_base = net->pairs[pair].spill, .iov_len = NET_SPILL_SIZE};
    return net->backend->ops->receive(net->backend, pair, pieces, count + 1);
}

/* How one attempt to receive has ended. */
enum received { RECEIVED, RECEIVED_NONE, RECEIVED_STARVED, RECEIVED_ERROR };

static enum received fail_to_receive(struct virtio_net *net, int why)
{
    if (why == EBADF || why == EBADFD || why == EIO || why == ENODEV || why == ENXIO) {
        net_lose_link(net, strerror(why));
        return RECEIVED_ERROR;
    }
    drop_received(net, strerror(why));
    return RECEIVED;
}

static enum received receive_one(struct virtio_net *net, unsigned pair, struct buffers *buffers)
{
    struct net_pair *state = &net->pairs[pair];

    if (state->pending > 0)
        return deliver_pending(net, pair, buffers) ? RECEIVED : RECEIVED_STARVED;
    (void)take(net, net_receive_queue(pair), buffers, state->expected);
    if (buffers->count == 0 || !virtio_is_running(&net->device))
        return RECEIVED_STARVED;
    const ssize_t size = read_packet(net, pair, buffers);
    if (size == -EAGAIN)
        return RECEIVED_NONE;
    if (size < 0)
        return fail_to_receive(net, (int)-size);
    if (size < NET_HEADER_SIZE || size >= NET_SPILL_SIZE) {
        drop_received(net, "the host gave one of a wrong size");
        return RECEIVED;
    }
    expect(state, (size_t)size);
    if ((size_t)size > buffers->size)
        return deliver_spilled(net, pair, buffers, (size_t)size) ? RECEIVED : RECEIVED_STARVED;
    deliver(net, pair, buffers, (size_t)size);
    return RECEIVED;
}

bool net_receive_batch(struct virtio_net *net, unsigned pair)
{
    const unsigned queue = net_receive_queue(pair);
    struct virtq *ring = virtio_queue(&net->device, queue);
    struct net_pair *state = &net->pairs[pair];
    const uint64_t received = net->counters.received;
    struct buffers buffers = {0};
    enum received result = RECEIVED;
    bool has_more = false;

    virtq_disable_notifications(ring);
    for (unsigned i = 0; i < NET_BATCH && result == RECEIVED; i++)
        result = receive_one(net, pair, &buffers);
    state->is_starved = result == RECEIVED_STARVED;
    /* While all buffers are out: those that were looked at already are no reason to look again. */
    if (state->is_starved)
        has_more = virtq_enable_notifications(ring);
    give_back(net, queue, &buffers);
    if (net->counters.received != received)
        virtio_flush(&net->device, queue);
    if (has_more)
        virtio_notify(&net->device, queue);
    return result == RECEIVED || result == RECEIVED_NONE;
}
