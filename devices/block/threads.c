#include "devices/block/engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* As many steps are made at a time. */
enum { THREADS = 8 };

/* First in, first out. */
struct list {
    struct block_io *first;
    struct block_io *last;
};

struct threads_engine {
    /* the first; its fd is written to when made stops being empty */
    struct block_engine engine;
    const struct block_image *image;
    struct worker *workers[THREADS];
    /* Counts what is in waiting; of all workers, an event each wakes one. */
    int work_fd;
    /* Guards the lists. */
    pthread_mutex_t lock;
    pthread_cond_t has_made;
    struct list waiting;
    struct list made;
};

/* ---- Lists ---- */

static void append(struct list *list, struct block_io *io)
{
    io->next = NULL;
    if (list->first == NULL)
        list->first = io;
    else
        list->last->next = io;
    list->last = io;
}

static struct block_io *take(struct list *list)
{
    struct block_io *io = list->first;

    if (io != NULL)
        list->first = io->next;
    return io;
}

/* Neither can fail in a way that matters: counts are small, and what is not there has been taken by another. */
static void add_to(int fd, uint64_t count)
{
    ssize_t written = write(fd, &count, sizeof(count));

    (void)written;
}

static void take_from(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));

    (void)got;
}

/* ---- On the threads ---- */

static void work(void *context, uint32_t events)
{
    struct threads_engine *self = context;

    (void)events;
    take_from(self->work_fd);
    pthread_mutex_lock(&self->lock);
    struct block_io *io = take(&self->waiting);
    pthread_mutex_unlock(&self->lock);
    if (io == NULL)
        return;
    io->step_result = block_step_make(self->image, &io->step);
    pthread_mutex_lock(&self->lock);
    if (self->made.first == NULL)
        add_to(self->engine.fd, 1);
    append(&self->made, io);
    pthread_cond_signal(&self->has_made);
    pthread_mutex_unlock(&self->lock);
}

/* ---- On the user's ---- */

static void submit(struct block_engine *engine, struct block_io *io)
{
    struct threads_engine *self = (struct threads_engine *)(void *)engine;

    pthread_mutex_lock(&self->lock);
    append(&self->waiting, io);
    pthread_mutex_unlock(&self->lock);
    add_to(self->work_fd, 1);
}

static bool commit(struct block_engine *engine)
{
    (void)engine;
    return true;
}

static struct block_io *reap(struct block_engine *engine)
{
    struct threads_engine *self = (struct threads_engine *)(void *)engine;

    pthread_mutex_lock(&self->lock);
    struct block_io *io = take(&self->made);
    if (io != NULL && self->made.first == NULL)
        take_from(engine->fd);
    pthread_mutex_unlock(&self->lock);
    return io;
}

static void wait(struct block_engine *engine)
{
    struct threads_engine *self = (struct threads_engine *)(void *)engine;

    pthread_mutex_lock(&self->lock);
    while (self->made.first == NULL)
        pthread_cond_wait(&self->has_made, &self->lock);
    pthread_mutex_unlock(&self->lock);
}

/* ---- Beginning and end ---- */

static int start(struct block_engine *engine, struct error *error)
{
    struct threads_engine *self = (struct threads_engine *)(void *)engine;

    for (unsigned i = 0; i < THREADS; i++)
        if (worker_start(self->workers[i], error) < 0)
            return -1;
    return 0;
}

static void destroy(struct block_engine *engine)
{
    struct threads_engine *self = (struct threads_engine *)(void *)engine;

    for (unsigned i = 0; i < THREADS; i++)
        worker_destroy(self->workers[i]);
    if (self->work_fd >= 0)
        close(self->work_fd);
    if (engine->fd >= 0)
        close(engine->fd);
    pthread_cond_destroy(&self->has_made);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static int make_workers(struct threads_engine *self, const char *name, const struct worker_hooks *hooks,
                        struct error *error)
{
    self->work_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    self->engine.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (self->work_fd < 0 || self->engine.fd < 0)
        return error_set(error, ERROR_HOST, "no descriptors for the threads of %s: %s", name, strerror(errno));
    for (unsigned i = 0; i < THREADS; i++) {
        self->workers[i] = worker_create(name, hooks, error);
        if (self->workers[i] == NULL || event_loop_add(worker_loop(self->workers[i]), self->work_fd,
                                                       EPOLLIN | EPOLLEXCLUSIVE, work, self, error) < 0)
            return -1;
    }
    return 0;
}

struct block_engine *block_engine_threads(const struct block_image *image, const char *name,
                                          const struct worker_hooks *hooks, struct error *error)
{
    static const struct block_engine_ops ops = {
        .name = "threads",
        .start = start,
        .submit = submit,
        .commit = commit,
        .reap = reap,
        .wait = wait,
        .destroy = destroy,
    };
    struct threads_engine *self = calloc(1, sizeof(*self));

    if (self == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    self->engine = (struct block_engine){.ops = &ops, .fd = -1};
    self->image = image;
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->has_made, NULL);
    if (make_workers(self, name, hooks, error) == 0)
        return &self->engine;
    destroy(&self->engine);
    return NULL;
}
