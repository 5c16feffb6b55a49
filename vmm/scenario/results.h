/*
 * What came of a run of scenarios, as plain data, and the forms in which it is written: TAP 14, JUnit's XML, JSON, and
 * lines for a pipe.
 *
 * Texts may hold any bytes, since they come from guests; each writer makes of them what its form allows.
 *
 * Threads: one at a time for each struct results.
 */
#ifndef VMM_SCENARIO_RESULTS_H
#define VMM_SCENARIO_RESULTS_H

#include "memory/support/error.h"
#include "vmm/scenario/ktap.h"
#include "vmm/scenario/trouble.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum result_status {
    /* It has not been run. */
    RESULT_NOT_RUN,
    RESULT_PASSED,
    /* The guest did not do what it should. */
    RESULT_FAILED,
    RESULT_SKIPPED,
    /* It could not be found out: the host failed, not the guest. */
    RESULT_BROKEN,
    RESULT_STATUS_COUNT,
};

/* "passed" and so on. */
const char *result_status_name(enum result_status status);

/* Strings are owned, and NULL where there is nothing to say. Times are in ns, and count from the case's start. */
struct result_step {
    /* "expect", and what */
    char *kind;
    char *title;
    enum result_status status;
    uint64_t start_ns;
    uint64_t duration_ns;
    /* Why it failed, in a sentence; and more of it, in lines. */
    char *message;
    char *detail;
};

/* A test inside the guest. */
struct result_subtest {
    /* "suite/case" */
    char *name;
    enum ktap_status status;
    char *reason;
    char *diagnostics;
};

struct result_trouble {
    enum trouble_kind kind;
    uint64_t line;
    uint64_t at_ns;
    char *text;
    /* It was allowed or expected, so nothing failed because of it. */
    bool is_tolerated;
};

/* A file in the folder of artefacts. */
struct result_attachment {
    char *name;
    char *path;
};

struct result_case {
    char *name;
    /* The scenario's file. */
    char *file;
    enum result_status status;
    /* In seconds since 1970. */
    int64_t started_at;
    uint64_t duration_ns;
    /* Why it failed, was skipped or is broken. */
    char *message;
    /* The last lines of the console. */
    char *console;
    struct result_step *steps;
    size_t step_count;
    struct result_subtest *subtests;
    size_t subtest_count;
    struct result_trouble *trouble;
    size_t trouble_count;
    struct result_attachment *attachments;
    size_t attachment_count;
};

struct results {
    char *suite;
    int64_t started_at;
    uint64_t duration_ns;
    /* In the order in which they are to be shown. */
    struct result_case **cases;
    size_t case_count;
};

/* NULL, with *error: out of memory. */
struct results *results_create(const char *suite, struct error *error);
/* NULL is fine. */
void results_free(struct results *results);

/*
 * The functions below copy their texts, of which any but a name may be NULL. They return what was added, which stays
 * the results', for the caller to fill in the rest, or NULL with *error: out of memory. What was added before to the
 * same list may have moved, except cases.
 */
struct result_case *results_add_case(struct results *results, const char *name, const char *file, struct error *error);
struct result_step *result_add_step(struct result_case *one, const char *kind, const char *title, struct error *error);
struct result_subtest *result_add_subtest(struct result_case *one, const char *name, struct error *error);
struct result_trouble *result_add_trouble(struct result_case *one, enum trouble_kind kind, const char *text,
                                          struct error *error);
struct result_attachment *result_add_attachment(struct result_case *one, const char *name, const char *path,
                                                struct error *error);
/* Everything that a finished parser has but suites that passed; what there is goes behind what there was. -1: *error.
 */
int result_add_ktap(struct result_case *one, const struct ktap *ktap, const char *prefix, struct error *error);

/* Replaces a text of a result. -1, with *error: out of memory. */
int result_set_text(char **to, const char *text, struct error *error);

/* How many cases have this status. */
size_t results_tally(const struct results *results, enum result_status status);

/* The exit status of quire: 4 if anything is broken or was not run, 1 if anything failed, 0 otherwise. */
int results_exit_status(const struct results *results);

/* ---- Writers; the caller checks ferror(out) ---- */

/*
 * A test for each case, with its subtests. version: what the first line says, 13 or 14. The rest is TAP 14, which a
 * reader of 13 takes, too; but such a one (prove, before Perl 5.38) refuses a first line that says 14.
 */
void results_write_tap(const struct results *results, unsigned version, FILE *out);

/* A testcase for each case, and one for each of its subtests. */
void results_write_junit(const struct results *results, FILE *out);

/* All there is, "format": 1. -1, with *error: out of memory. */
int results_write_json(const struct results *results, FILE *out, struct error *error);

/* A line for a case that has ended, with lines of why where it did not pass; and one for the whole. */
void results_write_line(const struct result_case *one, FILE *out);
void results_write_summary(const struct results *results, FILE *out);

#endif
