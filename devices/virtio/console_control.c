#include "devices/virtio/console_private.h"

#include <endian.h>
#include <linux/virtio_console.h>
#include <string.h>

/* ---- Control messages to the driver ---- */

struct control_message {
    struct virtio_console_control header;
    uint8_t rest[VIRTIO_CONSOLE_NAME_MAX];
};

/* Returns the size. virtio 1.2, 5.3.6.2. */
static size_t make_message(const struct virtio_console *console, unsigned port, enum console_message what,
                           struct control_message *message)
{
    static const uint16_t events[CONSOLE_MESSAGE_COUNT] = {
        [CONSOLE_MESSAGE_ADD] = VIRTIO_CONSOLE_PORT_ADD,    [CONSOLE_MESSAGE_CONSOLE] = VIRTIO_CONSOLE_CONSOLE_PORT,
        [CONSOLE_MESSAGE_NAME] = VIRTIO_CONSOLE_PORT_NAME,  [CONSOLE_MESSAGE_RESIZE] = VIRTIO_CONSOLE_RESIZE,
        [CONSOLE_MESSAGE_CLOSE] = VIRTIO_CONSOLE_PORT_OPEN, [CONSOLE_MESSAGE_OPEN] = VIRTIO_CONSOLE_PORT_OPEN,
    };
    const struct console_port_state *state = &console->state.ports[port];
    const uint16_t size[2] = {htole16(state->columns), htole16(state->rows)};
    const size_t name_size = strlen(console->ports[port].name);

    message->header = (struct virtio_console_control){
        .id = htole32(port), .event = htole16(events[what]), .value = htole16(what != CONSOLE_MESSAGE_CLOSE)};
    if (what == CONSOLE_MESSAGE_NAME) {
        memcpy(message->rest, console->ports[port].name, name_size);
        return sizeof(message->header) + name_size;
    }
    /* Columns first, as the standard has it; for long Linux's driver has had the rows first. */
    if (what == CONSOLE_MESSAGE_RESIZE) {
        memcpy(message->rest, size, sizeof(size));
        return sizeof(message->header) + sizeof(size);
    }
    return sizeof(message->header);
}

/* false: the driver has no buffer for it, now or at all. */
static bool send_message(struct virtio_console *console, unsigned port, enum console_message what)
{
    struct virtio_device *device = &console->device;
    struct control_message message;

    struct virtq_chain *chain = virtio_pop(device, CONSOLE_CONTROL_RECEIVE_QUEUE);
    if (chain == NULL)
        return false;
    const size_t size = make_message(console, port, what, &message);
    const bool fits = !chain->is_refused && chain->writable_size >= size;
    const char *why = chain->is_refused ? "a buffer may not be written" : "a buffer is too small for a message";
    virtio_push(device, CONSOLE_CONTROL_RECEIVE_QUEUE, chain,
                fits ? (uint32_t)virtq_write(chain, 0, &message, size) : 0);
    if (!fits)
        virtio_fail(device, CONSOLE_CONTROL_RECEIVE_QUEUE, why);
    return fits;
}

static bool send_messages_of(struct virtio_console *console, unsigned port)
{
    struct console_port_state *state = &console->state.ports[port];

    for (unsigned what = 0; what < CONSOLE_MESSAGE_COUNT; what++) {
        if (!(state->pending >> what & 1))
            continue;
        if (!send_message(console, port, what))
            return false;
        state->pending &= (uint8_t) ~(1u << what);
        state->is_added |= what == CONSOLE_MESSAGE_ADD;
    }
    return true;
}

void console_control_send(struct virtio_console *console)
{
    struct virtio_device *device = &console->device;
    bool is_done = true;

    if (!virtio_is_running(device))
        return;
    for (unsigned port = 0; port < console->port_count && is_done; port++)
        is_done = send_messages_of(console, port);
    virtio_flush(device, CONSOLE_CONTROL_RECEIVE_QUEUE);
    if (!is_done && virtq_enable_notifications(virtio_queue(device, CONSOLE_CONTROL_RECEIVE_QUEUE)))
        virtio_notify(device, CONSOLE_CONTROL_RECEIVE_QUEUE);
}

void console_control_tell(struct virtio_console *console, unsigned port, enum console_message what)
{
    if (console->state.ports[port].is_ready)
        console->state.ports[port].pending |= (uint8_t)(1u << what);
}

/* ---- Control messages of the driver ---- */

static void device_ready(struct virtio_console *console, bool is_good)
{
    if (!is_good || console->state.driver.is_device_ready)
        return;
    console->state.driver.is_device_ready = true;
    for (unsigned port = 0; port < console->port_count; port++)
        console->state.ports[port].pending |= 1u << CONSOLE_MESSAGE_ADD;
}

static void port_ready(struct virtio_console *console, unsigned port, bool is_good)
{
    struct console_port_state *state = &console->state.ports[port];

    if (!is_good || state->is_ready)
        return;
    state->is_ready = true;
    if (console->ports[port].is_console)
        console_control_tell(console, port, CONSOLE_MESSAGE_CONSOLE);
    if (console->ports[port].name[0] != '\0')
        console_control_tell(console, port, CONSOLE_MESSAGE_NAME);
    if (console->ports[port].is_console && (state->columns != 0 || state->rows != 0))
        console_control_tell(console, port, CONSOLE_MESSAGE_RESIZE);
    if (state->is_connected)
        console_control_tell(console, port, CONSOLE_MESSAGE_OPEN);
}

static void handle_message(struct virtio_console *console, const struct virtio_console_control *message)
{
    const uint32_t port = le32toh(message->id);
    const bool value = le16toh(message->value) != 0;
    const uint16_t event = le16toh(message->event);

    if (event == VIRTIO_CONSOLE_DEVICE_READY) {
        device_ready(console, value);
        return;
    }
    if (port >= console->port_count || !console->state.ports[port].is_added) {
        log_guest_misbehaviour(console->device.log, &console->device.limit, console->device.name,
                               "a control message is about port %u, which the driver was not told of", port);
        return;
    }
    if (event == VIRTIO_CONSOLE_PORT_READY)
        port_ready(console, port, value);
    if (event == VIRTIO_CONSOLE_PORT_OPEN) {
        console->state.ports[port].is_open = value;
        console_tell_opened(console, port);
        if (value)
            console_ask_for_input(console, port);
    }
}

void console_control_serve(struct virtio_console *console)
{
    struct virtio_device *device = &console->device;
    struct virtio_console_control message;

    /* As many as there are at once: a driver without end gets its turn again, as all others do. */
    for (unsigned i = 0; i < CONSOLE_QUEUE_SIZE; i++) {
        struct virtq_chain *chain = virtio_pop(device, CONSOLE_CONTROL_TRANSMIT_QUEUE);
        if (chain == NULL)
            break;
        const bool is_refused = chain->is_refused;
        const size_t size = virtq_read(chain, 0, &message, sizeof(message));
        virtio_push(device, CONSOLE_CONTROL_TRANSMIT_QUEUE, chain, 0);
        if (is_refused || size < sizeof(message)) {
            virtio_fail(device, CONSOLE_CONTROL_TRANSMIT_QUEUE,
                        is_refused ? "a buffer may not be read" : "a control message is too short");
            return;
        }
        handle_message(console, &message);
    }
    virtio_flush(device, CONSOLE_CONTROL_TRANSMIT_QUEUE);
    console_control_send(console);
    if (virtq_enable_notifications(virtio_queue(device, CONSOLE_CONTROL_TRANSMIT_QUEUE)))
        virtio_notify(device, CONSOLE_CONTROL_TRANSMIT_QUEUE);
}
