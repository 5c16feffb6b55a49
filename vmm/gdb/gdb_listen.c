#include "vmm/gdb/gdb_listen.h"

#include "devices/host/unix_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union any_address {
    struct sockaddr any;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

static socklen_t fill_address(const struct gdb_address *address, union any_address *socket_address)
{
    *socket_address = (union any_address){0};
    if (address->kind == GDB_ADDRESS_TCP4) {
        socket_address->ipv4.sin_family = AF_INET;
        socket_address->ipv4.sin_port = htons(address->port);
        memcpy(&socket_address->ipv4.sin_addr, address->host, sizeof(socket_address->ipv4.sin_addr));
        return sizeof(socket_address->ipv4);
    }
    socket_address->ipv6.sin6_family = AF_INET6;
    socket_address->ipv6.sin6_port = htons(address->port);
    memcpy(&socket_address->ipv6.sin6_addr, address->host, sizeof(socket_address->ipv6.sin6_addr));
    return sizeof(socket_address->ipv6);
}

/* Accepted sockets have these from the one that listens. */
static int set_options(int fd, bool is_ipv6)
{
    const int one = 1;

    if (is_ipv6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
        return -1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0
               ? -1
               : setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int learn_port(int fd, struct gdb_address *address)
{
    union any_address bound;
    socklen_t size = sizeof(bound);

    if (getsockname(fd, &bound.any, &size) < 0)
        return -1;
    address->port = ntohs(address->kind == GDB_ADDRESS_TCP4 ? bound.ipv4.sin_port : bound.ipv6.sin6_port);
    return 0;
}

static int listen_on(int fd, struct gdb_address *address, const char *text, struct error *error)
{
    union any_address socket_address;
    const socklen_t size = fill_address(address, &socket_address);

    if (set_options(fd, address->kind == GDB_ADDRESS_TCP6) < 0)
        return error_set(error, ERROR_HOST, "%s: the host refuses the socket's options: %s", text, strerror(errno));
    if (bind(fd, &socket_address.any, size) < 0) {
        const int why = errno;
        return error_set(error, ERROR_CONFIG, "%s: gdb cannot be waited for there: %s%s", text, strerror(why),
                         why == EADDRINUSE ? "; end what uses it, or choose another" : "; choose another address");
    }
    if (listen(fd, 1) == 0 && learn_port(fd, address) == 0)
        return 0;
    return error_set(error, ERROR_HOST, "%s: gdb cannot be waited for there: %s", text, strerror(errno));
}

int gdb_listen(struct gdb_address *address, struct error *error)
{
    char text[GDB_ADDRESS_TEXT_SIZE];

    gdb_address_format(address, text);
    if (address->kind == GDB_ADDRESS_UNIX)
        return unix_socket_listen(text, "gdb's socket", 1, error);
    const int fd =
        socket(address->kind == GDB_ADDRESS_TCP4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no socket for gdb: %s", strerror(errno));
    if (listen_on(fd, address, text, error) == 0)
        return fd;
    close(fd);
    return -1;
}
