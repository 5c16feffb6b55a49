#include "memory/support/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *error, enum error_kind kind, const char *format, ...)
{
    va_list args;

    error->kind = kind;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return -1;
}

int error_prefix(struct error *error, const char *format, ...)
{
    char prefix[sizeof(error->text)];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(prefix, sizeof(prefix) - sizeof(": "), format, args);
    va_end(args);
    strcat(prefix, ": ");

    size_t length = strlen(prefix);
    memmove(error->text + length, error->text, sizeof(error->text) - length);
    memcpy(error->text, prefix, length);
    error->text[sizeof(error->text) - 1] = '\0';
    return -1;
}
