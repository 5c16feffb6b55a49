/*
 * Engines make the steps of operations (io.h), many at a time. What they have made is reaped on the thread that hands
 * steps in.
 */
#ifndef DEVICES_BLOCK_ENGINE_H
#define DEVICES_BLOCK_ENGINE_H

#include "devices/block/io.h"
#include "devices/host/worker.h"
#include "memory/support/error.h"

#include <stdbool.h>

struct block_engine;

struct block_engine_ops {
    /* As in messages: "io_uring". */
    const char *name;
    /* Starts what the engine needs besides its user's thread. NULL: nothing. */
    int (*start)(struct block_engine *engine, struct error *error);
    /* Takes io->step; it may stay here until commit(). io is the engine's until it is reaped. */
    void (*submit)(struct block_engine *engine, struct block_io *io);
    /* Everything that was taken is on its way. false: some could not be, for want of memory; to be called again. */
    bool (*commit)(struct block_engine *engine);
    /* One whose step has been made, with io->step_result; NULL: there is none now. */
    struct block_io *(*reap)(struct block_engine *engine);
    /* Waits until there may be something to reap, while steps are out. */
    void (*wait)(struct block_engine *engine);
    /* No step is out. */
    void (*destroy)(struct block_engine *engine);
};

/*
 * The first member of each engine's struct. All calls are for one thread at a time. That may be another one, to reap
 * what is out, once the first has ended.
 */
struct block_engine {
    const struct block_engine_ops *ops;
    /* Can be read from, as epoll says, while there is something to reap. -1: all there is can be reaped after commit().
     */
    int fd;
};

/*
 * io_uring, with just the operations that steps need, and just the image's files. At most in_flight steps at a time.
 * NULL with *error where the kernel has none, has no restrictions for it (before 5.10), or does not let us.
 */
struct block_engine *block_engine_uring(const struct block_image *image, unsigned in_flight, struct error *error);

/* System calls on threads of its own, which begin with hooks. name: as for worker_create(). NULL with *error. */
struct block_engine *block_engine_threads(const struct block_image *image, const char *name,
                                          const struct worker_hooks *hooks, struct error *error);

/* Makes steps as they come, by a function that is like block_step_make(): for tests. NULL: no memory. */
typedef int block_step_function(void *context, const struct block_image *image, const struct block_step *step);
struct block_engine *block_engine_inline(const struct block_image *image, block_step_function *make, void *context);

/* Takes NULL. */
void block_engine_destroy(struct block_engine *engine);

#endif
