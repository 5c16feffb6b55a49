/*
 * Break- and watchpoints: what a client has asked for, how each is realised, and where they lie in guest memory. Plain
 * data, which knows nothing of KVM. Changed while the guest is stopped; while it runs, any thread may look.
 */
#ifndef VMM_DEBUG_POINTS_H
#define VMM_DEBUG_POINTS_H

#include "vmm/debug/target.h"
#include "vmm/debug/traps.h"

#include <Hypervisor/hvx.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order in which they are preferred. */
enum point_mechanism {
    /* An INT3 in the place of the instruction, while the guest runs. */
    POINT_BY_INT3,
    /* One of the processor's four debug registers, or several. */
    POINT_BY_REGISTER,
    /* The page's permissions: see hvx_vm_set_traps(). */
    POINT_BY_PAGE,
    POINT_MECHANISM_COUNT,
};

/* A piece of a point in one page of one space. */
struct point_site {
    hv_vm_space_t space;
    uint64_t gpa;
    uint64_t linear;
    uint64_t size;
    /* What INT3 stands for, while it does. */
    uint8_t original;
    bool is_patched;
};

struct point {
    enum debug_point_kind kind;
    uint64_t address;
    /* Bytes; 1 for breakpoints. */
    uint64_t size;
    enum point_mechanism mechanism;
    /* One space has it, or all that vCPUs are in. */
    bool has_space;
    hv_vm_space_t space;
    /* address is guest-physical. */
    bool is_physical;
    /* None with POINT_BY_REGISTER, which knows linear addresses only. */
    struct point_site *sites;
    size_t site_count;
};

enum { POINT_REGISTERS = 4, POINT_PAGE_SIZE = TRAPS_PAGE_SIZE };

/* What one debug register does. */
struct point_register {
    bool is_used;
    enum debug_point_kind kind;
    uint64_t address;
    /* 1, 2, 4 or 8, and address a multiple of it. */
    unsigned size;
    /* Of the point, which it may be a part of; these and the kind say which point. */
    uint64_t point_address;
    uint64_t point_size;
};

struct points {
    /* In the order of their making. */
    struct point *items;
    size_t count;
    size_t capacity;
    /* Of all items together. */
    size_t site_count;
    struct point_register registers[POINT_REGISTERS];
};

/* All zero is an empty set. */
void points_free(struct points *points);

bool point_is_breakpoint(enum debug_point_kind kind);

/* The number of debug registers that a range needs; more than POINT_REGISTERS for one that is too large. */
unsigned points_registers_needed(enum debug_point_kind kind, uint64_t address, uint64_t size);
unsigned points_registers_free(const struct points *points);

/* NULL: there is none. */
struct point *points_find(const struct points *points, enum debug_point_kind kind, uint64_t address, uint64_t size);

/* Takes the point, its sites included, and gives it debug registers, which are there. False: no memory. */
bool points_add(struct points *points, const struct point *point);
void points_remove(struct points *points, struct point *point);

/* The breakpoint that is not by register at a linear address in a space, or NULL. */
const struct point *points_breakpoint_at(const struct points *points, hv_vm_space_t space, uint64_t linear);

/* The watchpoint by page that an access meets, and the first linear address that is both watched and accessed. NULL. */
const struct point *points_watched(const struct points *points, hv_vm_space_t space, uint64_t gpa, uint64_t size,
                                   hv_memory_flags_t access, uint64_t *ret_linear);

/*
 * Whether another point by page is in the same page and cannot be beside this one: while code of a breakpoint's page is
 * stepped past, the page can be read.
 */
bool points_conflict(const struct points *points, const struct point *point);

/* The point whose debug register this is, or NULL. */
const struct point *points_of_register(const struct points *points, unsigned index);

/* DR7 for the registers in use (Intel SDM volume 3, 18.2.4); 0 for none. */
uint64_t points_control(const struct points *points);

/*
 * The pages whose accesses are to be trapped, by space and address, each once; *ret_traps is the caller's to free().
 * False: no memory.
 */
bool points_traps(const struct points *points, struct point_trap **ret_traps, size_t *ret_count);

#endif
