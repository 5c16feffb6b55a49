/*
 * The host's side of a network device: where packets of the guest go and packets for it come from. Made before the
 * sandbox by net_tap_open() or net_user_open(); used on the thread of one event loop.
 *
 * Each packet is an Ethernet frame behind a struct virtio_net_hdr_v1 (virtio 1.2, 5.1.6), in both directions.
 */
#ifndef DEVICES_NET_BACKEND_H
#define DEVICES_NET_BACKEND_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Queue pairs of one device, at the most. */
#define NET_QUEUE_PAIRS_MAX 16u

/* Work on packets that the receiver can be spared: bits. */
enum net_offload {
    /* checksums that are not filled in */
    NET_OFFLOAD_CHECKSUM = 1,
    /* TCP segments that are yet to be cut, of IPv4 and IPv6, and such with ECN */
    NET_OFFLOAD_TSO4 = 2,
    NET_OFFLOAD_TSO6 = 4,
    NET_OFFLOAD_ECN = 8,
};

/* Who uses a backend. Called on the loop's thread, never from within a function of the backend's. */
struct net_client {
    /* A pair that is listened to may have packets, or room. */
    void (*readable)(void *context, unsigned pair);
    void (*writable)(void *context, unsigned pair);
    /* The host's side is gone for good: why as in messages. */
    void (*lost)(void *context, const char *why);
    void *context;
};

struct net_backend;

struct net_backend_ops {
    /*
     * The backend begins to work, in loop, for a device with this name. All are kept until close(). Before the loop
     * runs. 0, or -1 with *error.
     */
    int (*attach)(struct net_backend *backend, struct event_loop *loop, const char *name, const struct log *log,
                  const struct net_client *client, struct error *error);
    /*
     * Sends a packet: 0, or a negative errno. -EAGAIN: no room now. Any other: it is lost, and the next may not be.
     * pieces: at most IOV_MAX, the first is the whole header; the backend does not keep them.
     */
    int (*send)(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count);
    /*
     * Takes the next packet into pieces: its bytes with the header, or a negative errno. -EAGAIN: there is none. What
     * does not fit is cut off.
     */
    ssize_t (*receive)(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count);
    /* What is waited for: packets, room. Nothing, before the first call. */
    void (*listen)(struct net_backend *backend, unsigned pair, bool for_packets, bool for_room);
    /* How many pairs are used: 0 or -1. One, before the first call. */
    int (*set_pairs)(struct net_backend *backend, unsigned pairs);
    /* Which offloads of enum net_offload received packets may use. None, before the first call. */
    void (*set_offloads)(struct net_backend *backend, unsigned offloads);
    /* The loop does not run. The backend is gone. */
    void (*close)(struct net_backend *backend);
};

/* The first member of each backend's struct. */
struct net_backend {
    const struct net_backend_ops *ops;
    /* What it can do in both directions: enum net_offload. */
    unsigned offloads;
    unsigned queue_pairs;
};

/* For a backend that no device has taken. Takes NULL. */
static inline void net_backend_close(struct net_backend *backend)
{
    if (backend != NULL)
        backend->ops->close(backend);
}

#endif
