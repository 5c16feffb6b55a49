/*
 * The scenarios of the tree: tests/scenarios/good/ are right, tests/scenarios/bad/ wrong, each with its message.
 */
#include "vmm/scenario/scenario.h"

#include "unit_test.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char FOLDER[] = SOURCE_FOLDER;

static void change_folder(const char *name)
{
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/tests/scenarios/%s", FOLDER, name);
    ck_assert_int_eq(chdir(path), 0);
}

/* The first line of NAME.expect, in which "@SOURCE@" stands for the tree. */
static void read_expected(const char *toml, char *line, size_t size)
{
    static const char mark[] = "@SOURCE@";
    char path[256];
    char text[1024];
    size_t stem = strlen(toml) - strlen(".toml");

    (void)snprintf(path, sizeof(path), "%.*s.expect", (int)stem, toml);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(text, (int)sizeof(text), file) == NULL)
        ck_abort_msg("%s: missing or empty", path);
    (void)fclose(file);
    text[strcspn(text, "\n")] = '\0';
    const char *place = strstr(text, mark);
    if (place == NULL)
        (void)snprintf(line, size, "%s", text);
    else
        (void)snprintf(line, size, "%.*s%s%s", (int)(place - text), text, FOLDER, place + strlen(mark));
}

START_TEST(each_wrong_file_gets_its_message)
{
    char expected[2048];
    struct scenario *scenario;
    struct error error;
    glob_t files;

    change_folder("bad");
    ck_assert_int_eq(glob("*.toml", 0, NULL, &files), 0);
    ck_assert_uint_gt(files.gl_pathc, 90);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        read_expected(files.gl_pathv[i], expected, sizeof(expected));
        if (scenario_load(files.gl_pathv[i], NULL, &scenario, &error) == 0)
            ck_abort_msg("%s: accepted; expected: %s", files.gl_pathv[i], expected);
        ck_assert_str_eq(error.text, expected);
        ck_assert_int_eq(error.kind, ERROR_CONFIG);
    }
    globfree(&files);
}
END_TEST

START_TEST(each_message_has_its_wrong_file)
{
    glob_t messages;

    change_folder("bad");
    ck_assert_int_eq(glob("*.expect", 0, NULL, &messages), 0);
    for (size_t i = 0; i < messages.gl_pathc; i++) {
        char path[256];
        size_t stem = strlen(messages.gl_pathv[i]) - strlen(".expect");
        (void)snprintf(path, sizeof(path), "%.*s.toml", (int)stem, messages.gl_pathv[i]);
        if (access(path, R_OK) != 0)
            ck_abort_msg("%s: missing", path);
    }
    globfree(&messages);
}
END_TEST

START_TEST(right_files_are_accepted)
{
    struct scenario *scenario;
    struct error error;
    glob_t files;

    change_folder("good");
    ck_assert_int_eq(glob("*.toml", 0, NULL, &files), 0);
    ck_assert_uint_gt(files.gl_pathc, 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (scenario_load(files.gl_pathv[i], NULL, &scenario, &error) != 0)
            ck_abort_msg("%s", error.text);
        scenario_free(scenario);
    }
    globfree(&files);
}
END_TEST

START_TEST(files_that_cannot_be_read)
{
    struct scenario *scenario;
    struct error error;

    change_folder("good");
    ck_assert_int_eq(scenario_load("none.toml", NULL, &scenario, &error), -1);
    ck_assert_str_eq(error.text,
                     "none.toml: cannot be opened: No such file or directory; name the TOML file of a scenario");
    ck_assert_int_eq(scenario_load(".", NULL, &scenario, &error), -1);
    ck_assert_str_eq(error.text, ".: is not a regular file; name the TOML file of a scenario");
    ck_assert_int_eq(scenario_load("/dev/zero", NULL, &scenario, &error), -1);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("scenario_files");
    TCase *files = tcase_create("files");

    tcase_add_test(files, each_wrong_file_gets_its_message);
    tcase_add_test(files, each_message_has_its_wrong_file);
    tcase_add_test(files, right_files_are_accepted);
    tcase_add_test(files, files_that_cannot_be_read);
    tcase_set_timeout(files, 60);
    suite_add_tcase(all, files);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
