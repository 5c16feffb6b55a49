/*
 * One value of the configuration, between the text that the user wrote and the field of struct config.
 */
#ifndef VMM_CONFIG_VALUE_H
#define VMM_CONFIG_VALUE_H

#include "memory/support/error.h"
#include "vmm/config/config.h"
#include "vmm/config/place.h"
#include "vmm/config/schema.h"
#include "vmm/config/toml.h"

#include <stdint.h>

/* The member that counts is told by the key's type. A zeroed value owns nothing. */
struct config_value {
    /* STRING, NAME, PATH (NULL for ""); owned */
    char *string;
    /* INTEGER, SIZE (in bytes), CHOICE (its place in the list), BOOLEAN, ADDRESS, FLAGS, OPTIONAL */
    uint64_t number;
    /* NAMES; owned */
    struct config_names names;
};

/*
 * Reads a key's value from text as config_set() takes it, or from a node of a file. folder is where relative paths
 * start. Returns 0 with *value, or -1 with *error and nothing to free.
 */
int config_value_from_text(const struct schema_key *key, const char *text, const char *folder,
                           const struct place *place, struct config_value *value, struct error *error);
int config_value_from_node(const struct schema_key *key, const struct toml_node *node, const char *folder,
                           const struct place *place, struct config_value *value, struct error *error);

void config_value_free(struct config_value *value);

/* Moves the value into the key's field of a struct, which is the one that the key is for; releases what was there. */
void config_value_store(void *holder, const struct schema_key *key, struct config_value *value);

/* A copy of the key's field: what is owned stays the holder's. */
struct config_value config_value_load(const void *holder, const struct schema_key *key);

/* A number of bytes with the largest unit that leaves it whole, as config_value_from_text() reads it: "512MiB". */
#define CONFIG_SIZE_TEXT_SIZE 32u
const char *config_size_format(uint64_t size, char out[CONFIG_SIZE_TEXT_SIZE]);

/* An address as it is read again: "0x1000". */
const char *config_address_format(uint64_t address, char out[CONFIG_SIZE_TEXT_SIZE]);

/* CONFIG_FLAG_* as "rwx", without what is missing. */
#define CONFIG_FLAGS_TEXT_SIZE 4u
const char *config_flags_format(uint32_t flags, char out[CONFIG_FLAGS_TEXT_SIZE]);

#endif
