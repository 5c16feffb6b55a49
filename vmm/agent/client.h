/*
 * A job in a running machine's guest, from another process or thread: a command with its streams, a file to be put or
 * got, or the guest's power. One connection is one job.
 *
 * Nothing blocks: the caller waits for a descriptor, with poll(2) or a loop of its own, and calls agent_client_serve().
 * What is kept is bounded: output that the caller has not passed on (agent_client_passed_on()) stops at AGENT_WINDOW
 * for each stream, and the guest with it. What comes is not trusted: it comes from a guest.
 *
 * Threads: one at a time for each client.
 */
#ifndef VMM_AGENT_CLIENT_H
#define VMM_AGENT_CLIENT_H

#include "memory/support/error.h"
#include "vmm/agent/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agent_client;

enum agent_client_state {
    /* Nobody has answered in the guest yet: it may have to boot first. */
    AGENT_CLIENT_WAITING,
    /* The agent is there; the job has not begun, or is not known to have. */
    AGENT_CLIENT_READY,
    /* The command runs. */
    AGENT_CLIENT_RUNNING,
    /* It is over, as agent_client_outcome() says; there is nothing to wait for any more. */
    AGENT_CLIENT_OVER,
};

struct agent_outcome {
    enum {
        /* status is the exit status; or the signal that has ended it. */
        AGENT_OUTCOME_EXITED,
        AGENT_OUTCOME_SIGNALLED,
        /* It has not begun: failure and text say why. */
        AGENT_OUTCOME_FAILED,
        /* What has become of it cannot be known: text says why. */
        AGENT_OUTCOME_LOST,
    } kind;
    unsigned status;
    enum agent_failure failure;
    /* A sentence without its end, fit for a terminal. */
    char text[256];
};

struct agent_client_handlers {
    /*
     * Output of the job, in agent_client_serve(). The bytes are good until it returns; when they have been passed on,
     * agent_client_passed_on() is due.
     */
    void (*output)(void *context, enum agent_stream stream, const uint8_t *bytes, size_t len);
    void *context;
};

/*
 * Connects to "unix:PATH". NULL with *error, which names the socket and the remedy, and errno: EAGAIN if the machine
 * has as many connections as it takes in. Does not wait.
 */
struct agent_client *agent_client_connect(const char *address, const struct agent_client_handlers *handlers,
                                          struct error *error);

/* A job that runs is ended, by force if it does not end by itself. Takes NULL. */
void agent_client_destroy(struct agent_client *client);

/* What to wait for: POLLIN, and POLLOUT if there is something to be sent. */
int agent_client_fd(const struct agent_client *client);
short agent_client_events(const struct agent_client *client);

/* Receives and sends what there is. Calls the handlers. */
void agent_client_serve(struct agent_client *client);

/* Waits for milliseconds at the most, -1 for ever, and serves. For callers that have nothing else to wait for. */
void agent_client_wait(struct agent_client *client, int milliseconds);

enum agent_client_state agent_client_state(const struct agent_client *client);
/* Whether an agent has ever answered: one that is OVER without that has begun nothing in the guest. */
bool agent_client_was_answered(const struct agent_client *client);
/* Of one that is OVER. */
const struct agent_outcome *agent_client_outcome(const struct agent_client *client);

/*
 * Begins the job, once; it may be asked for before the agent is there. The argument is copied. 0, or -1 with *error: it
 * is too large.
 */
int agent_client_exec(struct agent_client *client, const struct agent_exec *exec, struct error *error);
/* The file's content is then written as standard input, with its end. */
int agent_client_put(struct agent_client *client, const struct agent_file *file, struct error *error);
/* It comes as standard output. What is wrong with either is said on standard error, with a status that is not 0. */
int agent_client_get(struct agent_client *client, const char *path, struct error *error);
/* It is RUNNING when the guest has begun to do it. */
int agent_client_power(struct agent_client *client, enum agent_power power, struct error *error);

/* Standard input: how many bytes there was room for; 0: wait, and serve. */
size_t agent_client_write(struct agent_client *client, const uint8_t *bytes, size_t len);
/* How many agent_client_write() would take. */
size_t agent_client_room(const struct agent_client *client);
void agent_client_end_input(struct agent_client *client);

/* Output has been passed on, and the guest may send as much again. */
void agent_client_passed_on(struct agent_client *client, enum agent_stream stream, size_t len);

/* In Linux's numbers. Several of them before the agent is there are as good as none: they are dropped. */
void agent_client_signal(struct agent_client *client, unsigned number);
void agent_client_resize(struct agent_client *client, uint16_t rows, uint16_t columns);

#endif
