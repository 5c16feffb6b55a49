/*
 * The command line of quire.
 */
#ifndef VMM_CLI_OPTIONS_H
#define VMM_CLI_OPTIONS_H

#include "memory/support/error.h"
#include "vmm/cli/control.h"
#include "vmm/cli/exec.h"
#include "vmm/cli/kernel_test.h"
#include "vmm/cli/report.h"
#include "vmm/cli/test.h"
#include "vmm/config/config.h"

#include <stdbool.h>
#include <stdio.h>

enum options_command {
    /* Help or the version has been written to out: exit with status 0. */
    OPTIONS_DONE,
    /* Run the machine in config; or, with dry_run, print it. */
    OPTIONS_RUN,
    /* config is a file's, and good: see whether a host can do it, and say so. */
    OPTIONS_CHECK,
    /* Show the maps of config or, where has_other is set, what changes from it to other. */
    OPTIONS_MAPS,
    /* Run a command in a machine that runs; config is not used. */
    OPTIONS_EXEC,
    /* See to a machine that runs; config is not used. */
    OPTIONS_CONTROL,
    /* Run boot tests; config is not used. */
    OPTIONS_TEST,
    /* Run a command in a kernel's guest; config is not used. */
    OPTIONS_KERNEL_TEST,
    /* Do something with reports; config is not used. */
    OPTIONS_REPORT,
};

struct options {
    enum options_command command;
    bool dry_run;
    /* For RUN: where to say how the machine ended; -1: nowhere. Another's to close. */
    int status_fd;
    /* For MAPS: as JSON; or as a picture to a file of this name, argv's, NULL for none. */
    bool json;
    const char *svg_path;
    bool has_other;
    struct config other;
    /* The file's, the command line over it, and config_check() passed. */
    struct config config;
    struct exec_options exec;
    struct control_options control;
    /* test.for_bisect says how to exit, also when the command line is wrong. */
    struct test_options test;
    struct kernel_test_options kernel_test;
    struct report_options report;
};

/*
 * Reads the command line and the configuration file that it names; nothing else is opened or changed.
 * out: where help and version go.
 * Returns 0 with *options filled in, the caller's to options_free(); or -1 with *error: ERROR_CONFIG for wrong usage or
 * a wrong configuration (exit status 2), ERROR_HOST when out of memory (4); nothing to free then.
 * argv is reordered as getopt_long(3) does. One thread only: getopt's state is global.
 */
int options_parse(int argc, char *argv[], FILE *out, struct options *options, struct error *error);

/* A zeroed struct is fine, and so is a second call. */
void options_free(struct options *options);

#endif
