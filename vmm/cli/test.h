/*
 * quire test: boot tests.
 */
#ifndef VMM_CLI_TEST_H
#define VMM_CLI_TEST_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Strings are argv's; arrays are owned. */
struct test_options {
    /* Scenarios, and folders with some. */
    const char *const *paths;
    size_t path_count;
    /* --filter, --set */
    const char **filters;
    size_t filter_count;
    const char **assignments;
    size_t assignment_count;
    bool only_list;
    bool only_failed;
    /* Counted from 1; 1 of 1: everything. */
    unsigned shard;
    unsigned shard_count;
    /* 0: as many as there are processors. */
    unsigned jobs;
    /* 0: without end, with until_fail. */
    unsigned rounds;
    bool until_fail;
    bool fail_fast;
    bool dumps;
    bool is_quiet;
    bool is_verbose;
    /* What TAP's first line says, 13 or 14; 0: no TAP. */
    unsigned tap;
    const char *junit;
    const char *json;
    const char *report;
    /* NULL: the user's own. */
    const char *history;
    const char *symbols;
    bool for_bisect;
};

/*
 * Reads the command line; argv[0] is the command, "test". Opens nothing. With --help the text goes to out, and
 * *ret_help is set. 0, or -1 with *error. test_options_free() is due in any case; for_bisect is right in any case, too.
 */
int test_options_parse(int argc, char *argv[], FILE *out, struct test_options *options, bool *ret_help,
                       struct error *error);
void test_options_print_help(FILE *out);
void test_options_free(struct test_options *options);

/*
 * Runs them, with this process's standard output and signals. The exit status: 0 all passed, 1 one failed, 2 a scenario
 * is wrong, 4 the host failed, 128 and its number for a signal; for_bisect as verdict_for_bisect() has it. For a
 * process that has one thread and ends after it: signals stay blocked.
 */
int test_run(const struct test_options *options);

#endif
