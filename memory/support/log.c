#include "memory/support/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINES_PER_SECOND = 5, LINE_SIZE = 1024 };

__attribute__((format(printf, 4, 0))) static void write_line(const struct log *log, const char *subsystem,
                                                             const char *suffix, const char *format, va_list args)
{
    char line[LINE_SIZE];
    const size_t limit = sizeof(line) - 2; /* room for the line's end */
    size_t used = 0;

    int length = snprintf(line, limit, "%s: ", subsystem);
    used = length < 0 ? 0 : (size_t)length < limit ? (size_t)length : limit - 1;
    length = vsnprintf(line + used, limit - used, format, args);
    used += length < 0 ? 0 : (size_t)length < limit - used ? (size_t)length : limit - used - 1;
    length = snprintf(line + used, limit - used, "%s", suffix);
    used += length < 0 ? 0 : (size_t)length < limit - used ? (size_t)length : limit - used - 1;
    if (atomic_load(&log->raw_terminal))
        line[used++] = '\r';
    line[used++] = '\n';
    /* There is nobody to tell when standard error itself fails. */
    ssize_t written = write(log->fd, line, used);
    (void)written;
}

void log_line(const struct log *log, enum log_level level, const char *subsystem, const char *format, ...)
{
    va_list args;

    if (level > log->level)
        return;
    va_start(args, format);
    write_line(log, subsystem, "", format, args);
    va_end(args);
}

__attribute__((format(printf, 4, 0))) static void write_limited(const struct log *log, struct log_limit *limit,
                                                                const char *subsystem, const char *format, va_list args)
{
    struct timespec now;
    char suffix[64] = "";

    if (log->level < LOG_LEVEL_WARN)
        return;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t window = (uint64_t)now.tv_sec;
    if (atomic_exchange(&limit->window, window) != window)
        atomic_store(&limit->lines, 0);
    if (atomic_fetch_add(&limit->lines, 1) >= LINES_PER_SECOND) {
        atomic_fetch_add(&limit->suppressed, 1);
        return;
    }
    uint32_t suppressed = atomic_exchange(&limit->suppressed, 0);
    if (suppressed > 0)
        (void)snprintf(suffix, sizeof(suffix), " (%u more like it were not shown)", suppressed);
    write_line(log, subsystem, suffix, format, args);
}

void log_guest_misbehaviour(const struct log *log, struct log_limit *limit, const char *subsystem, const char *format,
                            ...)
{
    va_list args;

    va_start(args, format);
    write_limited(log, limit, subsystem, format, args);
    va_end(args);
}

void log_host_trouble(const struct log *log, struct log_limit *limit, const char *subsystem, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_limited(log, limit, subsystem, format, args);
    va_end(args);
}
