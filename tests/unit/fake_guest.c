#include "fake_guest.h"

#include <Hypervisor/hvx_dma.h>

#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, PAGES = FAKE_GUEST_SIZE / PAGE, DRIVER_OFFSET = 0x4000, DEVICE_OFFSET = 0x8000 };

uint8_t fake_guest_memory[FAKE_GUEST_SIZE] __attribute__((aligned(4096)));
unsigned fake_guest_refused;
int fake_guest_pins;
/* For each page: whether it may not be read, or written. */
static bool unreadable[PAGES], unwritable[PAGES];

struct hvx_dma {
    int unused;
};

void fake_guest_reset(void)
{
    memset(fake_guest_memory, 0, sizeof(fake_guest_memory));
    memset(unreadable, 0, sizeof(unreadable));
    memset(unwritable, 0, sizeof(unwritable));
    fake_guest_refused = 0;
    fake_guest_pins = 0;
}

void fake_guest_protect(uint64_t gpa, uint64_t size, hv_memory_flags_t flags)
{
    for (uint64_t page = gpa / PAGE; page < (gpa + size + PAGE - 1) / PAGE; page++) {
        unreadable[page] = !(flags & HV_MEMORY_READ);
        unwritable[page] = !(flags & HV_MEMORY_WRITE);
    }
}

/* ---- hvx_dma_* ---- */

hv_return_t hvx_dma_open(hv_vm_space_t asid, const char *device, hvx_dma_t **dma)
{
    (void)asid;
    (void)device;
    *dma = calloc(1, sizeof(**dma));
    return *dma != NULL ? HV_SUCCESS : HV_NO_RESOURCES;
}

void hvx_dma_close(hvx_dma_t *dma)
{
    free(dma);
}

/* Fuzzers have requests with very many pages: these are not looked at one by one. */
static bool has_page(const bool *pages, uint64_t gpa, uint64_t size)
{
    return size > 0 && memchr(pages + gpa / PAGE, true, (gpa + size - 1) / PAGE - gpa / PAGE + 1) != NULL;
}

static uint8_t *find(uint64_t gpa, uint64_t size, hv_memory_flags_t access)
{
    const bool allowed = gpa <= FAKE_GUEST_SIZE && size <= FAKE_GUEST_SIZE - gpa &&
                         !(access & HV_MEMORY_READ && has_page(unreadable, gpa, size)) &&
                         !(access & HV_MEMORY_WRITE && has_page(unwritable, gpa, size));

    fake_guest_refused += !allowed;
    return allowed ? fake_guest_memory + gpa : NULL;
}

hv_return_t hvx_dma_read(hvx_dma_t *dma, hv_gpaddr_t gpa, void *buffer, size_t size)
{
    const uint8_t *at = find(gpa, size, HV_MEMORY_READ);

    (void)dma;
    if (at == NULL)
        return HV_DENIED;
    memcpy(buffer, at, size);
    return HV_SUCCESS;
}

hv_return_t hvx_dma_write(hvx_dma_t *dma, hv_gpaddr_t gpa, const void *buffer, size_t size)
{
    uint8_t *at = find(gpa, size, HV_MEMORY_WRITE);

    (void)dma;
    if (at == NULL)
        return HV_DENIED;
    memcpy(at, buffer, size);
    return HV_SUCCESS;
}

hv_return_t hvx_dma_load16(hvx_dma_t *dma, hv_gpaddr_t gpa, uint16_t *value)
{
    return gpa % 2 != 0 ? HV_BAD_ARGUMENT : hvx_dma_read(dma, gpa, value, sizeof(*value));
}

hv_return_t hvx_dma_load32(hvx_dma_t *dma, hv_gpaddr_t gpa, uint32_t *value)
{
    return gpa % 4 != 0 ? HV_BAD_ARGUMENT : hvx_dma_read(dma, gpa, value, sizeof(*value));
}

hv_return_t hvx_dma_store16(hvx_dma_t *dma, hv_gpaddr_t gpa, uint16_t value)
{
    return gpa % 2 != 0 ? HV_BAD_ARGUMENT : hvx_dma_write(dma, gpa, &value, sizeof(value));
}

hv_return_t hvx_dma_store32(hvx_dma_t *dma, hv_gpaddr_t gpa, uint32_t value)
{
    return gpa % 4 != 0 ? HV_BAD_ARGUMENT : hvx_dma_write(dma, gpa, &value, sizeof(value));
}

/* Pieces end at multiples of 1 MiB, so that buffers have several now and then. */
hv_return_t hvx_dma_pin(hvx_dma_t *dma, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t access,
                        hvx_dma_segment_t *segments, size_t *count, hvx_dma_pin_t *pin)
{
    enum { PIECE = 1 << 20 };
    uint8_t *at = find(gpa, size, access);
    size_t used = 0;

    (void)dma;
    if (at == NULL)
        return HV_DENIED;
    for (size_t done = 0; done < size;) {
        const size_t rest = PIECE - (size_t)((gpa + done) % PIECE);
        const size_t length = size - done < rest ? size - done : rest;
        if (used == *count)
            return HV_NO_RESOURCES;
        segments[used++] = (hvx_dma_segment_t){.address = at + done, .size = length};
        done += length;
    }
    *count = used;
    *pin = (hvx_dma_pin_t){.gpa = gpa, .size = size, .access = access};
    fake_guest_pins++;
    return HV_SUCCESS;
}

void hvx_dma_unpin(hvx_dma_t *dma, const hvx_dma_pin_t *pin)
{
    (void)dma;
    (void)pin;
    fake_guest_pins--;
}

/* ---- The transport ---- */

static void count_interrupt(void *context, uint16_t vector, bool is_config)
{
    struct fake_transport *transport = context;

    (void)vector;
    transport->interrupts += !is_config;
    transport->config_interrupts += is_config;
}

static bool may_use_memory(void *context)
{
    (void)context;
    return true;
}

struct virtio_transport fake_transport_make(struct fake_transport *transport)
{
    *transport = (struct fake_transport){0};
    return (struct virtio_transport){
        .interrupt = count_interrupt, .may_use_memory = may_use_memory, .context = transport};
}

/* ---- The driver ---- */

static void set_status(struct virtio_device *device, uint8_t status)
{
    pthread_mutex_lock(&device->lock);
    virtio_set_status(device, status);
    pthread_mutex_unlock(&device->lock);
}

const uint64_t fake_queue_forms[FAKE_QUEUE_FORM_COUNT] = {
    0,
    1ull << VIRTIO_RING_F_INDIRECT_DESC,
    1ull << VIRTIO_RING_F_EVENT_IDX,
    1ull << VIRTIO_F_RING_PACKED,
    1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX,
};

bool fake_driver_begin(struct virtio_device *device, uint64_t features)
{
    features |= 1ull << VIRTIO_F_VERSION_1;
    set_status(device, 0);
    set_status(device, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    pthread_mutex_lock(&device->lock);
    virtio_accept_features(device, 0, (uint32_t)features);
    virtio_accept_features(device, 1, (uint32_t)(features >> 32));
    pthread_mutex_unlock(&device->lock);
    set_status(device, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
    return (device->state.status & VIRTIO_CONFIG_S_FEATURES_OK) != 0;
}

void fake_queue_enable(struct fake_queue *queue, struct virtio_device *device, unsigned index, uint16_t size,
                       uint64_t gpa)
{
    struct virtq_state *state = &device->queues[index].ring.state;

    *queue = (struct fake_queue){.device = device,
                                 .index = index,
                                 .is_packed = virtio_has_feature(device, VIRTIO_F_RING_PACKED),
                                 .size = size,
                                 .gpa = gpa,
                                 .wrap = true,
                                 .used_wrap = true};
    memset(fake_guest_memory + gpa, 0, 0x10000);
    pthread_mutex_lock(&device->lock);
    state->size = size;
    state->descriptors = gpa;
    state->driver = gpa + DRIVER_OFFSET;
    state->device = gpa + DEVICE_OFFSET;
    const bool enabled = virtio_enable_queue(device, index);
    pthread_mutex_unlock(&device->lock);
    assert(enabled);
    (void)enabled;
}

void fake_driver_start(struct virtio_device *device)
{
    set_status(device, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
                           VIRTIO_CONFIG_S_DRIVER_OK);
}

void fake_driver_reset(struct virtio_device *device)
{
    set_status(device, 0);
}

static void *at(const struct fake_queue *queue, uint64_t offset)
{
    return fake_guest_memory + queue->gpa + offset;
}

/* The flags that make a packed descriptor available. */
static uint16_t available_flags(bool wrap)
{
    return wrap ? 1u << VRING_PACKED_DESC_F_AVAIL : 1u << VRING_PACKED_DESC_F_USED;
}

static uint16_t add_packed(struct fake_queue *queue, const struct fake_buffer *buffers, unsigned count, uint16_t extra)
{
    struct vring_packed_desc *ring = at(queue, 0);
    const uint16_t id = queue->next;
    uint16_t first_flags = 0;
    const uint16_t first = queue->next;

    for (unsigned i = 0; i < count; i++) {
        struct vring_packed_desc *item = &ring[queue->next];
        item->addr = buffers[i].gpa;
        item->len = buffers[i].length;
        item->id = id;
        const uint16_t flags =
            (uint16_t)(available_flags(queue->wrap) | extra | (i + 1 < count ? VRING_DESC_F_NEXT : 0) |
                       (buffers[i].is_written ? VRING_DESC_F_WRITE : 0));
        if (i == 0)
            first_flags = flags;
        else
            item->flags = flags;
        if (++queue->next == queue->size) {
            queue->next = 0;
            queue->wrap = !queue->wrap;
        }
    }
    queue->places[id] = (uint16_t)count;
    __atomic_store_n(&ring[first].flags, first_flags, __ATOMIC_RELEASE);
    return id;
}

static uint16_t add_split(struct fake_queue *queue, const struct fake_buffer *buffers, unsigned count, uint16_t extra)
{
    struct vring_desc *table = at(queue, 0);
    struct vring_avail *ring = at(queue, DRIVER_OFFSET);
    /* Descriptors are taken round and round: tests do not have more out than there are. */
    const uint16_t head = queue->next % queue->size;

    for (unsigned i = 0; i < count; i++) {
        const uint16_t index = queue->next % queue->size;
        queue->next++;
        table[index] = (struct vring_desc){.addr = buffers[i].gpa,
                                           .len = buffers[i].length,
                                           .flags = (uint16_t)(extra | (i + 1 < count ? VRING_DESC_F_NEXT : 0) |
                                                               (buffers[i].is_written ? VRING_DESC_F_WRITE : 0)),
                                           .next = queue->next % queue->size};
    }
    ring->ring[ring->idx % queue->size] = head;
    __atomic_store_n(&ring->idx, (uint16_t)(ring->idx + 1), __ATOMIC_RELEASE);
    return head;
}

uint16_t fake_queue_add(struct fake_queue *queue, const struct fake_buffer *buffers, unsigned count)
{
    return queue->is_packed ? add_packed(queue, buffers, count, 0) : add_split(queue, buffers, count, 0);
}

uint16_t fake_queue_add_indirect(struct fake_queue *queue, uint64_t table_gpa, const struct fake_buffer *buffers,
                                 unsigned count)
{
    struct vring_desc *split = (struct vring_desc *)(void *)(fake_guest_memory + table_gpa);
    struct vring_packed_desc *packed = (struct vring_packed_desc *)(void *)split;
    const struct fake_buffer table = {.gpa = table_gpa, .length = 16 * count};

    for (unsigned i = 0; i < count; i++) {
        const uint16_t flags = buffers[i].is_written ? VRING_DESC_F_WRITE : 0;
        if (queue->is_packed)
            packed[i] = (struct vring_packed_desc){.addr = buffers[i].gpa, .len = buffers[i].length, .flags = flags};
        else
            split[i] = (struct vring_desc){.addr = buffers[i].gpa,
                                           .len = buffers[i].length,
                                           .flags = (uint16_t)(flags | (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
                                           .next = (uint16_t)(i + 1)};
    }
    return queue->is_packed ? add_packed(queue, &table, 1, VRING_DESC_F_INDIRECT)
                            : add_split(queue, &table, 1, VRING_DESC_F_INDIRECT);
}

void fake_queue_serve(struct fake_queue *queue)
{
    pthread_mutex_lock(&queue->device->lock);
    if (virtio_is_running(queue->device))
        queue->device->ops->notified(queue->device, queue->index);
    pthread_mutex_unlock(&queue->device->lock);
}

static bool used_packed(struct fake_queue *queue, uint16_t *ret_id, uint32_t *ret_written)
{
    const struct vring_packed_desc *item = (struct vring_packed_desc *)at(queue, 0) + queue->next_used;
    const uint16_t flags = __atomic_load_n(&item->flags, __ATOMIC_ACQUIRE);
    const bool is_available = flags >> VRING_PACKED_DESC_F_AVAIL & 1;
    const bool is_used = flags >> VRING_PACKED_DESC_F_USED & 1;

    if (is_available != is_used || is_used != queue->used_wrap)
        return false;
    *ret_id = item->id;
    *ret_written = item->len;
    queue->next_used = (uint16_t)(queue->next_used + queue->places[item->id]);
    if (queue->next_used >= queue->size) {
        queue->next_used = (uint16_t)(queue->next_used - queue->size);
        queue->used_wrap = !queue->used_wrap;
    }
    return true;
}

static bool used_split(struct fake_queue *queue, uint16_t *ret_id, uint32_t *ret_written)
{
    const struct vring_used *ring = at(queue, DEVICE_OFFSET);

    if (__atomic_load_n(&ring->idx, __ATOMIC_ACQUIRE) == queue->next_used)
        return false;
    const struct vring_used_elem *element = &ring->ring[queue->next_used++ % queue->size];
    *ret_id = (uint16_t)element->id;
    *ret_written = element->len;
    return true;
}

bool fake_queue_used(struct fake_queue *queue, uint16_t *ret_id, uint32_t *ret_written)
{
    return queue->is_packed ? used_packed(queue, ret_id, ret_written) : used_split(queue, ret_id, ret_written);
}
