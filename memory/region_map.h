/*
 * The map of one space: an ordered set of ranges that do not overlap.
 *
 * A map never changes once made. Each operation gives a new version that shares most of its memory with the old one,
 * so that a change can be computed in full, refused half-way or undone by dropping it, while readers go on with the
 * version they have. Plain data: no locks, no system calls but malloc.
 *
 * Inside, ranges lie in leaves of at most REGION_LEAF_MAX, and a version is an array of pointers to leaves. A change
 * copies the leaves that it touches and that array.
 */
#ifndef MEMORY_REGION_MAP_H
#define MEMORY_REGION_MAP_H

#include <Hypervisor/hvx.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Guest addresses go below this: what four levels of page tables reach. */
#define REGION_GPA_END (1ull << 48)

/* Contiguous in the guest and in the host; one set of flags, one policy, one name, one set of traps. */
struct region {
    uint64_t gpa;
    uint64_t size;
    uint8_t *hva;
    hv_memory_flags_t flags;
    hvx_policy_t policy;
    char name[HVX_NAME_SIZE];
    /* This process may not write to it: nor may the guest, whatever the flags say. */
    bool host_is_read_only;
    /* Accesses of vCPUs that exit although they are allowed: see hvx_vm_set_traps(). */
    uint8_t traps;
};

static inline uint64_t region_end(const struct region *region)
{
    return region->gpa + region->size;
}

/* Whether an access is allowed that is one or more of HV_MEMORY_READ and HV_MEMORY_WRITE, all of them by their flags.
 */
static inline bool region_allows(const struct region *region, hv_memory_flags_t access)
{
    return (region->flags & access) == access && !(region->host_is_read_only && access & HV_MEMORY_WRITE);
}

struct region_map;

/* A map without ranges. NULL: no memory; so it is for every function here that gives a map. */
struct region_map *region_map_create(void);

/*
 * Says that next, made from old, takes its place: no further version is made from old. old can be read, and is to be
 * released, all the same. A version that is not published is to be released before another is made from old.
 */
void region_map_publish(struct region_map *old, struct region_map *next);

/*
 * Gives a version back: one that was not published, the current one, or one that was replaced, when nobody reads it any
 * more. What it shares with later versions stays. Takes NULL. Making, publishing and releasing are for one thread at a
 * time. Reading is for any.
 */
void region_map_release(struct region_map *map);

/* The number of ranges. */
size_t region_map_count(const struct region_map *map);

/* The range that holds gpa, or the next above it, or NULL. It lives as long as this version. */
const struct region *region_map_find(const struct region_map *map, uint64_t gpa);

/*
 * The host address of gpa, which is mapped, and how many of the size bytes from there on are contiguous in the host as
 * far as one range goes.
 */
uint8_t *region_map_piece(const struct region_map *map, uint64_t gpa, uint64_t size, uint64_t *ret_size);

/* Copies size bytes from gpa on, all of them mapped, to `to`, or if that is NULL, from `from` there. */
void region_map_copy(const struct region_map *map, uint64_t gpa, uint64_t size, uint8_t *to, const uint8_t *from);

/* Whether something, or everything, of [gpa, gpa + size) is mapped. size is not 0, and the range does not wrap. */
int region_map_overlaps(const struct region_map *map, uint64_t gpa, uint64_t size);
int region_map_covers(const struct region_map *map, uint64_t gpa, uint64_t size);

/* Adds a range that overlaps none; it is joined with neighbours that continue it and are alike in all else. */
struct region_map *region_map_add(const struct region_map *map, const struct region *region);

/* Takes [gpa, gpa + size) away, cutting what crosses its ends. */
struct region_map *region_map_remove(const struct region_map *map, uint64_t gpa, uint64_t size);

/* Gives [gpa, gpa + size), where it is mapped, other flags. */
struct region_map *region_map_protect(const struct region_map *map, uint64_t gpa, uint64_t size,
                                      hv_memory_flags_t flags);

/* Gives [gpa, gpa + size), where it is mapped, another policy. */
struct region_map *region_map_set_policy(const struct region_map *map, uint64_t gpa, uint64_t size,
                                         hvx_policy_t policy);

/* Has other accesses to [gpa, gpa + size), where it is mapped, exit. */
struct region_map *region_map_set_traps(const struct region_map *map, uint64_t gpa, uint64_t size,
                                        hv_memory_flags_t traps);

#endif
