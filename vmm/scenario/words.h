/*
 * A search for many words at once. Plain data that does not change: any thread.
 */
#ifndef VMM_SCENARIO_WORDS_H
#define VMM_SCENARIO_WORDS_H

#include <stddef.h>
#include <stdint.h>

#define WORDS_MAX 64u
/* Bytes of a word at the least. */
#define WORDS_LEAST 4u

struct word {
    /* Not ended by a NUL; any bytes. */
    const char *text;
    size_t length;
    /* What it is found as, below 64; several words may have the same number. */
    unsigned number;
};

struct words;

/* For up to WORDS_MAX words, one at the least, whose texts outlive it. NULL: out of memory. */
struct words *words_create(const struct word *list, size_t count);
/* NULL is fine. */
void words_free(struct words *words);

/* The numbers of the words that are in a text, as bits. */
uint64_t words_find(const struct words *words, const char *text, size_t length);

#endif
