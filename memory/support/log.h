/*
 * Lines for people, on standard error. Levels:
 *   error   a request failed, or the machine cannot go on
 *   warn    odd, but survived: what a guest did wrong
 *   info    rare changes of state
 *   debug   for the developers of this program
 * Everything below vmm/ logs debug lines, and warnings through a rate limit; vmm/ reports the rest.
 */
#ifndef MEMORY_SUPPORT_LOG_H
#define MEMORY_SUPPORT_LOG_H

#include <stdatomic.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Plain data, to be filled in before other threads use it; constant afterwards. */
struct log {
    enum log_level level;
    int fd;
    /* The terminal is in raw mode: lines end with CR LF. Changed by the console only. */
    _Atomic(int) raw_terminal;
};

/* Writes one line, "subsystem: text". Any thread; one write(2) a line, so lines do not mix. */
__attribute__((format(printf, 4, 5))) void log_line(const struct log *log, enum log_level level, const char *subsystem,
                                                    const char *format, ...);

/* Lets a few lines through in every second and counts the rest. Zero-initialised; one per thing that can misbehave. */
struct log_limit {
    _Atomic(uint64_t) window;
    _Atomic(uint32_t) lines;
    _Atomic(uint32_t) suppressed;
};

/* As log_line() at the warn level, through the limit. Any thread. */
__attribute__((format(printf, 4, 5))) void log_guest_misbehaviour(const struct log *log, struct log_limit *limit,
                                                                  const char *subsystem, const char *format, ...);

/* The same for what the host did wrong, and the machine survives: a disk that does not write. */
__attribute__((format(printf, 4, 5))) void log_host_trouble(const struct log *log, struct log_limit *limit,
                                                            const char *subsystem, const char *format, ...);

#endif
