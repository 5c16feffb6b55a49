#include "vmm/machine/lost_page.h"

#include "vmm/machine/outcome.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Written before the handler is there. */
static int status_fd = -1;
static char status_line[512];

/* Nobody else could be told if that fails. */
static void say(int fd, const char *text)
{
    (void)!write(fd, text, strlen(text));
}

static void on_bus_error(int number, siginfo_t *info, void *machine_context)
{
    (void)machine_context;
    /* Not _exit(), in which sanitizers' run-times first look for leaks. */
    if (info->si_code <= 0)
        syscall(SYS_exit_group, EXIT_STATUS_SIGNAL_BASE + number);
    say(STDERR_FILENO, "quire: " LOST_PAGE_TEXT "\n");
    if (status_fd >= 0)
        say(status_fd, status_line);
    syscall(SYS_exit_group, EXIT_STATUS_HOST_FAILED);
}

void lost_page_handle(int fd)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    const struct machine_outcome outcome = {.event = MACHINE_HOST_FAILURE};

    status_fd = fd;
    (void)snprintf(status_line, sizeof(status_line), "%s %d " LOST_PAGE_TEXT "\n", machine_outcome_name(&outcome),
                   machine_outcome_status(&outcome));
    sigfillset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}
