#include "vmm/gdb/gdb_address.h"

#include "unit_test.h"

#include <string.h>

static struct gdb_address address;
static struct error error;

static void parse(const char *text)
{
    ck_assert_msg(gdb_address_parse(text, &address, &error) == 0, "%s: %s", text, error.text);
}

static const struct {
    const char *text;
    enum gdb_address_kind kind;
    uint16_t port;
    bool is_loopback;
} good[] = {
    {"unix:/run/quire.gdb", GDB_ADDRESS_UNIX, 0, true},      {"unix:a:b", GDB_ADDRESS_UNIX, 0, true},
    {"tcp:127.0.0.1:1234", GDB_ADDRESS_TCP4, 1234, true},    {"tcp:127.255.0.9:1", GDB_ADDRESS_TCP4, 1, true},
    {"tcp:0.0.0.0:65535", GDB_ADDRESS_TCP4, 65535, false},   {"tcp:192.168.1.2:0", GDB_ADDRESS_TCP4, 0, false},
    {"tcp:[::1]:1234", GDB_ADDRESS_TCP6, 1234, true},        {"tcp:[::ffff:127.0.0.1]:1", GDB_ADDRESS_TCP6, 1, true},
    {"tcp:[::ffff:10.0.0.1]:1", GDB_ADDRESS_TCP6, 1, false}, {"tcp:[::]:1", GDB_ADDRESS_TCP6, 1, false},
    {"tcp:[2001:db8::1]:99", GDB_ADDRESS_TCP6, 99, false},
};

START_TEST(good_forms_are_taken_and_written_again)
{
    char text[GDB_ADDRESS_TEXT_SIZE];

    parse(good[_i].text);
    ck_assert_int_eq(address.kind, good[_i].kind);
    ck_assert_uint_eq(address.port, good[_i].port);
    ck_assert_int_eq(address.is_loopback, good[_i].is_loopback);
    gdb_address_format(&address, text);
    ck_assert_str_eq(text, good[_i].text);
}
END_TEST

static const char *const bad[] = {
    "",
    "unix",
    "unix:",
    "tcp:",
    "tcp:1234",
    "tcp::1234",
    "tcp:localhost:1234",
    "tcp:127.0.0.1",
    "tcp:127.0.0.1:",
    "tcp:127.0.0.1:65536",
    "tcp:127.0.0.1:123456",
    "tcp:127.0.0.1:-1",
    "tcp:127.0.0.1:+1",
    "tcp:127.0.0.1: 1",
    "tcp:127.0.0.1:1x",
    "tcp:127.0.0:1",
    "tcp:::1:1234",
    "tcp:[::1:1234",
    "tcp:[]:1234",
    "tcp:[127.0.0.1]:1234",
    "tcp:[fe80::1%eth0]:1234",
    "tcp:[11111111111111111111111111111111111111111111111111111111]:1",
    "udp:127.0.0.1:1234",
    "/run/quire.gdb",
    "127.0.0.1:1234",
};

START_TEST(bad_forms_are_refused_and_leave_the_address)
{
    memset(&address, 0x55, sizeof(address));
    const struct gdb_address before = address;
    ck_assert_int_eq(gdb_address_parse(bad[_i], &address, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_ptr_nonnull(strstr(error.text, "unix:PATH"));
    ck_assert_mem_eq(&address, &before, sizeof(address));
}
END_TEST

START_TEST(path_has_to_fit)
{
    char text[5 + GDB_ADDRESS_PATH_SIZE + 1] = "unix:";

    memset(text + 5, 'p', GDB_ADDRESS_PATH_SIZE);
    ck_assert_int_eq(gdb_address_parse(text, &address, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "107 bytes"));
    text[5 + GDB_ADDRESS_PATH_SIZE - 1] = '\0';
    parse(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gdb_address");
    TCase *tcase = tcase_create("gdb_address");

    tcase_add_loop_test(tcase, good_forms_are_taken_and_written_again, 0, sizeof(good) / sizeof(good[0]));
    tcase_add_loop_test(tcase, bad_forms_are_refused_and_leave_the_address, 0, sizeof(bad) / sizeof(bad[0]));
    tcase_add_test(tcase, path_has_to_fit);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
