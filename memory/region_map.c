#include "memory/region_map.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    REGION_LEAF_MAX = 64,
    /* A leaf that falls below this is joined with the one after it. */
    REGION_LEAF_MIN = 16,
};

struct leaf {
    size_t count;
    /* Where each range ends: what a search looks at, close together. */
    uint64_t ends[REGION_LEAF_MAX];
    struct region regions[REGION_LEAF_MAX];
};

/*
 * Versions follow one another in a line, so a leaf is in a run of them, and who frees it is known without counting:
 * a new version that is not taken, those that it made; one that has been replaced, those that its successor has not.
 */
enum version_state { VERSION_NEW, VERSION_CURRENT, VERSION_REPLACED };

struct leaf_run {
    size_t first;
    size_t end;
};

struct region_map {
    enum version_state state;
    /* NEW: the leaves that it has made. REPLACED: those that only it and its forerunners have. */
    struct leaf_run own;
    /* The leaves of the version before that it has not. */
    struct leaf_run left_out;
    size_t region_count;
    size_t leaf_count;
    /* Where each leaf ends: behind the leaves in the same allocation. */
    uint64_t *ends;
    struct leaf *leaves[];
};

/* Where a range is. leaf == leaf_count is the end of the map. */
struct position {
    size_t leaf;
    size_t index;
};

/* Ranges that take the place of others, in order; grows on the heap. */
struct region_list {
    struct region *regions;
    size_t count;
    size_t capacity;
};

static struct region_map *map_allocate(size_t leaf_count)
{
    struct region_map *map = malloc(sizeof(*map) + leaf_count * (sizeof(map->leaves[0]) + sizeof(map->ends[0])));
    if (map == NULL)
        return NULL;
    *map = (struct region_map){.state = VERSION_NEW, .leaf_count = leaf_count};
    map->ends = (uint64_t *)(void *)(map->leaves + leaf_count);
    return map;
}

struct region_map *region_map_create(void)
{
    struct region_map *map = map_allocate(0);
    if (map != NULL)
        map->state = VERSION_CURRENT;
    return map;
}

void region_map_publish(struct region_map *old, struct region_map *next)
{
    assert(old->state == VERSION_CURRENT && next->state == VERSION_NEW);
    old->state = VERSION_REPLACED;
    old->own = next->left_out;
    next->state = VERSION_CURRENT;
}

void region_map_release(struct region_map *map)
{
    if (map == NULL)
        return;
    const struct leaf_run all = {.first = 0, .end = map->leaf_count};
    const struct leaf_run run = map->state == VERSION_CURRENT ? all : map->own;
    for (size_t i = run.first; i < run.end; i++)
        free(map->leaves[i]);
    free(map);
}

size_t region_map_count(const struct region_map *map)
{
    return map->region_count;
}

/* The index of the first of these ascending addresses that is above gpa; count, if there is none. */
static size_t first_above(const uint64_t *ends, size_t count, uint64_t gpa)
{
    size_t low = 0;

    /* Without branches on what is compared: they would be guessed wrong every other time. */
    while (count > 0) {
        const size_t half = count / 2;
        const size_t behind = low + half + 1;
        low = ends[low + half] > gpa ? low : behind;
        count = low == behind ? count - half - 1 : half;
    }
    return low;
}

/* The position of the first range that ends above gpa. */
static struct position map_position(const struct region_map *map, uint64_t gpa)
{
    struct position position = {.leaf = first_above(map->ends, map->leaf_count, gpa)};

    if (position.leaf < map->leaf_count)
        position.index = first_above(map->leaves[position.leaf]->ends, map->leaves[position.leaf]->count, gpa);
    return position;
}

static const struct region *map_at(const struct region_map *map, struct position position)
{
    return position.leaf < map->leaf_count ? &map->leaves[position.leaf]->regions[position.index] : NULL;
}

static struct position map_next(const struct region_map *map, struct position position)
{
    position.index++;
    if (position.index == map->leaves[position.leaf]->count) {
        position.leaf++;
        position.index = 0;
    }
    return position;
}

const struct region *region_map_find(const struct region_map *map, uint64_t gpa)
{
    return map_at(map, map_position(map, gpa));
}

uint8_t *region_map_piece(const struct region_map *map, uint64_t gpa, uint64_t size, uint64_t *ret_size)
{
    const struct region *region = region_map_find(map, gpa);
    const uint64_t rest = region_end(region) - gpa;

    *ret_size = rest < size ? rest : size;
    return region->hva + (gpa - region->gpa);
}

void region_map_copy(const struct region_map *map, uint64_t gpa, uint64_t size, uint8_t *to, const uint8_t *from)
{
    uint64_t piece;

    for (uint64_t done = 0; done < size; done += piece) {
        uint8_t *hva = region_map_piece(map, gpa + done, size - done, &piece);
        if (to != NULL)
            memcpy(to + done, hva, piece);
        else
            memcpy(hva, from + done, piece);
    }
}

int region_map_overlaps(const struct region_map *map, uint64_t gpa, uint64_t size)
{
    const struct region *region = region_map_find(map, gpa);
    return region != NULL && region->gpa < gpa + size;
}

int region_map_covers(const struct region_map *map, uint64_t gpa, uint64_t size)
{
    const uint64_t end = gpa + size;

    for (struct position at = map_position(map, gpa); gpa < end; at = map_next(map, at)) {
        const struct region *region = map_at(map, at);
        if (region == NULL || region->gpa > gpa)
            return 0;
        gpa = region_end(region);
    }
    return 1;
}

static bool region_continues(const struct region *left, const struct region *right)
{
    return region_end(left) == right->gpa && left->hva + left->size == right->hva && left->flags == right->flags &&
           left->policy == right->policy && left->traps == right->traps &&
           left->host_is_read_only == right->host_is_read_only && strcmp(left->name, right->name) == 0;
}

/* Appends a range, or makes the last one longer. */
static bool list_append(struct region_list *list, const struct region *region)
{
    if (list->count > 0 && region_continues(&list->regions[list->count - 1], region)) {
        list->regions[list->count - 1].size += region->size;
        return true;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 2 * REGION_LEAF_MAX : 2 * list->capacity;
        struct region *regions = realloc(list->regions, capacity * sizeof(*regions));
        if (regions == NULL)
            return false;
        list->regions = regions;
        list->capacity = capacity;
    }
    list->regions[list->count++] = *region;
    return true;
}

/* The part of a range between two addresses inside it. */
static struct region region_part(const struct region *region, uint64_t start, uint64_t end)
{
    struct region part = *region;
    part.gpa = start;
    part.size = end - start;
    part.hva = region->hva + (start - region->gpa);
    return part;
}

/*
 * Gives a version in which the leaves from first up to, not including, last are replaced by leaves made of a list.
 */
static struct region_map *map_splice(const struct region_map *map, size_t first, size_t last,
                                     const struct region_list *list)
{
    /* Leaves of one change get the same number of ranges, so that no small one is left at the end. */
    size_t made = (list->count + REGION_LEAF_MAX - 1) / REGION_LEAF_MAX;
    struct region_map *result = map_allocate(map->leaf_count - (last - first) + made);
    size_t taken = 0;

    if (result == NULL)
        return NULL;
    result->own = (struct leaf_run){.first = first, .end = first};
    result->left_out = (struct leaf_run){.first = first, .end = last};
    result->region_count = map->region_count + list->count;
    for (size_t i = first; i < last; i++)
        result->region_count -= map->leaves[i]->count;
    for (size_t i = 0; i < made; i++) {
        struct leaf *leaf = malloc(sizeof(*leaf));
        if (leaf == NULL) {
            region_map_release(result);
            return NULL;
        }
        leaf->count = (list->count - taken) / (made - i);
        memcpy(leaf->regions, list->regions + taken, leaf->count * sizeof(struct region));
        for (size_t k = 0; k < leaf->count; k++)
            leaf->ends[k] = region_end(&leaf->regions[k]);
        taken += leaf->count;
        result->leaves[first + i] = leaf;
        result->ends[first + i] = leaf->ends[leaf->count - 1];
        result->own.end++;
    }
    memcpy(result->leaves, map->leaves, first * sizeof(map->leaves[0]));
    memcpy(result->leaves + first + made, map->leaves + last, (map->leaf_count - last) * sizeof(map->leaves[0]));
    memcpy(result->ends, map->ends, first * sizeof(map->ends[0]));
    memcpy(result->ends + first + made, map->ends + last, (map->leaf_count - last) * sizeof(map->ends[0]));
    return result;
}

/* What a change makes of the part of a range that lies inside its window: a range, or nothing. */
struct change {
    uint64_t gpa;
    uint64_t end;
    enum { CHANGE_ADD, CHANGE_REMOVE, CHANGE_PROTECT, CHANGE_POLICY, CHANGE_TRAPS } kind;
    hv_memory_flags_t flags;
    hvx_policy_t policy;
    hv_memory_flags_t traps;
    const struct region *added;
};

/* Appends what becomes of one range of the old version. */
static bool list_append_changed(struct region_list *list, const struct region *region, const struct change *change)
{
    uint64_t end = region_end(region);

    if (change->kind == CHANGE_ADD || end <= change->gpa || region->gpa >= change->end)
        return list_append(list, region);

    uint64_t inner_start = region->gpa > change->gpa ? region->gpa : change->gpa;
    uint64_t inner_end = end < change->end ? end : change->end;
    struct region left = region_part(region, region->gpa, inner_start);
    struct region inner = region_part(region, inner_start, inner_end);
    struct region right = region_part(region, inner_end, end);

    if (change->kind == CHANGE_PROTECT)
        inner.flags = change->flags;
    if (change->kind == CHANGE_POLICY)
        inner.policy = change->policy;
    if (change->kind == CHANGE_TRAPS)
        inner.traps = (uint8_t)change->traps;
    return (left.size == 0 || list_append(list, &left)) &&
           (change->kind == CHANGE_REMOVE || list_append(list, &inner)) &&
           (right.size == 0 || list_append(list, &right));
}

/* Appends a leaf's ranges as the change leaves them, and the added range where it belongs among them. */
static bool list_append_leaf(struct region_list *list, const struct leaf *leaf, const struct change *change,
                             bool *added)
{
    for (size_t i = 0; i < leaf->count; i++) {
        if (!*added && leaf->regions[i].gpa > change->added->gpa) {
            if (!list_append(list, change->added))
                return false;
            *added = true;
        }
        if (!list_append_changed(list, &leaf->regions[i], change))
            return false;
    }
    return true;
}

static struct region_map *map_change(const struct region_map *map, const struct change *change)
{
    /* The neighbours that touch the window are looked at too: they may join with what is inside. */
    size_t first = map_position(map, change->gpa > 0 ? change->gpa - 1 : 0).leaf;
    size_t last = map_position(map, change->end).leaf;
    struct region_list list = {0};
    struct region_map *result = NULL;
    bool added = change->kind != CHANGE_ADD;

    if (first == map->leaf_count && first > 0)
        first--;
    if (last < map->leaf_count)
        last++;
    for (size_t i = first; i < last; i++)
        if (!list_append_leaf(&list, map->leaves[i], change, &added))
            goto out;
    if (!added && !list_append(&list, change->added))
        goto out;
    while (list.count > 0 && list.count < REGION_LEAF_MIN && last < map->leaf_count)
        if (!list_append_leaf(&list, map->leaves[last++], change, &added))
            goto out;
    result = map_splice(map, first, last, &list);
out:
    free(list.regions);
    return result;
}

struct region_map *region_map_add(const struct region_map *map, const struct region *region)
{
    assert(!region_map_overlaps(map, region->gpa, region->size));
    return map_change(
        map, &(struct change){.gpa = region->gpa, .end = region_end(region), .kind = CHANGE_ADD, .added = region});
}

struct region_map *region_map_remove(const struct region_map *map, uint64_t gpa, uint64_t size)
{
    return map_change(map, &(struct change){.gpa = gpa, .end = gpa + size, .kind = CHANGE_REMOVE});
}

struct region_map *region_map_protect(const struct region_map *map, uint64_t gpa, uint64_t size,
                                      hv_memory_flags_t flags)
{
    return map_change(map, &(struct change){.gpa = gpa, .end = gpa + size, .kind = CHANGE_PROTECT, .flags = flags});
}

struct region_map *region_map_set_policy(const struct region_map *map, uint64_t gpa, uint64_t size, hvx_policy_t policy)
{
    return map_change(map, &(struct change){.gpa = gpa, .end = gpa + size, .kind = CHANGE_POLICY, .policy = policy});
}

struct region_map *region_map_set_traps(const struct region_map *map, uint64_t gpa, uint64_t size,
                                        hv_memory_flags_t traps)
{
    return map_change(map, &(struct change){.gpa = gpa, .end = gpa + size, .kind = CHANGE_TRAPS, .traps = traps});
}
