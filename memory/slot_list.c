#include "memory/slot_list.h"

#include "memory/space.h"

#include <stdlib.h>
#include <string.h>

bool slot_continues(const struct slot *left, const struct slot *right)
{
    return left->gpa + left->size == right->gpa && left->hva + left->size == right->hva &&
           left->read_only == right->read_only;
}

bool slot_list_append(struct slot_list *list, const struct slot *slot)
{
    if (slot->size == 0)
        return true;
    if (list->joins && list->count > 0 && slot_continues(&list->slots[list->count - 1], slot)) {
        list->slots[list->count - 1].size += slot->size;
        return true;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 8 : 2 * list->capacity;
        struct slot *grown = realloc(list->slots, capacity * sizeof(*grown));
        if (grown == NULL)
            return false;
        list->slots = grown;
        list->capacity = capacity;
    }
    list->slots[list->count++] = *slot;
    return true;
}

struct slot slot_part(const struct slot *slot, uint64_t start, uint64_t end)
{
    struct slot part = *slot;

    if (start < slot->gpa)
        start = slot->gpa;
    if (end > slot->gpa + slot->size)
        end = slot->gpa + slot->size;
    part.gpa = start;
    part.hva = slot->hva + (start - slot->gpa);
    part.size = end > start ? end - start : 0;
    return part;
}

bool slot_list_append_wanted(struct slot_list *list, const struct region_map *map, bool is_strict, uint64_t gpa,
                             uint64_t end)
{
    while (gpa < end) {
        const struct region *region = region_map_find(map, gpa);
        if (region == NULL || region->gpa >= end)
            break;
        if (space_wants_slot(is_strict, region)) {
            struct slot whole = {
                .gpa = region->gpa,
                .size = region->size,
                .hva = region->hva,
                .read_only = space_wants_read_only_slot(region),
            };
            struct slot part = slot_part(&whole, gpa, end);
            if (!slot_list_append(list, &part))
                return false;
        }
        gpa = region_end(region);
    }
    return true;
}

uint64_t slot_list_bytes(const struct slot_list *list)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < list->count; i++)
        bytes += list->slots[i].size;
    return bytes;
}

bool slot_list_cut(struct slot_list *list, uint64_t distance)
{
    struct slot_list cut = {0};
    bool done = true;

    for (size_t i = 0; i < list->count; i++) {
        const struct slot *slot = &list->slots[i];
        uint64_t next;
        for (uint64_t at = slot->gpa; done && at < slot->gpa + slot->size; at = next) {
            next = (at / distance + 1) * distance;
            struct slot part = slot_part(slot, at, next);
            done = slot_list_append(&cut, &part);
        }
    }
    free(list->slots);
    *list = cut;
    return done;
}

static bool slot_equals(const struct slot *a, const struct slot *b)
{
    return a->gpa == b->gpa && a->size == b->size && a->hva == b->hva && a->read_only == b->read_only &&
           a->is_logged == b->is_logged;
}

void slot_list_drop_equal(struct slot_list *present, struct slot_list *wanted)
{
    size_t equal = 0;

    while (equal < present->count && equal < wanted->count &&
           slot_equals(&present->slots[equal], &wanted->slots[equal]))
        equal++;
    present->count -= equal;
    wanted->count -= equal;
    if (equal > 0) {
        memmove(present->slots, present->slots + equal, present->count * sizeof(struct slot));
        memmove(wanted->slots, wanted->slots + equal, wanted->count * sizeof(struct slot));
    }
    while (present->count > 0 && wanted->count > 0 &&
           slot_equals(&present->slots[present->count - 1], &wanted->slots[wanted->count - 1])) {
        present->count--;
        wanted->count--;
    }
}
