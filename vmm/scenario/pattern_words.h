/*
 * Words that have to be in whatever a pattern matches, so that a text without them need not be given to it.
 */
#ifndef VMM_SCENARIO_PATTERN_WORDS_H
#define VMM_SCENARIO_PATTERN_WORDS_H

#include "vmm/scenario/words.h"

/*
 * Fills in words of a pattern that pattern_compile() has taken, one of which is in each of its matches: a word for each
 * alternative. They are parts of its text, and have this number. Returns how many there are; 0: none that are known of,
 * or more than there is room for.
 */
size_t pattern_words(const char *pattern, unsigned number, struct word *list, size_t room);

#endif
