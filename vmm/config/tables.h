/*
 * The tables that a file may have any number of: [[memory.range]], [[space]] with its [[space.range]], [[vcpu]], and
 * devices of all kinds.
 */
#ifndef VMM_CONFIG_TABLES_H
#define VMM_CONFIG_TABLES_H

#include "memory/support/error.h"
#include "vmm/config/config.h"
#include "vmm/config/toml.h"

struct tables_reader {
    const char *file;
    /* where relative paths start */
    const char *folder;
    struct error *error;
};

/*
 * Each reads what a file has under one of these names, and adds to a list. 0, or -1 with *error; what the list has then
 * is still to be freed.
 */
int config_tables_read_ranges(const struct tables_reader *reader, const struct toml_node *node,
                              struct config_ranges *ranges);
int config_tables_read_spaces(const struct tables_reader *reader, const struct toml_node *node,
                              struct config_lists *lists);
int config_tables_read_vcpus(const struct tables_reader *reader, const struct toml_node *node,
                             struct config_lists *lists);

int config_tables_read_devices(const struct tables_reader *reader, const struct toml_node *node,
                               enum config_device_kind kind, struct config_lists *lists);

/* A zeroed struct is fine, and becomes one. */
void config_lists_free(struct config_lists *lists);

#endif
