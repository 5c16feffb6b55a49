/*
 * The part of a machine's RAM where a kernel and its initrd may lie, and bringing the kernel there.
 */
#ifndef LOADER_KERNEL_PLACE_H
#define LOADER_KERNEL_PLACE_H

#include "loader/decompress.h"
#include "loader/elf_image.h"
#include "loader/loader.h"

/* The end of the RAM that begins at 1 MiB: LAYOUT_DEVICES_GPA at the most. */
uint64_t kernel_place_ram_end(const struct ram_layout *ram);

/* -1 with an ERROR_CONFIG unless [gpa, gpa + size) is RAM above the boot data and below the devices. */
int kernel_place_check(const struct platform *platform, uint64_t gpa, uint64_t size, struct error *error);

/* Checks the places of an ELF's segments, copies them there, and leaves what a file does not fill zero. */
int kernel_place_segments(const struct elf_image *image, const void *file, const struct platform *platform,
                          const struct guest_memory *memory, struct error *error);

/*
 * Unpacks a payload and, if it is an ELF, puts its segments where they belong and fills in *image. preferred_gpa: where
 * the first segment most likely goes, which saves copying it.
 * Returns 1 if the payload is something else; guest memory is as it was then. -1 if the payload is damaged or too big.
 */
int kernel_place_payload(enum payload_format format, const uint8_t *payload, size_t size, uint64_t preferred_gpa,
                         const struct platform *platform, const struct guest_memory *memory, struct elf_image *image,
                         struct error *error);

#endif
