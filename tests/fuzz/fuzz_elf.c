/* An ELF kernel, or what pretends to be one. */
#include "fuzz_machine.h"
#include "loader/elf_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the header promises of an image that has been accepted. */
static void check_promises(const struct elf_image *image, size_t size)
{
    uint64_t end = 0;

    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *segment = &image->segments[i];

        if (segment->file_size > segment->memory_size || segment->file_offset > size ||
            size - segment->file_offset < segment->file_size || segment->gpa < end)
            abort();
        end = segment->gpa + segment->memory_size;
        if (end < segment->gpa)
            abort();
    }
    if (image->segment_count == 0 || end != elf_image_end(image))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum elf_entry choices[] = {ELF_ENTRY_AUTO, ELF_ENTRY_LINUX64, ELF_ENTRY_PVH};
    struct elf_image image;
    struct error error;

    if (elf_image_parse(data, size, &image, &error))
        return 0;
    check_promises(&image, size);
    fuzz_load(data, size, FIRMWARE_NONE, choices[size % 3]);
    return 0;
}
