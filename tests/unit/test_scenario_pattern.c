/*
 * Patterns: what they find, what they cannot be made to do, and how a bad one is refused.
 */
#include "vmm/scenario/pattern.h"

#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct pattern *compile(const char *text)
{
    struct pattern_failure failure;
    struct pattern *pattern = pattern_compile(text, &failure);

    if (pattern == NULL)
        ck_abort_msg("%s: %s", text, failure.text);
    return pattern;
}

static enum pattern_result match(struct pattern *pattern, const char *subject, bool unfinished)
{
    struct error error;

    return pattern_match(pattern, subject, strlen(subject), 0, unfinished, &error);
}

START_TEST(a_match_has_a_place_and_captures)
{
    struct pattern *pattern = compile("(?<major>\\d+)\\.(?<minor>\\d+)(?<extra>-rc)?");
    size_t start;
    size_t length;

    ck_assert_int_eq(match(pattern, "Linux version 6.12", false), PATTERN_MATCH);
    ck_assert_uint_eq(pattern_start(pattern), 14);
    ck_assert_uint_eq(pattern_end(pattern), 18);
    ck_assert_uint_eq(pattern_capture_count(pattern), 3);
    ck_assert_str_eq(pattern_capture_name(pattern, 0), "major");
    ck_assert_str_eq(pattern_capture_name(pattern, 1), "minor");
    ck_assert(pattern_capture(pattern, 1, &start, &length));
    ck_assert_uint_eq(start, 16);
    ck_assert_uint_eq(length, 2);
    ck_assert(!pattern_capture(pattern, 2, &start, &length));
    pattern_free(pattern);
}
END_TEST

START_TEST(a_match_that_more_could_change_is_undecided)
{
    static const struct {
        const char *pattern;
        const char *subject;
        enum pattern_result unfinished;
        enum pattern_result finished;
    } cases[] = {
        {"login: ", "host login: ", PATTERN_MATCH, PATTERN_MATCH},
        {"login: $", "host login: ", PATTERN_UNDECIDED, PATTERN_MATCH},
        {"v(?<v>\\S+)", "v6.1", PATTERN_UNDECIDED, PATTERN_MATCH},
        {"v(?<v>\\S+)", "v6.1 ", PATTERN_MATCH, PATTERN_MATCH},
        {"login", "log", PATTERN_UNDECIDED, PATTERN_NO_MATCH},
        {"login", "lag", PATTERN_NO_MATCH, PATTERN_NO_MATCH},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pattern *pattern = compile(cases[i].pattern);
        ck_assert_int_eq(match(pattern, cases[i].subject, true), cases[i].unfinished);
        ck_assert_int_eq(match(pattern, cases[i].subject, false), cases[i].finished);
        pattern_free(pattern);
    }
}
END_TEST

START_TEST(bytes_need_not_be_utf8)
{
    struct pattern *pattern = compile("ü.end");
    struct error error;

    ck_assert_int_eq(pattern_match(pattern, "\xff\xfe\xc3\xbc\0end", 8, 0, false, &error), PATTERN_MATCH);
    pattern_free(pattern);
}
END_TEST

START_TEST(a_bad_pattern_is_refused_with_its_place)
{
    static const struct {
        const char *text;
        size_t offset;
        const char *says;
    } cases[] = {
        {"a(b", 3, "parenthesis"},           {"a[b", 3, "character class"}, {"*a", 0, "quantifier"},
        {"(?<a>x)(?<a>y)", 12, "same name"}, {"(*UTF)a", 6, "UTF"},         {"a\\C", 3, "\\C"},
    };
    struct pattern_failure failure;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_ptr_null(pattern_compile(cases[i].text, &failure));
        ck_assert_uint_eq(failure.offset, cases[i].offset);
        if (strstr(failure.text, cases[i].says) == NULL)
            ck_abort_msg("%s: %s", cases[i].text, failure.text);
    }
}
END_TEST

START_TEST(a_pattern_has_limits)
{
    struct pattern_failure failure;
    char text[PATTERN_MAX_LENGTH + 2];
    char groups[1024] = "";

    memset(text, 'a', sizeof(text));
    text[PATTERN_MAX_LENGTH] = '\0';
    pattern_free(compile(text));
    text[PATTERN_MAX_LENGTH] = 'a';
    text[PATTERN_MAX_LENGTH + 1] = '\0';
    ck_assert_ptr_null(pattern_compile(text, &failure));
    for (unsigned i = 0; i <= PATTERN_MAX_CAPTURES; i++)
        (void)snprintf(groups + strlen(groups), sizeof(groups) - strlen(groups), "(?<g%u>a)", i);
    ck_assert_ptr_null(pattern_compile(groups, &failure));
}
END_TEST

/* What a guest can print to make a pattern run for ever. */
START_TEST(a_hostile_subject_is_given_up)
{
    enum { SIZE = 60000 };
    char *subject = malloc(SIZE);
    struct error error = {0};
    struct pattern *pattern = compile("(a+)+b|c(?:(?:a*)*)*d");

    memset(subject, 'a', SIZE);
    ck_assert_int_eq(pattern_match(pattern, subject, SIZE, 0, false, &error), PATTERN_FAILED);
    ck_assert_ptr_nonnull(strstr(error.text, "the pattern \"(a+)+b|c"));
    ck_assert_ptr_nonnull(strstr(error.text, "takes too many steps"));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    pattern_free(pattern);

    /* Few steps from each place, and very many places. */
    pattern = compile("\\w+\\s*[!?]");
    pattern_set_budget(pattern, 1000);
    ck_assert_int_eq(pattern_match(pattern, subject, SIZE, 0, false, &error), PATTERN_FAILED);
    ck_assert_ptr_nonnull(strstr(error.text, "takes too long"));
    pattern_free(pattern);
    free(subject);
}
END_TEST

START_TEST(a_long_subject_is_searched_to_its_end)
{
    enum { SIZE = 65536 };
    char *subject = malloc(SIZE);
    struct error error = {0};

    memset(subject, '.', SIZE);
    struct pattern *pattern = compile("[x-z]");
    for (size_t at = SIZE - 1; at > 0; at /= 2) {
        subject[at] = 'y';
        ck_assert_int_eq(pattern_match(pattern, subject, SIZE, 0, false, &error), PATTERN_MATCH);
        ck_assert_uint_eq(pattern_start(pattern), at);
        subject[at] = '.';
    }
    ck_assert_int_eq(pattern_match(pattern, subject, SIZE, 0, false, &error), PATTERN_NO_MATCH);
    ck_assert_int_eq(pattern_match(pattern, subject, SIZE, 0, true, &error), PATTERN_NO_MATCH);
    pattern_free(pattern);
    pattern = compile("^.*\\.$");
    ck_assert_int_eq(pattern_match(pattern, subject, SIZE, 0, false, &error), PATTERN_MATCH);
    pattern_free(pattern);
    pattern = compile("$");
    ck_assert_int_eq(pattern_match(pattern, subject, SIZE, 0, false, &error), PATTERN_MATCH);
    ck_assert_uint_eq(pattern_start(pattern), SIZE);
    pattern_free(pattern);
    free(subject);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("scenario_pattern");
    TCase *patterns = tcase_create("patterns");

    tcase_add_test(patterns, a_match_has_a_place_and_captures);
    tcase_add_test(patterns, a_match_that_more_could_change_is_undecided);
    tcase_add_test(patterns, bytes_need_not_be_utf8);
    tcase_add_test(patterns, a_bad_pattern_is_refused_with_its_place);
    tcase_add_test(patterns, a_pattern_has_limits);
    tcase_add_test(patterns, a_hostile_subject_is_given_up);
    tcase_add_test(patterns, a_long_subject_is_searched_to_its_end);
    tcase_set_timeout(patterns, 60);
    suite_add_tcase(all, patterns);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
