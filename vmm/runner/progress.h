/*
 * What the user sees of a run of tests while it goes on: on a terminal what runs, and above it what has failed; in a
 * pipe a line for each case that has ended.
 *
 * Threads: the loop's.
 */
#ifndef VMM_RUNNER_PROGRESS_H
#define VMM_RUNNER_PROGRESS_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "vmm/runner/view.h"
#include "vmm/scenario/results.h"
#include "vmm/scenario/scenario.h"

#include <stdbool.h>
#include <stdio.h>

enum progress_style {
    /* Nothing; warnings go to standard error. */
    PROGRESS_NOTHING,
    PROGRESS_LINES,
    PROGRESS_LIVE,
};

/* How fast at most, and how often at least, what is live is drawn anew. */
#define PROGRESS_LEAST_NS 100000000ull
#define PROGRESS_MOST_NS 1000000000ull

struct progress_settings {
    enum progress_style style;
    /* Failures are red. */
    bool has_colour;
    /* Only cases that have not passed have lines. */
    bool is_quiet;
    /* Steps have lines, and live all cases. */
    bool is_verbose;
    /* The caller's. */
    FILE *out;
    /* As soon as it can be read, nobody is held up for what cannot be written (outlet.h); -1: there is none. */
    int urgent_fd;
    /* How the run stands. */
    const struct view *(*look)(void *context);
    void *context;
};

/*
 * What fits a stream: live on a terminal that is one (TERM is neither empty nor "dumb"), and in colour there if
 * NO_COLOR (https://no-color.org) is not set.
 */
enum progress_style progress_style_for(FILE *out);
bool progress_has_colour_on(FILE *out);

struct progress;

/* *settings is copied. NULL with *error. */
struct progress *progress_create(struct event_loop *loop, const struct progress_settings *settings,
                                 struct error *error);

/* What has happened (session.h). */
void progress_began(struct progress *progress);
void progress_step(struct progress *progress, const char *name, const struct scenario *scenario, size_t step);
void progress_ended(struct progress *progress, const struct result_case *result);
void progress_warn(struct progress *progress, const char *text);

/* From here on nobody is held up. */
void progress_hurry(struct progress *progress);

/* What is out cannot be written. */
bool progress_has_failed(const struct progress *progress);

/* Shows what is still to be shown, for which it waits, and leaves the terminal to others. */
void progress_finish(struct progress *progress);

/* The same without waiting, and with what is lost by that. Takes NULL. */
void progress_destroy(struct progress *progress);

#endif
