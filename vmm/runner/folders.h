/*
 * Folders on the host that a run of tests makes, and what it takes away again.
 */
#ifndef VMM_RUNNER_FOLDERS_H
#define VMM_RUNNER_FOLDERS_H

#include "memory/support/error.h"

/* A file in folders that are a run's reports, and nothing else's. */
#define FOLDERS_REPORT_MARK ".quire-report"

/*
 * The report's folder, made if it is not there, and emptied if it holds an earlier report. One that holds anything else
 * is left alone: an error. The absolute path, the caller's to free; NULL with *error.
 */
char *folders_open_report(const char *path, struct error *error);

/* The first half of that: whether it would do. Changes nothing. -1 with *error. */
int folders_check_report(const char *path, struct error *error);

/*
 * Makes a folder, nobody else's, where temporary files are; the path is absolute, and short enough for sockets in it.
 * It is locked until the process ends; what others have left there that did not come to remove it, is removed. The
 * caller frees the path; NULL with *error.
 */
char *folders_make_temporary(struct error *error);

/*
 * Makes a folder for a case of this name below root, under a name that is safe in shells and URLs, and that nothing has
 * there. The absolute path, the caller's to free; NULL with *error.
 */
char *folders_make_for_case(const char *root, const char *name, struct error *error);

/* Removes a folder and all that is in it, as far as it can be. NULL is fine. */
void folders_remove(const char *path);

#endif
