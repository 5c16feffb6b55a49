/*
 * The host's side of the serial port: a host's end (char_host.h, which says how output and input are treated) with a
 * 16550A in front.
 *
 * Threads: the back end's functions run on vCPU threads, with the UART's lock held; all others belong to the loop's
 * thread.
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

/* As char_host_create(); path is its options' path. */
struct serial_host *serial_host_create(enum config_serial_backend kind, const char *path, struct event_loop *loop,
                                       struct log *log, const struct console_commands *commands, struct error *error);

/* As char_host_destroy(). */
void serial_host_destroy(struct serial_host *host);

/* For serial_create(). */
struct serial_backend serial_host_backend(struct serial_host *host);

/* Connects it with its UART, from which on the loop serves it. 0, or -1 with *error: then destroy it. */
int serial_host_attach(struct serial_host *host, struct serial *serial, struct error *error);

/* As char_host_finish(). */
void serial_host_finish(struct serial_host *host);

#endif
