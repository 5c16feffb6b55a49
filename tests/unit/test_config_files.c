/*
 * The configurations of the tree: configs/ holds good ones, tests/configs/bad/ wrong ones, each with its message.
 */
#include "vmm/config/config.h"

#include "unit_test.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What 'quire check' does. */
static int check(const char *path, struct error *error)
{
    struct config config;

    ck_assert_int_eq(config_defaults(&config, error), 0);
    int result = config_load(&config, path, error);
    if (result == 0)
        result = config_check(&config, error);
    config_free(&config);
    return result;
}

/* The first line of NAME.expect. */
static void read_expected(const char *toml, char *line, int size)
{
    char path[256];
    size_t stem = strlen(toml) - strlen(".toml");

    (void)snprintf(path, sizeof(path), "%.*s.expect", (int)stem, toml);
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, size, file) == NULL)
        ck_abort_msg("%s: missing or empty", path);
    line[strcspn(line, "\n")] = '\0';
    (void)fclose(file);
}

START_TEST(each_wrong_file_gets_its_message)
{
    char expected[sizeof(((struct error *)NULL)->text)];
    struct error error;
    glob_t files;

    ck_assert_int_eq(chdir(SOURCE_FOLDER "/tests/configs/bad"), 0);
    ck_assert_int_eq(glob("*.toml", 0, NULL, &files), 0);
    ck_assert_uint_gt(files.gl_pathc, 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        read_expected(files.gl_pathv[i], expected, (int)sizeof(expected));
        if (check(files.gl_pathv[i], &error) == 0)
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

    ck_assert_int_eq(chdir(SOURCE_FOLDER "/tests/configs/bad"), 0);
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

START_TEST(example_configurations_are_right_and_commented)
{
    struct error error;
    glob_t files;

    ck_assert_int_eq(glob(SOURCE_FOLDER "/configs/*.toml", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        if (check(files.gl_pathv[i], &error) != 0)
            ck_abort_msg("%s", error.text);
        FILE *file = fopen(files.gl_pathv[i], "r");
        ck_assert_ptr_nonnull(file);
        if (fgetc(file) != '#')
            ck_abort_msg("%s: does not open with its purpose", files.gl_pathv[i]);
        (void)fclose(file);
    }
    globfree(&files);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("config_files");
    TCase *files = tcase_create("files");

    tcase_add_test(files, each_wrong_file_gets_its_message);
    tcase_add_test(files, each_message_has_its_wrong_file);
    tcase_add_test(files, example_configurations_are_right_and_commented);
    suite_add_tcase(all, files);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
