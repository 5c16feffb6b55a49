/*
 * Where a case spent its time, as a picture within the page: its steps, the phases of the boot, and when the console
 * printed. It says nothing that the tables beside it do not say, too.
 *
 * Threads: any, one at a time for each out, whose errors are for whoever has it.
 */
#ifndef VMM_REPORT_TIMELINE_H
#define VMM_REPORT_TIMELINE_H

#include "vmm/report/excerpt.h"
#include "vmm/scenario/results.h"

#include <stdio.h>

/* Phases that are there, in the order of time; returns how many. */
size_t timeline_phases(const struct excerpt *excerpt, enum excerpt_phase_kind order[EXCERPT_PHASE_COUNT]);

/* excerpt: NULL where there is no console with times. Of the steps, at most step_limit. */
void timeline_write(const struct result_case *one, size_t step_limit, const struct excerpt *excerpt, FILE *out);

#endif
