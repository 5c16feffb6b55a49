/*
 * Slots as they are or shall be, in lists: plain data, which knows nothing of KVM.
 */
#ifndef MEMORY_SLOT_LIST_H
#define MEMORY_SLOT_LIST_H

#include "memory/region_map.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slot {
    uint64_t gpa;
    uint64_t size;
    uint8_t *hva;
    bool read_only;
    /* KVM logs which of its pages are written. */
    bool is_logged;
    uint32_t id;
};

/* In ascending order; all zero at first. Its owner frees slots. */
struct slot_list {
    struct slot *slots;
    size_t count;
    size_t capacity;
    /* What continues the last one makes it longer. */
    bool joins;
};

/* Whether two slots, one behind the other, could be one. */
bool slot_continues(const struct slot *left, const struct slot *right);

/* The part of a slot between two addresses; empty where it has none. */
struct slot slot_part(const struct slot *slot, uint64_t start, uint64_t end);

/* Appends a slot, unless it is empty. False, here and below: no memory. */
bool slot_list_append(struct slot_list *list, const struct slot *slot);

/* Appends the slots that a map wants inside [gpa, end). */
bool slot_list_append_wanted(struct slot_list *list, const struct region_map *map, bool is_strict, uint64_t gpa,
                             uint64_t end);

/* The sum of their sizes. */
uint64_t slot_list_bytes(const struct slot_list *list);

/* Cuts the slots of a list at the multiples of a distance. */
bool slot_list_cut(struct slot_list *list, uint64_t distance);

/* Takes out of both lists what they begin and end with alike. */
void slot_list_drop_equal(struct slot_list *left, struct slot_list *right);

#endif
