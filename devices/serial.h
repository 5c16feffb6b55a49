/*
 * A 16550A serial port. The line has no speed: what the guest sends is on its way at once, as long as the back end has
 * room for it, and what the back end sends is there at once, as long as the receive FIFO has room for it.
 *
 * Flow control, so that nothing that the host sends is lost when a guest opens its port and clears the FIFOs: a driver
 * that raises DTR or RTS takes input while RTS is up; one that uses neither takes it while its receive interrupt is
 * enabled. In loopback mode nobody takes input.
 */
#ifndef DEVICES_SERIAL_H
#define DEVICES_SERIAL_H

#include "devices/device.h"

#include <stddef.h>
#include <stdint.h>

/* What a port takes on the bus, in bytes. */
#define SERIAL_PORT_COUNT 8u

struct serial;

/*
 * What is at the other end of the line. Both functions are called on any vCPU thread with the device's lock held (which
 * comes before the back end's own in the order of locks), so they may not call serial_* themselves.
 */
struct serial_backend {
    /*
     * Takes as many bytes as it has room for now, and returns how many; never blocks. If it took fewer than len, it
     * calls serial_backend_writable() from another thread when it has room again; it may be asked before that only
     * after the guest has cleared the transmit FIFO, and after a state has been restored.
     */
    size_t (*write)(void *ctx, const uint8_t *bytes, size_t len);
    /*
     * After serial_receive() has not taken everything: the guest has emptied the FIFO, so the rest may be offered. It
     * may come before the thread that called serial_receive() has looked at the result. NULL if there is no input.
     */
    void (*input_room)(void *ctx);
    void *ctx;
};

/* The tables are copied. NULL: no memory. */
struct serial *serial_create(const struct serial_backend *backend, const struct irq_line *irq);

/* Nobody may use it any more, on either side. Takes NULL. */
void serial_destroy(struct serial *serial);

struct device *serial_device(struct serial *serial);

/*
 * Input for the guest. Returns how many bytes the guest has room for, from the first; the caller keeps the rest and
 * offers it again after input_room(). Any host thread that holds no lock of the back end's.
 */
size_t serial_receive(struct serial *serial, const uint8_t *bytes, size_t len);

/* The back end has room again: takes up sending where it stopped. As serial_receive(). */
void serial_backend_writable(struct serial *serial);

#endif
