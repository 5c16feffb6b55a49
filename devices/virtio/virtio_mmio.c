#include "devices/virtio/virtio_mmio.h"

#include <endian.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>

/* virtio 1.2, 4.2.2: "virt", little-endian; and whose the device is, four letters of our own. */
#define MAGIC 0x74726976u
#define VERSION 2u
#define VENDOR 0x52495551u

/* What is saved. Plain data. */
struct virtio_mmio_state {
    uint32_t isr;
};

static const struct state_field fields[] = {
    STATE_FIELD_UP_TO(struct virtio_mmio_state, isr, VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG),
};
STATE_DESCRIPTION(description, struct virtio_mmio_state, "virtio_mmio", 1, fields);

struct virtio_mmio {
    /* the first: see device.h */
    struct device bus_device;
    struct virtio_device *device;
    struct irq_line irq;
    /* guarded by the device's lock */
    struct virtio_mmio_state state;
};

static struct virtio_mmio *mmio_of(struct device *device)
{
    return (struct virtio_mmio *)(void *)device;
}

static void interrupt(void *context, uint16_t vector, bool is_config)
{
    struct virtio_mmio *mmio = context;

    (void)vector;
    mmio->state.isr |= is_config ? VIRTIO_MMIO_INT_CONFIG : VIRTIO_MMIO_INT_VRING;
    irq_line_set(&mmio->irq, 1);
}

static bool may_use_memory(void *context)
{
    (void)context;
    return true;
}

static struct virtq *selected_queue(const struct virtio_mmio *mmio)
{
    struct virtio_device *device = mmio->device;

    return device->state.queue_select < device->queue_count ? &device->queues[device->state.queue_select].ring : NULL;
}

static uint32_t read_queue(const struct virtio_mmio *mmio, uint64_t offset)
{
    const struct virtq *queue = selected_queue(mmio);

    if (queue == NULL)
        return 0;
    return offset == VIRTIO_MMIO_QUEUE_NUM_MAX ? queue->max_size : queue->state.is_enabled;
}

static uint32_t read_register(const struct virtio_mmio *mmio, uint64_t offset)
{
    const struct virtio_device *device = mmio->device;

    switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MAGIC;
    case VIRTIO_MMIO_VERSION:
        return VERSION;
    case VIRTIO_MMIO_DEVICE_ID:
        return device->ops->id;
    case VIRTIO_MMIO_VENDOR_ID:
        return VENDOR;
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return virtio_device_features(device, device->state.device_feature_select);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
    case VIRTIO_MMIO_QUEUE_READY:
        return read_queue(mmio, offset);
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        return mmio->state.isr;
    case VIRTIO_MMIO_STATUS:
        return device->state.status;
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return device->state.config_generation;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
        return UINT32_MAX; /* there is no shared memory: 4.2.2 */
    default:
        return 0;
    }
}

static uint64_t mmio_read(struct device *bus_device, uint64_t offset, unsigned size)
{
    struct virtio_mmio *mmio = mmio_of(bus_device);
    uint64_t value = 0;

    pthread_mutex_lock(&mmio->device->lock);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        virtio_read_config(mmio->device, offset - VIRTIO_MMIO_CONFIG, &value, size);
        value = le64toh(value);
    } else if (size == 4 && offset % 4 == 0) {
        value = read_register(mmio, offset);
    }
    pthread_mutex_unlock(&mmio->device->lock);
    return value;
}

static void set_half(uint64_t *address, bool is_high, uint32_t value)
{
    const unsigned shift = is_high ? 32 : 0;

    *address = (*address & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

/* Registers of the selected queue, which is not enabled yet. */
static void write_queue(struct virtio_mmio *mmio, struct virtq_state *queue, uint64_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        queue->size = value <= UINT16_MAX ? (uint16_t)value : 0;
        break;
    case VIRTIO_MMIO_QUEUE_READY:
        if (value == 1)
            (void)virtio_enable_queue(mmio->device, mmio->device->state.queue_select);
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_half(&queue->descriptors, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_half(&queue->driver, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_half(&queue->device, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
        break;
    default:
        break;
    }
}

static void acknowledge(struct virtio_mmio *mmio, uint32_t bits)
{
    mmio->state.isr &= ~bits;
    if (mmio->state.isr == 0)
        irq_line_set(&mmio->irq, 0);
}

static void write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
    struct virtio_device *device = mmio->device;
    struct virtq *queue = selected_queue(mmio);

    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        device->state.device_feature_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        device->state.driver_feature_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        virtio_accept_features(device, device->state.driver_feature_select, value);
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        device->state.queue_select = value <= UINT16_MAX ? (uint16_t)value : UINT16_MAX;
        break;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        acknowledge(mmio, value);
        break;
    case VIRTIO_MMIO_STATUS:
        virtio_set_status(device, (uint8_t)value);
        if (value == 0)
            acknowledge(mmio, UINT32_MAX);
        break;
    default:
        if (queue != NULL && !queue->state.is_enabled)
            write_queue(mmio, &queue->state, offset, value);
        else if (queue != NULL && offset == VIRTIO_MMIO_QUEUE_READY && value == 0)
            virtq_disable(queue);
        break;
    }
}

static void mmio_write(struct device *bus_device, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_mmio *mmio = mmio_of(bus_device);
    const uint64_t bytes = htole64(value);

    if (offset == VIRTIO_MMIO_QUEUE_NOTIFY && size == 4) {
        virtio_notify(mmio->device, (unsigned)value);
        return;
    }
    pthread_mutex_lock(&mmio->device->lock);
    if (offset >= VIRTIO_MMIO_CONFIG)
        virtio_write_config(mmio->device, offset - VIRTIO_MMIO_CONFIG, &bytes, size);
    else if (size == 4 && offset % 4 == 0)
        write_register(mmio, offset, (uint32_t)value);
    pthread_mutex_unlock(&mmio->device->lock);
}

static void mmio_reset(struct device *bus_device)
{
    struct virtio_mmio *mmio = mmio_of(bus_device);

    pthread_mutex_lock(&mmio->device->lock);
    virtio_reset(mmio->device);
    acknowledge(mmio, UINT32_MAX);
    pthread_mutex_unlock(&mmio->device->lock);
}

static void add_state(void *context, struct state_parts *parts)
{
    state_add(parts, &description, &((struct virtio_mmio *)context)->state);
}

static void restored(void *context)
{
    struct virtio_mmio *mmio = context;

    pthread_mutex_lock(&mmio->device->lock);
    irq_line_set(&mmio->irq, mmio->state.isr != 0);
    pthread_mutex_unlock(&mmio->device->lock);
}

/* What is saved is the virtio device's, with its transport's. */
static const struct device_ops ops = {
    .name = "virtio",
    .min_access = 1,
    .max_access = 8,
    .read = mmio_read,
    .write = mmio_write,
    .reset = mmio_reset,
};

struct virtio_mmio *virtio_mmio_create(struct virtio_device *device, const struct irq_line *irq)
{
    struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));

    if (mmio == NULL)
        return NULL;
    device_init(&mmio->bus_device, &ops);
    mmio->device = device;
    mmio->irq = *irq;
    device->transport = (struct virtio_transport){.interrupt = interrupt,
                                                  .may_use_memory = may_use_memory,
                                                  .add_state = add_state,
                                                  .restored = restored,
                                                  .context = mmio};
    return mmio;
}

void virtio_mmio_destroy(struct virtio_mmio *mmio)
{
    if (mmio == NULL)
        return;
    device_fini(&mmio->bus_device);
    free(mmio);
}

struct device *virtio_mmio_device(struct virtio_mmio *mmio)
{
    return &mmio->bus_device;
}
