/*
 * A thread of a device's own, with an event loop.
 */
#ifndef DEVICES_HOST_WORKER_H
#define DEVICES_HOST_WORKER_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"

struct worker;

/*
 * What the thread does first: gives up what it does not need. 0, or -1 with *error, and the machine cannot go on:
 * failed is called then, on the thread.
 */
struct worker_hooks {
    int (*enter)(void *context, const char *thread_name, struct error *error);
    void (*failed)(void *context, const struct error *error);
    void *context;
};

/* name: the thread's, cut at 15 bytes. It does not run yet. NULL with *error. */
struct worker *worker_create(const char *name, const struct worker_hooks *hooks, struct error *error);

/* The loop. What it waits for is added before worker_start(), or on the thread. */
struct event_loop *worker_loop(struct worker *worker);

/* Starts the thread. Signals that are blocked for the caller are for it. 0, or -1 with *error. */
int worker_start(struct worker *worker, struct error *error);

/* Ends the thread and waits for that; the loop is there until worker_destroy(). Takes NULL, and one that was not
 * started. */
void worker_stop(struct worker *worker);

/* The same, and nothing is left. Takes NULL. */
void worker_destroy(struct worker *worker);

#endif
