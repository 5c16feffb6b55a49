/*
 * For tests of vmm/cli/exec_session.c: it runs in a child, with the ends of pipes as its standard streams, and the test
 * is the machine, and the agent in its guest, at the other end of the socket.
 *
 * What is waited for comes sooner or later, whatever time the host takes; what does not come fails the test.
 */
#ifndef TESTS_EXEC_RIG_H
#define TESTS_EXEC_RIG_H

#include "vmm/agent/protocol.h"
#include "vmm/cli/exec_session.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As its folder is, from exec_rig_make() to exec_rig_remove(); what a test does not change is as written here. */
struct exec_rig {
    /* "true", however long it takes */
    struct exec_options options;
    /* NULL */
    const struct exec_beside *beside;
    /* What the child does before all else; NULL. */
    void (*prepare)(void);
    /* What the child has as its standard streams; -1: a pipe. Closed here when it has them. */
    int streams[AGENT_STREAM_COUNT];
    /* Our ends of the pipes, or -1. */
    int ends[AGENT_STREAM_COUNT];
    pid_t child;
    int listener;
    /* Our end of the connection. */
    int machine;
    /* What the client may still send us of the input, and what we may send it of the output. */
    uint32_t windows[AGENT_STREAM_COUNT];
};

extern struct exec_rig rig;

/* There is a socket, and no child. */
void exec_rig_make(void);
void exec_rig_remove(void);

void exec_rig_listen(void);
void exec_rig_stop_listening(void);
/* The socket has as many connections as it takes in; and they are taken out of it. */
void exec_rig_fill_socket(void);
void exec_rig_empty_socket(void);

/* Starts the child; and takes its connection. */
void exec_rig_start(void);
void exec_rig_accept(void);

/*
 * Starts it with a guest in which the command runs. *request, which may be NULL, is what was asked for; its strings are
 * good until more is heard.
 */
void exec_rig_start_command(struct agent_exec *request);
/* The same for a child that has been started already. */
void exec_rig_take_command(struct agent_exec *request);
/* Signals go to the command from here on. Its standard error is a pipe. */
void exec_rig_wait_until_it_runs(void);

/* ---- The machine ---- */

void exec_rig_say(uint8_t type, uint8_t stream, const void *payload, size_t size);
void exec_rig_say_number(uint8_t type, uint8_t stream, uint32_t number);
void exec_rig_say_exit(enum agent_ending ending, uint32_t value);
void exec_rig_say_failure(enum agent_failure why, const char *text);
void exec_rig_hang_up(void);

/* The next frame from the client that is no credit, which is taken; until the next call. NULL: it has hung up. */
const struct agent_frame *exec_rig_hear(void);
/* The same, of this type. */
const struct agent_frame *exec_rig_expect(uint8_t type);
/* Input, which is appended to bytes[*used], as far as the client may send it. */
void exec_rig_expect_input(uint8_t *bytes, size_t size, size_t *used);
void exec_rig_expect_signal(int number);
/* Credit that has come already. */
void exec_rig_take_credit(void);
/* Nothing more comes of it but the end. */
void exec_rig_expect_hangup(void);

/* ---- The child's streams ---- */

/* Waits for what poll(2) calls events. */
void exec_rig_wait(int fd, short events);
void exec_rig_write(int fd, const void *bytes, size_t size);
/* At least one byte. */
size_t exec_rig_read_some(int fd, void *bytes, size_t size);
void exec_rig_read(int fd, void *bytes, size_t size);
void exec_rig_expect_text(int fd, const char *text);
/* Its end, with nothing before it. */
void exec_rig_expect_end_of(int fd);
/* No more is written to the child's input. */
void exec_rig_close(enum agent_stream stream);

/* ---- Its end ---- */

/* Waits for the child. */
void exec_rig_wait_for_end(void);
/* The same, to which exec_session_run() has said so. */
void exec_rig_expect_end(int kind, int status);
/* All that that has said. */
const struct exec_end *exec_rig_said(void);

#endif
