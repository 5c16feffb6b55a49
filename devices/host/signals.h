/*
 * Signals that are not this process's to take.
 */
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

#endif
