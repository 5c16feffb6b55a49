/* The command line of quire control. */
#include "command_line.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

START_TEST(a_socket_and_a_command)
{
    ck_assert_int_eq(parse("quire control unix:/run/s status"), 0);
    ck_assert_int_eq(options.command, OPTIONS_CONTROL);
    ck_assert_str_eq(options.control.address, "unix:/run/s");
    ck_assert_str_eq(options.control.command, "status");
    ck_assert(!options.control.json);
    ck_assert_int_eq(parse("quire control unix:/run/s power-button -j"), 0);
    ck_assert_str_eq(options.control.command, "power-button");
    ck_assert(options.control.json);
}
END_TEST

START_TEST(commands_with_an_argument)
{
    ck_assert_int_eq(parse("quire control unix:s dump --json vmcore"), 0);
    ck_assert_str_eq(options.control.command, "dump");
    ck_assert_str_eq(options.control.file, "vmcore");
    ck_assert_int_eq(parse("quire control unix:s nmi 3"), 0);
    ck_assert_uint_eq(options.control.vcpu, 3);
    ck_assert_ptr_null(options.control.file);
    ck_assert_int_eq(parse("quire control unix:s nmi"), 0);
    ck_assert_uint_eq(options.control.vcpu, 0);
}
END_TEST

START_TEST(a_path_that_is_a_socket_is_one)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/quire-test-control-XXXXXX";
    char line[160];

    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(name.sun_path, sizeof(name.sun_path), "%s/socket", folder);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
    (void)snprintf(line, sizeof(line), "quire control %s quit", name.sun_path);
    ck_assert_int_eq(parse(line), 0);
    ck_assert_str_eq(options.control.address + strlen("unix:"), name.sun_path);
    close(fd);
    ck_assert_int_eq(unlink(name.sun_path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(a_file_says_where)
{
    static const char with[] = "boot.kernel = 'k'\ncontrol.listen = 'unix:/run/vm.control'\n";
    static const char without[] = "boot.kernel = 'k'\n";
    char path[] = "/tmp/quire-test-control-XXXXXX";
    char line[128];

    const int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, with, strlen(with)), (ssize_t)strlen(with));
    (void)snprintf(line, sizeof(line), "quire control %s vcpus", path);
    ck_assert_int_eq(parse(line), 0);
    ck_assert_str_eq(options.control.address, "unix:/run/vm.control");
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    ck_assert_int_eq(pwrite(fd, without, strlen(without), 0), (ssize_t)strlen(without));
    expect_error(line, "control.listen: is not there");
    close(fd);
    ck_assert_int_eq(unlink(path), 0);
    expect_error(line, "No such file");
}
END_TEST

START_TEST(mistakes_are_named)
{
    expect_error("quire control", "which machine?");
    expect_error("quire control unix:s", "no command");
    expect_error("quire control unix:s paus", "did you mean pause?");
    expect_error("quire control unix:s frobnicate", "'quire help control' lists the commands");
    expect_error("quire control unix:s pause now", "\"now\" is one word too many; pause takes none");
    expect_error("quire control unix:s dump", "no file");
    expect_error("quire control unix:s dump a b", "\"b\" is one word too many");
    expect_error("quire control unix:s nmi x", "is no vCPU");
    expect_error("quire control unix:s nmi 240", "is no vCPU");
    expect_error("quire control unix:s nmi 1x", "is no vCPU");
    expect_error("quire control unix: status", "is no address of a socket");
    expect_error("quire control unix:s status --fast", "unknown option");
    expect_error("quire control unix:s status -x", "unknown option");
    expect_error("quire contrl unix:s status", "did you mean control?");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control_options");
    TCase *tests = tcase_create("all");

    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, a_socket_and_a_command);
    tcase_add_test(tests, commands_with_an_argument);
    tcase_add_test(tests, a_path_that_is_a_socket_is_one);
    tcase_add_test(tests, a_file_says_where);
    tcase_add_test(tests, mistakes_are_named);
    suite_add_tcase(suite, tests);
    return unit_test_run(suite);
}
