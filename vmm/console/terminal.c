#include "vmm/console/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { CTRL_A = 0x01 };

static void on_fatal_signal(int number, siginfo_t *info, void *machine_context);
static void on_stop(int number, siginfo_t *info, void *machine_context);
static void on_continue(int number, siginfo_t *info, void *machine_context);

typedef void signal_handler(int number, siginfo_t *info, void *machine_context);

/* All whose default is to end the process (signal(7)); SIGPIPE and SIGXFSZ are left to those who write. */
static const struct {
    int number;
    /* NULL: ignored */
    signal_handler *handler;
    int flags;
} signal_uses[] = {
    {SIGSEGV, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGBUS, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGILL, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGFPE, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGABRT, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGTRAP, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGQUIT, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGTERM, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGINT, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGHUP, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGALRM, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGVTALRM, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGPROF, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGXCPU, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGIO, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGUSR1, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGUSR2, on_fatal_signal, (int)SA_RESETHAND | SA_NODEFER},
    {SIGTSTP, on_stop, SA_RESTART},
    {SIGCONT, on_continue, SA_RESTART},
    {SIGTTIN, NULL, 0},
    {SIGTTOU, NULL, 0},
};

enum { SIGNAL_USE_COUNT = sizeof(signal_uses) / sizeof(signal_uses[0]) };

/* Read by signal handlers: filled in before `is_open` is set. */
static struct {
    int fd;
    /* Another way to the terminal, with an O_NONBLOCK of its own, which fd shares with other processes. -1: none. */
    int print_fd;
    pid_t process_group;
    struct termios saved;
    struct termios raw;
    struct log *log;
    /* `saved` is what to give back: known from when the terminal is ours for the first time. */
    bool has_saved;
    atomic_bool is_open;
    atomic_bool is_raw;
    /* What was there before signal_uses. */
    struct sigaction previous[SIGNAL_USE_COUNT];
    void (*continue_hook)(void *context);
    void *continue_context;
} terminal = {.fd = -1, .print_fd = -1};

void terminal_restore_from_signal(void)
{
    if (!atomic_exchange(&terminal.is_raw, false))
        return;
    /* TCSANOW: a terminal that takes no output must not hold up the end. */
    (void)tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
    atomic_store(&terminal.log->raw_terminal, 0);
}

/* ---- Signals ---- */

static const struct sigaction *previous_action(int number)
{
    for (size_t i = 0; i < SIGNAL_USE_COUNT; i++)
        if (signal_uses[i].number == number)
            return &terminal.previous[i];
    return NULL;
}

static void on_fatal_signal(int number, siginfo_t *info, void *machine_context)
{
    const struct sigaction *previous = previous_action(number);

    terminal_restore_from_signal();
    if (previous->sa_flags & SA_SIGINFO)
        previous->sa_sigaction(number, info, machine_context);
    else if (previous->sa_handler != SIG_DFL)
        previous->sa_handler(number);
    else
        /* SA_RESETHAND has put the default back, without a system call, which a sandbox may not allow. */
        raise(number);
}

static void on_stop(int number, siginfo_t *info, void *machine_context)
{
    const int saved = errno;

    (void)number;
    (void)info;
    (void)machine_context;
    terminal_restore_from_signal();
    raise(SIGSTOP);
    errno = saved;
}

static void on_continue(int number, siginfo_t *info, void *machine_context)
{
    const int saved = errno;

    (void)number;
    (void)info;
    (void)machine_context;
    /* is_raw stays as it is: after SIGSTOP, for which there is no handler, it may or may not be true. */
    if (terminal.continue_hook != NULL)
        terminal.continue_hook(terminal.continue_context);
    errno = saved;
}

void terminal_set_continue_hook(void (*hook)(void *context), void *context)
{
    terminal.continue_hook = hook;
    terminal.continue_context = context;
}

static void take_signal(size_t index)
{
    struct sigaction *previous = &terminal.previous[index];
    struct sigaction action = {.sa_flags = signal_uses[index].flags};

    if (signal_uses[index].handler != NULL) {
        action.sa_sigaction = signal_uses[index].handler;
        action.sa_flags |= SA_SIGINFO;
    } else {
        action.sa_handler = SIG_IGN;
    }
    sigemptyset(&action.sa_mask);
    (void)sigaction(signal_uses[index].number, NULL, previous);
    /* One that is ignored does not end us: nohup, and shells for what runs in the background, have it so. */
    if (!(previous->sa_flags & SA_SIGINFO) && previous->sa_handler == SIG_IGN)
        return;
    (void)sigaction(signal_uses[index].number, &action, NULL);
}

/* ---- The terminal ---- */

static bool is_ours(void)
{
    const pid_t foreground = tcgetpgrp(terminal.fd);

    /* It fails for a terminal that is not the one that controls this process, where nobody is in the background. */
    return foreground < 0 || foreground == terminal.process_group;
}

static void set_raw_flags(bool is_raw)
{
    atomic_store(&terminal.is_raw, is_raw);
    atomic_store(&terminal.log->raw_terminal, is_raw);
}

static int save_settings(void)
{
    if (terminal.has_saved)
        return 0;
    if (tcgetattr(terminal.fd, &terminal.saved) < 0)
        return -1;
    terminal.raw = terminal.saved;
    cfmakeraw(&terminal.raw);
    terminal.has_saved = true;
    return 0;
}

bool terminal_resume(void)
{
    if (!atomic_load(&terminal.is_open))
        return false;
    if (!is_ours()) {
        set_raw_flags(false);
        return false;
    }
    if (save_settings() < 0)
        return false;
    /* True first, so that a signal in between gives back a terminal that may be raw already. */
    set_raw_flags(true);
    if (tcsetattr(terminal.fd, TCSANOW, &terminal.raw) == 0)
        return true;
    const int error = errno;
    set_raw_flags(false);
    errno = error;
    return false;
}

bool terminal_get_size(uint16_t *ret_columns, uint16_t *ret_rows)
{
    struct winsize size;

    if (!atomic_load(&terminal.is_open) || ioctl(terminal.fd, TIOCGWINSZ, &size) < 0)
        return false;
    *ret_columns = size.ws_col;
    *ret_rows = size.ws_row;
    return true;
}

static int open_again(int fd)
{
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void restore_at_exit_once(void)
{
    static bool registered;

    if (!registered)
        registered = atexit(terminal_restore_from_signal) == 0;
}

int terminal_open(int fd, struct log *log, struct error *error)
{
    if (isatty(fd) == 0)
        return 0;
    terminal.fd = fd;
    terminal.log = log;
    terminal.process_group = getpgrp();
    terminal.has_saved = false;
    for (size_t i = 0; i < SIGNAL_USE_COUNT; i++)
        take_signal(i);
    restore_at_exit_once();
    atomic_store(&terminal.is_open, true);
    if (is_ours() && !terminal_resume()) {
        error_set(error, ERROR_HOST, "the terminal cannot be made raw: %s", strerror(errno));
        terminal_close();
        return -1;
    }
    terminal.print_fd = open_again(fd);
    return 0;
}

void terminal_close(void)
{
    if (!atomic_load(&terminal.is_open))
        return;
    terminal_restore_from_signal();
    atomic_store(&terminal.is_open, false);
    for (size_t i = 0; i < SIGNAL_USE_COUNT; i++)
        (void)sigaction(signal_uses[i].number, &terminal.previous[i], NULL);
    if (terminal.print_fd >= 0)
        close(terminal.print_fd);
    terminal.print_fd = -1;
}

void terminal_print(const char *text)
{
    ssize_t written = write(terminal.print_fd, text, strlen(text));

    (void)written;
}

/* ---- The keys ---- */

static const struct {
    uint8_t key;
    enum terminal_key meaning;
    enum console_command command;
    const char *text;
} keys[] = {
    {'x', TERMINAL_KEY_COMMAND, CONSOLE_LEAVE, "leave, and end the machine"},
    {'p', TERMINAL_KEY_COMMAND, CONSOLE_POWER_BUTTON, "press the power button"},
    {'r', TERMINAL_KEY_COMMAND, CONSOLE_RESET, "reset the machine"},
    {'m', TERMINAL_KEY_COMMAND, CONSOLE_MAPS, "show the memory maps and the last faults"},
    {'a', TERMINAL_KEY_GUEST, 0, "send Ctrl-A to the guest; so does Ctrl-A Ctrl-A"},
    {'?', TERMINAL_KEY_HELP, 0, "show this list"},
};

enum terminal_key terminal_filter_key(struct terminal_filter *filter, uint8_t *byte, enum console_command *ret_command)
{
    if (!filter->escaped) {
        filter->escaped = *byte == CTRL_A;
        return filter->escaped ? TERMINAL_KEY_NOTHING : TERMINAL_KEY_GUEST;
    }
    filter->escaped = false;
    const uint8_t key = *byte == CTRL_A ? 'a' : *byte;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i].key != key)
            continue;
        if (keys[i].meaning == TERMINAL_KEY_COMMAND)
            *ret_command = keys[i].command;
        else if (keys[i].meaning == TERMINAL_KEY_GUEST)
            *byte = CTRL_A;
        return keys[i].meaning;
    }
    return TERMINAL_KEY_UNKNOWN;
}

void terminal_format_help(char text[TERMINAL_HELP_SIZE])
{
    size_t used = 0;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && used < TERMINAL_HELP_SIZE; i++)
        used += (size_t)snprintf(text + used, TERMINAL_HELP_SIZE - used, "%sCtrl-A %c  %s\r\n", i == 0 ? "\r\n" : "",
                                 keys[i].key, keys[i].text);
}
