/*
 * One operation on an image, cut into steps that are one system call each: the rest of a short read is a step, what
 * lies in an overlay is one, the sync after a write is one. Engines (engine.h) make the steps.
 */
#ifndef DEVICES_BLOCK_IO_H
#define DEVICES_BLOCK_IO_H

#include "devices/block/image.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum block_operation {
    BLOCK_READ,
    BLOCK_WRITE,
    /* What has been written is on the disk then, if the image's cache is safe. */
    BLOCK_FLUSH,
    /* A hint: what the range holds afterwards is open. */
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
};

enum block_step_kind { BLOCK_STEP_READ, BLOCK_STEP_WRITE, BLOCK_STEP_SYNC, BLOCK_STEP_PUNCH, BLOCK_STEP_ZERO };

/* A system call: preadv, pwritev, fdatasync, fallocate with PUNCH_HOLE, fallocate with ZERO_RANGE. */
struct block_step {
    enum block_step_kind kind;
    enum block_file file;
    /* Bytes; reads and writes have as many in their pieces, IOV_MAX at the most. */
    uint64_t offset;
    uint64_t size;
    struct iovec *pieces;
    unsigned piece_count;
};

struct block_io {
    /* For the user to fill in: the range in bytes, multiples of sectors, inside of the image. */
    enum block_operation operation;
    uint64_t offset;
    uint64_t size;
    /* Reads and writes: size bytes in all. They are the operation's until it is complete, and change. */
    struct iovec *pieces;
    size_t piece_count;
    /* BLOCK_WRITE_ZEROES: the range need not keep its room on the disk. */
    bool may_unmap;
    /* Writes: as if a flush followed. */
    bool is_durable;

    /* When it is complete: 0, or an errno value, and at which byte. */
    int error;
    uint64_t error_offset;

    /* For the engine. */
    struct block_step step;
    int step_result;
    struct block_io *next;

    /* Private. */
    struct block_image *image;
    uint64_t done;
    uint64_t reserved;
    /* What the last piece of the step had before the step was made to end in it. */
    size_t whole_length;
    struct iovec zeroes;
    unsigned retries;
};

/*
 * Both give true if io->step is to be made next, and false if the operation is complete. For one thread at a time, as
 * everything that is done with the image.
 */
bool block_io_begin(struct block_io *io, struct block_image *image);

/* io->step has been made: result is its bytes (0 where it has none to count), or a negative errno value. */
bool block_io_continue(struct block_io *io, int result);

/* Ends an operation between two steps, without the rest. */
void block_io_cancel(struct block_io *io);

/* Makes a step, and waits for it. Its result. Any thread. */
int block_step_make(const struct block_image *image, const struct block_step *step);

/* As in messages: "write". */
const char *block_operation_name(enum block_operation operation);

#endif
