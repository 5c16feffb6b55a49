/*
 * A child process with its pipes in an event loop. It dies with this process, and is in a process group of its own, so
 * that a terminal's Ctrl-C does not reach it.
 *
 * Threads: the loop's.
 */
#ifndef VMM_RUNNER_CHILD_H
#define VMM_RUNNER_CHILD_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>

/* What the child writes to, by descriptor: standard output and error, and one for a status. */
enum child_stream { CHILD_STDOUT, CHILD_STDERR, CHILD_STATUS, CHILD_STREAM_COUNT };

/* The child's descriptor of CHILD_STATUS. */
#define CHILD_STATUS_FD 3
/* Bytes that are kept for a child that does not read its standard input. */
#define CHILD_INPUT_MAX (2u << 20)

struct child_handlers {
    /* Bytes have come; good until it returns. */
    void (*output)(void *context, enum child_stream stream, const char *bytes, size_t length);
    /* It has ended, and all that it wrote has come. The child may be destroyed in it. */
    void (*ended)(void *context);
    void *context;
};

struct child;

/*
 * Starts a program, an absolute path or one in PATH. has_input: its standard input is a pipe, otherwise it is empty.
 * NULL with *error.
 */
struct child *child_start(struct event_loop *loop, const char *const argv[], bool has_input,
                          const struct child_handlers *handlers, struct error *error);

/* Queues bytes for standard input. -1 with *error: it does not read, and too much waits already. */
int child_write(struct child *child, const char *bytes, size_t length, struct error *error);

/* Ends it by force; ended() follows. */
void child_kill(struct child *child);

/* Of one that has ended: its exit status, or 128 and the number of the signal that has ended it. */
int child_status(const struct child *child);

/* One that runs is killed, and waited for; no handler is called any more. Takes NULL. */
void child_destroy(struct child *child);

#endif
