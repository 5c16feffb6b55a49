/* Standard input and output; a terminal, or anything else. */
#include "vmm/console/char_end.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* How often a process in the background looks whether it has come to the foreground, which nothing announces. */
enum { FOREGROUND_MILLISECONDS = 500 };

struct stdio_end {
    struct char_host host;
    /* constant */
    bool is_terminal;
    int foreground_timer_fd;
    /* Set by a signal handler, taken by the loop. */
    atomic_bool continued;
    /* owner: the loop's thread, as for all below */
    bool terminal_is_raw;
    struct terminal_filter filter;
};

static struct stdio_end *stdio_of(struct char_host *host)
{
    return (struct stdio_end *)(void *)host;
}

static void stdio_init(struct char_host *host)
{
    stdio_of(host)->foreground_timer_fd = -1;
}

/* ---- The terminal ---- */

/* While it is not raw, it is somebody else's: what is typed is not read, and nobody tells when that changes. */
static void check_terminal(struct stdio_end *end)
{
    end->terminal_is_raw = terminal_resume();
    const struct timespec period = {.tv_nsec = end->terminal_is_raw ? 0 : FOREGROUND_MILLISECONDS * 1000000L};
    const struct itimerspec timer = {.it_interval = period, .it_value = period};

    (void)timerfd_settime(end->foreground_timer_fd, 0, &timer, NULL);
    /* SIGWINCH goes to who is in the foreground. */
    if (end->terminal_is_raw)
        char_host_terminal_resized(&end->host);
}

static void on_foreground_timer(void *context, uint32_t events)
{
    struct stdio_end *end = context;
    uint64_t expirations;

    (void)events;
    ssize_t got = read(end->foreground_timer_fd, &expirations, sizeof(expirations));
    (void)got;
    check_terminal(end);
    char_host_update(&end->host);
}

/* Called by a signal handler. */
static void on_process_continued(void *context)
{
    struct stdio_end *end = context;

    atomic_store(&end->continued, true);
    char_host_wake(&end->host);
}

static void stdio_woken(struct char_host *host)
{
    if (atomic_exchange(&stdio_of(host)->continued, false))
        check_terminal(stdio_of(host));
}

static bool stdio_get_size(const struct char_host *host, uint16_t *ret_columns, uint16_t *ret_rows)
{
    const struct stdio_end *end = (const struct stdio_end *)(const void *)host;

    return end->is_terminal && terminal_get_size(ret_columns, ret_rows);
}

/* ---- Input ---- */

static bool stdio_wants_input(const struct char_host *host)
{
    const struct stdio_end *end = (const struct stdio_end *)(const void *)host;

    return end->is_terminal ? end->terminal_is_raw : host->input_used == 0;
}

static void handle_key(struct stdio_end *end, uint8_t byte)
{
    const struct console_commands *commands = &end->host.commands;
    char help[TERMINAL_HELP_SIZE];
    enum console_command command;

    switch (terminal_filter_key(&end->filter, &byte, &command)) {
    case TERMINAL_KEY_GUEST:
        char_input_keep(&end->host, byte);
        break;
    case TERMINAL_KEY_COMMAND:
        commands->command(commands->context, command);
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

static void stdio_take_byte(struct char_host *host, uint8_t byte)
{
    if (stdio_of(host)->is_terminal)
        handle_key(stdio_of(host), byte);
    else
        char_input_keep(host, byte);
}

static bool stdio_survives_input_error(struct char_host *host, int failure)
{
    struct stdio_end *end = stdio_of(host);

    /* What a read in the background comes to. */
    if (failure != EIO || !end->is_terminal)
        return false;
    check_terminal(end);
    return !end->terminal_is_raw;
}

/* ---- Its life ---- */

/* Standard input, or another descriptor of the same thing with an O_NONBLOCK of its own. */
static int open_standard_input(struct stdio_end *end)
{
    struct char_host *host = &end->host;
    struct stat status;
    int fd = -1;

    if (fstat(STDIN_FILENO, &status) < 0)
        return 0; /* closed: there is no input */
    host->input_kind = CHAR_INPUT_NONBLOCKING;
    if (S_ISSOCK(status.st_mode)) {
        host->input_kind = CHAR_INPUT_SOCKET;
    } else if (!S_ISREG(status.st_mode)) {
        if (S_ISFIFO(status.st_mode) || end->is_terminal)
            fd = open("/proc/self/fd/0", O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
            host->input_kind = CHAR_INPUT_POLLED;
    }
    if (fd < 0)
        fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    host->input_watch.fd = fd;
    return fd < 0 ? -1 : 0;
}

static int open_terminal(struct stdio_end *end, struct error *error)
{
    end->foreground_timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (end->foreground_timer_fd < 0)
        return error_set(error, ERROR_HOST, "no descriptors for %s: %s", end->host.name, strerror(errno));
    terminal_set_continue_hook(on_process_continued, end);
    return terminal_open(STDIN_FILENO, end->host.log, error);
}

static int stdio_open(struct char_host *host, const char *path, struct error *error)
{
    struct stdio_end *end = stdio_of(host);
    enum char_output_kind kind;

    (void)path;
    end->is_terminal = isatty(STDIN_FILENO) == 1;
    if (open_standard_input(end) < 0)
        return error_set(error, ERROR_HOST, "standard input cannot be used: %s", strerror(errno));
    host->output_watch.fd = char_output_open_inherited(STDOUT_FILENO, &kind);
    if (host->output_watch.fd < 0)
        return error_set(error, ERROR_HOST, "standard output cannot be used: %s", strerror(errno));
    char_output_connect(&host->output, host->output_watch.fd, kind);
    return end->is_terminal ? open_terminal(end, error) : 0;
}

static int stdio_attach(struct char_host *host, struct error *error)
{
    struct stdio_end *end = stdio_of(host);

    if (char_host_watch_constant(host, end->foreground_timer_fd, on_foreground_timer, error) < 0)
        return -1;
    if (end->is_terminal)
        check_terminal(end);
    return 0;
}

static void stdio_finish(struct char_host *host, int64_t deadline)
{
    (void)deadline;
    if (stdio_of(host)->is_terminal)
        terminal_close();
}

static void stdio_close(struct char_host *host)
{
    if (stdio_of(host)->is_terminal)
        terminal_set_continue_hook(NULL, NULL);
    char_host_release(host, stdio_of(host)->foreground_timer_fd);
}

const struct char_end char_end_stdio = {
    .size = sizeof(struct stdio_end),
    .init = stdio_init,
    .open = stdio_open,
    .attach = stdio_attach,
    .wants_input = stdio_wants_input,
    .take_byte = stdio_take_byte,
    .survives_input_error = stdio_survives_input_error,
    .woken = stdio_woken,
    .get_size = stdio_get_size,
    .finish = stdio_finish,
    .close = stdio_close,
};
