#include "vmm/gdb/gdb_text.h"

#include <string.h>

/* The two digits of each byte. */
#define ROW(high)                                                                                                      \
    {high, '0'}, {high, '1'}, {high, '2'}, {high, '3'}, {high, '4'}, {high, '5'}, {high, '6'}, {high, '7'},            \
        {high, '8'}, {high, '9'}, {high, 'a'}, {high, 'b'}, {high, 'c'}, {high, 'd'}, {high, 'e'},                     \
    {                                                                                                                  \
        high, 'f'                                                                                                      \
    }
static const uint8_t pairs[256][2] = {ROW('0'), ROW('1'), ROW('2'), ROW('3'), ROW('4'), ROW('5'), ROW('6'), ROW('7'),
                                      ROW('8'), ROW('9'), ROW('a'), ROW('b'), ROW('c'), ROW('d'), ROW('e'), ROW('f')};

int gdb_digit(uint8_t character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    if (character >= 'a' && character <= 'f')
        return character - 'a' + 10;
    if (character >= 'A' && character <= 'F')
        return character - 'A' + 10;
    return -1;
}

void gdb_hex_encode(uint8_t *text, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;

    for (size_t i = 0; i < size; i++)
        memcpy(text + 2 * i, pairs[from[i]], 2);
}

bool gdb_hex_decode(void *bytes, const uint8_t *text, size_t size)
{
    uint8_t *to = bytes;

    for (size_t i = 0; i < size; i++) {
        const int high = gdb_digit(text[2 * i]), low = gdb_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

size_t gdb_text_size(const struct gdb_text *text)
{
    return (size_t)(text->end - text->at);
}

bool gdb_text_is_empty(const struct gdb_text *text)
{
    return text->at == text->end;
}

bool gdb_text_skip(struct gdb_text *text, char character)
{
    if (gdb_text_is_empty(text) || *text->at != (uint8_t)character)
        return false;
    text->at++;
    return true;
}

bool gdb_text_skip_word(struct gdb_text *text, const char *word)
{
    const size_t length = strlen(word);

    if (gdb_text_size(text) < length || memcmp(text->at, word, length) != 0)
        return false;
    text->at += length;
    return true;
}

bool gdb_text_number(struct gdb_text *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    unsigned digits = 0;

    for (; !gdb_text_is_empty(text) && gdb_digit(*text->at) >= 0; text->at++, digits++)
        number = number << 4 | (uint64_t)gdb_digit(*text->at);
    *ret_number = number;
    return digits >= 1 && digits <= 16;
}

bool gdb_text_range(struct gdb_text *text, uint64_t *ret_address, uint64_t *ret_size)
{
    return gdb_text_number(text, ret_address) && gdb_text_skip(text, ',') && gdb_text_number(text, ret_size);
}

struct gdb_text gdb_text_until(struct gdb_text *text, char character)
{
    const uint8_t *found = gdb_text_is_empty(text) ? NULL : memchr(text->at, character, gdb_text_size(text));
    const struct gdb_text part = {.at = text->at, .end = found == NULL ? text->end : found};

    text->at = found == NULL ? text->end : found + 1;
    return part;
}

bool gdb_text_is(const struct gdb_text *text, const char *word)
{
    return gdb_text_size(text) == strlen(word) && memcmp(text->at, word, strlen(word)) == 0;
}
