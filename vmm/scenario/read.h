/*
 * Reading one file of a scenario: values of every type, lists of tables, and messages with their place.
 */
#ifndef VMM_SCENARIO_READ_H
#define VMM_SCENARIO_READ_H

#include "vmm/config/toml.h"
#include "vmm/scenario/scenario.h"
#include "vmm/scenario/schema.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scenario_reader {
    struct scenario *scenario;
    /* As it was given; the scenario's. */
    const char *file;
    /* Where relative paths start. */
    const char *folder;
    /* What a step of this file may take, where it does not say. */
    uint64_t timeout_ns;
    bool is_dry;
    bool may_lack_files;
    struct error *error;
};

/* All of the functions below return 0, or -1 with the reader's error filled in. */

/* What stands at a node is wrong: "FILE:LINE:COLUMN: name: " and the sentence. Returns -1. name may be NULL. */
__attribute__((format(printf, 4, 5))) int scenario_fail(const struct scenario_reader *reader,
                                                        const struct toml_node *node, const char *name,
                                                        const char *format, ...);
/* The same for a node's key, and for a place that was kept. */
__attribute__((format(printf, 4, 5))) int scenario_fail_key(const struct scenario_reader *reader,
                                                            const struct toml_node *node, const char *name,
                                                            const char *format, ...);
__attribute__((format(printf, 4, 5))) int scenario_fail_at(const struct scenario_position *position, const char *name,
                                                           struct error *error, const char *format, ...);

struct scenario_position scenario_position_of(const struct scenario_reader *reader, const struct toml_node *node);

/* "step.expect", from a table and a key; static names of the schema, so that any of them fits. */
#define SCENARIO_KEY_SIZE 48u
const char *scenario_key_name(const struct scenario_table *table, const char *key, char out[SCENARIO_KEY_SIZE]);

/* No key of the table has this node's name. kinds as scenario_table_nearest() has it. Returns -1. */
int scenario_fail_unknown(const struct scenario_reader *reader, const struct scenario_table *table, uint32_t kinds,
                          const struct toml_node *node);

/* The key of the table that a node is, or NULL. */
const struct scenario_key *scenario_key_of(const struct scenario_table *table, const struct toml_node *node);

/* The child of a table with this key, or NULL. */
const struct toml_node *scenario_child(const struct toml_node *table, const char *name);

/* Reads a node into the field of holder that the key is for. */
int scenario_read_value(const struct scenario_reader *reader, const struct scenario_table *table,
                        const struct scenario_key *key, const struct toml_node *node, void *holder);

/* Parts of it, for keys that are not one value. The text is without NULs and at least `least` bytes long. */
int scenario_read_string(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                         size_t least, struct scenario_text *text);
int scenario_read_as(const struct scenario_reader *reader, const char *name, enum scenario_type type,
                     const struct toml_node *node, struct scenario_text *text);

/* Whether node is a list of tables, or of strings: otherwise says how it is written. */
int scenario_check_tables(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                          const char *title);
int scenario_check_table(const struct scenario_reader *reader, const char *name, const struct toml_node *node);

/* A file that can be read; shown: as the scenario has it, in quotes. */
int scenario_check_file(const struct scenario_position *position, const char *name, const char *shown, const char *path,
                        struct error *error);

/* One more element, zeroed, of a list. NULL, with the reader's error: out of memory. */
void *scenario_grow(const struct scenario_reader *reader, void **items, size_t *count, size_t size);

/* Where the names end, of cases and files: letters, digits, "-", "_", "." and "+". */
bool scenario_is_word(const char *text);

void scenario_text_free(struct scenario_text *text);
void scenario_texts_free(struct scenario_texts *texts);

#endif
