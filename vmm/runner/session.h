/*
 * A plan's cases, run: several at a time, within bounds, and each once or in several rounds. What one of them does, and
 * what becomes of it, touches no other.
 *
 * It runs in an event loop, on that loop's thread, and so do its callbacks.
 */
#ifndef VMM_RUNNER_SESSION_H
#define VMM_RUNNER_SESSION_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "vmm/runner/case_run.h"
#include "vmm/runner/plan.h"
#include "vmm/runner/view.h"
#include "vmm/scenario/results.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of results: cases times rounds. */
#define SESSION_MAX_RESULTS 1000000u
#define SESSION_MAX_JOBS 1024u

struct session_settings {
    /* How many machines run at a time, from 1 to SESSION_MAX_JOBS; */
    unsigned jobs;
    /* and what they may take of memory together. One that takes more runs alone. */
    uint64_t memory;
    /* How often each case is run; 0: without end, for until_fail. */
    unsigned rounds;
    /* Stops when one has not passed, or could not be run; until_fail also keeps only the last result of each case. */
    bool fail_fast;
    bool until_fail;
    /* Where cases get their folders, absolute; whether these stay. */
    const char *folder;
    bool keeps_folders;
    /* For each case; without the folder. */
    struct case_run_settings run;
};

struct session_handlers {
    void *context;
    /* A case has begun; it is at a step, counted from 0. */
    void (*began)(void *context, const char *name);
    void (*step)(void *context, const char *name, const struct scenario *scenario, size_t step);
    /* It has ended. The result stays the session's. */
    void (*ended)(void *context, const struct result_case *result);
    /* Something is odd, and worth a line. */
    void (*warn)(void *context, const char *text);
    /* All have. Called once. */
    void (*finished)(void *context);
};

/* What came of one case in all rounds. */
struct session_tally {
    /* How often it passed or failed, and how often it failed. */
    unsigned runs;
    unsigned failures;
    /* RESULT_FAILED or RESULT_BROKEN if that was ever so; else the last one. */
    enum result_status status;
    /* How long it took the last time that it passed, or if it never did, to fail; 0: neither. */
    uint64_t duration_ns;
};

struct session;

/*
 * All arguments outlive the session; *settings and *handlers are copied. results gets a case for each that is to be
 * run, in the plan's order, RESULT_NOT_RUN at first; in several rounds "NAME#ROUND". NULL with *error: out of memory,
 * or (ERROR_CONFIG) too many.
 */
struct session *session_create(struct event_loop *loop, const struct plan *plan,
                               const struct session_settings *settings, const struct session_handlers *handlers,
                               struct results *results, struct error *error);

/* Begins. Without cases it is over at once. */
void session_start(struct session *session);

/* Ends what runs, and begins nothing more: that stays RESULT_NOT_RUN, with why. */
void session_stop(struct session *session, const char *why);

/* How it stands; valid until the session is called again. */
const struct view *session_view(struct session *session);

/* By the place of the case in the plan. */
const struct session_tally *session_tally(const struct session *session, size_t place);

/* What runs is killed without a word. Takes NULL. */
void session_destroy(struct session *session);

#endif
