#include "vmm/console/char_host.h"

#include "vmm/console/char_end.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { FINISH_MILLISECONDS = 1000 };

static const struct char_end *const ends[] = {
    [CONFIG_SERIAL_STDIO] = &char_end_stdio, [CONFIG_SERIAL_PTY] = &char_end_pty,
    [CONFIG_SERIAL_FILE] = &char_end_file,   [CONFIG_SERIAL_UNIX] = &char_end_unix,
    [CONFIG_SERIAL_NONE] = &char_end_none,
};

static void on_input(void *context, uint32_t events);
static void on_output(void *context, uint32_t events);

/* ---- What the loop waits for ---- */

void char_host_unwatch(const struct char_host *host, struct char_watch *watch)
{
    if (watch->in_loop)
        event_loop_remove(host->loop, watch->fd);
    watch->in_loop = false;
}

static int watch_set(struct char_host *host, struct char_watch *watch, uint32_t events, event_callback *callback,
                     struct error *error)
{
    if (watch->always_ready)
        return 0;
    if (watch->in_loop && watch->events != events)
        event_loop_modify(host->loop, watch->fd, events);
    if (!watch->in_loop && event_loop_add(host->loop, watch->fd, events, callback, host, error) < 0) {
        watch->always_ready = errno == EPERM;
        return watch->always_ready ? 0 : -1;
    }
    watch->in_loop = true;
    watch->events = events;
    return 0;
}

/*
 * A hang-up is reported whatever is waited for. Of a client and of a reader we want to know it at once; of an input
 * that the guest does not take now it would be reported without end.
 */
static int update_watches(struct char_host *host, struct error *error)
{
    const uint32_t in = char_input_is_wanted(host) ? EPOLLIN : 0;
    const uint32_t out = host->output_blocked ? EPOLLOUT : 0;
    const bool shared = host->end->is_shared;

    if (host->input_watch.fd >= 0 && (in != 0 || (shared && !host->input_watch.always_ready))) {
        if (watch_set(host, &host->input_watch, shared ? in | out : in, on_input, error) < 0)
            return -1;
    } else {
        char_host_unwatch(host, &host->input_watch);
    }
    return host->output_watch.fd < 0 ? 0 : watch_set(host, &host->output_watch, out, on_output, error);
}

void char_host_set_connected(struct char_host *host, bool is_connected)
{
    if (host->is_connected == is_connected || host->frontend.connected == NULL)
        return;
    host->is_connected = is_connected;
    host->frontend.connected(host->frontend.context, is_connected);
}

static void update_connected(struct char_host *host)
{
    if (host->frontend.connected != NULL)
        char_host_set_connected(host, host->end->is_connected == NULL || host->end->is_connected(host));
}

void char_host_update(struct char_host *host)
{
    struct error error;

    if (update_watches(host, &error) < 0)
        log_line(host->log, LOG_LEVEL_WARN, host->name, "the port hangs: %s", error.text);
    update_connected(host);
}

/* ---- Output ---- */

size_t char_host_write(struct char_host *host, const uint8_t *bytes, size_t len)
{
    return char_output_put(&host->output, bytes, len);
}

static void warn_output(struct char_host *host, const char *consequence, int failure)
{
    if (!host->output_warned)
        log_line(host->log, LOG_LEVEL_WARN, host->name, "output cannot be written: %s; %s", strerror(failure),
                 consequence);
    host->output_warned = true;
}

static void output_failed(struct char_host *host, int failure)
{
    if (failure == ENOSPC || failure == EDQUOT || failure == EFBIG) {
        warn_output(host, "it is dropped until there is room again", failure);
        return;
    }
    char_output_connect(&host->output, -1, CHAR_OUTPUT_NONBLOCKING);
    host->output_blocked = false;
    if (host->end->survives_output_error != NULL && host->end->survives_output_error(host))
        return;
    warn_output(host, "it is dropped from here on", failure);
    char_host_unwatch(host, &host->output_watch);
    if (host->output_watch.fd >= 0)
        close(host->output_watch.fd);
    host->output_watch.fd = -1;
}

size_t char_host_drain(struct char_host *host, bool expired)
{
    const struct char_output_state state = char_output_drain(&host->output, expired);

    host->output_blocked = state.blocked;
    if (state.failure != 0)
        output_failed(host, state.failure);
    if (state.has_room && host->frontend.writable != NULL)
        host->frontend.writable(host->frontend.context);
    return state.used;
}

static void on_output(void *context, uint32_t events)
{
    struct char_host *host = context;

    /* A reader that goes is found even when there is nothing to write; a write would say the same. */
    if (events & (EPOLLERR | EPOLLHUP))
        output_failed(host, EPIPE);
    char_host_drain(host, false);
    char_host_update(host);
}

static void on_timer(void *context, uint32_t events)
{
    struct char_host *host = context;
    uint64_t expirations;

    (void)events;
    if (read(host->timer_fd, &expirations, sizeof(expirations)) < 0)
        return;
    char_host_drain(host, true);
    char_host_update(host);
}

/* ---- Input ---- */

void char_host_input_room(struct char_host *host)
{
    char_host_wake(host);
}

static void on_input(void *context, uint32_t events)
{
    struct char_host *host = context;

    if (host->end->is_shared && (events & EPOLLOUT))
        char_host_drain(host, false);
    if (char_input_is_wanted(host))
        (void)char_input_read(host);
    if (host->end->hung_up != NULL && (events & (EPOLLHUP | EPOLLERR)))
        host->end->hung_up(host);
    char_input_feed(host);
    char_host_update(host);
}

/* ---- Both ---- */

void char_host_wake(struct char_host *host)
{
    const uint64_t one = 1;
    ssize_t written = write(host->wake_fd, &one, sizeof(one));

    (void)written;
}

static void on_wake(void *context, uint32_t events)
{
    struct char_host *host = context;
    uint64_t count;

    (void)events;
    ssize_t got = read(host->wake_fd, &count, sizeof(count));
    (void)got;
    if (host->end->woken != NULL)
        host->end->woken(host);
    char_host_drain(host, false);
    char_input_feed(host);
    char_host_update(host);
}

void char_host_terminal_resized(struct char_host *host)
{
    uint16_t columns, rows;

    if (host->frontend.resized != NULL && host->end->get_size != NULL && host->end->get_size(host, &columns, &rows))
        host->frontend.resized(host->frontend.context, columns, rows);
}

/* ---- Its life ---- */

int char_host_path_failed(struct error *error, const char *what, const char *path)
{
    return error_set(error, ERROR_CONFIG, "%s: %s: %s; choose another path, or see to this one", path, what,
                     strerror(errno));
}

static struct char_host *allocate(const struct char_end *end)
{
    struct char_host *host = calloc(1, end->size);

    if (host == NULL)
        return NULL;
    host->end = end;
    host->input_watch.fd = -1;
    host->output_watch.fd = -1;
    if (end->init != NULL)
        end->init(host);
    return host;
}

static int open_all(struct char_host *host, const char *path, struct error *error)
{
    host->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    host->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    char_output_init(&host->output, host->timer_fd, host->wake_fd);
    if (host->timer_fd < 0 || host->wake_fd < 0)
        return error_set(error, ERROR_HOST, "no descriptors for %s: %s", host->name, strerror(errno));
    return host->end->open != NULL ? host->end->open(host, path, error) : 0;
}

struct char_host *char_host_create(const struct char_host_options *options, struct event_loop *loop, struct log *log,
                                   const struct console_commands *commands, struct error *error)
{
    struct char_host *host = allocate(ends[options->kind]);

    if (host == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    host->loop = loop;
    host->log = log;
    host->name = options->name;
    host->commands = *commands;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (open_all(host, options->path, error) == 0)
        return host;
    char_host_destroy(host);
    return NULL;
}

int char_host_watch_constant(struct char_host *host, int fd, event_callback *callback, struct error *error)
{
    return fd < 0 ? 0 : event_loop_add(host->loop, fd, EPOLLIN, callback, host, error);
}

int char_host_attach(struct char_host *host, const struct char_frontend *frontend, struct error *error)
{
    host->frontend = *frontend;
    if (char_host_watch_constant(host, host->timer_fd, on_timer, error) < 0 ||
        char_host_watch_constant(host, host->wake_fd, on_wake, error) < 0 ||
        (host->end->attach != NULL && host->end->attach(host, error) < 0) || update_watches(host, error) < 0)
        return -1;
    char_host_wake(host); /* for what is always ready, and for what the front end is to know */
    return 0;
}

int64_t char_host_now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for an event of fd until the deadline; whether it came. */
static bool wait_for(int fd, short events, int64_t deadline)
{
    const int64_t left = deadline - char_host_now_milliseconds();
    struct pollfd one = {.fd = fd, .events = events};

    return left > 0 && poll(&one, 1, (int)left) != 0;
}

static bool has_reader(const struct char_host *host)
{
    return host->end->has_reader != NULL ? host->end->has_reader(host) : host->output_watch.fd >= 0;
}

void char_host_finish(struct char_host *host)
{
    const int64_t deadline = char_host_now_milliseconds() + FINISH_MILLISECONDS;

    if (host->is_finished)
        return;
    host->is_finished = true;
    while (char_host_drain(host, false) > 0 && has_reader(host)) {
        const int fd = host->end->is_shared ? host->input_watch.fd : host->output_watch.fd;
        if (!wait_for(fd, POLLOUT, deadline))
            break;
    }
    if (host->end->finish != NULL)
        host->end->finish(host, deadline);
}

void char_host_release(const struct char_host *host, int fd)
{
    if (fd < 0)
        return;
    event_loop_remove(host->loop, fd);
    close(fd);
}

void char_host_destroy(struct char_host *host)
{
    if (host == NULL)
        return;
    char_host_finish(host);
    if (host->end->close != NULL)
        host->end->close(host);
    char_host_release(host, host->input_watch.fd);
    char_host_release(host, host->output_watch.fd);
    char_host_release(host, host->timer_fd);
    char_host_release(host, host->wake_fd);
    if (host->made_path != NULL)
        (void)unlink(host->made_path);
    free(host->made_path);
    char_output_fini(&host->output);
    free(host);
}
