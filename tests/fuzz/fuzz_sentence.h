/*
 * What every error has to be for a person: one line, without what a terminal obeys.
 */
#ifndef TESTS_FUZZ_FUZZ_SENTENCE_H
#define TESTS_FUZZ_FUZZ_SENTENCE_H

#include "memory/support/error.h"

#include <stdbool.h>

static inline bool fuzz_is_sentence(const struct error *error)
{
    const unsigned char *at = (const unsigned char *)error->text;

    for (; *at != '\0'; at++)
        if (*at < 0x20 || *at == 0x7f || (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))
            return false;
    return error->kind == ERROR_CONFIG && error->text[0] != '\0';
}

#endif
