/*
 * Texts with variables in them: "${name}" is one, "$${" stands for "${", and any other "$" for itself.
 */
#ifndef VMM_SCENARIO_TEMPLATE_H
#define VMM_SCENARIO_TEMPLATE_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>

enum template_kind {
    TEMPLATE_END,
    TEMPLATE_LITERAL,
    TEMPLATE_VARIABLE,
    /* "${" that no name and "}" follow */
    TEMPLATE_BROKEN,
};

struct template_piece {
    enum template_kind kind;
    /* LITERAL: the text; VARIABLE: the name; BROKEN: from "${" on. Not ended by a NUL. */
    const char *text;
    size_t length;
};

/* The next piece of a text, from *at on, which it moves. */
struct template_piece template_next(const char **at);

bool template_has_variables(const char *text);

/* Whether this is a name: a letter or "_", and up to 31 more of those and digits. */
bool template_is_name(const char *name, size_t length);

#endif
