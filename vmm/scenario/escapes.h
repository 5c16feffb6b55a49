/*
 * Takes escape sequences out of what a guest prints, byte by byte: ECMA-48's control sequences, control strings (titles
 * of windows), and two-byte ones. One that is cut short by a control character or is longer than any real one was none:
 * its bytes are text again. So no opening of a sequence swallows what another program prints after it.
 */
#ifndef VMM_SCENARIO_ESCAPES_H
#define VMM_SCENARIO_ESCAPES_H

#include <stddef.h>

#define ESCAPES_MAX 256u

/* Zeroed at first. */
struct escapes {
    enum { ESCAPES_TEXT, ESCAPES_ESCAPE, ESCAPES_CONTROL, ESCAPES_STRING } state;
    /* the sequence so far */
    size_t length;
    char bytes[ESCAPES_MAX + 1];
};

/*
 * Takes one byte; what becomes text by that, at most ESCAPES_MAX bytes, is at *text until the next call. Returns how
 * much that is.
 */
size_t escapes_take(struct escapes *escapes, char byte, const char **text);

/* The same for the end of a line: what is left of a sequence is text. */
size_t escapes_end(struct escapes *escapes, const char **text);

#endif
