/*
 * The console as it comes: lines and their bounds, escape sequences, what a step expects, trouble; and that nothing of
 * it depends on the portions in which the bytes arrive.
 */
#include "vmm/scenario/console_watch.h"

#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LITERAL(text) text, sizeof(text) - 1

/* What the callbacks were given. */
struct record {
    char lines[4096];
    size_t lines_length;
    size_t line_count;
    size_t sink_length;
};

static struct record record;
static struct console_watch *watch;

static void keep_line(void *opaque, const struct console_line *line)
{
    struct record *kept = opaque;

    kept->line_count++;
    if (kept->lines_length + line->length + 2 > sizeof(kept->lines))
        return;
    memcpy(kept->lines + kept->lines_length, line->text, line->length);
    kept->lines_length += line->length;
    kept->lines[kept->lines_length++] = '|';
}

static void keep_bytes(void *opaque, const char *bytes, size_t length)
{
    (void)bytes;
    ((struct record *)opaque)->sink_length += length;
}

static void setup(void)
{
    const struct console_watch_options options = {.sink = keep_bytes, .line = keep_line, .opaque = &record};
    struct error error;

    memset(&record, 0, sizeof(record));
    watch = console_watch_create(&options, &error);
    ck_assert_ptr_nonnull(watch);
}

static void teardown(void)
{
    console_watch_free(watch);
}

static void feed(const char *text)
{
    console_watch_feed(watch, 1, text, strlen(text));
}

static struct pattern *compile(const char *text)
{
    struct pattern_failure failure;
    struct pattern *pattern = pattern_compile(text, &failure);

    ck_assert_ptr_nonnull(pattern);
    return pattern;
}

/* ---- Lines ---- */

START_TEST(lines_end_with_any_of_three)
{
    static const char text[] = "one\ntwo\r\nthree\rfour\n\nsix\r\n\r\n\rend";

    for (size_t portion = 1; portion <= sizeof(text); portion++) {
        teardown();
        setup();
        for (size_t i = 0; i < sizeof(text) - 1; i += portion) {
            const size_t left = sizeof(text) - 1 - i;
            console_watch_feed(watch, i, text + i, left < portion ? left : portion);
        }
        console_watch_finish(watch);
        ck_assert_str_eq(record.lines, "one|two|three|four||six|||end|");
        ck_assert_uint_eq(record.sink_length, sizeof(text) - 1);
        ck_assert_uint_eq(console_watch_lines(watch), 9);
        ck_assert_uint_eq(console_watch_bytes(watch), sizeof(text) - 1);
    }
}
END_TEST

START_TEST(escape_sequences_are_taken_out)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *text;
    } cases[] = {
        {LITERAL("\x1b[0;32m  OK  \x1b[0m] Started\n"), "  OK  ] Started|"},
        {LITERAL("\x1b]0;root@host: ~\x07root# \n"), "root# |"},
        {LITERAL("\x1b]0;title\x1b\\x\n"), "x|"},
        {LITERAL("\x1b(Ba\x1b=b\x1b"
                 "7c\n"),
         "abc|"},
        {LITERAL("\x1b[?2004hsh\n"), "sh|"},
        {LITERAL("a\0b\n"), "ab|"},
        {LITERAL("tab\there\n"), "tab\there|"},
        /* These are none: nothing is swallowed. */
        {LITERAL("\x1b]0;never closed\nnext\n"), "]0;never closed|next|"},
        {LITERAL("\x1b[12\nnext\n"), "[12|next|"},
        {LITERAL("\x1b\nnext\n"), "|next|"},
        {LITERAL("\x1b[1\x1b[0mx\n"), "[1x|"},
        {LITERAL("\x1b[1\x01x\n"), "[1\x01x|"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t portion = 1; portion <= cases[i].length; portion++) {
            teardown();
            setup();
            for (size_t at = 0; at < cases[i].length; at += portion) {
                const size_t left = cases[i].length - at;
                console_watch_feed(watch, 1, cases[i].bytes + at, left < portion ? left : portion);
            }
            ck_assert_str_eq(record.lines, cases[i].text);
        }
    }
}
END_TEST

START_TEST(an_endless_escape_sequence_is_text_again)
{
    struct console_line line;
    char title[600];

    memset(title, 't', sizeof(title));
    feed("\x1b]");
    console_watch_feed(watch, 1, title, sizeof(title));
    feed("\n");
    ck_assert(console_watch_tail(watch, 0, &line));
    ck_assert_uint_eq(line.length, sizeof(title) + 1);
}
END_TEST

START_TEST(a_long_line_becomes_several)
{
    enum { SIZE = 3 * CONSOLE_LINE_MAX + 5 };
    struct console_line line;
    char *bytes = malloc(SIZE);

    memset(bytes, 'x', SIZE);
    console_watch_feed(watch, 1, bytes, SIZE);
    ck_assert_uint_eq(record.line_count, 3);
    feed("\nnext\n");
    ck_assert_uint_eq(record.line_count, 5);
    ck_assert(console_watch_tail(watch, 1, &line));
    ck_assert_uint_eq(line.length, 5);
    ck_assert(line.continues);
    ck_assert(console_watch_tail(watch, 4, &line));
    ck_assert_uint_eq(line.length, CONSOLE_LINE_MAX);
    ck_assert(!line.continues);
    ck_assert(console_watch_tail(watch, 0, &line));
    ck_assert(!line.continues);
    /* Exactly as long as can be. */
    console_watch_feed(watch, 1, bytes, CONSOLE_LINE_MAX);
    feed("\n");
    ck_assert_uint_eq(record.line_count, 6);
    free(bytes);
}
END_TEST

START_TEST(lines_have_times)
{
    struct console_line line;

    console_watch_feed(watch, 10, "a", 1);
    console_watch_feed(watch, 20, "b\nc", 3);
    console_watch_feed(watch, 30, "\nd\n", 3);
    ck_assert(console_watch_tail(watch, 2, &line));
    ck_assert_uint_eq(line.at_ns, 10);
    ck_assert_uint_eq(line.number, 1);
    ck_assert(console_watch_tail(watch, 1, &line));
    ck_assert_uint_eq(line.at_ns, 20);
    ck_assert(console_watch_tail(watch, 0, &line));
    ck_assert_uint_eq(line.at_ns, 30);
    ck_assert(!console_watch_tail(watch, 3, &line));
}
END_TEST

START_TEST(what_is_kept_is_bounded)
{
    struct console_line line;
    char text[64];
    size_t kept = 0;

    for (unsigned i = 1; i <= 100000; i++) {
        (void)snprintf(text, sizeof(text), "line %u of very, very many\n", i);
        feed(text);
    }
    while (console_watch_tail(watch, kept, &line)) {
        (void)snprintf(text, sizeof(text), "line %zu of very, very many", 100000 - kept);
        ck_assert_uint_eq(line.length, strlen(text));
        ck_assert_mem_eq(line.text, text, line.length);
        kept++;
    }
    ck_assert_uint_eq(kept, CONSOLE_KEPT_LINES);
}
END_TEST

START_TEST(long_lines_are_kept_within_the_bytes)
{
    enum { SIZE = 50000 };
    struct console_line line;
    char *text = malloc(SIZE + 1);
    size_t kept = 0;

    for (unsigned i = 0; i < 100; i++) {
        memset(text, 'a' + (int)(i % 26), SIZE - i);
        text[SIZE - i] = '\n';
        console_watch_feed(watch, 1, text, SIZE - i + 1);
    }
    for (; console_watch_tail(watch, kept, &line); kept++) {
        ck_assert_uint_eq(line.length, SIZE - (99 - kept));
        memset(text, 'a' + (int)((99 - kept) % 26), line.length);
        ck_assert_mem_eq(line.text, text, line.length);
    }
    ck_assert_uint_ge(kept, CONSOLE_KEPT_MAX / SIZE - 2);
    ck_assert_uint_le(kept, CONSOLE_KEPT_MAX / SIZE + 1);
    free(text);
}
END_TEST

/* ---- Expecting ---- */

static void assert_capture(size_t index, const char *expected)
{
    const char *text;
    size_t length;

    ck_assert(console_watch_capture(watch, index, &text, &length));
    ck_assert_uint_eq(length, strlen(expected));
    ck_assert_mem_eq(text, expected, length);
}

START_TEST(each_search_goes_on_behind_the_last_match)
{
    struct pattern *version = compile("(?<version>\\d+\\.\\d+)");
    const char *text = "Linux 6.1 on 7.2\nand 8.3";

    feed(text);
    console_watch_expect(watch, version, NULL, 0);
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_FOUND);
    assert_capture(0, "6.1");
    ck_assert_uint_eq(console_watch_match(watch).number, 1);
    console_watch_expect(watch, version, NULL, 0);
    assert_capture(0, "7.2");
    console_watch_expect(watch, version, NULL, 0);
    /* "8.31" is possible. */
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_WAITING);
    feed("4 ");
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_FOUND);
    assert_capture(0, "8.34");
    console_watch_expect(watch, version, NULL, 0);
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_WAITING);
    console_watch_expect(watch, NULL, NULL, 0);
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_IDLE);
    pattern_free(version);
}
END_TEST

START_TEST(portions_do_not_matter)
{
    static const char text[] = "[    0.1] Linux version 6.12.3 (x)\r\n\x1b[1mhost login: ";
    struct pattern *version = compile("version (?<v>\\S+)");
    struct pattern *login = compile("login: ");

    for (size_t portion = 1; portion < sizeof(text); portion++) {
        teardown();
        setup();
        console_watch_expect(watch, version, NULL, 0);
        for (size_t i = 0; i < sizeof(text) - 1; i += portion) {
            const size_t left = sizeof(text) - 1 - i;
            console_watch_feed(watch, i, text + i, left < portion ? left : portion);
            if (console_watch_state(watch) == CONSOLE_FOUND && console_watch_match(watch).number == 1) {
                assert_capture(0, "6.12.3");
                console_watch_expect(watch, login, NULL, 0);
            }
        }
        ck_assert_int_eq(console_watch_state(watch), CONSOLE_FOUND);
        ck_assert_uint_eq(console_watch_match(watch).number, 2);
    }
    pattern_free(version);
    pattern_free(login);
}
END_TEST

START_TEST(a_quiet_console_decides_a_prompt)
{
    struct pattern *prompt = compile("# $");

    console_watch_expect(watch, prompt, NULL, 0);
    feed("# not yet\n/ # ");
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_WAITING);
    console_watch_settle(watch);
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_FOUND);
    ck_assert_uint_eq(console_watch_match(watch).number, 2);
    /* The echo behind it is still there to be found. */
    struct pattern *echo = compile("^/ # ls$");
    struct pattern *rest = compile("ls$");
    feed("ls\n");
    console_watch_expect(watch, echo, NULL, 0);
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_WAITING);
    pattern_free(echo);
    pattern_free(prompt);
    pattern_free(rest);
}
END_TEST

START_TEST(a_forbidden_pattern_ends_the_search)
{
    struct pattern *wanted = compile("ready");
    struct pattern *forbidden[] = {compile("never"), compile("fail\\w*")};

    feed("failed before\n");
    console_watch_skip(watch);
    console_watch_expect(watch, wanted, forbidden, 2);
    feed("all is well\n");
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_WAITING);
    feed("ready to fail\n");
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_FOUND);
    console_watch_expect(watch, wanted, forbidden, 2);
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_FORBIDDEN);
    ck_assert_uint_eq(console_watch_forbidden(watch), 1);
    ck_assert_uint_eq(console_watch_match(watch).number, 3);
    pattern_free(wanted);
    pattern_free(forbidden[0]);
    pattern_free(forbidden[1]);
}
END_TEST

START_TEST(a_forbidden_pattern_in_front_counts_in_any_portions)
{
    static const char text[] = "x fail: not ready\n";
    struct pattern *wanted = compile("ready");
    struct pattern *forbidden[] = {compile("fail.*\\n?$")};

    for (size_t portion = 1; portion < sizeof(text); portion++) {
        teardown();
        setup();
        console_watch_expect(watch, wanted, forbidden, 1);
        for (size_t i = 0; i < sizeof(text) - 1; i += portion) {
            const size_t left = sizeof(text) - 1 - i;
            console_watch_feed(watch, i, text + i, left < portion ? left : portion);
        }
        ck_assert_int_eq(console_watch_state(watch), CONSOLE_FORBIDDEN);
    }
    pattern_free(wanted);
    pattern_free(forbidden[0]);
}
END_TEST

START_TEST(lines_that_nobody_could_search_are_counted)
{
    struct pattern *pattern = compile("line");

    for (unsigned i = 0; i < CONSOLE_KEPT_LINES + 10; i++)
        feed("line\n");
    console_watch_expect(watch, pattern, NULL, 0);
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_FOUND);
    ck_assert_uint_eq(console_watch_missed(watch), 10);
    ck_assert_uint_eq(console_watch_match(watch).number, 11);
    pattern_free(pattern);
}
END_TEST

START_TEST(a_pattern_that_takes_too_long_fails_by_name)
{
    struct pattern *pattern = compile("(x+x+)+[yz]");
    char bytes[5000];

    memset(bytes, 'x', sizeof(bytes));
    console_watch_expect(watch, pattern, NULL, 0);
    console_watch_feed(watch, 1, bytes, sizeof(bytes));
    feed("\n");
    ck_assert_int_eq(console_watch_state(watch), CONSOLE_FAILED);
    ck_assert_ptr_nonnull(strstr(console_watch_error(watch)->text, "(x+x+)+[yz]"));
    pattern_free(pattern);
}
END_TEST

/* ---- Trouble ---- */

START_TEST(trouble_is_seen_whatever_is_expected)
{
    const char *text =
        "[    4.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\r\n[    5.0] Kernel panic - not syncing: x\r\n";

    console_watch_feed(watch, 7, text, strlen(text));
    ck_assert_uint_eq(console_watch_trouble_total(watch), 2);
    ck_assert_uint_eq(console_watch_trouble_count(watch, TROUBLE_WARNING), 1);
    ck_assert_uint_eq(console_watch_trouble_count(watch, TROUBLE_PANIC), 1);
    ck_assert_uint_eq(console_watch_trouble(watch, 1)->line, 2);
    ck_assert_uint_eq(console_watch_trouble(watch, 1)->at_ns, 7);
    ck_assert_str_eq(console_watch_trouble(watch, 1)->text, "[    5.0] Kernel panic - not syncing: x");
    ck_assert_ptr_null(console_watch_trouble(watch, 2));
}
END_TEST

/* Each is an attempt of a process in the guest to have the kernel's next line overlooked. */
START_TEST(nothing_hides_trouble)
{
    static const char panic[] = "Kernel panic - not syncing: hidden\n";
    static const char *const veils[] = {
        "\x1b",   "\x1b[",   "\x1b[1;", "\x1b]0;", "\x1bP", "\x1b(",        "\r",
        "\b\b\b", "\x1b[8m", "\x1b[2J", "x",       "# ",    "\x1b]0;a\x1b",
    };
    char *filler = malloc(2 * CONSOLE_LINE_MAX);

    for (size_t i = 0; i < sizeof(veils) / sizeof(veils[0]); i++) {
        for (size_t portion = 1; portion <= sizeof(panic); portion += 3) {
            teardown();
            setup();
            feed(veils[i]);
            for (size_t at = 0; at < sizeof(panic) - 1; at += portion) {
                const size_t left = sizeof(panic) - 1 - at;
                console_watch_feed(watch, 1, panic + at, left < portion ? left : portion);
            }
            ck_assert_uint_eq(console_watch_trouble_total(watch), 1);
        }
    }
    /* Where a long line is cut, and a zero in the filler. */
    memset(filler, 'x', 2 * CONSOLE_LINE_MAX);
    filler[77] = '\0';
    for (size_t before = CONSOLE_LINE_MAX - 40; before < CONSOLE_LINE_MAX + 5; before++) {
        teardown();
        setup();
        console_watch_feed(watch, 1, filler, before);
        if (before % 2 == 0)
            feed(panic);
        else
            for (size_t i = 0; i < sizeof(panic) - 1; i++)
                console_watch_feed(watch, 1, panic + i, 1);
        ck_assert_uint_eq(console_watch_trouble_total(watch), 1);
        ck_assert_ptr_nonnull(strstr(console_watch_trouble(watch, 0)->text, "not syncing"));
    }
    free(filler);
}
END_TEST

/* A line that is cut counts once for each piece: which piece a trouble is in does not depend on what came with it. */
START_TEST(trouble_in_a_long_line_counts_in_any_portions)
{
    enum { SIZE = 2 * CONSOLE_LINE_MAX };
    static const char bug[] = "BUG: at the start";
    static const char panic[] = "Kernel panic - not syncing";
    char *line = malloc(SIZE);

    for (size_t before = CONSOLE_LINE_MAX - 40; before < CONSOLE_LINE_MAX + TROUBLE_REACH; before += 8) {
        uint64_t totals[2];
        memset(line, '.', SIZE);
        memcpy(line, bug, strlen(bug));
        memcpy(line + before, panic, strlen(panic));
        line[SIZE - 1] = '\n';
        for (unsigned i = 0; i < 2; i++) {
            const size_t portion = i == 0 ? SIZE : 64;
            teardown();
            setup();
            for (size_t at = 0; at < SIZE; at += portion)
                console_watch_feed(watch, 1, line + at, portion);
            totals[i] = console_watch_trouble_total(watch);
        }
        ck_assert_uint_eq(totals[0], totals[1]);
    }
    free(line);
}
END_TEST

/* However slowly it comes: the kind is that of the whole line. */
START_TEST(an_unfinished_line_tells_nothing)
{
    feed("watchdog: BUG: soft lockup ");
    console_watch_settle(watch);
    ck_assert_uint_eq(console_watch_trouble_total(watch), 0);
    feed("- CPU#0 stuck for 22s! [sh:117]\n");
    ck_assert_uint_eq(console_watch_trouble_total(watch), 1);
    ck_assert_uint_eq(console_watch_trouble_count(watch, TROUBLE_SOFT_LOCKUP), 1);
    feed("BUG: the last");
    console_watch_finish(watch);
    ck_assert_uint_eq(console_watch_trouble_total(watch), 2);
}
END_TEST

START_TEST(a_flood_of_trouble_is_counted_and_bounded)
{
    for (unsigned i = 0; i < 1000; i++)
        feed("BUG: again\n");
    ck_assert_uint_eq(console_watch_trouble_total(watch), 1000);
    ck_assert_ptr_nonnull(console_watch_trouble(watch, CONSOLE_TROUBLE_MAX - 1));
    ck_assert_ptr_null(console_watch_trouble(watch, CONSOLE_TROUBLE_MAX));
}
END_TEST

START_TEST(what_is_ignored_is_no_trouble)
{
    struct pattern *const ignored[] = {compile("xstate_init\\+"), compile("no_such")};
    const struct console_watch_options options = {.ignored = ignored, .ignored_count = 2};
    struct error error;

    console_watch_free(watch);
    watch = console_watch_create(&options, &error);
    feed("[    1.0] WARNING: CPU: 0 PID: 0 at a.c:1 xstate_init+0x1/0x2\n");
    ck_assert_uint_eq(console_watch_trouble_total(watch), 0);
    ck_assert_uint_eq(console_watch_ignored(watch), 1);
    /* A process cannot have a panic ignored by what it prints in front. */
    feed("xstate_init+ Kernel panic - not syncing: x\n");
    ck_assert_uint_eq(console_watch_trouble_total(watch), 1);
    /* What is ignored takes no room from what is not. */
    for (unsigned i = 0; i < 2 * CONSOLE_TROUBLE_MAX; i++)
        feed("BUG: xstate_init+\n");
    feed("BUG: another\n");
    ck_assert_uint_eq(console_watch_trouble_total(watch), 2);
    ck_assert_str_eq(console_watch_trouble(watch, 1)->text, "BUG: another");
    teardown();
    watch = NULL;
    pattern_free(ignored[0]);
    pattern_free(ignored[1]);
}
END_TEST

/* Logs of real boots. */
START_TEST(recorded_logs)
{
    static const struct {
        const char *name;
        uint64_t counts[TROUBLE_KIND_COUNT];
        const char *expect;
    } logs[] = {
        {"systemd-6.1.log", {0}, "Welcome to (?<name>\\S+)"},
        {"kunit-6.12.log", {0}, "KTAP version 1"},
        {"warning-6.12.log", {[TROUBLE_WARNING] = 1}, "Linux version 6\\.12\\."},
        {"sysrq-crash-6.12.log", {[TROUBLE_PANIC] = 1}, "sysrq: Trigger a crash$"},
        {"kunit-panic.log", {[TROUBLE_PAGE_FAULT] = 1, [TROUBLE_OOPS] = 1, [TROUBLE_PANIC] = 2}, "#PF: "},
    };

    for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++) {
        char path[256];
        char bytes[1000];
        size_t count;
        teardown();
        setup();
        (void)snprintf(path, sizeof(path), SOURCE_FOLDER "/tests/scenarios/logs/%s", logs[i].name);
        FILE *file = fopen(path, "r");
        struct pattern *pattern = compile(logs[i].expect);
        ck_assert_ptr_nonnull(file);
        while ((count = fread(bytes, 1, sizeof(bytes), file)) > 0)
            console_watch_feed(watch, 1, bytes, count);
        (void)fclose(file);
        console_watch_finish(watch);
        for (int kind = 0; kind < TROUBLE_KIND_COUNT; kind++)
            ck_assert_uint_eq(console_watch_trouble_count(watch, (enum trouble_kind)kind), logs[i].counts[kind]);
        console_watch_expect(watch, pattern, NULL, 0);
        ck_assert_int_eq(console_watch_state(watch), CONSOLE_FOUND);
        pattern_free(pattern);
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("console_watch");
    TCase *lines = tcase_create("lines");
    TCase *expecting = tcase_create("expecting");
    TCase *trouble = tcase_create("trouble");

    tcase_add_checked_fixture(lines, setup, teardown);
    tcase_add_test(lines, lines_end_with_any_of_three);
    tcase_add_test(lines, escape_sequences_are_taken_out);
    tcase_add_test(lines, an_endless_escape_sequence_is_text_again);
    tcase_add_test(lines, a_long_line_becomes_several);
    tcase_add_test(lines, lines_have_times);
    tcase_add_test(lines, what_is_kept_is_bounded);
    tcase_add_test(lines, long_lines_are_kept_within_the_bytes);
    tcase_set_timeout(lines, 60);
    suite_add_tcase(all, lines);
    tcase_add_checked_fixture(expecting, setup, teardown);
    tcase_add_test(expecting, each_search_goes_on_behind_the_last_match);
    tcase_add_test(expecting, portions_do_not_matter);
    tcase_add_test(expecting, a_quiet_console_decides_a_prompt);
    tcase_add_test(expecting, a_forbidden_pattern_ends_the_search);
    tcase_add_test(expecting, a_forbidden_pattern_in_front_counts_in_any_portions);
    tcase_add_test(expecting, lines_that_nobody_could_search_are_counted);
    tcase_add_test(expecting, a_pattern_that_takes_too_long_fails_by_name);
    tcase_set_timeout(expecting, 60);
    suite_add_tcase(all, expecting);
    tcase_add_checked_fixture(trouble, setup, teardown);
    tcase_add_test(trouble, trouble_is_seen_whatever_is_expected);
    tcase_add_test(trouble, nothing_hides_trouble);
    tcase_add_test(trouble, trouble_in_a_long_line_counts_in_any_portions);
    tcase_add_test(trouble, what_is_ignored_is_no_trouble);
    tcase_add_test(trouble, recorded_logs);
    tcase_add_test(trouble, an_unfinished_line_tells_nothing);
    tcase_add_test(trouble, a_flood_of_trouble_is_counted_and_bounded);
    tcase_set_timeout(trouble, 60);
    suite_add_tcase(all, trouble);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
