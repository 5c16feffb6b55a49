#include "devices/virtio/virtio_pci.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* virtio 1.2, 4.1.2 */
#define VENDOR_VIRTIO 0x1af4u
#define DEVICE_MODERN_BASE 0x1040u
#define REVISION_MODERN 1u

/* The one memory register and what is where in it. */
enum {
    BAR = 0,
    BAR_SIZE = 0x8000,
    COMMON_OFFSET = 0x0000,
    COMMON_SIZE = sizeof(struct virtio_pci_common_cfg),
    ISR_OFFSET = 0x1000,
    ISR_SIZE = 1,
    DEVICE_OFFSET = 0x2000,
    DEVICE_SIZE = 0x1000,
    NOTIFY_OFFSET = 0x3000,
    NOTIFY_MULTIPLIER = 4,
    MSIX_TABLE_OFFSET = 0x4000,
    MSIX_PENDING_OFFSET = 0x5000,
    PAGE = 0x1000,
};

/* Bits of the ISR: virtio 1.2, 4.1.4.5. */
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

/* What is saved, besides the function's and its messages' state. Plain data. */
struct virtio_pci_state {
    uint8_t isr;
};

static const struct state_field fields[] = {
    STATE_FIELD_UP_TO(struct virtio_pci_state, isr, ISR_QUEUE | ISR_CONFIG),
};
STATE_DESCRIPTION(description, struct virtio_pci_state, "virtio_pci", 1, fields);

struct virtio_pci {
    /* the first: see pci.h */
    struct pci_function function;
    struct virtio_device *device;
    struct msix msix;
    struct msi_controller messages;
    struct notify_controller notify;
    /* Where notifications go without an exit; UINT64_MAX: nowhere. Guarded by the bus's lock. */
    uint64_t attached_gpa;
    /* Which queues' do. */
    bool is_attached[VIRTIO_QUEUE_MAX];
    /* The capability through which the driver reaches the registers without the memory register. */
    uint8_t window_capability;
    /* guarded by the device's lock */
    struct virtio_pci_state state;
};

static struct virtio_pci *pci_of(struct pci_function *function)
{
    return (struct virtio_pci *)(void *)function;
}

/* ---- Interrupts ---- */

static void update_pin(struct virtio_pci *pci)
{
    pci_function_set_pin(&pci->function, pci->state.isr != 0 && !msix_is_enabled(&pci->msix));
}

static void interrupt(void *context, uint16_t vector, bool is_config)
{
    struct virtio_pci *pci = context;

    const bool is_message = msix_is_enabled(&pci->msix);

    /* With messages a queue's bit is not used: virtio 1.2, 4.1.4.5.1. */
    if (is_config || !is_message)
        pci->state.isr |= is_config ? ISR_CONFIG : ISR_QUEUE;
    if (is_message)
        msix_raise(&pci->msix, vector);
    update_pin(pci);
}

static bool may_use_memory(void *context)
{
    const struct virtio_pci *pci = context;

    return pci_function_is_bus_master(&pci->function);
}

/* The driver asks for a vector: one that is not there reads back as none. */
static uint16_t checked_vector(const struct virtio_pci *pci, uint64_t vector)
{
    return vector < pci->msix.count ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

/* ---- The common configuration ---- */

static struct virtq_state *selected_queue(const struct virtio_pci *pci)
{
    struct virtio_device *device = pci->device;
    const uint16_t select = device->state.queue_select;

    return select < device->queue_count ? &device->queues[select].ring.state : NULL;
}

/* The whole register file as it reads now. */
static void common_image(const struct virtio_pci *pci, struct virtio_pci_common_cfg *image)
{
    const struct virtio_device *device = pci->device;
    const struct virtio_state *state = &device->state;
    const struct virtq_state *queue = selected_queue(pci);
    const uint32_t accepted = (uint32_t)(state->driver_features >> (32 * (state->driver_feature_select & 1)));

    *image = (struct virtio_pci_common_cfg){
        .device_feature_select = htole32(state->device_feature_select),
        .device_feature = htole32(virtio_device_features(device, state->device_feature_select)),
        .guest_feature_select = htole32(state->driver_feature_select),
        .guest_feature = htole32(state->driver_feature_select < 2 ? accepted : 0),
        .msix_config = htole16(state->config_vector),
        .num_queues = htole16((uint16_t)device->queue_count),
        .device_status = state->status,
        .config_generation = state->config_generation,
        .queue_select = htole16(state->queue_select),
    };
    if (queue == NULL)
        return;
    image->queue_size = htole16(queue->size);
    image->queue_msix_vector = htole16(queue->vector);
    image->queue_enable = htole16(queue->is_enabled);
    image->queue_notify_off = htole16(state->queue_select);
    image->queue_desc_lo = htole32((uint32_t)queue->descriptors);
    image->queue_desc_hi = htole32((uint32_t)(queue->descriptors >> 32));
    image->queue_avail_lo = htole32((uint32_t)queue->driver);
    image->queue_avail_hi = htole32((uint32_t)(queue->driver >> 32));
    image->queue_used_lo = htole32((uint32_t)queue->device);
    image->queue_used_hi = htole32((uint32_t)(queue->device >> 32));
}

static uint64_t common_read(const struct virtio_pci *pci, uint64_t offset, unsigned size)
{
    struct virtio_pci_common_cfg image;
    uint64_t value = 0;

    if (offset + size > sizeof(image))
        return 0;
    common_image(pci, &image);
    memcpy(&value, (const uint8_t *)&image + offset, size);
    return le64toh(value);
}

/* Half of an address, or with 8 bytes all of it. */
static void write_address(uint64_t *address, bool is_high, unsigned size, uint64_t value)
{
    if (size == 8)
        *address = value;
    else if (is_high)
        *address = (*address & UINT32_MAX) | value << 32;
    else
        *address = (*address & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
}

/* Registers of the selected queue; once it is enabled, the vector alone can be changed. */
static void write_queue(struct virtio_pci *pci, struct virtq_state *queue, uint64_t offset, unsigned size,
                        uint64_t value)
{
    if (offset == VIRTIO_PCI_COMMON_Q_MSIX)
        queue->vector = checked_vector(pci, value);
    if (queue->is_enabled)
        return;
    switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
        queue->size = (uint16_t)value;
        break;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        if (value == 1)
            (void)virtio_enable_queue(pci->device, pci->device->state.queue_select);
        break;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
        write_address(&queue->descriptors, offset == VIRTIO_PCI_COMMON_Q_DESCHI, size, value);
        break;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
        write_address(&queue->driver, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, size, value);
        break;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        write_address(&queue->device, offset == VIRTIO_PCI_COMMON_Q_USEDHI, size, value);
        break;
    default:
        break;
    }
}

/* Where the registers begin that are wider than 2 bytes. */
static bool has_right_width(uint64_t offset, unsigned size)
{
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
    case VIRTIO_PCI_COMMON_GFSELECT:
    case VIRTIO_PCI_COMMON_GF:
    case VIRTIO_PCI_COMMON_Q_DESCHI:
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
    case VIRTIO_PCI_COMMON_Q_USEDHI:
        return size == 4;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
    case VIRTIO_PCI_COMMON_Q_USEDLO:
        return size == 4 || size == 8;
    case VIRTIO_PCI_COMMON_STATUS:
        return size == 1;
    default:
        return size == 2;
    }
}

static void common_write(struct virtio_pci *pci, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_device *device = pci->device;
    struct virtio_state *state = &device->state;
    struct virtq_state *queue = selected_queue(pci);

    if (!has_right_width(offset, size))
        return;
    switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        state->device_feature_select = (uint32_t)value;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        state->driver_feature_select = (uint32_t)value;
        break;
    case VIRTIO_PCI_COMMON_GF:
        virtio_accept_features(device, state->driver_feature_select, (uint32_t)value);
        break;
    case VIRTIO_PCI_COMMON_MSIX:
        state->config_vector = checked_vector(pci, value);
        break;
    case VIRTIO_PCI_COMMON_STATUS:
        virtio_set_status(device, (uint8_t)value);
        if (value == 0) {
            pci->state.isr = 0;
            update_pin(pci);
        }
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        state->queue_select = (uint16_t)value;
        break;
    default:
        if (queue != NULL)
            write_queue(pci, queue, offset, size, value);
        break;
    }
}

/* ---- The memory register ---- */

/* Reading the ISR takes the interrupt back. */
static uint64_t isr_read(struct virtio_pci *pci, uint64_t offset)
{
    const uint8_t isr = pci->state.isr;

    if (offset != ISR_OFFSET)
        return 0;
    pci->state.isr = 0;
    update_pin(pci);
    return isr;
}

static uint64_t bar_read(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size)
{
    struct virtio_pci *pci = pci_of(function);
    uint64_t value = 0;

    (void)bar;
    pthread_mutex_lock(&pci->device->lock);
    switch (offset / PAGE * PAGE) {
    case COMMON_OFFSET:
        value = common_read(pci, offset - COMMON_OFFSET, size);
        break;
    case ISR_OFFSET:
        value = isr_read(pci, offset);
        break;
    case DEVICE_OFFSET:
        virtio_read_config(pci->device, offset - DEVICE_OFFSET, &value, size);
        value = le64toh(value);
        break;
    case MSIX_TABLE_OFFSET:
        value = msix_table_read(&pci->msix, offset - MSIX_TABLE_OFFSET, size);
        break;
    case MSIX_PENDING_OFFSET:
        value = msix_pending_read(&pci->msix, offset - MSIX_PENDING_OFFSET, size);
        break;
    default:
        break;
    }
    pthread_mutex_unlock(&pci->device->lock);
    return value;
}

static void bar_write(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    struct virtio_pci *pci = pci_of(function);
    const uint64_t bytes = htole64(value);

    (void)bar;
    /* What has been attached does not come here. */
    if (offset / PAGE * PAGE == NOTIFY_OFFSET) {
        virtio_notify(pci->device, (unsigned)((offset - NOTIFY_OFFSET) / NOTIFY_MULTIPLIER));
        return;
    }
    pthread_mutex_lock(&pci->device->lock);
    switch (offset / PAGE * PAGE) {
    case COMMON_OFFSET:
        common_write(pci, offset - COMMON_OFFSET, size, value);
        break;
    case DEVICE_OFFSET:
        virtio_write_config(pci->device, offset - DEVICE_OFFSET, &bytes, size);
        break;
    case MSIX_TABLE_OFFSET:
        msix_table_write(&pci->msix, offset - MSIX_TABLE_OFFSET, size, value);
        break;
    default:
        break;
    }
    pthread_mutex_unlock(&pci->device->lock);
}

/* Has the kernel take notifications at the new place. */
static void moved(struct pci_function *function, unsigned bar, uint64_t gpa)
{
    struct virtio_pci *pci = pci_of(function);
    const struct notify_controller *notify = &pci->notify;

    (void)bar;
    for (unsigned i = 0; i < pci->device->queue_count; i++) {
        const uint64_t offset = NOTIFY_OFFSET + (uint64_t)i * NOTIFY_MULTIPLIER;
        const int fd = pci->device->queues[i].eventfd;
        if (pci->is_attached[i])
            notify->detach(notify->context, pci->attached_gpa + offset, fd);
        pci->is_attached[i] = gpa != UINT64_MAX && notify->attach(notify->context, gpa + offset, fd) == 0;
    }
    pci->attached_gpa = gpa;
}

/* ---- The configuration space ---- */

/* What the window capability is set to: false if that is no access to the memory register. */
static bool window_access(const struct virtio_pci *pci, uint32_t *ret_offset, uint32_t *ret_size)
{
    const unsigned at = pci->window_capability;

    *ret_offset = pci_function_get(&pci->function, at + VIRTIO_PCI_CAP_OFFSET, 4);
    *ret_size = pci_function_get(&pci->function, at + VIRTIO_PCI_CAP_LENGTH, 4);
    return pci_function_get(&pci->function, at + VIRTIO_PCI_CAP_BAR, 1) == BAR &&
           (*ret_size == 1 || *ret_size == 2 || *ret_size == 4) && *ret_offset % *ret_size == 0 &&
           *ret_offset <= BAR_SIZE - *ret_size;
}

static bool touches_window(const struct virtio_pci *pci, unsigned offset, unsigned size)
{
    const unsigned data = pci->window_capability + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

    return offset < data + 4 && data < offset + size;
}

static void config_read(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio_pci *pci = pci_of(function);
    uint32_t at, width;

    if (!touches_window(pci, offset, size) || !window_access(pci, &at, &width))
        return;
    const uint64_t value = bar_read(function, BAR, at, width);
    for (unsigned i = 0; i < width; i++)
        function->state.config[pci->window_capability + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data) + i] =
            (uint8_t)(value >> (8 * i));
}

/* With the device's lock held. What was notified while the device might not reach memory has been dropped. */
static void notify_all(const struct virtio_pci *pci)
{
    if (!pci_function_is_bus_master(&pci->function) || !(pci->device->state.status & VIRTIO_CONFIG_S_DRIVER_OK))
        return;
    for (unsigned i = 0; i < pci->device->queue_count; i++)
        virtio_notify(pci->device, i);
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    struct virtio_pci *pci = pci_of(function);
    uint32_t at, width;

    pthread_mutex_lock(&pci->device->lock);
    msix_config_written(&pci->msix);
    update_pin(pci);
    if (offset <= PCI_COMMAND)
        notify_all(pci);
    pthread_mutex_unlock(&pci->device->lock);
    /* Not at a reset, which writes all of it. */
    if (size > 4 || !touches_window(pci, offset, size) || !window_access(pci, &at, &width))
        return;
    const unsigned data = pci->window_capability + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
    bar_write(function, BAR, at, width, pci_function_get(function, data, width));
}

static const struct pci_ops ops = {
    .read = bar_read,
    .write = bar_write,
    .config_written = config_written,
    .config_read = config_read,
    .moved = moved,
};

/* ---- Saved state ---- */

static void add_state(void *context, struct state_parts *parts)
{
    struct virtio_pci *pci = context;

    state_add(parts, &description, &pci->state);
    msix_add_state(&pci->msix, parts);
    pci_function_add_state(&pci->function, parts);
}

static void restored(void *context)
{
    struct virtio_pci *pci = context;

    pthread_mutex_lock(&pci->device->lock);
    msix_restored(&pci->msix);
    pthread_mutex_unlock(&pci->device->lock);
    pci_function_restored(&pci->function);
}

/* ---- Beginning and end ---- */

static uint8_t add_capability(struct virtio_pci *pci, uint8_t type, uint32_t offset, uint32_t length, uint8_t size)
{
    const uint8_t at = pci_function_add_capability(&pci->function, PCI_CAP_ID_VNDR, size);

    pci_function_set(&pci->function, at + VIRTIO_PCI_CAP_LEN, 1, size);
    pci_function_set(&pci->function, at + VIRTIO_PCI_CAP_CFG_TYPE, 1, type);
    pci_function_set(&pci->function, at + VIRTIO_PCI_CAP_BAR, 1, BAR);
    pci_function_set(&pci->function, at + VIRTIO_PCI_CAP_OFFSET, 4, offset);
    pci_function_set(&pci->function, at + VIRTIO_PCI_CAP_LENGTH, 4, length);
    return at;
}

static void add_capabilities(struct virtio_pci *pci)
{
    const uint8_t size = sizeof(struct virtio_pci_cap);

    add_capability(pci, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFFSET, COMMON_SIZE, size);
    add_capability(pci, VIRTIO_PCI_CAP_ISR_CFG, ISR_OFFSET, ISR_SIZE, size);
    if (pci->device->ops->config_size > 0)
        add_capability(pci, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_OFFSET, DEVICE_SIZE, size);
    const uint8_t notify =
        add_capability(pci, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_OFFSET, pci->device->queue_count * NOTIFY_MULTIPLIER,
                       sizeof(struct virtio_pci_notify_cap));
    pci_function_set(&pci->function, notify + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, NOTIFY_MULTIPLIER);
    pci->window_capability = add_capability(pci, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, sizeof(struct virtio_pci_cfg_cap));
    pci_function_set_writable(&pci->function, pci->window_capability + VIRTIO_PCI_CAP_BAR, 1, UINT8_MAX);
    pci_function_set_writable(&pci->function, pci->window_capability + VIRTIO_PCI_CAP_OFFSET, 4, UINT32_MAX);
    pci_function_set_writable(&pci->function, pci->window_capability + VIRTIO_PCI_CAP_LENGTH, 4, UINT32_MAX);
    pci_function_set_writable(
        &pci->function, pci->window_capability + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), 4, UINT32_MAX);
}

struct virtio_pci *virtio_pci_create(struct virtio_device *device, const struct virtio_pci_environment *environment,
                                     struct error *error)
{
    const struct pci_identity identity = {
        .vendor = VENDOR_VIRTIO,
        .device = (uint16_t)(DEVICE_MODERN_BASE + device->ops->id),
        .subsystem_vendor = VENDOR_VIRTIO,
        .subsystem = (uint16_t)(DEVICE_MODERN_BASE + device->ops->id),
        .class_code = (uint32_t)environment->class_code << 8,
        .revision = REVISION_MODERN,
    };
    struct virtio_pci *pci = calloc(1, sizeof(*pci));

    if (pci == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    pci->device = device;
    pci->notify = environment->notify;
    pci->messages = environment->msi;
    pci->attached_gpa = UINT64_MAX;
    pci_function_init(&pci->function, &ops, &identity);
    pci_function_add_bar(&pci->function, BAR, BAR_SIZE);
    pci_function_add_pin(&pci->function);
    add_capabilities(pci);
    /* One for each queue, and one for the configuration. */
    if (msix_init(&pci->msix, &pci->function, &pci->messages, device->queue_count + 1, BAR, MSIX_TABLE_OFFSET,
                  MSIX_PENDING_OFFSET, error) < 0 ||
        pci_bus_attach(environment->bus, environment->slot, &pci->function, error) < 0) {
        virtio_pci_destroy(pci);
        return NULL;
    }
    device->transport = (struct virtio_transport){.interrupt = interrupt,
                                                  .may_use_memory = may_use_memory,
                                                  .add_state = add_state,
                                                  .restored = restored,
                                                  .context = pci};
    return pci;
}

void virtio_pci_destroy(struct virtio_pci *pci)
{
    if (pci == NULL)
        return;
    msix_fini(&pci->msix);
    free(pci);
}

void virtio_pci_reset(struct virtio_pci *pci)
{
    pthread_mutex_lock(&pci->device->lock);
    virtio_reset(pci->device);
    msix_reset(&pci->msix);
    pci->state.isr = 0;
    update_pin(pci);
    pthread_mutex_unlock(&pci->device->lock);
}
