/*
 * Reports that are merged: what is kept, what cannot be, and attachments that are not where they say.
 */
#include "vmm/report/artefact.h"
#include "vmm/report/merge.h"
#include "vmm/report/report.h"
#include "vmm/report/results_read.h"

#include "scratch_folder.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct error error;
static struct merge_missing missing;
/* Folders of reports. */
static char a[128], b[128], c[128], all[128];

static void setup(void)
{
    scratch_folder_make();
    (void)snprintf(a, sizeof(a), "%s/a", scratch_folder);
    (void)snprintf(b, sizeof(b), "%s/b", scratch_folder);
    (void)snprintf(c, sizeof(c), "%s/c", scratch_folder);
    (void)snprintf(all, sizeof(all), "%s/all", scratch_folder);
    error = (struct error){0};
}

static void assert_file(const char *path, const char *text)
{
    char found[256] = "";
    FILE *file = fopen(path, "r");

    ck_assert_msg(file != NULL, "%s is not there", path);
    (void)!fread(found, 1, sizeof(found) - 1, file);
    (void)fclose(file);
    ck_assert_str_eq(found, text);
}

static void assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        ck_abort_msg("not there: %s\nin: %s", part, text);
}

static struct results *create(const char *suite, int64_t started_at)
{
    struct results *results = results_create(suite, &error);

    ck_assert_ptr_nonnull(results);
    results->started_at = started_at;
    results->duration_ns = 3000000000u;
    return results;
}

static struct result_case *add(struct results *results, const char *name, enum result_status status)
{
    struct result_case *one = results_add_case(results, name, "boot.toml", &error);

    ck_assert_ptr_nonnull(one);
    one->status = status;
    return one;
}

static void attach(struct result_case *one, const char *path)
{
    ck_assert_ptr_nonnull(result_add_attachment(one, "console", path, &error));
}

/* Takes the results. */
static void write_report(struct results *results, const char *where)
{
    (void)mkdir(where, 0755);
    ck_assert_int_eq(report_write(results, where, &error), 0);
    results_free(results);
}

/* With attachments case/console.log, of which each report has its own. */
static void write_two(void)
{
    struct results *one = create("boot", 2000);
    struct results *other = create("boot", 1000);

    attach(add(one, "boot[2]", RESULT_PASSED), "case/console.log");
    attach(add(one, "boot[4]", RESULT_FAILED), "case/console.log");
    add(one, "boot[3]", RESULT_NOT_RUN);
    attach(add(other, "boot[3]", RESULT_PASSED), "case/console.log");
    add(other, "boot[1]", RESULT_SKIPPED);
    add(other, "boot[4]", RESULT_NOT_RUN);
    write_report(one, a);
    write_report(other, b);
    ck_assert_int_eq(mkdir(scratch_path(a, "case"), 0755), 0);
    ck_assert_int_eq(mkdir(scratch_path(b, "case"), 0755), 0);
    scratch_write(scratch_path(a, "case/console.log"), "of a");
    scratch_write(scratch_path(b, "case/console.log"), "of b");
}

static struct results *merge(const char *first, const char *second, const char *directory)
{
    const char *const paths[] = {first, second};

    return merge_reports(paths, second != NULL ? 2 : 1, directory, &missing, &error);
}

static struct results *merge_well(const char *first, const char *second, const char *directory)
{
    struct results *results = merge(first, second, directory);

    ck_assert_msg(results != NULL, "%s", error.text);
    return results;
}

static void assert_fails(const char *first, const char *second, const char *directory, const char *said)
{
    ck_assert_ptr_null(merge(first, second, directory));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    assert_holds(error.text, said);
}

START_TEST(cases_of_all_in_the_order_of_names)
{
    static const struct {
        const char *name;
        enum result_status status;
    } cases[] = {{"boot[1]", RESULT_SKIPPED},
                 {"boot[2]", RESULT_PASSED},
                 {"boot[3]", RESULT_PASSED},
                 {"boot[4]", RESULT_FAILED}};

    write_two();
    struct results *results = merge_well(a, b, NULL);
    ck_assert_uint_eq(results->case_count, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(results->cases[i]->name, cases[i].name);
        ck_assert_int_eq(results->cases[i]->status, cases[i].status);
        ck_assert_uint_eq(results->cases[i]->attachment_count, 0);
    }
    ck_assert_str_eq(results->suite, "boot");
    ck_assert_int_eq(results->started_at, 1000);
    ck_assert_uint_eq(results->duration_ns, 6000000000u);
    ck_assert_int_eq(results_exit_status(results), 1);
    results_free(results);
}
END_TEST

START_TEST(attachments_are_copied_and_do_not_clash)
{
    write_two();
    struct results *results = merge_well(a, b, all);
    ck_assert_str_eq(results->cases[1]->attachments[0].path, "report-1/case/console.log");
    ck_assert_str_eq(results->cases[2]->attachments[0].path, "report-2/case/console.log");
    ck_assert_uint_eq(missing.count, 0);
    assert_file(scratch_path(all, "report-1/case/console.log"), "of a");
    assert_file(scratch_path(all, "report-2/case/console.log"), "of b");
    ck_assert_int_eq(report_write(results, all, &error), 0);
    results_free(results);
    /* What was merged is a report that can be merged; and once more into the same folder. */
    results = merge_well(all, NULL, c);
    assert_file(scratch_path(c, "report-1/report-2/case/console.log"), "of b");
    results_free(results);
    scratch_write(scratch_path(b, "case/console.log"), "new");
    results_free(merge_well(a, b, all));
    assert_file(scratch_path(all, "report-2/case/console.log"), "new");
}
END_TEST

START_TEST(a_file_of_results_is_a_report)
{
    write_two();
    struct results *results = merge_well(scratch_path(a, REPORT_JSON), b, all);
    ck_assert_uint_eq(results->case_count, 4);
    assert_file(scratch_path(all, "report-1/case/console.log"), "of a");
    results_free(results);
}
END_TEST

START_TEST(what_was_run_twice_is_refused)
{
    struct results *other = create("boot", 1);

    write_two();
    add(other, "boot[2]", RESULT_SKIPPED);
    write_report(other, c);
    char said[600];
    (void)snprintf(said, sizeof(said), "\"boot[2]\" has been run in %s and in %s; leave one", a, c);
    assert_fails(a, c, NULL, said);
    assert_fails(a, a, NULL, "has been run in");
}
END_TEST

START_TEST(one_name_in_two_files_is_two_cases)
{
    struct results *one = create("one", 1);
    struct results *other = create("other", 2);

    add(one, "boot", RESULT_PASSED);
    ck_assert_ptr_nonnull(results_add_case(other, "boot", "other.toml", &error));
    other->cases[0]->status = RESULT_PASSED;
    write_report(one, a);
    write_report(other, b);
    struct results *results = merge_well(a, b, NULL);
    ck_assert_uint_eq(results->case_count, 2);
    ck_assert_str_eq(results->cases[1]->file, "other.toml");
    ck_assert_str_eq(results->suite, "merged");
    results_free(results);
}
END_TEST

START_TEST(what_was_run_nowhere_is_there_once)
{
    struct results *one = create("boot", 1);
    struct results *other = create("boot", 2);

    add(one, "boot", RESULT_NOT_RUN);
    add(other, "boot", RESULT_NOT_RUN);
    write_report(one, a);
    write_report(other, b);
    struct results *results = merge_well(a, b, NULL);
    ck_assert_uint_eq(results->case_count, 1);
    ck_assert_int_eq(results_exit_status(results), 4);
    results_free(results);
}
END_TEST

START_TEST(attachments_that_are_not_there_are_told)
{
    write_two();
    ck_assert_int_eq(unlink(scratch_path(a, "case/console.log")), 0);
    struct results *results = merge_well(a, b, all);
    ck_assert_uint_eq(missing.count, 2);
    ck_assert_str_eq(missing.first, "case/console.log");
    ck_assert_uint_eq(results->cases[1]->attachment_count, 0);
    ck_assert_uint_eq(results->cases[2]->attachment_count, 1);
    results_free(results);
}
END_TEST

START_TEST(attachments_that_are_there_stay_in_their_order)
{
    static const char *const paths[] = {"gone", "one", "gone", "two", "three", "gone"};
    static const char *const kept[] = {"report-1/one", "report-1/two", "report-1/three"};
    struct results *report = create("boot", 1);
    struct result_case *case_of_it = add(report, "boot", RESULT_PASSED);

    for (size_t i = 0; i < 6; i++)
        attach(case_of_it, paths[i]);
    write_report(report, a);
    scratch_write(scratch_path(a, "one"), "1");
    scratch_write(scratch_path(a, "two"), "2");
    scratch_write(scratch_path(a, "three"), "3");
    struct results *results = merge_well(a, NULL, all);
    ck_assert_uint_eq(missing.count, 3);
    ck_assert_uint_eq(results->cases[0]->attachment_count, 3);
    for (size_t i = 0; i < 3; i++)
        ck_assert_str_eq(results->cases[0]->attachments[i].path, kept[i]);
    assert_file(scratch_path(all, "report-1/two"), "2");
    results_free(results);
}
END_TEST

START_TEST(there_may_be_more_reports_than_descriptors)
{
    enum { REPORTS = 60 };
    static char folders[REPORTS][128];
    const char *paths[REPORTS];
    struct rlimit limit;

    for (unsigned i = 0; i < REPORTS; i++) {
        struct results *report = create("boot", 1);
        char name[32];
        (void)snprintf(name, sizeof(name), "boot-%02u", i);
        attach(add(report, name, RESULT_PASSED), "console.log");
        (void)snprintf(folders[i], sizeof(folders[i]), "%s/%u", scratch_folder, i);
        write_report(report, folders[i]);
        scratch_write(scratch_path(folders[i], "console.log"), name);
        paths[i] = folders[i];
    }
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 40;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct results *results = merge_reports(paths, REPORTS, all, &missing, &error);
    ck_assert_msg(results != NULL, "%s", error.text);
    ck_assert_uint_eq(results->case_count, REPORTS);
    assert_file(scratch_path(all, "report-60/console.log"), "boot-59");
    results_free(results);
}
END_TEST

START_TEST(times_add_up_to_what_can_be_read)
{
    struct results *one = create("boot", 1);
    struct results *other = create("boot", 2);

    one->duration_ns = 1900000000000000u;
    other->duration_ns = RESULTS_READ_NS_MAX - 1900000000000000u;
    write_report(one, a);
    write_report(other, b);
    struct results *results = merge_well(a, b, all);
    ck_assert_uint_eq(results->duration_ns, RESULTS_READ_NS_MAX);
    ck_assert_int_eq(report_write(results, all, &error), 0);
    results_free(results);
    results = merge_well(a, all, NULL);
    ck_assert_uint_eq(results->duration_ns, RESULTS_READ_NS_MAX);
    results_free(results);
}
END_TEST

static const char *const outside[] = {
    "../secret", "/etc/hostname", "case/../../secret", "./x", "link", "links/secret", "case", "", "a//b",
    "pipe",      "file/x"};

START_TEST(nothing_outside_of_a_report_is_copied)
{
    struct results *one = create("boot", 1);

    attach(add(one, "boot", RESULT_PASSED), outside[_i]);
    write_report(one, a);
    scratch_write(scratch_path(scratch_folder, "secret"), "secret");
    scratch_write(scratch_path(a, "file"), "");
    ck_assert_int_eq(mkdir(scratch_path(a, "case"), 0755), 0);
    ck_assert_int_eq(symlink("../secret", scratch_path(a, "link")), 0);
    ck_assert_int_eq(symlink("..", scratch_path(a, "links")), 0);
    ck_assert_int_eq(mkfifo(scratch_path(a, "pipe"), 0600), 0);
    assert_fails(a, NULL, all, "is no file below the report's folder");
    assert_holds(error.text, a);
    ck_assert_int_ne(access(scratch_path(all, "report-1"), F_OK), 0);
}
END_TEST

/* A folder that is merged into may have been somebody's, too. */
START_TEST(nothing_outside_of_the_new_report_is_written)
{
    write_two();
    ck_assert_int_eq(mkdir(all, 0755), 0);
    ck_assert_int_eq(mkdir(scratch_path(scratch_folder, "other"), 0755), 0);
    ck_assert_int_eq(symlink("../other", scratch_path(all, "report-1")), 0);
    ck_assert_ptr_null(merge(a, b, all));
    assert_holds(error.text, "cannot be written");
    ck_assert_int_ne(access(scratch_path(scratch_folder, "other/case"), F_OK), 0);
}
END_TEST

START_TEST(what_is_no_report_is_left_alone)
{
    write_two();
    ck_assert_int_eq(mkdir(all, 0755), 0);
    /* What a merge leaves that has failed. */
    ck_assert_int_eq(mkdir(scratch_path(all, "report-1"), 0755), 0);
    results_free(merge_well(a, b, all));
    scratch_write(scratch_path(all, REPORT_PAGE), "a page of mine");
    assert_fails(a, b, all, "holds something else than a report, and is left alone");
    assert_file(scratch_path(all, REPORT_PAGE), "a page of mine");
    scratch_write(scratch_path(all, REPORT_JSON), "{}");
    results_free(merge_well(a, b, all));
}
END_TEST

START_TEST(a_report_is_not_merged_into_itself)
{
    write_two();
    assert_fails(a, b, b, "is one of the reports, and would be overwritten");
    assert_fails(scratch_path(a, REPORT_JSON), b, a, "is one of the reports");
    assert_fails(a, b, scratch_path(scratch_folder, "none/all"), "cannot be made: No such file or directory");
    scratch_write(scratch_path(scratch_folder, "file"), "");
    assert_fails(a, b, scratch_path(scratch_folder, "file"), "cannot be opened: Not a directory");
    assert_fails(a, scratch_path(scratch_folder, "file"), all, "is no JSON");
    assert_fails(a, scratch_path(scratch_folder, "none"), all, "none: cannot be read: No such file or directory");
    assert_fails(a, b, scratch_path(scratch_folder, "no\x1b[31m/where"), "no\\x1b[31m/where: cannot be made");
}
END_TEST

START_TEST(holes_stay_holes)
{
    struct results *one = create("boot", 1);
    struct stat status;
    char text[5] = "";

    attach(add(one, "boot", RESULT_PASSED), "vmcore");
    write_report(one, a);
    const int fd = open(scratch_path(a, "vmcore"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(ftruncate(fd, 1 << 30), 0);
    ck_assert_int_eq(pwrite(fd, "core", 4, 300 << 20), 4);
    close(fd);
    results_free(merge_well(a, NULL, all));
    const int copy = open(scratch_path(all, "report-1/vmcore"), O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(fstat(copy, &status), 0);
    ck_assert_int_eq(status.st_size, 1 << 30);
    ck_assert_int_lt(status.st_blocks, 4096);
    ck_assert_int_eq(pread(copy, text, 4, 300 << 20), 4);
    ck_assert_str_eq(text, "core");
    close(copy);
}
END_TEST

START_TEST(a_full_disk_leaves_no_part_of_an_attachment)
{
    const struct rlimit limit = {2, RLIM_INFINITY};

    write_two();
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_ptr_null(merge(a, b, all));
    ck_assert_int_eq(error.kind, ERROR_HOST);
    assert_holds(error.text, "report-1/case/console.log\" cannot be written: File too large");
    /* The folder is empty again. */
    ck_assert_int_eq(rmdir(scratch_path(all, "report-1/case")), 0);
}
END_TEST

/* No file system has what memory without a name has, so nothing can be shared, and bytes are copied one by one. */
START_TEST(bytes_are_copied_from_another_file_system)
{
    enum { SIZE = 200001 };
    static char bytes[SIZE], copy[SIZE + 1];
    struct rlimit limit;

    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 7 >> 3);
    const int from = memfd_create("artefact", MFD_CLOEXEC);
    const int to = open(scratch_folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(write(from, bytes, SIZE), SIZE);
    ck_assert_int_eq(artefact_copy(from, to, "x/y"), 0);
    const int fd = open(scratch_path(scratch_folder, "x/y"), O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(read(fd, copy, sizeof(copy)), SIZE);
    ck_assert_mem_eq(copy, bytes, SIZE);
    close(fd);
    /* The disk is full amid a write. */
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = SIZE / 2;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(artefact_copy(from, to, "z"), -1);
    ck_assert_int_eq(errno, EFBIG);
    ck_assert_int_ne(access(scratch_path(scratch_folder, "z"), F_OK), 0);
    close(from);
    close(to);
}
END_TEST

static Suite *suite(void)
{
    Suite *tests = suite_create("report_merge");
    TCase *merges = tcase_create("merge");

    tcase_add_checked_fixture(merges, setup, scratch_folder_remove);
    tcase_add_test(merges, cases_of_all_in_the_order_of_names);
    tcase_add_test(merges, attachments_are_copied_and_do_not_clash);
    tcase_add_test(merges, a_file_of_results_is_a_report);
    tcase_add_test(merges, what_was_run_twice_is_refused);
    tcase_add_test(merges, one_name_in_two_files_is_two_cases);
    tcase_add_test(merges, what_was_run_nowhere_is_there_once);
    tcase_add_test(merges, attachments_that_are_not_there_are_told);
    tcase_add_test(merges, attachments_that_are_there_stay_in_their_order);
    tcase_add_test(merges, there_may_be_more_reports_than_descriptors);
    tcase_add_test(merges, times_add_up_to_what_can_be_read);
    tcase_add_loop_test(merges, nothing_outside_of_a_report_is_copied, 0, sizeof(outside) / sizeof(outside[0]));
    tcase_add_test(merges, nothing_outside_of_the_new_report_is_written);
    tcase_add_test(merges, what_is_no_report_is_left_alone);
    tcase_add_test(merges, a_report_is_not_merged_into_itself);
    tcase_add_test(merges, holes_stay_holes);
    tcase_add_test(merges, a_full_disk_leaves_no_part_of_an_attachment);
    tcase_add_test(merges, bytes_are_copied_from_another_file_system);
    tcase_set_timeout(merges, 60);
    suite_add_tcase(tests, merges);
    return tests;
}

int main(void)
{
    return unit_test_run(suite());
}
