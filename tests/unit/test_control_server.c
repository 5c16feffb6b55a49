/* The control socket's clients, good ones and others, with a machine that is none. */
#include "vmm/control/control_client.h"
#include "vmm/control/control_protocol.h"
#include "vmm/control/control_server.h"

#include "fake_machine.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { TURNS = 10 };

static struct fake_machine machine;
static struct control_server *server;
static struct event_loop *loop;
static struct error error;
static struct log file_log = {.level = LOG_LEVEL_INFO};
static char folder[] = "/tmp/quire-test-control-XXXXXX";
static char path[64];
static char address[80];

static void start(unsigned vcpus)
{
    fake_machine_init(&machine, vcpus);
    server = control_server_create(address, &machine.target, loop, &file_log, &error);
    ck_assert_msg(server != NULL, "%s", error.text);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/control", folder);
    (void)snprintf(address, sizeof(address), "unix:%s", path);
    file_log.fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_ge(file_log.fd, 0);
    loop = event_loop_create(&error);
    ck_assert_ptr_nonnull(loop);
    machine.dump_fd = -1;
}

static void teardown(void)
{
    control_server_destroy(server);
    event_loop_destroy(loop);
    fake_machine_fini(&machine);
    close(file_log.fd);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* ---- The loop ---- */

static unsigned turns_left;

static int count_turn(void *context)
{
    (void)context;
    if (turns_left == 0 || --turns_left == 0)
        event_loop_stop(loop);
    return 0;
}

/* What is ready is served, a few times over. */
static void turn(unsigned turns)
{
    struct event_hook hook = {.prepare = count_turn};

    turns_left = turns;
    event_loop_add_hook(loop, &hook);
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
    event_loop_remove_hook(loop, &hook);
}

/* ---- Clients ---- */

static int enter(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_ge(fd, 0);
    strcpy(name.sun_path, path);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    turn(TURNS);
    return fd;
}

static void leave(int fd)
{
    close(fd);
    turn(TURNS);
}

static void say_bytes(int fd, const char *bytes, size_t size)
{
    ck_assert_int_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
    turn(TURNS);
}

static void say(int fd, const char *text)
{
    say_bytes(fd, text, strlen(text));
}

/* The same, with files. */
static void say_with_files(int fd, const char *text, const int *files, size_t count)
{
    union {
        char bytes[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr header;
    } control = {
        .header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(int))}};
    char copy[256];
    struct iovec part = {.iov_base = copy, .iov_len = strlen(text)};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};

    strcpy(copy, text);
    memcpy(CMSG_DATA(&control.header), files, count * sizeof(int));
    ck_assert_int_eq(sendmsg(fd, &message, MSG_NOSIGNAL), (ssize_t)strlen(text));
    turn(TURNS);
}

/* What has arrived; "" where the connection has ended, NULL where nothing has. */
static const char *hear(int fd)
{
    static char text[8192];
    const ssize_t got = recv(fd, text, sizeof(text) - 1, 0);

    if (got < 0 && errno == ECONNRESET)
        return "";
    if (got < 0)
        return NULL;
    text[got] = '\0';
    return text;
}

static void expect(int fd, const char *answer)
{
    const char *heard = hear(fd);

    ck_assert_msg(heard != NULL, "nothing, and not %s", answer);
    ck_assert_str_eq(heard, answer);
}

static const char OK[] = "{\"ok\":true}\n";

static void expect_works(int fd)
{
    say(fd, "{\"do\": \"pause\"}\n");
    expect(fd, OK);
}

static unsigned count_files(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

START_TEST(the_socket_is_for_this_user_and_goes)
{
    struct stat status;

    start(1);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    ck_assert_ptr_null(control_server_create(address, &machine.target, loop, &file_log, &error));
    ck_assert_ptr_nonnull(strstr(error.text, "the control socket cannot be made"));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    control_server_destroy(server);
    server = NULL;
    ck_assert_int_eq(stat(path, &status), -1);
}
END_TEST

START_TEST(requests_come_in_pieces_and_together)
{
    start(1);
    const int fd = enter();
    say(fd, "{\"do\": ");
    ck_assert_ptr_null(hear(fd));
    say(fd, "\"pause\"}\n{\"do\": \"resume\"}\n{\"do\": \"res");
    expect(fd, "{\"ok\":true}\n{\"ok\":true}\n");
    say(fd, "et\"}\n\n");
    const char *heard = hear(fd);
    ck_assert_ptr_nonnull(heard);
    ck_assert_ptr_nonnull(strstr(heard, "{\"ok\":true}\n{\"ok\":false"));
    ck_assert_str_eq(machine.log, "prR");
    leave(fd);
}
END_TEST

START_TEST(what_was_asked_before_the_end_is_done)
{
    start(1);
    const int fd = enter();
    ck_assert_int_eq(send(fd, "{\"do\": \"reset\"}\n{\"do\": \"quit\"}\n{\"do\"", 37, 0), 37);
    ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
    turn(TURNS);
    expect(fd, "{\"ok\":true}\n{\"ok\":true}\n");
    expect(fd, "");
    ck_assert_str_eq(machine.log, "Rq");
    leave(fd);
    const int other = enter();
    ck_assert_int_eq(send(other, "{\"do\": \"reset\"}\n", 16, 0), 16);
    leave(other);
    ck_assert_str_eq(machine.log, "RqR");
    leave(enter());
}
END_TEST

START_TEST(a_long_line_is_left_out)
{
    char line[3 * CONTROL_LINE_MAX];

    start(1);
    const int fd = enter();
    memset(line, ' ', sizeof(line));
    say_bytes(fd, line, sizeof(line));
    const char *heard = hear(fd);
    ck_assert_ptr_nonnull(heard);
    ck_assert_ptr_nonnull(strstr(heard, "too long"));
    ck_assert_ptr_null(hear(fd));
    say(fd, "{\"do\": \"quit\"}\n");
    ck_assert_ptr_null(hear(fd));
    expect_works(fd);
    ck_assert_str_eq(machine.log, "p");
    /* The longest that there may be. */
    memcpy(line + CONTROL_LINE_MAX - 17, "{\"do\": \"resume\"}\n", 17);
    say_bytes(fd, line, CONTROL_LINE_MAX);
    expect(fd, OK);
    leave(fd);
}
END_TEST

START_TEST(several_clients_and_more_than_there_is_room_for)
{
    int fds[CONTROL_CLIENT_MAX + 1];

    start(1);
    for (unsigned i = 0; i <= CONTROL_CLIENT_MAX; i++)
        fds[i] = enter();
    for (unsigned i = 0; i < CONTROL_CLIENT_MAX; i++)
        expect_works(fds[i]);
    say(fds[CONTROL_CLIENT_MAX], "{\"do\": \"quit\"}\n");
    ck_assert_ptr_null(hear(fds[CONTROL_CLIENT_MAX]));
    leave(fds[3]);
    turn(TURNS);
    expect(fds[CONTROL_CLIENT_MAX], OK);
    for (unsigned i = 0; i <= CONTROL_CLIENT_MAX; i++)
        if (i != 3)
            leave(fds[i]);
}
END_TEST

START_TEST(who_does_not_read_is_not_listened_to)
{
    static const char line[] = "{\"do\":\"vcpus\"}\n";
    unsigned asked = 0;

    /* An answer for so many is some 10 KB. */
    start(32);
    const int fd = enter(), other = enter();
    while (asked < 100000 && send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line)) {
        asked++;
        if (asked % 64 == 0)
            turn(2);
    }
    ck_assert_int_eq(errno, EAGAIN);
    turn(TURNS);
    /* What its socket holds has been looked up, and one more. */
    ck_assert_uint_lt(strlen(machine.log), 64);
    expect_works(other);
    /* When it reads, all is answered. */
    size_t lines = 0;
    for (unsigned i = 0; i < 1000000 && lines < asked; i++) {
        const char *heard = hear(fd);
        if (heard == NULL)
            turn(2);
        for (; heard != NULL && *heard != '\0'; heard++)
            lines += *heard == '\n';
    }
    ck_assert_uint_eq(lines, asked);
    leave(fd);
    leave(other);
}
END_TEST

START_TEST(a_dump_is_answered_in_the_end)
{
    start(1);
    const int fd = enter(), other = enter();
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    machine.dump_steps = 3;
    const unsigned before = count_files();
    say_with_files(fd, "{\"do\": \"dump\"}\n{\"do\": \"reset\"}\n", &file, 1);
    const char *heard = hear(fd);
    ck_assert_ptr_nonnull(heard);
    static const char progress[] = "{\"progress\":{\"done\":1,\"total\":2,\"written\":3}}\n";
    ck_assert_int_eq(strncmp(heard, progress, strlen(progress)), 0);
    ck_assert_ptr_nonnull(
        strstr(heard, "{\"ok\":true,\"dump\":{\"done\":1,\"total\":2,\"written\":3}}\n{\"ok\":true}\n"));
    ck_assert_str_eq(machine.log, "dsssR");
    ck_assert_uint_eq(count_files(), before);
    expect_works(other);
    leave(fd);
    leave(other);
    close(file);
}
END_TEST

START_TEST(a_client_that_leaves_aborts_its_dump)
{
    start(1);
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    for (unsigned i = 0; i < 2; i++) {
        const int fd = enter(), other = enter();
        machine.dump_steps = 100000;
        say_with_files(fd, "{\"do\": \"dump\"}\n", &file, 1);
        ck_assert_int_ge(machine.dump_fd, 0);
        say_with_files(other, "{\"do\": \"dump\"}\n", &file, 1);
        const char *heard = hear(other);
        ck_assert_ptr_nonnull(heard);
        ck_assert_ptr_nonnull(strstr(heard, "another dump"));
        expect_works(other);
        leave(fd);
        ck_assert_int_eq(machine.dump_fd, -1);
        const size_t steps = strlen(machine.log);
        ck_assert_int_eq(machine.log[steps - 1], 'a');
        expect_works(other);
        ck_assert_uint_eq(strlen(machine.log), steps + 1);
        leave(other);
    }
    close(file);
}
END_TEST

START_TEST(who_does_not_read_progress_gets_the_answer)
{
    start(1);
    const int fd = enter();
    int size = 1;
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    machine.dump_steps = 20000;
    say_with_files(fd, "{\"do\": \"dump\"}\n", &file, 1);
    turn(25000);
    ck_assert_int_eq(machine.dump_fd, -1);
    static char last[256];
    size_t used = 0;
    for (unsigned i = 0; i < 100000 && strstr(last, "\"ok\"") == NULL; i++) {
        const char *heard = hear(fd);
        if (heard == NULL)
            turn(2);
        for (; heard != NULL && *heard != '\0'; heard++) {
            if (used == 0)
                memset(last, 0, sizeof(last));
            /* Each line is whole. Check writes down each assertion: there is none for each byte. */
            if (used >= sizeof(last) - 1 || (used == 0 && *heard != '{'))
                ck_abort_msg("a line is not whole: %s", last);
            last[used] = *heard;
            used = *heard == '\n' ? 0 : used + 1;
        }
    }
    ck_assert_ptr_nonnull(strstr(last, "{\"ok\":true,\"dump\""));
    leave(fd);
    close(file);
}
END_TEST

START_TEST(files_are_not_kept)
{
    start(1);
    const unsigned none = count_files();
    const int fd = enter();
    int files[8];
    for (unsigned i = 0; i < 8; i++)
        files[i] = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    const unsigned before = count_files();
    for (unsigned i = 1; i <= 8; i++) {
        say_with_files(fd, "{\"do\": \"reset\"}\n", files, i);
        expect(fd, OK);
        /* One waits to be taken. */
        ck_assert_uint_le(count_files(), before + 1);
    }
    for (unsigned i = 0; i < 8; i++)
        close(files[i]);
    leave(fd);
    ck_assert_uint_eq(count_files(), none);
}
END_TEST

START_TEST(the_end_aborts_a_dump)
{
    start(1);
    const int fd = enter();
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    machine.dump_steps = 100000;
    say_with_files(fd, "{\"do\": \"dump\"}\n", &file, 1);
    control_server_destroy(server);
    server = NULL;
    ck_assert_int_eq(machine.dump_fd, -1);
    close(fd);
    close(file);
}
END_TEST

START_TEST(the_client_speaks_to_it)
{
    bool timed_out;

    start(1);
    struct control_client *client = control_client_connect(address, &error);
    ck_assert_ptr_nonnull(client);
    ck_assert_ptr_null(control_client_receive(client, 20, &timed_out, &error));
    ck_assert(timed_out);
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    ck_assert_int_eq(control_client_send(client, "{\"do\": \"dump\"}", file, &error), 0);
    ck_assert_int_eq(control_client_send(client, "{\"do\": \"pause\"}", -1, &error), 0);
    turn(TURNS);
    const char *line = control_client_receive(client, 1000, NULL, &error);
    ck_assert_ptr_nonnull(line);
    ck_assert_str_eq(line, "{\"ok\":true,\"dump\":{\"done\":1,\"total\":2,\"written\":3}}");
    line = control_client_receive(client, 1000, NULL, &error);
    ck_assert_ptr_nonnull(line);
    ck_assert_str_eq(line, "{\"ok\":true}");
    control_server_destroy(server);
    server = NULL;
    ck_assert_ptr_null(control_client_receive(client, 1000, &timed_out, &error));
    ck_assert(!timed_out);
    ck_assert_int_eq(control_client_send(client, "{}", -1, &error), -1);
    control_client_destroy(client);
    ck_assert_ptr_null(control_client_connect(address, &error));
    ck_assert_int_eq(error.kind, ERROR_HOST);
    ck_assert_ptr_nonnull(strstr(error.text, "control.listen"));
    close(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control_server");
    TCase *tests = tcase_create("all");

    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, the_socket_is_for_this_user_and_goes);
    tcase_add_test(tests, requests_come_in_pieces_and_together);
    tcase_add_test(tests, what_was_asked_before_the_end_is_done);
    tcase_add_test(tests, a_long_line_is_left_out);
    tcase_add_test(tests, several_clients_and_more_than_there_is_room_for);
    tcase_add_test(tests, who_does_not_read_is_not_listened_to);
    tcase_add_test(tests, a_dump_is_answered_in_the_end);
    tcase_add_test(tests, a_client_that_leaves_aborts_its_dump);
    tcase_add_test(tests, who_does_not_read_progress_gets_the_answer);
    tcase_add_test(tests, files_are_not_kept);
    tcase_add_test(tests, the_end_aborts_a_dump);
    tcase_add_test(tests, the_client_speaks_to_it);
    suite_add_tcase(suite, tests);
    return unit_test_run(suite);
}
