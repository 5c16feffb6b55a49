#include "vmm/gdb/gdb_server.h"

#include "fake_target.h"
#include "server_rig.h"
#include "unit_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct fake_target fake;
static struct gdb_server_options options;
static struct gdb_server *server;
static struct error error;

static void start(const char *text)
{
    ck_assert_msg(gdb_address_parse(text, &options.address, &error) == 0, "%s", error.text);
    server = gdb_server_create(&options, &fake.target, rig_loop, &rig_log, &error);
    ck_assert_msg(server != NULL, "%s", error.text);
}

static void start_unix(void)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "unix:%s", rig_path);
    start(text);
}

static void setup(void)
{
    rig_make();
    fake_target_init(&fake, true);
    fake.stops_at_once = true;
}

static void teardown(void)
{
    gdb_server_destroy(server);
    fake_target_fini(&fake);
    (void)unlink(rig_path);
    rig_end();
}

/* ---- Clients ---- */

static void check(int fd, const char *packet, const char *expected)
{
    rig_say(fd, packet);
    const char *reply = rig_hear(fd);
    ck_assert_msg(reply != NULL, "no reply to %s", packet);
    ck_assert_str_eq(reply, expected);
}

static void check_works(int fd)
{
    check(fd, "$qC#b4", "+$QC1#c5");
}

/* ---- Listening ---- */

START_TEST(socket_is_this_users_alone_and_goes_with_the_server)
{
    struct stat status;
    const mode_t mask = umask(0);

    start_unix();
    umask(mask);
    ck_assert_int_eq(stat(rig_path, &status), 0);
    ck_assert(S_ISSOCK(status.st_mode));
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    ck_assert(rig_log_says(rig_path));
    gdb_server_destroy(server);
    server = NULL;
    ck_assert_int_eq(stat(rig_path, &status), -1);
}
END_TEST

START_TEST(stale_socket_is_replaced)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, rig_path);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    start_unix();
    int client = rig_enter();
    check_works(client);
    close(client);
}
END_TEST

static void check_refused(const char *text, const char *word)
{
    ck_assert_int_eq(gdb_address_parse(text, &options.address, &error), 0);
    ck_assert_ptr_null(gdb_server_create(&options, &fake.target, rig_loop, &rig_log, &error));
    ck_assert_msg(strstr(error.text, word) != NULL, "%s", error.text);
    ck_assert_ptr_nonnull(strstr(error.text, text));
}

START_TEST(what_is_in_use_stays)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "unix:%s", rig_path);
    close(open(rig_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    check_refused(text, "in use");
    ck_assert_int_eq(access(rig_path, F_OK), 0);
    unlink(rig_path);
    start_unix();
    struct gdb_server *first = server;
    check_refused(text, "in use");
    check_works(rig_enter());
    server = first;
    check_refused("unix:/nowhere/gdb", "No such file");
}
END_TEST

/* One that takes no more connections now is no stale one. */
START_TEST(a_busy_listener_stays)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int clients[16];
    unsigned count = 0;
    char text[96];
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, rig_path);
    ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(listener, 0), 0);
    do {
        ck_assert_uint_lt(count, 16);
        clients[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    } while (connect(clients[count++], (const struct sockaddr *)&address, sizeof(address)) == 0);
    ck_assert_int_eq(errno, EAGAIN);
    (void)snprintf(text, sizeof(text), "unix:%s", rig_path);
    check_refused(text, "in use");
    ck_assert_int_eq(access(rig_path, F_OK), 0);
    while (count > 0)
        close(clients[--count]);
    close(listener);
}
END_TEST

START_TEST(tcp_gets_a_free_port_and_tells_it)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[GDB_ADDRESS_TEXT_SIZE];

    start("tcp:127.0.0.1:0");
    ck_assert_uint_ne(gdb_server_address(server)->port, 0);
    gdb_address_format(gdb_server_address(server), text);
    ck_assert(rig_log_says(text));
    check_refused(text, "in use");
    address.sin_port = htons(gdb_server_address(server)->port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    rig_turn(RIG_TURNS);
    rig_say(fd, "$qC#b4");
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    while (poll(&ready, 1, 1) == 0)
        rig_turn(RIG_TURNS);
    ck_assert_str_eq(rig_hear(fd), "+$QC1#c5");
    close(fd);
}
END_TEST

/* ---- Clients ---- */

START_TEST(clients_come_and_go_one_at_a_time)
{
    start_unix();
    ck_assert(!gdb_server_has_client(server));
    int first = rig_enter();
    ck_assert(gdb_server_has_client(server));
    ck_assert(rig_log_says("a client has connected"));
    ck_assert(!rig_log_says("has left"));
    ck_assert_uint_eq(fake.attaches, 1);
    int second = rig_enter();
    rig_say(second, "$qC#b4");
    ck_assert_ptr_null(rig_hear(second));
    check_works(first);
    rig_leave(first);
    ck_assert(rig_log_says("the client has left"));
    ck_assert_uint_eq(fake.detaches, 1);
    ck_assert_uint_eq(fake.attaches, 2);
    ck_assert_str_eq(rig_hear(second), "+$QC1#c5");
    rig_leave(second);
    ck_assert_uint_eq(fake.detaches, 2);
    ck_assert(!gdb_server_has_client(server));
}
END_TEST

START_TEST(hundred_clients_are_lost_at_any_moment)
{
    static const char session[] = "+$qSupported:swbreak+#8b$vCont;c#a8\x03$g#67$m0,ffff#61$qRcmd,6c6f6e67#60";

    start_unix();
    fake.answer_size = 300000;
    for (unsigned i = 1; i <= 100; i++) {
        int fd = rig_enter();
        fake.stops_at_once = i % 2 == 0;
        ck_assert_int_ge(send(fd, session, i % sizeof(session), MSG_NOSIGNAL), 0);
        rig_turn(i % 4);
        close(fd);
        rig_turn(RIG_TURNS);
        ck_assert_uint_eq(fake.detaches, i);
        ck_assert(!fake.is_attached);
        fake.stops_at_once = true;
    }
    check_works(rig_enter());
}
END_TEST

START_TEST(detach_closes_the_connection)
{
    start_unix();
    int fd = rig_enter();
    check(fd, "$D#44", "+$OK#9a");
    ck_assert_str_eq(rig_hear(fd), "");
    ck_assert_uint_eq(fake.detaches, 1);
    ck_assert(!gdb_server_has_client(server));
    close(fd);
    check_works(rig_enter());
}
END_TEST

START_TEST(half_a_packet_and_garbage_do_no_harm)
{
    start_unix();
    int fd = rig_enter();
    static const char bytes[] = "\xff\xfegarbage#00$qC#b4$qC";
    for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
        ck_assert_int_eq(send(fd, bytes + i, 1, MSG_NOSIGNAL), 1);
        rig_turn(2);
    }
    ck_assert_str_eq(rig_hear(fd), "+$QC1#c5");
    rig_leave(fd);
    ck_assert_uint_eq(fake.detaches, 1);
    check_works(rig_enter());
}
END_TEST

START_TEST(huge_packet_is_refused_and_the_connection_kept)
{
    static char bytes[10 * 1024 * 1024];
    size_t sent = 0;

    start_unix();
    int fd = rig_enter();
    memset(bytes, 'm', sizeof(bytes));
    bytes[0] = '$';
    while (sent < sizeof(bytes)) {
        const ssize_t more = send(fd, bytes + sent, sizeof(bytes) - sent, MSG_NOSIGNAL);
        ck_assert(more > 0 || errno == EAGAIN);
        sent += more > 0 ? (size_t)more : 0;
        rig_turn(2);
    }
    char tail[8];
    (void)snprintf(tail, sizeof(tail), "#%02x", (unsigned)((sizeof(bytes) - 1) * 'm') & 0xff);
    check(fd, tail, "+$E01#a6");
    check_works(fd);
    close(fd);
}
END_TEST

START_TEST(ctrl_c_and_stops_reach_each_other)
{
    start_unix();
    int fd = rig_enter();
    fake.stops_at_once = false;
    check(fd, "$c#63", "+");
    ck_assert(fake.is_running);
    fake.stops_at_once = true;
    rig_say(fd, "\x03");
    ck_assert_uint_eq(fake.interrupts, 1);
    ck_assert(strncmp(rig_hear(fd), "$T02thread:1;", 13) == 0);
    /* By itself */
    fake.stops_at_once = false;
    check(fd, "+$c#63", "+");
    fake_target_stop(&fake, DEBUG_STOP_CRASHED, 1);
    const char *text = rig_hear(fd);
    ck_assert_int_eq(text[1], 'O');
    ck_assert_ptr_nonnull(strstr(text, "$T06thread:2;"));
    close(fd);
}
END_TEST

/* As many replies as the socket takes, and one more; no longer is the client listened to. */
START_TEST(client_that_never_reads_is_not_listened_to)
{
    static const char packet[] = "$mffffffff81000000,10000#43";
    size_t sent = 0, before;

    start_unix();
    int fd = rig_enter();
    do {
        before = sent;
        for (unsigned i = 0; i < 100; i++) {
            const ssize_t more = send(fd, packet, sizeof(packet) - 1, MSG_NOSIGNAL);
            sent += more > 0 ? (size_t)more : 0;
            rig_turn(2);
        }
    } while (sent > before);
    ck_assert_uint_lt(sent, 1024 * 1024);
    ck_assert(gdb_server_has_client(server));
    rig_leave(fd);
    ck_assert_uint_eq(fake.detaches, 1);
    ck_assert(!gdb_server_has_client(server));
    check_works(rig_enter());
}
END_TEST

START_TEST(slow_reader_gets_all_of_it)
{
    size_t total = 0;

    start_unix();
    fake.answer_size = 1000000;
    int fd = rig_enter();
    rig_say(fd, "$QStartNoAckMode#b0");
    ck_assert_str_eq(rig_hear(fd), "+$OK#9a");
    rig_say(fd, "$qRcmd,6c6f6e67#60");
    for (const char *text; (text = rig_hear(fd)) != NULL; rig_turn(3))
        total += strlen(text);
    /* Two digits for each byte, and a frame for each 16 KiB. */
    const size_t pieces = (1000000 + 16 * 1024 - 1) / (16 * 1024);
    ck_assert_uint_eq(total, 2 * 1000000 + 5 * pieces + 6);
    close(fd);
}
END_TEST

START_TEST(others_have_their_turns_during_a_search)
{
    start_unix();
    int fd = rig_enter();
    rig_say(fd, "$QStartNoAckMode#b0");
    (void)rig_hear(fd);
    fake.target.vcpu_count = FAKE_VCPUS;
    static const char packet[] = "$qCRC:ffffffff81000000,100000#8a";
    ck_assert_int_gt(send(fd, packet, sizeof(packet) - 1, MSG_NOSIGNAL), 0);
    rig_turn(RIG_TURNS);
    ck_assert_str_eq(rig_hear(fd), "$E01#a6"); /* the packet's checksum is wrong */
    check(fd, "$qCRC:ffffffff81000000,100000#89", "$Cc7a8e31a#a0");
    close(fd);
}
END_TEST

/* ---- Ends ---- */

START_TEST(end_of_the_machine_is_told)
{
    start_unix();
    int fd = rig_enter();
    fake.stops_at_once = false;
    check(fd, "$c#63", "+");
    int next = rig_enter();
    gdb_server_exited(server, 2);
    ck_assert_str_eq(rig_hear(fd), "$W02#b9");
    ck_assert_str_eq(rig_hear(fd), "");
    rig_turn(RIG_TURNS);
    ck_assert(!gdb_server_has_client(server));
    ck_assert_uint_eq(fake.attaches, 1);
    ck_assert_uint_eq(fake.detaches, 0);
    close(fd);
    close(next);
}
END_TEST

START_TEST(destroying_says_nothing_to_the_target)
{
    start_unix();
    int fd = rig_enter();
    gdb_server_destroy(server);
    server = NULL;
    ck_assert_str_eq(rig_hear(fd), "");
    ck_assert_uint_eq(fake.detaches, 0);
    gdb_server_destroy(NULL);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gdb_server");
    TCase *tcase = tcase_create("gdb_server");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, socket_is_this_users_alone_and_goes_with_the_server);
    tcase_add_test(tcase, stale_socket_is_replaced);
    tcase_add_test(tcase, what_is_in_use_stays);
    tcase_add_test(tcase, a_busy_listener_stays);
    tcase_add_test(tcase, tcp_gets_a_free_port_and_tells_it);
    tcase_add_test(tcase, clients_come_and_go_one_at_a_time);
    tcase_add_test(tcase, hundred_clients_are_lost_at_any_moment);
    tcase_add_test(tcase, detach_closes_the_connection);
    tcase_add_test(tcase, half_a_packet_and_garbage_do_no_harm);
    tcase_add_test(tcase, huge_packet_is_refused_and_the_connection_kept);
    tcase_add_test(tcase, ctrl_c_and_stops_reach_each_other);
    tcase_add_test(tcase, client_that_never_reads_is_not_listened_to);
    tcase_add_test(tcase, slow_reader_gets_all_of_it);
    tcase_add_test(tcase, others_have_their_turns_during_a_search);
    tcase_add_test(tcase, end_of_the_machine_is_told);
    tcase_add_test(tcase, destroying_says_nothing_to_the_target);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
