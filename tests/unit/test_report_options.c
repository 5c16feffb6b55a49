/* The command line of quire report. */
#include "command_line.h"

#include <string.h>

START_TEST(merge)
{
    ck_assert_int_eq(parse("quire report merge a b c"), 0);
    ck_assert_int_eq(options.command, OPTIONS_REPORT);
    ck_assert_int_eq(options.report.command, REPORT_MERGE);
    ck_assert_uint_eq(options.report.count, 3);
    ck_assert_str_eq(options.report.reports[2], "c");
    ck_assert_ptr_null(options.report.directory);
    /* Options may stand anywhere. */
    ck_assert_int_eq(parse("quire report merge a -o all --junit=- b --json j.json"), 0);
    ck_assert_str_eq(options.report.directory, "all");
    ck_assert_str_eq(options.report.junit, "-");
    ck_assert_str_eq(options.report.json, "j.json");
    ck_assert_uint_eq(options.report.count, 2);
    ck_assert_str_eq(options.report.reports[1], "b");
    ck_assert_int_eq(parse("quire report -o all merge -- -a"), 0);
    ck_assert_str_eq(options.report.reports[0], "-a");
}
END_TEST

START_TEST(show)
{
    ck_assert_int_eq(parse("quire report show x"), 0);
    ck_assert_int_eq(options.report.command, REPORT_SHOW);
    ck_assert_uint_eq(options.report.count, 1);
}
END_TEST

START_TEST(mistakes)
{
    expect_error("quire report", "no command; write merge or show");
    expect_error("quire report merg x", "unknown command \"merg\"; did you mean merge?");
    expect_error("quire report x", "unknown command \"x\"; write merge or show");
    expect_error("quire report merge", "merge: no report; name the folder of one");
    expect_error("quire report show", "show: no report");
    expect_error("quire report show a b", "\"b\" is one report too many");
    expect_error("quire report show a --json -", "show writes no files");
    expect_error("quire report merge a -o", "\"-o\" needs a value");
    expect_error("quire report merge a -o ''", "--output has no folder");
    expect_error("quire report merge a --json ''", "--json has no file");
    expect_error("quire report merge a --junit=", "--junit has no file");
    expect_error("quire report merge a --json - --junit -", "both go to standard output");
    expect_error("quire report merge a --jsno x", "unknown option \"--jsno\"");
    expect_error("quire repord", "did you mean report?");
}
END_TEST

START_TEST(help)
{
    static const char *const lines[] = {"quire report --help", "quire report merge -h", "quire help report"};
    char text[8192];

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        FILE *out = fmemopen(text, sizeof(text), "w");
        ck_assert_int_eq(parse_to(lines[i], out), 0);
        ck_assert_int_eq(fclose(out), 0);
        ck_assert_int_eq(options.command, OPTIONS_DONE);
        ck_assert_ptr_nonnull(strstr(text, "quire report merge [OPTION...] REPORT..."));
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("report_options");
    TCase *cases = tcase_create("options");

    tcase_add_checked_fixture(cases, NULL, teardown);
    tcase_add_test(cases, merge);
    tcase_add_test(cases, show);
    tcase_add_test(cases, mistakes);
    tcase_add_test(cases, help);
    suite_add_tcase(all, cases);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
