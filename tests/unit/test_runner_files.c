/* What a run of tests makes on the host, and what it must not touch; and what memory the host has. */
#include "vmm/runner/budget.h"
#include "vmm/runner/folders.h"
#include "vmm/runner/outputs.h"

#include "runner_fixture.h"
#include "unit_test.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct error error;

static bool exists(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0;
}

/* ---- Cases' folders ---- */

static const struct {
    const char *name;
    const char *folder;
} names[] = {
    {"boot", "boot"},
    {"boot[kernel=6.1,vcpus=4]#3", "boot-kernel=6.1,vcpus=4-3"},
    {"../x/a b.toml:boot", "-.-x-a-b.toml-boot"},
    {"results.json", "results.json_2"},
    {"INDEX.HTML", "INDEX.HTML_2"},
    {"\xc3\xbc$(x)`", "----x--"},
};

START_TEST(names_are_safe)
{
    char path[128];
    char *made = folders_make_for_case(runner_folder, names[_i].name, &error);

    (void)snprintf(path, sizeof(path), "%s/%s", runner_folder, names[_i].folder);
    ck_assert_ptr_nonnull(made);
    ck_assert_str_eq(made, path);
    free(made);
    /* A second one is another. */
    made = folders_make_for_case(runner_folder, names[_i].name, &error);
    ck_assert_ptr_nonnull(made);
    ck_assert_str_ne(made, path);
    free(made);
}
END_TEST

START_TEST(long_names_are_cut)
{
    char name[5000];

    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    char *made = folders_make_for_case(runner_folder, name, &error);
    ck_assert_ptr_nonnull(made);
    char *other = folders_make_for_case(runner_folder, name, &error);
    ck_assert_ptr_nonnull(other);
    ck_assert_str_ne(made, other);
    free(made);
    free(other);
}
END_TEST

/* ---- The report's folder ---- */

START_TEST(a_report_replaces_a_report)
{
    char *made = folders_open_report("out", &error);

    ck_assert_ptr_nonnull(made);
    ck_assert_int_eq(made[0], '/');
    free(made);
    ck_assert_int_eq(mkdir("out/case", 0700), 0);
    runner_write("out/case/console.log", "x");
    runner_write("out/results.json", "x");
    runner_write("outside", "x");
    ck_assert_int_eq(symlink("..", "out/case/link"), 0);
    ck_assert_int_eq(folders_check_report("out", &error), 0);
    ck_assert(exists("out/results.json"));
    made = folders_open_report("out", &error);
    ck_assert_ptr_nonnull(made);
    free(made);
    ck_assert(!exists("out/results.json"));
    ck_assert(!exists("out/case"));
    ck_assert(exists("outside"));
    ck_assert(exists("out/" FOLDERS_REPORT_MARK));
}
END_TEST

START_TEST(anything_else_is_left_alone)
{
    ck_assert_int_eq(mkdir("mine", 0700), 0);
    runner_write("mine/results.json", "{\"format\": 1}");
    runner_write("mine/thesis.tex", "x");
    runner_write("file", "x");
    ck_assert_ptr_null(folders_open_report("mine", &error));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_ptr_nonnull(strstr(error.text, "left alone"));
    ck_assert(exists("mine/thesis.tex"));
    ck_assert(exists("mine/results.json"));
    ck_assert(!exists("mine/" FOLDERS_REPORT_MARK));
    ck_assert_ptr_null(folders_open_report("file", &error));
    ck_assert(exists("file"));
    ck_assert_ptr_null(folders_open_report("no/where", &error));
    ck_assert_ptr_nonnull(strstr(error.text, "no/where"));
}
END_TEST

START_TEST(temporary_folders_are_short)
{
    (void)setenv("TMPDIR", "/a/very/long/path/that/goes/on/and/on/and/on/and/on/and/on/and/on", 1);
    char *made = folders_make_temporary(&error);
    ck_assert_ptr_nonnull(made);
    ck_assert_uint_lt(strlen(made), 40);
    folders_remove(made);
    ck_assert(!exists(made));
    free(made);
    (void)setenv("TMPDIR", "/nowhere", 1);
    ck_assert_ptr_null(folders_make_temporary(&error));
    ck_assert_ptr_nonnull(strstr(error.text, "TMPDIR"));
}
END_TEST

START_TEST(temporary_folders_of_who_was_killed_go)
{
    (void)setenv("TMPDIR", runner_folder, 1);
    char *kept = folders_make_temporary(&error);
    ck_assert_ptr_nonnull(kept);
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        char *made = folders_make_temporary(&error);
        char *inner = NULL;
        if (made == NULL || asprintf(&inner, "%s/inner", made) < 0 || mkdir(inner, 0777) < 0 ||
            write(ends[1], made, strlen(made)) < 0)
            _exit(1);
        (void)pause();
    }
    /* Somebody else's, that only has such a name, or is behind it. */
    ck_assert_int_eq(mkdir("quire-test-report", 0777), 0);
    ck_assert_int_eq(mkdir("elsewhere", 0777), 0);
    runner_write("elsewhere/.quire-temporary", "");
    ck_assert_int_eq(symlink("elsewhere", "quire-test-link"), 0);
    char left[PATH_MAX] = "";
    ck_assert_int_gt(read(ends[0], left, sizeof(left) - 1), 0);
    char *other = folders_make_temporary(&error);
    ck_assert(exists(left));
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    folders_remove(other);
    free(other);
    other = folders_make_temporary(&error);
    ck_assert(!exists(left));
    ck_assert(exists("quire-test-report"));
    ck_assert(exists("quire-test-link"));
    ck_assert(exists("elsewhere/.quire-temporary"));
    ck_assert(exists(kept));
    ck_assert(exists(other));
    folders_remove(other);
    folders_remove(kept);
    free(other);
    free(kept);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

/* ---- Outputs ---- */

START_TEST(all_outputs_are_written_whatever_becomes_of_one)
{
    struct results *results = results_create("test", &error);
    const struct outputs outputs = {.junit = "no/where.xml", .json = "out.json"};

    ck_assert_int_eq(outputs_check(&outputs, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "--junit"));
    ck_assert_int_eq(outputs_write(&outputs, results, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "no/where.xml"));
    ck_assert(exists("out.json"));
    const struct outputs good = {.junit = "out.xml", .report = runner_folder};
    ck_assert_int_eq(outputs_check(&good, &error), 0);
    ck_assert_int_eq(outputs_write(&good, results, &error), 0);
    ck_assert(exists("out.xml"));
    ck_assert(exists("results.json"));
    results_free(results);
}
END_TEST

/* ---- Memory ---- */

static void make_host(const char *available, const char *group)
{
    ck_assert_int_eq(mkdir("proc", 0700), 0);
    ck_assert_int_eq(mkdir("proc/self", 0700), 0);
    ck_assert_int_eq(mkdir("cgroup", 0700), 0);
    runner_write("proc/meminfo", available);
    runner_write("proc/self/cgroup", group);
}

START_TEST(the_host_has_memory)
{
    ck_assert_uint_eq(budget_of_host("proc", "cgroup"), UINT64_MAX);
    make_host("MemTotal:       9000 kB\nMemFree: 1 kB\nMemAvailable:    8000 kB\n", "1:cpu:/x\n");
    ck_assert_uint_eq(budget_of_host("proc", "cgroup"), 8000 * 1024);
    runner_write("proc/meminfo", "MemAvailable: many\n");
    ck_assert_uint_eq(budget_of_host("proc", "cgroup"), UINT64_MAX);
    /* This one has some. */
    ck_assert_uint_gt(budget_of_host("/proc", "/sys/fs/cgroup"), 1u << 20);
}
END_TEST

START_TEST(control_groups_have_less)
{
    make_host("MemAvailable:    8000 kB\n", "0::/a/b\n");
    ck_assert_int_eq(mkdir("cgroup/a", 0700), 0);
    ck_assert_int_eq(mkdir("cgroup/a/b", 0700), 0);
    runner_write("cgroup/a/b/memory.max", "max\n");
    runner_write("cgroup/a/memory.max", "5000000\n");
    runner_write("cgroup/a/memory.current", "1000000\n");
    runner_write("cgroup/a/memory.stat", "anon 5\ninactive_file 600000\nactive_file 7\n");
    ck_assert_uint_eq(budget_of_host("proc", "cgroup"), 4600000);
    runner_write("cgroup/a/b/memory.max", "3000000\n");
    runner_write("cgroup/a/b/memory.current", "2500000\n");
    ck_assert_uint_eq(budget_of_host("proc", "cgroup"), 500000);
    runner_write("cgroup/a/b/memory.current", "4000000\n");
    ck_assert_uint_eq(budget_of_host("proc", "cgroup"), 0);
    /* One that leaves more than there is does not matter. */
    runner_write("cgroup/a/b/memory.max", "max\n");
    runner_write("cgroup/a/memory.max", "90000000000\n");
    ck_assert_uint_eq(budget_of_host("proc", "cgroup"), 8000 * 1024);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runner_files");
    TCase *cases = tcase_create("files");

    tcase_add_checked_fixture(cases, runner_setup, runner_teardown);
    tcase_add_loop_test(cases, names_are_safe, 0, sizeof(names) / sizeof(names[0]));
    tcase_add_test(cases, long_names_are_cut);
    tcase_add_test(cases, a_report_replaces_a_report);
    tcase_add_test(cases, anything_else_is_left_alone);
    tcase_add_test(cases, temporary_folders_are_short);
    tcase_add_test(cases, temporary_folders_of_who_was_killed_go);
    tcase_add_test(cases, all_outputs_are_written_whatever_becomes_of_one);
    tcase_add_test(cases, the_host_has_memory);
    tcase_add_test(cases, control_groups_have_less);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
