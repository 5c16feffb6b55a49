#include "loader/x86/memory_map.h"

#include <assert.h>

static void add(struct memory_map *map, uint64_t gpa, uint64_t end, enum memory_map_type type)
{
    assert(map->count < MEMORY_MAP_MAX_ENTRIES && gpa < end);
    map->entries[map->count++] = (struct memory_map_entry){.gpa = gpa, .size = end - gpa, .type = type};
}

void memory_map_compute(const struct ram_layout *ram, struct memory_map *map)
{
    map->count = 0;
    add(map, 0, LAYOUT_FACS_GPA, MEMORY_MAP_RAM);
    add(map, LAYOUT_FACS_GPA, LAYOUT_LOW_RAM_END_GPA, MEMORY_MAP_RESERVED);
    add(map, LAYOUT_ROM_GPA, LAYOUT_ROM_GPA + LAYOUT_ROM_SIZE, MEMORY_MAP_RESERVED);
    for (size_t i = 0; i < ram->count; i++) {
        const struct layout_range *range = &ram->ranges[i];

        if (range->gpa >= LAYOUT_HIGH_RAM_GPA)
            add(map, range->gpa, range->gpa + range->size, MEMORY_MAP_RAM);
    }
}
