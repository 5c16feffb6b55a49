/*
 * virtio-console: what console.c and console_control.c have in common, and nobody else. All functions are called with
 * the device's lock held.
 */
#ifndef DEVICES_VIRTIO_CONSOLE_PRIVATE_H
#define DEVICES_VIRTIO_CONSOLE_PRIVATE_H

#include "devices/virtio/console.h"

enum {
    /* virtio 1.2, 5.3.2: port 0's pair, the control pair, and then the pairs of ports 1 and on */
    CONSOLE_CONTROL_RECEIVE_QUEUE = 2,
    CONSOLE_CONTROL_TRANSMIT_QUEUE = 3,
    CONSOLE_QUEUE_SIZE = 64,
};

/* What the driver is to be told of a port, in this order. */
enum console_message {
    CONSOLE_MESSAGE_ADD,
    CONSOLE_MESSAGE_CONSOLE,
    CONSOLE_MESSAGE_NAME,
    CONSOLE_MESSAGE_RESIZE,
    CONSOLE_MESSAGE_CLOSE,
    CONSOLE_MESSAGE_OPEN,
    CONSOLE_MESSAGE_COUNT
};

struct console_port_state {
    /* Bytes of the next request of the transmit queue that the back end has taken already. */
    uint64_t sent;
    uint16_t columns;
    uint16_t rows;
    /* PORT_ADD has been sent: the driver knows it. */
    bool is_added;
    bool is_ready;
    /* The guest's end. */
    bool is_open;
    /* The host's end. */
    bool is_connected;
    /* Bits: 1 << enum console_message. Something that happens again takes no more room. */
    uint8_t pending;
    uint8_t unused[7];
};

struct console_driver_state {
    /* The driver takes control messages. */
    bool is_device_ready;
};

/* What is saved. Plain data. */
struct console_state {
    struct console_driver_state driver;
    struct console_port_state ports[VIRTIO_CONSOLE_PORT_MAX];
};

/* What belongs to the host, and outlives drivers. */
struct console_port {
    char name[VIRTIO_CONSOLE_NAME_MAX + 1];
    bool is_console;
    struct virtio_console_backend backend;
    /* The back end has taken less than it was offered, and has not called since. */
    bool is_blocked;
    /* The guest has taken less than it was offered, and the back end has not been called since. */
    bool input_waits;
};

struct virtio_console {
    /* the first: see virtio.h */
    struct virtio_device device;
    unsigned port_count;
    struct console_port ports[VIRTIO_CONSOLE_PORT_MAX];
    struct console_state state;
};

/* Has the back end offer again what the guest has not taken. */
void console_ask_for_input(struct virtio_console *console, unsigned port);

/* Tells the back end whether the guest's end is open. */
void console_tell_opened(struct virtio_console *console, unsigned port);

/* ---- console_control.c ---- */

/* The next console_control_send() is to tell of it. Before the driver is ready for the port nothing: it hears then. */
void console_control_tell(struct virtio_console *console, unsigned port, enum console_message what);

/* Sends what is pending, as far as there are buffers; the rest when the driver gives more. */
void console_control_send(struct virtio_console *console);

/* Does what the driver says. */
void console_control_serve(struct virtio_console *console);

#endif
