#include "vmm/machine/guest_ram.h"

#include <Hypervisor/hvx.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static int add_piece(struct guest_ram *ram, uint64_t gpa, uint64_t size, hv_memory_flags_t flags, const char *name,
                     struct error *error)
{
    /*
     * KVM maps 2 MiB at once only where guest and host addresses have the same offset in them. Allocations of that size
     * begin at a multiple of it, so the piece begins where its guest address does. Without this a guest takes a fault
     * for each of its 4 KiB pages.
     */
    const uint64_t offset = size < MIB(2) ? 0 : gpa % MIB(2);
    struct ram_piece piece = {.gpa = gpa, .size = size, .allocated = offset + size};

    if (hv_vm_allocate(&piece.memory, piece.allocated, HV_ALLOCATE_DEFAULT) != HV_SUCCESS)
        return error_set(error, ERROR_HOST,
                         "the host cannot promise %llu MiB of memory for the guest; make memory.size smaller",
                         (unsigned long long)(size >> 20));
    hv_return_t result =
        hvx_vm_map_space_named(HV_VM_SPACE_DEFAULT, (uint8_t *)piece.memory + offset, gpa, size, flags, name);
    if (result != HV_SUCCESS) {
        hv_vm_deallocate(piece.memory, piece.allocated);
        return error_set(error, ERROR_HOST, "KVM refused %s at 0x%llx, %llu MiB (error 0x%x)", name,
                         (unsigned long long)gpa, (unsigned long long)(size >> 20), (unsigned)result);
    }
    ram->pieces[ram->count++] = piece;
    return 0;
}

int guest_ram_create(struct guest_ram *ram, uint64_t size, struct error *error)
{
    const hv_memory_flags_t all = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;
    int result = 0;

    memset(ram, 0, sizeof(*ram));
    ram_layout_compute(size, &ram->layout);
    for (size_t i = 0; i < ram->layout.count && result == 0; i++)
        result = add_piece(ram, ram->layout.ranges[i].gpa, ram->layout.ranges[i].size, all, "ram", error);
    if (result == 0)
        result = add_piece(ram, LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE, HV_MEMORY_READ | HV_MEMORY_EXEC, "rom", error);
    if (result < 0)
        guest_ram_destroy(ram);
    return result;
}

void guest_ram_destroy(struct guest_ram *ram)
{
    while (ram->count > 0) {
        struct ram_piece *piece = &ram->pieces[--ram->count];
        hv_vm_unmap(piece->gpa, piece->size);
        hv_vm_deallocate(piece->memory, piece->allocated);
    }
}

int guest_ram_clear(struct guest_ram *ram, struct error *error)
{
    for (size_t i = 0; i < ram->count; i++)
        if (madvise(ram->pieces[i].memory, ram->pieces[i].allocated, MADV_DONTNEED) < 0)
            return error_set(error, ERROR_HOST, "the guest's memory cannot be cleared: %s", strerror(errno));
    return 0;
}

static void *host_address(void *context, uint64_t gpa, uint64_t size)
{
    hvx_range_t range;

    (void)context;
    if (hvx_vm_query_space(HV_VM_SPACE_DEFAULT, gpa, &range) != HV_SUCCESS || range.gpa > gpa)
        return NULL;
    if (size > range.size - (gpa - range.gpa))
        return NULL;
    /* The client's own memory, whatever the API's type says. */
    return (uint8_t *)(uintptr_t)range.uva + (gpa - range.gpa);
}

struct guest_memory guest_ram_loader_view(void)
{
    return (struct guest_memory){.host_address = host_address};
}
