/* The command line of quire exec. */
#include "command_line.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

START_TEST(a_socket_and_a_command)
{
    ck_assert_int_eq(parse("quire exec -S /run/s -- ls -l --all"), 0);
    ck_assert_int_eq(options.command, OPTIONS_EXEC);
    ck_assert_str_eq(options.exec.address, "unix:/run/s");
    ck_assert_uint_eq(options.exec.command_count, 3);
    ck_assert_str_eq(options.exec.command[1], "-l");
    ck_assert_int_eq(options.exec.terminal, EXEC_TERMINAL_AUTO);
    ck_assert_int_eq(options.exec.wait, 10000);
    ck_assert_int_eq(options.exec.timeout, -1);
    ck_assert_int_eq(parse("quire exec --socket unix:/run/s"), 0);
    ck_assert_str_eq(options.exec.address, "unix:/run/s");
    ck_assert_uint_eq(options.exec.command_count, 0);
}
END_TEST

START_TEST(all_options)
{
    ck_assert_int_eq(parse("quire exec -S s -t -e A=b --env C= -w /tmp -u 5:6 --wait 2m --timeout 500ms -- true"), 0);
    ck_assert_int_eq(options.exec.terminal, EXEC_TERMINAL_YES);
    ck_assert_uint_eq(options.exec.env_count, 2);
    ck_assert_str_eq(options.exec.env[1], "C=");
    ck_assert_str_eq(options.exec.cwd, "/tmp");
    ck_assert(options.exec.as_user);
    ck_assert_uint_eq(options.exec.uid, 5);
    ck_assert_uint_eq(options.exec.gid, 6);
    ck_assert_int_eq(options.exec.wait, 120000);
    ck_assert_int_eq(options.exec.timeout, 500);
    ck_assert_int_eq(parse("quire exec -T -S s -u 5"), 0);
    ck_assert_int_eq(options.exec.terminal, EXEC_TERMINAL_NO);
    ck_assert_uint_eq(options.exec.gid, 5);
}
END_TEST

START_TEST(a_file_says_where)
{
    char path[64] = "/tmp/quire-test-exec-XXXXXX";
    char line[128];
    int fd = mkstemp(path);
    static const char text[] = "[boot]\nkernel = \"k\"\n[agent]\nlisten = \"unix:here\"\n";

    ck_assert_int_eq(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
    (void)snprintf(line, sizeof(line), "quire exec %s -- true", path);
    ck_assert_int_eq(parse(line), 0);
    ck_assert_str_eq(options.exec.address, "unix:/tmp/here");
    ck_assert_int_eq(ftruncate(fd, 20), 0);
    expect_error(line, "agent.listen");
    close(fd);
    unlink(path);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    expect_error("quire exec -- true", "which machine?");
    expect_error("quire exec -S s uname", "put -- before the command");
    expect_error("quire exec -S s vm.toml -- uname", "one word too many");
    expect_error("quire exec -S s --sockt x", "did you mean --socket?");
    expect_error("quire exec -S", "needs a value");
    expect_error("quire exec -S s -e =b", "--env");
    expect_error("quire exec -S s -e b", "NAME=VALUE");
    expect_error("quire exec -S s -u root", "in figures");
    expect_error("quire exec -S s -u 4294967295", "in figures");
    expect_error("quire exec -S s -u 1:", "in figures");
    expect_error("quire exec -S s --wait 1d", "no time");
    expect_error("quire exec -S s --timeout -1", "no time");
    expect_error("quire exec -S s --timeout 99999999999999999999", "no time");
    expect_error("quire exec -S unix: -- true", "unix:PATH");
    expect_error("quire exec no-such.toml -- true", "no-such.toml");
}
END_TEST

START_TEST(help_is_there)
{
    ck_assert_int_eq(parse("quire exec --help"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
    ck_assert_int_eq(parse("quire help exec"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
}
END_TEST

/* ---- What agent.listen adds to a machine ---- */

static const struct config_device *device(size_t index)
{
    ck_assert_uint_lt(index, options.config.lists.device_count);
    return &options.config.lists.devices[index];
}

START_TEST(an_agent_has_a_port_of_a_console)
{
    char *printed = NULL;
    size_t size;

    ck_assert_int_eq(parse("quire run --kernel k --agent unix:/run/s"), 0);
    ck_assert_uint_eq(options.config.lists.device_count, 1);
    ck_assert_int_eq(device(0)->kind, CONFIG_DEVICE_CONSOLE);
    ck_assert_uint_eq(device(0)->console.port_count, 1);
    ck_assert_str_eq(device(0)->console.ports[0].name, "quire.agent");
    /* What was not asked for is not printed. */
    FILE *out = open_memstream(&printed, &size);
    config_print(&options.config, out);
    (void)fclose(out);
    ck_assert_ptr_null(strstr(printed, "console]]"));
    ck_assert_ptr_null(strstr(printed, "quire.agent"));
    ck_assert_ptr_nonnull(strstr(printed, "listen = \"unix:/run/s\""));
    free(printed);
    ck_assert_int_eq(parse("quire run --kernel k --agent unix:/run/s --set agent.port=serial"), 0);
    ck_assert_uint_eq(options.config.lists.device_count, 0);
    ck_assert_int_eq(parse("quire run --kernel k --agent unix:/run/s --set boot.tables=none"), 0);
    ck_assert_int_eq(device(0)->transport, CONFIG_TRANSPORT_MMIO);
}
END_TEST

START_TEST(a_wrong_agent_is_named)
{
    expect_error("quire run --kernel k --agent tcp:1", "agent.listen");
    expect_error("quire run --kernel k --set agent.port=serial", "agent.listen");
    expect_error("quire run --kernel k --set agent.port=x", "agent.port");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("exec_options");
    TCase *cases = tcase_create("exec");

    tcase_add_checked_fixture(cases, NULL, teardown);
    tcase_add_test(cases, a_socket_and_a_command);
    tcase_add_test(cases, all_options);
    tcase_add_test(cases, a_file_says_where);
    tcase_add_test(cases, what_is_wrong_is_named);
    tcase_add_test(cases, help_is_there);
    tcase_add_test(cases, an_agent_has_a_port_of_a_console);
    tcase_add_test(cases, a_wrong_agent_is_named);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
