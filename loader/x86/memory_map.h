/*
 * The machine's memory as the kernel is told of it.
 */
#ifndef LOADER_X86_MEMORY_MAP_H
#define LOADER_X86_MEMORY_MAP_H

#include "loader/loader.h"

/* Address range types: ACPI 6.4, table 15-374. */
enum memory_map_type {
    MEMORY_MAP_RAM = 1,
    MEMORY_MAP_RESERVED = 2,
};

struct memory_map_entry {
    uint64_t gpa;
    uint64_t size;
    enum memory_map_type type;
};

#define MEMORY_MAP_MAX_ENTRIES 6u

struct memory_map {
    /* Ascending, without overlap. */
    struct memory_map_entry entries[MEMORY_MAP_MAX_ENTRIES];
    size_t count;
};

/*
 * RAM without the page of the FACS, which is reserved, as are the ROM below 1 MiB and bus 0's configuration space in
 * memory: Linux asks this map about that before it can ask ACPI.
 */
void memory_map_compute(const struct platform *platform, struct memory_map *map);

#endif
