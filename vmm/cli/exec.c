#include "vmm/cli/exec.h"

#include "memory/support/log.h"
#include "vmm/agent/client.h"
#include "vmm/console/terminal.h"
#include "vmm/machine/outcome.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_TIMEOUT = 124,
    EXIT_NOT_EXECUTABLE = 126,
    EXIT_NOT_FOUND = 127,
    /* A pipe that can be written to takes so much at once, and nobody waits. */
    PIECE_SIZE = PIPE_BUF,
    /* So many signals that ask it to end, and it does, whatever the guest does. */
    SIGNALS_THAT_END = 3,
};

/* Output that has come, and has not been written: as much as the guest may send. */
struct outlet {
    int fd;
    size_t start;
    size_t used;
    uint8_t bytes[AGENT_WINDOW];
};

struct exec {
    const struct exec_options *options;
    struct log log;
    struct agent_client *client;
    int signal_fd;
    bool has_terminal;
    bool input_ended;
    unsigned signals;
    /* -1: as long as it takes */
    int64_t wait_until;
    int64_t end_at;
    struct outlet outlets[AGENT_STREAM_COUNT];
};

static int64_t now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Output ---- */

static void on_output(void *context, enum agent_stream stream, const uint8_t *bytes, size_t len)
{
    struct exec *exec = context;
    struct outlet *outlet = &exec->outlets[stream];

    if (outlet->fd < 0) {
        agent_client_passed_on(exec->client, stream, len); /* nobody reads it any more */
        return;
    }
    if (len > sizeof(outlet->bytes) - outlet->start - outlet->used) {
        memmove(outlet->bytes, outlet->bytes + outlet->start, outlet->used);
        outlet->start = 0;
    }
    memcpy(outlet->bytes + outlet->start + outlet->used, bytes, len);
    outlet->used += len;
}

/* Writes a piece; what is behind the descriptor does not take more for sure. */
static void write_output(struct exec *exec, enum agent_stream stream)
{
    struct outlet *outlet = &exec->outlets[stream];
    const size_t size = outlet->used < PIECE_SIZE ? outlet->used : PIECE_SIZE;
    const ssize_t written = write(outlet->fd, outlet->bytes + outlet->start, size);

    if (written < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (written < 0) {
        agent_client_passed_on(exec->client, stream, outlet->used);
        /* The command learns of it as it would here. */
        if (errno == EPIPE)
            agent_client_signal(exec->client, SIGPIPE);
        else
            fprintf(stderr, "quire: standard %s cannot be written: %s\n", stream == AGENT_STDOUT ? "output" : "error",
                    strerror(errno));
        outlet->used = 0;
        outlet->fd = -1;
        return;
    }
    outlet->used -= (size_t)written;
    outlet->start = outlet->used == 0 ? 0 : outlet->start + (size_t)written;
    agent_client_passed_on(exec->client, stream, (size_t)written);
}

/* ---- Input and signals ---- */

static void read_input(struct exec *exec)
{
    uint8_t bytes[AGENT_DATA_MAX];
    const size_t room = agent_client_room(exec->client);
    const ssize_t got = room > 0 ? read(STDIN_FILENO, bytes, room < sizeof(bytes) ? room : sizeof(bytes)) : -1;

    if (room == 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    if (got > 0) {
        (void)agent_client_write(exec->client, bytes, (size_t)got);
        return;
    }
    exec->input_ended = true;
    agent_client_end_input(exec->client);
}

static void tell_size(struct exec *exec)
{
    uint16_t columns, rows;

    if (exec->has_terminal && terminal_get_size(&columns, &rows))
        agent_client_resize(exec->client, rows, columns);
}

/* The signal that ends us, whatever the guest does; 0: none. */
static int take_signal(struct exec *exec)
{
    struct signalfd_siginfo info;

    if (read(exec->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return 0;
    if (info.ssi_signo == SIGWINCH) {
        tell_size(exec);
        return 0;
    }
    if (info.ssi_signo == SIGCONT) {
        (void)terminal_resume();
        tell_size(exec);
        return 0;
    }
    agent_client_signal(exec->client, info.ssi_signo);
    const bool has_nobody = agent_client_state(exec->client) != AGENT_CLIENT_RUNNING;
    return has_nobody || ++exec->signals >= SIGNALS_THAT_END ? (int)info.ssi_signo : 0;
}

static int open_signals(void)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGQUIT);
    sigaddset(&mask, SIGWINCH);
    sigaddset(&mask, SIGCONT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- The job ---- */

static int begin(struct exec *exec, struct error *error)
{
    static const char *const shell[] = {"sh"};
    static struct agent_exec request;
    const struct exec_options *options = exec->options;
    const bool has_command = options->command_count > 0;
    static char term[128];
    uint16_t columns = 0, rows = 0;

    const bool here = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    const bool tty =
        options->terminal == EXEC_TERMINAL_YES || (options->terminal == EXEC_TERMINAL_AUTO && !has_command && here);
    request = (struct agent_exec){.cwd = options->cwd, .uid = options->uid, .gid = options->gid};
    request.flags = (tty ? AGENT_EXEC_TTY : 0u) | (options->as_user ? AGENT_EXEC_AS_USER : 0u);
    request.argc = has_command ? options->command_count : 1;
    memcpy(request.argv, has_command ? options->command : shell, request.argc * sizeof(request.argv[0]));
    if (tty && getenv("TERM") != NULL) {
        (void)snprintf(term, sizeof(term), "TERM=%s", getenv("TERM"));
        request.env[request.env_count++] = term;
    }
    memcpy(request.env + request.env_count, options->env, options->env_count * sizeof(request.env[0]));
    request.env_count += options->env_count;
    if (tty && isatty(STDIN_FILENO)) {
        if (terminal_open(STDIN_FILENO, &exec->log, error) < 0)
            return -1;
        exec->has_terminal = true;
        if (terminal_get_size(&columns, &rows)) {
            request.columns = columns;
            request.rows = rows;
        }
    }
    return agent_client_exec(exec->client, &request, error);
}

/* Says why there is no status of the command's; the terminal is given back for it. */
static int fail(int status, const char *what, const char *text)
{
    terminal_close();
    fprintf(stderr, "quire: exec: %s%s\n", what, text);
    return status;
}

/* What its end comes to. */
static int finish(struct exec *exec)
{
    const struct agent_outcome *outcome = agent_client_outcome(exec->client);
    char text[sizeof(outcome->text) + 8];

    (void)snprintf(text, sizeof(text), ": %s", outcome->text);
    switch (outcome->kind) {
    case AGENT_OUTCOME_EXITED:
        return (int)outcome->status;
    case AGENT_OUTCOME_SIGNALLED:
        return EXIT_STATUS_SIGNAL_BASE + (int)outcome->status;
    case AGENT_OUTCOME_FAILED:
        return fail(outcome->failure == AGENT_FAILED_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE,
                    exec->options->command_count > 0 ? exec->options->command[0] : "sh", text);
    case AGENT_OUTCOME_LOST:
        break;
    }
    return fail(EXIT_STATUS_HOST_FAILED, "what has become of the command is not known: ", outcome->text);
}

static bool is_over(const struct exec *exec)
{
    return agent_client_state(exec->client) == AGENT_CLIENT_OVER && exec->outlets[AGENT_STDOUT].used == 0 &&
           exec->outlets[AGENT_STDERR].used == 0;
}

/* The status with which time has run out; 0: it has not. */
static int check_time(struct exec *exec)
{
    const int64_t now = now_milliseconds();
    char text[256];

    if (exec->end_at >= 0 && now >= exec->end_at && agent_client_state(exec->client) != AGENT_CLIENT_OVER)
        return fail(EXIT_TIMEOUT, "out of time, and the command is ended", "");
    if (agent_client_state(exec->client) != AGENT_CLIENT_WAITING || exec->wait_until < 0 || now < exec->wait_until)
        return 0;
    (void)snprintf(text, sizeof(text),
                   "no agent answers in the guest; does quire-agent run there, and has it booted? "
                   "--wait has it more time than %" PRId64 " ms",
                   exec->options->wait);
    return fail(EXIT_STATUS_HOST_FAILED, "", text);
}

static int pause_for(const struct exec *exec)
{
    const int64_t now = now_milliseconds();
    int64_t until = exec->end_at;

    if (agent_client_state(exec->client) == AGENT_CLIENT_WAITING && exec->wait_until >= 0 &&
        (until < 0 || exec->wait_until < until))
        until = exec->wait_until;
    if (until < 0)
        return -1;
    return until <= now ? 0 : until - now > INT_MAX ? INT_MAX : (int)(until - now);
}

enum { POLL_CLIENT, POLL_SIGNALS, POLL_STDIN, POLL_STDOUT, POLL_STDERR, POLL_COUNT };

static int loop(struct exec *exec)
{
    while (!is_over(exec)) {
        struct agent_client *client = exec->client;
        const bool alive = agent_client_state(client) != AGENT_CLIENT_OVER;
        const bool wants_input =
            !exec->input_ended && agent_client_state(client) == AGENT_CLIENT_RUNNING && agent_client_room(client) > 0;
        struct pollfd polls[POLL_COUNT] = {
            [POLL_CLIENT] = {.fd = alive ? agent_client_fd(client) : -1, .events = agent_client_events(client)},
            [POLL_SIGNALS] = {.fd = exec->signal_fd, .events = POLLIN},
            [POLL_STDIN] = {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN},
            [POLL_STDOUT] = {.fd = exec->outlets[AGENT_STDOUT].used > 0 ? STDOUT_FILENO : -1, .events = POLLOUT},
            [POLL_STDERR] = {.fd = exec->outlets[AGENT_STDERR].used > 0 ? STDERR_FILENO : -1, .events = POLLOUT},
        };
        if (poll(polls, POLL_COUNT, pause_for(exec)) < 0 && errno != EINTR)
            return fail(EXIT_STATUS_HOST_FAILED, "the host cannot wait: ", strerror(errno));
        if (polls[POLL_CLIENT].revents != 0)
            agent_client_serve(client);
        if (polls[POLL_STDOUT].revents != 0)
            write_output(exec, AGENT_STDOUT);
        if (polls[POLL_STDERR].revents != 0)
            write_output(exec, AGENT_STDERR);
        if (polls[POLL_STDIN].revents != 0)
            read_input(exec);
        const int number = polls[POLL_SIGNALS].revents != 0 ? take_signal(exec) : 0;
        if (number != 0)
            return EXIT_STATUS_SIGNAL_BASE + number;
        const int status = check_time(exec);
        if (status != 0)
            return status;
    }
    return finish(exec);
}

static int run(struct exec *exec)
{
    const struct exec_options *options = exec->options;
    const struct agent_client_handlers handlers = {.output = on_output, .context = exec};
    const int64_t now = now_milliseconds();
    struct error error;
    int status = EXIT_STATUS_HOST_FAILED;

    exec->wait_until = options->wait < 0 ? -1 : now + options->wait;
    exec->end_at = options->timeout < 0 ? -1 : now + options->timeout;
    exec->outlets[AGENT_STDOUT].fd = STDOUT_FILENO;
    exec->outlets[AGENT_STDERR].fd = STDERR_FILENO;
    exec->signal_fd = open_signals();
    exec->client = agent_client_connect(options->address, &handlers, &error);
    if (exec->client == NULL || begin(exec, &error) < 0) {
        (void)fail(0, "", error.text);
        status = error.kind == ERROR_CONFIG ? EXIT_STATUS_USAGE : EXIT_STATUS_HOST_FAILED;
    } else {
        status = loop(exec);
    }
    terminal_close();
    agent_client_destroy(exec->client);
    return status;
}

int exec_run(const struct exec_options *options)
{
    struct exec *exec = calloc(1, sizeof(*exec));

    if (exec == NULL) {
        fputs("quire: out of memory\n", stderr);
        return EXIT_STATUS_HOST_FAILED;
    }
    exec->options = options;
    exec->log = (struct log){.level = LOG_LEVEL_WARN, .fd = STDERR_FILENO};
    const int status = run(exec);
    free(exec);
    return status;
}
