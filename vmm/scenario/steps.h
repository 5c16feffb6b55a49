/*
 * The steps of a scenario: reading them, and what only all of them together can tell.
 */
#ifndef VMM_SCENARIO_STEPS_H
#define VMM_SCENARIO_STEPS_H

#include "vmm/scenario/read.h"

/* Adds the steps of a file to the scenario. 0, or -1 with the reader's error. */
int scenario_read_steps(const struct scenario_reader *reader, const struct toml_node *node);

bool scenario_step_needs_agent(const struct scenario_step *step);

/* Variables are set before they are used, and no step needs what the ones before have taken away. */
int scenario_check_steps(const struct scenario *scenario, struct error *error);

/* Files of the host's whose names have variables that no step changes: in each case. */
int scenario_check_files(const struct scenario *scenario, struct error *error);

void scenario_step_free(struct scenario_step *step);

#endif
