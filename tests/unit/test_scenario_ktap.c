/*
 * KTAP as kernels print it, and as nobody should: cut short, not as planned, too deep, too much.
 */
#include "vmm/scenario/ktap.h"

#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ktap *create(void)
{
    struct error error;
    struct ktap *ktap = ktap_create(&error);

    ck_assert_ptr_nonnull(ktap);
    return ktap;
}

static struct ktap *parse(const char *text)
{
    struct ktap *ktap = create();

    ktap_bytes(ktap, text, strlen(text));
    ktap_finish(ktap);
    return ktap;
}

/* A log of tests/scenarios/logs/, which a kernel printed, through a file. */
static struct ktap *parse_log(const char *name)
{
    struct ktap *ktap = create();
    char path[256];
    char bytes[512];
    size_t count;

    (void)snprintf(path, sizeof(path), SOURCE_FOLDER "/tests/scenarios/logs/%s", name);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while ((count = fread(bytes, 1, sizeof(bytes), file)) > 0)
        ktap_bytes(ktap, bytes, count);
    (void)fclose(file);
    ktap_finish(ktap);
    return ktap;
}

static void assert_results(const struct ktap *ktap, const char *expected)
{
    char path[KTAP_PATH_SIZE];
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    for (size_t i = 0; i < ktap_count(ktap); i++) {
        const struct ktap_result result = ktap_result(ktap, i);
        fprintf(out, "%s%s: %s%s%s\n", ktap_path(ktap, i, path), result.is_suite ? "/" : "",
                ktap_status_name(result.status), result.reason[0] != '\0' ? ": " : "", result.reason);
    }
    (void)fclose(out);
    ck_assert_str_eq(text, expected);
    free(text);
}

static void assert_problem(const struct ktap *ktap, const char *expected)
{
    for (size_t i = 0; ktap_problem(ktap, i) != NULL; i++) {
        if (strcmp(ktap_problem(ktap, i), expected) == 0)
            return;
    }
    ck_abort_msg("not among the problems: %s; the first: %s", expected, ktap_problem(ktap, 0));
}

static void assert_no_problem(const struct ktap *ktap)
{
    if (ktap_problem_count(ktap) > 0)
        ck_abort_msg("%s", ktap_problem(ktap, 0));
}

START_TEST(a_plain_stream)
{
    struct ktap *ktap = parse("KTAP version 1\n1..5\nok 1 first\nok 2 - second\nnot ok 3 third\n"
                              "ok 4 fourth # SKIP no hardware\nnot ok 5 fifth # TODO later\n");

    assert_results(ktap, "first: passed\nsecond: passed\nthird: failed\nfourth: skipped: no hardware\n"
                         "fifth: known to fail: later\n");
    assert_no_problem(ktap);
    ck_assert_uint_eq(ktap_tally(ktap, KTAP_PASSED), 2);
    ck_assert(!ktap_passed(ktap));
    ktap_free(ktap);
}
END_TEST

START_TEST(directives)
{
    static const struct {
        const char *line;
        const char *result;
    } cases[] = {
        {"ok 1 a # SKIP", "a: skipped\n"},
        {"ok 1 a # skip why", "a: skipped: why\n"},
        {"not ok 1 a # SKIP why", "a: skipped: why\n"},
        {"ok 1 a # TODO", "a: passed\n"},
        {"not ok 1 a # TIMEOUT 30 seconds", "a: timed out: 30 seconds\n"},
        {"ok 1 a # TIMEOUT", "a: timed out\n"},
        {"not ok 1 a # ERROR internal", "a: ended in error: internal\n"},
        {"ok 1 a # XFAIL known", "a: known to fail: known\n"},
        {"not ok 1 a # exit=1", "a # exit=1: failed\n"},
        {"ok 1 a # SKIPPED", "a # SKIPPED: passed\n"},
        {"ok 1 a \\# SKIP b", "a \\# SKIP b: passed\n"},
        {"ok 1 # SKIP none", ": skipped: none\n"},
        {"ok 1 issue #12 # SKIP x", "issue #12: skipped: x\n"},
        {"ok 1", ": passed\n"},
        {"ok - a", "a: passed\n"},
        {"ok 1 -a", "-a: passed\n"},
        {"okay", ""},
        {"not okay", ""},
    };
    char text[128];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(text, sizeof(text), "TAP version 14\n1..1\n%s\n", cases[i].line);
        struct ktap *ktap = parse(text);
        assert_results(ktap, cases[i].result);
        ktap_free(ktap);
    }
}
END_TEST

START_TEST(subtests_have_paths)
{
    struct ktap *ktap =
        parse("KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n    KTAP version 1\n    1..1\n"
              "    # deep: initialising\n    ok 1 deep\n  ok 1 inner\n  not ok 2 other\nnot ok 1 outer\n"
              "ok 2 last\n");

    assert_results(ktap, "outer/: failed\nouter/inner/: passed\nouter/inner/deep: passed\nouter/other: failed\n"
                         "last: passed\n");
    assert_no_problem(ktap);
    ck_assert_str_eq(ktap_result(ktap, 2).diagnostics, "# deep: initialising\n");
    ck_assert_uint_eq(ktap_result(ktap, 2).depth, 2);
    ck_assert_uint_eq(ktap_tally(ktap, KTAP_PASSED), 2);
    ktap_free(ktap);
}
END_TEST

START_TEST(tap_14_names_a_subtest_one_level_up)
{
    struct ktap *ktap = parse("TAP version 14\n1..1\n# Subtest: outer\n    1..1\n    ok 1 - inner\nok 1 - outer\n");

    assert_results(ktap, "outer/: passed\nouter/inner: passed\n");
    ck_assert(ktap_passed(ktap));
    ktap_free(ktap);
}
END_TEST

START_TEST(kunit_of_a_new_kernel)
{
    struct ktap *ktap = parse_log("kunit-6.12.log");

    assert_no_problem(ktap);
    assert_results(ktap, "example/: passed\n"
                         "example/example_simple_test: passed\n"
                         "example/example_skip_test: skipped: this test should be skipped\n"
                         "example/example_mark_skipped_test: skipped: this test should be skipped\n"
                         "example/example_all_expect_macros_test: passed\n"
                         "example/example_static_stub_test: passed\n"
                         "example/example_params_test/: passed\n"
                         "example/example_params_test/example value 3: skipped: unsupported param value 3\n"
                         "example/example_params_test/example value 2: passed\n"
                         "example/example_params_test/example value 1: passed\n"
                         "example/example_params_test/example value 0: skipped: unsupported param value 0\n"
                         "example/example_slow_test: passed\n"
                         "list_sort/: passed\n"
                         "list_sort/list_sort_test: passed\n");
    ck_assert(ktap_passed(ktap));
    ktap_free(ktap);
}
END_TEST

START_TEST(kunit_of_an_old_kernel_with_a_failure)
{
    struct ktap *ktap = parse_log("kunit-5.10.log");

    assert_no_problem(ktap);
    assert_results(ktap, "sysctl_test/: passed\n"
                         "sysctl_test/sysctl_test_api_dointvec_null_tbl_data: passed\n"
                         "sysctl_test/sysctl_test_api_dointvec_table_len_is_zero: passed\n"
                         "example/: failed\n"
                         "example/example_simple_test: failed\n");
    ck_assert_ptr_nonnull(strstr(ktap_result(ktap, 4).diagnostics, "EXPECTATION FAILED"));
    ck_assert_ptr_nonnull(strstr(ktap_result(ktap, 4).diagnostics, "1 + 1 == 2"));
    ck_assert(!ktap_passed(ktap));
    ktap_free(ktap);
}
END_TEST

START_TEST(kunit_that_ends_in_a_panic)
{
    struct ktap *ktap = parse_log("kunit-panic.log");

    assert_results(ktap, "kasan/: missing\nkasan/kmalloc_oob_right: passed\n");
    assert_problem(ktap, "kasan: 3 results were planned, and 1 came");
    assert_problem(ktap, "kasan: its result is missing");
    assert_problem(ktap, "the stream: 2 results were planned, and 0 came");
    ck_assert_ptr_nonnull(strstr(ktap_result(ktap, 0).diagnostics, "Kernel panic"));
    ck_assert(!ktap_passed(ktap));
    ktap_free(ktap);
}
END_TEST

START_TEST(kselftest_output)
{
    struct ktap *ktap = parse_log("kselftest.log");

    assert_no_problem(ktap);
    assert_results(ktap, "selftests: timers: posix_timers: passed\n"
                         "selftests: timers: nanosleep # exit=1: failed\n"
                         "selftests: timers: raw_skew: skipped\n"
                         "selftests: timers: set-2038: timed out: 45 seconds\n");
    ktap_free(ktap);
}
END_TEST

START_TEST(printk_prefixes)
{
    static const char *const prefixes[] = {
        "[    0.123456] ", "[    0.123456][    T1] ", "<6>[12345.678901] ", "<6>", "[    1.000000] [   C0] ",
    };
    static const char *const lines[] = {"KTAP version 1", "1..1",  "    KTAP version 1", "    # Subtest: s", "    1..1",
                                        "    ok 1 a",     "ok 1 s"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        struct ktap *ktap = create();
        char line[128];
        for (size_t j = 0; j < sizeof(lines) / sizeof(lines[0]); j++) {
            ck_assert(!ktap_is_complete(ktap));
            (void)snprintf(line, sizeof(line), "%s%s", prefixes[i], lines[j]);
            ktap_line(ktap, line, strlen(line));
        }
        ck_assert(ktap_is_complete(ktap));
        ktap_finish(ktap);
        assert_results(ktap, "s/: passed\ns/a: passed\n");
        ck_assert(ktap_passed(ktap));
        ktap_free(ktap);
    }
}
END_TEST

START_TEST(streams_that_are_not_as_they_should_be)
{
    static const struct {
        const char *text;
        const char *problem;
    } cases[] = {
        {"", "no KTAP came; it starts with \"KTAP version 1\""},
        {"ok 1 imitation\n", "no KTAP came; it starts with \"KTAP version 1\""},
        {"KTAP version 1\nok 1 a\n", "there is no plan, so nobody knows whether all results came"},
        {"KTAP version 1\n1..2\nok 1 a\n", "the stream: 2 results were planned, and 1 came"},
        {"KTAP version 1\n1..1\nok 1 a\nok 2 b\n", "the stream: 1 results were planned, and 2 came"},
        {"KTAP version 1\n1..2\nok 1 a\nok 1 b\n", "the stream: number 1 came where 2 was due"},
        {"KTAP version 1\n1..2\nok 1 a\nok 3 b\n", "the stream: number 3 came where 2 was due"},
        {"KTAP version 1\n1..1\n1..1\nok 1 a\n", "the stream: there is a second plan"},
        {"KTAP version 1\n1..1\nBail out! no memory\n", "the test bailed out: no memory"},
        {"KTAP version 1\n1..1\n  1..1\n  ok 1 a\n", "a suite without a name: its result is missing"},
        {"KTAP version 1\n1..1\n  # Subtest: s\n  1..2\n  ok 1 a\nok 1 s\n", "s: 2 results were planned, and 1 came"},
        {"KTAP version 1\n1..1\n  # Subtest: s\n  1..1\n  ok 1 a\nok 1 t\n", "s: its result is missing"},
        {"KTAP version 1\n1..2\nok 1 a\nKTAP version 1\n1..1\nok 1 b\n",
         "a stream began before the one before it had ended"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ktap *ktap = parse(cases[i].text);
        assert_problem(ktap, cases[i].problem);
        ck_assert(!ktap_passed(ktap));
        ktap_free(ktap);
    }
}
END_TEST

START_TEST(a_suite_with_a_broken_plan_has_not_passed)
{
    struct ktap *ktap = parse("KTAP version 1\n1..1\n  # Subtest: s\n  1..2\n  ok 1 a\nok 1 s\n");

    assert_results(ktap, "s/: ended in error\ns/a: passed\n");
    ktap_free(ktap);
}
END_TEST

START_TEST(several_streams_follow_each_other)
{
    struct ktap *ktap = parse("KTAP version 1\n1..1\nok 1 a\nnoise\nKTAP version 1\n1..1\nok 1 b\n");

    assert_results(ktap, "a: passed\nb: passed\n");
    ck_assert(ktap_passed(ktap));
    ktap_free(ktap);
}
END_TEST

START_TEST(depth_is_bounded)
{
    struct ktap *ktap = create();
    char line[512];

    for (int i = 0; i < 200; i++) {
        (void)snprintf(line, sizeof(line), "%*sKTAP version 1", i * 2, "");
        ktap_line(ktap, line, strlen(line));
        (void)snprintf(line, sizeof(line), "%*sok 1 x", i * 2, "");
        ktap_line(ktap, line, strlen(line));
    }
    ktap_finish(ktap);
    ck_assert_uint_lt(ktap_count(ktap), 3 * KTAP_MAX_DEPTH);
    assert_problem(ktap, "subtests are nested more than 16 deep");
    ktap_free(ktap);
}
END_TEST

START_TEST(size_is_bounded)
{
    struct ktap *ktap = create();
    char line[2 * KTAP_LINE_MAX];

    ktap_line(ktap, "KTAP version 1", 14);
    memset(line, 'x', sizeof(line));
    memcpy(line, "ok - ", 5);
    for (unsigned i = 0; i < KTAP_MAX_RESULTS + 100; i++) {
        line[5] = '#';
        ktap_line(ktap, line + 5, sizeof(line) - 5);
        line[5] = 'x';
        ktap_line(ktap, line, sizeof(line));
    }
    ktap_finish(ktap);
    ck_assert_uint_eq(ktap_count(ktap), KTAP_MAX_RESULTS);
    ck_assert_uint_lt(strlen(ktap_result(ktap, 0).name), KTAP_NAME_SIZE);
    ck_assert_uint_lt(strlen(ktap_result(ktap, 0).diagnostics), KTAP_DIAGNOSTICS_SIZE);
    ck_assert(!ktap_passed(ktap));
    ktap_free(ktap);
}
END_TEST

START_TEST(problems_are_bounded)
{
    struct ktap *ktap = create();
    size_t kept = 0;

    ktap_line(ktap, "KTAP version 1", 14);
    for (unsigned i = 0; i < 1000; i++)
        ktap_line(ktap, "ok 7 x", 6);
    ktap_finish(ktap);
    while (ktap_problem(ktap, kept) != NULL)
        kept++;
    ck_assert_uint_eq(kept, KTAP_MAX_PROBLEMS);
    ck_assert_uint_gt(ktap_problem_count(ktap), 1000);
    ktap_free(ktap);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("scenario_ktap");
    TCase *streams = tcase_create("streams");
    TCase *bounds = tcase_create("bounds");

    tcase_add_test(streams, a_plain_stream);
    tcase_add_test(streams, directives);
    tcase_add_test(streams, subtests_have_paths);
    tcase_add_test(streams, tap_14_names_a_subtest_one_level_up);
    tcase_add_test(streams, kunit_of_a_new_kernel);
    tcase_add_test(streams, kunit_of_an_old_kernel_with_a_failure);
    tcase_add_test(streams, kunit_that_ends_in_a_panic);
    tcase_add_test(streams, kselftest_output);
    tcase_add_test(streams, printk_prefixes);
    tcase_add_test(streams, streams_that_are_not_as_they_should_be);
    tcase_add_test(streams, a_suite_with_a_broken_plan_has_not_passed);
    tcase_add_test(streams, several_streams_follow_each_other);
    suite_add_tcase(all, streams);
    tcase_add_test(bounds, depth_is_bounded);
    tcase_add_test(bounds, size_is_bounded);
    tcase_add_test(bounds, problems_are_bounded);
    tcase_set_timeout(bounds, 60);
    suite_add_tcase(all, bounds);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
