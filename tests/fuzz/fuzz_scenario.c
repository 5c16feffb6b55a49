/*
 * Any bytes as a scenario, as KTAP behind a K and as a console behind a C. An error with a sentence, or results within
 * their bounds; and the portions in which bytes come are of no matter.
 */
#include "vmm/scenario/console_watch.h"
#include "vmm/scenario/ktap.h"
#include "vmm/scenario/results.h"
#include "vmm/scenario/scenario.h"

#include "fuzz_require.h"
#include "fuzz_sentence.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- A scenario ---- */

/* What was checked with some values is a pattern with any other, unless that makes too much of it. */
static void try_pattern(const struct scenario_values *values, const struct scenario_text *text)
{
    struct pattern_failure failure;

    if (text->text == NULL)
        return;
    char *expanded = scenario_expand(values, text->text, true);
    struct pattern *pattern = pattern_compile(expanded, &failure);
    require(pattern != NULL || strlen(expanded) > PATTERN_MAX_LENGTH || strstr(failure.text, " too l") != NULL);
    pattern_free(pattern);
    free(expanded);
}

static void try_patterns(const struct scenario_values *values, const struct scenario_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        try_pattern(values, &texts->items[i]);
}

static void try_scenario(const char *text, size_t size)
{
    const struct scenario_options options = {.is_dry = true};
    struct scenario *scenario;
    struct scenario_values values = {0};
    struct error error = {0};

    if (scenario_parse("/nowhere/fuzz.toml", text, size, &options, &scenario, &error) < 0) {
        require(fuzz_is_sentence(&error));
        return;
    }
    require(scenario->step_count > 0 && scenario->case_count > 0);
    require(scenario_values_begin(&values, scenario, scenario->case_count - 1) == 0);
    try_patterns(&values, &scenario->ignored);
    for (size_t i = 0; i < scenario->step_count; i++) {
        if (scenario->steps[i].kind == SCENARIO_EXPECT)
            try_pattern(&values, &scenario->steps[i].what);
        try_patterns(&values, &scenario->steps[i].forbidden);
        try_pattern(&values, &scenario->steps[i].output);
        try_pattern(&values, &scenario->steps[i].errors);
    }
    scenario_values_free(&values);
    scenario_free(scenario);
}

/* ---- KTAP ---- */

static struct ktap *parse_ktap(const char *bytes, size_t size, size_t portion)
{
    struct error error;
    struct ktap *ktap = ktap_create(&error);

    require(ktap != NULL);
    for (size_t at = 0; at < size; at += portion)
        ktap_bytes(ktap, bytes + at, size - at < portion ? size - at : portion);
    ktap_finish(ktap);
    return ktap;
}

static void write_results(const struct ktap *ktap)
{
    struct error error;
    struct results *results = results_create("fuzz", &error);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);

    require(results != NULL && out != NULL);
    struct result_case *one = results_add_case(results, "case", NULL, &error);
    require(one != NULL && result_add_ktap(one, ktap, "", &error) == 0);
    results_write_tap(results, 14, out);
    results_write_junit(results, out);
    require(results_write_json(results, out, &error) == 0);
    require(fclose(out) == 0);
    free(text);
    results_free(results);
}

static void try_ktap(const char *bytes, size_t size)
{
    struct ktap *whole = parse_ktap(bytes, size, size + 1);
    struct ktap *parts = parse_ktap(bytes, size, 3);

    require(ktap_count(whole) == ktap_count(parts));
    require(ktap_passed(whole) == ktap_passed(parts));
    for (size_t i = 0; i < ktap_count(whole); i++) {
        const struct ktap_result result = ktap_result(whole, i);
        char path[KTAP_PATH_SIZE];
        require(result.parent == KTAP_NO_PARENT || result.parent < i);
        require(strlen(ktap_path(whole, i, path)) < KTAP_PATH_SIZE);
        require(strlen(result.diagnostics) < KTAP_DIAGNOSTICS_SIZE);
    }
    write_results(whole);
    ktap_free(whole);
    ktap_free(parts);
}

/* ---- A console ---- */

struct seen {
    uint64_t lines;
    uint64_t hash;
};

static void take_line(void *opaque, const struct console_line *line)
{
    struct seen *seen = opaque;

    require(line->length <= CONSOLE_LINE_MAX);
    seen->lines++;
    for (size_t i = 0; i < line->length; i++)
        seen->hash = seen->hash * 31 + (unsigned char)line->text[i];
    seen->hash = seen->hash * 31 + 256;
}

static struct console_watch *watch_console(const char *bytes, size_t size, size_t portion, struct pattern *pattern,
                                           struct seen *seen)
{
    const struct console_watch_options options = {.line = take_line, .opaque = seen};
    struct error error;
    struct console_watch *watch = console_watch_create(&options, &error);

    require(watch != NULL);
    console_watch_expect(watch, pattern, NULL, 0);
    for (size_t at = 0; at < size; at += portion)
        console_watch_feed(watch, at, bytes + at, size - at < portion ? size - at : portion);
    console_watch_finish(watch);
    return watch;
}

static void try_console(const char *bytes, size_t size)
{
    struct pattern_failure failure;
    struct pattern *one = pattern_compile("(?<word>\\w+): *(?<rest>[^ ]+)$", &failure);
    struct pattern *other = pattern_compile("(?<word>\\w+): *(?<rest>[^ ]+)$", &failure);
    struct seen whole_seen = {0};
    struct seen parts_seen = {0};
    struct console_watch *whole = watch_console(bytes, size, size + 1, one, &whole_seen);
    struct console_watch *parts = watch_console(bytes, size, 1, other, &parts_seen);

    require(whole_seen.lines == parts_seen.lines && whole_seen.hash == parts_seen.hash);
    require(console_watch_state(whole) == console_watch_state(parts));
    require(console_watch_trouble_total(whole) == console_watch_trouble_total(parts));
    if (console_watch_state(whole) == CONSOLE_FOUND) {
        require(console_watch_match(whole).number == console_watch_match(parts).number);
        require(pattern_start(one) == pattern_start(other) && pattern_end(one) == pattern_end(other));
    }
    console_watch_free(whole);
    console_watch_free(parts);
    pattern_free(one);
    pattern_free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(const char *, size_t) = {try_scenario, try_ktap, try_console};

    if (size == 0)
        return 0;
    /* Letters, so that a corpus can be written by hand, with which no scenario begins: those are files as they are. */
    const unsigned which = data[0] == 'K' ? 1 : data[0] == 'C' ? 2 : 0;
    tries[which]((const char *)data + (which > 0), size - (which > 0));
    return 0;
}
