/*
 * virtio-console: consoles and named channels between the guest and back ends of the host. virtio 1.2, 5.3.
 *
 * A driver of several ports (VIRTIO_CONSOLE_F_MULTIPORT) is told of all of them, their names and what happens at the
 * host's ends. Any other has port 0 alone, as a console that is always open.
 *
 * Nothing is kept here: what the guest has no buffers for, or may not have because its end is closed, stays with the
 * back end, and what the back end does not take stays in the guest's memory, neither copied nor pinned.
 */
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H

#include "devices/virtio/virtio.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pair of queues for each, and one for control: virtio 1.2, 5.3.2. */
#define VIRTIO_CONSOLE_PORT_MAX ((VIRTIO_QUEUE_MAX - 2) / 2)
/* Bytes of a name. */
#define VIRTIO_CONSOLE_NAME_MAX 63u

struct virtio_console;

/*
 * What is at the other end of a port. All functions are called with the device's lock held (which comes before the
 * back end's own in the order of locks), on any thread, so they may not call virtio_console_* themselves.
 */
struct virtio_console_backend {
    /*
     * Takes as many bytes as it has room for now, and returns how many; never blocks. If it took fewer than len, it
     * calls virtio_console_writable() when it has room again; it may be asked before that, after the driver has reset
     * the device and by its emergency writes.
     */
    size_t (*write)(void *context, const uint8_t *bytes, size_t len);
    /*
     * After virtio_console_receive() has not taken everything: the rest may be offered. It may come before the caller
     * of that has looked at the result. NULL if there is no input.
     */
    void (*input_room)(void *context);
    /* The guest has opened its end of the port, or it is closed: told again now and then. NULL: it does not matter. */
    void (*opened)(void *context, bool is_open);
    void *context;
};

struct virtio_console_port_options {
    /* For /dev/virtio-ports/NAME: UTF-8, without a slash. It is copied. NULL: none. */
    const char *name;
    /* hvcN; otherwise a channel. Port 0 is to be a console, as a driver of one port takes it for that. */
    bool is_console;
    struct virtio_console_backend backend;
};

/*
 * A device with port_count ports, 1 to VIRTIO_CONSOLE_PORT_MAX. The options are copied. At first nobody is at the
 * host's ends, and consoles have no size. Before the loop runs. NULL with *error.
 */
struct virtio_console *virtio_console_create(const struct virtio_environment *environment,
                                             const struct virtio_console_port_options *ports, unsigned port_count,
                                             struct error *error);

/* As virtio_fini(). Nobody may use it any more, on either side. Takes NULL. */
void virtio_console_destroy(struct virtio_console *console);

struct virtio_device *virtio_console_device(struct virtio_console *console);

/*
 * ---- For back ends ----
 *
 * Any host thread that holds no lock of the back end's. port is less than port_count.
 */

/*
 * Input for the guest. Returns how many bytes were given to it, from the first: none while its end of the port is
 * closed. The caller keeps the rest and offers it again after input_room().
 */
size_t virtio_console_receive(struct virtio_console *console, unsigned port, const uint8_t *bytes, size_t len);

/* The back end has room again: takes up sending where it stopped. */
void virtio_console_writable(struct virtio_console *console, unsigned port);

/* The console's size in characters; 0: unknown. The guest is told if it is another than before. */
void virtio_console_resize(struct virtio_console *console, unsigned port, uint16_t columns, uint16_t rows);

/*
 * Somebody is at the host's end now, or nobody any more. The guest is told; what it writes goes to the back end
 * nevertheless, as Linux's consoles do not ask.
 */
void virtio_console_set_connected(struct virtio_console *console, unsigned port, bool is_connected);

#endif
