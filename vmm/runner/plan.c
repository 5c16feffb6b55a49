#include "vmm/runner/plan.h"

#include "vmm/config/place.h"
#include "vmm/runner/budget.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct loading {
    struct plan *plan;
    const struct scenario_options *options;
    plan_reporter *report;
    void *context;
    bool has_failed;
};

static void fail(struct loading *loading, const struct error *error)
{
    loading->has_failed = true;
    loading->report(loading->context, error);
}

/* What is wrong with a machine as a whole may name no file. */
static void fail_file(struct loading *loading, const char *file, struct error *error)
{
    if (error->kind == ERROR_CONFIG && strstr(error->text, file) == NULL)
        (void)error_prefix(error, "%s", file);
    fail(loading, error);
}

static void fail_out_of_memory(struct loading *loading)
{
    struct error error;

    (void)config_out_of_memory(&error);
    fail(loading, &error);
}

static void fail_path(struct loading *loading, const char *path, int why)
{
    struct error error;

    (void)error_set(&error, ERROR_CONFIG, "%s: %s; name a scenario, or a folder with some", path, strerror(why));
    fail(loading, &error);
}

/* ---- Files ---- */

static bool is_known(const struct plan *plan, const char *path)
{
    for (size_t i = 0; i < plan->scenario_count; i++) {
        if (strcmp(plan->scenarios[i]->path, path) == 0)
            return true;
    }
    return false;
}

static void free_scenario(struct plan_scenario *from)
{
    scenario_free(from->scenario);
    free(from->file);
    free(from->path);
    free(from);
}

static void add_scenario(struct loading *loading, struct plan_scenario *from)
{
    struct plan *plan = loading->plan;
    struct plan_scenario **grown =
        reallocarray(plan->scenarios, plan->scenario_count + 1, sizeof(struct plan_scenario *));

    if (grown == NULL) {
        free_scenario(from);
        fail_out_of_memory(loading);
        return;
    }
    plan->scenarios = grown;
    plan->scenarios[plan->scenario_count++] = from;
}

static void load_file(struct loading *loading, const char *file)
{
    struct error error;
    char *path = realpath(file, NULL);

    if (path == NULL) {
        fail_path(loading, file, errno);
        return;
    }
    if (is_known(loading->plan, path)) {
        free(path);
        return;
    }
    struct plan_scenario *from = calloc(1, sizeof(*from));
    if (from == NULL) {
        free(path);
        fail_out_of_memory(loading);
        return;
    }
    from->path = path;
    from->file = strdup(file);
    if (from->file == NULL) {
        free_scenario(from);
        fail_out_of_memory(loading);
    } else if (scenario_load(file, loading->options, &from->scenario, &error) < 0) {
        free_scenario(from);
        fail_file(loading, file, &error);
    } else {
        add_scenario(loading, from);
    }
}

/* ---- Folders ---- */

static int is_toml(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);

    return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".toml") == 0;
}

/* A scenario's steps are tables of an array (quire.scenario(5)), which no machine's configuration has. */
static bool is_step(const char *line)
{
    line += strspn(line, " \t");
    if (strncmp(line, "[[", 2) != 0)
        return false;
    line += 2 + strspn(line + 2, " \t");
    if (strncmp(line, "step", 4) != 0)
        return false;
    line += 4 + strspn(line + 4, " \t");
    return strncmp(line, "]]", 2) == 0;
}

/* Whether a file has steps. What cannot be read is for scenario_load() to complain of. */
static bool has_steps(const char *path)
{
    struct stat status;
    char *line = NULL;
    size_t size = 0;
    bool found = false;

    if (stat(path, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size > SCENARIO_MAX_FILE_SIZE)
        return false;
    FILE *in = fopen(path, "re");
    if (in == NULL)
        return true;
    while (!found && getline(&line, &size, in) >= 0)
        found = is_step(line);
    free(line);
    (void)fclose(in);
    return found;
}

static void load_entry(struct loading *loading, const char *folder, const char *name, size_t *count)
{
    const bool is_here = strcmp(folder, ".") == 0 || strcmp(folder, "./") == 0;
    const char *slash = folder[strlen(folder) - 1] == '/' ? "" : "/";
    char *path;

    if ((is_here ? asprintf(&path, "%s", name) : asprintf(&path, "%s%s%s", folder, slash, name)) < 0) {
        fail_out_of_memory(loading);
        return;
    }
    if (has_steps(path)) {
        load_file(loading, path);
        (*count)++;
    }
    free(path);
}

/* By their bytes: the order is not to depend on a locale. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_folder(struct loading *loading, const char *folder)
{
    struct dirent **entries;
    struct error error;
    size_t count = 0;
    const int all = scandir(folder, &entries, is_toml, compare_names);

    if (all < 0) {
        fail_path(loading, folder, errno);
        return;
    }
    for (int i = 0; i < all; i++) {
        load_entry(loading, folder, entries[i]->d_name, &count);
        free(entries[i]);
    }
    free(entries);
    if (count > 0)
        return;
    (void)error_set(&error, ERROR_CONFIG, "%s: no scenario in this folder: no *.toml that has a [[step]]; name a file",
                    folder);
    fail(loading, &error);
}

static void load_path(struct loading *loading, const char *path)
{
    struct stat status;

    if (stat(path, &status) < 0)
        fail_path(loading, path, errno);
    else if (S_ISDIR(status.st_mode))
        load_folder(loading, path);
    else
        load_file(loading, path);
}

/* ---- Cases ---- */

static bool has_namesake(const struct plan *plan, const struct plan_scenario *from)
{
    for (size_t i = 0; i < plan->scenario_count; i++) {
        if (plan->scenarios[i] != from && strcmp(plan->scenarios[i]->scenario->name, from->scenario->name) == 0)
            return true;
    }
    return false;
}

/* Names of scenarios have no colon, so that with the file in front none is another's. */
static char *name_case(const struct plan *plan, const struct plan_scenario *from, size_t index)
{
    const char *own = from->scenario->cases[index].name;
    char *name;

    if (!has_namesake(plan, from))
        return strdup(own);
    return asprintf(&name, "%s:%s", from->file, own) < 0 ? NULL : name;
}

static int measure(struct plan_case *one, const struct scenario_options *options, struct error *error)
{
    struct config config;
    const int result = scenario_case_config(one->from->scenario, one->index, options, &config, error);

    if (result == 0)
        one->memory = budget_of_machine(&config);
    config_free(&config);
    return result;
}

static void add_case(struct loading *loading, const struct plan_scenario *from, size_t index)
{
    struct plan *plan = loading->plan;
    struct plan_case *one = &plan->cases[plan->count];
    struct error error;

    *one = (struct plan_case){.from = from, .index = index, .name = name_case(plan, from, index)};
    if (one->name == NULL) {
        fail_out_of_memory(loading);
        return;
    }
    plan->count++;
    if (measure(one, loading->options, &error) < 0)
        fail_file(loading, from->file, &error);
}

static void add_cases(struct loading *loading)
{
    struct plan *plan = loading->plan;
    size_t count = 0;

    for (size_t i = 0; i < plan->scenario_count; i++)
        count += plan->scenarios[i]->scenario->case_count;
    plan->cases = calloc(count + 1, sizeof(*plan->cases));
    if (plan->cases == NULL) {
        fail_out_of_memory(loading);
        return;
    }
    for (size_t i = 0; i < plan->scenario_count; i++) {
        const struct plan_scenario *from = plan->scenarios[i];
        for (size_t j = 0; j < from->scenario->case_count && !loading->has_failed; j++)
            add_case(loading, from, j);
    }
}

int plan_load(const char *const *paths, size_t count, const struct scenario_options *options, struct plan *plan,
              plan_reporter *report, void *context)
{
    struct loading loading = {.plan = plan, .options = options, .report = report, .context = context};

    *plan = (struct plan){0};
    for (size_t i = 0; i < count; i++)
        load_path(&loading, paths[i]);
    if (!loading.has_failed)
        add_cases(&loading);
    return loading.has_failed ? -1 : 0;
}

void plan_free(struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        free(plan->cases[i].name);
    for (size_t i = 0; i < plan->scenario_count; i++)
        free_scenario(plan->scenarios[i]);
    free(plan->cases);
    free(plan->scenarios);
    *plan = (struct plan){0};
}

void plan_keep(struct plan *plan, const bool *keep)
{
    size_t kept = 0;

    for (size_t i = 0; i < plan->count; i++) {
        if (keep[i])
            plan->cases[kept++] = plan->cases[i];
        else
            free(plan->cases[i].name);
    }
    plan->count = kept;
}
