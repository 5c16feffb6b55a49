#include "vmm/scenario/escapes.h"

#include <stdbool.h>

enum { ESCAPE = 0x1b, BELL = 0x07 };

static size_t drop(struct escapes *escapes)
{
    escapes->state = ESCAPES_TEXT;
    escapes->length = 0;
    return 0;
}

/* The sequence was none; the escape character itself is of no use in a text. */
static size_t give_back(struct escapes *escapes, const char **text)
{
    const size_t length = escapes->length - 1;

    *text = escapes->bytes + 1;
    (void)drop(escapes);
    return length;
}

static void begin(struct escapes *escapes)
{
    escapes->state = ESCAPES_ESCAPE;
    escapes->bytes[0] = ESCAPE;
    escapes->length = 1;
}

/* Whether the sequence ends with this byte, which may also say of which kind it is. */
static bool ends_with(struct escapes *escapes, unsigned char byte)
{
    const unsigned char before = (unsigned char)escapes->bytes[escapes->length - 1];

    switch (escapes->state) {
    case ESCAPES_CONTROL:
        return byte >= 0x40 && byte <= 0x7e;
    case ESCAPES_STRING:
        return byte == BELL || (before == ESCAPE && byte == '\\');
    default:
        break;
    }
    if (escapes->length == 1 && byte == '[')
        escapes->state = ESCAPES_CONTROL;
    else if (escapes->length == 1 && (byte == ']' || byte == 'P' || byte == 'X' || byte == '^' || byte == '_'))
        escapes->state = ESCAPES_STRING;
    else
        /* 0x20 to 0x2f come in between, as in "ESC ( B". */
        return byte >= 0x30;
    return false;
}

/* Whether this byte may not be within the sequence. */
static bool breaks(const struct escapes *escapes, unsigned char byte)
{
    if (escapes->state == ESCAPES_STRING)
        return byte < 0x20 && byte != BELL && byte != ESCAPE;
    return byte < 0x20 || byte >= 0x7f;
}

size_t escapes_take(struct escapes *escapes, char byte, const char **text)
{
    const unsigned char value = (unsigned char)byte;

    if (escapes->state == ESCAPES_TEXT) {
        if (value == ESCAPE)
            begin(escapes);
        if (value == ESCAPE || value == 0)
            return 0;
        escapes->bytes[0] = byte;
        *text = escapes->bytes;
        return 1;
    }
    if (!breaks(escapes, value) && ends_with(escapes, value))
        return drop(escapes);
    if (value != 0 && value != ESCAPE)
        escapes->bytes[escapes->length++] = byte;
    if (escapes->length < ESCAPES_MAX && !breaks(escapes, value)) {
        /* Part of a string's end, perhaps. */
        if (value == ESCAPE)
            escapes->bytes[escapes->length++] = byte;
        return 0;
    }
    const size_t length = give_back(escapes, text);
    /* bytes[0] is not part of what is given back, so a new sequence can begin there. */
    if (value == ESCAPE)
        begin(escapes);
    return length;
}

size_t escapes_end(struct escapes *escapes, const char **text)
{
    return escapes->state == ESCAPES_TEXT ? 0 : give_back(escapes, text);
}
