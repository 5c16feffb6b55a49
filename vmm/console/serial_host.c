#include "vmm/console/serial_host.h"

#include "vmm/console/char_host.h"

#include <stdlib.h>

struct serial_host {
    struct char_host *end;
    /* NULL before it is attached. */
    struct serial *serial;
};

/* ---- struct serial_backend ---- */

static size_t backend_write(void *context, const uint8_t *bytes, size_t len)
{
    const struct serial_host *host = context;

    return char_host_write(host->end, bytes, len);
}

static void backend_input_room(void *context)
{
    const struct serial_host *host = context;

    char_host_input_room(host->end);
}

struct serial_backend serial_host_backend(struct serial_host *host)
{
    return (struct serial_backend){.write = backend_write, .input_room = backend_input_room, .ctx = host};
}

/* ---- struct char_frontend ---- */

static size_t frontend_receive(void *context, const uint8_t *bytes, size_t len)
{
    const struct serial_host *host = context;

    return serial_receive(host->serial, bytes, len);
}

static void frontend_writable(void *context)
{
    const struct serial_host *host = context;

    serial_backend_writable(host->serial);
}

int serial_host_attach(struct serial_host *host, struct serial *serial, struct error *error)
{
    const struct char_frontend frontend = {.receive = frontend_receive, .writable = frontend_writable, .context = host};

    host->serial = serial;
    return char_host_attach(host->end, &frontend, error);
}

/* ---- Its life ---- */

struct serial_host *serial_host_create(enum config_serial_backend kind, const char *path, struct event_loop *loop,
                                       struct log *log, const struct console_commands *commands, struct error *error)
{
    const struct char_host_options options = {.kind = kind, .path = path, .name = "serial"};
    struct serial_host *host = calloc(1, sizeof(*host));

    if (host == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    host->end = char_host_create(&options, loop, log, commands, error);
    if (host->end != NULL)
        return host;
    free(host);
    return NULL;
}

void serial_host_finish(struct serial_host *host)
{
    char_host_finish(host->end);
}

void serial_host_destroy(struct serial_host *host)
{
    if (host == NULL)
        return;
    char_host_destroy(host->end);
    free(host);
}
