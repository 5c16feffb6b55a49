/* The signals that end this process, and those that are not its to take. */
#ifndef DEVICES_HOST_SIGNALS_H
#define DEVICES_HOST_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Whether whoever has started this process wants it to live through a signal, as nohup(1) does with SIGHUP. To be asked
 * before anything else is done to that signal. Any thread.
 */
static inline bool signal_is_ignored(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/*
 * Those with which a user, or whoever looks after a job, ends a process: SIGINT, SIGTERM, and SIGHUP unless that is
 * ignored. To be asked before anything is done to them. Any thread.
 */
static inline void signals_that_end(sigset_t *ret_signals)
{
    (void)sigemptyset(ret_signals);
    (void)sigaddset(ret_signals, SIGINT);
    (void)sigaddset(ret_signals, SIGTERM);
    if (!signal_is_ignored(SIGHUP))
        (void)sigaddset(ret_signals, SIGHUP);
}

#endif
