/*
 * What quire test --kernel makes of ends: the status, and all that is said of them.
 */
#include "vmm/cli/kernel_verdict.h"

#include "vmm/machine/outcome.h"

#include "unit_test.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_NAME "/tmp/quire-test-abcdef/machine.toml"

static const char *const words[] = {"./selftest", "-v"};

static const struct machine_end powered_off = {.name = "power-off", .text = "the guest powered off"};
static const struct machine_end killed = {
    .name = "killed", .status = EXIT_STATUS_HOST_FAILED, .text = "the machine's process ended with status 137"};

static struct {
    struct kernel_test_options options;
    struct console_watch *watch;
    struct exec_end command;
    struct kernel_facts facts;
    /* What came of it. */
    int status;
    char said[1 << 18];
} rig;

/* ---- The rig ---- */

/* A guest that has booted, run the command, and powered off, without a word. */
static void set_up(void)
{
    const struct console_watch_options options = {0};
    struct error error;

    memset(&rig, 0, sizeof(rig));
    rig.options.command = words;
    rig.options.command_count = 2;
    rig.watch = console_watch_create(&options, &error);
    ck_assert_ptr_nonnull(rig.watch);
    rig.command.kind = EXEC_ENDED;
    rig.facts = (struct kernel_facts){
        .options = &rig.options,
        .watch = rig.watch,
        .machine = &powered_off,
        .log = "",
        .file = FILE_NAME,
        .has_booted = true,
        .command = &rig.command,
    };
}

static void tear_down(void)
{
    console_watch_free(rig.watch);
}

static void feed(const char *text)
{
    console_watch_feed(rig.watch, 1, text, strlen(text));
}

static void feed_times(unsigned count, const char *text)
{
    while (count-- > 0)
        feed(text);
}

/* "line 1" and so on. */
static void feed_numbered(unsigned first, unsigned last)
{
    char text[32];

    for (; first <= last; first++) {
        (void)snprintf(text, sizeof(text), "line %u\n", first);
        feed(text);
    }
}

/* Where standard error goes for a while. */
static int begin_capture(int *ret_before)
{
    const int file = memfd_create("stderr", MFD_CLOEXEC);

    *ret_before = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(file, STDERR_FILENO), 0);
    return file;
}

static void end_capture(int file, int before)
{
    ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
    close(before);
    const ssize_t got = pread(file, rig.said, sizeof(rig.said) - 1, 0);
    close(file);
    ck_assert_int_ge(got, 0);
    ck_assert_int_lt(got, (ssize_t)sizeof(rig.said) - 1);
    rig.said[got] = '\0';
    ck_assert_uint_eq(strlen(rig.said), (size_t)got);
}

static void reach(void)
{
    int before;
    const int file = begin_capture(&before);

    console_watch_finish(rig.watch);
    rig.status = kernel_verdict(&rig.facts);
    end_capture(file, before);
}

static void check(int status, const char *said)
{
    reach();
    ck_assert_str_eq(rig.said, said);
    ck_assert_int_eq(rig.status, status);
}

static unsigned count_said(const char *text)
{
    unsigned count = 0;

    for (const char *at = rig.said; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

/* ---- The command ---- */

START_TEST(a_status_is_passed_on_without_a_word)
{
    for (rig.command.status = 0; rig.command.status < 256; rig.command.status++) {
        rig.options.bisect = false;
        check(rig.command.status, "");
        rig.options.bisect = true;
        check(rig.command.status < EXIT_STATUS_SIGNAL_BASE ? rig.command.status : 1, "");
    }
}
END_TEST

START_TEST(what_a_good_console_says_is_not_shown)
{
    feed("Linux version 6.12\nreboot: Power down\n");
    rig.facts.log = "quire: all is well\n";
    check(0, "");
}
END_TEST

START_TEST(a_command_that_cannot_be_run_has_a_shells_status)
{
    static const int statuses[] = {126, 127};

    rig.command.kind = EXEC_NOT_RUN;
    (void)strcpy(rig.command.text, "it is not there");
    for (int bisect = 0; bisect < 2; bisect++)
        for (size_t i = 0; i < 2; i++) {
            rig.options.bisect = bisect != 0;
            rig.command.status = statuses[i];
            check(statuses[i], "quire: test: ./selftest: it is not there\n");
        }
    rig.options.command_count = 0;
    check(127, "quire: test: sh: it is not there\n");
}
END_TEST

/* ---- Trouble on the console ---- */

START_TEST(trouble_fails_whatever_the_command_says)
{
    static const int kinds[] = {EXEC_ENDED,       EXEC_NOT_RUN, EXEC_LOST,  EXEC_NO_ANSWER,
                                EXEC_OUT_OF_TIME, EXEC_STOPPED, EXEC_FAILED};

    rig.command.status = 77;
    feed("booting\nBUG: it went wrong\nand on\n");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        rig.command.kind = kinds[i];
        rig.options.bisect = i % 2 != 0;
        check(1, "quire: test: the kernel is in trouble: bug\n"
                 "  | BUG: it went wrong\n"
                 "  | and on\n");
    }
}
END_TEST

START_TEST(kinds_are_counted_in_their_order)
{
    feed("BUG: one\nWARNING: CPU: 0 PID: 1 at a.c:1\nBUG: two\nKernel panic - not syncing: so\nBUG: three\n");
    check(1, "quire: test: the kernel is in trouble: panic, bug (3 times), warning\n"
             "  | BUG: one\n"
             "  | WARNING: CPU: 0 PID: 1 at a.c:1\n"
             "  | BUG: two\n"
             "  | Kernel panic - not syncing: so\n"
             "  | BUG: three\n"
             "quire: test: and warning, on line 2 of the console:\n"
             "  | WARNING: CPU: 0 PID: 1 at a.c:1\n"
             "quire: test: and bug, on line 3 of the console:\n"
             "  | BUG: two\n"
             "quire: test: and panic, on line 4 of the console:\n"
             "  | Kernel panic - not syncing: so\n"
             "quire: test: and bug, on line 5 of the console:\n"
             "  | BUG: three\n");
}
END_TEST

START_TEST(ten_of_much_trouble_are_shown)
{
    feed_times(10, "BUG: again\n");
    reach();
    ck_assert_uint_eq(count_said("quire: test: and bug, on line "), 9);
    ck_assert_uint_eq(count_said("quire: test: and more\n"), 0);
    feed("BUG: again\n");
    reach();
    ck_assert_int_eq(rig.status, 1);
    ck_assert_uint_eq(count_said("bug (11 times)\n"), 1);
    ck_assert_uint_eq(count_said("quire: test: and bug, on line "), 9);
    ck_assert_uint_eq(count_said("on line 10 of the console:\n  | BUG: again\nquire: test: and more\n"), 1);
}
END_TEST

START_TEST(lines_from_the_first_trouble_on_are_shown)
{
    feed_numbered(1, 5);
    feed("BUG: here\n");
    feed_numbered(7, 30);
    reach();
    ck_assert_uint_eq(count_said("line 5\n"), 0);
    ck_assert_uint_eq(count_said("  | BUG: here\n  | line 7\n"), 1);
    /* 25 with the first. */
    ck_assert_uint_eq(count_said("  | line 30\n"), 1);
    feed("line 31\n");
    reach();
    ck_assert_uint_eq(count_said("  | BUG: here\n  | line 7\n"), 1);
    ck_assert_uint_eq(count_said("  | line 30\n"), 1);
    ck_assert_uint_eq(count_said("  | line 31\n"), 0);
    ck_assert_uint_eq(count_said("  | "), 25);
}
END_TEST

START_TEST(a_last_line_without_an_end_is_trouble_too)
{
    feed("BUG: here");
    check(1, "quire: test: the kernel is in trouble: bug\n  | BUG: here\n");
}
END_TEST

START_TEST(trouble_that_is_allowed_is_none)
{
    rig.options.allowed[TROUBLE_BUG] = true;
    rig.options.allowed[TROUBLE_WARNING] = true;
    rig.command.status = 3;
    feed("BUG: one\nWARNING: CPU: 0 PID: 1 at a.c:1\n");
    check(3, "");
}
END_TEST

START_TEST(trouble_that_is_allowed_is_not_told_beside_other)
{
    rig.options.allowed[TROUBLE_BUG] = true;
    feed("BUG: one\nWARNING: CPU: 0 PID: 1 at a.c:1\nBUG: two\nWARNING: CPU: 0 PID: 1 at b.c:1\nBUG: three\n");
    check(1, "quire: test: the kernel is in trouble: warning (2 times)\n"
             "  | WARNING: CPU: 0 PID: 1 at a.c:1\n"
             "  | BUG: two\n"
             "  | WARNING: CPU: 0 PID: 1 at b.c:1\n"
             "  | BUG: three\n"
             "quire: test: and warning, on line 4 of the console:\n"
             "  | WARNING: CPU: 0 PID: 1 at b.c:1\n");
}
END_TEST

START_TEST(trouble_does_not_hide_behind_what_is_allowed)
{
    rig.options.allowed[TROUBLE_WARNING] = true;
    feed_times(CONSOLE_TROUBLE_MAX, "WARNING: CPU: 0 PID: 1 at a.c:1\n");
    check(0, "");
    feed("BUG: one\nBUG: two\n");
    reach();
    ck_assert_int_eq(rig.status, 1);
    ck_assert_uint_eq(count_said("quire: test: the kernel is in trouble: bug (2 times)\n"), 1);
    ck_assert_uint_eq(count_said("its line is not known\nquire: test: the console's last lines:\n"), 1);
    ck_assert_uint_eq(count_said("  | BUG: one\n  | BUG: two\n"), 1);
}
END_TEST

START_TEST(what_was_shown_already_is_not_repeated)
{
    rig.options.verbose = true;
    feed("booting\nBUG: one\nand on\nBUG: two\n");
    check(1, "quire: test: the kernel is in trouble: bug (2 times)\n"
             "  | BUG: one\n"
             "quire: test: and bug, on line 4 of the console:\n"
             "  | BUG: two\n");
}
END_TEST

/* ---- Trouble that the machine tells ---- */

static const struct machine_end crashes[] = {
    {"triple-fault", EXIT_STATUS_GUEST_CRASHED, "vCPU 0 stopped with a triple fault"},
    {"unhandled-exit", EXIT_STATUS_GUEST_CRASHED, "vCPU 0 stopped: it did"},
    {"panic", EXIT_STATUS_GUEST_CRASHED, "the guest kernel panicked"},
};

START_TEST(a_machine_tells_of_trouble)
{
    char said[512];

    rig.facts.machine = &crashes[_i];
    rig.facts.log = "quire: vCPU 0: rip 0x1234\nquire: and so on\n";
    rig.command.kind = EXEC_LOST;
    feed("booting\nand on\n");
    (void)snprintf(said, sizeof(said),
                   "quire: test: the kernel is in trouble: %s\n"
                   "quire: vCPU 0: rip 0x1234\n"
                   "quire: and so on\n"
                   "quire: test: the console's last lines:\n"
                   "  | booting\n"
                   "  | and on\n",
                   crashes[_i].name);
    check(1, said);
    /* Also where the command had ended before. */
    rig.command.kind = EXEC_ENDED;
    check(1, said);
    rig.options.verbose = true;
    (void)snprintf(said, sizeof(said), "quire: test: the kernel is in trouble: %s\n", crashes[_i].name);
    check(1, said);
}
END_TEST

START_TEST(a_machines_trouble_can_be_allowed)
{
    rig.facts.machine = &crashes[_i];
    rig.options.allowed[trouble_find(crashes[_i].name)] = true;
    rig.command.status = 5;
    check(5, "");
}
END_TEST

START_TEST(a_panic_that_both_tell_is_told_once)
{
    rig.facts.machine = &crashes[2];
    rig.facts.log = "quire: the guest kernel panicked\n";
    rig.command.kind = EXEC_LOST;
    feed("Kernel panic - not syncing: so\n");
    check(1, "quire: test: the kernel is in trouble: panic\n  | Kernel panic - not syncing: so\n");
}
END_TEST

/* ---- A guest that has gone ---- */

START_TEST(a_guest_that_goes_before_it_has_booted_does_not_boot)
{
    static const int kinds[] = {EXEC_STOPPED, EXEC_LOST};

    rig.facts.has_booted = false;
    for (size_t i = 0; i < 2; i++) {
        rig.command.kind = kinds[i];
        check(1, "quire: test: the kernel does not boot: the guest powered off\n"
                 "quire: test: the console has said nothing\n");
    }
}
END_TEST

START_TEST(a_guest_that_goes_before_the_commands_end_has_failed)
{
    rig.command.kind = EXEC_LOST;
    feed_numbered(1, 30);
    reach();
    ck_assert_int_eq(rig.status, 1);
    ck_assert_uint_eq(count_said("quire: test: the guest has gone before the command's end: the guest powered off\n"
                                 "quire: test: the console's last lines:\n"
                                 "  | line 6\n"),
                      1);
    ck_assert_uint_eq(count_said("  | line 30\n"), 1);
    rig.options.verbose = true;
    check(1, "quire: test: the guest has gone before the command's end: the guest powered off\n");
}
END_TEST

START_TEST(the_end_of_a_killed_machine_is_not_its_own)
{
    rig.facts.machine = &killed;
    rig.facts.was_killed = true;
    rig.command.kind = EXEC_LOST;
    (void)strcpy(rig.command.text, "the guest does not answer");
    check(1, "quire: test: what has become of the command is not known: the guest does not answer\n"
             "quire: test: the console has said nothing\n");
    rig.facts.has_booted = false;
    check(1, "quire: test: the kernel does not boot: the guest does not answer\n"
             "quire: test: the console has said nothing\n");
    rig.facts.has_booted = true;
    rig.command.kind = EXEC_ENDED;
    rig.command.status = 9;
    check(9, "");
    rig.facts.machine = &crashes[0];
    check(9, "");
}
END_TEST

/* ---- The host ---- */

static const struct {
    struct machine_end end;
    /* It has said why itself. */
    const char *log;
    const char *said;
} failures[] = {
    {{"refused", EXIT_STATUS_USAGE, "it is cut short"},
     "quire: " FILE_NAME ":3:10: boot.kernel: it is cut short\n",
     "quire: boot.kernel: it is cut short\n"},
    {{"refused", EXIT_STATUS_HOST_FAILED, "no KVM"}, "quire: no KVM", "quire: no KVM\n"},
    {{"host-failure", EXIT_STATUS_HOST_FAILED, "ioctl: so"}, "quire: ioctl: so\n", "quire: ioctl: so\n"},
    {{"killed", EXIT_STATUS_HOST_FAILED, "it could not say why"}, "", "quire: test: it could not say why\n"},
};

START_TEST(what_the_host_fails_at_is_not_the_kernels)
{
    static const int kinds[] = {EXEC_STOPPED, EXEC_LOST, EXEC_ENDED, EXEC_NO_ANSWER, EXEC_OUT_OF_TIME};

    rig.facts.machine = &failures[_i].end;
    rig.facts.log = failures[_i].log;
    feed("BUG: one\n");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        rig.command.kind = kinds[i];
        rig.options.bisect = false;
        check(failures[_i].end.status, failures[_i].said);
        rig.options.bisect = true;
        check(125, failures[_i].said);
    }
    rig.options.verbose = true;
    reach();
    ck_assert_int_eq(rig.status, 125);
    /* What it has said is there already, and what is said of it is not. */
    ck_assert_str_eq(rig.said, strncmp(failures[_i].said, "quire: test: ", 13) == 0 ? failures[_i].said : "");
}
END_TEST

START_TEST(a_machine_that_does_not_end_is_the_hosts)
{
    rig.facts.machine = NULL;
    rig.facts.was_killed = true;
    check(4, "quire: test: the machine's process cannot be ended\n");
    rig.command.kind = EXEC_SIGNALLED;
    rig.command.status = 130;
    rig.options.bisect = true;
    check(125, "quire: test: the machine's process cannot be ended\n");
}
END_TEST

static const struct {
    enum error_kind kind;
    int status;
    int for_bisect;
} errors[] = {{ERROR_CONFIG, 2, 128}, {ERROR_HOST, 4, 125}};

START_TEST(errors_have_statuses)
{
    rig.command.kind = EXEC_FAILED;
    rig.facts.machine = &killed;
    rig.facts.was_killed = true;
    for (size_t i = 0; i < 2; i++) {
        error_set(&rig.command.error, errors[i].kind, "no %s", "socket");
        rig.options.bisect = false;
        check(errors[i].status, "quire: test: no socket\n");
        rig.options.bisect = true;
        check(errors[i].for_bisect, "quire: test: no socket\n");
    }
}
END_TEST

START_TEST(errors_without_a_machine_have_the_same_statuses)
{
    struct error error;
    int before;

    for (size_t i = 0; i < 4; i++) {
        error_set(&error, errors[i / 2].kind, "no \x1b[2Jinitrd");
        rig.options.bisect = i % 2 != 0;
        const int file = begin_capture(&before);
        rig.status = kernel_verdict_of_error(&rig.options, &error);
        end_capture(file, before);
        ck_assert_str_eq(rig.said, "quire: test: no \\x1b[2Jinitrd\n");
        ck_assert_int_eq(rig.status, i % 2 != 0 ? errors[i / 2].for_bisect : errors[i / 2].status);
    }
}
END_TEST

/* ---- Its end before its time ---- */

START_TEST(time_runs_out_before_or_after_the_boot)
{
    rig.facts.machine = &killed;
    rig.facts.was_killed = true;
    rig.command.kind = EXEC_OUT_OF_TIME;
    feed("half a li");
    for (int bisect = 0; bisect < 2; bisect++) {
        rig.options.bisect = bisect != 0;
        rig.facts.has_booted = true;
        check(124, "quire: test: out of time, and the command is ended\n"
                   "quire: test: the console's last lines:\n"
                   "  | half a li\n");
        rig.facts.has_booted = false;
        check(124, "quire: test: out of time, and the guest has not booted yet\n"
                   "quire: test: the console's last lines:\n"
                   "  | half a li\n");
    }
}
END_TEST

START_TEST(no_answer_is_told_with_remedies)
{
    rig.facts.machine = &killed;
    rig.facts.was_killed = true;
    rig.facts.has_booted = false;
    rig.command.kind = EXEC_NO_ANSWER;
    feed_numbered(1, 26);
    reach();
    ck_assert_int_eq(rig.status, 124);
    ck_assert_uint_eq(count_said("quire: test: the guest does not boot, or its kernel has no 8250 serial ports"), 1);
    ck_assert_uint_eq(count_said("--wait has it more time, --verbose shows its console\n"), 1);
    ck_assert_uint_eq(count_said("quire: test: the console's last lines:\n  | line 2\n"), 1);
    ck_assert_uint_eq(count_said("  | line 26\n"), 1);
    rig.options.verbose = true;
    reach();
    ck_assert_uint_eq(count_said("\n"), 1);
}
END_TEST

START_TEST(a_signal_ends_it_without_a_word)
{
    rig.facts.machine = &killed;
    rig.facts.was_killed = true;
    rig.command.kind = EXEC_SIGNALLED;
    rig.command.status = 130;
    feed("BUG: one\n");
    check(130, "");
    /* To git, that is the end of its bisection, as it is meant. */
    rig.options.bisect = true;
    check(130, "");
}
END_TEST

/* ---- Hostile text ---- */

/* Escape sequences of both kinds, what goes back on the line, a title, other directions, and bytes that are no UTF-8.
 */
#define HOSTILE "\x1b[2J\x1b]0;title\x07\b\x7f\2331m\xc2\2331m\xe2\x80\xae\xff end\tof \xc3\xbc"
#define PLAIN                                                                                                          \
    "\\x1b[2J\\x1b]0;title\\x07\\x08\\x7f\xef\xbf\xbd"                                                                 \
    "1m\\x9b1m\\u202e\xef\xbf\xbd end\tof \xc3\xbc"

static void check_is_plain(void)
{
    static const char *const bad[] = {"\x1b", "\a", "\b", "\r", "\x7f", "\2331", "\xc2\x9b", "\xe2\x80\xae", "\xff"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (strstr(rig.said, bad[i]) != NULL)
            ck_abort_msg("%zu is in: %s", i, rig.said);
}

/* The watch takes escape sequences out of lines, where they are ones, and not out of what was in trouble. */
START_TEST(a_hostile_console_does_not_reach_the_terminal)
{
    feed("BUG: first " HOSTILE "\nBUG: second " HOSTILE "\rover it\n\x1b]0;never closed\n");
    reach();
    check_is_plain();
    ck_assert_uint_eq(count_said("  | BUG: second " PLAIN "\n"), 1);
    ck_assert_uint_eq(count_said("  | over it\n"), 1);
    rig.options.verbose = true;
    reach();
    check_is_plain();
    ck_assert_uint_eq(count_said("  | BUG: first " PLAIN "\n"), 1);
}
END_TEST

START_TEST(hostile_last_lines_do_not_reach_the_terminal)
{
    rig.command.kind = EXEC_LOST;
    feed(HOSTILE "\n" HOSTILE);
    reach();
    check_is_plain();
    ck_assert_uint_eq(count_said(" end\tof \xc3\xbc\n"), 2);
}
END_TEST

/* Every text that is said, with a line's end in it: it must not look as though this program had said more. */
START_TEST(hostile_words_do_not_reach_the_terminal)
{
    static const char line[] = "\nquire: test: " HOSTILE;
    static const char *const hostile_words[] = {line};
    struct machine_end end = {.name = "power-off"};

    (void)strcpy(end.text, line);
    (void)strcpy(rig.command.text, line);
    error_set(&rig.command.error, ERROR_HOST, "%s", line);
    rig.options.command = hostile_words;
    rig.facts.machine = &end;
    for (int kind = EXEC_ENDED; kind <= EXEC_FAILED; kind++)
        for (int state = 0; state < 4; state++) {
            rig.command.kind = kind;
            rig.facts.has_booted = state % 2 != 0;
            rig.facts.was_killed = state / 2 != 0;
            reach();
            check_is_plain();
            ck_assert_uint_eq(count_said("\nquire: test: \\x1b"), 0);
        }
    rig.facts.was_killed = false;
    end = killed;
    (void)strcpy(end.text, line);
    check(4, "quire: test: \\x0aquire: test: " PLAIN "\n");
}
END_TEST

START_TEST(a_hostile_log_does_not_reach_the_terminal)
{
    rig.facts.machine = &failures[1].end;
    rig.facts.log = "quire: " HOSTILE "\r\n" HOSTILE;
    check(4, "quire: " PLAIN "\\x0d\n" PLAIN "\n");
    rig.facts.machine = &crashes[0];
    reach();
    check_is_plain();
    ck_assert_uint_eq(count_said(PLAIN), 2);
}
END_TEST

/* ---- The machine's file ---- */

static const struct {
    const char *log;
    const char *said;
} logs[] = {
    {"quire: " FILE_NAME ":3:10: boot.kernel: no\n", "quire: boot.kernel: no\n"},
    {FILE_NAME ":3:10: first\nquire: second\nquire: " FILE_NAME ":12:1: third", "first\nquire: second\nquire: third\n"},
    {"quire: " FILE_NAME ":1:2: a, as " FILE_NAME ":3:4: b\n", "quire: a, as b\n"},
    /* These are no places in it. */
    {"quire: " FILE_NAME ": it is gone\n", "quire: " FILE_NAME ": it is gone\n"},
    {"quire: " FILE_NAME ":3: no column\n", "quire: " FILE_NAME ":3: no column\n"},
    {"quire: " FILE_NAME ":3:10\n: x\n", "quire: " FILE_NAME ":3:10\n: x\n"},
    {"quire: " FILE_NAME ":3:10", "quire: " FILE_NAME ":3:10\n"},
    {"quire: " FILE_NAME "::: x\n", "quire: " FILE_NAME "::: x\n"},
    {"quire: /tmp/machine.toml:3:10: x\n", "quire: /tmp/machine.toml:3:10: x\n"},
    {FILE_NAME, FILE_NAME "\n"},
    {"\n\n", "\n\n"},
    {"", ""},
};

START_TEST(a_place_in_the_machines_file_is_left_out)
{
    rig.facts.machine = &failures[1].end;
    rig.facts.log = logs[_i].log;
    check(4, logs[_i].said);
}
END_TEST

/* A folder for temporary files may have any name. */
START_TEST(a_file_with_a_strange_name_does_no_harm)
{
    rig.facts.machine = &failures[1].end;
    rig.facts.file = "/tmp/a\nb/machine.toml";
    rig.facts.log = "quire: /tmp/a\nb/machine.toml:3:10: no\n";
    check(4, rig.facts.log);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("kernel_verdict");
    TCase *tcase = tcase_create("kernel_verdict");
    const int crash_count = (int)(sizeof(crashes) / sizeof(crashes[0]));

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_status_is_passed_on_without_a_word);
    tcase_add_test(tcase, what_a_good_console_says_is_not_shown);
    tcase_add_test(tcase, a_command_that_cannot_be_run_has_a_shells_status);
    tcase_add_test(tcase, trouble_fails_whatever_the_command_says);
    tcase_add_test(tcase, kinds_are_counted_in_their_order);
    tcase_add_test(tcase, ten_of_much_trouble_are_shown);
    tcase_add_test(tcase, lines_from_the_first_trouble_on_are_shown);
    tcase_add_test(tcase, a_last_line_without_an_end_is_trouble_too);
    tcase_add_test(tcase, trouble_that_is_allowed_is_none);
    tcase_add_test(tcase, trouble_that_is_allowed_is_not_told_beside_other);
    tcase_add_test(tcase, trouble_does_not_hide_behind_what_is_allowed);
    tcase_add_test(tcase, what_was_shown_already_is_not_repeated);
    tcase_add_loop_test(tcase, a_machine_tells_of_trouble, 0, crash_count);
    tcase_add_loop_test(tcase, a_machines_trouble_can_be_allowed, 0, crash_count);
    tcase_add_test(tcase, a_panic_that_both_tell_is_told_once);
    tcase_add_test(tcase, a_guest_that_goes_before_it_has_booted_does_not_boot);
    tcase_add_test(tcase, a_guest_that_goes_before_the_commands_end_has_failed);
    tcase_add_test(tcase, the_end_of_a_killed_machine_is_not_its_own);
    tcase_add_loop_test(tcase, what_the_host_fails_at_is_not_the_kernels, 0,
                        (int)(sizeof(failures) / sizeof(failures[0])));
    tcase_add_test(tcase, a_machine_that_does_not_end_is_the_hosts);
    tcase_add_test(tcase, errors_have_statuses);
    tcase_add_test(tcase, errors_without_a_machine_have_the_same_statuses);
    tcase_add_test(tcase, time_runs_out_before_or_after_the_boot);
    tcase_add_test(tcase, no_answer_is_told_with_remedies);
    tcase_add_test(tcase, a_signal_ends_it_without_a_word);
    tcase_add_test(tcase, a_hostile_console_does_not_reach_the_terminal);
    tcase_add_test(tcase, hostile_last_lines_do_not_reach_the_terminal);
    tcase_add_test(tcase, hostile_words_do_not_reach_the_terminal);
    tcase_add_test(tcase, a_hostile_log_does_not_reach_the_terminal);
    tcase_add_loop_test(tcase, a_place_in_the_machines_file_is_left_out, 0, (int)(sizeof(logs) / sizeof(logs[0])));
    tcase_add_test(tcase, a_file_with_a_strange_name_does_no_harm);
    suite_add_tcase(all, tcase);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
