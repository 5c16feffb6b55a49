/*
 * quire report: what can be done with the reports that quire test has written.
 */
#ifndef VMM_CLI_REPORT_H
#define VMM_CLI_REPORT_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct report_options {
    enum { REPORT_MERGE, REPORT_SHOW } command;
    /* Of merge: where to; argv's, NULL for none. */
    const char *directory;
    const char *junit;
    const char *json;
    /* Folders, or files of results; argv's. */
    char *const *reports;
    size_t count;
};

/*
 * Reads the command line; argv[0] is the command, "report". Opens nothing. With --help the text goes to out, and
 * *ret_help is set. 0, or -1 with *error. There is nothing to free.
 */
int report_options_parse(int argc, char *argv[], FILE *out, struct report_options *options, bool *ret_help,
                         struct error *error);
void report_options_print_help(FILE *out);

/*
 * Does it. The exit status: that of the results, as quire test has it; or with a message 2 if a report is wrong or a
 * file cannot be made where it is to be, 4 if the host fails.
 */
int report_run(const struct report_options *options);

#endif
