#include "devices/virtio/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What every device offers. */
static const uint64_t COMMON_FEATURES = 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_F_RING_PACKED |
                                        1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX;

enum { CONFIG_SIZE_MAX = 256 };

/* ---- Queues ---- */

static void drain_eventfd(int fd)
{
    uint64_t count;
    ssize_t got = read(fd, &count, sizeof(count));

    (void)got;
}

static void on_notified(void *context, uint32_t events)
{
    struct virtio_device *device = *(struct virtio_device **)context;
    const unsigned queue =
        (unsigned)(((char *)context - (char *)&device->queues[0].device) / (ptrdiff_t)sizeof(device->queues[0]));

    (void)events;
    pthread_mutex_lock(&device->lock);
    drain_eventfd(device->queues[queue].eventfd);
    if (virtio_is_running(device) && device->queues[queue].ring.state.is_enabled)
        device->ops->notified(device, queue);
    pthread_mutex_unlock(&device->lock);
}

void virtio_notify(const struct virtio_device *device, unsigned queue)
{
    const uint64_t one = 1;

    if (queue >= device->queue_count)
        return;
    /* It cannot be full: the loop empties it. */
    ssize_t written = write(device->queues[queue].eventfd, &one, sizeof(one));
    (void)written;
}

static int add_queue(struct virtio_device *device, uint16_t size, struct error *error)
{
    const unsigned queue = device->queue_count;

    const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return error_set(error, ERROR_HOST, "no descriptor for a queue of %s: %s", device->name, strerror(errno));
    device->queues[queue].eventfd = fd;
    device->queues[queue].device = device;
    virtq_init(&device->queues[queue].ring, device->dma, size);
    device->queue_count++;
    return event_loop_add(device->loop, fd, EPOLLIN, on_notified, &device->queues[queue].device, error);
}

/* ---- Beginning and end ---- */

int virtio_init(struct virtio_device *device, const struct virtio_ops *ops,
                const struct virtio_environment *environment, uint64_t features, unsigned queue_count,
                uint16_t queue_size, struct error *error)
{
    device->ops = ops;
    device->name = environment->name;
    device->log = environment->log;
    device->loop = environment->loop;
    device->features = features | COMMON_FEATURES;
    device->state.config_vector = VIRTIO_NO_VECTOR;
    pthread_mutex_init(&device->lock, NULL);
    pthread_cond_init(&device->stopped, NULL);
    if (hvx_dma_open(environment->space, environment->name, &device->dma) != HV_SUCCESS) {
        pthread_cond_destroy(&device->stopped);
        pthread_mutex_destroy(&device->lock);
        device->ops = NULL;
        return error_set(error, ERROR_HOST, "no memory for %s", environment->name);
    }
    while (device->queue_count < queue_count) {
        if (add_queue(device, queue_size, error) < 0) {
            virtio_fini(device);
            return -1;
        }
    }
    return 0;
}

void virtio_fini(struct virtio_device *device)
{
    if (device->ops == NULL)
        return;
    while (device->queue_count > 0) {
        device->queue_count--;
        event_loop_remove(device->loop, device->queues[device->queue_count].eventfd);
        close(device->queues[device->queue_count].eventfd);
    }
    hvx_dma_close(device->dma);
    pthread_cond_destroy(&device->stopped);
    pthread_mutex_destroy(&device->lock);
    device->ops = NULL;
}

/* ---- Features and status ---- */

uint32_t virtio_device_features(const struct virtio_device *device, uint32_t select)
{
    return select < 2 ? (uint32_t)(device->features >> (32 * select)) : 0;
}

void virtio_accept_features(struct virtio_device *device, uint32_t select, uint32_t features)
{
    const unsigned shift = 32 * (select & 1);

    /* Once they are agreed on they stay. */
    if (select > 1 || device->state.status & VIRTIO_CONFIG_S_FEATURES_OK)
        return;
    device->state.driver_features &= ~((uint64_t)UINT32_MAX << shift);
    device->state.driver_features |= (uint64_t)features << shift;
}

bool virtio_has_feature(const struct virtio_device *device, unsigned bit)
{
    return (device->state.driver_features >> bit & 1) != 0;
}

bool virtio_is_running(const struct virtio_device *device)
{
    return (device->state.status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) ==
               VIRTIO_CONFIG_S_DRIVER_OK &&
           !device->state.is_stopping && device->transport.may_use_memory(device->transport.context);
}

/* A driver of before 1.0, or one that accepts what was not offered, gets no further. */
static bool features_are_good(const struct virtio_device *device)
{
    return (device->state.driver_features & ~device->features) == 0 && virtio_has_feature(device, VIRTIO_F_VERSION_1);
}

void virtio_stopped(struct virtio_device *device)
{
    device->state =
        (struct virtio_state){.config_vector = VIRTIO_NO_VECTOR, .config_generation = device->state.config_generation};
    for (unsigned i = 0; i < device->queue_count; i++)
        virtq_reset(&device->queues[i].ring);
    pthread_cond_broadcast(&device->stopped);
}

void virtio_wait_stopped(struct virtio_device *device)
{
    pthread_mutex_lock(&device->lock);
    while (device->state.is_stopping)
        pthread_cond_wait(&device->stopped, &device->lock);
    pthread_mutex_unlock(&device->lock);
}

void virtio_reset(struct virtio_device *device)
{
    if (device->state.is_stopping)
        return;
    device->state.is_stopping = true;
    if (device->ops->stop == NULL || device->ops->stop(device))
        virtio_stopped(device);
}

static void notify_enabled(const struct virtio_device *device)
{
    for (unsigned i = 0; i < device->queue_count; i++)
        if (device->queues[i].ring.state.is_enabled)
            virtio_notify(device, i);
}

void virtio_set_status(struct virtio_device *device, uint8_t status)
{
    struct virtio_state *state = &device->state;
    const uint8_t known = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
                          VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED;

    if (status == 0) {
        virtio_reset(device);
        return;
    }
    uint8_t added = status & known & (uint8_t)~state->status;
    if (state->is_stopping)
        return;
    if (added & VIRTIO_CONFIG_S_FEATURES_OK && !features_are_good(device))
        added &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    if (added & VIRTIO_CONFIG_S_DRIVER_OK && !((state->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
        added &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
    state->status |= added;
    if (!(added & VIRTIO_CONFIG_S_DRIVER_OK))
        return;
    if (device->ops->start != NULL)
        device->ops->start(device);
    /* The driver may have filled them before it was ready. */
    notify_enabled(device);
}

static struct virtq_features queue_features(const struct virtio_device *device)
{
    return (struct virtq_features){
        .is_packed = virtio_has_feature(device, VIRTIO_F_RING_PACKED),
        .has_indirect = virtio_has_feature(device, VIRTIO_RING_F_INDIRECT_DESC),
        .has_event_index = virtio_has_feature(device, VIRTIO_RING_F_EVENT_IDX),
    };
}

bool virtio_enable_queue(struct virtio_device *device, unsigned queue)
{
    const struct virtq_features features = queue_features(device);

    if (queue >= device->queue_count || device->queues[queue].ring.state.is_enabled)
        return queue < device->queue_count;
    if (virtq_enable(&device->queues[queue].ring, &features))
        return true;
    virtio_fail(device, queue, "its size or an address is not allowed");
    return false;
}

/* ---- Configuration ---- */

void virtio_read_config(struct virtio_device *device, uint64_t offset, void *bytes, unsigned size)
{
    uint8_t config[CONFIG_SIZE_MAX] = {0};

    memset(bytes, 0, size);
    if (device->ops->config_size == 0 || offset >= device->ops->config_size)
        return;
    device->ops->read_config(device, config);
    const size_t rest = device->ops->config_size - offset;
    memcpy(bytes, config + offset, rest < size ? rest : size);
}

void virtio_write_config(struct virtio_device *device, uint64_t offset, const void *bytes, unsigned size)
{
    if (device->ops->write_config != NULL && offset < device->ops->config_size &&
        size <= device->ops->config_size - offset)
        device->ops->write_config(device, (size_t)offset, bytes, size);
}

static void interrupt(struct virtio_device *device, uint16_t vector, bool is_config)
{
    device->transport.interrupt(device->transport.context, vector, is_config);
}

void virtio_config_changed(struct virtio_device *device)
{
    device->state.config_generation++;
    if (device->state.status & VIRTIO_CONFIG_S_DRIVER_OK)
        interrupt(device, device->state.config_vector, true);
}

/* ---- Requests ---- */

struct virtq *virtio_queue(struct virtio_device *device, unsigned queue)
{
    return &device->queues[queue].ring;
}

void virtio_fail(struct virtio_device *device, unsigned queue, const char *why)
{
    log_guest_misbehaviour(device->log, &device->limit, device->name, "queue %u: %s; it needs a reset", queue, why);
    if (device->state.status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    device->state.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (device->state.status & VIRTIO_CONFIG_S_DRIVER_OK)
        interrupt(device, device->state.config_vector, true);
}

/* Tells of a queue that has broken. */
static void check_broken(struct virtio_device *device, unsigned queue)
{
    const struct virtq *ring = &device->queues[queue].ring;

    if (ring->state.is_broken && !(device->state.status & VIRTIO_CONFIG_S_NEEDS_RESET))
        virtio_fail(device, queue, ring->why_broken);
}

struct virtq_chain *virtio_pop(struct virtio_device *device, unsigned queue)
{
    struct virtq_chain *chain;

    if (!virtio_is_running(device))
        return NULL;
    const int result = virtq_pop(&device->queues[queue].ring, &chain);
    check_broken(device, queue);
    return result == 1 ? chain : NULL;
}

void virtio_push_all(struct virtio_device *device, unsigned queue, struct virtq_chain *const *chains,
                     const uint32_t *written, size_t count)
{
    virtq_push_all(&device->queues[queue].ring, chains, written, count);
    check_broken(device, queue);
}

void virtio_push(struct virtio_device *device, unsigned queue, struct virtq_chain *chain, uint32_t written)
{
    virtio_push_all(device, queue, &chain, &written, 1);
}

void virtio_flush(struct virtio_device *device, unsigned queue)
{
    struct virtq *ring = &device->queues[queue].ring;

    if (virtq_wants_interrupt(ring))
        interrupt(device, ring->state.vector, false);
}

/* ---- Saved state ---- */

static const struct state_field fields[] = {
    STATE_FIELD(struct virtio_state, driver_features),
    STATE_FIELD(struct virtio_state, device_feature_select),
    STATE_FIELD(struct virtio_state, driver_feature_select),
    STATE_FIELD(struct virtio_state, queue_select),
    STATE_FIELD(struct virtio_state, config_vector),
    STATE_FIELD(struct virtio_state, status),
    STATE_FIELD(struct virtio_state, config_generation),
    STATE_FIELD(struct virtio_state, is_stopping),
    STATE_UNUSED(struct virtio_state),
};
STATE_DESCRIPTION(description, struct virtio_state, "virtio", 1, fields);

static void add_state(struct virtio_device *device, struct state_parts *parts)
{
    state_add(parts, &description, &device->state);
    for (unsigned i = 0; i < device->queue_count; i++)
        virtq_add_state(&device->queues[i].ring, parts);
    if (device->ops->add_state != NULL)
        device->ops->add_state(device, parts);
    if (device->transport.add_state != NULL)
        device->transport.add_state(device->transport.context, parts);
}

uint8_t *virtio_save(struct virtio_device *device, size_t *ret_size)
{
    struct state_parts parts = {.count = 0};

    pthread_mutex_lock(&device->lock);
    add_state(device, &parts);
    uint8_t *bytes = state_write(&parts, ret_size);
    pthread_mutex_unlock(&device->lock);
    return bytes;
}

/* Makes the rest of the device agree with what has been read, which may be anything. */
static void restored(struct virtio_device *device)
{
    /* The stop was to end what the other machine had begun. */
    if (device->state.is_stopping)
        virtio_stopped(device);
    /* Before they are agreed on the driver may ask for any. */
    if (device->state.status & VIRTIO_CONFIG_S_FEATURES_OK &&
        (device->state.driver_features & ~device->features) != 0) {
        device->state.driver_features &= device->features;
        virtio_fail(device, 0, "it was saved with features that it has no more");
    }
    const struct virtq_features features = queue_features(device);
    for (unsigned i = 0; i < device->queue_count; i++) {
        virtq_restored(&device->queues[i].ring, &features);
        check_broken(device, i);
    }
    if (device->ops->restored != NULL)
        device->ops->restored(device);
}

int virtio_restore(struct virtio_device *device, const void *bytes, size_t size, struct error *error)
{
    struct state_parts parts = {.count = 0};

    pthread_mutex_lock(&device->lock);
    add_state(device, &parts);
    const int result = state_read(&parts, bytes, size, error);
    pthread_mutex_unlock(&device->lock);
    if (result < 0)
        return -1;
    if (device->transport.restored != NULL)
        device->transport.restored(device->transport.context);
    pthread_mutex_lock(&device->lock);
    restored(device);
    notify_enabled(device);
    pthread_mutex_unlock(&device->lock);
    return 0;
}
