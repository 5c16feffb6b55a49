#include "devices/block/io.h"

#include "devices/block/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

enum {
    /* A step's bytes: a reset need not wait for longer than one takes. A multiple of any block_size. */
    STEP_MAX = 8 << 20,
    ZEROES_SIZE = 256 << 10,
    /* Of a step that says EINTR or EAGAIN. */
    RETRY_MAX = 16,
};

/* What is written where the host cannot make zeroes; never touched, it takes no memory. */
static uint8_t zeroes[ZEROES_SIZE] __attribute__((aligned(4096)));

const char *block_operation_name(enum block_operation operation)
{
    static const char *const names[] = {
        [BLOCK_READ] = "read",
        [BLOCK_WRITE] = "write",
        [BLOCK_FLUSH] = "flush",
        [BLOCK_DISCARD] = "discard",
        [BLOCK_WRITE_ZEROES] = "write of zeroes",
    };
    return names[operation];
}

static bool complete(struct block_io *io, int error)
{
    if (io->image->overlay != NULL) {
        block_overlay_release(io->image->overlay, io->reserved);
        if (error == 0 && (io->operation == BLOCK_WRITE || io->operation == BLOCK_WRITE_ZEROES))
            block_overlay_keep(io->image->overlay, io->offset, io->size);
    }
    io->reserved = 0;
    io->error = error;
    io->error_offset = io->offset + io->done;
    return false;
}

void block_io_cancel(struct block_io *io)
{
    (void)complete(io, ECANCELED);
}

/* ---- Steps ---- */

static bool is_aligned(const struct block_image *image, const struct block_step *step)
{
    uint64_t bits = step->offset | step->size;

    for (unsigned i = 0; i < step->piece_count; i++)
        bits |= (uintptr_t)step->pieces[i].iov_base | step->pieces[i].iov_len;
    return (bits & (image->block_size - 1)) == 0;
}

/* Has the step end within the io's pieces after size bytes, or fewer if there are too many pieces. */
static void cut_pieces(struct block_io *io, uint64_t size)
{
    struct block_step *step = &io->step;

    step->pieces = io->pieces;
    step->size = 0;
    for (step->piece_count = 0; step->size < size && step->piece_count < IOV_MAX; step->piece_count++) {
        struct iovec *piece = &io->pieces[step->piece_count];
        io->whole_length = piece->iov_len;
        if (piece->iov_len > size - step->size)
            piece->iov_len = (size_t)(size - step->size);
        step->size += piece->iov_len;
    }
}

static void uncut_pieces(struct block_io *io)
{
    if (io->step.piece_count > 0)
        io->step.pieces[io->step.piece_count - 1].iov_len = io->whole_length;
}

static void skip_pieces(struct block_io *io, size_t size)
{
    while (io->piece_count > 0 && size >= io->pieces->iov_len) {
        size -= io->pieces->iov_len;
        io->pieces++;
        io->piece_count--;
    }
    if (size > 0) {
        io->pieces->iov_base = (char *)io->pieces->iov_base + size;
        io->pieces->iov_len -= size;
    }
}

static bool step_of_data(struct block_io *io)
{
    const struct block_image *image = io->image;
    struct block_step *step = &io->step;
    uint64_t size = io->size - io->done < STEP_MAX ? io->size - io->done : STEP_MAX;
    bool is_kept = image->overlay != NULL;

    step->kind = io->operation == BLOCK_READ ? BLOCK_STEP_READ : BLOCK_STEP_WRITE;
    step->offset = io->offset + io->done;
    if (image->overlay != NULL && io->operation == BLOCK_READ) {
        /* Only from a sector's start: the rest of one that was read in part is where its start was. */
        const uint64_t into = step->offset % BLOCK_SECTOR;
        const uint64_t whole = (size + into) / BLOCK_SECTOR * BLOCK_SECTOR;
        size = block_overlay_run(image->overlay, step->offset - into, whole, &is_kept) - into;
    }
    cut_pieces(io, size);
    step->file = is_kept ? BLOCK_FILE_OVERLAY : BLOCK_FILE_BASE;
    if (!is_kept && image->direct && !is_aligned(image, step))
        step->file = BLOCK_FILE_BOUNCE;
    return true;
}

static bool step_of_zeroes(struct block_io *io)
{
    const uint64_t rest = io->size - io->done;

    io->zeroes = (struct iovec){.iov_base = zeroes, .iov_len = rest < ZEROES_SIZE ? rest : ZEROES_SIZE};
    io->step = (struct block_step){.kind = BLOCK_STEP_WRITE,
                                   .file = io->image->overlay != NULL ? BLOCK_FILE_OVERLAY : BLOCK_FILE_BASE,
                                   .offset = io->offset + io->done,
                                   .size = io->zeroes.iov_len,
                                   .pieces = &io->zeroes,
                                   .piece_count = 1};
    io->whole_length = io->zeroes.iov_len;
    if (io->step.file == BLOCK_FILE_BASE && io->image->direct && !is_aligned(io->image, &io->step))
        io->step.file = BLOCK_FILE_BOUNCE;
    return true;
}

static bool step_of_range(struct block_io *io, enum block_step_kind kind)
{
    io->step = (struct block_step){.kind = kind,
                                   .file = io->image->overlay != NULL ? BLOCK_FILE_OVERLAY : BLOCK_FILE_BASE,
                                   .offset = io->offset,
                                   .size = io->size};
    return true;
}

/* Overlays are gone with the machine: nobody can miss what was not synced. */
static bool step_of_sync(struct block_io *io)
{
    if (io->image->cache == BLOCK_CACHE_UNSAFE || io->image->overlay != NULL || io->image->read_only)
        return complete(io, 0);
    io->step = (struct block_step){.kind = BLOCK_STEP_SYNC, .file = BLOCK_FILE_BASE};
    return true;
}

/* All data is where it belongs. */
static bool finish(struct block_io *io)
{
    const bool is_write = io->operation == BLOCK_WRITE || io->operation == BLOCK_WRITE_ZEROES;

    return is_write && io->is_durable ? step_of_sync(io) : complete(io, 0);
}

/* ---- Beginning, and what follows a step ---- */

bool block_io_begin(struct block_io *io, struct block_image *image)
{
    const bool changes = io->operation == BLOCK_WRITE || io->operation == BLOCK_WRITE_ZEROES;

    io->image = image;
    io->step = (struct block_step){0};
    io->done = 0;
    io->reserved = 0;
    io->retries = 0;
    if (io->operation == BLOCK_FLUSH)
        return step_of_sync(io);
    if (io->size == 0)
        return complete(io, 0);
    if (changes && image->overlay != NULL &&
        !block_overlay_reserve(image->overlay, io->offset, io->size, &io->reserved))
        return complete(io, ENOSPC);
    if (io->operation == BLOCK_DISCARD)
        return step_of_range(io, BLOCK_STEP_PUNCH);
    if (io->operation == BLOCK_WRITE_ZEROES)
        return step_of_range(io, io->may_unmap || image->overlay != NULL ? BLOCK_STEP_PUNCH : BLOCK_STEP_ZERO);
    return step_of_data(io);
}

/* Bytes were read or written. */
static bool advance(struct block_io *io, size_t size)
{
    const bool is_data = io->operation != BLOCK_WRITE_ZEROES;

    /* The end of a file that has become shorter, or a device that has: nothing says so, but there is no more. */
    if (size == 0)
        return complete(io, EIO);
    if (is_data)
        skip_pieces(io, size);
    io->done += size;
    io->retries = 0;
    if (io->done == io->size)
        return finish(io);
    return is_data ? step_of_data(io) : step_of_zeroes(io);
}

/* EINVAL: a block device whose own blocks are larger than the range's. */
static bool has_no_such_call(int error)
{
    return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL;
}

bool block_io_continue(struct block_io *io, int result)
{
    const enum block_step_kind kind = io->step.kind;
    const bool is_data = kind == BLOCK_STEP_READ || kind == BLOCK_STEP_WRITE;

    if ((result == -EINTR || result == -EAGAIN) && io->retries < RETRY_MAX) {
        io->retries++;
        return true;
    }
    if (is_data)
        uncut_pieces(io);
    if (result < 0 && io->operation == BLOCK_DISCARD && has_no_such_call(-result))
        return complete(io, 0);
    if (result < 0 && !is_data && io->operation == BLOCK_WRITE_ZEROES && kind != BLOCK_STEP_SYNC &&
        has_no_such_call(-result))
        return step_of_zeroes(io);
    if (result < 0)
        return complete(io, -result);
    if (is_data)
        return advance(io, (size_t)result);
    if (kind == BLOCK_STEP_SYNC)
        return complete(io, 0);
    return finish(io);
}

/* ---- Making steps ---- */

int block_step_make(const struct block_image *image, const struct block_step *step)
{
    const int fd = image->files[step->file];
    ssize_t result = -1;

    switch (step->kind) {
    case BLOCK_STEP_READ:
        result = preadv(fd, step->pieces, (int)step->piece_count, (off_t)step->offset);
        break;
    case BLOCK_STEP_WRITE:
        result = pwritev(fd, step->pieces, (int)step->piece_count, (off_t)step->offset);
        break;
    case BLOCK_STEP_SYNC:
        result = fdatasync(fd);
        break;
    case BLOCK_STEP_PUNCH:
        result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)step->offset, (off_t)step->size);
        break;
    case BLOCK_STEP_ZERO:
        result = fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)step->offset, (off_t)step->size);
        break;
    }
    return result < 0 ? -errno : (int)result;
}
