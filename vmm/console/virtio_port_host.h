/*
 * The host's side of a virtio-console port: a host's end (char_host.h, which says how output and input are treated)
 * with a port in front. A terminal's size is the port's, and clients of a socket or a pty are told to the guest.
 *
 * Threads: the back end's functions run on any thread, with the device's lock held; all others belong to the loop's
 * thread.
 */
#ifndef VMM_CONSOLE_VIRTIO_PORT_HOST_H
#define VMM_CONSOLE_VIRTIO_PORT_HOST_H

#include "devices/virtio/console.h"
#include "vmm/console/char_host.h"

struct virtio_port_host;

/* As char_host_create(). */
struct virtio_port_host *virtio_port_host_create(const struct char_host_options *options, struct event_loop *loop,
                                                 struct log *log, const struct console_commands *commands,
                                                 struct error *error);

/* As char_host_destroy(). */
void virtio_port_host_destroy(struct virtio_port_host *host);

/* For virtio_console_create(). */
struct virtio_console_backend virtio_port_host_backend(struct virtio_port_host *host);

/* Connects it with its port, from which on the loop serves it. 0, or -1 with *error: then destroy it. */
int virtio_port_host_attach(struct virtio_port_host *host, struct virtio_console *console, unsigned port,
                            struct error *error);

/* As char_host_terminal_resized(). */
void virtio_port_host_terminal_resized(struct virtio_port_host *host);

/* As char_host_finish(). */
void virtio_port_host_finish(struct virtio_port_host *host);

#endif
