#include "vmm/runner/outputs.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/report/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check(const char *option, const char *path, struct error *error)
{
    if (path == NULL || strcmp(path, "-") == 0 || access(path, W_OK) == 0)
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
        note(report_write_file(outputs->junit, report_junit, results, &what), &what, &all, error);
    if (outputs->json != NULL)
        note(report_write_file(outputs->json, report_json, results, &what), &what, &all, error);
    if (outputs->report != NULL)
        note(report_write(results, outputs->report, &what), &what, &all, error);
    return all;
}
