#include "vmm/cli/kernel_test.h"

#include "devices/host/event_loop.h"
#include "devices/host/signals.h"
#include "vmm/agent/client.h"
#include "vmm/cli/exec_session.h"
#include "vmm/cli/kernel_verdict.h"
#include "vmm/machine/outcome.h"
#include "vmm/runner/folders.h"
#include "vmm/runner/machine_process.h"
#include "vmm/scenario/console_watch.h"

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
    /* What the machine has said itself: the end of it. */
    LOG_MOST = 8192,
    /* For the guest to power off, and for a machine to say why it ends. */
    POWER_OFF_MILLISECONDS = 10000,
    REASON_MILLISECONDS = 5000,
    /* For one that is killed to be gone: it takes long only where the host is busy, or has much memory to take back. */
    KILLED_MILLISECONDS = 60000,
    TICK_MILLISECONDS = 1000,
};

struct kernel_test {
    struct kernel_test_options *options;
    struct event_loop *loop;
    struct machine_process *machine;
    struct console_watch *watch;
    /* With the machine's file, its socket, and its initrd if that is not somebody else's. */
    char *folder;
    char *file;
    char *address;
    /* The agent has answered. */
    bool has_booted;
    bool machine_has_ended;
    /* It could not do what it was asked, and was ended. */
    bool was_killed;
    /* The kernel has stopped and does not know how to power off. */
    bool has_halted;
    /* On the terminal: for how long it has been booting; 0: nothing is there. */
    int64_t shown_seconds;
    int64_t started;
    char log[LOG_MOST + 1];
    size_t log_used;
};

static int64_t now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- What the machine says ---- */

static void write_errors(const char *bytes, size_t length)
{
    while (length > 0) {
        const ssize_t written = write(STDERR_FILENO, bytes, length);
        if (written < 0 && errno != EINTR)
            return;
        bytes += written > 0 ? written : 0;
        length -= written > 0 ? (size_t)written : 0;
    }
}

static void on_console(void *context, const char *bytes, size_t length)
{
    struct kernel_test *test = context;

    if (test->options->verbose)
        write_errors(bytes, length);
    console_watch_feed(test->watch, (uint64_t)now_milliseconds() * 1000000, bytes, length);
}

static void on_line(void *context, const struct console_line *line)
{
    static const char halted[] = "reboot: System halted";
    struct kernel_test *test = context;

    if (memmem(line->text, line->length, halted, sizeof(halted) - 1) != NULL)
        test->has_halted = true;
}

static void on_log(void *context, const char *bytes, size_t length)
{
    struct kernel_test *test = context;

    if (test->options->verbose)
        write_errors(bytes, length);
    if (length > LOG_MOST) {
        bytes += length - LOG_MOST;
        length = LOG_MOST;
    }
    if (length > LOG_MOST - test->log_used) {
        const size_t gone = length - (LOG_MOST - test->log_used);
        memmove(test->log, test->log + gone, test->log_used - gone);
        test->log_used -= gone;
    }
    memcpy(test->log + test->log_used, bytes, length);
    test->log_used += length;
    test->log[test->log_used] = '\0';
}

static void on_end(void *context)
{
    struct kernel_test *test = context;

    test->machine_has_ended = true;
    console_watch_finish(test->watch);
}

/* ---- The machine ---- */

/* The initrd that is built with quire, from where quire itself lies. */
static int find_own_initrd(const struct kernel_test *test, char path[PATH_MAX], struct error *error)
{
    char program[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

    if (length < 0)
        return error_set(error, ERROR_HOST, "/proc/self/exe: %s", strerror(errno));
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    if (snprintf(path, PATH_MAX, "%s/%s", program, QUIRE_INITRD_PATH) >= PATH_MAX || access(path, R_OK) < 0)
        return error_set(error, ERROR_HOST,
                         "the initrd that comes with quire is not at %s; install it there, or name one: --initrd or "
                         "QUIRE_INITRD",
                         path);
    if (!QUIRE_INITRD_HAS_SHELL && test->options->command_count == 0)
        return error_set(error, ERROR_CONFIG,
                         "there is no shell in the guest, for this quire was built without busybox; give a command, or "
                         "--initrd with a shell and quire-agent");
    return 0;
}

static int set_initrd(struct kernel_test *test, struct error *error)
{
    const char *variable = getenv("QUIRE_INITRD");
    char path[PATH_MAX];

    if (test->options->initrd != NULL)
        return config_set(&test->options->config, "--initrd", "boot.initrd", test->options->initrd, error);
    if (variable != NULL && variable[0] != '\0')
        return config_set(&test->options->config, "QUIRE_INITRD", "boot.initrd", variable, error);
    return find_own_initrd(test, path, error) < 0
               ? -1
               : config_set(&test->options->config, "quire test", "boot.initrd", path, error);
}

static int make_folder(struct kernel_test *test, struct error *error)
{
    test->folder = folders_make_temporary(error);
    if (test->folder == NULL)
        return -1;
    if (asprintf(&test->file, "%s/machine.toml", test->folder) < 0)
        test->file = NULL;
    if (asprintf(&test->address, "unix:%s/agent", test->folder) < 0)
        test->address = NULL;
    return test->file != NULL && test->address != NULL ? 0 : error_set(error, ERROR_HOST, "out of memory");
}

/* The files that go into the guest are in an initrd of its own. */
static int add_puts(struct kernel_test *test, struct error *error)
{
    struct config *config = &test->options->config;
    char *initrd;

    if (test->options->put_count == 0)
        return 0;
    if (asprintf(&initrd, "%s/initrd", test->folder) < 0)
        return error_set(error, ERROR_HOST, "out of memory");
    int result = initrd_overlay(config->boot.initrd, test->options->puts, test->options->put_count, initrd, error);
    if (result == 0)
        result = config_set(config, "quire test", "boot.initrd", initrd, error);
    /* To a bisection: the next commit may have what this one has not. */
    if (result < 0 && test->options->bisect)
        error->kind = ERROR_HOST;
    free(initrd);
    return result;
}

static int write_machine(const struct kernel_test *test, struct error *error)
{
    FILE *file = fopen(test->file, "we");
    bool is_good = file != NULL;

    if (is_good) {
        config_print(&test->options->config, file);
        is_good = !ferror(file);
        is_good = fclose(file) == 0 && is_good;
    }
    return is_good ? 0 : error_set(error, ERROR_HOST, "%s: %s", test->file, strerror(errno));
}

/* The file as quire run is to have it; what is wrong with the machine is said here, as the user has given it. */
static int describe_machine(struct kernel_test *test, struct error *error)
{
    struct config *config = &test->options->config;

    if (set_initrd(test, error) < 0 || make_folder(test, error) < 0 || add_puts(test, error) < 0 ||
        config_set(config, "quire test", "agent.listen", test->address, error) < 0 || write_machine(test, error) < 0)
        return -1;
    return config_complete(config, error) < 0 ? -1 : config_check(config, error);
}

static int start(struct kernel_test *test, struct error *error)
{
    const struct console_watch_options watch = {.line = on_line, .opaque = test};
    const struct machine_process_handlers handlers = {
        .console = on_console, .log = on_log, .ended = on_end, .context = test};

    if (describe_machine(test, error) < 0)
        return -1;
    test->loop = event_loop_create(error);
    test->watch = test->loop != NULL ? console_watch_create(&watch, error) : NULL;
    if (test->watch == NULL)
        return -1;
    test->started = now_milliseconds();
    test->machine = machine_process_start(test->loop, "/proc/self/exe", test->file, &handlers, error);
    return test->machine != NULL ? 0 : -1;
}

/* ---- Beside the command ---- */

static void hide_progress(struct kernel_test *test)
{
    if (test->shown_seconds > 0)
        fputs("\r                              \r", stderr);
    test->shown_seconds = 0;
}

/* On a terminal that nothing else is written to. */
static void show_progress(struct kernel_test *test)
{
    const int64_t seconds = (now_milliseconds() - test->started) / 1000;

    if (seconds == test->shown_seconds || test->options->verbose || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\rbooting... %" PRId64 " s", seconds);
    test->shown_seconds = seconds;
}

static void serve(void *context)
{
    struct kernel_test *test = context;

    event_loop_serve(test->loop);
}

static int turn(void *context, enum agent_client_state state)
{
    struct kernel_test *test = context;

    if (state != AGENT_CLIENT_WAITING) {
        test->has_booted = test->has_booted || state != AGENT_CLIENT_OVER;
        hide_progress(test);
        return -1;
    }
    if (test->machine_has_ended)
        return EXEC_STOP;
    show_progress(test);
    return TICK_MILLISECONDS;
}

static void run_command(struct kernel_test *test, struct exec_end *end)
{
    const struct kernel_test_options *options = test->options;
    const struct exec_options exec = {
        .address = test->address,
        .cwd = "",
        .wait = options->wait,
        .timeout = options->timeout,
        .command = options->command,
        .command_count = options->command_count,
    };
    const struct exec_beside beside = {.fd = event_loop_fd(test->loop), .serve = serve, .turn = turn, .context = test};

    exec_session_run(&exec, &beside, end);
    hide_progress(test);
}

/* ---- The machine's end ---- */

static sigset_t ending_signals(void)
{
    sigset_t mask;

    signals_that_end(&mask);
    sigaddset(&mask, SIGQUIT);
    return mask;
}

/* Waits for the machine's end, for so long at the most. client, who may be NULL, is served meanwhile. */
static void wait_for_end(struct kernel_test *test, struct agent_client *client, int milliseconds)
{
    const int64_t until = now_milliseconds() + milliseconds;
    const sigset_t mask = ending_signals();
    int signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);

    /* One that has been killed ends whatever comes. */
    while (!test->machine_has_ended && (test->was_killed || !test->has_halted)) {
        const int64_t left = until - now_milliseconds();
        const bool is_served = client != NULL && agent_client_state(client) != AGENT_CLIENT_OVER;
        struct pollfd polls[] = {
            {.fd = event_loop_fd(test->loop), .events = POLLIN},
            {.fd = test->was_killed ? -1 : signal_fd, .events = POLLIN},
            {.fd = -1},
        };
        if (is_served)
            polls[2] = (struct pollfd){.fd = agent_client_fd(client), .events = agent_client_events(client)};
        if (left <= 0 || (poll(polls, 3, (int)left) < 0 && errno != EINTR) || polls[1].revents != 0)
            break;
        if (polls[0].revents != 0)
            event_loop_serve(test->loop);
        if (polls[2].revents != 0)
            agent_client_serve(client);
    }
    if (signal_fd >= 0)
        close(signal_fd);
}

static void discard_output(void *context, enum agent_stream stream, const uint8_t *bytes, size_t len)
{
    (void)context;
    (void)stream;
    (void)bytes;
    (void)len;
}

static void power_off(struct kernel_test *test)
{
    const struct agent_client_handlers handlers = {.output = discard_output};
    struct error error;
    struct agent_client *client = agent_client_connect(test->address, &handlers, &error);

    if (client != NULL)
        (void)agent_client_power(client, AGENT_POWER_OFF, &error);
    wait_for_end(test, client, POWER_OFF_MILLISECONDS);
    agent_client_destroy(client);
}

/* Whether the guest can still be asked for anything. */
static bool can_power_off(const struct kernel_test *test, const struct exec_end *end)
{
    return test->has_booted && (end->kind == EXEC_ENDED || end->kind == EXEC_NOT_RUN || end->kind == EXEC_LOST);
}

static void end_machine(struct kernel_test *test, const struct exec_end *end)
{
    if (!test->machine_has_ended && can_power_off(test, end))
        power_off(test);
    else if (!test->machine_has_ended && end->kind == EXEC_LOST)
        wait_for_end(test, NULL, REASON_MILLISECONDS); /* it has closed its socket, and may be about to say why */
    if (test->machine_has_ended)
        return;
    test->was_killed = true;
    machine_process_kill(test->machine);
    wait_for_end(test, NULL, KILLED_MILLISECONDS);
}

/* ---- All of it ---- */

static int run(struct kernel_test *test)
{
    struct exec_end end;
    struct error error;

    if (start(test, &error) < 0)
        return kernel_verdict_of_error(test->options, &error);
    run_command(test, &end);
    end_machine(test, &end);
    const struct kernel_facts facts = {
        .options = test->options,
        .watch = test->watch,
        .machine = test->machine_has_ended ? machine_process_end(test->machine) : NULL,
        .log = test->log,
        .file = test->file,
        .has_booted = test->has_booted,
        .was_killed = test->was_killed,
        .command = &end,
    };
    return kernel_verdict(&facts);
}

int kernel_test_run(struct kernel_test_options *options)
{
    struct kernel_test *test = calloc(1, sizeof(*test));
    const sigset_t mask = ending_signals();

    if (test == NULL) {
        fputs("quire: out of memory\n", stderr);
        return EXIT_STATUS_HOST_FAILED;
    }
    /* Before there is anything to be left behind. */
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    test->options = options;
    const int status = run(test);
    machine_process_destroy(test->machine);
    console_watch_free(test->watch);
    event_loop_destroy(test->loop);
    folders_remove(test->folder);
    free(test->folder);
    free(test->file);
    free(test->address);
    free(test);
    return status;
}
