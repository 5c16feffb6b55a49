/*
 * quire: from the command line to an exit status.
 */
#include "vmm/cli/options.h"
#include "vmm/machine/machine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int status_of_error(const struct error *error)
{
    return error->kind == ERROR_CONFIG ? EXIT_STATUS_USAGE : EXIT_STATUS_HOST_FAILED;
}

static int report(const struct error *error)
{
    fprintf(stderr, "quire: %s\n", error->text);
    return status_of_error(error);
}

static void report_outcome(const struct machine *machine, const struct machine_outcome *outcome, const struct log *log)
{
    const int status = machine_outcome_status(outcome);
    char text[640];

    machine_outcome_describe(outcome, text, sizeof(text));
    /* An orderly end needs no words, unless they are asked for. */
    log_line(log, status == EXIT_STATUS_ORDERLY ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "quire", "%s", text);
    machine_print_crash(machine, outcome, stderr);
}

static int run(const struct config *config)
{
    struct log log = {.level = config->log.level, .fd = STDERR_FILENO};
    struct machine_outcome outcome;
    struct machine *machine;
    struct error error;

    if (machine_create(config, &log, &machine, &error) < 0)
        return report(&error);
    machine_run(machine, &outcome);
    machine_close_console(machine);
    report_outcome(machine, &outcome, &log);
    machine_destroy(machine);
    return machine_outcome_status(&outcome);
}

static int dry_run(const struct config *config)
{
    struct error error;

    if (machine_print_plan(config, stdout, &error) < 0)
        return report(&error);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "quire: standard output cannot be written\n");
        return EXIT_STATUS_HOST_FAILED;
    }
    return EXIT_STATUS_ORDERLY;
}

int main(int argc, char *argv[])
{
    struct options options = {0};
    struct error error;
    int status = EXIT_STATUS_ORDERLY;

    if (options_parse(argc, argv, stdout, &options, &error) < 0)
        return report(&error);
    switch (options.command) {
    case OPTIONS_DONE:
        break;
    case OPTIONS_CHECK:
        printf("%s: good\n", options.config.file);
        break;
    case OPTIONS_RUN:
        status = options.dry_run ? dry_run(&options.config) : run(&options.config);
        break;
    }
    options_free(&options);
    return status;
}
