/*
 * A folder of a test's own, and files in it.
 */
#ifndef TESTS_SCRATCH_FOLDER_H
#define TESTS_SCRATCH_FOLDER_H

/* Its path, from scratch_folder_make() to scratch_folder_remove(), which takes all that is in it along. */
extern char scratch_folder[64];

void scratch_folder_make(void);
void scratch_folder_remove(void);

/* "FOLDER/NAME", until the next call but three. */
const char *scratch_path(const char *folder, const char *name);

/* A file with this text, in the place of what was there. */
void scratch_write(const char *path, const char *text);

#endif
