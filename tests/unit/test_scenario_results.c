/*
 * Results and their forms: what prove, an XML schema and a JSON parser have to say of them, with texts that a hostile
 * guest has written.
 */
#include "memory/support/utf8.h"
#include "vmm/scenario/results.h"

#include "unit_test.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Bytes that some form or other has trouble with. */
static const char hostile[] =
    "ok 1 - \x1b[31m<b>&\"'#\\ ]]> \x01\x08\x7f\xff\xfe\xc3\x28 \xed\xa0\x80 \xef\xbf\xbf \xc3\xbc\t\r\n"
    "not ok 2 # TODO\n...\n---\n1..0 # SKIP\nBail out!\nTAP version 13\n";

static char folder[] = "/tmp/quire-results-XXXXXX";
static char path[64];

static void setup(void)
{
    (void)strcpy(folder + strlen(folder) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/out", folder);
}

static void teardown(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static struct results *create(void)
{
    struct error error;
    struct results *results = results_create("boot", &error);

    ck_assert_ptr_nonnull(results);
    results->started_at = 1790000000;
    results->duration_ns = 12345678901;
    return results;
}

static struct result_case *add_case(struct results *results, const char *name, enum result_status status,
                                    const char *message)
{
    struct error error;
    struct result_case *one = results_add_case(results, name, "boot.toml", &error);

    ck_assert_ptr_nonnull(one);
    one->status = status;
    one->duration_ns = 1234567890;
    ck_assert_int_eq(result_set_text(&one->message, message, &error), 0);
    return one;
}

static void add_everything(struct result_case *one, const char *text)
{
    struct error error;
    struct result_step *step = result_add_step(one, "expect", text, &error);

    step->status = RESULT_FAILED;
    step->start_ns = 1000000;
    step->duration_ns = 2000000000;
    ck_assert_int_eq(result_set_text(&step->message, text, &error), 0);
    ck_assert_int_eq(result_set_text(&step->detail, text, &error), 0);
    struct result_trouble *trouble = result_add_trouble(one, TROUBLE_PANIC, text, &error);
    trouble->line = 7;
    ck_assert_ptr_nonnull(result_add_attachment(one, "console", "boot/console.log", &error));
    ck_assert_int_eq(result_set_text(&one->console, text, &error), 0);
}

static void add_ktap(struct result_case *one, const char *stream)
{
    struct error error;
    struct ktap *ktap = ktap_create(&error);

    ktap_bytes(ktap, stream, strlen(stream));
    ktap_finish(ktap);
    ck_assert_int_eq(result_add_ktap(one, ktap, "kunit", &error), 0);
    ktap_free(ktap);
}

/* One of each kind. */
static struct results *create_mixed(const char *text)
{
    struct results *results = create();

    add_case(results, "boot[kernel=6.1]", RESULT_PASSED, NULL);
    add_everything(add_case(results, "boot[kernel=6.12]", RESULT_FAILED, text), text);
    add_case(results, text, RESULT_SKIPPED, text);
    add_everything(add_case(results, "broken", RESULT_BROKEN, text), text);
    add_case(results, "later", RESULT_NOT_RUN, NULL);
    add_ktap(add_case(results, "kunit", RESULT_FAILED, "a test in the guest failed"),
             "KTAP version 1\n1..1\n  # Subtest: suite\n  1..4\n  ok 1 good\n  # why\n  not ok 2 bad\n"
             "  ok 3 other # SKIP none\n  not ok 4 known # TODO later\nnot ok 1 suite\n");
    return results;
}

static void write_tap_13(const struct results *results, FILE *out)
{
    results_write_tap(results, 13, out);
}

static void write_tap_14(const struct results *results, FILE *out)
{
    results_write_tap(results, 14, out);
}

typedef void write_function(const struct results *results, FILE *out);

static void write_to_file(const struct results *results, write_function *write)
{
    FILE *out = fopen(path, "w");

    ck_assert_ptr_nonnull(out);
    write(results, out);
    ck_assert_int_eq(ferror(out), 0);
    ck_assert_int_eq(fclose(out), 0);
}

static char *write_to_text(const struct results *results, write_function *write)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    write(results, out);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

/* What a command says, and its status; the caller frees it. */
static char *run(const char *command, int *status)
{
    char *text = calloc(1, 65536);
    FILE *out = popen(command, "r");

    ck_assert_ptr_nonnull(out);
    (void)!fread(text, 1, 65535, out);
    *status = WEXITSTATUS(pclose(out));
    return text;
}

static void assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        ck_abort_msg("not there: %s\nin: %s", part, text);
}

/* ---- TAP ---- */

#ifdef PROVE
static char *prove(int *status)
{
    char command[256];

    (void)snprintf(command, sizeof(command), PROVE " --nocolor --exec cat %s 2>&1", path);
    return run(command, status);
}

START_TEST(prove_takes_what_passed)
{
    struct results *results = create();
    int status;

    add_case(results, "one", RESULT_PASSED, NULL);
    add_case(results, hostile, RESULT_PASSED, NULL);
    add_case(results, "three", RESULT_SKIPPED, hostile);
    add_ktap(add_case(results, "four", RESULT_PASSED, NULL), "KTAP version 1\n1..1\nok 1 a\n");
    write_to_file(results, write_tap_13);
    char *said = prove(&status);
    ck_assert_int_eq(status, 0);
    assert_holds(said, "Files=1, Tests=4");
    assert_holds(said, "Result: PASS");
    free(said);
    results_free(results);
}
END_TEST

START_TEST(prove_sees_what_failed)
{
    struct results *results = create_mixed(hostile);
    int status;

    write_to_file(results, write_tap_13);
    char *said = prove(&status);
    ck_assert_int_eq(status, 1);
    assert_holds(said, "Failed tests:  2, 4-6");
    assert_holds(said, "Files=1, Tests=6");
    ck_assert_ptr_null(strstr(said, "Parse errors"));
    free(said);
    results_free(results);
}
END_TEST
#endif

START_TEST(tap_has_subtests_and_reasons)
{
    struct results *results = create_mixed("it said \"no\"\xe2\x80\xae");
    char *text = write_to_text(results, write_tap_14);

    assert_holds(text, "TAP version 14\n1..6\nok 1 - boot[kernel=6.1]\nnot ok 2 - boot[kernel=6.12]\n  ---\n");
    assert_holds(text, "\n  message: \"it said \\\"no\\\"\\u202e\"\n");
    assert_holds(text, "\n  step: 1\n  kind: \"expect\"\n");
    assert_holds(text, "\n  trouble:\n    - kind: \"panic\"\n      text: \"it said");
    assert_holds(text, "# Subtest: kunit\n    1..5\n");
    assert_holds(text, "\n    ok 2 - kunit/suite/good\n    not ok 3 - kunit/suite/bad\n      ---\n");
    assert_holds(text, "      diagnostics: \"# why\\n\"\n");
    assert_holds(text, "\n    ok 4 - kunit/suite/other # SKIP none\n    not ok 5 - kunit/suite/known # TODO later\n");
    free(text);
    results_free(results);
}
END_TEST

START_TEST(tap_s_names_neither_control_a_terminal_nor_reorder)
{
    struct results *results = create();

    add_case(results,
             "a\xc2\x9b"
             "2J\xe2\x80\xae#",
             RESULT_PASSED, NULL);
    char *text = write_to_text(results, write_tap_14);
    assert_holds(text, "\nok 1 - a 2J \\#\n");
    free(text);
    results_free(results);
}
END_TEST

/* ---- JUnit ---- */

#ifdef XMLLINT
START_TEST(junit_is_as_its_schema_has_it)
{
    static const char *const texts[] = {hostile, "plain", ""};
    int status;
    char command[512];

    (void)snprintf(command, sizeof(command),
                   XMLLINT " --noout --schema " SOURCE_FOLDER "/tests/scenarios/junit.xsd %s 2>&1", path);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct results *results = create_mixed(texts[i]);
        write_to_file(results, results_write_junit);
        char *said = run(command, &status);
        if (status != 0)
            ck_abort_msg("%s", said);
        free(said);
        results_free(results);
    }
}
END_TEST

START_TEST(the_schema_refuses_what_is_wrong)
{
    struct results *results = create_mixed("x");
    char command[512];
    int status;

    write_to_file(results, results_write_junit);
    (void)snprintf(command, sizeof(command),
                   "sed -i 's/ failures=/ failure=/' %s && " XMLLINT " --noout --schema " SOURCE_FOLDER
                   "/tests/scenarios/junit.xsd %s 2>&1",
                   path, path);
    free(run(command, &status));
    ck_assert_int_ne(status, 0);
    results_free(results);
}
END_TEST
#endif

START_TEST(junit_escapes_and_counts)
{
    struct results *results = create_mixed("<a>&\"\x1b\xff\n");
    char *text = write_to_text(results, results_write_junit);

    assert_holds(text,
                 "<testsuites name=\"boot\" tests=\"11\" failures=\"4\" errors=\"2\" skipped=\"3\" time=\"12.345\">");
    assert_holds(text, "timestamp=\"2026-09-21T14:13:20\"");
    assert_holds(text, "message=\"&lt;a&gt;&amp;&quot;\xe2\x90\x9b\xef\xbf\xbd&#10;\"");
    assert_holds(text, "[[ATTACHMENT|boot/console.log]]\n&lt;a&gt;");
    assert_holds(text, "<testcase name=\"kunit/suite/bad\" classname=\"kunit\"");
    free(text);
    results_free(results);
}
END_TEST

/* ---- JSON ---- */

START_TEST(json_has_all)
{
    struct results *results = create_mixed(hostile);
    struct error error;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    ck_assert_int_eq(results_write_json(results, out, &error), 0);
    ck_assert_int_eq(fclose(out), 0);
    json_t *all = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(all);
    ck_assert_int_eq(json_integer_value(json_object_get(all, "format")), 1);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(all, "tally"), "failed")), 2);
    json_t *cases = json_object_get(all, "cases");
    ck_assert_uint_eq(json_array_size(cases), 6);
    json_t *failed = json_array_get(cases, 1);
    ck_assert_str_eq(json_string_value(json_object_get(failed, "status")), "failed");
    json_t *step = json_array_get(json_object_get(failed, "steps"), 0);
    ck_assert(json_real_value(json_object_get(step, "duration")) == 2.0);
    char *clean = utf8_clean(hostile);
    ck_assert_str_eq(json_string_value(json_object_get(step, "title")), clean);
    free(clean);
    json_t *trouble = json_array_get(json_object_get(failed, "trouble"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(trouble, "kind")), "panic");
    ck_assert_uint_eq(json_array_size(json_object_get(json_array_get(cases, 5), "subtests")), 5);
    ck_assert(json_is_null(json_object_get(json_array_get(cases, 0), "message")));
    json_decref(all);
    free(text);
    results_free(results);
}
END_TEST

/* ---- Lines ---- */

static void write_lines(const struct results *results, FILE *out)
{
    for (size_t i = 0; i < results->case_count; i++)
        results_write_line(results->cases[i], out);
    results_write_summary(results, out);
}

START_TEST(lines_are_plain)
{
    struct results *results = create_mixed("no\x1b[2J \u202etpmorp");
    char *text = write_to_text(results, write_lines);

    ck_assert_str_eq(text, "ok     boot[kernel=6.1]  1.23 s\n"
                           "FAILED boot[kernel=6.12]  1.23 s\n"
                           "  why: no\\x1b[2J \\u202etpmorp\n"
                           "    no\\x1b[2J \\u202etpmorp\n"
                           "  panic: no\\x1b[2J \\u202etpmorp\n"
                           "  the console's last lines:\n"
                           "    no\\x1b[2J \\u202etpmorp\n"
                           "skip   no\\x1b[2J \\u202etpmorp  1.23 s\n"
                           "BROKEN broken  1.23 s\n"
                           "  why: no\\x1b[2J \\u202etpmorp\n"
                           "    no\\x1b[2J \\u202etpmorp\n"
                           "  panic: no\\x1b[2J \\u202etpmorp\n"
                           "  the console's last lines:\n"
                           "    no\\x1b[2J \\u202etpmorp\n"
                           "none   later  1.23 s\n"
                           "FAILED kunit  1.23 s\n"
                           "  why: a test in the guest failed\n"
                           "  tests in the guest: 2 of 5 failed\n"
                           "  failed: kunit/suite\n"
                           "  failed: kunit/suite/bad\n"
                           "1 passed, 2 failed, 1 skipped, 1 broken, 1 not run in 12.3 s\n");
    free(text);
    results_free(results);
}
END_TEST

START_TEST(statuses)
{
    struct results *results = create();

    ck_assert_int_eq(results_exit_status(results), 0);
    add_case(results, "a", RESULT_PASSED, NULL);
    add_case(results, "b", RESULT_SKIPPED, NULL);
    ck_assert_int_eq(results_exit_status(results), 0);
    add_case(results, "c", RESULT_FAILED, NULL);
    ck_assert_int_eq(results_exit_status(results), 1);
    add_case(results, "d", RESULT_BROKEN, NULL);
    ck_assert_int_eq(results_exit_status(results), 4);
    results_free(results);
}
END_TEST

/* ---- UTF-8 ---- */

START_TEST(utf8)
{
    static const struct {
        const char *bytes;
        uint32_t character;
        size_t used;
    } cases[] = {
        {"a", 'a', 1},
        {"\xc3\xbc", 0xfc, 2},
        {"\xe2\x82\xac", 0x20ac, 3},
        {"\xf0\x9f\x98\x80", 0x1f600, 4},
        {"\xf4\x8f\xbf\xbf", 0x10ffff, 4},
        {"\xf4\x90\x80\x80", UTF8_REPLACEMENT, 1},
        {"\xc0\x80", UTF8_REPLACEMENT, 1},
        {"\xe0\x80\x80", UTF8_REPLACEMENT, 1},
        {"\xed\xa0\x80", UTF8_REPLACEMENT, 1},
        {"\x80", UTF8_REPLACEMENT, 1},
        {"\xe2\x82", UTF8_REPLACEMENT, 1},
        {"\xe2\x41\x42", UTF8_REPLACEMENT, 1},
        {"\xff", UTF8_REPLACEMENT, 1},
    };
    char bytes[4];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t used;
        ck_assert_uint_eq(utf8_next(cases[i].bytes, strlen(cases[i].bytes), &used), cases[i].character);
        ck_assert_uint_eq(used, cases[i].used);
        if (cases[i].character != UTF8_REPLACEMENT) {
            ck_assert_uint_eq(utf8_put(cases[i].character, bytes), used);
            ck_assert_mem_eq(bytes, cases[i].bytes, used);
        }
    }
}
END_TEST

START_TEST(plain_text_controls_no_terminal)
{
    static const char text[] = "a\tb\0\x1b[2J\x7f\xc2\x9b\r\n\x9b\xd8\x9c\xe2\x80\xae\xe2\x81\xa9\xc3\xbc\xe2\x82";
    char *written = NULL;
    size_t size;
    FILE *out = open_memstream(&written, &size);

    utf8_write_plain(text, sizeof(text) - 1, out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(written,
                     "a\tb\\x00\\x1b[2J\\x7f\\x9b\\x0d\\x0a\xef\xbf\xbd\\u061c\\u202e\\u2069\xc3\xbc\xef\xbf\xbd"
                     "\xef\xbf\xbd");
    free(written);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("scenario_results");
    TCase *forms = tcase_create("forms");

    tcase_add_checked_fixture(forms, setup, teardown);
#ifdef PROVE
    tcase_add_test(forms, prove_takes_what_passed);
    tcase_add_test(forms, prove_sees_what_failed);
#endif
#ifdef XMLLINT
    tcase_add_test(forms, junit_is_as_its_schema_has_it);
    tcase_add_test(forms, the_schema_refuses_what_is_wrong);
#endif
    tcase_add_test(forms, tap_has_subtests_and_reasons);
    tcase_add_test(forms, tap_s_names_neither_control_a_terminal_nor_reorder);
    tcase_add_test(forms, junit_escapes_and_counts);
    tcase_add_test(forms, json_has_all);
    tcase_add_test(forms, lines_are_plain);
    tcase_add_test(forms, statuses);
    tcase_add_test(forms, utf8);
    tcase_add_test(forms, plain_text_controls_no_terminal);
    tcase_set_timeout(forms, 60);
    suite_add_tcase(all, forms);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
