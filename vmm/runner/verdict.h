/*
 * What a run of tests comes to: the exit status of quire test.
 */
#ifndef VMM_RUNNER_VERDICT_H
#define VMM_RUNNER_VERDICT_H

#include "vmm/machine/outcome.h"
#include "vmm/scenario/results.h"

#include <stdbool.h>

enum {
    VERDICT_PASSED = EXIT_STATUS_ORDERLY,
    VERDICT_FAILED = EXIT_STATUS_TEST_FAILED,
    VERDICT_USAGE = EXIT_STATUS_USAGE,
    VERDICT_BROKEN = EXIT_STATUS_HOST_FAILED,
    /* For git-bisect(1): this commit cannot be tested; and no commit can. */
    VERDICT_BISECT_SKIP = 125,
    VERDICT_BISECT_ABORT = 128,
    /* A signal ended it, whose number is added. */
    VERDICT_SIGNAL = EXIT_STATUS_SIGNAL_BASE,
};

/*
 * signal: what ended the run, or 0. stopped: it ended itself with the first failure, so that what was not run says
 * nothing.
 */
int verdict(const struct results *results, int signal, bool stopped);

/*
 * The same for "git bisect run", to which any status from 1 to 127 but 125 is a bad commit: a host that failed skips
 * the commit, and what is wrong with the command line or the scenarios would be so with every commit, and ends it.
 */
int verdict_for_bisect(int status);

#endif
