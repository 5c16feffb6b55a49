#include "vmm/debug/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void debug_print(const struct debug_output *output, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    const int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length > 0)
        output->write(output->context, text, strlen(text));
}
