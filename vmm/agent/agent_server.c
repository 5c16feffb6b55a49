#include "vmm/agent/agent_server.h"

#include "devices/host/unix_socket.h"
#include "vmm/agent/mux.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    /* What the guest may be ahead of the loop's thread. */
    RING_SIZE = 64 << 10,
    CLIENT_INPUT_SIZE = 16 << 10,
};

struct server_client {
    struct agent_server *server;
    /* -1: there is none */
    int fd;
    uint32_t events;
    /* What it has sent and the mux has not taken. */
    size_t used;
    uint8_t input[CLIENT_INPUT_SIZE];
};

struct agent_server {
    /* constant */
    struct event_loop *loop;
    const struct log *log;
    struct agent_port port;
    int wake_fd;

    pthread_mutex_t lock;
    /* What came from the guest and what has become of its end; guarded by lock, down to ring. */
    bool was_closed;
    bool is_open;
    bool has_refused;
    size_t ring_used;
    uint8_t ring[RING_SIZE];

    /* owner: the loop's thread, as for all below */
    struct agent_mux *mux;
    int listen_fd;
    bool is_listening;
    char *made_path;
    /* By the mux's numbers; NULL: never used. */
    struct server_client *clients[AGENT_CLIENT_MAX];
    uint8_t taken[RING_SIZE];
};

static void wake(struct agent_server *server)
{
    const uint64_t one = 1;
    ssize_t written = write(server->wake_fd, &one, sizeof(one));

    (void)written; /* it cannot be full */
}

/* ---- The guest ---- */

size_t agent_server_write(struct agent_server *server, const uint8_t *bytes, size_t len)
{
    pthread_mutex_lock(&server->lock);
    const size_t room = RING_SIZE - server->ring_used;
    const size_t taken = len < room ? len : room;
    const bool was_empty = server->ring_used == 0;
    memcpy(server->ring + server->ring_used, bytes, taken);
    server->ring_used += taken;
    server->has_refused |= taken < len;
    pthread_mutex_unlock(&server->lock);
    if (was_empty && taken > 0)
        wake(server);
    return taken;
}

void agent_server_input_room(struct agent_server *server)
{
    wake(server);
}

void agent_server_opened(struct agent_server *server, bool is_open)
{
    pthread_mutex_lock(&server->lock);
    if (server->is_open) {
        /* What the one who had it open has said is of no use without him. */
        server->was_closed = true;
        server->ring_used = 0;
    }
    server->is_open = is_open;
    pthread_mutex_unlock(&server->lock);
    wake(server);
}

/* Takes over what has come; how many bytes, which are in `taken`. */
static size_t take_from_guest(struct agent_server *server, bool *ret_was_closed, bool *ret_is_open)
{
    pthread_mutex_lock(&server->lock);
    const size_t size = server->ring_used;
    const bool has_refused = server->has_refused;
    memcpy(server->taken, server->ring, size);
    *ret_was_closed = server->was_closed;
    *ret_is_open = server->is_open;
    server->was_closed = false;
    server->ring_used = 0;
    server->has_refused = false;
    pthread_mutex_unlock(&server->lock);
    if (has_refused)
        server->port.writable(server->port.context);
    return size;
}

static void send_to_guest(struct agent_server *server)
{
    size_t size;
    const uint8_t *bytes = agent_mux_to_guest(server->mux, &size);

    while (size > 0) {
        const size_t taken = server->port.receive(server->port.context, bytes, size);
        if (taken == 0)
            break;
        agent_mux_sent_to_guest(server->mux, taken);
        bytes = agent_mux_to_guest(server->mux, &size);
    }
}

/* ---- Clients ---- */

static void update_listening(struct agent_server *server)
{
    const bool is_free = agent_mux_is_free(server->mux);

    if (is_free != server->is_listening)
        event_loop_modify(server->loop, server->listen_fd, is_free ? EPOLLIN : 0);
    server->is_listening = is_free;
}

static void close_client(struct agent_server *server, int number)
{
    struct server_client *client = server->clients[number];

    event_loop_remove(server->loop, client->fd);
    close(client->fd);
    client->fd = -1;
    client->used = 0;
    agent_mux_disconnect(server->mux, number);
}

/* Whether there is somebody still. */
static bool send_to_client(struct agent_server *server, int number)
{
    const int fd = server->clients[number]->fd;
    size_t size;
    const uint8_t *bytes = agent_mux_to_client(server->mux, number, &size);

    while (size > 0) {
        const ssize_t sent = send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN;
        agent_mux_sent_to_client(server->mux, number, (size_t)sent);
        bytes = agent_mux_to_client(server->mux, number, &size);
    }
    return !agent_mux_is_over(server->mux, number);
}

static void offer_input(struct agent_server *server, int number)
{
    struct server_client *client = server->clients[number];
    const size_t taken = agent_mux_from_client(server->mux, number, client->input, client->used);

    client->used -= taken;
    memmove(client->input, client->input + taken, client->used);
}

static void update_client(struct agent_server *server, int number)
{
    struct server_client *client = server->clients[number];
    size_t size;

    offer_input(server, number);
    if (!send_to_client(server, number)) {
        close_client(server, number);
        return;
    }
    (void)agent_mux_to_client(server->mux, number, &size);
    const bool wants = client->used == 0 && agent_mux_wants(server->mux, number);
    const uint32_t events = EPOLLRDHUP | (size > 0 ? EPOLLOUT : 0u) | (wants ? EPOLLIN : 0u);
    if (events != client->events)
        event_loop_modify(server->loop, client->fd, events);
    client->events = events;
}

/* After anything has happened: sends what is to be sent, and waits for what comes next. */
static void update(struct agent_server *server)
{
    bool has_moved;

    do {
        has_moved = false;
        send_to_guest(server);
        for (int i = 0; i < (int)AGENT_CLIENT_MAX; i++) {
            struct server_client *client = server->clients[i];
            if (client == NULL || client->fd < 0)
                continue;
            const size_t used = client->used;
            update_client(server, i);
            has_moved |= client->used < used;
        }
        /* What has been taken of one may make room for another, once the guest has it. */
    } while (has_moved);
    update_listening(server);
}

static int number_of(const struct agent_server *server, const struct server_client *client)
{
    int number = 0;

    while (server->clients[number] != client)
        number++;
    return number;
}

static void on_client(void *context, uint32_t events)
{
    struct server_client *client = context;
    struct agent_server *server = client->server;
    const int number = number_of(server, client);

    if (events & EPOLLIN) {
        const ssize_t got =
            recv(client->fd, client->input + client->used, sizeof(client->input) - client->used, MSG_DONTWAIT);
        if (got > 0)
            client->used += (size_t)got;
        else if (got == 0 || (errno != EAGAIN && errno != EINTR))
            close_client(server, number);
    } else if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
        close_client(server, number);
    }
    update(server);
}

/* The mux has room for it. */
static void add_client(struct agent_server *server, int fd)
{
    struct error error;
    const int number = agent_mux_connect(server->mux);

    if (number < 0) {
        close(fd);
        return;
    }
    if (server->clients[number] == NULL) {
        server->clients[number] = calloc(1, sizeof(struct server_client));
        if (server->clients[number] != NULL)
            *server->clients[number] = (struct server_client){.server = server, .fd = -1};
    }
    struct server_client *client = server->clients[number];
    if (client == NULL || event_loop_add(server->loop, fd, EPOLLRDHUP, on_client, client, &error) < 0) {
        agent_mux_disconnect(server->mux, number);
        close(fd);
        return;
    }
    client->fd = fd;
    client->events = EPOLLRDHUP;
    client->used = 0;
}

static void on_connection(void *context, uint32_t events)
{
    struct agent_server *server = context;

    (void)events;
    int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        add_client(server, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_line(server->log, LOG_LEVEL_WARN, "agent", "no client can connect any more: %s", strerror(errno));
        event_loop_modify(server->loop, server->listen_fd, 0); /* or it would be reported without end */
        server->is_listening = false;
        return;
    }
    update(server);
}

static void on_wake(void *context, uint32_t events)
{
    struct agent_server *server = context;
    bool was_closed, is_open;
    uint64_t count;

    (void)events;
    ssize_t got = read(server->wake_fd, &count, sizeof(count));
    (void)got;
    const size_t size = take_from_guest(server, &was_closed, &is_open);
    if (was_closed)
        agent_mux_set_open(server->mux, false);
    agent_mux_set_open(server->mux, is_open);
    agent_mux_from_guest(server->mux, server->taken, size);
    update(server);
}

void agent_server_restarted(struct agent_server *server)
{
    if (server == NULL)
        return;
    pthread_mutex_lock(&server->lock);
    server->ring_used = 0;
    pthread_mutex_unlock(&server->lock);
    agent_mux_lose(server->mux, "the machine has started again");
    update(server);
}

/* ---- Its life ---- */

static int listen_at(struct agent_server *server, const char *text, struct error *error)
{
    server->listen_fd = unix_socket_listen(text, "the agent's socket", (int)AGENT_CLIENT_MAX, error);
    if (server->listen_fd < 0)
        return -1;
    server->made_path = strdup(text + strlen("unix:"));
    return server->made_path != NULL ? 0 : error_set(error, ERROR_HOST, "out of memory");
}

static int open_all(struct agent_server *server, const char *address, struct error *error)
{
    uint64_t seed = 0;
    ssize_t got = getrandom(&seed, sizeof(seed), GRND_NONBLOCK);

    (void)got; /* without chance, it has only less of it */
    server->mux = agent_mux_create(seed, server->log);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->mux == NULL || server->wake_fd < 0)
        return error_set(error, ERROR_HOST, "no memory or descriptors for the agent's socket");
    return listen_at(server, address, error);
}

struct agent_server *agent_server_create(const char *address, struct event_loop *loop, const struct log *log,
                                         struct error *error)
{
    struct agent_server *server = calloc(1, sizeof(*server));

    if (server == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    server->loop = loop;
    server->log = log;
    server->listen_fd = -1;
    server->wake_fd = -1;
    pthread_mutex_init(&server->lock, NULL);
    if (open_all(server, address, error) == 0)
        return server;
    agent_server_destroy(server);
    return NULL;
}

int agent_server_attach(struct agent_server *server, const struct agent_port *port, bool is_open, struct error *error)
{
    server->port = *port;
    server->is_listening = true;
    if (event_loop_add(server->loop, server->wake_fd, EPOLLIN, on_wake, server, error) < 0 ||
        event_loop_add(server->loop, server->listen_fd, EPOLLIN, on_connection, server, error) < 0)
        return -1;
    if (is_open)
        agent_server_opened(server, true);
    return 0;
}

void agent_server_destroy(struct agent_server *server)
{
    if (server == NULL)
        return;
    for (int i = 0; i < (int)AGENT_CLIENT_MAX; i++) {
        if (server->clients[i] != NULL && server->clients[i]->fd >= 0)
            close_client(server, i);
        free(server->clients[i]);
    }
    event_loop_remove(server->loop, server->listen_fd);
    event_loop_remove(server->loop, server->wake_fd);
    if (server->listen_fd >= 0)
        close(server->listen_fd);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
    if (server->made_path != NULL)
        (void)unlink(server->made_path);
    free(server->made_path);
    agent_mux_destroy(server->mux);
    pthread_mutex_destroy(&server->lock);
    free(server);
}
