/*
 * Which guest-physical address spaces a machine has, and what lies where in them: worked out from its configuration,
 * before there is a VM. vmm/machine/machine_memory.h makes it true, maps.h shows it.
 */
#ifndef VMM_MAPS_MEMORY_PLAN_H
#define VMM_MAPS_MEMORY_PLAN_H

#include "memory/support/error.h"
#include "vmm/config/config.h"
#include "vmm/maps/device_plan.h"

#include <Hypervisor/hvx.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of host memory. */
struct plan_memory {
    const char *name;
    uint64_t size;
    /* NULL: a few anonymous pages. */
    const struct config_host_memory *host;
    /* The table that asks for it; NULL: the machine itself. */
    const struct config_range *range;
};

struct plan_range {
    uint64_t gpa;
    uint64_t size;
    hv_memory_flags_t flags;
    hvx_policy_t policy;
    /* as maps and faults have it */
    const char *name;
    /* Its place among the pieces of host memory, and where in that it begins. */
    size_t memory;
    uint64_t offset;
    /* The memory is another range's. */
    bool is_alias;
    /* The table that asks for it; NULL: the machine itself. */
    const struct config_range *range;
};

struct plan_space {
    const char *name;
    bool is_strict;
    /* in ascending order; none overlaps another */
    struct plan_range *ranges;
    size_t count;
};

/* What a machine keeps of the default space besides memory. */
struct plan_reserved {
    uint64_t gpa;
    uint64_t size;
    const char *what;
};

#define PLAN_RESERVED_MAX 8u

/* Strings are the configuration's, or constants: the configuration outlives the plan. */
struct memory_plan {
    const struct config *config;
    struct plan_memory *memories;
    size_t memory_count;
    /* What is not memory in the default space, in ascending order. */
    struct plan_reserved reserved[PLAN_RESERVED_MAX];
    size_t reserved_count;
    /* One for each device of the configuration. */
    struct plan_device *devices;
    /* The first is the default one; the others are in the order of the file. */
    struct plan_space *spaces;
    size_t space_count;
    /* Of all spaces, the ranges that are aliases. */
    size_t alias_count;
};

/* There are no more aliases: a few tables of a file can ask for millions. KVM has room for half as many in a space. */
#define PLAN_ALIASES_MAX 65536u

/* Of the memories, the RAM. */
#define PLAN_RAM 0u

/*
 * Works the plan out. config has passed config_check(). ERROR_CONFIG: ranges overlap (both are named), are where the
 * machine keeps something, or show memory that is not there; ERROR_HOST: no memory. -1, with nothing to free, then.
 */
int memory_plan_create(const struct config *config, struct memory_plan *plan, struct error *error);

/* A zeroed struct is fine. */
void memory_plan_free(struct memory_plan *plan);

/* What a host can do, of which a plan may ask too much: -1 with ERROR_CONFIG then. */
int memory_plan_check_host(const struct memory_plan *plan, const hvx_host_limits_t *limits, struct error *error);

/* The index of the space with this name, which there is. */
size_t memory_plan_space(const struct memory_plan *plan, const char *name);

#endif
