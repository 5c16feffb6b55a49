#include "vmm/runner/session.h"

#include "vmm/config/place.h"
#include "vmm/runner/clock.h"
#include "vmm/runner/folders.h"
#include "vmm/runner/select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t NO_STEP = SIZE_MAX;
/* 8 bytes for each 4 KiB, in KVM alone (struct kvm_memory_slot, its arch.rmap), and as much again. */
static const uint64_t MEMORY_PER_BOOKKEEPING = 256;

/* One machine's place. */
struct job {
    struct session *session;
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

struct session {
    struct event_loop *loop;
    const struct plan *plan;
    struct session_settings settings;
    struct session_handlers handlers;
    struct results *results;
    struct session_tally *tallies;
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

static size_t slot_of(const struct session *session, size_t place)
{
    return session->settings.until_fail ? place : (size_t)(session->round - 1) * session->plan->count + place;
}

static bool is_bad(enum result_status status)
{
    return status == RESULT_FAILED || status == RESULT_BROKEN;
}

static bool is_last_round(const struct session *session)
{
    return session->settings.rounds != 0 && session->round == session->settings.rounds;
}

/* ---- An end ---- */

static bool is_over(const struct session *session)
{
    if (session->running > 0 || session->waiting_count > 0)
        return false;
    return session->is_stopping || is_last_round(session) || session->plan->count == 0;
}

static void finish(struct session *session)
{
    if (session->has_finished || !is_over(session))
        return;
    session->has_finished = true;
    session->handlers.finished(session->handlers.context);
}

static void count(struct session *session, size_t place, const struct result_case *result)
{
    struct session_tally *tally = &session->tallies[place];
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

/* The result takes its place. In until_fail that of a round that was cut short leaves the one before it. */
static void keep_result(struct session *session, struct job *job)
{
    struct result_case **from = &job->scratch->cases[0];
    struct result_case **to = &session->results->cases[job->slot];
    const bool replaces = (*from)->status != RESULT_NOT_RUN || (*to)->status == RESULT_NOT_RUN;

    if (!session->settings.keeps_folders)
        forget_attachments(*from);
    if (replaces) {
        struct result_case *old = *to;
        *to = *from;
        *from = old;
    }
    if (!session->settings.keeps_folders) {
        remove_folder(&job->folder);
    } else if (session->settings.until_fail) {
        char **kept = &session->kept_folders[job->place];
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
    *job = (struct job){.session = job->session};
}

static void fill(struct session *session);

/* Whether that is the end of all. */
static void stop_for(struct session *session, const struct result_case *ended)
{
    char why[SCENARIO_MAX_NAME + 4200];

    if (!is_bad(ended->status) || !(session->settings.fail_fast || session->settings.until_fail))
        return;
    (void)snprintf(why, sizeof(why), "%s %s before", ended->name,
                   ended->status == RESULT_FAILED ? "had failed" : "could not be run");
    session_stop(session, why);
}

/* It has ended, and is where it belongs; other cases may begin. */
static void tell(struct session *session, size_t place, const struct result_case *ended)
{
    count(session, place, ended);
    session->view.tallies[ended->status]++;
    session->handlers.ended(session->handlers.context, ended);
    stop_for(session, ended);
}

/* The case of a job has ended, or could not be begun. */
static void settle(struct job *job)
{
    struct session *session = job->session;
    struct results *scratch = job->scratch;
    const struct result_case *ended = scratch->cases[0];
    const size_t place = job->place;

    keep_result(session, job);
    session->memory_used -= session->plan->cases[place].memory;
    session->running--;
    job->scratch = NULL;
    release(job);
    tell(session, place, ended);
    /* The result itself is among all results by now, unless another one stayed there. */
    results_free(scratch);
    fill(session);
    finish(session);
}

static void on_ended(void *context)
{
    settle(context);
}

static void on_step(void *context, size_t index)
{
    struct job *job = context;
    const struct session_handlers *handlers = &job->session->handlers;

    job->step = index;
    handlers->step(handlers->context, job->scratch->cases[0]->name,
                   job->session->plan->cases[job->place].from->scenario, index);
}

/* ---- A beginning ---- */

/* "NAME", or "NAME#ROUND" in several. NULL: out of memory. */
static char *name_result(const struct session *session, size_t place, unsigned round)
{
    const char *own = session->plan->cases[place].name;
    char *name;

    if (session->settings.rounds == 1 || round == 0)
        return strdup(own);
    return asprintf(&name, "%s#%u", own, round) < 0 ? NULL : name;
}

static int add_result(const struct session *session, struct results *results, size_t place, unsigned round,
                      struct error *error)
{
    char *name = name_result(session, place, round);
    const struct result_case *added =
        name != NULL ? results_add_case(results, name, session->plan->cases[place].from->file, error) : NULL;

    if (name == NULL)
        (void)config_out_of_memory(error);
    free(name);
    return added != NULL ? 0 : -1;
}

static struct results *make_scratch(const struct session *session, size_t place, struct error *error)
{
    struct results *scratch = results_create("", error);

    if (scratch != NULL && add_result(session, scratch, place, session->round, error) == 0)
        return scratch;
    results_free(scratch);
    return NULL;
}

/* There is no memory for as much as a result of its own: the one that is there says so. */
static void give_up(struct session *session, size_t place, const struct error *error)
{
    struct result_case *result = session->results->cases[slot_of(session, place)];
    struct error ignored;

    result->status = RESULT_BROKEN;
    (void)result_set_text(&result->message, error->text, &ignored);
    tell(session, place, result);
}

static void break_result(struct result_case *result, const struct error *error)
{
    struct error ignored;

    result->status = RESULT_BROKEN;
    if (result->message == NULL)
        (void)result_set_text(&result->message, error->text, &ignored);
}

/* KVM and the kernel keep a few words for each page that a guest could touch, before it does. */
static int refuse_memory(const struct session *session, const struct plan_case *one, struct error *error)
{
    if (one->memory / MEMORY_PER_BOOKKEEPING <= session->settings.memory)
        return 0;
    return error_set(
        error, ERROR_CONFIG,
        "its machine may take %llu MiB, for which alone the host's bookkeeping has no room in the %llu MiB "
        "that are free; give it less memory",
        (unsigned long long)(one->memory >> 20), (unsigned long long)(session->settings.memory >> 20));
}

/* false, with a broken result. */
static bool run_case(struct job *job, struct result_case *result)
{
    const struct session *session = job->session;
    const struct plan_case *one = &session->plan->cases[job->place];
    const struct case_run_handlers handlers = {.step = on_step, .ended = on_ended, .context = job};
    struct case_run_settings settings = session->settings.run;
    struct error error;

    if (refuse_memory(session, one, &error) < 0) {
        break_result(result, &error);
        return false;
    }
    job->folder = folders_make_for_case(session->settings.folder, result->name, &error);
    if (job->folder != NULL) {
        settings.folder = job->folder;
        job->run = case_run_start(session->loop, one->from->scenario, one->index, &settings, &handlers, result, &error);
    }
    if (job->run == NULL)
        break_result(result, &error);
    return job->run != NULL;
}

static struct job *free_job(struct session *session)
{
    for (unsigned i = 0; i < session->settings.jobs; i++) {
        if (!session->jobs[i].is_busy)
            return &session->jobs[i];
    }
    return NULL;
}

static void warn_of_memory(const struct session *session, const struct plan_case *one)
{
    char text[512];

    if (one->memory <= session->settings.memory || session->round > 1)
        return;
    (void)snprintf(text, sizeof(text),
                   "%.200s: its machine may take %llu MiB, and %llu MiB are free; it is run alone, and may be killed "
                   "for want of memory",
                   one->name, (unsigned long long)(one->memory >> 20),
                   (unsigned long long)(session->settings.memory >> 20));
    session->handlers.warn(session->handlers.context, text);
}

static void begin(struct session *session, struct job *job, size_t place)
{
    struct error error;
    struct results *scratch = make_scratch(session, place, &error);

    if (scratch == NULL) {
        give_up(session, place, &error);
        return;
    }
    *job = (struct job){.session = session,
                        .is_busy = true,
                        .place = place,
                        .slot = slot_of(session, place),
                        .scratch = scratch,
                        .started_ns = clock_now_ns(),
                        .step = NO_STEP};
    session->running++;
    session->memory_used += session->plan->cases[place].memory;
    warn_of_memory(session, &session->plan->cases[place]);
    session->handlers.began(session->handlers.context, scratch->cases[0]->name);
    if (session->is_stopping || !run_case(job, scratch->cases[0]))
        settle(job);
}

/* ---- Which comes next ---- */

static bool has_room(const struct session *session, size_t place)
{
    const uint64_t needed = session->plan->cases[place].memory;

    if (session->running == 0)
        return true;
    return session->memory_used <= session->settings.memory &&
           needed <= session->settings.memory - session->memory_used;
}

static void begin_round(struct session *session)
{
    session->round++;
    session->waiting_count = session->plan->count;
    memcpy(session->waiting, session->order, session->plan->count * sizeof(*session->waiting));
}

/* Takes the first that there is memory for. false: none, for now. */
static bool take_next(struct session *session, size_t *ret_place)
{
    for (size_t i = 0; i < session->waiting_count; i++) {
        const size_t place = session->waiting[i];
        if (!has_room(session, place))
            continue;
        memmove(&session->waiting[i], &session->waiting[i + 1],
                (session->waiting_count - i - 1) * sizeof(*session->waiting));
        session->waiting_count--;
        *ret_place = place;
        return true;
    }
    return false;
}

/*
 * Begins as many as there may be. A case that cannot be begun is settled at once, and comes back here: then the loop
 * that is under way goes on.
 */
static void fill(struct session *session)
{
    struct job *job;
    size_t place;

    if (session->is_filling)
        return;
    session->is_filling = true;
    while (!session->is_stopping && (job = free_job(session)) != NULL) {
        if (session->waiting_count == 0 && !is_last_round(session))
            begin_round(session);
        if (!take_next(session, &place))
            break;
        begin(session, job, place);
    }
    session->is_filling = false;
}

/* ---- From outside ---- */

static int add_results(struct session *session, struct error *error)
{
    const unsigned rounds = session->settings.until_fail ? 1 : session->settings.rounds;

    if ((uint64_t)rounds * session->plan->count > SESSION_MAX_RESULTS)
        return error_set(error, ERROR_CONFIG, "--repeat: %u times %zu cases are too many; %u results are the most",
                         rounds, session->plan->count, SESSION_MAX_RESULTS);
    for (unsigned round = 1; round <= rounds; round++) {
        for (size_t place = 0; place < session->plan->count; place++) {
            if (add_result(session, session->results, place, session->settings.until_fail ? 0 : round, error) < 0)
                return -1;
        }
    }
    return 0;
}

static int allocate(struct session *session, struct error *error)
{
    const size_t cases = session->plan->count + 1;

    session->tallies = calloc(cases, sizeof(*session->tallies));
    session->kept_folders = calloc(cases, sizeof(*session->kept_folders));
    session->waiting = calloc(cases, sizeof(*session->waiting));
    session->jobs = calloc(session->settings.jobs, sizeof(*session->jobs));
    session->view_cases = calloc(session->settings.jobs, sizeof(*session->view_cases));
    if (session->tallies == NULL || session->kept_folders == NULL || session->waiting == NULL ||
        session->jobs == NULL || session->view_cases == NULL)
        return config_out_of_memory(error);
    for (unsigned i = 0; i < session->settings.jobs; i++)
        session->jobs[i].session = session;
    return plan_order(session->plan, &session->order, &session->weights, error);
}

struct session *session_create(struct event_loop *loop, const struct plan *plan,
                               const struct session_settings *settings, const struct session_handlers *handlers,
                               struct results *results, struct error *error)
{
    struct session *session = calloc(1, sizeof(*session));

    if (session == NULL) {
        (void)config_out_of_memory(error);
        return NULL;
    }
    session->loop = loop;
    session->plan = plan;
    session->settings = *settings;
    session->handlers = *handlers;
    session->results = results;
    if (allocate(session, error) == 0 && add_results(session, error) == 0)
        return session;
    session_destroy(session);
    return NULL;
}

void session_start(struct session *session)
{
    if (session->plan->count > 0) {
        begin_round(session);
        fill(session);
    }
    finish(session);
}

/* Those that have never been begun. */
static void say_why(struct session *session, const char *why)
{
    struct error ignored;

    for (size_t i = 0; i < session->results->case_count; i++) {
        struct result_case *result = session->results->cases[i];
        if (result->status == RESULT_NOT_RUN && result->message == NULL)
            (void)result_set_text(&result->message, why, &ignored);
    }
}

void session_stop(struct session *session, const char *why)
{
    if (session->is_stopping)
        return;
    session->is_stopping = true;
    session->waiting_count = 0;
    /* An interrupted run may live as long as the session, and keeps no copy. */
    session->why_stopped = strdup(why);
    for (unsigned i = 0; i < session->settings.jobs; i++) {
        if (session->jobs[i].run != NULL)
            case_run_interrupt(session->jobs[i].run, session->why_stopped != NULL ? session->why_stopped : "stopped");
    }
    say_why(session, why);
    finish(session);
}

/* ---- How it stands ---- */

static struct view_case look_at(const struct job *job, uint64_t now)
{
    const struct plan_case *one = &job->session->plan->cases[job->place];
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

static bool knows_times(const struct session *session)
{
    for (size_t i = 0; i < session->plan->count; i++) {
        if (session->plan->cases[i].expected_ns > 0)
            return true;
    }
    return false;
}

/* Machines that are never idle would take this long, but none less than the longest of what runs. */
static uint64_t time_left(const struct session *session, uint64_t now)
{
    double longest = 0;
    double sum = 0;

    for (unsigned i = 0; i < session->settings.jobs; i++) {
        const struct job *job = &session->jobs[i];
        const double elapsed = (double)(now - job->started_ns);
        if (!job->is_busy || (double)session->weights[job->place] <= elapsed)
            continue;
        const double left = (double)session->weights[job->place] - elapsed;
        longest = left > longest ? left : longest;
        sum += left;
    }
    for (size_t i = 0; i < session->waiting_count; i++)
        sum += (double)session->weights[session->waiting[i]];
    for (size_t i = 0; i < session->plan->count; i++)
        sum += (double)session->weights[i] * (session->settings.rounds - session->round);
    sum /= session->settings.jobs;
    sum = sum > longest ? sum : longest;
    return sum < (double)SCENARIO_MAX_TIME_NS * 100 ? (uint64_t)sum : SCENARIO_MAX_TIME_NS * 100;
}

const struct view *session_view(struct session *session)
{
    struct view *view = &session->view;
    const uint64_t now = clock_now_ns();

    view->running = session->view_cases;
    view->running_count = 0;
    for (unsigned i = 0; i < session->settings.jobs; i++) {
        if (session->jobs[i].is_busy)
            session->view_cases[view->running_count++] = look_at(&session->jobs[i], now);
    }
    view->round = session->round;
    view->rounds = session->settings.rounds;
    view->waiting = session->waiting_count;
    if (view->rounds != 0 && !session->is_stopping)
        view->waiting += (size_t)(view->rounds - view->round) * session->plan->count;
    view->knows_left = view->rounds != 0 && !session->is_stopping && knows_times(session);
    view->left_ns = view->knows_left ? time_left(session, now) : 0;
    return view;
}

const struct session_tally *session_tally(const struct session *session, size_t place)
{
    return &session->tallies[place];
}

void session_destroy(struct session *session)
{
    if (session == NULL)
        return;
    for (unsigned i = 0; session->jobs != NULL && i < session->settings.jobs; i++) {
        if (session->jobs[i].is_busy)
            release(&session->jobs[i]);
    }
    for (size_t i = 0; session->kept_folders != NULL && i < session->plan->count; i++)
        free(session->kept_folders[i]);
    free(session->kept_folders);
    free(session->tallies);
    free(session->order);
    free(session->weights);
    free(session->waiting);
    free(session->jobs);
    free(session->view_cases);
    free(session->why_stopped);
    free(session);
}
