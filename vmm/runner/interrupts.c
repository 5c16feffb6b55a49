#include "vmm/runner/interrupts.h"

#include "devices/host/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct interrupts {
    struct event_loop *loop;
    sigset_t signals;
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

static int open_signals(struct interrupts *interrupts)
{
    sigset_t *signals = &interrupts->signals;

    signals_that_end(signals);
    (void)sigprocmask(SIG_BLOCK, signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    interrupts->fd = signalfd(-1, signals, SFD_CLOEXEC | SFD_NONBLOCK);
    return interrupts->fd;
}

struct interrupts *interrupts_create(struct event_loop *loop, interrupts_callback *callback, void *context,
                                     struct error *error)
{
    struct interrupts *interrupts = calloc(1, sizeof(*interrupts));

    if (interrupts == NULL) {
        (void)error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    *interrupts = (struct interrupts){.loop = loop, .callback = callback, .context = context};
    if (open_signals(interrupts) < 0)
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
    event_loop_remove(interrupts->loop, interrupts->fd);
    /* Where SIGINT is ignored, as shells have it in what they run behind them, it was taken nevertheless. */
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
    (void)sigprocmask(SIG_UNBLOCK, &interrupts->signals, NULL);
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
