#include "loader/x86/memory_map.h"

#include <assert.h>

/* PCI Express Base 3.0, 7.2.2: what one bus takes of the configuration space in memory. */
#define PCI_MMCONFIG_BUS_SIZE MIB(1)

static void add(struct memory_map *map, uint64_t gpa, uint64_t end, enum memory_map_type type)
{
    assert(map->count < MEMORY_MAP_MAX_ENTRIES && gpa < end);
    map->entries[map->count++] = (struct memory_map_entry){.gpa = gpa, .size = end - gpa, .type = type};
}

/* The RAM that begins in [start, end). */
static void add_ram(struct memory_map *map, const struct ram_layout *ram, uint64_t start, uint64_t end)
{
    for (size_t i = 0; i < ram->count; i++) {
        const struct layout_range *range = &ram->ranges[i];

        if (range->gpa >= start && range->gpa < end)
            add(map, range->gpa, range->gpa + range->size, MEMORY_MAP_RAM);
    }
}

void memory_map_compute(const struct platform *platform, struct memory_map *map)
{
    map->count = 0;
    add(map, 0, LAYOUT_FACS_GPA, MEMORY_MAP_RAM);
    add(map, LAYOUT_FACS_GPA, LAYOUT_LOW_RAM_END_GPA, MEMORY_MAP_RESERVED);
    add(map, LAYOUT_ROM_GPA, LAYOUT_ROM_GPA + LAYOUT_ROM_SIZE, MEMORY_MAP_RESERVED);
    add_ram(map, &platform->ram, LAYOUT_HIGH_RAM_GPA, LAYOUT_DEVICES_GPA);
    if (platform->has_pci)
        add(map, LAYOUT_PCI_MMCONFIG_GPA, LAYOUT_PCI_MMCONFIG_GPA + PCI_MMCONFIG_BUS_SIZE, MEMORY_MAP_RESERVED);
    add_ram(map, &platform->ram, LAYOUT_RAM_ABOVE_4G_GPA, UINT64_MAX);
}
