/*
 * vmm/cli/exec_session.c: streams, signals, times and ends. What it does with a terminal is in test_exec_terminal.c.
 */
#include "exec_rig.h"
#include "scratch_folder.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* What stands at this place of a stream. */
static uint8_t pattern(enum agent_stream stream, size_t offset)
{
    return (uint8_t)((((uint32_t)offset + 1) * 2654435761u) >> 24) ^ (uint8_t)(stream * 85);
}

static void fill_pattern(enum agent_stream stream, size_t offset, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(stream, offset + i);
}

static void check_pattern(enum agent_stream stream, size_t offset, const uint8_t *bytes, size_t size)
{
    size_t i = 0;

    while (i < size && bytes[i] == pattern(stream, offset + i))
        i++;
    ck_assert_msg(i == size, "stream %d is another at byte %zu", stream, offset + i);
}

/* ---- What becomes of the command ---- */

static const uint32_t statuses[] = {0, 1, 42, 255};

START_TEST(the_commands_status_is_passed_on)
{
    exec_rig_start_command(NULL);
    exec_rig_say_exit(AGENT_EXITED, statuses[_i]);
    exec_rig_expect_end(EXEC_ENDED, (int)statuses[_i]);
    exec_rig_expect_end_of(rig.ends[AGENT_STDOUT]);
    exec_rig_expect_end_of(rig.ends[AGENT_STDERR]);
}
END_TEST

static const int fatal_signals[] = {SIGHUP, SIGKILL, SIGSEGV};

START_TEST(a_signal_that_ends_the_command_is_told_as_shells_do)
{
    exec_rig_start_command(NULL);
    exec_rig_say_exit(AGENT_SIGNALLED, (uint32_t)fatal_signals[_i]);
    exec_rig_expect_end(EXEC_ENDED, 128 + fatal_signals[_i]);
}
END_TEST

static const struct {
    enum agent_failure why;
    int kind;
    int status;
} failures[] = {
    {AGENT_FAILED_NOT_FOUND, EXEC_NOT_RUN, 127}, {AGENT_FAILED_NOT_EXECUTABLE, EXEC_NOT_RUN, 126},
    {AGENT_FAILED, EXEC_NOT_RUN, 126},           {AGENT_FAILED_LOST, EXEC_LOST, 0},
    {AGENT_FAILED_PROTOCOL, EXEC_LOST, 0},
};

START_TEST(a_command_that_cannot_be_run_says_why)
{
    exec_rig_start();
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    (void)exec_rig_expect(AGENT_EXEC);
    exec_rig_say_failure(failures[_i].why, "the guest has no such thing");
    exec_rig_expect_end(failures[_i].kind, failures[_i].status);
    ck_assert_str_eq(exec_rig_said()->text, "the guest has no such thing");
}
END_TEST

START_TEST(the_guest_is_asked_for_what_the_options_say)
{
    static const char *const command[] = {"printf", "%s\n", ""};
    static const char *variables[] = {"A=1", "B=x=y"};
    struct agent_exec request;

    rig.options.command = command;
    rig.options.command_count = 3;
    rig.options.env = variables;
    rig.options.env_count = 2;
    rig.options.cwd = "/srv";
    rig.options.as_user = true;
    rig.options.uid = 1000;
    rig.options.gid = 100;
    exec_rig_start_command(&request);
    ck_assert_uint_eq(request.flags, AGENT_EXEC_AS_USER);
    ck_assert_uint_eq(request.argc, 3);
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(request.argv[i], command[i]);
    ck_assert_uint_eq(request.env_count, 2);
    ck_assert_str_eq(request.env[0], "A=1");
    ck_assert_str_eq(request.env[1], "B=x=y");
    ck_assert_str_eq(request.cwd, "/srv");
    ck_assert_uint_eq(request.uid, 1000);
    ck_assert_uint_eq(request.gid, 100);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
}
END_TEST

START_TEST(without_a_command_it_is_a_shell)
{
    struct agent_exec request;

    rig.options.command_count = 0;
    exec_rig_start_command(&request);
    ck_assert_uint_eq(request.argc, 1);
    ck_assert_str_eq(request.argv[0], "sh");
    ck_assert_uint_eq(request.flags, 0);
    ck_assert_uint_eq(request.env_count, 0);
    exec_rig_say_exit(AGENT_EXITED, 3);
    exec_rig_expect_end(EXEC_ENDED, 3);
}
END_TEST

START_TEST(a_command_that_is_too_long_is_not_asked_for)
{
    static char word[AGENT_PAYLOAD_MAX];
    static const char *const command[] = {word};

    memset(word, 'w', sizeof(word) - 1);
    rig.options.command = command;
    exec_rig_start();
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    exec_rig_expect_end(EXEC_FAILED, 0);
    ck_assert_int_eq(exec_rig_said()->error.kind, ERROR_CONFIG);
    ck_assert_ptr_nonnull(strstr(exec_rig_said()->error.text, "put a script into the guest"));
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(a_machine_that_hangs_up_has_lost_the_command)
{
    exec_rig_start_command(NULL);
    exec_rig_say(AGENT_DATA, AGENT_STDOUT, "so far", 6);
    exec_rig_hang_up();
    exec_rig_expect_end(EXEC_LOST, 0);
    ck_assert_str_eq(exec_rig_said()->text, "the machine has ended");
    exec_rig_expect_text(rig.ends[AGENT_STDOUT], "so far");
    exec_rig_expect_end_of(rig.ends[AGENT_STDOUT]);
}
END_TEST

START_TEST(a_machine_that_hangs_up_before_its_agent_answers_is_lost)
{
    exec_rig_start();
    exec_rig_accept();
    exec_rig_hang_up();
    exec_rig_expect_end(EXEC_LOST, 0);
    ck_assert_str_eq(exec_rig_said()->text, "the machine has ended");
}
END_TEST

START_TEST(without_a_machine_the_socket_is_named)
{
    exec_rig_stop_listening();
    exec_rig_start();
    exec_rig_expect_end(EXEC_FAILED, 0);
    ck_assert_int_eq(exec_rig_said()->error.kind, ERROR_HOST);
    ck_assert_ptr_nonnull(strstr(exec_rig_said()->error.text, rig.options.address));
}
END_TEST

/* ---- Input ---- */

/* More than the guest takes without having given credit, and than a pipe holds. */
enum { INPUT_SIZE = 3 * AGENT_WINDOW + 1234 };

static uint8_t received[INPUT_SIZE];
static size_t received_size;
static size_t given_size;

/* Gives the child of its input what fits in the pipe. */
static void give_input(void)
{
    uint8_t piece[4096];
    const size_t left = INPUT_SIZE - given_size;
    const size_t size = left < sizeof(piece) ? left : sizeof(piece);

    ck_assert_int_eq(fcntl(rig.ends[AGENT_STDIN], F_SETFL, O_NONBLOCK), 0);
    fill_pattern(AGENT_STDIN, given_size, piece, size);
    const ssize_t written = size > 0 ? write(rig.ends[AGENT_STDIN], piece, size) : 0;
    ck_assert(written >= 0 || errno == EAGAIN);
    given_size += written > 0 ? (size_t)written : 0;
}

/* The guest takes it until the client may send no more. */
static void take_input_of_a_window(void)
{
    while (rig.windows[AGENT_STDIN] > AGENT_FRAME_COST) {
        give_input();
        exec_rig_expect_input(received, sizeof(received), &received_size);
    }
}

START_TEST(input_goes_to_the_guest_and_its_end_after_it)
{
    exec_rig_start_command(NULL);
    exec_rig_write(rig.ends[AGENT_STDIN], "first", 5);
    while (received_size < 5)
        exec_rig_expect_input(received, sizeof(received), &received_size);
    exec_rig_write(rig.ends[AGENT_STDIN], ", second", 8);
    exec_rig_close(AGENT_STDIN);
    while (received_size < 13)
        exec_rig_expect_input(received, sizeof(received), &received_size);
    ck_assert_mem_eq(received, "first, second", 13);
    ck_assert_uint_eq(exec_rig_expect(AGENT_END)->stream, AGENT_STDIN);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(a_guest_that_gives_no_credit_is_sent_no_more)
{
    exec_rig_start_command(NULL);
    take_input_of_a_window();
    ck_assert_uint_le(received_size, AGENT_WINDOW);
    give_input();
    /* More is there, and what it says next is something else. */
    kill(rig.child, SIGINT);
    exec_rig_expect_signal(SIGINT);
    exec_rig_say_number(AGENT_CREDIT, AGENT_STDIN, 1000);
    take_input_of_a_window();
    kill(rig.child, SIGTERM);
    exec_rig_expect_signal(SIGTERM);
    while (received_size < INPUT_SIZE) {
        exec_rig_say_number(AGENT_CREDIT, AGENT_STDIN, AGENT_WINDOW - rig.windows[AGENT_STDIN]);
        while (received_size < INPUT_SIZE && rig.windows[AGENT_STDIN] > AGENT_FRAME_COST) {
            give_input();
            exec_rig_expect_input(received, sizeof(received), &received_size);
        }
    }
    check_pattern(AGENT_STDIN, 0, received, INPUT_SIZE);
    exec_rig_close(AGENT_STDIN);
    (void)exec_rig_expect(AGENT_END);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
}
END_TEST

START_TEST(the_inputs_end_comes_behind_a_full_window)
{
    rig.streams[AGENT_STDIN] = open(scratch_path(scratch_folder, "input"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* As many frames of the largest size as fit, and one that takes the rest of the window. */
    const size_t whole = AGENT_WINDOW / (AGENT_DATA_MAX + AGENT_FRAME_COST);
    const size_t size = AGENT_WINDOW - (whole + 1) * AGENT_FRAME_COST;
    fill_pattern(AGENT_STDIN, 0, received, size);
    exec_rig_write(rig.streams[AGENT_STDIN], received, size);
    ck_assert_int_eq(lseek(rig.streams[AGENT_STDIN], 0, SEEK_SET), 0);
    exec_rig_start_command(NULL);
    while (received_size < size)
        exec_rig_expect_input(received, sizeof(received), &received_size);
    ck_assert_uint_eq(rig.windows[AGENT_STDIN], 0);
    exec_rig_say_number(AGENT_CREDIT, AGENT_STDIN, AGENT_FRAME_COST + 1);
    (void)exec_rig_expect(AGENT_END);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
}
END_TEST

START_TEST(a_file_is_input)
{
    const size_t size = _i == 0 ? 0 : INPUT_SIZE;
    const int file = open(scratch_path(scratch_folder, "input"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    fill_pattern(AGENT_STDIN, 0, received, size);
    exec_rig_write(file, received, size);
    ck_assert_int_eq(lseek(file, 0, SEEK_SET), 0);
    rig.streams[AGENT_STDIN] = file;
    exec_rig_start_command(NULL);
    memset(received, 0, sizeof(received));
    while (received_size < size) {
        if (rig.windows[AGENT_STDIN] <= AGENT_FRAME_COST)
            exec_rig_say_number(AGENT_CREDIT, AGENT_STDIN, AGENT_WINDOW - rig.windows[AGENT_STDIN]);
        exec_rig_expect_input(received, sizeof(received), &received_size);
    }
    check_pattern(AGENT_STDIN, 0, received, size);
    ck_assert_uint_eq(exec_rig_expect(AGENT_END)->stream, AGENT_STDIN);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    exec_rig_expect_hangup();
}
END_TEST

/* Who comes next in a script gets it. */
START_TEST(input_is_left_alone_until_the_command_runs)
{
    int both[2];

    ck_assert_int_eq(pipe2(both, O_CLOEXEC), 0);
    exec_rig_write(both[1], "for others", 10);
    rig.streams[AGENT_STDIN] = fcntl(both[0], F_DUPFD_CLOEXEC, 0);
    exec_rig_start();
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    (void)exec_rig_expect(AGENT_EXEC);
    exec_rig_say_failure(AGENT_FAILED_NOT_FOUND, "no");
    exec_rig_expect_end(EXEC_NOT_RUN, 127);
    exec_rig_expect_hangup();
    exec_rig_expect_text(both[0], "for others");
}
END_TEST

/* ---- Output ---- */

enum {
    /* Of each stream: several windows. */
    OUTPUT_SIZE = 3 * AGENT_WINDOW + 4321,
    SMALL_PIPE = 4096,
    /* What a reader takes at once. */
    SIP = 1500,
};

struct flow {
    enum agent_stream stream;
    size_t frames;
    size_t sent;
    size_t read;
};

/* Sends frames of several sizes, as far as the client lets us, up to `whole` bytes in all. */
static void send_output(struct flow *flow, size_t whole)
{
    static const size_t sizes[] = {AGENT_DATA_MAX, 1, 5000, 77};
    uint8_t bytes[AGENT_DATA_MAX];

    while (flow->sent < whole && rig.windows[flow->stream] > AGENT_FRAME_COST) {
        const size_t room = rig.windows[flow->stream] - AGENT_FRAME_COST;
        size_t size = sizes[flow->frames++ % 4];
        if (size > room)
            size = room;
        if (size > whole - flow->sent)
            size = whole - flow->sent;
        fill_pattern(flow->stream, flow->sent, bytes, size);
        exec_rig_say(AGENT_DATA, (uint8_t)flow->stream, bytes, size);
        flow->sent += size;
    }
}

static void sip(struct flow *flow)
{
    uint8_t bytes[SIP];

    if (flow->read == flow->sent)
        return;
    const size_t got = exec_rig_read_some(rig.ends[flow->stream], bytes, sizeof(bytes));
    check_pattern(flow->stream, flow->read, bytes, got);
    flow->read += got;
}

/* What the client keeps is bounded: nobody may send more than that, and what its reader has taken. */
static void check_bound(const struct flow *flow)
{
    ck_assert_uint_le(flow->sent - flow->read, AGENT_WINDOW + SMALL_PIPE);
}

/* Waits until the client has taken what it was sent: the credit after it is answered with input. */
static void wait_until_taken(void)
{
    exec_rig_say_number(AGENT_CREDIT, AGENT_STDIN, AGENT_FRAME_COST + 1);
    exec_rig_expect_input(received, sizeof(received), &received_size);
}

START_TEST(output_to_a_slow_reader_is_complete_and_bounded)
{
    struct flow out = {.stream = AGENT_STDOUT}, err = {.stream = AGENT_STDERR};
    bool has_exited = false;

    exec_rig_start_command(NULL);
    ck_assert_int_eq(fcntl(rig.ends[AGENT_STDOUT], F_SETPIPE_SZ, SMALL_PIPE), SMALL_PIPE);
    ck_assert_int_eq(fcntl(rig.ends[AGENT_STDERR], F_SETPIPE_SZ, SMALL_PIPE), SMALL_PIPE);
    take_input_of_a_window();
    give_input();
    for (int i = 0; i < 3; i++) {
        send_output(&out, OUTPUT_SIZE);
        send_output(&err, OUTPUT_SIZE);
        wait_until_taken();
        check_bound(&out);
        check_bound(&err);
    }
    while (out.read < OUTPUT_SIZE || err.read < OUTPUT_SIZE) {
        sip(&out);
        sip(&err);
        exec_rig_take_credit();
        send_output(&out, OUTPUT_SIZE);
        send_output(&err, OUTPUT_SIZE);
        check_bound(&out);
        check_bound(&err);
        if (!has_exited && out.sent == OUTPUT_SIZE && err.sent == OUTPUT_SIZE) {
            exec_rig_say_exit(AGENT_EXITED, 5);
            has_exited = true;
        }
    }
    exec_rig_expect_end(EXEC_ENDED, 5);
    exec_rig_expect_end_of(rig.ends[AGENT_STDOUT]);
    exec_rig_expect_end_of(rig.ends[AGENT_STDERR]);
}
END_TEST

/* Nobody reads one stream, which the other does not notice. */
START_TEST(a_reader_that_stands_still_holds_up_its_stream_alone)
{
    struct flow still = {.stream = _i == 0 ? AGENT_STDOUT : AGENT_STDERR};
    struct flow lively = {.stream = _i == 0 ? AGENT_STDERR : AGENT_STDOUT};

    exec_rig_start_command(NULL);
    ck_assert_int_eq(fcntl(rig.ends[still.stream], F_SETPIPE_SZ, SMALL_PIPE), SMALL_PIPE);
    send_output(&still, OUTPUT_SIZE);
    while (lively.read < OUTPUT_SIZE) {
        send_output(&lively, OUTPUT_SIZE);
        sip(&lively);
        exec_rig_take_credit();
    }
    check_bound(&still);
    ck_assert_uint_gt(still.sent, AGENT_WINDOW / 2);
    while (still.read < still.sent)
        sip(&still);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
}
END_TEST

/* Sends more than a window of a stream that nobody reads any more, as its bytes do not stay anywhere. */
static void send_to_nobody(struct flow *flow)
{
    for (send_output(flow, OUTPUT_SIZE); flow->sent < OUTPUT_SIZE; send_output(flow, OUTPUT_SIZE)) {
        exec_rig_take_credit();
        if (rig.windows[flow->stream] <= AGENT_FRAME_COST)
            exec_rig_wait(rig.machine, POLLIN);
    }
}

START_TEST(a_reader_that_goes_away_is_told_to_the_command)
{
    struct flow gone = {.stream = _i == 0 ? AGENT_STDOUT : AGENT_STDERR};
    struct flow left = {.stream = _i == 0 ? AGENT_STDERR : AGENT_STDOUT};

    exec_rig_start_command(NULL);
    exec_rig_close(gone.stream);
    send_output(&gone, 3);
    exec_rig_expect_signal(SIGPIPE);
    /* It is told once, and a command that goes on is not held up. */
    send_to_nobody(&gone);
    while (left.read < 10000) {
        send_output(&left, 10000);
        sip(&left);
    }
    exec_rig_say_exit(AGENT_SIGNALLED, SIGPIPE);
    exec_rig_expect_end(EXEC_ENDED, 128 + SIGPIPE);
    exec_rig_expect_end_of(rig.ends[left.stream]);
    exec_rig_expect_hangup();
}
END_TEST

/* Each byte of input is a frame, of which the socket takes few; the machine does not read. */
START_TEST(a_reader_that_goes_away_is_told_though_the_machine_is_busy)
{
    enum { BYTES = 1500 };
    const struct agent_frame *frame;
    int both[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, both), 0);
    rig.streams[AGENT_STDIN] = both[0];
    exec_rig_start_command(NULL);
    exec_rig_close(AGENT_STDOUT);
    for (int i = 0; i < BYTES; i++)
        exec_rig_write(both[1], "x", 1);
    exec_rig_say(AGENT_DATA, AGENT_STDOUT, "out", 3);
    exec_rig_wait_until_it_runs();
    do {
        frame = exec_rig_hear();
        ck_assert_ptr_nonnull(frame);
    } while (frame->type == AGENT_DATA);
    ck_assert_uint_eq(frame->type, AGENT_SIGNAL);
    ck_assert_uint_eq(frame->payload[0], SIGPIPE);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    exec_rig_expect_end_of(rig.ends[AGENT_STDERR]);
}
END_TEST

START_TEST(output_that_cannot_be_written_is_said_once_and_the_command_goes_on)
{
    struct flow lost = {.stream = AGENT_STDOUT};

    rig.streams[AGENT_STDOUT] = open("/dev/full", O_WRONLY | O_CLOEXEC);
    exec_rig_start_command(NULL);
    send_to_nobody(&lost);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    exec_rig_expect_text(rig.ends[AGENT_STDERR], "quire: standard output cannot be written: No space left on device\n");
    exec_rig_expect_end_of(rig.ends[AGENT_STDERR]);
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(a_file_is_output)
{
    static uint8_t bytes[OUTPUT_SIZE + 1];
    struct flow out = {.stream = AGENT_STDOUT};
    const int file = open(scratch_path(scratch_folder, "output"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    rig.streams[AGENT_STDOUT] = fcntl(file, F_DUPFD_CLOEXEC, 0);
    exec_rig_start_command(NULL);
    send_to_nobody(&out);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    ck_assert_int_eq(pread(file, bytes, sizeof(bytes), 0), OUTPUT_SIZE);
    check_pattern(AGENT_STDOUT, 0, bytes, OUTPUT_SIZE);
}
END_TEST

/* ---- Signals ---- */

static const int ending_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

START_TEST(a_signal_ends_the_wait_for_the_agent)
{
    exec_rig_start();
    exec_rig_accept();
    kill(rig.child, ending_signals[_i]);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + ending_signals[_i]);
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(a_signal_ends_the_wait_for_the_commands_beginning)
{
    exec_rig_start();
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    (void)exec_rig_expect(AGENT_EXEC);
    kill(rig.child, ending_signals[_i]);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + ending_signals[_i]);
    /* The command may begin all the same. */
    exec_rig_expect_signal(ending_signals[_i]);
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(a_signal_goes_to_the_command)
{
    exec_rig_start_command(NULL);
    exec_rig_wait_until_it_runs();
    kill(rig.child, ending_signals[_i]);
    exec_rig_expect_signal(ending_signals[_i]);
    exec_rig_say(AGENT_DATA, AGENT_STDOUT, "caught", 6);
    exec_rig_expect_text(rig.ends[AGENT_STDOUT], "caught");
    exec_rig_say_exit(AGENT_EXITED, 7);
    exec_rig_expect_end(EXEC_ENDED, 7);
}
END_TEST

START_TEST(the_third_signal_ends_it_whatever_the_guest_does)
{
    const int third = ending_signals[_i];

    exec_rig_start_command(NULL);
    exec_rig_wait_until_it_runs();
    kill(rig.child, SIGINT);
    exec_rig_expect_signal(SIGINT);
    kill(rig.child, SIGTERM);
    exec_rig_expect_signal(SIGTERM);
    exec_rig_say(AGENT_DATA, AGENT_STDOUT, "caught", 6);
    exec_rig_expect_text(rig.ends[AGENT_STDOUT], "caught");
    kill(rig.child, third);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + third);
    exec_rig_expect_signal(third);
    exec_rig_expect_hangup();
}
END_TEST

static void ignore_hangup(void)
{
    signal(SIGHUP, SIG_IGN);
}

START_TEST(under_nohup_a_hangup_is_none)
{
    rig.prepare = ignore_hangup;
    exec_rig_start_command(NULL);
    exec_rig_wait_until_it_runs();
    /* Of signals that wait, that with the lowest number comes first. */
    kill(rig.child, SIGHUP);
    kill(rig.child, SIGTERM);
    exec_rig_expect_signal(SIGTERM);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(under_nohup_a_hangup_does_not_end_the_wait)
{
    rig.prepare = ignore_hangup;
    exec_rig_start();
    exec_rig_accept();
    kill(rig.child, SIGHUP);
    kill(rig.child, SIGTERM);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + SIGTERM);
}
END_TEST

START_TEST(without_a_terminal_its_size_is_nobodys_business)
{
    exec_rig_start_command(NULL);
    exec_rig_wait_until_it_runs();
    kill(rig.child, SIGWINCH);
    kill(rig.child, SIGCONT);
    kill(rig.child, SIGTERM);
    exec_rig_expect_signal(SIGTERM);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    exec_rig_expect_hangup();
}
END_TEST

/* ---- Beside ---- */

/* In memory that the child shares. */
static struct beside {
    /* Turns in each state. */
    atomic_uint turns[AGENT_CLIENT_OVER + 1];
    atomic_uint serves;
    /* What turn() returns in each. */
    atomic_int wait[AGENT_CLIENT_OVER + 1];
} * beside;
/* What can be served, and an answer to it; a turn that may go on, and that there is one. */
static int to_child[2];
static int from_child[2];
static int go[2];
static int has_turned[2];

static int turn_of_child(void *context, enum agent_client_state state)
{
    struct beside *counted = context;

    atomic_fetch_add(&counted->turns[state], 1);
    (void)!write(has_turned[1], "t", 1);
    return atomic_load(&counted->wait[state]);
}

/* The test decides when the first turn is over. */
static int held_turn_of_child(void *context, enum agent_client_state state)
{
    struct beside *counted = context;
    char byte;

    if (atomic_fetch_add(&counted->turns[state], 1) == 0 && state == AGENT_CLIENT_WAITING && read(go[0], &byte, 1) != 1)
        _exit(90);
    return -1;
}

static void serve_of_child(void *context)
{
    struct beside *counted = context;
    char byte;

    if (read(to_child[0], &byte, 1) != 1 || write(from_child[1], &byte, 1) != 1)
        _exit(91);
    atomic_fetch_add(&counted->serves, 1);
}

static void make_beside(int (*turn)(void *context, enum agent_client_state state))
{
    static struct exec_beside calls;

    beside = mmap(NULL, sizeof(*beside), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(beside, MAP_FAILED);
    for (int i = 0; i <= AGENT_CLIENT_OVER; i++)
        atomic_store(&beside->wait[i], -1);
    ck_assert_int_eq(pipe2(to_child, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(from_child, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
    ck_assert_int_eq(pipe2(has_turned, O_CLOEXEC | O_NONBLOCK), 0);
    calls = (struct exec_beside){.fd = to_child[0], .serve = serve_of_child, .turn = turn, .context = beside};
    rig.beside = &calls;
}

/* What the child's next turns are, however many there have been. */
static void wait_for_turns(unsigned count)
{
    char bytes[64];

    while (read(has_turned[0], bytes, sizeof(bytes)) > 0)
        ;
    while (count-- > 0)
        exec_rig_read(has_turned[0], bytes, 1);
}

START_TEST(a_machine_may_make_its_socket_later)
{
    make_beside(turn_of_child);
    exec_rig_stop_listening();
    exec_rig_start();
    wait_for_turns(3);
    exec_rig_listen();
    exec_rig_take_command(NULL);
    exec_rig_write(rig.ends[AGENT_STDIN], "x", 1);
    exec_rig_expect_input(received, sizeof(received), &received_size);
    exec_rig_say_exit(AGENT_EXITED, 9);
    exec_rig_expect_end(EXEC_ENDED, 9);
    ck_assert_uint_ge(beside->turns[AGENT_CLIENT_WAITING], 3);
    ck_assert_uint_ge(beside->turns[AGENT_CLIENT_READY], 1);
    ck_assert_uint_ge(beside->turns[AGENT_CLIENT_RUNNING], 1);
}
END_TEST

START_TEST(a_signal_ends_the_wait_for_the_socket)
{
    make_beside(turn_of_child);
    exec_rig_stop_listening();
    exec_rig_start();
    wait_for_turns(1);
    kill(rig.child, SIGINT);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + SIGINT);
}
END_TEST

/* _i: the state. */
START_TEST(a_turn_may_stop_it)
{
    make_beside(turn_of_child);
    atomic_store(&beside->wait[_i], EXEC_STOP);
    exec_rig_start();
    exec_rig_accept();
    if (_i > AGENT_CLIENT_WAITING) {
        exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
        (void)exec_rig_expect(AGENT_EXEC);
    }
    if (_i > AGENT_CLIENT_READY)
        exec_rig_say_number(AGENT_STARTED, 0, 1);
    exec_rig_expect_end(EXEC_STOPPED, 0);
    ck_assert_uint_eq(beside->turns[_i], 1);
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(a_turn_may_stop_it_without_a_machine)
{
    make_beside(turn_of_child);
    exec_rig_stop_listening();
    exec_rig_start();
    wait_for_turns(1);
    atomic_store(&beside->wait[AGENT_CLIENT_WAITING], EXEC_STOP);
    exec_rig_expect_end(EXEC_STOPPED, 0);
}
END_TEST

START_TEST(what_is_beside_is_served)
{
    make_beside(turn_of_child);
    exec_rig_start_command(NULL);
    for (unsigned i = 0; i < 5; i++) {
        exec_rig_write(to_child[1], "s", 1);
        exec_rig_expect_text(from_child[0], "s");
    }
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
    ck_assert_uint_eq(beside->serves, 5);
}
END_TEST

START_TEST(a_turn_comes_again_when_it_wants_to)
{
    make_beside(turn_of_child);
    atomic_store(&beside->wait[AGENT_CLIENT_WAITING], 10);
    exec_rig_start();
    exec_rig_accept();
    wait_for_turns(5);
    kill(rig.child, SIGTERM);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + SIGTERM);
}
END_TEST

/* ---- Times ---- */

enum { SHORT_MILLISECONDS = 30 };

START_TEST(an_agent_that_does_not_answer_is_not_waited_for_longer)
{
    rig.options.wait = _i == 0 ? 0 : SHORT_MILLISECONDS;
    exec_rig_start();
    exec_rig_accept();
    exec_rig_expect_end(EXEC_NO_ANSWER, 0);
    exec_rig_expect_hangup();
}
END_TEST

START_TEST(a_machine_that_does_not_come_is_not_waited_for_longer)
{
    make_beside(turn_of_child);
    rig.options.wait = SHORT_MILLISECONDS;
    exec_rig_stop_listening();
    exec_rig_start();
    exec_rig_expect_end(EXEC_NO_ANSWER, 0);
}
END_TEST

/* It may have been stopped. */
START_TEST(a_machine_that_takes_no_connections_is_not_waited_for_longer)
{
    rig.options.wait = SHORT_MILLISECONDS;
    exec_rig_fill_socket();
    exec_rig_start();
    exec_rig_expect_end(EXEC_NO_ANSWER, 0);
}
END_TEST

START_TEST(a_signal_ends_the_wait_for_a_machine_that_takes_no_connections)
{
    make_beside(turn_of_child);
    exec_rig_fill_socket();
    exec_rig_start();
    wait_for_turns(1);
    kill(rig.child, SIGINT);
    exec_rig_expect_end(EXEC_SIGNALLED, 128 + SIGINT);
}
END_TEST

START_TEST(a_machine_may_take_connections_later)
{
    exec_rig_fill_socket();
    exec_rig_start();
    exec_rig_empty_socket();
    exec_rig_take_command(NULL);
    exec_rig_say_exit(AGENT_EXITED, 9);
    exec_rig_expect_end(EXEC_ENDED, 9);
}
END_TEST

/* The time to wait is over long before the command is, and even before the answer has been read. */
START_TEST(an_agent_that_has_answered_has_all_the_time)
{
    make_beside(held_turn_of_child);
    rig.options.wait = 0;
    exec_rig_start();
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    exec_rig_write(go[1], "g", 1);
    (void)exec_rig_expect(AGENT_EXEC);
    exec_rig_say_number(AGENT_STARTED, 0, 1);
    exec_rig_wait_until_it_runs();
    kill(rig.child, SIGINT);
    exec_rig_expect_signal(SIGINT);
    exec_rig_say_exit(AGENT_EXITED, 0);
    exec_rig_expect_end(EXEC_ENDED, 0);
}
END_TEST

START_TEST(the_time_is_over_before_the_agent_answers)
{
    rig.options.wait = 3600000;
    rig.options.timeout = SHORT_MILLISECONDS;
    exec_rig_start();
    exec_rig_accept();
    exec_rig_expect_end(EXEC_OUT_OF_TIME, 0);
    exec_rig_expect_hangup();
}
END_TEST

/* The host may need so much for less, so it is tried with more and more. */
START_TEST(the_time_is_over_while_the_command_runs)
{
    make_beside(turn_of_child);
    rig.options.timeout = SHORT_MILLISECONDS;
    do {
        rig.options.timeout *= 2;
        exec_rig_start();
        exec_rig_accept();
        exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
        if (exec_rig_hear() != NULL)
            exec_rig_say_number(AGENT_STARTED, 0, 1);
        exec_rig_expect_end(EXEC_OUT_OF_TIME, 0);
        exec_rig_expect_hangup();
        exec_rig_hang_up();
    } while (beside->turns[AGENT_CLIENT_RUNNING] == 0);
}
END_TEST

/* A session with a time limit whose command has ended, and whose reader has not read all when the time is over. */
static void outlive_limit(int64_t milliseconds)
{
    static const uint8_t bytes[2 * SMALL_PIPE];
    const struct timespec limit = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    const struct timespec longer = {.tv_nsec = 100000000};
    uint8_t got[sizeof(bytes)];

    rig.options.timeout = milliseconds;
    exec_rig_start();
    ck_assert_int_eq(fcntl(rig.ends[AGENT_STDOUT], F_SETPIPE_SZ, SMALL_PIPE), SMALL_PIPE);
    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    if (exec_rig_hear() != NULL) {
        exec_rig_say_number(AGENT_STARTED, 0, 1);
        exec_rig_say(AGENT_DATA, AGENT_STDOUT, bytes, sizeof(bytes));
        exec_rig_say_exit(AGENT_EXITED, 3);
    }
    nanosleep(&limit, NULL);
    nanosleep(&longer, NULL);
    exec_rig_wait(rig.ends[AGENT_STDOUT], POLLIN);
    while (read(rig.ends[AGENT_STDOUT], got, sizeof(got)) > 0)
        ;
    exec_rig_wait_for_end();
    exec_rig_hang_up();
}

/* It ends as the command has, and meanwhile it waits, and does not turn and turn. */
START_TEST(a_command_that_is_over_is_in_time)
{
    int64_t milliseconds = SHORT_MILLISECONDS;

    make_beside(turn_of_child);
    do
        outlive_limit(milliseconds *= 2);
    while (exec_rig_said()->kind == EXEC_OUT_OF_TIME);
    ck_assert_int_eq(exec_rig_said()->kind, EXEC_ENDED);
    ck_assert_int_eq(exec_rig_said()->status, 3);
    ck_assert_uint_ge(beside->turns[AGENT_CLIENT_OVER], 1);
    ck_assert_uint_le(beside->turns[AGENT_CLIENT_OVER], 10);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exec_session");
    TCase *cases = tcase_create("session");

    tcase_add_checked_fixture(cases, exec_rig_make, exec_rig_remove);
    tcase_add_loop_test(cases, the_commands_status_is_passed_on, 0, 4);
    tcase_add_loop_test(cases, a_signal_that_ends_the_command_is_told_as_shells_do, 0, 3);
    tcase_add_loop_test(cases, a_command_that_cannot_be_run_says_why, 0, 5);
    tcase_add_test(cases, the_guest_is_asked_for_what_the_options_say);
    tcase_add_test(cases, without_a_command_it_is_a_shell);
    tcase_add_test(cases, a_command_that_is_too_long_is_not_asked_for);
    tcase_add_test(cases, a_machine_that_hangs_up_has_lost_the_command);
    tcase_add_test(cases, a_machine_that_hangs_up_before_its_agent_answers_is_lost);
    tcase_add_test(cases, without_a_machine_the_socket_is_named);
    tcase_add_test(cases, input_goes_to_the_guest_and_its_end_after_it);
    tcase_add_test(cases, a_guest_that_gives_no_credit_is_sent_no_more);
    tcase_add_test(cases, the_inputs_end_comes_behind_a_full_window);
    tcase_add_loop_test(cases, a_file_is_input, 0, 2);
    tcase_add_test(cases, input_is_left_alone_until_the_command_runs);
    tcase_add_test(cases, output_to_a_slow_reader_is_complete_and_bounded);
    tcase_add_loop_test(cases, a_reader_that_stands_still_holds_up_its_stream_alone, 0, 2);
    tcase_add_loop_test(cases, a_reader_that_goes_away_is_told_to_the_command, 0, 2);
    tcase_add_test(cases, a_reader_that_goes_away_is_told_though_the_machine_is_busy);
    tcase_add_test(cases, output_that_cannot_be_written_is_said_once_and_the_command_goes_on);
    tcase_add_test(cases, a_file_is_output);
    tcase_add_loop_test(cases, a_signal_ends_the_wait_for_the_agent, 0, 4);
    tcase_add_loop_test(cases, a_signal_ends_the_wait_for_the_commands_beginning, 0, 4);
    tcase_add_loop_test(cases, a_signal_goes_to_the_command, 0, 4);
    tcase_add_loop_test(cases, the_third_signal_ends_it_whatever_the_guest_does, 0, 4);
    tcase_add_test(cases, under_nohup_a_hangup_is_none);
    tcase_add_test(cases, under_nohup_a_hangup_does_not_end_the_wait);
    tcase_add_test(cases, without_a_terminal_its_size_is_nobodys_business);
    tcase_add_test(cases, a_machine_may_make_its_socket_later);
    tcase_add_test(cases, a_signal_ends_the_wait_for_the_socket);
    tcase_add_loop_test(cases, a_turn_may_stop_it, AGENT_CLIENT_WAITING, AGENT_CLIENT_OVER);
    tcase_add_test(cases, a_turn_may_stop_it_without_a_machine);
    tcase_add_test(cases, what_is_beside_is_served);
    tcase_add_test(cases, a_turn_comes_again_when_it_wants_to);
    tcase_add_loop_test(cases, an_agent_that_does_not_answer_is_not_waited_for_longer, 0, 2);
    tcase_add_test(cases, a_machine_that_does_not_come_is_not_waited_for_longer);
    tcase_add_test(cases, a_machine_that_takes_no_connections_is_not_waited_for_longer);
    tcase_add_test(cases, a_signal_ends_the_wait_for_a_machine_that_takes_no_connections);
    tcase_add_test(cases, a_machine_may_take_connections_later);
    tcase_add_test(cases, an_agent_that_has_answered_has_all_the_time);
    tcase_add_test(cases, the_time_is_over_before_the_agent_answers);
    tcase_add_test(cases, the_time_is_over_while_the_command_runs);
    tcase_add_test(cases, a_command_that_is_over_is_in_time);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
