#include "loader/flat_image.h"

#include "loader/x86/entry.h"

#include <inttypes.h>
#include <string.h>

#define PAGE_SIZE 4096u

/* Page by page, since what is contiguous in the guest need not be so in the host. */
static int copy_in(const struct flat_image *image, const struct guest_memory *memory, struct error *error)
{
    size_t size;

    for (size_t done = 0; done < image->size; done += size) {
        const uint64_t gpa = image->gpa + done;
        const size_t in_page = PAGE_SIZE - (size_t)(gpa % PAGE_SIZE);
        size = image->size - done < in_page ? image->size - done : in_page;
        void *address = memory->host_address(memory->context, gpa, size);
        if (address == NULL)
            return error_set(error, ERROR_CONFIG,
                             "%s has %zu bytes, for which space \"%s\" has no memory at 0x%" PRIx64
                             "; give the space more, or change boot.at",
                             image->name, image->size, image->space_name, gpa);
        memcpy(address, (const uint8_t *)image->data + done, size);
    }
    return 0;
}

int flat_image_load(const struct flat_image *image, const struct guest_memory *memory, struct boot_entry *entry,
                    struct error *error)
{
    static const enum boot_mode modes[] = {
        [FLAT_REAL] = BOOT_FLAT_REAL,
        [FLAT_PROTECTED] = BOOT_FLAT_PROTECTED,
        [FLAT_LONG] = BOOT_FLAT_LONG,
    };

    *entry = (struct boot_entry){.mode = modes[image->mode], .rip = image->gpa, .description = "flat binary"};
    if (copy_in(image, memory, error) < 0)
        return -1;
    return image->mode == FLAT_LONG ? entry_write_flat_page_tables(memory, entry, error) : 0;
}
