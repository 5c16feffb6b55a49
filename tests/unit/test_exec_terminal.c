/*
 * vmm/cli/exec_session.c with a terminal: the child leads a session on one, and the test is at its other end.
 */
#include "exec_rig.h"
#include "unit_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct termios at_first;
static int master;
static int slave;

static void lead_session(void)
{
    setsid();
    if (ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        _exit(80);
    close(slave);
    close(master);
}

/* The child gets the terminal as this stream. */
static void give_terminal(enum agent_stream stream)
{
    rig.streams[stream] = fcntl(slave, F_DUPFD_CLOEXEC, 0);
    ck_assert_int_ge(rig.streams[stream], 0);
}

static void setup(void)
{
    const struct winsize size = {.ws_row = 24, .ws_col = 80};

    exec_rig_make();
    ck_assert_int_eq(setenv("TERM", "vt-of-test", 1), 0);
    ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, &size), 0);
    ck_assert_int_eq(tcgetattr(master, &at_first), 0);
    ck_assert_uint_ne(at_first.c_lflag & ICANON, 0);
    give_terminal(AGENT_STDIN);
    give_terminal(AGENT_STDOUT);
    rig.prepare = lead_session;
    rig.options.terminal = EXEC_TERMINAL_YES;
}

static bool is_raw(void)
{
    struct termios now;

    ck_assert_int_eq(tcgetattr(master, &now), 0);
    return (now.c_lflag & (ICANON | ECHO | ISIG)) == 0 && (now.c_oflag & OPOST) == 0;
}

static bool is_as_at_first(void)
{
    struct termios now;

    ck_assert_int_eq(tcgetattr(master, &now), 0);
    return now.c_iflag == at_first.c_iflag && now.c_oflag == at_first.c_oflag && now.c_cflag == at_first.c_cflag &&
           now.c_lflag == at_first.c_lflag && memcmp(now.c_cc, at_first.c_cc, sizeof(now.c_cc)) == 0;
}

static void set_size(unsigned rows, unsigned columns)
{
    const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

    ck_assert_int_eq(ioctl(master, TIOCSWINSZ, &size), 0);
}

static void expect_size(unsigned rows, unsigned columns)
{
    struct agent_reader reader = agent_reader_of(exec_rig_expect(AGENT_RESIZE));

    ck_assert_uint_eq(agent_get_u16(&reader), rows);
    ck_assert_uint_eq(agent_get_u16(&reader), columns);
    ck_assert(agent_reader_is_done(&reader));
}

static void expect_keys(const char *keys)
{
    uint8_t got[64] = "";
    size_t used = 0;

    while (used < strlen(keys))
        exec_rig_expect_input(got, sizeof(got) - 1, &used);
    ck_assert_str_eq((const char *)got, keys);
}

/* ---- What is asked for ---- */

START_TEST(the_guest_is_told_of_the_terminal)
{
    static const char *variables[] = {"A=1"};
    struct agent_exec request;

    rig.options.env = variables;
    rig.options.env_count = 1;
    set_size(50, 132);
    exec_rig_start_command(&request);
    ck_assert_uint_eq(request.flags, AGENT_EXEC_TTY);
    ck_assert_uint_eq(request.rows, 50);
    ck_assert_uint_eq(request.columns, 132);
    ck_assert_uint_eq(request.env_count, 2);
    ck_assert_str_eq(request.env[0], "TERM=vt-of-test");
    ck_assert_str_eq(request.env[1], "A=1");
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
}
END_TEST

/* A shell has one where both streams are one; a command only if that is wanted. */
static const struct {
    enum exec_terminal terminal;
    bool has_command;
    bool has_input;
    bool has_output;
    bool gets_one;
} choices[] = {
    {EXEC_TERMINAL_AUTO, false, true, true, true},   {EXEC_TERMINAL_AUTO, true, true, true, false},
    {EXEC_TERMINAL_AUTO, false, true, false, false}, {EXEC_TERMINAL_AUTO, false, false, true, false},
    {EXEC_TERMINAL_NO, false, true, true, false},    {EXEC_TERMINAL_YES, true, true, false, true},
};

START_TEST(who_gets_a_terminal)
{
    struct agent_exec request;

    rig.options.terminal = choices[_i].terminal;
    rig.options.command_count = choices[_i].has_command ? 1 : 0;
    if (!choices[_i].has_input) {
        close(rig.streams[AGENT_STDIN]);
        rig.streams[AGENT_STDIN] = -1;
        rig.prepare = NULL;
    }
    if (!choices[_i].has_output) {
        close(rig.streams[AGENT_STDOUT]);
        rig.streams[AGENT_STDOUT] = -1;
    }
    exec_rig_start_command(&request);
    ck_assert_uint_eq(request.flags, choices[_i].gets_one ? AGENT_EXEC_TTY : 0);
    ck_assert_uint_eq(request.env_count, choices[_i].gets_one ? 1 : 0);
    ck_assert(choices[_i].gets_one ? is_raw() : is_as_at_first());
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    ck_assert(is_as_at_first());
}
END_TEST

START_TEST(a_command_may_have_a_terminal_where_there_is_none)
{
    struct agent_exec request;

    for (int i = AGENT_STDIN; i <= AGENT_STDOUT; i++) {
        close(rig.streams[i]);
        rig.streams[i] = -1;
    }
    rig.prepare = NULL;
    exec_rig_start_command(&request);
    ck_assert_uint_eq(request.flags, AGENT_EXEC_TTY);
    ck_assert_uint_eq(request.rows, 0);
    ck_assert_uint_eq(request.columns, 0);
    exec_rig_wait_until_it_runs();
    kill(rig.child, SIGWINCH);
    kill(rig.child, SIGTERM);
    exec_rig_expect_signal(SIGTERM);
    exec_rig_write(rig.ends[AGENT_STDIN], "in", 2);
    expect_keys("in");
    exec_rig_close(AGENT_STDIN);
    (void)exec_rig_expect(AGENT_END);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
}
END_TEST

/* ---- Raw, and back ---- */

static void end_with_exit(void)
{
    exec_rig_say_exit(AGENT_EXITED, 4);
    exec_rig_expect_end(EXEC_ENDED, 4);
}

static void end_with_failure(void)
{
    exec_rig_say_failure(AGENT_FAILED_NOT_FOUND, "no");
    exec_rig_expect_end(EXEC_NOT_RUN, 127);
}

static void end_with_machine(void)
{
    exec_rig_hang_up();
    exec_rig_expect_end(EXEC_LOST, 0);
}

static void end_with_signals(void)
{
    for (int i = 0; i < 3; i++) {
        kill(rig.child, SIGTERM);
        exec_rig_expect_signal(SIGTERM);
    }
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + SIGTERM);
}

static void (*const ends[])(void) = {end_with_exit, end_with_failure, end_with_machine, end_with_signals};

START_TEST(it_is_given_back_whatever_the_end)
{
    exec_rig_start();
    exec_rig_accept();
    ck_assert(is_as_at_first());
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    (void)exec_rig_expect(AGENT_EXEC);
    ck_assert(is_raw());
    exec_rig_say_number(AGENT_STARTED, 0, 1);
    exec_rig_wait_until_it_runs();
    ends[_i]();
    ck_assert(is_as_at_first());
}
END_TEST

START_TEST(it_is_given_back_when_the_time_is_over)
{
    rig.options.timeout = 500;
    exec_rig_start();
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    exec_rig_expect_end(EXEC_OUT_OF_TIME, 0);
    ck_assert(is_as_at_first());
}
END_TEST

START_TEST(a_command_that_is_too_long_gives_it_back)
{
    static char word[AGENT_PAYLOAD_MAX];
    static const char *const command[] = {word};

    memset(word, 'w', sizeof(word) - 1);
    rig.options.command = command;
    exec_rig_start();
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    exec_rig_expect_end(EXEC_FAILED, 0);
    ck_assert(is_as_at_first());
}
END_TEST

START_TEST(it_is_given_back_while_the_process_is_stopped)
{
    int status;

    exec_rig_start_command(NULL);
    exec_rig_wait_until_it_runs();
    ck_assert(is_raw());
    kill(rig.child, SIGTSTP);
    ck_assert_int_eq(waitpid(rig.child, &status, WUNTRACED), rig.child);
    ck_assert(WIFSTOPPED(status));
    ck_assert(is_as_at_first());
    /* As a shell does. */
    ck_assert_int_eq(tcsetattr(master, TCSANOW, &at_first), 0);
    kill(rig.child, SIGCONT);
    expect_size(24, 80);
    ck_assert(is_raw());
    end_with_exit();
    ck_assert(is_as_at_first());
}
END_TEST

/* ---- Keys, and the size ---- */

START_TEST(before_the_agent_answers_ctrl_c_ends_the_wait)
{
    exec_rig_start();
    exec_rig_accept();
    exec_rig_write(master, "\3", 1);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + SIGINT);
    ck_assert(is_as_at_first());
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(keys_are_the_commands)
{
    exec_rig_start_command(NULL);
    exec_rig_write(master, "a\3\4\x1a\x1c\r\n", 7);
    expect_keys("a\3\4\x1a\x1c\r\n");
    end_with_exit();
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(output_is_shown_as_it_is)
{
    exec_rig_start_command(NULL);
    exec_rig_say(AGENT_DATA, AGENT_STDOUT, "one\ntwo\r\n\tthree", 15);
    exec_rig_expect_text(master, "one\ntwo\r\n\tthree");
    end_with_exit();
}
END_TEST

START_TEST(a_new_size_is_told)
{
    exec_rig_start_command(NULL);
    set_size(30, 100);
    expect_size(30, 100);
    set_size(1, 65535);
    expect_size(1, 65535);
    end_with_exit();
}
END_TEST

START_TEST(a_terminal_that_goes_away_hangs_up)
{
    bool has_signal = false, has_end = false;

    exec_rig_start_command(NULL);
    exec_rig_wait_until_it_runs();
    close(slave);
    close(master);
    while (!has_signal || !has_end) {
        const struct agent_frame *frame = exec_rig_hear();
        struct agent_reader reader = agent_reader_of(frame);
        has_signal = has_signal || (frame->type == AGENT_SIGNAL && agent_get_u32(&reader) == SIGHUP);
        has_end = has_end || frame->type == AGENT_END;
    }
    exec_rig_say_exit(AGENT_SIGNALLED, SIGHUP);
    exec_rig_expect_end(EXEC_ENDED, 128 + SIGHUP);
}
END_TEST

/* ---- In the way of others ---- */

/* The terminal's reader has all but gone to sleep, in the middle of a flood. */
START_TEST(a_terminal_that_is_held_up_holds_up_nothing_else)
{
    enum { SIP = 100, SIPS = 30 };
    static uint8_t bytes[AGENT_WINDOW], got[AGENT_WINDOW];
    size_t sent = 0, taken = 0;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    exec_rig_start_command(NULL);
    for (; rig.windows[AGENT_STDOUT] >= AGENT_DATA_MAX + AGENT_FRAME_COST; sent += AGENT_DATA_MAX)
        exec_rig_say(AGENT_DATA, AGENT_STDOUT, bytes + sent, AGENT_DATA_MAX);
    /* It has room, and again, but for less than there is. */
    for (; taken < (size_t)SIPS * SIP; taken += SIP) {
        exec_rig_wait_until_it_runs();
        exec_rig_read(master, got + taken, SIP);
    }
    kill(rig.child, SIGINT);
    exec_rig_expect_signal(SIGINT);
    exec_rig_say_exit(AGENT_EXITED, 6);
    exec_rig_read(master, got + taken, sent - taken);
    ck_assert_mem_eq(got, bytes, sent);
    exec_rig_expect_end(EXEC_ENDED, 6);
}
END_TEST

static int to_shell[2];
static int from_shell[2];

/* Another process of the session puts itself or this one into the foreground, as it is told. */
static void be_shell(pid_t job)
{
    char order;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTTOU, SIG_IGN);
    setpgid(0, 0);
    while (read(to_shell[0], &order, 1) == 1)
        if (tcsetpgrp(STDIN_FILENO, order == 'f' ? job : getpid()) < 0 || write(from_shell[1], &order, 1) != 1)
            break;
    _exit(85);
}

static void lead_session_with_shell(void)
{
    const pid_t job = getpid();

    lead_session();
    if (fork() == 0)
        be_shell(job);
}

static void put_into(const char *ground)
{
    exec_rig_write(to_shell[1], ground, 1);
    exec_rig_expect_text(from_shell[0], ground);
}

/* What is typed meanwhile is for others, and no end of the input. _i: it is there when the command begins, or later. */
START_TEST(in_the_background_nothing_is_read)
{
    ck_assert_int_eq(pipe2(to_shell, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(from_shell, O_CLOEXEC), 0);
    rig.prepare = lead_session_with_shell;
    exec_rig_start();
    exec_rig_accept();
    if (_i == 0)
        put_into("b");
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    (void)exec_rig_expect(AGENT_EXEC);
    ck_assert(_i == 0 ? is_as_at_first() : is_raw());
    exec_rig_say_number(AGENT_STARTED, 0, 1);
    exec_rig_wait_until_it_runs();
    if (_i == 1)
        put_into("b");
    /* As a shell does. */
    ck_assert_int_eq(tcsetattr(master, TCSANOW, &at_first), 0);
    exec_rig_write(master, "line\n", 5);
    exec_rig_wait(slave, POLLIN);
    exec_rig_wait_until_it_runs();
    kill(rig.child, SIGTERM);
    exec_rig_expect_signal(SIGTERM);
    set_size(25, 81);
    put_into("f");
    expect_size(25, 81);
    ck_assert(is_raw());
    expect_keys("line\n");
    exec_rig_write(master, "\3", 1);
    expect_keys("\3");
    end_with_exit();
    ck_assert(is_as_at_first());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exec_terminal");
    TCase *cases = tcase_create("terminal");

    tcase_add_checked_fixture(cases, setup, exec_rig_remove);
    tcase_add_test(cases, the_guest_is_told_of_the_terminal);
    tcase_add_loop_test(cases, who_gets_a_terminal, 0, (int)(sizeof(choices) / sizeof(choices[0])));
    tcase_add_test(cases, a_command_may_have_a_terminal_where_there_is_none);
    tcase_add_loop_test(cases, it_is_given_back_whatever_the_end, 0, (int)(sizeof(ends) / sizeof(ends[0])));
    tcase_add_test(cases, it_is_given_back_when_the_time_is_over);
    tcase_add_test(cases, a_command_that_is_too_long_gives_it_back);
    tcase_add_test(cases, it_is_given_back_while_the_process_is_stopped);
    tcase_add_test(cases, before_the_agent_answers_ctrl_c_ends_the_wait);
    tcase_add_test(cases, keys_are_the_commands);
    tcase_add_test(cases, output_is_shown_as_it_is);
    tcase_add_test(cases, a_new_size_is_told);
    tcase_add_test(cases, a_terminal_that_goes_away_hangs_up);
    tcase_add_test(cases, a_terminal_that_is_held_up_holds_up_nothing_else);
    tcase_add_loop_test(cases, in_the_background_nothing_is_read, 0, 2);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
