#include "vmm/cli/report.h"

#include "vmm/machine/outcome.h"
#include "vmm/report/merge.h"
#include "vmm/report/report.h"
#include "vmm/scenario/results.h"

#include <errno.h>
#include <string.h>

static int fail(const struct error *error)
{
    fprintf(stderr, "quire: report: %s\n", error->text);
    return error->kind == ERROR_CONFIG ? EXIT_STATUS_USAGE : EXIT_STATUS_HOST_FAILED;
}

static bool is_standard_output(const char *path)
{
    return path != NULL && strcmp(path, "-") == 0;
}

/* Lines for people, and the exit status. */
static int print(const struct results *results)
{
    for (size_t i = 0; i < results->case_count; i++)
        results_write_line(results->cases[i], stdout);
    results_write_summary(results, stdout);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return results_exit_status(results);
    fprintf(stderr, "quire: standard output cannot be written: %s\n", strerror(errno));
    return EXIT_STATUS_HOST_FAILED;
}

static int show(const struct report_options *options)
{
    struct error error;
    struct results *results = merge_read(options->reports[0], &error);

    if (results == NULL)
        return fail(&error);
    const int status = print(results);
    results_free(results);
    return status;
}

static int write_files(const struct report_options *options, const struct results *results, struct error *error)
{
    if (options->directory != NULL && report_write(results, options->directory, error) < 0)
        return -1;
    if (options->junit != NULL && report_write_file(options->junit, report_junit, results, error) < 0)
        return -1;
    return options->json != NULL ? report_write_file(options->json, report_json, results, error) : 0;
}

static void tell_missing(const struct merge_missing *missing)
{
    if (missing->count > 0)
        fprintf(stderr, "quire: report: %zu attachments are not there and were left out, the first of them %s\n",
                missing->count, missing->first);
}

static int merge(const struct report_options *options)
{
    struct merge_missing missing;
    struct error error;
    struct results *results =
        merge_reports((const char *const *)options->reports, options->count, options->directory, &missing, &error);

    if (results == NULL)
        return fail(&error);
    tell_missing(&missing);
    int status;
    if (write_files(options, results, &error) < 0)
        status = fail(&error);
    else if (is_standard_output(options->junit) || is_standard_output(options->json))
        status = results_exit_status(results);
    else
        status = print(results);
    results_free(results);
    return status;
}

int report_run(const struct report_options *options)
{
    return options->command == REPORT_SHOW ? show(options) : merge(options);
}
