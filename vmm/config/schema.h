/*
 * Every key of the configuration, in one table. Parsing, checking, printing, the lists of keys in help and the test of
 * quire.toml(5) come from it.
 */
#ifndef VMM_CONFIG_SCHEMA_H
#define VMM_CONFIG_SCHEMA_H

#include "vmm/config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With the type of the field in struct config. */
enum schema_type {
    /* char *, never NULL; minimum and maximum are lengths in bytes */
    SCHEMA_STRING,
    /* char *, absolute; NULL for "", which minimum = 1 refuses */
    SCHEMA_PATH,
    /* uint32_t */
    SCHEMA_INTEGER,
    /* uint64_t in bytes, a multiple of 4096 */
    SCHEMA_SIZE,
    /* an enum whose values are places in choices */
    SCHEMA_CHOICE,
    /* struct config_names, of letters, digits and a few signs */
    SCHEMA_NAMES,
    /* struct config_names, of any printable letters but blanks and commas */
    SCHEMA_WORDS,
    /* bool */
    SCHEMA_BOOLEAN,
    /* uint64_t, a multiple of `multiple` */
    SCHEMA_ADDRESS,
    /* uint32_t, bits CONFIG_FLAG_* */
    SCHEMA_FLAGS,
    /* uint32_t; CONFIG_NOT_GIVEN for "" */
    SCHEMA_OPTIONAL,
    /* char *, never NULL: letters, digits, "-", "_" and "."; minimum and maximum are lengths */
    SCHEMA_NAME,
    /* char *, NULL for "": "unix:" and an absolute path, or anything else as it is */
    SCHEMA_SOCKET,
};

struct schema_key {
    const char *section;
    const char *name;
    enum schema_type type;
    /* of the field in struct config, or in the struct of the table that the key is in */
    size_t offset;
    /* as config_set() takes it */
    const char *default_text;
    uint64_t minimum;
    uint64_t maximum;
    /* ADDRESS */
    uint32_t multiple;
    /* There must be one, in each table of a list. */
    bool is_required;
    /* ends in NULL */
    const char *const *choices;
    /* one line for people */
    const char *doc;
};

/* Place i describes (enum config_key)i. The keys of a section stand together. */
extern const struct schema_key config_schema[CONFIG_KEY_COUNT];

/* The keys of a table that a file may have any number of, each in a struct of its own. */
struct schema_table {
    /* for people: "[[memory.range]] and [[space.range]]" */
    const char *title;
    const char *doc;
    const struct schema_key *keys;
    size_t count;
    /* of the struct, and in it of its struct config_position for the table and for each key */
    size_t size;
    size_t position_offset;
    size_t positions_offset;
};

extern const struct schema_table config_range_table;
extern const struct schema_table config_space_table;
extern const struct schema_table config_vcpu_table;
/* By kind. */
extern const struct schema_table config_device_tables[];
extern const struct schema_table config_port_table;
/* All of them; ends in NULL. */
extern const struct schema_table *const config_tables[];

/* Room for any "section.key". */
#define SCHEMA_NAME_SIZE 32u
const char *config_schema_name(const struct schema_key *key, char out[SCHEMA_NAME_SIZE]);

/* The key of a table with this name, or NULL; and the one that it may be a slip of the pen for, or NULL. */
const struct schema_key *config_table_find(const struct schema_table *table, const char *name);
const struct schema_key *config_table_nearest(const struct schema_table *table, const char *name);

bool config_schema_has_section(const char *section);

/* The key with this section and name, or CONFIG_KEY_COUNT. */
enum config_key config_schema_find(const char *section, const char *name);

/* The key that the unknown "section.name" (or just "name") may be a slip of the pen for, or CONFIG_KEY_COUNT. */
enum config_key config_schema_nearest(const char *dotted_name);

/* The same for a section: NULL if none is near. */
const char *config_schema_nearest_section(const char *section);

#endif
