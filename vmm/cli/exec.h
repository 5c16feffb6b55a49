/*
 * quire exec: a command in the guest of a running machine.
 */
#ifndef VMM_CLI_EXEC_H
#define VMM_CLI_EXEC_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum exec_terminal { EXEC_TERMINAL_AUTO, EXEC_TERMINAL_YES, EXEC_TERMINAL_NO };

struct exec_options {
    /* "unix:PATH"; owned */
    char *address;
    enum exec_terminal terminal;
    /* "": the agent's own */
    const char *cwd;
    bool as_user;
    uint32_t uid;
    uint32_t gid;
    /* In milliseconds; -1: none. For the agent to be there, and for all. */
    int64_t wait;
    int64_t timeout;
    /* NAME=VALUE; argv's, in an array that is owned */
    const char **env;
    size_t env_count;
    /* argv's; 0: a shell */
    const char *const *command;
    size_t command_count;
};

/*
 * Reads the command line; argv[0] is the command, "exec". Opens nothing but the configuration file that it may name.
 * With --help the text goes to out, and *ret_help is set. 0, or -1 with *error. exec_options_free() is due in any case.
 */
int exec_options_parse(int argc, char *argv[], FILE *out, struct exec_options *options, bool *ret_help,
                       struct error *error);
void exec_options_print_help(FILE *out);
void exec_options_free(struct exec_options *options);

/* Reads "10", "10s", "500ms" or "2m" as what option of command has been given. 0, or -1 with *error. */
int exec_options_parse_time(const char *command, const char *option, const char *word, int64_t *ret_milliseconds,
                            struct error *error);

/*
 * Runs it, with this process's standard streams, signals and terminal. The exit status: the command's, or 128 and the
 * number of the signal that has ended it; 127 and 126 as a shell's; 4 with a message if the guest cannot be reached;
 * 124 out of time. For a process that has one thread and ends after it: signals stay blocked.
 */
int exec_run(const struct exec_options *options);

#endif
