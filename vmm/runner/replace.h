/*
 * Files that are there whole or not at all.
 */
#ifndef VMM_RUNNER_REPLACE_H
#define VMM_RUNNER_REPLACE_H

#include "memory/support/error.h"

#include <stdio.h>

/* Writes to out; the caller looks for failures of that. 0, or -1 with *error for any other failure. */
typedef int replace_writer(const void *context, FILE *out, struct error *error);

/*
 * Writes under another name in the file's folder, and renames that. What is there and no regular file (a device, a
 * pipe, a link) gets the bytes as they come, and is not replaced. -1 with *error, and without a trace: ERROR_CONFIG if
 * nothing can be made there, ERROR_HOST for a full disk and the like.
 */
int replace_file(const char *path, replace_writer *writer, const void *context, struct error *error);

#endif
