#include "devices/net/mac.h"

#include <string.h>

/* FNV-1a, 64 bits: draft-eastlake-fnv. */
static const uint64_t FNV_OFFSET = 0xcbf29ce484222325;
static const uint64_t FNV_PRIME = 0x100000001b3;

static int digit(char character)
{
    static const char digits[] = "0123456789abcdef";
    const char lower = character >= 'A' && character <= 'F' ? (char)(character - 'A' + 'a') : character;
    const char *at = lower != '\0' ? strchr(digits, lower) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

bool net_mac_is_unicast(const uint8_t mac[NET_MAC_SIZE])
{
    static const uint8_t zero[NET_MAC_SIZE];

    return (mac[0] & 1) == 0 && memcmp(mac, zero, sizeof(zero)) != 0;
}

bool net_mac_parse(const char *text, uint8_t mac[NET_MAC_SIZE])
{
    for (unsigned i = 0; i < NET_MAC_SIZE; i++) {
        const int high = digit(text[0]);
        const int low = high >= 0 ? digit(text[1]) : -1;
        if (low < 0 || text[2] != (i + 1 < NET_MAC_SIZE ? ':' : '\0'))
            return false;
        mac[i] = (uint8_t)(high << 4 | low);
        text += 3;
    }
    return net_mac_is_unicast(mac);
}

/* With the NUL byte at the end. */
static uint64_t hash(uint64_t value, const char *text)
{
    do
        value = (value ^ (uint8_t)*text) * FNV_PRIME;
    while (*text++ != '\0');
    return value;
}

void net_mac_derive(const char *machine, const char *device, uint8_t mac[NET_MAC_SIZE])
{
    uint64_t value = hash(FNV_OFFSET, machine);

    for (; *device != '\0'; device++)
        value = (value ^ (uint8_t)*device) * FNV_PRIME;
    value ^= value >> 48;
    for (unsigned i = 0; i < NET_MAC_SIZE; i++)
        mac[i] = (uint8_t)(value >> (40 - 8 * i));
    mac[0] = (uint8_t)((mac[0] & ~1u) | 2u);
}
