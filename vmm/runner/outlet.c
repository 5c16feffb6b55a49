#include "vmm/runner/outlet.h"

#include "vmm/config/place.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct outlet {
    struct event_loop *loop;
    int fd;
    int urgent_fd;
    FILE *stream;
    /* From start to end it is still to be written. */
    char *text;
    size_t start;
    size_t end;
    size_t size;
    bool is_in_loop;
    bool is_hurried;
    bool has_failed;
};

/* ---- What is kept ---- */

static size_t kept(const struct outlet *outlet)
{
    return outlet->end - outlet->start;
}

static void give_up(struct outlet *outlet)
{
    outlet->has_failed = true;
    outlet->start = outlet->end = 0;
}

static ssize_t keep(void *context, const char *bytes, size_t length)
{
    struct outlet *outlet = context;

    if (outlet->has_failed)
        return (ssize_t)length;
    if (outlet->start > 0) {
        memmove(outlet->text, outlet->text + outlet->start, kept(outlet));
        outlet->end -= outlet->start;
        outlet->start = 0;
    }
    if (length > outlet->size - outlet->end) {
        const size_t size = outlet->end + length + outlet->size;
        char *grown = realloc(outlet->text, size);
        if (grown == NULL) {
            give_up(outlet);
            return (ssize_t)length;
        }
        outlet->text = grown;
        outlet->size = size;
    }
    memcpy(outlet->text + outlet->end, bytes, length);
    outlet->end += length;
    return (ssize_t)length;
}

/* ---- What is written ---- */

/* Where poll(2) says that a pipe takes something, it takes PIPE_BUF bytes, and who writes these does not wait. */
static void write_some(struct outlet *outlet)
{
    const size_t length = kept(outlet) < PIPE_BUF ? kept(outlet) : PIPE_BUF;
    const ssize_t written = write(outlet->fd, outlet->text + outlet->start, length);

    if (written >= 0)
        outlet->start += (size_t)written;
    else if (errno != EINTR && errno != EAGAIN)
        give_up(outlet);
}

/* Writes what can be in this time, down to so many bytes that are left. */
static void drain(struct outlet *outlet, size_t left, int milliseconds)
{
    struct pollfd ends[] = {{.fd = outlet->fd, .events = POLLOUT}, {.fd = outlet->urgent_fd, .events = POLLIN}};
    /* Only who waits can be in a hurry. */
    const nfds_t count = milliseconds != 0 && outlet->urgent_fd >= 0 ? 2 : 1;

    while (kept(outlet) > left) {
        const int ready = poll(ends, count, milliseconds);
        if (ready == 0 || (ready < 0 && errno != EINTR))
            return;
        if (ready > 0 && ends[0].revents != 0)
            write_some(outlet);
        else if (ready > 0)
            return;
    }
}

static void on_ready(void *context, uint32_t events);

/* In the loop as long as there is something to write. */
static void follow(struct outlet *outlet)
{
    struct error ignored;

    if (kept(outlet) == 0 && outlet->is_in_loop) {
        event_loop_remove(outlet->loop, outlet->fd);
        outlet->is_in_loop = false;
    } else if (kept(outlet) > 0 && !outlet->is_in_loop) {
        /* Where it cannot be, the next line tries again. */
        outlet->is_in_loop = event_loop_add(outlet->loop, outlet->fd, EPOLLOUT, on_ready, outlet, &ignored) == 0;
    }
}

static void on_ready(void *context, uint32_t events)
{
    struct outlet *outlet = context;

    (void)events;
    drain(outlet, 0, 0);
    follow(outlet);
}

/* ---- From outside ---- */

struct outlet *outlet_create(struct event_loop *loop, int fd, int urgent_fd, struct error *error)
{
    struct outlet *outlet = calloc(1, sizeof(*outlet));

    if (outlet != NULL) {
        *outlet = (struct outlet){.loop = loop, .fd = fd, .urgent_fd = urgent_fd};
        outlet->stream = fopencookie(outlet, "w", (cookie_io_functions_t){.write = keep});
    }
    if (outlet != NULL && outlet->stream != NULL)
        return outlet;
    free(outlet);
    (void)config_out_of_memory(error);
    return NULL;
}

FILE *outlet_stream(struct outlet *outlet)
{
    return outlet->stream;
}

void outlet_push(struct outlet *outlet)
{
    (void)fflush(outlet->stream);
    drain(outlet, 0, 0);
    if (!outlet->is_hurried)
        drain(outlet, OUTLET_MAX, -1);
    follow(outlet);
}

void outlet_hurry(struct outlet *outlet)
{
    outlet->is_hurried = true;
}

void outlet_finish(struct outlet *outlet)
{
    outlet->urgent_fd = -1;
    (void)fflush(outlet->stream);
    drain(outlet, 0, -1);
    follow(outlet);
}

bool outlet_has_failed(const struct outlet *outlet)
{
    return outlet->has_failed;
}

void outlet_destroy(struct outlet *outlet)
{
    if (outlet == NULL)
        return;
    (void)fclose(outlet->stream);
    drain(outlet, 0, 0);
    if (outlet->is_in_loop)
        event_loop_remove(outlet->loop, outlet->fd);
    free(outlet->text);
    free(outlet);
}
