#include "vmm/cli/kernel_test.h"

#include "devices/host/event_loop.h"
#include "devices/host/signals.h"
#include "vmm/agent/client.h"
#include "vmm/cli/exec_session.h"
#include "vmm/machine/outcome.h"
#include "vmm/runner/folders.h"
#include "vmm/runner/machine_process.h"
#include "vmm/runner/verdict.h"
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
    /* Of the console, in a report. */
    SHOWN_LINES = 25,
    SHOWN_TROUBLE = 10,
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

/* ---- The verdict ---- */

/* What a guest has printed, without what a terminal would obey. */
static void print_text(const char *front, const char *text, size_t length)
{
    fputs(front, stderr);
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)text[i];
        fputc(byte == '\t' || (byte >= 0x20 && byte < 0x7f) ? byte : '?', stderr);
    }
    fputc('\n', stderr);
}

/* The lines with the places from first down to last, of which 0 is the newest. */
static void print_lines(const struct kernel_test *test, size_t first, size_t last)
{
    struct console_line line;

    for (size_t i = first + 1; i-- > last;)
        if (console_watch_tail(test->watch, i, &line))
            print_text("  | ", line.text, line.length);
}

/* Unless they have been shown already. */
static void print_last_lines(const struct kernel_test *test)
{
    struct console_line line;
    size_t count = 0;

    if (test->options->verbose)
        return;
    while (count < SHOWN_LINES && console_watch_tail(test->watch, count, &line))
        count++;
    if (count == 0) {
        fputs("quire: test: the console has said nothing\n", stderr);
        return;
    }
    fputs("quire: test: the console's last lines:\n", stderr);
    print_lines(test, count - 1, 0);
}

/* From a line on. */
static void print_lines_from(const struct kernel_test *test, uint64_t number)
{
    struct console_line line;
    size_t count = 0;

    if (test->options->verbose)
        return;
    while (console_watch_tail(test->watch, count, &line) && line.number >= number)
        count++;
    if (count > 0)
        print_lines(test, count - 1, count > SHOWN_LINES ? count - SHOWN_LINES : 0);
}

/* How much of a text is a place in the machine's file, "FILE:LINE:COLUMN: ", which nobody has written. */
static size_t measure_place(const struct kernel_test *test, const char *text)
{
    const size_t length = strlen(test->file);
    int more = 0;

    if (strncmp(text, test->file, length) != 0 || sscanf(text + length, ":%*u:%*u: %n", &more) < 0)
        return 0;
    return more > 0 ? length + (size_t)more : 0;
}

static void print_log(const struct kernel_test *test)
{
    if (test->options->verbose)
        return;
    for (const char *at = test->log; *at != '\0';) {
        const size_t place = measure_place(test, at);
        if (place == 0)
            fputc(*at, stderr);
        at += place > 0 ? place : 1;
    }
}

static const struct console_trouble *find_trouble(const struct kernel_test *test, size_t *index)
{
    const struct console_trouble *trouble;

    while ((trouble = console_watch_trouble(test->watch, *index)) != NULL) {
        ++*index;
        if (!test->options->allowed[trouble->kind])
            return trouble;
    }
    return NULL;
}

/* "warning (3 times), panic" */
static void print_kinds(const struct kernel_test *test)
{
    const char *between = "";

    fputs("quire: test: the kernel is in trouble: ", stderr);
    for (size_t kind = 0; kind < TROUBLE_KIND_COUNT; kind++) {
        const uint64_t count = console_watch_trouble_count(test->watch, kind);
        if (count == 0 || test->options->allowed[kind])
            continue;
        fprintf(stderr, "%s%s", between, trouble_name(kind));
        if (count > 1)
            fprintf(stderr, " (%" PRIu64 " times)", count);
        between = ", ";
    }
    fputc('\n', stderr);
}

/* What the console tells of; whether there is any. */
static bool report_console_trouble(const struct kernel_test *test)
{
    size_t index = 0;
    size_t count = 1;
    const struct console_trouble *first = find_trouble(test, &index);
    const struct console_trouble *trouble;

    if (first == NULL)
        return false;
    print_kinds(test);
    if (test->options->verbose)
        print_text("  | ", first->text, strlen(first->text));
    print_lines_from(test, first->line);
    for (; (trouble = find_trouble(test, &index)) != NULL && count < SHOWN_TROUBLE; count++) {
        fprintf(stderr, "quire: test: and %s, on line %" PRIu64 " of the console:\n", trouble_name(trouble->kind),
                trouble->line);
        print_text("  | ", trouble->text, strlen(trouble->text));
    }
    if (trouble != NULL)
        fputs("quire: test: and more\n", stderr);
    return true;
}

/* What the machine tells of: a triple fault, or a panic by way of pvpanic, whose text may have gone elsewhere. */
static bool report_machine_trouble(const struct kernel_test *test)
{
    const struct machine_end *machine = machine_process_end(test->machine);
    const enum trouble_kind kind = test->was_killed ? TROUBLE_NONE : trouble_find(machine->name);

    if (kind == TROUBLE_NONE || test->options->allowed[kind])
        return false;
    fprintf(stderr, "quire: test: the kernel is in trouble: %s\n", trouble_name(kind));
    print_log(test);
    print_last_lines(test);
    return true;
}

/* The machine, and not the guest, is why it has ended: the status; 0: it is not. */
static int status_of_machine(const struct kernel_test *test)
{
    const struct machine_end *machine = machine_process_end(test->machine);

    return !test->was_killed && machine_end_is_hosts(machine) ? machine->status : 0;
}

static int fail_with_lines(const struct kernel_test *test, int status, const char *text)
{
    fprintf(stderr, "quire: test: %s\n", text);
    print_last_lines(test);
    return status;
}

static int fail_late(const struct kernel_test *test, const struct exec_end *end)
{
    if (test->has_booted)
        return fail_with_lines(test, EXIT_STATUS_OUT_OF_TIME, "out of time, and the command is ended");
    if (end->kind == EXEC_OUT_OF_TIME)
        return fail_with_lines(test, EXIT_STATUS_OUT_OF_TIME, "out of time, and the guest has not booted yet");
    return fail_with_lines(test, EXIT_STATUS_OUT_OF_TIME,
                           "the guest does not boot, or its kernel has no 8250 serial ports for the agent; --wait has "
                           "it more time, --verbose shows its console");
}

/* The guest has gone before the command's end. */
static int fail_gone(const struct kernel_test *test, const struct exec_end *end)
{
    char text[1024];

    if (!test->has_booted)
        (void)snprintf(text, sizeof(text), "the kernel does not boot: %s", machine_process_end(test->machine)->text);
    else if (test->was_killed)
        (void)snprintf(text, sizeof(text), "what has become of the command is not known: %s", end->text);
    else
        (void)snprintf(text, sizeof(text), "the guest has gone before the command's end: %s",
                       machine_process_end(test->machine)->text);
    return fail_with_lines(test, EXIT_STATUS_TEST_FAILED, text);
}

static int status_of_command(const struct kernel_test *test, const struct exec_end *end)
{
    if (end->kind == EXEC_NOT_RUN)
        fprintf(stderr, "quire: test: %s: %s\n", test->options->command_count > 0 ? test->options->command[0] : "sh",
                end->text);
    /* To git, these would be the end of its bisection. */
    return test->options->bisect && end->status >= EXIT_STATUS_SIGNAL_BASE ? EXIT_STATUS_TEST_FAILED : end->status;
}

static int report_error(const struct kernel_test *test, const struct error *error)
{
    fprintf(stderr, "quire: test: %s\n", error->text);
    const int status = error->kind == ERROR_CONFIG ? EXIT_STATUS_USAGE : EXIT_STATUS_HOST_FAILED;
    return test->options->bisect ? verdict_for_bisect(status) : status;
}

static int judge(const struct kernel_test *test, const struct exec_end *end)
{
    const int machine_status = status_of_machine(test);

    if (end->kind == EXEC_SIGNALLED)
        return end->status;
    if (machine_status != 0) {
        print_log(test);
        if (strcmp(machine_process_end(test->machine)->name, "killed") == 0)
            fprintf(stderr, "quire: test: %s\n", machine_process_end(test->machine)->text);
        /* It is the kernel that it does not take: the next one may be another. */
        return test->options->bisect ? VERDICT_BISECT_SKIP : machine_status;
    }
    if (report_console_trouble(test) || report_machine_trouble(test))
        return EXIT_STATUS_TEST_FAILED;
    if (end->kind == EXEC_FAILED)
        return report_error(test, &end->error);
    if (end->kind == EXEC_NO_ANSWER || end->kind == EXEC_OUT_OF_TIME)
        return fail_late(test, end);
    if (end->kind == EXEC_STOPPED || end->kind == EXEC_LOST)
        return fail_gone(test, end);
    return status_of_command(test, end);
}

/* ---- All of it ---- */

static int run(struct kernel_test *test)
{
    struct exec_end end;
    struct error error;

    if (start(test, &error) < 0)
        return report_error(test, &error);
    run_command(test, &end);
    end_machine(test, &end);
    if (!test->machine_has_ended) {
        error_set(&error, ERROR_HOST, "the machine's process cannot be ended");
        return report_error(test, &error);
    }
    return judge(test, &end);
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
