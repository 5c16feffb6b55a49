/*
 * Words for messages: quoting what a user wrote, and finding what may have been meant.
 */
#ifndef VMM_CONFIG_TEXT_H
#define VMM_CONFIG_TEXT_H

#include <stddef.h>

/* Room for any config_text_quote() or config_text_escape(). */
#define CONFIG_TEXT_SIZE 200u

/*
 * Copies length bytes of text to out so that it is safe on a terminal and on one line: with control characters and what
 * is no UTF-8 as \xNN, and what changes the direction of others as \uNNNN. Longer text is cut and ends in "...".
 * Returns out.
 */
const char *config_text_escape(char out[CONFIG_TEXT_SIZE], const char *text, size_t length);

/* The same, but of long text the end is kept, after "...": for names of files. */
const char *config_text_escape_tail(char out[CONFIG_TEXT_SIZE], const char *text);

/* The same as config_text_escape(), in double quotes and cut to what fits in a message twice. */
const char *config_text_quote(char out[CONFIG_TEXT_SIZE], const char *text, size_t length);

/*
 * How many letters have to be put in, taken out, changed or swapped with their neighbour to make b of a. Only the first
 * 64 bytes of each count.
 */
unsigned config_text_distance(const char *a, const char *b);

/* The greatest distance at which a word still looks like a slip of the pen for word. */
unsigned config_text_tolerance(const char *word);

/* The candidate (of a list that ends in NULL) that is nearest to word within the tolerance; NULL if there is none. */
const char *config_text_nearest(const char *word, const char *const *candidates);

#endif
