/*
 * The words of gdb's packets: hexadecimal figures, and a place in a packet from which they are read. Pure functions.
 */
#ifndef VMM_GDB_GDB_TEXT_H
#define VMM_GDB_GDB_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The value of a hexadecimal digit, or -1. */
int gdb_digit(uint8_t character);

/* Writes 2 * size digits. */
void gdb_hex_encode(uint8_t *text, const void *bytes, size_t size);
/* Reads 2 * size digits. False: not all of them are. text and bytes may be the same. */
bool gdb_hex_decode(void *bytes, const uint8_t *text, size_t size);

/* What is left of a packet. */
struct gdb_text {
    const uint8_t *at;
    const uint8_t *end;
};

size_t gdb_text_size(const struct gdb_text *text);
bool gdb_text_is_empty(const struct gdb_text *text);
/* Takes the character if it is the next. */
bool gdb_text_skip(struct gdb_text *text, char character);
/* Takes the word if it is next. */
bool gdb_text_skip_word(struct gdb_text *text, const char *word);
/* Takes 1 to 16 digits. */
bool gdb_text_number(struct gdb_text *text, uint64_t *ret_number);
/* "ADDRESS,SIZE" */
bool gdb_text_range(struct gdb_text *text, uint64_t *ret_address, uint64_t *ret_size);
/* Takes all up to the character, which is taken too, or to the end. */
struct gdb_text gdb_text_until(struct gdb_text *text, char character);
/* The whole of it is this word. */
bool gdb_text_is(const struct gdb_text *text, const char *word);

#endif
