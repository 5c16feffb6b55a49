#include "memory/support/utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_continuation(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

/* How many bytes a character takes that starts so; 0: none does. */
static size_t length_of(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first < 0xe0)
        return 2;
    if (first >= 0xe0 && first < 0xf0)
        return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* Neither a surrogate, nor too long a form, nor beyond the end (RFC 3629, 3). */
static bool is_allowed(uint32_t character, size_t length)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

    return character >= least[length] && character <= 0x10ffff && (character < 0xd800 || character > 0xdfff);
}

uint32_t utf8_next(const char *bytes, size_t length, size_t *used)
{
    const unsigned char first = (unsigned char)bytes[0];
    const size_t count = length_of(first);

    *used = 1;
    if (count == 1)
        return first;
    if (count == 0 || count > length)
        return UTF8_REPLACEMENT;
    uint32_t character = first & (0x7fu >> count);
    for (size_t i = 1; i < count; i++) {
        if (!is_continuation(bytes[i]))
            return UTF8_REPLACEMENT;
        character = character << 6 | ((unsigned char)bytes[i] & 0x3f);
    }
    if (!is_allowed(character, count))
        return UTF8_REPLACEMENT;
    *used = count;
    return character;
}

bool utf8_is_control(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

bool utf8_is_direction(uint32_t character)
{
    return character == 0x61c || character == 0x200e || character == 0x200f ||
           (character >= 0x202a && character <= 0x202e) || (character >= 0x2066 && character <= 0x2069);
}

size_t utf8_put(uint32_t character, char out[4])
{
    static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    const size_t count = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;

    for (size_t i = count - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    out[0] = (char)(marks[count] | character);
    return count;
}

char *utf8_clean(const char *text)
{
    size_t left = strlen(text);
    size_t length = 0;
    size_t used;
    /* A byte becomes three at most. */
    char *clean = malloc(left * 3 + 1);

    if (clean == NULL)
        return NULL;
    for (; left > 0; text += used, left -= used)
        length += utf8_put(utf8_next(text, left, &used), clean + length);
    clean[length] = '\0';
    return clean;
}

void utf8_write_plain(const char *text, size_t length, FILE *out)
{
    size_t used;
    char bytes[4];

    for (; length > 0; text += used, length -= used) {
        const uint32_t character = utf8_next(text, length, &used);
        if (utf8_is_control(character) && character != '\t')
            (void)fprintf(out, "\\x%02x", character);
        else if (utf8_is_direction(character))
            (void)fprintf(out, "\\u%04x", character);
        else
            (void)fwrite(bytes, 1, utf8_put(character, bytes), out);
    }
}
