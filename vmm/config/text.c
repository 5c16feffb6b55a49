#include "vmm/config/text.h"

#include "memory/support/utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MAX_QUOTED_LENGTH 100u
#define MAX_WORD_LENGTH 64u

/* Escapes as much of text as fits in size bytes; returns how much of out is used. size is at least 10. */
static size_t escape(char *out, size_t size, const char *text, size_t length)
{
    size_t used = 0;
    size_t step;

    for (; length > 0; text += step, length -= step) {
        const uint32_t character = utf8_next(text, length, &step);
        const bool is_other = character == UTF8_REPLACEMENT && step == 1;
        const bool is_direction = utf8_is_direction(character);
        /* the longest form, and "..." with its NUL */
        if (used + (is_direction ? 6 : 4) + 4 > size) {
            memcpy(out + used, "...", 4);
            return used + 3;
        }
        if (is_other || utf8_is_control(character))
            used += (size_t)snprintf(out + used, size - used, "\\x%02x", is_other ? (unsigned char)*text : character);
        else if (is_direction)
            used += (size_t)snprintf(out + used, size - used, "\\u%04x", character);
        else
            used += utf8_put(character, out + used);
    }
    out[used] = '\0';
    return used;
}

const char *config_text_escape(char out[CONFIG_TEXT_SIZE], const char *text, size_t length)
{
    (void)escape(out, CONFIG_TEXT_SIZE, text, length);
    return out;
}

const char *config_text_escape_tail(char out[CONFIG_TEXT_SIZE], const char *text)
{
    size_t length = strlen(text);
    size_t prefix = 0;

    if (length > MAX_QUOTED_LENGTH) {
        memcpy(out, "...", 3);
        prefix = 3;
        text += length - MAX_QUOTED_LENGTH;
        length = MAX_QUOTED_LENGTH;
        /* Not from the middle of a character on. */
        for (unsigned i = 0; i < 3 && ((unsigned char)*text & 0xc0) == 0x80; i++) {
            text++;
            length--;
        }
    }
    (void)escape(out + prefix, CONFIG_TEXT_SIZE - prefix, text, length);
    return out;
}

const char *config_text_quote(char out[CONFIG_TEXT_SIZE], const char *text, size_t length)
{
    out[0] = '"';
    size_t used = 1 + escape(out + 1, MAX_QUOTED_LENGTH, text, length);
    out[used] = '"';
    out[used + 1] = '\0';
    return out;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Optimal string alignment: the last three rows of the table of distances between prefixes. */
unsigned config_text_distance(const char *a, const char *b)
{
    unsigned rows[3][MAX_WORD_LENGTH + 1];
    size_t a_length = strnlen(a, MAX_WORD_LENGTH);
    size_t b_length = strnlen(b, MAX_WORD_LENGTH);

    for (unsigned j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a_length; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3];
        const unsigned *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (unsigned j = 1; j <= b_length; j++) {
            unsigned changed = a[i - 1] != b[j - 1];
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + changed);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && above2[j - 2] + 1 < row[j])
                row[j] = above2[j - 2] + 1;
        }
    }
    return rows[a_length % 3][b_length];
}

unsigned config_text_tolerance(const char *word)
{
    return 1 + (unsigned)strnlen(word, MAX_WORD_LENGTH) / 4;
}

const char *config_text_nearest(const char *word, const char *const *candidates)
{
    const char *nearest = NULL;
    unsigned best = config_text_tolerance(word) + 1;

    for (; *candidates != NULL; candidates++) {
        unsigned distance = config_text_distance(word, *candidates);
        if (distance < best) {
            best = distance;
            nearest = *candidates;
        }
    }
    return nearest;
}
