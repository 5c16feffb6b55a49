/*
 * Landlock: which files a thread may open that seccomp lets open some.
 */
#ifndef VMM_SANDBOX_FILES_H
#define VMM_SANDBOX_FILES_H

#include "memory/support/error.h"

/*
 * The calling thread may read one file, and do nothing else with files by their names from here on; a file that is not
 * there is none. Where the kernel has no Landlock (before 5.13) nothing changes. 0, or -1 with *error (ERROR_HOST).
 */
int files_allow_reading(const char *path, struct error *error);

#endif
