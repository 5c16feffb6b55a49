#include "loader/x86/boot_params.h"

#include "loader/x86/memory_map.h"

#include <inttypes.h>
#include <string.h>

/* boot.rst, "type_of_loader": no assigned number. */
#define LOADER_TYPE_UNDEFINED 0xffu
#define PAGE_SIZE_4K 4096u

void boot_params_header_default(struct setup_header *header)
{
    /* What Linux's own header has said since protocol 2.15; the limits are those of arch/x86's COMMAND_LINE_SIZE and of
     * the addresses that a 64-bit kernel promises to reach for an initrd. */
    *header = (struct setup_header){
        .boot_flag = 0xaa55,
        .header = 0x53726448,
        .version = 0x020f,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = 0x200000,
        .relocatable_kernel = 1,
        .xloadflags = XLF_KERNEL_64,
        .cmdline_size = 2047,
    };
}

static void fill_header(const struct boot_params_request *request, struct setup_header *header)
{
    *header = *request->header;
    header->type_of_loader = LOADER_TYPE_UNDEFINED;
    /* Nobody has chosen addresses at random: the flag is the decompressor's to set. */
    header->loadflags &= (__u8) ~(KASLR_FLAG | CAN_USE_HEAP);
    header->heap_end_ptr = 0;
    if (request->code_gpa)
        header->code32_start = (uint32_t)request->code_gpa;
    header->cmd_line_ptr = LAYOUT_CMDLINE_GPA;
    header->ramdisk_image = (uint32_t)request->initrd.gpa;
    header->ramdisk_size = (uint32_t)request->initrd.size;
    header->setup_data = request->setup_data_gpa;
}

static void fill_e820(const struct platform *platform, struct boot_params *params)
{
    struct memory_map map;

    memory_map_compute(platform, &map);
    for (size_t i = 0; i < map.count; i++)
        params->e820_table[i] = (struct boot_e820_entry){
            .addr = map.entries[i].gpa, .size = map.entries[i].size, .type = map.entries[i].type};
    params->e820_entries = (uint8_t)map.count;
}

int boot_params_write(const struct boot_params_request *request, const struct guest_memory *memory, struct error *error)
{
    void *address;

    _Static_assert(sizeof(struct boot_params) == PAGE_SIZE_4K, "the zero page is a page");
    if (guest_memory_find(memory, LAYOUT_BOOT_PARAMS_GPA, sizeof(struct boot_params), &address, error))
        return -1;
    struct boot_params *params = address;
    memset(params, 0, sizeof(*params));
    fill_header(request, &params->hdr);
    params->ext_ramdisk_image = (uint32_t)(request->initrd.gpa >> 32);
    params->ext_ramdisk_size = (uint32_t)(request->initrd.size >> 32);
    params->acpi_rsdp_addr = request->rsdp_gpa;
    fill_e820(request->platform, params);
    return 0;
}

static int link_setup_data(const struct setup_data_chain *chain, const struct guest_memory *memory, uint64_t gpa,
                           struct error *error)
{
    void *address;

    if (!chain->last_gpa)
        return 0;
    if (guest_memory_find(memory, chain->last_gpa, sizeof(struct setup_data), &address, error))
        return -1;
    struct setup_data *last = address;
    last->next = gpa;
    return 0;
}

int setup_data_add(struct setup_data_chain *chain, const struct guest_memory *memory, uint32_t type, size_t size,
                   void **ret_data, struct error *error)
{
    uint64_t gpa = chain->end_gpa ? chain->end_gpa : LAYOUT_SETUP_DATA_GPA;
    uint64_t room = LAYOUT_FACS_GPA - gpa;
    void *address;

    if (room < sizeof(struct setup_data) || room - sizeof(struct setup_data) < size)
        return error_set(error, ERROR_CONFIG,
                         "boot data of %zu bytes does not fit below 640 KiB; give the machine fewer vCPUs", size);
    if (link_setup_data(chain, memory, gpa, error) ||
        guest_memory_find(memory, gpa, sizeof(struct setup_data) + size, &address, error))
        return -1;
    struct setup_data *data = address;
    data->next = 0;
    data->type = type;
    data->len = (uint32_t)size;
    *ret_data = data->data;
    if (!chain->first_gpa)
        chain->first_gpa = gpa;
    chain->last_gpa = gpa;
    /* Nodes begin on eight bytes, as their first field wants; the FACS's page is far more aligned. */
    chain->end_gpa = (gpa + sizeof(struct setup_data) + size + 7) & ~UINT64_C(7);
    return 0;
}
