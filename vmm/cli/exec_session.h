/*
 * The middle of quire exec: a command in a guest with this process's standard streams, signals and terminal, and beside
 * it whatever else the caller has to see to.
 */
#ifndef VMM_CLI_EXEC_SESSION_H
#define VMM_CLI_EXEC_SESSION_H

#include "memory/support/error.h"
#include "vmm/agent/client.h"
#include "vmm/cli/exec.h"

#include <stdbool.h>

/* What turn() may return beside a time. */
#define EXEC_STOP (-2)

/* What the caller has to see to meanwhile; its functions are called in exec_session_run(), on its thread. */
struct exec_beside {
    /* Can be read from when there is something to serve, as poll(2) has it. */
    int fd;
    void (*serve)(void *context);
    /* Called before each wait: for how many milliseconds that may last at the most, -1 for ever; or EXEC_STOP. */
    int (*turn)(void *context, enum agent_client_state state);
    void *context;
};

struct exec_end {
    enum {
        /* status is the command's, or 128 and the number of the signal that has ended it. */
        EXEC_ENDED,
        /* It could not be run, as text says; status is a shell's, 126 or 127. */
        EXEC_NOT_RUN,
        /* What has become of it is not known; text says why. */
        EXEC_LOST,
        /* No agent within options->wait. */
        EXEC_NO_ANSWER,
        /* options->timeout is over; the command is ended. */
        EXEC_OUT_OF_TIME,
        /* A signal has ended this: status is 128 and its number. */
        EXEC_SIGNALLED,
        /* turn() has wanted so. */
        EXEC_STOPPED,
        /* There is no machine, or the host has failed: error. */
        EXEC_FAILED,
    } kind;
    int status;
    /* A sentence without its end, fit for a terminal. */
    char text[256];
    struct error error;
};

/*
 * Runs it to its end, with the terminal given back. With beside, which may be NULL, the machine may still have to make
 * the socket: it is waited for. For a process that has one thread and ends after it: the signals INT, TERM, HUP, QUIT,
 * WINCH and CONT stay blocked, and PIPE ignored.
 */
void exec_session_run(const struct exec_options *options, const struct exec_beside *beside, struct exec_end *end);

#endif
