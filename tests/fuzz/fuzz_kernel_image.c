/* A bzImage, or what pretends to be one: header, payload of every format, and all that is made of them. */
#include "fuzz_machine.h"
#include "loader/kernel_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bzimage image;
    struct error error;

    if (bzimage_parse(data, size, &image, &error) == 0) {
        /* Whatever the header says, what is used of the file lies in it. */
        if (image.protected_mode < data || image.protected_mode_size > size - (size_t)(image.protected_mode - data))
            abort();
        if (image.payload && image.payload_size > size - (size_t)(image.payload - data))
            abort();
    }
    fuzz_load(data, size, size % 2 ? FIRMWARE_ACPI : FIRMWARE_DEVICE_TREE, ELF_ENTRY_AUTO);
    return 0;
}
