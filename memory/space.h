/*
 * A guest-physical address space: a map of regions, and a listener that keeps KVM's slots as the map says.
 * It knows nothing of KVM, so it can be tested without.
 */
#ifndef MEMORY_SPACE_H
#define MEMORY_SPACE_H

#include "memory/dirty_log.h"
#include "memory/region_map.h"

#include <Hypervisor/hvx.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Who is told of changes, before they are published. */
struct space_listener {
    /*
     * The map becomes `to`, which differs inside [gpa, gpa + size) only, in a space that is strict or not. HV_SUCCESS,
     * or an error with everything on the listener's side as it was.
     */
    hv_return_t (*change)(void *context, const struct region_map *to, bool is_strict, uint64_t gpa, uint64_t size);
    /* Another log takes the place of the one before; NULL: nothing is tracked. HV_SUCCESS, or an error and it does not.
     */
    hv_return_t (*set_log)(void *context, const struct dirty_log *log);
    /*
     * Adds what vCPUs have written in [gpa, gpa + size) to that range's bitmap or to the log, as is easier; and to the
     * log what they have written elsewhere, if need be. On an error nothing of it is lost, and the bitmap is void.
     */
    hv_return_t (*harvest)(void *context, uint64_t gpa, uint64_t size, uint64_t *bitmap);
    void *context;
};

enum { SPACE_RETIRED_MAX = 32 };

struct space {
    hv_vm_space_t id;
    /* The version in force. Changed with the VM's lock held; read with it, or by RCU's readers. */
    struct region_map *_Atomic map;
    /* Counts versions, after each takes its place: what a lookup gave holds while this is the same. */
    atomic_uint_fast64_t version;
    /* What is tracked, or NULL: as the map, for RCU's readers too. */
    struct dirty_log *_Atomic dirty;
    /* A missing HV_MEMORY_EXEC is enforced: see hvx_vm_space_set_strict(). */
    bool is_strict;
    /* change is NULL where nobody listens. */
    struct space_listener listener;
    /* vCPUs that are in the space, or were when they were destroyed. */
    unsigned vcpu_references;
    /* vCPUs that are in the space. */
    unsigned vcpu_count;
    /* Open DMA handles, and calls that wait for pins. Without any there are no RCU readers. */
    unsigned dma_references;
    /* Versions that took nothing away from those who may still read them: they wait for a change that does. */
    struct region_map *retired[SPACE_RETIRED_MAX];
    unsigned retired_count;
    /* Pins of memory, by the generation in which they were taken; a change that takes memory away begins a new one. */
    atomic_uint pin_generation;
    atomic_ulong pins[2];
    /* Refused accesses. Counted by devices too, who have no lock. */
    atomic_uint_fast64_t fault_count;
    /* Held by the one who waits for pins, from the beginning to the end: others wait for their turn. */
    pthread_mutex_t pin_turn;
    pthread_mutex_t pin_lock;
    pthread_cond_t pin_gone;
};

/* NULL: no memory. */
struct space *space_create(hv_vm_space_t id);

/* Drops all mappings without telling the listener, which is gone by then. Takes NULL. */
void space_destroy(struct space *space);

/*
 * Waits until all pins that were taken before the last change have been let go. Any thread, without the VM's lock; the
 * space has a DMA reference meanwhile.
 */
void space_wait_for_pins(struct space *space);

/* Whether there is anybody to wait for. */
bool space_has_pins(const struct space *space);

/* Takes a pin, inside the RCU section that looked the memory up, and lets it go. */
unsigned space_pin(struct space *space);
void space_unpin(struct space *space, unsigned generation);

/*
 * Gives the space a listener, which is told first of the map as it is. On an error of
 * its own there is no listener.
 */
hv_return_t space_listen(struct space *space, const struct space_listener *listener);

/*
 * The calls of the API, with its results, on arguments that are well-formed: aligned, not empty, below
 * REGION_GPA_END. The map changes whole or not at all. For one thread at a time. When they return no reader has what
 * they have taken away; pins may be left.
 */
hv_return_t space_map(struct space *space, const struct region *region);
hv_return_t space_unmap(struct space *space, uint64_t gpa, uint64_t size);
hv_return_t space_protect(struct space *space, uint64_t gpa, uint64_t size, hv_memory_flags_t flags);

/* The same of hvx_vm_set_policy(). The listener hears nothing: slots have no policy. */
hv_return_t space_set_policy(struct space *space, uint64_t gpa, uint64_t size, hvx_policy_t policy);

/* The same of hvx_vm_set_traps(). Slots have them, so the listener hears of it. */
hv_return_t space_set_traps(struct space *space, uint64_t gpa, uint64_t size, hv_memory_flags_t traps);

/*
 * Tracking of writes, with the API's results: hvx_vm_dirty_start(), _stop() and _fetch(), on ranges that are
 * well-formed.
 */
hv_return_t space_dirty_start(struct space *space, uint64_t gpa, uint64_t size);
hv_return_t space_dirty_stop(struct space *space, uint64_t gpa, uint64_t size);
hv_return_t space_dirty_fetch(struct space *space, uint64_t gpa, uint64_t size, uint64_t *bitmap);

/* What is mapped at gpa, or NULL. Any reader of the map. */
const struct region *space_find(const struct space *space, uint64_t gpa);

/*
 * Whether an access of one kind is allowed at gpa. A space that is not strict takes any flag for leave to read and to
 * execute, because that is what KVM's slots can say.
 */
bool space_allows(const struct space *space, uint64_t gpa, hv_memory_flags_t access);

/* Whether such an access of a vCPU, which is allowed, is to exit all the same. */
bool space_traps(const struct space *space, uint64_t gpa, hv_memory_flags_t access);

/* Whether a region is a slot of KVM's, and whether that is read-only. */
bool space_wants_slot(bool is_strict, const struct region *region);
bool space_wants_read_only_slot(const struct region *region);

/* Makes the space strict, or not; the listener is told of the whole map anew. HV_NO_RESOURCES: it is as before. */
hv_return_t space_set_strict(struct space *space, bool is_strict);

/*
 * Copies between a buffer and guest memory; the flags do not bind it. Exactly one of to and from is not NULL.
 * HV_ERROR: not all of the range is mapped, or not all can be written; nothing was copied.
 */
hv_return_t space_copy(const struct space *space, uint64_t gpa, uint64_t size, void *to, const void *from);

#endif
