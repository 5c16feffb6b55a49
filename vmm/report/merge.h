/*
 * Several reports made one: those of parts of a run, which may have been made on other machines.
 *
 * Threads: any, one at a time for each folder that is written to.
 */
#ifndef VMM_REPORT_MERGE_H
#define VMM_REPORT_MERGE_H

#include "memory/support/error.h"
#include "vmm/scenario/results.h"

#include <stddef.h>

/* Attachments that reports name and that are not there, which happens where only a results.json was kept. */
struct merge_missing {
    size_t count;
    /* The first of them, fit for a terminal. */
    char first[256];
};

/*
 * Reads a report: a folder with a results.json, or such a file. The caller's to free; NULL with *error as
 * results_read_json()'s.
 */
struct results *merge_read(const char *path, struct error *error);

/*
 * Reads count reports, of which there is at least one, and makes one of them, with the cases in the order of their
 * names. What is one case, by name and file, may be in several, if it has not been run in all of them but one;
 * otherwise *error names both. The whole's time is the sum of theirs, at most RESULTS_READ_NS_MAX.
 *
 * directory: where attachments are copied to, under report-N/; it is made where it is not there, and may be none of the
 * reports. One that holds anything else than an earlier report is left alone. Those that are not there are left out and
 * told in *missing. An attachment that is anywhere but below its report's folder, by its path or by a link, is an
 * error. NULL: the whole has no attachments.
 *
 * The whole is the caller's to free. NULL with *error: ERROR_CONFIG for what the reports are at fault for, ERROR_HOST
 * out of memory or a full disk. Of a directory, copies are left then, and no report.
 */
struct results *merge_reports(const char *const paths[], size_t count, const char *directory,
                              struct merge_missing *missing, struct error *error);

#endif
