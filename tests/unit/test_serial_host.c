/* A real UART between the host's side and a guest that polls it. */
#include "vmm/console/serial_host.h"
#include "vmm/sandbox/sandbox.h"

#include "device_test.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    CTRL_A = 0x01,
    /* What the host's side holds for a reader, and more than a pipe, socket or pty holds besides. */
    RING_SIZE = 64 << 10,
    MORE_THAN_ANY_BUFFER = 1 << 19,
};

static struct event_loop *loop;
static struct serial_host *host;
static struct serial *serial;
static struct bus *bus;
static pthread_t loop_thread;
static bool loop_runs;
static struct error error;
static struct log log_of_test = {.level = LOG_LEVEL_INFO};
static _Atomic(unsigned) commands_seen[3];
static char folder[64];
static char path[128];
static int peer = -1;

/* ---- The machine around it ---- */

static void on_command(void *context, enum console_command command)
{
    (void)context;
    atomic_fetch_add(&commands_seen[command], 1);
}

static void ignore_irq(void *context, uint32_t gsi, int level)
{
    (void)context;
    (void)gsi;
    (void)level;
}

static void setup(void)
{
    signal(SIGTERM, SIG_DFL); /* the test runner has its own handler */
    log_of_test.fd = memfd_create("log", MFD_CLOEXEC);
    ck_assert_int_ge(log_of_test.fd, 0);
    strcpy(folder, "/tmp/quire-test-serial-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/port", folder);
    loop = event_loop_create(&error);
    ck_assert_ptr_nonnull(loop);
}

static int create_host(enum config_serial_backend kind, const char *where)
{
    const struct console_commands commands = {.command = on_command};

    host = serial_host_create(kind, where, loop, &log_of_test, &commands, &error);
    return host == NULL ? -1 : 0;
}

static void build(enum config_serial_backend kind, const char *where)
{
    const struct irq_line irq = {.set_level = ignore_irq};

    ck_assert_msg(create_host(kind, where) == 0, "%s", error.text);
    const struct serial_backend backend = serial_host_backend(host);
    serial = serial_create(&backend, &irq);
    bus = test_bus_with(serial_device(serial), SERIAL_PORT_COUNT);
    ck_assert_msg(serial_host_attach(host, serial, &error) == 0, "%s", error.text);
}

static void *run_loop(void *unused)
{
    struct error failure;

    (void)unused;
    ck_assert_int_eq(event_loop_run(loop, &failure), 0);
    return NULL;
}

static void start(enum config_serial_backend kind, const char *where)
{
    build(kind, where);
    ck_assert_int_eq(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
    loop_runs = true;
}

static void stop_loop(void)
{
    if (!loop_runs)
        return;
    event_loop_stop(loop);
    pthread_join(loop_thread, NULL);
    loop_runs = false;
}

static void stop(void)
{
    stop_loop();
    serial_host_destroy(host);
    host = NULL;
}

static void teardown(void)
{
    stop();
    serial_destroy(serial);
    bus_destroy(bus);
    event_loop_destroy(loop);
    if (peer >= 0)
        close(peer);
    close(log_of_test.fd);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static unsigned count_in_log(const char *text)
{
    char lines[4096];
    unsigned count = 0;
    ssize_t size = pread(log_of_test.fd, lines, sizeof(lines) - 1, 0);

    lines[size < 0 ? 0 : size] = '\0';
    for (const char *at = strstr(lines, text); at != NULL; at = strstr(at + 1, text))
        count++;
    return count;
}

static void pause_a_moment(void)
{
    poll(NULL, 0, 1); /* which the sandbox lets every thread do */
}

static void wait_for_log(const char *text)
{
    while (count_in_log(text) == 0)
        pause_a_moment();
}

static void wait_for_command(enum console_command command)
{
    while (atomic_load(&commands_seen[command]) == 0)
        pause_a_moment();
}

/* ---- The guest ---- */

static uint8_t in(uint16_t offset)
{
    return (uint8_t)bus_read(bus, TEST_DEVICE_BASE + offset, 1);
}

static void out(uint16_t offset, uint8_t value)
{
    bus_write(bus, TEST_DEVICE_BASE + offset, 1, value);
}

static void guest_open(void)
{
    out(UART_FCR, UART_FCR_ENABLE_FIFO);
    out(UART_MCR, UART_MCR_DTR | UART_MCR_RTS);
}

/* false: the port has no room. */
static bool guest_try_send(uint8_t byte)
{
    if ((in(UART_LSR)&UART_LSR_THRE) == 0)
        return false;
    out(UART_TX, byte);
    return true;
}

/* Mostly it is soon; but where it is not, who would have to do something may need this processor. */
static void wait_for_port(unsigned *turns)
{
    if ((*turns)++ < 100)
        sched_yield();
    else
        pause_a_moment();
}

static void guest_send_byte(uint8_t byte)
{
    for (unsigned turns = 0; !guest_try_send(byte);)
        wait_for_port(&turns);
}

static void guest_send(const char *text)
{
    for (; *text != '\0'; text++)
        guest_send_byte((uint8_t)*text);
}

static uint8_t guest_receive_byte(void)
{
    for (unsigned turns = 0; (in(UART_LSR)&UART_LSR_DR) == 0;)
        wait_for_port(&turns);
    return in(UART_RX);
}

static void guest_expect(const char *text)
{
    for (; *text != '\0'; text++)
        ck_assert_uint_eq(guest_receive_byte(), (uint8_t)*text);
}

/* A stream whose every byte tells where it belongs, with the end of a line now and then. */
static uint8_t numbered(size_t index)
{
    return index % 61 == 60 ? '\n' : (uint8_t)('!' + (index * 7 + (index >> 8)) % 90);
}

/* Check writes down each assertion: there is none for each byte. */
static void check_numbered(const uint8_t *bytes, size_t size, size_t from)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != numbered(from + i))
            ck_abort_msg("byte %zu is 0x%x, not 0x%x", from + i, bytes[i], numbered(from + i));
}

static void guest_send_numbered(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        guest_send_byte(numbered(i));
}

/* Sends until the port has had no room for a long time; returns where the stream stands. */
static size_t guest_send_until_refused(size_t from)
{
    unsigned refusals = 0;

    for (size_t i = from;; refusals++) {
        for (; guest_try_send(numbered(i)); i++)
            refusals = 0;
        if (refusals == 100)
            return i;
        pause_a_moment();
    }
}

/* ---- The peer ---- */

static void peer_write(const void *bytes, size_t size)
{
    ck_assert_int_eq(write(peer, bytes, size), (ssize_t)size);
}

static void peer_type(const char *text)
{
    peer_write(text, strlen(text));
}

static void peer_read(void *bytes, size_t size)
{
    for (size_t used = 0; used < size;) {
        struct pollfd one = {.fd = peer, .events = POLLIN};
        ck_assert_int_eq(poll(&one, 1, -1), 1);
        ssize_t got = read(peer, (char *)bytes + used, size - used);
        ck_assert_int_gt(got, 0);
        used += (size_t)got;
    }
}

static void peer_expect(const char *text)
{
    char got[256];
    const size_t size = strlen(text);

    ck_assert_uint_lt(size, sizeof(got));
    peer_read(got, size);
    got[size] = '\0';
    ck_assert_str_eq(got, text);
}

static void peer_expect_numbered(size_t from, size_t to)
{
    uint8_t piece[1000];

    while (from < to) {
        const size_t size = to - from < sizeof(piece) ? to - from : sizeof(piece);
        peer_read(piece, size);
        check_numbered(piece, size, from);
        from += size;
    }
}

struct range {
    size_t from;
    size_t to;
};

/* Printed by main(), because standard output is another thing in most cases. */
static uint64_t seed_of_run;

/* Pieces of any size, with pauses of any length. */
static void *peer_run_slowly(void *context)
{
    const struct range *range = context;
    uint64_t seed = seed_of_run;
    uint8_t piece[6000];

    for (size_t at = range->from; at < range->to;) {
        const size_t wanted = 1 + test_random_below(&seed, sizeof(piece));
        const size_t size = range->to - at < wanted ? range->to - at : wanted;
        peer_read(piece, size);
        check_numbered(piece, size, at);
        at += size;
        usleep(test_random_below(&seed, 400));
    }
    return NULL;
}

static int64_t now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* As far as there is something, and the other end is there. */
static void *peer_run_to_the_end(void *context)
{
    struct range *range = context;
    uint8_t piece[6000];

    while (range->from < range->to) {
        struct pollfd one = {.fd = peer, .events = POLLIN};
        ck_assert_int_eq(poll(&one, 1, -1), 1);
        const ssize_t got = read(peer, piece, sizeof(piece));
        if (got <= 0)
            break;
        check_numbered(piece, (size_t)got, range->from);
        range->from += (size_t)got;
        usleep(200);
    }
    return NULL;
}

static void use_null_output(void);

/*
 * Ends the port while its peer reads. Either the peer gets all of it, or it has had its second: false, on a machine
 * that has no time for it.
 */
static bool stop_with_reader(struct range *rest)
{
    const int64_t start = now_milliseconds();
    pthread_t reader;

    ck_assert_int_eq(pthread_create(&reader, NULL, peer_run_to_the_end, rest), 0);
    stop();
    const int64_t took = now_milliseconds() - start;
    /* So that a pipe has an end. */
    use_null_output();
    pthread_join(reader, NULL);
    ck_assert_msg(rest->from == rest->to || took >= 1000, "%zu bytes were lost after %d ms", rest->to - rest->from,
                  (int)took);
    return rest->from == rest->to;
}

enum { ATTEMPTS = 50 };

/* More than fits anywhere, in bursts that end anywhere, goes to a peer that is slower than the guest. */
static void send_to_slow_peer(void)
{
    struct range range = {0, MORE_THAN_ANY_BUFFER};
    uint64_t seed = ~seed_of_run;
    pthread_t reader;

    ck_assert_int_eq(pthread_create(&reader, NULL, peer_run_slowly, &range), 0);
    for (size_t at = range.from; at < range.to;) {
        const size_t wanted = at + 1 + test_random_below(&seed, RING_SIZE / 4);
        const size_t end = wanted < range.to ? wanted : range.to;
        guest_send_numbered(at, end);
        at = end;
        poll(NULL, 0, (int)test_random_below(&seed, 10));
    }
    pthread_join(reader, NULL);
}

/* ---- Standard input and output ---- */

static void be_standard(int number, int fd)
{
    ck_assert_int_eq(dup2(fd, number), number);
    close(fd);
}

static void use_null_input(void)
{
    be_standard(STDIN_FILENO, open("/dev/null", O_RDONLY));
}

static void use_null_output(void)
{
    be_standard(STDOUT_FILENO, open("/dev/null", O_WRONLY));
}

/* Standard output is a pipe that the peer reads. */
static void use_output_pipe(void)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    be_standard(STDOUT_FILENO, ends[1]);
    peer = ends[0];
}

/* Standard input is a pipe that the peer writes to. */
static void use_input_pipe(void)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    be_standard(STDIN_FILENO, ends[0]);
    use_null_output();
    peer = ends[1];
}

static void start_on_output_pipe(void)
{
    use_null_input();
    use_output_pipe();
    start(CONFIG_SERIAL_STDIO, NULL);
}

/* Standard output is a socket that shows each write as one message. */
static void start_on_messages(void)
{
    int ends[2];

    use_null_input();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), 0);
    be_standard(STDOUT_FILENO, ends[1]);
    peer = ends[0];
    start(CONFIG_SERIAL_STDIO, NULL);
}

static size_t next_message(char text[1024])
{
    ssize_t size = recv(peer, text, 1023, 0);

    ck_assert_int_ge(size, 0);
    text[size] = '\0';
    return (size_t)size;
}

START_TEST(line_leaves_in_one_write)
{
    char text[1024];

    /* Without the loop, so that no timer comes between. */
    start_on_messages();
    stop_loop();
    guest_send("first line\nsecond line\r\n");
    next_message(text);
    ck_assert_str_eq(text, "first line\n");
    next_message(text);
    ck_assert_str_eq(text, "second line\r\n");
}
END_TEST

START_TEST(long_line_leaves_in_pieces)
{
    char text[1024];

    start_on_messages();
    stop_loop();
    for (unsigned i = 0; i < 600; i++)
        guest_send_byte('x');
    ck_assert_uint_eq(next_message(text), 256);
    ck_assert_uint_eq(next_message(text), 256);
    stop(); /* sends what is left */
    ck_assert_uint_eq(next_message(text), 88);
}
END_TEST

START_TEST(part_of_a_line_leaves_after_a_moment)
{
    char text[1024];
    char all[1024] = "";

    start_on_messages();
    for (unsigned round = 0; round < 3; round++) {
        guest_send("login: ");
        for (all[0] = '\0'; strlen(all) < 7; strcat(all, text))
            next_message(text);
        ck_assert_str_eq(all, "login: ");
    }
}
END_TEST

START_TEST(slow_reader_of_a_pipe_gets_everything_in_order)
{
    start_on_output_pipe();
    send_to_slow_peer();
}
END_TEST

START_TEST(slow_reader_of_a_socket_gets_everything_in_order)
{
    int ends[2];

    use_null_input();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    be_standard(STDOUT_FILENO, ends[1]);
    peer = ends[0];
    start(CONFIG_SERIAL_STDIO, NULL);
    send_to_slow_peer();
}
END_TEST

/* true: to the last byte. */
static bool goes_on_when_somebody_reads(void)
{
    start_on_output_pipe();
    const size_t sent = guest_send_until_refused(0);
    ck_assert_uint_ge(sent, RING_SIZE);
    peer_expect_numbered(0, sent / 2);
    guest_send_numbered(sent, sent + 100);
    stop_loop();
    return stop_with_reader(&(struct range){sent / 2, sent + 100});
}

START_TEST(port_is_busy_while_nobody_reads_and_goes_on_then)
{
    unsigned attempts = 0;

    for (; attempts < ATTEMPTS && !goes_on_when_somebody_reads(); attempts++) {
        close(peer);
        serial_destroy(serial);
        bus_destroy(bus);
    }
    ck_assert_uint_lt(attempts, ATTEMPTS);
}
END_TEST

START_TEST(reader_that_goes_away_releases_the_guest)
{
    start_on_output_pipe();
    guest_send_until_refused(0);
    close(peer);
    peer = -1;
    guest_send_numbered(0, 4 * RING_SIZE);
    wait_for_log("output cannot be written");
    ck_assert_uint_eq(count_in_log("output cannot be written"), 1);
}
END_TEST

START_TEST(reader_that_has_gone_is_told_once)
{
    start_on_output_pipe();
    close(peer);
    peer = -1;
    guest_send_numbered(0, 4 * RING_SIZE);
    wait_for_log("output cannot be written");
    guest_send_numbered(0, RING_SIZE);
    stop();
    ck_assert_uint_eq(count_in_log("output cannot be written"), 1);
}
END_TEST

START_TEST(end_waits_a_bounded_time_for_a_reader)
{
    start_on_output_pipe();
    guest_send_until_refused(0);
    stop();
}
END_TEST

START_TEST(inherited_descriptors_stay_as_they_are)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    be_standard(STDIN_FILENO, ends[0]);
    close(ends[1]);
    use_output_pipe();
    start(CONFIG_SERIAL_STDIO, NULL);
    guest_send_until_refused(0);
    ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_eq(fcntl(peer, F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

START_TEST(output_to_a_file_goes_where_the_file_stands)
{
    char text[64] = "";
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    use_null_input();
    ck_assert_int_eq(write(fd, "before\n", 7), 7);
    be_standard(STDOUT_FILENO, fd);
    start(CONFIG_SERIAL_STDIO, NULL);
    guest_send("guest\n");
    stop();
    ck_assert_int_eq(write(STDOUT_FILENO, "after\n", 6), 6);
    ck_assert_int_eq(pread(STDOUT_FILENO, text, sizeof(text) - 1, 0), 19);
    ck_assert_str_eq(text, "before\nguest\nafter\n");
}
END_TEST

/* ---- Input ---- */

static void *peer_write_numbered(void *context)
{
    const struct range *range = context;
    uint8_t piece[777];

    for (size_t at = range->from; at < range->to;) {
        const size_t size = range->to - at < sizeof(piece) ? range->to - at : sizeof(piece);
        for (size_t i = 0; i < size; i++)
            piece[i] = numbered(at + i);
        peer_write(piece, size);
        at += size;
    }
    return NULL;
}

static void guest_expect_numbered(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const uint8_t byte = guest_receive_byte();
        check_numbered(&byte, 1, i);
    }
}

static void receive_from_peer(size_t size)
{
    struct range range = {0, size};
    pthread_t writer;

    ck_assert_int_eq(pthread_create(&writer, NULL, peer_write_numbered, &range), 0);
    guest_expect_numbered(range.from, range.to);
    pthread_join(writer, NULL);
}

START_TEST(input_reaches_the_guest_complete_and_in_order)
{
    use_input_pipe();
    start(CONFIG_SERIAL_STDIO, NULL);
    guest_open();
    receive_from_peer(200000);
}
END_TEST

START_TEST(input_is_not_read_before_the_guest_takes_it)
{
    int unread;

    use_input_pipe();
    start(CONFIG_SERIAL_STDIO, NULL);
    struct range range = {0, 5000};
    peer_write_numbered(&range);
    for (unsigned i = 0; i < 50; i++)
        pause_a_moment();
    ck_assert_int_eq(ioctl(STDIN_FILENO, FIONREAD, &unread), 0);
    ck_assert_int_ge(unread, 4000);
    guest_open();
    guest_expect_numbered(0, 5000);
}
END_TEST

/* How much processor time the loop's thread takes in a while. */
static int64_t busy_milliseconds(void)
{
    struct timespec before;
    struct timespec after;
    clockid_t clock_of_loop;

    ck_assert_int_eq(pthread_getcpuclockid(loop_thread, &clock_of_loop), 0);
    ck_assert_int_eq(clock_gettime(clock_of_loop, &before), 0);
    usleep(300000);
    ck_assert_int_eq(clock_gettime(clock_of_loop, &after), 0);
    return (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
}

/* Nothing can happen any more; but the loop may still be at work on what has, for as long as the machine takes. */
static void expect_not_busy(void)
{
    int64_t busy = 0;

    for (unsigned i = 0; i < 20; i++) {
        busy = busy_milliseconds();
        if (busy < 30)
            return;
    }
    ck_abort_msg("the loop's thread goes on working: %d ms of the last 300", (int)busy);
}

START_TEST(input_that_the_guest_does_not_take_keeps_nobody_busy)
{
    use_input_pipe();
    start(CONFIG_SERIAL_STDIO, NULL);
    peer_type("some text, and then the end");
    close(peer);
    peer = -1;
    expect_not_busy();
    guest_open();
    guest_expect("some text, and then the end");
    expect_not_busy();
    guest_send("still there\n");
}
END_TEST

START_TEST(file_is_read_as_the_guest_takes_it)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    for (size_t i = 0; i < 3000; i++) {
        const uint8_t byte = numbered(i);
        ck_assert_int_eq(write(fd, &byte, 1), 1);
    }
    ck_assert_int_eq(lseek(fd, 100, SEEK_SET), 100);
    be_standard(STDIN_FILENO, fd);
    use_output_pipe();
    start(CONFIG_SERIAL_STDIO, NULL);
    for (unsigned i = 0; i < 20; i++)
        pause_a_moment();
    ck_assert_int_le(lseek(STDIN_FILENO, 0, SEEK_CUR), 100 + 256);
    guest_open();
    guest_expect_numbered(100, 3000);
    guest_send("done\n");
    peer_expect("done\n");
    expect_not_busy();
}
END_TEST

START_TEST(socket_is_input_and_output)
{
    int ends[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ck_assert_int_eq(dup2(ends[1], STDIN_FILENO), STDIN_FILENO);
    be_standard(STDOUT_FILENO, ends[1]);
    peer = ends[0];
    start(CONFIG_SERIAL_STDIO, NULL);
    guest_open();
    peer_type("question");
    guest_expect("question");
    guest_send("answer\n");
    peer_expect("answer\n");
    ck_assert_int_eq(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

/* ---- A terminal ---- */

static int terminal_slave = -1;
static struct termios terminal_at_first;

static void open_terminal_pair(void)
{
    char name[64];

    peer = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(peer, 0);
    ck_assert_int_eq(unlockpt(peer), 0);
    ck_assert_int_eq(ptsname_r(peer, name, sizeof(name)), 0);
    terminal_slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(terminal_slave, 0);
    ck_assert_int_eq(tcgetattr(terminal_slave, &terminal_at_first), 0);
    ck_assert_int_eq(dup2(terminal_slave, STDIN_FILENO), STDIN_FILENO);
    ck_assert_int_eq(dup2(terminal_slave, STDOUT_FILENO), STDOUT_FILENO);
}

static bool terminal_is_raw(void)
{
    struct termios now;

    ck_assert_int_eq(tcgetattr(terminal_slave, &now), 0);
    return (now.c_lflag & ICANON) == 0;
}

static void start_on_terminal(void)
{
    open_terminal_pair();
    start(CONFIG_SERIAL_STDIO, NULL);
}

START_TEST(terminal_is_raw_while_it_runs)
{
    start_on_terminal();
    ck_assert(terminal_is_raw());
    guest_send("a line\r\n");
    peer_expect("a line\r\n");
    stop_loop();
    serial_host_finish(host);
    ck_assert(!terminal_is_raw());
    ck_assert_int_eq(atomic_load(&log_of_test.raw_terminal), 0);
}
END_TEST

START_TEST(keys_go_to_the_guest_and_to_us)
{
    start_on_terminal();
    guest_open();
    peer_type("abc\x01r\x03\x01\x01xyz\x01p");
    guest_expect("abc\x03\x01xyz");
    wait_for_command(CONSOLE_RESET);
    wait_for_command(CONSOLE_POWER_BUTTON);
    ck_assert_uint_eq(atomic_load(&commands_seen[CONSOLE_LEAVE]), 0);
    peer_type("\x01"
              "?");
    peer_expect("\r\nCtrl-A x  leave");
}
END_TEST

START_TEST(leave_key_works_while_the_guest_takes_nothing)
{
    static char pasted[100 << 10];

    start_on_terminal();
    memset(pasted, 'x', sizeof(pasted));
    peer_write(pasted, sizeof(pasted));
    peer_type("\x01x");
    wait_for_command(CONSOLE_LEAVE);
    /* The first of it is still there. */
    guest_open();
    for (unsigned i = 0; i < INT16_MAX; i++)
        ck_assert_uint_eq(guest_receive_byte(), 'x');
}
END_TEST

START_TEST(held_up_terminal_does_not_hold_up_our_keys)
{
    start_on_terminal();
    ck_assert_int_eq(tcflow(terminal_slave, TCOOFF), 0);
    guest_send_until_refused(0);
    peer_type("\x01?\x01q\x01x");
    wait_for_command(CONSOLE_LEAVE);
    ck_assert_int_eq(tcflow(terminal_slave, TCOON), 0);
}
END_TEST

/* ---- A file ---- */

START_TEST(file_is_emptied_and_holds_all_output)
{
    char text[64] = "";
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    ck_assert_int_eq(write(fd, "what an earlier machine has written", 35), 35);
    start(CONFIG_SERIAL_FILE, path);
    guest_send("line\nprompt");
    stop();
    ck_assert_int_eq(pread(fd, text, sizeof(text) - 1, 0), 11);
    ck_assert_str_eq(text, "line\nprompt");
    close(fd);
}
END_TEST

START_TEST(full_disk_drops_output_and_is_told_once)
{
    start(CONFIG_SERIAL_FILE, "/dev/full");
    guest_send_numbered(0, 3 * RING_SIZE);
    wait_for_log("output cannot be written");
    guest_send_numbered(0, RING_SIZE);
    stop();
    ck_assert_uint_eq(count_in_log("output cannot be written"), 1);
}
END_TEST

START_TEST(file_that_cannot_be_made_is_an_error)
{
    ck_assert_int_eq(create_host(CONFIG_SERIAL_FILE, "/no/such/folder/file"), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_ptr_nonnull(strstr(error.text, "/no/such/folder/file: "));
    ck_assert_int_eq(create_host(CONFIG_SERIAL_FILE, folder), -1);
}
END_TEST

START_TEST(nothing_at_the_other_end_takes_everything)
{
    start(CONFIG_SERIAL_NONE, NULL);
    guest_open();
    guest_send_numbered(0, 3 * RING_SIZE);
}
END_TEST

/* ---- A unix socket ---- */

static struct sockaddr_un socket_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(address.sun_path, path);
    return address;
}

static void connect_peer(void)
{
    const struct sockaddr_un address = socket_address();

    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(peer, 0);
    ck_assert_int_eq(connect(peer, (const struct sockaddr *)&address, sizeof(address)), 0);
}

/* A connection is there for the guest when it has seen something of it. */
static void connect_and_greet(void)
{
    connect_peer();
    peer_type("+");
    guest_expect("+");
}

static void disconnect_peer(void)
{
    close(peer);
    peer = -1;
}

START_TEST(client_and_guest_talk)
{
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    connect_and_greet();
    guest_send("hello\nname: ");
    peer_expect("hello\nname: ");
    receive_from_peer(100000);
}
END_TEST

START_TEST(slow_client_gets_everything_in_order)
{
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    connect_and_greet();
    send_to_slow_peer();
}
END_TEST

START_TEST(output_without_a_client_is_dropped)
{
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    guest_send_numbered(0, 3 * RING_SIZE);
    connect_and_greet();
    guest_send("now\n");
    peer_expect("now\n");
}
END_TEST

START_TEST(clients_come_and_go)
{
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    for (unsigned i = 0; i < 20; i++) {
        connect_and_greet();
        guest_send("welcome\n");
        peer_expect("welcome\n");
        disconnect_peer();
    }
    ck_assert_uint_eq(count_in_log("output"), 0);
}
END_TEST

START_TEST(client_that_leaves_unread_output_releases_the_guest)
{
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    connect_and_greet();
    guest_send_until_refused(0);
    disconnect_peer();
    guest_send_numbered(0, 3 * RING_SIZE);
    connect_and_greet();
    guest_send("fresh\n");
    peer_expect("fresh\n");
}
END_TEST

START_TEST(second_client_waits_for_the_first_to_leave)
{
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    connect_and_greet();
    int first = peer;
    connect_peer();
    peer_type("second");
    guest_send("to the first\n");
    int second = peer;
    peer = first;
    peer_expect("to the first\n");
    disconnect_peer();
    peer = second;
    guest_expect("second");
    guest_send("to the second\n");
    peer_expect("to the second\n");
}
END_TEST

START_TEST(input_of_a_client_that_has_left_is_not_lost)
{
    start(CONFIG_SERIAL_UNIX, path);
    connect_peer();
    struct range range = {0, 5000};
    peer_write_numbered(&range);
    disconnect_peer();
    expect_not_busy();
    guest_open();
    guest_expect_numbered(0, 5000);
    connect_and_greet();
}
END_TEST

START_TEST(client_that_has_left_does_not_bar_the_next)
{
    start(CONFIG_SERIAL_UNIX, path);
    connect_peer();
    peer_type("nobody takes this, which is longer than what a UART holds");
    disconnect_peer();
    connect_peer();
    for (bool served = false; !served;) {
        struct pollfd one = {.fd = peer, .events = POLLIN};
        guest_send("hello\n");
        served = poll(&one, 1, 1) == 1;
    }
    /* The first that it sees may have been cut off. */
    for (char byte = 0; byte != '\n';)
        peer_read(&byte, 1);
    guest_send("hello\n");
    peer_expect("hello\n");
}
END_TEST

START_TEST(client_that_sends_no_more_still_reads)
{
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    connect_and_greet();
    ck_assert_int_eq(shutdown(peer, SHUT_WR), 0);
    expect_not_busy();
    guest_send("still here\n");
    peer_expect("still here\n");
    disconnect_peer();
    connect_and_greet();
}
END_TEST

START_TEST(socket_is_removed_at_the_end)
{
    start(CONFIG_SERIAL_UNIX, path);
    ck_assert_int_eq(access(path, F_OK), 0);
    stop();
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

static int bind_socket(void)
{
    const struct sockaddr_un address = socket_address();
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

START_TEST(stale_socket_is_replaced)
{
    close(bind_socket());
    start(CONFIG_SERIAL_UNIX, path);
    guest_open();
    connect_and_greet();
}
END_TEST

START_TEST(socket_in_use_stays)
{
    int fd = bind_socket();

    ck_assert_int_eq(listen(fd, 0), 0);
    /* The second time its queue is full. */
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(create_host(CONFIG_SERIAL_UNIX, path), -1);
        ck_assert_int_eq(error.kind, ERROR_CONFIG);
        ck_assert_ptr_nonnull(strstr(error.text, path));
        ck_assert_int_eq(access(path, F_OK), 0);
    }
    close(fd);
}
END_TEST

START_TEST(what_is_no_socket_stays)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);

    ck_assert_int_eq(create_host(CONFIG_SERIAL_UNIX, path), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_int_eq(access(path, F_OK), 0);
    close(fd);
}
END_TEST

START_TEST(path_too_long_for_a_socket_is_an_error)
{
    char longer[200];

    memset(longer, 'a', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_int_eq(create_host(CONFIG_SERIAL_UNIX, longer), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
}
END_TEST

/* ---- A pty ---- */

static void open_pty_client(void)
{
    peer = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(peer, 0);
}

START_TEST(pty_client_and_guest_talk)
{
    struct termios settings;

    start(CONFIG_SERIAL_PTY, path);
    guest_open();
    open_pty_client();
    ck_assert_int_eq(tcgetattr(peer, &settings), 0);
    ck_assert_uint_eq(settings.c_lflag & (ICANON | ECHO), 0);
    guest_send("login: \r\n");
    peer_expect("login: \r\n");
    peer_type("root\r");
    guest_expect("root\r");
    receive_from_peer(50000);
}
END_TEST

START_TEST(pty_keeps_what_fits_for_its_first_client)
{
    start(CONFIG_SERIAL_PTY, path);
    guest_send("from the boot\n");
    open_pty_client();
    peer_expect("from the boot\n");
}
END_TEST

START_TEST(pty_without_a_client_holds_nobody_up)
{
    start(CONFIG_SERIAL_PTY, path);
    guest_send_numbered(0, MORE_THAN_ANY_BUFFER);
    expect_not_busy();
    open_pty_client();
    peer_expect_numbered(0, 4000);
}
END_TEST

/*
 * The port learns of a client in its loop, a moment after the client has opened the pty, and drops what does not fit
 * until then. When the first byte is there the loop is in a turn that serves all that came before it; when the second
 * is, that turn is over.
 */
static void greet_on_pty(void)
{
    for (unsigned i = 0; i < 2; i++) {
        peer_type("+");
        guest_expect("+");
    }
}

START_TEST(slow_client_of_a_pty_gets_everything_in_order)
{
    start(CONFIG_SERIAL_PTY, path);
    guest_open();
    open_pty_client();
    greet_on_pty();
    send_to_slow_peer();
}
END_TEST

START_TEST(pty_client_that_leaves_releases_the_guest)
{
    start(CONFIG_SERIAL_PTY, path);
    guest_open();
    open_pty_client();
    greet_on_pty();
    guest_send_until_refused(0);
    disconnect_peer();
    guest_send_numbered(0, MORE_THAN_ANY_BUFFER);
    expect_not_busy();
    open_pty_client();
    peer_type("back");
    guest_expect("back");
}
END_TEST

static bool client_of_a_pty_reads_the_end(void)
{
    struct range range = {0, 30000};

    start(CONFIG_SERIAL_PTY, path);
    guest_open();
    open_pty_client();
    greet_on_pty();
    guest_send_numbered(range.from, range.to);
    stop_loop();
    return stop_with_reader(&range);
}

START_TEST(pty_client_has_time_to_read_the_end)
{
    unsigned attempts = 0;

    for (; attempts < ATTEMPTS && !client_of_a_pty_reads_the_end(); attempts++) {
        close(peer);
        serial_destroy(serial);
        bus_destroy(bus);
    }
    ck_assert_uint_lt(attempts, ATTEMPTS);
}
END_TEST

START_TEST(link_to_the_pty_is_removed_at_the_end)
{
    struct stat status;

    start(CONFIG_SERIAL_PTY, path);
    ck_assert_int_eq(lstat(path, &status), 0);
    ck_assert(S_ISLNK(status.st_mode));
    stop();
    ck_assert_int_eq(lstat(path, &status), -1);
}
END_TEST

START_TEST(link_to_a_pty_that_is_gone_is_replaced)
{
    ck_assert_int_eq(symlink("/dev/pts/123456789", path), 0);
    start(CONFIG_SERIAL_PTY, path);
    open_pty_client();
}
END_TEST

START_TEST(other_things_in_the_place_of_the_link_stay)
{
    struct stat status;

    ck_assert_int_eq(symlink("/no/such/file", path), 0);
    ck_assert_int_eq(create_host(CONFIG_SERIAL_PTY, path), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_int_eq(lstat(path, &status), 0);
    ck_assert(S_ISLNK(status.st_mode));
}
END_TEST

START_TEST(pty_without_a_link_tells_its_name)
{
    log_of_test.level = LOG_LEVEL_ERROR;
    start(CONFIG_SERIAL_PTY, NULL);
    ck_assert_uint_eq(count_in_log("the port is at /dev/pts/"), 1);
}
END_TEST

/* ---- Under the sandbox: a machine in a process of its own, with the peer outside ---- */

/* A child that a failed test leaves behind ends with it. */
static pid_t fork_child(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

/* What the vCPU's thread does; its last act is to stop the loop. */
static void (*confined_guest)(void);
static int confined_statuses[2];

static _Noreturn void exit_of_child(int status)
{
    ssize_t written = write(STDERR_FILENO, error.text, strlen(error.text));

    (void)written;
    _exit(status);
}

static void *run_confined_guest(void *unused)
{
    struct error failure;

    (void)unused;
    if (sandbox_enter(SANDBOX_VCPU, "vcpu0", &failure) < 0)
        exit_of_child(90);
    confined_guest();
    event_loop_stop(loop);
    return NULL;
}

static void run_confined(enum config_serial_backend kind)
{
    pthread_t guest;

    build(kind, path);
    log_of_test.fd = STDERR_FILENO;
    sandbox_set_fatal_hook(terminal_restore_from_signal);
    if (sandbox_prepare(CONFIG_SECCOMP_KILL, 1u << SANDBOX_VCPU | 1u << SANDBOX_LOOP, &log_of_test, &error) < 0)
        exit_of_child(91);
    if (write(confined_statuses[1], "r", 1) != 1 || pthread_create(&guest, NULL, run_confined_guest, NULL) != 0)
        exit_of_child(92);
    if (sandbox_enter(SANDBOX_LOOP, "main", &error) < 0 || event_loop_run(loop, &error) < 0)
        exit_of_child(93);
    pthread_join(guest, NULL);
    serial_host_finish(host);
    serial_host_destroy(host);
    _exit(0);
}

static pid_t start_confined(enum config_serial_backend kind, void (*guest)(void), void (*prepare)(void))
{
    char ready;

    confined_guest = guest;
    ck_assert_int_eq(pipe(confined_statuses), 0);
    pid_t child = fork_child();
    if (child == 0) {
        if (prepare != NULL)
            prepare();
        run_confined(kind);
    }
    ck_assert_int_gt(child, 0);
    close(confined_statuses[1]);
    ck_assert_int_eq(read(confined_statuses[0], &ready, 1), 1);
    return child;
}

static void end_confined(pid_t child)
{
    int status;

    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status 0x%x", (unsigned)status);
}

static void confined_talk(void)
{
    guest_open();
    guest_expect("+");
    guest_send("?");
    guest_expect("+");
    guest_send_numbered(0, MORE_THAN_ANY_BUFFER);
    guest_expect_numbered(0, 10000);
    guest_send("prompt> ");
    guest_expect("-");
    guest_send("bye");
}

static void peer_talk(void)
{
    struct range output = {0, MORE_THAN_ANY_BUFFER};
    struct range input = {0, 10000};

    /* As greet_on_pty(). */
    peer_type("+");
    peer_expect("?");
    peer_type("+");
    peer_run_slowly(&output);
    peer_write_numbered(&input);
    peer_expect("prompt> ");
    peer_type("-");
}

START_TEST(socket_works_in_the_sandbox)
{
    pid_t child = start_confined(CONFIG_SERIAL_UNIX, confined_talk, NULL);

    connect_peer();
    disconnect_peer();
    connect_peer();
    peer_talk();
    peer_expect("bye");
    end_confined(child);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

START_TEST(pty_works_in_the_sandbox)
{
    pid_t child = start_confined(CONFIG_SERIAL_PTY, confined_talk, NULL);

    open_pty_client();
    peer_talk();
    peer_expect("bye");
    end_confined(child);
    ck_assert_int_eq(access(path, F_OK), -1);
}
END_TEST

static void confined_refused_then_released(void)
{
    guest_send_until_refused(0);
    if (write(confined_statuses[1], "f", 1) != 1)
        exit_of_child(89);
    guest_send_numbered(0, 4 * RING_SIZE);
}

static int output_pipe[2];

static void use_shared_pipe(void)
{
    use_null_input();
    be_standard(STDOUT_FILENO, output_pipe[1]);
    close(output_pipe[0]);
}

START_TEST(pipe_whose_reader_leaves_works_in_the_sandbox)
{
    char full;

    ck_assert_int_eq(pipe(output_pipe), 0);
    pid_t child = start_confined(CONFIG_SERIAL_STDIO, confined_refused_then_released, use_shared_pipe);

    close(output_pipe[1]);
    peer = output_pipe[0];
    peer_expect_numbered(0, 100);
    ck_assert_int_eq(read(confined_statuses[0], &full, 1), 1);
    disconnect_peer();
    end_confined(child);
}
END_TEST

static void use_terminal_of_session(void)
{
    setsid();
    if (ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        exit_of_child(94);
}

static void confined_terminal_talk(void)
{
    guest_open();
    guest_expect("s");
    guest_send("stop me\n");
    guest_expect("c");
    guest_send("bye\n");
}

START_TEST(terminal_that_is_stopped_works_in_the_sandbox)
{
    int status;

    open_terminal_pair();
    pid_t child = start_confined(CONFIG_SERIAL_STDIO, confined_terminal_talk, use_terminal_of_session);
    peer_type("\x01r\x01?s");
    peer_expect("\r\nCtrl-A x");
    for (char byte = 0; byte != 'm';)
        peer_read(&byte, 1);
    ck_assert(terminal_is_raw());
    ck_assert_int_eq(kill(child, SIGTSTP), 0);
    ck_assert_int_eq(waitpid(child, &status, WUNTRACED), child);
    ck_assert_msg(WIFSTOPPED(status), "wait status 0x%x", (unsigned)status);
    ck_assert(!terminal_is_raw());
    ck_assert_int_eq(kill(child, SIGCONT), 0);
    while (!terminal_is_raw()) {
        ck_assert_msg(waitpid(child, &status, WNOHANG) == 0, "wait status 0x%x", (unsigned)status);
        pause_a_moment();
#ifdef __SANITIZE_THREAD__
        /* Its runtime keeps a signal that comes during a handler until the thread's next call, and epoll_wait waits. */
        ck_assert_int_eq(kill(child, SIGCONT), 0);
#endif
    }
    peer_type("c");
    end_confined(child);
    ck_assert(!terminal_is_raw());
}
END_TEST

/* ---- Job control ---- */

static int job_result[2];

/* Starts in the background, comes to the foreground without a signal, and then has the terminal. */
static void run_background_job(void)
{
    char done = 'g';

    setpgid(0, 0);
    start(CONFIG_SERIAL_STDIO, NULL);
    if (write(job_result[1], terminal_is_raw() ? "!" : "b", 1) != 1)
        _exit(95);
    guest_open();
    guest_expect("typed");
    if (!terminal_is_raw() || write(job_result[1], &done, 1) != 1)
        _exit(96);
    stop();
    _exit(0);
}

static void run_shell(void)
{
    char started;

    use_terminal_of_session();
    signal(SIGTTOU, SIG_IGN);
    pid_t job = fork_child();
    if (job == 0)
        run_background_job();
    setpgid(job, job);
    if (read(job_result[0], &started, 1) != 1 || started != 'b' || tcsetpgrp(STDIN_FILENO, job) < 0)
        _exit(97);
    int status;
    waitpid(job, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
}

START_TEST(job_in_the_background_gets_the_terminal_when_it_comes_to_the_foreground)
{
    int status;

    open_terminal_pair();
    ck_assert_int_eq(pipe(job_result), 0);
    pid_t shell = fork_child();
    if (shell == 0)
        run_shell();
    while (!terminal_is_raw())
        pause_a_moment();
    peer_type("typed");
    ck_assert_int_eq(waitpid(shell, &status, 0), shell);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status 0x%x", (unsigned)status);
    ck_assert(!terminal_is_raw());
}
END_TEST

static TCase *new_case(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    return tcase;
}

static void add_stdio(TCase *tcase)
{
    tcase_add_test(tcase, line_leaves_in_one_write);
    tcase_add_test(tcase, long_line_leaves_in_pieces);
    tcase_add_test(tcase, part_of_a_line_leaves_after_a_moment);
    tcase_add_test(tcase, slow_reader_of_a_pipe_gets_everything_in_order);
    tcase_add_test(tcase, slow_reader_of_a_socket_gets_everything_in_order);
    tcase_add_test(tcase, port_is_busy_while_nobody_reads_and_goes_on_then);
    tcase_add_test(tcase, reader_that_goes_away_releases_the_guest);
    tcase_add_test(tcase, reader_that_has_gone_is_told_once);
    tcase_add_test(tcase, end_waits_a_bounded_time_for_a_reader);
    tcase_add_test(tcase, inherited_descriptors_stay_as_they_are);
    tcase_add_test(tcase, output_to_a_file_goes_where_the_file_stands);
    tcase_add_test(tcase, input_reaches_the_guest_complete_and_in_order);
    tcase_add_test(tcase, input_is_not_read_before_the_guest_takes_it);
    tcase_add_test(tcase, input_that_the_guest_does_not_take_keeps_nobody_busy);
    tcase_add_test(tcase, file_is_read_as_the_guest_takes_it);
    tcase_add_test(tcase, socket_is_input_and_output);
}

static void add_terminal(TCase *tcase)
{
    tcase_add_test(tcase, terminal_is_raw_while_it_runs);
    tcase_add_test(tcase, keys_go_to_the_guest_and_to_us);
    tcase_add_test(tcase, leave_key_works_while_the_guest_takes_nothing);
    tcase_add_test(tcase, held_up_terminal_does_not_hold_up_our_keys);
    tcase_add_test(tcase, job_in_the_background_gets_the_terminal_when_it_comes_to_the_foreground);
}

static void add_file(TCase *tcase)
{
    tcase_add_test(tcase, file_is_emptied_and_holds_all_output);
    tcase_add_test(tcase, full_disk_drops_output_and_is_told_once);
    tcase_add_test(tcase, file_that_cannot_be_made_is_an_error);
    tcase_add_test(tcase, nothing_at_the_other_end_takes_everything);
}

static void add_unix(TCase *tcase)
{
    tcase_add_test(tcase, client_and_guest_talk);
    tcase_add_test(tcase, slow_client_gets_everything_in_order);
    tcase_add_test(tcase, output_without_a_client_is_dropped);
    tcase_add_test(tcase, clients_come_and_go);
    tcase_add_test(tcase, client_that_leaves_unread_output_releases_the_guest);
    tcase_add_test(tcase, second_client_waits_for_the_first_to_leave);
    tcase_add_test(tcase, input_of_a_client_that_has_left_is_not_lost);
    tcase_add_test(tcase, client_that_has_left_does_not_bar_the_next);
    tcase_add_test(tcase, client_that_sends_no_more_still_reads);
    tcase_add_test(tcase, socket_is_removed_at_the_end);
    tcase_add_test(tcase, stale_socket_is_replaced);
    tcase_add_test(tcase, socket_in_use_stays);
    tcase_add_test(tcase, what_is_no_socket_stays);
    tcase_add_test(tcase, path_too_long_for_a_socket_is_an_error);
}

static void add_pty(TCase *tcase)
{
    tcase_add_test(tcase, pty_client_and_guest_talk);
    tcase_add_test(tcase, pty_keeps_what_fits_for_its_first_client);
    tcase_add_test(tcase, pty_without_a_client_holds_nobody_up);
    tcase_add_test(tcase, slow_client_of_a_pty_gets_everything_in_order);
    tcase_add_test(tcase, pty_client_that_leaves_releases_the_guest);
    tcase_add_test(tcase, pty_client_has_time_to_read_the_end);
    tcase_add_test(tcase, link_to_the_pty_is_removed_at_the_end);
    tcase_add_test(tcase, link_to_a_pty_that_is_gone_is_replaced);
    tcase_add_test(tcase, other_things_in_the_place_of_the_link_stay);
    tcase_add_test(tcase, pty_without_a_link_tells_its_name);
}

static void add_sandbox(TCase *tcase)
{
    tcase_add_test(tcase, socket_works_in_the_sandbox);
    tcase_add_test(tcase, pty_works_in_the_sandbox);
    tcase_add_test(tcase, pipe_whose_reader_leaves_works_in_the_sandbox);
}

static void add_sandboxed_terminal(TCase *tcase)
{
    tcase_add_test(tcase, terminal_that_is_stopped_works_in_the_sandbox);
}

int main(void)
{
    Suite *suite = suite_create("serial_host");

    seed_of_run = test_random_seed();

    add_stdio(new_case(suite, "stdio"));
    add_terminal(new_case(suite, "terminal"));
    add_file(new_case(suite, "file"));
    add_unix(new_case(suite, "unix"));
    add_pty(new_case(suite, "pty"));
    add_sandbox(new_case(suite, "sandbox"));
    add_sandboxed_terminal(new_case(suite, "sandboxed terminal"));
    return unit_test_run(suite);
}
