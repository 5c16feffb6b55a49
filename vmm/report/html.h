/*
 * Results as one page for people: HTML that is well-formed XML, too, without scripts, and without anything from
 * elsewhere but the links to attachments.
 *
 * However many cases there are and however much their guests have printed, the page stays one that a browser takes:
 * what it shows of each kind of thing is bounded for the whole page, shared out among the cases, those that did not
 * pass first, and what is left out is counted, with a link to the file that has it. With the bounds below a page is at
 * most some 40 MB, and of 200 cases with large consoles about 5; where every character has to be escaped, which takes
 * somebody who wants it, six times that.
 *
 * Threads: one at a time for each struct results.
 */
#ifndef VMM_REPORT_HTML_H
#define VMM_REPORT_HTML_H

#include "memory/support/error.h"
#include "vmm/scenario/results.h"

#include <stdio.h>

/* For the whole page: cases in the table, and with a section each; lines of consoles; tests in guests; steps, troubles
 * and files, so many each; bytes of messages, details and diagnostics; bytes of memory maps. */
#define HTML_ROWS_MAX 5000u
#define HTML_SECTIONS_MAX 1000u
#define HTML_LINES_MAX 40000u
#define HTML_SUBTESTS_MAX 20000u
#define HTML_ITEMS_MAX 20000u
#define HTML_TEXT_MAX (4u << 20)
#define HTML_MAPS_MAX (4u << 20)
/* For a case, of the same; of its console, a quarter are the first lines. */
#define HTML_CASE_LINES_MAX 2000u
#define HTML_CASE_SUBTESTS_MAX 1000u
#define HTML_CASE_MAP_MAX (256u << 10)
#define HTML_CASE_ITEMS_MAX 200u
/* Bytes of a name, of a path that is linked to, and of a longer text. */
#define HTML_NAME_MAX 200u
#define HTML_PATH_MAX 512u
#define HTML_MESSAGE_MAX 4096u
/* Of a console, for each line that is shown, on the average. */
#define HTML_LINE_BYTES 200u

/*
 * Writes the page. folder: a descriptor of the folder that the attachments' paths start at, of which those named
 * console.timed and maps.svg are shown on the page (vmm/report/artefact.h); -1: none is. The caller looks at
 * ferror(out). -1, with *error: out of memory, or a console cannot be read.
 */
int html_write(const struct results *results, int folder, FILE *out, struct error *error);

#endif
