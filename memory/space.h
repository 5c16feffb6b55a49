/*
 * A guest-physical address space: a map of regions, and a listener that keeps KVM's slots as the map says.
 * It knows nothing of KVM, so it can be tested without.
 */
#ifndef MEMORY_SPACE_H
#define MEMORY_SPACE_H

#include "memory/region_map.h"

#include <Hypervisor/hvx.h>

/* Who is told of changes, before they are published. */
struct space_listener {
    /*
     * The map changes inside [gpa, gpa + size) only, from one version to another. HV_SUCCESS, or an error with
     * everything on the listener's side as it was.
     */
    hv_return_t (*change)(void *context, const struct region_map *from, const struct region_map *to, uint64_t gpa,
                          uint64_t size);
    void *context;
};

struct space {
    hv_vm_space_t id;
    /* The version in force; guarded by the VM's lock. */
    struct region_map *map;
    /* change is NULL where nobody listens. */
    struct space_listener listener;
    /* vCPUs that are in the space, or were when they were destroyed. */
    unsigned vcpu_references;
};

/* NULL: no memory. */
struct space *space_create(hv_vm_space_t id);

/* Drops all mappings without telling the listener, which is gone by then. Takes NULL. */
void space_destroy(struct space *space);

/*
 * The calls of the API, with its results, on arguments that are well-formed: aligned, not empty, below
 * REGION_GPA_END. The map changes whole or not at all. For one thread at a time.
 */
hv_return_t space_map(struct space *space, const struct region *region);
hv_return_t space_unmap(struct space *space, uint64_t gpa, uint64_t size);
hv_return_t space_protect(struct space *space, uint64_t gpa, uint64_t size, hv_memory_flags_t flags);

/*
 * Copies between a buffer and guest memory; the flags do not bind it. Exactly one of to and from is not NULL.
 * HV_ERROR: not all of the range is mapped, and nothing was copied.
 */
hv_return_t space_copy(const struct space *space, uint64_t gpa, uint64_t size, void *to, const void *from);

#endif
