/*
 * Unix sockets that have a name in the file system.
 */
#ifndef DEVICES_HOST_UNIX_SOCKET_H
#define DEVICES_HOST_UNIX_SOCKET_H

#include <sys/un.h>

/*
 * Before a socket is bound to this address: one that nobody listens on any more is in the way, and is removed. Anything
 * else stays where it is. Does not wait; any thread.
 */
void unix_socket_remove_stale(const struct sockaddr_un *address);

#endif
