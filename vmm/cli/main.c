/*
 * quire: from the command line to an exit status.
 */
#include "vmm/cli/options.h"
#include "vmm/machine/dry_run.h"
#include "vmm/machine/lost_page.h"
#include "vmm/machine/machine.h"
#include "vmm/maps/maps.h"
#include "vmm/runner/verdict.h"

#include <Hypervisor/hvx.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
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

/* One line for programs that have started this one. */
static void tell(int fd, const char *name, int status, const char *text)
{
    if (fd >= 0)
        (void)dprintf(fd, "%s %d %s\n", name, status, text);
}

/* Not the end yet, but what it would have been. */
static void on_waits(void *context, const struct machine_outcome *outcome)
{
    const int *fd = context;
    char text[640];
    char name[64];

    machine_outcome_describe(outcome, text, sizeof(text));
    (void)snprintf(name, sizeof(name), MACHINE_WAITS "%s", machine_outcome_name(outcome));
    tell(*fd, name, machine_outcome_status(outcome), text);
}

static void report_outcome(const struct machine *machine, const struct machine_outcome *outcome, const struct log *log,
                           int status_fd)
{
    const int status = machine_outcome_status(outcome);
    char text[640];

    machine_outcome_describe(outcome, text, sizeof(text));
    /* An orderly end needs no words, unless they are asked for. */
    log_line(log, status == EXIT_STATUS_ORDERLY ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "quire", "%s", text);
    machine_print_crash(machine, outcome, stderr);
    tell(status_fd, machine_outcome_name(outcome), status, text);
}

static int run(const struct config *config, int status_fd)
{
    struct log log = {.level = config->log.level, .fd = STDERR_FILENO};
    struct machine_outcome outcome;
    struct machine *machine;
    struct error error;

    lost_page_handle(status_fd);
    if (machine_create(config, &log, &machine, &error) < 0) {
        tell(status_fd, "refused", status_of_error(&error), error.text);
        return report(&error);
    }
    machine_tell_crash(machine, on_waits, &status_fd);
    machine_run(machine, &outcome);
    machine_close_console(machine);
    report_outcome(machine, &outcome, &log, status_fd);
    machine_destroy(machine);
    return machine_outcome_status(&outcome);
}

/* What was written to out has arrived. name: what messages call it. */
static int finish(FILE *out, const char *name)
{
    if (fflush(out) == 0 && !ferror(out))
        return EXIT_STATUS_ORDERLY;
    fprintf(stderr, "quire: %s cannot be written: %s\n", name, strerror(errno));
    return EXIT_STATUS_HOST_FAILED;
}

static int dry_run(const struct config *config)
{
    struct error error;

    if (dry_run_print(config, stdout, &error) < 0)
        return report(&error);
    return finish(stdout, "standard output");
}

/* Whether a host can do it is told where there is one to ask. */
static int check(const struct config *config)
{
    hvx_host_limits_t limits;
    struct memory_plan plan;
    struct error error;
    int result;

    if (memory_plan_create(config, &plan, &error) < 0)
        return report(&error);
    const bool has_host = hvx_host_limits(&limits) == HV_SUCCESS;
    result = has_host ? memory_plan_check_host(&plan, &limits, &error) : 0;
    memory_plan_free(&plan);
    if (result < 0)
        return report(&error);
    printf("%s: good%s\n", config->file, has_host ? "" : ", as far as can be told without KVM");
    return finish(stdout, "standard output");
}

static void print_line(void *context, const char *text)
{
    fprintf(context, "%s\n", text);
}

static int write_picture(const struct memory_plan *plan, const char *path)
{
    if (strcmp(path, "-") == 0) {
        maps_write_svg(plan, stdout);
        return finish(stdout, "standard output");
    }
    FILE *out = fopen(path, "we");
    if (out == NULL) {
        fprintf(stderr, "quire: %s: %s\n", path, strerror(errno));
        return EXIT_STATUS_USAGE;
    }
    maps_write_svg(plan, out);
    int status = finish(out, path);
    if (fclose(out) != 0 && status == EXIT_STATUS_ORDERLY) {
        fprintf(stderr, "quire: %s cannot be written: %s\n", path, strerror(errno));
        status = EXIT_STATUS_HOST_FAILED;
    }
    /* Nobody is to take a part for the picture. What only leads to a file, as /dev/stdout does, is not ours to remove.
     */
    struct stat file;
    if (status != EXIT_STATUS_ORDERLY && lstat(path, &file) == 0 && S_ISREG(file.st_mode))
        (void)unlink(path);
    return status;
}

static int show_changes(const struct memory_plan *plan, const struct config *other)
{
    struct memory_plan changed;
    struct error error;

    if (memory_plan_create(other, &changed, &error) < 0)
        return report(&error);
    if (maps_write_changes(plan, &changed, stdout) == 0)
        printf("no change\n");
    memory_plan_free(&changed);
    return finish(stdout, "standard output");
}

static int show_maps(const struct options *options, const struct memory_plan *plan)
{
    struct error error;

    if (options->has_other)
        return show_changes(plan, &options->other);
    if (options->svg_path != NULL)
        return write_picture(plan, options->svg_path);
    if (options->json && maps_write_json(plan, stdout, &error) < 0)
        return report(&error);
    if (!options->json)
        maps_write_text(plan, NULL, print_line, stdout);
    return finish(stdout, "standard output");
}

static int maps(const struct options *options)
{
    struct memory_plan plan;
    struct error error;

    if (memory_plan_create(&options->config, &plan, &error) < 0)
        return report(&error);
    const int status = show_maps(options, &plan);
    memory_plan_free(&plan);
    return status;
}

/*
 * A standard descriptor that is closed would be the number of the next file that is opened, and what is printed would
 * go there. What takes its place fails as a closed one does.
 */
static void occupy_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char *argv[])
{
    struct options options = {0};
    struct error error;
    int status = EXIT_STATUS_ORDERLY;

    occupy_standard_streams();
    /* A file that may grow no more is an error of what makes it grow. */
    signal(SIGXFSZ, SIG_IGN);
    if (options_parse(argc, argv, stdout, &options, &error) < 0) {
        status = report(&error);
        return options.test.for_bisect ? verdict_for_bisect(status) : status;
    }
    switch (options.command) {
    case OPTIONS_DONE:
        status = finish(stdout, "standard output");
        break;
    case OPTIONS_CHECK:
        status = check(&options.config);
        break;
    case OPTIONS_MAPS:
        status = maps(&options);
        break;
    case OPTIONS_EXEC:
        status = exec_run(&options.exec);
        break;
    case OPTIONS_CONTROL:
        status = control_run(&options.control);
        break;
    case OPTIONS_TEST:
        status = test_run(&options.test);
        break;
    case OPTIONS_KERNEL_TEST:
        status = kernel_test_run(&options.kernel_test);
        break;
    case OPTIONS_REPORT:
        status = report_run(&options.report);
        break;
    case OPTIONS_RUN:
        status = options.dry_run ? dry_run(&options.config) : run(&options.config, options.status_fd);
        break;
    }
    options_free(&options);
    return status;
}
