#include "devices/virtio/rng.h"

#include <linux/virtio_ids.h>
#include <stdlib.h>

enum {
    QUEUE = 0,
    QUEUE_SIZE = 64,
    /* Of one request, at the most: a driver asks for no more, and the rest is unused. */ BYTES_MAX = 4096
};

struct virtio_rng {
    /* the first: see virtio.h */
    struct virtio_device device;
    rng_source *source;
    void *context;
};

static void notified(struct virtio_device *device, unsigned queue)
{
    struct virtio_rng *rng = (struct virtio_rng *)(void *)device;
    uint8_t bytes[BYTES_MAX];
    struct virtq_chain *chain;

    /* As many as there are at once: a driver without end gets its turn again, as all others do. */
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        chain = virtio_pop(device, queue);
        if (chain == NULL)
            break;
        if (chain->is_refused) {
            virtio_push(device, queue, chain, 0);
            virtio_fail(device, queue, "a buffer may not be written");
            return;
        }
        const size_t size = chain->writable_size < sizeof(bytes) ? chain->writable_size : sizeof(bytes);
        const ssize_t got = rng->source(rng->context, bytes, size);
        virtio_push(device, queue, chain, (uint32_t)virtq_write(chain, 0, bytes, got > 0 ? (size_t)got : 0));
    }
    virtio_flush(device, queue);
    if (virtq_enable_notifications(virtio_queue(device, queue)))
        virtio_notify(device, queue);
}

static const struct virtio_ops ops = {
    .name = "rng",
    .id = VIRTIO_ID_RNG,
    .notified = notified,
};

struct virtio_rng *virtio_rng_create(const struct virtio_environment *environment, rng_source *source, void *context,
                                     struct error *error)
{
    struct virtio_rng *rng = calloc(1, sizeof(*rng));

    if (rng == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    rng->source = source;
    rng->context = context;
    if (virtio_init(&rng->device, &ops, environment, 0, 1, QUEUE_SIZE, error) == 0)
        return rng;
    free(rng);
    return NULL;
}

void virtio_rng_destroy(struct virtio_rng *rng)
{
    if (rng == NULL)
        return;
    virtio_fini(&rng->device);
    free(rng);
}

struct virtio_device *virtio_rng_device(struct virtio_rng *rng)
{
    return &rng->device;
}
