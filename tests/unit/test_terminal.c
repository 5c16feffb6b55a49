#include "vmm/console/terminal.h"

#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_RUNTIME
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZER_RUNTIME
#endif
#endif

enum { CTRL_A = 0x01 };

static struct log log_of_test = {.level = LOG_LEVEL_INFO, .fd = STDERR_FILENO};
static struct error error;
static struct termios at_first;
static char slave_name[64];
static int master;
static int slave;

static void setup(void)
{
    /* The test runner has its own handlers for these. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    ck_assert_int_ge(master, 0);
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    ck_assert_int_eq(ptsname_r(master, slave_name, sizeof(slave_name)), 0);
    slave = open(slave_name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(slave, 0);
    ck_assert_int_eq(tcgetattr(slave, &at_first), 0);
    ck_assert_uint_ne(at_first.c_lflag & ICANON, 0);
}

static void teardown(void)
{
    terminal_close();
    close(slave);
    close(master);
}

static bool is_raw(void)
{
    struct termios now;

    ck_assert_int_eq(tcgetattr(slave, &now), 0);
    return (now.c_lflag & (ICANON | ECHO | ISIG)) == 0 && (now.c_oflag & OPOST) == 0;
}

/* Signal handlers may call it. */
static bool is_as_at_first(void)
{
    struct termios now;

    return tcgetattr(slave, &now) == 0 && now.c_iflag == at_first.c_iflag && now.c_oflag == at_first.c_oflag &&
           now.c_cflag == at_first.c_cflag && now.c_lflag == at_first.c_lflag &&
           memcmp(now.c_cc, at_first.c_cc, sizeof(now.c_cc)) == 0;
}

static void open_terminal(void)
{
    ck_assert_int_eq(terminal_open(slave, &log_of_test, &error), 0);
}

/* ---- Keys ---- */

static struct terminal_filter filter;
static enum console_command command;

static enum terminal_key press(uint8_t key, uint8_t *ret_byte)
{
    *ret_byte = key;
    return terminal_filter_key(&filter, ret_byte, &command);
}

static enum terminal_key press_escaped(uint8_t key, uint8_t *ret_byte)
{
    ck_assert_int_eq(press(CTRL_A, ret_byte), TERMINAL_KEY_NOTHING);
    return press(key, ret_byte);
}

START_TEST(every_byte_but_ctrl_a_is_the_guests)
{
    uint8_t byte;

    for (unsigned key = 0; key < 256; key++) {
        if (key == CTRL_A)
            continue;
        ck_assert_int_eq(press((uint8_t)key, &byte), TERMINAL_KEY_GUEST);
        ck_assert_uint_eq(byte, key);
    }
}
END_TEST

START_TEST(escaped_keys_are_commands)
{
    static const struct {
        uint8_t key;
        enum console_command command;
    } expected[] = {{'x', CONSOLE_LEAVE}, {'p', CONSOLE_POWER_BUTTON}, {'r', CONSOLE_RESET}, {'m', CONSOLE_MAPS}};
    uint8_t byte;

    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(press_escaped(expected[i].key, &byte), TERMINAL_KEY_COMMAND);
        ck_assert_int_eq(command, expected[i].command);
        ck_assert_int_eq(press(expected[i].key, &byte), TERMINAL_KEY_GUEST);
    }
}
END_TEST

START_TEST(escaped_escape_reaches_the_guest)
{
    uint8_t byte;

    ck_assert_int_eq(press_escaped(CTRL_A, &byte), TERMINAL_KEY_GUEST);
    ck_assert_uint_eq(byte, CTRL_A);
    ck_assert_int_eq(press('x', &byte), TERMINAL_KEY_GUEST);
    ck_assert_int_eq(press_escaped('a', &byte), TERMINAL_KEY_GUEST);
    ck_assert_uint_eq(byte, CTRL_A);
    ck_assert_int_eq(press('x', &byte), TERMINAL_KEY_GUEST);
}
END_TEST

START_TEST(unknown_escaped_key_is_swallowed)
{
    unsigned known = 0;
    uint8_t byte;

    for (unsigned key = 0; key < 256; key++) {
        known += press_escaped((uint8_t)key, &byte) != TERMINAL_KEY_UNKNOWN;
        ck_assert_int_eq(press('q', &byte), TERMINAL_KEY_GUEST);
    }
    ck_assert_uint_eq(known, 7);
    ck_assert_int_eq(press_escaped('?', &byte), TERMINAL_KEY_HELP);
}
END_TEST

START_TEST(help_lists_every_key_and_fits)
{
    char text[TERMINAL_HELP_SIZE];
    char line[16];

    terminal_format_help(text);
    for (const char *key = "xpra?"; *key != '\0'; key++) {
        snprintf(line, sizeof(line), "\r\nCtrl-A %c  ", *key);
        ck_assert_ptr_nonnull(strstr(text, line));
    }
    ck_assert_str_eq(text + strlen(text) - 2, "\r\n");
}
END_TEST

/* ---- Raw, and back ---- */

START_TEST(open_makes_it_raw_and_close_restores_it)
{
    open_terminal();
    ck_assert(is_raw());
    ck_assert_int_eq(atomic_load(&log_of_test.raw_terminal), 1);
    terminal_close();
    ck_assert(is_as_at_first());
    ck_assert_int_eq(atomic_load(&log_of_test.raw_terminal), 0);
    /* A second call leaves alone what somebody else has set meanwhile. */
    struct termios others = at_first;
    cfmakeraw(&others);
    ck_assert_int_eq(tcsetattr(slave, TCSANOW, &others), 0);
    terminal_close();
    ck_assert(is_raw());
}
END_TEST

START_TEST(it_can_be_opened_again)
{
    open_terminal();
    terminal_close();
    open_terminal();
    ck_assert(is_raw());
    terminal_close();
    ck_assert(is_as_at_first());
}
END_TEST

START_TEST(what_is_no_terminal_is_left_alone)
{
    struct sigaction action;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(terminal_open(ends[0], &log_of_test, &error), 0);
    ck_assert_int_eq(atomic_load(&log_of_test.raw_terminal), 0);
    ck_assert(!terminal_resume());
    ck_assert_int_eq(sigaction(SIGTERM, NULL, &action), 0);
    ck_assert_ptr_eq(action.sa_handler, SIG_DFL);
    terminal_print("nobody sees this");
    terminal_close();
    terminal_restore_from_signal();
    close(ends[0]);
    close(ends[1]);
}
END_TEST

START_TEST(close_gives_the_signals_back)
{
    struct sigaction before[32];
    struct sigaction after;

    for (int number = 1; number < 32; number++)
        ck_assert_int_eq(sigaction(number, NULL, &before[number]), 0);
    open_terminal();
    ck_assert_int_eq(sigaction(SIGQUIT, NULL, &after), 0);
    ck_assert_ptr_ne(after.sa_handler, SIG_DFL);
    terminal_close();
    for (int number = 1; number < 32; number++) {
        ck_assert_int_eq(sigaction(number, NULL, &after), 0);
        ck_assert_ptr_eq(after.sa_handler, before[number].sa_handler);
    }
}
END_TEST

/* ---- The end of the process ---- */

/* A child that a failed test leaves behind ends with it. */
static pid_t fork_child(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

static int run_child(void (*body)(void))
{
    int status;

    pid_t child = fork_child();
    if (child == 0) {
        body();
        _exit(77);
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static const int fatal_signals[] = {SIGSEGV, SIGBUS,  SIGILL,    SIGFPE,  SIGABRT, SIGTRAP, SIGQUIT, SIGTERM, SIGINT,
                                    SIGHUP,  SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU, SIGIO,   SIGUSR1, SIGUSR2};
static int signal_of_child;

static void end_by_signal(void)
{
    open_terminal();
    if (!is_raw())
        _exit(78);
    raise(signal_of_child);
}

START_TEST(fatal_signal_restores_it_and_ends_the_process)
{
    signal_of_child = fatal_signals[_i];
    int status = run_child(end_by_signal);
#ifdef SANITIZER_RUNTIME
    /* Its own handlers come after ours, and may end the process in another way. */
    ck_assert(WIFSIGNALED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) < 77));
#else
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), signal_of_child);
#endif
    ck_assert(is_as_at_first());
}
END_TEST

static void *raise_abort(void *unused)
{
    (void)unused;
    abort();
}

static void end_in_another_thread(void)
{
    pthread_t thread;

    open_terminal();
    if (pthread_create(&thread, NULL, raise_abort, NULL) == 0)
        pthread_join(thread, NULL);
}

START_TEST(abort_in_another_thread_restores_it)
{
    int status = run_child(end_in_another_thread);

    ck_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 77);
    ck_assert(is_as_at_first());
}
END_TEST

static void end_by_exit(void)
{
    open_terminal();
    exit(5);
}

START_TEST(exit_restores_it)
{
    int status = run_child(end_by_exit);

    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 5);
    ck_assert(is_as_at_first());
}
END_TEST

static void exit_with_state(int number)
{
    (void)number;
    _exit(is_as_at_first() ? 6 : 7);
}

static void end_by_handled_signal(void)
{
    signal(SIGUSR1, exit_with_state);
    open_terminal();
    raise(SIGUSR1);
}

START_TEST(handler_that_was_there_runs_after_ours)
{
    int status = run_child(end_by_handled_signal);

    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 6);
}
END_TEST

START_TEST(ignored_signal_stays_ignored)
{
    signal(SIGHUP, SIG_IGN);
    open_terminal();
    raise(SIGHUP);
    ck_assert(is_raw());
}
END_TEST

/* ---- Job control: a child that leads a session on the terminal ---- */

static int to_parent[2];
static volatile sig_atomic_t continued;

static void note_continued(void *context)
{
    *(volatile sig_atomic_t *)context = 1;
}

static void tell_parent(char what)
{
    if (write(to_parent[1], &what, 1) != 1)
        _exit(79);
}

static char hear_child(void)
{
    char what = 0;

    ck_assert_int_eq(read(to_parent[0], &what, 1), 1);
    return what;
}

static void lead_session(void)
{
    setsid();
    if (ioctl(slave, TIOCSCTTY, 0) < 0)
        _exit(80);
}

static pid_t start_child(void (*body)(void))
{
    ck_assert_int_eq(pipe(to_parent), 0);
    pid_t child = fork_child();
    if (child == 0) {
        body();
        _exit(0);
    }
    ck_assert_int_gt(child, 0);
    close(to_parent[1]);
    return child;
}

static void run_until_continued(void)
{
    lead_session();
    terminal_set_continue_hook(note_continued, (void *)(uintptr_t)&continued);
    if (terminal_open(slave, &log_of_test, &error) < 0)
        _exit(81);
    tell_parent('r');
    while (!continued)
        usleep(1000);
    tell_parent(terminal_resume() ? 'c' : '-');
    for (;;)
        pause();
}

/* number: how the process is stopped. */
static void stop_and_continue(int number)
{
    int status;
    pid_t child = start_child(run_until_continued);

    ck_assert_int_eq(hear_child(), 'r');
    ck_assert(is_raw());
    ck_assert_int_eq(kill(child, number), 0);
    ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
    ck_assert(WIFSTOPPED(status));
    if (number == SIGTSTP)
        ck_assert(is_as_at_first());
    /* As a shell does. */
    ck_assert_int_eq(tcsetattr(slave, TCSANOW, &at_first), 0);
    ck_assert_int_eq(kill(child, SIGCONT), 0);
    ck_assert_int_eq(hear_child(), 'c');
    ck_assert(is_raw());
    ck_assert_int_eq(kill(child, SIGTERM), 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert(is_as_at_first());
}

START_TEST(stop_restores_it_and_continuing_makes_it_raw_again)
{
    stop_and_continue(SIGTSTP);
}
END_TEST

START_TEST(stop_that_nobody_can_catch_ends_raw_too)
{
    stop_and_continue(SIGSTOP);
}
END_TEST

static int to_job[2];
static int to_shell[2];

/* In the background: nothing is touched, and nothing stops us; then in the foreground. */
static void run_in_background(void)
{
    char byte;

    setpgid(0, 0);
    if (terminal_open(slave, &log_of_test, &error) < 0 || !is_as_at_first() || terminal_resume() ||
        atomic_load(&log_of_test.raw_terminal) != 0)
        _exit(82);
    if (read(slave, &byte, 1) != -1 || errno != EIO)
        _exit(83);
    tell_parent('b');
    if (read(to_job[0], &byte, 1) != 1)
        _exit(84);
    tell_parent(terminal_resume() && is_raw() ? 'f' : '-');
    terminal_close();
    _exit(0);
}

static void run_shell(void)
{
    lead_session();
    signal(SIGTTOU, SIG_IGN);
    pid_t job = fork_child();
    if (job == 0)
        run_in_background();
    /* Whoever comes first; both mean the same. */
    setpgid(job, job);
    char go;
    if (read(to_shell[0], &go, 1) != 1 || tcsetpgrp(slave, job) < 0)
        _exit(85);
    tell_parent('s');
    int status;
    waitpid(job, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 86);
}

START_TEST(background_touches_nothing_until_it_comes_to_the_foreground)
{
    int status;

    ck_assert_int_eq(pipe(to_job), 0);
    ck_assert_int_eq(pipe(to_shell), 0);
    pid_t shell = start_child(run_shell);
    ck_assert_int_eq(hear_child(), 'b');
    ck_assert_int_eq(write(to_shell[1], "s", 1), 1);
    ck_assert_int_eq(hear_child(), 's');
    ck_assert_int_eq(write(to_job[1], "j", 1), 1);
    ck_assert_int_eq(hear_child(), 'f');
    ck_assert_int_eq(waitpid(shell, &status, 0), shell);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert(is_as_at_first());
}
END_TEST

/* ---- Texts ---- */

START_TEST(print_shows_a_text)
{
    char text[32] = "";

    open_terminal();
    terminal_print("hello\r\n");
    ck_assert_int_eq(read(master, text, sizeof(text) - 1), 7);
    ck_assert_str_eq(text, "hello\r\n");
}
END_TEST

START_TEST(print_does_not_wait_for_a_terminal_that_is_held_up)
{
    open_terminal();
    ck_assert_int_eq(tcflow(slave, TCOOFF), 0);
    terminal_print("lost");
    ck_assert_int_eq(tcflow(slave, TCOON), 0);
    /* The descriptor that others may have is as it was. */
    ck_assert_int_eq(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("terminal");
    TCase *tcase = tcase_create("terminal");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_byte_but_ctrl_a_is_the_guests);
    tcase_add_test(tcase, escaped_keys_are_commands);
    tcase_add_test(tcase, escaped_escape_reaches_the_guest);
    tcase_add_test(tcase, unknown_escaped_key_is_swallowed);
    tcase_add_test(tcase, help_lists_every_key_and_fits);
    tcase_add_test(tcase, open_makes_it_raw_and_close_restores_it);
    tcase_add_test(tcase, it_can_be_opened_again);
    tcase_add_test(tcase, what_is_no_terminal_is_left_alone);
    tcase_add_test(tcase, close_gives_the_signals_back);
    tcase_add_loop_test(tcase, fatal_signal_restores_it_and_ends_the_process, 0,
                        (int)(sizeof(fatal_signals) / sizeof(fatal_signals[0])));
    tcase_add_test(tcase, abort_in_another_thread_restores_it);
    tcase_add_test(tcase, exit_restores_it);
    tcase_add_test(tcase, handler_that_was_there_runs_after_ours);
    tcase_add_test(tcase, ignored_signal_stays_ignored);
    tcase_add_test(tcase, stop_restores_it_and_continuing_makes_it_raw_again);
    tcase_add_test(tcase, stop_that_nobody_can_catch_ends_raw_too);
    tcase_add_test(tcase, background_touches_nothing_until_it_comes_to_the_foreground);
    tcase_add_test(tcase, print_shows_a_text);
    tcase_add_test(tcase, print_does_not_wait_for_a_terminal_that_is_held_up);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
