#include "vmm/runner/interrupts.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct interrupts {
    struct event_loop *loop;
    int fd;
    unsigned count;
    interrupts_callback *callback;
    void *context;
};

static void on_signal(void *context, uint32_t events)
{
    struct interrupts *interrupts = context;
    struct signalfd_siginfo info;

    (void)events;
    if (read(interrupts->fd, &info, sizeof(info)) == sizeof(info))
        interrupts->callback(interrupts->context, (int)info.ssi_signo, ++interrupts->count);
}

static sigset_t all_of_them(void)
{
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    return signals;
}

static int open_signals(void)
{
    const sigset_t signals = all_of_them();

    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

struct interrupts *interrupts_create(struct event_loop *loop, interrupts_callback *callback, void *context,
                                     struct error *error)
{
    struct interrupts *interrupts = calloc(1, sizeof(*interrupts));

    if (interrupts == NULL) {
        (void)error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    *interrupts = (struct interrupts){.loop = loop, .fd = open_signals(), .callback = callback, .context = context};
    if (interrupts->fd < 0)
        (void)error_set(error, ERROR_HOST, "signals cannot be waited for: %s", strerror(errno));
    else if (event_loop_add(loop, interrupts->fd, EPOLLIN, on_signal, interrupts, error) == 0)
        return interrupts;
    interrupts_destroy(interrupts);
    return NULL;
}

int interrupts_fd(const struct interrupts *interrupts)
{
    return interrupts->fd;
}

void interrupts_release(struct interrupts *interrupts)
{
    const sigset_t signals = all_of_them();

    event_loop_remove(interrupts->loop, interrupts->fd);
    /* Where they are ignored, as shells have it in what they run behind them, they were taken nevertheless. */
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGHUP, SIG_DFL);
    (void)sigprocmask(SIG_UNBLOCK, &signals, NULL);
}

void interrupts_destroy(struct interrupts *interrupts)
{
    if (interrupts == NULL)
        return;
    if (interrupts->fd >= 0) {
        event_loop_remove(interrupts->loop, interrupts->fd);
        close(interrupts->fd);
    }
    free(interrupts);
}
