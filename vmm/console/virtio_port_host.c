#include "vmm/console/virtio_port_host.h"

#include <stdlib.h>

struct virtio_port_host {
    struct char_host *end;
    /* NULL before it is attached. */
    struct virtio_console *console;
    unsigned port;
};

/* ---- struct virtio_console_backend ---- */

static size_t backend_write(void *context, const uint8_t *bytes, size_t len)
{
    const struct virtio_port_host *host = context;

    return char_host_write(host->end, bytes, len);
}

static void backend_input_room(void *context)
{
    const struct virtio_port_host *host = context;

    char_host_input_room(host->end);
}

struct virtio_console_backend virtio_port_host_backend(struct virtio_port_host *host)
{
    return (struct virtio_console_backend){.write = backend_write, .input_room = backend_input_room, .context = host};
}

/* ---- struct char_frontend ---- */

static size_t frontend_receive(void *context, const uint8_t *bytes, size_t len)
{
    const struct virtio_port_host *host = context;

    return virtio_console_receive(host->console, host->port, bytes, len);
}

static void frontend_writable(void *context)
{
    const struct virtio_port_host *host = context;

    virtio_console_writable(host->console, host->port);
}

static void frontend_connected(void *context, bool is_connected)
{
    const struct virtio_port_host *host = context;

    virtio_console_set_connected(host->console, host->port, is_connected);
}

static void frontend_resized(void *context, uint16_t columns, uint16_t rows)
{
    const struct virtio_port_host *host = context;

    virtio_console_resize(host->console, host->port, columns, rows);
}

int virtio_port_host_attach(struct virtio_port_host *host, struct virtio_console *console, unsigned port,
                            struct error *error)
{
    const struct char_frontend frontend = {
        .receive = frontend_receive,
        .writable = frontend_writable,
        .connected = frontend_connected,
        .resized = frontend_resized,
        .context = host,
    };

    host->console = console;
    host->port = port;
    return char_host_attach(host->end, &frontend, error);
}

void virtio_port_host_terminal_resized(struct virtio_port_host *host)
{
    char_host_terminal_resized(host->end);
}

/* ---- Its life ---- */

struct virtio_port_host *virtio_port_host_create(const struct char_host_options *options, struct event_loop *loop,
                                                 struct log *log, const struct console_commands *commands,
                                                 struct error *error)
{
    struct virtio_port_host *host = calloc(1, sizeof(*host));

    if (host == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    host->end = char_host_create(options, loop, log, commands, error);
    if (host->end != NULL)
        return host;
    free(host);
    return NULL;
}

void virtio_port_host_finish(struct virtio_port_host *host)
{
    char_host_finish(host->end);
}

void virtio_port_host_destroy(struct virtio_port_host *host)
{
    if (host == NULL)
        return;
    char_host_destroy(host->end);
    free(host);
}
