#include "memory/support/utf8.h"
#include "vmm/config/place.h"
#include "vmm/scenario/results.h"

#include <jansson.h>
#include <stdlib.h>

/* A string of a guest's bytes; null where there is none. */
static json_t *string_of(const char *text)
{
    if (text == NULL)
        return json_null();
    char *clean = utf8_clean(text);
    json_t *string = clean != NULL ? json_string(clean) : NULL;
    free(clean);
    return string;
}

static json_t *seconds_of(uint64_t ns)
{
    return json_real((double)ns / 1e9);
}

/* Jansson's functions take NULL for what they could not make, and then make nothing: one check at the end is enough. */
static json_t *step_of(const struct result_step *step)
{
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o}", "kind", string_of(step->kind), "title",
                     string_of(step->title), "status", result_status_name(step->status), "start",
                     seconds_of(step->start_ns), "duration", seconds_of(step->duration_ns), "message",
                     string_of(step->message), "detail", string_of(step->detail));
}

static json_t *subtest_of(const struct result_subtest *subtest)
{
    return json_pack("{s:o, s:s, s:o, s:o}", "name", string_of(subtest->name), "status",
                     ktap_status_name(subtest->status), "reason", string_of(subtest->reason), "diagnostics",
                     string_of(subtest->diagnostics));
}

static json_t *trouble_of(const struct result_trouble *trouble)
{
    return json_pack("{s:s, s:I, s:o, s:o, s:b}", "kind", trouble_name(trouble->kind), "line",
                     (json_int_t)trouble->line, "at", seconds_of(trouble->at_ns), "text", string_of(trouble->text),
                     "tolerated", trouble->is_tolerated);
}

static json_t *attachment_of(const struct result_attachment *attachment)
{
    return json_pack("{s:o, s:o}", "name", string_of(attachment->name), "path", string_of(attachment->path));
}

static void append(json_t **list, json_t *element)
{
    if (*list != NULL && json_array_append_new(*list, element) < 0) {
        json_decref(*list);
        *list = NULL;
    }
}

static json_t *case_of(const struct result_case *one)
{
    json_t *steps = json_array();
    json_t *subtests = json_array();
    json_t *trouble = json_array();
    json_t *attachments = json_array();

    for (size_t i = 0; i < one->step_count; i++)
        append(&steps, step_of(&one->steps[i]));
    for (size_t i = 0; i < one->subtest_count; i++)
        append(&subtests, subtest_of(&one->subtests[i]));
    for (size_t i = 0; i < one->trouble_count; i++)
        append(&trouble, trouble_of(&one->trouble[i]));
    for (size_t i = 0; i < one->attachment_count; i++)
        append(&attachments, attachment_of(&one->attachments[i]));
    return json_pack("{s:o, s:o, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", string_of(one->name), "file",
                     string_of(one->file), "status", result_status_name(one->status), "started",
                     (json_int_t)one->started_at, "duration", seconds_of(one->duration_ns), "message",
                     string_of(one->message), "console", string_of(one->console), "steps", steps, "subtests", subtests,
                     "trouble", trouble, "attachments", attachments);
}

static json_t *tallies_of(const struct results *results)
{
    json_t *tallies = json_object();

    for (int status = 0; status < RESULT_STATUS_COUNT; status++)
        (void)json_object_set_new(tallies, result_status_name((enum result_status)status),
                                  json_integer((json_int_t)results_tally(results, (enum result_status)status)));
    return tallies;
}

int results_write_json(const struct results *results, FILE *out, struct error *error)
{
    json_t *cases = json_array();

    for (size_t i = 0; i < results->case_count; i++)
        append(&cases, case_of(results->cases[i]));
    json_t *all = json_pack("{s:i, s:o, s:I, s:o, s:o, s:o}", "format", 1, "suite", string_of(results->suite),
                            "started", (json_int_t)results->started_at, "duration", seconds_of(results->duration_ns),
                            "tally", tallies_of(results), "cases", cases);
    char *text = all != NULL ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    if (text == NULL)
        return config_out_of_memory(error);
    (void)fprintf(out, "%s\n", text);
    free(text);
    return 0;
}
