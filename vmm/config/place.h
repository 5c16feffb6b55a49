/*
 * Where in the user's words a value stands, for the front of a message.
 */
#ifndef VMM_CONFIG_PLACE_H
#define VMM_CONFIG_PLACE_H

#include "memory/support/error.h"
#include "vmm/config/config.h"
#include "vmm/config/toml.h"

#include <stdarg.h>

struct place {
    /* NULL: not from a file */
    const char *file;
    /* NULL: not from the command line */
    const char *option;
    /* in the file; line 0: not known */
    struct config_position position;
};

/*
 * Fills in ERROR_CONFIG, "FILE:LINE:COLUMN: name: " or "OPTION: name: " and the sentence, and returns -1.
 * name: NULL to leave it out.
 */
__attribute__((format(printf, 4, 5))) int config_place_error(const struct place *place, const char *name,
                                                             struct error *error, const char *format, ...);

__attribute__((format(printf, 4, 0))) int config_place_verror(const struct place *place, const char *name,
                                                              struct error *error, const char *format, va_list args);

/* The same for "section.key" (fit to be shown) that no key has, with the one that may have been meant. */
int config_place_unknown_key(const struct place *place, const char *name, struct error *error);

/* The same for a file that toml_parse() has found not to be TOML. */
int config_place_not_toml(const char *file, const struct toml_failure *failure, struct error *error);

/* ERROR_HOST, and returns -1. */
int config_out_of_memory(struct error *error);

#endif
