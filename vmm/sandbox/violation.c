#include "vmm/sandbox/violation.h"

#include "syscall_names.h"
#include "vmm/sandbox/sandbox.h"
#include "vmm/sandbox/x86/signal_context.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct log *report_log;
static _Atomic(void (*)(void)) fatal_hook;
static _Thread_local char current_name[32];

/* One line, put together without the help of stdio, which a signal handler may not use. */
struct line {
    char text[256];
    size_t length;
};

static void append(struct line *line, const char *text)
{
    while (*text != '\0' && line->length < sizeof(line->text))
        line->text[line->length++] = *text++;
}

static void append_number(struct line *line, uint64_t value, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    append(line, &digits[at]);
}

static void append_call(struct line *line, const siginfo_t *info, const ucontext_t *context)
{
    const size_t known = sizeof(syscall_names) / sizeof(syscall_names[0]);
    const unsigned number = (unsigned)info->si_syscall;
    const bool native = info->si_arch == SIGNAL_CONTEXT_ARCHITECTURE;
    const char *name = native && number < known ? syscall_names[number] : "";

    append(line, name[0] != '\0' ? name : "without a name");
    append(line, " (");
    append_number(line, number, 10);
    if (!native)
        append(line, " of another architecture");
    if (native && number == SYS_ioctl) {
        append(line, ", request 0x");
        append_number(line, (uint32_t)signal_context_second_argument(context), 16);
    }
    append(line, ")");
}

static void describe(struct line *line, const siginfo_t *info, const ucontext_t *context)
{
    append(line, "quire: sandbox: ");
    /* Positive codes are the kernel's own (sigaction(2)). */
    if (info->si_code <= 0) {
        append(line, "ended by a SIGSYS that a process has sent\n");
        return;
    }
    append(line, "thread \"");
    append(line, current_name);
    append(line, "\" made the system call ");
    append_call(line, info, context);
    append(line, ", which it may not; if you think it should, please report it\n");
}

static void handle_violation(int signal, siginfo_t *info, void *context)
{
    void (*hook)(void) = atomic_load(&fatal_hook);
    struct line line = {.length = 0};

    (void)signal;
    if (hook != NULL)
        hook();
    describe(&line, info, context);
    ssize_t written = write(report_log->fd, line.text, line.length);
    (void)written; /* nobody else could be told */
    /* Not _exit(), in which sanitizers' run-times first look for leaks. */
    syscall(SYS_exit_group, SANDBOX_EXIT_STATUS);
    __builtin_unreachable();
}

void sandbox_set_fatal_hook(void (*hook)(void))
{
    atomic_store(&fatal_hook, hook);
}

int violation_handler_install(const struct log *log, struct error *error)
{
    struct sigaction action = {.sa_sigaction = handle_violation, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    report_log = log;
    sigfillset(&action.sa_mask);
    if (sigaction(SIGSYS, &action, NULL) < 0)
        return error_set(error, ERROR_HOST, "cannot install a handler for SIGSYS: %s", strerror(errno));
    return 0;
}

int violation_handler_enter(const char *thread_name, struct error *error)
{
    sigset_t set;

    (void)strncpy(current_name, thread_name, sizeof(current_name) - 1);
    /* While it is blocked, the kernel ends the process without a word. */
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    int result = pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    if (result != 0)
        return error_set(error, ERROR_HOST, "cannot unblock SIGSYS: %s", strerror(result));
    return 0;
}
