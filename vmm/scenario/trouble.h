/*
 * What a kernel prints when it is in trouble, and what else counts as trouble: the kinds, by the names that scenarios
 * use for them, and a scanner that finds them in what a console prints.
 *
 * The scanner errs to one side. Something else that prints the words of a panic is taken for one, and a test fails that
 * could have passed; nothing that is printed takes trouble back.
 */
#ifndef VMM_SCENARIO_TROUBLE_H
#define VMM_SCENARIO_TROUBLE_H

#include "memory/support/error.h"

#include <stddef.h>
#include <stdint.h>

enum trouble_kind {
    TROUBLE_PANIC,
    TROUBLE_OOPS,
    TROUBLE_PAGE_FAULT,
    TROUBLE_PROTECTION_FAULT,
    TROUBLE_BUG,
    TROUBLE_ATOMIC,
    TROUBLE_WARNING,
    TROUBLE_SOFT_LOCKUP,
    TROUBLE_HARD_LOCKUP,
    TROUBLE_RCU_STALL,
    TROUBLE_HUNG_TASK,
    TROUBLE_KASAN,
    TROUBLE_KFENCE,
    TROUBLE_KCSAN,
    TROUBLE_KMSAN,
    TROUBLE_UBSAN,
    TROUBLE_LOCKDEP,
    TROUBLE_LIST,
    TROUBLE_REFCOUNT,
    /* These are the machine's to tell, and never found on a console. */
    TROUBLE_TRIPLE_FAULT,
    TROUBLE_UNHANDLED_EXIT,
    TROUBLE_KIND_COUNT,
    TROUBLE_NONE = TROUBLE_KIND_COUNT,
};

/* "soft-lockup", and one line about it for people. */
const char *trouble_name(enum trouble_kind kind);
const char *trouble_doc(enum trouble_kind kind);

/* The kind of this name, or TROUBLE_NONE; and the one that may be meant, or NULL. */
enum trouble_kind trouble_find(const char *name);
const char *trouble_nearest(const char *name);

/* What tells a kind: a pattern, and the words in it by which lines are chosen for the pattern. */
struct trouble_signature {
    enum trouble_kind kind;
    /* at least TROUBLE_LEAST_ANCHOR bytes, all of them in whatever the pattern matches */
    const char *anchor;
    const char *pattern;
    /* the kernels that print it, and where in their source */
    const char *source;
};

#define TROUBLE_LEAST_ANCHOR 5u
/* A signature is found if it lies within this many bytes. */
#define TROUBLE_REACH 512u

/* The first that fits a line counts. */
extern const struct trouble_signature trouble_signatures[];
extern const size_t trouble_signature_count;

struct trouble_scanner;

/* NULL, with *error: out of memory. For one thread at a time. */
struct trouble_scanner *trouble_scanner_create(struct error *error);
void trouble_scanner_free(struct trouble_scanner *scanner);

/*
 * The kind of trouble that length bytes, of one line, tell of, if the words end behind the first `known`: how a line
 * that comes in pieces is scanned, with the end of a piece in front of the next. *start is where the words begin.
 * TROUBLE_NONE if there is none.
 */
enum trouble_kind trouble_scan(struct trouble_scanner *scanner, const char *line, size_t length, size_t known,
                               size_t *start);

#endif
