/*
 * An event loop: descriptors that are waited for, on one thread, and what to do when they are ready.
 * Events are level-triggered: what a callback leaves is reported again.
 */
#ifndef DEVICES_HOST_EVENT_LOOP_H
#define DEVICES_HOST_EVENT_LOOP_H

#include "memory/support/error.h"

#include <stdint.h>

struct event_loop;

/*
 * events: the EPOLL* bits that are set, EPOLLERR and EPOLLHUP among them whatever was asked for. It may add, change and
 * remove any descriptor, its own too, and close it then.
 */
typedef void event_callback(void *context, uint32_t events);

/* NULL with *error. */
struct event_loop *event_loop_create(struct error *error);

/* Descriptors are not the loop's to close. Takes NULL. */
void event_loop_destroy(struct event_loop *loop);

/*
 * Waits for events (EPOLLIN, EPOLLOUT, or 0 for none) of fd, which is in the loop once at the most. EPOLLEXCLUSIVE can
 * be among them where several loops wait for one descriptor, and one of them is to be woken. 0, or -1 with
 * *error and errno: EPERM for what cannot be waited for because it is always ready, as regular files are.
 *
 * This and the next two: for the loop's thread, or before it runs.
 */
int event_loop_add(struct event_loop *loop, int fd, uint32_t events, event_callback *callback, void *context,
                   struct error *error);

/* Changes what is waited for. fd is in the loop. */
void event_loop_modify(struct event_loop *loop, int fd, uint32_t events);

/* Its callback is not called any more. To be called before fd is closed; one that is not in the loop is ignored. */
void event_loop_remove(struct event_loop *loop, int fd);

/* Serves events until event_loop_stop(). It can be called again then. 0, or -1 with *error. */
int event_loop_run(struct event_loop *loop, struct error *error);

/*
 * Makes event_loop_run() return after the callback that is running; if it does not run, its next call returns at once.
 * Any thread, and signal handlers.
 */
void event_loop_stop(struct event_loop *loop);

#endif
