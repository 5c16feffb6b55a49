/*
 * Where quire exec and its like connect: a socket in the machine's event loop, and behind it the way to the guest's
 * agent (mux.h), whatever device that is. Several clients at once, each with a job of its own; more than there is room
 * for wait until others have left. A client that does not read is not listened to.
 *
 * Threads: agent_server_write(), agent_server_input_room() and agent_server_opened() are for any, with the device's
 * lock held (which comes before the server's own in the order of locks); all others belong to the loop's thread, or
 * come before it runs. System calls after creation: accept4, recvfrom, sendto, read, write, close, epoll_ctl, unlink.
 */
#ifndef VMM_AGENT_AGENT_SERVER_H
#define VMM_AGENT_AGENT_SERVER_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent_server;

/* The device in front. Both are called on the loop's thread, without locks. */
struct agent_port {
    /* Bytes for the guest: how many it takes. The rest is offered again after agent_server_input_room(). */
    size_t (*receive)(void *context, const uint8_t *bytes, size_t len);
    /* After agent_server_write() has not taken everything: there is room again. */
    void (*writable)(void *context);
    void *context;
};

/*
 * Listens at address, "unix:PATH", for this user alone; a socket that nobody listens on any more is replaced. log and
 * loop stay the caller's. NULL with *error.
 */
struct agent_server *agent_server_create(const char *address, struct event_loop *loop, const struct log *log,
                                         struct error *error);

/* Clients see the end of their connections. Before its loop goes. Takes NULL. */
void agent_server_destroy(struct agent_server *server);

/*
 * Connects it with its device, from which on the loop serves it. is_open: the guest's end cannot be told to be closed,
 * as a serial port's. 0, or -1 with *error: then destroy it.
 */
int agent_server_attach(struct agent_server *server, const struct agent_port *port, bool is_open, struct error *error);

/* From the guest: takes as many bytes as there is room for, and returns how many; if not all, writable() follows. */
size_t agent_server_write(struct agent_server *server, const uint8_t *bytes, size_t len);

/* After receive() has not taken everything: the guest has room again. */
void agent_server_input_room(struct agent_server *server);

/* Somebody in the guest has opened the port, or closed it. */
void agent_server_opened(struct agent_server *server, bool is_open);

/* The guest starts anew; its vCPUs are parked. Takes NULL. */
void agent_server_restarted(struct agent_server *server);

#endif
