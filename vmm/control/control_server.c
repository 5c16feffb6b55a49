#include "vmm/control/control_server.h"

#include "devices/host/unix_socket.h"
#include "vmm/control/control_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct control_client {
    struct control_server *server;
    /* -1: there is none */
    int fd;
    uint32_t events;
    /* It will send no more. */
    bool has_ended;
    /* The rest of a line that is too long. */
    bool is_skipping;
    size_t used;
    char input[CONTROL_LINE_MAX];
    /* The file that came last and has not been taken; or -1. */
    int file;
    /* What it has not been sent yet of its answer; NULL: nothing. */
    char *output;
    size_t output_size;
    size_t output_sent;
};

struct control_server {
    const struct control_target *target;
    struct event_loop *loop;
    const struct log *log;
    int listen_fd;
    char *made_path;
    bool is_listening;
    /* It can be read as long as a dump is under way: each turn of the loop writes a portion. */
    int work_fd;
    /* Whose dump; NULL: there is none. */
    struct control_client *dumper;
    struct control_client clients[CONTROL_CLIENT_MAX];
};

/* ---- Clients who come and go ---- */

static void update_listening(struct control_server *server)
{
    bool has_room = false;

    for (size_t i = 0; i < CONTROL_CLIENT_MAX; i++)
        has_room |= server->clients[i].fd < 0;
    if (has_room != server->is_listening)
        event_loop_modify(server->loop, server->listen_fd, has_room ? EPOLLIN : 0);
    server->is_listening = has_room;
}

static void end_work(struct control_server *server)
{
    uint64_t count;
    ssize_t got = read(server->work_fd, &count, sizeof(count));

    (void)got;
    server->dumper = NULL;
}

static void drop_file(struct control_client *client)
{
    if (client->file >= 0)
        close(client->file);
    client->file = -1;
}

static void close_client(struct control_client *client)
{
    struct control_server *server = client->server;

    if (server->dumper == client) {
        server->target->abort_dump(server->target->context);
        end_work(server);
    }
    event_loop_remove(server->loop, client->fd);
    close(client->fd);
    drop_file(client);
    free(client->output);
    *client = (struct control_client){.server = server, .fd = -1, .file = -1};
    update_listening(server);
}

/* ---- Answers ---- */

/* Whether there is somebody still. */
static bool send_output(struct control_client *client)
{
    while (client->output != NULL) {
        const ssize_t sent = send(client->fd, client->output + client->output_sent,
                                  client->output_size - client->output_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN;
        client->output_sent += (size_t)sent;
        if (client->output_sent < client->output_size)
            continue;
        free(client->output);
        client->output = NULL;
    }
    return true;
}

/* line: NULL, where there was no memory for one; or the client's. */
static bool answer(struct control_client *client, char *line)
{
    if (line == NULL) {
        log_line(client->server->log, LOG_LEVEL_WARN, "control", "a client is left: out of memory");
        return false;
    }
    client->output = line;
    client->output_size = strlen(line);
    client->output_sent = 0;
    return send_output(client);
}

/* ---- Requests ---- */

/* A line of its input is a request. */
static bool serve_line(struct control_client *client, size_t size)
{
    struct control_server *server = client->server;
    const uint64_t one = 1;
    bool dumps;

    char *line = control_answer(server->target, client->input, size, &client->file, &dumps);
    if (!dumps)
        return answer(client, line);
    server->dumper = client;
    ssize_t written = write(server->work_fd, &one, sizeof(one));
    (void)written; /* it cannot be full */
    return true;
}

static void drop_input(struct control_client *client, size_t size)
{
    client->used -= size;
    memmove(client->input, client->input + size, client->used);
}

/* What there is of lines is served, until an answer is to wait for. Whether there is somebody still. */
static bool serve_input(struct control_client *client)
{
    bool is_alive = true;

    while (is_alive && client->output == NULL && client->server->dumper != client && client->used > 0) {
        const char *newline = memchr(client->input, '\n', client->used);
        const size_t size = newline != NULL ? (size_t)(newline - client->input) : client->used;
        if (newline == NULL && client->used < sizeof(client->input) && !client->is_skipping)
            break;
        if (newline == NULL) {
            if (!client->is_skipping)
                is_alive = answer(client, control_answer_too_long());
            client->is_skipping = true;
            client->used = 0;
            continue;
        }
        if (!client->is_skipping)
            is_alive = serve_line(client, size);
        client->is_skipping = false;
        drop_input(client, size + 1);
    }
    return is_alive;
}

static void update_events(struct control_client *client)
{
    const bool listens = client->output == NULL && client->server->dumper != client && !client->has_ended;
    const uint32_t events = (client->output != NULL ? EPOLLOUT : 0u) | (listens ? EPOLLIN : 0u);

    if (events != client->events)
        event_loop_modify(client->server->loop, client->fd, events);
    client->events = events;
}

static void serve(struct control_client *client)
{
    bool is_alive = send_output(client);

    if (is_alive)
        is_alive = serve_input(client);
    const bool is_done = client->has_ended && client->output == NULL && client->server->dumper != client;
    if (!is_alive || is_done)
        close_client(client);
    else
        update_events(client);
}

/* Of the files that came the last is kept, in the place of one that nobody has taken. */
static void take_files(struct control_client *client, struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            drop_file(client);
            memcpy(&client->file, CMSG_DATA(part) + i * sizeof(int), sizeof(int));
        }
    }
}

/* There is room. false: it can send no more. */
static bool receive(struct control_client *client)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec room = {.iov_base = client->input + client->used, .iov_len = sizeof(client->input) - client->used};
    struct msghdr message = {
        .msg_iov = &room, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

    const ssize_t got = recvmsg(client->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    take_files(client, &message);
    client->used += (size_t)got;
    return got > 0;
}

static void on_client(void *context, uint32_t events)
{
    struct control_client *client = context;

    if ((client->events & EPOLLIN) != 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        client->has_ended = !receive(client);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
        close_client(client);
        return;
    }
    serve(client);
}

static void on_connection(void *context, uint32_t events)
{
    struct control_server *server = context;
    struct control_client *client = server->clients;
    struct error error;

    (void)events;
    const int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_line(server->log, LOG_LEVEL_WARN, "control", "no client can connect any more: %s", strerror(errno));
            event_loop_modify(server->loop, server->listen_fd, 0); /* or it would be reported without end */
            server->is_listening = false;
        }
        return;
    }
    while (client->fd >= 0) /* there is room: it is listened */
        client++;
    if (event_loop_add(server->loop, fd, EPOLLIN, on_client, client, &error) < 0) {
        log_line(server->log, LOG_LEVEL_WARN, "control", "a client is turned away: %s", error.text);
        close(fd);
        return;
    }
    client->fd = fd;
    client->events = EPOLLIN;
    update_listening(server);
}

/* ---- Dumps ---- */

static void on_work(void *context, uint32_t events)
{
    struct control_server *server = context;
    struct control_client *client = server->dumper;
    bool is_over;

    (void)events;
    if (client == NULL)
        return;
    char *line = control_go_on(server->target, &is_over);
    if (is_over) {
        end_work(server);
        /* What it has not read of progress is of no use before the answer, but may not be cut. */
        if (client->output != NULL && line != NULL) {
            const size_t left = client->output_size - client->output_sent;
            char *both = malloc(left + strlen(line) + 1);
            if (both != NULL) {
                memcpy(both, client->output + client->output_sent, left);
                strcpy(both + left, line);
            }
            free(line);
            free(client->output);
            client->output = NULL;
            line = both;
        }
    } else if (client->output != NULL) {
        free(line);
        return;
    }
    if (!answer(client, line))
        close_client(client);
    else
        serve(client);
}

/* ---- Its life ---- */

static int start(struct control_server *server, const char *address, struct error *error)
{
    server->work_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->work_fd < 0)
        return error_set(error, ERROR_HOST, "no descriptor for the control socket: %s", strerror(errno));
    server->listen_fd = unix_socket_listen(address, "the control socket", CONTROL_CLIENT_MAX, error);
    if (server->listen_fd < 0)
        return -1;
    server->made_path = strdup(address + strlen("unix:"));
    if (server->made_path == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    server->is_listening = true;
    if (event_loop_add(server->loop, server->work_fd, EPOLLIN, on_work, server, error) < 0)
        return -1;
    return event_loop_add(server->loop, server->listen_fd, EPOLLIN, on_connection, server, error);
}

struct control_server *control_server_create(const char *address, const struct control_target *target,
                                             struct event_loop *loop, const struct log *log, struct error *error)
{
    struct control_server *server = calloc(1, sizeof(*server));

    if (server == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    server->target = target;
    server->loop = loop;
    server->log = log;
    server->listen_fd = -1;
    server->work_fd = -1;
    for (size_t i = 0; i < CONTROL_CLIENT_MAX; i++)
        server->clients[i] = (struct control_client){.server = server, .fd = -1, .file = -1};
    control_protocol_prepare();
    if (start(server, address, error) == 0)
        return server;
    control_server_destroy(server);
    return NULL;
}

void control_server_destroy(struct control_server *server)
{
    if (server == NULL)
        return;
    for (size_t i = 0; i < CONTROL_CLIENT_MAX; i++)
        if (server->clients[i].fd >= 0)
            close_client(&server->clients[i]);
    if (server->listen_fd >= 0) {
        event_loop_remove(server->loop, server->listen_fd);
        close(server->listen_fd);
    }
    if (server->work_fd >= 0) {
        event_loop_remove(server->loop, server->work_fd);
        close(server->work_fd);
    }
    if (server->made_path != NULL)
        (void)unlink(server->made_path);
    free(server->made_path);
    free(server);
}
