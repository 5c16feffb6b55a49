#include "memory/support/error.h"
#include "memory/support/log.h"
#include "unit_test.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A log into a pipe, and what has come out of it. */
static size_t drain(int fd, char *text, size_t size)
{
    ssize_t got = read(fd, text, size - 1);

    text[got < 0 ? 0 : got] = '\0';
    return got < 0 ? 0 : (size_t)got;
}

static void make_log(struct log *log, int *ret_fd, enum log_level level)
{
    int fds[2];

    ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
    *log = (struct log){.level = level, .fd = fds[1]};
    *ret_fd = fds[0];
}

START_TEST(an_error_keeps_its_kind_and_gets_context_in_front)
{
    struct error error;

    ck_assert_int_eq(error_set(&error, ERROR_CONFIG, "no %s", "kernel"), -1);
    ck_assert_int_eq(error_prefix(&error, "%s:%d", "vm.toml", 3), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_str_eq(error.text, "vm.toml:3: no kernel");
}
END_TEST

START_TEST(too_long_an_error_is_cut_and_ends)
{
    struct error error;
    char text[2 * sizeof(error.text)];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    error_set(&error, ERROR_HOST, "%s", text);
    ck_assert_uint_eq(strlen(error.text), sizeof(error.text) - 1);
    error_prefix(&error, "file");
    ck_assert_uint_eq(strlen(error.text), sizeof(error.text) - 1);
    ck_assert_mem_eq(error.text, "file: xxx", 9);
}
END_TEST

START_TEST(a_line_is_shown_up_to_the_level)
{
    struct log log;
    char text[256];
    int fd;

    make_log(&log, &fd, LOG_LEVEL_WARN);
    log_line(&log, LOG_LEVEL_INFO, "a", "hidden");
    log_line(&log, LOG_LEVEL_WARN, "serial", "shown %d", 7);
    drain(fd, text, sizeof(text));
    ck_assert_str_eq(text, "serial: shown 7\n");
    log.raw_terminal = 1;
    log_line(&log, LOG_LEVEL_ERROR, "a", "b");
    drain(fd, text, sizeof(text));
    ck_assert_str_eq(text, "a: b\r\n");
}
END_TEST

START_TEST(a_long_line_is_cut_and_still_ends)
{
    struct log log;
    char text[4096];
    char line[3000];
    int fd;

    make_log(&log, &fd, LOG_LEVEL_WARN);
    memset(line, 'y', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    log_line(&log, LOG_LEVEL_WARN, line, "%s", line);
    size_t length = drain(fd, text, sizeof(text));
    ck_assert_uint_le(length, 1024);
    ck_assert_int_eq(text[length - 1], '\n');
}
END_TEST

START_TEST(a_guest_that_misbehaves_without_end_is_reported_a_few_times)
{
    struct log log;
    struct log_limit limit = {0};
    char text[8192];
    unsigned lines = 0;
    int fd;

    make_log(&log, &fd, LOG_LEVEL_WARN);
    for (int i = 0; i < 1000; i++)
        log_guest_misbehaviour(&log, &limit, "pvpanic", "write %d", i);
    drain(fd, text, sizeof(text));
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    /* Five in each second that passed; a thousand calls take no more than a few. */
    ck_assert_uint_ge(lines, 5);
    ck_assert_uint_le(lines, 500);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("support");
    TCase *tcase = tcase_create("support");

    tcase_add_test(tcase, an_error_keeps_its_kind_and_gets_context_in_front);
    tcase_add_test(tcase, too_long_an_error_is_cut_and_ends);
    tcase_add_test(tcase, a_line_is_shown_up_to_the_level);
    tcase_add_test(tcase, a_long_line_is_cut_and_still_ends);
    tcase_add_test(tcase, a_guest_that_misbehaves_without_end_is_reported_a_few_times);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
