/*
 * Patterns of scenarios: PCRE2, compiled for speed and bounded, because what they are matched against is a guest's.
 *
 * Subjects are bytes, not UTF-8: a guest may print anything. "^" and "$" match at the lines of a subject.
 * Threads: a pattern is used by one at a time, since it holds its last match.
 */
#ifndef VMM_SCENARIO_PATTERN_H
#define VMM_SCENARIO_PATTERN_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>

/* In bytes; a longer one is refused. */
#define PATTERN_MAX_LENGTH 4096u
/* Named groups in one pattern. */
#define PATTERN_MAX_CAPTURES 32u
/* With the NUL: PCRE2's own limit of a group's name, and what a variable's name has. */
#define PATTERN_NAME_SIZE 33u

struct pattern;

struct pattern_failure {
    bool out_of_memory;
    /* in bytes, where in the pattern it was noticed */
    size_t offset;
    /* what PCRE2 says, without a full stop */
    char text[160];
};

/* NULL, with *failure: not a pattern, or out of memory. The text is copied. */
struct pattern *pattern_compile(const char *text, struct pattern_failure *failure);

/* NULL is fine. */
void pattern_free(struct pattern *pattern);

const char *pattern_text(const struct pattern *pattern);

/* Its named groups, in the order of their numbers; the name lives as long as the pattern. */
size_t pattern_capture_count(const struct pattern *pattern);
const char *pattern_capture_name(const struct pattern *pattern, size_t index);

enum pattern_result {
    PATTERN_NO_MATCH,
    PATTERN_MATCH,
    /* Only for an unfinished subject: what comes next decides. */
    PATTERN_UNDECIDED,
    /* It was given up; the error says why. */
    PATTERN_FAILED,
};

/*
 * Looks for the pattern in length bytes at subject, from `from` on; what is in front of that is there to look behind.
 * unfinished: more may follow, so a match that more bytes could change is not one yet. Then, and with a match,
 * pattern_start() is where it begins, and so on.
 *
 * A match that takes too many steps, too much memory or, over the whole subject, more than about a second of the
 * processor is given up: *error names the pattern. (ERROR_CONFIG; out of memory is ERROR_HOST.)
 */
enum pattern_result pattern_match(struct pattern *pattern, const char *subject, size_t length, size_t from,
                                  bool unfinished, struct error *error);

/* Of the last match, in bytes of its subject. */
size_t pattern_start(const struct pattern *pattern);
size_t pattern_end(const struct pattern *pattern);

/* What the named group matched; false: it took no part in the match. */
bool pattern_capture(const struct pattern *pattern, size_t index, size_t *start, size_t *length);

/* The processor's time for one pattern_match(), in ns; for tests. */
void pattern_set_budget(struct pattern *pattern, unsigned long long ns);

#endif
