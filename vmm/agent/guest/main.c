/*
 * quire-agent: does in the guest what 'quire exec' and boot tests ask for. See guest.h and protocol.h.
 */
#include "vmm/agent/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RESTART_MILLISECONDS = 200, LOOK_MILLISECONDS = 50 };

static const char usage[] = "usage: quire-agent [--init | --background | --foreground]\n"
                            "\n"
                            "Does in a guest of quire's what 'quire exec' asks for, by way of the virtio-console port\n"
                            "quire.agent or, where there is none, of the second serial port.\n"
                            "  --init         as the first process, which it need not be told: mounts\n"
                            "                 what there has to be, loads modules, runs quire.run=COMMAND of the\n"
                            "                 kernel's command line, if that is there, and powers off after it\n"
                            "  --background   goes there; ends at once, with status 1, where there is no such port\n"
                            "  --foreground   stays, for a supervisor such as systemd; waits for the port\n";

/* Waits for a port, for so long at the most; -1: for ever. */
static int wait_for_port(int milliseconds)
{
    const int64_t until = now_milliseconds() + milliseconds;

    for (;;) {
        int fd = port_open();
        if (fd >= 0 || (milliseconds >= 0 && now_milliseconds() >= until))
            return fd;
        (void)usleep(LOOK_MILLISECONDS * 1000);
    }
}

/* The process that serves the port; it ends where that fails. */
static pid_t start_worker(int milliseconds)
{
    const pid_t pid = fork();

    if (pid != 0)
        return pid;
    int port = wait_for_port(milliseconds);
    if (port >= 0)
        serve(port);
    _exit(1);
}

static pid_t start_command(const char *command)
{
    const pid_t pid = fork();

    if (pid != 0)
        return pid;
    setsid();
    (void)setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* Starts the worker again when it has ended, and, as the first process, reaps whatever ends. Does not return. */
static void supervise(pid_t command)
{
    pid_t worker = start_worker(-1);

    for (;;) {
        int status;
        const pid_t ended = waitpid(-1, &status, 0);
        if (ended < 0 && errno != EINTR)
            (void)usleep(RESTART_MILLISECONDS * 1000);
        if (ended > 0 && ended == command) {
            printf("quire-agent: run status=%d\n", WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
            fflush(stdout);
            power(init_word("quire.end") != NULL ? AGENT_POWER_RESET : AGENT_POWER_OFF);
        }
        if (ended == worker || (ended < 0 && errno == ECHILD)) {
            (void)usleep(RESTART_MILLISECONDS * 1000);
            worker = start_worker(-1);
        }
    }
}

static int run_as_init(void)
{
    init_set_up();
    const char *command = init_word("quire.run");
    supervise(command != NULL ? start_command(command) : -1);
    return 1;
}

static int run_in_background(void)
{
    int port = port_open();

    if (port < 0)
        return 1;
    close(port);
    if (fork() != 0)
        _exit(0);
    setsid();
    supervise(-1);
    return 1;
}

static int run_in_foreground(void)
{
    serve(wait_for_port(-1));
    return 1;
}

int main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "--background") == 0)
        return run_in_background();
    if (argc == 2 && strcmp(argv[1], "--foreground") == 0)
        return run_in_foreground();
    /* The kernel gives its first process the words of its command line that it does not know itself. */
    if (getpid() == 1 || (argc == 2 && strcmp(argv[1], "--init") == 0))
        return run_as_init();
    fputs(usage, argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
    return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
}
