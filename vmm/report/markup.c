#include "vmm/report/markup.h"

#include "memory/support/utf8.h"

#include <ctype.h>
#include <string.h>

/* What stands for a character: itself, the picture of a control character (U+2400 and so on), or the replacement. */
static uint32_t shown_as(uint32_t character)
{
    if (character == '\t' || character == '\n')
        return character;
    if (character < 0x20)
        return 0x2400 + character;
    if (character == 0x7f)
        return 0x2421;
    if (character < 0xa0 && character > 0x7f)
        return UTF8_REPLACEMENT;
    /* XML 1.0, 2.2 has no place for the first two; HTML frowns on all that end so. */
    if ((character & 0xfffe) == 0xfffe || utf8_is_direction(character))
        return UTF8_REPLACEMENT;
    return character;
}

static void put_character(uint32_t character, FILE *out)
{
    char bytes[4];

    switch (character) {
    case '&':
        (void)fputs("&amp;", out);
        break;
    case '<':
        (void)fputs("&lt;", out);
        break;
    case '>':
        (void)fputs("&gt;", out);
        break;
    case '"':
        (void)fputs("&quot;", out);
        break;
    case '\'':
        (void)fputs("&#39;", out);
        break;
    default:
        (void)fwrite(bytes, 1, utf8_put(shown_as(character), bytes), out);
        break;
    }
}

void markup_bytes(const char *bytes, size_t length, FILE *out)
{
    size_t used;

    for (; length > 0; bytes += used, length -= used)
        put_character(utf8_next(bytes, length, &used), out);
}

void markup_text(const char *text, FILE *out)
{
    if (text != NULL)
        markup_bytes(text, strlen(text), out);
}

size_t markup_fit(const char *bytes, size_t length, size_t limit)
{
    size_t kept = limit;

    if (length <= limit)
        return length;
    /* No character has more of them behind its first byte. */
    while (kept > 0 && limit - kept < 3 && ((unsigned char)bytes[kept] & 0xc0) == 0x80)
        kept--;
    return ((unsigned char)bytes[kept] & 0xc0) == 0x80 ? limit : kept;
}

size_t markup_cut(const char *text, size_t limit, FILE *out)
{
    const size_t length = strlen(text);
    const size_t kept = markup_fit(text, length, limit);

    markup_bytes(text, kept, out);
    if (kept < length)
        (void)fprintf(out, "\xe2\x80\xa6 (%zu bytes more)", length - kept);
    return kept;
}

void markup_path(const char *path, FILE *out)
{
    /* In front of what could be a scheme, a host or a query. */
    (void)fputs("./", out);
    for (; *path != '\0'; path++) {
        const unsigned char byte = (unsigned char)*path;
        if (byte < 0x80 && (isalnum(byte) || strchr("/-._~", byte) != NULL))
            (void)fputc(byte, out);
        else
            (void)fprintf(out, "%%%02X", byte);
    }
}

void markup_time(uint64_t ns, FILE *out)
{
    const double seconds = (double)ns / 1e9;

    if (seconds < 10)
        (void)fprintf(out, "%.2f s", seconds);
    else if (seconds < 120)
        (void)fprintf(out, "%.1f s", seconds);
    else
        (void)fprintf(out, "%llu min %llu s", (unsigned long long)(ns / 60000000000u),
                      (unsigned long long)(ns / 1000000000u % 60));
}

void markup_data(const char *type, const unsigned char *data, size_t length, FILE *out)
{
    /* RFC 4648, 4 */
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    (void)fprintf(out, "data:%s;base64,", type);
    for (; length > 0; data += 3, length -= length < 3 ? length : 3) {
        const uint32_t bits =
            (uint32_t)data[0] << 16 | (length > 1 ? (uint32_t)data[1] << 8 : 0) | (length > 2 ? data[2] : 0);
        (void)fputc(digits[bits >> 18], out);
        (void)fputc(digits[bits >> 12 & 63], out);
        (void)fputc(length > 1 ? digits[bits >> 6 & 63] : '=', out);
        (void)fputc(length > 2 ? digits[bits & 63] : '=', out);
    }
}
