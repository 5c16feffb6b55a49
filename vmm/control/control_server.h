/*
 * The control socket: its clients, each a connection, several at once, in the machine's event loop. What they say is
 * control_protocol.h's. More clients than there is room for wait until others have left. One that does not read what it
 * is answered is not listened to, so what is kept for each is bounded by one answer.
 *
 * For the loop's thread, or before it runs. System calls after creation: accept4, recvmsg, sendto, read, write, close,
 * epoll_ctl, unlink, and those of dumps.
 */
#ifndef VMM_CONTROL_CONTROL_SERVER_H
#define VMM_CONTROL_CONTROL_SERVER_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/control/control_target.h"

/* Clients that are served at once. */
enum { CONTROL_CLIENT_MAX = 8 };

struct control_server;

/* Listens at "unix:PATH", for this user alone. All outlive it. NULL with *error. */
struct control_server *control_server_create(const char *address, const struct control_target *target,
                                             struct event_loop *loop, const struct log *log, struct error *error);

/* A dump that is under way is aborted. Takes NULL. */
void control_server_destroy(struct control_server *server);

#endif
