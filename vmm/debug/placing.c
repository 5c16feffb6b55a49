#include "vmm/debug/placing.h"

#include <asm/processor-flags.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t PAGE_MASK = POINT_PAGE_SIZE - 1;
/* A larger range is refused: what is wanted then is a protection, not a watchpoint. */
static const uint64_t WATCH_SIZE_MAX = 1 << 20;
/* More points than anybody sets; each takes memory. */
static const size_t POINTS_MAX = 1 << 16;
/* The same of the pages that they are in, counted for each point: a large one may be in many. */
static const size_t SITES_MAX = 1 << 17;

/* ---- Where points lie ---- */

/* Where the kernel will have an address once its own page tables are in force. */
bool placing_find_in_kernel(const struct debugger *debugger, const struct guest_view *view, uint64_t linear,
                            uint64_t *ret_gpa)
{
    struct walk walk;

    if (debugger->kernel_count == 0 || view->is_physical || view->space != HV_VM_SPACE_DEFAULT)
        return false;
    /* Once they are, what is not mapped has been given up. */
    guest_view_walk(view, debugger->kernel[0].linear, &walk);
    for (size_t i = 0; i < debugger->kernel_count && !walk.is_mapped; i++) {
        const struct boot_segment *segment = &debugger->kernel[i];
        if (linear >= segment->linear && linear - segment->linear < segment->size) {
            *ret_gpa = segment->gpa + (linear - segment->linear);
            return true;
        }
    }
    return false;
}

static bool is_memory(hv_vm_space_t space, uint64_t gpa)
{
    uint8_t byte;

    return hvx_vm_read_space(space, gpa, &byte, 1) == HV_SUCCESS;
}

/* Whether user code may be there. Without paging nothing says so of a place; such code is a kernel's. */
static bool is_for_user(const struct guest_view *view, const struct walk *walk)
{
    return walk->is_mapped && walk->is_user && (view->walk.cr0 & X86_CR0_PG) != 0;
}

/* False: the address is not mapped, or not to memory. */
static bool locate(const struct debugger *debugger, const struct guest_view *view, uint64_t address, uint64_t *ret_gpa,
                   bool *ret_is_user)
{
    struct walk walk = {.is_mapped = view->is_physical, .gpa = address};

    if (!view->is_physical)
        guest_view_walk(view, address, &walk);
    if (walk.is_mapped)
        *ret_gpa = walk.gpa;
    else if (!placing_find_in_kernel(debugger, view, address, ret_gpa))
        return false;
    *ret_is_user |= is_for_user(view, &walk);
    return is_memory(view->space, *ret_gpa);
}

/* Adds a range's pieces, page by page, as one view has them. False, with nothing added, if part of it is nowhere. */
static bool add_sites(const struct debugger *debugger, const struct guest_view *view, struct point *point,
                      bool *ret_is_user)
{
    const size_t before = point->site_count;
    uint64_t address = point->address;
    uint64_t left = point->size;

    while (left > 0) {
        const uint64_t room = POINT_PAGE_SIZE - (address & PAGE_MASK);
        struct point_site site = {.space = view->space, .linear = address, .size = left < room ? left : room};
        if (!locate(debugger, view, address, &site.gpa, ret_is_user)) {
            point->site_count = before;
            return false;
        }
        point->sites[point->site_count++] = site;
        address += site.size;
        left -= site.size;
    }
    return true;
}

/* Whether an earlier vCPU is in the same space. */
static bool is_seen(const struct debugger *debugger, unsigned vcpu)
{
    bool seen = false;

    for (unsigned i = 0; i < vcpu && !seen; i++)
        seen = debugger->vcpu[i].space == debugger->vcpu[vcpu].space;
    return seen;
}

static unsigned spaces_in_use(const struct debugger *debugger)
{
    unsigned count = 0;

    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++)
        count += !is_seen(debugger, i);
    return count;
}

/* As the client had it when it set the point. */
static struct guest_view view_of_point(const struct debugger *debugger, unsigned vcpu, const struct point *point)
{
    const struct debug_vcpu *from = &debugger->vcpu[vcpu];
    struct guest_view view = guest_view_of(&from->registers, point->has_space ? point->space : from->space);

    view.is_physical = point->is_physical;
    return view;
}

/*
 * Fills in a point's sites: in the chosen space, or in all that vCPUs are in, with the page tables of the vCPU in
 * question where it is in that space. False: no memory.
 */
static bool find_sites(const struct debugger *debugger, unsigned vcpu, struct point *point, bool *ret_is_user)
{
    const unsigned count = debugger->environment.vcpu_count;
    const size_t pages = (size_t)((point->address & PAGE_MASK) + point->size + PAGE_MASK) / POINT_PAGE_SIZE;
    const struct guest_view chosen = view_of_point(debugger, vcpu, point);

    point->sites = calloc(pages * (point->has_space || point->is_physical ? 1 : 1 + spaces_in_use(debugger)),
                          sizeof(*point->sites));
    point->site_count = 0;
    if (point->sites == NULL)
        return false;
    (void)add_sites(debugger, &chosen, point, ret_is_user);
    for (unsigned i = 0; i < count && !point->has_space && !point->is_physical; i++) {
        const struct guest_view view = view_of_point(debugger, i, point);
        if (view.space != chosen.space && !is_seen(debugger, i))
            (void)add_sites(debugger, &view, point, ret_is_user);
    }
    return true;
}

/* ---- How a point is realised ---- */

/* What code a point is for. */
struct code {
    bool is_user;
    bool is_real_mode;
};

static bool can_use_int3(const struct debugger *debugger, const struct point *point, const struct code *code)
{
    const enum debug_int3 int3 = debugger->environment.host.int3[code->is_user ? 1 : 0];

    if (point->kind != DEBUG_POINT_SOFTWARE || point->site_count == 0 || debugger->is_physical)
        return false;
    /* What KVM cannot emulate in protected mode it can in real mode, and gives the guest its exception. */
    return int3 == INT3_EXITS || (int3 == INT3_FAILS && !code->is_real_mode);
}

static bool can_use_registers(const struct debugger *debugger, const struct point *point, const struct code *code)
{
    const struct debug_host *host = &debugger->environment.host;
    const bool *honours = point_is_breakpoint(point->kind) ? host->execute_breakpoint : host->watchpoint;

    return !debugger->is_physical && honours[0] && (!code->is_user || honours[1]) &&
           points_registers_needed(point->kind, point->address, point->size) <=
               points_registers_free(&debugger->points);
}

static bool can_use_pages(const struct debugger *debugger, const struct point *point, const struct code *code)
{
    const bool *steps = debugger->environment.host.single_step;

    if (point->site_count == 0 || points_conflict(&debugger->points, point))
        return false;
    return !point_is_breakpoint(point->kind) || (!debugger->is_physical && steps[code->is_user ? 1 : 0]);
}

/* POINT_MECHANISM_COUNT: none can. */
static enum point_mechanism choose_mechanism(const struct debugger *debugger, const struct point *point,
                                             const struct code *code)
{
    static bool (*const can_use[])(const struct debugger *, const struct point *, const struct code *) = {
        [POINT_BY_INT3] = can_use_int3,
        [POINT_BY_REGISTER] = can_use_registers,
        [POINT_BY_PAGE] = can_use_pages,
    };
    int chosen = 0;

    while (chosen < POINT_MECHANISM_COUNT &&
           ((debugger->mechanism != POINT_MECHANISM_COUNT && chosen != (int)debugger->mechanism) ||
            !can_use[chosen](debugger, point, code)))
        chosen++;
    return (enum point_mechanism)chosen;
}

static int fail_mechanism(const struct debugger *debugger, const struct point *point, const struct code *code,
                          struct error *error)
{
    const char *what = point_is_breakpoint(point->kind) ? "breakpoint" : "watchpoint";

    if (debugger->is_physical && point_is_breakpoint(point->kind))
        return error_set(error, ERROR_CONFIG, "breakpoints have linear addresses; use \"monitor phys off\" first");
    if (debugger->mechanism != POINT_MECHANISM_COUNT)
        return error_set(error, ERROR_CONFIG,
                         "no %s at 0x%" PRIx64 " by the mechanism that was chosen; use \"monitor mechanism auto\"",
                         what, point->address);
    if (points_conflict(&debugger->points, point))
        return error_set(error, ERROR_CONFIG,
                         "0x%" PRIx64 " is in a page with a breakpoint and a watchpoint for reads, of which this host "
                         "cannot have both; take the other one away first",
                         point->address);
    if (point->site_count == 0)
        return error_set(error, ERROR_CONFIG,
                         "0x%" PRIx64 " is not mapped to memory, and this host has no debug register for it; try again "
                         "when it is mapped",
                         point->address);
    return error_set(error, ERROR_CONFIG, "this host's KVM can do nothing about a %s in %s code; see \"monitor caps\"",
                     what, code->is_user ? "user" : "kernel");
}

/* gdb's sizes of breakpoints are kinds; ours are of one byte, the first. */
static uint64_t size_of(enum debug_point_kind kind, uint64_t size)
{
    return point_is_breakpoint(kind) ? 1 : size;
}

static int check_point(const struct debugger *debugger, uint64_t address, uint64_t size, struct error *error)
{
    if (size == 0 || size > WATCH_SIZE_MAX || address + (size - 1) < address)
        return error_set(error, ERROR_CONFIG, "a watchpoint has 1 to %" PRIu64 " bytes; split it", WATCH_SIZE_MAX);
    if (debugger->points.count >= POINTS_MAX)
        return error_set(error, ERROR_CONFIG, "there are %zu break- and watchpoints; take some away", POINTS_MAX);
    return 0;
}

/* Chooses how a point is realised, and adds it with its sites, which stay the caller's on an error. */
static int realise(struct debugger *debugger, struct point *point, const struct code *code, struct error *error)
{
    if (debugger->points.site_count + point->site_count > SITES_MAX)
        return error_set(error, ERROR_CONFIG, "break- and watchpoints are in more than %zu pages; take some away",
                         SITES_MAX);
    point->mechanism = choose_mechanism(debugger, point, code);
    if (point->mechanism == POINT_MECHANISM_COUNT)
        return fail_mechanism(debugger, point, code, error);
    if (!points_add(&debugger->points, point))
        return error_set(error, ERROR_HOST, "out of memory");
    debugger->traps_are_old |= point->mechanism == POINT_BY_PAGE;
    return 0;
}

int placing_insert(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                   struct error *error)
{
    struct debugger *debugger = context;
    struct point point = {.kind = kind,
                          .address = address,
                          .size = size_of(kind, size),
                          .has_space = debugger->has_space,
                          .space = debugger->space,
                          .is_physical = debugger->is_physical};
    struct code code = {.is_real_mode = (debugger->vcpu[vcpu].registers.cr0 & X86_CR0_PE) == 0};

    if (points_find(&debugger->points, kind, address, point.size) != NULL)
        return 0;
    if (check_point(debugger, address, point.size, error) < 0)
        return -1;
    if (!find_sites(debugger, vcpu, &point, &code.is_user))
        return error_set(error, ERROR_HOST, "out of memory");
    if (realise(debugger, &point, &code, error) == 0)
        return 0;
    free(point.sites);
    return -1;
}

int placing_remove(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                   struct error *error)
{
    struct debugger *debugger = context;
    struct point *point = points_find(&debugger->points, kind, address, size_of(kind, size));

    (void)vcpu;
    if (point == NULL)
        return error_set(error, ERROR_CONFIG, "there is no such point at 0x%" PRIx64, address);
    debugger->traps_are_old |= point->mechanism == POINT_BY_PAGE;
    points_remove(&debugger->points, point);
    return 0;
}

/* ---- Putting points in force, and out of it ---- */

/* Moves to the front of a list what the other has not, or has otherwise; both are sorted. The number of them. */
static size_t keep_different(struct point_trap *list, size_t count, const struct point_trap *other, size_t other_count,
                             bool access_matters)
{
    size_t kept = 0;
    size_t at = 0;

    for (size_t i = 0; i < count; i++) {
        while (at < other_count && traps_compare(&other[at], &list[i]) < 0)
            at++;
        const bool is_there = at < other_count && traps_compare(&other[at], &list[i]) == 0 &&
                              (!access_matters || other[at].access == list[i].access);
        if (!is_there)
            list[kept++] = list[i];
    }
    return kept;
}

static struct point_trap *copy_traps(const struct point_trap *traps, size_t count)
{
    struct point_trap *copy = calloc(count + 1, sizeof(*copy));

    if (copy != NULL && count > 0)
        memcpy(copy, traps, count * sizeof(*copy));
    return copy;
}

/* Makes the traps those that the points want. Both lists are in the debugger's hands afterwards, whatever happens. */
static bool change_traps(struct debugger *debugger, struct point_trap *wanted, size_t count)
{
    struct point_trap *gone = copy_traps(debugger->traps, debugger->trap_count);
    struct point_trap *added = copy_traps(wanted, count);
    bool done = gone != NULL && added != NULL;

    if (done) {
        const size_t gone_count = keep_different(gone, debugger->trap_count, wanted, count, false);
        const size_t added_count = keep_different(added, count, debugger->traps, debugger->trap_count, true);
        done = traps_set(gone, gone_count, false) && traps_set(added, added_count, true);
    }
    free(gone);
    free(added);
    if (!done) {
        (void)traps_set(debugger->traps, debugger->trap_count, false);
        (void)traps_set(wanted, count, false);
        count = 0;
    }
    free(debugger->traps);
    debugger->traps = wanted;
    debugger->trap_count = count;
    debugger->traps_are_old = !done;
    return done;
}

int placing_update_traps(struct debugger *debugger, struct error *error)
{
    struct point_trap *wanted;
    size_t count;

    if (!debugger->traps_are_old)
        return 0;
    if (points_traps(&debugger->points, &wanted, &count) && change_traps(debugger, wanted, count))
        return 0;
    return error_set(
        error, ERROR_HOST,
        "the host has no memory, or KVM no slots, for so many pages with break- and watchpoints; none is in "
        "force, take some away");
}

/* Writes an INT3 at each of a point's places, or gives back what was there. The guest may have written there since. */
static void patch_site(struct debugger *debugger, struct point_site *site, bool in_force)
{
    const uint8_t int3 = 0xcc;
    uint8_t byte;

    if (site->is_patched == in_force || hvx_vm_read_space(site->space, site->gpa, &byte, 1) != HV_SUCCESS)
        return;
    if (in_force) {
        site->original = byte;
        site->is_patched = hvx_vm_write_space(site->space, site->gpa, &int3, 1) == HV_SUCCESS;
        debugger->patch_count += site->is_patched;
        return;
    }
    if (byte == int3)
        (void)hvx_vm_write_space(site->space, site->gpa, &site->original, 1);
    site->is_patched = false;
    debugger->patch_count--;
}

void placing_patch_all(struct debugger *debugger, bool in_force)
{
    for (size_t i = 0; i < debugger->points.count; i++) {
        struct point *point = &debugger->points.items[i];
        for (size_t j = 0; j < point->site_count && point->mechanism == POINT_BY_INT3; j++)
            patch_site(debugger, &point->sites[j], in_force);
    }
}

void placing_drop(struct debugger *debugger)
{
    placing_patch_all(debugger, false);
    points_free(&debugger->points);
    (void)traps_set(debugger->traps, debugger->trap_count, false);
    debugger->trap_count = 0;
    debugger->traps_are_old = false;
}

/* ---- Restarts ---- */

/* The kernel has been loaded anew: INT3s are gone, and addresses are those of before its page tables. */
void placing_relocate(struct debugger *debugger, struct point *point)
{
    struct point fresh = *point;
    bool is_user = false;

    for (size_t i = 0; i < point->site_count; i++) {
        debugger->patch_count -= point->sites[i].is_patched;
        point->sites[i].is_patched = false;
    }
    if (point->mechanism == POINT_BY_REGISTER || !find_sites(debugger, 0, &fresh, &is_user))
        return;
    if (fresh.site_count == 0) {
        free(fresh.sites);
        return;
    }
    free(point->sites);
    debugger->points.site_count += fresh.site_count - point->site_count;
    point->sites = fresh.sites;
    point->site_count = fresh.site_count;
    debugger->traps_are_old = true;
}
