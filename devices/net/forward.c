#include "devices/net/user.h"

#include <arpa/inet.h>
#include <string.h>

static bool parse_port(const char *text, uint16_t *ret_port)
{
    unsigned long value = 0;

    if (text[0] == '\0' || strlen(text) > 5)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (unsigned long)(*text - '0');
    }
    *ret_port = (uint16_t)value;
    return value >= 1 && value <= UINT16_MAX;
}

/* "[[ADDRESS]:]PORT"; an address that is not there is left as it is. */
static bool parse_end(const char *text, size_t length, struct in_addr *address, uint16_t *ret_port)
{
    char copy[sizeof("255.255.255.255:65535")];

    if (length >= sizeof(copy))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *colon = strchr(copy, ':');
    if (colon == NULL)
        return parse_port(copy, ret_port);
    *colon = '\0';
    return (colon == copy || inet_pton(AF_INET, copy, address) == 1) && parse_port(colon + 1, ret_port);
}

int net_forward_parse(const char *text, struct net_forward *forward, struct error *error)
{
    const char *host = text + 4;
    struct net_forward result = {.host_address.s_addr = htonl(INADDR_LOOPBACK)};

    result.is_udp = strncmp(text, "udp:", 4) == 0;
    if (!result.is_udp && strncmp(text, "tcp:", 4) != 0)
        return error_set(error, ERROR_CONFIG, "the forward '%s' begins neither with 'tcp:' nor with 'udp:'", text);
    const char *dash = strchr(host, '-');
    if (dash == NULL || !parse_end(host, (size_t)(dash - host), &result.host_address, &result.host_port) ||
        !parse_end(dash + 1, strlen(dash + 1), &result.guest_address, &result.guest_port))
        return error_set(error, ERROR_CONFIG,
                         "the forward '%s' is not of the form PROTOCOL:[[ADDRESS]:]PORT-[[ADDRESS]:]PORT, as in "
                         "'tcp:127.0.0.1:2222-:22'",
                         text);
    *forward = result;
    return 0;
}
