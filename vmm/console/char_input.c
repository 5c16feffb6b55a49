/* The way in: what was read and the guest has not taken yet. */
#include "vmm/console/char_end.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE_SIZE = 256 };

void char_input_keep(struct char_host *host, uint8_t byte)
{
    if (host->input_start + host->input_used == CHAR_INPUT_SIZE) {
        if (host->input_start == 0)
            return;
        memmove(host->input, host->input + host->input_start, host->input_used);
        host->input_start = 0;
    }
    host->input[host->input_start + host->input_used++] = byte;
}

void char_input_clear(struct char_host *host)
{
    host->input_start = 0;
    host->input_used = 0;
}

bool char_input_is_wanted(const struct char_host *host)
{
    if (host->input_ended || host->input_watch.always_ready)
        return false;
    return host->end->wants_input != NULL ? host->end->wants_input(host) : host->input_used == 0;
}

/* As read(2), but with EAGAIN instead of waiting. */
static ssize_t read_once(const struct char_host *host, void *data, size_t size)
{
    const int fd = host->input_watch.fd;
    struct pollfd one = {.fd = fd, .events = POLLIN};

    if (host->input_kind == CHAR_INPUT_SOCKET)
        return recv(fd, data, size, MSG_DONTWAIT);
    if (host->input_kind == CHAR_INPUT_POLLED && poll(&one, 1, 0) != 1) {
        errno = EAGAIN;
        return -1;
    }
    return read(fd, data, size);
}

static void read_failed(struct char_host *host, int failure)
{
    if (failure == EAGAIN || failure == EINTR)
        return;
    host->input_ended = host->end->survives_input_error == NULL || !host->end->survives_input_error(host, failure);
}

bool char_input_read(struct char_host *host)
{
    uint8_t piece[PIECE_SIZE];
    ssize_t got = read_once(host, piece, sizeof(piece));

    if (got < 0)
        read_failed(host, errno);
    else if (got == 0)
        host->input_ended = true;
    for (ssize_t i = 0; i < got; i++) {
        if (host->end->take_byte != NULL)
            host->end->take_byte(host, piece[i]);
        else
            char_input_keep(host, piece[i]);
    }
    return got > 0;
}

/* Gives the guest what it has room for; whether that was all. */
static bool feed(struct char_host *host)
{
    if (host->input_used == 0)
        return true;
    const size_t taken =
        host->frontend.receive(host->frontend.context, host->input + host->input_start, host->input_used);
    host->input_used -= taken;
    host->input_start = host->input_used == 0 ? 0 : host->input_start + taken;
    return host->input_used == 0;
}

void char_input_feed(struct char_host *host)
{
    while (feed(host) && host->input_watch.always_ready && !host->input_ended)
        if (!char_input_read(host))
            break;
}
