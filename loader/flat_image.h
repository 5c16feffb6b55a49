/*
 * A program without any format, in the memory of a space, and how a processor enters it.
 */
#ifndef LOADER_FLAT_IMAGE_H
#define LOADER_FLAT_IMAGE_H

#include "loader/loader.h"

enum flat_mode {
    /* 16 bits, as a PC starts; the address is below 1 MiB. */
    FLAT_REAL,
    /* 32 bits, flat segments, no paging. */
    FLAT_PROTECTED,
    /* 64 bits, with page tables at LAYOUT_FLAT_PAGE_TABLES_GPA that map the first 4 GiB to themselves. */
    FLAT_LONG,
};

struct flat_image {
    const void *data;
    size_t size;
    /* where it goes, and is entered */
    uint64_t gpa;
    enum flat_mode mode;
    /* for messages */
    const char *name;
    const char *space_name;
};

/*
 * Copies the program, and writes its page tables in FLAT_LONG, for which the space has memory there. 0 with *entry
 * filled in, or -1 with ERROR_CONFIG: the space has not so much memory there.
 */
int flat_image_load(const struct flat_image *image, const struct guest_memory *memory, struct boot_entry *entry,
                    struct error *error);

#endif
