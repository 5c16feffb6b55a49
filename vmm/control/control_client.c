#include "vmm/control/control_client.h"

#include "devices/host/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* An answer about the vCPUs of the largest machine has a quarter of it. */
enum { LINE_MAX_SIZE = 1 << 20 };

struct control_client {
    int fd;
    /* What has come; the first `taken` bytes are a line that has been given out. */
    size_t taken;
    size_t used;
    char bytes[LINE_MAX_SIZE];
};

struct control_client *control_client_connect(const char *address, struct error *error)
{
    struct control_client *client = malloc(sizeof(*client));

    if (client == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    client->taken = 0;
    client->used = 0;
    client->fd = unix_socket_connect(address, "control.listen", true, error);
    if (client->fd >= 0)
        return client;
    free(client);
    return NULL;
}

void control_client_destroy(struct control_client *client)
{
    if (client == NULL)
        return;
    close(client->fd);
    free(client);
}

int control_client_fd(const struct control_client *client)
{
    return client->fd;
}

static int fail_gone(struct error *error)
{
    return error_set(error, ERROR_HOST, "the machine has ended, or has no use for this client");
}

/* The file goes with the first byte. How many bytes were sent, or -1. */
static ssize_t send_some(const struct control_client *client, const char *bytes, size_t size, int file)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
    struct iovec part = {.iov_base = (char *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (file >= 0) {
        memcpy(CMSG_DATA(&control.header), &file, sizeof(file));
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
    }
    return sendmsg(client->fd, &message, MSG_NOSIGNAL);
}

int control_client_send(struct control_client *client, const char *request, int file, struct error *error)
{
    char *line = NULL;

    if (asprintf(&line, "%s\n", request) < 0)
        return error_set(error, ERROR_HOST, "out of memory");
    const size_t size = strlen(line);
    size_t sent = 0;
    while (sent < size) {
        const ssize_t some = send_some(client, line + sent, size - sent, sent == 0 ? file : -1);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0)
            break;
        sent += (size_t)some;
    }
    free(line);
    return sent == size ? 0 : fail_gone(error);
}

static int64_t now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether something has come, or the other side has left, by then. */
static bool wait_until(const struct control_client *client, int64_t deadline)
{
    struct pollfd wanted = {.fd = client->fd, .events = POLLIN};
    int result;

    do {
        const int64_t left = deadline < 0 ? -1 : deadline - now_milliseconds();
        result = poll(&wanted, 1, deadline >= 0 && left < 0 ? 0 : (int)left);
    } while (result < 0 && errno == EINTR);
    return result != 0;
}

const char *control_client_receive(struct control_client *client, int milliseconds, bool *ret_timed_out,
                                   struct error *error)
{
    const int64_t deadline = milliseconds < 0 ? -1 : now_milliseconds() + milliseconds;
    char *newline;

    if (ret_timed_out != NULL)
        *ret_timed_out = false;
    client->used -= client->taken;
    memmove(client->bytes, client->bytes + client->taken, client->used);
    client->taken = 0;
    while ((newline = memchr(client->bytes, '\n', client->used)) == NULL) {
        if (!wait_until(client, deadline)) {
            if (ret_timed_out != NULL)
                *ret_timed_out = true;
            error_set(error, ERROR_HOST, "the machine does not answer within %d ms", milliseconds);
            return NULL;
        }
        const ssize_t got =
            recv(client->fd, client->bytes + client->used, sizeof(client->bytes) - client->used, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        /* 0 also where there is no room: no machine writes such a line. */
        if (got <= 0) {
            fail_gone(error);
            return NULL;
        }
        client->used += (size_t)got;
    }
    *newline = '\0';
    client->taken = (size_t)(newline - client->bytes) + 1;
    return client->bytes;
}
