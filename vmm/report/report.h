/*
 * Results as files: a folder with a page for people and forms for programs, or one form alone.
 *
 * A file is there whole or not at all: it is written under another name in its folder and then renamed, so that whoever
 * reads sees the old one or the new one, and after a failure there is no trace.
 *
 * Threads: one at a time for each struct results; two must not write into one folder.
 */
#ifndef VMM_REPORT_REPORT_H
#define VMM_REPORT_REPORT_H

#include "memory/support/error.h"
#include "vmm/scenario/results.h"

#include <stdio.h>

/* Names in a report's folder. */
#define REPORT_PAGE "index.html"
#define REPORT_JSON "results.json"
#define REPORT_JUNIT "junit.xml"
#define REPORT_TAP "results.tap"

/*
 * Writes the four files above into a folder that is there. The page shows what it finds of the cases' attachments
 * below it (vmm/report/html.h), and reads nothing else. -1 with *error, which names the file, at the first that cannot
 * be written: ERROR_CONFIG if it cannot be made there, ERROR_HOST for a full disk and the like.
 */
int report_write(const struct results *results, const char *directory, struct error *error);

/* Writes to out; the caller looks for failures of that. 0, or -1 with *error for any other failure. */
typedef int report_writer(const void *context, FILE *out, struct error *error);

/* For report_write_file(); the context is a struct results. TAP's first line says 13 (results.h). */
report_writer report_json, report_junit, report_tap;

/*
 * Writes one form to a file. "-" is standard output, which, as whatever is there and no regular file (a device, a pipe,
 * a link), gets the bytes as they come and is not replaced. Errors as report_write()'s.
 */
int report_write_file(const char *path, report_writer *writer, const void *context, struct error *error);

#endif
