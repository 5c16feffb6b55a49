/*
 * The signals with which a user, or whoever looks after a job, ends this process: SIGINT, SIGTERM and SIGHUP, as events
 * of a loop; not SIGHUP where it is ignored, as under nohup(1). SIGPIPE is ignored from then on: who reads no more is
 * found out by writing.
 */
#ifndef VMM_RUNNER_INTERRUPTS_H
#define VMM_RUNNER_INTERRUPTS_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"

struct interrupts;

/* The signal's number; how often one has come, this one included. On the loop's thread. */
typedef void interrupts_callback(void *context, int number, unsigned count);

/*
 * Blocks the signals, until they are released: whoever makes a process has to unblock them there. For a process with
 * one thread. NULL with *error.
 */
struct interrupts *interrupts_create(struct event_loop *loop, interrupts_callback *callback, void *context,
                                     struct error *error);

/* Can be read as soon as there is a signal that the callback has not been told of. */
int interrupts_fd(const struct interrupts *interrupts);

/* The loop has ended: from here on the signals end the process, as they do where nobody takes them. */
void interrupts_release(struct interrupts *interrupts);

/* Takes NULL. */
void interrupts_destroy(struct interrupts *interrupts);

#endif
