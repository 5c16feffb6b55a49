/*
 * What quire test --kernel makes of a command's and a machine's end: the exit status, and what is said of it on
 * standard error. Nothing is said of a command that has ended by itself in a machine that was all right. Texts of any
 * bytes may be given: what would control a terminal is made visible.
 */
#ifndef VMM_CLI_KERNEL_VERDICT_H
#define VMM_CLI_KERNEL_VERDICT_H

#include "memory/support/error.h"
#include "vmm/cli/exec_session.h"
#include "vmm/cli/kernel_test.h"
#include "vmm/runner/machine_process.h"
#include "vmm/scenario/console_watch.h"

#include <stdbool.h>

/* What has happened; all of it is the caller's, and stays as it is. */
struct kernel_facts {
    const struct kernel_test_options *options;
    /* All that has come on the console, finished. */
    const struct console_watch *watch;
    /* NULL: the machine does not end, though it has been killed. */
    const struct machine_end *machine;
    /* What the machine itself has said last, in lines; "": nothing. */
    const char *log;
    /*
     * The machine's file. A place in it, in front of what the machine says, is left out: the user has not written that
     * file.
     */
    const char *file;
    /* The agent has answered. */
    bool has_booted;
    /* The machine was ended, because it could not do what it was asked: how it has ended says nothing of the guest. */
    bool was_killed;
    const struct exec_end *command;
};

/* The exit status, as kernel_test_run() has it. What was on standard error already with --verbose is not repeated. */
int kernel_verdict(const struct kernel_facts *facts);

/* The same where there could not be a machine, or the host has failed. */
int kernel_verdict_of_error(const struct kernel_test_options *options, const struct error *error);

#endif
