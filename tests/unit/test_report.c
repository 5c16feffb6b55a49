/*
 * Reports as files: the page, with what hostile guests and names can do to it and within its bounds; forms that are
 * whole or not there; and results that come back as they were.
 */
#include "memory/support/utf8.h"
#include "vmm/report/excerpt.h"
#include "vmm/report/html.h"
#include "vmm/report/markup.h"
#include "vmm/report/report.h"
#include "vmm/report/results_read.h"

#include "report_fixture.h"
#include "scratch_folder.h"
#include "unit_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct error error;

static void setup(void)
{
    scratch_folder_make();
    error = (struct error){0};
}

static const char *in(const char *name)
{
    return scratch_path(scratch_folder, name);
}

/* A file's bytes, and a NUL; the caller frees them. */
static char *read_all(const char *path, size_t *length)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;

    ck_assert_msg(file != NULL, "%s is not there", path);
    ssize_t got = getdelim(&text, &room, '\0', file);
    ck_assert_msg(got >= 0 && fgetc(file) == EOF, "%s is empty, or has a NUL", path);
    (void)fclose(file);
    if (length != NULL)
        *length = (size_t)got;
    return text;
}

static void assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        ck_abort_msg("not there: %s", part);
}

static void assert_holds_not(const char *text, const char *part)
{
    const char *found = strstr(text, part);

    if (found != NULL)
        ck_abort_msg("there: %s, in %.200s", part, found);
}

/* Not with strstr(), for which sanitizers look at all of a text each time. */
static size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    const char *end = text + strlen(text);

    while ((text = memchr(text, part[0], (size_t)(end - text))) != NULL)
        count += strncmp(text++, part, strlen(part)) == 0;
    return count;
}

static struct results *create(void)
{
    struct results *results = results_create("boot", &error);

    ck_assert_ptr_nonnull(results);
    return results;
}

static struct result_case *add_case(struct results *results, const char *name, enum result_status status)
{
    struct result_case *one = results_add_case(results, name, "boot.toml", &error);

    ck_assert_ptr_nonnull(one);
    one->status = status;
    one->duration_ns = 10000000000u;
    return one;
}

static void set(char **to, const char *text)
{
    ck_assert_int_eq(result_set_text(to, text, &error), 0);
}

static char *write_page(const struct results *results)
{
    if (report_write(results, scratch_folder, &error) < 0)
        ck_abort_msg("%s", error.text);
    return read_all(in(REPORT_PAGE), NULL);
}

static void assert_is_well_formed(void)
{
#ifdef XMLLINT
    char command[512];

    (void)snprintf(command, sizeof(command), XMLLINT " --huge --noout %s 1>&2", in(REPORT_PAGE));
    ck_assert_int_eq(WEXITSTATUS(system(command)), 0);
#endif
}

/* ---- The page ---- */

/* A picture, for the one case that gets it. */
static const char picture[] = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>";

static struct results *create_fixture(void)
{
    ck_assert_int_eq(mkdir(in("boot-2"), 0755), 0);
    scratch_write(in("boot-2/maps.svg"), picture);
    return report_fixture(scratch_folder);
}

START_TEST(the_page_says_what_came_of_it)
{
    struct results *results = create_fixture();
    char *page = write_page(results);

    assert_is_well_formed();
    assert_holds(page, "<title>linux boots: failed</title>");
    assert_holds(page, "11 tests in 3 min 38 s, started 2026-09-21 14:13:20 UTC");
    assert_holds(page, "5 failed</span>");
    assert_holds(page, "3 passed</span>");
    /* The row, its reason, and the section behind it. */
    assert_holds(page, "<a href=\"#t1\">boot[kernel=6.12]</a><p class=\"why\">the kernel was in trouble");
    assert_holds(page, "<details class=\"case failed\" id=\"t1\" open=\"open\">");
    assert_holds(page, "<h2>boot[kernel=6.12]</h2> <span class=\"faint\">14.9 s</span>");
    assert_holds(page, "<code>done: (?&lt;count&gt;[0-9]+)</code>");
    assert_holds(page, "3 of 300 failed");
    assert_holds(page, "<details><summary>297 that did not fail</summary>");
    /* Those that did not pass come first. */
    ck_assert(strstr(page, "<h2>kunit</h2>") < strstr(page, "<h2>boot[kernel=6.1]</h2>"));
    free(page);
    results_free(results);
}
END_TEST

START_TEST(the_page_shows_the_console)
{
    struct results *results = create_fixture();
    char *page = write_page(results);

    assert_holds(page, "328 of 328 lines");
    assert_holds(page, "<a href=\"#t1-127\">line 127</a>");
    assert_holds(page, "<mark id=\"t1-127\"><i>    1.059</i> [    0.488606] WARNING: CPU: 0");
    /* Of many lines the first, the last, and those around trouble. */
    assert_holds(page, "2011 of 60001 lines");
    assert_holds(page, "entry 499, ignoring\n<b>lines 501 to 29996 are left out here</b>");
    assert_holds(page, "INFO: task kworker/0:1:12 blocked for more than 20 seconds.</mark>");
    assert_holds(page, "<b>lines 30008 to 58501 are left out here</b>");
    assert_holds(page, "entry 59999, ignoring\n</pre>");
    assert_holds(page, "<a href=\"./flood-1/console.timed\">flood-1/console.timed</a>");
    /* Where there is no file, what the results have of it. */
    assert_holds(page,
                 "<p class=\"faint\">The last lines.</p>\n<pre class=\"console\" tabindex=\"0\">[    0.000000] Linux "
                 "version 5.10.0\n");
    free(page);
    results_free(results);
}
END_TEST

START_TEST(the_page_shows_where_the_time_went)
{
    struct results *results = create_fixture();
    char *page = write_page(results);
    char *section = strstr(page, "<h2>flood</h2>");

    assert_holds(page, "<title>first process</title>");
    assert_holds(page, "<th scope=\"row\">Linux starts <span class=\"faint\">(line 4)</span></th>");
    assert_holds(page, "<th scope=\"row\">login prompt");
    ck_assert_ptr_nonnull(section);
    assert_holds(section, "line 30002:</span> INFO: task kworker/0:1:12 blocked for more than 20 seconds.</td>"
                          "<td class=\"time\">25.0 s</td>");
    /* As much of the picture as of the time: 25 s of 130 s. */
    assert_holds(section, "width=\"19.232%\" height=\"24\"><rect width=\"100%\" height=\"24\" class=\"silence\"/>");
    free(page);
    results_free(results);
}
END_TEST

START_TEST(the_page_has_the_memory_map_as_an_image)
{
    struct results *results = create_fixture();
    char *page = write_page(results);

    ck_assert_uint_eq(count_of(page, "<img "), 1);
    assert_holds(page, "src=\"data:image/svg+xml;base64,PHN2ZyB4bWxucz0n");
    assert_holds(page, "<a href=\"./boot-2/maps.svg\">maps.svg</a>");
    free(page);
    results_free(results);
}
END_TEST

/* Every link is to a place in the page, to a file below the folder, or to nothing. */
static void assert_links_are_harmless(const char *page)
{
    static const char *const starts[] = {"#", "./", "data:,\"", REPORT_JSON "\"", REPORT_JUNIT "\"", REPORT_TAP "\""};

    for (const char *link = page; (link = strstr(link, " href=\"")) != NULL;) {
        bool is_known = false;
        link += strlen(" href=\"");
        for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
            is_known |= strncmp(link, starts[i], strlen(starts[i])) == 0;
        ck_assert_msg(is_known && strncmp(link, ".//", 3) != 0, "a link to %.60s", link);
        ck_assert_ptr_null(memmem(link, strcspn(link, "\""), "..", 2));
    }
}

START_TEST(guests_cannot_write_the_page)
{
    struct results *results = create_fixture();
    char *page = write_page(results);
    size_t left = strlen(page);
    size_t used;

    assert_holds(page,
                 "&lt;/pre&gt;&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;]]&gt;\xe2\x90\x9b"
                 "[31m\xe2\x90\x81\xe2\x90\xa1");
    assert_holds_not(page, "<script");
    assert_holds(page, "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
                       "form-action 'none'\"");
    ck_assert_uint_eq(count_of(page, "</style>"), 1);
    ck_assert_uint_eq(count_of(page, "javascript:"), 1);
    assert_holds(page, "href=\"./javascript%3Aalert%281%29\"");
    assert_links_are_harmless(page);
    for (const char *text = page; left > 0; text += used, left -= used) {
        const uint32_t character = utf8_next(text, left, &used);
        ck_assert_msg(character >= 0x20 || character == '\n' || character == '\t', "U+%04X is there", character);
        ck_assert(character < 0x7f || character > 0x9f);
        ck_assert(character != 0x202e && character != 0xffff);
        ck_assert(character != UTF8_REPLACEMENT || used == 3);
    }
    free(page);
    results_free(results);
}
END_TEST

START_TEST(a_page_of_nothing)
{
    struct results *results = create();
    char *page = write_page(results);

    assert_is_well_formed();
    assert_holds(page, "not complete</span></h1>");
    assert_holds(page, "There is no test.");
    free(page);
    results_free(results);
}
END_TEST

START_TEST(a_page_of_what_is_not_known)
{
    struct results *results = results_create(NULL, &error);
    struct result_case *one = results_add_case(results, "x", NULL, &error);

    ck_assert_ptr_nonnull(result_add_step(one, "expect", NULL, &error));
    ck_assert_ptr_nonnull(result_add_trouble(one, TROUBLE_BUG, NULL, &error));
    ck_assert_ptr_nonnull(result_add_attachment(one, "console", "console.timed", &error));
    free(write_page(results));
    assert_is_well_formed();
    results_free(results);
}
END_TEST

/* ---- Files that are not what they should be ---- */

static char *page_with_console(const char *path)
{
    struct results *results = create();
    struct result_case *one = add_case(results, "one", RESULT_FAILED);

    ck_assert_ptr_nonnull(result_add_attachment(one, "console", path, &error));
    char *page = write_page(results);
    results_free(results);
    return page;
}

START_TEST(no_file_is_shown_that_is_elsewhere)
{
    ck_assert_int_eq(mkdir(in("case"), 0755), 0);
    ck_assert_int_eq(mkdir(in("outside"), 0755), 0);
    scratch_write(in("outside/console.timed"), "0.5 a secret\n");
    ck_assert_int_eq(symlink("../outside/console.timed", in("case/console.timed")), 0);
    ck_assert_int_eq(symlink("outside", in("link")), 0);
    ck_assert_int_eq(mkfifo(in("console.timed"), 0600), 0);
    static const char *const paths[] = {
        "case/console.timed",      "link/console.timed",    "console.timed",         "case/../outside/console.timed",
        "./outside/console.timed", "missing/console.timed", "outside//console.timed"};
    char absolute[512];
    (void)snprintf(absolute, sizeof(absolute), "%s", in("outside/console.timed"));
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char *page = page_with_console(paths[i]);
        assert_holds_not(page, "a secret");
        free(page);
    }
    char *page = page_with_console(absolute);
    assert_holds_not(page, "a secret");
    free(page);
    page = page_with_console("outside/console.timed");
    assert_holds(page, "a secret");
    free(page);
}
END_TEST

/* ---- The console ---- */

static struct excerpt excerpt_of(const char *text, size_t head, size_t tail, size_t bytes)
{
    const struct excerpt_options options = {.duration_ns = 10000000000u, .head = head, .tail = tail, .bytes = bytes};
    struct excerpt excerpt;

    scratch_write(in("console"), text);
    const int fd = open(in("console"), O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(excerpt_read(fd, "console", &options, &excerpt, &error), 0);
    close(fd);
    return excerpt;
}

START_TEST(lines_and_their_times)
{
    struct excerpt excerpt = excerpt_of("0.25 a\n1.5+b\n\nnone\n2. x\n3.1234567891 y\n12.000001 \n7 z", 100, 100, 1000);
    static const struct {
        const char *text;
        bool has_time;
        bool continues;
        uint64_t at_ns;
    } lines[] = {
        {"a", true, false, 250000000},  {"b", true, true, 1500000000}, {"", false, false, 0},
        {"none", false, false, 0},      {"2. x", false, false, 0},     {"3.1234567891 y", false, false, 0},
        {"", true, false, 12000001000}, {"7 z", false, false, 0},
    };

    ck_assert_uint_eq(excerpt.count, 8);
    ck_assert_uint_eq(excerpt.total, 8);
    ck_assert(excerpt.is_all);
    for (size_t i = 0; i < excerpt.count; i++) {
        ck_assert_str_eq(excerpt.lines[i].text, lines[i].text);
        ck_assert_uint_eq(excerpt.lines[i].number, i + 1);
        ck_assert(excerpt.lines[i].has_time == lines[i].has_time);
        ck_assert(excerpt.lines[i].continues == lines[i].continues);
        ck_assert_uint_eq(excerpt.lines[i].at_ns, lines[i].at_ns);
    }
    excerpt_free(&excerpt);
}
END_TEST

START_TEST(phases_and_silences)
{
    struct excerpt excerpt = excerpt_of(
        "1.0 SeaBIOS\n1.5 [    0.000000] Linux version 6.1\n2.0 Freeing unused kernel image\n"
        "2.1 Run /init as init process\n2.2 Run / jump\n6.0 x login: \n6.2 y\n6.3 z\n9.9 reboot: Power down\n",
        100, 100, 1000);

    ck_assert_uint_eq(excerpt.phases[EXCERPT_FIRST_OUTPUT].at_ns, 1000000000);
    ck_assert_uint_eq(excerpt.phases[EXCERPT_LINUX].line, 2);
    ck_assert_uint_eq(excerpt.phases[EXCERPT_INIT].line, 4);
    ck_assert_uint_eq(excerpt.phases[EXCERPT_LOGIN].at_ns, 6000000000);
    ck_assert_uint_eq(excerpt.phases[EXCERPT_PANIC].line, 0);
    /* In the order of time: before the first line, and the two longest of the others. */
    ck_assert_uint_eq(excerpt.silence_count, 3);
    ck_assert_uint_eq(excerpt.silences[0].from_ns, 0);
    ck_assert_uint_eq(excerpt.silences[0].line, 0);
    ck_assert_uint_eq(excerpt.silences[1].from_ns, 2200000000);
    ck_assert_str_eq(excerpt.silences[1].text, "Run / jump");
    ck_assert_uint_eq(excerpt.silences[2].from_ns, 6300000000);
    ck_assert_uint_eq(excerpt.silences[2].to_ns, 9900000000);
    ck_assert_uint_eq(excerpt.silences[2].line, 8);
    excerpt_free(&excerpt);
}
END_TEST

START_TEST(no_character_is_cut)
{
    static const char sign[] = "\xe2\x82\xac";
    char bytes[10] = "abc";

    (void)strcpy(bytes + 3, sign);
    ck_assert_uint_eq(markup_fit(bytes, 6, 7), 6);
    ck_assert_uint_eq(markup_fit(bytes, 6, 6), 6);
    ck_assert_uint_eq(markup_fit(bytes, 6, 5), 3);
    ck_assert_uint_eq(markup_fit(bytes, 6, 4), 3);
    ck_assert_uint_eq(markup_fit(bytes, 6, 3), 3);
    ck_assert_uint_eq(markup_fit(bytes, 6, 0), 0);
    ck_assert_uint_eq(markup_fit(sign, 3, 1), 0);
    /* What belongs to no character is cut anywhere. */
    memset(bytes, 0x80, sizeof(bytes));
    ck_assert_uint_eq(markup_fit(bytes, sizeof(bytes), 7), 7);
    ck_assert_uint_eq(markup_fit(bytes, sizeof(bytes), 2), 2);
    /* Where lines are cut, and what is said of a silence. */
    char text[600];
    const int length =
        snprintf(text, sizeof(text), "1.0 %0*d%s%s%s\n9.0 x\n", (int)EXCERPT_TEXT_MAX - 1, 0, sign, sign, sign);
    ck_assert_int_lt(length, (int)sizeof(text));
    struct excerpt excerpt = excerpt_of(text, 10, 10, 1000);
    ck_assert_uint_eq(excerpt.lines[0].length, EXCERPT_TEXT_MAX - 1);
    ck_assert_uint_eq(excerpt.lines[0].cut, 9);
    excerpt_free(&excerpt);
    (void)snprintf(text, sizeof(text), "1.0 %0*d%s\n9.0 x\n", (int)EXCERPT_SILENCE_TEXT - 3, 0, sign);
    excerpt = excerpt_of(text, 10, 10, 1000);
    ck_assert_uint_eq(excerpt.silence_count, 3);
    ck_assert_uint_eq(strlen(excerpt.silences[1].text), EXCERPT_SILENCE_TEXT - 3);
    excerpt_free(&excerpt);
}
END_TEST

START_TEST(a_console_is_cut_to_its_bounds)
{
    char *text = malloc(2000000);
    size_t length = 0;

    for (unsigned i = 1; i <= 1000; i++)
        length += (size_t)sprintf(text + length, "%u.5 line %u \xc3\xbc%0*d\n", i, i, i == 3 || i == 999 ? 1000 : 1, 0);
    struct excerpt excerpt = excerpt_of(text, 10, 20, 1000000);
    ck_assert_uint_eq(excerpt.count, 30);
    ck_assert_uint_eq(excerpt.total, 1000);
    ck_assert_uint_eq(excerpt.lines[9].number, 10);
    ck_assert_uint_eq(excerpt.lines[10].number, 981);
    ck_assert_uint_eq(excerpt.lines[2].length, EXCERPT_TEXT_MAX);
    ck_assert_uint_eq(excerpt.lines[2].cut, 1009 - EXCERPT_TEXT_MAX);
    excerpt_free(&excerpt);
    /* By bytes: 14 or so for each line, and two that are longer. */
    excerpt = excerpt_of(text, 1000, 1000, 700);
    ck_assert_uint_lt(excerpt.count, 70);
    ck_assert_uint_eq(excerpt.lines[0].number, 1);
    ck_assert_uint_eq(excerpt.lines[excerpt.count - 1].number, 1000);
    excerpt_free(&excerpt);
    /* What does not fit the first lines ends them, and smaller ones behind it do not get in front of it. */
    excerpt = excerpt_of("a\n0123456789\n\nb\n", 10, 10, 5);
    ck_assert_uint_eq(excerpt.count, 3);
    for (size_t i = 1; i < excerpt.count; i++)
        ck_assert_uint_gt(excerpt.lines[i].number, excerpt.lines[i - 1].number);
    excerpt_free(&excerpt);
    /* One line without an end, larger than any buffer. */
    memset(text, 'x', 1500000);
    (void)strcpy(text + 1500000, "\n1.5 next\n");
    excerpt = excerpt_of(text, 10, 10, 1000);
    ck_assert_uint_eq(excerpt.count, 2);
    ck_assert_str_eq(excerpt.lines[1].text, "next");
    excerpt_free(&excerpt);
    free(text);
}
END_TEST

/* A step's own time may be longer than its case's, which somebody else has measured. */
START_TEST(what_ends_too_late_stays_in_the_picture)
{
    struct results *results = create();
    struct result_case *one = add_case(results, "one", RESULT_FAILED);
    struct result_step *step = result_add_step(one, "expect", NULL, &error);

    step->status = RESULT_FAILED;
    step->start_ns = one->duration_ns / 2;
    step->duration_ns = 10 * one->duration_ns;
    char *page = write_page(results);
    assert_holds(page, "<svg x=\"50.000%\" y=\"35\" width=\"50.000%\"");
    free(page);
    results_free(results);
}
END_TEST

/* ---- Bounds of the page ---- */

/* Without the other forms, which have everything. */
static char *write_page_alone(const struct results *results)
{
    const int where = open(scratch_folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    FILE *out = fopen(in(REPORT_PAGE), "w");

    ck_assert_int_eq(html_write(results, where, out, &error), 0);
    ck_assert_int_eq(fclose(out), 0);
    close(where);
    return read_all(in(REPORT_PAGE), NULL);
}

static void write_long_console(const char *name, unsigned lines)
{
    FILE *file = fopen(in(name), "w");

    for (unsigned i = 0; i < lines; i++)
        (void)fprintf(file, "%u.000000 %u <<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<\n", i,
                      i);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(many_large_cases_make_a_page_that_can_be_used)
{
    struct results *results = create();
    char message[16384] = "";
    char detail[HTML_MESSAGE_MAX] = "";
    char name[32];
    struct stat status;

    memset(message, '&', sizeof(message) - 1);
    memset(detail, '|', sizeof(detail) - 1);
    write_long_console("console.timed", 5000);
    char *map = calloc(1, HTML_CASE_MAP_MAX);
    memset(map, 'm', HTML_CASE_MAP_MAX - 1);
    scratch_write(in("maps.svg"), map);
    for (unsigned i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof(name), "case-%u", i);
        struct result_case *one = add_case(results, name, i % 2 == 0 ? RESULT_PASSED : RESULT_FAILED);
        set(&one->message, message);
        ck_assert_ptr_nonnull(result_add_attachment(one, "console", "console.timed", &error));
        ck_assert_ptr_nonnull(result_add_attachment(one, "map", "maps.svg", &error));
        for (unsigned j = 0; j < 10; j++)
            set(&result_add_step(one, "expect", NULL, &error)->detail, detail);
        for (unsigned j = 0; j < 1000; j++) {
            struct result_subtest *subtest = result_add_subtest(one, "suite/test", &error);
            subtest->status = KTAP_FAILED;
        }
    }
    char *page = write_page_alone(results);
    ck_assert_int_eq(stat(in(REPORT_PAGE), &status), 0);
    ck_assert_int_lt(status.st_size, 32 << 20);
    assert_is_well_formed();
    ck_assert_uint_eq(count_of(page, "<h2>case-"), 200);
    ck_assert_uint_le(count_of(page, "</i> "), HTML_LINES_MAX);
    ck_assert_uint_ge(count_of(page, "</i> "), HTML_LINES_MAX / 2);
    ck_assert_uint_le(count_of(page, "<th scope=\"row\">suite/test"), HTML_SUBTESTS_MAX);
    assert_holds(page, "850 more tests in the guest are in <a href=\"results.json\">");
    ck_assert_uint_eq(count_of(page, "<img "), HTML_MAPS_MAX / HTML_CASE_MAP_MAX);
    ck_assert_uint_le(count_of(page, "&amp;"), HTML_TEXT_MAX + 200 * HTML_NAME_MAX);
    assert_holds(page, "bytes more)</p>");
    ck_assert_uint_le(count_of(page, "|"), HTML_TEXT_MAX);
    free(page);
    free(map);
    results_free(results);
}
END_TEST

START_TEST(very_many_cases)
{
    struct results *results = create();

    for (unsigned i = 0; i < HTML_ROWS_MAX + 7; i++)
        add_case(results, "case", i == HTML_ROWS_MAX ? RESULT_FAILED : RESULT_PASSED);
    char *page = write_page(results);
    assert_is_well_formed();
    ck_assert_uint_eq(count_of(page, "<h2>"), HTML_SECTIONS_MAX);
    assert_holds(page, "<p>7 more tests are in");
    assert_holds(page, "<p>What there is to say of 4007 more tests is in");
    /* The one that failed is not among those that are left out. */
    assert_holds(page, "<details class=\"case failed\" id=\"t1\"");
    ck_assert_uint_eq(count_of(page, "href=\"#t"), HTML_SECTIONS_MAX);
    free(page);
    results_free(results);
}
END_TEST

/* What scenarios have few of, and somebody's results.json may have many; cases without a section take no share. */
START_TEST(what_cases_consist_of_is_shared_out)
{
    const unsigned each = HTML_ITEMS_MAX * 3 / 4 / HTML_SECTIONS_MAX;
    char far[HTML_PATH_MAX + 2];
    struct results *results = create();

    memset(far, 'p', sizeof(far) - 1);
    far[sizeof(far) - 1] = '\0';
    for (size_t i = 50; i < sizeof(far) - 1; i += 100)
        far[i] = '/';
    for (unsigned i = 0; i < 2 * HTML_SECTIONS_MAX; i++) {
        struct result_case *one = add_case(results, "case", RESULT_FAILED);
        for (unsigned j = 0; j < each + 3; j++) {
            ck_assert_ptr_nonnull(result_add_step(one, "expect", NULL, &error));
            ck_assert_ptr_nonnull(result_add_trouble(one, TROUBLE_BUG, NULL, &error));
            ck_assert_ptr_nonnull(result_add_attachment(one, "file", j == 0 ? far : far + 1, &error));
        }
    }
    char *page = write_page_alone(results);
    assert_is_well_formed();
    ck_assert_uint_eq(count_of(page, "<th scope=\"row\">expect"), each * HTML_SECTIONS_MAX);
    ck_assert_uint_eq(count_of(page, "<p><strong>bug"), each * HTML_SECTIONS_MAX);
    ck_assert_uint_eq(count_of(page, "\">file</a></li>"), (each - 1) * HTML_SECTIONS_MAX);
    ck_assert_uint_eq(count_of(page, "<li>file</li>"), HTML_SECTIONS_MAX);
    assert_holds(page, "<p>3 more steps are in");
    assert_holds(page, "<p>3 more troubles are in");
    assert_holds(page, "<p>3 more files are in");
    free(page);
    results_free(results);
}
END_TEST

/* ---- Whole files ---- */

static size_t count_files(void)
{
    DIR *files = opendir(scratch_folder);
    size_t count = 0;

    for (const struct dirent *entry; (entry = readdir(files)) != NULL;)
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    (void)closedir(files);
    return count;
}

/* Files cannot become larger: the disk is full, for this process. */
static void limit_files(rlim_t size)
{
    const struct rlimit limit = {size, RLIM_INFINITY};

    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

START_TEST(a_full_disk_leaves_no_parts)
{
    static const rlim_t sizes[] = {0, 100, 3000, 12000};
    struct results *results = create();
    struct result_case *one = add_case(results, "one", RESULT_FAILED);

    for (unsigned i = 0; i < 100; i++)
        ck_assert_ptr_nonnull(result_add_step(one, "expect", "login:", &error));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        limit_files(sizes[i]);
        error = (struct error){0};
        ck_assert_int_eq(report_write(results, scratch_folder, &error), -1);
        limit_files(RLIM_INFINITY);
        ck_assert_int_eq(error.kind, ERROR_HOST);
        assert_holds(error.text, scratch_folder);
        assert_holds(error.text, "cannot be written: File too large");
        ck_assert_uint_eq(count_files(), 0);
    }
    results_free(results);
}
END_TEST

START_TEST(a_full_disk_leaves_what_was_there)
{
    struct results *results = create();
    size_t length;

    free(write_page(results));
    char *before = read_all(in(REPORT_JSON), &length);
    for (unsigned i = 0; i < 100; i++)
        add_case(results, "one", RESULT_FAILED);
    limit_files(length + 10);
    ck_assert_int_eq(report_write(results, scratch_folder, &error), -1);
    ck_assert_int_eq(report_write_file(in("own.xml"), report_junit, results, &error), -1);
    limit_files(RLIM_INFINITY);
    assert_holds(error.text, "own.xml: cannot be written");
    char *after = read_all(in(REPORT_JSON), NULL);
    ck_assert_str_eq(before, after);
    ck_assert_uint_eq(count_files(), 4);
    free(before);
    free(after);
    results_free(results);
}
END_TEST

/* context: NULL to fail when half is written. */
static int write_half(const void *context, FILE *out, struct error *why)
{
    (void)fputs("half", out);
    return context != NULL ? 0 : error_set(why, ERROR_HOST, "no more");
}

static void expect_content(const char *name, const char *expected)
{
    char *text = read_all(in(name), NULL);

    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(a_writer_that_fails_leaves_what_was_there)
{
    scratch_write(in("file"), "before");
    ck_assert_int_eq(report_write_file(in("file"), write_half, NULL, &error), -1);
    ck_assert_str_eq(error.text, "no more");
    expect_content("file", "before");
    ck_assert_uint_eq(count_files(), 1);
    ck_assert_int_eq(report_write_file(in("file"), write_half, "", &error), 0);
    expect_content("file", "half");
}
END_TEST

/* As a run leaves it that was killed in the middle. */
START_TEST(what_was_left_half_written_goes)
{
    scratch_write(in(".file.partial"), "half of something longer");
    ck_assert_int_eq(report_write_file(in("file"), write_half, "", &error), 0);
    expect_content("file", "half");
    ck_assert_uint_eq(count_files(), 1);
}
END_TEST

/* Somebody writes the same file at the same time; and it is somebody else's, or no file at all. */
START_TEST(what_others_write_is_left_alone)
{
    struct stat status;

    scratch_write(in(".file.partial"), "other");
    const int fd = open(in(".file.partial"), O_WRONLY | O_CLOEXEC);
    ck_assert_int_eq(flock(fd, LOCK_EX), 0);
    ck_assert_int_eq(report_write_file(in("file"), write_half, "", &error), 0);
    expect_content("file", "half");
    expect_content(".file.partial", "other");
    close(fd);

    ck_assert_int_eq(link(in(".file.partial"), in("second")), 0);
    ck_assert_int_eq(report_write_file(in("file"), write_half, "", &error), 0);
    expect_content("second", "other");
    ck_assert_int_eq(unlink(in("second")), 0);

    ck_assert_int_eq(rename(in(".file.partial"), in("target")), 0);
    ck_assert_int_eq(symlink("target", in(".file.partial")), 0);
    ck_assert_int_eq(report_write_file(in("file"), write_half, "", &error), 0);
    expect_content("target", "other");
    ck_assert_int_eq(unlink(in(".file.partial")), 0);

    ck_assert_int_eq(mkfifo(in(".file.partial"), 0600), 0);
    ck_assert_int_eq(report_write_file(in("file"), write_half, "", &error), 0);
    ck_assert_int_eq(lstat(in(".file.partial"), &status), 0);
    ck_assert(S_ISFIFO(status.st_mode));
    expect_content("file", "half");
    ck_assert_uint_eq(count_files(), 3);
}
END_TEST

START_TEST(devices_pipes_and_links_are_written_to)
{
    struct results *results = create();
    struct stat status;
    char got[8] = "";

    /* Through a link of our own: code that replaces what it should write to must not do that to the host's device. */
    ck_assert_int_eq(symlink("/dev/full", in("full")), 0);
    ck_assert_int_eq(report_write_file(in("full"), report_json, results, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_HOST);
    assert_holds(error.text, "/full: cannot be written: No space left on device");
    ck_assert_int_eq(lstat(in("full"), &status), 0);
    ck_assert(S_ISLNK(status.st_mode));
    scratch_write(in("target"), "old");
    ck_assert_int_eq(symlink("target", in("link")), 0);
    ck_assert_int_eq(report_write_file(in("link"), report_tap, results, &error), 0);
    expect_content("target", "TAP version 13\n1..0\n");
    ck_assert_int_eq(lstat(in("link"), &status), 0);
    ck_assert(S_ISLNK(status.st_mode));
    ck_assert_int_eq(mkfifo(in("pipe"), 0600), 0);
    const int fd = open(in("pipe"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_eq(report_write_file(in("pipe"), write_half, "", &error), 0);
    ck_assert_int_eq(read(fd, got, sizeof(got)), 4);
    ck_assert_str_eq(got, "half");
    close(fd);
    ck_assert_int_eq(lstat(in("pipe"), &status), 0);
    ck_assert(S_ISFIFO(status.st_mode));
    results_free(results);
}
END_TEST

START_TEST(standard_output)
{
    struct results *results = create();
    const int saved = dup(STDOUT_FILENO);
    const int out = open(in("out"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    (void)fflush(stdout);
    ck_assert_int_ge(dup2(out, STDOUT_FILENO), 0);
    (void)printf("# first\n");
    const int result = report_write_file("-", report_tap, results, &error);
    (void)printf("# last\n");
    (void)fflush(stdout);
    (void)dup2(saved, STDOUT_FILENO);
    close(out);
    close(saved);
    ck_assert_int_eq(result, 0);
    char *text = read_all(in("out"), NULL);
    ck_assert_str_eq(text, "# first\nTAP version 13\n1..0\n# last\n");
    free(text);
    results_free(results);
}
END_TEST

START_TEST(a_folder_that_is_not_there)
{
    struct results *results = create();
    struct stat status;
    const mode_t mask = umask(027);

    ck_assert_int_eq(report_write(results, in("none"), &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    assert_holds(error.text, "/none/results.json: cannot be made: No such file or directory");
    ck_assert_int_eq(report_write_file(in("none/x"), report_json, results, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    /* However long its name, and whatever a terminal would make of it, the reason is there. */
    char name[1024];
    memset(name, 'n', sizeof(name));
    (void)strcpy(name + sizeof(name) - 16, "/\x1b[31m/x");
    ck_assert_int_eq(report_write_file(name, report_json, results, &error), -1);
    assert_holds(error.text, "n/\\x1b[31m/x: cannot be made: ");
    /* As any program's files are. */
    ck_assert_int_eq(report_write_file(in("x"), report_json, results, &error), 0);
    ck_assert_int_eq(stat(in("x"), &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0640);
    (void)umask(mask);
    results_free(results);
}
END_TEST

/* ---- And back ---- */

START_TEST(results_come_back_as_they_were)
{
    struct results *results = create_fixture();

    ck_assert_int_eq(report_write_file(in("first.json"), report_json, results, &error), 0);
    struct results *again = results_read_json(in("first.json"), &error);
    ck_assert_msg(again != NULL, "%s", error.text);
    ck_assert_int_eq(report_write_file(in("second.json"), report_json, again, &error), 0);
    char *first = read_all(in("first.json"), NULL);
    char *second = read_all(in("second.json"), NULL);
    ck_assert_str_eq(first, second);
    ck_assert_uint_eq(again->cases[1]->steps[2].duration_ns, 9200000000u);
    ck_assert_uint_eq(again->cases[9]->trouble[0].line, 30002);
    free(first);
    free(second);
    results_free(again);
    results_free(results);
}
END_TEST

START_TEST(all_times_come_back)
{
    struct results *results = create();
    struct result_case *one = add_case(results, "one", RESULT_PASSED);
    uint64_t ns = 1;

    for (unsigned i = 0; i < 2000; i++) {
        struct result_step *step = result_add_step(one, "expect", NULL, &error);
        step->start_ns = ns % 2000000000000000u;
        ns = ns * 6364136223846793005u + 1442695040888963407u;
    }
    ck_assert_int_eq(report_write_file(in("x.json"), report_json, results, &error), 0);
    struct results *again = results_read_json(in("x.json"), &error);
    ck_assert_msg(again != NULL, "%s", error.text);
    for (size_t i = 0; i < one->step_count; i++)
        ck_assert_uint_eq(again->cases[0]->steps[i].start_ns, one->steps[i].start_ns);
    results_free(again);
    results_free(results);
}
END_TEST

/* That of a merged report may be of weeks; to the microsecond, it is what it was. */
START_TEST(the_time_of_many_machines_comes_back)
{
    static const uint64_t times[] = {2000000000000001u, 2000000000001000u, 987654321123456000u, RESULTS_READ_NS_MAX};
    struct results *results = create();

    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        results->duration_ns = times[i];
        ck_assert_int_eq(report_write_file(in("x.json"), report_json, results, &error), 0);
        struct results *again = results_read_json(in("x.json"), &error);
        ck_assert_msg(again != NULL, "%s", error.text);
        ck_assert_uint_eq(again->duration_ns, times[i] / 1000 * 1000);
        results_free(again);
    }
    results_free(results);
}
END_TEST

/* Good results, of which one place is replaced. */
static const char good[] =
    "{\"format\": 1, \"suite\": null, \"started\": 5, \"duration\": 1.5, \"tally\": {\"not run\": 0, \"passed\": 0, "
    "\"failed\": 1, \"skipped\": 0, \"broken\": 0}, \"cases\": [{\"name\": \"a\", \"file\": \"f\", \"status\": "
    "\"failed\", "
    "\"started\": 6, \"duration\": 2, \"message\": null, \"console\": null, \"steps\": [{\"kind\": \"expect\", "
    "\"title\": "
    "\"t\", \"status\": \"passed\", \"start\": 0.25, \"duration\": 0.5, \"message\": null, \"detail\": null}], "
    "\"subtests\": [{\"name\": \"s\", \"status\": \"timed out\", \"reason\": null, \"diagnostics\": null}], "
    "\"trouble\": "
    "[{\"kind\": \"panic\", \"line\": 7, \"at\": 1, \"text\": \"x\", \"tolerated\": false}], \"attachments\": "
    "[{\"name\": "
    "\"n\", \"path\": \"p\"}]}]}";

static const struct {
    const char *from;
    const char *to;
    const char *said;
} wrongs[] = {
    {"\"format\": 1", "\"format\": 2", "format: 1 was expected"},
    {"\"format\": 1", "\"format\": \"1\"", "format: 1 was expected"},
    {"\"format\": 1, ", "", "format: 1 was expected"},
    {"{\"not run\": 0, \"passed\": 0, \"failed\": 1, \"skipped\": 0, \"broken\": 0}", "[1]",
     "tally: an object was expected"},
    {"\"suite\": null", "\"suite\": 7", "suite: a text or null was expected"},
    {"\"suite\": null, ", "", "suite: is not there"},
    {"\"suite\": null", "\"suite\": null, \"x\\u001b\": 1", "x\\x1b: nobody knows this key"},
    {"\"suite\": null", "\"suite\": null, \"suite\": null", "duplicate object key"},
    {"\"suite\": null", "\"suite\": \"a\\u0000b\"", "is no JSON"},
    {"\"suite\": null", "\"suite\": \"\\ud800\"", "is no JSON"},
    {"\"duration\": 1.5", "\"duration\": -1", "duration: seconds from 0 to 2000000 were expected"},
    {"\"duration\": 1.5", "\"duration\": 1e300", "duration: seconds from 0 to 1000000000 were expected"},
    {"\"duration\": 2,", "\"duration\": 2000001,", "cases[0].duration: seconds from 0 to 2000000 were expected"},
    {"\"duration\": 1.5", "\"duration\": 1e999", "is no JSON"},
    {"\"started\": 5", "\"started\": -5", "started: a number from 0 on was expected"},
    {"\"started\": 5", "\"started\": 5.0", "started: a number from 0 on was expected"},
    {"\"failed\": 1", "\"failed\": 2", "tally: there are 1 cases that are failed"},
    {"\"passed\": 0", "\"odd\": 0", "tally.passed: is not there"},
    {"\"cases\": [", "\"cases\": [7, ", "cases[0]: an object was expected"},
    {"\"name\": \"a\"", "\"name\": null", "cases[0].name: a text was expected"},
    {"\"status\": \"failed\"", "\"status\": \"fine\"", "cases[0].status: \"fine\" is none that is known"},
    {"\"file\": \"f\"", "\"file\": []", "cases[0].file: a text or null was expected"},
    {"\"steps\": [", "\"steps\": 3, \"x\": [", "cases[0].x: nobody knows this key"},
    {"\"kind\": \"expect\"", "\"kind\": 3", "cases[0].steps[0].kind: a text was expected"},
    {"\"start\": 0.25", "\"start\": \"0.25\"", "cases[0].steps[0].start: seconds"},
    {"\"status\": \"timed out\"", "\"status\": \"\"", "cases[0].subtests[0].status: \"\" is none"},
    {"\"kind\": \"panic\"", "\"kind\": \"anic\"", "cases[0].trouble[0].kind: \"anic\" is no kind of trouble"},
    {"\"line\": 7", "\"line\": -7", "cases[0].trouble[0].line: a number from 0 on"},
    {"\"tolerated\": false", "\"tolerated\": 0", "cases[0].trouble[0].tolerated: true or false"},
    {"\"path\": \"p\"", "\"path\": null", "cases[0].attachments[0].path: a text was expected"},
    {"}]}]}", "}]}]}x", "is no JSON"},
    {"}]}]}", "}]}]", "is no JSON"},
};

START_TEST(what_is_no_results_is_refused)
{
    char text[4096];
    struct results *results = results_read_text("good.json", good, strlen(good), &error);

    ck_assert_msg(results != NULL, "%s", error.text);
    results_free(results);
    const char *from = wrongs[_i].from;
    const char *at = strstr(good, from);
    ck_assert_ptr_nonnull(at);
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, wrongs[_i].to, at + strlen(from));
    ck_assert_ptr_null(results_read_text("bad.json", text, strlen(text), &error));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_int_eq(strncmp(error.text, "bad.json:", 9), 0);
    if (strstr(error.text, wrongs[_i].said) == NULL)
        ck_abort_msg("%s\nis not: %s", error.text, wrongs[_i].said);
}
END_TEST

START_TEST(bounds_of_what_is_read)
{
    /* With a bracket for the first comma, and one for the last. */
    const size_t length = 2 * (RESULTS_READ_VALUES + 2);
    char *text = malloc(length);

    for (size_t i = 0; i < length; i += 2)
        memcpy(text + i, "1,", 2);
    text[0] = '[';
    text[1] = '1';
    text[length - 1] = ']';
    ck_assert_ptr_null(results_read_text("many", text, length, &error));
    assert_holds(error.text, "many: has more values than any results");
    memset(text, '[', 100000);
    memset(text + 100000, ']', 100000);
    ck_assert_ptr_null(results_read_text("deep", text, 200000, &error));
    assert_holds(error.text, "is no JSON: maximum parsing depth reached");
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    /* What stands in a text is not counted. */
    memset(text, ',', length);
    memcpy(text, "[\"\\\"", 4);
    memcpy(text + length - 2, "\"]", 2);
    ck_assert_ptr_null(results_read_text("text", text, length, &error));
    assert_holds(error.text, "format: 1 was expected");
    free(text);
    const int fd = open(in("large"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(ftruncate(fd, (off_t)RESULTS_READ_MAX + 1), 0);
    close(fd);
    ck_assert_ptr_null(results_read_json(in("large"), &error));
    assert_holds(error.text, "/large: cannot be read: File too large");
    ck_assert_ptr_null(results_read_json(in("none"), &error));
    assert_holds(error.text, "/none: cannot be read: No such file or directory");
    ck_assert_int_eq(mkfifo(in("pipe"), 0600), 0);
    ck_assert_ptr_null(results_read_json(in("pipe"), &error));
    ck_assert_ptr_null(results_read_json(scratch_folder, &error));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("report");
    TCase *page = tcase_create("page");
    TCase *files = tcase_create("files");
    TCase *back = tcase_create("back");

    tcase_add_checked_fixture(page, setup, scratch_folder_remove);
    tcase_add_test(page, the_page_says_what_came_of_it);
    tcase_add_test(page, the_page_shows_the_console);
    tcase_add_test(page, the_page_shows_where_the_time_went);
    tcase_add_test(page, the_page_has_the_memory_map_as_an_image);
    tcase_add_test(page, guests_cannot_write_the_page);
    tcase_add_test(page, a_page_of_nothing);
    tcase_add_test(page, a_page_of_what_is_not_known);
    tcase_add_test(page, no_file_is_shown_that_is_elsewhere);
    tcase_add_test(page, lines_and_their_times);
    tcase_add_test(page, phases_and_silences);
    tcase_add_test(page, no_character_is_cut);
    tcase_add_test(page, what_ends_too_late_stays_in_the_picture);
    tcase_add_test(page, a_console_is_cut_to_its_bounds);
    tcase_add_test(page, many_large_cases_make_a_page_that_can_be_used);
    tcase_add_test(page, very_many_cases);
    tcase_add_test(page, what_cases_consist_of_is_shared_out);
    tcase_set_timeout(page, 120);
    suite_add_tcase(all, page);

    tcase_add_checked_fixture(files, setup, scratch_folder_remove);
    tcase_add_test(files, a_full_disk_leaves_no_parts);
    tcase_add_test(files, a_full_disk_leaves_what_was_there);
    tcase_add_test(files, a_writer_that_fails_leaves_what_was_there);
    tcase_add_test(files, what_was_left_half_written_goes);
    tcase_add_test(files, what_others_write_is_left_alone);
    tcase_add_test(files, devices_pipes_and_links_are_written_to);
    tcase_add_test(files, standard_output);
    tcase_add_test(files, a_folder_that_is_not_there);
    suite_add_tcase(all, files);

    tcase_add_checked_fixture(back, setup, scratch_folder_remove);
    tcase_add_test(back, results_come_back_as_they_were);
    tcase_add_test(back, all_times_come_back);
    tcase_add_test(back, the_time_of_many_machines_comes_back);
    tcase_add_loop_test(back, what_is_no_results_is_refused, 0, sizeof(wrongs) / sizeof(wrongs[0]));
    tcase_add_test(back, bounds_of_what_is_read);
    tcase_set_timeout(back, 60);
    suite_add_tcase(all, back);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
