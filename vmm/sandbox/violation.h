/*
 * What happens when a thread makes a system call that its filter traps. Internal to vmm/sandbox/.
 */
#ifndef VMM_SANDBOX_VIOLATION_H
#define VMM_SANDBOX_VIOLATION_H

#include "memory/support/error.h"
#include "memory/support/log.h"

/* Installs the handler of SIGSYS, which reports to log and ends the process. log is kept. 0, or -1 with *error. */
int violation_handler_install(const struct log *log, struct error *error);

/* Prepares the calling thread for the handler: its name in messages, which is copied, and the signal's mask. */
int violation_handler_enter(const char *thread_name, struct error *error);

#endif
