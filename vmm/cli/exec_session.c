#include "vmm/cli/exec_session.h"

#include "devices/host/signals.h"
#include "memory/support/log.h"
#include "vmm/console/char_output.h"
#include "vmm/console/terminal.h"
#include "vmm/machine/outcome.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum {
    EXIT_NOT_EXECUTABLE = 126,
    EXIT_NOT_FOUND = 127,
    /* A pipe that can be written to takes so much at once, and nobody waits. */
    PIECE_SIZE = PIPE_BUF,
    /* So many signals that ask it to end, and it does, whatever the guest does. */
    SIGNALS_THAT_END = 3,
    /* Between two looks for a machine's socket. */
    LOOK_MILLISECONDS = 20,
    /* Between two looks whether this process has come to the foreground, which nothing announces. */
    FOREGROUND_MILLISECONDS = 500,
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
    const struct exec_beside *beside;
    struct log log;
    /* NULL: the machine has no socket yet. */
    struct agent_client *client;
    int signal_fd;
    /* The command has been asked for. */
    bool has_begun;
    bool has_terminal;
    /* What is typed is for others. */
    bool is_in_background;
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

static enum agent_client_state state_of(const struct exec *exec)
{
    return exec->client == NULL ? AGENT_CLIENT_WAITING : agent_client_state(exec->client);
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

/* A terminal may have room for less than a piece, and we would wait there: it is opened anew, with our O_NONBLOCK. */
static int open_outlet(int fd)
{
    enum char_output_kind kind;
    const int ours = isatty(fd) ? char_output_open_inherited(fd, &kind) : -1;

    return ours < 0 ? fd : ours;
}

static void close_outlet(struct outlet *outlet)
{
    if (outlet->fd > STDERR_FILENO)
        close(outlet->fd);
    outlet->fd = -1;
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
        const int why = errno;
        agent_client_passed_on(exec->client, stream, outlet->used);
        /* The command learns of it as it would here. */
        if (why == EPIPE)
            agent_client_signal(exec->client, SIGPIPE);
        else
            fprintf(stderr, "quire: standard %s cannot be written: %s\n", stream == AGENT_STDOUT ? "output" : "error",
                    strerror(why));
        outlet->used = 0;
        close_outlet(outlet);
        return;
    }
    outlet->used -= (size_t)written;
    outlet->start = outlet->used == 0 ? 0 : outlet->start + (size_t)written;
    agent_client_passed_on(exec->client, stream, (size_t)written);
}

/* ---- Input and signals ---- */

static void tell_size(struct exec *exec)
{
    uint16_t columns, rows;

    if (exec->has_terminal && terminal_get_size(&columns, &rows))
        agent_client_resize(exec->client, rows, columns);
}

/* Takes the terminal, and its size, if this process has come to the foreground. */
static void check_foreground(struct exec *exec)
{
    const bool was_in_background = exec->is_in_background;
    const pid_t foreground = exec->has_terminal ? tcgetpgrp(STDIN_FILENO) : -1;

    exec->is_in_background = foreground >= 0 && foreground != getpgrp();
    if (!was_in_background || exec->is_in_background)
        return;
    (void)terminal_resume();
    tell_size(exec);
}

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
    /* What a read in the background comes to. */
    if (got < 0 && errno == EIO) {
        check_foreground(exec);
        if (exec->is_in_background)
            return;
    }
    exec->input_ended = true;
    agent_client_end_input(exec->client);
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
        /* Somebody else had the terminal meanwhile. */
        exec->is_in_background = true;
        check_foreground(exec);
        return 0;
    }
    if (exec->client != NULL)
        agent_client_signal(exec->client, info.ssi_signo);
    return state_of(exec) != AGENT_CLIENT_RUNNING || ++exec->signals >= SIGNALS_THAT_END ? (int)info.ssi_signo : 0;
}

static int open_signals(void)
{
    sigset_t mask;

    signals_that_end(&mask);
    sigaddset(&mask, SIGQUIT);
    sigaddset(&mask, SIGWINCH);
    sigaddset(&mask, SIGCONT);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- The job ---- */

static bool wants_terminal(const struct exec_options *options)
{
    if (options->terminal != EXEC_TERMINAL_AUTO)
        return options->terminal == EXEC_TERMINAL_YES;
    return options->command_count == 0 && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

/* All but the terminal's size. */
static void describe_command(const struct exec_options *options, bool tty, struct agent_exec *request)
{
    static const char *const shell[] = {"sh"};
    static char term[128];
    const bool has_command = options->command_count > 0;

    *request = (struct agent_exec){.cwd = options->cwd, .uid = options->uid, .gid = options->gid};
    request->flags = (tty ? AGENT_EXEC_TTY : 0u) | (options->as_user ? AGENT_EXEC_AS_USER : 0u);
    request->argc = has_command ? options->command_count : 1;
    memcpy(request->argv, has_command ? options->command : shell, request->argc * sizeof(request->argv[0]));
    if (tty && getenv("TERM") != NULL) {
        (void)snprintf(term, sizeof(term), "TERM=%s", getenv("TERM"));
        request->env[request->env_count++] = term;
    }
    for (size_t i = 0; i < options->env_count; i++)
        request->env[request->env_count++] = options->env[i];
}

/* This process's, if it has one, becomes the other end of the guest's. */
static int open_terminal(struct exec *exec, struct agent_exec *request, struct error *error)
{
    if (!isatty(STDIN_FILENO))
        return 0;
    if (terminal_open(STDIN_FILENO, &exec->log, error) < 0)
        return -1;
    exec->has_terminal = true;
    (void)terminal_get_size(&request->columns, &request->rows);
    return 0;
}

static int begin(struct exec *exec, struct error *error)
{
    /* Too large for a stack. */
    static struct agent_exec request;
    const bool tty = wants_terminal(exec->options);

    describe_command(exec->options, tty, &request);
    if (tty && open_terminal(exec, &request, error) < 0)
        return -1;
    return agent_client_exec(exec->client, &request, error);
}

/* Whether there is a machine yet; -1 with *error: it cannot be reached. */
static int connect_to(struct exec *exec, struct error *error)
{
    const struct agent_client_handlers handlers = {.output = on_output, .context = exec};

    if (exec->client != NULL)
        return 0;
    exec->client = agent_client_connect(exec->options->address, &handlers, error);
    return exec->client != NULL || exec->beside != NULL || errno == EAGAIN ? 0 : -1;
}

/* Asks for the command when the agent is there: until then the terminal is as it was, so that Ctrl-C ends the wait. */
static int begin_in_time(struct exec *exec, struct error *error)
{
    if (exec->has_begun || state_of(exec) != AGENT_CLIENT_READY)
        return 0;
    exec->has_begun = true;
    return begin(exec, error);
}

static bool is_over(const struct exec *exec)
{
    return state_of(exec) == AGENT_CLIENT_OVER && exec->outlets[AGENT_STDOUT].used == 0 &&
           exec->outlets[AGENT_STDERR].used == 0;
}

/* ---- Its end ---- */

/* What the command's end comes to. */
static void take_outcome(const struct exec *exec, struct exec_end *end)
{
    const struct agent_outcome *outcome = agent_client_outcome(exec->client);

    (void)snprintf(end->text, sizeof(end->text), "%s", outcome->text);
    switch (outcome->kind) {
    case AGENT_OUTCOME_EXITED:
        end->kind = EXEC_ENDED;
        end->status = (int)outcome->status;
        break;
    case AGENT_OUTCOME_SIGNALLED:
        end->kind = EXEC_ENDED;
        end->status = EXIT_STATUS_SIGNAL_BASE + (int)outcome->status;
        break;
    case AGENT_OUTCOME_FAILED:
        end->kind = EXEC_NOT_RUN;
        end->status = outcome->failure == AGENT_FAILED_NOT_FOUND ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
        break;
    case AGENT_OUTCOME_LOST:
        end->kind = EXEC_LOST;
        break;
    }
}

/* Whether there is no time left. */
static bool is_late(const struct exec *exec, struct exec_end *end)
{
    const int64_t now = now_milliseconds();

    if (exec->end_at >= 0 && now >= exec->end_at && state_of(exec) != AGENT_CLIENT_OVER) {
        end->kind = EXEC_OUT_OF_TIME;
        return true;
    }
    if (state_of(exec) != AGENT_CLIENT_WAITING || exec->wait_until < 0 || now < exec->wait_until)
        return false;
    end->kind = EXEC_NO_ANSWER;
    return true;
}

static bool is_sooner(int64_t at, int64_t than)
{
    return at >= 0 && (than < 0 || at < than);
}

/* beside_wait: what turn() has returned. */
static int pause_for(const struct exec *exec, int beside_wait)
{
    const int64_t now = now_milliseconds();
    /* For output of a command that is over there is no time. */
    int64_t until = state_of(exec) == AGENT_CLIENT_OVER ? -1 : exec->end_at;

    if (state_of(exec) == AGENT_CLIENT_WAITING && is_sooner(exec->wait_until, until))
        until = exec->wait_until;
    if (exec->client == NULL && is_sooner(now + LOOK_MILLISECONDS, until))
        until = now + LOOK_MILLISECONDS;
    if (exec->is_in_background && is_sooner(now + FOREGROUND_MILLISECONDS, until))
        until = now + FOREGROUND_MILLISECONDS;
    if (beside_wait >= 0 && is_sooner(now + beside_wait, until))
        until = now + beside_wait;
    if (until < 0)
        return -1;
    return until <= now ? 0 : until - now > INT_MAX ? INT_MAX : (int)(until - now);
}

/* ---- The loop ---- */

enum { POLL_CLIENT, POLL_SIGNALS, POLL_BESIDE, POLL_STDIN, POLL_STDOUT, POLL_STDERR, POLL_COUNT };

static void fill_polls(const struct exec *exec, struct pollfd polls[POLL_COUNT])
{
    const struct agent_client *client = exec->client;
    const bool alive = client != NULL && agent_client_state(client) != AGENT_CLIENT_OVER;
    const bool wants_input = !exec->input_ended && !exec->is_in_background && state_of(exec) == AGENT_CLIENT_RUNNING &&
                             agent_client_room(client) > 0;
    const bool has_output = exec->outlets[AGENT_STDOUT].used > 0, has_errors = exec->outlets[AGENT_STDERR].used > 0;

    polls[POLL_CLIENT] = (struct pollfd){.fd = -1};
    if (alive)
        polls[POLL_CLIENT] = (struct pollfd){.fd = agent_client_fd(client), .events = agent_client_events(client)};
    polls[POLL_SIGNALS] = (struct pollfd){.fd = exec->signal_fd, .events = POLLIN};
    polls[POLL_BESIDE] = (struct pollfd){.fd = exec->beside != NULL ? exec->beside->fd : -1, .events = POLLIN};
    polls[POLL_STDIN] = (struct pollfd){.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN};
    polls[POLL_STDOUT] = (struct pollfd){.fd = has_output ? exec->outlets[AGENT_STDOUT].fd : -1, .events = POLLOUT};
    polls[POLL_STDERR] = (struct pollfd){.fd = has_errors ? exec->outlets[AGENT_STDERR].fd : -1, .events = POLLOUT};
}

/* Returns the signal that ends us; 0: none. */
static int serve(struct exec *exec, const struct pollfd polls[POLL_COUNT])
{
    if (polls[POLL_CLIENT].revents != 0)
        agent_client_serve(exec->client);
    if (polls[POLL_STDOUT].revents != 0)
        write_output(exec, AGENT_STDOUT);
    if (polls[POLL_STDERR].revents != 0)
        write_output(exec, AGENT_STDERR);
    if (polls[POLL_STDIN].revents != 0)
        read_input(exec);
    if (polls[POLL_BESIDE].revents != 0)
        exec->beside->serve(exec->beside->context);
    return polls[POLL_SIGNALS].revents != 0 ? take_signal(exec) : 0;
}

static void loop(struct exec *exec, struct exec_end *end)
{
    const struct exec_beside *beside = exec->beside;

    while (!is_over(exec)) {
        struct pollfd polls[POLL_COUNT];
        end->kind = EXEC_FAILED;
        if (connect_to(exec, &end->error) < 0 || begin_in_time(exec, &end->error) < 0)
            return;
        const int beside_wait = beside != NULL ? beside->turn(beside->context, state_of(exec)) : -1;
        if (beside_wait == EXEC_STOP) {
            end->kind = EXEC_STOPPED;
            return;
        }
        check_foreground(exec);
        fill_polls(exec, polls);
        if (poll(polls, POLL_COUNT, pause_for(exec, beside_wait)) < 0 && errno != EINTR) {
            error_set(&end->error, ERROR_HOST, "the host cannot wait: %s", strerror(errno));
            return;
        }
        const int number = serve(exec, polls);
        if (number != 0) {
            end->kind = EXEC_SIGNALLED;
            end->status = EXIT_STATUS_SIGNAL_BASE + number;
            return;
        }
        if (is_late(exec, end))
            return;
    }
    take_outcome(exec, end);
}

void exec_session_run(const struct exec_options *options, const struct exec_beside *beside, struct exec_end *end)
{
    struct exec *exec = calloc(1, sizeof(*exec));
    const int64_t now = now_milliseconds();

    *end = (struct exec_end){.kind = EXEC_FAILED};
    if (exec == NULL) {
        error_set(&end->error, ERROR_HOST, "out of memory");
        return;
    }
    exec->options = options;
    exec->beside = beside;
    exec->log = (struct log){.level = LOG_LEVEL_WARN, .fd = STDERR_FILENO};
    exec->wait_until = options->wait < 0 ? -1 : now + options->wait;
    exec->end_at = options->timeout < 0 ? -1 : now + options->timeout;
    exec->outlets[AGENT_STDOUT].fd = open_outlet(STDOUT_FILENO);
    exec->outlets[AGENT_STDERR].fd = open_outlet(STDERR_FILENO);
    exec->signal_fd = open_signals();
    /* Without it nobody could end the wait: the signals are blocked. */
    if (exec->signal_fd < 0)
        error_set(&end->error, ERROR_HOST, "the host gave no descriptor for signals: %s", strerror(errno));
    else
        loop(exec, end);
    terminal_close();
    close_outlet(&exec->outlets[AGENT_STDOUT]);
    close_outlet(&exec->outlets[AGENT_STDERR]);
    agent_client_destroy(exec->client);
    if (exec->signal_fd >= 0)
        close(exec->signal_fd);
    free(exec);
}
