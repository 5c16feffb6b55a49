#include "devices/host/event_loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_PER_ROUND = 16 };

/* The identity of the descriptor that stops the loop; that of no watch. */
static const uint64_t STOP_IDENTITY = UINT64_MAX;

struct watch {
    /* -1: free */
    int fd;
    /*
     * Counts the uses of this slot. It is in what epoll hands out, so that an event of something that was removed in
     * the same round does not reach what took its slot or its number.
     */
    uint32_t generation;
    event_callback *callback;
    void *context;
};

struct event_loop {
    int epoll_fd;
    int stop_fd;
    atomic_bool stopped;
    /* owner: the loop's thread, as for the next */
    struct watch *watches;
    uint32_t watch_count;
    struct event_hook *hooks;
};

struct event_loop *event_loop_create(struct error *error)
{
    struct event_loop *loop = calloc(1, sizeof(*loop));

    if (loop == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = STOP_IDENTITY};
    if (loop->epoll_fd < 0 || loop->stop_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->stop_fd, &event) < 0) {
        error_set(error, ERROR_HOST, "no descriptors for the event loop: %s", strerror(errno));
        event_loop_destroy(loop);
        return NULL;
    }
    return loop;
}

void event_loop_destroy(struct event_loop *loop)
{
    if (loop == NULL)
        return;
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->stop_fd >= 0)
        close(loop->stop_fd);
    free(loop->watches);
    free(loop);
}

/* The watch of a descriptor, or a free one for -1; NULL: there is none. */
static struct watch *find(struct event_loop *loop, int fd)
{
    for (uint32_t i = 0; i < loop->watch_count; i++)
        if (loop->watches[i].fd == fd)
            return &loop->watches[i];
    return NULL;
}

static struct watch *find_free(struct event_loop *loop)
{
    const uint32_t count = loop->watch_count;
    const uint32_t more = count + 8;
    struct watch *watch = find(loop, -1);

    if (watch != NULL)
        return watch;
    struct watch *watches = reallocarray(loop->watches, more, sizeof(*watches));
    if (watches == NULL)
        return NULL;
    for (uint32_t i = count; i < more; i++)
        watches[i] = (struct watch){.fd = -1};
    loop->watches = watches;
    loop->watch_count = more;
    return &watches[count];
}

static uint64_t identity(const struct event_loop *loop, const struct watch *watch)
{
    return (uint64_t)watch->generation << 32 | (uint64_t)(watch - loop->watches);
}

static struct watch *find_identity(struct event_loop *loop, uint64_t value)
{
    const uint32_t index = (uint32_t)value;

    if (index >= loop->watch_count)
        return NULL;
    struct watch *watch = &loop->watches[index];
    return watch->fd >= 0 && identity(loop, watch) == value ? watch : NULL;
}

int event_loop_add(struct event_loop *loop, int fd, uint32_t events, event_callback *callback, void *context,
                   struct error *error)
{
    struct watch *watch = find_free(loop);

    if (watch == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    struct epoll_event event = {.events = events, .data.u64 = identity(loop, watch)};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        const int why = errno;
        error_set(error, ERROR_HOST, "the event loop cannot wait for a descriptor: %s", strerror(why));
        errno = why;
        return -1;
    }
    watch->fd = fd;
    watch->callback = callback;
    watch->context = context;
    return 0;
}

void event_loop_modify(struct event_loop *loop, int fd, uint32_t events)
{
    const struct watch *watch = find(loop, fd);

    if (watch == NULL)
        return;
    struct epoll_event event = {.events = events, .data.u64 = identity(loop, watch)};
    /* For a descriptor that is there it fails only for want of memory, and a change needs none. */
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

void event_loop_remove(struct event_loop *loop, int fd)
{
    struct watch *watch = fd < 0 ? NULL : find(loop, fd);

    if (watch == NULL)
        return;
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    watch->fd = -1;
    watch->generation++;
}

void event_loop_add_hook(struct event_loop *loop, struct event_hook *hook)
{
    hook->next = loop->hooks;
    loop->hooks = hook;
}

void event_loop_remove_hook(struct event_loop *loop, struct event_hook *hook)
{
    for (struct event_hook **at = &loop->hooks; *at != NULL; at = &(*at)->next) {
        if (*at == hook) {
            *at = hook->next;
            return;
        }
    }
}

/* How long the next wait may last. */
static int prepare(const struct event_loop *loop)
{
    int shortest = -1;

    for (const struct event_hook *hook = loop->hooks; hook != NULL; hook = hook->next) {
        const int timeout = hook->prepare(hook->context);
        if (timeout >= 0 && (shortest < 0 || timeout < shortest))
            shortest = timeout;
    }
    return shortest;
}

/* It may be left over from a stop whose flag an earlier run has obeyed already. */
static void clear_stop_fd(const struct event_loop *loop)
{
    uint64_t count;
    ssize_t got = read(loop->stop_fd, &count, sizeof(count));

    (void)got;
}

static void serve(struct event_loop *loop, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count && !atomic_load(&loop->stopped); i++) {
        if (events[i].data.u64 == STOP_IDENTITY) {
            clear_stop_fd(loop);
            continue;
        }
        const struct watch *watch = find_identity(loop, events[i].data.u64);
        if (watch != NULL)
            watch->callback(watch->context, events[i].events);
    }
}

int event_loop_run(struct event_loop *loop, struct error *error)
{
    struct epoll_event events[EVENTS_PER_ROUND];

    while (!atomic_exchange(&loop->stopped, false)) {
        int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, prepare(loop));
        if (count < 0 && errno != EINTR)
            return error_set(error, ERROR_HOST, "the event loop cannot wait: %s", strerror(errno));
        serve(loop, events, count);
    }
    return 0;
}

int event_loop_fd(const struct event_loop *loop)
{
    return loop->epoll_fd;
}

void event_loop_serve(struct event_loop *loop)
{
    struct epoll_event events[EVENTS_PER_ROUND];

    serve(loop, events, epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND, 0));
}

void event_loop_stop(struct event_loop *loop)
{
    const uint64_t one = 1;
    const int saved = errno;

    atomic_store(&loop->stopped, true);
    ssize_t written = write(loop->stop_fd, &one, sizeof(one));
    (void)written;
    errno = saved;
}
