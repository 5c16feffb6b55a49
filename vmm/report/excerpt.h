/*
 * What is shown of a console, out of a console.timed (vmm/runner/case_run.h) of any size and any bytes: its first and
 * last lines, those around trouble, and what tells where the time went.
 *
 * No more than the bounds is kept in memory, and at most EXCERPT_READ_MAX of the file is read.
 *
 * Threads: one at a time for each descriptor, and for each struct excerpt.
 */
#ifndef VMM_REPORT_EXCERPT_H
#define VMM_REPORT_EXCERPT_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As much as a case leaves (CASE_RUN_CONSOLE_MAX), with the times. */
#define EXCERPT_READ_MAX (128u << 20)
/* Of a line. */
#define EXCERPT_TEXT_MAX 400u
/* Lines shown around one with trouble, on each side; and how many such places, at most. */
#define EXCERPT_AROUND 5u
#define EXCERPT_PLACES 16u
#define EXCERPT_SILENCES 3u
#define EXCERPT_SILENCE_TEXT 160u
#define EXCERPT_BINS 150u

enum excerpt_phase_kind {
    EXCERPT_FIRST_OUTPUT,
    EXCERPT_LINUX,
    EXCERPT_FREED,
    EXCERPT_INIT,
    EXCERPT_SYSTEMD,
    EXCERPT_LOGIN,
    EXCERPT_PANIC,
    EXCERPT_REBOOT,
    EXCERPT_PHASE_COUNT,
};

/* "Linux starts" */
const char *excerpt_phase_name(enum excerpt_phase_kind kind);

struct excerpt_phase {
    /* Counted from 1; 0: it is not there. */
    uint64_t line;
    uint64_t at_ns;
};

/* The console was silent from one line to the next. */
struct excerpt_silence {
    uint64_t from_ns;
    uint64_t to_ns;
    /* The line in front of it, and its start; 0: it is before the first. */
    uint64_t line;
    char text[EXCERPT_SILENCE_TEXT];
};

struct excerpt_line {
    uint64_t number;
    uint64_t at_ns;
    /* More of the line before. */
    bool continues;
    /* There is none in a line that is not as the format has it. */
    bool has_time;
    /* Owned; any bytes, `length` of them, and how many more there were. */
    char *text;
    size_t length;
    size_t cut;
};

struct excerpt {
    /* In their order, with gaps. */
    struct excerpt_line *lines;
    size_t count;
    /* Of the file, as far as it was read; and whether that is all. */
    uint64_t total;
    bool is_all;
    struct excerpt_phase phases[EXCERPT_PHASE_COUNT];
    /* The longest, in the order of time. */
    struct excerpt_silence silences[EXCERPT_SILENCES];
    size_t silence_count;
    /* Lines that came in each of as many parts of the case's time. */
    uint32_t activity[EXCERPT_BINS];
};

struct excerpt_options {
    /* How much the case took. */
    uint64_t duration_ns;
    /* The first and the last lines to keep, at least one of the latter, and about how many bytes of either. */
    size_t head;
    size_t tail;
    size_t bytes;
    /* Lines to keep with those around them, ascending. */
    const uint64_t *places;
    size_t place_count;
};

/*
 * Reads from where the descriptor is to the end, or to the bound; path is for messages. excerpt_free() is due after 0.
 * -1, with *error, and nothing to free: out of memory, or a read failed.
 */
int excerpt_read(int fd, const char *path, const struct excerpt_options *options, struct excerpt *excerpt,
                 struct error *error);
/* A zeroed struct is fine, and it is one afterwards. */
void excerpt_free(struct excerpt *excerpt);

#endif
