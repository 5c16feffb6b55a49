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
    /* char *, absolute; NULL for "" */
    SCHEMA_PATH,
    /* uint32_t */
    SCHEMA_INTEGER,
    /* uint64_t in bytes, a multiple of 4096 */
    SCHEMA_SIZE,
    /* an enum whose values are places in choices */
    SCHEMA_CHOICE,
    /* struct config_names */
    SCHEMA_NAMES,
};

struct schema_key {
    const char *section;
    const char *name;
    enum schema_type type;
    /* of the field in struct config */
    size_t offset;
    /* as config_set() takes it */
    const char *default_text;
    uint64_t minimum;
    uint64_t maximum;
    /* ends in NULL */
    const char *const *choices;
    /* one line for people */
    const char *doc;
};

/* Place i describes (enum config_key)i. The keys of a section stand together. */
extern const struct schema_key config_schema[CONFIG_KEY_COUNT];

/* Room for any "section.key". */
#define SCHEMA_NAME_SIZE 32u
const char *config_schema_name(enum config_key key, char out[SCHEMA_NAME_SIZE]);

bool config_schema_has_section(const char *section);

/* The key with this section and name, or CONFIG_KEY_COUNT. */
enum config_key config_schema_find(const char *section, const char *name);

/* The key that the unknown "section.name" (or just "name") may be a slip of the pen for, or CONFIG_KEY_COUNT. */
enum config_key config_schema_nearest(const char *dotted_name);

/* The same for a section: NULL if none is near. */
const char *config_schema_nearest_section(const char *section);

#endif
