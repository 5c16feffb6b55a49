/* The command line of quire test. */
#include "command_line.h"

#include <string.h>

START_TEST(a_scenario_is_enough)
{
    ck_assert_int_eq(parse("quire test boot.toml tests"), 0);
    ck_assert_int_eq(options.command, OPTIONS_TEST);
    ck_assert_uint_eq(options.test.path_count, 2);
    ck_assert_str_eq(options.test.paths[1], "tests");
    ck_assert_uint_eq(options.test.jobs, 1);
    ck_assert_uint_eq(options.test.rounds, 1);
    ck_assert_uint_eq(options.test.shard, 1);
    ck_assert_uint_eq(options.test.shard_count, 1);
    ck_assert_uint_eq(options.test.tap, 0);
    ck_assert(!options.test.for_bisect);
    ck_assert_ptr_null(options.test.report);
    ck_assert_ptr_null(options.test.history);
}
END_TEST

START_TEST(all_options)
{
    ck_assert_int_eq(parse("quire test a.toml -f x,n=1 --filter y --shard 2/3 -j 4 --repeat 9 "
                           "--until-fail -x -s cpu.count=2 --set log.level= --symbols vmlinux --dump --report r "
                           "--junit j.xml --json j.json --tap=14 --history h.json --bisect -q b.toml"),
                     0);
    const struct test_options *test = &options.test;
    ck_assert_uint_eq(test->path_count, 2);
    ck_assert_uint_eq(test->filter_count, 2);
    ck_assert_str_eq(test->filters[0], "x,n=1");
    ck_assert_uint_eq(test->shard, 2);
    ck_assert_uint_eq(test->shard_count, 3);
    ck_assert_uint_eq(test->jobs, 4);
    ck_assert_uint_eq(test->rounds, 9);
    ck_assert(test->until_fail);
    ck_assert(test->fail_fast);
    ck_assert_uint_eq(test->assignment_count, 2);
    ck_assert_str_eq(test->assignments[1], "log.level=");
    ck_assert_str_eq(test->symbols, "vmlinux");
    ck_assert(test->dumps);
    ck_assert_str_eq(test->report, "r");
    ck_assert_str_eq(test->junit, "j.xml");
    ck_assert_str_eq(test->json, "j.json");
    ck_assert_uint_eq(test->tap, 14);
    ck_assert_str_eq(test->history, "h.json");
    ck_assert(test->for_bisect);
    ck_assert(test->is_quiet);
    ck_assert_int_eq(parse("quire test a.toml --rerun-failed"), 0);
    ck_assert(options.test.only_failed);
    ck_assert_int_eq(parse("quire test a.toml -l -v -j auto --tap"), -1);
    ck_assert_int_eq(parse("quire test a.toml -l -v -j auto"), 0);
    ck_assert(options.test.only_list);
    ck_assert(options.test.is_verbose);
    ck_assert_uint_eq(options.test.jobs, 0);
    ck_assert_int_eq(parse("quire test a.toml --tap --until-fail -j 0"), 0);
    ck_assert_uint_eq(options.test.tap, 13);
    ck_assert_uint_eq(options.test.rounds, 0);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    expect_error("quire test", "which scenario?");
    expect_error("quire test a.toml --fliter x", "did you mean --filter?");
    expect_error("quire test a.toml -j", "needs a value");
    expect_error("quire test a.toml -j many", "--jobs");
    expect_error("quire test a.toml -j -1", "--jobs");
    expect_error("quire test a.toml -j 1025", "--jobs");
    expect_error("quire test a.toml -j 4294967297", "--jobs");
    expect_error("quire test a.toml --shard 0/3", "--shard");
    expect_error("quire test a.toml --shard 4/3", "--shard");
    expect_error("quire test a.toml --shard 1", "--shard");
    expect_error("quire test a.toml --shard 1/", "--shard");
    expect_error("quire test a.toml --shard 1/2/3", "--shard");
    expect_error("quire test a.toml --shard 1/4097", "--shard");
    expect_error("quire test a.toml --repeat 0", "--repeat");
    expect_error("quire test a.toml --repeat 99999999999999999999", "--repeat");
    expect_error("quire test a.toml --tap=12", "--tap");
    expect_error("quire test a.toml --report=", "--report");
    expect_error("quire test a.toml --history=", "--history");
    expect_error("quire test a.toml -s cpu.count", "--set");
    expect_error("quire test a.toml -q -v", "ask for one of them");
    expect_error("quire test a.toml --dump", "--report DIR");
    expect_error("quire test a.toml --list=yes", "--list");
}
END_TEST

START_TEST(bisecting_is_known_whatever_is_wrong)
{
    expect_error("quire test --fliter x --bisect a.toml", "unknown option");
    ck_assert(options.test.for_bisect);
    expect_error("quire test --bis --jobs x", "--jobs");
    ck_assert(options.test.for_bisect);
    expect_error("quire test --jobs x -- --bisect", "--jobs");
    ck_assert(!options.test.for_bisect);
    expect_error("quire test", "which scenario?");
    ck_assert(!options.test.for_bisect);
    /* To git, a run without tests would be a good commit. */
    expect_error("quire test --bisect --list a.toml", "--bisect with --list");
    expect_error("quire test --bisect --rerun-failed a.toml", "--bisect with --rerun-failed");
    ck_assert(options.test.for_bisect);
}
END_TEST

START_TEST(help_is_there)
{
    ck_assert_int_eq(parse("quire test --help"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
    ck_assert_int_eq(parse("quire help test"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("test_options");
    TCase *cases = tcase_create("test");

    tcase_add_checked_fixture(cases, NULL, teardown);
    tcase_add_test(cases, a_scenario_is_enough);
    tcase_add_test(cases, all_options);
    tcase_add_test(cases, what_is_wrong_is_named);
    tcase_add_test(cases, bisecting_is_known_whatever_is_wrong);
    tcase_add_test(cases, help_is_there);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
