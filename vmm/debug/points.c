#include "vmm/debug/points.h"

#include <stdlib.h>
#include <string.h>

static const uint64_t PAGE_MASK = POINT_PAGE_SIZE - 1;

bool point_is_breakpoint(enum debug_point_kind kind)
{
    return kind == DEBUG_POINT_SOFTWARE || kind == DEBUG_POINT_HARDWARE;
}

void points_free(struct points *points)
{
    for (size_t i = 0; i < points->count; i++)
        free(points->items[i].sites);
    free(points->items);
    memset(points, 0, sizeof(*points));
}

/* The largest piece at the start of a range that one register can watch. */
static unsigned register_piece(uint64_t address, uint64_t size)
{
    unsigned piece = 8;

    while (piece > size || address % piece != 0)
        piece /= 2;
    return piece;
}

unsigned points_registers_needed(enum debug_point_kind kind, uint64_t address, uint64_t size)
{
    unsigned needed = 0;

    if (point_is_breakpoint(kind))
        return 1;
    while (size > 0 && needed <= POINT_REGISTERS) {
        const unsigned piece = register_piece(address, size);
        address += piece;
        size -= piece;
        needed++;
    }
    return needed;
}

unsigned points_registers_free(const struct points *points)
{
    unsigned count = 0;

    for (unsigned i = 0; i < POINT_REGISTERS; i++)
        count += !points->registers[i].is_used;
    return count;
}

struct point *points_find(const struct points *points, enum debug_point_kind kind, uint64_t address, uint64_t size)
{
    for (size_t i = 0; i < points->count; i++) {
        struct point *point = &points->items[i];
        if (point->kind == kind && point->address == address && (point_is_breakpoint(kind) || point->size == size))
            return point;
    }
    return NULL;
}

static void take_registers(struct points *points, const struct point *point)
{
    uint64_t address = point->address;
    uint64_t left = point->size;

    for (unsigned i = 0; i < POINT_REGISTERS && left > 0; i++) {
        if (points->registers[i].is_used)
            continue;
        const unsigned piece = point_is_breakpoint(point->kind) ? 1 : register_piece(address, left);
        points->registers[i] = (struct point_register){.is_used = true,
                                                       .kind = point->kind,
                                                       .address = address,
                                                       .size = piece,
                                                       .point_address = point->address,
                                                       .point_size = point->size};
        address += piece;
        left -= piece;
    }
}

static bool register_is_of(const struct point_register *used, const struct point *point)
{
    return used->is_used && point->mechanism == POINT_BY_REGISTER && used->kind == point->kind &&
           used->point_address == point->address && used->point_size == point->size;
}

bool points_add(struct points *points, const struct point *point)
{
    if (points->count == points->capacity) {
        const size_t capacity = points->capacity == 0 ? 16 : 2 * points->capacity;
        struct point *grown = reallocarray(points->items, capacity, sizeof(*grown));
        if (grown == NULL)
            return false;
        points->items = grown;
        points->capacity = capacity;
    }
    points->items[points->count++] = *point;
    points->site_count += point->site_count;
    if (point->mechanism == POINT_BY_REGISTER)
        take_registers(points, point);
    return true;
}

void points_remove(struct points *points, struct point *point)
{
    const size_t index = (size_t)(point - points->items);

    for (unsigned i = 0; i < POINT_REGISTERS; i++)
        if (register_is_of(&points->registers[i], point))
            points->registers[i].is_used = false;
    points->site_count -= point->site_count;
    free(point->sites);
    points->count--;
    memmove(point, point + 1, (points->count - index) * sizeof(*point));
}

const struct point *points_breakpoint_at(const struct points *points, hv_vm_space_t space, uint64_t linear)
{
    for (size_t i = 0; i < points->count; i++) {
        const struct point *point = &points->items[i];
        if (!point_is_breakpoint(point->kind) || point->mechanism == POINT_BY_REGISTER || point->address != linear)
            continue;
        for (size_t j = 0; j < point->site_count; j++)
            if (point->sites[j].space == space)
                return point;
    }
    return NULL;
}

/* The accesses that a point is for. */
static hv_memory_flags_t access_of(enum debug_point_kind kind)
{
    switch (kind) {
    case DEBUG_POINT_WRITE:
        return HV_MEMORY_WRITE;
    case DEBUG_POINT_READ:
        return HV_MEMORY_READ;
    case DEBUG_POINT_ACCESS:
        return HV_MEMORY_READ | HV_MEMORY_WRITE;
    default:
        return HV_MEMORY_EXEC;
    }
}

const struct point *points_watched(const struct points *points, hv_vm_space_t space, uint64_t gpa, uint64_t size,
                                   hv_memory_flags_t access, uint64_t *ret_linear)
{
    for (size_t i = 0; i < points->count; i++) {
        const struct point *point = &points->items[i];
        if (point->mechanism != POINT_BY_PAGE || (access_of(point->kind) & access) == 0 ||
            point_is_breakpoint(point->kind))
            continue;
        for (size_t j = 0; j < point->site_count; j++) {
            const struct point_site *site = &point->sites[j];
            if (site->space != space || gpa >= site->gpa + site->size || site->gpa >= gpa + size)
                continue;
            *ret_linear = site->linear + (gpa > site->gpa ? gpa - site->gpa : 0);
            return point;
        }
    }
    return NULL;
}

/* Whether one has a piece in a page that the other has one in too. */
static bool share_page(const struct point *left, const struct point *right)
{
    bool share = false;

    for (size_t i = 0; i < left->site_count && !share; i++)
        for (size_t j = 0; j < right->site_count && !share; j++)
            share = left->sites[i].space == right->sites[j].space &&
                    ((left->sites[i].gpa ^ right->sites[j].gpa) & ~PAGE_MASK) == 0;
    return share;
}

bool points_conflict(const struct points *points, const struct point *point)
{
    const hv_memory_flags_t access = access_of(point->kind);
    bool conflict = false;

    for (size_t i = 0; i < points->count && !conflict; i++) {
        const hv_memory_flags_t other = access_of(points->items[i].kind);
        const bool differ = ((access & HV_MEMORY_READ) != 0 && other == HV_MEMORY_EXEC) ||
                            ((other & HV_MEMORY_READ) != 0 && access == HV_MEMORY_EXEC);
        conflict = differ && points->items[i].mechanism == POINT_BY_PAGE && share_page(point, &points->items[i]);
    }
    return conflict;
}

const struct point *points_of_register(const struct points *points, unsigned index)
{
    for (size_t i = 0; i < points->count; i++)
        if (register_is_of(&points->registers[index], &points->items[i]))
            return &points->items[i];
    return NULL;
}

/* R/W and LEN of a register: what it watches, and its size. */
static uint64_t register_control(const struct point_register *used)
{
    static const uint64_t conditions[DEBUG_POINT_KIND_COUNT] = {
        [DEBUG_POINT_WRITE] = 1, [DEBUG_POINT_READ] = 3, [DEBUG_POINT_ACCESS] = 3};
    static const uint64_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};

    return conditions[used->kind] | lengths[used->size] << 2;
}

uint64_t points_control(const struct points *points)
{
    /* LE, GE and the bit that is always set. */
    const uint64_t base = 0x700;
    uint64_t control = 0;

    for (unsigned i = 0; i < POINT_REGISTERS; i++)
        if (points->registers[i].is_used)
            control |= base | 2ull << (2 * i) | register_control(&points->registers[i]) << (16 + 4 * i);
    return control;
}

/* Joins the traps of the same page; the number that is left. */
static size_t join_traps(struct point_trap *traps, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && traps_compare(&traps[kept - 1], &traps[i]) == 0)
            traps[kept - 1].access |= traps[i].access;
        else
            traps[kept++] = traps[i];
    }
    return kept;
}

bool points_traps(const struct points *points, struct point_trap **ret_traps, size_t *ret_count)
{
    size_t count = 0;

    for (size_t i = 0; i < points->count; i++)
        count += points->items[i].mechanism == POINT_BY_PAGE ? points->items[i].site_count : 0;
    struct point_trap *traps = calloc(count + 1, sizeof(*traps));
    if (traps == NULL)
        return false;
    count = 0;
    for (size_t i = 0; i < points->count; i++) {
        const struct point *point = &points->items[i];
        for (size_t j = 0; point->mechanism == POINT_BY_PAGE && j < point->site_count; j++)
            traps[count++] = (struct point_trap){.space = point->sites[j].space,
                                                 .gpa = point->sites[j].gpa & ~PAGE_MASK,
                                                 .access = access_of(point->kind)};
    }
    qsort(traps, count, sizeof(*traps), traps_compare);
    *ret_traps = traps;
    *ret_count = join_traps(traps, count);
    return true;
}
