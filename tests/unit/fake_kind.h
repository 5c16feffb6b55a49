/*
 * A kind of virtio device that does nothing, with a configuration: for tests of transports and of saved state.
 */
#ifndef TESTS_UNIT_FAKE_KIND_H
#define TESTS_UNIT_FAKE_KIND_H

#include "fake_guest.h"

#include <string.h>
#include <unistd.h>

enum { FAKE_KIND_CONFIG = 10, FAKE_KIND_QUEUES = 2, FAKE_KIND_QUEUE_SIZE = 16, FAKE_KIND_ID = 42 };

struct fake_kind {
    struct virtio_device device;
    struct event_loop *loop;
    struct log log;
    uint8_t config[FAKE_KIND_CONFIG];
    unsigned starts;
    unsigned stops;
    /* It needs time to stop: the test calls virtio_stopped(). */
    bool is_slow;
};

static inline void fake_kind_read(struct virtio_device *device, void *config)
{
    memcpy(config, ((struct fake_kind *)(void *)device)->config, FAKE_KIND_CONFIG);
}

static inline void fake_kind_write(struct virtio_device *device, size_t offset, const void *bytes, size_t size)
{
    memcpy(((struct fake_kind *)(void *)device)->config + offset, bytes, size);
}

static inline void fake_kind_start(struct virtio_device *device)
{
    ((struct fake_kind *)(void *)device)->starts++;
}

static inline bool fake_kind_stop(struct virtio_device *device)
{
    struct fake_kind *kind = (struct fake_kind *)(void *)device;

    kind->stops++;
    return !kind->is_slow;
}

static inline void fake_kind_notified(struct virtio_device *device, unsigned queue)
{
    (void)device;
    (void)queue;
}

static const struct virtio_ops fake_kind_ops = {
    .name = "fake",
    .id = FAKE_KIND_ID,
    .config_size = FAKE_KIND_CONFIG,
    .read_config = fake_kind_read,
    .write_config = fake_kind_write,
    .start = fake_kind_start,
    .stop = fake_kind_stop,
    .notified = fake_kind_notified,
};

/* Its configuration is 0x10, 0x11 and so on; it offers feature 0 besides those of all. Whether that went well. */
static inline bool fake_kind_begin(struct fake_kind *kind)
{
    struct error error;

    memset(kind, 0, sizeof(*kind));
    kind->log = (struct log){.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    kind->loop = event_loop_create(&error);
    for (unsigned i = 0; i < FAKE_KIND_CONFIG; i++)
        kind->config[i] = (uint8_t)(0x10 + i);
    const struct virtio_environment environment = {.name = "fake0", .loop = kind->loop, .log = &kind->log};
    return virtio_init(&kind->device, &fake_kind_ops, &environment, 1, FAKE_KIND_QUEUES, FAKE_KIND_QUEUE_SIZE,
                       &error) == 0;
}

static inline void fake_kind_end(struct fake_kind *kind)
{
    virtio_fini(&kind->device);
    event_loop_destroy(kind->loop);
}

/* Notifications of a queue since the last call. */
static inline uint64_t fake_kind_notifications(struct virtio_device *device, unsigned queue)
{
    uint64_t count;

    return read(device->queues[queue].eventfd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

#endif
