#include "vmm/cli/test.h"

#include "vmm/config/text.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { JOBS_MAX = 1024, SHARDS_MAX = 4096, ROUNDS_MAX = 1000000 };

static const char help_text[] =
    "quire test [OPTION...] SCENARIO...: boot machines, and see whether they do what they should\n"
    "\n"
    "A SCENARIO is a file as quire.scenario(5) describes it, or a folder that has some. Everything in them that can "
    "be\n"
    "checked is checked before anything boots.\n"
    "\n"
    "Which cases, and in what order:\n"
    "  -f, --filter WORD[,WORD...]   those whose name has the word in it, or * and ? as in shells, or AXIS=ENTRY of a\n"
    "                                matrix; all words have to fit. Given again, either will do\n"
    "      --rerun-failed            those that did not pass the last time\n"
    "      --shard I/N               a share of all, for one of N computers: 1/3, 2/3, 3/3\n"
    "  -l, --list                    list the cases, with the time that they take, and stop\n"
    "  -j, --jobs N                  run N machines at a time, as far as there is memory; 0: one for each processor.\n"
    "                                Without it, one\n"
    "      --repeat N                run each case N times, and say how many failed\n"
    "      --until-fail              run all again and again until one fails; with --repeat, N times at most\n"
    "  -x, --fail-fast               stop when one fails\n"
    "\n"
    "What machines are like:\n"
    "  -s, --set KEY=VALUE           any key of their configuration (quire help keys); may be given again\n"
    "      --symbols FILE            a vmlinux or System.map, for addresses; otherwise what is beside the kernel\n"
    "      --dump                    keep the memory of a guest that fails, in the report, for crash and gdb\n"
    "\n"
    "What comes of it:\n"
    "      --report DIR              a folder with a page for people, consoles and all other artefacts; it is made, "
    "or\n"
    "                                an earlier report in it is replaced\n"
    "      --junit FILE              JUnit's XML, for CI systems\n"
    "      --json FILE               JSON, with all there is\n"
    "      --tap[=14]                TAP on standard output, version 13 if not asked for 14, in the place of lines\n"
    "      --history FILE            where times of cases and what came of them are kept; otherwise in\n"
    "                                ~/.local/state/quire\n"
    "      --bisect                  exit as 'git bisect run' wants it: 125 if it cannot be tried, 128 for wrong "
    "usage\n"
    "  -q, --quiet                   print only what fails, and the sum\n"
    "  -v, --verbose                 print steps, too\n"
    "  -h, --help                    this text\n"
    "\n"
    "Examples:\n"
    "  quire test boot.toml\n"
    "  quire test tests/ -j 0 --report out --junit out.xml\n"
    "  quire test boot.toml --filter kernel=6.12,vcpus=4 --verbose\n"
    "  quire test tests/ --rerun-failed\n"
    "  quire test race.toml --until-fail -j 4 --report out --dump\n"
    "  git bisect run sh -c 'make -j8 bzImage || exit 125; quire test --bisect boot.toml'\n"
    "\n"
    "Exit status: 0 all passed, 1 a test failed, 2 usage or a scenario, 4 the host failed; 130 after Ctrl-C.\n";

enum {
    OPTION_RERUN_FAILED = 0x100,
    OPTION_SHARD,
    OPTION_REPEAT,
    OPTION_UNTIL_FAIL,
    OPTION_SYMBOLS,
    OPTION_DUMP,
    OPTION_REPORT,
    OPTION_JUNIT,
    OPTION_JSON,
    OPTION_TAP,
    OPTION_HISTORY,
    OPTION_BISECT,
};

static const struct option test_options_known[] = {
    {"filter", required_argument, NULL, 'f'},
    {"rerun-failed", no_argument, NULL, OPTION_RERUN_FAILED},
    {"shard", required_argument, NULL, OPTION_SHARD},
    {"list", no_argument, NULL, 'l'},
    {"jobs", required_argument, NULL, 'j'},
    {"repeat", required_argument, NULL, OPTION_REPEAT},
    {"until-fail", no_argument, NULL, OPTION_UNTIL_FAIL},
    {"fail-fast", no_argument, NULL, 'x'},
    {"set", required_argument, NULL, 's'},
    {"symbols", required_argument, NULL, OPTION_SYMBOLS},
    {"dump", no_argument, NULL, OPTION_DUMP},
    {"report", required_argument, NULL, OPTION_REPORT},
    {"junit", required_argument, NULL, OPTION_JUNIT},
    {"json", required_argument, NULL, OPTION_JSON},
    {"tap", optional_argument, NULL, OPTION_TAP},
    {"history", required_argument, NULL, OPTION_HISTORY},
    {"bisect", no_argument, NULL, OPTION_BISECT},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

void test_options_print_help(FILE *out)
{
    fputs(help_text, out);
}

/* ---- Arguments ---- */

static int fail_word(const char *option, const char *word, const char *form, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    return error_set(error, ERROR_CONFIG, "test: %s: %s is %s", option, config_text_quote(shown, word, strlen(word)),
                     form);
}

/* Figures from here on; *end is behind them. */
static bool parse_number(const char *word, unsigned least, unsigned most, unsigned *ret_number, char **end)
{
    errno = 0;
    const unsigned long number = strtoul(word, end, 10);

    *ret_number = (unsigned)number;
    return word[0] >= '0' && word[0] <= '9' && errno == 0 && number >= least && number <= most;
}

static int parse_jobs(const char *word, struct test_options *options, struct error *error)
{
    char *end;

    if (strcmp(word, "auto") == 0) {
        options->jobs = 0;
        return 0;
    }
    if (parse_number(word, 0, JOBS_MAX, &options->jobs, &end) && *end == '\0')
        return 0;
    return fail_word("--jobs", word, "no number of machines; give 1 to 1024, or 0 for one for each processor", error);
}

static int parse_shard(const char *word, struct test_options *options, struct error *error)
{
    char *end;

    if (parse_number(word, 1, SHARDS_MAX, &options->shard, &end) && *end == '/' &&
        parse_number(end + 1, options->shard, SHARDS_MAX, &options->shard_count, &end) && *end == '\0')
        return 0;
    return fail_word("--shard", word, "no share; write it as 1/4, 2/4, 3/4 and 4/4, up to 4096", error);
}

static int parse_rounds(const char *word, struct test_options *options, struct error *error)
{
    char *end;

    if (parse_number(word, 1, ROUNDS_MAX, &options->rounds, &end) && *end == '\0')
        return 0;
    return fail_word("--repeat", word, "no number of times; give 1 to 1000000", error);
}

static int parse_tap(const char *word, struct test_options *options, struct error *error)
{
    options->tap = word == NULL || strcmp(word, "13") == 0 ? 13 : 14;
    if (options->tap == 13 || strcmp(word, "14") == 0)
        return 0;
    return fail_word("--tap", word, "no version of TAP that is written; leave it out, or give 13 or 14", error);
}

/* A path, or a word: not nothing. */
static int take_text(const char *option, const char *word, const char **to, struct error *error)
{
    *to = word;
    return word[0] != '\0' ? 0 : fail_word(option, word, "no name", error);
}

static int take_assignment(const char *word, struct test_options *options, struct error *error)
{
    if (word[0] == '=' || strchr(word, '=') == NULL)
        return fail_word("--set", word, "no key and value; write it as cpu.count=4", error);
    options->assignments[options->assignment_count++] = word;
    return 0;
}

/* ---- Options ---- */

static int fail_option(int value, const char *word, struct error *error)
{
    const char *names[sizeof(test_options_known) / sizeof(test_options_known[0])];
    char shown[CONFIG_TEXT_SIZE];
    size_t count = 0;

    (void)config_text_quote(shown, word, strcspn(word, "="));
    if (value == ':')
        return error_set(error, ERROR_CONFIG, "test: %s needs a value; 'quire help test' shows examples", shown);
    for (; test_options_known[count].name != NULL; count++)
        names[count] = test_options_known[count].name;
    names[count] = NULL;
    const char *nearest = strncmp(word, "--", 2) == 0 ? config_text_nearest(word + 2, names) : NULL;
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "test: unknown option %s; did you mean --%s?", shown, nearest);
    return error_set(error, ERROR_CONFIG, "test: unknown option %s; 'quire help test' lists the options", shown);
}

/* Those without an argument. NULL: it is none. */
static bool *switch_of(struct test_options *options, int value)
{
    switch (value) {
    case 'l':
        return &options->only_list;
    case 'x':
        return &options->fail_fast;
    case 'q':
        return &options->is_quiet;
    case 'v':
        return &options->is_verbose;
    case OPTION_RERUN_FAILED:
        return &options->only_failed;
    case OPTION_UNTIL_FAIL:
        return &options->until_fail;
    case OPTION_DUMP:
        return &options->dumps;
    case OPTION_BISECT:
        return &options->for_bisect;
    default:
        return NULL;
    }
}

static int take_argument(struct test_options *options, int value, const char *word, struct error *error)
{
    switch (value) {
    case 'f':
        return take_text("--filter", optarg, &options->filters[options->filter_count++], error);
    case 's':
        return take_assignment(optarg, options, error);
    case 'j':
        return parse_jobs(optarg, options, error);
    case OPTION_SHARD:
        return parse_shard(optarg, options, error);
    case OPTION_REPEAT:
        return parse_rounds(optarg, options, error);
    case OPTION_TAP:
        return parse_tap(optarg, options, error);
    case OPTION_SYMBOLS:
        return take_text("--symbols", optarg, &options->symbols, error);
    case OPTION_REPORT:
        return take_text("--report", optarg, &options->report, error);
    case OPTION_JUNIT:
        return take_text("--junit", optarg, &options->junit, error);
    case OPTION_JSON:
        return take_text("--json", optarg, &options->json, error);
    case OPTION_HISTORY:
        return take_text("--history", optarg, &options->history, error);
    default:
        return fail_option(value, word, error);
    }
}

/* What options have to do with each other. */
static int check(struct test_options *options, struct error *error)
{
    if (options->path_count == 0)
        return error_set(error, ERROR_CONFIG,
                         "test: which scenario? name its file, as in 'quire test boot.toml', or a folder with some");
    if (options->is_quiet && options->is_verbose)
        return error_set(error, ERROR_CONFIG, "test: --quiet and --verbose at once; ask for one of them");
    if (options->tap != 0 && options->is_verbose)
        return error_set(error, ERROR_CONFIG, "test: --tap and --verbose at once; TAP has standard output for itself");
    if (options->dumps && options->report == NULL)
        return error_set(error, ERROR_CONFIG,
                         "test: --dump: the dump would be gone when the tests end; say where it is kept: --report DIR");
    if (options->for_bisect && (options->only_list || options->only_failed))
        return error_set(
            error, ERROR_CONFIG,
            "test: --bisect with %s: each commit is judged by the same cases, and these have to run; choose "
            "them with --filter",
            options->only_list ? "--list" : "--rerun-failed");
    if (options->rounds == 0 && !options->until_fail)
        options->rounds = 1;
    return 0;
}

/* Before options are read, so that a mistake in them, too, ends as git wants it. getopt(3) takes beginnings. */
static bool is_for_bisect(int argc, char *argv[])
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strlen(argv[i]) > 2 && strncmp("--bisect", argv[i], strlen(argv[i])) == 0)
            return true;
    }
    return false;
}

static int read_words(int argc, char *argv[], struct test_options *options, bool *ret_help, struct error *error)
{
    int value;

    optind = 0;
    while ((value = getopt_long(argc, argv, ":f:lj:xs:qvh", test_options_known, NULL)) != -1) {
        bool *on = switch_of(options, value);
        if (value == 'h')
            *ret_help = true;
        else if (on != NULL)
            *on = true;
        else if (take_argument(options, value, argv[optind - 1], error) < 0)
            return -1;
    }
    options->paths = (const char *const *)&argv[optind];
    options->path_count = (size_t)(argc - optind);
    return *ret_help ? 0 : check(options, error);
}

int test_options_parse(int argc, char *argv[], FILE *out, struct test_options *options, bool *ret_help,
                       struct error *error)
{
    *ret_help = false;
    *options = (struct test_options){.shard = 1, .shard_count = 1, .jobs = 1, .for_bisect = is_for_bisect(argc, argv)};
    options->filters = calloc((size_t)argc + 1, sizeof(*options->filters));
    options->assignments = calloc((size_t)argc + 1, sizeof(*options->assignments));
    if (options->filters == NULL || options->assignments == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (read_words(argc, argv, options, ret_help, error) < 0)
        return -1;
    if (*ret_help)
        test_options_print_help(out);
    return 0;
}

void test_options_free(struct test_options *options)
{
    free(options->filters);
    free(options->assignments);
    *options = (struct test_options){.for_bisect = options->for_bisect};
}
