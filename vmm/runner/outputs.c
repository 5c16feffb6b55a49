#include "vmm/runner/outputs.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/runner/replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- What vmm/report is to do: report_write_file() and report_write() ---- */

static int write_json(const void *context, FILE *out, struct error *error)
{
    return results_write_json(context, out, error);
}

static int write_junit(const void *context, FILE *out, struct error *error)
{
    (void)error;
    results_write_junit(context, out);
    return 0;
}

static int write_report(const char *folder, const struct results *results, struct error *error)
{
    char *path;

    if (asprintf(&path, "%s/results.json", folder) < 0)
        return config_out_of_memory(error);
    const int result = replace_file(path, write_json, results, error);
    free(path);
    return result;
}

/* ---- All of it ---- */

static int check(const char *option, const char *path, struct error *error)
{
    if (path == NULL || access(path, W_OK) == 0)
        return 0;
    char *folder = config_path_folder(path);
    if (folder == NULL)
        return config_out_of_memory(error);
    const char *where = folder[0] != '\0' ? folder : ".";
    int result = 0;
    if (access(where, W_OK | X_OK) < 0)
        result = error_set(error, ERROR_CONFIG, "%s: %s cannot be made: %s", option, path, strerror(errno));
    free(folder);
    return result;
}

int outputs_check(const struct outputs *outputs, struct error *error)
{
    if (check("--junit", outputs->junit, error) < 0)
        return -1;
    return check("--json", outputs->json, error);
}

/* The first error is the one that is told. */
static void note(int result, const struct error *what, int *all, struct error *error)
{
    if (result == 0 || *all < 0)
        return;
    *all = -1;
    *error = *what;
}

int outputs_write(const struct outputs *outputs, const struct results *results, struct error *error)
{
    struct error what;
    int all = 0;

    if (outputs->junit != NULL)
        note(replace_file(outputs->junit, write_junit, results, &what), &what, &all, error);
    if (outputs->json != NULL)
        note(replace_file(outputs->json, write_json, results, &what), &what, &all, error);
    if (outputs->report != NULL)
        note(write_report(outputs->report, results, &what), &what, &all, error);
    return all;
}
