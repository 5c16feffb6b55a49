/*
 * Results as lines, for a pipe and for terminals.
 */
#include "vmm/scenario/results.h"

#include "memory/support/utf8.h"

#include <string.h>

/* Of a case that failed: the rest is in the other forms. */
enum { CONSOLE_SHOWN = 10, SUBTESTS_SHOWN = 10 };

static void write_more(const char *label, const char *text, FILE *out)
{
    if (text == NULL)
        return;
    (void)fprintf(out, "  %s: ", label);
    utf8_write_plain(text, strlen(text), out);
    (void)fputc('\n', out);
}

/* "1.2 s", as exact as it is of use. */
static void write_time(uint64_t ns, FILE *out)
{
    (void)fprintf(out, "%.*f s", ns < 10000000000ull ? 2 : 1, (double)ns / 1e9);
}

/* The lines of a text, from the one with this number on, each behind spaces. */
static void write_lines(const char *text, size_t first, FILE *out)
{
    for (size_t number = 0; *text != '\0'; number++) {
        const size_t length = strcspn(text, "\n");
        if (number >= first) {
            (void)fputs("    ", out);
            utf8_write_plain(text, length, out);
            (void)fputc('\n', out);
        }
        text += length + (text[length] == '\n');
    }
}

static size_t count_lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text += strcspn(text, "\n") + (text[strcspn(text, "\n")] == '\n'))
        count++;
    return count;
}

static void write_subtests(const struct result_case *one, FILE *out)
{
    size_t bad = 0;

    for (size_t i = 0; i < one->subtest_count; i++)
        bad += ktap_status_is_bad(one->subtests[i].status);
    if (bad > 0)
        (void)fprintf(out, "  tests in the guest: %zu of %zu failed\n", bad, one->subtest_count);
    for (size_t i = 0, shown = 0; i < one->subtest_count && shown < SUBTESTS_SHOWN; i++) {
        if (!ktap_status_is_bad(one->subtests[i].status))
            continue;
        write_more(ktap_status_name(one->subtests[i].status), one->subtests[i].name, out);
        shown++;
    }
}

static void write_reasons(const struct result_case *one, FILE *out)
{
    write_more("why", one->message, out);
    for (size_t i = 0; i < one->step_count; i++) {
        const struct result_step *step = &one->steps[i];
        if ((step->status == RESULT_FAILED || step->status == RESULT_BROKEN) && step->detail != NULL)
            write_lines(step->detail, 0, out);
    }
    for (size_t i = 0; i < one->trouble_count; i++) {
        if (!one->trouble[i].is_tolerated)
            write_more(trouble_name(one->trouble[i].kind), one->trouble[i].text, out);
    }
    write_subtests(one, out);
    if (one->console == NULL || one->console[0] == '\0')
        return;
    const size_t count = count_lines(one->console);
    (void)fputs("  the console's last lines:\n", out);
    write_lines(one->console, count > CONSOLE_SHOWN ? count - CONSOLE_SHOWN : 0, out);
}

void results_write_line(const struct result_case *one, FILE *out)
{
    static const char *const words[RESULT_STATUS_COUNT] = {
        [RESULT_NOT_RUN] = "none  ", [RESULT_PASSED] = "ok    ", [RESULT_FAILED] = "FAILED",
        [RESULT_SKIPPED] = "skip  ", [RESULT_BROKEN] = "BROKEN",
    };

    (void)fprintf(out, "%s ", words[one->status]);
    utf8_write_plain(one->name, strlen(one->name), out);
    (void)fputs("  ", out);
    write_time(one->duration_ns, out);
    (void)fputc('\n', out);
    if (one->status == RESULT_FAILED || one->status == RESULT_BROKEN)
        write_reasons(one, out);
}

void results_write_summary(const struct results *results, FILE *out)
{
    const char *separator = "";

    for (int status = RESULT_PASSED; status < RESULT_STATUS_COUNT; status++) {
        const size_t count = results_tally(results, (enum result_status)status);
        if (count == 0)
            continue;
        (void)fprintf(out, "%s%zu %s", separator, count, result_status_name((enum result_status)status));
        separator = ", ";
    }
    const size_t left = results_tally(results, RESULT_NOT_RUN);
    if (left > 0 || results->case_count == 0)
        (void)fprintf(out, "%s%zu not run", separator, left);
    (void)fputs(" in ", out);
    write_time(results->duration_ns, out);
    (void)fputc('\n', out);
}
