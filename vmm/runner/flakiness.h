/*
 * What several rounds have shown: which cases pass and fail, and how often.
 */
#ifndef VMM_RUNNER_FLAKINESS_H
#define VMM_RUNNER_FLAKINESS_H

#include <stdio.h>

/* A line, "flaky: NAME: 3 of 50 failed (6 %)", or "fails: NAME: 50 of 50 failed (100 %)". Nothing if none failed. */
void flakiness_write(const char *name, unsigned runs, unsigned failures, FILE *out);

#endif
