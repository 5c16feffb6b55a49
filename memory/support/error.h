/*
 * An error that can be shown to a person: one sentence that names the thing and the remedy.
 * Whoever finds an error fills one in and returns; whoever handles it reports it, once.
 */
#ifndef MEMORY_SUPPORT_ERROR_H
#define MEMORY_SUPPORT_ERROR_H

/* Whose fault it is, which decides the exit status. */
enum error_kind {
    ERROR_NONE = 0,
    /* Usage, configuration, or a file that the user named. */
    ERROR_CONFIG,
    /* The host failed us: no KVM, no memory, a system call. */
    ERROR_HOST,
};

struct error {
    enum error_kind kind;
    /* No final full stop and no newline. */
    char text[512];
};

/* Fills in *error and returns -1, so that a function can `return error_set(...)`. Too long a text is cut. */
__attribute__((format(printf, 3, 4))) int error_set(struct error *error, enum error_kind kind, const char *format, ...);

/* Puts "format: " in front of the text that is there, and returns -1: for callers that know the context. */
__attribute__((format(printf, 2, 3))) int error_prefix(struct error *error, const char *format, ...);

#endif
