#include "devices/block/engine.h"

#include <stdlib.h>

void block_engine_destroy(struct block_engine *engine)
{
    if (engine != NULL)
        engine->ops->destroy(engine);
}

/* ---- Inline ---- */

struct inline_engine {
    /* the first */
    struct block_engine engine;
    const struct block_image *image;
    block_step_function *make;
    void *context;
    struct block_io *first;
    struct block_io **last;
};

static void submit(struct block_engine *engine, struct block_io *io)
{
    struct inline_engine *self = (struct inline_engine *)(void *)engine;

    io->step_result = self->make(self->context, self->image, &io->step);
    io->next = NULL;
    *self->last = io;
    self->last = &io->next;
}

static bool commit(struct block_engine *engine)
{
    (void)engine;
    return true;
}

static struct block_io *reap(struct block_engine *engine)
{
    struct inline_engine *self = (struct inline_engine *)(void *)engine;
    struct block_io *io = self->first;

    if (io == NULL)
        return NULL;
    self->first = io->next;
    if (self->first == NULL)
        self->last = &self->first;
    return io;
}

static void wait_for_nothing(struct block_engine *engine)
{
    (void)engine;
}

static void destroy(struct block_engine *engine)
{
    free(engine);
}

struct block_engine *block_engine_inline(const struct block_image *image, block_step_function *make, void *context)
{
    static const struct block_engine_ops ops = {
        .name = "inline",
        .submit = submit,
        .commit = commit,
        .reap = reap,
        .wait = wait_for_nothing,
        .destroy = destroy,
    };
    struct inline_engine *self = calloc(1, sizeof(*self));

    if (self == NULL)
        return NULL;
    self->engine = (struct block_engine){.ops = &ops, .fd = -1};
    self->image = image;
    self->make = make;
    self->context = context;
    self->last = &self->first;
    return &self->engine;
}
