#include "loader/initrd.h"

#include "loader/kernel_place.h"

#include <inttypes.h>
#include <string.h>

#define PAGE_MASK (~UINT64_C(4095))

static uint64_t mib_up(uint64_t size)
{
    return (size + MIB(1) - 1) / MIB(1);
}

int initrd_load(const struct boot_files *files, const struct platform *platform, const struct guest_memory *memory,
                uint64_t kernel_end, uint64_t address_max, struct layout_range *ret_range, struct error *error)
{
    uint64_t size = files->initrd_size;
    uint64_t end = kernel_place_ram_end(&platform->ram);
    void *address;

    *ret_range = (struct layout_range){0};
    if (!files->initrd)
        return 0;
    if (size == 0)
        return error_set(error, ERROR_CONFIG, "the file is empty; give an initrd, or leave it out");
    if (address_max < end)
        end = address_max + 1;
    if (end < kernel_end || size > end - kernel_end || ((end - size) & PAGE_MASK) < kernel_end)
        return error_set(error, ERROR_CONFIG,
                         "it has %" PRIu64 " MiB, and between the kernel and 0x%" PRIx64 " there is room for %" PRIu64
                         " MiB; give the machine more memory",
                         mib_up(size), end, (end > kernel_end ? end - kernel_end : 0) / MIB(1));
    uint64_t gpa = (end - size) & PAGE_MASK;
    if (guest_memory_find(memory, gpa, size, &address, error))
        return -1;
    memcpy(address, files->initrd, size);
    *ret_range = (struct layout_range){.gpa = gpa, .size = size};
    return 0;
}
