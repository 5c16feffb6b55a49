/*
 * KTAP, the kernel's test output (Documentation/dev-tools/ktap.rst, version 1), as KUnit and kselftest print it, and
 * TAP's older versions where KUnit used them: read as a stream, line by line, into a tree of results.
 *
 * In front of a line may be what printk puts there. Between the lines may be anything else that a kernel prints; it
 * becomes part of the next result's diagnostics. A stream that ends early, plans that are not kept and numbers out of
 * order are problems, and a tree with a problem has not passed. What does not fit into the bounds is counted, and is a
 * problem, too.
 *
 * Threads: one at a time for each parser.
 */
#ifndef VMM_SCENARIO_KTAP_H
#define VMM_SCENARIO_KTAP_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KTAP_MAX_DEPTH 16u
#define KTAP_MAX_RESULTS 65536u
/* Of one line; what is longer is cut. */
#define KTAP_LINE_MAX 4096u
/* Of one result, with the NUL. */
#define KTAP_NAME_SIZE 256u
#define KTAP_DIAGNOSTICS_SIZE 4096u
/* Of all results' texts together. */
#define KTAP_TEXT_MAX (16u << 20)
#define KTAP_MAX_PROBLEMS 32u

enum ktap_status {
    /* No result line came. */
    KTAP_MISSING,
    KTAP_PASSED,
    KTAP_FAILED,
    KTAP_SKIPPED,
    /* "not ok" with TODO: known not to work, and no failure. */
    KTAP_TODO,
    KTAP_TIMED_OUT,
    /* The directive ERROR, or subtests that are not as planned. */
    KTAP_ERROR,
    KTAP_STATUS_COUNT,
};

/* "passed", "timed out" and so on. */
const char *ktap_status_name(enum ktap_status status);

/* Whether a result of this status makes the whole fail. */
bool ktap_status_is_bad(enum ktap_status status);

struct ktap_result {
    enum ktap_status status;
    /* It has subtests; they come behind it, and have it as their parent. */
    bool is_suite;
    /* of its parent, or KTAP_NO_PARENT */
    size_t parent;
    uint32_t depth;
    /* Printable, ended by a NUL; "" only where none came. */
    const char *name;
    /* What follows the directive, "why it was skipped", or "". */
    const char *reason;
    /* Lines, each with its newline; "" if there are none. */
    const char *diagnostics;
};
#define KTAP_NO_PARENT SIZE_MAX

struct ktap;

/* NULL, with *error: out of memory. */
struct ktap *ktap_create(struct error *error);
/* NULL is fine. */
void ktap_free(struct ktap *ktap);

/* Takes a line, without its end. */
void ktap_line(struct ktap *ktap, const char *line, size_t length);

/* Takes bytes in portions of any size, for what is no console: the output of a command. */
void ktap_bytes(struct ktap *ktap, const char *bytes, size_t length);

/* A stream with a plan has all that it planned; on a console, nothing more has to be waited for. */
bool ktap_is_complete(const struct ktap *ktap);

/* There is nothing more: what is missing becomes problems. */
void ktap_finish(struct ktap *ktap);

/* Results in the order in which they began; a suite is in front of its subtests. Valid until the parser gets more. */
size_t ktap_count(const struct ktap *ktap);
struct ktap_result ktap_result(const struct ktap *ktap, size_t index);

/* "suite/case", as much as fits; returns out. */
#define KTAP_PATH_SIZE 1024u
const char *ktap_path(const struct ktap *ktap, size_t index, char out[KTAP_PATH_SIZE]);

/* How many results that have no subtests have this status. */
size_t ktap_tally(const struct ktap *ktap, enum ktap_status status);

/* Each a sentence without a full stop. There may have been more than are kept: the count is of all. */
size_t ktap_problem_count(const struct ktap *ktap);
/* NULL behind the last one that was kept. */
const char *ktap_problem(const struct ktap *ktap, size_t index);

/* After ktap_finish(): there are results, none is bad, and there is no problem. */
bool ktap_passed(const struct ktap *ktap);

#endif
