/*
 * quire control: what can be done with a running machine from outside.
 */
#ifndef VMM_CLI_CONTROL_H
#define VMM_CLI_CONTROL_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stdio.h>

struct control_options {
    /* "unix:PATH"; owned */
    char *address;
    /* As the protocol has it: "status"; a constant. */
    const char *command;
    /* Of nmi. */
    unsigned vcpu;
    /* Of dump; argv's. */
    const char *file;
    bool json;
};

/*
 * Reads the command line; argv[0] is the command, "control". Opens nothing but the configuration file that it may name.
 * With --help the text goes to out, and *ret_help is set. 0, or -1 with *error. control_options_free() is due in any
 * case.
 */
int control_options_parse(int argc, char *argv[], FILE *out, struct control_options *options, bool *ret_help,
                          struct error *error);
void control_options_print_help(FILE *out);
void control_options_free(struct control_options *options);

/*
 * Does it. The exit status: 0; 1 with a message if the machine refuses; 4 if it cannot be reached, or a file cannot be
 * written; 2 if a file cannot be made where it is to be. For a process that ends after it.
 */
int control_run(const struct control_options *options);

#endif
