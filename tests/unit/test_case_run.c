/*
 * A case's run, on machines that do as they are told (fake_quire.c): verdicts, what they are for, and what is left.
 */
#include "vmm/runner/case_run.h"

#include "scratch_folder.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

static struct {
    struct event_loop *loop;
    struct scenario *scenario;
    struct results *results;
    struct result_case *result;
    struct case_run *run;
    struct case_run_settings settings;
    size_t steps_begun;
    /* Of the step with which it is interrupted; 0: it is not. */
    size_t interrupt_at;
    /* Is written to when a step begins; 0: there is nobody to hear of it. */
    int tell_of_step;
    bool has_ended;
} rig;

/* ---- The rig ---- */

static void set_up(void)
{
    struct error error;

    scratch_folder_make();
    rig.loop = event_loop_create(&error);
    rig.results = results_create("test", &error);
    rig.settings = (struct case_run_settings){.quire = FAKE_QUIRE, .folder = scratch_folder, .sockets = scratch_folder};
}

static void tear_down(void)
{
    case_run_destroy(rig.run);
    results_free(rig.results);
    scenario_free(rig.scenario);
    event_loop_destroy(rig.loop);
    scratch_folder_remove();
}

static void on_end(void *context)
{
    (void)context;
    rig.has_ended = true;
    event_loop_stop(rig.loop);
}

static void on_interruption(void *context, uint32_t events)
{
    const int *fd = context;

    (void)events;
    event_loop_remove(rig.loop, *fd);
    case_run_interrupt(rig.run, "the user has had enough");
}

/* From the loop, as the one who interrupts does. */
static void interrupt_soon(void)
{
    static int ends[2];
    struct error error;

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(event_loop_add(rig.loop, ends[1], EPOLLOUT, on_interruption, &ends[1], &error), 0);
}

static void on_step(void *context, size_t index)
{
    (void)context;
    ck_assert_uint_eq(index, rig.steps_begun);
    rig.steps_begun++;
    if (rig.tell_of_step != 0)
        ck_assert_int_eq(write(rig.tell_of_step, "s", 1), 1);
    if (rig.steps_begun == rig.interrupt_at)
        interrupt_soon();
}

/* words: what the machine does; steps: the scenario's, with what stands in front of them. */
static void start(const char *words, const char *steps)
{
    static const struct case_run_handlers handlers = {.step = on_step, .ended = on_end};
    struct error error;
    char *text = NULL;

    ck_assert_int_gt(asprintf(&text,
                              "override.boot.flat = \"" FAKE_QUIRE "\"\noverride.boot.cmdline = \"%s\"\n"
                              "override.gdb.listen = \"unix:/none\"\n%s",
                              words, steps),
                     0);
    if (scenario_parse("/tmp/test.toml", text, strlen(text), NULL, &rig.scenario, &error) < 0)
        ck_abort_msg("%s", error.text);
    free(text);
    rig.result = results_add_case(rig.results, rig.scenario->cases[0].name, "/tmp/test.toml", &error);
    rig.run = case_run_start(rig.loop, rig.scenario, 0, &rig.settings, &handlers, rig.result, &error);
    if (rig.run == NULL)
        ck_abort_msg("%s", error.text);
}

static void play(const char *words, const char *steps)
{
    struct error error;

    start(words, steps);
    while (!rig.has_ended)
        ck_assert_int_eq(event_loop_run(rig.loop, &error), 0);
}

static char *read_file(const char *name)
{
    char path[128];
    char *text = NULL;
    size_t size = 0;

    (void)snprintf(path, sizeof(path), "%s/%s", scratch_folder, name);
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return NULL;
    if (getdelim(&text, &size, '\0', in) < 0 && text != NULL)
        text[0] = '\0';
    fclose(in);
    return text;
}

static void check_passed(void)
{
    if (rig.result->status != RESULT_PASSED)
        ck_abort_msg("%s: %s", result_status_name(rig.result->status), rig.result->message);
    ck_assert_ptr_null(rig.result->message);
}

static void check_ended(enum result_status status, const char *words)
{
    ck_assert_str_eq(result_status_name(rig.result->status), result_status_name(status));
    ck_assert_ptr_nonnull(rig.result->message);
    if (strstr(rig.result->message, words) == NULL)
        ck_abort_msg("\"%s\" does not say \"%s\"", rig.result->message, words);
}

/* The number that the fake prints first; -1: it has not. */
static pid_t process_of_machine(void)
{
    char *text = read_file("console.log");
    int pid = -1;

    if (text == NULL || sscanf(text, "process %d", &pid) != 1)
        pid = -1;
    free(text);
    return pid;
}

static void check_no_process(void)
{
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}

/* ---- Steps ---- */

START_TEST(steps_are_taken_in_their_order)
{
    char *text;

    play("print:one_7 prompt:login: read prompt:$_", "[[step]]\nexpect = 'one (?<number>\\d)'\n"
                                                     "[[step]]\nexpect = 'login:'\n"
                                                     "[[step]]\nsend = 'root ${number}'\n"
                                                     "[[step]]\nexpect = '\\[root ${number}\\]$'\n"
                                                     "[[step]]\nexpect = '\\$ $'\n"
                                                     "[[step]]\nreset = true\n"
                                                     "[[step]]\nexpect = 'asked: .*reset'\n"
                                                     "[[step]]\nsleep = '10ms'\n"
                                                     "[[step]]\npower-button = true\n"
                                                     "[[step]]\nexpect-exit = 'power-off'\n");
    check_passed();
    ck_assert_uint_eq(rig.steps_begun, 10);
    ck_assert_uint_eq(rig.result->step_count, 10);
    ck_assert_str_eq(rig.result->steps[2].kind, "send");
    ck_assert_str_eq(rig.result->steps[2].title, "root 7");
    ck_assert_uint_ge(rig.result->steps[7].duration_ns, 10000000);
    ck_assert_ptr_nonnull(strstr(rig.result->console, "[root 7]"));
    text = read_file("console.timed");
    ck_assert_ptr_nonnull(strstr(text, " one 7\n"));
    free(text);
    text = read_file("machine.toml");
    ck_assert_ptr_nonnull(strstr(text, "backend = \"stdio\""));
    /* Sockets that are gone with the machine. */
    ck_assert_ptr_null(strstr(text, scratch_folder));
    free(text);
    text = read_file("maps.svg");
    ck_assert_ptr_nonnull(strstr(text, "<svg"));
    free(text);
    check_no_process();
}
END_TEST

/* A machine's file, and a case with it that waits for what it prints. */
static void play_machine(const char *machine)
{
    const char *path = scratch_path(scratch_folder, "console.toml");
    char steps[256];

    scratch_write(path, machine);
    (void)snprintf(steps, sizeof(steps), "machine = '%s'\n[[step]]\nexpect = 'one'\n", path);
    play("print:one", steps);
}

START_TEST(the_console_is_what_has_the_terminal)
{
    play_machine("[serial]\nbackend = 'none'\n[[console]]\nbackend = 'stdio'\n");
    check_passed();
}
END_TEST

START_TEST(a_port_of_a_console_may_have_the_terminal)
{
    play_machine("[serial]\nbackend = 'none'\n[[console]]\nbackend = 'none'\n"
                 "[[console.port]]\nname = 'one'\nbackend = 'stdio'\n");
    check_passed();
}
END_TEST

START_TEST(the_serial_port_has_it_if_nothing_else_has)
{
    play_machine("[serial]\nbackend = 'file'\npath = '/nonexistent/file'\n[[console]]\nbackend = 'none'\n");
    check_passed();
}
END_TEST

START_TEST(a_machine_goes_with_the_last_step)
{
    play("print:one", "[[step]]\nexpect = 'one'\n");
    check_passed();
    ck_assert_int_lt(kill(process_of_machine(), 0), 0);
    check_no_process();
}
END_TEST

START_TEST(what_must_not_come_fails_at_once)
{
    play("print:a_bad_thing print:one", "[[step]]\nexpect = 'one'\nnot = 'bad'\nmessage = 'it is not good'\n");
    check_ended(RESULT_FAILED, "it is not good: line 2 of the console has what must not come, bad: a bad thing");
}
END_TEST

START_TEST(a_time_out_says_where_everybody_was)
{
    rig.settings.dumps = true;
    play("print:one", "[[step]]\nexpect = 'one'\n[[step]]\nexpect = 'two'\ntimeout = '50ms'\n");
    check_ended(
        RESULT_FAILED,
        "/tmp/test.toml:6: step 2 of 2, expect two: out of time, after 0.05 s: two has not come on the console");
    ck_assert_uint_eq(rig.result->step_count, 2);
    ck_assert_ptr_nonnull(strstr(rig.result->steps[1].detail, "vCPU 0: halted at 0xffffffff81000010"));
    ck_assert_ptr_nonnull(strstr(rig.result->steps[1].detail, "rsp 0x1234"));
    ck_assert_str_eq(rig.result->attachments[rig.result->attachment_count - 1].name, "vmcore");
    char *dump = read_file("vmcore");
    ck_assert_str_eq(dump, "a dump");
    free(dump);
}
END_TEST

static void check_dumped(void)
{
    char *dump = read_file("vmcore");

    ck_assert_pstr_eq(dump, "a dump");
    free(dump);
    check_no_process();
}

START_TEST(a_guest_that_crashes_leaves_a_dump)
{
    rig.settings.dumps = true;
    play("print:one waits:panic:3 print:two", "[[step]]\nexpect = 'one'\n[[step]]\nexpect = 'three'\n");
    check_ended(RESULT_FAILED, "step 2 of 2, expect three: the machine ended: the guest did that");
    ck_assert_ptr_nonnull(strstr(rig.result->steps[1].detail, "vCPU 0: halted at"));
    ck_assert_ptr_nonnull(strstr(rig.result->console, "two"));
    check_dumped();
}
END_TEST

/* What it has printed may come later than that it has crashed. */
START_TEST(a_crash_that_is_expected_is_an_end)
{
    rig.settings.dumps = true;
    play("waits:triple-fault:3 print:one", "expect-trouble = ['triple-fault']\n[[step]]\nexpect = 'one'\n"
                                           "[[step]]\nexpect-exit = 'triple-fault'\n");
    check_passed();
    ck_assert_ptr_null(read_file("vmcore"));
    check_no_process();
}
END_TEST

START_TEST(a_machine_that_waits_in_vain_for_a_look_is_given_up)
{
    rig.settings.dumps = true;
    play("deaf waits:panic:3", "[[step]]\nexpect = 'one'\n");
    check_ended(RESULT_FAILED, "the machine ended: the guest did that");
    ck_assert_ptr_null(read_file("vmcore"));
    check_no_process();
}
END_TEST

START_TEST(a_machine_that_waits_and_is_killed_is_the_hosts)
{
    rig.settings.dumps = true;
    play("waits:panic:3 vanish", "[[step]]\nexpect = 'one'\n");
    check_ended(RESULT_BROKEN, "ended with status 137 after it had said: the guest did that");
    check_no_process();
}
END_TEST

START_TEST(a_machine_that_does_not_answer_is_given_up)
{
    rig.settings.dumps = true;
    play("deaf print:one", "[[step]]\nexpect = 'two'\ntimeout = '50ms'\n");
    check_ended(RESULT_FAILED, "two has not come");
    ck_assert_ptr_null(read_file("vmcore"));
}
END_TEST

START_TEST(all_steps_together_have_a_limit)
{
    play("print:one", "limit = '50ms'\n[[step]]\nsleep = '1h'\n");
    check_ended(RESULT_FAILED, "out of time, all steps together have 0.05 s");
}
END_TEST

START_TEST(a_limit_that_is_over_before_the_first_step_counts)
{
    play("print:one", "limit = '1ms'\n[[step]]\nsleep = '1h'\n");
    check_ended(RESULT_FAILED, "out of time, all steps together have 0.001 s");
}
END_TEST

START_TEST(two_limits_at_once_are_told_once)
{
    play("print:KTAP_version_1 print:1..2 print:ok_1_a",
         "limit = '200ms'\n[[step]]\nktap = 'console'\ntimeout = '200ms'\n");
    check_ended(RESULT_FAILED, "out of time");
    for (size_t i = 1; i < rig.result->subtest_count; i++)
        ck_assert_str_ne(rig.result->subtests[i].name, "a");
}
END_TEST

/* Ctrl-Z on the runner's terminal does not reach the machine. */
START_TEST(time_in_which_the_runner_was_stopped_does_not_count)
{
    const pid_t self = getpid();
    int began[2];

    ck_assert_int_eq(pipe(began), 0);
    rig.tell_of_step = began[1];
    const pid_t stopper = fork();
    if (stopper == 0) {
        const struct timespec while_it_prints = {.tv_sec = 6};
        char byte;
        if (read(began[0], &byte, 1) != 1)
            _exit(1);
        (void)kill(self, SIGSTOP);
        nanosleep(&while_it_prints, NULL);
        (void)kill(self, SIGCONT);
        _exit(0);
    }
    /* It prints when the time is over, and this process still stopped. */
    play("wait:4000 print:one", "[[step]]\nexpect = 'one'\ntimeout = '3s'\n");
    ck_assert_int_eq(waitpid(stopper, NULL, 0), stopper);
    check_passed();
}
END_TEST

START_TEST(a_request_that_is_refused_fails)
{
    play("print:one", "[[step]]\npause = true\n[[step]]\nresume = true\n");
    check_ended(RESULT_FAILED, "the machine has not done it: it does not want to");
}
END_TEST

/* ---- Ends ---- */

static const struct {
    const char *end;
    const char *expected;
    /* NULL: it passes. */
    const char *why;
    enum result_status status;
} ends[] = {
    {"power-off:0", "'power-off'", NULL, RESULT_PASSED},
    {"reset:0", "'reset'", NULL, RESULT_PASSED},
    {"triple-fault:3", "'triple-fault'", NULL, RESULT_PASSED},
    {"unhandled-exit:3", "'crash'", NULL, RESULT_PASSED},
    {"debug-exit:1", "1", NULL, RESULT_PASSED},
    {"panic:3", "'any'", NULL, RESULT_PASSED},
    {"power-off:0", "'reset'", "the machine ended in another way: the guest did that (power-off, status 0)",
     RESULT_FAILED},
    {"debug-exit:1", "0", "the machine ended in another way", RESULT_FAILED},
    {"triple-fault:3", "'power-off'", "triple-fault: the guest did that", RESULT_FAILED},
    {"host-failure:4", "'power-off'", "the guest did that", RESULT_BROKEN},
    {"refused:2", "'crash'", "the guest did that", RESULT_BROKEN},
    {"refused:4", "'any'", "the guest did that", RESULT_BROKEN},
    {"refused:2", "2", NULL, RESULT_PASSED},
};

START_TEST(ends_are_told_apart)
{
    char steps[128];
    char words[64];

    (void)snprintf(steps, sizeof(steps), "[[step]]\nexpect-exit = %s\n", ends[_i].expected);
    (void)snprintf(words, sizeof(words), "end:%s", ends[_i].end);
    play(words, steps);
    if (ends[_i].why == NULL)
        check_passed();
    else
        check_ended(ends[_i].status, ends[_i].why);
    check_no_process();
}
END_TEST

START_TEST(an_end_that_no_step_expects_fails)
{
    play("print:one end:power-off:0", "[[step]]\nexpect = 'one'\n[[step]]\nexpect = 'two'\n");
    check_ended(RESULT_FAILED, "the machine ended: the guest did that");
    ck_assert_uint_eq(rig.result->step_count, 2);
}
END_TEST

START_TEST(what_came_before_the_end_counts)
{
    play("print:one prompt:two end:power-off:0", "[[step]]\nexpect = 'one'\n[[step]]\nexpect = 'two'\n"
                                                 "[[step]]\nexpect-exit = 'power-off'\n");
    check_passed();
}
END_TEST

START_TEST(a_machine_that_is_killed_says_so)
{
    play("print:one vanish", "[[step]]\nexpect = 'two'\n");
    check_ended(RESULT_BROKEN, "the machine's process ended with status 137");
}
END_TEST

START_TEST(a_machine_that_crashes_behind_its_end_says_so)
{
    play("print:one crash:power-off", "[[step]]\nexpect-exit = 'power-off'\n");
    check_ended(RESULT_BROKEN, "ended with status 137 after it had said: the guest did that");
}
END_TEST

START_TEST(a_machine_that_is_killed_has_no_status)
{
    play("print:one vanish", "[[step]]\nexpect-exit = 4\n");
    check_ended(RESULT_BROKEN, "the machine's process ended with status 137");
}
END_TEST

/* As it is where they are ignored: then the system forgets statuses. */
START_TEST(statuses_come_though_signals_of_children_are_ignored)
{
    (void)signal(SIGCHLD, SIG_IGN);
    play("end:debug-exit:7", "[[step]]\nexpect-exit = 7\n");
    check_passed();
}
END_TEST

START_TEST(a_guest_that_ends_before_its_agent_has_not_been_ended_by_a_command)
{
    play("hangup end:panic:3", "expect-trouble = ['panic']\n"
                               "[[step]]\nexec = 'echo c > /proc/sysrq-trigger'\nstatus = 'any'\n"
                               "[[step]]\nexpect-exit = 'panic'\n");
    check_ended(RESULT_FAILED, "step 1 of 2");
}
END_TEST

START_TEST(a_program_that_is_not_there_is_the_hosts_fault)
{
    rig.settings.quire = "/none/quire";
    play("", "[[step]]\nexpect = 'two'\n");
    ck_assert_int_eq(rig.result->status, RESULT_BROKEN);
}
END_TEST

/* ---- Trouble ---- */

static const char PANIC[] = "print:Kernel_panic_-_not_syncing:_test print:one";

START_TEST(a_panic_fails_and_is_the_reason)
{
    /* A kernel that has panicked is not waited for. */
    play(PANIC, "[[step]]\nexpect = 'never'\ntimeout = '1h'\n");
    check_ended(RESULT_FAILED, "panic: Kernel panic - not syncing: test (line 2 of the console)");
    ck_assert_uint_eq(rig.result->trouble_count, 1);
    ck_assert_uint_eq(rig.result->trouble[0].line, 2);
    ck_assert(!rig.result->trouble[0].is_tolerated);
}
END_TEST

START_TEST(trouble_fails_though_every_step_passes)
{
    play(PANIC, "[[step]]\nexpect = 'one'\n");
    check_ended(RESULT_FAILED, "panic: ");
}
END_TEST

START_TEST(a_panic_that_is_expected_passes)
{
    char words[128];

    (void)snprintf(words, sizeof(words), "%s end:panic:3", PANIC);
    play(words, "expect-trouble = ['panic']\n[[step]]\nexpect = 'one'\n[[step]]\nexpect-exit = 'panic'\n");
    check_passed();
    ck_assert(rig.result->trouble[0].is_tolerated);
}
END_TEST

START_TEST(trouble_that_is_expected_has_to_come)
{
    play("print:one", "expect-trouble = ['warning']\n[[step]]\nexpect = 'one'\n");
    check_ended(RESULT_FAILED, "warning was expected, and has not been seen");
}
END_TEST

START_TEST(trouble_can_be_ignored)
{
    play(PANIC, "ignore = 'not syncing: test'\n[[step]]\nexpect = 'one'\n");
    check_passed();
    ck_assert_uint_eq(rig.result->trouble_count, 0);
}
END_TEST

START_TEST(trouble_does_not_hide_behind_what_is_allowed)
{
    static char words[4000];
    size_t used = 0;

    for (int i = 0; i < 70; i++)
        used += (size_t)sprintf(words + used, "print:WARNING:_CPU:_0_PID:_1_at_a.c:1_f+0x1/0x2 ");
    (void)sprintf(words + used, "%s", PANIC);
    play(words, "allow = ['warning']\n[[step]]\nexpect = 'one'\n");
    check_ended(RESULT_FAILED, "panic: ");
}
END_TEST

/* ---- KTAP ---- */

static const char TAP_STEP[] = "[[step]]\nktap = 'console'\n";

START_TEST(tests_on_the_console_are_results)
{
    play("print:KTAP_version_1 print:1..2 print:ok_1_a print:ok_2_b", TAP_STEP);
    check_passed();
    ck_assert_uint_eq(rig.result->subtest_count, 2);
    ck_assert_str_eq(rig.result->subtests[1].name, "b");
}
END_TEST

START_TEST(a_test_that_fails_fails)
{
    play("print:KTAP_version_1 print:1..2 print:ok_1_a print:not_ok_2_b", TAP_STEP);
    check_ended(RESULT_FAILED, "not all tests have passed");
    ck_assert_uint_eq(rig.result->subtest_count, 2);
}
END_TEST

START_TEST(a_stream_that_is_cut_short_fails)
{
    play("print:KTAP_version_1 print:1..2 print:ok_1_a end:power-off:0", TAP_STEP);
    check_ended(RESULT_FAILED, "the guest did that");
    ck_assert_uint_ge(rig.result->subtest_count, 1);
}
END_TEST

START_TEST(a_stream_that_stops_is_out_of_time)
{
    play("print:KTAP_version_1 print:1..2 print:ok_1_a", "[[step]]\nexpect = 'ok 1 a'\n"
                                                         "[[step]]\nktap = 'console'\ntimeout = '500ms'\n");
    check_ended(RESULT_FAILED, "the tests that were planned have not all come");
    ck_assert_uint_ge(rig.result->subtest_count, 1);
}
END_TEST

/* ---- KTAP of a command ---- */

static const char FIRST_OF_TWO[] = "echo KTAP version 1; echo 1..2; echo ok 1 a";

static const struct {
    const char *command;
    /* Behind it. */
    const char *keys;
    /* NULL: it passes. */
    const char *why;
    const char *detail;
} ktap_commands[] = {
    {"; echo ok 2 b", "", NULL, "2 passed"},
    {"; echo ok 2 b; exit 4", "status = 4\n", NULL, "2 passed"},
    {"; echo ok 2 b; exit 4", "status = 'any'\n", NULL, "2 passed"},
    {"; echo ok 2 b; kill -9 $$", "status = 'any'\n", NULL, "2 passed"},
    {"; echo ok 2 b; exit 3", "", "the command's status is 3, and not 0", "2 passed"},
    {"; echo ok 2 b", "status = 3\n", "the command's status is 0, and not 3", "2 passed"},
    {"; echo ok 2 b; kill -11 $$", "", "signal 11 (Segmentation fault) ended the command", "2 passed"},
    {"; echo not ok 2 b; exit 1", "", "not all tests have passed", "the command's status is 1, and not 0"},
    {"; echo not ok 2 b; exit 1", "status = 1\n", "not all tests have passed", "1 failed"},
    {"", "", "not all tests have passed", "planned"},
    {"", "status = 'any'\n", "not all tests have passed", "planned"},
    {"; kill -11 $$", "", "not all tests have passed", "signal 11 (Segmentation fault) ended the command"},
    {" >/dev/null", "", "not all tests have passed", "planned"},
};

START_TEST(a_command_with_tests_has_to_end_well_and_say_all)
{
    char steps[300];

    (void)snprintf(steps, sizeof(steps), "[[step]]\nktap = 'exec'\ncommand = '%s%s'\n%s", FIRST_OF_TWO,
                   ktap_commands[_i].command, ktap_commands[_i].keys);
    play("agent:1", steps);
    if (ktap_commands[_i].why == NULL)
        check_passed();
    else
        check_ended(RESULT_FAILED, ktap_commands[_i].why);
    const char *detail = rig.result->steps[0].detail;
    if (detail == NULL || strstr(detail, ktap_commands[_i].detail) == NULL)
        ck_abort_msg("\"%s\" does not say \"%s\"", detail, ktap_commands[_i].detail);
}
END_TEST

START_TEST(a_command_with_tests_that_prints_none_fails)
{
    play("agent:1", "[[step]]\nktap = 'exec'\ncommand = 'true'\n");
    check_ended(RESULT_FAILED, "not all tests have passed");
    ck_assert_ptr_nonnull(strstr(rig.result->steps[0].detail, "no KTAP came"));
}
END_TEST

/* ---- What commands have printed ---- */

START_TEST(what_commands_print_is_kept)
{
    play("agent:3", "[[step]]\nsleep = '1ms'\n"
                    "[[step]]\nexec = 'echo one; printf two'\n"
                    "[[step]]\nexec = 'echo complaint; exit 3'\nstatus = 3\n"
                    "[[step]]\nktap = 'exec'\ncommand = 'echo KTAP version 1; echo 1..1; echo ok 1; kill -9 $$'\n");
    check_ended(RESULT_FAILED, "signal 9");
    char *text = read_file("exec.log");
    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, "[step 2] echo one; printf two\none\ntwo\n[step 2] status 0\n"
                           "[step 3] echo complaint; exit 3\ncomplaint\n[step 3] status 3\n"
                           "[step 4] echo KTAP version 1; echo 1..1; echo ok 1; kill -9 $$\n"
                           "KTAP version 1\n1..1\nok 1\n[step 4] signal 9 (Killed)\n");
    free(text);
    size_t count = 0;
    for (size_t i = 0; i < rig.result->attachment_count; i++)
        count += strcmp(rig.result->attachments[i].name, "exec.log") == 0;
    ck_assert_uint_eq(count, 1);
}
END_TEST

START_TEST(what_a_command_has_printed_is_kept_without_its_end)
{
    play("agent:1", "[[step]]\nexec = 'printf begun; exec sleep 1000'\ntimeout = '2s'\n");
    check_ended(RESULT_FAILED, "2 s");
    char *text = read_file("exec.log");
    ck_assert_ptr_nonnull(text);
    ck_assert_ptr_nonnull(strstr(text, "[step 1] printf begun; exec sleep 1000\n"));
    free(text);
}
END_TEST

START_TEST(without_commands_there_is_no_such_file)
{
    play("print:one", "[[step]]\nexpect = 'one'\n");
    check_passed();
    ck_assert_ptr_null(read_file("exec.log"));
}
END_TEST

START_TEST(a_file_of_output_that_cannot_be_made_breaks_the_case)
{
    ck_assert_int_eq(mkdir(scratch_path(scratch_folder, "exec.log"), 0700), 0);
    play("agent:1", "[[step]]\nexec = 'true'\n");
    check_ended(RESULT_BROKEN, "exec.log cannot be made");
}
END_TEST

/* ---- Sockets that the machine's file leaves to the runner ---- */

static const char *const machines_without_sockets[] = {
    "",
    "override.agent.port = 'serial'\n",
    "override.agent.port = 'virtio'\n",
    "override.agent.listen = 'unix:/no/folder/socket'\n",
};

START_TEST(an_agent_is_reached_whatever_the_machine_says_of_its_socket)
{
    char steps[256];

    (void)snprintf(steps, sizeof(steps),
                   "%s[[step]]\nexec = 'echo yes'\noutput = 'yes'\n"
                   "[[step]]\nktap = 'exec'\ncommand = 'echo KTAP version 1; echo 1..1; echo ok 1 a'\n",
                   machines_without_sockets[_i]);
    play("agent:2", steps);
    check_passed();
    char *text = read_file("machine.toml");
    ck_assert_ptr_null(strstr(text, scratch_folder));
    ck_assert((strstr(text, "listen = \"unix:/no/folder") != NULL) == (strstr(steps, "/no/folder") != NULL));
    free(text);
}
END_TEST

START_TEST(an_agents_port_without_a_use_is_no_mistake)
{
    play("print:one", "override.agent.port = 'serial'\n[[step]]\nexpect = 'one'\n");
    check_passed();
}
END_TEST

/* ---- Copies ---- */

static void check_file(const char *name, const char *expected)
{
    char *text = read_file(name);

    ck_assert_ptr_nonnull(text);
    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(copies_have_names_with_variables)
{
    char steps[800];

    scratch_write(scratch_path(scratch_folder, "host-7.bin"), "seven");
    (void)snprintf(steps, sizeof(steps),
                   "variables = {here = '%s'}\n[[step]]\nexpect = 'model (?<model>\\w+)'\n"
                   "[[step]]\nput = '${here}/host-${model}.bin'\nto = '%s/guest-${model}.bin'\n"
                   "[[step]]\nget = '%s/guest-${model}.bin'\nto = 'again-${model}'\n"
                   "[[step]]\nget = '%s/guest-${model}.bin'\n",
                   scratch_folder, scratch_folder, scratch_folder, scratch_folder);
    play("print:model_7 agent:3", steps);
    check_passed();
    check_file("guest-7.bin", "seven");
    check_file("files/again-7", "seven");
    check_file("files/guest-7.bin", "seven");
    ck_assert_ptr_nonnull(strstr(rig.result->steps[1].title, "/host-7.bin"));
}
END_TEST

START_TEST(a_relative_copy_with_a_variable_starts_at_the_scenarios_folder)
{
    const char *folder = strrchr(scratch_folder, '/') + 1;
    char steps[400];

    scratch_write(scratch_path(scratch_folder, "host-7.bin"), "seven");
    /* The scenario is /tmp/test.toml. */
    (void)snprintf(steps, sizeof(steps),
                   "[[step]]\nexpect = 'model (?<model>\\w+)'\n"
                   "[[step]]\nput = '%s/host-${model}.bin'\nto = '%s/guest'\n",
                   folder, scratch_folder);
    ck_assert_int_eq(chdir("/"), 0);
    play("print:model_7 agent:1", steps);
    check_passed();
    check_file("guest", "seven");
}
END_TEST

static const struct {
    const char *printed;
    const char *step;
    const char *why;
} hostile_names[] = {
    {"../../etc/passwd", "put = '${model}'\nto = '/x'", "what a guest has printed may have no \"/\""},
    {"..", "put = '${model}/etc/passwd'\nto = '/x'", "what a guest has printed may have no \"/\" and no \".\" first"},
    {"/etc/passwd", "put = '${model}'\nto = '/x'", "\"${model}\" is \"/etc/passwd\""},
    {"none", "put = '/tmp/no-such-${model}'\nto = '/x'", "/tmp/no-such-none cannot be read: No such file"},
    {"dev", "put = '/${model}'\nto = '/x'", "/dev cannot be read: not a regular file"},
    {"a/b", "get = '/x'\nto = '${model}'", "\"a/b\" is no name for a copy"},
    {"..", "get = '/${model}'", "\"..\" is no name for a copy"},
    {"a;b", "get = '/${model}'", "is no name for a copy"},
};

START_TEST(a_guest_names_no_files_elsewhere)
{
    char words[128];
    char steps[256];

    (void)snprintf(words, sizeof(words), "print:model_%s agent:1", hostile_names[_i].printed);
    (void)snprintf(steps, sizeof(steps), "[[step]]\nexpect = 'model (?<model>.*)'\n[[step]]\n%s\n",
                   hostile_names[_i].step);
    play(words, steps);
    check_ended(RESULT_FAILED, hostile_names[_i].why);
}
END_TEST

/* ---- gdb ---- */

static void install_gdb(const char *script)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/gdb", scratch_folder);
    FILE *out = fopen(path, "we");
    ck_assert_ptr_nonnull(out);
    fprintf(out, "#!/bin/sh\n%s\n", script);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_int_eq(chmod(path, 0755), 0);
    (void)snprintf(path, sizeof(path), "%s:/usr/bin:/bin", scratch_folder);
    ck_assert_int_eq(setenv("PATH", path, 1), 0);
}

/* The same, with a pipe that its processes hold open. Returns the pipe's other end. */
static int install_gdb_that_holds(const char *script)
{
    char path[128];
    char *text = NULL;

    (void)snprintf(path, sizeof(path), "%s/held", scratch_folder);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_gt(asprintf(&text, "exec 9>%s\n%s", path, script), 0);
    install_gdb(text);
    free(text);
    return fd;
}

/* Whoever held it has ended. */
static void check_nobody_holds(int fd)
{
    struct pollfd poll_for = {.fd = fd, .events = POLLIN};

    ck_assert_int_eq(poll(&poll_for, 1, 30000), 1);
    ck_assert_int_eq(poll_for.revents, POLLHUP);
    close(fd);
}

/* What stands in for the socket: gdb is started when there is one. */
static void make_socket(const char *words, const char *steps)
{
    char path[256];
    struct error error;

    start(words, steps);
    char name[32];
    (void)snprintf(name, sizeof(name), "%zx.toml", (size_t)(uintptr_t)rig.run);
    char *text = read_file(name);
    const char *at = strstr(text, "[gdb]\nlisten = \"unix:");
    ck_assert_ptr_nonnull(at);
    at += strlen("[gdb]\nlisten = \"unix:");
    (void)snprintf(path, sizeof(path), "%.*s", (int)strcspn(at, "\""), at);
    free(text);
    ck_assert_int_ge(open(path, O_CREAT | O_WRONLY, 0600), 0);
    while (!rig.has_ended)
        ck_assert_int_eq(event_loop_run(rig.loop, &error), 0);
}

START_TEST(gdb_gets_commands_and_its_output_is_matched)
{
    install_gdb("for word in \"$@\"; do echo \"word $word\"; done; sed 's/^/word /' \"$word\"");
    make_socket("print:one", "[[step]]\ngdb = ['info registers', 'next']\noutput = 'word info (?<what>\\w+)'\n"
                             "[[step]]\nsend = '${what}'\n");
    check_passed();
    ck_assert_str_eq(rig.result->steps[1].title, "registers");
    char *text = read_file("gdb-1.log");
    ck_assert_ptr_nonnull(strstr(text, "word target remote "));
    ck_assert_ptr_nonnull(strstr(text, "word -x\n"));
    ck_assert_ptr_nonnull(strstr(text, "word info registers\nword next\n"));
    free(text);
}
END_TEST

START_TEST(gdb_that_fails_fails)
{
    install_gdb("echo it is so; exit 1");
    make_socket("print:one", "[[step]]\ngdb = ['x']\n");
    check_ended(RESULT_FAILED, "gdb ended with status 1");
    ck_assert_ptr_nonnull(strstr(rig.result->steps[0].detail, "it is so"));
}
END_TEST

START_TEST(gdb_that_prints_something_else_fails)
{
    install_gdb("echo it is so");
    make_socket("print:one", "[[step]]\ngdb = ['x']\noutput = 'not so'\n");
    check_ended(RESULT_FAILED, "no line of what gdb printed matches not so");
}
END_TEST

/* What gdb does when it has seen the machine's process go. */
static void install_gdb_that_waits(const char *script)
{
    char text[512];

    (void)snprintf(text, sizeof(text),
                   "until [ -n \"$process\" ]; do sleep 0.05; process=$(sed -n 's/^process //p' %s/console.log); done\n"
                   "while kill -0 $process 2>/dev/null; do sleep 0.05; done\n%s",
                   scratch_folder, script);
    install_gdb(text);
}

static const char STEPS_WITH_CRASH[] = "expect-trouble = ['triple-fault']\n[[step]]\nexpect = 'one'\n"
                                       "[[step]]\ngdb = ['x']\noutput = 'seen'\n"
                                       "[[step]]\nexpect-exit = 'triple-fault'\n";

START_TEST(gdb_may_see_the_machine_end)
{
    install_gdb_that_waits("echo seen");
    make_socket("print:one wait:1000 end:triple-fault:3", STEPS_WITH_CRASH);
    check_passed();
}
END_TEST

START_TEST(gdb_that_fails_with_the_machine_fails_because_of_it)
{
    install_gdb_that_waits("echo it is gone; exit 1");
    make_socket("print:one wait:1000 end:triple-fault:3", STEPS_WITH_CRASH);
    check_ended(RESULT_FAILED, "gdb x: the machine ended: the guest did that");
    ck_assert_ptr_nonnull(strstr(rig.result->steps[1].detail, "it is gone"));
}
END_TEST

START_TEST(gdb_that_goes_on_is_ended)
{
    const int held = install_gdb_that_holds("sleep 1000; exit 0");

    make_socket("print:one", "[[step]]\ngdb = ['x']\ntimeout = '2s'\n");
    check_ended(RESULT_FAILED, "gdb has not come to its end");
    check_no_process();
    check_nobody_holds(held);
}
END_TEST

START_TEST(gdb_that_finds_no_machine_fails)
{
    make_socket("print:one", "[[step]]\ngdb = ['echo it is fine']\n");
    check_ended(RESULT_FAILED, "gdb ended with status 1");
}
END_TEST

START_TEST(a_guest_writes_no_commands_of_gdbs)
{
    install_gdb("exit 0");
    make_socket("print:one", "variables = {x = \"a\\nshell reboot\"}\n[[step]]\ngdb = ['p ${x}']\n");
    check_ended(RESULT_FAILED, "command 1 of gdb's has more than one line");
}
END_TEST

START_TEST(what_gdb_has_left_behind_is_ended)
{
    const int held = install_gdb_that_holds("sleep 1000 & exit 0");

    make_socket("print:one", "[[step]]\ngdb = ['x']\n");
    check_passed();
    check_nobody_holds(held);
}
END_TEST

/* ---- Hostile guests ---- */

static void expect_end(const char *name, const char *text)
{
    char path[128];
    char end[128] = "";

    (void)snprintf(path, sizeof(path), "%s/%s", scratch_folder, name);
    FILE *in = fopen(path, "re");
    ck_assert_ptr_nonnull(in);
    ck_assert_int_eq(fseek(in, -64, SEEK_END), 0);
    (void)!fread(end, 1, sizeof(end) - 1, in);
    fclose(in);
    ck_assert_ptr_nonnull(strstr(end, text));
}

START_TEST(a_flood_is_bounded)
{
    struct stat status;
    char path[128];

    play("flood:80 print:one", "[[step]]\nexpect = 'one'\ntimeout = '1h'\n");
    check_passed();
    (void)snprintf(path, sizeof(path), "%s/console.log", scratch_folder);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_int_le(status.st_size, CASE_RUN_CONSOLE_MAX + 64);
    expect_end("console.log", " bytes more were left out]\n");
    ck_assert_int_gt(status.st_size, CASE_RUN_CONSOLE_MAX / 2);
}
END_TEST

START_TEST(bytes_without_lines_are_bounded)
{
    play("binary:8 print: print:one", "[[step]]\nexpect = '^one'\ntimeout = '1h'\n");
    check_passed();
}
END_TEST

START_TEST(a_guest_cannot_speak_for_the_runner)
{
    play("print:ok_1_-_test print:PASSED print:passed_test", "[[step]]\nexpect = 'never'\ntimeout = '50ms'\n");
    check_ended(RESULT_FAILED, "never has not come");
}
END_TEST

START_TEST(a_guest_that_does_not_read_holds_nobody_up)
{
    static char steps[900000];
    size_t used = 0;

    for (int i = 0; i < 5; i++) {
        used += (size_t)sprintf(steps + used, "[[step]]\nsend = '");
        memset(steps + used, 'x', 170000);
        used += 170000;
        used += (size_t)sprintf(steps + used, "'\n");
    }
    play("print:one", steps);
    check_passed();
}
END_TEST

/* ---- Early ends ---- */

START_TEST(an_interruption_ends_it)
{
    rig.interrupt_at = 2;
    play("print:one", "[[step]]\nexpect = 'one'\n[[step]]\nsleep = '1h'\n[[step]]\nexpect = 'two'\n");
    check_ended(RESULT_NOT_RUN, "the user has had enough");
    ck_assert_uint_eq(rig.steps_begun, 2);
    check_no_process();
}
END_TEST

START_TEST(an_interruption_ends_the_look_at_a_machine)
{
    const struct itimerspec when = {.it_value = {.tv_nsec = 500000000}};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct error error;

    ck_assert_int_eq(timerfd_settime(fd, 0, &when, NULL), 0);
    ck_assert_int_eq(event_loop_add(rig.loop, fd, EPOLLIN, on_interruption, &fd, &error), 0);
    play("deaf print:one", "[[step]]\nexpect = 'two'\ntimeout = '50ms'\n");
    check_ended(RESULT_NOT_RUN, "the user has had enough");
    check_no_process();
}
END_TEST

START_TEST(one_that_is_destroyed_leaves_no_process)
{
    start("print:one", "[[step]]\nsleep = '1h'\n");
    case_run_destroy(rig.run);
    rig.run = NULL;
    check_no_process();
    ck_assert(!rig.has_ended);
}
END_TEST

START_TEST(machines_die_with_their_runner)
{
    const pid_t runner = fork();
    struct timespec pause = {.tv_nsec = 10000000};
    pid_t machine;

    if (runner == 0) {
        play("print:one", "[[step]]\nexpect = 'one'\n[[step]]\nsleep = '1h'\n");
        _exit(1);
    }
    while ((machine = process_of_machine()) < 0 && waitpid(runner, NULL, WNOHANG) == 0)
        nanosleep(&pause, NULL);
    ck_assert_int_eq(kill(runner, SIGKILL), 0);
    ck_assert_int_eq(waitpid(runner, NULL, 0), runner);
    while (kill(machine, 0) == 0)
        nanosleep(&pause, NULL);
    ck_assert_int_eq(errno, ESRCH);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("case_run");
    TCase *steps = tcase_create("case_run");

    tcase_set_timeout(steps, 120);
    tcase_add_checked_fixture(steps, set_up, tear_down);
    tcase_add_test(steps, steps_are_taken_in_their_order);
    tcase_add_test(steps, the_console_is_what_has_the_terminal);
    tcase_add_test(steps, a_port_of_a_console_may_have_the_terminal);
    tcase_add_test(steps, the_serial_port_has_it_if_nothing_else_has);
    tcase_add_test(steps, a_machine_goes_with_the_last_step);
    tcase_add_test(steps, what_must_not_come_fails_at_once);
    tcase_add_test(steps, a_time_out_says_where_everybody_was);
    tcase_add_test(steps, a_guest_that_crashes_leaves_a_dump);
    tcase_add_test(steps, a_crash_that_is_expected_is_an_end);
    tcase_add_test(steps, a_machine_that_waits_in_vain_for_a_look_is_given_up);
    tcase_add_test(steps, a_machine_that_waits_and_is_killed_is_the_hosts);
    tcase_add_test(steps, a_machine_that_does_not_answer_is_given_up);
    tcase_add_test(steps, all_steps_together_have_a_limit);
    tcase_add_test(steps, a_limit_that_is_over_before_the_first_step_counts);
    tcase_add_test(steps, two_limits_at_once_are_told_once);
    tcase_add_test(steps, time_in_which_the_runner_was_stopped_does_not_count);
    tcase_add_test(steps, a_request_that_is_refused_fails);
    tcase_add_loop_test(steps, ends_are_told_apart, 0, (int)(sizeof(ends) / sizeof(ends[0])));
    tcase_add_test(steps, an_end_that_no_step_expects_fails);
    tcase_add_test(steps, what_came_before_the_end_counts);
    tcase_add_test(steps, a_machine_that_is_killed_says_so);
    tcase_add_test(steps, a_machine_that_crashes_behind_its_end_says_so);
    tcase_add_test(steps, a_machine_that_is_killed_has_no_status);
    tcase_add_test(steps, statuses_come_though_signals_of_children_are_ignored);
    tcase_add_test(steps, a_guest_that_ends_before_its_agent_has_not_been_ended_by_a_command);
    tcase_add_test(steps, a_program_that_is_not_there_is_the_hosts_fault);
    tcase_add_test(steps, a_panic_fails_and_is_the_reason);
    tcase_add_test(steps, trouble_fails_though_every_step_passes);
    tcase_add_test(steps, a_panic_that_is_expected_passes);
    tcase_add_test(steps, trouble_that_is_expected_has_to_come);
    tcase_add_test(steps, trouble_can_be_ignored);
    tcase_add_test(steps, trouble_does_not_hide_behind_what_is_allowed);
    tcase_add_test(steps, tests_on_the_console_are_results);
    tcase_add_test(steps, a_test_that_fails_fails);
    tcase_add_test(steps, a_stream_that_is_cut_short_fails);
    tcase_add_test(steps, a_stream_that_stops_is_out_of_time);
    tcase_add_loop_test(steps, a_command_with_tests_has_to_end_well_and_say_all, 0,
                        (int)(sizeof(ktap_commands) / sizeof(ktap_commands[0])));
    tcase_add_test(steps, a_command_with_tests_that_prints_none_fails);
    tcase_add_test(steps, what_commands_print_is_kept);
    tcase_add_test(steps, what_a_command_has_printed_is_kept_without_its_end);
    tcase_add_test(steps, without_commands_there_is_no_such_file);
    tcase_add_test(steps, a_file_of_output_that_cannot_be_made_breaks_the_case);
    tcase_add_loop_test(steps, an_agent_is_reached_whatever_the_machine_says_of_its_socket, 0,
                        (int)(sizeof(machines_without_sockets) / sizeof(machines_without_sockets[0])));
    tcase_add_test(steps, an_agents_port_without_a_use_is_no_mistake);
    tcase_add_test(steps, copies_have_names_with_variables);
    tcase_add_test(steps, a_relative_copy_with_a_variable_starts_at_the_scenarios_folder);
    tcase_add_loop_test(steps, a_guest_names_no_files_elsewhere, 0,
                        (int)(sizeof(hostile_names) / sizeof(hostile_names[0])));
    tcase_add_test(steps, gdb_gets_commands_and_its_output_is_matched);
    tcase_add_test(steps, gdb_that_fails_fails);
    tcase_add_test(steps, gdb_that_prints_something_else_fails);
    tcase_add_test(steps, gdb_may_see_the_machine_end);
    tcase_add_test(steps, gdb_that_fails_with_the_machine_fails_because_of_it);
    tcase_add_test(steps, gdb_that_goes_on_is_ended);
    tcase_add_test(steps, gdb_that_finds_no_machine_fails);
    tcase_add_test(steps, a_guest_writes_no_commands_of_gdbs);
    tcase_add_test(steps, what_gdb_has_left_behind_is_ended);
    tcase_add_test(steps, a_flood_is_bounded);
    tcase_add_test(steps, bytes_without_lines_are_bounded);
    tcase_add_test(steps, a_guest_cannot_speak_for_the_runner);
    tcase_add_test(steps, a_guest_that_does_not_read_holds_nobody_up);
    tcase_add_test(steps, an_interruption_ends_it);
    tcase_add_test(steps, an_interruption_ends_the_look_at_a_machine);
    tcase_add_test(steps, one_that_is_destroyed_leaves_no_process);
    tcase_add_test(steps, machines_die_with_their_runner);
    suite_add_tcase(suite, steps);
    return unit_test_run(suite);
}
