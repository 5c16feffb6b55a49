/*
 * What a command prints: kept as far as there is room, and searched for a pattern, line by line.
 *
 * Threads: one at a time for each.
 */
#ifndef VMM_RUNNER_LINE_MATCH_H
#define VMM_RUNNER_LINE_MATCH_H

#include "memory/support/error.h"
#include "vmm/scenario/pattern.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that are kept: the first ones. A line that is longer than the other is searched in pieces. */
#define LINE_MATCH_KEPT_MAX (1u << 20)
#define LINE_MATCH_LINE_MAX 65536u

/* Zeroed, and with a pattern, before the first byte comes. */
struct line_match {
    /* What a line has to match; the caller's. NULL: nothing is looked for. */
    struct pattern *pattern;
    bool is_found;
    /* The pattern took too long, or there was no memory. */
    bool has_failed;
    struct error error;
    char *kept;
    size_t kept_used;
    uint64_t total;
    char *line;
    size_t line_used;
    /* The line of the match, where its groups are. */
    char *found;
};

void line_match_feed(struct line_match *match, const char *bytes, size_t length);
/* Nothing more comes: an unfinished line counts. */
void line_match_finish(struct line_match *match);
/* Frees what it has, and not the pattern. */
void line_match_free(struct line_match *match);

#endif
