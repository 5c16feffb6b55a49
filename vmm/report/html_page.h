/*
 * What the parts of the page share; for vmm/report/html*.c alone.
 */
#ifndef VMM_REPORT_HTML_PAGE_H
#define VMM_REPORT_HTML_PAGE_H

#include "vmm/report/html.h"

#include <stdbool.h>

/* The whole of <style>, and the shapes that stand for statuses. */
extern const char html_style[];
extern const char html_shapes[];

/* How many of something a case may show: one that did not pass, and any other. */
struct html_share {
    size_t bad;
    size_t good;
};

struct html_page {
    const struct results *results;
    int folder;
    FILE *out;
    /* Those that did not pass are first. */
    const struct result_case **order;
    size_t bad_count;
    struct html_share lines;
    struct html_share subtests;
    /* Of steps, of troubles and of files, so many each. */
    struct html_share items;
    /* What is left of the page's bounds. */
    size_t text_left;
    size_t maps_left;
};

/* What of it a case of this status may show. */
size_t html_share_of(const struct html_share *share, enum result_status status);

/* Failed, broken or not run. */
bool html_is_bad(enum result_status status);

/* "not-run" and so on: as classes and shapes have it. */
const char *html_class(enum result_status status);

/* A word (fit for HTML), with the colour and the shape of a status. */
void html_status(const struct html_page *page, enum result_status status, const char *word);

/* A name. */
void html_name(const struct html_page *page, const char *text);

/* A longer text, or what the bounds leave of it. NULL is nothing. */
void html_message(struct html_page *page, const char *text);

/* The section of a case; number: its place in the order. -1, with *error, as html_write(). */
int html_case(struct html_page *page, const struct result_case *one, size_t number, struct error *error);

#endif
