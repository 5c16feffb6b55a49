#include "vmm/console/serial_host.h"

#include "vmm/console/serial_output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    FINISH_MILLISECONDS = 1000,
    /* How often a process in the background looks whether it has come to the foreground, which nothing announces. */
    FOREGROUND_MILLISECONDS = 500,
    INPUT_SIZE = 64 << 10,
    INPUT_PIECE = 256,
};

/* How input is read without waiting, whoever else reads it. */
enum input_kind { INPUT_NONBLOCKING, INPUT_SOCKET, INPUT_POLLED };

/* A descriptor and what the loop waits for. */
struct watch {
    int fd;
    /* It never waits, and so the loop cannot wait for it: a file, or a client that has gone. */
    bool always_ready;
    bool in_loop;
    uint32_t events;
};

struct serial_host {
    /* constant */
    enum config_serial_backend kind;
    bool is_terminal;
    struct event_loop *loop;
    struct log *log;
    struct console_commands commands;
    struct serial *serial;
    int timer_fd;
    /* Something is to be done: input_room, the output's wake_fd, the terminal's hook. */
    int wake_fd;
    int foreground_timer_fd;
    int listen_fd;
    /* Held open, so that a client that leaves is no hang-up, which a poll would report without end. */
    int pty_slave_fd;
    int pty_notify_fd;
    /* Made by us, and removed at the end. */
    char *made_path;

    /* Set by a signal handler, taken by the loop. */
    atomic_bool continued;
    struct serial_output output;

    /* owner: the loop's thread, as for all below */
    struct watch output_watch;
    bool output_blocked;
    bool output_warned;
    unsigned pty_clients;
    /* The socket's client and the pty are the output too; output_watch is not used then. */
    struct watch input_watch;
    enum input_kind input_kind;
    bool input_ended;
    bool terminal_is_raw;
    bool is_finished;
    struct terminal_filter filter;
    /* What the guest has not taken yet is input[start, start + used). */
    size_t input_start;
    size_t input_used;
    uint8_t input[INPUT_SIZE];
};

static void on_input(void *context, uint32_t events);
static void on_output(void *context, uint32_t events);

/* ---- What the loop waits for ---- */

static bool has_shared_descriptor(const struct serial_host *host)
{
    return host->kind == CONFIG_SERIAL_UNIX || host->kind == CONFIG_SERIAL_PTY;
}

static bool wants_input(const struct serial_host *host)
{
    if (host->input_ended || host->input_watch.always_ready)
        return false;
    return host->is_terminal ? host->terminal_is_raw : host->input_used == 0;
}

static void watch_remove(const struct serial_host *host, struct watch *watch)
{
    if (watch->in_loop)
        event_loop_remove(host->loop, watch->fd);
    watch->in_loop = false;
}

static int watch_set(struct serial_host *host, struct watch *watch, uint32_t events, event_callback *callback,
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
static int update_watches(struct serial_host *host, struct error *error)
{
    const uint32_t in = wants_input(host) ? EPOLLIN : 0;
    const uint32_t out = host->output_blocked ? EPOLLOUT : 0;
    const bool shared = has_shared_descriptor(host);

    if (host->input_watch.fd >= 0 && (in != 0 || (shared && !host->input_watch.always_ready))) {
        if (watch_set(host, &host->input_watch, shared ? in | out : in, on_input, error) < 0)
            return -1;
    } else {
        watch_remove(host, &host->input_watch);
    }
    return host->output_watch.fd < 0 ? 0 : watch_set(host, &host->output_watch, out, on_output, error);
}

static void update(struct serial_host *host)
{
    struct error error;

    if (update_watches(host, &error) < 0)
        log_line(host->log, LOG_LEVEL_WARN, "serial", "the port hangs: %s", error.text);
}

/* ---- Output ---- */

/* struct serial_backend: on a vCPU's thread, with the UART's lock held. */
static size_t backend_write(void *context, const uint8_t *bytes, size_t len)
{
    struct serial_host *host = context;

    return serial_output_put(&host->output, bytes, len);
}

static void warn_output(struct serial_host *host, const char *consequence, int failure)
{
    if (!host->output_warned)
        log_line(host->log, LOG_LEVEL_WARN, "serial", "output cannot be written: %s; %s", strerror(failure),
                 consequence);
    host->output_warned = true;
}

static void output_failed(struct serial_host *host, int failure)
{
    if (failure == ENOSPC || failure == EDQUOT || failure == EFBIG) {
        warn_output(host, "it is dropped until there is room again", failure);
        return;
    }
    serial_output_connect(&host->output, -1, SERIAL_OUTPUT_NONBLOCKING);
    host->output_blocked = false;
    /* Clients of a socket come and go; the loop tells when this one has gone for good. */
    if (host->kind == CONFIG_SERIAL_UNIX)
        return;
    warn_output(host, "it is dropped from here on", failure);
    watch_remove(host, &host->output_watch);
    if (host->output_watch.fd >= 0)
        close(host->output_watch.fd);
    host->output_watch.fd = -1;
}

/* Writes what goes, and lets a guest that was refused send on. Returns how many bytes are left. */
static size_t drain_output(struct serial_host *host, bool expired)
{
    const struct serial_output_state state = serial_output_drain(&host->output, expired);

    host->output_blocked = state.blocked;
    if (state.failure != 0)
        output_failed(host, state.failure);
    if (state.has_room && host->serial != NULL)
        serial_backend_writable(host->serial);
    return state.used;
}

static void on_output(void *context, uint32_t events)
{
    struct serial_host *host = context;

    /* A reader that goes is found even when there is nothing to write; a write would say the same. */
    if (events & (EPOLLERR | EPOLLHUP))
        output_failed(host, EPIPE);
    drain_output(host, false);
    update(host);
}

static void on_timer(void *context, uint32_t events)
{
    struct serial_host *host = context;
    uint64_t expirations;

    (void)events;
    if (read(host->timer_fd, &expirations, sizeof(expirations)) < 0)
        return;
    drain_output(host, true);
    update(host);
}

/* ---- Input ---- */

static void wake(struct serial_host *host)
{
    const uint64_t one = 1;
    ssize_t written = write(host->wake_fd, &one, sizeof(one));

    (void)written;
}

/* struct serial_backend: on a vCPU's thread, with the UART's lock held. */
static void backend_input_room(void *context)
{
    wake(context);
}

/* Keeps a byte for the guest, or drops it when it has left too many untaken. */
static void keep_input(struct serial_host *host, uint8_t byte)
{
    if (host->input_start + host->input_used == INPUT_SIZE) {
        if (host->input_start == 0)
            return;
        memmove(host->input, host->input + host->input_start, host->input_used);
        host->input_start = 0;
    }
    host->input[host->input_start + host->input_used++] = byte;
}

static void handle_key(struct serial_host *host, uint8_t byte)
{
    char help[TERMINAL_HELP_SIZE];
    enum console_command command;

    switch (terminal_filter_key(&host->filter, &byte, &command)) {
    case TERMINAL_KEY_GUEST:
        keep_input(host, byte);
        break;
    case TERMINAL_KEY_COMMAND:
        host->commands.command(host->commands.context, command);
        break;
    case TERMINAL_KEY_HELP:
        terminal_format_help(help);
        terminal_print(help);
        break;
    case TERMINAL_KEY_UNKNOWN:
        terminal_print(TERMINAL_HINT);
        break;
    case TERMINAL_KEY_NOTHING:
        break;
    }
}

/* As read(2), but with EAGAIN instead of waiting. */
static ssize_t read_once(const struct serial_host *host, void *data, size_t size)
{
    const int fd = host->input_watch.fd;
    struct pollfd one = {.fd = fd, .events = POLLIN};

    if (host->input_kind == INPUT_SOCKET)
        return recv(fd, data, size, MSG_DONTWAIT);
    if (host->input_kind == INPUT_POLLED && poll(&one, 1, 0) != 1) {
        errno = EAGAIN;
        return -1;
    }
    return read(fd, data, size);
}

/* While it is not raw, it is somebody else's: what is typed is not read, and nobody tells when that changes. */
static void check_terminal(struct serial_host *host)
{
    host->terminal_is_raw = terminal_resume();
    const struct timespec period = {.tv_nsec = host->terminal_is_raw ? 0 : FOREGROUND_MILLISECONDS * 1000000L};
    const struct itimerspec timer = {.it_interval = period, .it_value = period};

    (void)timerfd_settime(host->foreground_timer_fd, 0, &timer, NULL);
}

static void input_failed(struct serial_host *host, int failure)
{
    if (failure == EAGAIN || failure == EINTR)
        return;
    /* What a read in the background comes to. */
    if (failure == EIO && host->is_terminal) {
        check_terminal(host);
        if (!host->terminal_is_raw)
            return;
    }
    host->input_ended = true;
}

/* Reads a piece; whether there may be more. */
static bool read_input(struct serial_host *host)
{
    uint8_t piece[INPUT_PIECE];
    ssize_t got = read_once(host, piece, sizeof(piece));

    if (got < 0)
        input_failed(host, errno);
    else if (got == 0)
        host->input_ended = true;
    for (ssize_t i = 0; i < got; i++) {
        if (host->is_terminal)
            handle_key(host, piece[i]);
        else
            keep_input(host, piece[i]);
    }
    return got > 0;
}

/* Gives the guest what it has room for; whether that was all. */
static bool feed_input(struct serial_host *host)
{
    if (host->input_used == 0)
        return true;
    const size_t taken = serial_receive(host->serial, host->input + host->input_start, host->input_used);
    host->input_used -= taken;
    host->input_start = host->input_used == 0 ? 0 : host->input_start + taken;
    return host->input_used == 0;
}

static void feed_all_input(struct serial_host *host)
{
    while (feed_input(host) && host->input_watch.always_ready && !host->input_ended)
        if (!read_input(host))
            break;
}

static void on_wake(void *context, uint32_t events)
{
    struct serial_host *host = context;
    uint64_t count;

    (void)events;
    ssize_t got = read(host->wake_fd, &count, sizeof(count));
    (void)got;
    if (atomic_exchange(&host->continued, false))
        check_terminal(host);
    drain_output(host, false);
    feed_all_input(host);
    update(host);
}

static void on_foreground_timer(void *context, uint32_t events)
{
    struct serial_host *host = context;
    uint64_t expirations;

    (void)events;
    ssize_t got = read(host->foreground_timer_fd, &expirations, sizeof(expirations));
    (void)got;
    check_terminal(host);
    update(host);
}

/* Called by a signal handler. */
static void on_process_continued(void *context)
{
    struct serial_host *host = context;

    atomic_store(&host->continued, true);
    wake(host);
}

/* ---- Clients of the socket ---- */

/* Nobody reads any more, but what it has sent may still be there for the guest. */
static void client_hung_up(struct serial_host *host)
{
    serial_output_connect(&host->output, -1, SERIAL_OUTPUT_SOCKET);
    drain_output(host, false);
    watch_remove(host, &host->input_watch);
    host->input_watch.always_ready = true;
    event_loop_modify(host->loop, host->listen_fd, EPOLLIN);
}

static void on_client(void *context, uint32_t events)
{
    struct serial_host *host = context;

    (void)events;
    int fd = accept4(host->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        log_line(host->log, LOG_LEVEL_WARN, "serial", "no more clients can connect: %s", strerror(errno));
        event_loop_modify(host->loop, host->listen_fd, 0); /* or it would be reported without end */
    }
    if (fd < 0)
        return;
    if (host->input_watch.fd >= 0)
        close(host->input_watch.fd);
    host->input_watch = (struct watch){.fd = fd};
    host->input_ended = false;
    host->input_start = 0;
    host->input_used = 0;
    serial_output_connect(&host->output, fd, SERIAL_OUTPUT_SOCKET);
    /* One at a time: the next one waits until this one has left. */
    event_loop_modify(host->loop, host->listen_fd, 0);
    update(host);
}

static void on_input(void *context, uint32_t events)
{
    struct serial_host *host = context;

    if (has_shared_descriptor(host) && (events & EPOLLOUT))
        drain_output(host, false);
    if (wants_input(host))
        (void)read_input(host);
    if (host->kind == CONFIG_SERIAL_UNIX && (events & (EPOLLHUP | EPOLLERR)))
        client_hung_up(host);
    feed_all_input(host);
    update(host);
}

/* ---- Clients of the pty ---- */

static unsigned count_clients(unsigned clients, uint32_t mask)
{
    if (mask & IN_OPEN)
        return clients + 1;
    return (mask & IN_CLOSE) && clients > 0 ? clients - 1 : clients;
}

static void on_pty_notice(void *context, uint32_t events)
{
    struct serial_host *host = context;
    _Alignas(struct inotify_event) char notices[1024];

    (void)events;
    ssize_t got = read(host->pty_notify_fd, notices, sizeof(notices));
    for (size_t at = 0; got > 0 && at < (size_t)got;) {
        const struct inotify_event *notice = (const void *)(notices + at);
        host->pty_clients = count_clients(host->pty_clients, notice->mask);
        at += sizeof(*notice) + notice->len;
    }
    serial_output_set_drops_when_full(&host->output, host->pty_clients == 0);
    drain_output(host, false);
    update(host);
}

/* ---- What is at the other end ---- */

static int failed(struct error *error, const char *what, const char *path)
{
    return error_set(error, ERROR_CONFIG, "serial.path: %s: %s: %s", path, what, strerror(errno));
}

/* Standard input, or another descriptor of the same thing with an O_NONBLOCK of its own. */
static int open_standard_input(struct serial_host *host)
{
    struct stat status;
    int fd = -1;

    if (fstat(STDIN_FILENO, &status) < 0)
        return 0; /* closed: there is no input */
    host->input_kind = INPUT_NONBLOCKING;
    if (S_ISSOCK(status.st_mode)) {
        host->input_kind = INPUT_SOCKET;
    } else if (!S_ISREG(status.st_mode)) {
        if (S_ISFIFO(status.st_mode) || host->is_terminal)
            fd = open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
            host->input_kind = INPUT_POLLED;
    }
    if (fd < 0)
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    host->input_watch.fd = fd;
    return fd < 0 ? -1 : 0;
}

static int open_stdio(struct serial_host *host, struct error *error)
{
    enum serial_output_kind kind;

    host->is_terminal = isatty(STDIN_FILENO) == 1;
    if (open_standard_input(host) < 0)
        return error_set(error, ERROR_HOST, "standard input cannot be used: %s", strerror(errno));
    host->output_watch.fd = serial_output_open_inherited(STDOUT_FILENO, &kind);
    if (host->output_watch.fd < 0)
        return error_set(error, ERROR_HOST, "standard output cannot be used: %s", strerror(errno));
    serial_output_connect(&host->output, host->output_watch.fd, kind);
    if (!host->is_terminal)
        return 0;
    host->foreground_timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (host->foreground_timer_fd < 0)
        return error_set(error, ERROR_HOST, "no descriptors for the serial port: %s", strerror(errno));
    terminal_set_continue_hook(on_process_continued, host);
    return terminal_open(STDIN_FILENO, host->log, error);
}

static int open_file(struct serial_host *host, const char *path, struct error *error)
{
    /* O_NONBLOCK for what is not a regular file: a device, or a FIFO, which has to have a reader. */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);

    if (fd < 0)
        return failed(error, "it cannot be written", path);
    host->output_watch.fd = fd;
    serial_output_connect(&host->output, fd, SERIAL_OUTPUT_NONBLOCKING);
    return 0;
}

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

static int link_pty(struct serial_host *host, const char *path, const char *pty_name, struct error *error)
{
    if (path == NULL) {
        /* At this level, because nothing else tells where the port is. */
        log_line(host->log, LOG_LEVEL_ERROR, "serial", "the port is at %s", pty_name);
        return 0;
    }
    remove_stale_link(path, pty_name);
    char *copy = strdup(path);
    if (copy == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (symlink(pty_name, path) < 0) {
        failed(error, "the link to the pty cannot be made", path);
        free(copy);
        return -1;
    }
    host->made_path = copy;
    log_line(host->log, LOG_LEVEL_INFO, "serial", "the port is at %s, which %s leads to", pty_name, path);
    return 0;
}

/* Without notices nobody counts as a client: what does not fit is dropped. */
static void watch_pty_clients(struct serial_host *host, const char *name)
{
    host->pty_notify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (host->pty_notify_fd >= 0)
        (void)inotify_add_watch(host->pty_notify_fd, name, IN_OPEN | IN_CLOSE);
    serial_output_set_drops_when_full(&host->output, true);
}

static int open_pty(struct serial_host *host, const char *path, struct error *error)
{
    char name[64];
    struct termios settings;

    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no pty: %s", strerror(errno));
    host->input_watch.fd = fd;
    host->input_kind = INPUT_NONBLOCKING;
    if (grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof(name)) != 0)
        return error_set(error, ERROR_HOST, "the host gave no pty: %s", strerror(errno));
    host->pty_slave_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (host->pty_slave_fd < 0 || tcgetattr(host->pty_slave_fd, &settings) < 0)
        return error_set(error, ERROR_HOST, "the pty %s cannot be used: %s", name, strerror(errno));
    cfmakeraw(&settings);
    (void)tcsetattr(host->pty_slave_fd, TCSANOW, &settings);
    watch_pty_clients(host, name);
    serial_output_connect(&host->output, fd, SERIAL_OUTPUT_NONBLOCKING);
    return link_pty(host, path, name, error);
}

/* A socket that nobody listens on any more is in the way; anything else stays where it is. */
static void remove_stale_socket(const char *path, const struct sockaddr_un *address)
{
    struct stat status;

    if (lstat(path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return;
    /* Nonblocking: a connection to a listener that is busy would wait. */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED)
        (void)unlink(path);
    close(fd);
}

static int open_unix(struct serial_host *host, const char *path, struct error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return error_set(error, ERROR_CONFIG, "serial.path: %s: a socket's path has at most %zu bytes; use a shorter",
                         path, sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    host->input_kind = INPUT_SOCKET;
    remove_stale_socket(path, &address);
    host->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (host->listen_fd < 0)
        return error_set(error, ERROR_HOST, "the host gave no socket: %s", strerror(errno));
    char *copy = strdup(path);
    if (copy == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (bind(host->listen_fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        failed(error, "the socket cannot be made", path);
        free(copy);
        return -1;
    }
    host->made_path = copy;
    return listen(host->listen_fd, 1) < 0 ? failed(error, "the socket cannot be listened on", path) : 0;
}

static int open_kind(struct serial_host *host, const char *path, struct error *error)
{
    switch (host->kind) {
    case CONFIG_SERIAL_STDIO:
        return open_stdio(host, error);
    case CONFIG_SERIAL_PTY:
        return open_pty(host, path, error);
    case CONFIG_SERIAL_FILE:
        return open_file(host, path, error);
    case CONFIG_SERIAL_UNIX:
        return open_unix(host, path, error);
    case CONFIG_SERIAL_NONE:
        break;
    }
    return 0;
}

/* ---- Its life ---- */

struct serial_host *serial_host_create(enum config_serial_backend kind, const char *path, struct event_loop *loop,
                                       struct log *log, const struct console_commands *commands, struct error *error)
{
    struct serial_host *host = calloc(1, sizeof(*host));

    if (host == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    host->kind = kind;
    host->loop = loop;
    host->log = log;
    host->commands = *commands;
    host->input_watch.fd = -1;
    host->output_watch.fd = -1;
    host->foreground_timer_fd = -1;
    host->listen_fd = -1;
    host->pty_slave_fd = -1;
    host->pty_notify_fd = -1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    host->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    host->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    serial_output_init(&host->output, host->timer_fd, host->wake_fd);
    if (host->timer_fd < 0 || host->wake_fd < 0)
        error_set(error, ERROR_HOST, "no descriptors for the serial port: %s", strerror(errno));
    else if (open_kind(host, path, error) == 0)
        return host;
    serial_host_destroy(host);
    return NULL;
}

struct serial_backend serial_host_backend(struct serial_host *host)
{
    return (struct serial_backend){.write = backend_write, .input_room = backend_input_room, .ctx = host};
}

/* Descriptors that are there all the time, as far as this kind has them. */
static int add_constant(struct serial_host *host, int fd, event_callback *callback, struct error *error)
{
    return fd < 0 ? 0 : event_loop_add(host->loop, fd, EPOLLIN, callback, host, error);
}

int serial_host_attach(struct serial_host *host, struct serial *serial, struct error *error)
{
    host->serial = serial;
    if (add_constant(host, host->timer_fd, on_timer, error) < 0 ||
        add_constant(host, host->wake_fd, on_wake, error) < 0 ||
        add_constant(host, host->foreground_timer_fd, on_foreground_timer, error) < 0 ||
        add_constant(host, host->listen_fd, on_client, error) < 0 ||
        add_constant(host, host->pty_notify_fd, on_pty_notice, error) < 0)
        return -1;
    if (host->is_terminal)
        check_terminal(host);
    if (update_watches(host, error) < 0)
        return -1;
    wake(host); /* for what is always ready */
    return 0;
}

static int64_t now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for an event of fd until the deadline; whether it came. */
static bool wait_for(int fd, short events, int64_t deadline)
{
    const int64_t left = deadline - now_milliseconds();
    struct pollfd one = {.fd = fd, .events = events};

    return left > 0 && poll(&one, 1, (int)left) != 0;
}

static bool has_reader(const struct serial_host *host)
{
    switch (host->kind) {
    case CONFIG_SERIAL_PTY:
        return host->pty_clients > 0;
    case CONFIG_SERIAL_UNIX:
        return host->input_watch.fd >= 0 && !host->input_watch.always_ready;
    default:
        return host->output_watch.fd >= 0;
    }
}

/* What a pty holds is lost when its master is closed: gives its client the time to read it. */
static void wait_for_pty_client(const struct serial_host *host, int64_t deadline)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    struct pollfd unread = {.fd = host->pty_slave_fd, .events = POLLIN};

    while (host->pty_clients > 0 && poll(&unread, 1, 0) == 1 && now_milliseconds() < deadline)
        nanosleep(&moment, NULL);
}

void serial_host_finish(struct serial_host *host)
{
    const int64_t deadline = now_milliseconds() + FINISH_MILLISECONDS;

    if (host->is_finished)
        return;
    host->is_finished = true;
    while (drain_output(host, false) > 0 && has_reader(host)) {
        const int fd = has_shared_descriptor(host) ? host->input_watch.fd : host->output_watch.fd;
        if (!wait_for(fd, POLLOUT, deadline))
            break;
    }
    if (host->kind == CONFIG_SERIAL_PTY)
        wait_for_pty_client(host, deadline);
    if (host->is_terminal)
        terminal_close();
}

/* Also for one that is not in the loop. */
static void release(const struct serial_host *host, int fd)
{
    if (fd < 0)
        return;
    event_loop_remove(host->loop, fd);
    close(fd);
}

void serial_host_destroy(struct serial_host *host)
{
    if (host == NULL)
        return;
    serial_host_finish(host);
    if (host->is_terminal)
        terminal_set_continue_hook(NULL, NULL);
    release(host, host->input_watch.fd);
    release(host, host->output_watch.fd);
    release(host, host->foreground_timer_fd);
    release(host, host->listen_fd);
    release(host, host->pty_slave_fd);
    release(host, host->pty_notify_fd);
    release(host, host->timer_fd);
    release(host, host->wake_fd);
    if (host->made_path != NULL)
        (void)unlink(host->made_path);
    free(host->made_path);
    serial_output_fini(&host->output);
    free(host);
}
