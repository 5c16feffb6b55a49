/*
 * virtio-block: a disk. virtio 1.2, 5.2.
 *
 * Requests are taken on the loop's thread, several at a time, and go to an engine (devices/block/engine.h) straight
 * from and to guest memory. What goes wrong on the host fails that request, with a line in the log; the disk goes on.
 */
#ifndef DEVICES_VIRTIO_BLOCK_H
#define DEVICES_VIRTIO_BLOCK_H

#include "devices/block/engine.h"
#include "devices/block/image.h"
#include "devices/host/worker.h"
#include "devices/virtio/virtio.h"

/* Entries of each queue, and requests of it that are in flight, at the most. */
#define VIRTIO_BLOCK_QUEUE_SIZE 256u

enum virtio_block_engine {
    /* io_uring, or threads where the kernel does not let us have it. */
    VIRTIO_BLOCK_ENGINE_BEST,
    VIRTIO_BLOCK_ENGINE_THREADS,
};

struct virtio_block_options {
    /* 1 to VIRTIO_QUEUE_MAX. */
    unsigned queues;
    /* What the guest sees as the disk's name, its first 20 bytes. NULL: none. */
    const char *serial;
    enum virtio_block_engine engine;
    /* For the threads engine: how its threads begin, and their name, of at most 15 bytes and kept. */
    const struct worker_hooks *hooks;
    const char *thread_name;
    /* For tests: used in the place of the one above, and the device's from then on. NULL: none. */
    struct block_engine *own_engine;
};

/* What is saved, besides struct virtio_state and struct virtq_state, while no request is in flight. Plain data. */
struct virtio_block_state {
    /* The driver has chosen between writeback and writethrough: virtio 1.2, 5.2.5. */
    bool has_chosen;
    bool is_writeback;
};

struct virtio_block;

/* The image outlives it. Before the sandbox and before the loop runs. NULL with *error. */
struct virtio_block *virtio_block_create(const struct virtio_environment *environment, struct block_image *image,
                                         const struct virtio_block_options *options, struct error *error);

/* Starts the engine's threads, if it has some; before the loop runs. 0, or -1 with *error. */
int virtio_block_start(struct virtio_block *block, struct error *error);

/*
 * The loop does not run any more; its thread, if it had one of its own, has ended. Waits for what is in flight, and
 * drops it. Takes NULL.
 */
void virtio_block_destroy(struct virtio_block *block);

struct virtio_device *virtio_block_device(struct virtio_block *block);

/* With the device's lock held; a state is set before the driver goes on. */
struct virtio_block_state *virtio_block_state(struct virtio_block *block);

/* How many requests are in flight. With the device's lock held. */
unsigned virtio_block_in_flight(const struct virtio_block *block);

#endif
