/*
 * Files that a report's attachments name, below its folder. The names may be anybody's, since reports are read from
 * files: nothing outside of the folder is opened, whatever they say, and no link is followed.
 *
 * Threads: any; one at a time for a folder that is copied to.
 */
#ifndef VMM_REPORT_ARTEFACT_H
#define VMM_REPORT_ARTEFACT_H

#include <stdbool.h>

/* Relative, shorter than PATH_MAX, and without parts that are empty, "." or "..". */
bool artefact_path_is_safe(const char *path);

/*
 * Opens a regular file for reading, below the folder that the descriptor is of. -1 with errno: EINVAL for a path that
 * is not safe or what is no regular file, ELOOP or ENOTDIR where a link is in the way, ENOENT and so on.
 */
int artefact_open(int folder, const char *path);

/*
 * Copies what is in a regular file to a path below the folder that the descriptor is of, and makes folders on the way.
 * Holes stay holes, and a file system that can share what files have in common does. The copy is there whole or not at
 * all, in the place of what was there. -1 with errno, as above.
 */
int artefact_copy(int from, int folder, const char *path);

#endif
