#include "vmm/runner/suite.h"

#include "vmm/config/place.h"
#include "vmm/runner/folders.h"
#include "vmm/runner/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const size_t NO_STEP = SIZE_MAX;

/* One machine's place. */
struct job {
    struct suite *suite;
    bool is_busy;
    size_t place;
    /* Where its result goes. */
    size_t slot;
    /* Of one case, until it has ended. */
    struct results *scratch;
    char *folder;
    struct case_run *run;
    uint64_t started_ns;
    size_t step;
};

struct suite {
    struct event_loop *loop;
    const struct plan *plan;
    struct suite_settings settings;
    struct suite_handlers handlers;
    struct results *results;
    struct suite_tally *tallies;
    /* For until_fail: the folder of the result that a case has, by place. */
    char **kept_folders;

    struct job *jobs;
    size_t running;
    uint64_t memory_used;
    /* The places of all cases, the longest first; and what each is taken to last. */
    size_t *order;
    uint64_t *weights;
    /* Those of the round that have not begun, in that order. */
    size_t *waiting;
    size_t waiting_count;
    unsigned round;

    char *why_stopped;
    bool is_stopping;
    bool has_finished;
    bool is_filling;

    struct view view;
    struct view_case *view_cases;
};

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static size_t slot_of(const struct suite *suite, size_t place)
{
    return suite->settings.until_fail ? place : (size_t)(suite->round - 1) * suite->plan->count + place;
}

static bool is_bad(enum result_status status)
{
    return status == RESULT_FAILED || status == RESULT_BROKEN;
}

static bool is_last_round(const struct suite *suite)
{
    return suite->settings.rounds != 0 && suite->round == suite->settings.rounds;
}

/* ---- An end ---- */

static bool is_over(const struct suite *suite)
{
    if (suite->running > 0 || suite->waiting_count > 0 || suite->is_filling)
        return false;
    return suite->is_stopping || is_last_round(suite) || suite->plan->count == 0;
}

static void finish(struct suite *suite)
{
    if (suite->has_finished || !is_over(suite))
        return;
    suite->has_finished = true;
    suite->handlers.finished(suite->handlers.context);
}

static void count(struct suite *suite, size_t place, const struct result_case *result)
{
    struct suite_tally *tally = &suite->tallies[place];
    const bool has_passed = tally->runs > tally->failures;

    if (result->status == RESULT_PASSED || result->status == RESULT_FAILED) {
        tally->runs++;
        tally->failures += result->status == RESULT_FAILED;
    }
    if (!is_bad(tally->status) && result->status != RESULT_NOT_RUN)
        tally->status = result->status;
    if (result->status == RESULT_PASSED || (result->status == RESULT_FAILED && !has_passed))
        tally->duration_ns = result->duration_ns;
}

static void forget_attachments(struct result_case *result)
{
    for (size_t i = 0; i < result->attachment_count; i++) {
        free(result->attachments[i].name);
        free(result->attachments[i].path);
    }
    free(result->attachments);
    result->attachments = NULL;
    result->attachment_count = 0;
}

static void remove_folder(char **folder)
{
    folders_remove(*folder);
    free(*folder);
    *folder = NULL;
}

/*
 * The result takes its place. In until_fail there is one before it, which stays if it is what the user wants to see,
 * or if this one was cut short.
 */
static void keep_result(struct suite *suite, struct job *job)
{
    struct result_case **from = &job->scratch->cases[0];
    struct result_case **to = &suite->results->cases[job->slot];
    const bool replaces =
        (*to)->status == RESULT_NOT_RUN || ((*from)->status != RESULT_NOT_RUN && !is_bad((*to)->status));

    if (!suite->settings.keeps_folders)
        forget_attachments(*from);
    if (replaces) {
        struct result_case *old = *to;
        *to = *from;
        *from = old;
    }
    if (!suite->settings.keeps_folders) {
        remove_folder(&job->folder);
    } else if (suite->settings.until_fail) {
        char **kept = &suite->kept_folders[job->place];
        if (replaces) {
            char *old = *kept;
            *kept = job->folder;
            job->folder = old;
        }
        remove_folder(&job->folder);
    }
}

static void release(struct job *job)
{
    case_run_destroy(job->run);
    results_free(job->scratch);
    free(job->folder);
    *job = (struct job){.suite = job->suite};
}

static void fill(struct suite *suite);

/* Whether that is the end of all. */
static void stop_for(struct suite *suite, const struct result_case *ended)
{
    char why[SCENARIO_MAX_NAME + 4200];

    if (!is_bad(ended->status) || !(suite->settings.fail_fast || suite->settings.until_fail))
        return;
    (void)snprintf(why, sizeof(why), "%s %s before", ended->name,
                   ended->status == RESULT_FAILED ? "had failed" : "could not be run");
    suite_stop(suite, why);
}

/* It has ended, and is where it belongs; other cases may begin. */
static void tell(struct suite *suite, size_t place, const struct result_case *ended)
{
    count(suite, place, ended);
    suite->view.tallies[ended->status]++;
    suite->handlers.ended(suite->handlers.context, ended);
    stop_for(suite, ended);
}

/* The case of a job has ended, or could not be begun. */
static void settle(struct job *job)
{
    struct suite *suite = job->suite;
    struct results *scratch = job->scratch;
    const struct result_case *ended = scratch->cases[0];
    const size_t place = job->place;

    keep_result(suite, job);
    suite->memory_used -= suite->plan->cases[place].memory;
    suite->running--;
    job->scratch = NULL;
    release(job);
    tell(suite, place, ended);
    /* The result itself is among all results by now, unless another one stayed there. */
    results_free(scratch);
    fill(suite);
    finish(suite);
}

static void on_ended(void *context)
{
    settle(context);
}

static void on_step(void *context, size_t index)
{
    struct job *job = context;
    const struct suite_handlers *handlers = &job->suite->handlers;

    job->step = index;
    handlers->step(handlers->context, job->scratch->cases[0]->name, job->suite->plan->cases[job->place].from->scenario,
                   index);
}

/* ---- A beginning ---- */

/* "NAME", or "NAME#ROUND" in several. NULL: out of memory. */
static char *name_result(const struct suite *suite, size_t place, unsigned round)
{
    const char *own = suite->plan->cases[place].name;
    char *name;

    if (suite->settings.rounds == 1 || round == 0)
        return strdup(own);
    return asprintf(&name, "%s#%u", own, round) < 0 ? NULL : name;
}

static int add_result(const struct suite *suite, struct results *results, size_t place, unsigned round,
                      struct error *error)
{
    char *name = name_result(suite, place, round);
    const struct result_case *added =
        name != NULL ? results_add_case(results, name, suite->plan->cases[place].from->file, error) : NULL;

    if (name == NULL)
        (void)config_out_of_memory(error);
    free(name);
    return added != NULL ? 0 : -1;
}

static struct results *make_scratch(const struct suite *suite, size_t place, struct error *error)
{
    struct results *scratch = results_create("", error);

    if (scratch != NULL && add_result(suite, scratch, place, suite->round, error) == 0)
        return scratch;
    results_free(scratch);
    return NULL;
}

/* There is no memory for as much as a result of its own: the one that is there says so. */
static void give_up(struct suite *suite, size_t place, const struct error *error)
{
    struct result_case *result = suite->results->cases[slot_of(suite, place)];
    struct error ignored;

    result->status = RESULT_BROKEN;
    (void)result_set_text(&result->message, error->text, &ignored);
    tell(suite, place, result);
}

static void break_result(struct result_case *result, const struct error *error)
{
    struct error ignored;

    result->status = RESULT_BROKEN;
    if (result->message == NULL)
        (void)result_set_text(&result->message, error->text, &ignored);
}

/* false, with a broken result. */
static bool run_case(struct job *job, struct result_case *result)
{
    const struct suite *suite = job->suite;
    const struct plan_case *one = &suite->plan->cases[job->place];
    const struct case_run_handlers handlers = {.step = on_step, .ended = on_ended, .context = job};
    struct case_run_settings settings = suite->settings.run;
    struct error error;

    job->folder = folders_make_for_case(suite->settings.folder, result->name, &error);
    if (job->folder != NULL) {
        settings.folder = job->folder;
        job->run = case_run_start(suite->loop, one->from->scenario, one->index, &settings, &handlers, result, &error);
    }
    if (job->run == NULL)
        break_result(result, &error);
    return job->run != NULL;
}

static struct job *free_job(struct suite *suite)
{
    for (unsigned i = 0; i < suite->settings.jobs; i++) {
        if (!suite->jobs[i].is_busy)
            return &suite->jobs[i];
    }
    return NULL;
}

static void warn_of_memory(const struct suite *suite, const struct plan_case *one)
{
    char text[512];

    if (one->memory <= suite->settings.memory || suite->round > 1)
        return;
    (void)snprintf(text, sizeof(text),
                   "%.200s: its machine may take %llu MiB, and %llu MiB are free; it is run alone, and may be killed "
                   "for want of memory",
                   one->name, (unsigned long long)(one->memory >> 20),
                   (unsigned long long)(suite->settings.memory >> 20));
    suite->handlers.warn(suite->handlers.context, text);
}

static void begin(struct suite *suite, struct job *job, size_t place)
{
    struct error error;
    struct results *scratch = make_scratch(suite, place, &error);

    if (scratch == NULL) {
        give_up(suite, place, &error);
        return;
    }
    *job = (struct job){.suite = suite,
                        .is_busy = true,
                        .place = place,
                        .slot = slot_of(suite, place),
                        .scratch = scratch,
                        .started_ns = now_ns(),
                        .step = NO_STEP};
    suite->running++;
    suite->memory_used += suite->plan->cases[place].memory;
    warn_of_memory(suite, &suite->plan->cases[place]);
    suite->handlers.began(suite->handlers.context, scratch->cases[0]->name);
    if (suite->is_stopping || !run_case(job, scratch->cases[0]))
        settle(job);
}

/* ---- Which comes next ---- */

static bool has_room(const struct suite *suite, size_t place)
{
    const uint64_t needed = suite->plan->cases[place].memory;

    if (suite->running == 0)
        return true;
    return suite->memory_used <= suite->settings.memory && needed <= suite->settings.memory - suite->memory_used;
}

static void begin_round(struct suite *suite)
{
    suite->round++;
    suite->waiting_count = suite->plan->count;
    memcpy(suite->waiting, suite->order, suite->plan->count * sizeof(*suite->waiting));
}

/* Takes the first that there is memory for. false: none, for now. */
static bool take_next(struct suite *suite, size_t *ret_place)
{
    for (size_t i = 0; i < suite->waiting_count; i++) {
        const size_t place = suite->waiting[i];
        if (!has_room(suite, place))
            continue;
        memmove(&suite->waiting[i], &suite->waiting[i + 1], (suite->waiting_count - i - 1) * sizeof(*suite->waiting));
        suite->waiting_count--;
        *ret_place = place;
        return true;
    }
    return false;
}

/*
 * Begins as many as there may be. A case that cannot be begun is settled at once, and comes back here: then the loop
 * that is under way goes on.
 */
static void fill(struct suite *suite)
{
    struct job *job;
    size_t place;

    if (suite->is_filling)
        return;
    suite->is_filling = true;
    while (!suite->is_stopping && (job = free_job(suite)) != NULL) {
        if (suite->waiting_count == 0 && !is_last_round(suite))
            begin_round(suite);
        if (!take_next(suite, &place))
            break;
        begin(suite, job, place);
    }
    suite->is_filling = false;
}

/* ---- From outside ---- */

static int add_results(struct suite *suite, struct error *error)
{
    const unsigned rounds = suite->settings.until_fail ? 1 : suite->settings.rounds;

    if ((uint64_t)rounds * suite->plan->count > SUITE_MAX_RESULTS)
        return error_set(error, ERROR_CONFIG, "--repeat: %u times %zu cases are too many; %u results are the most",
                         rounds, suite->plan->count, SUITE_MAX_RESULTS);
    for (unsigned round = 1; round <= rounds; round++) {
        for (size_t place = 0; place < suite->plan->count; place++) {
            if (add_result(suite, suite->results, place, suite->settings.until_fail ? 0 : round, error) < 0)
                return -1;
        }
    }
    return 0;
}

static int allocate(struct suite *suite, struct error *error)
{
    const size_t cases = suite->plan->count + 1;

    suite->tallies = calloc(cases, sizeof(*suite->tallies));
    suite->kept_folders = calloc(cases, sizeof(*suite->kept_folders));
    suite->waiting = calloc(cases, sizeof(*suite->waiting));
    suite->jobs = calloc(suite->settings.jobs, sizeof(*suite->jobs));
    suite->view_cases = calloc(suite->settings.jobs, sizeof(*suite->view_cases));
    if (suite->tallies == NULL || suite->kept_folders == NULL || suite->waiting == NULL || suite->jobs == NULL ||
        suite->view_cases == NULL)
        return config_out_of_memory(error);
    for (unsigned i = 0; i < suite->settings.jobs; i++)
        suite->jobs[i].suite = suite;
    return plan_order(suite->plan, &suite->order, &suite->weights, error);
}

struct suite *suite_create(struct event_loop *loop, const struct plan *plan, const struct suite_settings *settings,
                           const struct suite_handlers *handlers, struct results *results, struct error *error)
{
    struct suite *suite = calloc(1, sizeof(*suite));

    if (suite == NULL) {
        (void)config_out_of_memory(error);
        return NULL;
    }
    suite->loop = loop;
    suite->plan = plan;
    suite->settings = *settings;
    suite->handlers = *handlers;
    suite->results = results;
    if (allocate(suite, error) == 0 && add_results(suite, error) == 0)
        return suite;
    suite_destroy(suite);
    return NULL;
}

void suite_start(struct suite *suite)
{
    if (suite->plan->count > 0) {
        begin_round(suite);
        fill(suite);
    }
    finish(suite);
}

/* Those that have never been begun. */
static void say_why(struct suite *suite, const char *why)
{
    struct error ignored;

    for (size_t i = 0; i < suite->results->case_count; i++) {
        struct result_case *result = suite->results->cases[i];
        if (result->status == RESULT_NOT_RUN && result->message == NULL)
            (void)result_set_text(&result->message, why, &ignored);
    }
}

void suite_stop(struct suite *suite, const char *why)
{
    if (suite->is_stopping)
        return;
    suite->is_stopping = true;
    suite->waiting_count = 0;
    /* An interrupted run may live as long as the suite, and keeps no copy. */
    suite->why_stopped = strdup(why);
    for (unsigned i = 0; i < suite->settings.jobs; i++) {
        if (suite->jobs[i].run != NULL)
            case_run_interrupt(suite->jobs[i].run, suite->why_stopped != NULL ? suite->why_stopped : "stopped");
    }
    say_why(suite, why);
    finish(suite);
}

/* ---- How it stands ---- */

static struct view_case look_at(const struct job *job, uint64_t now)
{
    const struct plan_case *one = &job->suite->plan->cases[job->place];
    const struct scenario *scenario = one->from->scenario;
    struct view_case view = {.name = job->scratch->cases[0]->name,
                             .step_count = scenario->step_count,
                             .elapsed_ns = now - job->started_ns,
                             .expected_ns = one->expected_ns};

    if (job->step < scenario->step_count) {
        view.step = job->step;
        view.kind = scenario_step_name(scenario->steps[job->step].kind);
    }
    return view;
}

static bool knows_times(const struct suite *suite)
{
    for (size_t i = 0; i < suite->plan->count; i++) {
        if (suite->plan->cases[i].expected_ns > 0)
            return true;
    }
    return false;
}

/* Machines that are never idle would take this long, but none less than the longest of what runs. */
static uint64_t time_left(const struct suite *suite, uint64_t now)
{
    double longest = 0;
    double sum = 0;

    for (unsigned i = 0; i < suite->settings.jobs; i++) {
        const struct job *job = &suite->jobs[i];
        const double elapsed = (double)(now - job->started_ns);
        if (!job->is_busy || (double)suite->weights[job->place] <= elapsed)
            continue;
        const double left = (double)suite->weights[job->place] - elapsed;
        longest = left > longest ? left : longest;
        sum += left;
    }
    for (size_t i = 0; i < suite->waiting_count; i++)
        sum += (double)suite->weights[suite->waiting[i]];
    for (size_t i = 0; i < suite->plan->count; i++)
        sum += (double)suite->weights[i] * (suite->settings.rounds - suite->round);
    sum /= suite->settings.jobs;
    sum = sum > longest ? sum : longest;
    return sum < (double)SCENARIO_MAX_TIME_NS * 100 ? (uint64_t)sum : SCENARIO_MAX_TIME_NS * 100;
}

const struct view *suite_view(struct suite *suite)
{
    struct view *view = &suite->view;
    const uint64_t now = now_ns();

    view->running = suite->view_cases;
    view->running_count = 0;
    for (unsigned i = 0; i < suite->settings.jobs; i++) {
        if (suite->jobs[i].is_busy)
            suite->view_cases[view->running_count++] = look_at(&suite->jobs[i], now);
    }
    view->round = suite->round;
    view->rounds = suite->settings.rounds;
    view->waiting = suite->waiting_count;
    if (view->rounds != 0 && !suite->is_stopping)
        view->waiting += (size_t)(view->rounds - view->round) * suite->plan->count;
    view->knows_left = view->rounds != 0 && !suite->is_stopping && knows_times(suite);
    view->left_ns = view->knows_left ? time_left(suite, now) : 0;
    return view;
}

const struct suite_tally *suite_tally(const struct suite *suite, size_t place)
{
    return &suite->tallies[place];
}

void suite_destroy(struct suite *suite)
{
    if (suite == NULL)
        return;
    for (unsigned i = 0; suite->jobs != NULL && i < suite->settings.jobs; i++) {
        if (suite->jobs[i].is_busy)
            release(&suite->jobs[i]);
    }
    for (size_t i = 0; suite->kept_folders != NULL && i < suite->plan->count; i++)
        free(suite->kept_folders[i]);
    free(suite->kept_folders);
    free(suite->tallies);
    free(suite->order);
    free(suite->weights);
    free(suite->waiting);
    free(suite->jobs);
    free(suite->view_cases);
    free(suite->why_stopped);
    free(suite);
}
