/*
 * Every key of a scenario, in one table: reading, checking and the test of quire.scenario(5) come from it.
 */
#ifndef VMM_SCENARIO_SCHEMA_H
#define VMM_SCENARIO_SCHEMA_H

#include "vmm/scenario/scenario.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With the type of the field. */
enum scenario_type {
    /* struct scenario_text */
    SCENARIO_TYPE_STRING,
    /* ... with variables */
    SCENARIO_TYPE_TEMPLATE,
    /* ... a pattern, with variables */
    SCENARIO_TYPE_PATTERN,
    /* ... a variable's name */
    SCENARIO_TYPE_VARIABLE,
    /* ... a file that is there; absolute */
    SCENARIO_TYPE_FILE,
    /* ... the same with variables, as it was written */
    SCENARIO_TYPE_FILE_TEMPLATE,
    /* ... a path in the guest, with variables */
    SCENARIO_TYPE_GUEST_PATH,
    /* ... a file's name, without folders that lead elsewhere, with variables */
    SCENARIO_TYPE_ARTEFACT,
    /* struct scenario_texts: one pattern or a list */
    SCENARIO_TYPE_PATTERNS,
    /* uint64_t, ns */
    SCENARIO_TYPE_TIME,
    /* bool */
    SCENARIO_TYPE_BOOLEAN,
    /* nothing: it is there, or not */
    SCENARIO_TYPE_TRUE,
    /* uint32_t, permissions in octal */
    SCENARIO_TYPE_MODE,
    /* bool[TROUBLE_KIND_COUNT] */
    SCENARIO_TYPE_TROUBLES,
    /* fields of struct scenario_step */
    SCENARIO_TYPE_STATUS,
    SCENARIO_TYPE_EXIT,
    SCENARIO_TYPE_KTAP,
    SCENARIO_TYPE_GDB,
    /* What is not one value: the reader of the table knows. */
    SCENARIO_TYPE_OTHER,
};

struct scenario_key {
    const char *name;
    enum scenario_type type;
    /* of the field in the table's struct */
    size_t offset;
    /* Steps: the kinds that it goes with, 1 << kind each; 0: all. */
    uint32_t kinds;
    /* Steps: whether it says the kind. */
    bool is_kind;
    bool is_required;
    /* as the manual has it; NULL: there is none to tell of */
    const char *default_text;
    /* one line for people */
    const char *doc;
};

struct scenario_table {
    /* in front of a key in messages: "step" */
    const char *name;
    /* as in a file: "[[step]]"; "" is the top of the file */
    const char *title;
    const struct scenario_key *keys;
    size_t count;
};

extern const struct scenario_table scenario_top_table;
extern const struct scenario_table scenario_defaults_table;
extern const struct scenario_table scenario_matrix_table;
extern const struct scenario_table scenario_entry_table;
extern const struct scenario_table scenario_step_table;
/* All of them; ends in NULL. */
extern const struct scenario_table *const scenario_tables[];

/* Of expect-exit, by enum scenario_exit, without a status; and of ktap; end in NULL. */
extern const char *const scenario_exit_names[];
extern const char *const scenario_ktap_names[];

/* NULL: no such key. */
const struct scenario_key *scenario_table_find(const struct scenario_table *table, const char *name);

/* The key that may be meant, of those that go with any of these kinds (0: of all); NULL: none. */
const struct scenario_key *scenario_table_nearest(const struct scenario_table *table, uint32_t kinds, const char *name);

/* Whether a key goes with steps of this kind. */
bool scenario_key_fits(const struct scenario_key *key, enum scenario_step_kind kind);

#endif
