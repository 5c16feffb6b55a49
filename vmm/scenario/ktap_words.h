/*
 * What one line of KTAP says.
 */
#ifndef VMM_SCENARIO_KTAP_WORDS_H
#define VMM_SCENARIO_KTAP_WORDS_H

#include "vmm/scenario/ktap.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ktap_word {
    /* none of the others */
    KTAP_WORD_NONE,
    KTAP_WORD_VERSION,
    KTAP_WORD_PLAN,
    KTAP_WORD_RESULT,
    KTAP_WORD_SUBTEST,
    KTAP_WORD_DIAGNOSTIC,
    KTAP_WORD_BAIL_OUT,
};

struct ktap_text {
    const char *at;
    size_t length;
};

struct ktap_words {
    enum ktap_word word;
    /* blanks in front of it, behind what printk put there */
    size_t indent;
    /* PLAN: how many; RESULT: which, or 0 where there is no number */
    uint64_t number;
    enum ktap_status status;
    /* RESULT, SUBTEST: the name; BAIL_OUT: why */
    struct ktap_text name;
    /* RESULT, PLAN: what follows a directive */
    struct ktap_text reason;
    /* the line behind its indent */
    struct ktap_text rest;
};

/* Parts of the line, which has to live as long. */
struct ktap_words ktap_read_line(const char *line, size_t length);

#endif
