#include "fake_case_run.h"

#include "vmm/runner/budget.h"
#include "vmm/runner/case_run.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct fake_cases fake_cases;

struct case_run {
    struct event_loop *loop;
    struct case_run_handlers handlers;
    struct result_case *result;
    struct fake_outcome outcome;
    uint64_t memory;
    int timer_fd;
    bool has_ended;
};

static void set_timer(struct case_run *run, unsigned milliseconds)
{
    const struct itimerspec when = {.it_value = {milliseconds / 1000, (long)(milliseconds % 1000) * 1000000 + 1}};

    (void)timerfd_settime(run->timer_fd, 0, &when, NULL);
}

static void end(struct case_run *run)
{
    struct error error;

    run->has_ended = true;
    event_loop_remove(run->loop, run->timer_fd);
    run->result->status = run->outcome.status;
    run->result->duration_ns = run->outcome.milliseconds * 1000000ull;
    if (run->outcome.status == RESULT_FAILED)
        (void)result_set_text(&run->result->message, "as the test has it", &error);
    fake_cases.running--;
    fake_cases.memory -= run->memory;
    run->handlers.ended(run->handlers.context);
}

static void on_timer(void *context, uint32_t events)
{
    (void)events;
    end(context);
}

static uint64_t memory_of(const struct scenario *scenario, size_t index, const struct scenario_options *options)
{
    struct config config;
    struct error error;
    uint64_t memory = 0;

    if (scenario_case_config(scenario, index, options, &config, &error) == 0)
        memory = budget_of_machine(&config);
    config_free(&config);
    return memory;
}

static void leave_file(const char *folder, struct result_case *result)
{
    struct error error;
    char path[4200];

    if (fake_cases.file == NULL)
        return;
    (void)snprintf(path, sizeof(path), "%s/%s", folder, fake_cases.file);
    close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    (void)result_add_attachment(result, fake_cases.file, path, &error);
}

static void note_start(struct case_run *run)
{
    const size_t length = strlen(fake_cases.order);

    fake_cases.started++;
    fake_cases.running++;
    fake_cases.memory += run->memory;
    if (fake_cases.running > fake_cases.most_running)
        fake_cases.most_running = fake_cases.running;
    if (fake_cases.memory > fake_cases.most_memory)
        fake_cases.most_memory = fake_cases.memory;
    (void)snprintf(fake_cases.order + length, sizeof(fake_cases.order) - length, "%s ", run->result->name);
}

struct case_run *case_run_start(struct event_loop *loop, const struct scenario *scenario, size_t index,
                                const struct case_run_settings *settings, const struct case_run_handlers *handlers,
                                struct result_case *result, struct error *error)
{
    const struct fake_outcome passes = {.status = RESULT_PASSED};
    struct case_run *run = calloc(1, sizeof(*run));

    assert(run != NULL);
    *run = (struct case_run){.loop = loop, .handlers = *handlers, .result = result};
    run->outcome = fake_cases.decide != NULL ? fake_cases.decide(result->name) : passes;
    leave_file(settings->folder, result);
    if (run->outcome.refuses) {
        free(run);
        result->status = RESULT_BROKEN;
        (void)error_set(error, ERROR_HOST, "it cannot be started");
        return NULL;
    }
    run->memory = memory_of(scenario, index, settings->options);
    run->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    assert(run->timer_fd >= 0);
    if (event_loop_add(loop, run->timer_fd, EPOLLIN, on_timer, run, error) < 0)
        abort();
    note_start(run);
    if (handlers->step != NULL)
        handlers->step(handlers->context, 0);
    if (!run->outcome.hangs)
        set_timer(run, run->outcome.milliseconds);
    return run;
}

void case_run_interrupt(struct case_run *run, const char *why)
{
    struct error error;

    assert(!run->has_ended);
    fake_cases.interrupted++;
    run->outcome.status = RESULT_NOT_RUN;
    (void)result_set_text(&run->result->message, why, &error);
    if (fake_cases.ends_at_once)
        end(run);
    else
        set_timer(run, 0);
}

void case_run_destroy(struct case_run *run)
{
    if (run == NULL)
        return;
    if (!run->has_ended) {
        fake_cases.running--;
        event_loop_remove(run->loop, run->timer_fd);
    }
    fake_cases.destroyed++;
    close(run->timer_fd);
    free(run);
}
