#include "vmm/runner/case_private.h"
#include "vmm/scenario/schema.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Lines of the console that go with the result. */
static const size_t TAIL_LINES = 40;
static const size_t TAIL_LINE_MAX = 400;

bool case_tolerates(const struct case_run *run, enum trouble_kind kind)
{
    return run->scenario->allowed[kind] || run->scenario->expected[kind];
}

bool case_has_panicked(const struct case_run *run)
{
    return run->watch != NULL && !case_tolerates(run, TROUBLE_PANIC) &&
           console_watch_trouble_count(run->watch, TROUBLE_PANIC) > 0;
}

void case_fail(struct case_run *run, enum result_status status, const char *format, ...)
{
    va_list arguments;

    if (run->status != RESULT_PASSED)
        return;
    run->status = status;
    va_start(arguments, format);
    if (vasprintf(&run->message, format, arguments) < 0)
        run->message = NULL;
    va_end(arguments);
}

/* ---- Steps ---- */

/* What a step is about; the caller frees it. */
static char *text_of(const struct case_run *run, const struct scenario_step *step)
{
    char *title = NULL;

    switch (step->kind) {
    case SCENARIO_SLEEP:
        return asprintf(&title, "%.6g s", (double)step->duration_ns / NS_PER_S) < 0 ? NULL : title;
    case SCENARIO_EXPECT_EXIT:
        if (step->exit == SCENARIO_EXIT_STATUS)
            return asprintf(&title, "status %" PRIu32, step->status) < 0 ? NULL : title;
        return strdup(scenario_exit_names[step->exit]);
    case SCENARIO_GDB:
        if (step->what.text == NULL)
            return step->commands.count > 0 ? scenario_expand(&run->values, step->commands.items[0].text, false) : NULL;
        return strdup(step->what.text);
    case SCENARIO_KTAP:
        return step->what.text != NULL ? scenario_expand(&run->values, step->what.text, false) : strdup("console");
    case SCENARIO_EXPECT:
        return scenario_expand(&run->values, step->what.text, true);
    default:
        return step->what.text != NULL ? scenario_expand(&run->values, step->what.text, false) : NULL;
    }
}

/* The same in a line: of a script, its first one. */
static char *title_of(const struct case_run *run, const struct scenario_step *step)
{
    static const char more[] = " ...";
    char *text = text_of(run, step);
    char *start = text;
    char *title = NULL;

    if (text == NULL || strchr(text, '\n') == NULL)
        return text;
    start += strspn(start, "\n");
    const size_t length = strcspn(start, "\n");
    const bool has_more = start[length + strspn(start + length, "\n")] != '\0';
    if (asprintf(&title, "%.*s%s", (int)length, start, has_more ? more : "") < 0)
        title = NULL;
    free(text);
    return title;
}

/* What the user says that it means, and what has happened; the caller frees it. */
static char *message_of(const struct case_run *run, const struct scenario_step *step)
{
    char *said = step->message.text != NULL ? scenario_expand(&run->values, step->message.text, false) : NULL;
    const char *why = run->step_message != NULL ? run->step_message : "out of memory";
    char *message = NULL;

    if (asprintf(&message, "%s%s%s", said != NULL ? said : "", said != NULL ? ": " : "", why) < 0)
        message = NULL;
    free(said);
    return message;
}

void case_record_step(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);
    char *title = title_of(run, step);
    struct error error;

    struct result_step *result = result_add_step(run->result, scenario_step_name(step->kind), title, &error);
    if (result != NULL) {
        result->status = run->step_status;
        result->start_ns = run->step_started_ns - run->started_ns;
        result->duration_ns = (run->failed_at_ns != 0 ? run->failed_at_ns : clock_now_ns()) - run->step_started_ns;
        (void)result_set_text(&result->detail, run->step_detail, &error);
    }
    if (run->step_status == RESULT_FAILED || run->step_status == RESULT_BROKEN) {
        char *message = message_of(run, step);
        if (result != NULL)
            (void)result_set_text(&result->message, message, &error);
        case_fail(run, run->step_status, "%s:%u: step %zu of %zu, %s%s%s: %s", step->position.file, step->position.line,
                  run->step + 1, run->scenario->step_count, scenario_step_name(step->kind), title != NULL ? " " : "",
                  title != NULL ? title : "", message != NULL ? message : "out of memory");
        free(message);
    }
    free(title);
}

/* ---- Trouble ---- */

/* What the machine itself tells. */
static enum trouble_kind trouble_of_end(const struct machine_end *end)
{
    const enum trouble_kind kind = trouble_find(end->name);

    return kind == TROUBLE_TRIPLE_FAULT || kind == TROUBLE_UNHANDLED_EXIT || kind == TROUBLE_PANIC ? kind
                                                                                                   : TROUBLE_NONE;
}

static void add_trouble(struct case_run *run, const struct console_trouble *trouble, bool is_tolerated)
{
    struct error error;
    struct result_trouble *result = result_add_trouble(run->result, trouble->kind, trouble->text, &error);

    if (result == NULL)
        return;
    result->line = trouble->line;
    result->at_ns = trouble->at_ns > run->started_ns ? trouble->at_ns - run->started_ns : 0;
    result->is_tolerated = is_tolerated;
}

/* A step has expected just this end. */
static bool was_expected(const struct case_run *run)
{
    const struct scenario *scenario = run->scenario;

    return run->status == RESULT_PASSED && run->step == scenario->step_count &&
           scenario->steps[run->step - 1].kind == SCENARIO_EXPECT_EXIT;
}

/* The first that makes the case fail; NULL: none does. */
static const struct console_trouble *collect_trouble(struct case_run *run)
{
    const struct console_trouble *first = NULL;
    const struct console_trouble *trouble;

    for (size_t i = 0; (trouble = console_watch_trouble(run->watch, i)) != NULL; i++) {
        const bool is_tolerated = case_tolerates(run, trouble->kind);
        add_trouble(run, trouble, is_tolerated);
        if (!is_tolerated && first == NULL)
            first = trouble;
    }
    return first;
}

/*
 * Trouble that is only counted, because so much came before it. Its kind, if it makes the case fail: a guest must not
 * hide a panic behind warnings that are allowed.
 */
static enum trouble_kind collect_hidden_trouble(struct case_run *run, const char *text)
{
    struct console_trouble trouble = {.at_ns = clock_now_ns()};

    for (trouble.kind = 0; trouble.kind < TROUBLE_KIND_COUNT; trouble.kind++) {
        if (case_tolerates(run, trouble.kind) || console_watch_trouble_count(run->watch, trouble.kind) == 0)
            continue;
        (void)snprintf(trouble.text, sizeof(trouble.text), "%s", text);
        add_trouble(run, &trouble, false);
        return trouble.kind;
    }
    return TROUBLE_NONE;
}

/* Its kind, if it makes the case fail. */
static enum trouble_kind collect_machine_trouble(struct case_run *run, const struct machine_end *end)
{
    struct console_trouble trouble = {.kind = trouble_of_end(end), .at_ns = clock_now_ns()};

    if (trouble.kind == TROUBLE_NONE)
        return TROUBLE_NONE;
    /* It has said so on the console, most probably, and that has its line. */
    if (trouble.kind == TROUBLE_PANIC && console_watch_trouble_count(run->watch, TROUBLE_PANIC) > 0)
        return TROUBLE_NONE;
    const bool is_tolerated = case_tolerates(run, trouble.kind) || was_expected(run);
    (void)snprintf(trouble.text, sizeof(trouble.text), "%.*s", (int)sizeof(trouble.text) - 1, end->text);
    add_trouble(run, &trouble, is_tolerated);
    return is_tolerated ? TROUBLE_NONE : trouble.kind;
}

static bool was_seen(const struct case_run *run, enum trouble_kind kind, const struct machine_end *end)
{
    return console_watch_trouble_count(run->watch, kind) > 0 || trouble_of_end(end) == kind;
}

/* A step that failed because of trouble says less than the trouble does. */
static void blame(struct case_run *run, enum trouble_kind kind, const char *text, uint64_t line)
{
    char *step = run->status == RESULT_FAILED ? run->message : NULL;
    char where[64] = "";

    if (line != 0)
        (void)snprintf(where, sizeof(where), " (line %" PRIu64 " of the console)", line);
    if (step != NULL) {
        run->status = RESULT_PASSED;
        run->message = NULL;
    }
    case_fail(run, RESULT_FAILED, "%s: %s%s%s%s", trouble_name(kind), text, where, step != NULL ? "; " : "",
              step != NULL ? step : "");
    free(step);
}

static const char HIDDEN[] = "it came behind so much that is tolerated that its line was not kept";

static void judge_trouble(struct case_run *run)
{
    const struct machine_end *end = machine_process_end(run->machine);
    const struct console_trouble *first = collect_trouble(run);
    const enum trouble_kind machine_kind = collect_machine_trouble(run, end);
    enum trouble_kind hidden;

    if (first != NULL)
        blame(run, first->kind, first->text, first->line);
    else if ((hidden = collect_hidden_trouble(run, HIDDEN)) != TROUBLE_NONE)
        blame(run, hidden, HIDDEN, 0);
    else if (machine_kind != TROUBLE_NONE)
        blame(run, machine_kind, end->text, 0);
    for (enum trouble_kind kind = 0; kind < TROUBLE_KIND_COUNT; kind++)
        if (run->scenario->expected[kind] && !was_seen(run, kind, end))
            case_fail(run, RESULT_FAILED, "%s was expected, and has not been seen", trouble_name(kind));
}

/* ---- The rest ---- */

static char *console_tail(const struct case_run *run)
{
    struct console_line line;
    size_t count = 0;
    size_t size = 0;
    char *text = NULL;

    while (count < TAIL_LINES && console_watch_tail(run->watch, count, &line))
        count++;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        return NULL;
    while (count-- > 0 && console_watch_tail(run->watch, count, &line)) {
        (void)fwrite(line.text, 1, line.length < TAIL_LINE_MAX ? line.length : TAIL_LINE_MAX, out);
        putc('\n', out);
    }
    return fclose(out) == 0 ? text : NULL;
}

/* A verdict whose grounds could not be kept is none. */
static void close_file(struct case_run *run, struct case_file *file, const char *name)
{
    if (case_file_close(file) < 0)
        case_fail(run, RESULT_BROKEN, "%s/%s could not be written; is there room?", run->settings.folder, name);
}

void case_conclude(struct case_run *run)
{
    struct result_case *result = run->result;
    struct error error;

    if (run->status != RESULT_NOT_RUN)
        judge_trouble(run);
    close_file(run, &run->console_log, "console.log");
    close_file(run, &run->console_timed, "console.timed");
    close_file(run, &run->machine_log, "quire.log");
    close_file(run, &run->exec_log, CASE_EXEC_LOG);
    char *tail = console_tail(run);
    (void)result_set_text(&result->console, tail, &error);
    free(tail);
    result->status = run->status;
    result->duration_ns = clock_now_ns() - run->started_ns;
    (void)result_set_text(&result->message, run->message, &error);
}
