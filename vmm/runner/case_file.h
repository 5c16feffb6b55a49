/*
 * Files that a case leaves, of bounded size.
 *
 * Threads: one at a time for each.
 */
#ifndef VMM_RUNNER_CASE_FILE_H
#define VMM_RUNNER_CASE_FILE_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct case_file {
    FILE *file;
    uint64_t size;
    uint64_t limit;
    /* Bytes that did not fit, or could not be written. */
    uint64_t lost;
};

/* Makes the file, of at most limit bytes. -1 with *error; a zeroed struct is one that takes nothing. */
int case_file_open(struct case_file *file, const char *folder, const char *name, uint64_t limit, struct error *error);

/* What does not fit is left out from here on, in whole pieces; the last line says how much. */
void case_file_write(struct case_file *file, const char *bytes, size_t length);

/* What was written can be read by others. */
void case_file_flush(struct case_file *file);

/* Closes it. -1: something could not be written. A zeroed struct is fine. */
int case_file_close(struct case_file *file);

#endif
