#include "loader/x86/pvh.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <string.h>

static struct fixture_machine machine;
static struct error error;

static void set_up(void)
{
    fixture_machine_init(&machine, GIB(6), 1);
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
}

/* Offsets are those of Xen's public header arch-x86/hvm/start_info.h. */
static uint64_t read_value(uint64_t gpa, size_t size)
{
    uint64_t value = 0;

    memcpy(&value, machine.memory_base + gpa, size);
    return value;
}

static void write_info(uint64_t initrd_gpa, uint64_t initrd_size)
{
    const struct layout_range initrd = {.gpa = initrd_gpa, .size = initrd_size};

    ck_assert_int_eq(pvh_write(&machine.platform, &initrd, 0xe0000, &machine.memory, &error), 0);
}

START_TEST(the_start_info_names_command_line_and_tables)
{
    write_info(0, 0);
    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA, 4), 0x336ec578);
    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA + 4, 4), 1);
    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA + 24, 8), LAYOUT_CMDLINE_GPA);
    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA + 32, 8), 0xe0000);
}
END_TEST

START_TEST(the_initrd_is_the_only_module)
{
    write_info(0x12345000, 0x6789);
    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA + 12, 4), 1);
    uint64_t module = read_value(LAYOUT_PVH_START_INFO_GPA + 16, 8);
    ck_assert_uint_eq(read_value(module, 8), 0x12345000);
    ck_assert_uint_eq(read_value(module + 8, 8), 0x6789);
}
END_TEST

START_TEST(without_initrd_there_is_no_module)
{
    write_info(0, 0);
    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA + 12, 4), 0);
    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA + 16, 8), 0);
}
END_TEST

START_TEST(the_memory_map_has_entries_of_24_bytes)
{
    write_info(0, 0);
    uint64_t map = read_value(LAYOUT_PVH_START_INFO_GPA + 40, 8);

    ck_assert_uint_eq(read_value(LAYOUT_PVH_START_INFO_GPA + 48, 4), 5);
    ck_assert_uint_eq(read_value(map + 8, 8), LAYOUT_FACS_GPA);
    ck_assert_uint_eq(read_value(map + 16, 4), 1);
    ck_assert_uint_eq(read_value(map + 24 + 16, 4), 2);
    ck_assert_uint_eq(read_value(map + 4 * 24, 8), GIB(4));
    ck_assert_uint_eq(read_value(map + 4 * 24 + 8, 8), GIB(3));
    ck_assert_uint_lt(map + 5 * 24, LAYOUT_BOOT_PARAMS_GPA);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pvh");
    TCase *tcase = tcase_create("pvh");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, the_start_info_names_command_line_and_tables);
    tcase_add_test(tcase, the_initrd_is_the_only_module);
    tcase_add_test(tcase, without_initrd_there_is_no_module);
    tcase_add_test(tcase, the_memory_map_has_entries_of_24_bytes);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
