#include "vmm/cli/control.h"

#include "devices/host/unix_address.h"
#include "vmm/config/config.h"
#include "vmm/config/text.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help_text[] =
    "quire control FILE.toml|SOCKET [OPTION...] COMMAND [ARGUMENT]: see to a running machine from outside\n"
    "\n"
    "The machine's file, or its command line, has control.listen; SOCKET is what that names.\n"
    "\n"
    "  status                        what it is, whether it runs, and for how long\n"
    "  pause                         stop all vCPUs; a machine that is paused stays so, also over a reset\n"
    "  resume                        let them go on\n"
    "  power-button                  press the power button: the guest is asked to power off\n"
    "  reset                         reset the machine; machine.on-reset says what follows\n"
    "  nmi [VCPU]                    give a vCPU, number 0 if none is named, a non-maskable interrupt\n"
    "  quit                          end the machine at once\n"
    "  vcpus                         where each vCPU is: its registers, and what it does\n"
    "  dump FILE                     write memory and registers to FILE, for crash and gdb; the guest pauses "
    "meanwhile\n"
    "\n"
    "  -j, --json                    what the machine answers, a JSON object on a line, for programs\n"
    "  -h, --help                    this text\n"
    "\n"
    "Examples:\n"
    "  quire run vm.toml --control unix:/tmp/vm.control &\n"
    "  quire control /tmp/vm.control status\n"
    "  quire control vm.toml dump vmcore && gdb vmlinux vmcore\n"
    "\n"
    "Exit status: 0, 1 the machine refuses, 2 usage, 4 it cannot be reached or the dump cannot be written.\n";

static const struct option control_options_known[] = {
    {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char *const commands[] = {"status", "pause", "resume", "power-button", "reset",
                                       "nmi",    "quit",  "vcpus",  "dump",         NULL};

void control_options_print_help(FILE *out)
{
    fputs(help_text, out);
}

/* "unix:PATH", or the path alone. */
static int set_address(const char *word, struct control_options *options, struct error *error)
{
    if (asprintf(&options->address, "%s%s", strncmp(word, "unix:", 5) == 0 ? "" : "unix:", word) < 0) {
        options->address = NULL;
        return error_set(error, ERROR_HOST, "out of memory");
    }
    return unix_address_check(options->address, error) < 0 ? error_prefix(error, "control: %s", word) : 0;
}

static int read_file(const char *path, struct control_options *options, struct error *error)
{
    struct config config;
    int result;

    if (config_defaults(&config, error) < 0)
        return -1;
    result = config_load(&config, path, error);
    if (result == 0 && config.control.listen == NULL)
        result = error_set(error, ERROR_CONFIG,
                           "%s: control.listen: is not there, so nobody can reach the machine; put listen = "
                           "\"unix:PATH\" into [control], and start it again; or name the socket, if it was started "
                           "with --control",
                           path);
    else if (result == 0 && unix_address_check(config.control.listen, error) < 0)
        result = config_error(&config, CONFIG_CONTROL_LISTEN, error, "%s", strdupa(error->text));
    else if (result == 0)
        result = set_address(config.control.listen, options, error);
    config_free(&config);
    return result;
}

static bool is_socket(const char *word)
{
    struct stat status;

    return strncmp(word, "unix:", 5) == 0 || (stat(word, &status) == 0 && S_ISSOCK(status.st_mode));
}

static int set_machine(const char *word, struct control_options *options, struct error *error)
{
    return is_socket(word) ? set_address(word, options, error) : read_file(word, options, error);
}

static int set_command(const char *word, struct control_options *options, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    for (size_t i = 0; commands[i] != NULL; i++)
        if (strcmp(commands[i], word) == 0)
            options->command = commands[i];
    if (options->command != NULL)
        return 0;
    (void)config_text_quote(shown, word, strlen(word));
    const char *nearest = config_text_nearest(word, commands);
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "control: unknown command %s; did you mean %s?", shown, nearest);
    return error_set(error, ERROR_CONFIG, "control: unknown command %s; 'quire help control' lists the commands",
                     shown);
}

static int set_vcpu(const char *word, struct control_options *options, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    char *end;

    errno = 0;
    const unsigned long number = strtoul(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || errno != 0 || number >= CONFIG_MAX_CPU_COUNT)
        return error_set(error, ERROR_CONFIG, "control: nmi: %s is no vCPU; write its number, from 0 on",
                         config_text_quote(shown, word, strlen(word)));
    options->vcpu = (unsigned)number;
    return 0;
}

/* What is behind the machine and the command. */
static int set_argument(const char *word, struct control_options *options, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    if (strcmp(options->command, "dump") == 0) {
        options->file = word;
        if (word == NULL || word[0] == '\0')
            return error_set(error, ERROR_CONFIG, "control: dump: no file; name one, as in 'dump vmcore'");
        return 0;
    }
    if (word == NULL)
        return 0;
    if (strcmp(options->command, "nmi") == 0)
        return set_vcpu(word, options, error);
    return error_set(error, ERROR_CONFIG, "control: %s is one word too many; %s takes none",
                     config_text_quote(shown, word, strlen(word)), options->command);
}

static int set_words(int count, char *words[], struct control_options *options, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    if (count < 1)
        return error_set(error, ERROR_CONFIG,
                         "control: which machine? name its file or socket, as in 'quire control vm.toml status'");
    if (count < 2)
        return error_set(error, ERROR_CONFIG,
                         "control: no command; write one behind the machine, as in 'quire control vm.toml status'");
    if (count > 3)
        return error_set(error, ERROR_CONFIG, "control: %s is one word too many",
                         config_text_quote(shown, words[3], strlen(words[3])));
    if (set_command(words[1], options, error) < 0 || set_argument(count > 2 ? words[2] : NULL, options, error) < 0)
        return -1;
    return set_machine(words[0], options, error);
}

int control_options_parse(int argc, char *argv[], FILE *out, struct control_options *options, bool *ret_help,
                          struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    int value;

    *ret_help = false;
    *options = (struct control_options){0};
    optind = 0;
    while ((value = getopt_long(argc, argv, ":jh", control_options_known, NULL)) != -1) {
        const char *word = argv[optind - 1];
        switch (value) {
        case 'j':
            options->json = true;
            break;
        case 'h':
            *ret_help = true;
            break;
        default:
            return error_set(error, ERROR_CONFIG, "control: unknown option %s; 'quire help control' lists the options",
                             config_text_quote(shown, word, strlen(word)));
        }
    }
    if (!*ret_help)
        return set_words(argc - optind, argv + optind, options, error);
    control_options_print_help(out);
    return 0;
}

void control_options_free(struct control_options *options)
{
    free(options->address);
    *options = (struct control_options){0};
}
