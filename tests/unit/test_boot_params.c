#include "loader/x86/boot_params.h"
#include "loader/x86/memory_map.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <string.h>

static struct fixture_machine machine;
static struct setup_header header;
static struct error error;

static void set_up(void)
{
    fixture_machine_init(&machine, MIB(64), 1);
    boot_params_header_default(&header);
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
}

static const struct boot_params *write_params(struct boot_params_request request)
{
    request.header = &header;
    request.platform = &machine.platform;
    ck_assert_int_eq(boot_params_write(&request, &machine.memory, &error), 0);
    return (const struct boot_params *)(machine.memory_base + LAYOUT_BOOT_PARAMS_GPA);
}

static void expect_map(const struct memory_map_entry *expected, size_t count)
{
    struct memory_map map;

    memory_map_compute(&machine.platform, &map);
    ck_assert_uint_eq(map.count, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(map.entries[i].gpa, expected[i].gpa);
        ck_assert_uint_eq(map.entries[i].size, expected[i].size);
        ck_assert_uint_eq(map.entries[i].type, expected[i].type);
    }
}

START_TEST(the_map_of_a_small_machine_has_no_memory_above_4_gib)
{
    static const struct memory_map_entry expected[] = {
        {0, LAYOUT_FACS_GPA, MEMORY_MAP_RAM},
        {LAYOUT_FACS_GPA, 4096, MEMORY_MAP_RESERVED},
        {LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE, MEMORY_MAP_RESERVED},
        {MIB(1), MIB(63), MEMORY_MAP_RAM},
    };

    expect_map(expected, 4);
}
END_TEST

START_TEST(the_map_of_a_big_machine_goes_around_the_devices)
{
    static const struct memory_map_entry expected[] = {
        {0, LAYOUT_FACS_GPA, MEMORY_MAP_RAM},
        {LAYOUT_FACS_GPA, 4096, MEMORY_MAP_RESERVED},
        {LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE, MEMORY_MAP_RESERVED},
        {MIB(1), GIB(3) - MIB(1), MEMORY_MAP_RAM},
        {GIB(4), GIB(3), MEMORY_MAP_RAM},
    };

    ram_layout_compute(GIB(6), &machine.platform.ram);
    expect_map(expected, 5);
}
END_TEST

START_TEST(with_pci_the_map_reserves_the_configuration_space)
{
    static const struct memory_map_entry expected[] = {
        {0, LAYOUT_FACS_GPA, MEMORY_MAP_RAM},
        {LAYOUT_FACS_GPA, 4096, MEMORY_MAP_RESERVED},
        {LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE, MEMORY_MAP_RESERVED},
        {MIB(1), GIB(3) - MIB(1), MEMORY_MAP_RAM},
        {LAYOUT_PCI_MMCONFIG_GPA, MIB(1), MEMORY_MAP_RESERVED},
        {GIB(4), GIB(3), MEMORY_MAP_RAM},
    };

    machine.platform.has_pci = true;
    ram_layout_compute(GIB(6), &machine.platform.ram);
    expect_map(expected, 6);
}
END_TEST

START_TEST(the_map_is_the_e820_table)
{
    ram_layout_compute(GIB(6), &machine.platform.ram);
    const struct boot_params *params = write_params((struct boot_params_request){0});
    struct boot_e820_entry last = params->e820_table[4];

    ck_assert_uint_eq(params->e820_entries, 5);
    ck_assert_uint_eq(last.addr, GIB(4));
    ck_assert_uint_eq(last.size, GIB(3));
    ck_assert_uint_eq(last.type, 1);
}
END_TEST

START_TEST(the_header_is_the_kernel_s_own_save_for_the_loader_s_fields)
{
    header.root_flags = 0x1234;
    header.version = 0x020e;
    header.loadflags = LOADED_HIGH | KASLR_FLAG | CAN_USE_HEAP | QUIET_FLAG;
    const struct boot_params *params = write_params((struct boot_params_request){.code_gpa = MIB(32)});

    ck_assert_uint_eq(params->hdr.root_flags, 0x1234);
    ck_assert_uint_eq(params->hdr.version, 0x020e);
    ck_assert_uint_eq(params->hdr.loadflags, LOADED_HIGH | QUIET_FLAG);
    ck_assert_uint_eq(params->hdr.type_of_loader, 0xff);
    ck_assert_uint_eq(params->hdr.code32_start, MIB(32));
    ck_assert_uint_eq(params->hdr.cmd_line_ptr, LAYOUT_CMDLINE_GPA);
}
END_TEST

START_TEST(addresses_of_initrd_tables_and_setup_data_are_passed)
{
    const struct boot_params *params = write_params((struct boot_params_request){
        .rsdp_gpa = 0xe0000, .setup_data_gpa = 0x30000, .initrd = {.gpa = 0x123456000, .size = 0x300000005}});

    ck_assert_uint_eq(params->acpi_rsdp_addr, 0xe0000);
    ck_assert_uint_eq(params->hdr.setup_data, 0x30000);
    ck_assert_uint_eq(params->hdr.ramdisk_image, 0x23456000);
    ck_assert_uint_eq(params->ext_ramdisk_image, 1);
    ck_assert_uint_eq(params->hdr.ramdisk_size, 5);
    ck_assert_uint_eq(params->ext_ramdisk_size, 3);
}
END_TEST

START_TEST(old_contents_of_the_page_do_not_survive)
{
    memset(machine.memory_base + LAYOUT_BOOT_PARAMS_GPA, 0xff, 4096);
    const struct boot_params *params = write_params((struct boot_params_request){0});

    ck_assert_uint_eq(params->sentinel, 0);
    ck_assert_uint_eq(params->acpi_rsdp_addr, 0);
    ck_assert_uint_eq(params->screen_info.orig_video_isVGA, 0);
    ck_assert_uint_eq(params->e820_table[5].type, 0);
}
END_TEST

START_TEST(setup_data_is_a_chain_on_eight_bytes)
{
    struct setup_data_chain chain = {0};
    void *first_data;
    void *second_data;

    ck_assert_int_eq(setup_data_add(&chain, &machine.memory, SETUP_RNG_SEED, 3, &first_data, &error), 0);
    ck_assert_int_eq(setup_data_add(&chain, &machine.memory, SETUP_DTB, 5, &second_data, &error), 0);
    ck_assert_uint_eq(chain.first_gpa, LAYOUT_SETUP_DATA_GPA);
    const struct setup_data *first = (const struct setup_data *)(machine.memory_base + chain.first_gpa);
    ck_assert_ptr_eq(first->data, first_data);
    ck_assert_uint_eq(first->type, SETUP_RNG_SEED);
    ck_assert_uint_eq(first->len, 3);
    ck_assert_uint_eq(first->next, LAYOUT_SETUP_DATA_GPA + 24);
    const struct setup_data *second = (const struct setup_data *)(machine.memory_base + first->next);
    ck_assert_ptr_eq(second->data, second_data);
    ck_assert_uint_eq(second->type, SETUP_DTB);
    ck_assert_uint_eq(second->len, 5);
    ck_assert_uint_eq(second->next, 0);
}
END_TEST

START_TEST(setup_data_does_not_reach_the_facs)
{
    struct setup_data_chain chain = {0};
    size_t room = LAYOUT_FACS_GPA - LAYOUT_SETUP_DATA_GPA - sizeof(struct setup_data);
    void *data;

    ck_assert_int_eq(setup_data_add(&chain, &machine.memory, SETUP_DTB, room + 1, &data, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_int_eq(setup_data_add(&chain, &machine.memory, SETUP_DTB, SIZE_MAX, &data, &error), -1);
    ck_assert_uint_eq(chain.first_gpa, 0);
    ck_assert_int_eq(setup_data_add(&chain, &machine.memory, SETUP_DTB, room, &data, &error), 0);
    ck_assert_int_eq(setup_data_add(&chain, &machine.memory, SETUP_DTB, 0, &data, &error), -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("boot_params");
    TCase *tcase = tcase_create("boot_params");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, the_map_of_a_small_machine_has_no_memory_above_4_gib);
    tcase_add_test(tcase, the_map_of_a_big_machine_goes_around_the_devices);
    tcase_add_test(tcase, with_pci_the_map_reserves_the_configuration_space);
    tcase_add_test(tcase, the_map_is_the_e820_table);
    tcase_add_test(tcase, the_header_is_the_kernel_s_own_save_for_the_loader_s_fields);
    tcase_add_test(tcase, addresses_of_initrd_tables_and_setup_data_are_passed);
    tcase_add_test(tcase, old_contents_of_the_page_do_not_survive);
    tcase_add_test(tcase, setup_data_is_a_chain_on_eight_bytes);
    tcase_add_test(tcase, setup_data_does_not_reach_the_facs);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
