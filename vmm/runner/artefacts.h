/*
 * Files that a case leaves, of bounded size.
 *
 * Threads: one at a time for each.
 */
#ifndef VMM_RUNNER_ARTEFACTS_H
#define VMM_RUNNER_ARTEFACTS_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct artefact {
    FILE *file;
    uint64_t size;
    uint64_t limit;
    /* Bytes that did not fit, or could not be written. */
    uint64_t lost;
};

/* Makes the file, of at most limit bytes. -1 with *error; a zeroed struct is one that takes nothing. */
int artefact_open(struct artefact *artefact, const char *folder, const char *name, uint64_t limit, struct error *error);

/* What does not fit is left out from here on, in whole pieces. */
void artefact_write(struct artefact *artefact, const char *bytes, size_t length);

/* What was written can be read by others. */
void artefact_flush(struct artefact *artefact);

/* Closes it. -1: something could not be written. A zeroed struct is fine. */
int artefact_close(struct artefact *artefact);

#endif
