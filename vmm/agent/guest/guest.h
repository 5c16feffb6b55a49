/*
 * The agent in the guest: a program of its own, static, which does what the host asks for through a port (protocol.h).
 * One process serves the port, and is started again if it ends; each job is a process, or a session of them.
 *
 * One thread. What the host sends is not trusted either: nothing that comes may end the agent or bloat it.
 */
#ifndef VMM_AGENT_GUEST_GUEST_H
#define VMM_AGENT_GUEST_GUEST_H

#include "vmm/agent/protocol.h"
#include "vmm/agent/queue.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a host that keeps to mux.h can have at once, and as many again that are about to end. */
enum { JOB_MAX = 64 };

/* ---- port.c ---- */

/* Opens the way to the host, nonblocking: the virtio port, else the second serial port. -1: there is none, now. */
int port_open(void);

/* ---- job.c ---- */

struct job {
    bool is_used;
    bool is_tty;
    uint32_t id;
    pid_t pid;
    /* What the process says of itself before it is the command; -1: it is. */
    int status_fd;
    /* A file's: gets a byte when all of the file has been passed on; -1: there is none, or it has had it. */
    int whole_fd;
    /* Our ends of its standard streams; with a terminal, standard input's is that for all. -1: closed. */
    int fds[AGENT_STREAM_COUNT];
    bool started_due;
    bool has_exited;
    bool is_cancelled;
    int wait_status;
    /* Of the output: what may still be sent; and whether its end is to be told. */
    uint32_t windows[AGENT_STREAM_COUNT];
    bool end_due[AGENT_STREAM_COUNT];
    /* Of the input: what the host may still send, and what it has not been given back. */
    uint32_t input_window;
    uint32_t credit_due;
    bool input_ended;
    struct agent_queue input;
    /* When it is killed, in milliseconds of the monotonic clock; 0: not. */
    int64_t kill_at;
    enum agent_failure failure;
    char failure_text[160];
};

/* Begins what the frame says. False, with the reason in *job: it could not. */
bool job_begin(struct job *job, const struct agent_frame *frame);

/* What the host says of it. */
void job_take(struct job *job, const struct agent_frame *frame);

/* Ends it soon, and by force if that does not do. */
void job_cancel(struct job *job, int64_t now);

/* What it waits for, appended to polls[*count]. has_room: its output can be sent. */
void job_poll(const struct job *job, bool has_room, struct pollfd *polls, size_t *count);

/* Moves what can be moved, and sends to the host what has room. Whether it is over, and has been released. */
bool job_work(struct job *job, struct agent_queue *out, int64_t now);

/* ---- file.c ---- */

/*
 * In a job's process: a file from standard input, or to standard output. The exit status. Whether the end of the input
 * is the file's, a byte on FILE_WHOLE_FD tells: an agent that is killed ends it, too.
 */
enum { FILE_WHOLE_FD = 3 };
int file_put(const char *path, mode_t mode);
int file_get(const char *path);

/* ---- serve.c ---- */

/* Serves the port until that is of no use any more. */
void serve(int port);

int64_t now_milliseconds(void);

/* ---- init.c ---- */

/* What process 1 does before anything else. */
void init_set_up(void);
/* NAME's value on the kernel's command line, or NULL; in a static buffer of its own for each call's name. */
const char *init_word(const char *name);
/* Powers off or resets at once. Returns if this process may not. */
void power(enum agent_power what);

#endif
