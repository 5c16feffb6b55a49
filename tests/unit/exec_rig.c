#include "exec_rig.h"

#include "devices/host/unix_socket.h"

#include "scratch_folder.h"
#include "unit_test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* A host that has no time takes its time; the test's own limit is longer. */
enum { PATIENCE_SECONDS = 300 };
/* More than a socket takes in. */
enum { FILLING_MAX = 64 };

struct exec_rig rig;

static char address[128];
static const char *const command_of_rig[] = {"true"};
/* In memory that the child shares. */
static struct exec_end *end;
/* Ends with the child. */
static int life = -1;
static int filling[FILLING_MAX];
static unsigned filling_count;
/* What has come from the client, and what of it has been decoded. */
static struct agent_decoder decoder;
static uint8_t wire[64 << 10];
static size_t wire_start;
static size_t wire_used;

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* ---- The child's streams ---- */

void exec_rig_wait(int fd, short events)
{
    struct pollfd one = {.fd = fd, .events = events};
    int ready;

    do
        ready = poll(&one, 1, PATIENCE_SECONDS * 1000);
    while (ready < 0 && errno == EINTR);
    ck_assert_msg(ready == 1, "nothing has come");
}

void exec_rig_write(int fd, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;

    while (size > 0) {
        exec_rig_wait(fd, POLLOUT);
        const ssize_t written = write(fd, from, size);
        ck_assert_int_gt(written, 0);
        from += written;
        size -= (size_t)written;
    }
}

size_t exec_rig_read_some(int fd, void *bytes, size_t size)
{
    exec_rig_wait(fd, POLLIN);
    const ssize_t got = read(fd, bytes, size);
    ck_assert_int_gt(got, 0);
    return (size_t)got;
}

void exec_rig_read(int fd, void *bytes, size_t size)
{
    uint8_t *to = bytes;

    while (size > 0) {
        const size_t got = exec_rig_read_some(fd, to, size);
        to += got;
        size -= got;
    }
}

void exec_rig_expect_text(int fd, const char *text)
{
    char got[512] = "";

    ck_assert_uint_lt(strlen(text), sizeof(got));
    exec_rig_read(fd, got, strlen(text));
    ck_assert_str_eq(got, text);
}

void exec_rig_expect_end_of(int fd)
{
    uint8_t byte;

    exec_rig_wait(fd, POLLIN);
    ck_assert_int_eq(read(fd, &byte, 1), 0);
}

void exec_rig_close(enum agent_stream stream)
{
    close_one(&rig.ends[stream]);
}

/* ---- Its life ---- */

void exec_rig_listen(void)
{
    struct error error;

    rig.listener = unix_socket_listen(address, "the machine's socket", 1, &error);
    ck_assert_msg(rig.listener >= 0, "%s", error.text);
}

void exec_rig_stop_listening(void)
{
    close_one(&rig.listener);
    ck_assert_int_eq(unlink(address + strlen("unix:")), 0);
}

void exec_rig_fill_socket(void)
{
    struct error error;

    filling_count = 0;
    while ((filling[filling_count] = unix_socket_connect(address, "key", false, &error)) >= 0)
        ck_assert_uint_lt(++filling_count, FILLING_MAX);
    ck_assert_int_eq(errno, EAGAIN);
}

void exec_rig_empty_socket(void)
{
    for (unsigned i = 0; i < filling_count; i++) {
        const int fd = accept(rig.listener, NULL, NULL);
        ck_assert_int_ge(fd, 0);
        close(fd);
        close(filling[i]);
    }
}

void exec_rig_make(void)
{
    scratch_folder_make();
    (void)snprintf(address, sizeof(address), "unix:%s/s", scratch_folder);
    rig = (struct exec_rig){
        .options =
            {.address = address, .cwd = "", .wait = -1, .timeout = -1, .command = command_of_rig, .command_count = 1},
        .streams = {-1, -1, -1},
        .ends = {-1, -1, -1},
        .listener = -1,
        .machine = -1,
    };
    end = mmap(NULL, sizeof(*end), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(end, MAP_FAILED);
    exec_rig_listen();
}

void exec_rig_remove(void)
{
    if (rig.child > 0) {
        kill(rig.child, SIGKILL);
        waitpid(rig.child, NULL, 0);
    }
    scratch_folder_remove();
}

/* As a shell starts it; the test runner has its own handlers. */
static void reset_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM};
    sigset_t none;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        signal(numbers[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void run_child(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    reset_signals();
    for (int i = 0; i < AGENT_STREAM_COUNT; i++) {
        (void)dup2(rig.streams[i], i);
        close(rig.streams[i]);
    }
    /* Or nobody would be seen to leave. */
    for (int i = 0; i < AGENT_STREAM_COUNT; i++)
        close_one(&rig.ends[i]);
    close_one(&rig.listener);
    if (rig.prepare != NULL)
        rig.prepare();
    exec_session_run(&rig.options, rig.beside, end);
    _exit(0);
}

static void open_streams(void)
{
    for (int i = 0; i < AGENT_STREAM_COUNT; i++) {
        int both[2];
        close_one(&rig.ends[i]);
        if (rig.streams[i] >= 0)
            continue;
        ck_assert_int_eq(pipe(both), 0);
        rig.streams[i] = both[i == AGENT_STDIN ? 0 : 1];
        rig.ends[i] = both[i == AGENT_STDIN ? 1 : 0];
    }
}

void exec_rig_start(void)
{
    int both[2];

    ck_assert_int_eq(pipe(both), 0);
    open_streams();
    memset(end, 0, sizeof(*end));
    fflush(NULL);
    rig.child = fork();
    ck_assert_int_ge(rig.child, 0);
    if (rig.child == 0) {
        close(both[0]);
        run_child();
    }
    close(both[1]);
    life = both[0];
    for (int i = 0; i < AGENT_STREAM_COUNT; i++)
        close_one(&rig.streams[i]);
}

void exec_rig_accept(void)
{
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};

    exec_rig_wait(rig.listener, POLLIN);
    rig.machine = accept(rig.listener, NULL, NULL);
    ck_assert_int_ge(rig.machine, 0);
    ck_assert_int_eq(setsockopt(rig.machine, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    for (int i = 0; i < AGENT_STREAM_COUNT; i++)
        rig.windows[i] = AGENT_WINDOW;
    decoder = (struct agent_decoder){0};
    wire_start = wire_used = 0;
}

void exec_rig_start_command(struct agent_exec *request)
{
    exec_rig_start();
    exec_rig_take_command(request);
}

void exec_rig_take_command(struct agent_exec *request)
{
    static struct agent_exec unused;

    exec_rig_accept();
    exec_rig_say_number(AGENT_HELLO, 0, AGENT_VERSION);
    const struct agent_frame *frame = exec_rig_expect(AGENT_EXEC);
    ck_assert(agent_exec_decode(frame, request != NULL ? request : &unused));
    exec_rig_say_number(AGENT_STARTED, 0, 1);
}

void exec_rig_wait_until_it_runs(void)
{
    exec_rig_say(AGENT_DATA, AGENT_STDERR, "r", 1);
    exec_rig_expect_text(rig.ends[AGENT_STDERR], "r");
}

/* ---- What the machine says ---- */

void exec_rig_say(uint8_t type, uint8_t stream, const void *payload, size_t size)
{
    static uint8_t bytes[AGENT_WIRE_MAX];
    const struct agent_frame frame = {.type = type, .stream = stream, .payload = payload, .size = size};
    const size_t length = agent_frame_encode(&frame, bytes);

    const ssize_t sent = send(rig.machine, bytes, length, MSG_NOSIGNAL);
    /* Who hears nothing any more says nothing either, which is seen there. */
    ck_assert(sent == (ssize_t)length || (sent < 0 && (errno == EPIPE || errno == ECONNRESET)));
    if (type == AGENT_DATA) {
        ck_assert_uint_le(size + AGENT_FRAME_COST, rig.windows[stream]);
        rig.windows[stream] -= (uint32_t)size + AGENT_FRAME_COST;
    }
}

void exec_rig_say_number(uint8_t type, uint8_t stream, uint32_t number)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, number);
    exec_rig_say(type, stream, payload, writer.used);
    if (type == AGENT_CREDIT)
        rig.windows[stream] += number;
}

void exec_rig_say_exit(enum agent_ending ending, uint32_t value)
{
    uint8_t payload[8];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, ending);
    agent_put_u32(&writer, value);
    exec_rig_say(AGENT_EXIT, 0, payload, writer.used);
}

void exec_rig_say_failure(enum agent_failure why, const char *text)
{
    uint8_t payload[256];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_fail_encode(&writer, why, text);
    exec_rig_say(AGENT_FAIL, 0, payload, writer.used);
}

void exec_rig_hang_up(void)
{
    close_one(&rig.machine);
}

/* ---- What the client says ---- */

static bool is_credit(const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);

    if (frame->type != AGENT_CREDIT)
        return false;
    ck_assert(frame->stream == AGENT_STDOUT || frame->stream == AGENT_STDERR);
    rig.windows[frame->stream] += agent_get_u32(&reader);
    ck_assert(agent_reader_is_done(&reader));
    ck_assert_uint_le(rig.windows[frame->stream], AGENT_WINDOW);
    return true;
}

/* The next frame but credit of what has come. */
static const struct agent_frame *decode(void)
{
    static struct agent_frame frame;

    while (wire_start < wire_used) {
        size_t taken;
        const enum agent_decoded what =
            agent_decode(&decoder, wire + wire_start, wire_used - wire_start, &taken, &frame);
        wire_start += taken;
        ck_assert_int_ne(what, AGENT_DECODED_DAMAGE);
        if (what == AGENT_DECODED_FRAME && !is_credit(&frame))
            return &frame;
    }
    return NULL;
}

/* How much has come; one that hangs up with something that it has not read has hung up as well. */
static size_t receive(int flags)
{
    const ssize_t got = recv(rig.machine, wire, sizeof(wire), flags);

    ck_assert_msg(got >= 0 || errno == ECONNRESET || errno == EAGAIN, "%s", strerror(errno));
    wire_start = 0;
    wire_used = got > 0 ? (size_t)got : 0;
    return wire_used;
}

const struct agent_frame *exec_rig_hear(void)
{
    const struct agent_frame *frame;

    while ((frame = decode()) == NULL) {
        exec_rig_wait(rig.machine, POLLIN);
        if (receive(0) == 0)
            return NULL;
    }
    return frame;
}

void exec_rig_take_credit(void)
{
    do
        ck_assert_ptr_null(decode());
    while (receive(MSG_DONTWAIT) > 0);
}

const struct agent_frame *exec_rig_expect(uint8_t type)
{
    const struct agent_frame *frame = exec_rig_hear();

    ck_assert_msg(frame != NULL, "the client has hung up");
    ck_assert_uint_eq(frame->type, type);
    return frame;
}

void exec_rig_expect_input(uint8_t *bytes, size_t size, size_t *used)
{
    const struct agent_frame *frame = exec_rig_expect(AGENT_DATA);

    ck_assert_uint_eq(frame->stream, AGENT_STDIN);
    ck_assert_uint_gt(frame->size, 0);
    ck_assert_uint_le(frame->size, AGENT_DATA_MAX);
    ck_assert_uint_le(frame->size + AGENT_FRAME_COST, rig.windows[AGENT_STDIN]);
    rig.windows[AGENT_STDIN] -= (uint32_t)frame->size + AGENT_FRAME_COST;
    ck_assert_uint_le(frame->size, size - *used);
    memcpy(bytes + *used, frame->payload, frame->size);
    *used += frame->size;
}

void exec_rig_expect_signal(int number)
{
    struct agent_reader reader = agent_reader_of(exec_rig_expect(AGENT_SIGNAL));

    ck_assert_uint_eq(agent_get_u32(&reader), (unsigned)number);
    ck_assert(agent_reader_is_done(&reader));
}

void exec_rig_expect_hangup(void)
{
    const struct agent_frame *frame = exec_rig_hear();

    ck_assert_msg(frame == NULL, "the client says %u", frame != NULL ? frame->type : 0u);
}

/* ---- Its end ---- */

/* What a sanitizer has to say stands there. */
static const char *words_of_child(void)
{
    static char text[4096];
    ssize_t got = 0;

    if (rig.ends[AGENT_STDERR] >= 0)
        got = read(rig.ends[AGENT_STDERR], text, sizeof(text) - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

void exec_rig_wait_for_end(void)
{
    int status;

    exec_rig_wait(life, POLLIN);
    close_one(&life);
    ck_assert_int_eq(waitpid(rig.child, &status, 0), rig.child);
    rig.child = 0;
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child's end is 0x%x: %s", (unsigned)status,
                  words_of_child());
}

void exec_rig_expect_end(int kind, int status)
{
    exec_rig_wait_for_end();
    ck_assert_msg((int)end->kind == kind, "%d: %s%s", (int)end->kind, end->text, end->error.text);
    ck_assert_int_eq(end->status, status);
}

const struct exec_end *exec_rig_said(void)
{
    return end;
}
