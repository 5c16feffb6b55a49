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

/*
 * Something that is done before each wait, on the loop's thread: for libraries that have to be asked what they wait
 * for. Plain data, the user's.
 */
struct event_hook {
    /* For how many milliseconds the loop may wait at the most; -1: for as long as it takes. May not remove hooks. */
    int (*prepare)(void *context);
    void *context;
    /* the loop's */
    struct event_hook *next;
};

/* hook stays where it is until it is removed. For the loop's thread, or while it does not run. */
void event_loop_add_hook(struct event_loop *loop, struct event_hook *hook);
/* One that is not in the loop is ignored. */
void event_loop_remove_hook(struct event_loop *loop, struct event_hook *hook);

/* Serves events until event_loop_stop(). It can be called again then. 0, or -1 with *error. */
int event_loop_run(struct event_loop *loop, struct error *error);

/*
 * For a loop within somebody else's: the descriptor can be read from when there is something to serve, which
 * event_loop_serve() does without waiting. Hooks are not asked. For the loop's thread.
 */
int event_loop_fd(const struct event_loop *loop);
void event_loop_serve(struct event_loop *loop);

/*
 * Makes event_loop_run() return after the callback that is running; if it does not run, its next call returns at once.
 * Any thread, and signal handlers.
 */
void event_loop_stop(struct event_loop *loop);

#endif
