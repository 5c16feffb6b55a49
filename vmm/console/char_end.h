/*
 * What the kinds of host's ends (end_*.c) have in common with char_host.c and char_input.c, and nobody else.
 */
#ifndef VMM_CONSOLE_CHAR_END_H
#define VMM_CONSOLE_CHAR_END_H

#include "vmm/console/char_host.h"
#include "vmm/console/char_output.h"

#include <sys/types.h>

enum { CHAR_INPUT_SIZE = 64 << 10 };

/* How input is read without waiting, whoever else reads it. */
enum char_input_kind { CHAR_INPUT_NONBLOCKING, CHAR_INPUT_SOCKET, CHAR_INPUT_POLLED };

/* A descriptor and what the loop waits for. */
struct char_watch {
    int fd;
    /* It never waits, and so the loop cannot wait for it: a file, or a client that has gone. */
    bool always_ready;
    bool in_loop;
    uint32_t events;
};

/* A kind of end. A function that is NULL has nothing to do; where there is a result, it says which then. */
struct char_end {
    /* Of the kind's struct, whose first member is a struct char_host. */
    size_t size;
    /* The input's descriptor is the output's too; output_watch is not used then. */
    bool is_shared;
    /* Fills in what is not 0 in a kind's struct that was not opened. */
    void (*init)(struct char_host *host);
    /* Opens input_watch and output_watch, and connects the output. 0, or -1 with *error; close() follows. */
    int (*open)(struct char_host *host, const char *path, struct error *error);
    /* Adds the kind's own descriptors to the loop. 0, or -1 with *error. */
    int (*attach)(struct char_host *host, struct error *error);
    /* Whether input is to be read now that could be. NULL: while the guest has taken all. */
    bool (*wants_input)(const struct char_host *host);
    /* A byte was read. NULL: it is the guest's. */
    void (*take_byte)(struct char_host *host, uint8_t byte);
    /* Reading failed; whether input may come later nevertheless. NULL: no. */
    bool (*survives_input_error)(struct char_host *host, int failure);
    /* Nobody is behind the input's descriptor any more. */
    void (*hung_up)(struct char_host *host);
    /* The output cannot be written; whether more comes of it elsewhere. NULL: the output has ended. */
    bool (*survives_output_error)(const struct char_host *host);
    /* char_host_wake() was called, maybe by a signal handler. */
    void (*woken)(struct char_host *host);
    /* Whether somebody may read what is left at the end. NULL: while there is an output. */
    bool (*has_reader)(const struct char_host *host);
    /* Whether somebody is there, for the front end. NULL: always. */
    bool (*is_connected)(const struct char_host *host);
    /* The terminal's size. NULL: there is none. */
    bool (*get_size)(const struct char_host *host, uint16_t *ret_columns, uint16_t *ret_rows);
    /* The end, when all that could be has been written. now_milliseconds() is not beyond deadline by much. */
    void (*finish)(struct char_host *host, int64_t deadline);
    /* Closes what is the kind's own. */
    void (*close)(struct char_host *host);
};

extern const struct char_end char_end_stdio;
extern const struct char_end char_end_pty;
extern const struct char_end char_end_file;
extern const struct char_end char_end_unix;
extern const struct char_end char_end_none;

/* The first member of each kind's struct. */
struct char_host {
    /* constant */
    const struct char_end *end;
    struct event_loop *loop;
    struct log *log;
    const char *name;
    struct console_commands commands;
    /* All NULL before it is attached. */
    struct char_frontend frontend;
    int timer_fd;
    /* Something is to be done: input_room, the output's wake_fd, a signal. */
    int wake_fd;
    /* Made by us, and removed at the end. */
    char *made_path;

    struct char_output output;

    /* owner: the loop's thread, as for all below */
    struct char_watch output_watch;
    bool output_blocked;
    bool output_warned;
    /* As the front end was told last. */
    bool is_connected;
    bool is_finished;
    struct char_watch input_watch;
    enum char_input_kind input_kind;
    bool input_ended;
    /* What the guest has not taken yet is input[input_start, input_start + input_used). */
    size_t input_start;
    size_t input_used;
    uint8_t input[CHAR_INPUT_SIZE];
};

/* ---- char_input.c ---- */

/* Keeps a byte for the guest, or drops it when it has left too many untaken. */
void char_input_keep(struct char_host *host, uint8_t byte);

/* Drops what the guest has not taken. */
void char_input_clear(struct char_host *host);

/* Whether there is any use in reading. */
bool char_input_is_wanted(const struct char_host *host);

/* Reads a piece; whether there may be more. */
bool char_input_read(struct char_host *host);

/* Gives the guest what it takes, and reads on where nothing else would have that done. */
void char_input_feed(struct char_host *host);

/* ---- char_host.c ---- */

/* Has the loop's thread look after everything soon. Any thread, and signal handlers. */
void char_host_wake(struct char_host *host);

/* Brings what is waited for, and what the front end knows, up to date: the last thing in each callback. */
void char_host_update(struct char_host *host);

/* Tells the front end, unless it knows. */
void char_host_set_connected(struct char_host *host, bool is_connected);

/* The loop does not wait for it any more. */
void char_host_unwatch(const struct char_host *host, struct char_watch *watch);

/* Writes what goes, and lets a guest that was refused send on. expired: the timer has. How many bytes are left. */
size_t char_host_drain(struct char_host *host, bool expired);

/* Adds a descriptor that is there all the time; -1 is none. 0, or -1 with *error. */
int char_host_watch_constant(struct char_host *host, int fd, event_callback *callback, struct error *error);

/* Closes a descriptor, which may be in the loop or not, or be -1. */
void char_host_release(const struct char_host *host, int fd);

/* "PATH: what: strerror(errno)", and a remedy; -1. */
int char_host_path_failed(struct error *error, const char *what, const char *path);

/* The clock that deadlines are of. */
int64_t char_host_now_milliseconds(void);

#endif
