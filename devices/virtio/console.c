#include "devices/virtio/console.h"

#include "devices/virtio/console_private.h"

#include <assert.h>
#include <endian.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE_SIZE = 4096,
    /* Output of one turn; a request may be of many GiB. */
    TURN_SIZE = 64 << 10,
};

static struct virtio_console *console_of(struct virtio_device *device)
{
    return (struct virtio_console *)(void *)device;
}

static unsigned receive_queue(unsigned port)
{
    return port == 0 ? 0 : 2 * port + 2;
}

static unsigned transmit_queue(unsigned port)
{
    return receive_queue(port) + 1;
}

static unsigned port_of_queue(unsigned queue)
{
    return queue < 2 ? 0 : (queue - 2) / 2;
}

static bool is_multiport(const struct virtio_console *console)
{
    return virtio_has_feature(&console->device, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* Whether the driver uses a port: one without MULTIPORT has but the first. */
static bool has_port(const struct virtio_console *console, unsigned port)
{
    return port == 0 || is_multiport(console);
}

/* Whether the guest takes input of a port. */
static bool is_open(const struct virtio_console *console, unsigned port)
{
    return is_multiport(console) ? console->state.ports[port].is_open : port == 0;
}

/* ---- Output ---- */

/* Offers the back end what is left of a request, up to *budget bytes. Whether all of it has gone. */
static bool send_chain(struct virtio_console *console, unsigned number, const struct virtq_chain *chain, size_t *budget)
{
    struct console_port *port = &console->ports[number];
    uint64_t *sent = &console->state.ports[number].sent;
    uint8_t piece[PIECE_SIZE];

    while (*sent < chain->readable_size) {
        const size_t wanted = *budget < sizeof(piece) ? *budget : sizeof(piece);
        const size_t size = virtq_read(chain, (size_t)*sent, piece, wanted);
        if (size == 0)
            return false;
        const size_t taken = port->backend.write(port->backend.context, piece, size);
        assert(taken <= size);
        *sent += taken;
        *budget -= taken;
        port->is_blocked = taken < size;
        if (port->is_blocked)
            return false;
    }
    *sent = 0;
    return true;
}

/* What the back end does not take, it will call for: until then the driver's notifications are of no use. */
static void serve_output(struct virtio_console *console, unsigned port)
{
    struct virtio_device *device = &console->device;
    const unsigned queue = transmit_queue(port);
    size_t budget = TURN_SIZE;

    for (unsigned i = 0; i < CONSOLE_QUEUE_SIZE && !console->ports[port].is_blocked; i++) {
        struct virtq_chain *chain = virtio_pop(device, queue);
        if (chain == NULL)
            break;
        if (chain->is_refused) {
            virtio_push(device, queue, chain, 0);
            virtio_fail(device, queue, "a buffer may not be read");
            return;
        }
        if (!send_chain(console, port, chain, &budget)) {
            virtq_unpop(virtio_queue(device, queue), chain);
            break;
        }
        virtio_push(device, queue, chain, 0);
    }
    virtio_flush(device, queue);
    if (!console->ports[port].is_blocked && virtq_enable_notifications(virtio_queue(device, queue)))
        virtio_notify(device, queue);
}

/* Of a console that is not set up, or is not working any more: lost if there is no room. virtio 1.2, 5.3.4. */
static void write_config(struct virtio_device *device, size_t offset, const void *bytes, size_t size)
{
    const struct virtio_console_backend *backend = &console_of(device)->ports[0].backend;

    (void)size;
    if (offset == offsetof(struct virtio_console_config, emerg_wr))
        (void)backend->write(backend->context, bytes, 1);
}

/* ---- Input ---- */

/* Fills the driver's buffers; how many bytes went there. */
static size_t fill_buffers(struct virtio_device *device, unsigned queue, const uint8_t *bytes, size_t len)
{
    size_t taken = 0;

    for (unsigned i = 0; i < CONSOLE_QUEUE_SIZE && taken < len; i++) {
        struct virtq_chain *chain = virtio_pop(device, queue);
        if (chain == NULL)
            break;
        const bool is_refused = chain->is_refused;
        const size_t written = is_refused ? 0 : virtq_write(chain, 0, bytes + taken, len - taken);
        taken += written;
        virtio_push(device, queue, chain, (uint32_t)written);
        if (is_refused) {
            virtio_fail(device, queue, "a buffer may not be written");
            break;
        }
    }
    virtio_flush(device, queue);
    return taken;
}

void console_ask_for_input(struct virtio_console *console, unsigned number)
{
    struct console_port *port = &console->ports[number];

    if (!port->input_waits)
        return;
    port->input_waits = false;
    if (port->backend.input_room != NULL)
        port->backend.input_room(port->backend.context);
}

void console_tell_opened(struct virtio_console *console, unsigned number)
{
    const struct virtio_console_backend *backend = &console->ports[number].backend;

    if (backend->opened != NULL)
        backend->opened(backend->context, console->state.ports[number].is_open);
}

size_t virtio_console_receive(struct virtio_console *console, unsigned port, const uint8_t *bytes, size_t len)
{
    struct virtio_device *device = &console->device;
    const unsigned queue = receive_queue(port);
    size_t taken = 0;

    assert(port < console->port_count);
    pthread_mutex_lock(&device->lock);
    const bool can_take = virtio_is_running(device) && is_open(console, port);
    if (can_take)
        taken = fill_buffers(device, queue, bytes, len);
    console->ports[port].input_waits = taken < len;
    if (can_take && taken < len && virtq_enable_notifications(virtio_queue(device, queue)))
        virtio_notify(device, queue);
    pthread_mutex_unlock(&device->lock);
    return taken;
}

/* ---- What else happens at the host's end ---- */

void virtio_console_writable(struct virtio_console *console, unsigned port)
{
    struct virtio_device *device = &console->device;

    assert(port < console->port_count);
    pthread_mutex_lock(&device->lock);
    console->ports[port].is_blocked = false;
    if (virtio_is_running(device) && has_port(console, port))
        serve_output(console, port);
    pthread_mutex_unlock(&device->lock);
}

void virtio_console_resize(struct virtio_console *console, unsigned port, uint16_t columns, uint16_t rows)
{
    struct console_port_state *state = &console->state.ports[port];

    assert(port < console->port_count);
    pthread_mutex_lock(&console->device.lock);
    if (state->columns != columns || state->rows != rows) {
        state->columns = columns;
        state->rows = rows;
        if (port == 0)
            virtio_config_changed(&console->device);
        if (console->ports[port].is_console)
            console_control_tell(console, port, CONSOLE_MESSAGE_RESIZE);
        console_control_send(console);
    }
    pthread_mutex_unlock(&console->device.lock);
}

void virtio_console_set_connected(struct virtio_console *console, unsigned port, bool is_connected)
{
    struct console_port_state *state = &console->state.ports[port];

    assert(port < console->port_count);
    pthread_mutex_lock(&console->device.lock);
    if (state->is_connected != is_connected) {
        state->is_connected = is_connected;
        /* One that has left and come back is told as both. */
        if (!is_connected)
            state->pending &= (uint8_t) ~(1u << CONSOLE_MESSAGE_OPEN);
        console_control_tell(console, port, is_connected ? CONSOLE_MESSAGE_OPEN : CONSOLE_MESSAGE_CLOSE);
        console_control_send(console);
    }
    pthread_mutex_unlock(&console->device.lock);
}

/* ---- The kind ---- */

static void read_config(struct virtio_device *device, void *config)
{
    const struct virtio_console *console = console_of(device);
    const struct virtio_console_config ours = {
        .cols = htole16(console->state.ports[0].columns),
        .rows = htole16(console->state.ports[0].rows),
        .max_nr_ports = htole32(console->port_count),
    };

    memcpy(config, &ours, sizeof(ours));
}

static bool stop(struct virtio_device *device)
{
    struct virtio_console *console = console_of(device);

    console->state.driver.is_device_ready = false;
    for (unsigned i = 0; i < console->port_count; i++) {
        const struct console_port_state old = console->state.ports[i];
        console->state.ports[i] =
            (struct console_port_state){.is_connected = old.is_connected, .columns = old.columns, .rows = old.rows};
        /* The back end is asked once more: what it has not taken was another driver's. */
        console->ports[i].is_blocked = false;
        if (old.is_open)
            console_tell_opened(console, i);
    }
    return true;
}

static void notified(struct virtio_device *device, unsigned queue)
{
    struct virtio_console *console = console_of(device);
    const unsigned port = port_of_queue(queue);

    if (queue > 1 && !is_multiport(console))
        return; /* there is but one pair */
    if (queue == CONSOLE_CONTROL_RECEIVE_QUEUE)
        console_control_send(console);
    else if (queue == CONSOLE_CONTROL_TRANSMIT_QUEUE)
        console_control_serve(console);
    else if (queue == receive_queue(port))
        console_ask_for_input(console, port);
    else
        serve_output(console, port);
}

static const struct state_field driver_fields[] = {
    STATE_FIELD(struct console_driver_state, is_device_ready),
};
STATE_DESCRIPTION(driver_description, struct console_driver_state, "virtio-console", 1, driver_fields);

static const struct state_field port_fields[] = {
    STATE_FIELD(struct console_port_state, sent),
    STATE_FIELD(struct console_port_state, columns),
    STATE_FIELD(struct console_port_state, rows),
    STATE_FIELD(struct console_port_state, is_added),
    STATE_FIELD(struct console_port_state, is_ready),
    STATE_FIELD(struct console_port_state, is_open),
    STATE_FIELD(struct console_port_state, is_connected),
    STATE_FIELD_UP_TO(struct console_port_state, pending, (1u << CONSOLE_MESSAGE_COUNT) - 1),
    STATE_UNUSED(struct console_port_state),
};
STATE_DESCRIPTION(port_description, struct console_port_state, "virtio-console port", 1, port_fields);

static void add_state(struct virtio_device *device, struct state_parts *parts)
{
    struct virtio_console *console = console_of(device);

    state_add(parts, &driver_description, &console->state.driver);
    for (unsigned i = 0; i < console->port_count; i++)
        state_add(parts, &port_description, &console->state.ports[i]);
}

/* Whoever has input may offer it; what the guest has waiting is sent when its queues are served, as after a start. */
static void restored(struct virtio_device *device)
{
    struct virtio_console *console = console_of(device);

    for (unsigned i = 0; i < console->port_count; i++) {
        console->ports[i].is_blocked = false;
        console_tell_opened(console, i);
        console_ask_for_input(console, i);
    }
}

static const struct virtio_ops ops = {
    .name = "console",
    .id = VIRTIO_ID_CONSOLE,
    .config_size = sizeof(struct virtio_console_config),
    .read_config = read_config,
    .write_config = write_config,
    .stop = stop,
    .notified = notified,
    .add_state = add_state,
    .restored = restored,
};

static int set_ports(struct virtio_console *console, const struct virtio_console_port_options *ports,
                     unsigned port_count, struct error *error)
{
    if (port_count == 0 || port_count > VIRTIO_CONSOLE_PORT_MAX)
        return error_set(error, ERROR_CONFIG, "a console has 1 to %u ports, not %u", VIRTIO_CONSOLE_PORT_MAX,
                         port_count);
    console->port_count = port_count;
    for (unsigned i = 0; i < port_count; i++) {
        const char *name = ports[i].name != NULL ? ports[i].name : "";
        if (strlen(name) > VIRTIO_CONSOLE_NAME_MAX)
            return error_set(error, ERROR_CONFIG, "%s: a port's name has at most %u bytes; use a shorter", name,
                             VIRTIO_CONSOLE_NAME_MAX);
        strcpy(console->ports[i].name, name);
        console->ports[i].is_console = ports[i].is_console;
        console->ports[i].backend = ports[i].backend;
    }
    return 0;
}

struct virtio_console *virtio_console_create(const struct virtio_environment *environment,
                                             const struct virtio_console_port_options *ports, unsigned port_count,
                                             struct error *error)
{
    const bool is_multiport = port_count > 1;
    const uint64_t features = 1ull << VIRTIO_CONSOLE_F_SIZE | 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE |
                              (uint64_t)is_multiport << VIRTIO_CONSOLE_F_MULTIPORT;
    const unsigned queue_count = is_multiport ? 2 * port_count + 2 : 2;
    struct virtio_console *console = calloc(1, sizeof(*console));

    if (console == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    if (set_ports(console, ports, port_count, error) == 0 &&
        virtio_init(&console->device, &ops, environment, features, queue_count, CONSOLE_QUEUE_SIZE, error) == 0)
        return console;
    free(console);
    return NULL;
}

void virtio_console_destroy(struct virtio_console *console)
{
    if (console == NULL)
        return;
    virtio_fini(&console->device);
    free(console);
}

struct virtio_device *virtio_console_device(struct virtio_console *console)
{
    return &console->device;
}
