#include "vmm/cli/test.h"

#include "devices/host/event_loop.h"
#include "vmm/report/report.h"
#include "vmm/runner/budget.h"
#include "vmm/runner/clock.h"
#include "vmm/runner/flakiness.h"
#include "vmm/runner/folders.h"
#include "vmm/runner/interrupts.h"
#include "vmm/runner/live.h"
#include "vmm/runner/outputs.h"
#include "vmm/runner/plan.h"
#include "vmm/runner/progress.h"
#include "vmm/runner/select.h"
#include "vmm/runner/session.h"
#include "vmm/runner/times.h"
#include "vmm/runner/verdict.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* As many as SESSION_MAX_JOBS cases may have. */
#define DESCRIPTORS_MAX (16u * SESSION_MAX_JOBS + 256u)

/* Another run has its times noted in a moment, unless it has been stopped. */
static const uint64_t HISTORY_PATIENCE_NS = 10 * 1000000000ull;

/* A run of tests, from its options to its status. Zeroed at first; what is there is given back by close_test(). */
struct test {
    const struct test_options *options;
    struct scenario_options scenario;
    struct plan plan;
    char *history;
    struct times times;
    struct results *results;
    uint64_t started_ns;

    struct event_loop *loop;
    struct interrupts *interrupts;
    struct progress *progress;
    struct session *session;
    char quire[4096];
    /* The report's; or what is removed at the end. */
    char *folder;
    char *temporary;
    /* The signal that has ended the run, or 0. */
    int signal;
};

/* ---- Messages and statuses ---- */

static void complain(const struct error *error)
{
    fprintf(stderr, "quire: %s\n", error->text);
}

static int status_of(const struct error *error)
{
    return error->kind == ERROR_CONFIG ? VERDICT_USAGE : VERDICT_BROKEN;
}

static int fail(const struct error *error)
{
    complain(error);
    return status_of(error);
}

/* ---- Which cases ---- */

static void on_mistake(void *context, const struct error *error)
{
    int *status = context;

    complain(error);
    if (*status != VERDICT_BROKEN)
        *status = status_of(error);
}

/* What is known of earlier runs is a help, and no more. */
static void read_times(struct test *test)
{
    struct error error;

    test->history = test->options->history != NULL ? strdup(test->options->history) : times_default_path();
    if (test->history != NULL && times_read(test->history, &test->times, &error) < 0)
        complain(&error);
    plan_recall(&test->plan, &test->times);
}

static int fail_to_fit(const struct test *test, size_t count, struct error *error)
{
    return error_set(error, ERROR_CONFIG,
                     "test: --filter: none of %zu cases has a name or an entry like \"%.100s\"; --list shows them",
                     count, test->options->filters[0]);
}

static int select_cases(struct test *test, struct error *error)
{
    const struct test_options *options = test->options;
    const size_t all = test->plan.count;

    if (options->filter_count > 0 && plan_filter(&test->plan, options->filters, options->filter_count, error) < 0)
        return -1;
    if (test->plan.count == 0)
        return fail_to_fit(test, all, error);
    if (options->only_failed && plan_keep_failed(&test->plan, error) < 0)
        return -1;
    if (options->shard_count > 1 && plan_keep_shard(&test->plan, options->shard, options->shard_count, error) < 0)
        return -1;
    if (test->plan.count == 0 && options->for_bisect)
        return error_set(error, ERROR_CONFIG,
                         "test: --bisect: there is no case in this share, and no commit is good for that; leave out "
                         "--shard");
    return 0;
}

static int load(struct test *test)
{
    const struct test_options *options = test->options;
    int status = VERDICT_PASSED;
    struct error error;

    /* What this commit has not built says nothing of the next one. */
    test->scenario = (struct scenario_options){.assignments = options->assignments,
                                               .assignment_count = options->assignment_count,
                                               .may_lack_files = options->for_bisect};
    if (plan_load(options->paths, options->path_count, &test->scenario, &test->plan, on_mistake, &status) < 0)
        return status;
    read_times(test);
    return select_cases(test, &error) < 0 ? fail(&error) : VERDICT_PASSED;
}

static int list(const struct test *test)
{
    struct error error;

    for (size_t i = 0; i < test->plan.count; i++) {
        const struct plan_case *one = &test->plan.cases[i];
        char time[LIVE_TIME_SIZE];
        if (one->expected_ns > 0 && one->expected_ns < 10000000000u)
            printf("%s  %.2f s\n", one->name, (double)one->expected_ns / 1e9);
        else if (one->expected_ns > 0)
            printf("%s  %s\n", one->name, live_time(time, one->expected_ns));
        else
            printf("%s\n", one->name);
    }
    if (fflush(stdout) == 0 && !ferror(stdout))
        return VERDICT_PASSED;
    error_set(&error, ERROR_HOST, "standard output cannot be written: %s", strerror(errno));
    return fail(&error);
}

/* ---- While they run ---- */

static const struct view *on_look(void *context)
{
    const struct test *test = context;

    return session_view(test->session);
}

static void on_began(void *context, const char *name)
{
    const struct test *test = context;

    (void)name;
    progress_began(test->progress);
}

static void on_step(void *context, const char *name, const struct scenario *scenario, size_t step)
{
    const struct test *test = context;

    progress_step(test->progress, name, scenario, step);
}

static void on_ended(void *context, const struct result_case *result)
{
    const struct test *test = context;

    progress_ended(test->progress, result);
    if (progress_has_failed(test->progress))
        session_stop(test->session, "not run, because standard output cannot be written");
}

static void on_warn(void *context, const char *text)
{
    const struct test *test = context;

    progress_warn(test->progress, text);
}

static void on_finished(void *context)
{
    const struct test *test = context;

    event_loop_stop(test->loop);
}

/* The first signal ends the machines, and the run in order; the second one everything. */
static void on_signal(void *context, int number, unsigned count)
{
    struct test *test = context;
    char why[80];

    if (count > 1) {
        progress_destroy(test->progress);
        folders_remove(test->temporary);
        _exit(VERDICT_SIGNAL + number);
    }
    test->signal = number;
    progress_hurry(test->progress);
    (void)snprintf(why, sizeof(why), "interrupted by SIG%s", sigabbrev_np(number));
    progress_warn(test->progress, why);
    session_stop(test->session, why);
}

static unsigned count_processors(void)
{
    cpu_set_t processors;

    if (sched_getaffinity(0, sizeof(processors), &processors) < 0)
        return 1;
    const int count = CPU_COUNT(&processors);
    return count < 1 ? 1 : (unsigned)count;
}

/* ---- Preparations ---- */

static int find_self(struct test *test, struct error *error)
{
    const ssize_t length = readlink("/proc/self/exe", test->quire, sizeof(test->quire) - 1);

    if (length < 0)
        return error_set(error, ERROR_HOST,
                         "/proc/self/exe: not there, so this program cannot start itself; mount "
                         "/proc");
    test->quire[length] = '\0';
    return 0;
}

static int open_folders(struct test *test, struct error *error)
{
    const struct outputs outputs = {.junit = test->options->junit, .json = test->options->json};

    if (outputs_check(&outputs, error) < 0)
        return -1;
    if (test->options->report != NULL) {
        test->folder = folders_open_report(test->options->report, error);
        if (test->folder == NULL)
            return -1;
    }
    test->temporary = folders_make_temporary(error);
    return test->temporary != NULL ? 0 : -1;
}

static int open_progress(struct test *test, struct error *error)
{
    const struct test_options *options = test->options;
    const struct progress_settings settings = {
        .style = options->tap != 0   ? PROGRESS_NOTHING
                 : options->is_quiet ? PROGRESS_LINES
                                     : progress_style_for(stdout),
        .has_colour = options->tap == 0 && progress_has_colour_on(stdout),
        .is_quiet = options->is_quiet,
        .is_verbose = options->is_verbose,
        .out = stdout,
        .urgent_fd = interrupts_fd(test->interrupts),
        .look = on_look,
        .context = test,
    };

    test->progress = progress_create(test->loop, &settings, error);
    return test->progress != NULL ? 0 : -1;
}

static int open_session(struct test *test, struct error *error)
{
    const struct test_options *options = test->options;
    const struct session_settings settings = {
        .jobs = options->jobs != 0 ? options->jobs : count_processors(),
        .memory = budget_of_host("/proc", "/sys/fs/cgroup"),
        .rounds = options->rounds,
        .fail_fast = options->fail_fast,
        .until_fail = options->until_fail,
        .folder = test->folder != NULL ? test->folder : test->temporary,
        .keeps_folders = test->folder != NULL,
        .run = {.quire = test->quire,
                .sockets = test->temporary,
                .options = &test->scenario,
                .symbols = options->symbols,
                .dumps = options->dumps},
    };
    const struct session_handlers handlers = {.context = test,
                                              .began = on_began,
                                              .step = on_step,
                                              .ended = on_ended,
                                              .warn = on_warn,
                                              .finished = on_finished};

    test->session = session_create(test->loop, &test->plan, &settings, &handlers, test->results, error);
    return test->session != NULL ? 0 : -1;
}

/* A case has about a dozen descriptors, and is not to fail for a limit that this process may raise. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    if (limit.rlim_cur < limit.rlim_max && limit.rlim_cur < DESCRIPTORS_MAX)
        limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_test(struct test *test, struct error *error)
{
    raise_descriptor_limit();
    if (find_self(test, error) < 0 || open_folders(test, error) < 0)
        return -1;
    test->results = results_create("quire test", error);
    if (test->results == NULL)
        return -1;
    test->loop = event_loop_create(error);
    if (test->loop == NULL)
        return -1;
    test->interrupts = interrupts_create(test->loop, on_signal, test, error);
    if (test->interrupts == NULL || open_session(test, error) < 0)
        return -1;
    return open_progress(test, error);
}

static void remove_temporary(struct test *test)
{
    folders_remove(test->temporary);
    free(test->temporary);
    test->temporary = NULL;
}

static void close_test(struct test *test)
{
    progress_destroy(test->progress);
    session_destroy(test->session);
    interrupts_destroy(test->interrupts);
    event_loop_destroy(test->loop);
    results_free(test->results);
    remove_temporary(test);
    free(test->folder);
    times_free(&test->times);
    free(test->history);
    plan_free(&test->plan);
}

/* ---- What came of it ---- */

static int note_times(void *context, struct times *times, struct error *error)
{
    const struct test *test = context;

    for (size_t i = 0; i < test->plan.count; i++) {
        const struct plan_case *one = &test->plan.cases[i];
        const struct session_tally *tally = session_tally(test->session, i);
        if (times_note(times, one->from->path, one->from->scenario->cases[one->index].name, tally->status,
                       tally->duration_ns, time(NULL), error) < 0)
            return -1;
    }
    return 0;
}

static void keep_times(struct test *test)
{
    struct error error;

    if (test->history == NULL || test->plan.count == 0)
        return;
    if (times_update(test->history, HISTORY_PATIENCE_NS, note_times, test, &error) < 0)
        complain(&error);
}

static void write_sum(const struct test *test)
{
    if (test->plan.count == 0)
        puts("nothing to run");
    else
        results_write_summary(test->results, stdout);
    for (size_t i = 0; i < test->plan.count && test->options->rounds != 1; i++) {
        const struct session_tally *tally = session_tally(test->session, i);
        flakiness_write(test->plan.cases[i].name, tally->runs, tally->failures, stdout);
    }
    if (test->folder != NULL)
        printf("report: %s/" REPORT_PAGE "\n", test->folder);
}

static int write_files(const struct test *test)
{
    const struct outputs outputs = {.junit = test->options->junit, .json = test->options->json, .report = test->folder};
    struct error error;

    return outputs_write(&outputs, test->results, &error) < 0 ? fail(&error) : VERDICT_PASSED;
}

/* What is printed at the end waits for its reader, and comes when all else has been done. */
static int print_results(struct test *test)
{
    progress_finish(test->progress);
    bool has_failed = progress_has_failed(test->progress);
    progress_destroy(test->progress);
    test->progress = NULL;
    if (test->options->tap != 0)
        results_write_tap(test->results, test->options->tap, stdout);
    else
        write_sum(test);
    has_failed |= fflush(stdout) != 0 || ferror(stdout);
    if (has_failed)
        fputs("quire: standard output cannot be written\n", stderr);
    return has_failed ? VERDICT_BROKEN : VERDICT_PASSED;
}

static int serve(struct test *test)
{
    struct error error;

    test->results->started_at = time(NULL);
    test->started_ns = clock_now_ns();
    session_start(test->session);
    const int result = event_loop_run(test->loop, &error);
    test->results->duration_ns = clock_now_ns() - test->started_ns;
    interrupts_release(test->interrupts);
    if (result < 0)
        return fail(&error);
    int status = write_files(test);
    keep_times(test);
    remove_temporary(test);
    if (print_results(test) != VERDICT_PASSED)
        status = VERDICT_BROKEN;
    const bool stops = test->options->fail_fast || test->options->until_fail;
    return status != VERDICT_PASSED
               ? status
               : verdict(test->results, test->signal, stops && results_exit_status(test->results) != 0);
}

static int run(struct test *test)
{
    struct error error;
    const int status = load(test);

    if (status != VERDICT_PASSED)
        return status;
    if (test->options->only_list)
        return list(test);
    return open_test(test, &error) < 0 ? fail(&error) : serve(test);
}

int test_run(const struct test_options *options)
{
    struct test test = {.options = options};
    const int status = run(&test);

    close_test(&test);
    return options->for_bisect ? verdict_for_bisect(status) : status;
}
