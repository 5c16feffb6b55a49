/*
 * Text of any bytes in a page that is both HTML and well-formed XML: what either has a meaning for is escaped, and what
 * neither may hold, or what could make text look like other text, is replaced by something that can be seen. Whoever
 * has out looks for its errors.
 *
 * Threads: any, one at a time for each out.
 */
#ifndef VMM_REPORT_MARKUP_H
#define VMM_REPORT_MARKUP_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* For elements and for attributes in double quotes. NULL is nothing. */
void markup_text(const char *text, FILE *out);
void markup_bytes(const char *bytes, size_t length, FILE *out);

/* How many of length bytes are at most limit, without a part of a character at their end. */
size_t markup_fit(const char *bytes, size_t length, size_t limit);

/* At most limit bytes of it, and then how many more there are. Returns how many bytes it has written of the text. */
size_t markup_cut(const char *text, size_t limit, FILE *out);

/* A path as a link's target, which is never taken for anything but a relative path. */
void markup_path(const char *path, FILE *out);

/* "1.23 s", "2 min 5 s": as exact as it is of use. */
void markup_time(uint64_t ns, FILE *out);

/* A file of length bytes at data as "data:TYPE;base64,...". */
void markup_data(const char *type, const unsigned char *data, size_t length, FILE *out);

#endif
