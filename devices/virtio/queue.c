#include "devices/virtio/queue.h"

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEGMENTS_MAX = 2 * VIRTQ_CHAIN_MAX,
    /* Offsets in the rings: virtio 1.2, 2.7.6, 2.7.8 and 2.8.14. */
    RING_INDEX = 2,
    RING_ENTRIES = 4,
    PACKED_LENGTH = 8,
    PACKED_FLAGS = 14,
    PACKED_EVENT_FLAGS = 2,
};

/* A descriptor, of either kind, in the host's byte order. */
struct descriptor {
    uint64_t gpa;
    uint32_t length;
    uint16_t flags;
    /* split: the next one */
    uint16_t next;
};

/* A request while its descriptors are read. */
struct gathering {
    struct descriptor items[VIRTQ_CHAIN_MAX];
    size_t count;
};

void virtq_init(struct virtq *queue, hvx_dma_t *dma, uint16_t max_size)
{
    *queue = (struct virtq){.dma = dma, .max_size = max_size};
    virtq_reset(queue);
}

void virtq_reset(struct virtq *queue)
{
    queue->state =
        (struct virtq_state){.size = queue->max_size, .vector = UINT16_MAX, .available_wrap = true, .used_wrap = true};
    queue->features = (struct virtq_features){0};
    queue->why_broken = NULL;
}

static int fail(struct virtq *queue, const char *why)
{
    queue->state.is_broken = true;
    queue->why_broken = why;
    return -1;
}

/* Its size and addresses are as the standard wants them. */
static bool may_be_enabled(const struct virtq *queue, const struct virtq_features *features)
{
    const struct virtq_state *state = &queue->state;
    const bool is_power_of_two = (state->size & (state->size - 1)) == 0;

    /* Alignments: virtio 1.2, 2.7 and 2.8.10. */
    return state->size > 0 && state->size <= queue->max_size && (features->is_packed || is_power_of_two) &&
           state->descriptors % 16 == 0 && state->driver % (features->is_packed ? 4 : 2) == 0 && state->device % 4 == 0;
}

bool virtq_enable(struct virtq *queue, const struct virtq_features *features)
{
    if (!may_be_enabled(queue, features))
        return false;
    queue->features = *features;
    queue->state.is_enabled = true;
    return true;
}

static const struct state_field fields[] = {
    STATE_FIELD(struct virtq_state, descriptors),    STATE_FIELD(struct virtq_state, driver),
    STATE_FIELD(struct virtq_state, device),         STATE_FIELD(struct virtq_state, size),
    STATE_FIELD(struct virtq_state, vector),         STATE_FIELD(struct virtq_state, next_available),
    STATE_FIELD(struct virtq_state, next_used),      STATE_FIELD(struct virtq_state, signalled_used),
    STATE_FIELD(struct virtq_state, available_wrap), STATE_FIELD(struct virtq_state, used_wrap),
    STATE_FIELD(struct virtq_state, has_signalled),  STATE_FIELD(struct virtq_state, is_enabled),
    STATE_FIELD(struct virtq_state, is_broken),      STATE_UNUSED(struct virtq_state),
};
STATE_DESCRIPTION(description, struct virtq_state, "virtq", 1, fields);

void virtq_add_state(struct virtq *queue, struct state_parts *parts)
{
    state_add(parts, &description, &queue->state);
}

void virtq_restored(struct virtq *queue, const struct virtq_features *features)
{
    struct virtq_state *state = &queue->state;
    const bool is_in_ring = state->next_available < state->size && state->next_used < state->size;

    queue->features = *features;
    queue->why_broken = state->is_broken ? "it was broken when its state was saved" : NULL;
    if (!state->is_enabled || (may_be_enabled(queue, features) && (!features->is_packed || is_in_ring)))
        return;
    state->is_enabled = false;
    (void)fail(queue, "its saved state is not allowed");
}

void virtq_disable(struct virtq *queue)
{
    struct virtq_state *state = &queue->state;

    state->is_enabled = false;
    state->next_available = state->next_used = state->signalled_used = 0;
    state->available_wrap = state->used_wrap = true;
    state->has_signalled = false;
    queue->life++;
}

/* ---- Reading descriptors ---- */

static bool read_split_descriptor(const struct virtq *queue, uint64_t gpa, struct descriptor *item)
{
    struct vring_desc raw;

    if (hvx_dma_read(queue->dma, gpa, &raw, sizeof(raw)) != HV_SUCCESS)
        return false;
    *item = (struct descriptor){
        .gpa = le64toh(raw.addr), .length = le32toh(raw.len), .flags = le16toh(raw.flags), .next = le16toh(raw.next)};
    return true;
}

/* The packed form has the buffer's id where the split one has flags. */
static bool read_packed_descriptor(const struct virtq *queue, uint64_t gpa, struct descriptor *item, uint16_t *ret_id)
{
    struct vring_packed_desc raw;

    if (hvx_dma_read(queue->dma, gpa, &raw, sizeof(raw)) != HV_SUCCESS)
        return false;
    *item = (struct descriptor){.gpa = le64toh(raw.addr), .length = le32toh(raw.len), .flags = le16toh(raw.flags)};
    *ret_id = le16toh(raw.id);
    return true;
}

static bool gather(struct gathering *gathering, const struct descriptor *item)
{
    if (gathering->count == VIRTQ_CHAIN_MAX)
        return false;
    gathering->items[gathering->count++] = *item;
    return true;
}

/* Follows a chain through a table of descriptors, the ring's or an indirect one. NULL, or what is wrong. */
static const char *walk_split(const struct virtq *queue, uint64_t table, uint32_t table_size, uint16_t first,
                              bool is_indirect, struct gathering *gathering, struct descriptor *ret_indirect)
{
    uint16_t index = first;

    ret_indirect->length = 0;
    for (uint32_t steps = 0; steps < table_size; steps++) {
        struct descriptor item;
        if (index >= table_size)
            return "a descriptor's number is beyond the table";
        if (!read_split_descriptor(queue, table + 16ull * index, &item))
            return "its descriptors are where it may not read";
        if (item.flags & VRING_DESC_F_INDIRECT) {
            if (is_indirect || !queue->features.has_indirect || item.flags & VRING_DESC_F_NEXT)
                return "an indirect descriptor is where none may be";
            *ret_indirect = item;
            return item.length == 0 ? "an indirect table is empty" : NULL;
        }
        if (!gather(gathering, &item))
            return "a request has too many descriptors";
        if (!(item.flags & VRING_DESC_F_NEXT))
            return NULL;
        index = item.next;
    }
    return "a chain of descriptors has a loop";
}

/* An indirect table of a packed queue is used whole, in its order. */
static const char *walk_packed_table(const struct virtq *queue, const struct descriptor *table,
                                     struct gathering *gathering)
{
    uint16_t id;

    for (uint32_t i = 0; i < table->length / 16; i++) {
        struct descriptor item;
        if (!read_packed_descriptor(queue, table->gpa + 16ull * i, &item, &id))
            return "an indirect table is where it may not read";
        if (item.flags & VRING_DESC_F_INDIRECT)
            return "an indirect descriptor is where none may be";
        if (!gather(gathering, &item))
            return "a request has too many descriptors";
    }
    return NULL;
}

static const char *gather_split(struct virtq *queue, struct gathering *gathering, uint16_t *ret_id)
{
    const struct virtq_state *state = &queue->state;
    struct descriptor indirect, none;
    uint16_t head;

    const uint64_t entry = state->driver + RING_ENTRIES + 2ull * (state->next_available % state->size);
    if (hvx_dma_load16(queue->dma, entry, &head) != HV_SUCCESS)
        return "its ring is where it may not read";
    *ret_id = head;
    const char *wrong = walk_split(queue, state->descriptors, state->size, head, false, gathering, &indirect);
    if (wrong != NULL || indirect.length == 0)
        return wrong;
    if (indirect.length % 16 != 0)
        return "an indirect table has a broken size";
    return walk_split(queue, indirect.gpa, indirect.length / 16, 0, true, gathering, &none);
}

/* How many places of the ring the request takes goes into *ret_places. */
static const char *gather_packed(struct virtq *queue, struct gathering *gathering, uint16_t *ret_id,
                                 uint16_t *ret_places)
{
    const struct virtq_state *state = &queue->state;
    struct descriptor item;
    uint16_t index = state->next_available;

    for (*ret_places = 1; *ret_places <= state->size; ++*ret_places) {
        if (!read_packed_descriptor(queue, state->descriptors + 16ull * index, &item, ret_id))
            return "its descriptors are where it may not read";
        if (item.flags & VRING_DESC_F_INDIRECT) {
            if (!queue->features.has_indirect || item.flags & VRING_DESC_F_NEXT || *ret_places > 1)
                return "an indirect descriptor is where none may be";
            if (item.length == 0 || item.length % 16 != 0)
                return "an indirect table has a broken size";
            return walk_packed_table(queue, &item, gathering);
        }
        if (!gather(gathering, &item))
            return "a request has too many descriptors";
        if (!(item.flags & VRING_DESC_F_NEXT))
            return NULL;
        index = index + 1u == state->size ? 0 : index + 1;
    }
    return "a chain of descriptors has a loop";
}

/* ---- From descriptors to buffers ---- */

static void release_pins(struct virtq *queue, struct virtq_chain *chain)
{
    for (size_t i = 0; i < chain->pin_count; i++)
        hvx_dma_unpin(queue->dma, &chain->pins[i]);
    free(chain);
}

/* Pins one buffer and adds its pieces of host memory; how many, or 0 where it may not be reached. */
static size_t pin(struct virtq *queue, struct virtq_chain *chain, const struct descriptor *item, struct iovec *pieces,
                  size_t room)
{
    const bool is_write = (item->flags & VRING_DESC_F_WRITE) != 0;
    hvx_dma_segment_t segments[8];
    size_t count = room < 8 ? room : 8;

    if (hvx_dma_pin(queue->dma, item->gpa, item->length, is_write ? HV_MEMORY_WRITE : HV_MEMORY_READ, segments, &count,
                    &chain->pins[chain->pin_count]) != HV_SUCCESS)
        return 0;
    chain->pin_count++;
    for (size_t i = 0; i < count; i++)
        pieces[i] = (struct iovec){.iov_base = segments[i].address, .iov_len = segments[i].size};
    return count;
}

static struct virtq_chain *allocate_chain(size_t descriptor_count)
{
    const size_t pieces = 2 * descriptor_count;
    struct virtq_chain *chain =
        malloc(sizeof(*chain) + pieces * sizeof(struct iovec) + descriptor_count * sizeof(hvx_dma_pin_t));

    if (chain == NULL)
        return NULL;
    *chain = (struct virtq_chain){.readable = (struct iovec *)(void *)(chain + 1)};
    chain->pins = (hvx_dma_pin_t *)(void *)(chain->readable + pieces);
    return chain;
}

/* Fills a chain in. NULL, or what is wrong with the descriptors' order. */
static const char *pin_all(struct virtq *queue, struct virtq_chain *chain, const struct gathering *gathering)
{
    const size_t room = 2 * gathering->count;
    size_t used = 0;

    for (size_t i = 0; i < gathering->count; i++) {
        const struct descriptor *item = &gathering->items[i];
        const bool is_write = (item->flags & VRING_DESC_F_WRITE) != 0;
        if (!is_write && chain->writable != NULL)
            return "a buffer to be read follows one to be written";
        if (is_write && chain->writable == NULL)
            chain->writable = chain->readable + used;
        chain->has_last = false;
        if (item->length == 0)
            continue;
        const size_t count = pin(queue, chain, item, chain->readable + used, room - used);
        used += count;
        chain->is_refused |= count == 0;
        chain->has_last = is_write && count > 0;
        *(is_write ? &chain->writable_count : &chain->readable_count) += count;
        *(is_write ? &chain->writable_size : &chain->readable_size) += count > 0 ? item->length : 0;
    }
    return NULL;
}

/* ---- Taking and giving back ---- */

/* 1: there is a request. 0: there is none. -1: the queue is broken. */
static int split_has_next(struct virtq *queue)
{
    const struct virtq_state *state = &queue->state;
    uint16_t index;

    if (hvx_dma_load16(queue->dma, state->driver + RING_INDEX, &index) != HV_SUCCESS)
        return fail(queue, "its ring is where it may not read");
    if (index == state->next_available)
        return 0;
    if ((uint16_t)(index - state->next_available) > state->size)
        return fail(queue, "its index has jumped");
    return 1;
}

static int packed_has_next(struct virtq *queue)
{
    const struct virtq_state *state = &queue->state;
    uint16_t flags;

    if (hvx_dma_load16(queue->dma, state->descriptors + 16ull * state->next_available + PACKED_FLAGS, &flags) !=
        HV_SUCCESS)
        return fail(queue, "its ring is where it may not read");
    const bool is_available = (flags >> VRING_PACKED_DESC_F_AVAIL) & 1;
    const bool is_used = (flags >> VRING_PACKED_DESC_F_USED) & 1;
    return is_available == state->available_wrap && is_used != state->available_wrap;
}

static int has_next(struct virtq *queue)
{
    return queue->features.is_packed ? packed_has_next(queue) : split_has_next(queue);
}

static void advance_packed(uint16_t *place, bool *wrap, uint16_t size, uint16_t steps)
{
    *place = (uint16_t)(*place + steps);
    if (*place >= size) {
        *place = (uint16_t)(*place - size);
        *wrap = !*wrap;
    }
}

static void advance_available(struct virtq *queue, uint16_t places)
{
    struct virtq_state *state = &queue->state;

    if (queue->features.is_packed)
        advance_packed(&state->next_available, &state->available_wrap, state->size, places);
    else
        state->next_available++;
}

int virtq_pop(struct virtq *queue, struct virtq_chain **ret_chain)
{
    struct gathering gathering;
    uint16_t places = 1;
    uint16_t id = 0;

    if (!queue->state.is_enabled || queue->state.is_broken)
        return queue->state.is_broken ? -1 : 0;
    const int next = has_next(queue);
    if (next != 1)
        return next;
    gathering.count = 0;
    const char *wrong = queue->features.is_packed ? gather_packed(queue, &gathering, &id, &places)
                                                  : gather_split(queue, &gathering, &id);
    if (wrong != NULL)
        return fail(queue, wrong);
    struct virtq_chain *chain = allocate_chain(gathering.count);
    if (chain == NULL)
        return -1;
    chain->id = id;
    chain->descriptor_count = places;
    chain->life = queue->life;
    wrong = pin_all(queue, chain, &gathering);
    if (wrong != NULL) {
        release_pins(queue, chain);
        return fail(queue, wrong);
    }
    advance_available(queue, places);
    *ret_chain = chain;
    return 1;
}

void virtq_unpop(struct virtq *queue, struct virtq_chain *chain)
{
    struct virtq_state *state = &queue->state;

    if (!queue->features.is_packed) {
        state->next_available--;
    } else if (state->next_available < chain->descriptor_count) {
        state->next_available = (uint16_t)(state->next_available + state->size - chain->descriptor_count);
        state->available_wrap = !state->available_wrap;
    } else {
        state->next_available = (uint16_t)(state->next_available - chain->descriptor_count);
    }
    release_pins(queue, chain);
}

void virtq_drop(struct virtq *queue, struct virtq_chain *chain)
{
    release_pins(queue, chain);
}

static bool push_split(struct virtq *queue, struct virtq_chain *const *chains, const uint32_t *written, size_t count)
{
    struct virtq_state *state = &queue->state;

    for (size_t i = 0; i < count; i++) {
        const struct vring_used_elem element = {.id = htole32(chains[i]->id), .len = htole32(written[i])};
        const uint64_t entry = state->device + RING_ENTRIES + 8ull * (state->next_used % state->size);
        if (hvx_dma_write(queue->dma, entry, &element, sizeof(element)) != HV_SUCCESS)
            return false;
        state->next_used++;
    }
    return hvx_dma_store16(queue->dma, state->device + RING_INDEX, state->next_used) == HV_SUCCESS;
}

/* Flags make a descriptor used: those of the first are written last. */
static bool push_packed(struct virtq *queue, struct virtq_chain *const *chains, const uint32_t *written, size_t count)
{
    struct virtq_state *state = &queue->state;
    const unsigned both = 1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED;
    const uint64_t first = state->descriptors + 16ull * state->next_used + PACKED_FLAGS;
    uint16_t first_flags = 0;

    for (size_t i = 0; i < count; i++) {
        const uint64_t gpa = state->descriptors + 16ull * state->next_used;
        const struct {
            uint32_t length;
            uint16_t id;
        } result = {htole32(written[i]), htole16(chains[i]->id)};
        const uint16_t flags = (uint16_t)((written[i] > 0 ? VRING_DESC_F_WRITE : 0) | (state->used_wrap ? both : 0));
        if (hvx_dma_write(queue->dma, gpa + PACKED_LENGTH, &result, 6) != HV_SUCCESS ||
            (i > 0 && hvx_dma_store16(queue->dma, gpa + PACKED_FLAGS, flags) != HV_SUCCESS))
            return false;
        if (i == 0)
            first_flags = flags;
        const uint16_t before = state->next_used;
        advance_packed(&state->next_used, &state->used_wrap, state->size, chains[i]->descriptor_count);
        /* From a place alone it cannot be told how many turns ago that was. */
        if (state->next_used <= before)
            state->has_signalled = false;
    }
    return hvx_dma_store16(queue->dma, first, first_flags) == HV_SUCCESS;
}

void virtq_push_all(struct virtq *queue, struct virtq_chain *const *chains, const uint32_t *written, size_t count)
{
    if (count > 0 && !queue->state.is_broken && chains[0]->life == queue->life &&
        !(queue->features.is_packed ? push_packed(queue, chains, written, count)
                                    : push_split(queue, chains, written, count)))
        (void)fail(queue, "its ring is where it may not write");
    for (size_t i = 0; i < count; i++)
        release_pins(queue, chains[i]);
}

void virtq_push(struct virtq *queue, struct virtq_chain *chain, uint32_t written)
{
    virtq_push_all(queue, &chain, &written, 1);
}

/* ---- Notifications ---- */

/* Whether old..now, steps of a counter that wraps at 2^16, has gone past event: virtio 1.2, 2.7.7.1. */
static bool has_passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

static bool split_wants_interrupt(struct virtq *queue, uint16_t old, bool has_old)
{
    const struct virtq_state *state = &queue->state;
    uint16_t value;

    if (!queue->features.has_event_index)
        return hvx_dma_load16(queue->dma, state->driver, &value) == HV_SUCCESS && !(value & VRING_AVAIL_F_NO_INTERRUPT);
    return hvx_dma_load16(queue->dma, state->driver + RING_ENTRIES + 2ull * state->size, &value) == HV_SUCCESS &&
           (!has_old || has_passed(value, state->next_used, old));
}

static bool packed_wants_interrupt(struct virtq *queue, uint16_t old, bool has_old)
{
    const struct virtq_state *state = &queue->state;
    uint16_t place, flags;

    if (hvx_dma_load16(queue->dma, state->driver + PACKED_EVENT_FLAGS, &flags) != HV_SUCCESS ||
        hvx_dma_load16(queue->dma, state->driver, &place) != HV_SUCCESS)
        return false;
    if (flags != VRING_PACKED_EVENT_FLAG_DESC || !queue->features.has_event_index)
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    const bool wrap = (place >> VRING_PACKED_EVENT_F_WRAP_CTR) & 1;
    int event = place & ((1 << VRING_PACKED_EVENT_F_WRAP_CTR) - 1);
    if (wrap != state->used_wrap)
        event -= state->size;
    return !has_old || has_passed((uint16_t)event, state->next_used, old);
}

bool virtq_wants_interrupt(struct virtq *queue)
{
    struct virtq_state *state = &queue->state;
    const bool has_old = state->has_signalled;
    const uint16_t old = state->signalled_used;

    if (state->is_broken || !state->is_enabled)
        return false;
    state->signalled_used = state->next_used;
    state->has_signalled = true;
    /* What has been pushed is to be seen before the driver's wish is read. */
    atomic_thread_fence(memory_order_seq_cst);
    return queue->features.is_packed ? packed_wants_interrupt(queue, old, has_old)
                                     : split_wants_interrupt(queue, old, has_old);
}

bool virtq_enable_notifications(struct virtq *queue)
{
    const struct virtq_state *state = &queue->state;
    hv_return_t result;

    if (state->is_broken || !state->is_enabled)
        return false;
    if (queue->features.is_packed)
        result = hvx_dma_store16(queue->dma, state->device + PACKED_EVENT_FLAGS, VRING_PACKED_EVENT_FLAG_ENABLE);
    else if (queue->features.has_event_index)
        result = hvx_dma_store16(queue->dma, state->device + RING_ENTRIES + 8ull * state->size, state->next_available);
    else
        result = hvx_dma_store16(queue->dma, state->device, 0);
    if (result != HV_SUCCESS) {
        (void)fail(queue, "its ring is where it may not write");
        return false;
    }
    atomic_thread_fence(memory_order_seq_cst);
    return has_next(queue) == 1;
}

void virtq_disable_notifications(struct virtq *queue)
{
    const struct virtq_state *state = &queue->state;
    hv_return_t result = HV_SUCCESS;

    if (state->is_broken || !state->is_enabled)
        return;
    if (queue->features.is_packed)
        result = hvx_dma_store16(queue->dma, state->device + PACKED_EVENT_FLAGS, VRING_PACKED_EVENT_FLAG_DISABLE);
    else if (!queue->features.has_event_index)
        result = hvx_dma_store16(queue->dma, state->device, VRING_USED_F_NO_NOTIFY);
    if (result != HV_SUCCESS)
        (void)fail(queue, "its ring is where it may not write");
}

/* ---- Copies ---- */

static size_t copy(const struct iovec *pieces, size_t count, size_t offset, uint8_t *to, const uint8_t *from,
                   size_t size)
{
    size_t done = 0;

    for (size_t i = 0; i < count && done < size; i++) {
        if (offset >= pieces[i].iov_len) {
            offset -= pieces[i].iov_len;
            continue;
        }
        const size_t rest = pieces[i].iov_len - offset;
        const size_t length = rest < size - done ? rest : size - done;
        uint8_t *guest = (uint8_t *)pieces[i].iov_base + offset;
        if (to != NULL)
            memcpy(to + done, guest, length);
        else
            memcpy(guest, from + done, length);
        done += length;
        offset = 0;
    }
    return done;
}

size_t virtq_read(const struct virtq_chain *chain, size_t offset, void *buffer, size_t size)
{
    return copy(chain->readable, chain->readable_count, offset, buffer, NULL, size);
}

size_t virtq_write(const struct virtq_chain *chain, size_t offset, const void *buffer, size_t size)
{
    return copy(chain->writable, chain->writable_count, offset, NULL, buffer, size);
}
