/*
 * Lines for a stream whose reader may be slow, or may not read at all: a pager, a terminal that is held up. They are
 * kept for it, and nobody waits; unless there are too many of them.
 *
 * Threads: the loop's.
 */
#ifndef VMM_RUNNER_OUTLET_H
#define VMM_RUNNER_OUTLET_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"

#include <stdbool.h>
#include <stdio.h>

/* Who has so much kept is held up until it is less. */
#define OUTLET_MAX (1u << 20)

struct outlet;

/* fd is the caller's. urgent_fd: as soon as it can be read, nobody is held up; -1: there is none. NULL with *error. */
struct outlet *outlet_create(struct event_loop *loop, int fd, int urgent_fd, struct error *error);

/* Where lines are printed to; outlet_push() is due then. */
FILE *outlet_stream(struct outlet *outlet);
void outlet_push(struct outlet *outlet);

/* From here on nobody is held up, however much is kept. */
void outlet_hurry(struct outlet *outlet);

/* Waits until all is written, or cannot be. */
void outlet_finish(struct outlet *outlet);

/* Something could not be written, and nothing will be. */
bool outlet_has_failed(const struct outlet *outlet);

/* What cannot be written at once is lost. Takes NULL. */
void outlet_destroy(struct outlet *outlet);

#endif
