/*
 * Where gdb connects: a socket in the machine's event loop, with one client at a time. The next one waits until the
 * first has left. A client that does not read what it is told is not listened to; it holds a bounded amount of memory.
 *
 * Threads: all for the event loop's thread, or before it runs. System calls after creation: accept4, recvfrom, sendto,
 * close, epoll_ctl, unlink.
 */
#ifndef VMM_GDB_GDB_SERVER_H
#define VMM_GDB_GDB_SERVER_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/debug/target.h"
#include "vmm/gdb/gdb_address.h"

#include <stdbool.h>

struct gdb_server;

struct gdb_server_options {
    struct gdb_address address;
};

/*
 * Listens, and sets the target's stopped and server. NULL with *error. target, loop and log stay the caller's, and stay
 * until the server has been destroyed; target->vcpu_count is final. Logs the address at the info level.
 */
struct gdb_server *gdb_server_create(const struct gdb_server_options *options, struct debug_target *target,
                                     struct event_loop *loop, const struct log *log, struct error *error);

/* Ends the connection without a call to the target, and removes the socket's name. Takes NULL. */
void gdb_server_destroy(struct gdb_server *server);

/* Where it listens, with the port that it has got. */
const struct gdb_address *gdb_server_address(const struct gdb_server *server);

bool gdb_server_has_client(const struct gdb_server *server);

/*
 * The machine has ended for good, with this exit status, or with minus a signal's number. The client is told if it
 * waits for the guest, and its connection ends; there is no other, and the target is not called any more.
 */
void gdb_server_exited(struct gdb_server *server, int status);

#endif
