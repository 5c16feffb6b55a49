/*
 * Steps that the machine takes part in, and not the guest: what is asked of its control socket, and waiting.
 */
#include "vmm/runner/case_private.h"
#include "vmm/scenario/schema.h"

#include <jansson.h>
#include <string.h>

static bool on_done(struct case_run *run, const struct json_t *answer, const char *why)
{
    if (answer == NULL)
        case_step_fail(run, "the machine has not done it: %s", why);
    else if (json_is_true(json_object_get(answer, "ok")))
        case_step_pass(run);
    else
        case_step_fail(run, "the machine has not done it: %s", json_string_value(json_object_get(answer, "error")));
    return false;
}

static void ask(struct case_run *run, const char *request)
{
    run->at.control = control_job_start(run, request, -1, on_done);
    if (run->at.control == NULL)
        case_step_break(run, "out of memory");
}

static void end_control(struct case_run *run)
{
    control_job_free(run->at.control);
    run->at.control = NULL;
}

static void describe_control(struct case_run *run, char *text, size_t size)
{
    (void)run;
    (void)snprintf(text, size, "the machine does not answer on its control socket");
}

static void begin_power_button(struct case_run *run)
{
    ask(run, "{\"do\": \"power-button\"}");
}

static void begin_reset(struct case_run *run)
{
    ask(run, "{\"do\": \"reset\"}");
}

static void begin_pause(struct case_run *run)
{
    ask(run, "{\"do\": \"pause\"}");
}

static void begin_resume(struct case_run *run)
{
    ask(run, "{\"do\": \"resume\"}");
}

const struct step_kind step_power_button = {
    .begin = begin_power_button, .describe = describe_control, .end = end_control};
const struct step_kind step_reset = {.begin = begin_reset, .describe = describe_control, .end = end_control};
const struct step_kind step_pause = {.begin = begin_pause, .describe = describe_control, .end = end_control};
const struct step_kind step_resume = {.begin = begin_resume, .describe = describe_control, .end = end_control};

/* ---- expect-exit ---- */

static bool is_name(const struct machine_end *end, enum scenario_exit exit)
{
    return strcmp(end->name, scenario_exit_names[exit]) == 0;
}

static bool is_expected(const struct scenario_step *step, const struct machine_end *end)
{
    switch (step->exit) {
    case SCENARIO_EXIT_STATUS:
        return end->status == (int)step->status && strcmp(end->name, "killed") != 0;
    case SCENARIO_EXIT_ANY:
        /* Of a guest, and not that there could be none, or that its machine broke down. */
        return !machine_end_is_hosts(end);
    case SCENARIO_EXIT_CRASH:
        return is_name(end, SCENARIO_EXIT_PANIC) || is_name(end, SCENARIO_EXIT_TRIPLE_FAULT) ||
               is_name(end, SCENARIO_EXIT_UNHANDLED);
    default:
        return is_name(end, step->exit);
    }
}

static void look_for_exit(struct case_run *run)
{
    const struct machine_end *end;

    if (!run->machine_has_ended)
        return;
    end = machine_process_end(run->machine);
    if (is_expected(case_step(run), end))
        case_step_pass(run);
    else if (machine_end_is_hosts(end))
        case_step_break(run, "%s", end->text);
    else
        case_step_fail(run, "the machine ended in another way: %s (%s, status %d)", end->text, end->name, end->status);
}

static void describe_expect_exit(struct case_run *run, char *text, size_t size)
{
    (void)run;
    (void)snprintf(text, size, "the machine has not ended");
}

const struct step_kind step_expect_exit = {.look = look_for_exit, .describe = describe_expect_exit};

/* ---- sleep ---- */

static void begin_sleep(struct case_run *run)
{
    /* It takes its time, whatever the limit of other steps is. */
    case_set_timer(run, CASE_TIMER_STEP, 0);
    case_set_timer(run, CASE_TIMER_WAKE, run->step_started_ns + case_step(run)->duration_ns);
}

const struct step_kind step_sleep = {.begin = begin_sleep, .wake = case_step_pass};
