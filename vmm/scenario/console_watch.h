/*
 * What a guest prints on a console, as it comes: cut into lines, kept for a while, searched for what a step expects,
 * and scanned for trouble all the time.
 *
 * A line ends with LF, CR or CR LF. One that is longer than CONSOLE_LINE_MAX becomes several, each of which but the
 * first continues the one before. Its text is without escape sequences and NULs. Kept are the last lines, within
 * CONSOLE_KEPT_MAX bytes; a guest cannot make a watch grow beyond about twice that.
 *
 * Patterns are matched against one line at a time, also against the last, unfinished one, if what may follow on that
 * line can change nothing; console_watch_settle() says that nothing follows. So it does not matter in what portions the
 * bytes arrive. A search starts behind the last match, and finds what was printed before it was asked for.
 *
 * Trouble is looked for in lines that have ended, in the bytes as they came, so that no escape sequence can hide it.
 *
 * Threads: one at a time for each watch. No I/O of its own.
 */
#ifndef VMM_SCENARIO_CONSOLE_WATCH_H
#define VMM_SCENARIO_CONSOLE_WATCH_H

#include "memory/support/error.h"
#include "vmm/scenario/pattern.h"
#include "vmm/scenario/trouble.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_LINE_MAX 65536u
#define CONSOLE_KEPT_MAX (1u << 20)
#define CONSOLE_KEPT_LINES 16384u
/* Instances of trouble that are kept; all are counted. */
#define CONSOLE_TROUBLE_MAX 64u
#define CONSOLE_TROUBLE_TEXT_SIZE 256u
/* How long a console is silent before console_watch_settle() is due: longer than one that prints pauses within a line.
 */
#define CONSOLE_QUIET_NS 200000000ull
/* Patterns that must not be seen while one is waited for. */
#define CONSOLE_FORBIDDEN_MAX 16u

struct console_line {
    /* Counted from 1; pieces of a long line count each. */
    uint64_t number;
    /* When its first byte came: what console_watch_feed() was told. */
    uint64_t at_ns;
    /* Not ended by a NUL; any bytes. */
    const char *text;
    size_t length;
    /* This is more of the line before. */
    bool continues;
};

struct console_watch_options {
    /* Gets every byte, as it came. NULL: nobody does. */
    void (*sink)(void *opaque, const char *bytes, size_t length);
    /* Gets every line when it has ended; the text is valid during the call. NULL: nobody does. */
    void (*line)(void *opaque, const struct console_line *line);
    void *opaque;
    /*
     * Trouble that is none: count patterns, matched against a line from the words of trouble on, so that nothing that
     * another program has printed in front of them counts. They stay the caller's, and must live as long as the watch.
     */
    struct pattern *const *ignored;
    size_t ignored_count;
};

struct console_trouble {
    enum trouble_kind kind;
    uint64_t line;
    uint64_t at_ns;
    /* The line, or its start, ended by a NUL; any bytes but NUL. */
    char text[CONSOLE_TROUBLE_TEXT_SIZE];
};

enum console_search {
    /* Nothing is waited for. */
    CONSOLE_IDLE,
    CONSOLE_WAITING,
    CONSOLE_FOUND,
    /* A forbidden pattern was there first. */
    CONSOLE_FORBIDDEN,
    /* A pattern took too long; console_watch_error() names it. */
    CONSOLE_FAILED,
};

struct console_watch;

/* NULL, with *error: out of memory. */
struct console_watch *console_watch_create(const struct console_watch_options *options, struct error *error);
/* NULL is fine. */
void console_watch_free(struct console_watch *watch);

/* Takes bytes that came at now_ns, of any clock that does not go back. */
void console_watch_feed(struct console_watch *watch, uint64_t now_ns, const char *bytes, size_t length);

/*
 * Nothing has come for a while: a pattern is looked for in an unfinished line as though it ended here, which it may not
 * do. Trouble is not.
 */
void console_watch_settle(struct console_watch *watch);

/* Nothing comes any more: an unfinished line is ended. */
void console_watch_finish(struct console_watch *watch);

/*
 * Starts to look for wanted, behind the last match, and in front of it for none of the count forbidden ones, which may
 * be CONSOLE_FORBIDDEN_MAX at most. They stay the caller's, and must live until the search has ended or another starts.
 * wanted NULL: stops.
 */
void console_watch_expect(struct console_watch *watch, struct pattern *wanted, struct pattern *const *forbidden,
                          size_t count);

/* The next search starts behind all that has come. */
void console_watch_skip(struct console_watch *watch);

/* Where the search is, and of CONSOLE_FAILED why. */
enum console_search console_watch_state(const struct console_watch *watch);
const struct error *console_watch_error(const struct console_watch *watch);

/*
 * With CONSOLE_FOUND: the line of the match. With CONSOLE_FORBIDDEN: which one of the patterns, and its line. The line
 * is valid until the watch is given more.
 */
struct console_line console_watch_match(const struct console_watch *watch);
size_t console_watch_forbidden(const struct console_watch *watch);

/*
 * With CONSOLE_FOUND: what a named group of the pattern matched, by its place in pattern_capture_name(); false if it
 * took no part. Valid as the line is.
 */
bool console_watch_capture(const struct console_watch *watch, size_t index, const char **text, size_t *length);

/* Lines that were dropped before a search could look at them: a guest printed much while nobody waited. */
uint64_t console_watch_missed(const struct console_watch *watch);

/* How many times this kind of trouble was seen, and all kinds; and the first CONSOLE_TROUBLE_MAX. */
uint64_t console_watch_trouble_count(const struct console_watch *watch, enum trouble_kind kind);
uint64_t console_watch_trouble_total(const struct console_watch *watch);
/* How many times trouble was ignored, which the others leave out. */
uint64_t console_watch_ignored(const struct console_watch *watch);
/* NULL behind the last. Valid as long as the watch. */
const struct console_trouble *console_watch_trouble(const struct console_watch *watch, size_t index);

/*
 * The lines that are kept, the newest being 0, an unfinished one among them. false: no such line. Valid until the watch
 * is given more.
 */
bool console_watch_tail(const struct console_watch *watch, size_t index, struct console_line *line);

/* Bytes and ended lines so far. */
uint64_t console_watch_bytes(const struct console_watch *watch);
uint64_t console_watch_lines(const struct console_watch *watch);

#endif
