#include "devices/virtio/net_private.h"

#include <assert.h>
#include <endian.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

enum {
    QUEUE_SIZE = 256,
    /* Packets of before a start that the host may have kept: twice as many as a tap does. */
    OLD_MAX = 1024,
    /* Milliseconds that the driver may hear later of packets that have been sent. */
    DEBT_MAX = 1,
};
/* Without offsetof's size, which enumerations are not for. */
#define CONFIG_SIZE offsetof(struct virtio_net_config, mtu)

static struct virtio_net *net_of(struct virtio_device *device)
{
    return (struct virtio_net *)(void *)device;
}

/* virtio 1.2, 5.1.2 */
static unsigned control_queue(struct virtio_net *net)
{
    return virtio_has_feature(&net->device, VIRTIO_NET_F_MQ) ? 2 * net->options.queue_pairs : 2;
}

void net_report_dropped(struct virtio_net *net, const char *what, const char *why)
{
    log_guest_misbehaviour(net->device.log, &net->device.limit, net->device.name, "%s is dropped: %s", what, why);
}

void net_lose_link(struct virtio_net *net, const char *why)
{
    if (!net->state.is_link_up)
        return;
    log_guest_misbehaviour(net->device.log, &net->device.limit, net->device.name, "the link is down: %s", why);
    net->state.is_link_up = false;
    /* What waited for room is dropped now. */
    for (unsigned pair = 0; pair < net->options.queue_pairs; pair++) {
        net->pairs[pair].is_full = false;
        virtio_notify(&net->device, net_send_queue(pair));
    }
    virtio_config_changed(&net->device);
}

static void set_listening(struct virtio_net *net, unsigned pair, bool for_packets)
{
    net->backend->ops->listen(net->backend, pair, for_packets, net->pairs[pair].is_full);
}

/* ---- Turns ---- */

static bool may_serve(struct virtio_net *net, unsigned pair, unsigned queue)
{
    return virtio_is_running(&net->device) && !net->is_fresh && pair < net->state.active_pairs &&
           virtio_queue(&net->device, queue)->state.is_enabled;
}

static void serve_receive(struct virtio_net *net, unsigned pair)
{
    set_listening(net, pair, net_receive_batch(net, pair));
}

/* Receives what the host may have answered at once to what it has just been sent; whether there was something. */
static bool receive_answers(struct virtio_net *net, unsigned pair)
{
    const uint64_t received = net->counters.received;

    if (!net->pairs[pair].is_starved && may_serve(net, pair, net_receive_queue(pair)))
        serve_receive(net, pair);
    return net->counters.received != received;
}

/* Tells the driver of sent packets, if it wants to hear of them. */
static void tell_sent(struct virtio_net *net, unsigned pair)
{
    net->pairs[pair].debt = NET_DEBT_NONE;
    virtio_flush(&net->device, net_send_queue(pair));
}

static void serve_send(struct virtio_net *net, unsigned pair)
{
    const unsigned queue = net_send_queue(pair);
    struct virtq *ring = virtio_queue(&net->device, queue);

    if (net->pairs[pair].is_full)
        return;
    virtq_disable_notifications(ring);
    const unsigned done = net_send_batch(net, pair);
    if (net->pairs[pair].is_full)
        set_listening(net, pair, !net->pairs[pair].is_starved);
    else if (virtq_enable_notifications(ring))
        virtio_notify(&net->device, queue);
    if (done == 0)
        return;
    if (net->pairs[pair].debt == NET_DEBT_NONE && receive_answers(net, pair))
        net->pairs[pair].debt = NET_DEBT_NEW;
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
        if (net->pairs[pair].debt == NET_DEBT_OLD)
            tell_sent(net, pair);
        if (net->pairs[pair].debt != NET_DEBT_NEW)
            continue;
        net->pairs[pair].debt = NET_DEBT_OLD;
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
    if (may_serve(net, pair, net_receive_queue(pair)))
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
    set_listening(net, pair, may_serve(net, pair, net_receive_queue(pair)) && !net->pairs[pair].is_starved);
    if (may_serve(net, pair, net_send_queue(pair)))
        serve_send(net, pair);
    pthread_mutex_unlock(&net->device.lock);
}

static void on_lost(void *context, const char *why)
{
    struct virtio_net *net = context;

    pthread_mutex_lock(&net->device.lock);
    net_lose_link(net, why);
    pthread_mutex_unlock(&net->device.lock);
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
    const struct iovec piece = {.iov_base = net->pairs[pair].spill, .iov_len = NET_SPILL_SIZE};

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
        net_control_serve(net, queue);
    else if (pair >= net->state.active_pairs)
        return;
    else if (queue == net_receive_queue(pair))
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
        net->pairs[i].expected = NET_EXPECTED_MIN;
        net->pairs[i].pending = 0;
        net->pairs[i].is_starved = false;
        net->pairs[i].is_full = false;
        net->pairs[i].debt = NET_DEBT_NONE;
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
        net->pairs[i].debt = NET_DEBT_OLD;
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
        net->pairs[i].spill = malloc(NET_SPILL_SIZE);
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
