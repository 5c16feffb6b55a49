/*
 * Packets through a tap interface of the host. One that exists and belongs to the user needs no privileges:
 *     sudo ip tuntap add dev NAME mode tap user USER [multi_queue]
 */
#ifndef DEVICES_NET_TAP_H
#define DEVICES_NET_TAP_H

#include "devices/net/backend.h"

struct net_tap_options {
    /* The host's interface, which exists. */
    const char *interface;
    /* 1 to NET_QUEUE_PAIRS_MAX; more than one needs an interface that was made with multi_queue. */
    unsigned queue_pairs;
};

/*
 * Takes the interface: nobody else can have it. It goes on existing afterwards. NULL with *error, of kind ERROR_CONFIG
 * for what the user can mend.
 *
 * After attach() the loop's thread makes these system calls: readv, writev, epoll_ctl, and ioctl with TUNSETOFFLOAD and
 * TUNSETQUEUE.
 */
struct net_backend *net_tap_open(const struct net_tap_options *options, struct error *error);

#endif
