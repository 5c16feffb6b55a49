/*
 * Results from the JSON that results_write_json() has written, perhaps elsewhere: the file may be anybody's.
 *
 * Threads: any.
 */
#ifndef VMM_REPORT_RESULTS_READ_H
#define VMM_REPORT_RESULTS_READ_H

#include "memory/support/error.h"
#include "vmm/scenario/results.h"

#include <stdint.h>

/* Of a file: bytes, and values (an object, a text and so on), each of which takes some 100 bytes of memory. */
#define RESULTS_READ_MAX (128u << 20)
#define RESULTS_READ_VALUES (4u << 20)
/* Of the time of all cases together, some 30 years. */
#define RESULTS_READ_NS_MAX UINT64_C(1000000000000000000)

/*
 * The results that are in a file of "format": 1, which has to be as it is written: all keys are there, no other is, and
 * the tally is right. The paths of attachments are as they are. Writing what was read gives the same file, as
 * long as that says no whole time of weeks to the nanosecond.
 * The caller's to free. NULL, with *error, which names the file and the place in it: ERROR_CONFIG for one that cannot
 * be read or is not such a file, ERROR_HOST out of memory.
 */
struct results *results_read_json(const char *path, struct error *error);

/* The same for length bytes of text; path is for messages. */
struct results *results_read_text(const char *path, const char *text, size_t length, struct error *error);

#endif
