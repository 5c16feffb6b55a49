#include "vmm/runner/case_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* What a kernel that panics may take to print its trace, and what it printed to come, and to have its machine end. */
static const uint64_t PANIC_NS = 2 * NS_PER_S;
/* This process was stopped meanwhile, or got no time, if a timer comes that late. */
static const uint64_t LATE_NS = NS_PER_S;
/* More is no help to anybody. */
static const size_t DETAIL_MAX = 64 << 10;
static const size_t OUTPUT_SHOWN = 4096;

static const struct step_kind *kind_of(const struct scenario_step *step)
{
    static const struct step_kind *const kinds[SCENARIO_STEP_KIND_COUNT] = {
        [SCENARIO_EXPECT] = &step_expect, [SCENARIO_SEND] = &step_send,
        [SCENARIO_EXEC] = &step_exec,     [SCENARIO_PUT] = &step_put,
        [SCENARIO_GET] = &step_get,       [SCENARIO_POWER_BUTTON] = &step_power_button,
        [SCENARIO_RESET] = &step_reset,   [SCENARIO_EXPECT_EXIT] = &step_expect_exit,
        [SCENARIO_PAUSE] = &step_pause,   [SCENARIO_RESUME] = &step_resume,
        [SCENARIO_GDB] = &step_gdb,       [SCENARIO_SLEEP] = &step_sleep,
    };

    if (step->kind == SCENARIO_KTAP)
        return step->source == SCENARIO_KTAP_EXEC ? &step_exec_ktap : &step_console_ktap;
    return kinds[step->kind];
}

/* ---- Time ---- */

void case_set_timer(struct case_run *run, enum case_timer timer, uint64_t at_ns)
{
    run->timers[timer] = at_ns;
}

/* Has the loop wake up for the next of the timers. */
static void arm(const struct case_run *run)
{
    uint64_t next = 0;

    for (size_t i = 0; i < CASE_TIMER_COUNT; i++)
        if (run->timers[i] != 0 && (next == 0 || run->timers[i] < next))
            next = run->timers[i];
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(next / NS_PER_S), .tv_nsec = (long)(next % NS_PER_S)}};
    (void)timerfd_settime(run->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* ---- Steps ---- */

__attribute__((format(printf, 3, 0))) static void set_step_status(struct case_run *run, enum result_status status,
                                                                  const char *format, va_list arguments)
{
    if (run->step_status != RESULT_NOT_RUN)
        return;
    run->step_status = status;
    if (vasprintf(&run->step_message, format, arguments) < 0)
        run->step_message = NULL;
}

void case_step_pass(struct case_run *run)
{
    if (run->step_status == RESULT_NOT_RUN)
        run->step_status = RESULT_PASSED;
}

void case_step_fail(struct case_run *run, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    set_step_status(run, RESULT_FAILED, format, arguments);
    va_end(arguments);
}

void case_step_break(struct case_run *run, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    set_step_status(run, RESULT_BROKEN, format, arguments);
    va_end(arguments);
}

void case_step_add_detail(struct case_run *run, const char *format, ...)
{
    const size_t used = run->step_detail != NULL ? strlen(run->step_detail) : 0;
    va_list arguments;
    char *line = NULL;

    va_start(arguments, format);
    const int length = vasprintf(&line, format, arguments);
    va_end(arguments);
    if (length < 0 || used + (size_t)length + 2 > DETAIL_MAX) {
        free(length < 0 ? NULL : line);
        return;
    }
    char *grown = realloc(run->step_detail, used + (size_t)length + 2);
    if (grown != NULL) {
        memcpy(grown + used, line, (size_t)length);
        memcpy(grown + used + (size_t)length, "\n", 2);
        run->step_detail = grown;
    }
    free(line);
}

char *case_expand(struct case_run *run, const struct scenario_text *text)
{
    char *expanded = scenario_expand(&run->values, text->text, false);

    if (expanded == NULL)
        case_step_break(run, "out of memory");
    return expanded;
}

struct pattern *case_compile(struct case_run *run, const struct scenario_text *text)
{
    struct pattern_failure failure;
    char *expanded = scenario_expand(&run->values, text->text, true);

    if (expanded == NULL) {
        case_step_break(run, "out of memory");
        return NULL;
    }
    struct pattern *pattern = pattern_compile(expanded, &failure);
    if (pattern == NULL && failure.out_of_memory)
        case_step_break(run, "out of memory");
    else if (pattern == NULL)
        case_step_fail(run, "with its variables, %s is no pattern: %s", expanded, failure.text);
    free(expanded);
    return pattern;
}

void case_attach(struct case_run *run, const char *name)
{
    const char *folder = strrchr(run->settings.folder, '/');
    struct error error;
    char *path = NULL;

    if (asprintf(&path, "%s/%s", folder != NULL ? folder + 1 : run->settings.folder, name) < 0)
        return;
    (void)result_add_attachment(run->result, name, path, &error);
    free(path);
}

void case_take_match(struct case_run *run, struct line_match *match, const char *name)
{
    const struct pattern *pattern = match->pattern;

    line_match_finish(match);
    if (match->has_failed) {
        case_step_fail(run, "%s: %s", name, match->error.text);
        return;
    }
    if (pattern == NULL)
        return;
    if (!match->is_found) {
        case_step_fail(run, "no line of %s matches %s", name, pattern_text(pattern));
        return;
    }
    for (size_t i = 0; i < pattern_capture_count(pattern); i++) {
        size_t start = 0, length = 0;
        if (!pattern_capture(pattern, i, &start, &length))
            start = length = 0;
        if (scenario_values_set(&run->values, pattern_capture_name(pattern, i), match->found + start, length) < 0)
            case_step_break(run, "out of memory");
    }
}

void case_show_output(struct case_run *run, const struct line_match *match, const char *name)
{
    const size_t shown = match->kept_used < OUTPUT_SHOWN ? match->kept_used : OUTPUT_SHOWN;

    if (shown > 0)
        case_step_add_detail(run, "%s:\n%.*s", name, (int)shown, match->kept + match->kept_used - shown);
}

void case_take_ktap(struct case_run *run, struct ktap *ktap)
{
    struct error error;

    ktap_finish(ktap);
    if (result_add_ktap(run->result, ktap, NULL, &error) < 0)
        case_step_break(run, "%s", error.text);
    for (enum ktap_status status = 0; status < KTAP_STATUS_COUNT; status++)
        if (ktap_tally(ktap, status) > 0)
            case_step_add_detail(run, "%zu %s", ktap_tally(ktap, status), ktap_status_name(status));
    for (size_t i = 0; ktap_problem(ktap, i) != NULL; i++)
        case_step_add_detail(run, "%s", ktap_problem(ktap, i));
}

static void begin_step(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);

    run->step_has_begun = true;
    run->step_status = RESULT_NOT_RUN;
    run->step_started_ns = clock_now_ns();
    run->was_late[CASE_TIMER_STEP] = false;
    case_set_timer(run, CASE_TIMER_STEP, run->step_started_ns + step->timeout_ns);
    /* Not before there is a step that can fail for it. */
    if (run->step == 0 && run->scenario->limit_ns != 0)
        case_set_timer(run, CASE_TIMER_CASE, run->started_ns + run->scenario->limit_ns);
    if (run->handlers.step != NULL)
        run->handlers.step(run->handlers.context, run->step);
    if (kind_of(step)->begin != NULL)
        kind_of(step)->begin(run);
}

static void leave_step(struct case_run *run)
{
    const struct step_kind *kind = kind_of(case_step(run));

    if (kind->end != NULL)
        kind->end(run);
    case_set_timer(run, CASE_TIMER_STEP, 0);
    case_set_timer(run, CASE_TIMER_WAKE, 0);
    case_set_timer(run, CASE_TIMER_CONTROL, 0);
}

/* The step that runs is over, or was cut short. */
static void finish_step(struct case_run *run)
{
    leave_step(run);
    case_record_step(run);
    run->step_has_begun = false;
    free(run->step_message);
    free(run->step_detail);
    run->step_message = NULL;
    run->step_detail = NULL;
}

static void time_out(struct case_run *run, const char *what, uint64_t limit_ns)
{
    const struct step_kind *kind = kind_of(case_step(run));
    char text[512] = "";

    run->timed_out = true;
    if (kind->describe != NULL)
        kind->describe(run, text, sizeof(text));
    case_step_fail(run, "out of time, %s %.6g s%s%s", what, (double)limit_ns / NS_PER_S, text[0] != '\0' ? ": " : "",
                   text);
}

/* ---- From step to step ---- */

/* The machine ends, and nothing more is asked of it. */
static void begin_ending(struct case_run *run)
{
    run->phase = CASE_ENDING;
    case_set_timer(run, CASE_TIMER_CASE, 0);
    case_set_timer(run, CASE_TIMER_PANIC, 0);
    if (!run->machine_is_gone)
        machine_process_kill(run->machine);
}

static void fail_step(struct case_run *run)
{
    if (run->machine_is_gone) {
        finish_step(run);
        begin_ending(run);
        return;
    }
    /* The step keeps what it has: a command that is ended now would change what there is to see. */
    run->phase = CASE_POST_MORTEM;
    case_set_timer(run, CASE_TIMER_STEP, 0);
    case_set_timer(run, CASE_TIMER_WAKE, 0);
    case_set_timer(run, CASE_TIMER_CASE, 0);
    case_set_timer(run, CASE_TIMER_PANIC, 0);
    run->failed_at_ns = clock_now_ns();
    post_mortem_begin(run);
}

/* The machine has ended, and the step has not been content with that. */
static void fail_without_machine(struct case_run *run)
{
    const struct machine_end *end = machine_process_end(run->machine);

    if (machine_end_is_hosts(end))
        case_step_break(run, "%s", end->text);
    else
        case_step_fail(run, "the machine ended: %s", end->text);
}

static void look(struct case_run *run)
{
    const struct step_kind *kind = kind_of(case_step(run));

    if (kind->look != NULL)
        kind->look(run);
    if (run->step_status == RESULT_NOT_RUN && run->machine_has_ended &&
        (kind->outlives == NULL || !kind->outlives(run)))
        fail_without_machine(run);
}

static void take_steps(struct case_run *run)
{
    while (run->phase == CASE_STEPS) {
        if (run->step == run->scenario->step_count) {
            begin_ending(run);
            return;
        }
        if (!run->step_has_begun)
            begin_step(run);
        if (run->step_status == RESULT_NOT_RUN)
            look(run);
        if (run->step_status == RESULT_NOT_RUN)
            return;
        if (run->step_status != RESULT_PASSED) {
            fail_step(run);
            return;
        }
        finish_step(run);
        run->step++;
    }
}

static void conclude(struct case_run *run)
{
    run->phase = CASE_OVER;
    case_conclude(run);
    run->handlers.ended(run->handlers.context);
}

void case_advance(struct case_run *run)
{
    if (run->phase == CASE_STEPS && run->timers[CASE_TIMER_PANIC] == 0 && !run->machine_has_ended &&
        (run->machine_waits || case_has_panicked(run)))
        case_set_timer(run, CASE_TIMER_PANIC, clock_now_ns() + PANIC_NS);
    if (run->phase == CASE_STEPS)
        take_steps(run);
    if (run->phase == CASE_POST_MORTEM && run->machine_is_gone)
        post_mortem_stop(run);
    if (run->phase == CASE_POST_MORTEM && run->post_mortem == NULL) {
        finish_step(run);
        begin_ending(run);
    }
    if (run->phase == CASE_ENDING && run->machine_is_gone)
        conclude(run);
    else
        arm(run);
}

/* Nothing has become of the step yet. */
static bool step_is_open(const struct case_run *run)
{
    return run->phase == CASE_STEPS && run->step_has_begun && run->step_status == RESULT_NOT_RUN;
}

/* Of those that make a step fail; 0: another. */
static uint64_t limit_of(const struct case_run *run, enum case_timer timer)
{
    switch (timer) {
    case CASE_TIMER_STEP:
        return case_step(run)->timeout_ns;
    case CASE_TIMER_CASE:
        return run->scenario->limit_ns;
    case CASE_TIMER_PANIC:
        return PANIC_NS;
    default:
        return 0;
    }
}

/*
 * While this process was stopped, nobody has looked at what the machine did: once, the time is made longer by as much,
 * by its own length at the most. true: it has been.
 */
static bool forgive(struct case_run *run, enum case_timer timer, uint64_t now)
{
    const uint64_t limit = limit_of(run, timer);
    const uint64_t late = now - run->timers[timer];

    if (limit == 0 || late < LATE_NS || run->was_late[timer])
        return false;
    run->was_late[timer] = true;
    case_set_timer(run, timer, now + (late < limit ? late : limit));
    return true;
}

static void serve_timer(struct case_run *run, enum case_timer timer)
{
    /* Several may have come at once, and the first of them may have ended the step. */
    if ((limit_of(run, timer) != 0 || timer == CASE_TIMER_WAKE) && !step_is_open(run))
        return;
    switch (timer) {
    case CASE_TIMER_STEP:
        time_out(run, "after", case_step(run)->timeout_ns);
        break;
    case CASE_TIMER_CASE:
        time_out(run, "all steps together have", run->scenario->limit_ns);
        break;
    case CASE_TIMER_QUIET:
        console_watch_settle(run->watch);
        case_file_flush(&run->console_log);
        case_file_flush(&run->console_timed);
        break;
    case CASE_TIMER_WAKE:
        if (kind_of(case_step(run))->wake != NULL)
            kind_of(case_step(run))->wake(run);
        break;
    case CASE_TIMER_CONTROL:
        control_job_wake(run->post_mortem != NULL ? run->post_mortem : run->at.control);
        break;
    case CASE_TIMER_PANIC:
        if (run->machine_waits)
            run->machine_has_ended = true;
        else
            case_step_fail(run, "the guest's kernel panicked");
        break;
    case CASE_TIMER_POST_MORTEM:
        post_mortem_stop(run);
        break;
    case CASE_TIMER_COUNT:
        break;
    }
}

static void on_timer(void *context, uint32_t events)
{
    struct case_run *run = context;
    const uint64_t now = clock_now_ns();
    uint64_t count;

    (void)events;
    (void)!read(run->timer_fd, &count, sizeof(count));
    for (enum case_timer timer = 0; timer < CASE_TIMER_COUNT; timer++) {
        if (run->timers[timer] == 0 || run->timers[timer] > now || forgive(run, timer, now))
            continue;
        case_set_timer(run, timer, 0);
        serve_timer(run, timer);
    }
    case_advance(run);
}

/* ---- The run ---- */

static int start(struct case_run *run, struct error *error)
{
    run->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (run->timer_fd < 0)
        return error_set(error, ERROR_HOST, "no timer: %s", strerror(errno));
    if (event_loop_add(run->loop, run->timer_fd, EPOLLIN, on_timer, run, error) < 0)
        return -1;
    if (scenario_values_begin(&run->values, run->scenario, run->index) < 0)
        return error_set(error, ERROR_HOST, "out of memory");
    if (case_start_machine(run, error) < 0)
        return -1;
    /* The first step begins in the loop, as all that follows. */
    case_set_timer(run, CASE_TIMER_QUIET, run->started_ns + 1);
    arm(run);
    return 0;
}

struct case_run *case_run_start(struct event_loop *loop, const struct scenario *scenario, size_t index,
                                const struct case_run_settings *settings, const struct case_run_handlers *handlers,
                                struct result_case *result, struct error *error)
{
    struct case_run *run = calloc(1, sizeof(*run));
    struct error ignored;

    result->started_at = time(NULL);
    result->status = RESULT_BROKEN;
    if (run == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    run->loop = loop;
    run->scenario = scenario;
    run->index = index;
    run->settings = *settings;
    run->handlers = *handlers;
    run->result = result;
    run->timer_fd = -1;
    run->started_ns = clock_now_ns();
    run->status = RESULT_PASSED;
    if (start(run, error) == 0)
        return run;
    (void)result_set_text(&result->message, error->text, &ignored);
    case_run_destroy(run);
    return NULL;
}

void case_run_interrupt(struct case_run *run, const char *why)
{
    if (run->phase == CASE_OVER)
        return;
    if (run->phase == CASE_POST_MORTEM)
        post_mortem_stop(run);
    if (run->step_has_begun)
        finish_step(run);
    run->status = RESULT_PASSED;
    free(run->message);
    run->message = NULL;
    case_fail(run, RESULT_NOT_RUN, "%s", why);
    begin_ending(run);
    case_advance(run);
}

void case_run_destroy(struct case_run *run)
{
    if (run == NULL)
        return;
    if (run->phase == CASE_POST_MORTEM)
        post_mortem_stop(run);
    if (run->step_has_begun)
        leave_step(run);
    case_end_machine(run);
    event_loop_remove(run->loop, run->timer_fd);
    if (run->timer_fd >= 0)
        close(run->timer_fd);
    scenario_values_free(&run->values);
    free(run->step_message);
    free(run->step_detail);
    free(run->message);
    free(run);
}
