/*
 * vmm/cli/options: the command line becomes a command and a configuration, or one clear sentence.
 */
#include "memory/x86/layout.h"
#include "vmm/cli/options.h"

#include "unit_test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_WORDS 32

static struct options options;
static struct error error;
static char *output;
static size_t output_length;
static char file[] = "/tmp/quire-test-options-XXXXXX";

/* The command line is cut at blanks; '_' stands for one inside a word. */
static int parse(const char *command_line)
{
    static char words[256];
    char *argv[MAX_WORDS + 1] = {NULL};
    int argc = 0;

    options_free(&options);
    free(output);
    (void)snprintf(words, sizeof(words), "%s", command_line);
    for (char *word = strtok(words, " "); word != NULL && argc < MAX_WORDS; word = strtok(NULL, " "))
        argv[argc++] = word;
    for (int i = 0; i < argc; i++) {
        for (char *c = argv[i]; *c != '\0'; c++)
            *c = *c == '_' ? ' ' : *c;
    }
    FILE *out = open_memstream(&output, &output_length);
    int result = options_parse(argc, argv, out, &options, &error);
    ck_assert_int_eq(fclose(out), 0);
    return result;
}

static void assert_wrong(const char *command_line, const char *message)
{
    ck_assert_int_eq(parse(command_line), -1);
    ck_assert_str_eq(error.text, message);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_uint_eq(output_length, 0);
}

static void setup(void)
{
    static const char text[] = "boot = { kernel = '/k', cmdline = 'from-file' }\ncpu.count = 2\n"
                               "serial = { backend = 'file', path = '/log' }\n";
    int fd = mkstemp(file);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(close(fd), 0);
}

static void teardown(void)
{
    options_free(&options);
    free(output);
    ck_assert_int_eq(unlink(file), 0);
}

static int parse_with_file(const char *format)
{
    char command_line[256];

    (void)snprintf(command_line, sizeof(command_line), "%s %s", format, file);
    return parse(command_line);
}

static size_t count_lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

START_TEST(no_words_print_a_short_help)
{
    ck_assert_int_eq(parse("quire"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
    ck_assert_ptr_nonnull(strstr(output, "quire run FILE.toml"));
    ck_assert_uint_le(count_lines(output), 24);
}
END_TEST

START_TEST(help_is_had_in_every_way_one_would_try)
{
    static const char *const lines[] = {
        "quire help",         "quire --help",       "quire -h",         "quire help run",
        "quire help check",   "quire help help",    "quire run --help", "quire run -h x.toml",
        "quire check -h",     "quire help keys",    "quire help maps",  "quire maps -h",
        "quire help devices", "quire help control", "quire control -h",
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        ck_assert_int_eq(parse(lines[i]), 0);
        ck_assert_int_eq(options.command, OPTIONS_DONE);
        ck_assert_uint_gt(output_length, 100);
        ck_assert_uint_le(count_lines(output), 90);
    }
}
END_TEST

START_TEST(help_of_run_names_every_option_and_key)
{
    static const char *const words[] = {"--kernel", "--initrd",   "--append",  "--memory",    "--vcpus",
                                        "--serial", "--set",      "--help",    "--log-level", "--dry-run",
                                        "--gdb",    "--gdb-wait", "--control", "Examples"};

    ck_assert_int_eq(parse("quire help run"), 0);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        ck_assert_ptr_nonnull(strstr(output, words[i]));
    ck_assert_int_eq(parse("quire help keys"), 0);
    ck_assert_ptr_nonnull(strstr(output, "[sandbox]"));
}
END_TEST

START_TEST(gdb_can_have_an_address_of_its_own)
{
    ck_assert_int_eq(parse("quire run --kernel k"), 0);
    ck_assert_ptr_null(options.config.gdb.listen);
    ck_assert(!options.config.gdb.wait);
    ck_assert_int_eq(parse("quire run --kernel k --gdb --gdb-wait"), 0);
    ck_assert_str_eq(options.config.gdb.listen, "tcp:127.0.0.1:1234");
    ck_assert(options.config.gdb.wait);
    ck_assert_int_eq(parse("quire run --kernel k --gdb=unix:/run/s"), 0);
    ck_assert_str_eq(options.config.gdb.listen, "unix:/run/s");
}
END_TEST

START_TEST(version_is_one_line)
{
    ck_assert_int_eq(parse("quire --version"), 0);
    ck_assert_int_eq(options.command, OPTIONS_DONE);
    ck_assert_str_eq(output, "quire " QUIRE_VERSION "\n");
    ck_assert_int_eq(parse("quire -V"), 0);
}
END_TEST

START_TEST(a_kernel_needs_no_file)
{
    ck_assert_int_eq(parse("quire run --kernel /k --initrd=/i --append console=ttyS0_quiet --memory 1GiB --vcpus 4 "
                           "--serial unix:/s:1 --log-level debug --set machine.on-reset=exit"),
                     0);
    ck_assert_int_eq(options.command, OPTIONS_RUN);
    ck_assert(!options.dry_run);
    ck_assert_str_eq(options.config.boot.kernel, "/k");
    ck_assert_str_eq(options.config.boot.initrd, "/i");
    ck_assert_str_eq(options.config.boot.cmdline, "console=ttyS0 quiet");
    ck_assert_uint_eq(options.config.memory.size, GIB(1));
    ck_assert_uint_eq(options.config.cpu.count, 4);
    ck_assert_int_eq(options.config.serial.backend, CONFIG_SERIAL_UNIX);
    ck_assert_str_eq(options.config.serial.path, "/s:1");
    ck_assert_int_eq(options.config.log.level, LOG_LEVEL_DEBUG);
    ck_assert_int_eq(options.config.machine.on_reset, CONFIG_ACTION_EXIT);
    ck_assert_str_eq(options.config.machine.name, "quire");
    ck_assert_uint_eq(output_length, 0);
}
END_TEST

START_TEST(short_options_are_the_long_ones)
{
    ck_assert_int_eq(parse("quire run -n -k /k -i /i -a quiet -m1GiB -c3 -s log.level=info"), 0);
    ck_assert(options.dry_run);
    ck_assert_str_eq(options.config.boot.kernel, "/k");
    ck_assert_str_eq(options.config.boot.initrd, "/i");
    ck_assert_str_eq(options.config.boot.cmdline, "quiet");
    ck_assert_uint_eq(options.config.memory.size, GIB(1));
    ck_assert_uint_eq(options.config.cpu.count, 3);
    ck_assert_int_eq(options.config.log.level, LOG_LEVEL_INFO);
}
END_TEST

START_TEST(options_win_over_the_file_wherever_they_stand)
{
    ck_assert_int_eq(parse_with_file("quire run --vcpus 5"), 0);
    ck_assert_uint_eq(options.config.cpu.count, 5);
    ck_assert_str_eq(options.config.boot.cmdline, "from-file");
    ck_assert_str_eq(options.config.file, file);
}
END_TEST

START_TEST(the_later_of_two_options_wins)
{
    ck_assert_int_eq(parse("quire run -k /k -c 2 --set cpu.count=3"), 0);
    ck_assert_uint_eq(options.config.cpu.count, 3);
    ck_assert_int_eq(parse("quire run -k /k --set cpu.count=3 -c 2"), 0);
    ck_assert_uint_eq(options.config.cpu.count, 2);
}
END_TEST

START_TEST(other_serial_backend_drops_the_path_of_the_file)
{
    ck_assert_int_eq(parse_with_file("quire run --serial stdio"), 0);
    ck_assert_int_eq(options.config.serial.backend, CONFIG_SERIAL_STDIO);
    ck_assert_ptr_null(options.config.serial.path);
}
END_TEST

START_TEST(check_takes_a_file_and_nothing_else)
{
    ck_assert_int_eq(parse_with_file("quire check"), 0);
    ck_assert_int_eq(options.command, OPTIONS_CHECK);
    ck_assert_uint_eq(options.config.cpu.count, 2);
    assert_wrong("quire check", "check: no file; name one, as in 'quire check vm.toml'");
    assert_wrong("quire check a b", "check: \"b\" is one file too many; name one, and quote values that have spaces");
    assert_wrong("quire check --vcpus 2 x", "check: unknown option --vcpus; 'quire help check' lists the options");
}
END_TEST

START_TEST(wrong_usage_is_one_sentence_with_a_way_out)
{
    static const char *const cases[][2] = {
        {"quire rnu", "unknown command \"rnu\"; did you mean run?"},
        {"quire frobnicate", "unknown command \"frobnicate\"; 'quire help' lists the commands"},
        {"quire vm.toml", "unknown command \"vm.toml\"; to run that machine: quire run \"vm.toml\""},
        {"quire help chek", "unknown command \"chek\"; did you mean check?"},
        {"quire run", "nothing to run; give a configuration or a kernel, as in 'quire run vm.toml' or 'quire run "
                      "--kernel bzImage'"},
        {"quire run --dry-run", "nothing to run; give a configuration or a kernel, as in 'quire run vm.toml' or "
                                "'quire run --kernel bzImage'"},
        {"quire run --memroy=1GiB", "run: unknown option --memroy; did you mean --memory?"},
        {"quire run --frobnicate", "run: unknown option --frobnicate; 'quire help run' lists the options"},
        {"quire run -nx", "run: unknown option -x; 'quire help run' lists the options"},
        {"quire run --memory", "run: --memory needs a value; 'quire help run' shows examples"},
        {"quire run -nm", "run: --memory needs a value; 'quire help run' shows examples"},
        {"quire run --dry-run=yes", "run: --dry-run takes no value; leave out what follows \"=\""},
        {"quire run a b", "run: \"b\" is one file too many; name one, and quote values that have spaces"},
        {"quire run /nonexistent.toml", "/nonexistent.toml: cannot be opened: No such file or directory; name the TOML "
                                        "file of a machine"},
        {"quire run -k /k -c 0", "--vcpus: cpu.count: 0 is out of range; give 1 to 240"},
        {"quire run -k /k -m 512", "--memory: memory.size: \"512\" has no unit; write KiB, MiB, GiB or TiB behind the "
                                   "number, as in \"512MiB\""},
        {"quire run -k /k --serial file",
         "--serial: serial.backend: \"file\" needs a file; set serial.path, or use --serial file:PATH"},
        {"quire run -k /k --serial none:/x",
         "--serial: serial.path: has no use with serial.backend = \"none\"; take it "
         "out, or choose file, unix or pty"},
        {"quire run -k /k --set memory.sise=1GiB", "--set: memory.sise: unknown key; did you mean memory.size?"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_wrong(cases[i][0], cases[i][1]);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("options");
    TCase *words = tcase_create("words");

    tcase_add_checked_fixture(words, setup, teardown);
    tcase_add_test(words, no_words_print_a_short_help);
    tcase_add_test(words, help_is_had_in_every_way_one_would_try);
    tcase_add_test(words, help_of_run_names_every_option_and_key);
    tcase_add_test(words, gdb_can_have_an_address_of_its_own);
    tcase_add_test(words, version_is_one_line);
    tcase_add_test(words, a_kernel_needs_no_file);
    tcase_add_test(words, short_options_are_the_long_ones);
    tcase_add_test(words, options_win_over_the_file_wherever_they_stand);
    tcase_add_test(words, the_later_of_two_options_wins);
    tcase_add_test(words, other_serial_backend_drops_the_path_of_the_file);
    tcase_add_test(words, check_takes_a_file_and_nothing_else);
    tcase_add_test(words, wrong_usage_is_one_sentence_with_a_way_out);
    suite_add_tcase(all, words);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
