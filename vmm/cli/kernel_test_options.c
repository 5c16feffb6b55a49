#include "vmm/cli/kernel_test.h"

#include "vmm/agent/protocol.h"
#include "vmm/cli/exec.h"
#include "vmm/config/text.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_WAIT_MILLISECONDS = 60000 };

/* A kernel that panics is to end the machine at once. */
#define CMDLINE "console=ttyS0 panic=-1"

static const char help_text[] =
    "quire test --kernel IMAGE [OPTION...] [-- COMMAND [ARGUMENT...]]: boot a kernel, and run a command in it\n"
    "\n"
    "The guest has an initial RAM disk of quire's, with busybox; the command has this one's input, output, errors and\n"
    "signals. Without a command it is a shell. A kernel that does not boot, or is in trouble (a panic, an oops, a\n"
    "warning), fails, whatever the command says.\n"
    "\n"
    "      --kernel IMAGE            the kernel: a bzImage or an ELF vmlinux\n"
    "  -i, --initrd PATH             another initial RAM disk, whose init starts quire-agent\n"
    "  -a, --append STRING           more of the kernel's command line, behind '" CMDLINE "'\n"
    "  -m, --memory SIZE             the guest's RAM: 512MiB, 2GiB\n"
    "  -c, --vcpus N                 the number of vCPUs\n"
    "  -s, --set KEY=VALUE           any key of a machine's file (quire help keys); may be given again\n"
    "  -p, --put FILE[:/PATH]        put a file into the guest, into /root if no path is given; may be given again\n"
    "      --wait TIME               how long the guest may take to boot: 60s, the default; 500ms, 2m\n"
    "      --timeout TIME            how long all of it may take\n"
    "      --allow KIND[,KIND...]    trouble that is none: warning, soft-lockup; may be given again\n"
    "      --bisect                  exit as 'git bisect run' wants it: 125 if it cannot be tried, 128 for\n"
    "                                wrong usage\n"
    "  -v, --verbose                 show the guest's console, on standard error\n"
    "  -h, --help                    this text\n"
    "\n"
    "Examples:\n"
    "  quire test --kernel arch/x86/boot/bzImage\n"
    "  quire test --kernel bzImage -- uname -r\n"
    "  quire test --kernel bzImage --timeout 5m -- sh <test.sh\n"
    "  quire test --kernel bzImage --put selftest -- ./selftest -v\n"
    "  git bisect run sh -c 'make -j8 bzImage || exit 125; quire test --bisect --kernel arch/x86/boot/bzImage -- "
    "true'\n"
    "\n"
    "Exit status: the command's, or 128 and the number of the signal that ended it; 126 and 127 if it cannot be run "
    "or\n"
    "is not there; 1 the kernel has failed; 2 usage, or no kernel; 4 the host failed; 124 out of time.\n";

enum { OPTION_KERNEL = 0x100, OPTION_WAIT, OPTION_TIMEOUT, OPTION_ALLOW, OPTION_BISECT };

static const struct option known[] = {
    {"kernel", required_argument, NULL, OPTION_KERNEL},
    {"initrd", required_argument, NULL, 'i'},
    {"append", required_argument, NULL, 'a'},
    {"memory", required_argument, NULL, 'm'},
    {"vcpus", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, 's'},
    {"put", required_argument, NULL, 'p'},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"allow", required_argument, NULL, OPTION_ALLOW},
    {"bisect", no_argument, NULL, OPTION_BISECT},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

void kernel_test_options_print_help(FILE *out)
{
    fputs(help_text, out);
}

/* The number of words in front of the command's "--". */
static int count_words(int argc, char *argv[])
{
    int words = 0;

    while (words < argc && strcmp(argv[words], "--") != 0)
        words++;
    return words;
}

bool kernel_test_is_meant(int argc, char *argv[])
{
    const int words = count_words(argc, argv);

    for (int i = 1; i < words; i++)
        if (strcmp(argv[i], "--kernel") == 0 || strncmp(argv[i], "--kernel=", 9) == 0)
            return true;
    return false;
}

static int fail_option(int value, const char *word, struct error *error)
{
    const char *names[sizeof(known) / sizeof(known[0])];
    char shown[CONFIG_TEXT_SIZE];
    size_t count = 0;

    (void)config_text_quote(shown, word, strcspn(word, "="));
    if (value == ':')
        return error_set(error, ERROR_CONFIG,
                         "test: %s needs a value; 'quire test --kernel IMAGE --help' shows examples", shown);
    for (; known[count].name != NULL; count++)
        names[count] = known[count].name;
    names[count] = NULL;
    const char *nearest = strncmp(word, "--", 2) == 0 ? config_text_nearest(word + 2, names) : NULL;
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "test: unknown option %s; did you mean --%s?", shown, nearest);
    return error_set(error, ERROR_CONFIG,
                     "test: unknown option %s with --kernel; 'quire test --kernel IMAGE --help' lists the options, and "
                     "the command's own stand after --",
                     shown);
}

static int allow_one(struct kernel_test_options *options, const char *name, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    const enum trouble_kind kind = trouble_find(name);

    if (kind != TROUBLE_NONE) {
        options->allowed[kind] = true;
        return 0;
    }
    (void)config_text_quote(shown, name, strlen(name));
    const char *nearest = trouble_nearest(name);
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "test: --allow: %s is no kind of trouble; did you mean %s?", shown,
                         nearest);
    return error_set(error, ERROR_CONFIG,
                     "test: --allow: %s is no kind of trouble; quire.scenario(5) lists them: panic, warning and so on",
                     shown);
}

static int allow(struct kernel_test_options *options, const char *list, struct error *error)
{
    char *copy = strdup(list);
    char *rest = copy;
    int result = 0;

    if (copy == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (const char *name; result == 0 && (name = strsep(&rest, ",")) != NULL;)
        result = allow_one(options, name, error);
    free(copy);
    return result;
}

/* FILE or FILE:/PATH */
static int add_put(struct kernel_test_options *options, const char *word, struct error *error)
{
    const size_t count = options->put_count;
    const char *colon = memrchr(word, ':', strlen(word));
    const bool has_path = colon != NULL && colon[1] == '/';
    const size_t length = has_path ? (size_t)(colon - word) : strlen(word);
    struct initrd_put *puts = reallocarray(options->puts, count + 1, sizeof(*puts));

    if (puts == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    options->puts = puts;
    puts[count] = (struct initrd_put){.file = strndup(word, length)};
    options->put_count++;
    if (has_path)
        puts[count].path = strdup(colon + 1);
    else if (puts[count].file == NULL || asprintf(&puts[count].path, "/root/%s", basename(puts[count].file)) < 0)
        puts[count].path = NULL;
    return puts[count].file != NULL && puts[count].path != NULL ? 0 : error_set(error, ERROR_HOST, "out of memory");
}

/* ---- The machine ---- */

static int set_cmdline(struct config *config, const char *append, struct error *error)
{
    char *cmdline;

    if (asprintf(&cmdline, CMDLINE "%s%s", append[0] != '\0' ? " " : "", append) < 0)
        return error_set(error, ERROR_HOST, "out of memory");
    const int result = config_set(config, "--append", "boot.cmdline", cmdline, error);
    free(cmdline);
    return result;
}

/* What is the test's: the console is its own, and so is the agent's port, which any kernel with an 8250 has. */
static int set_machine(struct config *config, struct error *error)
{
    if (config_set(config, "quire test", "serial.backend", "stdio", error) < 0 ||
        config_set(config, "quire test", "agent.port", "serial", error) < 0 ||
        config_set(config, "quire test", "machine.on-reset", "exit", error) < 0)
        return -1;
    return set_cmdline(config, "", error);
}

static int take_option(struct kernel_test_options *options, int value, const char *word, bool *ret_help,
                       struct error *error)
{
    struct config *config = &options->config;

    switch (value) {
    case OPTION_KERNEL:
        return config_set(config, "--kernel", "boot.kernel", optarg, error);
    case 'i':
        options->initrd = optarg;
        return 0;
    case 'a':
        return set_cmdline(config, optarg, error);
    case 'm':
        return config_set(config, "--memory", "memory.size", optarg, error);
    case 'c':
        return config_set(config, "--vcpus", "cpu.count", optarg, error);
    case 's':
        return config_assign(config, "--set", optarg, error);
    case 'p':
        return add_put(options, optarg, error);
    case OPTION_WAIT:
        return exec_options_parse_time("test", "--wait", optarg, &options->wait, error);
    case OPTION_TIMEOUT:
        return exec_options_parse_time("test", "--timeout", optarg, &options->timeout, error);
    case OPTION_ALLOW:
        return allow(options, optarg, error);
    case OPTION_BISECT:
        options->bisect = true;
        return 0;
    case 'v':
        options->verbose = true;
        return 0;
    case 'h':
        *ret_help = true;
        return 0;
    default:
        return fail_option(value, word, error);
    }
}

/* What is before "--", which stands at argv[argc]. */
static int read_words(int argc, char *argv[], struct kernel_test_options *options, bool *ret_help, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    int value;

    optind = 0;
    while ((value = getopt_long(argc, argv, ":i:a:m:c:s:p:vh", known, NULL)) != -1)
        if (take_option(options, value, argv[optind - 1], ret_help, error) < 0)
            return -1;
    if (*ret_help || optind == argc)
        return 0;
    return error_set(error, ERROR_CONFIG,
                     "test: %s is one word too many; with --kernel there is no scenario, and -- stands before the "
                     "command",
                     config_text_quote(shown, argv[optind], strlen(argv[optind])));
}

int kernel_test_options_parse(int argc, char *argv[], FILE *out, struct kernel_test_options *options, bool *ret_help,
                              struct error *error)
{
    const int words = count_words(argc, argv);

    *ret_help = false;
    *options = (struct kernel_test_options){.wait = DEFAULT_WAIT_MILLISECONDS, .timeout = -1};
    /* First of all: it decides what a mistake comes to. */
    for (int i = 1; i < words; i++)
        options->bisect = options->bisect || strcmp(argv[i], "--bisect") == 0;
    if (words < argc) {
        options->command = (const char *const *)&argv[words + 1];
        options->command_count = (size_t)(argc - words - 1);
    }
    if (config_defaults(&options->config, error) < 0 || set_machine(&options->config, error) < 0 ||
        read_words(words, argv, options, ret_help, error) < 0)
        return -1;
    if (*ret_help)
        kernel_test_options_print_help(out);
    else if (options->command_count > AGENT_ARGUMENT_MAX)
        return error_set(error, ERROR_CONFIG,
                         "test: a command has at most %u arguments; give a script to sh, as in "
                         "'-- sh <script'",
                         AGENT_ARGUMENT_MAX);
    return 0;
}

void kernel_test_options_free(struct kernel_test_options *options)
{
    config_free(&options->config);
    for (size_t i = 0; i < options->put_count; i++) {
        free(options->puts[i].file);
        free(options->puts[i].path);
    }
    free(options->puts);
    *options = (struct kernel_test_options){0};
}
