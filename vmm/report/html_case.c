/*
 * The section of one case.
 */
#include "vmm/config/place.h"
#include "vmm/report/artefact.h"
#include "vmm/report/excerpt.h"
#include "vmm/report/html_page.h"
#include "vmm/report/markup.h"
#include "vmm/report/report.h"
#include "vmm/report/timeline.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What is written, and what is known of it. */
struct section {
    struct html_page *page;
    FILE *out;
    const struct result_case *one;
    size_t number;
    /* Its console with times, or NULL; and its path. */
    const struct excerpt *excerpt;
    const char *console_path;
};

/* How many of its steps, of its troubles and of its files are shown. */
static size_t item_limit(const struct section *section)
{
    return html_share_of(&section->page->items, section->one->status);
}

/* The first attachment whose file has this name. */
static const char *find_attachment(const struct result_case *one, const char *name)
{
    for (size_t i = 0; i < one->attachment_count; i++) {
        const char *path = one->attachments[i].path;
        const char *slash = path != NULL ? strrchr(path, '/') : NULL;
        if (path != NULL && strcmp(slash != NULL ? slash + 1 : path, name) == 0)
            return path;
    }
    return NULL;
}

static void write_link(const struct section *section, const char *path, const char *text)
{
    (void)fputs("<a href=\"", section->out);
    markup_path(path, section->out);
    (void)fputs("\">", section->out);
    html_name(section->page, text);
    (void)fputs("</a>", section->out);
}

static void write_left_out(const struct section *section, size_t count, size_t limit, const char *what)
{
    if (count > limit)
        (void)fprintf(section->out, "<p>%zu more %s are in <a href=\"" REPORT_JSON "\">" REPORT_JSON "</a>.</p>\n",
                      count - limit, what);
}

/* ---- Why ---- */

static void write_message(const struct section *section)
{
    if (section->one->message == NULL)
        return;
    (void)fputs(html_is_bad(section->one->status) ? "<p class=\"message\">" : "<p class=\"why\">", section->out);
    html_message(section->page, section->one->message);
    (void)fputs("</p>\n", section->out);
}

static bool is_shown(const struct excerpt *excerpt, uint64_t number)
{
    size_t low = 0;
    size_t high = excerpt != NULL ? excerpt->count : 0;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (excerpt->lines[middle].number == number)
            return true;
        if (excerpt->lines[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static void write_line_number(const struct section *section, uint64_t line)
{
    if (line == 0)
        return;
    if (is_shown(section->excerpt, line))
        (void)fprintf(section->out, "<a href=\"#t%zu-%llu\">line %llu</a>", section->number + 1,
                      (unsigned long long)line, (unsigned long long)line);
    else
        (void)fprintf(section->out, "line %llu", (unsigned long long)line);
}

static void write_one_trouble(const struct section *section, const struct result_trouble *trouble)
{
    FILE *out = section->out;

    (void)fputs("<tr><td class=\"narrow\">", out);
    write_line_number(section, trouble->line);
    (void)fputs("</td><td><p><strong>", out);
    markup_text(trouble_name(trouble->kind), out);
    (void)fprintf(out, "</strong>%s</p><p class=\"why\">", trouble->is_tolerated ? ", which was allowed" : "");
    html_message(section->page, trouble->text);
    (void)fputs("</p></td><td class=\"time\">", out);
    markup_time(trouble->at_ns, out);
    (void)fputs("</td></tr>\n", out);
}

static void write_trouble(const struct section *section)
{
    const struct result_case *one = section->one;
    const size_t limit = item_limit(section);

    if (one->trouble_count == 0)
        return;
    (void)fputs("<h3>Trouble</h3>\n<table>\n<thead><tr><th scope=\"col\" class=\"narrow\">Console</th>"
                "<th scope=\"col\">What</th><th scope=\"col\" class=\"time\">At</th></tr></thead>\n<tbody>\n",
                section->out);
    for (size_t i = 0; i < one->trouble_count && i < limit; i++)
        write_one_trouble(section, &one->trouble[i]);
    (void)fputs("</tbody>\n</table>\n", section->out);
    write_left_out(section, one->trouble_count, limit, "troubles");
}

/* ---- Steps ---- */

static void write_step(const struct section *section, const struct result_step *step, size_t number)
{
    FILE *out = section->out;

    (void)fprintf(out, "<tr><td class=\"narrow\">%zu</td><td class=\"narrow\">", number);
    html_status(section->page, step->status, result_status_name(step->status));
    (void)fputs("</td><th scope=\"row\">", out);
    html_name(section->page, step->kind);
    if (step->title != NULL && step->title[0] != '\0') {
        (void)fputs(" <code>", out);
        html_name(section->page, step->title);
        (void)fputs("</code>", out);
    }
    if (step->message != NULL) {
        (void)fputs("<p class=\"why\">", out);
        html_message(section->page, step->message);
        (void)fputs("</p>", out);
    }
    if (step->detail != NULL) {
        (void)fputs("<pre tabindex=\"0\">", out);
        html_message(section->page, step->detail);
        (void)fputs("</pre>", out);
    }
    (void)fputs("</th><td class=\"time\">", out);
    if (step->status != RESULT_NOT_RUN)
        markup_time(step->duration_ns, out);
    (void)fputs("</td></tr>\n", out);
}

static void write_steps(const struct section *section)
{
    const struct result_case *one = section->one;
    const size_t limit = item_limit(section);

    if (one->step_count == 0)
        return;
    (void)fputs("<h3>Steps</h3>\n<table>\n<thead><tr><th scope=\"col\" class=\"narrow\">No.</th>"
                "<th scope=\"col\" class=\"narrow\">Status</th><th scope=\"col\">Step</th>"
                "<th scope=\"col\" class=\"time\">Took</th></tr></thead>\n<tbody>\n",
                section->out);
    for (size_t i = 0; i < one->step_count && i < limit; i++)
        write_step(section, &one->steps[i], i + 1);
    (void)fputs("</tbody>\n</table>\n", section->out);
    write_left_out(section, one->step_count, limit, "steps");
}

/* ---- Where the time went ---- */

static void write_phases(const struct section *section)
{
    const struct excerpt *excerpt = section->excerpt;
    enum excerpt_phase_kind order[EXCERPT_PHASE_COUNT];
    const size_t count = timeline_phases(excerpt, order);
    FILE *out = section->out;

    if (count == 0)
        return;
    (void)fputs("<table>\n<caption>The boot, as the console tells</caption>\n<thead><tr><th scope=\"col\">Phase</th>"
                "<th scope=\"col\" class=\"time\">From</th><th scope=\"col\" class=\"time\">Took</th></tr></thead>\n"
                "<tbody>\n",
                out);
    for (size_t i = 0; i < count; i++) {
        const uint64_t from = excerpt->phases[order[i]].at_ns;
        const uint64_t to = i + 1 < count ? excerpt->phases[order[i + 1]].at_ns : section->one->duration_ns;
        (void)fprintf(out, "<tr><th scope=\"row\">%s <span class=\"faint\">(line %llu)</span></th><td class=\"time\">",
                      excerpt_phase_name(order[i]), (unsigned long long)excerpt->phases[order[i]].line);
        markup_time(from, out);
        (void)fputs("</td><td class=\"time\">", out);
        markup_time(to > from ? to - from : 0, out);
        (void)fputs("</td></tr>\n", out);
    }
    (void)fputs("</tbody>\n</table>\n", out);
}

static void write_silences(const struct section *section)
{
    const struct excerpt *excerpt = section->excerpt;
    FILE *out = section->out;

    if (excerpt->silence_count == 0)
        return;
    (void)fputs("<table>\n<caption>The longest silences of the console</caption>\n<thead><tr>"
                "<th scope=\"col\" class=\"narrow\">Silence</th><th scope=\"col\">After</th>"
                "<th scope=\"col\" class=\"time\">Lasted</th></tr></thead>\n<tbody>\n",
                out);
    for (size_t i = 0; i < excerpt->silence_count; i++) {
        const struct excerpt_silence *silence = &excerpt->silences[i];
        (void)fprintf(out, "<tr><th scope=\"row\" class=\"narrow\">%c</th><td>", (int)('A' + i));
        if (silence->line == 0)
            (void)fputs("the start", out);
        else
            (void)fprintf(out, "<span class=\"faint\">line %llu:</span> ", (unsigned long long)silence->line);
        markup_text(silence->text, out);
        (void)fputs("</td><td class=\"time\">", out);
        markup_time(silence->to_ns - silence->from_ns, out);
        (void)fputs("</td></tr>\n", out);
    }
    (void)fputs("</tbody>\n</table>\n", out);
}

static void write_times(const struct section *section)
{
    if (section->one->duration_ns == 0 || (section->one->step_count == 0 && section->excerpt == NULL))
        return;
    (void)fputs("<h3>Where the time went</h3>\n", section->out);
    timeline_write(section->one, item_limit(section), section->excerpt, section->out);
    if (section->excerpt == NULL)
        return;
    write_phases(section);
    write_silences(section);
}

/* ---- Tests in the guest ---- */

static void write_subtest(const struct section *section, const struct result_subtest *subtest)
{
    static const enum result_status statuses[KTAP_STATUS_COUNT] = {
        [KTAP_MISSING] = RESULT_BROKEN,  [KTAP_PASSED] = RESULT_PASSED, [KTAP_FAILED] = RESULT_FAILED,
        [KTAP_SKIPPED] = RESULT_SKIPPED, [KTAP_TODO] = RESULT_SKIPPED,  [KTAP_TIMED_OUT] = RESULT_FAILED,
        [KTAP_ERROR] = RESULT_BROKEN,
    };
    FILE *out = section->out;

    (void)fputs("<tr><td class=\"narrow\">", out);
    html_status(section->page, statuses[subtest->status], ktap_status_name(subtest->status));
    (void)fputs("</td><th scope=\"row\">", out);
    html_name(section->page, subtest->name);
    if (subtest->reason != NULL) {
        (void)fputs("<p class=\"why\">", out);
        html_message(section->page, subtest->reason);
        (void)fputs("</p>", out);
    }
    if (subtest->diagnostics != NULL && ktap_status_is_bad(subtest->status)) {
        (void)fputs("<pre tabindex=\"0\">", out);
        html_message(section->page, subtest->diagnostics);
        (void)fputs("</pre>", out);
    }
    (void)fputs("</th></tr>\n", out);
}

/* Those that are bad, or the others; returns how many there were. */
static size_t write_subtests_that(const struct section *section, bool are_bad, size_t limit)
{
    const struct result_case *one = section->one;
    size_t count = 0;

    (void)fputs("<table>\n<thead><tr><th scope=\"col\" class=\"narrow\">Status</th><th scope=\"col\">Test</th></tr>"
                "</thead>\n<tbody>\n",
                section->out);
    for (size_t i = 0; i < one->subtest_count; i++) {
        if (ktap_status_is_bad(one->subtests[i].status) == are_bad && count++ < limit)
            write_subtest(section, &one->subtests[i]);
    }
    (void)fputs("</tbody>\n</table>\n", section->out);
    write_left_out(section, count, limit, "tests in the guest");
    return count;
}

static void write_subtests(const struct section *section)
{
    const struct result_case *one = section->one;
    size_t limit = html_share_of(&section->page->subtests, one->status);
    size_t bad = 0;

    if (one->subtest_count == 0)
        return;
    for (size_t i = 0; i < one->subtest_count; i++)
        bad += ktap_status_is_bad(one->subtests[i].status);
    (void)fprintf(section->out, "<h3>Tests in the guest: %zu of %zu failed</h3>\n", bad, one->subtest_count);
    if (bad > 0)
        (void)write_subtests_that(section, true, limit);
    limit -= bad < limit ? bad : limit;
    if (bad == one->subtest_count)
        return;
    (void)fprintf(section->out, "<details><summary>%zu that did not fail</summary>\n", one->subtest_count - bad);
    (void)write_subtests_that(section, false, limit);
    (void)fputs("</details>\n", section->out);
}

/* ---- The console ---- */

/* Whether it is told of trouble on that line. */
static bool is_trouble(const struct section *section, uint64_t number)
{
    const struct result_case *one = section->one;
    const size_t limit = item_limit(section);

    for (size_t i = 0; i < one->trouble_count && i < limit; i++)
        if (one->trouble[i].line == number)
            return true;
    return false;
}

static void write_line(const struct section *section, const struct excerpt_line *line)
{
    FILE *out = section->out;
    const bool is_marked = is_trouble(section, line->number);

    if (is_marked)
        (void)fprintf(out, "<mark id=\"t%zu-%llu\">", section->number + 1, (unsigned long long)line->number);
    if (line->has_time && !line->continues)
        (void)fprintf(out, "<i>%9.3f</i> ", (double)line->at_ns / 1e9);
    else
        (void)fputs(line->continues ? "<i>        +</i> " : "<i>         </i> ", out);
    markup_bytes(line->text, line->length, out);
    if (line->cut > 0)
        (void)fprintf(out, "<i>\xe2\x80\xa6 (%zu bytes more)</i>", line->cut);
    (void)fputs(is_marked ? "</mark>\n" : "\n", out);
}

static void write_gap(const struct section *section, uint64_t first, uint64_t next)
{
    (void)fprintf(section->out, "<b>lines %llu to %llu are left out here</b>", (unsigned long long)first,
                  (unsigned long long)next - 1);
}

static void write_excerpt(const struct section *section)
{
    const struct excerpt *excerpt = section->excerpt;
    uint64_t next = 1;

    (void)fprintf(section->out, "<p class=\"faint\">%zu of %s%llu lines, with seconds since the start; all is in ",
                  excerpt->count, excerpt->is_all ? "" : "more than ", (unsigned long long)excerpt->total);
    write_link(section, section->console_path, section->console_path);
    (void)fputs(".</p>\n<pre class=\"console\" tabindex=\"0\">", section->out);
    for (size_t i = 0; i < excerpt->count; i++) {
        if (excerpt->lines[i].number > next)
            write_gap(section, next, excerpt->lines[i].number);
        next = excerpt->lines[i].number + 1;
        write_line(section, &excerpt->lines[i]);
    }
    (void)fputs("</pre>\n", section->out);
}

static void write_console(const struct section *section)
{
    if (section->excerpt == NULL && section->one->console == NULL)
        return;
    (void)fputs("<h3>Console</h3>\n", section->out);
    if (section->excerpt != NULL) {
        write_excerpt(section);
        return;
    }
    (void)fputs("<p class=\"faint\">The last lines.</p>\n<pre class=\"console\" tabindex=\"0\">", section->out);
    html_message(section->page, section->one->console);
    (void)fputs("</pre>\n", section->out);
}

/* ---- The memory map, and files ---- */

/* The file's bytes, or NULL where it is not there, is too large, or the page has enough. */
static unsigned char *read_map(const struct section *section, const char *path, size_t *length)
{
    const size_t left = section->page->maps_left;
    const size_t most = left < HTML_CASE_MAP_MAX ? left : HTML_CASE_MAP_MAX;
    const int fd = section->page->folder >= 0 ? artefact_open(section->page->folder, path) : -1;
    unsigned char *data = fd >= 0 ? malloc(most + 1) : NULL;
    ssize_t got = 1;

    for (*length = 0; data != NULL && got > 0 && *length <= most; *length += (size_t)(got > 0 ? got : 0))
        got = read(fd, data + *length, most + 1 - *length);
    if (fd >= 0)
        close(fd);
    if (data != NULL && got == 0 && *length > 0 && *length <= most)
        return data;
    free(data);
    return NULL;
}

static void write_map(const struct section *section)
{
    const char *path = find_attachment(section->one, "maps.svg");
    size_t length = 0;
    unsigned char *data = path != NULL ? read_map(section, path, &length) : NULL;

    if (data == NULL)
        return;
    section->page->maps_left -= length;
    /* As an image it runs no scripts and loads nothing, whatever is in it, and its names are its own. */
    (void)fputs("<h3>Memory map</h3>\n<details><summary>What lies where in the guest's memory</summary>\n<figure>"
                "<img loading=\"lazy\" alt=\"The machine's memory map; quire maps prints it as text\" src=\"",
                section->out);
    markup_data("image/svg+xml", data, length, section->out);
    (void)fputs("\"/></figure>\n</details>\n", section->out);
    free(data);
}

static void write_attachments(const struct section *section)
{
    const struct result_case *one = section->one;
    const size_t limit = item_limit(section);

    if (one->attachment_count == 0)
        return;
    (void)fputs("<h3>Files</h3>\n<ul class=\"files\">\n", section->out);
    for (size_t i = 0; i < one->attachment_count && i < limit; i++) {
        const struct result_attachment *attachment = &one->attachments[i];
        const char *name = attachment->name != NULL ? attachment->name : attachment->path;
        (void)fputs("<li>", section->out);
        if (attachment->path != NULL && artefact_path_is_safe(attachment->path) &&
            strlen(attachment->path) <= HTML_PATH_MAX)
            write_link(section, attachment->path, name);
        else
            html_name(section->page, name);
        (void)fputs("</li>\n", section->out);
    }
    (void)fputs("</ul>\n", section->out);
    write_left_out(section, one->attachment_count, limit, "files");
}

/* ---- The whole ---- */

static void write_section(const struct section *section)
{
    const struct result_case *one = section->one;
    FILE *out = section->out;

    (void)fprintf(out, "<details class=\"case %s\" id=\"t%zu\"%s>\n<summary>", html_class(one->status),
                  section->number + 1, html_is_bad(one->status) ? " open=\"open\"" : "");
    html_status(section->page, one->status, result_status_name(one->status));
    (void)fputs(" <h2>", out);
    html_name(section->page, one->name);
    (void)fputs("</h2> <span class=\"faint\">", out);
    if (one->duration_ns > 0)
        markup_time(one->duration_ns, out);
    (void)fputs("</span></summary>\n<div class=\"body\">\n", out);
    if (one->file != NULL) {
        (void)fputs("<p class=\"faint\">", out);
        html_name(section->page, one->file);
        (void)fputs("</p>\n", out);
    }
    write_message(section);
    write_trouble(section);
    write_steps(section);
    write_times(section);
    write_subtests(section);
    write_console(section);
    write_map(section);
    write_attachments(section);
    (void)fputs("</div>\n</details>\n", out);
}

static int ascending(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

/* Where there is trouble: the first places, in the console's order. */
static size_t find_places(const struct result_case *one, uint64_t places[EXCERPT_PLACES])
{
    size_t count = 0;

    for (size_t i = 0; i < one->trouble_count && count < EXCERPT_PLACES; i++)
        if (one->trouble[i].line > 0 && one->trouble[i].line < UINT64_MAX - EXCERPT_AROUND)
            places[count++] = one->trouble[i].line;
    qsort(places, count, sizeof(places[0]), ascending);
    return count;
}

/* Whether there is a console with times; 0 or 1, or -1 with *error. */
static int read_console(const struct section *section, struct excerpt *excerpt, struct error *error)
{
    const struct html_page *page = section->page;
    const size_t lines = html_share_of(&page->lines, section->one->status);
    uint64_t places[EXCERPT_PLACES];
    const struct excerpt_options options = {
        .duration_ns = section->one->duration_ns,
        .head = lines / 4,
        .tail = lines - lines / 4,
        .bytes = lines * HTML_LINE_BYTES / 2,
        .places = places,
        .place_count = find_places(section->one, places),
    };

    if (section->console_path == NULL || page->folder < 0 || lines == 0)
        return 0;
    const int fd = artefact_open(page->folder, section->console_path);
    if (fd < 0)
        return 0;
    const int result = excerpt_read(fd, section->console_path, &options, excerpt, error);
    close(fd);
    return result < 0 ? -1 : 1;
}

int html_case(struct html_page *page, const struct result_case *one, size_t number, struct error *error)
{
    struct section section = {.page = page, .out = page->out, .one = one, .number = number};
    struct excerpt excerpt = {0};

    section.console_path = find_attachment(one, "console.timed");
    const int has_console = read_console(&section, &excerpt, error);
    if (has_console < 0)
        return -1;
    section.excerpt = has_console > 0 && excerpt.count > 0 ? &excerpt : NULL;
    write_section(&section);
    excerpt_free(&excerpt);
    return 0;
}
