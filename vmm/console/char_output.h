/*
 * The way out of a character device: a bounded ring in front of a descriptor that is written to without ever waiting,
 * whatever it is and whoever else has it.
 *
 * Bytes are gathered, and written at the end of a line, when there are many, or when the timer asks for it. A device's
 * thread adds and, mostly, writes; the loop's thread does the rest, when the output wakes it: it alone closes and
 * replaces the descriptor, and waits until that can be written to.
 *
 * SIGPIPE and SIGXFSZ are ignored by the process.
 */
#ifndef VMM_CONSOLE_CHAR_OUTPUT_H
#define VMM_CONSOLE_CHAR_OUTPUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHAR_OUTPUT_RING_SIZE (64u << 10)
/* So much is written at once, line or not. */
#define CHAR_OUTPUT_GATHER_SIZE 256u
/* A part of a line waits so long at the most. */
#define CHAR_OUTPUT_GATHER_NANOSECONDS 5000000

/* How a descriptor is written to. */
enum char_output_kind {
    /* Ours alone, with O_NONBLOCK; or a file, which does not make anybody wait. */
    CHAR_OUTPUT_NONBLOCKING,
    CHAR_OUTPUT_SOCKET,
    /* Shared with other processes, so that O_NONBLOCK would be theirs too: it is asked before each write. */
    CHAR_OUTPUT_POLLED,
};

struct char_output {
    /* constant; descriptors are not the output's own */
    int timer_fd;
    int wake_fd;

    pthread_mutex_t lock;
    /* Guarded by lock, as all below. fd -1: nobody is there, and what is written is dropped. */
    int fd;
    enum char_output_kind kind;
    /* With nobody to read it, what does not fit is dropped, and the guest goes on. */
    bool drops_when_full;
    /* The descriptor takes nothing now: the loop waits for it. */
    bool blocked;
    /* The guest was told that there is no room. */
    bool refused;
    bool timer_armed;
    /* The errno value of a write that failed, which the loop's thread has not seen yet. */
    int failure;
    size_t start;
    size_t used;
    uint8_t ring[CHAR_OUTPUT_RING_SIZE];
};

/*
 * timer_fd: a timerfd that is armed for what is gathered. wake_fd: an eventfd that is written to when the loop's thread
 * has to call char_output_drain(). Neither is closed here. Nobody is there at first.
 */
void char_output_init(struct char_output *output, int timer_fd, int wake_fd);

/* The descriptor stays open. */
void char_output_fini(struct char_output *output);

/* Any thread: adds bytes, and returns how many of them there was room for. If not for all, `refused` is set. */
size_t char_output_put(struct char_output *output, const uint8_t *bytes, size_t len);

/* What the loop's thread has to do after char_output_drain(). */
struct char_output_state {
    /* Wait until the descriptor can be written to (or do no longer). */
    bool blocked;
    /* There is room again for a guest that was refused: call the front end's writable(). Told once. */
    bool has_room;
    /* Why a write failed, and what was gathered has been dropped. Told once. */
    int failure;
    size_t used;
};

/* The loop's thread: writes what goes. expired: the timer has fired. */
struct char_output_state char_output_drain(struct char_output *output, bool expired);

/* The loop's thread: another descriptor, or -1 for nobody. What was gathered for the one before is dropped. */
void char_output_connect(struct char_output *output, int fd, enum char_output_kind kind);

/* The loop's thread: what happens when the ring is full. */
void char_output_set_drops_when_full(struct char_output *output, bool drops);

/*
 * A descriptor of our own for one that was inherited, which stays as it is, and how to write to it.
 * -1 with errno: it is not open.
 */
int char_output_open_inherited(int fd, enum char_output_kind *ret_kind);

#endif
