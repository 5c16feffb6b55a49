/*
 * The last lines of a console, within a fixed amount of memory. A line lies in one piece, so that a pattern can be
 * matched where it lies.
 */
#ifndef VMM_SCENARIO_HISTORY_H
#define VMM_SCENARIO_HISTORY_H

#include "vmm/scenario/console_watch.h"

struct history;

/* NULL: out of memory. */
struct history *history_create(void);
/* NULL is fine. */
void history_free(struct history *history);

/* Copies a line of at most CONSOLE_LINE_MAX bytes, and drops the oldest lines where there is no room. */
void history_add(struct history *history, const struct console_line *line);

/* The number of the oldest line that is kept, and of the one that comes next: they are the same if there is none. */
uint64_t history_first(const struct history *history);
uint64_t history_next(const struct history *history);

/* number is one of those kept. Valid until a line is added. */
struct console_line history_line(const struct history *history, uint64_t number);

#endif
