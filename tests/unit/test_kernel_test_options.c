/* The command line of quire test --kernel. */
#include "command_line.h"

#include <string.h>
#include <unistd.h>

static const struct kernel_test_options *parsed(const char *line)
{
    ck_assert_msg(parse(line) == 0, "%s: %s", line, error.text);
    ck_assert_int_eq(options.command, OPTIONS_KERNEL_TEST);
    return &options.kernel_test;
}

START_TEST(a_kernel_and_a_command)
{
    const struct kernel_test_options *test = parsed("quire|test|--kernel|/k/bzImage|--|ls|-v|--help");

    ck_assert_str_eq(test->config.boot.kernel, "/k/bzImage");
    ck_assert_str_eq(test->config.boot.cmdline, "console=ttyS0 panic=-1");
    ck_assert_uint_eq(test->command_count, 3);
    ck_assert_str_eq(test->command[2], "--help");
    ck_assert(!test->verbose);
    ck_assert_int_eq(test->wait, 60000);
    ck_assert_int_eq(test->timeout, -1);
    ck_assert_ptr_null(test->initrd);
    ck_assert_int_eq(test->config.agent.port, CONFIG_AGENT_SERIAL);
    ck_assert_int_eq(test->config.machine.on_reset, CONFIG_ACTION_EXIT);
    ck_assert_uint_eq(parsed("quire|test|--kernel=/k")->command_count, 0);
    ck_assert_uint_eq(parsed("quire|test|--kernel|/k|--")->command_count, 0);
}
END_TEST

START_TEST(scenarios_are_somebody_elses)
{
    ck_assert_int_eq(parse("quire|test|--|scenario.toml|--kernel|k"), 0);
    ck_assert_int_eq(options.command, OPTIONS_TEST);
}
END_TEST

START_TEST(all_options)
{
    const struct kernel_test_options *test =
        parsed("quire|test|-v|--kernel|/k|-i|/i|-a|quiet x=\"a b\"|-m|1GiB|-c|3|-s|machine.name=n|--wait|2m|--timeout|"
               "500ms|--allow|warning,rcu-stall|--allow|oops|--bisect|--|true");

    ck_assert(test->verbose);
    ck_assert(test->bisect);
    ck_assert_str_eq(test->initrd, "/i");
    ck_assert_str_eq(test->config.boot.cmdline, "console=ttyS0 panic=-1 quiet x=\"a b\"");
    ck_assert_uint_eq(test->config.memory.size, 1u << 30);
    ck_assert_uint_eq(test->config.cpu.count, 3);
    ck_assert_str_eq(test->config.machine.name, "n");
    ck_assert_int_eq(test->wait, 120000);
    ck_assert_int_eq(test->timeout, 500);
    for (unsigned kind = 0; kind < TROUBLE_KIND_COUNT; kind++)
        ck_assert_int_eq(test->allowed[kind],
                         kind == TROUBLE_WARNING || kind == TROUBLE_RCU_STALL || kind == TROUBLE_OOPS);
}
END_TEST

START_TEST(files_for_the_guest)
{
    const struct kernel_test_options *test =
        parsed("quire|test|--kernel|/k|--put|a/b|-p|c:/d/e|--put|x:y|--put|a:b:/c");
    static const char *const wanted[][2] = {{"a/b", "/root/b"}, {"c", "/d/e"}, {"x:y", "/root/x:y"}, {"a:b", "/c"}};

    ck_assert_uint_eq(test->put_count, 4);
    for (size_t i = 0; i < test->put_count; i++) {
        ck_assert_str_eq(test->puts[i].file, wanted[i][0]);
        ck_assert_str_eq(test->puts[i].path, wanted[i][1]);
    }
}
END_TEST

/* As a machine's own defaults are: --set comes behind what the test wants. */
START_TEST(a_key_can_be_set_otherwise)
{
    ck_assert_int_eq(parsed("quire|test|--kernel|/k|--set|agent.port=virtio")->config.agent.port, CONFIG_AGENT_VIRTIO);
}
END_TEST

START_TEST(a_path_is_of_the_current_folder)
{
    char here[4096], wanted[8192];

    ck_assert_ptr_nonnull(getcwd(here, sizeof(here)));
    (void)snprintf(wanted, sizeof(wanted), "%s/bzImage", here);
    ck_assert_str_eq(parsed("quire|test|--kernel|bzImage")->config.boot.kernel, wanted);
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    expect_error("quire|test|--kernel", "\"--kernel\" needs a value");
    expect_error("quire|test|--kernel|k|uname", "-- stands before the command");
    expect_error("quire|test|--kernel|k|--tiemout|5s", "did you mean --timeout?");
    expect_error("quire|test|--kernel|k|--xyz", "unknown option \"--xyz\"");
    expect_error("quire|test|--kernel|k|--wait|soon", "test: --wait: \"soon\" is no time");
    expect_error("quire|test|--kernel|k|--timeout|-1", "test: --timeout: \"-1\" is no time");
    expect_error("quire|test|--kernel|k|--allow|warnin", "did you mean warning?");
    expect_error("quire|test|--kernel|k|--allow|panic,,oops", "\"\" is no kind of trouble");
    expect_error("quire|test|--kernel|k|--vcpus|0", "--vcpus: cpu.count");
    expect_error("quire|test|--kernel|k|--set|machine.nme=x", "did you mean");
    expect_error("quire|tset|--kernel|k", "did you mean test?");
}
END_TEST

/* A mistake is no bad commit: it is told as such. */
START_TEST(a_mistake_in_a_bisection)
{
    expect_error("quire|test|--kernel|k|--xyz|--bisect", "--xyz");
    ck_assert(options.test.for_bisect);
    expect_error("quire|test|--kernel|k|--xyz|--|--bisect", "--xyz");
    ck_assert(!options.test.for_bisect);
}
END_TEST

START_TEST(a_command_that_is_too_long)
{
    char line[4096] = "quire|test|--kernel|k|--";
    char *words[1100];
    int argc = 0;
    char *rest = line;
    FILE *out = fopen("/dev/null", "we");

    while (rest != NULL)
        words[argc++] = strsep(&rest, "|");
    while (argc < 1090)
        words[argc++] = line;
    words[argc] = NULL;
    ck_assert_int_eq(options_parse(argc, words, out, &options, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "at most"));
    (void)fclose(out);
}
END_TEST

START_TEST(help_is_there)
{
    ck_assert_int_eq(parse("quire|test|--kernel|k|--help"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
    ck_assert_int_eq(parse("quire|help|test"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
}
END_TEST

START_TEST(the_manual_has_every_option)
{
    char *text = NULL, *page = NULL;
    size_t length = 0, count = 0, page_length = 0;
    FILE *out = open_memstream(&text, &length);
    FILE *file = fopen(SOURCE_FOLDER "/docs/man/quire.1", "re");

    kernel_test_options_print_help(out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_ptr_nonnull(file);
    ck_assert_int_gt(getdelim(&page, &page_length, '\0', file), 0);
    (void)fclose(file);
    const char *start = strstr(page, "\n.Ss quire test --kernel\n");
    char *section = strndup(start, (size_t)(strstr(start + 1, "\n.Ss ") - start));
    for (const char *at = strstr(text, " --"); at != NULL; at = strstr(at + 1, " --")) {
        char entry[64];
        const int letters = (int)strspn(at + 3, "abcdefghijklmnopqrstuvwxyz-");
        if (letters == 0)
            continue;
        (void)snprintf(entry, sizeof(entry), "Fl Fl %.*s", letters, at + 3);
        ck_assert_msg(strstr(section, entry) != NULL, "not in quire.1: %s", entry);
        count++;
    }
    ck_assert_uint_ge(count, 12);
    free(section);
    free(page);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel_test_options");
    TCase *tcase = tcase_create("kernel_test_options");

    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, a_kernel_and_a_command);
    tcase_add_test(tcase, scenarios_are_somebody_elses);
    tcase_add_test(tcase, all_options);
    tcase_add_test(tcase, files_for_the_guest);
    tcase_add_test(tcase, a_key_can_be_set_otherwise);
    tcase_add_test(tcase, a_path_is_of_the_current_folder);
    tcase_add_test(tcase, what_is_wrong_is_named);
    tcase_add_test(tcase, a_mistake_in_a_bisection);
    tcase_add_test(tcase, a_command_that_is_too_long);
    tcase_add_test(tcase, help_is_there);
    tcase_add_test(tcase, the_manual_has_every_option);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
