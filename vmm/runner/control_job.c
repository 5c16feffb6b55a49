/*
 * A request on the machine's control socket, and its answers.
 */
#include "vmm/runner/case_private.h"

#include "vmm/control/control_client.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct control_job {
    struct case_run *run;
    struct control_client *client;
    char *request;
    int file;
    control_answer *answer;
};

/* The job may be gone behind it. */
static bool take_line(struct control_job *job, const char *line)
{
    json_t *object = json_loads(line, 0, NULL);
    const bool goes_on = job->answer(job->run, object, "its answer is none");

    json_decref(object);
    return goes_on;
}

static void on_answer(void *context, uint32_t events)
{
    struct control_job *job = context;
    struct case_run *run = job->run;
    struct error error;
    bool timed_out;

    (void)events;
    for (;;) {
        const char *line = control_client_receive(job->client, 0, &timed_out, &error);
        if (line == NULL && !timed_out) {
            /* Its end would be told again and again, to a job that may stay for a while. */
            event_loop_remove(run->loop, control_client_fd(job->client));
            (void)job->answer(run, NULL, error.text);
        }
        if (line == NULL || !take_line(job, line))
            break;
    }
    case_advance(run);
}

static void begin(struct control_job *job)
{
    struct error error;

    if (event_loop_add(job->run->loop, control_client_fd(job->client), EPOLLIN, on_answer, job, &error) < 0 ||
        control_client_send(job->client, job->request, job->file, &error) < 0)
        (void)job->answer(job->run, NULL, error.text);
}

void control_job_wake(struct control_job *job)
{
    struct error error;

    if (job == NULL || job->client != NULL)
        return;
    if (case_listens(job->run->control_address))
        job->client = control_client_connect(job->run->control_address, &error);
    if (job->client == NULL)
        case_set_timer(job->run, CASE_TIMER_CONTROL, clock_now_ns() + CASE_RETRY_NS);
    else
        begin(job);
}

struct control_job *control_job_start(struct case_run *run, const char *request, int file, control_answer *answer)
{
    struct control_job *job = calloc(1, sizeof(*job));

    if (job == NULL)
        return NULL;
    *job = (struct control_job){.run = run, .request = strdup(request), .file = file, .answer = answer};
    if (job->request == NULL) {
        free(job);
        return NULL;
    }
    case_set_timer(run, CASE_TIMER_CONTROL, clock_now_ns());
    return job;
}

void control_job_free(struct control_job *job)
{
    if (job == NULL)
        return;
    if (job->client != NULL)
        event_loop_remove(job->run->loop, control_client_fd(job->client));
    control_client_destroy(job->client);
    if (job->file >= 0)
        close(job->file);
    free(job->request);
    free(job);
}
