#include "vmm/cli/report.h"

#include "vmm/config/text.h"

#include <getopt.h>
#include <string.h>

static const char help_text[] =
    "quire report merge [OPTION...] REPORT...: make one report of several\n"
    "quire report show REPORT: print a report's results\n"
    "\n"
    "A REPORT is a folder that quire test has written, or the results.json of one.\n"
    "\n"
    "merge puts together what parts of a run have found, on one machine or several. What is one test, by its name and\n"
    "file, may be in two reports only if it was not run in one of them. Attachments are copied into the new folder.\n"
    "\n"
    "  -o, --output DIR              write a report to this folder, with a page: DIR/index.html\n"
    "      --junit FILE              write JUnit's XML; - is standard output\n"
    "      --json FILE               write all there is as JSON; - is standard output\n"
    "  -h, --help                    this text\n"
    "\n"
    "Examples:\n"
    "  quire report merge -o all part-1 part-2\n"
    "  quire report show all\n"
    "\n"
    "Exit status: as of quire test: 0, 1 a test failed, 4 one is broken or was not run; 2 usage, or a wrong report.\n";

enum { OPTION_JUNIT = 0x100, OPTION_JSON };

static const struct option report_options_known[] = {
    {"output", required_argument, NULL, 'o'},
    {"junit", required_argument, NULL, OPTION_JUNIT},
    {"json", required_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static const char *const commands[] = {[REPORT_MERGE] = "merge", [REPORT_SHOW] = "show", NULL};

void report_options_print_help(FILE *out)
{
    fputs(help_text, out);
}

static int set_command(const char *word, struct report_options *options, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    for (size_t i = 0; commands[i] != NULL; i++) {
        if (strcmp(commands[i], word) == 0) {
            options->command = i;
            return 0;
        }
    }
    (void)config_text_quote(shown, word, strlen(word));
    const char *nearest = config_text_nearest(word, commands);
    if (nearest != NULL)
        return error_set(error, ERROR_CONFIG, "report: unknown command %s; did you mean %s?", shown, nearest);
    return error_set(error, ERROR_CONFIG, "report: unknown command %s; write merge or show", shown);
}

static int check_show(const struct report_options *options, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    if (options->directory != NULL || options->junit != NULL || options->json != NULL)
        return error_set(error, ERROR_CONFIG,
                         "report: show writes no files; 'quire report merge' does, also of one report");
    if (options->count > 1)
        return error_set(error, ERROR_CONFIG, "report: %s is one report too many; show takes one",
                         config_text_quote(shown, options->reports[1], strlen(options->reports[1])));
    return 0;
}

static int check_file(const char *option, const char *file, struct error *error)
{
    if (file == NULL || file[0] != '\0')
        return 0;
    return error_set(error, ERROR_CONFIG, "report: %s has no file; name one, or - for standard output", option);
}

static int check_merge(const struct report_options *options, struct error *error)
{
    if (check_file("--junit", options->junit, error) < 0 || check_file("--json", options->json, error) < 0)
        return -1;
    if (options->junit != NULL && options->json != NULL && strcmp(options->junit, "-") == 0 &&
        strcmp(options->json, "-") == 0)
        return error_set(error, ERROR_CONFIG,
                         "report: --junit and --json both go to standard output; name a file for one of them");
    if (options->directory != NULL && options->directory[0] == '\0')
        return error_set(error, ERROR_CONFIG, "report: --output has no folder; name one, as in '-o all'");
    return 0;
}

static int set_words(int count, char *words[], struct report_options *options, struct error *error)
{
    if (count < 1)
        return error_set(error, ERROR_CONFIG, "report: no command; write merge or show, as in 'quire report show DIR'");
    if (set_command(words[0], options, error) < 0)
        return -1;
    options->reports = words + 1;
    options->count = (size_t)count - 1;
    if (options->count == 0)
        return error_set(error, ERROR_CONFIG, "report: %s: no report; name the folder of one",
                         commands[options->command]);
    return options->command == REPORT_SHOW ? check_show(options, error) : check_merge(options, error);
}

static int fail_option(int value, const char *word, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    (void)config_text_quote(shown, word, strlen(word));
    if (value == ':')
        return error_set(error, ERROR_CONFIG, "report: %s needs a value; 'quire help report' shows examples", shown);
    return error_set(error, ERROR_CONFIG, "report: unknown option %s; 'quire help report' lists the options", shown);
}

int report_options_parse(int argc, char *argv[], FILE *out, struct report_options *options, bool *ret_help,
                         struct error *error)
{
    int value;

    *ret_help = false;
    *options = (struct report_options){0};
    optind = 0;
    while ((value = getopt_long(argc, argv, ":o:h", report_options_known, NULL)) != -1) {
        switch (value) {
        case 'o':
            options->directory = optarg;
            break;
        case OPTION_JUNIT:
            options->junit = optarg;
            break;
        case OPTION_JSON:
            options->json = optarg;
            break;
        case 'h':
            *ret_help = true;
            break;
        default:
            return fail_option(value, argv[optind - 1], error);
        }
    }
    if (!*ret_help)
        return set_words(argc - optind, argv + optind, options, error);
    report_options_print_help(out);
    return 0;
}
