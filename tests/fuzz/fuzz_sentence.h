/*
 * What every error has to be for a person: one line, without what a terminal obeys or what reorders it.
 */
#ifndef TESTS_FUZZ_FUZZ_SENTENCE_H
#define TESTS_FUZZ_FUZZ_SENTENCE_H

#include "memory/support/error.h"
#include "memory/support/utf8.h"

#include <stdbool.h>
#include <string.h>

static inline bool fuzz_is_sentence(const struct error *error)
{
    size_t left = strlen(error->text);
    size_t used;

    for (const char *at = error->text; left > 0; at += used, left -= used) {
        const uint32_t character = utf8_next(at, left, &used);
        if (utf8_is_control(character) || utf8_is_direction(character))
            return false;
    }
    return error->kind == ERROR_CONFIG && error->text[0] != '\0';
}

#endif
