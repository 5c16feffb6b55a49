/*
 * A run of tests as lines at the bottom of a terminal, and how these are replaced.
 *
 * The cursor is not hidden, and rests behind the last line: so there is nothing to give back, however the program ends.
 */
#ifndef VMM_RUNNER_LIVE_H
#define VMM_RUNNER_LIVE_H

#include "vmm/runner/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Cases that run have a line each, as far as there is room; and one is for the whole. */
#define LIVE_MAX_LINES 33u

/* What stands on the terminal now. Zeroed at first: nothing. */
struct live {
    size_t count;
    /* Of each line, in characters. */
    unsigned widths[LIVE_MAX_LINES];
};

/*
 * Writes what takes the lines away, on a terminal that has so many columns by now: a longer line has been wrapped if
 * the terminal was made narrower.
 */
void live_erase(struct live *live, unsigned columns, FILE *out);

/* Writes the lines for a view, behind live_erase(). No line is as long as the terminal is wide. */
void live_draw(struct live *live, const struct view *view, unsigned columns, unsigned rows, FILE *out);

/* "12 s", "1 min 20 s", "2 h 5 min". Returns text. */
#define LIVE_TIME_SIZE 40u
const char *live_time(char text[LIVE_TIME_SIZE], uint64_t ns);

#endif
