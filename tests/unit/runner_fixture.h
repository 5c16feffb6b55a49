/*
 * A folder with scenarios for tests of vmm/runner/, and a plan of them. The kernel is an empty file.
 */
#ifndef TESTS_UNIT_RUNNER_FIXTURE_H
#define TESTS_UNIT_RUNNER_FIXTURE_H

#include "vmm/runner/plan.h"

/* Of the test; made by runner_setup(), the current one from then on, and removed by runner_teardown(). */
extern char runner_folder[64];
extern struct plan runner_plan;
extern const struct scenario_options runner_options;
/* What plan_load() has reported, a line each. */
extern char runner_mistakes[4096];

void runner_setup(void);
void runner_teardown(void);

/* How many files and folders there are in the current one. */
unsigned runner_count_files(void);
void runner_write(const char *path, const char *text);
/* A scenario with so many cases, NAME[n=1] and so on, or NAME alone for 1, whose machines have so much memory. */
void runner_add_scenario(const char *path, unsigned cases, unsigned mib);
/* Loads paths, separated by blanks, into runner_plan. */
int runner_load(const char *paths);
/* Names of the plan's cases, with a blank behind each. Valid until the next call. */
const char *runner_names(void);

#endif
