#include "vmm/debug/linux/view.h"

#include "vmm/debug/resident.h"

enum { PAGE = 4096 };

/*
 * Cuts a range down to the first pages in it that the host has memory for, from an address on. False: there are none in
 * the window that is looked at, whose end is *ret_next.
 */
static bool cut_to_resident(struct linux_range *range, uint64_t gpa, uint64_t *ret_next)
{
    const uint64_t from = gpa > range->gpa ? gpa & ~(uint64_t)(PAGE - 1) : range->gpa;
    const uint64_t left = range->gpa + range->size - from;
    const uint8_t *bytes = range->bytes + (from - range->gpa);
    uint64_t start, end;

    *ret_next = from + (left < RESIDENT_WINDOW ? left : RESIDENT_WINDOW);
    if (!resident_find(bytes, left, -1, &start, &end))
        return false;
    *range = (struct linux_range){.gpa = from + start, .size = end - start, .bytes = bytes + start};
    return true;
}

static bool next_range(void *context, uint64_t gpa, struct linux_range *ret_range)
{
    const struct guest_view *view = context;
    hvx_range_t range;

    while (hvx_vm_query_space(view->space, gpa, &range) == HV_SUCCESS) {
        *ret_range = (struct linux_range){.gpa = range.gpa, .size = range.size, .bytes = range.uva};
        if (cut_to_resident(ret_range, gpa, &gpa))
            return true;
    }
    return false;
}

struct linux_memory guest_view_linux(struct guest_view *view)
{
    return (struct linux_memory){
        .context = view, .read = guest_view_read_physical, .next_range = next_range, .registers = &view->walk};
}
