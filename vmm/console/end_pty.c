/* A pty, and those who have it open. */
#include "vmm/console/char_end.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

struct pty_end {
    struct char_host host;
    /* constant; held open, so that a client that leaves is no hang-up, which a poll would report without end */
    int slave_fd;
    int notify_fd;
    /* owner: the loop's thread */
    unsigned clients;
};

static struct pty_end *pty_of(struct char_host *host)
{
    return (struct pty_end *)(void *)host;
}

static const struct pty_end *pty_of_const(const struct char_host *host)
{
    return (const struct pty_end *)(const void *)host;
}

static void pty_init(struct char_host *host)
{
    pty_of(host)->slave_fd = -1;
    pty_of(host)->notify_fd = -1;
}

/* ---- Clients ---- */

static unsigned count_clients(unsigned clients, uint32_t mask)
{
    if (mask & IN_OPEN)
        return clients + 1;
    return (mask & IN_CLOSE) && clients > 0 ? clients - 1 : clients;
}

static void on_notice(void *context, uint32_t events)
{
    struct pty_end *end = context;
    _Alignas(struct inotify_event) char notices[1024];

    (void)events;
    ssize_t got = read(end->notify_fd, notices, sizeof(notices));
    for (size_t at = 0; got > 0 && at < (size_t)got;) {
        const struct inotify_event *notice = (const void *)(notices + at);
        end->clients = count_clients(end->clients, notice->mask);
        at += sizeof(*notice) + notice->len;
    }
    char_output_set_drops_when_full(&end->host.output, end->clients == 0);
    char_host_drain(&end->host, false);
    char_host_update(&end->host);
}

static bool pty_has_reader(const struct char_host *host)
{
    return pty_of_const(host)->clients > 0;
}

/* One that has left is there for the guest until all that it has sent has been taken. */
static bool pty_is_connected(const struct char_host *host)
{
    struct pollfd unread = {.fd = host->input_watch.fd, .events = POLLIN};

    /* Without notices nobody knows. */
    if (pty_of_const(host)->clients > 0 || pty_of_const(host)->notify_fd < 0)
        return true;
    return host->is_connected && (host->input_used > 0 || poll(&unread, 1, 0) == 1);
}

/* Without notices nobody counts as a client: what does not fit is dropped. */
static void watch_clients(struct pty_end *end, const char *name)
{
    end->notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (end->notify_fd >= 0)
        (void)inotify_add_watch(end->notify_fd, name, IN_OPEN | IN_CLOSE);
    char_output_set_drops_when_full(&end->host.output, true);
}

/* ---- The link ---- */

/* A link to a pty that is gone, or to the one that we have got now, was left behind by a machine that was killed. */
static void remove_stale_link(const char *path, const char *pty_name)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof(target) - 1);

    if (length < 0)
        return;
    target[length] = '\0';
    if (strncmp(target, "/dev/pts/", strlen("/dev/pts/")) != 0)
        return;
    if (strcmp(target, pty_name) == 0 || access(target, F_OK) != 0)
        (void)unlink(path);
}

static int link_pty(struct char_host *host, const char *path, const char *pty_name, struct error *error)
{
    if (path == NULL) {
        /* At this level, because nothing else tells where the port is. */
        log_line(host->log, LOG_LEVEL_ERROR, host->name, "the port is at %s", pty_name);
        return 0;
    }
    remove_stale_link(path, pty_name);
    char *copy = strdup(path);
    if (copy == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (symlink(pty_name, path) < 0) {
        char_host_path_failed(error, "the link to the pty cannot be made", path);
        free(copy);
        return -1;
    }
    host->made_path = copy;
    log_line(host->log, LOG_LEVEL_INFO, host->name, "the port is at %s, which %s leads to", pty_name, path);
    return 0;
}

/* ---- Its life ---- */

static int pty_open(struct char_host *host, const char *path, struct error *error)
{
    struct pty_end *end = pty_of(host);
    char name[64];
    struct termios settings;

    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no pty: %s", strerror(errno));
    host->input_watch.fd = fd;
    host->input_kind = CHAR_INPUT_NONBLOCKING;
    if (grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof(name)) != 0)
        return error_set(error, ERROR_HOST, "the host gave no pty: %s", strerror(errno));
    end->slave_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (end->slave_fd < 0 || tcgetattr(end->slave_fd, &settings) < 0)
        return error_set(error, ERROR_HOST, "the pty %s cannot be used: %s", name, strerror(errno));
    cfmakeraw(&settings);
    (void)tcsetattr(end->slave_fd, TCSANOW, &settings);
    watch_clients(end, name);
    char_output_connect(&host->output, fd, CHAR_OUTPUT_NONBLOCKING);
    return link_pty(host, path, name, error);
}

static int pty_attach(struct char_host *host, struct error *error)
{
    return char_host_watch_constant(host, pty_of(host)->notify_fd, on_notice, error);
}

/* What a pty holds is lost when its master is closed: gives its client the time to read it. */
static void pty_finish(struct char_host *host, int64_t deadline)
{
    const struct pty_end *end = pty_of(host);
    const struct timespec moment = {.tv_nsec = 2000000};
    struct pollfd unread = {.fd = end->slave_fd, .events = POLLIN};

    while (end->clients > 0 && poll(&unread, 1, 0) == 1 && char_host_now_milliseconds() < deadline)
        nanosleep(&moment, NULL);
}

static void pty_close(struct char_host *host)
{
    char_host_release(host, pty_of(host)->slave_fd);
    char_host_release(host, pty_of(host)->notify_fd);
}

const struct char_end char_end_pty = {
    .size = sizeof(struct pty_end),
    .is_shared = true,
    .init = pty_init,
    .open = pty_open,
    .attach = pty_attach,
    .has_reader = pty_has_reader,
    .is_connected = pty_is_connected,
    .finish = pty_finish,
    .close = pty_close,
};
