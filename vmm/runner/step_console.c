/*
 * Steps that read and write the console.
 */
#include "vmm/runner/case_private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- expect ---- */

static void end_expect(struct case_run *run)
{
    console_watch_expect(run->watch, NULL, NULL, 0);
    pattern_free(run->at.wanted);
    run->at.wanted = NULL;
    while (run->at.forbidden_count > 0)
        pattern_free(run->at.forbidden[--run->at.forbidden_count]);
}

static void begin_expect(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);

    run->at.wanted = case_compile(run, &step->what);
    if (run->at.wanted == NULL)
        return;
    for (size_t i = 0; i < step->forbidden.count; i++) {
        struct pattern *pattern = case_compile(run, &step->forbidden.items[i]);
        if (pattern == NULL)
            return;
        run->at.forbidden[run->at.forbidden_count++] = pattern;
    }
    console_watch_expect(run->watch, run->at.wanted, run->at.forbidden, run->at.forbidden_count);
}

static void keep_captures(struct case_run *run)
{
    const struct pattern *pattern = run->at.wanted;

    for (size_t i = 0; i < pattern_capture_count(pattern); i++) {
        const char *text = "";
        size_t length = 0;
        if (!console_watch_capture(run->watch, i, &text, &length))
            length = 0;
        if (scenario_values_set(&run->values, pattern_capture_name(pattern, i), text, length) < 0)
            case_step_break(run, "out of memory");
    }
}

static void look_for_expected(struct case_run *run)
{
    struct console_line line;

    switch (console_watch_state(run->watch)) {
    case CONSOLE_FOUND:
        keep_captures(run);
        case_step_pass(run);
        break;
    case CONSOLE_FORBIDDEN:
        line = console_watch_match(run->watch);
        case_step_fail(run, "line %" PRIu64 " of the console has what must not come, %s: %.*s", line.number,
                       pattern_text(run->at.forbidden[console_watch_forbidden(run->watch)]),
                       line.length < 200 ? (int)line.length : 200, line.text);
        break;
    case CONSOLE_FAILED:
        case_step_fail(run, "%s", console_watch_error(run->watch)->text);
        break;
    case CONSOLE_IDLE:
    case CONSOLE_WAITING:
        break;
    }
}

static void describe_expect(struct case_run *run, char *text, size_t size)
{
    const uint64_t missed = console_watch_missed(run->watch);
    char lost[96] = "";

    if (missed > 0)
        (void)snprintf(lost, sizeof(lost), "; %" PRIu64 " lines had been dropped before they could be looked at",
                       missed);
    (void)snprintf(text, size, "%s has not come on the console%s",
                   run->at.wanted != NULL ? pattern_text(run->at.wanted) : "it", lost);
}

const struct step_kind step_expect = {
    .begin = begin_expect, .look = look_for_expected, .describe = describe_expect, .end = end_expect};

/* ---- send ---- */

/* Enter is a carriage return, as a terminal's key sends it. */
static size_t turn_to_keys(char *text, bool is_raw)
{
    size_t length = strlen(text);

    if (is_raw)
        return length;
    for (size_t i = 0; i < length; i++)
        if (text[i] == '\n')
            text[i] = '\r';
    text[length++] = '\r';
    return length;
}

static void begin_send(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);
    char *text = case_expand(run, &step->what);
    struct error error;

    if (text == NULL)
        return;
    /* Its end is the reason, and not that nobody reads. */
    if (run->machine_has_ended) {
        free(text);
        return;
    }
    /* Its NUL has the room for Enter. */
    const size_t length = turn_to_keys(text, step->is_raw);
    if (machine_process_type(run->machine, text, length, &error) < 0)
        case_step_fail(run, "the console: %s", error.text);
    else
        case_step_pass(run);
    free(text);
}

const struct step_kind step_send = {.begin = begin_send};

/* ---- ktap = "console" ---- */

static void look_for_ktap(struct case_run *run)
{
    if (!ktap_is_complete(run->console_ktap) && !run->machine_has_ended)
        return;
    const bool is_complete = ktap_is_complete(run->console_ktap);
    case_take_ktap(run, run->console_ktap);
    if (ktap_passed(run->console_ktap))
        case_step_pass(run);
    else if (is_complete)
        case_step_fail(run, "not all tests have passed");
    else
        case_step_fail(run, "the machine ended before all tests had come: %s", machine_process_end(run->machine)->text);
}

/* The next step of that kind reads what comes behind this one's. */
static void end_console_ktap(struct case_run *run)
{
    struct error error;

    if (run->step_status == RESULT_NOT_RUN || run->console_ktap == NULL)
        return;
    struct ktap *next = ktap_create(&error);
    if (next == NULL)
        return;
    ktap_free(run->console_ktap);
    run->console_ktap = next;
}

static void describe_console_ktap(struct case_run *run, char *text, size_t size)
{
    case_take_ktap(run, run->console_ktap);
    (void)snprintf(text, size, "the tests that were planned have not all come on the console; there are %zu",
                   ktap_count(run->console_ktap));
}

const struct step_kind step_console_ktap = {
    .look = look_for_ktap, .describe = describe_console_ktap, .end = end_console_ktap};
