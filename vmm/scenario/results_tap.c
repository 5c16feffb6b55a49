/*
 * TAP 14 (testanything.org/tap-version-14-specification.html), and lines for people in a pipe.
 */
#include "memory/support/utf8.h"
#include "vmm/scenario/results.h"

#include <string.h>

/* ---- Texts ---- */

/* A name on one line: control characters, and such as reorder others, are blanks, "#" and "\" are escaped. */
static void write_name(const char *name, FILE *out)
{
    size_t left = strlen(name);
    size_t used;
    char bytes[4];

    for (; left > 0; name += used, left -= used) {
        const uint32_t character = utf8_next(name, left, &used);
        if (utf8_is_control(character) || utf8_is_direction(character)) {
            (void)fputc(' ', out);
            continue;
        }
        if (character == '#' || character == '\\')
            (void)fputc('\\', out);
        (void)fwrite(bytes, 1, utf8_put(character, bytes), out);
    }
}

/* A string as YAML and JSON have them. */
static void write_quoted(const char *text, FILE *out)
{
    size_t left = strlen(text);
    size_t used;
    char bytes[4];

    (void)fputc('"', out);
    for (; left > 0; text += used, left -= used) {
        const uint32_t character = utf8_next(text, left, &used);
        if (character == '\n')
            (void)fputs("\\n", out);
        else if (utf8_is_control(character) || utf8_is_direction(character))
            (void)fprintf(out, "\\u%04x", character);
        else if (character == '"' || character == '\\')
            (void)fprintf(out, "\\%c", (int)character);
        else
            (void)fwrite(bytes, 1, utf8_put(character, bytes), out);
    }
    (void)fputc('"', out);
}

static void write_entry(const char *indent, const char *key, const char *text, FILE *out)
{
    if (text == NULL)
        return;
    (void)fprintf(out, "%s  %s: ", indent, key);
    write_quoted(text, out);
    (void)fputc('\n', out);
}

/* ---- TAP ---- */

static void write_subtest(const struct result_subtest *subtest, size_t number, FILE *out)
{
    static const char *const directives[KTAP_STATUS_COUNT] = {[KTAP_SKIPPED] = " # SKIP", [KTAP_TODO] = " # TODO"};
    const bool is_ok = subtest->status == KTAP_PASSED || subtest->status == KTAP_SKIPPED;
    const char *directive = directives[subtest->status];

    (void)fprintf(out, "    %s %zu - ", is_ok ? "ok" : "not ok", number);
    write_name(subtest->name, out);
    if (directive != NULL) {
        (void)fputs(directive, out);
        if (subtest->reason != NULL)
            (void)fputc(' ', out);
        write_name(subtest->reason != NULL ? subtest->reason : "", out);
    }
    (void)fputc('\n', out);
    if (!ktap_status_is_bad(subtest->status))
        return;
    (void)fputs("      ---\n", out);
    write_entry("    ", "status", ktap_status_name(subtest->status), out);
    write_entry("    ", "reason", subtest->reason, out);
    write_entry("    ", "diagnostics", subtest->diagnostics, out);
    (void)fputs("      ...\n", out);
}

static void write_subtests(const struct result_case *one, FILE *out)
{
    if (one->subtest_count == 0)
        return;
    (void)fputs("# Subtest: ", out);
    write_name(one->name, out);
    (void)fprintf(out, "\n    1..%zu\n", one->subtest_count);
    for (size_t i = 0; i < one->subtest_count; i++)
        write_subtest(&one->subtests[i], i + 1, out);
}

static void write_trouble(const struct result_case *one, FILE *out)
{
    if (one->trouble_count > 0)
        (void)fputs("  trouble:\n", out);
    for (size_t i = 0; i < one->trouble_count; i++) {
        (void)fprintf(out, "    - kind: \"%s\"\n", trouble_name(one->trouble[i].kind));
        write_entry("    ", "text", one->trouble[i].text, out);
    }
}

static const struct result_step *failed_step(const struct result_case *one, size_t *number)
{
    for (size_t i = 0; i < one->step_count; i++) {
        *number = i + 1;
        if (one->steps[i].status == RESULT_FAILED || one->steps[i].status == RESULT_BROKEN)
            return &one->steps[i];
    }
    return NULL;
}

static void write_why(const struct result_case *one, FILE *out)
{
    size_t number;
    const struct result_step *step = failed_step(one, &number);

    (void)fputs("  ---\n", out);
    write_entry("", "status", result_status_name(one->status), out);
    write_entry("", "message", one->message, out);
    (void)fprintf(out, "  duration_ms: %.3f\n", (double)one->duration_ns / 1e6);
    if (step != NULL) {
        (void)fprintf(out, "  step: %zu\n", number);
        write_entry("", "kind", step->kind, out);
        write_entry("", "title", step->title, out);
        write_entry("", "detail", step->detail, out);
    }
    write_trouble(one, out);
    write_entry("", "console", one->console, out);
    (void)fputs("  ...\n", out);
}

static void write_case(const struct result_case *one, size_t number, FILE *out)
{
    const bool is_ok = one->status == RESULT_PASSED || one->status == RESULT_SKIPPED;

    write_subtests(one, out);
    (void)fprintf(out, "%s %zu - ", is_ok ? "ok" : "not ok", number);
    write_name(one->name, out);
    if (one->status == RESULT_SKIPPED) {
        (void)fputs(" # SKIP ", out);
        write_name(one->message != NULL ? one->message : "", out);
    }
    (void)fputc('\n', out);
    if (!is_ok)
        write_why(one, out);
}

void results_write_tap(const struct results *results, unsigned version, FILE *out)
{
    (void)fprintf(out, "TAP version %u\n1..%zu\n", version, results->case_count);
    for (size_t i = 0; i < results->case_count; i++)
        write_case(results->cases[i], i + 1, out);
}
