/* What is remembered from run to run: whatever is in the file, the tests go on. */
#include "vmm/runner/times.h"

#include "runner_fixture.h"
#include "unit_test.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct error error;

static void note(struct times *times, const char *file, const char *name, enum result_status status, uint64_t ns,
                 int64_t at)
{
    ck_assert_int_eq(times_note(times, file, name, status, ns, at, &error), 0);
}

START_TEST(what_is_written_is_read)
{
    struct times times = {0};

    note(&times, "/b.toml", "b", RESULT_PASSED, 1500000000, 7);
    note(&times, "/a.toml", "a[n=1]", RESULT_FAILED, 2000000000, 8);
    note(&times, "/a.toml", "a[n=2]", RESULT_BROKEN, 99, 9);
    ck_assert_int_eq(times_write("deep/er/tests.json", &times, &error), 0);
    times_free(&times);
    ck_assert_int_eq(times_read("deep/er/tests.json", &times, &error), 0);
    ck_assert_uint_eq(times.count, 3);
    const struct times_entry *entry = times_find(&times, "/b.toml", "b");
    ck_assert_ptr_nonnull(entry);
    ck_assert_int_eq(entry->status, RESULT_PASSED);
    ck_assert_uint_eq(entry->duration_ns, 1500000000);
    ck_assert_int_eq(entry->at, 7);
    ck_assert_uint_eq(times_find(&times, "/a.toml", "a[n=1]")->duration_ns, 2000000000);
    ck_assert_int_eq(times_find(&times, "/a.toml", "a[n=2]")->status, RESULT_BROKEN);
    ck_assert_uint_eq(times_find(&times, "/a.toml", "a[n=2]")->duration_ns, 0);
    ck_assert_ptr_null(times_find(&times, "/a.toml", "b"));
    times_free(&times);
}
END_TEST

START_TEST(the_time_is_that_of_passing)
{
    struct times times = {0};

    note(&times, "/a", "a", RESULT_FAILED, 5, 1);
    ck_assert_uint_eq(times_find(&times, "/a", "a")->duration_ns, 5);
    note(&times, "/a", "a", RESULT_PASSED, 9, 2);
    note(&times, "/a", "a", RESULT_FAILED, 1, 3);
    ck_assert_uint_eq(times_find(&times, "/a", "a")->duration_ns, 9);
    ck_assert_int_eq(times_find(&times, "/a", "a")->status, RESULT_FAILED);
    note(&times, "/a", "a", RESULT_NOT_RUN, 0, 4);
    ck_assert_uint_eq(times_find(&times, "/a", "a")->duration_ns, 9);
    ck_assert_int_eq(times_find(&times, "/a", "a")->status, RESULT_NOT_RUN);
    ck_assert_uint_eq(times.count, 1);
    times_free(&times);
}
END_TEST

START_TEST(no_file_is_no_error)
{
    struct times times;

    ck_assert_int_eq(times_read("nowhere/tests.json", &times, &error), 0);
    ck_assert_uint_eq(times.count, 0);
}
END_TEST

#define GOOD "{\"file\": \"/a\", \"name\": \"a\", \"seconds\": 1, \"passes\": true, \"status\": \"passed\", \"at\": 1}"

static const char *const damaged[] = {
    "",
    "{",
    "[]",
    "null",
    "{\"format\": 2, \"cases\": []}",
    "{\"format\": 1}",
    "{\"format\": 1, \"cases\": {}}",
    "{\"format\": 1, \"cases\": [" GOOD ", 1]}",
    "{\"format\": 1, \"cases\": [" GOOD ", {\"file\": \"/a\"}]}",
    "{\"format\": 1, \"cases\": [{\"file\": \"/a\", \"name\": \"a\", \"seconds\": -1, \"passes\": true, \"status\": "
    "\"passed\", \"at\": 1}]}",
    "{\"format\": 1, \"cases\": [{\"file\": \"/a\", \"name\": \"a\", \"seconds\": 1e300, \"passes\": true, \"status\": "
    "\"passed\", \"at\": 1}]}",
    "{\"format\": 1, \"cases\": [{\"file\": \"/a\", \"name\": \"a\", \"seconds\": 1, \"passes\": true, \"status\": "
    "\"odd\", \"at\": 1}]}",
    "{\"format\": 1, \"cases\": [{\"file\": 5, \"name\": \"a\", \"seconds\": 1, \"passes\": true, \"status\": "
    "\"passed\", \"at\": 1}]}",
    "{\"format\": 1, \"cases\": [" GOOD "]",
    "\xff\xfe\x00",
};

START_TEST(damage_is_as_though_empty)
{
    struct times times;

    runner_write("tests.json", damaged[_i]);
    ck_assert_int_eq(times_read("tests.json", &times, &error), -1);
    ck_assert_uint_eq(times.count, 0);
    ck_assert_ptr_nonnull(strstr(error.text, "tests.json"));
    /* And the next run makes it good. */
    note(&times, "/a", "a", RESULT_PASSED, 1, 1);
    ck_assert_int_eq(times_write("tests.json", &times, &error), 0);
    times_free(&times);
    ck_assert_int_eq(times_read("tests.json", &times, &error), 0);
    ck_assert_uint_eq(times.count, 1);
    times_free(&times);
}
END_TEST

START_TEST(what_is_no_file_is_named)
{
    struct times times = {0};

    ck_assert_int_eq(mkdir("folder", 0700), 0);
    ck_assert_int_eq(times_read("folder", &times, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "folder"));
    ck_assert_int_eq(times_write("folder", &times, &error), -1);
    ck_assert_int_eq(truncate("large", 0), -1);
    runner_write("large", "");
    ck_assert_int_eq(truncate("large", TIMES_MAX_BYTES + 1), 0);
    ck_assert_int_eq(times_read("large", &times, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "too large"));
}
END_TEST

START_TEST(the_oldest_go)
{
    struct times times = {0};
    char name[32];

    for (unsigned i = 0; i < TIMES_MAX + 100; i++) {
        (void)snprintf(name, sizeof(name), "%u", i * 7919 % (TIMES_MAX + 100));
        note(&times, "/a", name, RESULT_PASSED, 1, i);
    }
    ck_assert_int_eq(times_write("tests.json", &times, &error), 0);
    times_free(&times);
    ck_assert_int_eq(times_read("tests.json", &times, &error), 0);
    ck_assert_uint_eq(times.count, TIMES_MAX);
    for (size_t i = 0; i < times.count; i++)
        ck_assert_int_ge(times.entries[i].at, 100);
    times_free(&times);
}
END_TEST

START_TEST(the_file_is_whole_or_as_before)
{
    struct times times = {0};
    struct stat before, after;

    note(&times, "/a", "a", RESULT_PASSED, 1, 1);
    ck_assert_int_eq(times_write("tests.json", &times, &error), 0);
    FILE *reader = fopen("tests.json", "r");
    ck_assert_int_eq(stat("tests.json", &before), 0);
    note(&times, "/a", "b", RESULT_PASSED, 1, 1);
    ck_assert_int_eq(times_write("tests.json", &times, &error), 0);
    /* Another file, and who reads the old one is not disturbed. */
    ck_assert_int_eq(stat("tests.json", &after), 0);
    ck_assert_uint_ne(before.st_ino, after.st_ino);
    ck_assert_int_eq(fseek(reader, 0, SEEK_END), 0);
    ck_assert_int_eq(ftell(reader), before.st_size);
    (void)fclose(reader);
    /* And the kernel. */
    ck_assert_uint_eq(runner_count_files(), 2);
    times_free(&times);
}
END_TEST

/* ---- Several at once ---- */

enum { WRITERS = 16, ROUNDS = 10 };

struct writer {
    unsigned number;
    unsigned round;
};

static int note_one(void *context, struct times *times, struct error *its_error)
{
    const struct writer *writer = context;
    char name[32];

    (void)snprintf(name, sizeof(name), "%u-%u", writer->number, writer->round);
    return times_note(times, "/a", name, RESULT_PASSED, 1, 1, its_error);
}

static int refuse(void *context, struct times *times, struct error *its_error)
{
    (void)context;
    (void)times;
    return error_set(its_error, ERROR_HOST, "no");
}

/* All begin when nobody has the other end of the pipe any more. */
static void write_much(unsigned number, const int gate[2])
{
    struct writer writer = {.number = number};
    char byte;

    close(gate[1]);
    if (read(gate[0], &byte, 1) != 0)
        _exit(1);
    for (; writer.round < ROUNDS; writer.round++) {
        if (times_update("new/tests.json", UINT64_MAX, note_one, &writer, &error) < 0)
            _exit(1);
    }
    _exit(0);
}

START_TEST(who_ends_at_once_loses_nothing)
{
    struct times times;
    int gate[2];
    int status;

    ck_assert_int_eq(pipe(gate), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        if (fork() == 0)
            write_much(i, gate);
    }
    close(gate[1]);
    for (unsigned i = 0; i < WRITERS; i++) {
        ck_assert_int_gt(wait(&status), 0);
        ck_assert_int_eq(status, 0);
    }
    close(gate[0]);
    ck_assert_int_eq(times_read("new/tests.json", &times, &error), 0);
    ck_assert_uint_eq(times.count, WRITERS * ROUNDS);
    times_free(&times);
}
END_TEST

START_TEST(who_has_been_stopped_is_not_waited_for)
{
    struct writer writer = {0};
    struct times times;
    const int lock = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    ck_assert_int_eq(flock(lock, LOCK_EX), 0);
    ck_assert_int_eq(times_update("tests.json", 20000000, note_one, &writer, &error), 0);
    /* Whoever it is that has a lock does not keep it by this. */
    ck_assert_int_eq(flock(lock, LOCK_EX | LOCK_NB), 0);
    (void)close(lock);
    writer.round++;
    ck_assert_int_eq(times_update("tests.json", 0, note_one, &writer, &error), 0);
    ck_assert_int_eq(times_read("tests.json", &times, &error), 0);
    ck_assert_uint_eq(times.count, 2);
    times_free(&times);
}
END_TEST

START_TEST(a_change_that_fails_changes_nothing)
{
    struct writer writer = {0};
    struct stat before, after;

    ck_assert_int_eq(times_update("tests.json", 0, note_one, &writer, &error), 0);
    ck_assert_int_eq(stat("tests.json", &before), 0);
    ck_assert_int_eq(times_update("tests.json", 0, refuse, NULL, &error), -1);
    ck_assert_str_eq(error.text, "no");
    ck_assert_int_eq(stat("tests.json", &after), 0);
    ck_assert_uint_eq(before.st_ino, after.st_ino);
}
END_TEST

START_TEST(a_home_says_where)
{
    (void)setenv("HOME", "/home/me", 1);
    (void)unsetenv("XDG_STATE_HOME");
    char *path = times_default_path();
    ck_assert_str_eq(path, "/home/me/.local/state/quire/tests.json");
    free(path);
    (void)setenv("XDG_STATE_HOME", "/state", 1);
    path = times_default_path();
    ck_assert_str_eq(path, "/state/quire/tests.json");
    free(path);
    (void)setenv("XDG_STATE_HOME", "relative", 1);
    (void)unsetenv("HOME");
    ck_assert_ptr_null(times_default_path());
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runner_times");
    TCase *cases = tcase_create("times");

    tcase_add_checked_fixture(cases, runner_setup, runner_teardown);
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, what_is_written_is_read);
    tcase_add_test(cases, the_time_is_that_of_passing);
    tcase_add_test(cases, no_file_is_no_error);
    tcase_add_loop_test(cases, damage_is_as_though_empty, 0, sizeof(damaged) / sizeof(damaged[0]));
    tcase_add_test(cases, what_is_no_file_is_named);
    tcase_add_test(cases, the_oldest_go);
    tcase_add_test(cases, the_file_is_whole_or_as_before);
    tcase_add_test(cases, who_ends_at_once_loses_nothing);
    tcase_add_test(cases, who_has_been_stopped_is_not_waited_for);
    tcase_add_test(cases, a_change_that_fails_changes_nothing);
    tcase_add_test(cases, a_home_says_where);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
