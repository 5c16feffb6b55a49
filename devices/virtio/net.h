/*
 * virtio-net: a network interface for the guest. virtio 1.2, 5.1.
 *
 * Packets go between the rings and a backend without a copy, but for such as turn out larger than those before.
 * Received packets that find no buffer stay with the backend.
 */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H

#include "devices/net/backend.h"
#include "devices/net/mac.h"
#include "devices/virtio/virtio.h"

struct virtio_net;

struct virtio_net_options {
    uint8_t mac[NET_MAC_SIZE];
    /* How many the driver may use: at most as many as the backend has. */
    unsigned queue_pairs;
};

/* What is saved, besides what all devices save. Plain data. */
struct virtio_net_state {
    /* The driver may change it. */
    uint8_t mac[NET_MAC_SIZE];
    uint16_t active_pairs;
    /* What the driver wants to receive: a bit for each command of VIRTIO_NET_CTRL_RX. All is received anyway. */
    uint8_t receive_modes;
    bool is_link_up;
};

/* Packets since the device was made. */
struct virtio_net_counters {
    uint64_t sent;
    uint64_t received;
    /* The driver's, that were malformed or that the host did not take. */
    uint64_t sent_dropped;
    /* For the guest, that found no room that could ever be enough. */
    uint64_t received_dropped;
};

/*
 * The device takes the backend and closes it in the end; where this fails it stays the caller's. Everything that the
 * host does for it happens on the thread of the environment's loop. NULL with *error.
 */
struct virtio_net *virtio_net_create(const struct virtio_environment *environment, struct net_backend *backend,
                                     const struct virtio_net_options *options, struct error *error);

/* As virtio_fini(). Takes NULL. */
void virtio_net_destroy(struct virtio_net *net);

struct virtio_device *virtio_net_device(struct virtio_net *net);

/* With the device's lock held. */
const struct virtio_net_state *virtio_net_state(const struct virtio_net *net);
const struct virtio_net_counters *virtio_net_counters(const struct virtio_net *net);

#endif
