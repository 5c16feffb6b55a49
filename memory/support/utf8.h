/*
 * Bytes of a guest's, or a file's, as text that any reader takes.
 */
#ifndef MEMORY_SUPPORT_UTF8_H
#define MEMORY_SUPPORT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What stands for bytes that are no UTF-8. */
#define UTF8_REPLACEMENT 0xfffdu

/*
 * The character at the start of length bytes, of which there is at least one, and how many bytes it takes. Whatever
 * Unicode does not allow is UTF8_REPLACEMENT, one for each byte.
 */
uint32_t utf8_next(const char *bytes, size_t length, size_t *used);

/* Whether a terminal obeys it: of both sets of ISO 6429, and DEL. */
bool utf8_is_control(uint32_t character);

/* Whether it changes the direction of others, so that lines read as what they are not (Unicode, annex 9). */
bool utf8_is_direction(uint32_t character);

/* Writes a character's bytes to out; returns how many. */
size_t utf8_put(uint32_t character, char out[4]);

/* A copy that is UTF-8, with other bytes replaced. The caller frees it; NULL: out of memory. */
char *utf8_clean(const char *text);

/*
 * Writes length bytes for people, on one line: what would control a terminal, or the order of other characters, is made
 * visible, as \xNN or \uNNNN. A tab is neither, and kernels print some.
 */
void utf8_write_plain(const char *text, size_t length, FILE *out);

#endif
