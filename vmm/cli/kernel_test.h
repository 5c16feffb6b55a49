/*
 * quire test --kernel: a command in the guest of a machine that is made for it, and what the kernel makes of that.
 */
#ifndef VMM_CLI_KERNEL_TEST_H
#define VMM_CLI_KERNEL_TEST_H

#include "memory/support/error.h"
#include "vmm/config/config.h"
#include "vmm/runner/initrd/overlay.h"
#include "vmm/scenario/trouble.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct kernel_test_options {
    /* The machine, but for its initrd and its sockets. */
    struct config config;
    /* argv's; NULL: QUIRE_INITRD of the environment, or the one that is installed with quire. */
    const char *initrd;
    /* In milliseconds; -1: none. For the guest to boot, and for all. */
    int64_t wait;
    int64_t timeout;
    /* The console goes to standard error. */
    bool verbose;
    /* Statuses are for git bisect run. */
    bool bisect;
    /* Trouble that is none. */
    bool allowed[TROUBLE_KIND_COUNT];
    /* Files for the guest; owned, with their texts. */
    struct initrd_put *puts;
    size_t put_count;
    /* argv's; 0: a shell */
    const char *const *command;
    size_t command_count;
};

/* Whether a command line is this one's, argv[0] being "test": --kernel stands in front of the command. */
bool kernel_test_is_meant(int argc, char *argv[]);

/*
 * Reads the command line; argv[0] is the command, "test". Opens nothing. With --help the text goes to out, and
 * *ret_help is set. 0, or -1 with *error. kernel_test_options_free() is due in any case; bisect is as it should be,
 * too, until then.
 */
int kernel_test_options_parse(int argc, char *argv[], FILE *out, struct kernel_test_options *options, bool *ret_help,
                              struct error *error);
void kernel_test_options_print_help(FILE *out);
/* A zeroed struct is fine. */
void kernel_test_options_free(struct kernel_test_options *options);

/*
 * Does it, with this process's standard streams, signals and terminal. The exit status: the command's, or 128 and the
 * number of the signal that has ended it; 126 and 127 as a shell's; 1 if the kernel does not boot, is in trouble, or
 * ends before the command does; 124 out of time; 2 for a kernel or a machine that cannot be, and 4 if the host fails.
 * With bisect they are for git: 125 for a kernel that cannot be, or a host that fails, 128 for what is wrong with the
 * command line, and 1 for a command that a signal has ended.
 * For a process that has one thread and ends after it: signals stay blocked.
 */
int kernel_test_run(struct kernel_test_options *options);

#endif
