/*
 * An ELF kernel's segments and entries: a pure function on bytes.
 */
#ifndef LOADER_ELF_IMAGE_H
#define LOADER_ELF_IMAGE_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_IMAGE_MAX_SEGMENTS 32u

/* A PT_LOAD. file_size is at most memory_size; the rest of the memory is zero. */
struct elf_segment {
    uint64_t gpa;
    /* Where the program is linked to be. */
    uint64_t linear;
    uint64_t memory_size;
    uint64_t file_offset;
    uint64_t file_size;
};

struct elf_image {
    /* Those with any memory, by ascending address; none overlaps another, wraps, or reaches past the file's end. */
    struct elf_segment segments[ELF_IMAGE_MAX_SEGMENTS];
    size_t segment_count;
    bool is_64bit;
    uint64_t entry;
    /* The note XEN_ELFNOTE_PHYS32_ENTRY. */
    bool has_pvh_entry;
    uint64_t pvh_entry;
};

/* For x86, little-endian, executable, 32 or 64 bit; -1 with an error that says what it is instead. */
int elf_image_parse(const void *data, size_t size, struct elf_image *image, struct error *error);

/* Whether a physical address lies in a segment: an entry that does not can only be a virtual address. */
bool elf_image_contains(const struct elf_image *image, uint64_t gpa);

/* One past the last byte of the segments' memory. */
uint64_t elf_image_end(const struct elf_image *image);

#endif
