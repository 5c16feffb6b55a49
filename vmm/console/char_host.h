/*
 * The host's end of a character device, whatever device is in front of it: standard input and output, a pty, a file, a
 * unix socket, or nothing.
 *
 * Output is gathered, and written at the end of a line, or when there is much, or a few milliseconds after the first
 * byte; a device that writes never waits for a reader. A reader that is slow makes the device wait; where nobody reads
 * (no client of the socket; a pty that nobody has open, when it is full; a pipe whose reader has gone; a full disk)
 * output is dropped.
 *
 * Input is read as the guest takes it. Only on a terminal it is read always, so that the keys that are for us work
 * while the guest takes none; what the guest has not taken of 64 KiB is dropped then. The end of input is no event.
 *
 * Threads: char_host_write() and char_host_input_room() are for any, with the device's lock held; all others belong to
 * the loop's thread. Order of locks: the device's, then the output's.
 */
#ifndef VMM_CONSOLE_CHAR_HOST_H
#define VMM_CONSOLE_CHAR_HOST_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/config/config.h"
#include "vmm/console/terminal.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct char_host;

/* The device in front. All are called on the loop's thread, without locks. */
struct char_frontend {
    /* Input for the guest: how many bytes it takes. The rest is offered again after char_host_input_room(). */
    size_t (*receive)(void *context, const uint8_t *bytes, size_t len);
    /* After char_host_write() has not taken everything: there is room again. */
    void (*writable)(void *context);
    /*
     * Somebody is at this end now, or nobody any more, and what it has sent has been taken: a client of the socket or
     * the pty; all other kinds have somebody always. It is told of changes; nobody is there at first. NULL: it does not
     * matter.
     */
    void (*connected)(void *context, bool is_connected);
    /* The terminal has this size, in characters; told again when it changes. NULL: it does not matter. */
    void (*resized)(void *context, uint16_t columns, uint16_t rows);
    void *context;
};

struct char_host_options {
    enum config_serial_backend kind;
    /*
     * The file, which is emptied; the socket, where one that nobody listens on is replaced; a link to the pty, where
     * one to a pty that is gone is replaced, or NULL for none.
     */
    const char *path;
    /* The device, as in messages: "serial". Outlives the host's end. */
    const char *name;
};

/*
 * Opens everything that it will need. With stdio on a terminal, that becomes raw, and keys that are for us go to
 * commands, on the loop's thread; of these there is one in a process at the most. Makes the process ignore SIGPIPE and
 * SIGXFSZ. loop, log and what commands points to must outlive it. NULL with *error, and nothing left behind.
 */
struct char_host *char_host_create(const struct char_host_options *options, struct event_loop *loop, struct log *log,
                                   const struct console_commands *commands, struct error *error);

/* As char_host_finish(), and removes what was made in the file system. Before its device and loop go. Takes NULL. */
void char_host_destroy(struct char_host *host);

/* Connects it with its device, from which on the loop serves it. 0, or -1 with *error: then destroy it. */
int char_host_attach(struct char_host *host, const struct char_frontend *frontend, struct error *error);

/* Output: takes as many bytes as there is room for, and returns how many; if not all, writable() will be called. */
size_t char_host_write(struct char_host *host, const uint8_t *bytes, size_t len);

/* After receive() has not taken everything: the guest has room again. */
void char_host_input_room(struct char_host *host);

/* To be called on SIGWINCH: tells the device the terminal's size. Nothing, where this end is no terminal. */
void char_host_terminal_resized(struct char_host *host);

/*
 * Writes what is left, waiting for a reader a second at the most, and gives the terminal back. The guest has stopped,
 * and the loop too. Any number of calls.
 */
void char_host_finish(struct char_host *host);

#endif
