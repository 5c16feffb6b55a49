/*
 * Unix sockets that have a name in the file system.
 */
#ifndef DEVICES_HOST_UNIX_SOCKET_H
#define DEVICES_HOST_UNIX_SOCKET_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <sys/un.h>

/*
 * Before a socket is bound to this address: one that nobody listens on any more is in the way, and is removed. Anything
 * else stays where it is. Does not wait; any thread.
 */
void unix_socket_remove_stale(const struct sockaddr_un *address);

/*
 * A nonblocking socket that listens at "unix:PATH", for this user alone, the caller's to close; its name is the
 * caller's to remove. A stale one is replaced. -1 with *error, in which what ("the agent's socket") is said of it.
 */
int unix_socket_listen(const char *address, const char *what, int backlog, struct error *error);

/*
 * A socket that is connected to a machine at "unix:PATH"; key is what its file calls the address. -1 with *error, and
 * errno. waits: it is a blocking one, and a machine that has as many connections as it takes in is waited for.
 * Otherwise it is nonblocking, and for such a machine errno is EAGAIN.
 */
int unix_socket_connect(const char *address, const char *key, bool waits, struct error *error);

#endif
