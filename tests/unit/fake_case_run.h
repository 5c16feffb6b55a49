/*
 * Cases that are none: what case_run.h promises, with outcomes that a test has written, and no machines. What ends by
 * itself does so in the loop, in the order of the given times.
 */
#ifndef TESTS_UNIT_FAKE_CASE_RUN_H
#define TESTS_UNIT_FAKE_CASE_RUN_H

#include "vmm/scenario/results.h"

#include <stdbool.h>
#include <stdint.h>

struct fake_outcome {
    enum result_status status;
    /* How long it takes, and says that it has taken, but for one that hangs: that has to be interrupted. */
    unsigned milliseconds;
    bool hangs;
    /* It cannot be started. */
    bool refuses;
};

struct fake_cases {
    /* What becomes of a case, by its result's name. NULL: all pass at once. */
    struct fake_outcome (*decide)(const char *name);
    /* Those that are interrupted end before case_run_interrupt() returns. */
    bool ends_at_once;
    /* Each leaves this file in its folder. NULL: none does. */
    const char *file;

    /* Counted by the fake. */
    unsigned running;
    unsigned most_running;
    unsigned started;
    unsigned interrupted;
    unsigned destroyed;
    uint64_t memory;
    uint64_t most_memory;
    /* Names of those that were started, in order, with blanks behind them. */
    char order[4096];
};

/* One for the process; a test resets it. */
extern struct fake_cases fake_cases;

#endif
