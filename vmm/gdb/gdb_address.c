#include "vmm/gdb/gdb_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static int parse_unix(const char *path, struct gdb_address *address, struct error *error)
{
    if (path[0] == '\0')
        return error_set(error, ERROR_CONFIG, "names no socket; write unix:PATH");
    if (strlen(path) >= sizeof(address->path))
        return error_set(error, ERROR_CONFIG, "a socket's path has at most %zu bytes; use a shorter",
                         sizeof(address->path) - 1);
    address->kind = GDB_ADDRESS_UNIX;
    address->is_loopback = true;
    strcpy(address->path, path);
    return 0;
}

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
    return value <= UINT16_MAX;
}

/* "ADDRESS" or "[ADDRESS]" */
static bool parse_host(const char *text, size_t length, struct gdb_address *address)
{
    const bool is_ipv6 = length >= 2 && text[0] == '[' && text[length - 1] == ']';
    char copy[INET6_ADDRSTRLEN];

    if (is_ipv6) {
        text++;
        length -= 2;
    }
    if (length >= sizeof(copy))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    address->kind = is_ipv6 ? GDB_ADDRESS_TCP6 : GDB_ADDRESS_TCP4;
    return inet_pton(is_ipv6 ? AF_INET6 : AF_INET, copy, address->host) == 1;
}

static bool is_loopback(const struct gdb_address *address)
{
    const struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;

    if (address->kind == GDB_ADDRESS_TCP4)
        return address->host[0] == 127;
    if (memcmp(address->host, mapped_prefix, sizeof(mapped_prefix)) == 0)
        return address->host[sizeof(mapped_prefix)] == 127;
    return memcmp(address->host, &loopback, sizeof(loopback)) == 0;
}

int gdb_address_parse(const char *text, struct gdb_address *address, struct error *error)
{
    struct gdb_address result = {0};

    if (strncmp(text, "unix:", 5) == 0) {
        if (parse_unix(text + 5, &result, error) < 0)
            return -1;
        *address = result;
        return 0;
    }
    const char *host = text + 4;
    const char *colon = strncmp(text, "tcp:", 4) == 0 ? strrchr(host, ':') : NULL;
    if (colon == NULL || !parse_host(host, (size_t)(colon - host), &result) || !parse_port(colon + 1, &result.port))
        return error_set(error, ERROR_CONFIG,
                         "is no address for gdb; write unix:PATH, or tcp:ADDRESS:PORT with figures, as in "
                         "'tcp:127.0.0.1:1234' or 'tcp:[::1]:1234' (port 0: any that is free)");
    result.is_loopback = is_loopback(&result);
    *address = result;
    return 0;
}

void gdb_address_format(const struct gdb_address *address, char text[GDB_ADDRESS_TEXT_SIZE])
{
    const bool is_ipv6 = address->kind == GDB_ADDRESS_TCP6;
    char host[INET6_ADDRSTRLEN] = "";

    if (address->kind == GDB_ADDRESS_UNIX) {
        (void)snprintf(text, GDB_ADDRESS_TEXT_SIZE, "unix:%s", address->path);
        return;
    }
    (void)inet_ntop(is_ipv6 ? AF_INET6 : AF_INET, address->host, host, sizeof(host));
    (void)snprintf(text, GDB_ADDRESS_TEXT_SIZE, is_ipv6 ? "tcp:[%s]:%u" : "tcp:%s:%u", host, address->port);
}
