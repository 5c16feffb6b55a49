#include "runner_fixture.h"

#include "unit_test.h"
#include "vmm/runner/folders.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char runner_folder[64];
struct plan runner_plan;
const struct scenario_options runner_options = {0};
char runner_mistakes[4096];

void runner_setup(void)
{
    (void)strcpy(runner_folder, "/tmp/quire-test-runner-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(runner_folder));
    ck_assert_int_eq(chdir(runner_folder), 0);
    runner_plan = (struct plan){0};
    runner_write("kernel", "");
}

void runner_teardown(void)
{
    plan_free(&runner_plan);
    folders_remove(runner_folder);
}

unsigned runner_count_files(void)
{
    DIR *folder = opendir(".");
    unsigned count = 0;

    ck_assert_ptr_nonnull(folder);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    /* But for "." and "..". */
    return count - 2;
}

void runner_write(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");

    ck_assert_ptr_nonnull(out);
    (void)fputs(text, out);
    ck_assert_int_eq(fclose(out), 0);
}

void runner_add_scenario(const char *path, unsigned cases, unsigned mib)
{
    FILE *out = fopen(path, "w");

    ck_assert_ptr_nonnull(out);
    (void)fprintf(out, "override.boot.kernel = \"%s/kernel\"\noverride.memory.size = \"%uMiB\"\n", runner_folder, mib);
    if (cases > 1)
        (void)fputs("[[matrix]]\naxis = \"n\"\n", out);
    for (unsigned i = 1; i <= cases && cases > 1; i++)
        (void)fprintf(out, "[[matrix.entry]]\nname = \"%u\"\n", i);
    (void)fputs("[[step]]\nsleep = \"1s\"\n", out);
    ck_assert_int_eq(fclose(out), 0);
}

static void on_mistake(void *context, const struct error *error)
{
    const size_t length = strlen(runner_mistakes);

    (void)context;
    (void)snprintf(runner_mistakes + length, sizeof(runner_mistakes) - length, "%s\n", error->text);
}

int runner_load(const char *paths)
{
    static char words[4096];
    const char *list[256];
    size_t count = 0;

    (void)strcpy(words, paths);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " "))
        list[count++] = word;
    plan_free(&runner_plan);
    runner_mistakes[0] = '\0';
    const int result = plan_load(list, count, &runner_options, &runner_plan, on_mistake, NULL);
    if (result < 0)
        (void)fputs(runner_mistakes, stderr);
    return result;
}

const char *runner_names(void)
{
    static char names[65536];
    size_t length = 0;

    names[0] = '\0';
    for (size_t i = 0; i < runner_plan.count; i++)
        length += (size_t)snprintf(names + length, sizeof(names) - length, "%s ", runner_plan.cases[i].name);
    return names;
}
