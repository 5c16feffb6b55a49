/*
 * Ethernet addresses for guests.
 */
#ifndef DEVICES_NET_MAC_H
#define DEVICES_NET_MAC_H

#include <stdbool.h>
#include <stdint.h>

enum { NET_MAC_SIZE = 6 };

/* "52:54:00:12:34:56", either case. false: it is no address, or none that one device can have (all zero, multicast). */
bool net_mac_parse(const char *text, uint8_t mac[NET_MAC_SIZE]);

/*
 * The address of a device for which none is given: always the same for the same two names, so that a guest's leases and
 * rules outlive a restart. It is the low 48 bits of the 64-bit FNV-1a hash of machine, a NUL byte and device, the upper
 * bits folded in, made a locally administered unicast one: bit 1 of the first byte set, bit 0 clear (IEEE 802).
 */
void net_mac_derive(const char *machine, const char *device, uint8_t mac[NET_MAC_SIZE]);

/* Whether one device can have it: neither all zero nor multicast. */
bool net_mac_is_unicast(const uint8_t mac[NET_MAC_SIZE]);

#endif
