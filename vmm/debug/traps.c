#include "vmm/debug/traps.h"

int traps_compare(const void *left, const void *right)
{
    const struct point_trap *a = left;
    const struct point_trap *b = right;

    if (a->space != b->space)
        return a->space < b->space ? -1 : 1;
    return (a->gpa > b->gpa) - (a->gpa < b->gpa);
}

size_t traps_find(const struct point_trap *traps, size_t count, hv_vm_space_t space, uint64_t page)
{
    const struct point_trap wanted = {.space = space, .gpa = page};
    size_t low = 0;
    size_t high = count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (traps_compare(&traps[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

hv_memory_flags_t traps_of_page(const struct point_trap *traps, size_t count, hv_vm_space_t space, uint64_t page)
{
    const size_t at = traps_find(traps, count, space, page);
    const bool is_there = at < count && traps[at].space == space && traps[at].gpa == page;

    return is_there ? traps[at].access : 0;
}

bool traps_set(const struct point_trap *traps, size_t count, bool in_force)
{
    bool done = true;

    for (size_t i = 0; i < count && done;) {
        const struct point_trap *first = &traps[i];
        size_t run = 1;
        while (i + run < count && traps[i + run].space == first->space && traps[i + run].access == first->access &&
               traps[i + run].gpa == first->gpa + run * TRAPS_PAGE_SIZE)
            run++;
        done = hvx_vm_set_traps(first->space, first->gpa, run * TRAPS_PAGE_SIZE, in_force ? first->access : 0) ==
               HV_SUCCESS;
        i += run;
    }
    return done;
}
