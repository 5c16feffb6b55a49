#include "vmm/report/html.h"

#include "vmm/config/place.h"
#include "vmm/report/html_page.h"
#include "vmm/report/markup.h"
#include "vmm/report/report.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const classes[RESULT_STATUS_COUNT] = {
    [RESULT_NOT_RUN] = "not-run", [RESULT_PASSED] = "passed", [RESULT_FAILED] = "failed",
    [RESULT_SKIPPED] = "skipped", [RESULT_BROKEN] = "broken",
};

/* What a reader wants to see first. */
static const int ranks[RESULT_STATUS_COUNT] = {
    [RESULT_FAILED] = 0, [RESULT_BROKEN] = 1, [RESULT_NOT_RUN] = 2, [RESULT_PASSED] = 3, [RESULT_SKIPPED] = 4,
};

bool html_is_bad(enum result_status status)
{
    return ranks[status] < ranks[RESULT_PASSED];
}

const char *html_class(enum result_status status)
{
    return classes[status];
}

void html_status(const struct html_page *page, enum result_status status, const char *word)
{
    (void)fprintf(page->out,
                  "<span class=\"status %s\"><svg class=\"shape\" aria-hidden=\"true\"><use href=\"#%s\"/></svg>%s"
                  "</span>",
                  classes[status], classes[status], word);
}

void html_name(const struct html_page *page, const char *text)
{
    if (text != NULL)
        (void)markup_cut(text, HTML_NAME_MAX, page->out);
}

void html_message(struct html_page *page, const char *text)
{
    if (text != NULL)
        page->text_left -=
            markup_cut(text, page->text_left < HTML_MESSAGE_MAX ? page->text_left : HTML_MESSAGE_MAX, page->out);
}

/* ---- Bounds ---- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/*
 * Shares `all` out among the cases that get a section, at most `most` for each: those that did not pass get three
 * quarters first.
 */
static struct html_share share_out(const struct html_page *page, size_t all, size_t most)
{
    const size_t bad_count = least(page->bad_count, HTML_SECTIONS_MAX);
    const size_t good_count = least(page->results->case_count, HTML_SECTIONS_MAX) - bad_count;
    struct html_share share = {most, most};

    if (bad_count > 0)
        share.bad = least(most, all * 3 / 4 / bad_count);
    if (good_count > 0)
        share.good = least(most, (all - share.bad * bad_count) / good_count);
    return share;
}

size_t html_share_of(const struct html_share *share, enum result_status status)
{
    return html_is_bad(status) ? share->bad : share->good;
}

static int set_order(struct html_page *page, struct error *error)
{
    const struct results *results = page->results;
    size_t count = 0;

    page->order = calloc(results->case_count + 1, sizeof(*page->order));
    if (page->order == NULL)
        return config_out_of_memory(error);
    for (int rank = 0; rank < RESULT_STATUS_COUNT; rank++)
        for (size_t i = 0; i < results->case_count; i++)
            if (ranks[results->cases[i]->status] == rank)
                page->order[count++] = results->cases[i];
    for (size_t i = 0; i < count; i++)
        page->bad_count += html_is_bad(results->cases[i]->status);
    page->lines = share_out(page, HTML_LINES_MAX, HTML_CASE_LINES_MAX);
    page->subtests = share_out(page, HTML_SUBTESTS_MAX, HTML_CASE_SUBTESTS_MAX);
    page->items = share_out(page, HTML_ITEMS_MAX, HTML_CASE_ITEMS_MAX);
    return 0;
}

/* ---- The head ---- */

static enum result_status verdict_of(const struct results *results)
{
    static const enum result_status worst[] = {RESULT_FAILED, RESULT_BROKEN, RESULT_NOT_RUN};

    for (size_t i = 0; i < sizeof(worst) / sizeof(worst[0]); i++)
        if (results_tally(results, worst[i]) > 0)
            return worst[i];
    return results->case_count > 0 ? RESULT_PASSED : RESULT_NOT_RUN;
}

static const char *verdict_word(const struct results *results)
{
    static const char *const words[RESULT_STATUS_COUNT] = {
        [RESULT_NOT_RUN] = "not complete", [RESULT_PASSED] = "passed", [RESULT_FAILED] = "failed",
        [RESULT_SKIPPED] = "skipped",      [RESULT_BROKEN] = "broken",
    };

    return words[verdict_of(results)];
}

static void write_head(const struct html_page *page)
{
    const char *suite = page->results->suite;

    (void)fputs("<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\" xml:lang=\"en\">\n<head>\n"
                "<meta charset=\"utf-8\"/>\n"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
                "'unsafe-inline'; base-uri 'none'; form-action 'none'\"/>\n"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                "<meta name=\"referrer\" content=\"no-referrer\"/>\n"
                "<link rel=\"icon\" href=\"data:,\"/>\n<title>",
                page->out);
    html_name(page, suite != NULL ? suite : "tests");
    (void)fprintf(page->out, ": %s</title>\n<style>\n%s</style>\n</head>\n<body>\n%s", verdict_word(page->results),
                  html_style, html_shapes);
}

static void write_start(const struct html_page *page)
{
    const time_t at = (time_t)page->results->started_at;
    struct tm when;
    char text[64];

    if (at == 0 || gmtime_r(&at, &when) == NULL || strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &when) == 0)
        return;
    (void)fprintf(page->out, ", started %s", text);
}

static void write_verdict(const struct html_page *page)
{
    const struct results *results = page->results;

    (void)fputs("<header>\n<h1>", page->out);
    html_name(page, results->suite != NULL ? results->suite : "tests");
    (void)fputs(": ", page->out);
    html_status(page, verdict_of(results), verdict_word(results));
    (void)fprintf(page->out, "</h1>\n<p class=\"faint\">%zu test%s in ", results->case_count,
                  results->case_count == 1 ? "" : "s");
    markup_time(results->duration_ns, page->out);
    write_start(page);
    (void)fputs("</p>\n<ul class=\"counts\">\n", page->out);
    for (int rank = 0; rank < RESULT_STATUS_COUNT; rank++) {
        for (int status = 0; status < RESULT_STATUS_COUNT; status++) {
            const size_t count = results_tally(results, (enum result_status)status);
            if (ranks[status] != rank || count == 0)
                continue;
            char word[64];
            (void)snprintf(word, sizeof(word), "%zu %s", count, result_status_name((enum result_status)status));
            (void)fputs("<li>", page->out);
            html_status(page, (enum result_status)status, word);
            (void)fputs("</li>\n", page->out);
        }
    }
    (void)fputs("</ul>\n</header>\n", page->out);
}

/* ---- The table ---- */

static uint64_t longest(const struct results *results)
{
    uint64_t most = 1;

    for (size_t i = 0; i < results->case_count; i++)
        if (results->cases[i]->duration_ns > most)
            most = results->cases[i]->duration_ns;
    return most;
}

/* Why, in a line: its message, or the first that a step, trouble or a test in the guest has. */
static const char *first_reason(const struct result_case *one)
{
    if (one->message != NULL || !html_is_bad(one->status))
        return one->message;
    for (size_t i = 0; i < one->step_count; i++)
        if (html_is_bad(one->steps[i].status) && one->steps[i].message != NULL)
            return one->steps[i].message;
    for (size_t i = 0; i < one->trouble_count; i++)
        if (!one->trouble[i].is_tolerated)
            return one->trouble[i].text;
    return NULL;
}

/* What took no time was not begun. */
static void write_bar(const struct html_page *page, uint64_t ns, uint64_t most)
{
    if (ns == 0)
        return;
    markup_time(ns, page->out);
    (void)fprintf(page->out,
                  "<svg class=\"bar\" width=\"100%%\" height=\"5\" aria-hidden=\"true\"><rect width=\"100%%\" "
                  "height=\"100%%\" class=\"all\"/><rect width=\"%.1f%%\" height=\"100%%\" class=\"part\"/></svg>",
                  100.0 * (double)ns / (double)most);
}

static void write_row(const struct html_page *page, const struct result_case *one, size_t number, uint64_t most)
{
    const char *reason = first_reason(one);
    FILE *out = page->out;

    (void)fputs("<tr><td class=\"narrow\">", out);
    html_status(page, one->status, result_status_name(one->status));
    (void)fputs("</td><th scope=\"row\">", out);
    if (number < HTML_SECTIONS_MAX)
        (void)fprintf(out, "<a href=\"#t%zu\">", number + 1);
    html_name(page, one->name);
    (void)fputs(number < HTML_SECTIONS_MAX ? "</a>" : "", out);
    if (reason != NULL) {
        (void)fputs("<p class=\"why\">", out);
        (void)markup_cut(reason, HTML_NAME_MAX, out);
        (void)fputs("</p>", out);
    }
    (void)fputs("</th><td class=\"time\">", out);
    write_bar(page, one->duration_ns, most);
    (void)fputs("</td></tr>\n", out);
}

static void write_table(const struct html_page *page)
{
    const size_t count = page->results->case_count;
    const uint64_t most = longest(page->results);

    if (count == 0) {
        (void)fputs("<p>There is no test.</p>\n", page->out);
        return;
    }
    (void)fputs("<table class=\"all\">\n<caption>All tests, those that did not pass first</caption>\n<thead><tr>"
                "<th scope=\"col\" class=\"narrow\">Status</th><th scope=\"col\">Test</th>"
                "<th scope=\"col\" class=\"time\">Time</th></tr></thead>\n<tbody>\n",
                page->out);
    for (size_t i = 0; i < count && i < HTML_ROWS_MAX; i++)
        write_row(page, page->order[i], i, most);
    (void)fputs("</tbody>\n</table>\n", page->out);
    if (count > HTML_ROWS_MAX)
        (void)fprintf(page->out, "<p>%zu more tests are in <a href=\"" REPORT_JSON "\">" REPORT_JSON "</a>.</p>\n",
                      count - HTML_ROWS_MAX);
}

/* ---- The whole ---- */

static int write_sections(struct html_page *page, struct error *error)
{
    const size_t count = page->results->case_count;

    for (size_t i = 0; i < count && i < HTML_SECTIONS_MAX; i++)
        if (html_case(page, page->order[i], i, error) < 0)
            return -1;
    if (count > HTML_SECTIONS_MAX)
        (void)fprintf(page->out,
                      "<p>What there is to say of %zu more tests is in <a href=\"" REPORT_JSON "\">" REPORT_JSON
                      "</a>.</p>\n",
                      count - HTML_SECTIONS_MAX);
    return 0;
}

int html_write(const struct results *results, int folder, FILE *out, struct error *error)
{
    struct html_page page = {
        .results = results, .folder = folder, .out = out, .text_left = HTML_TEXT_MAX, .maps_left = HTML_MAPS_MAX};

    if (set_order(&page, error) < 0)
        return -1;
    write_head(&page);
    write_verdict(&page);
    (void)fputs("<main>\n", out);
    write_table(&page);
    const int result = write_sections(&page, error);
    (void)fputs("</main>\n<footer><p>For programs: <a href=\"" REPORT_JSON "\">" REPORT_JSON
                "</a>, <a href=\"" REPORT_JUNIT "\">" REPORT_JUNIT "</a>, <a href=\"" REPORT_TAP "\">" REPORT_TAP
                "</a>.</p></footer>\n</body>\n</html>\n",
                out);
    free(page.order);
    return result;
}
