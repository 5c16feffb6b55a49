/*
 * What is remembered of cases from run to run: how long they take, and what came of them the last time. A JSON file,
 *     {"format": 1, "cases": [{"file": ABSOLUTE, "name": CASE, "seconds": 1.5, "passes": true, "status": "passed",
 *      "at": 1790000000}]}
 * with the most recent TIMES_MAX cases.
 *
 * Threads: one at a time for each struct times.
 */
#ifndef VMM_RUNNER_TIMES_H
#define VMM_RUNNER_TIMES_H

#include "memory/support/error.h"
#include "vmm/scenario/results.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIMES_MAX 8192u
/* Of the file. */
#define TIMES_MAX_BYTES (16u << 20)

struct times_entry {
    /* The scenario's file, absolute; the case as the scenario calls it. */
    char *file;
    char *name;
    /* How long it takes when it passes; if it never has, how long it took to fail. 0: not known. */
    uint64_t duration_ns;
    /* It has passed in that time. */
    bool has_passed;
    enum result_status status;
    /* In seconds since 1970. */
    int64_t at;
};

/* Zeroed at first: empty. */
struct times {
    /* In the order of file and name. */
    struct times_entry *entries;
    size_t count;
};

/* $XDG_STATE_HOME/quire/tests.json, or that in ~/.local/state. The caller frees it; NULL: no home, or no memory. */
char *times_default_path(void);

/*
 * Reads a file into an uninitialised *times, for times_free() whatever is returned. One that is not there is empty.
 * -1, with *error, and empty: it cannot be read, or is damaged.
 */
int times_read(const char *path, struct times *times, struct error *error);

/* NULL: nothing is known of the case. Valid until the next change. */
const struct times_entry *times_find(const struct times *times, const char *file, const char *name);

/* What came of a case that took so long. Of one that has been cut short (RESULT_NOT_RUN, RESULT_BROKEN) no time is
 * kept. -1, with *error: out of memory. */
int times_note(struct times *times, const char *file, const char *name, enum result_status status, uint64_t duration_ns,
               int64_t at, struct error *error);

/* Replaces the file, whole or not at all; makes its folders. -1 with *error. */
int times_write(const char *path, const struct times *times, struct error *error);

/* 0, or -1 with *error. */
typedef int times_change(void *context, struct times *times, struct error *error);
/*
 * Reads the file, changes what it says, and replaces it. Where several processes do so at once, none undoes what
 * another has done: they wait for each other, though for patience_ns at most, and only where the folder can be locked.
 * -1 with *error: as change() or times_write() has it.
 */
int times_update(const char *path, uint64_t patience_ns, times_change *change, void *context, struct error *error);

void times_free(struct times *times);

#endif
