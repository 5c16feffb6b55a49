#include "vmm/console/char_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- The descriptor ---- */

/* The same pipe or terminal, opened anew with an O_NONBLOCK of its own. -1: it cannot be. */
static int open_again(int fd)
{
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int char_output_open_inherited(int fd, enum char_output_kind *ret_kind)
{
    enum char_output_kind kind = CHAR_OUTPUT_NONBLOCKING;
    struct stat status;
    int ours = -1;

    if (fstat(fd, &status) < 0)
        return -1;
    if (S_ISSOCK(status.st_mode)) {
        kind = CHAR_OUTPUT_SOCKET;
    } else if (!S_ISREG(status.st_mode)) {
        /* Only of these two it is known that opening them does nothing else. */
        if (S_ISFIFO(status.st_mode) || isatty(fd) == 1)
            ours = open_again(fd);
        if (ours < 0)
            kind = CHAR_OUTPUT_POLLED;
    }
    /* A file keeps the offset that it shares with whoever gave it to us. */
    if (ours < 0)
        ours = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (ours >= 0)
        *ret_kind = kind;
    return ours;
}

/* A pipe that poll(2) says is writable takes PIPE_BUF bytes at once (pipe(7)). */
static ssize_t write_polled(int fd, const void *data, size_t size)
{
    struct pollfd one = {.fd = fd, .events = POLLOUT};

    if (poll(&one, 1, 0) != 1) {
        errno = EAGAIN;
        return -1;
    }
    return write(fd, data, size < PIPE_BUF ? size : PIPE_BUF);
}

/* As write(2), but never waits. */
static ssize_t write_once(const struct char_output *output, const void *data, size_t size)
{
    switch (output->kind) {
    case CHAR_OUTPUT_SOCKET:
        return send(output->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    case CHAR_OUTPUT_POLLED:
        return write_polled(output->fd, data, size);
    case CHAR_OUTPUT_NONBLOCKING:
        break;
    }
    return write(output->fd, data, size);
}

/* ---- The ring ---- */

void char_output_init(struct char_output *output, int timer_fd, int wake_fd)
{
    output->timer_fd = timer_fd;
    output->wake_fd = wake_fd;
    output->fd = -1;
    pthread_mutex_init(&output->lock, NULL);
}

void char_output_fini(struct char_output *output)
{
    pthread_mutex_destroy(&output->lock);
}

static void ring_clear(struct char_output *output)
{
    output->start = 0; /* A port that is mostly quiet touches little memory. */
    output->used = 0;
}

static void ring_append(struct char_output *output, const uint8_t *bytes, size_t len)
{
    const size_t end = (output->start + output->used) % CHAR_OUTPUT_RING_SIZE;
    const size_t straight = CHAR_OUTPUT_RING_SIZE - end < len ? CHAR_OUTPUT_RING_SIZE - end : len;

    memcpy(output->ring + end, bytes, straight);
    memcpy(output->ring, bytes + straight, len - straight);
    output->used += len;
}

static void ring_consume(struct char_output *output, size_t len)
{
    output->start = (output->start + len) % CHAR_OUTPUT_RING_SIZE;
    output->used -= len;
    if (output->used == 0)
        ring_clear(output);
}

/* With the lock held; any thread. Afterwards the ring is empty, or the descriptor takes nothing more. */
static void flush_locked(struct char_output *output)
{
    while (output->used > 0 && !output->blocked) {
        const size_t straight = CHAR_OUTPUT_RING_SIZE - output->start;
        const size_t size = straight < output->used ? straight : output->used;
        ssize_t written = write_once(output, output->ring + output->start, size);
        if (written > 0) {
            ring_consume(output, (size_t)written);
        } else if (written == 0 || errno == EAGAIN) {
            output->blocked = true;
        } else if (errno != EINTR) {
            output->failure = errno;
            ring_clear(output);
        }
    }
}

static void arm_timer_locked(struct char_output *output)
{
    const struct itimerspec soon = {.it_value.tv_nsec = CHAR_OUTPUT_GATHER_NANOSECONDS};

    if (output->timer_armed)
        return;
    output->timer_armed = timerfd_settime(output->timer_fd, 0, &soon, NULL) == 0;
}

static void wake_loop(const struct char_output *output)
{
    const uint64_t one = 1;
    ssize_t written = write(output->wake_fd, &one, sizeof(one));

    (void)written;
}

static size_t put_locked(struct char_output *output, const uint8_t *bytes, size_t len)
{
    const size_t room = CHAR_OUTPUT_RING_SIZE - output->used;
    const size_t taken = len < room ? len : room;

    if (output->fd < 0 || output->failure != 0)
        return len;
    ring_append(output, bytes, taken);
    /* If it is blocked, the loop goes on when it can. */
    if (output->used >= CHAR_OUTPUT_GATHER_SIZE || memchr(bytes, '\n', taken) != NULL)
        flush_locked(output);
    else if (!output->blocked)
        arm_timer_locked(output);
    if (taken == len || output->drops_when_full)
        return len;
    output->refused = true;
    return taken;
}

size_t char_output_put(struct char_output *output, const uint8_t *bytes, size_t len)
{
    pthread_mutex_lock(&output->lock);
    const bool was_blocked = output->blocked;
    const int old_failure = output->failure;
    const size_t taken = put_locked(output, bytes, len);
    /* It alone may change what the event loop waits for, and reports. */
    const bool wake = output->blocked != was_blocked || output->failure != old_failure;
    pthread_mutex_unlock(&output->lock);
    if (wake)
        wake_loop(output);
    return taken;
}

struct char_output_state char_output_drain(struct char_output *output, bool expired)
{
    pthread_mutex_lock(&output->lock);
    if (expired)
        output->timer_armed = false;
    output->blocked = false;
    if (output->fd >= 0 && output->failure == 0)
        flush_locked(output);
    const struct char_output_state state = {
        .blocked = output->blocked,
        .has_room = output->refused && (output->used < CHAR_OUTPUT_RING_SIZE || output->drops_when_full),
        .failure = output->failure,
        .used = output->used,
    };
    output->failure = 0;
    if (state.has_room)
        output->refused = false;
    pthread_mutex_unlock(&output->lock);
    return state;
}

void char_output_connect(struct char_output *output, int fd, enum char_output_kind kind)
{
    pthread_mutex_lock(&output->lock);
    output->fd = fd;
    output->kind = kind;
    output->blocked = false;
    output->failure = 0;
    ring_clear(output);
    pthread_mutex_unlock(&output->lock);
}

void char_output_set_drops_when_full(struct char_output *output, bool drops)
{
    pthread_mutex_lock(&output->lock);
    output->drops_when_full = drops;
    pthread_mutex_unlock(&output->lock);
}
