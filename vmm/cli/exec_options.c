#include "vmm/cli/exec.h"

#include "devices/host/unix_address.h"
#include "vmm/agent/protocol.h"
#include "vmm/config/config.h"
#include "vmm/config/path.h"
#include "vmm/config/text.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_WAIT_MILLISECONDS = 10000 };

static const char help_text[] =
    "quire exec FILE.toml [OPTION...] [-- COMMAND [ARGUMENT...]]: run a command in a running machine's guest\n"
    "quire exec --socket PATH [OPTION...] [-- COMMAND [ARGUMENT...]]\n"
    "\n"
    "The machine's file, or its command line, has agent.listen; in the guest runs quire-agent. The command gets this\n"
    "one's input, output, errors and signals. Without a command it is a shell.\n"
    "\n"
    "  -S, --socket PATH             the socket that agent.listen names, in the place of the machine's file\n"
    "  -t, --tty                     give the command a terminal; without a command it has one where there is one "
    "here\n"
    "  -T, --no-tty                  give it none\n"
    "  -e, --env NAME=VALUE          a variable of its environment; may be given again\n"
    "  -w, --cwd DIRECTORY           where it starts\n"
    "  -u, --user UID[:GID]          who it runs as, in figures\n"
    "      --wait TIME               how long the agent may take to answer: 10s, the default; 500ms, 2m, 0\n"
    "      --timeout TIME            end the command after this time\n"
    "  -h, --help                    this text\n"
    "\n"
    "Examples:\n"
    "  quire run vm.toml --agent unix:/tmp/vm.sock &\n"
    "  quire exec --socket /tmp/vm.sock -- uname -r\n"
    "  quire exec vm.toml -t -- top\n"
    "  tar -c src | quire exec vm.toml -- tar -x -C /root\n"
    "\n"
    "Exit status: the command's, or 128 and the number of the signal that ended it; 126 and 127 if it cannot be run or "
    "is\n"
    "not there; 2 usage; 4 the guest cannot be reached; 124 out of time.\n";

enum { OPTION_WAIT = 0x100, OPTION_TIMEOUT };

static const struct option exec_options_known[] = {
    {"socket", required_argument, NULL, 'S'},
    {"tty", no_argument, NULL, 't'},
    {"no-tty", no_argument, NULL, 'T'},
    {"env", required_argument, NULL, 'e'},
    {"cwd", required_argument, NULL, 'w'},
    {"user", required_argument, NULL, 'u'},
    {"wait", required_argument, NULL, OPTION_WAIT},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

void exec_options_print_help(FILE *out)
{
    fputs(help_text, out);
}

static int out_of_memory(struct error *error)
{
    return error_set(error, ERROR_HOST, "out of memory");
}

static int fail_word(const char *option, const char *word, const char *form, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    return error_set(error, ERROR_CONFIG, "exec: %s: %s is %s", option, config_text_quote(shown, word, strlen(word)),
                     form);
}

static int fail_time(const char *command, const char *option, const char *word, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    return error_set(error, ERROR_CONFIG, "%s: %s: %s is no time; write it as 10s, 500ms or 2m", command, option,
                     config_text_quote(shown, word, strlen(word)));
}

int exec_options_parse_time(const char *command, const char *option, const char *word, int64_t *ret_milliseconds,
                            struct error *error)
{
    static const struct {
        const char *unit;
        int64_t milliseconds;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"h", 3600000}};
    char *end;

    errno = 0;
    const unsigned long long value = strtoull(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || errno != 0 || value > 10000000)
        return fail_time(command, option, word, error);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) != 0)
            continue;
        *ret_milliseconds = (int64_t)value * units[i].milliseconds;
        return 0;
    }
    return fail_time(command, option, word, error);
}

static bool parse_id(const char *word, char **end, uint32_t *ret_id)
{
    errno = 0;
    const unsigned long long value = strtoull(word, end, 10);

    *ret_id = (uint32_t)value;
    /* The largest is what system calls take for "no change". */
    return word[0] >= '0' && word[0] <= '9' && errno == 0 && value < UINT32_MAX;
}

/* UID[:GID]; the group is the user's number, if it is not said. */
static int parse_user(const char *word, struct exec_options *options, struct error *error)
{
    char *end;
    bool is_good = parse_id(word, &end, &options->uid);

    options->as_user = true;
    options->gid = options->uid;
    if (is_good && *end == ':')
        is_good = parse_id(end + 1, &end, &options->gid);
    return is_good && *end == '\0'
               ? 0
               : fail_word("--user", word, "no user; write it in figures, as 1000 or 1000:100", error);
}

/* "unix:PATH", or the path alone. */
static int set_address(const char *word, struct exec_options *options, struct error *error)
{
    free(options->address);
    options->address = NULL;
    if (asprintf(&options->address, "%s%s", strncmp(word, "unix:", 5) == 0 ? "" : "unix:", word) < 0) {
        options->address = NULL;
        return out_of_memory(error);
    }
    return unix_address_check(options->address, error) < 0 ? error_prefix(error, "exec: --socket: %s", word) : 0;
}

/* The machine's file says where. */
static int read_file(const char *path, struct exec_options *options, struct error *error)
{
    struct config config;
    int result = -1;

    if (config_defaults(&config, error) < 0)
        return -1;
    if (config_load(&config, path, error) < 0)
        goto out;
    if (config.agent.listen == NULL) {
        error_set(
            error, ERROR_CONFIG,
            "%s: agent.listen: is not there, so nobody can reach the guest's agent; put listen = \"unix:PATH\" into "
            "[agent], and start the machine again; or give --socket PATH, if it was started with --agent",
            path);
        goto out;
    }
    result = unix_address_check(config.agent.listen, error) < 0
                 ? config_error(&config, CONFIG_AGENT_LISTEN, error, "%s", strdupa(error->text))
                 : set_address(config.agent.listen, options, error);
out:
    config_free(&config);
    return result;
}

static int fail_option(int value, const char *word, struct error *error)
{
    const char *names[sizeof(exec_options_known) / sizeof(exec_options_known[0])];
    char shown[CONFIG_TEXT_SIZE];
    size_t count = 0;

    (void)config_text_quote(shown, word, strcspn(word, "="));
    if (value == ':')
        return error_set(error, ERROR_CONFIG, "exec: %s needs a value; 'quire help exec' shows examples", shown);
    for (; exec_options_known[count].name != NULL; count++)
        names[count] = exec_options_known[count].name;
    names[count] = NULL;
    const char *nearest = strncmp(word, "--", 2) == 0 ? config_text_nearest(word + 2, names) : NULL;
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "exec: unknown option %s; did you mean --%s?", shown, nearest);
    return error_set(
        error, ERROR_CONFIG,
        "exec: unknown option %s; 'quire help exec' lists the options, and the command's own stand after --", shown);
}

static int take_option(struct exec_options *options, int value, const char *word, bool *ret_help, struct error *error)
{
    switch (value) {
    case 'S':
        return set_address(optarg, options, error);
    case 't':
        options->terminal = EXEC_TERMINAL_YES;
        return 0;
    case 'T':
        options->terminal = EXEC_TERMINAL_NO;
        return 0;
    case 'e':
        if (optarg[0] == '=' || strchr(optarg, '=') == NULL)
            return fail_word("--env", optarg, "no variable; write NAME=VALUE", error);
        options->env[options->env_count++] = optarg;
        return 0;
    case 'w':
        options->cwd = optarg;
        return 0;
    case 'u':
        return parse_user(optarg, options, error);
    case OPTION_WAIT:
        return exec_options_parse_time("exec", "--wait", optarg, &options->wait, error);
    case OPTION_TIMEOUT:
        return exec_options_parse_time("exec", "--timeout", optarg, &options->timeout, error);
    case 'h':
        *ret_help = true;
        return 0;
    default:
        return fail_option(value, word, error);
    }
}

/* What is before "--", which stands at argv[argc]. */
static int read_words(int argc, char *argv[], bool has_command, struct exec_options *options, bool *ret_help,
                      struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    int value;

    optind = 0;
    while ((value = getopt_long(argc, argv, ":S:tTe:w:u:h", exec_options_known, NULL)) != -1)
        if (take_option(options, value, argv[optind - 1], ret_help, error) < 0)
            return -1;
    if (*ret_help)
        return 0;
    const int most = options->address == NULL ? 1 : 0;
    if (argc - optind > most)
        return error_set(error, ERROR_CONFIG, "exec: %s is one word too many%s",
                         config_text_quote(shown, argv[optind + most], strlen(argv[optind + most])),
                         has_command ? "; the machine is one file, or --socket" : "; put -- before the command");
    if (optind < argc)
        return read_file(argv[optind], options, error);
    if (options->address == NULL)
        return error_set(
            error, ERROR_CONFIG,
            "exec: which machine? name its file, as in 'quire exec vm.toml -- uname', or give --socket PATH");
    return 0;
}

int exec_options_parse(int argc, char *argv[], FILE *out, struct exec_options *options, bool *ret_help,
                       struct error *error)
{
    int words = 0;

    *ret_help = false;
    *options = (struct exec_options){.cwd = "", .wait = DEFAULT_WAIT_MILLISECONDS, .timeout = -1};
    while (words < argc && strcmp(argv[words], "--") != 0)
        words++;
    options->env = calloc((size_t)argc + 1, sizeof(*options->env));
    if (options->env == NULL)
        return out_of_memory(error);
    if (words < argc) {
        options->command = (const char *const *)&argv[words + 1];
        options->command_count = (size_t)(argc - words - 1);
    }
    if (read_words(words, argv, words < argc, options, ret_help, error) < 0)
        return -1;
    if (*ret_help)
        exec_options_print_help(out);
    else if (options->command_count > AGENT_ARGUMENT_MAX || options->env_count >= AGENT_ARGUMENT_MAX)
        return error_set(error, ERROR_CONFIG, "exec: a command has at most %u arguments; put a script into the guest",
                         AGENT_ARGUMENT_MAX);
    return 0;
}

void exec_options_free(struct exec_options *options)
{
    free(options->address);
    free(options->env);
    *options = (struct exec_options){0};
}
