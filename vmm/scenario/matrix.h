/*
 * What a scenario changes of its machine, and the matrix of cases.
 */
#ifndef VMM_SCENARIO_MATRIX_H
#define VMM_SCENARIO_MATRIX_H

#include "vmm/scenario/read.h"

/* Each returns 0, or -1 with the reader's error. name is the table's, for messages: "override". */
int scenario_read_overrides(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                            struct scenario_overrides *overrides);

/* Adds the axes of a file. */
int scenario_read_matrix(const struct scenario_reader *reader, const struct toml_node *node);

/* Makes the cases of the axes, and names them. */
int scenario_make_cases(struct scenario *scenario, struct error *error);

void scenario_overrides_free(struct scenario_overrides *overrides);
void scenario_axis_free(struct scenario_axis *axis);

/* Whether the machine of a case can be made, with what its steps need. */
int scenario_check_machine(const struct scenario *scenario, size_t index, const struct scenario_options *options,
                           struct error *error);

#endif
