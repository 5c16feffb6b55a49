/*
 * A machine in a process of its own: `quire run FILE`, whose serial port is the process's standard streams.
 *
 * Threads: the loop's.
 */
#ifndef VMM_RUNNER_MACHINE_PROCESS_H
#define VMM_RUNNER_MACHINE_PROCESS_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>

struct machine_process;

struct machine_end {
    /*
     * What `quire run --status-fd` says: "power-off", "panic" and so on, or "refused" if it could not begin; "killed"
     * if it could not say anything, or ended otherwise than it had said, with the status of a host that failed.
     */
    char name[32];
    /* The exit status of `quire run`. */
    int status;
    /* One sentence without a full stop. */
    char text[640];
};

/* It is no guest's: the machine could not be made, was killed, or the host has failed it. */
bool machine_end_is_hosts(const struct machine_end *end);

struct machine_process_handlers {
    /* The guest has printed; the machine has said something itself. Good until it returns. */
    void (*console)(void *context, const char *bytes, size_t length);
    void (*log)(void *context, const char *bytes, size_t length);
    /*
     * The guest has crashed, and the machine waits to be looked at, once: machine_process_end() has how it would have
     * ended, and will have if it is killed now. Of its output some may be still to come. NULL: nobody wants to know.
     */
    void (*waits)(void *context);
    /* It has ended, and all of its output has come. It may be destroyed in it. */
    void (*ended)(void *context);
    void *context;
};

/* quire: the program; file: the machine's, whose serial.backend is "stdio". NULL with *error. */
struct machine_process *machine_process_start(struct event_loop *loop, const char *quire, const char *file,
                                              const struct machine_process_handlers *handlers, struct error *error);

/* Types on the console. -1 with *error: the guest does not read, and too much waits already. */
int machine_process_type(struct machine_process *process, const char *bytes, size_t length, struct error *error);

/* Ends it by force; ended() follows. */
void machine_process_kill(struct machine_process *process);

/* Of one that has ended, or waits. */
const struct machine_end *machine_process_end(const struct machine_process *process);

/* One that runs is killed; no handler is called any more. Takes NULL. */
void machine_process_destroy(struct machine_process *process);

#endif
