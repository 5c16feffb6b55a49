/*
 * A network in user mode, by libslirp: the guest is behind an address translation of our own, without any privileges.
 *     10.0.2.0/24, gateway 10.0.2.2, name server 10.0.2.3, DHCP from 10.0.2.15 on; no IPv6
 */
#ifndef DEVICES_NET_USER_H
#define DEVICES_NET_USER_H

#include "devices/net/backend.h"

#include <netinet/in.h>
#include <stdint.h>

/* Packets that wait for the guest, at the most: what comes after that is dropped. */
#define NET_USER_WAITING_MAX 256u

/* Connections to a port of the host that become connections to the guest. */
struct net_forward {
    bool is_udp;
    struct in_addr host_address;
    /* in the host's byte order, as the other */
    uint16_t host_port;
    /* 0.0.0.0: the first address that DHCP gives */
    struct in_addr guest_address;
    uint16_t guest_port;
};

struct net_user_options {
    const struct net_forward *forwards;
    size_t forward_count;
    /* Whether 10.0.2.2 is the host's own 127.0.0.1, with everything that listens there. */
    bool may_reach_host;
};

/*
 * Reads "PROTOCOL:[[HOST-ADDRESS]:]HOST-PORT-[[GUEST-ADDRESS]:]GUEST-PORT", as in "tcp:127.0.0.1:2222-:22" or
 * "udp:5353-53". PROTOCOL is tcp or udp, addresses are IPv4. Without a host address it is 127.0.0.1. 0, or -1 with
 * *error.
 */
int net_forward_parse(const char *text, struct net_forward *forward, struct error *error);

/*
 * Listens at the host's ports. One queue pair, no offloads. NULL with *error, of kind ERROR_CONFIG for what the user
 * can mend. options need not outlive the call.
 *
 * After attach() the loop's thread makes sockets and uses them as the guest wants, and looks at /etc/resolv.conf for
 * the guest's names.
 */
struct net_backend *net_user_open(const struct net_user_options *options, struct error *error);

#endif
