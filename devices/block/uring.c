#include "devices/block/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

/*
 * Neither IORING_SETUP_DEFER_TASKRUN nor SINGLE_ISSUER: with them what is in flight could not be waited for once the
 * thread that started it has ended.
 */
struct uring_engine {
    /* the first */
    struct block_engine engine;
    struct io_uring ring;
};

static struct io_uring *ring_of(struct block_engine *engine)
{
    return &((struct uring_engine *)(void *)engine)->ring;
}

/* ---- Steps ---- */

/* READ and WRITE have less to do than READV and WRITEV. */
static void prepare_data(struct io_uring_sqe *sqe, const struct block_step *step)
{
    const int file = (int)step->file;
    void *base = step->pieces->iov_base;
    const unsigned length = (unsigned)step->pieces->iov_len;

    if (step->kind == BLOCK_STEP_READ && step->piece_count == 1)
        io_uring_prep_read(sqe, file, base, length, step->offset);
    else if (step->kind == BLOCK_STEP_READ)
        io_uring_prep_readv(sqe, file, step->pieces, step->piece_count, step->offset);
    else if (step->piece_count == 1)
        io_uring_prep_write(sqe, file, base, length, step->offset);
    else
        io_uring_prep_writev(sqe, file, step->pieces, step->piece_count, step->offset);
}

static void prepare(struct io_uring_sqe *sqe, const struct block_step *step)
{
    const int file = (int)step->file;

    switch (step->kind) {
    case BLOCK_STEP_READ:
    case BLOCK_STEP_WRITE:
        prepare_data(sqe, step);
        break;
    case BLOCK_STEP_SYNC:
        io_uring_prep_fsync(sqe, file, IORING_FSYNC_DATASYNC);
        break;
    case BLOCK_STEP_PUNCH:
        io_uring_prep_fallocate(sqe, file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)step->offset,
                                (off_t)step->size);
        break;
    case BLOCK_STEP_ZERO:
        io_uring_prep_fallocate(sqe, file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)step->offset,
                                (off_t)step->size);
        break;
    }
    io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

/* The ring has room for all steps that may be out: what is in it has at the worst not been taken by the kernel yet. */
static void submit(struct block_engine *engine, struct block_io *io)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring_of(engine));

    prepare(sqe, &io->step);
    io_uring_sqe_set_data(sqe, io);
}

static bool commit(struct block_engine *engine)
{
    struct io_uring *ring = ring_of(engine);

    /* The kernel stops behind a step that it refuses, which is reaped as others are. */
    while (io_uring_sq_ready(ring) > 0)
        if (io_uring_submit(ring) <= 0)
            return false;
    return true;
}

static struct block_io *reap(struct block_engine *engine)
{
    struct io_uring *ring = ring_of(engine);
    struct io_uring_cqe *cqe;

    if (io_uring_peek_cqe(ring, &cqe) < 0)
        return NULL;
    struct block_io *io = io_uring_cqe_get_data(cqe);
    io->step_result = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return io;
}

static void wait(struct block_engine *engine)
{
    struct io_uring_cqe *cqe;

    (void)io_uring_wait_cqe(ring_of(engine), &cqe);
}

/* ---- Beginning and end ---- */

static void destroy(struct block_engine *engine)
{
    io_uring_queue_exit(ring_of(engine));
    free(engine);
}

/* io_uring's calls are not seen by a seccomp filter, so the ring itself is to refuse what we do not use. */
static int restrict_ring(struct io_uring *ring)
{
    static const uint8_t operations[] = {IORING_OP_READ,   IORING_OP_READV, IORING_OP_WRITE,
                                         IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE};
    enum { COUNT = sizeof(operations) / sizeof(operations[0]) };
    struct io_uring_restriction rules[COUNT + 2] = {0};

    for (unsigned i = 0; i < COUNT; i++) {
        rules[i].opcode = IORING_RESTRICTION_SQE_OP;
        rules[i].sqe_op = operations[i];
    }
    rules[COUNT].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    rules[COUNT].sqe_flags = IOSQE_FIXED_FILE;
    rules[COUNT + 1].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
    rules[COUNT + 1].sqe_flags = IOSQE_FIXED_FILE;
    /* Not by liburing's function for it, which Debian 12's library has and does not export; so with the next. */
    return io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, rules, COUNT + 2);
}

/* As liburing's functions: 0, or a negative errno value and nothing left behind. */
static int make_ring(struct io_uring *ring, const struct block_image *image, unsigned entries, unsigned flags)
{
    struct io_uring_params parameters = {.flags = flags | IORING_SETUP_R_DISABLED};

    int result = io_uring_queue_init_params(entries, ring, &parameters);
    if (result < 0)
        return result;
    result = io_uring_register_files(ring, image->files, BLOCK_FILE_COUNT);
    if (result == 0)
        result = restrict_ring(ring);
    if (result == 0)
        result = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (result < 0)
        io_uring_queue_exit(ring);
    return result < 0 ? result : 0;
}

struct block_engine *block_engine_uring(const struct block_image *image, unsigned in_flight, struct error *error)
{
    static const struct block_engine_ops ops = {
        .name = "io_uring",
        .submit = submit,
        .commit = commit,
        .reap = reap,
        .wait = wait,
        .destroy = destroy,
    };
    struct uring_engine *self = calloc(1, sizeof(*self));

    if (self == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    int result = make_ring(&self->ring, image, in_flight, IORING_SETUP_COOP_TASKRUN);
    /* Before Linux 5.19. */
    if (result == -EINVAL)
        result = make_ring(&self->ring, image, in_flight, 0);
    if (result < 0) {
        error_set(error, ERROR_HOST, "no io_uring: %s", strerror(-result));
        free(self);
        return NULL;
    }
    self->engine = (struct block_engine){.ops = &ops, .fd = self->ring.ring_fd};
    return &self->engine;
}
