#include "devices/virtio/net.h"

#include "devices/host/pace.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUEUE_SIZE = 256,
    /* Packets of one turn: others are to have theirs. */
    BATCH = 64,
    HEADER_SIZE = sizeof(struct virtio_net_hdr_v1),
    /* An IP packet of 64 KiB with its Ethernet header and two VLAN tags. */
    FRAME_MAX = 65535 + ETH_HLEN + 8,
    /* Buffers that one packet may be spread over. */
    BUFFERS_MAX = 64,
    /* Their pieces of host memory: more than one chain can have, and with the spill fewer than IOV_MAX. */
    PIECES_MAX = 768,
    /* What is expected of a packet, with its header, when nothing is known: virtio 1.2, 5.1.6.3.1. */
    EXPECTED_MIN = 1526,
    CONTROL_SIZE_MAX = 4096,
    /* Packets of before a start that the host may have kept: twice as many as a tap does. */
    OLD_MAX = 1024,
    /* Milliseconds that the driver may hear later of packets that have been sent. */
    DEBT_MAX = 1,
    /* Bytes of a packet that is one of many: somebody has filled it. */
    LARGE_MIN = 4096,
};
/* Without offsetof's size, which enumerations are not for. */
#define CONFIG_SIZE offsetof(struct virtio_net_config, mtu)

/* Where the part of a packet goes that buffers have no room for. */
enum { SPILL_SIZE = HEADER_SIZE + FRAME_MAX };

/* Packets have been sent that the driver has not been told of: in this turn of the loop, or before. */
enum debt { DEBT_NONE, DEBT_NEW, DEBT_OLD };

struct pair {
    /* Decides how many buffers are taken for the next packet: rises at once, falls slowly. */
    size_t expected;
    /* A packet that waits for more buffers, whole, in spill. 0: there is none. */
    size_t pending;
    uint8_t *spill;
    /* The driver has no buffers for packets; the backend has no room. */
    bool is_starved;
    bool is_full;
    enum debt debt;
};

struct virtio_net {
    /* the first: see virtio.h */
    struct virtio_device device;
    struct net_backend *backend;
    struct virtio_net_options options;
    struct virtio_net_state state;
    struct virtio_net_counters counters;
    /* The driver has started anew, which the backend is to be told on the loop's thread. */
    bool is_fresh;
    struct event_hook hook;
    struct pace pace;
    /* What there had been at the end of the last turn; whether a large packet has come or gone since. */
    struct virtio_net_counters before;
    bool has_large;
    struct pair pairs[NET_QUEUE_PAIRS_MAX];
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

static struct virtio_net *net_of(struct virtio_device *device)
{
    return (struct virtio_net *)(void *)device;
}

static unsigned receive_queue(unsigned pair)
{
    return 2 * pair;
}

static unsigned send_queue(unsigned pair)
{
    return 2 * pair + 1;
}

/* virtio 1.2, 5.1.2 */
static unsigned control_queue(struct virtio_net *net)
{
    return virtio_has_feature(&net->device, VIRTIO_NET_F_MQ) ? 2 * net->options.queue_pairs : 2;
}

static void report_dropped(struct virtio_net *net, const char *what, const char *why)
{
    log_guest_misbehaviour(net->device.log, &net->device.limit, net->device.name, "%s is dropped: %s", what, why);
}

/* The host's side is gone: packets are dropped from now on. */
static void lose_link(struct virtio_net *net, const char *why)
{
    if (!net->state.is_link_up)
        return;
    log_guest_misbehaviour(net->device.log, &net->device.limit, net->device.name, "the link is down: %s", why);
    net->state.is_link_up = false;
    /* What waited for room is dropped now. */
    for (unsigned pair = 0; pair < net->options.queue_pairs; pair++) {
        net->pairs[pair].is_full = false;
        virtio_notify(&net->device, send_queue(pair));
    }
    virtio_config_changed(&net->device);
}

/* ---- Sending ---- */

/* NULL, or what is wrong with the segments that the driver wants. */
static const char *check_segments(const struct virtio_net *net, const struct virtio_net_hdr_v1 *header, size_t size)
{
    const struct virtio_device *device = &net->device;
    const unsigned type = header->gso_type & ~(unsigned)VIRTIO_NET_HDR_GSO_ECN;
    const bool has_ecn = (header->gso_type & VIRTIO_NET_HDR_GSO_ECN) != 0;

    if (!(type == VIRTIO_NET_HDR_GSO_TCPV4 && virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO4)) &&
        !(type == VIRTIO_NET_HDR_GSO_TCPV6 && virtio_has_feature(device, VIRTIO_NET_F_HOST_TSO6)))
        return "its kind of segments was not agreed on";
    if (has_ecn && !virtio_has_feature(device, VIRTIO_NET_F_HOST_ECN))
        return "ECN in segments was not agreed on";
    if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
        return "its segments have no checksum to fill in";
    if (le16toh(header->gso_size) == 0 || le16toh(header->gso_size) >= size)
        return "its segments have a wrong size";
    if (le16toh(header->hdr_len) > size)
        return "its headers are longer than it is";
    return NULL;
}

/*
 * Checks a copy of the driver's header against the size of the frame, and clears what is no business of the host's:
 * virtio 1.2, 5.1.6.2. NULL, or what is wrong.
 */
static const char *check_header(const struct virtio_net *net, struct virtio_net_hdr_v1 *header, size_t size)
{
    if (size < ETH_HLEN)
        return "it has no Ethernet header";
    if (size > FRAME_MAX)
        return "it is too long";
    header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header->num_buffers = 0;
    if (header->flags != 0) {
        const size_t start = le16toh(header->csum_start);
        if (!virtio_has_feature(&net->device, VIRTIO_NET_F_CSUM))
            return "checksums were not agreed on";
        if (start < ETH_HLEN || start + le16toh(header->csum_offset) + sizeof(uint16_t) > size)
            return "its checksum is outside of it";
    } else {
        header->csum_start = 0;
        header->csum_offset = 0;
    }
    if (header->gso_type != VIRTIO_NET_HDR_GSO_NONE)
        return check_segments(net, header, size);
    header->hdr_len = 0;
    header->gso_size = 0;
    return NULL;
}

/* The pieces of a chain from an offset on; how many. */
static size_t skip(const struct iovec *pieces, size_t count, size_t offset, struct iovec *rest)
{
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        if (offset >= pieces[i].iov_len) {
            offset -= pieces[i].iov_len;
            continue;
        }
        rest[used++] =
            (struct iovec){.iov_base = (char *)pieces[i].iov_base + offset, .iov_len = pieces[i].iov_len - offset};
        offset = 0;
    }
    return used;
}

/* false: the backend has no room now. */
static bool send_chain(struct virtio_net *net, unsigned pair, const struct virtq_chain *chain)
{
    struct virtio_net_hdr_v1 header;
    struct iovec pieces[1 + 2 * VIRTQ_CHAIN_MAX];
    const char *wrong = NULL;

    if (chain->is_refused)
        wrong = "a buffer may not be read";
    else if (virtq_read(chain, 0, &header, sizeof(header)) < sizeof(header))
        wrong = "it has no header";
    else
        wrong = check_header(net, &header, chain->readable_size - HEADER_SIZE);
    if (wrong == NULL) {
        pieces[0] = (struct iovec){.iov_base = &header, .iov_len = sizeof(header)};
        const size_t count = skip(chain->readable, chain->readable_count, HEADER_SIZE, pieces + 1);
        const int result = net->backend->ops->send(net->backend, pair, pieces, 1 + count);
        if (result == -EAGAIN)
            return false;
        if (result < 0)
            wrong = result == -EIO ? "the host's interface is down: 'ip link set' brings it up" : strerror(-result);
    }
    if (wrong == NULL) {
        net->counters.sent++;
        net->has_large = net->has_large || chain->readable_size >= LARGE_MIN;
        return true;
    }
    net->counters.sent_dropped++;
    report_dropped(net, "a packet of the driver's", wrong);
    return true;
}

static void set_listening(struct virtio_net *net, unsigned pair, bool for_packets)
{
    net->backend->ops->listen(net->backend, pair, for_packets, net->pairs[pair].is_full);
}

/* Sends up to a batch of packets; how many have been given back. */
static unsigned send_batch(struct virtio_net *net, unsigned pair)
{
    const unsigned queue = send_queue(pair);
    struct virtio_device *device = &net->device;
    unsigned done = 0;

    for (; done < BATCH; done++) {
        struct virtq_chain *chain = virtio_pop(device, queue);
        if (chain == NULL)
            break;
        if (!send_chain(net, pair, chain)) {
            virtq_unpop(virtio_queue(device, queue), chain);
            net->pairs[pair].is_full = true;
            break;
        }
        virtio_push(device, queue, chain, 0);
    }
    return done;
}

/* ---- Receiving ---- */

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
        if (chain->is_refused || chain->writable_size < HEADER_SIZE) {
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
    virtio_push_all(&net->device, receive_queue(pair), buffers->chains, written, used);
    forget(buffers, used);
    net->counters.received++;
    net->has_large = net->has_large || size >= LARGE_MIN;
}

static void drop_received(struct virtio_net *net, const char *why)
{
    net->counters.received_dropped++;
    report_dropped(net, "a packet for the guest", why);
}

/* A packet is in spill, whole. false: it waits for more buffers. */
static bool deliver_pending(struct virtio_net *net, unsigned pair, struct buffers *buffers)
{
    struct pair *state = &net->pairs[pair];

    if (take(net, receive_queue(pair), buffers, state->pending)) {
        copy(buffers, 0, state->spill, state->pending, true);
        deliver(net, pair, buffers, state->pending);
    } else if (is_at_end(net, receive_queue(pair), buffers)) {
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
    struct pair *state = &net->pairs[pair];
    const size_t head = buffers->size;

    if (take(net, receive_queue(pair), buffers, size)) {
        copy(buffers, head, state->spill, size - head, true);
        deliver(net, pair, buffers, size);
        return true;
    }
    memmove(state->spill + head, state->spill, size - head);
    copy(buffers, 0, state->spill, head, false);
    state->pending = size;
    return deliver_pending(net, pair, buffers);
}

static void expect(struct pair *state, size_t size)
{
    const size_t less = state->expected - (state->expected - EXPECTED_MIN) / 8;

    state->expected = size > less ? size : less;
}

/* Reads a packet into buffers and spill: its size, or a negative errno. */
static ssize_t read_packet(struct virtio_net *net, unsigned pair, const struct buffers *buffers)
{
    struct iovec pieces[PIECES_MAX + 1];
    size_t count = 0;

    for (size_t i = 0; i < buffers->count; i++)
        count += skip(buffers->chains[i]->writable, buffers->chains[i]->writable_count, 0, pieces + count);
    pieces[count] = (struct iovec){.iov_base = net->pairs[pair].spill, .iov_len = SPILL_SIZE};
    return net->backend->ops->receive(net->backend, pair, pieces, count + 1);
}

/* How one attempt to receive has ended. */
enum received { RECEIVED, RECEIVED_NONE, RECEIVED_STARVED, RECEIVED_ERROR };

static enum received fail_to_receive(struct virtio_net *net, int why)
{
    if (why == EBADF || why == EBADFD || why == EIO || why == ENODEV || why == ENXIO) {
        lose_link(net, strerror(why));
        return RECEIVED_ERROR;
    }
    drop_received(net, strerror(why));
    return RECEIVED;
}

static enum received receive_one(struct virtio_net *net, unsigned pair, struct buffers *buffers)
{
    struct pair *state = &net->pairs[pair];

    if (state->pending > 0)
        return deliver_pending(net, pair, buffers) ? RECEIVED : RECEIVED_STARVED;
    (void)take(net, receive_queue(pair), buffers, state->expected);
    if (buffers->count == 0 || !virtio_is_running(&net->device))
        return RECEIVED_STARVED;
    const ssize_t size = read_packet(net, pair, buffers);
    if (size == -EAGAIN)
        return RECEIVED_NONE;
    if (size < 0)
        return fail_to_receive(net, (int)-size);
    if (size < HEADER_SIZE || size >= SPILL_SIZE) {
        drop_received(net, "the host gave one of a wrong size");
        return RECEIVED;
    }
    expect(state, (size_t)size);
    if ((size_t)size > buffers->size)
        return deliver_spilled(net, pair, buffers, (size_t)size) ? RECEIVED : RECEIVED_STARVED;
    deliver(net, pair, buffers, (size_t)size);
    return RECEIVED;
}

static void serve_receive(struct virtio_net *net, unsigned pair)
{
    const unsigned queue = receive_queue(pair);
    struct virtq *ring = virtio_queue(&net->device, queue);
    struct pair *state = &net->pairs[pair];
    const uint64_t received = net->counters.received;
    struct buffers buffers = {0};
    enum received result = RECEIVED;
    bool has_more = false;

    virtq_disable_notifications(ring);
    for (unsigned i = 0; i < BATCH && result == RECEIVED; i++)
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
    set_listening(net, pair, result == RECEIVED || result == RECEIVED_NONE);
}

/* ---- Turns ---- */

static bool may_serve(struct virtio_net *net, unsigned pair, unsigned queue)
{
    return virtio_is_running(&net->device) && !net->is_fresh && pair < net->state.active_pairs &&
           virtio_queue(&net->device, queue)->state.is_enabled;
}

/* Receives what the host may have answered at once to what it has just been sent; whether there was something. */
static bool receive_answers(struct virtio_net *net, unsigned pair)
{
    const uint64_t received = net->counters.received;

    if (!net->pairs[pair].is_starved && may_serve(net, pair, receive_queue(pair)))
        serve_receive(net, pair);
    return net->counters.received != received;
}

/* Tells the driver of sent packets, if it wants to hear of them. */
static void tell_sent(struct virtio_net *net, unsigned pair)
{
    net->pairs[pair].debt = DEBT_NONE;
    virtio_flush(&net->device, send_queue(pair));
}

static void serve_send(struct virtio_net *net, unsigned pair)
{
    const unsigned queue = send_queue(pair);
    struct virtq *ring = virtio_queue(&net->device, queue);

    if (net->pairs[pair].is_full)
        return;
    virtq_disable_notifications(ring);
    const unsigned done = send_batch(net, pair);
    if (net->pairs[pair].is_full)
        set_listening(net, pair, !net->pairs[pair].is_starved);
    else if (virtq_enable_notifications(ring))
        virtio_notify(&net->device, queue);
    if (done == 0)
        return;
    if (net->pairs[pair].debt == DEBT_NONE && receive_answers(net, pair))
        net->pairs[pair].debt = DEBT_NEW;
    else
        tell_sent(net, pair);
}

/* A packet and its answer are one thing to wait for. */
static void end_turn(struct virtio_net *net)
{
    const uint64_t sent = net->counters.sent - net->before.sent;
    const uint64_t received = net->counters.received - net->before.received;

    /* The first packets of a stream decide how TCP goes on: they are to find what the others will. */
    if (net->has_large)
        pace_expect_several(&net->pace);
    if (sent + received > 0)
        pace_turn(&net->pace, sent > 1 || received > 1 || net->has_large);
    net->before = net->counters;
    net->has_large = false;
}

/*
 * Before the loop waits. A driver that is told of received packets looks for those that have been sent too, as Linux'
 * does, and then wants no second interrupt. So that is put off to the loop's next turn, and for DEBT_MAX at most.
 */
static int before_wait(void *context)
{
    struct virtio_net *net = context;
    int timeout = -1;

    pthread_mutex_lock(&net->device.lock);
    end_turn(net);
    for (unsigned pair = 0; pair < net->options.queue_pairs && virtio_is_running(&net->device); pair++) {
        if (net->pairs[pair].debt == DEBT_OLD)
            tell_sent(net, pair);
        if (net->pairs[pair].debt != DEBT_NEW)
            continue;
        net->pairs[pair].debt = DEBT_OLD;
        timeout = DEBT_MAX;
    }
    pthread_mutex_unlock(&net->device.lock);
    return timeout;
}

/* ---- The backend's calls ---- */

static void on_readable(void *context, unsigned pair)
{
    struct virtio_net *net = context;

    pthread_mutex_lock(&net->device.lock);
    if (may_serve(net, pair, receive_queue(pair)))
        serve_receive(net, pair);
    else
        set_listening(net, pair, false);
    pthread_mutex_unlock(&net->device.lock);
}

static void on_writable(void *context, unsigned pair)
{
    struct virtio_net *net = context;

    pthread_mutex_lock(&net->device.lock);
    net->pairs[pair].is_full = false;
    set_listening(net, pair, may_serve(net, pair, receive_queue(pair)) && !net->pairs[pair].is_starved);
    if (may_serve(net, pair, send_queue(pair)))
        serve_send(net, pair);
    pthread_mutex_unlock(&net->device.lock);
}

static void on_lost(void *context, const char *why)
{
    struct virtio_net *net = context;

    pthread_mutex_lock(&net->device.lock);
    lose_link(net, why);
    pthread_mutex_unlock(&net->device.lock);
}

/* ---- Control ---- */

/* A request of the driver's, read once. */
struct control {
    struct virtio_net_ctrl_hdr header;
    uint8_t data[CONTROL_SIZE_MAX];
    size_t size;
};

static bool set_receive_mode(struct virtio_net *net, const struct control *control)
{
    const unsigned command = control->header.cmd;
    const unsigned feature = command <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA;

    if (command > VIRTIO_NET_CTRL_RX_NOBCAST || control->size != 1 || !virtio_has_feature(&net->device, feature))
        return false;
    net->state.receive_modes &= (uint8_t) ~(1u << command);
    net->state.receive_modes |= (uint8_t)((control->data[0] != 0) << command);
    return true;
}

/* The tables are filters, which need not be exact: all is let through. Whether they are well-formed. */
static bool check_mac_tables(const struct control *control)
{
    size_t offset = 0;

    for (unsigned i = 0; i < 2; i++) {
        uint32_t count;
        if (control->size - offset < sizeof(count))
            return false;
        memcpy(&count, control->data + offset, sizeof(count));
        offset += sizeof(count);
        if (le32toh(count) > (control->size - offset) / NET_MAC_SIZE)
            return false;
        offset += (size_t)le32toh(count) * NET_MAC_SIZE;
    }
    return offset == control->size;
}

static bool set_mac(struct virtio_net *net, const struct control *control)
{
    if (control->header.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
        return virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_RX) && check_mac_tables(control);
    if (control->header.cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || control->size != NET_MAC_SIZE ||
        !virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_MAC_ADDR) || !net_mac_is_unicast(control->data))
        return false;
    memcpy(net->state.mac, control->data, NET_MAC_SIZE);
    return true;
}

static bool set_pairs(struct virtio_net *net, const struct control *control)
{
    uint16_t pairs;

    if (control->header.cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || control->size != sizeof(pairs) ||
        !virtio_has_feature(&net->device, VIRTIO_NET_F_MQ))
        return false;
    memcpy(&pairs, control->data, sizeof(pairs));
    pairs = le16toh(pairs);
    if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > net->options.queue_pairs)
        return false;
    if (net->backend->ops->set_pairs(net->backend, pairs) < 0) {
        (void)net->backend->ops->set_pairs(net->backend, net->state.active_pairs);
        report_dropped(net, "a request for more queues", "the host's side does not take them");
        return false;
    }
    net->state.active_pairs = pairs;
    for (unsigned i = 0; i < 2u * pairs; i++)
        virtio_notify(&net->device, i);
    return true;
}

static bool execute(struct virtio_net *net, const struct control *control)
{
    switch (control->header.class) {
    case VIRTIO_NET_CTRL_RX:
        return set_receive_mode(net, control);
    case VIRTIO_NET_CTRL_MAC:
        return set_mac(net, control);
    case VIRTIO_NET_CTRL_MQ:
        return set_pairs(net, control);
    default:
        return false;
    }
}

static uint8_t answer_control(struct virtio_net *net, const struct virtq_chain *chain)
{
    struct control control;

    if (chain->readable_size < sizeof(control.header) ||
        chain->readable_size - sizeof(control.header) > sizeof(control.data))
        return VIRTIO_NET_ERR;
    (void)virtq_read(chain, 0, &control.header, sizeof(control.header));
    control.size = virtq_read(chain, sizeof(control.header), control.data, sizeof(control.data));
    return execute(net, &control) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
}

static void serve_control(struct virtio_net *net, unsigned queue)
{
    struct virtio_device *device = &net->device;

    for (unsigned i = 0; i < BATCH; i++) {
        struct virtq_chain *chain = virtio_pop(device, queue);
        if (chain == NULL)
            break;
        if (chain->is_refused || chain->writable_size == 0) {
            virtio_push(device, queue, chain, 0);
            virtio_fail(device, queue, "a control request has no place for its answer");
            return;
        }
        const uint8_t answer = answer_control(net, chain);
        virtio_push(device, queue, chain, (uint32_t)virtq_write(chain, 0, &answer, sizeof(answer)));
    }
    virtio_flush(device, queue);
    if (virtq_enable_notifications(virtio_queue(device, queue)))
        virtio_notify(device, queue);
}

/* ---- As a virtio device ---- */

/* What received packets may be like: virtio 1.2, 5.1.3.1 has what needs what. */
static unsigned receive_offloads(const struct virtio_device *device)
{
    unsigned offloads = 0;

    if (!virtio_has_feature(device, VIRTIO_NET_F_GUEST_CSUM))
        return 0;
    if (virtio_has_feature(device, VIRTIO_NET_F_GUEST_TSO4))
        offloads |= NET_OFFLOAD_TSO4;
    if (virtio_has_feature(device, VIRTIO_NET_F_GUEST_TSO6))
        offloads |= NET_OFFLOAD_TSO6;
    if (offloads != 0 && virtio_has_feature(device, VIRTIO_NET_F_GUEST_ECN))
        offloads |= NET_OFFLOAD_ECN;
    return offloads | NET_OFFLOAD_CHECKSUM;
}

/* Packets from before are of a form that may not have been agreed on. */
static void discard_old(struct virtio_net *net, unsigned pair)
{
    const struct iovec piece = {.iov_base = net->pairs[pair].spill, .iov_len = SPILL_SIZE};

    for (unsigned i = 0; i < OLD_MAX; i++)
        if (net->backend->ops->receive(net->backend, pair, &piece, 1) < 0)
            return;
}

static void begin(struct virtio_net *net)
{
    net->is_fresh = false;
    net->backend->ops->set_offloads(net->backend, receive_offloads(&net->device));
    for (unsigned pair = 0; pair < net->options.queue_pairs; pair++)
        discard_old(net, pair);
    (void)net->backend->ops->set_pairs(net->backend, net->state.active_pairs);
}

static void notified(struct virtio_device *device, unsigned queue)
{
    struct virtio_net *net = net_of(device);
    const unsigned pair = queue / 2;

    if (net->is_fresh)
        begin(net);
    if (queue == control_queue(net) && virtio_has_feature(device, VIRTIO_NET_F_CTRL_VQ))
        serve_control(net, queue);
    else if (pair >= net->state.active_pairs)
        return;
    else if (queue == receive_queue(pair))
        serve_receive(net, pair);
    else
        serve_send(net, pair);
}

/* On a vCPU's thread: the backend hears of it on the loop's. */
static void start(struct virtio_device *device)
{
    net_of(device)->is_fresh = true;
}

static void reset_pairs(struct virtio_net *net)
{
    for (unsigned i = 0; i < net->options.queue_pairs; i++) {
        net->pairs[i].expected = EXPECTED_MIN;
        net->pairs[i].pending = 0;
        net->pairs[i].is_starved = false;
        net->pairs[i].is_full = false;
        net->pairs[i].debt = DEBT_NONE;
    }
}

/* No chain is out between two calls. */
static bool stop(struct virtio_device *device)
{
    struct virtio_net *net = net_of(device);

    memcpy(net->state.mac, net->options.mac, NET_MAC_SIZE);
    net->state.active_pairs = 1;
    net->state.receive_modes = 0;
    reset_pairs(net);
    return true;
}

static void read_config(struct virtio_device *device, void *config)
{
    const struct virtio_net *net = net_of(device);
    struct virtio_net_config fields = {
        .status = htole16(net->state.is_link_up ? VIRTIO_NET_S_LINK_UP : 0),
        .max_virtqueue_pairs = htole16((uint16_t)net->options.queue_pairs),
    };

    memcpy(fields.mac, net->state.mac, NET_MAC_SIZE);
    memcpy(config, &fields, CONFIG_SIZE);
}

static const struct state_field state_fields[] = {
    STATE_ARRAY(struct virtio_net_state, mac),
    STATE_FIELD_UP_TO(struct virtio_net_state, active_pairs, NET_QUEUE_PAIRS_MAX),
    STATE_FIELD(struct virtio_net_state, receive_modes),
    STATE_FIELD(struct virtio_net_state, is_link_up),
};
STATE_DESCRIPTION(state_description, struct virtio_net_state, "virtio-net", 1, state_fields);

static void add_state(struct virtio_device *device, struct state_parts *parts)
{
    state_add(parts, &state_description, &net_of(device)->state);
}

/* The host's side hears of it as it does when the driver is ready: on the loop's thread. */
static void restored(struct virtio_device *device)
{
    struct virtio_net *net = net_of(device);

    /* Another device than this may have had more. */
    if (net->state.active_pairs == 0 || net->state.active_pairs > net->options.queue_pairs)
        net->state.active_pairs = 1;
    reset_pairs(net);
    /* What the other machine's driver was still to be told is not in the state. */
    for (unsigned i = 0; i < net->options.queue_pairs; i++)
        net->pairs[i].debt = DEBT_OLD;
    net->is_fresh = true;
}

static const struct virtio_ops ops = {
    .name = "net",
    .id = VIRTIO_ID_NET,
    .config_size = CONFIG_SIZE,
    .read_config = read_config,
    .start = start,
    .stop = stop,
    .notified = notified,
    .add_state = add_state,
    .restored = restored,
};

static uint64_t offered_features(const struct net_backend *backend, unsigned queue_pairs)
{
    uint64_t features = 1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS | 1ull << VIRTIO_NET_F_MRG_RXBUF |
                        1ull << VIRTIO_NET_F_CTRL_VQ | 1ull << VIRTIO_NET_F_CTRL_RX |
                        1ull << VIRTIO_NET_F_CTRL_RX_EXTRA | 1ull << VIRTIO_NET_F_CTRL_MAC_ADDR;

    if (queue_pairs > 1)
        features |= 1ull << VIRTIO_NET_F_MQ;
    if (backend->offloads & NET_OFFLOAD_CHECKSUM)
        features |= 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_GUEST_CSUM;
    if (backend->offloads & NET_OFFLOAD_TSO4)
        features |= 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO4;
    if (backend->offloads & NET_OFFLOAD_TSO6)
        features |= 1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_TSO6;
    if (backend->offloads & NET_OFFLOAD_ECN)
        features |= 1ull << VIRTIO_NET_F_HOST_ECN | 1ull << VIRTIO_NET_F_GUEST_ECN;
    return features;
}

static void free_net(struct virtio_net *net)
{
    for (unsigned i = 0; i < NET_QUEUE_PAIRS_MAX; i++)
        free(net->pairs[i].spill);
    free(net);
}

static struct virtio_net *allocate(const struct virtio_net_options *options)
{
    struct virtio_net *net = calloc(1, sizeof(*net));

    if (net == NULL)
        return NULL;
    net->options = *options;
    net->state.is_link_up = true;
    for (unsigned i = 0; i < options->queue_pairs; i++) {
        net->pairs[i].spill = malloc(SPILL_SIZE);
        if (net->pairs[i].spill == NULL) {
            free_net(net);
            return NULL;
        }
    }
    (void)stop(&net->device);
    return net;
}

struct virtio_net *virtio_net_create(const struct virtio_environment *environment, struct net_backend *backend,
                                     const struct virtio_net_options *options, struct error *error)
{
    const unsigned pairs = options->queue_pairs;

    assert(pairs >= 1 && pairs <= backend->queue_pairs && pairs <= NET_QUEUE_PAIRS_MAX);
    struct virtio_net *net = allocate(options);
    if (net == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    net->backend = backend;
    pace_init(&net->pace);
    net->hook = (struct event_hook){.prepare = before_wait, .context = net};
    if (virtio_init(&net->device, &ops, environment, offered_features(backend, pairs), 2 * pairs + 1, QUEUE_SIZE,
                    error) < 0) {
        free_net(net);
        return NULL;
    }
    const struct net_client client = {
        .readable = on_readable, .writable = on_writable, .lost = on_lost, .context = net};
    if (backend->ops->attach(backend, environment->loop, environment->name, environment->log, &client, error) == 0) {
        event_loop_add_hook(net->device.loop, &net->hook);
        return net;
    }
    virtio_fini(&net->device);
    free_net(net);
    return NULL;
}

void virtio_net_destroy(struct virtio_net *net)
{
    if (net == NULL)
        return;
    event_loop_remove_hook(net->device.loop, &net->hook);
    net->backend->ops->close(net->backend);
    virtio_fini(&net->device);
    free_net(net);
}

struct virtio_device *virtio_net_device(struct virtio_net *net)
{
    return &net->device;
}

const struct virtio_net_state *virtio_net_state(const struct virtio_net *net)
{
    return &net->state;
}

const struct virtio_net_counters *virtio_net_counters(const struct virtio_net *net)
{
    return &net->counters;
}
