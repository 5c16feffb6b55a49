#include "vmm/gdb/gdb_server.h"

#include "vmm/gdb/gdb_listen.h"
#include "vmm/gdb/gdb_packet.h"
#include "vmm/gdb/gdb_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The largest packet comes with one call. */
enum { INPUT_SIZE = GDB_PACKET_SIZE + 1024 };

struct gdb_server {
    struct gdb_address address;
    struct event_loop *loop;
    const struct log *log;
    struct debug_target *target;
    struct gdb_protocol *protocol;
    int listen_fd;
    bool has_path;
    /* -1: no client */
    int client_fd;
    /* What the loop waits for. */
    uint32_t client_events;
    bool is_serving;
    bool has_exited;
    /* What the client has sent and the protocol has not taken; the first input_seen bytes have been offered. */
    size_t input_used;
    size_t input_seen;
    uint8_t input[INPUT_SIZE];
};

/* ---- The client ---- */

static void close_client(struct gdb_server *server)
{
    event_loop_remove(server->loop, server->client_fd);
    close(server->client_fd);
    server->client_fd = -1;
    server->input_used = 0;
    server->input_seen = 0;
    log_line(server->log, LOG_LEVEL_INFO, "gdb", "the client has left");
    gdb_protocol_disconnect(server->protocol);
    if (!server->has_exited)
        event_loop_modify(server->loop, server->listen_fd, EPOLLIN);
}

/* False: nobody is there any more. */
static bool send_output(struct gdb_server *server)
{
    size_t size;
    const uint8_t *bytes = gdb_protocol_output(server->protocol, &size);

    while (size > 0) {
        const ssize_t sent = send(server->client_fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN;
        gdb_protocol_sent(server->protocol, (size_t)sent);
        bytes = gdb_protocol_output(server->protocol, &size);
    }
    return true;
}

static bool has_output(const struct gdb_server *server)
{
    size_t size;

    (void)gdb_protocol_output(server->protocol, &size);
    return size > 0;
}

/* False: nothing of it was wanted now. */
static bool offer_input(struct gdb_server *server)
{
    const size_t taken = gdb_protocol_take(server->protocol, server->input, server->input_used, server->input_seen);

    server->input_used -= taken;
    memmove(server->input, server->input + taken, server->input_used);
    server->input_seen = server->input_used;
    return taken > 0;
}

static void update_events(struct gdb_server *server)
{
    uint32_t events = EPOLLRDHUP;

    /* A socket that takes bytes is ready at once: so work goes on, after other descriptors have had their turn. */
    if (has_output(server) || gdb_protocol_has_work(server->protocol))
        events |= EPOLLOUT;
    else if (server->input_used < sizeof(server->input))
        events |= EPOLLIN;
    if (events != server->client_events)
        event_loop_modify(server->loop, server->client_fd, events);
    server->client_events = events;
}

/* Serves what can be served until the client has to read, send more or wait for the guest. */
static void serve(struct gdb_server *server)
{
    bool has_worked = false;

    /* The target may stop while it is told to go on; and a client may have left by then. */
    if (server->is_serving || server->client_fd < 0)
        return;
    server->is_serving = true;
    bool is_alive = send_output(server);
    while (is_alive && !has_output(server) && !gdb_protocol_is_over(server->protocol)) {
        if (gdb_protocol_has_work(server->protocol)) {
            if (has_worked)
                break;
            has_worked = true;
            gdb_protocol_work(server->protocol);
        } else if (!offer_input(server)) {
            break;
        }
        is_alive = send_output(server);
    }
    server->is_serving = false;
    if (!is_alive || (gdb_protocol_is_over(server->protocol) && !has_output(server)))
        close_client(server);
    else
        update_events(server);
}

/* False: there is no more to come. */
static bool receive(struct gdb_server *server)
{
    const ssize_t got = recv(server->client_fd, server->input + server->input_used,
                             sizeof(server->input) - server->input_used, MSG_DONTWAIT);

    if (got > 0)
        server->input_used += (size_t)got;
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static void on_client(void *context, uint32_t events)
{
    struct gdb_server *server = context;

    if (events & EPOLLIN) {
        if (!receive(server)) {
            close_client(server);
            return;
        }
    } else if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
        /* What it has sent before, and was not read, matters no more than replies that nobody reads. */
        close_client(server);
        return;
    }
    serve(server);
}

static void on_connection(void *context, uint32_t events)
{
    struct gdb_server *server = context;
    struct error error;

    (void)events;
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        log_line(server->log, LOG_LEVEL_WARN, "gdb", "no client can connect any more: %s", strerror(errno));
        event_loop_modify(server->loop, server->listen_fd, 0); /* or it would be reported without end */
    }
    if (fd < 0)
        return;
    server->client_events = EPOLLIN | EPOLLRDHUP;
    if (event_loop_add(server->loop, fd, server->client_events, on_client, server, &error) < 0) {
        log_line(server->log, LOG_LEVEL_WARN, "gdb", "a client is turned away: %s", error.text);
        close(fd);
        return;
    }
    server->client_fd = fd;
    event_loop_modify(server->loop, server->listen_fd, 0);
    log_line(server->log, LOG_LEVEL_INFO, "gdb", "a client has connected");
    gdb_protocol_connect(server->protocol);
    serve(server);
}

static void on_stopped(void *context, const struct debug_stop *stop)
{
    struct gdb_server *server = context;

    gdb_protocol_stopped(server->protocol, stop);
    serve(server);
}

/* ---- Its life ---- */

static int start(struct gdb_server *server, struct error *error)
{
    char text[GDB_ADDRESS_TEXT_SIZE];

    server->protocol = gdb_protocol_create(server->target, server->log, error);
    if (server->protocol == NULL)
        return -1;
    server->listen_fd = gdb_listen(&server->address, error);
    if (server->listen_fd < 0)
        return -1;
    server->has_path = server->address.kind == GDB_ADDRESS_UNIX;
    if (event_loop_add(server->loop, server->listen_fd, EPOLLIN, on_connection, server, error) < 0)
        return -1;
    server->target->stopped = on_stopped;
    server->target->server = server;
    gdb_address_format(&server->address, text);
    log_line(server->log, LOG_LEVEL_INFO, "gdb", "a client can connect at %s", text);
    return 0;
}

struct gdb_server *gdb_server_create(const struct gdb_server_options *options, struct debug_target *target,
                                     struct event_loop *loop, const struct log *log, struct error *error)
{
    struct gdb_server *server = calloc(1, sizeof(*server));

    if (server == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    server->address = options->address;
    server->target = target;
    server->loop = loop;
    server->log = log;
    server->listen_fd = -1;
    server->client_fd = -1;
    if (start(server, error) == 0)
        return server;
    gdb_server_destroy(server);
    return NULL;
}

void gdb_server_destroy(struct gdb_server *server)
{
    if (server == NULL)
        return;
    event_loop_remove(server->loop, server->client_fd);
    event_loop_remove(server->loop, server->listen_fd);
    if (server->client_fd >= 0)
        close(server->client_fd);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    if (server->has_path)
        (void)unlink(server->address.path);
    gdb_protocol_destroy(server->protocol);
    free(server);
}

const struct gdb_address *gdb_server_address(const struct gdb_server *server)
{
    return &server->address;
}

bool gdb_server_has_client(const struct gdb_server *server)
{
    return server->client_fd >= 0;
}

void gdb_server_exited(struct gdb_server *server, int status)
{
    server->has_exited = true;
    event_loop_modify(server->loop, server->listen_fd, 0);
    gdb_protocol_exited(server->protocol, status);
    serve(server);
}
