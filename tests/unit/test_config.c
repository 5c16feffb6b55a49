/*
 * vmm/config: files and assignments become struct config, whole or not at all, and go back to TOML.
 */
#include "memory/x86/layout.h"
#include "vmm/config/config.h"
#include "vmm/config/path.h"
#include "vmm/config/schema.h"
#include "vmm/config/text.h"
#include "vmm/config/toml.h"

#include "unit_test.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct config config;
static struct error error;
static char folder[] = "/tmp/quire-test-config-XXXXXX";

static void setup(void)
{
    ck_assert_int_eq(config_defaults(&config, &error), 0);
}

static void teardown(void)
{
    config_free(&config);
}

static int parse_as(const char *name, const char *text)
{
    return config_parse(&config, name, text, strlen(text), &error);
}

static int parse(const char *text)
{
    return parse_as("vm.toml", text);
}

static void assert_error(enum error_kind kind, const char *text)
{
    ck_assert_int_eq(error.kind, kind);
    ck_assert_str_eq(error.text, text);
}

static char *printed(const struct config *from)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    ck_assert_ptr_nonnull(out);
    config_print(from, out);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

static void enter_folder(void)
{
    setup();
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
}

static void leave_folder(void)
{
    char command[sizeof(folder) + 16];

    teardown();
    ck_assert_int_eq(chdir("/"), 0);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *path, const char *text, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, length), (ssize_t)length);
    ck_assert_int_eq(close(fd), 0);
}

START_TEST(defaults_are_those_of_the_manual)
{
    ck_assert_str_eq(config.machine.name, "quire");
    ck_assert_int_eq(config.machine.on_reset, CONFIG_ACTION_RESTART);
    ck_assert_int_eq(config.machine.on_panic, CONFIG_ACTION_EXIT);
    ck_assert_uint_eq(config.cpu.count, 1);
    ck_assert_uint_eq(config.cpu.hide.count, 0);
    ck_assert_uint_eq(config.memory.size, MIB(512));
    ck_assert_ptr_null(config.boot.kernel);
    ck_assert_ptr_null(config.boot.initrd);
    ck_assert_str_eq(config.boot.cmdline, "console=ttyS0");
    ck_assert_int_eq(config.boot.tables, CONFIG_TABLES_ACPI);
    ck_assert_int_eq(config.boot.entry, CONFIG_ENTRY_AUTO);
    ck_assert_int_eq(config.serial.backend, CONFIG_SERIAL_STDIO);
    ck_assert_ptr_null(config.serial.path);
    ck_assert_int_eq(config.sandbox.seccomp, CONFIG_SECCOMP_KILL);
    ck_assert_int_eq(config.log.level, LOG_LEVEL_WARN);
    ck_assert_ptr_null(config.file);
}
END_TEST

START_TEST(every_key_of_a_file_is_read)
{
    ck_assert_int_eq(parse("[machine]\nname = 'web'\non-reset = 'exit'\non-panic = 'restart'\n"
                           "[cpu]\ncount = 240\nhide = ['avx512f', 'sse4.2']\n"
                           "[memory]\nsize = '6GiB'\n"
                           "[boot]\nkernel = '/k'\ninitrd = '/i'\ncmdline = 'quiet'\ntables = 'device-tree'\n"
                           "entry = 'pvh'\n"
                           "[serial]\nbackend = 'unix'\npath = '/s'\n"
                           "[sandbox]\nseccomp = 'log'\n"
                           "[log]\nlevel = 'debug'\n"),
                     0);
    ck_assert_str_eq(config.machine.name, "web");
    ck_assert_int_eq(config.machine.on_reset, CONFIG_ACTION_EXIT);
    ck_assert_int_eq(config.machine.on_panic, CONFIG_ACTION_RESTART);
    ck_assert_uint_eq(config.cpu.count, 240);
    ck_assert_uint_eq(config.cpu.hide.count, 2);
    ck_assert_str_eq(config.cpu.hide.items[0].text, "avx512f");
    ck_assert_str_eq(config.cpu.hide.items[1].text, "sse4.2");
    ck_assert_uint_eq(config.memory.size, GIB(6));
    ck_assert_str_eq(config.boot.kernel, "/k");
    ck_assert_str_eq(config.boot.initrd, "/i");
    ck_assert_str_eq(config.boot.cmdline, "quiet");
    ck_assert_int_eq(config.boot.tables, CONFIG_TABLES_DEVICE_TREE);
    ck_assert_int_eq(config.boot.entry, CONFIG_ENTRY_PVH);
    ck_assert_int_eq(config.serial.backend, CONFIG_SERIAL_UNIX);
    ck_assert_str_eq(config.serial.path, "/s");
    ck_assert_int_eq(config.sandbox.seccomp, CONFIG_SECCOMP_LOG);
    ck_assert_int_eq(config.log.level, LOG_LEVEL_DEBUG);
    ck_assert_str_eq(config.file, "vm.toml");
    ck_assert_int_eq(config_check(&config, &error), 0);
}
END_TEST

START_TEST(dotted_keys_and_inline_tables_are_the_same_as_sections)
{
    ck_assert_int_eq(parse("memory.size = '1GiB'\ncpu = { count = 2 }\n"), 0);
    ck_assert_uint_eq(config.memory.size, GIB(1));
    ck_assert_uint_eq(config.cpu.count, 2);
}
END_TEST

START_TEST(sizes_have_short_and_long_units_that_mean_the_same)
{
    static const struct {
        const char *text;
        uint64_t size;
    } cases[] = {
        {"32768K", MIB(32)}, {"32768KiB", MIB(32)}, {"32M", MIB(32)},   {"32MiB", MIB(32)},
        {"1G", GIB(1)},      {"1GiB", GIB(1)},      {"1T", 1ull << 40}, {"64TiB", LAYOUT_MAX_RAM_SIZE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_int_eq(config_set(&config, "--memory", "memory.size", cases[i].text, &error), 0);
        ck_assert_uint_eq(config.memory.size, cases[i].size);
    }
}
END_TEST

START_TEST(machine_is_named_after_its_file_unless_the_file_names_it)
{
    static const char *const cases[][2] = {
        {"dir/web.toml", "web"}, {"web", "web"}, {"a.b.toml", "a.b"}, {".toml", ".toml"}, {"dir/", "quire"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        config_free(&config);
        setup();
        ck_assert_int_eq(parse_as(cases[i][0], ""), 0);
        ck_assert_str_eq(config.machine.name, cases[i][1]);
    }
    ck_assert_int_eq(parse_as("web.toml", "machine.name = 'db'"), 0);
    ck_assert_str_eq(config.machine.name, "db");
}
END_TEST

START_TEST(file_name_too_long_for_a_machine_leaves_the_default)
{
    char name[65 + sizeof(".toml")];

    memset(name, 'a', 65);
    strcpy(name + 65, ".toml");
    ck_assert_int_eq(parse_as(name, ""), 0);
    ck_assert_str_eq(config.machine.name, "quire");
}
END_TEST

START_TEST(bad_file_changes_nothing)
{
    char *before = printed(&config);

    ck_assert_int_eq(parse("[cpu]\ncount = 2\nhide = ['a']\n[boot]\nkernel = '/k'\n[memory]\nsize = 1\n"), -1);
    char *after = printed(&config);
    ck_assert_str_eq(before, after);
    ck_assert_ptr_null(config.file);
    free(before);
    free(after);
}
END_TEST

START_TEST(second_file_goes_over_the_first)
{
    ck_assert_int_eq(parse("cpu.count = 2\nmemory.size = '1GiB'\n"), 0);
    ck_assert_int_eq(parse_as("other.toml", "cpu.count = 3\n"), 0);
    ck_assert_uint_eq(config.cpu.count, 3);
    ck_assert_uint_eq(config.memory.size, GIB(1));
    ck_assert_str_eq(config.file, "other.toml");
}
END_TEST

START_TEST(text_need_not_end_in_nul)
{
    static const char text[] = "cpu.count = 23";

    ck_assert_int_eq(config_parse(&config, "vm.toml", text, sizeof(text) - 2, &error), 0);
    ck_assert_uint_eq(config.cpu.count, 2);
}
END_TEST

START_TEST(line_of_many_dots_in_a_string_is_read_up_to_the_limit)
{
    char text[600] = "boot.cmdline = '";
    size_t length = strlen(text);

    memset(text + length, '.', 255);
    strcpy(text + length + 255, "'\n# .");
    ck_assert_int_eq(parse(text), 0);
    memset(text + length, '.', 256);
    strcpy(text + length + 256, "'");
    ck_assert_int_eq(parse(text), -1);
    assert_error(ERROR_CONFIG, "vm.toml:1:1: not TOML: more than 256 dots in one line; break it into several");
}
END_TEST

START_TEST(command_line_has_a_greatest_length)
{
    char *text = malloc(LAYOUT_CMDLINE_MAX_SIZE + 1);

    ck_assert_ptr_nonnull(text);
    memset(text, 'x', LAYOUT_CMDLINE_MAX_SIZE);
    text[LAYOUT_CMDLINE_MAX_SIZE] = '\0';
    ck_assert_int_eq(config_set(&config, "--append", "boot.cmdline", text, &error), -1);
    assert_error(ERROR_CONFIG, "--append: boot.cmdline: is 65536 bytes long; give 0 to 65535");
    text[LAYOUT_CMDLINE_MAX_SIZE - 1] = '\0';
    ck_assert_int_eq(config_set(&config, "--append", "boot.cmdline", text, &error), 0);
    free(text);
}
END_TEST

START_TEST(what_is_no_text_is_shown_as_bytes)
{
    ck_assert_int_eq(config_set(&config, "--set", "memory.size", "\x9b\xe2\x82\xac\xe2\x82\xff\xe2\x80\xae", &error),
                     -1);
    assert_error(ERROR_CONFIG,
                 "--set: memory.size: \"\\x9b\xe2\x82\xac\\xe2\\x82\\xff\\u202e\" is not a size; write a number and "
                 "KiB, MiB, GiB or TiB, as in \"512MiB\"");
    /* The name of a file is cut at its front, not within a character. */
    char name[300] = "";
    while (strlen(name) < 200)
        strcat(name, "\xe2\x82\xac");
    ck_assert_int_eq(config_parse(&config, name, "x", 1, &error), -1);
    ck_assert_str_eq(strndupa(error.text, 6), "...\xe2\x82\xac");
    memset(name, 0x81, 200);
    ck_assert_int_eq(config_parse(&config, name, "x", 1, &error), -1);
    ck_assert_str_eq(strndupa(error.text, 7), "...\\x81");
}
END_TEST

START_TEST(assignment_sets_any_key)
{
    ck_assert_int_eq(config_assign(&config, "--set", "memory.size=1GiB", &error), 0);
    ck_assert_int_eq(config_assign(&config, "--set", "cpu.count=3", &error), 0);
    ck_assert_int_eq(config_assign(&config, "--set", "cpu.hide=avx,avx2", &error), 0);
    ck_assert_int_eq(config_assign(&config, "--set", "boot.cmdline=root=/dev/vda", &error), 0);
    ck_assert_int_eq(config_assign(&config, "--set", "boot.kernel=/k", &error), 0);
    ck_assert_uint_eq(config.memory.size, GIB(1));
    ck_assert_uint_eq(config.cpu.count, 3);
    ck_assert_uint_eq(config.cpu.hide.count, 2);
    ck_assert_str_eq(config.cpu.hide.items[1].text, "avx2");
    ck_assert_str_eq(config.boot.cmdline, "root=/dev/vda");
    ck_assert_str_eq(config.boot.kernel, "/k");
}
END_TEST

START_TEST(empty_assignment_takes_paths_and_names_away)
{
    ck_assert_int_eq(parse("cpu.hide = ['avx']\nboot.initrd = '/i'\n"), 0);
    ck_assert_int_eq(config_assign(&config, "--set", "cpu.hide=", &error), 0);
    ck_assert_int_eq(config_assign(&config, "--set", "boot.initrd=", &error), 0);
    ck_assert_uint_eq(config.cpu.hide.count, 0);
    ck_assert_ptr_null(config.boot.initrd);
}
END_TEST

START_TEST(refused_assignment_leaves_the_value_and_names_the_option)
{
    static const char *const cases[][2] = {
        {"memory.sise=1GiB", "--set: memory.sise: unknown key; did you mean memory.size?"},
        {"size=1GiB", "--set: size: unknown key; did you mean memory.size?"},
        {"=1GiB", "--set: : unknown key; 'quire help keys' lists those there are"},
        {"memory.size", "--set: \"memory.size\" has no \"=\"; write KEY=VALUE, as in memory.size=1GiB"},
        {"cpu.count=", "--set: cpu.count: \"\" is not a number; give 1 to 240"},
        {"cpu.count=-", "--set: cpu.count: \"-\" is not a number; give 1 to 240"},
        {"cpu.count=2x", "--set: cpu.count: \"2x\" is not a number; give 1 to 240"},
        {"cpu.count=-0", "--set: cpu.count: -0 is out of range; give 1 to 240"},
        {"cpu.count=18446744073709551617", "--set: cpu.count: 18446744073709551617 is out of range; give 1 to 240"},
        {"cpu.hide=avx,", "--set: cpu.hide: \"\" is not the name of a feature; give names like \"avx512f\""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *before = printed(&config);
        ck_assert_int_eq(config_assign(&config, "--set", cases[i][0], &error), -1);
        assert_error(ERROR_CONFIG, cases[i][1]);
        char *after = printed(&config);
        ck_assert_str_eq(before, after);
        free(before);
        free(after);
    }
}
END_TEST

START_TEST(later_errors_say_where_the_value_stands)
{
    ck_assert_int_eq(parse("memory.size = '1GiB'\n[cpu]\nhide = ['avx',\n  'axv2']\n"), 0);
    ck_assert_int_eq(config_error(&config, CONFIG_MEMORY_SIZE, &error, "more than the host's %d", 1), -1);
    assert_error(ERROR_CONFIG, "vm.toml:1:15: memory.size: more than the host's 1");
    ck_assert_int_eq(config_error_hide(&config, 1, &error, "no such feature"), -1);
    assert_error(ERROR_CONFIG, "vm.toml:4:3: cpu.hide: no such feature");
    (void)config_error(&config, CONFIG_BOOT_KERNEL, &error, "missing");
    assert_error(ERROR_CONFIG, "vm.toml: boot.kernel: missing");
    ck_assert_int_eq(config_set(&config, "--memory", "memory.size", "2GiB", &error), 0);
    (void)config_error(&config, CONFIG_MEMORY_SIZE, &error, "too much");
    assert_error(ERROR_CONFIG, "--memory: memory.size: too much");
}
END_TEST

START_TEST(check_wants_a_kernel)
{
    ck_assert_int_eq(config_check(&config, &error), -1);
    assert_error(ERROR_CONFIG, "boot.kernel: there is no kernel; set it to a bzImage or an ELF vmlinux, or use "
                               "--kernel PATH");
}
END_TEST

START_TEST(check_wants_a_backing_that_makes_sense)
{
    ck_assert_int_eq(parse("boot.kernel = '/k'\nmemory.backing = 'file'\n"), 0);
    ck_assert_int_eq(config_check(&config, &error), -1);
    assert_error(ERROR_CONFIG, "vm.toml:2:18: memory.backing: \"file\" needs a file; set path");
    ck_assert_int_eq(config_set(&config, "--set", "memory.path", "/ram", &error), 0);
    ck_assert_int_eq(config_check(&config, &error), 0);
    ck_assert_int_eq(config_set(&config, "--set", "memory.pages", "2MiB", &error), 0);
    ck_assert_int_eq(config_check(&config, &error), -1);
    ck_assert_int_eq(config_set(&config, "--set", "memory.backing", "memfd", &error), 0);
    ck_assert_int_eq(config_check(&config, &error), -1);
    assert_error(ERROR_CONFIG, "--set: memory.path: has a use only with backing = \"file\"; take it out, or choose "
                               "that");
    ck_assert_int_eq(config_set(&config, "--set", "memory.path", "", &error), 0);
    ck_assert_int_eq(config_check(&config, &error), 0);
    ck_assert_int_eq(config_set(&config, "--set", "memory.size", "129MiB", &error), 0);
    ck_assert_int_eq(config_check(&config, &error), -1);
    assert_error(ERROR_CONFIG, "--set: memory.size: is not a multiple of the pages' size; change one of them");
}
END_TEST

START_TEST(check_lets_only_a_pty_choose_about_its_path)
{
    ck_assert_int_eq(parse("boot.kernel = '/k'\nserial.backend = 'pty'\n"), 0);
    ck_assert_int_eq(config_check(&config, &error), 0);
    ck_assert_int_eq(parse("serial.path = '/dev/shm/com1'\n"), 0);
    ck_assert_int_eq(config_check(&config, &error), 0);
    ck_assert_int_eq(parse("serial.backend = 'file'\n"), 0);
    ck_assert_int_eq(config_check(&config, &error), 0);
    ck_assert_int_eq(parse("serial.path = ''\n"), 0);
    ck_assert_int_eq(config_check(&config, &error), -1);
}
END_TEST

static void assert_prints_back(void)
{
    struct config again;
    char *first = printed(&config);

    ck_assert_int_eq(config_defaults(&again, &error), 0);
    if (config_parse(&again, "again.toml", first, strlen(first), &error) != 0)
        ck_abort_msg("%s\n%s", error.text, first);
    char *second = printed(&again);
    ck_assert_str_eq(first, second);
    ck_assert_str_eq(config.boot.cmdline, again.boot.cmdline);
    ck_assert_uint_eq(config.memory.size, again.memory.size);
    ck_assert_uint_eq(config.cpu.hide.count, again.cpu.hide.count);
    config_free(&again);
    free(first);
    free(second);
}

static const char tables_text[] = "boot.flat = '/p'\nboot.at = 0x1234\nboot.mode = 'long'\nmemory.node = 1\n"
                                  "[[memory.range]]\nname = 'mailbox'\nat = 0xd0000000\nsize = '64KiB'\n"
                                  "flags = 'wr'\nfault = 'log'\nbacking = 'memfd'\npages = 'small'\n"
                                  "populate = 'prefault'\nnode = 0\n"
                                  "[[space]]\nname = 'monitor'\nstrict = true\n"
                                  "[[space.range]]\nname = 'a'\nat = '1MiB'\nsize = '4KiB'\nflags = ''\n"
                                  "[[space.range]]\nname = 'b'\nat = '0x200000'\nsize = '8KiB'\n"
                                  "of = 'default'\nfrom = 4096\n"
                                  "[[space]]\nname = 'other'\n"
                                  "[[vcpu]]\n[[vcpu]]\nspace = 'monitor'\n";

START_TEST(tables_of_a_file_are_read)
{
    ck_assert_int_eq(parse(tables_text), 0);
    ck_assert_int_eq(config_check(&config, &error), 0);
    ck_assert_str_eq(config.boot.flat, "/p");
    ck_assert_uint_eq(config.boot.at, 0x1234);
    ck_assert_int_eq(config.boot.mode, CONFIG_MODE_LONG);
    ck_assert_uint_eq(config.memory.host.node, 1);

    const struct config_lists *lists = &config.lists;
    ck_assert_uint_eq(lists->ranges.count, 1);
    const struct config_range *mailbox = &lists->ranges.items[0];
    ck_assert_str_eq(mailbox->name, "mailbox");
    ck_assert_uint_eq(mailbox->at, 0xd0000000);
    ck_assert_uint_eq(mailbox->size, 64 << 10);
    ck_assert_uint_eq(mailbox->flags, CONFIG_FLAG_READ | CONFIG_FLAG_WRITE);
    ck_assert_int_eq(mailbox->fault, CONFIG_FAULT_LOG);
    ck_assert_str_eq(mailbox->of, "");
    ck_assert_int_eq(mailbox->host.backing, CONFIG_BACKING_MEMFD);
    ck_assert_int_eq(mailbox->host.pages, CONFIG_PAGES_SMALL);
    ck_assert_int_eq(mailbox->host.populate, CONFIG_POPULATE_PREFAULT);
    ck_assert_uint_eq(mailbox->host.node, 0);
    ck_assert_uint_eq(mailbox->position.line, 5);
    ck_assert_uint_eq(mailbox->positions[CONFIG_RANGE_AT].line, 7);
    ck_assert_uint_eq(mailbox->positions[CONFIG_RANGE_FROM].line, 0);

    ck_assert_uint_eq(lists->space_count, 2);
    ck_assert(lists->spaces[0].strict && !lists->spaces[1].strict);
    ck_assert_uint_eq(lists->spaces[0].ranges.count, 2);
    ck_assert_uint_eq(lists->spaces[1].ranges.count, 0);
    const struct config_range *none = &lists->spaces[0].ranges.items[0];
    ck_assert_uint_eq(none->at, 1 << 20);
    ck_assert_uint_eq(none->flags, 0);
    ck_assert_int_eq(none->fault, CONFIG_FAULT_STOP);
    ck_assert_uint_eq(none->host.node, CONFIG_NOT_GIVEN);
    const struct config_range *alias = &lists->spaces[0].ranges.items[1];
    ck_assert_uint_eq(alias->at, 0x200000);
    ck_assert_uint_eq(alias->flags, CONFIG_FLAG_READ | CONFIG_FLAG_WRITE | CONFIG_FLAG_EXEC);
    ck_assert_str_eq(alias->of, "default");
    ck_assert_uint_eq(alias->from, 4096);

    ck_assert_uint_eq(lists->vcpu_count, 2);
    ck_assert_str_eq(lists->vcpus[0].space, "default");
    ck_assert_str_eq(lists->vcpus[1].space, "monitor");
    ck_assert_uint_eq(config.cpu.count, 2);
}
END_TEST

static const char devices_text[] =
    "boot.kernel = '/k'\nserial.backend = 'none'\n[[space]]\nname = 'io'\n"
    "[[rng]]\n"
    "[[disk]]\npath = '/d'\nname = 'data'\nspace = 'io'\nslot = 9\nread-only = true\nsnapshot = true\n"
    "snapshot-in = '/var/tmp'\ncache = 'unsafe'\ndirect = true\nqueues = 4\nserial = 'S1'\n"
    "[[net]]\nbackend = 'tap'\ninterface = 'tap0'\nmac = '52:54:00:12:34:56'\nqueues = 4\ntransport = 'mmio'\n"
    "[[console]]\nbackend = 'stdio'\n"
    "[[console.port]]\nname = 'org.quire.0'\nbackend = 'unix'\npath = '/s'\n"
    "[[console.port]]\nname = 'second'\n"
    "[[disk]]\npath = '/e'\n"
    "[[net]]\nforward = ['tcp:2222-22', 'udp:0.0.0.0:53-10.0.2.20:53']\nreach-host = true\n";

START_TEST(devices_of_a_file_are_read_in_their_order)
{
    static const struct {
        enum config_device_kind kind;
        const char *name;
    } expected[] = {
        {CONFIG_DEVICE_RNG, "rng0"},         {CONFIG_DEVICE_DISK, "data"},  {CONFIG_DEVICE_NET, "net0"},
        {CONFIG_DEVICE_CONSOLE, "console0"}, {CONFIG_DEVICE_DISK, "disk1"}, {CONFIG_DEVICE_NET, "net1"},
    };

    ck_assert_int_eq(parse(devices_text), 0);
    if (config_check(&config, &error) < 0)
        ck_abort_msg("%s", error.text);
    const struct config_device *devices = config.lists.devices;
    ck_assert_uint_eq(config.lists.device_count, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        ck_assert_int_eq(devices[i].kind, expected[i].kind);
        ck_assert_str_eq(devices[i].name, expected[i].name);
        ck_assert_str_eq(devices[i].space, i == 1 ? "io" : "default");
        ck_assert_uint_eq(devices[i].slot, i == 1 ? 9 : CONFIG_NOT_GIVEN);
        ck_assert_int_eq(devices[i].transport, i == 2 ? CONFIG_TRANSPORT_MMIO : CONFIG_TRANSPORT_PCI);
    }
    ck_assert_str_eq(devices[1].disk.path, "/d");
    ck_assert(devices[1].disk.read_only && devices[1].disk.snapshot && devices[1].disk.direct);
    ck_assert_str_eq(devices[1].disk.snapshot_in, "/var/tmp");
    ck_assert_int_eq(devices[1].disk.cache, CONFIG_CACHE_UNSAFE);
    ck_assert_uint_eq(devices[1].disk.queues, 4);
    ck_assert_str_eq(devices[1].disk.serial, "S1");
    ck_assert(!devices[4].disk.read_only && !devices[4].disk.snapshot && !devices[4].disk.direct);
    ck_assert_ptr_null(devices[4].disk.snapshot_in);
    ck_assert_int_eq(devices[4].disk.cache, CONFIG_CACHE_SAFE);
    ck_assert_uint_eq(devices[4].disk.queues, 1);
    ck_assert_str_eq(devices[4].disk.serial, "");
    ck_assert_int_eq(devices[2].net.backend, CONFIG_NET_TAP);
    ck_assert_str_eq(devices[2].net.interface, "tap0");
    ck_assert_str_eq(devices[2].net.mac, "52:54:00:12:34:56");
    ck_assert_uint_eq(devices[2].net.queues, 4);
    ck_assert(!devices[2].net.reach_host);
    ck_assert_int_eq(devices[5].net.backend, CONFIG_NET_USER);
    ck_assert_str_eq(devices[5].net.mac, "");
    ck_assert_uint_eq(devices[5].net.forward.count, 2);
    ck_assert_str_eq(devices[5].net.forward.items[1].text, "udp:0.0.0.0:53-10.0.2.20:53");
    ck_assert(devices[5].net.reach_host);
    ck_assert_int_eq(devices[3].console.backend, CONFIG_SERIAL_STDIO);
    ck_assert_uint_eq(devices[3].console.port_count, 2);
    ck_assert_str_eq(devices[3].console.ports[0].name, "org.quire.0");
    ck_assert_int_eq(devices[3].console.ports[0].backend, CONFIG_SERIAL_UNIX);
    ck_assert_str_eq(devices[3].console.ports[0].path, "/s");
    ck_assert_int_eq(devices[3].console.ports[1].backend, CONFIG_SERIAL_NONE);
}
END_TEST

START_TEST(bad_table_changes_nothing_and_another_file_replaces_them)
{
    ck_assert_int_eq(parse(tables_text), 0);
    ck_assert_int_lt(parse("[[space]]\nname = 'x'\n[[space.range]]\nname = 'y'\n"), 0);
    ck_assert_uint_eq(config.lists.space_count, 2);
    ck_assert_int_eq(parse("[[space]]\nname = 'x'\n"), 0);
    ck_assert_uint_eq(config.lists.space_count, 1);
    ck_assert_uint_eq(config.lists.vcpu_count, 0);
}
END_TEST

START_TEST(printed_tables_read_back_the_same)
{
    ck_assert_int_eq(parse(tables_text), 0);
    assert_prints_back();
    char *text = printed(&config);
    ck_assert_ptr_nonnull(strstr(text, "[[space.range]]\nname = \"b\"\nat = \"0x200000\"\n"));
    ck_assert_ptr_nonnull(strstr(text, "of = \"default\"\nfrom = \"0x1000\"\n"));
    free(text);
    ck_assert_int_eq(parse(devices_text), 0);
    assert_prints_back();
    text = printed(&config);
    ck_assert_ptr_nonnull(strstr(text, "[[console.port]]\nname = \"second\"\n"));
    ck_assert_ptr_nonnull(strstr(text, "forward = [\"tcp:2222-22\", \"udp:0.0.0.0:53-10.0.2.20:53\"]\n"));
    free(text);
}
END_TEST

START_TEST(printed_configuration_reads_back_the_same)
{
    assert_prints_back();
    ck_assert_int_eq(parse("memory.size = '33796KiB'\ncpu.hide = ['a', 'b']\nmachine.name = 'q'\n"
                           "boot.kernel = 'with \"quotes\" and \\'\n"),
                     0);
    ck_assert_int_eq(config_set(&config, "-", "boot.cmdline", "a \"b\" \\ \t\n\x01\x7f \xc3\xa4 'c'", &error), 0);
    assert_prints_back();
    ck_assert_str_eq(config.machine.name, "q");
}
END_TEST

START_TEST(more_dots_than_a_line_may_hold_are_printed_so_that_they_read_back)
{
    char dots[201];
    char text[2048];

    memset(dots, '.', sizeof(dots) - 1);
    dots[sizeof(dots) - 1] = '\0';
    (void)snprintf(text, sizeof(text), "boot.cmdline = \"\"\"%s\n%s\"\"\"\n", dots, dots);
    ck_assert_int_eq(parse(text), 0);
    assert_prints_back();

    size_t length = (size_t)snprintf(text, sizeof(text), "cpu.hide = [\n");
    for (int i = 0; i < 6; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "'%.60s',\n", dots);
    (void)snprintf(text + length, sizeof(text) - length, "]\n");
    ck_assert_int_eq(parse(text), 0);
    assert_prints_back();
}
END_TEST

START_TEST(vcpus_are_as_many_as_a_machine_has_at_most)
{
    char text[1024] = "vcpu = [";

    for (unsigned i = 0; i < CONFIG_MAX_CPU_COUNT; i++)
        strcat(text, "{},");
    strcat(text, "]");
    ck_assert_int_eq(parse(text), 0);
    ck_assert_uint_eq(config.cpu.count, CONFIG_MAX_CPU_COUNT);
    assert_prints_back();
    strcpy(text + strlen(text) - 1, "{}]");
    ck_assert_int_eq(parse(text), -1);
    assert_error(ERROR_CONFIG,
                 "vm.toml:1:729: vcpu: a machine has at most 240 of them; take this one and those after it out");
}
END_TEST

START_TEST(list_of_keys_fits_the_terminal_and_names_them_all)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    config_print_keys(out);
    ck_assert_int_eq(fclose(out), 0);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        ck_assert_ptr_nonnull(strstr(text, config_schema[i].name));
        ck_assert_ptr_nonnull(strstr(text, config_schema[i].doc));
    }
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        ck_assert_uint_le(strlen(line), 100);
    free(text);
}
END_TEST

START_TEST(relative_paths_start_at_the_folder_of_the_file)
{
    char expected[PATH_MAX];

    ck_assert_int_eq(mkdir("sub", 0700), 0);
    ck_assert_int_eq(symlink("sub", "link"), 0);
    ck_assert_int_eq(parse_as("link/vm.toml", "boot.kernel = './../k'\nboot.initrd = 'x/../i'\n"), 0);
    (void)snprintf(expected, sizeof(expected), "%s/k", folder);
    ck_assert_str_eq(config.boot.kernel, expected);
    (void)snprintf(expected, sizeof(expected), "%s/sub/x/../i", folder);
    ck_assert_str_eq(config.boot.initrd, expected);
}
END_TEST

START_TEST(relative_paths_in_options_start_at_the_current_folder)
{
    char expected[PATH_MAX];

    ck_assert_int_eq(config_set(&config, "--kernel", "boot.kernel", "k", &error), 0);
    (void)snprintf(expected, sizeof(expected), "%s/k", folder);
    ck_assert_str_eq(config.boot.kernel, expected);
}
END_TEST

START_TEST(parents_of_the_root_are_the_root)
{
    char *path = config_path_resolve("/", "../../x");

    ck_assert_str_eq(path, "/x");
    free(path);
    path = config_path_resolve("/usr", "../../..");
    ck_assert_str_eq(path, "/");
    free(path);
}
END_TEST

START_TEST(missing_folder_is_just_joined)
{
    char *path = config_path_resolve("nowhere/at/all", "../x");

    ck_assert_str_eq(path, "nowhere/at/all/../x");
    free(path);
}
END_TEST

START_TEST(file_is_loaded)
{
    static const char text[] = "cpu.count = 7\n";

    write_file("vm.toml", text, strlen(text));
    ck_assert_int_eq(config_load(&config, "vm.toml", &error), 0);
    ck_assert_uint_eq(config.cpu.count, 7);
    ck_assert_str_eq(config.machine.name, "vm");
}
END_TEST

START_TEST(what_is_not_a_file_is_refused_at_once)
{
    ck_assert_int_eq(config_load(&config, "missing.toml", &error), -1);
    assert_error(ERROR_CONFIG, "missing.toml: cannot be opened: No such file or directory; name the TOML file of a "
                               "machine");
    ck_assert_int_eq(config_load(&config, ".", &error), -1);
    assert_error(ERROR_CONFIG, ".: not a regular file; name the TOML file of a machine");
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    ck_assert_int_eq(config_load(&config, "fifo", &error), -1);
    assert_error(ERROR_CONFIG, "fifo: not a regular file; name the TOML file of a machine");
    ck_assert_int_eq(config_load(&config, "/dev/zero", &error), -1);
}
END_TEST

START_TEST(file_of_one_mebibyte_is_the_largest)
{
    char *text = malloc(CONFIG_MAX_FILE_SIZE + 1);

    ck_assert_ptr_nonnull(text);
    memset(text, '\n', CONFIG_MAX_FILE_SIZE + 1);
    memcpy(text + CONFIG_MAX_FILE_SIZE - 11, "cpu.count=2", 11);
    write_file("large.toml", text, CONFIG_MAX_FILE_SIZE);
    ck_assert_int_eq(config_load(&config, "large.toml", &error), 0);
    ck_assert_uint_eq(config.cpu.count, 2);
    write_file("large.toml", text, CONFIG_MAX_FILE_SIZE + 1);
    ck_assert_int_eq(config_load(&config, "large.toml", &error), -1);
    assert_error(ERROR_CONFIG, "large.toml: larger than 1 MiB; name the TOML file of a machine (a kernel is given with "
                               "--kernel)");
    free(text);
}
END_TEST

START_TEST(names_of_files_are_safe_on_a_terminal)
{
    ck_assert_int_eq(parse_as("a\x1b[2J\n.toml", "x"), -1);
    ck_assert_ptr_null(strpbrk(error.text, "\x1b\n"));
    ck_assert_ptr_nonnull(strstr(error.text, "a\\x1b[2J\\x0a.toml:1:"));
}
END_TEST

START_TEST(long_names_and_values_leave_room_for_the_message)
{
    char name[5000];
    char text[5000];

    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    (void)snprintf(text, sizeof(text), "boot.tables = '%.4000s'", name);
    ck_assert_int_eq(parse_as(name, text), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "give \"acpi\", \"device-tree\" or \"none\""));
    (void)snprintf(text, sizeof(text), "%.4000s.%.100s = 1", name, name);
    ck_assert_int_eq(parse_as(name, text), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "unknown section; 'quire help keys' lists those there are"));
}
END_TEST

START_TEST(tree_keeps_kinds_order_and_positions)
{
    static const char text[] = "z = 1.5\nb = true\n[t]\n  k = 1979-05-27\n  a = -3\n";
    struct toml_failure failure;
    struct toml_node *root = toml_parse(text, strlen(text), &failure);

    ck_assert_ptr_nonnull(root);
    ck_assert_uint_eq(root->count, 3);
    ck_assert_str_eq(root->children[0].key, "z");
    ck_assert_int_eq(root->children[0].kind, TOML_KIND_FLOAT);
    ck_assert_double_eq(root->children[0].number, 1.5);
    ck_assert_int_eq(root->children[1].kind, TOML_KIND_BOOLEAN);
    ck_assert(root->children[1].boolean);
    struct toml_node *table = &root->children[2];
    ck_assert_int_eq(table->kind, TOML_KIND_TABLE);
    ck_assert_str_eq(table->children[0].key, "k");
    ck_assert_int_eq(table->children[0].kind, TOML_KIND_TIME);
    ck_assert_int_eq(table->children[1].kind, TOML_KIND_INTEGER);
    ck_assert_int_eq(table->children[1].integer, -3);
    ck_assert_uint_eq(table->children[1].key_line, 5);
    ck_assert_uint_eq(table->children[1].key_column, 3);
    ck_assert_uint_eq(table->children[1].line, 5);
    ck_assert_uint_eq(table->children[1].column, 7);
    toml_free(root);
}
END_TEST

START_TEST(columns_count_characters)
{
    ck_assert_int_eq(parse("machine = { name = '\xc3\xa4\xc3\xb6', on-reset = 1 }"), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "vm.toml:1:37: "));
}
END_TEST

START_TEST(distance_counts_single_slips)
{
    ck_assert_uint_eq(config_text_distance("", ""), 0);
    ck_assert_uint_eq(config_text_distance("size", "size"), 0);
    ck_assert_uint_eq(config_text_distance("size", ""), 4);
    ck_assert_uint_eq(config_text_distance("sise", "size"), 1);
    ck_assert_uint_eq(config_text_distance("siez", "size"), 1);
    ck_assert_uint_eq(config_text_distance("sze", "size"), 1);
    ck_assert_uint_eq(config_text_distance("ssize", "size"), 1);
    ck_assert_uint_eq(config_text_distance("kernel", "initrd"), 6);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("config");
    TCase *memory = tcase_create("memory");
    TCase *files = tcase_create("files");

    tcase_add_checked_fixture(memory, setup, teardown);
    tcase_add_test(memory, defaults_are_those_of_the_manual);
    tcase_add_test(memory, every_key_of_a_file_is_read);
    tcase_add_test(memory, dotted_keys_and_inline_tables_are_the_same_as_sections);
    tcase_add_test(memory, sizes_have_short_and_long_units_that_mean_the_same);
    tcase_add_test(memory, machine_is_named_after_its_file_unless_the_file_names_it);
    tcase_add_test(memory, file_name_too_long_for_a_machine_leaves_the_default);
    tcase_add_test(memory, bad_file_changes_nothing);
    tcase_add_test(memory, second_file_goes_over_the_first);
    tcase_add_test(memory, text_need_not_end_in_nul);
    tcase_add_test(memory, line_of_many_dots_in_a_string_is_read_up_to_the_limit);
    tcase_add_test(memory, command_line_has_a_greatest_length);
    tcase_add_test(memory, what_is_no_text_is_shown_as_bytes);
    tcase_add_test(memory, assignment_sets_any_key);
    tcase_add_test(memory, empty_assignment_takes_paths_and_names_away);
    tcase_add_test(memory, refused_assignment_leaves_the_value_and_names_the_option);
    tcase_add_test(memory, later_errors_say_where_the_value_stands);
    tcase_add_test(memory, check_wants_a_kernel);
    tcase_add_test(memory, check_wants_a_backing_that_makes_sense);
    tcase_add_test(memory, check_lets_only_a_pty_choose_about_its_path);
    tcase_add_test(memory, tables_of_a_file_are_read);
    tcase_add_test(memory, devices_of_a_file_are_read_in_their_order);
    tcase_add_test(memory, bad_table_changes_nothing_and_another_file_replaces_them);
    tcase_add_test(memory, printed_tables_read_back_the_same);
    tcase_add_test(memory, printed_configuration_reads_back_the_same);
    tcase_add_test(memory, more_dots_than_a_line_may_hold_are_printed_so_that_they_read_back);
    tcase_add_test(memory, vcpus_are_as_many_as_a_machine_has_at_most);
    tcase_add_test(memory, list_of_keys_fits_the_terminal_and_names_them_all);
    tcase_add_test(memory, parents_of_the_root_are_the_root);
    tcase_add_test(memory, missing_folder_is_just_joined);
    tcase_add_test(memory, names_of_files_are_safe_on_a_terminal);
    tcase_add_test(memory, long_names_and_values_leave_room_for_the_message);
    tcase_add_test(memory, tree_keeps_kinds_order_and_positions);
    tcase_add_test(memory, columns_count_characters);
    tcase_add_test(memory, distance_counts_single_slips);
    suite_add_tcase(all, memory);

    tcase_add_checked_fixture(files, enter_folder, leave_folder);
    tcase_add_test(files, relative_paths_start_at_the_folder_of_the_file);
    tcase_add_test(files, relative_paths_in_options_start_at_the_current_folder);
    tcase_add_test(files, file_is_loaded);
    tcase_add_test(files, what_is_not_a_file_is_refused_at_once);
    tcase_add_test(files, file_of_one_mebibyte_is_the_largest);
    suite_add_tcase(all, files);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
