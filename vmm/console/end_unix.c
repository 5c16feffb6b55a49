/* A unix socket that we listen on, and its one client. */
#include "devices/host/unix_socket.h"
#include "vmm/console/char_end.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct unix_end {
    struct char_host host;
    /* constant */
    int listen_fd;
};

static struct unix_end *unix_of(struct char_host *host)
{
    return (struct unix_end *)(void *)host;
}

static void unix_init(struct char_host *host)
{
    unix_of(host)->listen_fd = -1;
}

/* ---- Clients ---- */

/* Nobody reads any more, but what it has sent may still be there for the guest. */
static void unix_hung_up(struct char_host *host)
{
    char_output_connect(&host->output, -1, CHAR_OUTPUT_SOCKET);
    char_host_drain(host, false);
    char_host_unwatch(host, &host->input_watch);
    host->input_watch.always_ready = true;
    event_loop_modify(host->loop, unix_of(host)->listen_fd, EPOLLIN);
}

static void on_client(void *context, uint32_t events)
{
    struct unix_end *end = context;
    struct char_host *host = &end->host;

    (void)events;
    int fd = accept4(end->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        log_line(host->log, LOG_LEVEL_WARN, host->name, "no more clients can connect: %s", strerror(errno));
        event_loop_modify(host->loop, end->listen_fd, 0); /* or it would be reported without end */
    }
    if (fd < 0)
        return;
    if (host->input_watch.fd >= 0)
        close(host->input_watch.fd);
    host->input_watch = (struct char_watch){.fd = fd};
    host->input_ended = false;
    char_input_clear(host);
    char_host_set_connected(host, false);
    char_output_connect(&host->output, fd, CHAR_OUTPUT_SOCKET);
    /* One at a time: the next one waits until this one has left. */
    event_loop_modify(host->loop, end->listen_fd, 0);
    char_host_update(host);
}

/* Clients come and go; the loop tells when this one has gone for good. */
static bool unix_survives_output_error(const struct char_host *host)
{
    (void)host;
    return true;
}

static bool unix_has_reader(const struct char_host *host)
{
    return host->input_watch.fd >= 0 && !host->input_watch.always_ready;
}

/* One that has left is there for the guest until all that it has sent has been taken. */
static bool unix_is_connected(const struct char_host *host)
{
    return unix_has_reader(host) || (host->input_watch.fd >= 0 && (!host->input_ended || host->input_used > 0));
}

/* ---- Its life ---- */

static int unix_open(struct char_host *host, const char *path, struct error *error)
{
    struct unix_end *end = unix_of(host);
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(error, ERROR_CONFIG, "%s: a socket's path has at most %zu bytes; use a shorter", path,
                         sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    host->input_kind = CHAR_INPUT_SOCKET;
    unix_socket_remove_stale(&address);
    end->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (end->listen_fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no socket: %s", strerror(errno));
    char *copy = strdup(path);
    if (copy == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (bind(end->listen_fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        char_host_path_failed(error, "the socket cannot be made", path);
        free(copy);
        return -1;
    }
    host->made_path = copy;
    return listen(end->listen_fd, 1) < 0 ? char_host_path_failed(error, "the socket cannot be listened on", path) : 0;
}

static int unix_attach(struct char_host *host, struct error *error)
{
    return char_host_watch_constant(host, unix_of(host)->listen_fd, on_client, error);
}

static void unix_close(struct char_host *host)
{
    char_host_release(host, unix_of(host)->listen_fd);
}

const struct char_end char_end_unix = {
    .size = sizeof(struct unix_end),
    .is_shared = true,
    .init = unix_init,
    .open = unix_open,
    .attach = unix_attach,
    .hung_up = unix_hung_up,
    .survives_output_error = unix_survives_output_error,
    .has_reader = unix_has_reader,
    .is_connected = unix_is_connected,
    .close = unix_close,
};
