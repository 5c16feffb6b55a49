/*
 * The files that a run of tests writes at its end.
 */
#ifndef VMM_RUNNER_OUTPUTS_H
#define VMM_RUNNER_OUTPUTS_H

#include "memory/support/error.h"
#include "vmm/scenario/results.h"

/* Paths; NULL: not asked for. */
struct outputs {
    const char *junit;
    const char *json;
    /* A folder that is there. */
    const char *report;
};

/* Whether files can be made in the folders of junit and json. -1 with *error. */
int outputs_check(const struct outputs *outputs, struct error *error);

/* Writes all, whatever becomes of one; each is there whole or not at all. -1 with *error: the first that failed. */
int outputs_write(const struct outputs *outputs, const struct results *results, struct error *error);

#endif
