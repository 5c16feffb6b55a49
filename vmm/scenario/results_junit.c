/*
 * JUnit's XML, as far as everything that reads it agrees on it: tests/scenarios/junit.xsd.
 */
#include "memory/support/utf8.h"
#include "vmm/scenario/results.h"

#include <string.h>
#include <time.h>

/* What XML 1.0 has a character for (2.2); the others it cannot even escape. */
static bool is_allowed(uint32_t character)
{
    return character == '\t' || character == '\n' || (character >= 0x20 && character != 0xfffe && character != 0xffff);
}

/* A control character as its picture, U+2400 and so on: what it was stays to be seen. */
static uint32_t picture_of(uint32_t character)
{
    return character < 0x20 ? 0x2400 + character : UTF8_REPLACEMENT;
}

static void write_character(uint32_t character, bool is_attribute, FILE *out)
{
    char bytes[4];

    switch (character) {
    case '&':
        (void)fputs("&amp;", out);
        return;
    case '<':
        (void)fputs("&lt;", out);
        return;
    case '>':
        (void)fputs("&gt;", out);
        return;
    case '"':
        (void)fputs("&quot;", out);
        return;
    default:
        break;
    }
    /* Readers make blanks of these in an attribute, if they are not escaped (XML 1.0, 3.3.3). */
    if (is_attribute && (character == '\t' || character == '\n'))
        (void)fprintf(out, "&#%u;", character);
    else
        (void)fwrite(bytes, 1, utf8_put(is_allowed(character) ? character : picture_of(character), bytes), out);
}

static void write_text(const char *text, bool is_attribute, FILE *out)
{
    size_t left = strlen(text);
    size_t used;

    for (; left > 0; text += used, left -= used)
        write_character(utf8_next(text, left, &used), is_attribute, out);
}

static void write_attribute(const char *name, const char *text, FILE *out)
{
    if (text == NULL)
        return;
    (void)fprintf(out, " %s=\"", name);
    write_text(text, true, out);
    (void)fputc('"', out);
}

static void write_seconds(uint64_t ns, FILE *out)
{
    (void)fprintf(out, " time=\"%llu.%03llu\"", (unsigned long long)(ns / 1000000000u),
                  (unsigned long long)(ns / 1000000u % 1000u));
}

static void write_timestamp(int64_t at, FILE *out)
{
    const time_t seconds = (time_t)at;
    struct tm when;
    char text[40];

    if (gmtime_r(&seconds, &when) == NULL || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &when) == 0)
        return;
    write_attribute("timestamp", text, out);
}

/* ---- Test cases ---- */

static void write_lines(const char *label, const char *text, FILE *out)
{
    if (text == NULL)
        return;
    (void)fprintf(out, "%s: ", label);
    write_text(text, false, out);
    (void)fputc('\n', out);
}

static void write_details(const struct result_case *one, FILE *out)
{
    for (size_t i = 0; i < one->step_count; i++) {
        const struct result_step *step = &one->steps[i];
        if (step->status != RESULT_FAILED && step->status != RESULT_BROKEN)
            continue;
        (void)fprintf(out, "step %zu, ", i + 1);
        write_lines(step->kind, step->title != NULL ? step->title : "", out);
        write_lines("message", step->message, out);
        write_lines("detail", step->detail, out);
    }
    for (size_t i = 0; i < one->trouble_count; i++) {
        if (!one->trouble[i].is_tolerated)
            write_lines(trouble_name(one->trouble[i].kind), one->trouble[i].text, out);
    }
}

static void write_outcome(const struct result_case *one, FILE *out)
{
    const bool is_failure = one->status == RESULT_FAILED;
    const char *element = is_failure ? "failure" : "error";

    if (one->status == RESULT_PASSED)
        return;
    if (one->status == RESULT_SKIPPED) {
        (void)fputs("      <skipped", out);
        write_attribute("message", one->message, out);
        (void)fputs("/>\n", out);
        return;
    }
    (void)fprintf(out, "      <%s", element);
    write_attribute("message", one->message != NULL ? one->message : result_status_name(one->status), out);
    write_attribute("type", result_status_name(one->status), out);
    (void)fputc('>', out);
    write_details(one, out);
    (void)fprintf(out, "</%s>\n", element);
}

/* Attachments in the form that several servers look for, "[[ATTACHMENT|path]]", and the console's end. */
static void write_output(const struct result_case *one, FILE *out)
{
    if (one->console == NULL && one->attachment_count == 0)
        return;
    (void)fputs("      <system-out>", out);
    for (size_t i = 0; i < one->attachment_count; i++) {
        (void)fputs("[[ATTACHMENT|", out);
        write_text(one->attachments[i].path, false, out);
        (void)fputs("]]\n", out);
    }
    write_text(one->console != NULL ? one->console : "", false, out);
    (void)fputs("</system-out>\n", out);
}

static void write_case(const struct result_case *one, FILE *out)
{
    (void)fputs("    <testcase", out);
    write_attribute("name", one->name, out);
    write_attribute("classname", one->file != NULL ? one->file : "quire", out);
    write_seconds(one->duration_ns, out);
    (void)fputs(">\n", out);
    write_outcome(one, out);
    write_output(one, out);
    (void)fputs("    </testcase>\n", out);
}

static void write_subtest(const struct result_case *one, const struct result_subtest *subtest, FILE *out)
{
    (void)fputs("    <testcase", out);
    write_attribute("name", subtest->name, out);
    write_attribute("classname", one->name, out);
    (void)fputs(" time=\"0.000\">\n", out);
    if (subtest->status == KTAP_SKIPPED || subtest->status == KTAP_TODO) {
        (void)fputs("      <skipped", out);
        write_attribute("message", subtest->reason, out);
        (void)fputs("/>\n", out);
    } else if (ktap_status_is_bad(subtest->status)) {
        (void)fputs("      <failure", out);
        write_attribute("message", subtest->reason != NULL ? subtest->reason : ktap_status_name(subtest->status), out);
        write_attribute("type", ktap_status_name(subtest->status), out);
        (void)fputc('>', out);
        write_text(subtest->diagnostics != NULL ? subtest->diagnostics : "", false, out);
        (void)fputs("</failure>\n", out);
    }
    (void)fputs("    </testcase>\n", out);
}

/* ---- The whole ---- */

struct tally {
    size_t tests;
    size_t failures;
    size_t errors;
    size_t skipped;
};

static void count_case(const struct result_case *one, struct tally *tally)
{
    tally->tests += 1 + one->subtest_count;
    tally->failures += one->status == RESULT_FAILED;
    tally->errors += one->status == RESULT_BROKEN || one->status == RESULT_NOT_RUN;
    tally->skipped += one->status == RESULT_SKIPPED;
    for (size_t i = 0; i < one->subtest_count; i++) {
        const enum ktap_status status = one->subtests[i].status;
        tally->failures += ktap_status_is_bad(status);
        tally->skipped += status == KTAP_SKIPPED || status == KTAP_TODO;
    }
}

static void write_tally(const struct results *results, const struct tally *tally, FILE *out)
{
    write_attribute("name", results->suite, out);
    (void)fprintf(out, " tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\"", tally->tests, tally->failures,
                  tally->errors, tally->skipped);
    write_seconds(results->duration_ns, out);
}

void results_write_junit(const struct results *results, FILE *out)
{
    struct tally tally = {0};

    for (size_t i = 0; i < results->case_count; i++)
        count_case(results->cases[i], &tally);
    (void)fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites", out);
    write_tally(results, &tally, out);
    (void)fputs(">\n  <testsuite", out);
    write_tally(results, &tally, out);
    write_timestamp(results->started_at, out);
    (void)fputs(">\n", out);
    for (size_t i = 0; i < results->case_count; i++) {
        const struct result_case *one = results->cases[i];
        write_case(one, out);
        for (size_t j = 0; j < one->subtest_count; j++)
            write_subtest(one, &one->subtests[j], out);
    }
    (void)fputs("  </testsuite>\n</testsuites>\n", out);
}
