/* Cases that are run, with a case_run.h that is none: how many at a time, and what ends them. */
#include "vmm/runner/session.h"

#include "fake_case_run.h"
#include "runner_fixture.h"
#include "unit_test.h"

#include "vmm/runner/flakiness.h"
#include "vmm/runner/select.h"
#include "vmm/runner/verdict.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct error error;
static struct event_loop *loop;
static struct session *session;
static struct results *results;
static struct session_settings settings;
static unsigned ended;
static unsigned finished;
static char warnings[1024];
/* Stops the session when as many have ended. */
static unsigned stop_after;

static void setup(void)
{
    runner_setup();
    fake_cases = (struct fake_cases){0};
    loop = event_loop_create(&error);
    results = results_create("test", &error);
    settings = (struct session_settings){
        .jobs = 1, .memory = UINT64_MAX, .rounds = 1, .folder = runner_folder, .run = {.options = &runner_options}};
    ended = 0;
    finished = 0;
    stop_after = 0;
    warnings[0] = '\0';
}

static void teardown(void)
{
    session_destroy(session);
    session = NULL;
    results_free(results);
    event_loop_destroy(loop);
    ck_assert_uint_eq(fake_cases.running, 0);
    ck_assert_uint_eq(fake_cases.destroyed, fake_cases.started);
    runner_teardown();
}

static void on_began(void *context, const char *name)
{
    (void)context;
    (void)name;
}

static void on_step(void *context, const char *name, const struct scenario *scenario, size_t step)
{
    (void)context;
    ck_assert_ptr_nonnull(strchr(name, 'a'));
    ck_assert_uint_lt(step, scenario->step_count);
}

static void on_ended(void *context, const struct result_case *result)
{
    (void)context;
    (void)result;
    if (++ended == stop_after)
        session_stop(session, "the test says so");
}

static void on_warn(void *context, const char *text)
{
    (void)context;
    (void)strncat(warnings, text, sizeof(warnings) - strlen(warnings) - 1);
}

static void on_finished(void *context)
{
    (void)context;
    finished++;
    event_loop_stop(loop);
}

static const struct session_handlers handlers = {
    .began = on_began, .step = on_step, .ended = on_ended, .warn = on_warn, .finished = on_finished};

static void create(void)
{
    session = session_create(loop, &runner_plan, &settings, &handlers, results, &error);
    ck_assert_msg(session != NULL, "%s", error.text);
}

static void serve(void)
{
    session_start(session);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    ck_assert_uint_eq(finished, 1);
}

static void run(void)
{
    create();
    serve();
}

static void load(unsigned cases, unsigned mib)
{
    runner_add_scenario("a.toml", cases, mib);
    ck_assert_int_eq(runner_load("a.toml"), 0);
}

static const char *status_of(const char *name)
{
    for (size_t i = 0; i < results->case_count; i++) {
        if (strcmp(results->cases[i]->name, name) == 0)
            return result_status_name(results->cases[i]->status);
    }
    return "missing";
}

static struct fake_outcome take_1_ms(const char *name)
{
    (void)name;
    return (struct fake_outcome){.status = RESULT_PASSED, .milliseconds = 1};
}

START_TEST(all_are_run_one_after_the_other)
{
    load(5, 64);
    run();
    ck_assert_uint_eq(fake_cases.started, 5);
    ck_assert_uint_eq(fake_cases.most_running, 1);
    ck_assert_str_eq(fake_cases.order, "a[n=1] a[n=2] a[n=3] a[n=4] a[n=5] ");
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 5);
    ck_assert_uint_eq(ended, 5);
    ck_assert_str_eq(results->cases[4]->name, "a[n=5]");
    ck_assert_str_eq(results->cases[4]->file, "a.toml");
    ck_assert_int_eq(verdict(results, 0, false), 0);
}
END_TEST

START_TEST(nothing_is_over_at_once)
{
    load(1, 64);
    const bool keep = false;
    plan_keep(&runner_plan, &keep);
    run();
    ck_assert_uint_eq(results->case_count, 0);
}
END_TEST

START_TEST(no_more_at_a_time_than_wanted)
{
    fake_cases.decide = take_1_ms;
    load(40, 64);
    settings.jobs = 7;
    run();
    ck_assert_uint_eq(fake_cases.most_running, 7);
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 40);
}
END_TEST

START_TEST(no_more_than_there_is_memory_for)
{
    fake_cases.decide = take_1_ms;
    runner_add_scenario("a.toml", 12, 512);
    runner_add_scenario("ba.toml", 12, 128);
    ck_assert_int_eq(runner_load("a.toml ba.toml"), 0);
    settings.jobs = 100;
    settings.memory = 2048ull << 20;
    run();
    ck_assert_uint_le(fake_cases.most_memory, settings.memory);
    /* It is used as far as it goes, by small ones beside large ones. */
    ck_assert_uint_gt(fake_cases.most_memory, settings.memory - (256ull << 20));
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 24);
    ck_assert_str_eq(warnings, "");
}
END_TEST

START_TEST(what_is_too_large_runs_alone)
{
    fake_cases.decide = take_1_ms;
    runner_add_scenario("a.toml", 4, 64);
    runner_add_scenario("ba.toml", 1, 4096);
    ck_assert_int_eq(runner_load("ba.toml a.toml"), 0);
    settings.jobs = 8;
    settings.memory = 1024ull << 20;
    run();
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 5);
    ck_assert_uint_eq(fake_cases.most_running, 4);
    ck_assert_ptr_nonnull(strstr(warnings, "ba: its machine may take 4160 MiB"));
}
END_TEST

START_TEST(what_no_host_could_run_is_broken)
{
    fake_cases.decide = take_1_ms;
    runner_add_scenario("a.toml", 4, 64);
    runner_add_scenario("ba.toml", 1, 1u << 20);
    ck_assert_int_eq(runner_load("ba.toml a.toml"), 0);
    settings.memory = 1024ull << 20;
    run();
    ck_assert_uint_eq(fake_cases.started, 4);
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 4);
    ck_assert_uint_eq(results_tally(results, RESULT_BROKEN), 1);
    ck_assert_ptr_nonnull(strstr(results->cases[0]->message, "give it less memory"));
}
END_TEST

START_TEST(the_longest_are_first_and_results_as_planned)
{
    load(3, 64);
    runner_plan.cases[1].expected_ns = 9;
    runner_plan.cases[2].expected_ns = 10;
    runner_plan.cases[0].expected_ns = 8;
    run();
    ck_assert_str_eq(fake_cases.order, "a[n=3] a[n=2] a[n=1] ");
    ck_assert_str_eq(results->cases[0]->name, "a[n=1]");
}
END_TEST

/* ---- What goes wrong ---- */

static struct fake_outcome second_is_bad(const char *name)
{
    if (strcmp(name, "a[n=2]") == 0)
        return (struct fake_outcome){.status = RESULT_FAILED};
    if (strcmp(name, "a[n=4]") == 0)
        return (struct fake_outcome){.refuses = true};
    return (struct fake_outcome){.status = RESULT_PASSED, .milliseconds = 1};
}

START_TEST(what_breaks_touches_no_other)
{
    fake_cases.decide = second_is_bad;
    load(6, 64);
    settings.jobs = 1 + (unsigned)_i;
    run();
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 4);
    ck_assert_str_eq(status_of("a[n=2]"), "failed");
    ck_assert_str_eq(status_of("a[n=4]"), "broken");
    ck_assert_str_eq(results->cases[3]->message, "it cannot be started");
    ck_assert_int_eq(verdict(results, 0, false), 4);
    ck_assert_uint_eq(ended, 6);
}
END_TEST

static struct fake_outcome refuse(const char *name)
{
    (void)name;
    return (struct fake_outcome){.refuses = true};
}

START_TEST(all_may_be_refused)
{
    fake_cases.decide = refuse;
    load(5, 64);
    settings.rounds = 2;
    settings.jobs = 2;
    run();
    ck_assert_uint_eq(results_tally(results, RESULT_BROKEN), 10);
    ck_assert_uint_eq(ended, 10);
}
END_TEST

START_TEST(no_folder_breaks_the_case)
{
    settings.folder = "/nowhere/at/all";
    load(2, 64);
    run();
    ck_assert_uint_eq(results_tally(results, RESULT_BROKEN), 2);
    ck_assert_ptr_nonnull(strstr(results->cases[0]->message, "/nowhere/at/all"));
}
END_TEST

static struct fake_outcome first_fails_others_hang(const char *name)
{
    if (strcmp(name, "a[n=1]") == 0)
        return (struct fake_outcome){.status = RESULT_FAILED, .milliseconds = 2};
    return (struct fake_outcome){.hangs = true};
}

START_TEST(fail_fast_ends_what_runs)
{
    fake_cases.decide = first_fails_others_hang;
    fake_cases.ends_at_once = _i == 1;
    load(10, 64);
    settings.jobs = 3;
    settings.fail_fast = true;
    run();
    ck_assert_uint_eq(fake_cases.started, 3);
    ck_assert_uint_eq(fake_cases.interrupted, 2);
    ck_assert_uint_eq(results_tally(results, RESULT_FAILED), 1);
    ck_assert_uint_eq(results_tally(results, RESULT_NOT_RUN), 9);
    ck_assert_str_eq(results->cases[9]->message, "a[n=1] had failed before");
    ck_assert_str_eq(results->cases[1]->message, "a[n=1] had failed before");
    ck_assert_int_eq(verdict(results, 0, true), 1);
    ck_assert_int_eq(verdict(results, 0, false), 4);
}
END_TEST

START_TEST(a_stop_ends_everything)
{
    fake_cases.decide = first_fails_others_hang;
    fake_cases.ends_at_once = _i == 1;
    stop_after = 1;
    load(10, 64);
    settings.jobs = 4;
    run();
    ck_assert_uint_eq(fake_cases.interrupted, 3);
    ck_assert_uint_eq(results_tally(results, RESULT_NOT_RUN), 9);
    ck_assert_str_eq(results->cases[5]->message, "the test says so");
    ck_assert_int_eq(verdict(results, 2, false), 130);
    /* A second one does nothing. */
    session_stop(session, "again");
    ck_assert_uint_eq(finished, 1);
}
END_TEST

START_TEST(one_that_is_destroyed_leaves_nothing)
{
    fake_cases.decide = first_fails_others_hang;
    load(10, 64);
    settings.jobs = 4;
    create();
    session_start(session);
    ck_assert_uint_eq(fake_cases.running, 4);
    /* The teardown looks at what is left. */
}
END_TEST

/* ---- Rounds ---- */

static struct fake_outcome first_of_round_two_fails(const char *name)
{
    return (struct fake_outcome){.status = strcmp(name, "a[n=1]#2") == 0 ? RESULT_FAILED : RESULT_PASSED,
                                 .milliseconds = 1};
}

static const char *flakiness(size_t place)
{
    static char text[128];
    const struct session_tally *tally = session_tally(session, place);
    FILE *out = fmemopen(text, sizeof(text), "w");

    text[0] = '\0';
    flakiness_write("NAME", tally->runs, tally->failures, out);
    (void)fclose(out);
    return text;
}

START_TEST(rounds_are_counted)
{
    fake_cases.decide = first_of_round_two_fails;
    load(2, 64);
    settings.rounds = 25;
    settings.jobs = 3;
    run();
    ck_assert_uint_eq(results->case_count, 50);
    ck_assert_str_eq(results->cases[0]->name, "a[n=1]#1");
    ck_assert_str_eq(results->cases[49]->name, "a[n=2]#25");
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 49);
    ck_assert_str_eq(status_of("a[n=1]#2"), "failed");
    ck_assert_str_eq(flakiness(0), "flaky: NAME: 1 of 25 failed (4 %)\n");
    ck_assert_str_eq(flakiness(1), "");
    ck_assert_int_eq(session_tally(session, 0)->status, RESULT_FAILED);
    ck_assert_uint_eq(session_tally(session, 0)->duration_ns, 1000000);
    ck_assert_int_eq(session_tally(session, 1)->status, RESULT_PASSED);
}
END_TEST

START_TEST(too_many_rounds_are_refused)
{
    load(2, 64);
    settings.rounds = 600000;
    ck_assert_ptr_null(session_create(loop, &runner_plan, &settings, &handlers, results, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "--repeat"));
    session = NULL;
}
END_TEST

static struct fake_outcome tenth_round_fails(const char *name)
{
    return (struct fake_outcome){.status = strcmp(name, "a[n=2]#10") == 0 ? RESULT_FAILED : RESULT_PASSED};
}

START_TEST(until_one_fails)
{
    fake_cases.decide = tenth_round_fails;
    load(3, 64);
    settings.rounds = _i == 0 ? 0 : 12;
    settings.until_fail = true;
    run();
    /* The last result of each: one that is not begun any more leaves that of the round before. */
    ck_assert_uint_eq(results->case_count, 3);
    ck_assert_str_eq(results->cases[0]->name, "a[n=1]#10");
    ck_assert_str_eq(status_of("a[n=2]#10"), "failed");
    ck_assert_str_eq(status_of("a[n=3]#9"), "passed");
    ck_assert_uint_eq(fake_cases.started, 29);
    ck_assert_str_eq(flakiness(1), "flaky: NAME: 1 of 10 failed (10 %)\n");
    ck_assert_int_eq(verdict(results, 0, true), 1);
}
END_TEST

START_TEST(until_enough)
{
    fake_cases.decide = tenth_round_fails;
    load(3, 64);
    settings.rounds = 9;
    settings.until_fail = true;
    run();
    ck_assert_uint_eq(fake_cases.started, 27);
    ck_assert_uint_eq(results_tally(results, RESULT_PASSED), 3);
}
END_TEST

static struct fake_outcome fifth_round_fails_others_hang(const char *name)
{
    if (strcmp(name, "a#5") == 0)
        return (struct fake_outcome){.status = RESULT_FAILED, .milliseconds = 5};
    const bool hangs = strcmp(name, "a#6") == 0 || strcmp(name, "a#7") == 0;
    return (struct fake_outcome){.status = RESULT_PASSED, .hangs = hangs};
}

START_TEST(later_rounds_do_not_hide_a_failure)
{
    fake_cases.decide = fifth_round_fails_others_hang;
    load(1, 64);
    settings.rounds = 0;
    settings.until_fail = true;
    settings.jobs = 3;
    run();
    ck_assert_uint_eq(results->case_count, 1);
    ck_assert_str_eq(results->cases[0]->name, "a#5");
    ck_assert_int_eq(results->cases[0]->status, RESULT_FAILED);
    ck_assert_uint_eq(session_tally(session, 0)->failures, 1);
}
END_TEST

/* ---- Folders ---- */

static bool exists(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0;
}

START_TEST(folders_go_unless_they_are_wanted)
{
    fake_cases.decide = second_is_bad;
    fake_cases.file = "console.log";
    load(3, 64);
    settings.keeps_folders = _i == 1;
    run();
    ck_assert(exists("a-n=1/console.log") == (_i == 1));
    ck_assert(exists("a-n=2") == (_i == 1));
    /* Where there are no files, none are told of. */
    ck_assert_uint_eq(results->cases[1]->attachment_count, _i == 1 ? 1 : 0);
}
END_TEST

START_TEST(until_fail_keeps_the_last_folder)
{
    fake_cases.decide = tenth_round_fails;
    fake_cases.file = "console.log";
    load(2, 64);
    settings.keeps_folders = true;
    settings.until_fail = true;
    settings.rounds = 0;
    run();
    ck_assert(exists("a-n=1-10/console.log"));
    ck_assert(exists("a-n=2-10/console.log"));
    ck_assert(!exists("a-n=1-9"));
    ck_assert(!exists("a-n=2-1"));
}
END_TEST

/* ---- How it stands ---- */

START_TEST(a_view_shows_what_runs)
{
    fake_cases.decide = first_fails_others_hang;
    load(10, 64);
    for (size_t i = 0; i < runner_plan.count; i++)
        runner_plan.cases[i].expected_ns = 3600000000000u;
    settings.jobs = 4;
    create();
    session_start(session);
    const struct view *view = session_view(session);
    ck_assert_uint_eq(view->running_count, 4);
    ck_assert_str_eq(view->running[1].name, "a[n=2]");
    ck_assert_str_eq(view->running[1].kind, "sleep");
    ck_assert_uint_eq(view->running[1].step, 0);
    ck_assert_uint_eq(view->running[1].step_count, 1);
    ck_assert_uint_eq(view->running[1].expected_ns, 3600000000000u);
    ck_assert_uint_eq(view->waiting, 6);
    ck_assert(view->knows_left);
    /* Ten hours for four, less what has passed. */
    ck_assert_uint_le(view->left_ns, 9000000000000u);
    ck_assert_uint_gt(view->left_ns, 8000000000000u);
    stop_after = 1;
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    view = session_view(session);
    ck_assert_uint_eq(view->running_count, 0);
    ck_assert_uint_eq(view->waiting, 0);
    ck_assert_uint_eq(view->tallies[RESULT_FAILED], 1);
    ck_assert(!view->knows_left);
}
END_TEST

START_TEST(statuses)
{
    ck_assert_int_eq(verdict_for_bisect(0), 0);
    ck_assert_int_eq(verdict_for_bisect(1), 1);
    ck_assert_int_eq(verdict_for_bisect(2), 128);
    ck_assert_int_eq(verdict_for_bisect(4), 125);
    ck_assert_int_eq(verdict_for_bisect(130), 130);
    ck_assert_int_eq(verdict_for_bisect(143), 143);
}
END_TEST

int main(void)
{
    Suite *tests = suite_create("runner_session");
    TCase *cases = tcase_create("session");

    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, all_are_run_one_after_the_other);
    tcase_add_test(cases, nothing_is_over_at_once);
    tcase_add_test(cases, no_more_at_a_time_than_wanted);
    tcase_add_test(cases, no_more_than_there_is_memory_for);
    tcase_add_test(cases, what_is_too_large_runs_alone);
    tcase_add_test(cases, what_no_host_could_run_is_broken);
    tcase_add_test(cases, the_longest_are_first_and_results_as_planned);
    tcase_add_loop_test(cases, what_breaks_touches_no_other, 0, 4);
    tcase_add_test(cases, all_may_be_refused);
    tcase_add_test(cases, no_folder_breaks_the_case);
    tcase_add_loop_test(cases, fail_fast_ends_what_runs, 0, 2);
    tcase_add_loop_test(cases, a_stop_ends_everything, 0, 2);
    tcase_add_test(cases, one_that_is_destroyed_leaves_nothing);
    tcase_add_test(cases, rounds_are_counted);
    tcase_add_test(cases, too_many_rounds_are_refused);
    tcase_add_loop_test(cases, until_one_fails, 0, 2);
    tcase_add_test(cases, until_enough);
    tcase_add_test(cases, later_rounds_do_not_hide_a_failure);
    tcase_add_loop_test(cases, folders_go_unless_they_are_wanted, 0, 2);
    tcase_add_test(cases, until_fail_keeps_the_last_folder);
    tcase_add_test(cases, a_view_shows_what_runs);
    tcase_add_test(cases, statuses);
    suite_add_tcase(tests, cases);
    return unit_test_run(tests);
}
