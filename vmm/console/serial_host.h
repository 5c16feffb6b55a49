/*
 * The host's side of the serial port: standard input and output, a pty, a file, a unix socket, or nothing.
 *
 * Output is gathered, and written at the end of a line, or when there is much, or a few milliseconds after the first
 * byte; a vCPU that writes never waits for a reader. A reader that is slow makes the port look busy to the guest; where
 * nobody reads (no client of the socket; a pty that nobody has open, when it is full; a pipe whose reader has gone; a
 * full disk) output is dropped.
 *
 * Input is read as the guest takes it. Only on a terminal it is read always, so that the keys that are for us work
 * while the guest takes none; what the guest has not taken of 64 KiB is dropped then. The end of input is no event.
 *
 * Threads: the back end's functions run on vCPU threads, with the UART's lock held; all others belong to the loop's
 * thread. Order of locks: the UART's, then the output's.
 */
#ifndef VMM_CONSOLE_SERIAL_HOST_H
#define VMM_CONSOLE_SERIAL_HOST_H

#include "devices/host/event_loop.h"
#include "devices/serial.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/config/config.h"
#include "vmm/console/terminal.h"

struct serial_host;

/*
 * Opens everything that it will need. path: the file, which is emptied; the socket, where one that nobody listens on is
 * replaced; a link to the pty, where one to a pty that is gone is replaced, or NULL for none. With stdio on a terminal,
 * that becomes raw, and keys that are for us go to commands, on the loop's thread. Makes the process ignore SIGPIPE and
 * SIGXFSZ. loop, log and what commands points to must outlive it. NULL with *error, and nothing left behind.
 */
struct serial_host *serial_host_create(enum config_serial_backend kind, const char *path, struct event_loop *loop,
                                       struct log *log, const struct console_commands *commands, struct error *error);

/* As serial_host_finish(), and removes what was made in the file system. Before its UART and loop go. Takes NULL. */
void serial_host_destroy(struct serial_host *host);

/* For serial_create(). */
struct serial_backend serial_host_backend(struct serial_host *host);

/* Connects it with its UART, from which on the loop serves it. 0, or -1 with *error: then destroy it. */
int serial_host_attach(struct serial_host *host, struct serial *serial, struct error *error);

/*
 * Writes what is left, waiting for a reader a second at the most, and gives the terminal back. The guest has stopped,
 * and the loop too. Any number of calls.
 */
void serial_host_finish(struct serial_host *host);

#endif
