/*
 * virtio-net: what net.c, net_send.c, net_receive.c and net_control.c have in common, and nobody else. All functions
 * are called with the device's lock held.
 */
#ifndef DEVICES_VIRTIO_NET_PRIVATE_H
#define DEVICES_VIRTIO_NET_PRIVATE_H

#include "devices/host/pace.h"
#include "devices/virtio/net.h"

#include <linux/if_ether.h>
#include <linux/virtio_net.h>

enum {
    /* Packets of one turn: others are to have theirs. */
    NET_BATCH = 64,
    NET_HEADER_SIZE = sizeof(struct virtio_net_hdr_v1),
    /* An IP packet of 64 KiB with its Ethernet header and two VLAN tags. */
    NET_FRAME_MAX = 65535 + ETH_HLEN + 8,
    /* Where the part of a packet goes that buffers have no room for. */
    NET_SPILL_SIZE = NET_HEADER_SIZE + NET_FRAME_MAX,
    /* What is expected of a packet, with its header, when nothing is known: virtio 1.2, 5.1.6.3.1. */
    NET_EXPECTED_MIN = 1526,
    /* Bytes of a packet that is one of many: somebody has filled it. */
    NET_LARGE_MIN = 4096,
};

/* Packets have been sent that the driver has not been told of: in this turn of the loop, or before. */
enum net_debt { NET_DEBT_NONE, NET_DEBT_NEW, NET_DEBT_OLD };

struct net_pair {
    /* Decides how many buffers are taken for the next packet: rises at once, falls slowly. */
    size_t expected;
    /* A packet that waits for more buffers, whole, in spill. 0: there is none. */
    size_t pending;
    uint8_t *spill;
    /* The driver has no buffers for packets; the backend has no room. */
    bool is_starved;
    bool is_full;
    enum net_debt debt;
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
    struct net_pair pairs[NET_QUEUE_PAIRS_MAX];
};

/* virtio 1.2, 5.1.2 */
static inline unsigned net_receive_queue(unsigned pair)
{
    return 2 * pair;
}

static inline unsigned net_send_queue(unsigned pair)
{
    return 2 * pair + 1;
}

/* Tells of what is lost, as far as there is no end of that. what: "a packet for the guest". */
void net_report_dropped(struct virtio_net *net, const char *what, const char *why);

/* The host's side is gone: packets are dropped from now on. */
void net_lose_link(struct virtio_net *net, const char *why);

/* ---- net_send.c ---- */

/*
 * Sends up to a batch of packets; how many have been given back, of which the driver is still to be told. is_full: the
 * backend has no room for the next one.
 */
unsigned net_send_batch(struct virtio_net *net, unsigned pair);

/* ---- net_receive.c ---- */

/*
 * Gives the driver up to a batch of the packets that the backend has, and tells it. is_starved: the next one waits for
 * buffers. Whether the backend has, or may have, more for which there is room.
 */
bool net_receive_batch(struct virtio_net *net, unsigned pair);

/* ---- net_control.c ---- */

/* Does what the driver wants: queue is its control queue. */
void net_control_serve(struct virtio_net *net, unsigned queue);

#endif
