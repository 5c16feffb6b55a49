/*
 * Which of a plan's cases are run, and what earlier runs say of them.
 */
#ifndef VMM_RUNNER_SELECT_H
#define VMM_RUNNER_SELECT_H

#include "memory/support/error.h"
#include "vmm/runner/plan.h"
#include "vmm/runner/times.h"

#include <stddef.h>
#include <stdint.h>

/* Fills in what earlier runs have shown. */
void plan_recall(struct plan *plan, const struct times *times);

/* The functions below take cases out. -1, with *error: out of memory, and nothing is changed. */

/* Keeps what one of the filters asks for (scenario_case_fits()). */
int plan_filter(struct plan *plan, const char *const *filters, size_t count, struct error *error);

/* Keeps what was run and did not pass, or was cut short, the last time. */
int plan_keep_failed(struct plan *plan, struct error *error);

/*
 * Keeps the share of one machine of several: number counts from 1. Shares take about as long, as far as earlier runs
 * say. They depend on names and times, not on the order of the plan: every machine that knows the same comes to the
 * same shares.
 */
int plan_keep_shard(struct plan *plan, unsigned number, unsigned count, struct error *error);

/*
 * Where to begin: the places of all cases, the longest first; and by place what each is taken to last, in ns: where it
 * is not known the mean of what is, or a second. Both are the caller's to free. -1, with *error: out of memory.
 */
int plan_order(const struct plan *plan, size_t **ret_order, uint64_t **ret_weights, struct error *error);

#endif
