#include "loader/x86/pvh.h"

#include "loader/x86/memory_map.h"

/* The structures and numbers of start_info.h, version 1; all fields are little-endian, as the host's are. */
#define START_INFO_MAGIC 0x336ec578u
#define START_INFO_VERSION 1u

struct pvh_start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t module_list_gpa;
    uint64_t cmdline_gpa;
    uint64_t rsdp_gpa;
    uint64_t memory_map_gpa;
    uint32_t memory_map_count;
    uint32_t reserved;
};

struct pvh_module {
    uint64_t gpa;
    uint64_t size;
    uint64_t cmdline_gpa;
    uint64_t reserved;
};

struct pvh_memory_map_entry {
    uint64_t gpa;
    uint64_t size;
    /* As in E820. */
    uint32_t type;
    uint32_t reserved;
};

struct pvh_data {
    struct pvh_start_info info;
    struct pvh_module initrd;
    struct pvh_memory_map_entry memory_map[MEMORY_MAP_MAX_ENTRIES];
};

int pvh_write(const struct platform *platform, const struct layout_range *initrd, uint64_t rsdp_gpa,
              const struct guest_memory *memory, struct error *error)
{
    uint64_t gpa = LAYOUT_PVH_START_INFO_GPA;
    struct memory_map map;
    void *address;

    if (guest_memory_find(memory, gpa, sizeof(struct pvh_data), &address, error))
        return -1;
    struct pvh_data *data = address;
    memory_map_compute(platform, &map);
    *data = (struct pvh_data){
        .info = {.magic = START_INFO_MAGIC,
                 .version = START_INFO_VERSION,
                 .module_count = initrd->size ? 1 : 0,
                 .module_list_gpa = initrd->size ? gpa + offsetof(struct pvh_data, initrd) : 0,
                 .cmdline_gpa = LAYOUT_CMDLINE_GPA,
                 .rsdp_gpa = rsdp_gpa,
                 .memory_map_gpa = gpa + offsetof(struct pvh_data, memory_map),
                 .memory_map_count = (uint32_t)map.count},
        .initrd = {.gpa = initrd->gpa, .size = initrd->size},
    };
    for (size_t i = 0; i < map.count; i++)
        data->memory_map[i] = (struct pvh_memory_map_entry){
            .gpa = map.entries[i].gpa, .size = map.entries[i].size, .type = map.entries[i].type};
    return 0;
}
