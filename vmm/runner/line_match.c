#include "vmm/runner/line_match.h"

#include <stdlib.h>
#include <string.h>

static void fail_for_memory(struct line_match *match)
{
    match->has_failed = true;
    (void)error_set(&match->error, ERROR_HOST, "out of memory");
}

static void keep(struct line_match *match, const char *bytes, size_t length)
{
    const size_t room = LINE_MATCH_KEPT_MAX - match->kept_used;

    if (length > room)
        length = room;
    if (length == 0)
        return;
    char *grown = realloc(match->kept, match->kept_used + length);
    if (grown == NULL) {
        fail_for_memory(match);
        return;
    }
    memcpy(grown + match->kept_used, bytes, length);
    match->kept = grown;
    match->kept_used += length;
}

static void look_at_line(struct line_match *match)
{
    size_t length = match->line_used;

    match->line_used = 0;
    if (match->pattern == NULL || match->is_found || match->has_failed)
        return;
    if (length > 0 && match->line[length - 1] == '\r')
        length--;
    switch (pattern_match(match->pattern, match->line, length, 0, false, &match->error)) {
    case PATTERN_MATCH:
        match->is_found = true;
        match->found = malloc(length + 1);
        if (match->found == NULL)
            fail_for_memory(match);
        else
            memcpy(match->found, match->line, length);
        break;
    case PATTERN_FAILED:
        match->has_failed = true;
        break;
    case PATTERN_NO_MATCH:
    case PATTERN_UNDECIDED:
        break;
    }
}

void line_match_feed(struct line_match *match, const char *bytes, size_t length)
{
    match->total += length;
    keep(match, bytes, length);
    if (match->line == NULL && (match->line = malloc(LINE_MATCH_LINE_MAX)) == NULL) {
        fail_for_memory(match);
        return;
    }
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n' || match->line_used == LINE_MATCH_LINE_MAX)
            look_at_line(match);
        if (bytes[i] != '\n')
            match->line[match->line_used++] = bytes[i];
    }
}

void line_match_finish(struct line_match *match)
{
    if (match->line_used > 0)
        look_at_line(match);
    /* Nothing at all is an empty line, for '^$'. */
    if (match->total == 0 && match->pattern != NULL && (match->line != NULL || (match->line = malloc(1)) != NULL))
        look_at_line(match);
}

void line_match_free(struct line_match *match)
{
    free(match->kept);
    free(match->line);
    free(match->found);
    *match = (struct line_match){0};
}
