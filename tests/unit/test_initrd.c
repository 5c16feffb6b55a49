#include "loader/initrd.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <string.h>

#define ADDRESS_MAX 0x7fffffffu
#define KERNEL_END MIB(20)

static struct fixture_machine machine;
static struct fixture_file initrd;
static struct layout_range range;
static struct error error;

static void set_up(void)
{
    fixture_machine_init(&machine, MIB(64), 1);
    initrd = (struct fixture_file){.data = malloc(MIB(50)), .size = 5000};
    ck_assert_ptr_nonnull(initrd.data);
    for (size_t i = 0; i < MIB(50); i++)
        initrd.data[i] = fixture_byte(i);
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
    fixture_file_free(&initrd);
}

static int load(uint64_t kernel_end, uint64_t address_max)
{
    const struct boot_files files = {.initrd = initrd.data, .initrd_size = initrd.size, .initrd_name = "initrd"};

    error = (struct error){0};
    return initrd_load(&files, &machine.platform, &machine.memory, kernel_end, address_max, &range, &error);
}

static void expect_refused(const char *words)
{
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\" in: %s", words, error.text);
}

START_TEST(it_goes_to_the_highest_page_that_fits)
{
    ck_assert_int_eq(load(KERNEL_END, ADDRESS_MAX), 0);
    ck_assert_uint_eq(range.gpa, MIB(64) - 8192);
    ck_assert_uint_eq(range.size, 5000);
    ck_assert_mem_eq(machine.memory_base + range.gpa, initrd.data, 5000);
}
END_TEST

START_TEST(it_does_not_reach_past_the_kernel_s_limit)
{
    ck_assert_int_eq(load(KERNEL_END, MIB(37) - 1), 0);
    ck_assert_uint_eq(range.gpa, MIB(37) - 8192);
    ck_assert_int_eq(load(KERNEL_END, MIB(37) - 2), 0);
    ck_assert_uint_eq(range.gpa, MIB(37) - 8192);
    initrd.size = 8192;
    ck_assert_int_eq(load(KERNEL_END, MIB(37) - 1), 0);
    ck_assert_uint_eq(range.gpa, MIB(37) - 8192);
    ck_assert_int_eq(load(KERNEL_END, MIB(37) - 2), 0);
    ck_assert_uint_eq(range.gpa, MIB(37) - 12288);
}
END_TEST

START_TEST(memory_above_4_gib_does_not_matter)
{
    fixture_machine_fini(&machine);
    fixture_machine_init(&machine, GIB(6), 1);
    ck_assert_int_eq(load(KERNEL_END, UINT32_MAX), 0);
    ck_assert_uint_eq(range.gpa, LAYOUT_DEVICES_GPA - 8192);
}
END_TEST

START_TEST(it_may_fill_all_that_the_kernel_leaves_and_not_a_byte_more)
{
    initrd.size = MIB(44);
    ck_assert_int_eq(load(KERNEL_END, ADDRESS_MAX), 0);
    ck_assert_uint_eq(range.gpa, KERNEL_END);
    ck_assert_int_eq(load(KERNEL_END + 1, ADDRESS_MAX), -1);
    expect_refused("it has 44 MiB");
    expect_refused("room for 43 MiB");
}
END_TEST

START_TEST(an_odd_kernel_end_is_not_overlapped)
{
    initrd.size = MIB(44) - 1;
    ck_assert_int_eq(load(KERNEL_END + 1, ADDRESS_MAX), -1);
    initrd.size = MIB(44) - 4096;
    ck_assert_int_eq(load(KERNEL_END + 1, ADDRESS_MAX), 0);
    ck_assert_uint_eq(range.gpa, KERNEL_END + 4096);
}
END_TEST

START_TEST(a_kernel_that_ends_past_the_limit_leaves_no_room)
{
    ck_assert_int_eq(load(MIB(40), MIB(37)), -1);
    expect_refused("room for 0 MiB");
    ck_assert_int_eq(load(UINT64_MAX, ADDRESS_MAX), -1);
    initrd.size = 0x7fffffff;
    ck_assert_int_eq(load(KERNEL_END, ADDRESS_MAX), -1);
    expect_refused("it has 2048 MiB");
}
END_TEST

START_TEST(an_empty_file_is_refused_and_none_is_fine)
{
    initrd.size = 0;
    ck_assert_int_eq(load(KERNEL_END, ADDRESS_MAX), -1);
    expect_refused("empty");
    fixture_file_free(&initrd);
    ck_assert_int_eq(load(KERNEL_END, ADDRESS_MAX), 0);
    ck_assert_uint_eq(range.size, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("initrd");
    TCase *tcase = tcase_create("initrd");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, it_goes_to_the_highest_page_that_fits);
    tcase_add_test(tcase, it_does_not_reach_past_the_kernel_s_limit);
    tcase_add_test(tcase, memory_above_4_gib_does_not_matter);
    tcase_add_test(tcase, it_may_fill_all_that_the_kernel_leaves_and_not_a_byte_more);
    tcase_add_test(tcase, an_odd_kernel_end_is_not_overlapped);
    tcase_add_test(tcase, a_kernel_that_ends_past_the_limit_leaves_no_room);
    tcase_add_test(tcase, an_empty_file_is_refused_and_none_is_fine);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
