#include "memory/kvm_slots.h"

#include "memory/slot_list.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* How much larger a slot may be than the one that takes it in: see join_neighbours(). */
enum { JOIN_RATIO = 4 };

/* KVM takes slots of less than 2^31 pages. */
static const uint64_t SLOT_SIZE_MAX = 1ull << 42;

/* Where a slot is; size 0: no slot has the id. */
struct place {
    uint64_t gpa;
    uint64_t size;
};

struct kvm_slots {
    const struct kvm_system *system;
    int vm_fd;
    struct gate gate;
    /* What is tracked, the space's; NULL: nothing. */
    const struct dirty_log *log;
    /* By id; grows. An entry without a run page was never made. */
    struct kvm_vcpu *vcpus;
    /* Their rings, by the same id, if there are any: of ring_entries each. 0: KVM has a bitmap for each slot. */
    struct dirty_ring *rings;
    unsigned vcpu_capacity;
    uint32_t ring_entries;
    /* In ascending order of gpa. Capacity is the KVM limit or less, and grows. */
    struct slot *slots;
    size_t count;
    size_t capacity;
    /* The sum of their sizes. */
    uint64_t bytes;
    /* As the system's; 0: this KVM drops all page tables of a VM when a slot goes. */
    uint64_t cut_size;
    /* Places by id; and ids that were used and are free again, as a stack, and the first that never was. */
    struct place *places;
    uint32_t *free_ids;
    size_t free_id_count;
    uint32_t next_id;
};

/*
 * Has KVM drop just a slot's own page tables when it goes. Its default is all those of the VM, because of a fault with
 * some devices of the host given to guests that nobody could explain. false: it has no other way (before Linux 6.12).
 */
static bool keep_other_page_tables(const struct kvm_system *system, int vm_fd)
{
#ifdef KVM_X86_QUIRK_SLOT_ZAP_ALL
    struct kvm_enable_cap disable = {.cap = KVM_CAP_DISABLE_QUIRKS2, .args = {KVM_X86_QUIRK_SLOT_ZAP_ALL}};
    const int quirks = ioctl(system->fd, KVM_CHECK_EXTENSION, KVM_CAP_DISABLE_QUIRKS2);

    return quirks > 0 && (quirks & KVM_X86_QUIRK_SLOT_ZAP_ALL) != 0 && ioctl(vm_fd, KVM_ENABLE_CAP, &disable) == 0;
#else
    (void)system;
    (void)vm_fd;
    return false;
#endif
}

hv_return_t kvm_slots_create(const struct kvm_system *system, struct kvm_slots **ret_slots)
{
    struct kvm_slots *slots = calloc(1, sizeof(*slots));
    if (slots == NULL)
        return HV_NO_RESOURCES;
    slots->system = system;
    slots->vm_fd = kvm_system_create_vm(system);
    if (slots->vm_fd < 0) {
        hv_return_t result = kvm_result_of_errno(errno);
        free(slots);
        return result;
    }
    /* So that a fetch from where there is no slot is an exit at every privilege level. An older KVM has it not. */
    struct kvm_enable_cap exit_on_failure = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {1}};
    (void)ioctl(slots->vm_fd, KVM_ENABLE_CAP, &exit_on_failure);
    slots->cut_size = keep_other_page_tables(system, slots->vm_fd) ? system->cut_size : 0;
    gate_init(&slots->gate);
    *ret_slots = slots;
    return HV_SUCCESS;
}

void kvm_slots_destroy(struct kvm_slots *slots)
{
    if (slots == NULL)
        return;
    kvm_slots_abandon(slots);
    gate_fini(&slots->gate);
    free(slots->vcpus);
    free(slots->rings);
    free(slots->slots);
    free(slots->places);
    free(slots->free_ids);
    free(slots);
}

void kvm_slots_abandon(struct kvm_slots *slots)
{
    for (unsigned i = 0; i < slots->vcpu_capacity; i++) {
        if (slots->vcpus[i].run == NULL)
            continue;
        /* The mappings hold the vCPU as the descriptor does. */
        dirty_ring_unmap(&slots->rings[i]);
        munmap(slots->vcpus[i].run, slots->system->run_size);
        close(slots->vcpus[i].fd);
    }
    close(slots->vm_fd);
}

int kvm_slots_vm_fd(const struct kvm_slots *slots)
{
    return slots->vm_fd;
}

struct gate *kvm_slots_gate(struct kvm_slots *slots)
{
    return &slots->gate;
}

size_t kvm_slots_count(const struct kvm_slots *slots)
{
    return slots->count;
}

static int set_slot(const struct kvm_slots *slots, const struct slot *slot, uint64_t size)
{
    struct kvm_userspace_memory_region region = {
        .slot = slot->id,
        .flags = (slot->read_only ? KVM_MEM_READONLY : 0) | (slot->is_logged ? KVM_MEM_LOG_DIRTY_PAGES : 0),
        .guest_phys_addr = slot->gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)slot->hva,
    };
    return ioctl(slots->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? -errno : 0;
}

/* The index of the first slot that ends above gpa. */
static size_t slot_index(const struct kvm_slots *slots, uint64_t gpa)
{
    size_t low = 0;
    size_t high = slots->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slots->slots[middle].gpa + slots->slots[middle].size > gpa)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Room for more slots and their ids, so that nothing after the first ioctl of a change needs memory of ours. */
static bool slots_reserve(struct kvm_slots *slots, size_t more)
{
    size_t needed = slots->count + more;
    size_t capacity = slots->capacity == 0 ? 16 : slots->capacity;

    if (needed <= slots->capacity)
        return true;
    while (capacity < needed)
        capacity *= 2;
    struct slot *grown = realloc(slots->slots, capacity * sizeof(*grown));
    if (grown == NULL)
        return false;
    slots->slots = grown;
    uint32_t *ids = realloc(slots->free_ids, capacity * sizeof(*ids));
    if (ids == NULL)
        return false;
    slots->free_ids = ids;
    /* Ids are handed out densely: there are never more of them than there have been slots at once. */
    struct place *places = realloc(slots->places, capacity * sizeof(*places));
    if (places == NULL)
        return false;
    slots->places = places;
    slots->capacity = capacity;
    return true;
}

/* Adds a slot to KVM and to the table; its id is chosen here. 0, or a negative errno with nothing changed. */
static int slot_add(struct kvm_slots *slots, struct slot slot)
{
    bool reused = slots->free_id_count > 0;

    slot.id = reused ? slots->free_ids[slots->free_id_count - 1] : slots->next_id;
    if (slot.id >= slots->system->slot_limit)
        return -ENOSPC;
    int error = set_slot(slots, &slot, slot.size);
    if (error != 0)
        return error;
    if (reused)
        slots->free_id_count--;
    else
        slots->next_id++;

    size_t index = slot_index(slots, slot.gpa);
    memmove(&slots->slots[index + 1], &slots->slots[index], (slots->count - index) * sizeof(slot));
    slots->slots[index] = slot;
    slots->places[slot.id] = (struct place){.gpa = slot.gpa, .size = slot.size};
    slots->count++;
    slots->bytes += slot.size;
    return 0;
}

/* Takes a slot from KVM and from the table. */
static int slot_remove(struct kvm_slots *slots, size_t index)
{
    struct slot slot = slots->slots[index];
    int error = set_slot(slots, &slot, 0);

    if (error != 0)
        return error;
    slots->free_ids[slots->free_id_count++] = slot.id;
    slots->places[slot.id].size = 0;
    slots->count--;
    slots->bytes -= slot.size;
    memmove(&slots->slots[index], &slots->slots[index + 1], (slots->count - index) * sizeof(slot));
    return 0;
}

static bool wants_log(const struct dirty_log *log, const struct slot *slot)
{
    return !slot->read_only && dirty_log_overlaps(log, slot->gpa, slot->size);
}

/*
 * No slot that a change makes reaches across a multiple of this. To change a part of a slot is to make it anew, and its
 * guest faults all of that in again, so a large region is many slots: the distance grows with what is mapped, so that
 * this takes a sixteenth of KVM's slots. Where those become scarce, or KVM drops all page tables anyway, slots are as
 * large as KVM takes them.
 */
static uint64_t cut_distance(const struct kvm_slots *slots, const struct slot_list *present,
                             const struct slot_list *wanted)
{
    const size_t count = slots->count - present->count + wanted->count;
    const uint64_t bytes = slots->bytes - slot_list_bytes(present) + slot_list_bytes(wanted);
    const unsigned limit = slots->system->slot_limit;
    uint64_t distance = slots->cut_size;

    if (distance == 0 || count > limit / 4)
        return SLOT_SIZE_MAX;
    while (distance < SLOT_SIZE_MAX && bytes / distance > limit / 16)
        distance *= 2;
    return distance;
}

/* Puts `wanted` in the place of `present`, which are slots in KVM now. On failure what was done is undone. */
static hv_return_t slots_exchange(struct kvm_slots *slots, const struct slot_list *present,
                                  const struct slot_list *wanted)
{
    size_t removed = 0;
    size_t added = 0;
    int error = 0;

    for (; error == 0 && removed < present->count; removed += error == 0)
        error = slot_remove(slots, slot_index(slots, present->slots[removed].gpa));
    for (; error == 0 && added < wanted->count; added += error == 0)
        error = slot_add(slots, wanted->slots[added]);
    if (error == 0)
        return HV_SUCCESS;
    while (added > 0)
        (void)slot_remove(slots, slot_index(slots, wanted->slots[--added].gpa));
    while (removed > 0)
        (void)slot_add(slots, present->slots[--removed]);
    /* KVM says EINVAL for addresses beyond what it can map and EEXIST never, since the map has no overlaps. */
    return kvm_result_of_errno(-error) == HV_ERROR ? HV_NO_RESOURCES : kvm_result_of_errno(-error);
}

/* ---- What has been written ---- */

/* Fills bits in with what KVM has for a slot, and has it begin anew. */
static hv_return_t slot_take(const struct kvm_slots *slots, const struct slot *slot, uint64_t *bits)
{
    struct kvm_dirty_log request = {.slot = slot->id, .dirty_bitmap = bits};

    if (ioctl(slots->vm_fd, KVM_GET_DIRTY_LOG, &request) == 0)
        return HV_SUCCESS;
    return errno == ENOMEM ? HV_NO_RESOURCES : HV_ERROR;
}

/* Adds that to the log. */
static hv_return_t slot_harvest(const struct kvm_slots *slots, const struct slot *slot)
{
    const uint64_t page_count = slot->size / 4096;
    uint64_t *bits = malloc(dirty_bitmap_words(slot->size) * sizeof(*bits)); /* KVM fills all of it in */
    if (bits == NULL)
        return HV_NO_RESOURCES;
    hv_return_t result = slot_take(slots, slot, bits);
    if (result == HV_SUCCESS)
        dirty_log_merge(slots->log, slot->gpa, bits, page_count);
    free(bits);
    return result;
}

/* The bitmap of a range, for which its pages need no detour through the log; size 0: none. */
struct shortcut {
    uint64_t gpa;
    uint64_t size;
    uint64_t *bitmap;
};

/* Adds a page that a vCPU has reported. */
static void mark_reported(const struct kvm_slots *slots, uint32_t id, uint64_t page, const struct shortcut *shortcut)
{
    if (id >= slots->next_id || page >= slots->places[id].size / 4096)
        return;
    const uint64_t gpa = slots->places[id].gpa + page * 4096;
    const uint64_t at = (gpa - shortcut->gpa) / 4096;
    if (gpa >= shortcut->gpa && gpa - shortcut->gpa < shortcut->size)
        shortcut->bitmap[at / 64] |= 1ull << (at % 64);
    else
        dirty_log_mark(slots->log, gpa, 4096);
}

static void mark_all_logged(const struct kvm_slots *slots)
{
    for (size_t i = 0; i < slots->count; i++)
        if (slots->slots[i].is_logged)
            dirty_log_mark(slots->log, slots->slots[i].gpa, slots->slots[i].size);
}

/* Moves what the rings hold to the log, or to the bitmap. The gate is held. */
static void take_rings(const struct kvm_slots *slots, const struct shortcut *shortcut)
{
    uint32_t id;
    uint64_t page;

    for (unsigned i = 0; i < slots->vcpu_capacity; i++) {
        while (dirty_ring_take(&slots->rings[i], &id, &page))
            mark_reported(slots, id, page, shortcut);
        if (dirty_ring_is_overrun(&slots->rings[i]))
            mark_all_logged(slots);
    }
}

/* The same, and has KVM watch those pages anew. */
static hv_return_t harvest_rings(const struct kvm_slots *slots)
{
    take_rings(slots, &(struct shortcut){0});
    return dirty_ring_reset(slots->vm_fd, slots->rings, slots->vcpu_capacity);
}

/* The same for a fetch, which wants the pages of one range now. */
static hv_return_t harvest_rings_for(struct kvm_slots *slots, const struct shortcut *shortcut)
{
    /* What the processor has not passed on yet it does when it leaves the guest. */
    gate_hold(&slots->gate);
    take_rings(slots, shortcut);
    hv_return_t result = dirty_ring_reset(slots->vm_fd, slots->rings, slots->vcpu_capacity);
    gate_release(&slots->gate);
    if (result != HV_SUCCESS)
        dirty_log_merge(slots->log, shortcut->gpa, shortcut->bitmap, shortcut->size / 4096);
    return result;
}

hv_return_t kvm_slots_empty_rings(struct kvm_slots *slots)
{
    if (slots->ring_entries == 0)
        return HV_SUCCESS;
    gate_hold(&slots->gate);
    hv_return_t result = harvest_rings(slots);
    gate_release(&slots->gate);
    return result;
}

hv_return_t kvm_slots_ring_is_full(struct kvm_slots *slots, unsigned id)
{
    gate_hold(&slots->gate);
    take_rings(slots, &(struct shortcut){0});
    dirty_ring_unblock(&slots->rings[id]);
    hv_return_t result = dirty_ring_reset(slots->vm_fd, slots->rings, slots->vcpu_capacity);
    gate_release(&slots->gate);
    return result;
}

/* Whether the bits of a slot are whole words of the bitmap of a range, but for its last ones. */
static bool has_words_in(const struct slot *slot, uint64_t gpa, uint64_t size)
{
    return slot->gpa >= gpa && slot->gpa + slot->size <= gpa + size && (slot->gpa - gpa) / 4096 % 64 == 0;
}

hv_return_t kvm_slots_harvest(void *context, uint64_t gpa, uint64_t size, uint64_t *bitmap)
{
    struct kvm_slots *slots = context;
    hv_return_t result = HV_SUCCESS;

    if (slots->ring_entries > 0)
        return harvest_rings_for(slots, &(struct shortcut){.gpa = gpa, .size = size, .bitmap = bitmap});
    for (size_t i = slot_index(slots, gpa); i < slots->count && slots->slots[i].gpa < gpa + size; i++) {
        const struct slot *slot = &slots->slots[i];
        if (result != HV_SUCCESS || !slot->is_logged)
            continue;
        /* Usually a slot's bits need no detour. What shares its last word begins in it, so goes through the log. */
        if (has_words_in(slot, gpa, size))
            result = slot_take(slots, slot, bitmap + (slot->gpa - gpa) / 4096 / 64);
        else
            result = slot_harvest(slots, slot);
    }
    return result;
}

/* Sets the slots' flag as the log wants it, which KVM does in place. The number of the slots done. */
static size_t apply_log(struct kvm_slots *slots, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct slot changed = slots->slots[i];
        changed.is_logged = wants_log(slots->log, &changed);
        if (changed.is_logged == slots->slots[i].is_logged)
            continue;
        if (set_slot(slots, &changed, changed.size) != 0)
            return i;
        slots->slots[i] = changed;
    }
    return count;
}

static hv_return_t exchange_log(struct kvm_slots *slots, const struct dirty_log *log)
{
    const struct dirty_log *old = slots->log;

    slots->log = log;
    const size_t done = apply_log(slots, slots->count);
    if (done == slots->count)
        return HV_SUCCESS;
    slots->log = old;
    (void)apply_log(slots, done);
    return HV_NO_RESOURCES;
}

hv_return_t kvm_slots_set_log(void *context, const struct dirty_log *log)
{
    struct kvm_slots *slots = context;

    if (slots->ring_entries == 0)
        return exchange_log(slots, log);
    /* A slot that is logged no longer leaves no entry behind, as its id may be another's when that is taken. */
    gate_hold(&slots->gate);
    hv_return_t result = harvest_rings(slots);
    if (result == HV_SUCCESS)
        result = exchange_log(slots, log);
    gate_release(&slots->gate);
    return result;
}

/* ---- Changes ---- */

static bool any_logged(const struct slot_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->slots[i].is_logged)
            return true;
    return false;
}

/* What has been written to slots that are about to go, so that it is not forgotten. No vCPU is in the guest. */
static hv_return_t harvest_all(struct kvm_slots *slots, const struct slot_list *list)
{
    hv_return_t result = HV_SUCCESS;

    if (slots->ring_entries > 0)
        return any_logged(list) ? harvest_rings(slots) : HV_SUCCESS;
    for (size_t i = 0; i < list->count && result == HV_SUCCESS; i++)
        if (list->slots[i].is_logged)
            result = slot_harvest(slots, &list->slots[i]);
    return result;
}

/*
 * As slots_exchange(), and no vCPU sees a moment in between: where slots are made again, they are all outside the
 * guest. Slots that only come or only go need no such thing, as KVM itself lets vCPUs see a slot until it has gone.
 */
static hv_return_t slots_replace(struct kvm_slots *slots, const struct slot_list *present,
                                 const struct slot_list *wanted)
{
    const bool hold = (present->count > 0 && wanted->count > 0) || any_logged(present);

    if (hold)
        gate_hold(&slots->gate);
    hv_return_t result = harvest_all(slots, present);
    if (result == HV_SUCCESS)
        result = slots_exchange(slots, present, wanted);
    if (hold)
        gate_release(&slots->gate);
    return result;
}

static void set_logged(const struct kvm_slots *slots, struct slot_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        list->slots[i].is_logged = wants_log(slots->log, &list->slots[i]);
}

/* Whether `slot`, which is to be added, shall take in a neighbour; they meet at `gpa`. */
static bool takes_in(const struct slot *slot, const struct slot *neighbour, uint64_t gpa, uint64_t distance)
{
    return gpa % distance != 0 && neighbour->size / JOIN_RATIO <= slot->size;
}

/* The slot that ends where `slot` begins, at or before `gpa`, and could be one with it, if it is to be; or NULL. */
static const struct slot *left_neighbour(const struct kvm_slots *slots, const struct slot *slot, uint64_t gpa,
                                         uint64_t distance)
{
    const size_t index = slot_index(slots, slot->gpa);
    const struct slot *left = index == 0 ? NULL : &slots->slots[index - 1];

    return left != NULL && left->gpa + left->size <= gpa && slot_continues(left, slot) &&
                   takes_in(slot, left, slot->gpa, distance)
               ? left
               : NULL;
}

/* The same of the slot that begins where `slot` ends, at or behind `end`. */
static const struct slot *right_neighbour(const struct kvm_slots *slots, const struct slot *slot, uint64_t end,
                                          uint64_t distance)
{
    const size_t index = slot_index(slots, slot->gpa + slot->size);
    const struct slot *right = index == slots->count ? NULL : &slots->slots[index];

    return right != NULL && right->gpa >= end && slot_continues(slot, right) &&
                   takes_in(slot, right, right->gpa, distance)
               ? right
               : NULL;
}

/*
 * Lets slots that are to be added take in neighbours from outside of [gpa, end), which are made anew then. A neighbour
 * that is much larger stays: making it anew would cost its guest more than a slot is worth. So many small pieces become
 * few slots at a cost that grows with the logarithm of their number, and a page that is cut out of a large slot and put
 * back again and again costs just a page's slot.
 */
static bool join_neighbours(const struct kvm_slots *slots, struct slot_list *present, struct slot_list *wanted,
                            uint64_t gpa, uint64_t end, uint64_t distance)
{
    const struct slot *neighbour;

    if (wanted->count == 0)
        return true;
    while ((neighbour = left_neighbour(slots, &wanted->slots[0], gpa, distance)) != NULL) {
        const struct slot taken = *neighbour;
        if (!slot_list_append(present, &taken))
            return false;
        wanted->slots[0].gpa = taken.gpa;
        wanted->slots[0].hva = taken.hva;
        wanted->slots[0].size += taken.size;
    }
    while ((neighbour = right_neighbour(slots, &wanted->slots[wanted->count - 1], end, distance)) != NULL) {
        const struct slot taken = *neighbour;
        if (!slot_list_append(present, &taken))
            return false;
        wanted->slots[wanted->count - 1].size += taken.size;
    }
    return true;
}

/* Joins all slots that could be one, where they have run out. HV_NO_RESOURCES: there is none to be had that way. */
static hv_return_t join_all(struct kvm_slots *slots)
{
    struct slot_list present = {0};
    struct slot_list wanted = {.joins = true};
    hv_return_t result = HV_NO_RESOURCES;

    for (size_t i = 0; i < slots->count; i++)
        if (!slot_list_append(&present, &slots->slots[i]) || !slot_list_append(&wanted, &slots->slots[i]))
            goto out;
    if (!slot_list_cut(&wanted, SLOT_SIZE_MAX) || wanted.count == present.count)
        goto out;
    set_logged(slots, &wanted);
    slot_list_drop_equal(&present, &wanted);
    if (slots_reserve(slots, present.count + wanted.count))
        result = slots_replace(slots, &present, &wanted);
out:
    free(present.slots);
    free(wanted.slots);
    return result;
}

static hv_return_t change_slots(struct kvm_slots *slots, const struct region_map *to, bool is_strict, uint64_t gpa,
                                uint64_t size)
{
    const uint64_t end = gpa + size;
    struct slot_list present = {0};
    struct slot_list wanted = {.joins = true};
    hv_return_t result = HV_NO_RESOURCES;
    size_t first = slot_index(slots, gpa);
    size_t last = first;

    while (last < slots->count && slots->slots[last].gpa < end)
        if (!slot_list_append(&present, &slots->slots[last++]))
            goto out;
    /* A slot that reaches out of the window at either end is cut there; the rest of it stays as it is. */
    if (present.count > 0) {
        struct slot left = slot_part(&present.slots[0], 0, gpa);
        if (!slot_list_append(&wanted, &left))
            goto out;
    }
    const uint64_t limit = slots->system->address_limit;
    if (!slot_list_append_wanted(&wanted, to, is_strict, gpa, end < limit ? end : limit))
        goto out;
    if (present.count > 0) {
        struct slot right = slot_part(&present.slots[present.count - 1], end, UINT64_MAX);
        if (!slot_list_append(&wanted, &right))
            goto out;
    }
    const uint64_t distance = cut_distance(slots, &present, &wanted);
    if (!slot_list_cut(&wanted, distance))
        goto out;
    set_logged(slots, &wanted);
    slot_list_drop_equal(&present, &wanted);
    if (!join_neighbours(slots, &present, &wanted, gpa, end, distance))
        goto out;
    set_logged(slots, &wanted);
    if (slots_reserve(slots, wanted.count + present.count))
        result = slots_replace(slots, &present, &wanted);
out:
    free(present.slots);
    free(wanted.slots);
    return result;
}

hv_return_t kvm_slots_change(void *context, const struct region_map *to, bool is_strict, uint64_t gpa, uint64_t size)
{
    struct kvm_slots *slots = context;
    hv_return_t result = change_slots(slots, to, is_strict, gpa, size);

    if (result == HV_NO_RESOURCES && slots->count + 2 >= slots->system->slot_limit && join_all(slots) == HV_SUCCESS)
        result = change_slots(slots, to, is_strict, gpa, size);
    return result;
}

/* ---- vCPUs ---- */

hv_return_t kvm_slots_use_ring(struct kvm_slots *slots, uint32_t entry_count)
{
    for (unsigned i = 0; i < slots->vcpu_capacity; i++)
        if (slots->vcpus[i].run != NULL)
            return HV_BUSY;
    hv_return_t result = dirty_ring_enable(&slots->system->rings, slots->vm_fd, entry_count);
    if (result == HV_SUCCESS)
        slots->ring_entries = entry_count;
    return result;
}

static bool vcpus_reserve(struct kvm_slots *slots, unsigned count)
{
    const unsigned old = slots->vcpu_capacity;

    if (count <= old)
        return true;
    struct kvm_vcpu *vcpus = realloc(slots->vcpus, count * sizeof(*vcpus));
    if (vcpus == NULL)
        return false;
    slots->vcpus = vcpus;
    struct dirty_ring *rings = realloc(slots->rings, count * sizeof(*rings));
    if (rings == NULL)
        return false;
    slots->rings = rings;
    memset(vcpus + old, 0, (count - old) * sizeof(*vcpus));
    memset(rings + old, 0, (count - old) * sizeof(*rings));
    slots->vcpu_capacity = count;
    return true;
}

/* Maps what KVM shares of a vCPU. */
static hv_return_t map_vcpu(const struct kvm_slots *slots, int fd, void **ret_run, struct dirty_ring *ret_ring)
{
    void *run = mmap(NULL, slots->system->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (run == MAP_FAILED)
        return HV_NO_RESOURCES;
    if (slots->ring_entries > 0 && dirty_ring_map(ret_ring, fd, slots->ring_entries) != HV_SUCCESS) {
        munmap(run, slots->system->run_size);
        return HV_NO_RESOURCES;
    }
    *ret_run = run;
    return HV_SUCCESS;
}

hv_return_t kvm_slots_vcpu(struct kvm_slots *slots, unsigned id, struct kvm_vcpu *ret_vcpu)
{
    if (!vcpus_reserve(slots, id + 1))
        return HV_NO_RESOURCES;

    struct kvm_vcpu *vcpu = &slots->vcpus[id];
    if (vcpu->run == NULL) {
        int fd = ioctl(slots->vm_fd, KVM_CREATE_VCPU, (unsigned long)id);
        if (fd < 0)
            return errno == EINVAL ? HV_NO_RESOURCES : kvm_result_of_errno(errno);
        void *run;
        hv_return_t result = map_vcpu(slots, fd, &run, &slots->rings[id]);
        if (result != HV_SUCCESS) {
            close(fd);
            return result;
        }
        *vcpu = (struct kvm_vcpu){.fd = fd, .run = run};
    }
    *ret_vcpu = *vcpu;
    return HV_SUCCESS;
}

void kvm_slots_vcpu_is_ready(struct kvm_slots *slots, unsigned id)
{
    slots->vcpus[id].is_ready = true;
}
