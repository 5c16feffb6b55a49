#include "devices/host/worker.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Plenty, and too small for a huge page, which would be 2 MiB of private memory for each. */
static const size_t STACK_SIZE = 256 << 10;

struct worker {
    char name[16];
    struct worker_hooks hooks;
    struct event_loop *loop;
    pthread_t thread;
    bool is_started;
};

struct worker *worker_create(const char *name, const struct worker_hooks *hooks, struct error *error)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    if (worker == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    strncpy(worker->name, name, sizeof(worker->name) - 1);
    worker->hooks = *hooks;
    worker->loop = event_loop_create(error);
    if (worker->loop != NULL)
        return worker;
    free(worker);
    return NULL;
}

struct event_loop *worker_loop(struct worker *worker)
{
    return worker->loop;
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    struct error error;

    pthread_setname_np(pthread_self(), worker->name);
    if (worker->hooks.enter(worker->hooks.context, worker->name, &error) < 0 ||
        event_loop_run(worker->loop, &error) < 0)
        worker->hooks.failed(worker->hooks.context, &error);
    return NULL;
}

int worker_start(struct worker *worker, struct error *error)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    const int status = pthread_create(&worker->thread, &attributes, run, worker);
    pthread_attr_destroy(&attributes);
    if (status != 0)
        return error_set(error, ERROR_HOST, "no thread for %s: %s", worker->name, strerror(status));
    worker->is_started = true;
    return 0;
}

void worker_stop(struct worker *worker)
{
    if (worker == NULL || !worker->is_started)
        return;
    event_loop_stop(worker->loop);
    pthread_join(worker->thread, NULL);
    worker->is_started = false;
}

void worker_destroy(struct worker *worker)
{
    if (worker == NULL)
        return;
    worker_stop(worker);
    event_loop_destroy(worker->loop);
    free(worker);
}
