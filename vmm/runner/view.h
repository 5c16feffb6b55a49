/*
 * A run of tests at one moment, as it is shown: plain data.
 */
#ifndef VMM_RUNNER_VIEW_H
#define VMM_RUNNER_VIEW_H

#include "vmm/scenario/results.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A case that runs. */
struct view_case {
    const char *name;
    /* The step that it has got to, from 0 on, and what that does; NULL: none yet. */
    const char *kind;
    size_t step;
    size_t step_count;
    uint64_t elapsed_ns;
    /* 0: not known */
    uint64_t expected_ns;
};

struct view {
    const struct view_case *running;
    size_t running_count;
    /* What has come of those that have ended. */
    size_t tallies[RESULT_STATUS_COUNT];
    /* Those that have not begun; of the last round, where there is no end of rounds. */
    size_t waiting;
    /* Counted from 1, and how many there are; 0: without end. */
    unsigned round;
    unsigned rounds;
    /* How long all of it may still take. */
    bool knows_left;
    uint64_t left_ns;
};

#endif
