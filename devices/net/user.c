#include "devices/net/user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <libslirp.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER_SIZE = sizeof(struct virtio_net_hdr_v1),
    /* An Ethernet frame of the MTU that libslirp is given: 1500 bytes and a header of 14. */
    MTU = 1500,
    FRAME_MAX = MTU + 14,
    EVENTS_PER_ROUND = 64,
    TIMERS_MAX = SLIRP_TIMER_NUM,
    /* A frame of the guest's, at the most: as long as IP allows. */
    SENT_MAX = 65535 + 14,
};

struct waiting {
    size_t size;
    uint8_t frame[FRAME_MAX];
};

/* What libslirp waits for of a descriptor, at the descriptor's number. */
struct watch {
    uint32_t events;
    uint32_t ready;
    /* In which round it has last been asked for. */
    uint64_t round;
};

struct timer {
    SlirpTimerId id;
    void *context;
    bool is_used;
    /* in ms of now_ns(); INT64_MAX: it does not run */
    int64_t expires;
};

struct user {
    /* the first: see backend.h */
    struct net_backend backend;
    struct net_client client;
    struct event_loop *loop;
    struct event_hook hook;
    const char *name;
    const struct log *log;
    struct log_limit limit;
    guint log_handler;
    Slirp *slirp;
    /* Has all of libslirp's descriptors in it; in the loop as one. */
    int epoll_fd;
    struct watch *watches;
    size_t watch_count;
    uint64_t round;
    struct timer timers[TIMERS_MAX];
    bool is_listened_to;
    /* Packets for the guest: a ring. */
    size_t first;
    size_t waiting_count;
    struct waiting *waiting;
    uint8_t *sent;
};

static struct user *user_of(struct net_backend *backend)
{
    return (struct user *)(void *)backend;
}

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- What libslirp calls ---- */

static void report(struct user *user, const char *what)
{
    if (user->log != NULL)
        log_guest_misbehaviour(user->log, &user->limit, user->name, "user-mode network: %s", what);
}

static ssize_t slirp_sends(const void *frame, size_t size, void *context)
{
    struct user *user = context;

    if (size > FRAME_MAX || user->waiting_count == NET_USER_WAITING_MAX) {
        report(user, "a packet for the guest is dropped: too many wait for it");
        return (ssize_t)size;
    }
    struct waiting *waiting = &user->waiting[(user->first + user->waiting_count) % NET_USER_WAITING_MAX];
    waiting->size = size;
    memcpy(waiting->frame, frame, size);
    user->waiting_count++;
    return (ssize_t)size;
}

static void slirp_blames_guest(const char *message, void *context)
{
    report(context, message);
}

static int64_t slirp_asks_for_time(void *context)
{
    (void)context;
    return now_ns();
}

static void *slirp_makes_timer(SlirpTimerId id, void *timer_context, void *context)
{
    struct user *user = context;

    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        if (user->timers[i].is_used)
            continue;
        user->timers[i] = (struct timer){.id = id, .context = timer_context, .is_used = true, .expires = INT64_MAX};
        return &user->timers[i];
    }
    return NULL;
}

static void slirp_frees_timer(void *timer, void *context)
{
    (void)context;
    if (timer != NULL)
        *(struct timer *)timer = (struct timer){0};
}

static void slirp_sets_timer(void *timer, int64_t expires, void *context)
{
    (void)context;
    if (timer != NULL)
        ((struct timer *)timer)->expires = expires;
}

/* A descriptor is new, or is about to be closed: what is known of its number is void. */
static void forget_descriptor(int fd, void *context)
{
    struct user *user = context;

    if (fd < 0 || (size_t)fd >= user->watch_count)
        return;
    if (user->watches[fd].events != 0)
        (void)epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    user->watches[fd] = (struct watch){0};
}

/* It is asked before each wait anyway. */
static void slirp_notifies(void *context)
{
    (void)context;
}

static void glib_logs(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer context)
{
    (void)domain;
    if ((level & G_LOG_LEVEL_MASK) <= G_LOG_LEVEL_WARNING)
        report(context, message);
}

static const SlirpCb callbacks = {
    .send_packet = slirp_sends,
    .guest_error = slirp_blames_guest,
    .clock_get_ns = slirp_asks_for_time,
    .timer_new_opaque = slirp_makes_timer,
    .timer_free = slirp_frees_timer,
    .timer_mod = slirp_sets_timer,
    .register_poll_fd = forget_descriptor,
    .unregister_poll_fd = forget_descriptor,
    .notify = slirp_notifies,
};

/* ---- Descriptors: poll(2) as libslirp thinks of it, on epoll ---- */

static bool make_room(struct user *user, int fd)
{
    const size_t count = ((size_t)fd | 63) + 1;

    if ((size_t)fd < user->watch_count)
        return true;
    struct watch *watches = reallocarray(user->watches, count, sizeof(*watches));
    if (watches == NULL)
        return false;
    memset(watches + user->watch_count, 0, (count - user->watch_count) * sizeof(*watches));
    user->watches = watches;
    user->watch_count = count;
    return true;
}

static int add_poll(int fd, int events, void *context)
{
    struct user *user = context;
    struct epoll_event event = {.data.fd = fd};

    if (fd < 0 || !make_room(user, fd))
        return -1;
    event.events = (events & SLIRP_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (events & SLIRP_POLL_OUT ? (uint32_t)EPOLLOUT : 0) |
                   (events & SLIRP_POLL_PRI ? (uint32_t)EPOLLPRI : 0);
    struct watch *watch = &user->watches[fd];
    watch->round = user->round;
    if (watch->events == event.events)
        return fd;
    if (epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 &&
        (errno != EEXIST || epoll_ctl(user->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0))
        return -1;
    watch->events = event.events;
    return fd;
}

static int get_ready(int index, void *context)
{
    const struct user *user = context;
    int events = 0;

    if (index < 0 || (size_t)index >= user->watch_count)
        return 0;
    const uint32_t ready = user->watches[index].ready;
    events |= ready & EPOLLIN ? SLIRP_POLL_IN : 0;
    events |= ready & EPOLLOUT ? SLIRP_POLL_OUT : 0;
    events |= ready & EPOLLPRI ? SLIRP_POLL_PRI : 0;
    events |= ready & EPOLLERR ? SLIRP_POLL_ERR : 0;
    events |= ready & EPOLLHUP ? SLIRP_POLL_HUP : 0;
    return events;
}

/* Tells libslirp what is ready; it does the work that is due. */
static void serve(struct user *user)
{
    struct epoll_event events[EVENTS_PER_ROUND];
    const int count = epoll_wait(user->epoll_fd, events, EVENTS_PER_ROUND, 0);

    for (int i = 0; i < count; i++)
        user->watches[events[i].data.fd].ready = events[i].events;
    slirp_pollfds_poll(user->slirp, 0, get_ready, user);
    for (size_t fd = 0; fd < user->watch_count; fd++)
        user->watches[fd].ready = 0;
}

/* Asks libslirp what it waits for; for how many milliseconds at the most. */
static int ask(struct user *user)
{
    uint32_t timeout = UINT32_MAX;

    user->round++;
    slirp_pollfds_fill(user->slirp, &timeout, add_poll, user);
    for (size_t fd = 0; fd < user->watch_count; fd++)
        if (user->watches[fd].events != 0 && user->watches[fd].round != user->round)
            forget_descriptor((int)fd, user);
    return timeout > INT32_MAX ? -1 : (int)timeout;
}

/* ---- The loop ---- */

static void run_timers(struct user *user)
{
    const int64_t now = now_ns() / 1000000;

    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        struct timer *timer = &user->timers[i];
        if (!timer->is_used || timer->expires > now)
            continue;
        timer->expires = INT64_MAX;
        slirp_handle_timer(user->slirp, timer->id, timer->context);
    }
}

static int limit_to_timers(const struct user *user, int timeout)
{
    const int64_t now = now_ns() / 1000000;

    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        const struct timer *timer = &user->timers[i];
        if (!timer->is_used || timer->expires == INT64_MAX)
            continue;
        const int64_t rest = timer->expires > now ? timer->expires - now : 0;
        if (timeout < 0 || rest < timeout)
            timeout = (int)rest;
    }
    return timeout;
}

static bool has_packets(const struct user *user)
{
    return user->is_listened_to && user->waiting_count > 0;
}

static int prepare(void *context)
{
    struct user *user = context;

    if (user->round > 0)
        serve(user);
    run_timers(user);
    if (has_packets(user))
        user->client.readable(user->client.context, 0);
    const int timeout = ask(user);
    return has_packets(user) ? 0 : limit_to_timers(user, timeout);
}

/* It has ended the wait, and that is all. */
static void on_event(void *context, uint32_t events)
{
    (void)context;
    (void)events;
}

/* ---- As a backend ---- */

static int user_attach(struct net_backend *backend, struct event_loop *loop, const char *name, const struct log *log,
                       const struct net_client *client, struct error *error)
{
    struct user *user = user_of(backend);

    if (event_loop_add(loop, user->epoll_fd, EPOLLIN, on_event, user, error) < 0)
        return -1;
    user->loop = loop;
    user->client = *client;
    user->name = name;
    user->log = log;
    user->hook = (struct event_hook){.prepare = prepare, .context = user};
    event_loop_add_hook(loop, &user->hook);
    user->log_handler = g_log_set_handler("Slirp", G_LOG_LEVEL_MASK, glib_logs, user);
    return 0;
}

static int user_send(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    struct user *user = user_of(backend);
    size_t size = 0;

    (void)pair;
    for (size_t i = 1; i < count; i++) {
        if (pieces[i].iov_len > SENT_MAX - size)
            return -EMSGSIZE;
        memcpy(user->sent + size, pieces[i].iov_base, pieces[i].iov_len);
        size += pieces[i].iov_len;
    }
    slirp_input(user->slirp, user->sent, (int)size);
    return 0;
}

/* Copies to where the pieces are at; how many bytes had room. */
static size_t scatter(const struct iovec *pieces, size_t count, size_t offset, const uint8_t *bytes, size_t size)
{
    size_t done = 0;

    for (size_t i = 0; i < count && done < size; i++) {
        if (offset >= pieces[i].iov_len) {
            offset -= pieces[i].iov_len;
            continue;
        }
        const size_t rest = pieces[i].iov_len - offset;
        const size_t length = rest < size - done ? rest : size - done;
        memcpy((uint8_t *)pieces[i].iov_base + offset, bytes + done, length);
        done += length;
        offset = 0;
    }
    return done;
}

static ssize_t user_receive(struct net_backend *backend, unsigned pair, const struct iovec *pieces, size_t count)
{
    static const uint8_t header[HEADER_SIZE];
    struct user *user = user_of(backend);

    (void)pair;
    if (user->waiting_count == 0)
        return -EAGAIN;
    const struct waiting *waiting = &user->waiting[user->first];
    const size_t size = scatter(pieces, count, 0, header, sizeof(header)) +
                        scatter(pieces, count, sizeof(header), waiting->frame, waiting->size);
    user->waiting_count--;
    /* From the start again where that is possible: a ring that is hardly used stays small. */
    user->first = user->waiting_count == 0 ? 0 : (user->first + 1) % NET_USER_WAITING_MAX;
    return (ssize_t)size;
}

static void user_listen(struct net_backend *backend, unsigned pair, bool for_packets, bool for_room)
{
    (void)pair;
    (void)for_room;
    user_of(backend)->is_listened_to = for_packets;
}

static int user_set_pairs(struct net_backend *backend, unsigned pairs)
{
    (void)backend;
    return pairs == 1 ? 0 : -1;
}

static void user_set_offloads(struct net_backend *backend, unsigned offloads)
{
    (void)backend;
    (void)offloads;
}

static void user_close(struct net_backend *backend)
{
    struct user *user = user_of(backend);

    if (user->loop != NULL) {
        event_loop_remove_hook(user->loop, &user->hook);
        event_loop_remove(user->loop, user->epoll_fd);
    }
    if (user->slirp != NULL)
        slirp_cleanup(user->slirp);
    if (user->log_handler != 0)
        g_log_remove_handler("Slirp", user->log_handler);
    if (user->epoll_fd >= 0)
        close(user->epoll_fd);
    free(user->watches);
    free(user->waiting);
    free(user->sent);
    free(user);
}

static const struct net_backend_ops ops = {
    .attach = user_attach,
    .send = user_send,
    .receive = user_receive,
    .listen = user_listen,
    .set_pairs = user_set_pairs,
    .set_offloads = user_set_offloads,
    .close = user_close,
};

/* ---- Beginning ---- */

static struct in_addr address_of(const char *text)
{
    struct in_addr address = {0};

    (void)inet_pton(AF_INET, text, &address);
    return address;
}

static Slirp *make_slirp(struct user *user, const struct net_user_options *options)
{
    const SlirpConfig config = {
        .version = 4,
        .in_enabled = true,
        .vnetwork = address_of("10.0.2.0"),
        .vnetmask = address_of("255.255.255.0"),
        .vhost = address_of("10.0.2.2"),
        .vdhcp_start = address_of("10.0.2.15"),
        .vnameserver = address_of("10.0.2.3"),
        .if_mtu = MTU,
        .if_mru = MTU,
        .disable_host_loopback = !options->may_reach_host,
    };

    return slirp_new(&config, &callbacks, user);
}

static int add_forwards(struct user *user, const struct net_user_options *options, struct error *error)
{
    for (size_t i = 0; i < options->forward_count; i++) {
        const struct net_forward *forward = &options->forwards[i];
        char address[INET_ADDRSTRLEN];

        if (slirp_add_hostfwd(user->slirp, forward->is_udp, forward->host_address, forward->host_port,
                              forward->guest_address, forward->guest_port) == 0)
            continue;
        const int why = errno;
        (void)inet_ntop(AF_INET, &forward->host_address, address, sizeof(address));
        return error_set(error, ERROR_CONFIG, "the host's %s port %s:%u cannot be forwarded: %s; take another port",
                         forward->is_udp ? "UDP" : "TCP", address, forward->host_port, strerror(why));
    }
    return 0;
}

static int prepare_user(struct user *user, const struct net_user_options *options, struct error *error)
{
    user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    user->waiting = calloc(NET_USER_WAITING_MAX, sizeof(*user->waiting));
    user->sent = malloc(SENT_MAX);
    if (user->epoll_fd < 0 || user->waiting == NULL || user->sent == NULL)
        return error_set(error, ERROR_HOST, "no memory or descriptor for the user-mode network");
    user->slirp = make_slirp(user, options);
    if (user->slirp == NULL)
        return error_set(error, ERROR_HOST, "libslirp cannot make a user-mode network");
    return add_forwards(user, options, error);
}

struct net_backend *net_user_open(const struct net_user_options *options, struct error *error)
{
    struct user *user = calloc(1, sizeof(*user));

    if (user == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    user->backend = (struct net_backend){.ops = &ops, .queue_pairs = 1};
    user->epoll_fd = -1;
    if (prepare_user(user, options, error) == 0)
        return &user->backend;
    user_close(&user->backend);
    return NULL;
}
