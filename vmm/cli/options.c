#include "vmm/cli/options.h"

#include "vmm/config/text.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "Quire runs Linux kernels in small virtual machines, with KVM.\n"
    "\n"
    "  quire run FILE.toml        run the machine that the file describes\n"
    "  quire run --kernel bzImage run a kernel without a file\n"
    "  quire exec FILE.toml -- COMMAND    run a command in a guest that runs\n"
    "  quire control FILE.toml COMMAND    pause, reset, dump a machine that runs, and more\n"
    "  quire test SCENARIO        boot machines, and see whether they do what they should\n"
    "  quire test --kernel bzImage -- COMMAND    boot a kernel, run a command in it, and see whether all is well\n"
    "  quire report merge DIR...  make one report of several; 'quire report show' prints one\n"
    "  quire check FILE.toml      say whether the file is right\n"
    "  quire maps FILE.toml       show what lies where in the guest's memory\n"
    "  quire help [COMMAND]       more about a command; 'quire help keys' and 'quire help devices': what a file may "
    "hold\n"
    "  quire --version            the version\n"
    "\n"
    "While a machine has the terminal, Ctrl-A x leaves it and Ctrl-A ? lists the other keys.\n"
    "The manual: quire(1), quire.toml(5) and quire.scenario(5).\n";

static const char run_help_text[] =
    "quire run [FILE.toml] [OPTION...]: run a machine until it powers off\n"
    "\n"
    "FILE.toml describes the machine; an option overrides what it says. Without a file, --kernel is needed.\n"
    "\n"
    "  -k, --kernel PATH             the kernel: a bzImage or an ELF vmlinux\n"
    "  -i, --initrd PATH             the initial RAM disk\n"
    "  -a, --append STRING           the kernel's command line; it replaces the file's\n"
    "  -m, --memory SIZE             the guest's RAM: 512MiB, 2GiB\n"
    "  -c, --vcpus N                 the number of vCPUs\n"
    "      --serial BACKEND[:PATH]   the serial port: stdio, pty[:LINK], file:PATH, unix:PATH or none\n"
    "      --gdb[=ADDRESS]           let gdb connect, to tcp:127.0.0.1:1234 or as ADDRESS says: unix:PATH, "
    "tcp:IP:PORT\n"
    "      --gdb-wait                start the guest when gdb says so\n"
    "      --agent ADDRESS           let 'quire exec' reach the guest's agent, at unix:PATH\n"
    "      --control ADDRESS         let 'quire control' reach the machine, at unix:PATH\n"
    "  -s, --set KEY=VALUE           any key of the file (quire help keys); may be given again\n"
    "      --log-level LEVEL         error, warn, info or debug\n"
    "      --status-fd N             write how the machine ended to descriptor N, for programs\n"
    "  -n, --dry-run                 print the machine that would be built, and stop\n"
    "  -h, --help                    this text\n"
    "\n"
    "Relative paths in FILE.toml start at its folder, those in options at the current one.\n"
    "\n"
    "Examples:\n"
    "  quire run configs/stock.toml\n"
    "  quire run configs/stock.toml --memory 2GiB --vcpus 4\n"
    "  quire run --kernel bzImage --initrd initrd --append 'console=ttyS0 quiet'\n"
    "  quire run vm.toml --serial file:boot.log --set machine.on-reset=exit\n"
    "  quire run vm.toml --gdb --gdb-wait\n"
    "  quire run vm.toml --set cpu.hide=avx512f,avx512bw --dry-run\n"
    "\n"
    "Exit status: 0 the guest powered off, 2 usage or configuration, 3 the guest crashed, 4 the host failed.\n";

static const char check_help_text[] =
    "quire check FILE.toml: say whether the file is right, without running it\n"
    "\n"
    "The first mistake is printed as FILE:LINE:COLUMN, with its remedy. The files that it names are not opened.\n"
    "Where there is a KVM, it is asked whether it can do that much; no machine is made.\n"
    "\n"
    "Example:\n"
    "  quire check vm.toml && quire run vm.toml\n"
    "\n"
    "Exit status: 0 the file is right, 2 it is not.\n";

static const char maps_help_text[] =
    "quire maps FILE.toml [OTHER.toml] [OPTION]: show what lies where in the guest's memory\n"
    "\n"
    "Every space of the machine that the file describes, its ranges, what they allow and what is behind them.\n"
    "With a second file, what changes from the first to that one. A machine that runs shows its maps on SIGUSR1 or\n"
    "Ctrl-A m.\n"
    "\n"
    "  -j, --json                    as JSON, for programs\n"
    "      --svg PATH                as a picture, to a file; - is standard output\n"
    "  -h, --help                    this text\n"
    "\n"
    "Examples:\n"
    "  quire maps vm.toml\n"
    "  quire maps vm.toml --svg vm.svg\n"
    "  quire maps old.toml new.toml\n"
    "\n"
    "Exit status: 0, or 2 for a file that is wrong.\n";

static const char keys_help_text[] =
    "The keys of a machine's file, and of 'quire run --set SECTION.KEY=VALUE'. Explained in quire.toml(5).\n"
    "Sizes are strings with KiB, MiB, GiB or TiB. In --set, the names of a list are separated by commas.\n"
    "\n";

static const char devices_help_text[] = "Virtio devices of a machine's file: a table for each, as often as there are "
                                        "such devices, in the order of their PCI\n"
                                        "slots. Explained in quire.toml(5).\n"
                                        "\n";

static const char *const commands[] = {"run", "exec", "control", "test", "report", "check", "maps", "help", NULL};

/* Options without a letter. */
enum {
    OPTION_SERIAL = 0x100,
    OPTION_LOG_LEVEL,
    OPTION_SVG,
    OPTION_GDB,
    OPTION_GDB_WAIT,
    OPTION_AGENT,
    OPTION_CONTROL,
    OPTION_STATUS_FD
};

static const struct option run_options[] = {
    {"kernel", required_argument, NULL, 'k'},
    {"initrd", required_argument, NULL, 'i'},
    {"append", required_argument, NULL, 'a'},
    {"memory", required_argument, NULL, 'm'},
    {"vcpus", required_argument, NULL, 'c'},
    {"serial", required_argument, NULL, OPTION_SERIAL},
    {"set", required_argument, NULL, 's'},
    {"gdb", optional_argument, NULL, OPTION_GDB},
    {"gdb-wait", no_argument, NULL, OPTION_GDB_WAIT},
    {"agent", required_argument, NULL, OPTION_AGENT},
    {"control", required_argument, NULL, OPTION_CONTROL},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"status-fd", required_argument, NULL, OPTION_STATUS_FD},
    {"dry-run", no_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const struct option check_options[] = {
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const struct option maps_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"svg", required_argument, NULL, OPTION_SVG},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* What an option of run sets in the configuration. */
struct override_kind {
    int value;
    const char *option;
    const char *key;
    /* What stands for an argument that is not given. */
    const char *argument;
};

static const struct override_kind override_kinds[] = {
    {'k', "--kernel", "boot.kernel", NULL},
    {'i', "--initrd", "boot.initrd", NULL},
    {'a', "--append", "boot.cmdline", NULL},
    {'m', "--memory", "memory.size", NULL},
    {'c', "--vcpus", "cpu.count", NULL},
    {OPTION_LOG_LEVEL, "--log-level", "log.level", NULL},
    {OPTION_GDB, "--gdb", "gdb.listen", "tcp:127.0.0.1:1234"},
    {OPTION_AGENT, "--agent", "agent.listen", NULL},
    {OPTION_CONTROL, "--control", "control.listen", NULL},
    {OPTION_GDB_WAIT, "--gdb-wait", "gdb.wait", "true"},
    /* These two do not name one key. */
    {OPTION_SERIAL, "--serial", NULL, NULL},
    {'s', "--set", NULL, NULL},
};

struct override {
    const struct override_kind *kind;
    const char *argument;
};

/* The command line of one command, read but not yet acted on. */
struct command_line {
    const char *command;
    const struct option *options;
    const char *letters;
    const char *file;
    /* A second one, where the command takes it. */
    bool takes_other;
    const char *other;
    bool help;
    bool dry_run;
    bool json;
    const char *svg_path;
    /* -1: none */
    int status_fd;
    /* in the order given, with room for one per argument; owned */
    struct override *overrides;
    size_t override_count;
};

static int out_of_memory(struct error *error)
{
    return error_set(error, ERROR_HOST, "out of memory");
}

static const struct override_kind *override_kind_of(int value)
{
    for (size_t i = 0; i < sizeof(override_kinds) / sizeof(override_kinds[0]); i++) {
        if (override_kinds[i].value == value)
            return &override_kinds[i];
    }
    return NULL;
}

static const struct option *find_option(const struct option *options, int value)
{
    for (; options->name != NULL; options++) {
        if (options->val == value)
            return options;
    }
    return NULL;
}

static int fail_unknown_option(const struct command_line *line, const char *word, struct error *error)
{
    const char *names[sizeof(run_options) / sizeof(run_options[0])];
    char shown[CONFIG_TEXT_SIZE];
    char name[CONFIG_TEXT_SIZE];
    size_t count = 0;

    (void)config_text_escape(shown, word, strcspn(word, "="));
    (void)config_text_escape(name, word + strspn(word, "-"), strcspn(word + strspn(word, "-"), "="));
    for (const struct option *option = line->options; option->name != NULL; option++)
        names[count++] = option->name;
    names[count] = NULL;
    const char *nearest = strlen(name) > 1 ? config_text_nearest(name, names) : NULL;
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "%s: unknown option %s; did you mean --%s?", line->command, shown,
                         nearest);
    return error_set(error, ERROR_CONFIG, "%s: unknown option %s; 'quire help %s' lists the options", line->command,
                     shown, line->command);
}

/* After getopt_long() returned '?': an option that does not exist, or a value where none belongs. */
static int fail_option(const struct command_line *line, const char *last_word, struct error *error)
{
    const struct option *known = optopt != 0 ? find_option(line->options, optopt) : NULL;
    const char letter[] = {'-', (char)optopt, '\0'};

    if (known != NULL)
        return error_set(error, ERROR_CONFIG, "%s: --%s takes no value; leave out what follows \"=\"", line->command,
                         known->name);
    return fail_unknown_option(line, optopt != 0 ? letter : last_word, error);
}

static int fail_second_file(const struct command_line *line, const char *word, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    return error_set(error, ERROR_CONFIG, "%s: %s is one file too many; name one, and quote values that have spaces",
                     line->command, config_text_quote(shown, word, strlen(word)));
}

/* A descriptor that is open. */
static int take_status_fd(struct command_line *line, const char *text, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    char *end;

    errno = 0;
    const long number = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || number < 0 || number > INT_MAX || fcntl((int)number, F_GETFD) < 0)
        return error_set(error, ERROR_CONFIG,
                         "run: --status-fd: %s is no open descriptor; open it first, as in '3>end'",
                         config_text_quote(shown, text, strlen(text)));
    line->status_fd = (int)number;
    return 0;
}

static int take_option(struct command_line *line, int value, char *argv[], struct error *error)
{
    const struct override_kind *kind = override_kind_of(value);

    switch (value) {
    case '?':
        return fail_option(line, argv[optind - 1], error);
    case ':':
        return error_set(error, ERROR_CONFIG, "%s: --%s needs a value; 'quire help %s' shows examples", line->command,
                         find_option(line->options, optopt)->name, line->command);
    case 'h':
        line->help = true;
        return 0;
    case 'n':
        line->dry_run = true;
        return 0;
    case 'j':
        line->json = true;
        return 0;
    case OPTION_STATUS_FD:
        return take_status_fd(line, optarg, error);
    case OPTION_SVG:
        line->svg_path = optarg;
        return 0;
    default:
        line->overrides[line->override_count++] = (struct override){kind, optarg != NULL ? optarg : kind->argument};
        return 0;
    }
}

/* argv[0] is the command. */
static int read_command_line(struct command_line *line, int argc, char *argv[], struct error *error)
{
    int value;

    line->overrides = calloc((size_t)argc, sizeof(*line->overrides));
    if (line->overrides == NULL)
        return out_of_memory(error);
    optind = 0;
    while ((value = getopt_long(argc, argv, line->letters, line->options, NULL)) != -1) {
        if (take_option(line, value, argv, error) < 0)
            return -1;
    }
    const int most = line->takes_other ? 2 : 1;
    if (argc - optind > most)
        return fail_second_file(line, argv[optind + most], error);
    line->file = argv[optind];
    line->other = argc - optind == 2 ? argv[optind + 1] : NULL;
    return 0;
}

/* BACKEND[:PATH]. The file's path belongs to the file's backend, so it goes in any case. */
static int apply_serial(struct config *config, const char *option, const char *argument, struct error *error)
{
    size_t length = strcspn(argument, ":");
    char *backend = strndup(argument, length);

    if (backend == NULL)
        return out_of_memory(error);
    int result = config_set(config, option, "serial.backend", backend, error);
    free(backend);
    if (result < 0)
        return -1;
    return config_set(config, option, "serial.path", argument + length + (argument[length] == ':'), error);
}

static int apply_override(struct config *config, const struct override *override, struct error *error)
{
    const struct override_kind *kind = override->kind;

    if (kind->value == OPTION_SERIAL)
        return apply_serial(config, kind->option, override->argument, error);
    if (kind->key == NULL)
        return config_assign(config, kind->option, override->argument, error);
    return config_set(config, kind->option, kind->key, override->argument, error);
}

static int build_config(const struct command_line *line, struct config *config, struct error *error)
{
    if (config_defaults(config, error) < 0)
        return -1;
    if (line->file != NULL && config_load(config, line->file, error) < 0)
        goto fail;
    for (size_t i = 0; i < line->override_count; i++) {
        if (apply_override(config, &line->overrides[i], error) < 0)
            goto fail;
    }
    if (line->file == NULL && config->boot.kernel == NULL && config->boot.flat == NULL) {
        error_set(error, ERROR_CONFIG,
                  "nothing to run; give a configuration or a kernel, as in 'quire run vm.toml' or 'quire run --kernel "
                  "bzImage'");
        goto fail;
    }
    if (config_complete(config, error) < 0 || config_check(config, error) < 0)
        goto fail;
    return 0;
fail:
    config_free(config);
    return -1;
}

static int say(const char *text, FILE *out, struct options *options)
{
    fputs(text, out);
    options->command = OPTIONS_DONE;
    return 0;
}

static int parse_run(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    struct command_line line = {
        .command = "run", .options = run_options, .letters = ":k:i:a:m:c:s:nh", .status_fd = -1};

    int result = read_command_line(&line, argc, argv, error);
    if (result == 0 && line.help) {
        result = say(run_help_text, out, options);
    } else if (result == 0) {
        options->command = OPTIONS_RUN;
        options->dry_run = line.dry_run;
        options->status_fd = line.status_fd;
        result = build_config(&line, &options->config, error);
    }
    free(line.overrides);
    return result;
}

static int parse_check(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    struct command_line line = {.command = "check", .options = check_options, .letters = ":h"};

    int result = read_command_line(&line, argc, argv, error);
    if (result == 0 && line.help) {
        result = say(check_help_text, out, options);
    } else if (result == 0 && line.file == NULL) {
        result = error_set(error, ERROR_CONFIG, "check: no file; name one, as in 'quire check vm.toml'");
    } else if (result == 0) {
        options->command = OPTIONS_CHECK;
        result = build_config(&line, &options->config, error);
    }
    free(line.overrides);
    return result;
}

static int read_maps(const struct command_line *line, struct options *options, struct error *error)
{
    struct command_line other = {.command = line->command, .file = line->other};

    if (line->file == NULL)
        return error_set(error, ERROR_CONFIG, "maps: no file; name one, as in 'quire maps vm.toml'");
    if (line->json && line->svg_path != NULL)
        return error_set(error, ERROR_CONFIG, "maps: --json and --svg at once; ask for one of them");
    if (line->other != NULL && (line->json || line->svg_path != NULL))
        return error_set(error, ERROR_CONFIG, "maps: changes are shown as text only; leave out --json and --svg");
    options->command = OPTIONS_MAPS;
    options->json = line->json;
    options->svg_path = line->svg_path;
    if (build_config(line, &options->config, error) < 0)
        return -1;
    options->has_other = line->other != NULL;
    if (!options->has_other || build_config(&other, &options->other, error) == 0)
        return 0;
    config_free(&options->config);
    return -1;
}

static int parse_maps(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    struct command_line line = {.command = "maps", .options = maps_options, .letters = ":jh", .takes_other = true};

    int result = read_command_line(&line, argc, argv, error);
    if (result == 0)
        result = line.help ? say(maps_help_text, out, options) : read_maps(&line, options, error);
    free(line.overrides);
    return result;
}

static int parse_exec(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    bool is_help;

    options->command = OPTIONS_EXEC;
    if (exec_options_parse(argc, argv, out, &options->exec, &is_help, error) < 0) {
        exec_options_free(&options->exec);
        return -1;
    }
    if (is_help)
        options->command = OPTIONS_DONE;
    return 0;
}

static int parse_control(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    bool is_help;

    options->command = OPTIONS_CONTROL;
    if (control_options_parse(argc, argv, out, &options->control, &is_help, error) < 0) {
        control_options_free(&options->control);
        return -1;
    }
    if (is_help)
        options->command = OPTIONS_DONE;
    return 0;
}

static int parse_kernel_test(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    bool is_help;

    options->command = OPTIONS_KERNEL_TEST;
    if (kernel_test_options_parse(argc, argv, out, &options->kernel_test, &is_help, error) < 0) {
        options->test.for_bisect = options->kernel_test.bisect;
        kernel_test_options_free(&options->kernel_test);
        return -1;
    }
    if (is_help)
        options->command = OPTIONS_DONE;
    return 0;
}

static int parse_test(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    bool is_help;

    /* A kernel alone, or scenarios. */
    if (kernel_test_is_meant(argc, argv))
        return parse_kernel_test(argc, argv, out, options, error);
    options->command = OPTIONS_TEST;
    if (test_options_parse(argc, argv, out, &options->test, &is_help, error) < 0) {
        test_options_free(&options->test);
        return -1;
    }
    if (is_help)
        options->command = OPTIONS_DONE;
    return 0;
}

static int parse_report(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    bool is_help;

    options->command = OPTIONS_REPORT;
    if (report_options_parse(argc, argv, out, &options->report, &is_help, error) < 0)
        return -1;
    if (is_help)
        options->command = OPTIONS_DONE;
    return 0;
}

static int fail_unknown_command(const char *word, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    size_t length = strlen(word);
    const char *nearest = config_text_nearest(word, commands);

    (void)config_text_quote(shown, word, length);
    if (length > 5 && strcmp(word + length - 5, ".toml") == 0)
        return error_set(error, ERROR_CONFIG, "unknown command %s; to run that machine: quire run %s", shown, shown);
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "unknown command %s; did you mean %s?", shown, nearest);
    return error_set(error, ERROR_CONFIG, "unknown command %s; 'quire help' lists the commands", shown);
}

static int help(const char *topic, FILE *out, struct options *options, struct error *error)
{
    if (topic == NULL || strcmp(topic, "help") == 0)
        return say(help_text, out, options);
    if (strcmp(topic, "run") == 0)
        return say(run_help_text, out, options);
    if (strcmp(topic, "exec") == 0) {
        exec_options_print_help(out);
        return say("", out, options);
    }
    if (strcmp(topic, "control") == 0) {
        control_options_print_help(out);
        return say("", out, options);
    }
    if (strcmp(topic, "test") == 0) {
        test_options_print_help(out);
        fputs("\n\n", out);
        kernel_test_options_print_help(out);
        return say("", out, options);
    }
    if (strcmp(topic, "report") == 0) {
        report_options_print_help(out);
        return say("", out, options);
    }
    if (strcmp(topic, "check") == 0)
        return say(check_help_text, out, options);
    if (strcmp(topic, "maps") == 0)
        return say(maps_help_text, out, options);
    if (strcmp(topic, "keys") == 0) {
        (void)say(keys_help_text, out, options);
        config_print_keys(out);
        return 0;
    }
    if (strcmp(topic, "devices") == 0) {
        (void)say(devices_help_text, out, options);
        config_print_device_keys(out);
        return 0;
    }
    return fail_unknown_command(topic, error);
}

int options_parse(int argc, char *argv[], FILE *out, struct options *options, struct error *error)
{
    *options = (struct options){0};
    if (argc < 2)
        return help(NULL, out, options, error);

    const char *command = argv[1];
    if (strcmp(command, "run") == 0)
        return parse_run(argc - 1, argv + 1, out, options, error);
    if (strcmp(command, "exec") == 0)
        return parse_exec(argc - 1, argv + 1, out, options, error);
    if (strcmp(command, "control") == 0)
        return parse_control(argc - 1, argv + 1, out, options, error);
    if (strcmp(command, "test") == 0)
        return parse_test(argc - 1, argv + 1, out, options, error);
    if (strcmp(command, "report") == 0)
        return parse_report(argc - 1, argv + 1, out, options, error);
    if (strcmp(command, "check") == 0)
        return parse_check(argc - 1, argv + 1, out, options, error);
    if (strcmp(command, "maps") == 0)
        return parse_maps(argc - 1, argv + 1, out, options, error);
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0)
        return help(argv[2], out, options, error);
    if (strcmp(command, "--version") == 0 || strcmp(command, "-V") == 0)
        return say("quire " QUIRE_VERSION "\n", out, options);
    return fail_unknown_command(command, error);
}

void options_free(struct options *options)
{
    config_free(&options->config);
    config_free(&options->other);
    exec_options_free(&options->exec);
    control_options_free(&options->control);
    test_options_free(&options->test);
    kernel_test_options_free(&options->kernel_test);
    *options = (struct options){0};
}
