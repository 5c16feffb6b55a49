/* A virtio-console between each kind of host's end and a driver: the loop runs on this thread, a moment at a time. */
#include "vmm/console/virtio_port_host.h"
#include "vmm/sandbox/sandbox.h"

#include "fake_guest.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RINGS = 0x10000,
    CONTROL_BUFFERS = 0x100000,
    INPUT_BUFFERS = 0x110000,
    OUTPUT_BUFFERS = 0x120000,
    BUFFER_SIZE = 0x400,
    RING_SIZE = 32,
    /* Port 1 is the one that is tested: a channel. */
    PORT = 1,
    PORTS = 2,
    CONTROL_IN = 2,
    CONTROL_OUT = 3,
    IN = 4,
    OUT = 5,
    QUEUES = 6,
    MORE_THAN_ANY_BUFFER = 1 << 20,
};

static struct event_loop *loop;
static struct virtio_port_host *host;
static struct virtio_console *console;
static struct virtio_device *device;
static struct fake_transport transport;
static struct fake_queue queues[QUEUES];
static struct error error;
static struct log log_of_test = {.level = LOG_LEVEL_INFO};
static char folder[64];
static char path[128];
static int peer = -1;
static int moment_fd;
static unsigned commands_seen;

/* ---- The machine around it ---- */

static void on_command(void *context, enum console_command command)
{
    (void)context;
    (void)command;
    commands_seen++;
}

static size_t take_all(void *context, const uint8_t *bytes, size_t len)
{
    (void)context;
    (void)bytes;
    return len;
}

static void end_moment(void *context, uint32_t events)
{
    uint64_t count;
    ssize_t got = read(moment_fd, &count, sizeof(count));

    (void)context;
    (void)events;
    (void)got;
    event_loop_stop(loop);
}

static void setup(void)
{
    fake_guest_reset();
    log_of_test.fd = memfd_create("log", MFD_CLOEXEC);
    strcpy(folder, "/tmp/quire-test-port-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/port", folder);
    loop = event_loop_create(&error);
    ck_assert_ptr_nonnull(loop);
    moment_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    ck_assert_int_eq(event_loop_add(loop, moment_fd, EPOLLIN, end_moment, NULL, &error), 0);
}

static void build(enum config_serial_backend kind, const char *where)
{
    const struct console_commands commands = {.command = on_command};
    const struct char_host_options options = {.kind = kind, .path = where, .name = "port1"};
    const struct virtio_environment environment = {.name = "console0", .loop = loop, .log = &log_of_test};

    host = virtio_port_host_create(&options, loop, &log_of_test, &commands, &error);
    ck_assert_msg(host != NULL, "%s", error.text);
    const struct virtio_console_port_options ports[PORTS] = {
        {.is_console = true, .backend = {.write = take_all}},
        {.name = "channel", .is_console = true, .backend = virtio_port_host_backend(host)},
    };
    console = virtio_console_create(&environment, ports, PORTS, &error);
    ck_assert_ptr_nonnull(console);
    device = virtio_console_device(console);
    device->transport = fake_transport_make(&transport);
    ck_assert_msg(virtio_port_host_attach(host, console, PORT, &error) == 0, "%s", error.text);
}

static void teardown(void)
{
    virtio_port_host_destroy(host);
    virtio_console_destroy(console);
    event_loop_destroy(loop);
    if (peer >= 0)
        close(peer);
    close(moment_fd);
    close(log_of_test.fd);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(fake_guest_pins, 0);
}

/* Lets the loop run for two milliseconds. */
static void run_loop(void)
{
    const struct itimerspec soon = {.it_value.tv_nsec = 2000000};

    ck_assert_int_eq(timerfd_settime(moment_fd, 0, &soon, NULL), 0);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
}

/* ---- The guest ---- */

static bool guest_is_told_open;
static uint16_t guest_columns;
static uint16_t guest_rows;
static uint8_t guest_input[MORE_THAN_ANY_BUFFER];
static size_t guest_input_size;
static unsigned guest_output_out;
static unsigned guest_opens;

/* A driver's buffers are numbered by what the device calls them. */
static uint64_t buffer_gpa[QUEUES][256];

/* It notifies only where the device has asked for that: virtio 1.2, 2.7.10. */
static void guest_add(unsigned queue, uint64_t gpa, uint32_t size)
{
    const struct fake_buffer buffer = {gpa, size, queue % 2 == 0};
    const uint8_t *rings = fake_guest_memory + queues[queue].gpa;
    const uint16_t *event = (const uint16_t *)(const void *)(rings + 0x8000 + 4 + 8 * RING_SIZE);
    const uint16_t index = ((const uint16_t *)(const void *)(rings + 0x4000))[1];

    buffer_gpa[queue][fake_queue_add(&queues[queue], &buffer, 1)] = gpa;
    if (*event == index)
        virtio_notify(device, queue);
}

static void guest_control(uint32_t port, uint16_t event)
{
    const struct virtio_console_control message = {.id = port, .event = event, .value = 1};
    static unsigned index;
    const uint64_t gpa = CONTROL_BUFFERS + 0x8000 + 64 * (index++ % RING_SIZE);

    memcpy(fake_guest_memory + gpa, &message, sizeof(message));
    guest_add(CONTROL_OUT, gpa, sizeof(message));
}

static void guest_take_control(const uint8_t *bytes)
{
    struct virtio_console_control message;

    memcpy(&message, bytes, sizeof(message));
    if (message.event == VIRTIO_CONSOLE_PORT_ADD)
        guest_control(message.id, VIRTIO_CONSOLE_PORT_READY);
    if (message.event == VIRTIO_CONSOLE_PORT_OPEN) {
        guest_is_told_open = message.value != 0;
        guest_opens += message.value != 0;
    }
    if (message.event == VIRTIO_CONSOLE_RESIZE) {
        memcpy(&guest_columns, bytes + 8, 2);
        memcpy(&guest_rows, bytes + 10, 2);
    }
}

/* Takes what the device has used, and gives it the buffers back. */
static void guest_take_used(void)
{
    uint16_t id;
    uint32_t written;

    while (fake_queue_used(&queues[CONTROL_IN], &id, &written)) {
        guest_take_control(fake_guest_memory + buffer_gpa[CONTROL_IN][id]);
        guest_add(CONTROL_IN, buffer_gpa[CONTROL_IN][id], BUFFER_SIZE);
    }
    while (fake_queue_used(&queues[IN], &id, &written)) {
        ck_assert_uint_le(guest_input_size + written, sizeof(guest_input));
        memcpy(guest_input + guest_input_size, fake_guest_memory + buffer_gpa[IN][id], written);
        guest_input_size += written;
        guest_add(IN, buffer_gpa[IN][id], BUFFER_SIZE);
    }
    while (fake_queue_used(&queues[OUT], &id, &written))
        guest_output_out--;
    while (fake_queue_used(&queues[CONTROL_OUT], &id, &written))
        ;
}

static void run(void)
{
    run_loop();
    guest_take_used();
}

static void guest_start(void)
{
    ck_assert(fake_driver_begin(device, 1ull << VIRTIO_CONSOLE_F_MULTIPORT | 1ull << VIRTIO_RING_F_EVENT_IDX));
    for (unsigned i = 0; i < QUEUES; i++)
        fake_queue_enable(&queues[i], device, i, RING_SIZE, RINGS + 0x10000u * i);
    fake_driver_start(device);
    for (unsigned i = 0; i < 8; i++) {
        guest_add(CONTROL_IN, CONTROL_BUFFERS + BUFFER_SIZE * i, BUFFER_SIZE);
        guest_add(IN, INPUT_BUFFERS + BUFFER_SIZE * i, BUFFER_SIZE);
    }
    guest_control(0, VIRTIO_CONSOLE_DEVICE_READY);
    for (unsigned i = 0; i < 3; i++)
        run();
}

static void guest_open(void)
{
    guest_control(PORT, VIRTIO_CONSOLE_PORT_OPEN);
    run();
}

static void start(enum config_serial_backend kind, const char *where)
{
    build(kind, where);
    guest_start();
    guest_open();
}

/* One request; the ring has room for it. */
static void guest_send_bytes(const uint8_t *bytes, size_t size)
{
    static unsigned index;
    const uint64_t gpa = OUTPUT_BUFFERS + BUFFER_SIZE * (index++ % RING_SIZE);

    memcpy(fake_guest_memory + gpa, bytes, size);
    guest_add(OUT, gpa, (uint32_t)size);
    guest_output_out++;
}

static void guest_send(const char *text)
{
    guest_send_bytes((const uint8_t *)text, strlen(text));
    run();
}

static void guest_expect(const char *text)
{
    const size_t size = strlen(text);

    while (guest_input_size < size)
        run();
    ck_assert_uint_eq(guest_input_size, size);
    ck_assert_mem_eq(guest_input, text, size);
    guest_input_size = 0;
}

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

/* Has as many requests out as there are places, up to a position in the stream; where it stands then. */
static size_t guest_send_numbered(size_t from, size_t to)
{
    uint8_t piece[1000];

    while (from < to && guest_output_out < RING_SIZE) {
        const size_t size = to - from < sizeof(piece) ? to - from : sizeof(piece);
        for (size_t i = 0; i < size; i++)
            piece[i] = numbered(from + i);
        guest_send_bytes(piece, size);
        from += size;
    }
    return from;
}

static void wait_until_told(bool is_open)
{
    while (guest_is_told_open != is_open)
        run();
}

/* ---- The peer ---- */

static void peer_type(const char *text)
{
    ck_assert_int_eq(write(peer, text, strlen(text)), (ssize_t)strlen(text));
}

/* Reads what is there, without waiting, and checks it. */
static size_t peer_take_numbered(size_t from, size_t most)
{
    uint8_t piece[5000];
    struct pollfd one = {.fd = peer, .events = POLLIN};

    if (poll(&one, 1, 0) != 1)
        return from;
    ssize_t got = read(peer, piece, most < sizeof(piece) ? most : sizeof(piece));
    ck_assert_int_gt(got, 0);
    check_numbered(piece, (size_t)got, from);
    return from + (size_t)got;
}

static void peer_expect(const char *text)
{
    char got[256] = "";
    size_t used = 0;

    while (used < strlen(text)) {
        struct pollfd one = {.fd = peer, .events = POLLIN};
        run();
        if (poll(&one, 1, 0) != 1)
            continue;
        ssize_t count = read(peer, got + used, strlen(text) - used);
        ck_assert_int_gt(count, 0);
        used += (size_t)count;
    }
    ck_assert_str_eq(got, text);
}

/* More than fits anywhere: the guest's requests wait for a peer that reads a little at a time, and nothing is lost. */
static void send_to_slow_peer(void)
{
    size_t sent = 0;
    size_t seen = 0;

    for (unsigned i = 0; i < 400; i++) {
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
        run();
    }
    ck_assert_uint_lt(sent, MORE_THAN_ANY_BUFFER);
    ck_assert_uint_eq(guest_output_out, RING_SIZE);
    while (seen < MORE_THAN_ANY_BUFFER) {
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
        run();
        for (unsigned i = 0; i < 4; i++)
            seen = peer_take_numbered(seen, 4000);
    }
    ck_assert_uint_eq(guest_output_out, 0);
}

/* Input that the guest does not take stays with the peer, and comes complete. */
static void receive_more_than_the_guest_takes(void)
{
    const size_t total = 300000;
    size_t typed = 0;

    ck_assert_int_eq(fcntl(peer, F_SETFL, O_NONBLOCK), 0);
    guest_input_size = 0;
    while (guest_input_size < total) {
        uint8_t piece[3000];
        for (size_t i = 0; i < sizeof(piece); i++)
            piece[i] = numbered(typed + i);
        const size_t size = total - typed < sizeof(piece) ? total - typed : sizeof(piece);
        ssize_t written = size > 0 ? write(peer, piece, size) : 0;
        ck_assert(written >= 0 || errno == EAGAIN);
        typed += written > 0 ? (size_t)written : 0;
        run();
    }
    check_numbered(guest_input, total, 0);
    guest_input_size = 0;
}

/* ---- Standard input and output ---- */

static void be_standard(int number, int fd)
{
    ck_assert_int_eq(dup2(fd, number), number);
    close(fd);
}

START_TEST(standard_output_is_written_and_waits_for_its_reader)
{
    int ends[2];

    be_standard(STDIN_FILENO, open("/dev/null", O_RDONLY));
    ck_assert_int_eq(pipe(ends), 0);
    be_standard(STDOUT_FILENO, ends[1]);
    peer = ends[0];
    start(CONFIG_SERIAL_STDIO, NULL);
    wait_until_told(true);
    send_to_slow_peer();
}
END_TEST

START_TEST(standard_input_is_read)
{
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    be_standard(STDIN_FILENO, ends[0]);
    be_standard(STDOUT_FILENO, open("/dev/null", O_WRONLY));
    peer = ends[1];
    start(CONFIG_SERIAL_STDIO, NULL);
    peer_type("question");
    guest_expect("question");
    receive_more_than_the_guest_takes();
}
END_TEST

/* ---- A terminal ---- */

static int open_terminal(void)
{
    char name[64];

    peer = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(peer, 0);
    ck_assert_int_eq(unlockpt(peer), 0);
    ck_assert_int_eq(ptsname_r(peer, name, sizeof(name)), 0);
    int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_eq(dup2(slave, STDIN_FILENO), STDIN_FILENO);
    ck_assert_int_eq(dup2(slave, STDOUT_FILENO), STDOUT_FILENO);
    return slave;
}

static void set_terminal_size(uint16_t columns, uint16_t rows)
{
    const struct winsize size = {.ws_col = columns, .ws_row = rows};

    ck_assert_int_eq(ioctl(peer, TIOCSWINSZ, &size), 0);
}

static void wait_for_columns(uint16_t columns)
{
    while (guest_columns != columns)
        run();
}

START_TEST(terminal_s_size_reaches_the_guest)
{
    open_terminal();
    set_terminal_size(132, 43);
    start(CONFIG_SERIAL_STDIO, NULL);
    wait_for_columns(132);
    ck_assert_uint_eq(guest_rows, 43);
    set_terminal_size(80, 25);
    virtio_port_host_terminal_resized(host);
    wait_for_columns(80);
    ck_assert_uint_eq(guest_rows, 25);
    /* A terminal that was given back is not asked any more. */
    virtio_port_host_finish(host);
    set_terminal_size(1, 1);
    virtio_port_host_terminal_resized(host);
    run();
    ck_assert_uint_eq(guest_columns, 80);
}
END_TEST

static void resize_in_sandbox(void)
{
    start(CONFIG_SERIAL_STDIO, NULL);
    set_terminal_size(80, 25);
    if (sandbox_prepare(CONFIG_SECCOMP_KILL, 1u << SANDBOX_VCPU | 1u << SANDBOX_LOOP, &log_of_test, &error) < 0 ||
        sandbox_enter(SANDBOX_LOOP, "main", &error) < 0)
        _exit(90);
    virtio_port_host_terminal_resized(host);
    wait_for_columns(80);
    virtio_port_host_finish(host);
    _exit(0);
}

START_TEST(terminal_s_size_is_found_in_the_sandbox)
{
    int status;

    open_terminal();
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        resize_in_sandbox();
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status 0x%x", (unsigned)status);
}
END_TEST

START_TEST(keys_go_to_the_guest_and_to_us)
{
    open_terminal();
    start(CONFIG_SERIAL_STDIO, NULL);
    peer_type("abc\x01rxyz");
    guest_expect("abcxyz");
    ck_assert_uint_eq(commands_seen, 1);
    guest_send("a line\r\n");
    peer_expect("a line\r\n");
}
END_TEST

/* ---- A file, and nothing ---- */

START_TEST(file_holds_all_output)
{
    size_t sent = 0;
    struct stat status;

    start(CONFIG_SERIAL_FILE, path);
    wait_until_told(true);
    while (sent < MORE_THAN_ANY_BUFFER || guest_output_out > 0) {
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
        run();
    }
    virtio_port_host_finish(host);
    peer = open(path, O_RDONLY);
    ck_assert_int_eq(fstat(peer, &status), 0);
    ck_assert_int_eq(status.st_size, MORE_THAN_ANY_BUFFER);
    for (size_t seen = 0; seen < MORE_THAN_ANY_BUFFER;)
        seen = peer_take_numbered(seen, SIZE_MAX);
}
END_TEST

START_TEST(nothing_at_the_other_end_takes_everything)
{
    start(CONFIG_SERIAL_NONE, NULL);
    wait_until_told(true);
    for (size_t sent = 0; sent < MORE_THAN_ANY_BUFFER || guest_output_out > 0; run())
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
}
END_TEST

START_TEST(errors_name_the_path)
{
    const struct console_commands commands = {.command = on_command};
    const struct char_host_options options = {.kind = CONFIG_SERIAL_FILE, .path = "/no/such/file", .name = "port1"};

    ck_assert_ptr_null(virtio_port_host_create(&options, loop, &log_of_test, &commands, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "/no/such/file: it cannot be written: No such file or directory; choose"));
}
END_TEST

/* ---- A unix socket ---- */

static void connect_peer(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(address.sun_path, path);
    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(peer, (const struct sockaddr *)&address, sizeof(address)), 0);
}

START_TEST(clients_of_a_socket_come_and_go_and_the_guest_is_told)
{
    start(CONFIG_SERIAL_UNIX, path);
    ck_assert(!guest_is_told_open);
    for (unsigned i = 0; i < 3; i++) {
        connect_peer();
        wait_until_told(true);
        guest_send("hello\n");
        peer_expect("hello\n");
        peer_type("goodbye");
        close(peer);
        wait_until_told(false);
        guest_expect("goodbye");
    }
    peer = -1;
}
END_TEST

START_TEST(slow_client_of_a_socket_gets_everything)
{
    start(CONFIG_SERIAL_UNIX, path);
    connect_peer();
    wait_until_told(true);
    send_to_slow_peer();
    receive_more_than_the_guest_takes();
}
END_TEST

START_TEST(output_without_a_client_of_the_socket_is_dropped)
{
    start(CONFIG_SERIAL_UNIX, path);
    for (size_t sent = 0; sent < MORE_THAN_ANY_BUFFER || guest_output_out > 0; run())
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
    connect_peer();
    wait_until_told(true);
    guest_send("now\n");
    peer_expect("now\n");
}
END_TEST

START_TEST(client_that_leaves_unread_output_releases_the_guest)
{
    size_t sent = 0;

    start(CONFIG_SERIAL_UNIX, path);
    connect_peer();
    wait_until_told(true);
    for (unsigned i = 0; i < 400; i++, run())
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
    ck_assert_uint_eq(guest_output_out, RING_SIZE);
    close(peer);
    peer = -1;
    while (guest_output_out > 0)
        run();
}
END_TEST

START_TEST(client_is_there_until_the_guest_has_taken_what_it_has_sent)
{
    build(CONFIG_SERIAL_UNIX, path);
    guest_start();
    connect_peer();
    wait_until_told(true);
    peer_type("sent, and gone");
    close(peer);
    peer = -1;
    for (unsigned i = 0; i < 5; i++)
        run();
    ck_assert(guest_is_told_open);
    guest_open();
    guest_expect("sent, and gone");
    wait_until_told(false);
}
END_TEST

START_TEST(next_client_is_another_one_for_the_guest)
{
    build(CONFIG_SERIAL_UNIX, path);
    guest_start();
    connect_peer();
    wait_until_told(true);
    peer_type("the guest is closed, and takes nothing");
    close(peer);
    connect_peer();
    while (guest_opens < 2)
        run();
    ck_assert(guest_is_told_open);
    guest_open();
    ck_assert_uint_eq(guest_input_size, 0);
    peer_type("second");
    guest_expect("second");
}
END_TEST

/* ---- A pty ---- */

static void open_pty_client(void)
{
    peer = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(peer, 0);
}

START_TEST(clients_of_a_pty_come_and_go_and_the_guest_is_told)
{
    start(CONFIG_SERIAL_PTY, path);
    ck_assert(!guest_is_told_open);
    for (unsigned i = 0; i < 3; i++) {
        open_pty_client();
        wait_until_told(true);
        guest_send("login: ");
        peer_expect("login: ");
        peer_type("root\r");
        close(peer);
        wait_until_told(false);
        guest_expect("root\r");
    }
    peer = -1;
}
END_TEST

START_TEST(slow_client_of_a_pty_gets_everything)
{
    start(CONFIG_SERIAL_PTY, path);
    open_pty_client();
    wait_until_told(true);
    send_to_slow_peer();
    receive_more_than_the_guest_takes();
}
END_TEST

START_TEST(pty_without_a_client_keeps_what_fits)
{
    start(CONFIG_SERIAL_PTY, path);
    for (size_t sent = 0; sent < MORE_THAN_ANY_BUFFER || guest_output_out > 0; run())
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
    open_pty_client();
    for (size_t seen = 0; seen < 4000; run())
        seen = peer_take_numbered(seen, 4000 - seen);
}
END_TEST

/* ---- Resets ---- */

START_TEST(driver_that_resets_the_device_meets_the_same_host)
{
    size_t sent = 0;

    start(CONFIG_SERIAL_UNIX, path);
    connect_peer();
    wait_until_told(true);
    for (unsigned i = 0; i < 400; i++, run())
        sent = guest_send_numbered(sent, MORE_THAN_ANY_BUFFER);
    fake_driver_reset(device);
    guest_is_told_open = false;
    guest_output_out = 0;
    guest_start();
    wait_until_told(true);
    peer_type("early");
    run();
    ck_assert_uint_eq(guest_input_size, 0);
    guest_open();
    guest_expect("early");
    /* What the host's end had taken of the old driver is still on its way. */
    guest_send("~");
    for (char byte = 0; byte != '~';) {
        struct pollfd one = {.fd = peer, .events = POLLIN};
        run();
        while (byte != '~' && poll(&one, 1, 0) == 1)
            ck_assert_int_eq(read(peer, &byte, 1), 1);
    }
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

static void add_clients(TCase *tcase)
{
    tcase_add_test(tcase, clients_of_a_socket_come_and_go_and_the_guest_is_told);
    tcase_add_test(tcase, slow_client_of_a_socket_gets_everything);
    tcase_add_test(tcase, output_without_a_client_of_the_socket_is_dropped);
    tcase_add_test(tcase, client_that_leaves_unread_output_releases_the_guest);
    tcase_add_test(tcase, client_is_there_until_the_guest_has_taken_what_it_has_sent);
    tcase_add_test(tcase, next_client_is_another_one_for_the_guest);
    tcase_add_test(tcase, clients_of_a_pty_come_and_go_and_the_guest_is_told);
    tcase_add_test(tcase, slow_client_of_a_pty_gets_everything);
    tcase_add_test(tcase, pty_without_a_client_keeps_what_fits);
    tcase_add_test(tcase, driver_that_resets_the_device_meets_the_same_host);
}

static void add_others(TCase *tcase)
{
    tcase_add_test(tcase, standard_output_is_written_and_waits_for_its_reader);
    tcase_add_test(tcase, standard_input_is_read);
    tcase_add_test(tcase, terminal_s_size_reaches_the_guest);
    tcase_add_test(tcase, terminal_s_size_is_found_in_the_sandbox);
    tcase_add_test(tcase, keys_go_to_the_guest_and_to_us);
    tcase_add_test(tcase, file_holds_all_output);
    tcase_add_test(tcase, nothing_at_the_other_end_takes_everything);
    tcase_add_test(tcase, errors_name_the_path);
}

int main(void)
{
    Suite *suite = suite_create("virtio_port_host");

    add_clients(new_case(suite, "clients"));
    add_others(new_case(suite, "others"));
    return unit_test_run(suite);
}
