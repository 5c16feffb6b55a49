/*
 * A command line in a test: parsed as quire's, its result in options, and why it is wrong in error.
 */
#ifndef TESTS_COMMAND_LINE_H
#define TESTS_COMMAND_LINE_H

#include "vmm/cli/options.h"

#include "unit_test.h"

#include <stdio.h>
#include <string.h>

static struct options options;
static struct error error;

static inline void teardown(void)
{
    options_free(&options);
}

/* Splits at "|" where there is one, else at blanks; "''" is an empty word. out: what is said. options_parse()'s result.
 */
static inline int parse_to(const char *line, FILE *out)
{
    static char words[512];
    static char *argv[64];
    const char *separator = strchr(line, '|') != NULL ? "|" : " ";
    char *rest = words;
    int argc = 0;

    options_free(&options);
    strcpy(words, line);
    while (rest != NULL) {
        char *word = strsep(&rest, separator);
        argv[argc++] = strcmp(word, "''") == 0 ? strchr(word, '\0') : word;
    }
    argv[argc] = NULL;
    return options_parse(argc, argv, out, &options, &error);
}

/* What is said goes nowhere. */
static inline int parse(const char *line)
{
    FILE *out = fopen("/dev/null", "we");
    const int result = parse_to(line, out);

    (void)fclose(out);
    return result;
}

static inline void expect_error(const char *line, const char *text)
{
    ck_assert_int_eq(parse(line), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, text) != NULL, "%s: %s", line, error.text);
}

#endif
