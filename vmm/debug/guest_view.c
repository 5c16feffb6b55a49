#include "vmm/debug/guest_view.h"

#include <stdlib.h>

enum { PAGE = 4096 };

struct guest_view guest_view_of(const struct debug_registers *registers, hv_vm_space_t space)
{
    return (struct guest_view){
        .space = space,
        .walk = {.cr0 = registers->cr0, .cr3 = registers->cr3, .cr4 = registers->cr4, .efer = registers->efer},
    };
}

bool guest_view_read_physical(void *context, uint64_t gpa, void *buffer, size_t size)
{
    const struct guest_view *view = context;

    return hvx_vm_read_space(view->space, gpa, buffer, size) == HV_SUCCESS;
}

void guest_view_walk(const struct guest_view *view, uint64_t address, struct walk *ret_walk)
{
    struct guest_view copy = *view;

    walk_address(&copy.walk, guest_view_read_physical, &copy, address, ret_walk);
}

/* Where an address is, and how many of the size bytes from there on lie together; 0: it is not mapped. */
static size_t find_piece(const struct guest_view *view, uint64_t address, size_t size, uint64_t *ret_gpa)
{
    struct walk walk = {.is_mapped = true, .gpa = address, .page_size = PAGE};

    if (!view->is_physical)
        guest_view_walk(view, address, &walk);
    if (!walk.is_mapped)
        return 0;
    *ret_gpa = walk.gpa;
    const uint64_t room = walk.page_size - (walk.gpa & (walk.page_size - 1));
    return room < size ? (size_t)room : size;
}

/* Of one piece; page by page where the whole is not memory. */
static size_t read_piece(hv_vm_space_t space, uint64_t gpa, uint8_t *buffer, size_t size)
{
    size_t done = 0;

    if (hvx_vm_read_space(space, gpa, buffer, size) == HV_SUCCESS)
        return size;
    while (done < size) {
        size_t part = PAGE - (gpa + done) % PAGE;
        if (part > size - done)
            part = size - done;
        if (hvx_vm_read_space(space, gpa + done, buffer + done, part) != HV_SUCCESS)
            break;
        done += part;
    }
    return done;
}

size_t guest_view_read(const struct guest_view *view, uint64_t address, void *buffer, size_t size)
{
    size_t done = 0;

    while (done < size) {
        uint64_t gpa;
        const size_t piece = find_piece(view, address + done, size - done, &gpa);
        const size_t got = piece == 0 ? 0 : read_piece(view->space, gpa, (uint8_t *)buffer + done, piece);
        done += got;
        if (piece == 0 || got < piece)
            break;
    }
    return done;
}

/* What is there first, so that the write is done whole or not at all. */
bool guest_view_write(const struct guest_view *view, uint64_t address, const void *buffer, size_t size)
{
    uint8_t *before = malloc(size + 1);
    size_t done = 0;

    if (before == NULL || guest_view_read(view, address, before, size) < size) {
        free(before);
        return false;
    }
    while (done < size) {
        uint64_t gpa;
        const size_t piece = find_piece(view, address + done, size - done, &gpa);
        if (piece == 0 || hvx_vm_write_space(view->space, gpa, (const uint8_t *)buffer + done, piece) != HV_SUCCESS)
            break;
        done += piece;
    }
    /* A page that the host may not write to; what was written before it goes back. */
    if (done < size && done > 0)
        (void)guest_view_write(view, address, before, done);
    free(before);
    return done == size;
}
