/* Which cases there are to run, and which of them are. */
#include "vmm/runner/plan.h"
#include "vmm/runner/select.h"

#include "runner_fixture.h"
#include "unit_test.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct error error;

START_TEST(files_give_cases_in_their_order)
{
    runner_add_scenario("b.toml", 2, 64);
    runner_add_scenario("a.toml", 1, 128);
    ck_assert_int_eq(runner_load("b.toml a.toml"), 0);
    ck_assert_str_eq(runner_names(), "b[n=1] b[n=2] a ");
    ck_assert_str_eq(runner_plan.cases[2].from->file, "a.toml");
    ck_assert_int_eq(runner_plan.cases[2].from->path[0], '/');
    /* The guest's, and something for the process. */
    ck_assert_uint_gt(runner_plan.cases[2].memory, 128u << 20);
    ck_assert_uint_eq(runner_plan.cases[2].memory - runner_plan.cases[0].memory, 64u << 20);
    ck_assert(!runner_plan.cases[0].was_run);
    ck_assert_uint_eq(runner_plan.cases[0].expected_ns, 0);
}
END_TEST

START_TEST(a_folder_is_its_scenarios)
{
    ck_assert_int_eq(mkdir("f", 0700), 0);
    ck_assert_int_eq(mkdir("f/below", 0700), 0);
    ck_assert_int_eq(mkdir("f/folder.toml", 0700), 0);
    runner_add_scenario("f/b.toml", 1, 64);
    runner_add_scenario("f/a.toml", 1, 64);
    runner_add_scenario("f/below/c.toml", 1, 64);
    runner_add_scenario("f/.hidden.toml", 1, 64);
    runner_write("f/machine.toml", "# no [[step]] here\n[boot]\nkernel = \"k\"\n");
    runner_write("f/notes.txt", "[[step]]\n");
    ck_assert_int_eq(runner_load("f"), 0);
    ck_assert_str_eq(runner_names(), "a b ");
    ck_assert_int_eq(runner_load("f/"), 0);
    ck_assert_str_eq(runner_plan.cases[0].from->file, "f/a.toml");
    ck_assert_int_eq(chdir("f"), 0);
    ck_assert_int_eq(runner_load("."), 0);
    ck_assert_str_eq(runner_plan.cases[0].from->file, "a.toml");
    ck_assert_int_eq(runner_load("below/../folder.toml"), -1);
    ck_assert_ptr_nonnull(strstr(runner_mistakes, "no scenario in this folder"));
}
END_TEST

START_TEST(a_file_is_there_once)
{
    ck_assert_int_eq(mkdir("f", 0700), 0);
    runner_add_scenario("f/a.toml", 1, 64);
    ck_assert_int_eq(symlink("f/a.toml", "link.toml"), 0);
    ck_assert_int_eq(runner_load("f/a.toml f ./f/../f/a.toml link.toml"), 0);
    ck_assert_str_eq(runner_names(), "a ");
}
END_TEST

START_TEST(names_are_unique)
{
    ck_assert_int_eq(mkdir("x", 0700), 0);
    ck_assert_int_eq(mkdir("y", 0700), 0);
    runner_add_scenario("x/a.toml", 2, 64);
    runner_add_scenario("y/a.toml", 1, 64);
    runner_add_scenario("y/b.toml", 1, 64);
    ck_assert_int_eq(runner_load("x y"), 0);
    ck_assert_str_eq(runner_names(), "x/a.toml:a[n=1] x/a.toml:a[n=2] y/a.toml:a b ");
}
END_TEST

START_TEST(all_mistakes_are_told)
{
    runner_add_scenario("good.toml", 1, 64);
    runner_write("one.toml", "[[step]]\nexpct = 'x'\n");
    runner_write("two.toml", "[[step]]\nsleep = 1\n");
    ck_assert_int_eq(runner_load("one.toml good.toml nowhere.toml two.toml"), -1);
    ck_assert_ptr_nonnull(strstr(runner_mistakes, "one.toml:2:1"));
    ck_assert_ptr_nonnull(strstr(runner_mistakes, "nowhere.toml: No such file"));
    ck_assert_ptr_nonnull(strstr(runner_mistakes, "two.toml:2:"));
    ck_assert_ptr_null(strstr(runner_mistakes, "good.toml"));
    /* That of a machine as a whole, too. */
    runner_write("three.toml",
                 "override.boot.flat = \"kernel\"\noverride.boot.mode = \"real\"\n[[step]]\nsleep = \"1s\"\n");
    ck_assert_int_eq(runner_load("three.toml"), -1);
    ck_assert_ptr_nonnull(strstr(runner_mistakes, "three.toml: boot.at: "));
}
END_TEST

static void filter(const char *words, const char *names)
{
    const char *const filters[] = {words, "b"};

    ck_assert_int_eq(runner_load("a.toml b.toml"), 0);
    ck_assert_int_eq(plan_filter(&runner_plan, filters, strcmp(words, "n=1") == 0 ? 2 : 1, &error), 0);
    ck_assert_str_eq(runner_names(), names);
}

START_TEST(filters_choose)
{
    runner_add_scenario("a.toml", 3, 64);
    runner_add_scenario("b.toml", 2, 64);
    filter("a,n=2", "a[n=2] ");
    filter("*3?", "a[n=3] ");
    filter("nothing", "");
    /* The second filter is given again. */
    filter("n=1", "a[n=1] b[n=1] b[n=2] ");
}
END_TEST

static void note(struct times *times, const char *name, enum result_status status, unsigned seconds)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/a.toml", runner_folder);
    ck_assert_int_eq(times_note(times, path, name, status, seconds * 1000000000ull, 1, &error), 0);
}

START_TEST(what_failed_is_run_again)
{
    struct times times = {0};

    runner_add_scenario("a.toml", 6, 64);
    note(&times, "a[n=1]", RESULT_PASSED, 3);
    note(&times, "a[n=2]", RESULT_FAILED, 4);
    note(&times, "a[n=3]", RESULT_NOT_RUN, 0);
    note(&times, "a[n=4]", RESULT_BROKEN, 0);
    note(&times, "a[n=5]", RESULT_SKIPPED, 1);
    ck_assert_int_eq(runner_load("a.toml"), 0);
    plan_recall(&runner_plan, &times);
    ck_assert_uint_eq(runner_plan.cases[0].expected_ns, 3000000000u);
    ck_assert_int_eq(plan_keep_failed(&runner_plan, &error), 0);
    ck_assert_str_eq(runner_names(), "a[n=2] a[n=3] a[n=4] ");
    times_free(&times);
}
END_TEST

/* ---- Shares ---- */

enum { CASES = 23 };

static void recall_times(bool with_times)
{
    struct times times = {0};
    char name[32];

    for (unsigned i = 1; i <= CASES && with_times; i++) {
        (void)snprintf(name, sizeof(name), "a[n=%u]", i);
        /* Some are not known. */
        if (i % 5 != 0)
            note(&times, name, RESULT_PASSED, i * i % 37 + 1);
    }
    plan_recall(&runner_plan, &times);
    times_free(&times);
}

static void reverse(void)
{
    for (size_t i = 0; i < runner_plan.count / 2; i++) {
        const struct plan_case one = runner_plan.cases[i];
        runner_plan.cases[i] = runner_plan.cases[runner_plan.count - 1 - i];
        runner_plan.cases[runner_plan.count - 1 - i] = one;
    }
}

static void load_share(unsigned number, unsigned count, bool with_times, bool is_reversed)
{
    ck_assert_int_eq(runner_load("a.toml b.toml"), 0);
    recall_times(with_times);
    if (is_reversed)
        reverse();
    ck_assert_int_eq(plan_keep_shard(&runner_plan, number, count, &error), 0);
}

/* Whether the places of a plan are those of this share. */
static void expect_same(const char *names)
{
    for (size_t i = 0; i < runner_plan.count; i++) {
        char word[64];
        (void)snprintf(word, sizeof(word), "%s ", runner_plan.cases[i].name);
        ck_assert_ptr_nonnull(strstr(names, word));
    }
}

static void check_shares(unsigned count, bool with_times)
{
    static char all[8192];
    char names[4096];
    size_t sum = 0;

    all[0] = '\0';
    for (unsigned number = 1; number <= count; number++) {
        load_share(number, count, with_times, false);
        const size_t size = runner_plan.count;
        sum += size;
        (void)strcpy(names, runner_names());
        for (size_t i = 0; i < size; i++)
            ck_assert_msg(strstr(all, runner_plan.cases[i].name) == NULL, "%s twice", runner_plan.cases[i].name);
        (void)strcat(all, names);
        load_share(number, count, with_times, true);
        ck_assert_uint_eq(runner_plan.count, size);
        expect_same(names);
    }
    ck_assert_uint_eq(sum, CASES + 1);
}

START_TEST(shares_are_all_and_disjoint_and_stable)
{
    runner_add_scenario("a.toml", CASES, 64);
    runner_add_scenario("b.toml", 1, 64);
    for (unsigned count = 1; count <= 30; count++) {
        check_shares(count, false);
        check_shares(count, true);
    }
}
END_TEST

START_TEST(shares_are_balanced)
{
    uint64_t most = 0;
    uint64_t least = UINT64_MAX;

    runner_add_scenario("a.toml", CASES, 64);
    runner_add_scenario("b.toml", 1, 64);
    for (unsigned number = 1; number <= 4; number++) {
        uint64_t sum = 0;
        load_share(number, 4, false, false);
        ck_assert_uint_eq(runner_plan.count, 6);
        load_share(number, 4, true, false);
        for (size_t i = 0; i < runner_plan.count; i++)
            sum += runner_plan.cases[i].expected_ns > 0 ? runner_plan.cases[i].expected_ns : 18000000000u;
        most = sum > most ? sum : most;
        least = sum < least ? sum : least;
    }
    /* The rule's own bound: the difference is no larger than the longest case. */
    ck_assert_uint_le(most - least, 37000000000u);
    ck_assert_uint_gt(least, 37000000000u);
}
END_TEST

START_TEST(a_long_case_has_a_share_for_itself)
{
    struct times times = {0};
    char name[32];

    runner_add_scenario("a.toml", 13, 64);
    for (unsigned i = 1; i <= 13; i++) {
        (void)snprintf(name, sizeof(name), "a[n=%u]", i);
        note(&times, name, RESULT_PASSED, i == 5 ? 30 : 1);
    }
    for (unsigned number = 1; number <= 4; number++) {
        ck_assert_int_eq(runner_load("a.toml"), 0);
        plan_recall(&runner_plan, &times);
        ck_assert_int_eq(plan_keep_shard(&runner_plan, number, 4, &error), 0);
        ck_assert_uint_eq(runner_plan.count, number == 1 ? 1 : 4);
    }
    times_free(&times);
}
END_TEST

START_TEST(the_longest_comes_first)
{
    struct times times = {0};
    size_t *order;
    uint64_t *weights;

    runner_add_scenario("a.toml", 5, 64);
    note(&times, "a[n=2]", RESULT_PASSED, 3);
    note(&times, "a[n=4]", RESULT_PASSED, 9);
    ck_assert_int_eq(runner_load("a.toml"), 0);
    plan_recall(&runner_plan, &times);
    ck_assert_int_eq(plan_order(&runner_plan, &order, &weights, &error), 0);
    /* Those that are not known are the mean, 6 s, in their order. */
    static const size_t expected[] = {3, 0, 2, 4, 1};
    ck_assert_mem_eq(order, expected, sizeof(expected));
    ck_assert_uint_eq(weights[0], 6000000000u);
    ck_assert_uint_eq(weights[3], 9000000000u);
    free(order);
    free(weights);
    times_free(&times);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runner_plan");
    TCase *cases = tcase_create("plan");

    tcase_add_checked_fixture(cases, runner_setup, runner_teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, files_give_cases_in_their_order);
    tcase_add_test(cases, a_folder_is_its_scenarios);
    tcase_add_test(cases, a_file_is_there_once);
    tcase_add_test(cases, names_are_unique);
    tcase_add_test(cases, all_mistakes_are_told);
    tcase_add_test(cases, filters_choose);
    tcase_add_test(cases, what_failed_is_run_again);
    tcase_add_test(cases, shares_are_all_and_disjoint_and_stable);
    tcase_add_test(cases, shares_are_balanced);
    tcase_add_test(cases, a_long_case_has_a_share_for_itself);
    tcase_add_test(cases, the_longest_comes_first);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
