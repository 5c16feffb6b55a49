#include "vmm/gdb/gdb_listen.h"

#include "devices/host/unix_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

union any_address {
    struct sockaddr any;
    struct sockaddr_un local;
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
};

static socklen_t fill_address(const struct gdb_address *address, union any_address *socket_address)
{
    *socket_address = (union any_address){0};
    switch (address->kind) {
    case GDB_ADDRESS_UNIX:
        socket_address->local.sun_family = AF_UNIX;
        strcpy(socket_address->local.sun_path, address->path);
        return sizeof(socket_address->local);
    case GDB_ADDRESS_TCP4:
        socket_address->ipv4.sin_family = AF_INET;
        socket_address->ipv4.sin_port = htons(address->port);
        memcpy(&socket_address->ipv4.sin_addr, address->host, sizeof(socket_address->ipv4.sin_addr));
        return sizeof(socket_address->ipv4);
    case GDB_ADDRESS_TCP6:
        break;
    }
    socket_address->ipv6.sin6_family = AF_INET6;
    socket_address->ipv6.sin6_port = htons(address->port);
    memcpy(&socket_address->ipv6.sin6_addr, address->host, sizeof(socket_address->ipv6.sin6_addr));
    return sizeof(socket_address->ipv6);
}

/* Accepted sockets have these from the one that listens. */
static int set_options(int fd, const struct gdb_address *address)
{
    const int one = 1;

    /* bind(2) gives the socket's name the mode that the socket has: there is no moment when others could connect. */
    if (address->kind == GDB_ADDRESS_UNIX)
        return fchmod(fd, S_IRUSR | S_IWUSR);
    if (address->kind == GDB_ADDRESS_TCP6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
        return -1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0
               ? -1
               : setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int learn_port(int fd, struct gdb_address *address)
{
    union any_address bound;
    socklen_t size = sizeof(bound);

    if (address->kind == GDB_ADDRESS_UNIX)
        return 0;
    if (getsockname(fd, &bound.any, &size) < 0)
        return -1;
    address->port = ntohs(address->kind == GDB_ADDRESS_TCP4 ? bound.ipv4.sin_port : bound.ipv6.sin6_port);
    return 0;
}

static int listen_on(int fd, struct gdb_address *address, struct error *error)
{
    union any_address socket_address;
    const socklen_t size = fill_address(address, &socket_address);
    char text[GDB_ADDRESS_TEXT_SIZE];

    gdb_address_format(address, text);
    if (set_options(fd, address) < 0)
        return error_set(error, ERROR_HOST, "%s: the host refuses the socket's options: %s", text, strerror(errno));
    if (address->kind == GDB_ADDRESS_UNIX)
        unix_socket_remove_stale(&socket_address.local);
    if (bind(fd, &socket_address.any, size) < 0) {
        const int why = errno;
        return error_set(error, ERROR_CONFIG, "%s: gdb cannot be waited for there: %s%s", text, strerror(why),
                         why == EADDRINUSE ? "; end what uses it, or choose another" : "");
    }
    if (listen(fd, 1) == 0 && learn_port(fd, address) == 0)
        return 0;
    error_set(error, ERROR_HOST, "%s: gdb cannot be waited for there: %s", text, strerror(errno));
    if (address->kind == GDB_ADDRESS_UNIX)
        (void)unlink(address->path);
    return -1;
}

int gdb_listen(struct gdb_address *address, struct error *error)
{
    const int family = address->kind == GDB_ADDRESS_UNIX   ? AF_UNIX
                       : address->kind == GDB_ADDRESS_TCP4 ? AF_INET
                                                           : AF_INET6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no socket for gdb: %s", strerror(errno));
    if (listen_on(fd, address, error) == 0)
        return fd;
    close(fd);
    return -1;
}
