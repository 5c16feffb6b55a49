/*
 * quire test --kernel on machines that do as they are told (fake_quire.c): how they are started, watched and ended, and
 * that nothing of them stays. This program plays quire, which starts itself as the machine.
 *
 * Time stands still for what is tested, so that no limit of its own comes before what it waits for, however long that
 * takes. SIGUSR1, which a machine or a command sends, lets all limits pass; SIGUSR2 has it counted how often the time
 * is looked at.
 */
#include "vmm/cli/kernel_test.h"

#include "scratch_folder.h"
#include "unit_test.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POWERS_OFF "agent:2 end:power-off:0"
#define HALTS "agent:2 print:reboot:_System_halted"

/* ---- What it gets in the place of the system's ---- */

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __real_pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned flags);
int __wrap_pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned flags);

static struct {
    bool stands_still;
    struct timespec now;
    /* How often somebody has looked. */
    atomic_uint looks;
    /* Hours that pass with each look from now on. */
    atomic_int hours;
    /* So many pass with the next alone. */
    bool leaps_once;
    /* Raised at the first look; 0: none. */
    int signal;
} world;

static unsigned kills;
/* What becomes of the first of them. */
static enum {
    KILL_ENDS,
    /* The machine is asked to go instead, and this process gets a signal. */
    KILL_ASKS,
    /* The machine stays, and time passes. */
    KILL_FAILS,
} kill_does;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!world.stands_still)
        return __real_clock_gettime(clock, now);
    if (world.signal != 0)
        raise(world.signal);
    world.signal = 0;
    world.looks++;
    world.now.tv_sec += 3600 * (world.leaps_once ? atomic_exchange(&world.hours, 0) : world.hours);
    *now = world.now;
    return 0;
}

/* How machines are killed: from then on time stands still again. */
int __wrap_pidfd_send_signal(int fd, int number, siginfo_t *info, unsigned flags)
{
    ck_assert_int_eq(number, SIGKILL);
    world.hours = 0;
    if (++kills > 1 || kill_does == KILL_ENDS)
        return __real_pidfd_send_signal(fd, number, info, flags);
    if (kill_does == KILL_FAILS) {
        world.hours = 1;
        return 0;
    }
    raise(SIGINT);
    return __real_pidfd_send_signal(fd, SIGTERM, info, flags);
}

static void let_time_pass(int number)
{
    (void)number;
    world.hours = 10;
}

static void count_looks(int number)
{
    (void)number;
    world.looks = 0;
}

/* ---- The rig ---- */

static struct {
    struct kernel_test_options options;
    /* What it has written. */
    char output[1 << 16];
    char said[1 << 18];
} rig;

static void set_up(void)
{
    int input[2];

    scratch_folder_make();
    ck_assert_int_eq(setenv("TMPDIR", scratch_folder, 1), 0);
    ck_assert_int_eq(unsetenv("QUIRE_INITRD"), 0);
    /* Nobody types, and nobody has gone. */
    ck_assert_int_eq(pipe(input), 0);
    ck_assert_int_ge(dup2(input[0], STDIN_FILENO), 0);
    (void)signal(SIGHUP, SIG_DFL);
    (void)signal(SIGUSR1, let_time_pass);
    (void)signal(SIGUSR2, count_looks);
}

static void tear_down(void)
{
    kernel_test_options_free(&rig.options);
    scratch_folder_remove();
}

static int redirect(int fd, int *ret_before)
{
    const int file = memfd_create("output", MFD_CLOEXEC);

    *ret_before = dup(fd);
    ck_assert_int_ge(dup2(file, fd), 0);
    return file;
}

static void restore(int fd, int file, int before, char *text, size_t size)
{
    ck_assert_int_ge(dup2(before, fd), 0);
    close(before);
    const ssize_t got = pread(file, text, size - 1, 0);
    close(file);
    ck_assert_int_ge(got, 0);
    text[got] = '\0';
}

static int run_captured(void)
{
    int output_before, said_before;

    (void)fflush(stdout);
    const int output = redirect(STDOUT_FILENO, &output_before);
    const int said = redirect(STDERR_FILENO, &said_before);
    ck_assert_int_eq(__real_clock_gettime(CLOCK_MONOTONIC, &world.now), 0);
    world.stands_still = true;
    const int status = kernel_test_run(&rig.options);
    world.stands_still = false;
    restore(STDOUT_FILENO, output, output_before, rig.output, sizeof(rig.output));
    restore(STDERR_FILENO, said, said_before, rig.said, sizeof(rig.said));
    return status;
}

/* What stays in the folder for temporary files, which is the test's own. */
static int is_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static void check_nothing_stays(void)
{
    struct dirent **entries;

    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
    ck_assert_int_eq(scandir(scratch_folder, &entries, is_entry, NULL), 0);
    free(entries);
}

/* words: what the machine does; more: options, each behind a "|"; command: of the guest's shell, without one. */
static void parse(const char *words, const char *more, const char *command)
{
    static char text[1024];
    static char *argv[32];
    char *rest = text;
    int argc = 0;
    bool is_help;
    struct error error;

    (void)snprintf(text, sizeof(text), "test|--kernel|" FAKE_QUIRE "|--append|%s%s|--|sh|-c|%s", words, more, command);
    for (char *word; (word = strsep(&rest, "|")) != NULL;)
        argv[argc++] = word;
    argv[argc] = NULL;
    if (kernel_test_options_parse(argc, argv, stdout, &rig.options, &is_help, &error) < 0)
        ck_abort_msg("%s", error.text);
}

static void check_with(const char *words, const char *more, const char *command, int status)
{
    char options[512];

    (void)snprintf(options, sizeof(options), "|--initrd|" FAKE_QUIRE "%s", more);
    parse(words, options, command);
    const int got = run_captured();
    if (got != status)
        ck_abort_msg("status %d, not %d: %s", got, status, rig.said);
    check_nothing_stays();
}

static void check(const char *words, const char *command, int status)
{
    check_with(words, "", command, status);
}

static void check_said(const char *text)
{
    if (strstr(rig.said, text) == NULL)
        ck_abort_msg("\"%s\" does not say \"%s\"", rig.said, text);
}

/* ---- A command ---- */

START_TEST(a_command_has_its_streams_and_its_status)
{
    check(POWERS_OFF, "echo out; exit 7", 7);
    ck_assert_str_eq(rig.output, "out\n");
    ck_assert_str_eq(rig.said, "");
    ck_assert_uint_eq(kills, 0);
}
END_TEST

START_TEST(a_signal_that_ends_the_command_is_told)
{
    check(POWERS_OFF, "kill -9 $$", 137);
    ck_assert_str_eq(rig.said, "");
}
END_TEST

START_TEST(a_signal_is_a_bad_commit)
{
    check_with(POWERS_OFF, "|--bisect", "kill -9 $$", 1);
}
END_TEST

/* The machine's file, which is there as long as the machine. */
static const char show_machine[] = "cat \"$TMPDIR\"/*/machine.toml";

static void check_machine(const char *key, const char *value)
{
    char line[512];

    (void)snprintf(line, sizeof(line), "\n%s = \"%s\"\n", key, value);
    if (strstr(rig.output, line) == NULL)
        ck_abort_msg("%s has no %s", rig.output, line);
}

START_TEST(the_machine_is_as_it_was_asked_for)
{
    check_with(POWERS_OFF, "|--set|machine.name=other", show_machine, 0);
    check_machine("kernel", FAKE_QUIRE);
    check_machine("initrd", FAKE_QUIRE);
    check_machine("name", "other");
    check_machine("backend", "stdio");
    check_machine("cmdline", "console=ttyS0 panic=-1 " POWERS_OFF);
}
END_TEST

START_TEST(an_initrd_of_the_environment_is_taken)
{
    const char *path = scratch_path("/", "usr/bin/env");

    ck_assert_int_eq(setenv("QUIRE_INITRD", path, 1), 0);
    parse(POWERS_OFF, "", show_machine);
    ck_assert_int_eq(run_captured(), 0);
    check_machine("initrd", path);
    check_nothing_stays();
    /* The option is before it. */
    kernel_test_options_free(&rig.options);
    check(POWERS_OFF, show_machine, 0);
    check_machine("initrd", FAKE_QUIRE);
}
END_TEST

START_TEST(files_are_in_an_initrd_of_its_own)
{
    check_with(POWERS_OFF, "|--put|/dev/../etc/passwd", "cd \"$TMPDIR\"/* && ls && cat machine.toml", 0);
    ck_assert_ptr_nonnull(strstr(rig.output, "\ninitrd\n"));
    ck_assert_ptr_nonnull(strstr(rig.output, "/initrd\"\n"));
    ck_assert_ptr_null(strstr(rig.output, "initrd = \"" FAKE_QUIRE));
}
END_TEST

START_TEST(what_cannot_be_begun_leaves_nothing)
{
    check_with(POWERS_OFF, "|--put|/no/such/file", "true", 2);
    check_said("quire: test: /no/such/file: No such file");
    kernel_test_options_free(&rig.options);
    check_with(POWERS_OFF, "|--set|serial.backend=file", "true", 2);
    kernel_test_options_free(&rig.options);
    check_with(POWERS_OFF, "|--set|serial.backend=file|--bisect", "true", 128);
    kernel_test_options_free(&rig.options);
    ck_assert_int_eq(setenv("TMPDIR", "/no/such", 1), 0);
    check(POWERS_OFF, "true", 4);
    check_said("quire: test: no folder can be made in /no/such: ");
}
END_TEST

/* ---- What comes of the console and of the machine ---- */

START_TEST(trouble_comes_with_its_lines)
{
    check("print:one print:BUG:_two print:three " POWERS_OFF, "true", 1);
    ck_assert_str_eq(rig.said, "quire: test: the kernel is in trouble: bug\n  | BUG: two\n  | three\n");
}
END_TEST

START_TEST(the_last_line_counts_without_an_end)
{
    check("agent:2 prompt:BUG:_two end:power-off:0", "true", 1);
    ck_assert_str_eq(rig.said, "quire: test: the kernel is in trouble: bug\n  | BUG: two\n");
}
END_TEST

START_TEST(what_the_console_and_the_machine_say_can_be_shown)
{
    check_with("print:one log:quire:_two " POWERS_OFF, "|--verbose", "true", 0);
    check_said("process ");
    check_said("one\n");
    check_said("quire: two\n");
}
END_TEST

START_TEST(a_machine_that_is_refused_says_why)
{
    check("log:quire:_no_KVM end:refused:4", "true", 4);
    ck_assert_str_eq(rig.said, "quire: no KVM\n");
    kernel_test_options_free(&rig.options);
    check_with("log:quire:_no_KVM end:refused:2", "|--bisect", "true", 125);
    ck_assert_str_eq(rig.said, "quire: no KVM\n");
}
END_TEST

START_TEST(the_place_in_a_file_that_nobody_has_written_is_left_out)
{
    check("log:quire:_@:2:10:_boot.kernel:_no end:refused:2", "true", 2);
    ck_assert_str_eq(rig.said, "quire: boot.kernel: no\n");
}
END_TEST

/* "fake: line 1" and so on, at the end of a text. */
static size_t add_lines(char *text, size_t length, size_t size, int count)
{
    for (int i = 1; i <= count; i++)
        length += (size_t)snprintf(text + length, size - length, "fake: line %d\n", i);
    ck_assert_uint_lt(length, size);
    return length;
}

enum { KEPT = 8192 };

START_TEST(of_much_the_machine_says_the_end_is_shown)
{
    static char all[1 << 16];
    const size_t length = add_lines(all, 0, sizeof(all), 2000);

    check("many-logs:2000 end:host-failure:4", "true", 4);
    ck_assert_uint_eq(strlen(rig.said), KEPT);
    ck_assert_str_eq(rig.said, all + length - KEPT);
}
END_TEST

/* There is room for what it has said before the command, and not for all that follows. */
START_TEST(what_the_machine_says_later_takes_the_place_of_the_first)
{
    static char all[1 << 16];
    const size_t first = add_lines(all, 0, sizeof(all), 500);
    const size_t length = add_lines(all, first, sizeof(all), 400);

    ck_assert_uint_lt(first, KEPT);
    check("many-logs:500 agent:1 many-logs:400 end:host-failure:4", "true", 4);
    ck_assert_uint_eq(strlen(rig.said), KEPT);
    ck_assert_str_eq(rig.said, all + length - KEPT);
}
END_TEST

/* ---- A guest or a machine that has gone ---- */

START_TEST(a_machine_that_dies_at_once_is_the_hosts)
{
    check("vanish", "true", 4);
    check_said("quire: test: the machine's process ended with status 137, and could not say why\n");
    ck_assert_uint_eq(kills, 0);
}
END_TEST

START_TEST(a_guest_that_ends_at_once_does_not_boot)
{
    check("end:reset:0", "true", 1);
    check_said("quire: test: the kernel does not boot: the guest did that\n");
    ck_assert_uint_eq(kills, 0);
}
END_TEST

/* Its socket is closed before its process can say why. */
START_TEST(a_machine_that_hangs_up_may_say_why)
{
    check("hangup end:reset:0", "true", 1);
    check_said("quire: test: the kernel does not boot: the guest did that\n");
    ck_assert_uint_eq(kills, 0);
}
END_TEST

START_TEST(a_machine_that_hangs_up_and_does_not_say_why_is_ended)
{
    parse("hangup signal:10", "|--initrd|" FAKE_QUIRE, "true");
    /* It has all time to boot. */
    rig.options.wait = -1;
    ck_assert_int_eq(run_captured(), 1);
    check_said("quire: test: the kernel does not boot: the machine has ended\n");
    ck_assert_uint_eq(kills, 1);
    check_nothing_stays();
}
END_TEST

START_TEST(a_machine_that_dies_amid_the_command_is_the_hosts)
{
    check("agent:1", "kill -9 $PPID; sleep 1000", 4);
    check_said("could not say why");
    ck_assert_uint_eq(kills, 0);
}
END_TEST

/* ---- The end of the machine ---- */

START_TEST(a_guest_that_halts_is_not_waited_for)
{
    check(HALTS, "exit 3", 3);
    ck_assert_str_eq(rig.said, "");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

START_TEST(a_guest_that_does_not_power_off_is_ended)
{
    check("agent:2 signal:10", "exit 3", 3);
    ck_assert_str_eq(rig.said, "");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

START_TEST(a_signal_ends_the_wait_for_the_power_off)
{
    check("agent:2 signal:15", "exit 3", 3);
    ck_assert_str_eq(rig.said, "");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

/* Neither a signal nor that it has halted ends that wait. */
START_TEST(a_machine_that_takes_its_time_to_go_is_waited_for)
{
    kill_does = KILL_ASKS;
    check_with(HALTS " linger", "|--verbose", "exit 3", 3);
    check_said("reboot: System halted\ngoing\n");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

START_TEST(a_machine_that_cannot_be_ended_is_the_hosts)
{
    kill_does = KILL_FAILS;
    check(HALTS, "exit 3", 4);
    ck_assert_str_eq(rig.said, "quire: test: the machine's process cannot be ended\n");
}
END_TEST

/* Who waits looks at the time once more when something has happened; who does not looks thousands of times. */
START_TEST(the_wait_for_the_power_off_costs_nothing)
{
    check("agent:2 signal:12 wait:300 end:power-off:0", "true", 0);
    ck_assert_uint_lt(world.looks, 100);
}
END_TEST

/* ---- Its end before its time ---- */

static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

START_TEST(a_signal_while_it_boots_ends_it)
{
    char words[32];

    (void)snprintf(words, sizeof(words), "signal:%d", signals[_i]);
    check(words, "true", 128 + signals[_i]);
    ck_assert_str_eq(rig.said, "");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

START_TEST(a_signal_before_there_is_a_machine_leaves_nothing)
{
    world.signal = SIGTERM;
    check("print:one", "true", 143);
    ck_assert_str_eq(rig.said, "");
}
END_TEST

START_TEST(a_signal_that_is_ignored_ends_nothing)
{
    (void)signal(SIGHUP, SIG_IGN);
    check("signal:1 " POWERS_OFF, "exit 3", 3);
    ck_assert_uint_eq(kills, 0);
    kernel_test_options_free(&rig.options);
    check("agent:2 signal:1 end:power-off:0", "exit 3", 3);
    ck_assert_uint_eq(kills, 0);
}
END_TEST

START_TEST(a_guest_that_does_not_answer_is_ended)
{
    check("print:one signal:10", "true", 124);
    check_said("quire: test: the guest does not boot");
    check_said("  | one\n");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

START_TEST(time_that_runs_out_while_it_boots_ends_it)
{
    check_with("signal:10", "|--wait|10h|--timeout|1h", "true", 124);
    check_said("quire: test: out of time, and the guest has not booted yet\n");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

/* Without waiting until the guest has powered off. */
START_TEST(time_that_runs_out_later_ends_the_command)
{
    char command[64];

    world.leaps_once = true;
    (void)snprintf(command, sizeof(command), "echo up; kill -USR1 %d; exec sleep 1000", (int)getpid());
    check_with("agent:1", "|--timeout|1h", command, 124);
    check_said("quire: test: out of time, and the command is ended\n");
    ck_assert_uint_eq(kills, 1);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("kernel_test");
    TCase *tcase = tcase_create("kernel_test");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_command_has_its_streams_and_its_status);
    tcase_add_test(tcase, a_signal_that_ends_the_command_is_told);
    tcase_add_test(tcase, a_signal_is_a_bad_commit);
    tcase_add_test(tcase, the_machine_is_as_it_was_asked_for);
    tcase_add_test(tcase, an_initrd_of_the_environment_is_taken);
    tcase_add_test(tcase, files_are_in_an_initrd_of_its_own);
    tcase_add_test(tcase, what_cannot_be_begun_leaves_nothing);
    tcase_add_test(tcase, trouble_comes_with_its_lines);
    tcase_add_test(tcase, the_last_line_counts_without_an_end);
    tcase_add_test(tcase, what_the_console_and_the_machine_say_can_be_shown);
    tcase_add_test(tcase, a_machine_that_is_refused_says_why);
    tcase_add_test(tcase, the_place_in_a_file_that_nobody_has_written_is_left_out);
    tcase_add_test(tcase, of_much_the_machine_says_the_end_is_shown);
    tcase_add_test(tcase, what_the_machine_says_later_takes_the_place_of_the_first);
    tcase_add_test(tcase, a_machine_that_dies_at_once_is_the_hosts);
    tcase_add_test(tcase, a_guest_that_ends_at_once_does_not_boot);
    tcase_add_test(tcase, a_machine_that_hangs_up_may_say_why);
    tcase_add_test(tcase, a_machine_that_hangs_up_and_does_not_say_why_is_ended);
    tcase_add_test(tcase, a_machine_that_dies_amid_the_command_is_the_hosts);
    tcase_add_test(tcase, a_guest_that_halts_is_not_waited_for);
    tcase_add_test(tcase, a_guest_that_does_not_power_off_is_ended);
    tcase_add_test(tcase, a_signal_ends_the_wait_for_the_power_off);
    tcase_add_test(tcase, a_machine_that_takes_its_time_to_go_is_waited_for);
    tcase_add_test(tcase, a_machine_that_cannot_be_ended_is_the_hosts);
    tcase_add_test(tcase, the_wait_for_the_power_off_costs_nothing);
    tcase_add_loop_test(tcase, a_signal_while_it_boots_ends_it, 0, (int)(sizeof(signals) / sizeof(signals[0])));
    tcase_add_test(tcase, a_signal_before_there_is_a_machine_leaves_nothing);
    tcase_add_test(tcase, a_signal_that_is_ignored_ends_nothing);
    tcase_add_test(tcase, a_guest_that_does_not_answer_is_ended);
    tcase_add_test(tcase, time_that_runs_out_while_it_boots_ends_it);
    tcase_add_test(tcase, time_that_runs_out_later_ends_the_command);
    suite_add_tcase(all, tcase);
    return all;
}

int main(int argc, char *argv[])
{
    if (argc > 1 && strcmp(argv[1], "run") == 0) {
        (void)execv(FAKE_QUIRE, argv);
        _exit(127);
    }
    return unit_test_run(suite());
}
