#include "memory/space.h"

#include "memory/rcu.h"

#include <stdlib.h>
#include <string.h>

struct space *space_create(hv_vm_space_t id)
{
    struct space *space = calloc(1, sizeof(*space));
    if (space == NULL)
        return NULL;
    space->id = id;
    space->map = region_map_create();
    if (space->map == NULL) {
        free(space);
        return NULL;
    }
    pthread_mutex_init(&space->pin_turn, NULL);
    pthread_mutex_init(&space->pin_lock, NULL);
    pthread_cond_init(&space->pin_gone, NULL);
    return space;
}

void space_destroy(struct space *space)
{
    if (space == NULL)
        return;
    while (space->retired_count > 0)
        region_map_release(space->retired[--space->retired_count]);
    region_map_release(space->map);
    dirty_log_free(space->dirty, NULL);
    pthread_cond_destroy(&space->pin_gone);
    pthread_mutex_destroy(&space->pin_lock);
    pthread_mutex_destroy(&space->pin_turn);
    free(space);
}

/* ---- Pins ---- */

unsigned space_pin(struct space *space)
{
    const unsigned generation = atomic_load(&space->pin_generation) & 1;

    atomic_fetch_add(&space->pins[generation], 1);
    return generation;
}

void space_unpin(struct space *space, unsigned generation)
{
    if (atomic_fetch_sub(&space->pins[generation & 1], 1) != 1)
        return;
    pthread_mutex_lock(&space->pin_lock);
    pthread_cond_broadcast(&space->pin_gone);
    pthread_mutex_unlock(&space->pin_lock);
}

bool space_has_pins(const struct space *space)
{
    return atomic_load(&space->pins[0]) != 0 || atomic_load(&space->pins[1]) != 0;
}

void space_wait_for_pins(struct space *space)
{
    pthread_mutex_lock(&space->pin_turn);
    pthread_mutex_lock(&space->pin_lock);
    /*
     * Twice: pins of the generation before, and of the one that was current. New ones go to the other generation, so
     * that neither wait is prolonged by those who come later.
     */
    for (unsigned i = 0; i < 2; i++) {
        const unsigned old = atomic_fetch_add(&space->pin_generation, 1) & 1;
        /* Whoever read the old generation has counted itself in it by now. */
        rcu_wait_for_readers();
        while (atomic_load(&space->pins[old]) != 0)
            pthread_cond_wait(&space->pin_gone, &space->pin_lock);
    }
    pthread_mutex_unlock(&space->pin_lock);
    pthread_mutex_unlock(&space->pin_turn);
}

/* ---- Changes ---- */

hv_return_t space_listen(struct space *space, const struct space_listener *listener)
{
    hv_return_t result = listener->change(listener->context, space->map, space->is_strict, 0, REGION_GPA_END);
    if (result == HV_SUCCESS && space->dirty != NULL)
        result = listener->set_log(listener->context, space->dirty);
    if (result == HV_SUCCESS)
        space->listener = *listener;
    return result;
}

hv_return_t space_set_strict(struct space *space, bool is_strict)
{
    hv_return_t result = HV_SUCCESS;

    if (space->is_strict != is_strict && space->listener.change != NULL)
        result = space->listener.change(space->listener.context, space->map, is_strict, 0, REGION_GPA_END);
    if (result != HV_SUCCESS)
        return result;
    space->is_strict = is_strict;
    atomic_fetch_add(&space->version, 1);
    return HV_SUCCESS;
}

const struct region *space_find(const struct space *space, uint64_t gpa)
{
    const struct region *region = region_map_find(atomic_load_explicit(&space->map, memory_order_acquire), gpa);

    return region != NULL && region->gpa <= gpa ? region : NULL;
}

bool space_allows(const struct space *space, uint64_t gpa, hv_memory_flags_t access)
{
    const struct region *region = space_find(space, gpa);
    if (region == NULL)
        return false;

    const hv_memory_flags_t flags = region->flags;
    if (access == HV_MEMORY_WRITE)
        return region_allows(region, access);
    if (space->is_strict && access == HV_MEMORY_EXEC)
        return (flags & access) != 0;
    /* What may be executed can be read: KVM has no slot that says otherwise. */
    return space->is_strict ? (flags & (HV_MEMORY_READ | HV_MEMORY_EXEC)) != 0 : flags != 0;
}

bool space_traps(const struct space *space, uint64_t gpa, hv_memory_flags_t access)
{
    const struct region *region = space_find(space, gpa);

    return region != NULL && (region->traps & access) != 0 && space_allows(space, gpa, access);
}

bool space_wants_slot(bool is_strict, const struct region *region)
{
    /* KVM has no slot that can be read and not executed, or the other way round. */
    if ((region->traps & (HV_MEMORY_READ | HV_MEMORY_EXEC)) != 0)
        return false;
    return is_strict ? (region->flags & HV_MEMORY_EXEC) != 0 : region->flags != 0;
}

bool space_wants_read_only_slot(const struct region *region)
{
    return !region_allows(region, HV_MEMORY_WRITE) || (region->traps & HV_MEMORY_WRITE) != 0;
}

/* Releases a version that has been replaced, now or when nobody can be reading it any more. */
static void space_retire(struct space *space, struct region_map *old, bool takes_away)
{
    if (space->dma_references > 0) {
        if (!takes_away && space->retired_count < SPACE_RETIRED_MAX) {
            space->retired[space->retired_count++] = old;
            return;
        }
        rcu_wait_for_readers();
    }
    region_map_release(old);
    while (space->retired_count > 0)
        region_map_release(space->retired[--space->retired_count]);
}

/* Puts the new version in the old one's place. */
static void space_publish(struct space *space, struct region_map *map, bool takes_away)
{
    region_map_publish(space->map, map);
    struct region_map *old = atomic_exchange(&space->map, map);
    atomic_fetch_add(&space->version, 1);
    space_retire(space, old, takes_away);
}

/* Tells the listener and puts the new version, which may be NULL for want of memory, in the old one's place. */
static hv_return_t space_commit(struct space *space, struct region_map *map, uint64_t gpa, uint64_t size,
                                bool takes_away)
{
    hv_return_t result = HV_SUCCESS;

    if (map == NULL)
        return HV_NO_RESOURCES;
    if (space->listener.change != NULL)
        result = space->listener.change(space->listener.context, map, space->is_strict, gpa, size);
    if (result != HV_SUCCESS) {
        region_map_release(map);
        return result;
    }
    space_publish(space, map, takes_away);
    return HV_SUCCESS;
}

hv_return_t space_map(struct space *space, const struct region *region)
{
    if (region_map_overlaps(space->map, region->gpa, region->size))
        return HV_ERROR;
    return space_commit(space, region_map_add(space->map, region), region->gpa, region->size, false);
}

hv_return_t space_unmap(struct space *space, uint64_t gpa, uint64_t size)
{
    if (!region_map_overlaps(space->map, gpa, size))
        return HV_SUCCESS;
    return space_commit(space, region_map_remove(space->map, gpa, size), gpa, size, true);
}

hv_return_t space_protect(struct space *space, uint64_t gpa, uint64_t size, hv_memory_flags_t flags)
{
    if (!region_map_covers(space->map, gpa, size))
        return HV_ERROR;
    return space_commit(space, region_map_protect(space->map, gpa, size, flags), gpa, size, true);
}

hv_return_t space_set_policy(struct space *space, uint64_t gpa, uint64_t size, hvx_policy_t policy)
{
    if (!region_map_covers(space->map, gpa, size))
        return HV_ERROR;
    struct region_map *map = region_map_set_policy(space->map, gpa, size, policy);
    if (map == NULL)
        return HV_NO_RESOURCES;
    space_publish(space, map, false);
    return HV_SUCCESS;
}

hv_return_t space_set_traps(struct space *space, uint64_t gpa, uint64_t size, hv_memory_flags_t traps)
{
    if (!region_map_covers(space->map, gpa, size))
        return HV_ERROR;
    return space_commit(space, region_map_set_traps(space->map, gpa, size, traps), gpa, size, false);
}

/* ---- Tracking of writes ---- */

/* Puts another log, or none, in the place of the one there is. */
static hv_return_t replace_log(struct space *space, struct dirty_log *log)
{
    hv_return_t result = HV_SUCCESS;

    if (space->listener.set_log != NULL)
        result = space->listener.set_log(space->listener.context, log);
    if (result != HV_SUCCESS) {
        dirty_log_free(log, space->dirty);
        return result;
    }
    struct dirty_log *old = atomic_exchange(&space->dirty, log);
    if (space->dma_references > 0)
        rcu_wait_for_readers();
    dirty_log_free(old, log);
    return HV_SUCCESS;
}

/* Has vCPUs' writes of the past forgotten, which may be there where another range of the same slot is tracked. */
static hv_return_t forget_writes(struct space *space, uint64_t gpa, uint64_t size)
{
    if (space->dirty == NULL || space->listener.harvest == NULL)
        return HV_SUCCESS;
    uint64_t *scratch = calloc(dirty_bitmap_words(size), sizeof(*scratch));
    if (scratch == NULL)
        return HV_NO_RESOURCES;
    hv_return_t result = space->listener.harvest(space->listener.context, gpa, size, scratch);
    free(scratch);
    return result;
}

hv_return_t space_dirty_start(struct space *space, uint64_t gpa, uint64_t size)
{
    if (dirty_log_overlaps(space->dirty, gpa, size))
        return HV_ERROR;
    hv_return_t result = forget_writes(space, gpa, size);
    if (result != HV_SUCCESS)
        return result;
    struct dirty_log *log = dirty_log_with(space->dirty, gpa, size);
    return log == NULL ? HV_NO_RESOURCES : replace_log(space, log);
}

hv_return_t space_dirty_stop(struct space *space, uint64_t gpa, uint64_t size)
{
    const struct dirty_range *range = dirty_log_find(space->dirty, gpa, size);
    bool is_empty;

    if (range == NULL || range->gpa != gpa || range->size != size)
        return HV_ERROR;
    struct dirty_log *log = dirty_log_without(space->dirty, gpa, size, &is_empty);
    return log == NULL && !is_empty ? HV_NO_RESOURCES : replace_log(space, log);
}

hv_return_t space_dirty_fetch(struct space *space, uint64_t gpa, uint64_t size, uint64_t *bitmap)
{
    const struct dirty_range *range = dirty_log_find(space->dirty, gpa, size);
    hv_return_t result = HV_SUCCESS;

    if (range == NULL)
        return HV_ERROR;
    memset(bitmap, 0, dirty_bitmap_words(size) * sizeof(*bitmap));
    if (space->listener.harvest != NULL)
        result = space->listener.harvest(space->listener.context, gpa, size, bitmap);
    if (result == HV_SUCCESS)
        dirty_range_fetch(range, gpa, size, bitmap);
    return result;
}

/* Whether the host may write to all of a range, which is mapped. */
static bool host_can_write(const struct region_map *map, uint64_t gpa, uint64_t size)
{
    const uint64_t end = gpa + size;

    while (gpa < end) {
        const struct region *region = region_map_find(map, gpa);
        if (region->host_is_read_only)
            return false;
        gpa = region_end(region);
    }
    return true;
}

hv_return_t space_copy(const struct space *space, uint64_t gpa, uint64_t size, void *to, const void *from)
{
    if (size == 0)
        return HV_SUCCESS;
    if (!region_map_covers(space->map, gpa, size) || (from != NULL && !host_can_write(space->map, gpa, size)))
        return HV_ERROR;
    region_map_copy(space->map, gpa, size, to, from);
    if (from != NULL)
        dirty_log_mark(space->dirty, gpa, size);
    return HV_SUCCESS;
}
