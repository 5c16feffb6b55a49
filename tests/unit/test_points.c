/*
 * Break- and watchpoints as plain data: debug registers, traps of pages, and what an access meets.
 */
#include "vmm/debug/points.h"

#include "unit_test.h"

#include <stdlib.h>

static struct points points;

static void free_points(void)
{
    points_free(&points);
}

static struct point_site *one_site(hv_vm_space_t space, uint64_t gpa, uint64_t linear, uint64_t size)
{
    struct point_site *site = calloc(1, sizeof(*site));

    ck_assert_ptr_nonnull(site);
    *site = (struct point_site){.space = space, .gpa = gpa, .linear = linear, .size = size};
    return site;
}

static void add(enum debug_point_kind kind, uint64_t address, uint64_t size, enum point_mechanism mechanism,
                hv_vm_space_t space)
{
    const struct point point = {.kind = kind,
                                .address = address,
                                .size = size,
                                .mechanism = mechanism,
                                .sites = one_site(space, address & 0xffffff, address, size),
                                .site_count = 1};

    ck_assert(points_add(&points, &point));
}

START_TEST(a_range_takes_as_many_registers_as_it_has_aligned_pieces)
{
    static const struct {
        uint64_t address;
        uint64_t size;
        unsigned needed;
    } ranges[] = {
        {0x1000, 1, 1}, {0x1000, 8, 1}, {0x1000, 4, 1}, {0x1001, 1, 1},  {0x1001, 2, 2},
        {0x1001, 8, 4}, {0x1004, 8, 2}, {0x1000, 3, 2}, {0x1000, 16, 2}, {0x1000, 32, 4},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        ck_assert_uint_eq(points_registers_needed(DEBUG_POINT_WRITE, ranges[i].address, ranges[i].size),
                          ranges[i].needed);
    ck_assert_uint_gt(points_registers_needed(DEBUG_POINT_WRITE, 0x1000, 1 << 20), POINT_REGISTERS);
    ck_assert_uint_eq(points_registers_needed(DEBUG_POINT_HARDWARE, 0x1003, 1), 1);
}
END_TEST

/* DR7: L0 to L3 or G0 to G3, R/W and LEN as Intel SDM volume 3, 18.2.4 has them. */
START_TEST(the_control_register_says_what_each_register_is_for)
{
    ck_assert_uint_eq(points_control(&points), 0);
    add(DEBUG_POINT_HARDWARE, 0x1234, 1, POINT_BY_REGISTER, 0);
    add(DEBUG_POINT_WRITE, 0x2000, 4, POINT_BY_REGISTER, 0);
    add(DEBUG_POINT_ACCESS, 0x3000, 8, POINT_BY_REGISTER, 0);
    add(DEBUG_POINT_READ, 0x4000, 2, POINT_BY_REGISTER, 0);
    ck_assert_uint_eq(points_registers_free(&points), 0);
    ck_assert_uint_eq(points_control(&points),
                      0x700 | 0xaa | 0x0ull << 16 | 0xdull << 20 | 0xbull << 24 | 0x7ull << 28);
    ck_assert_uint_eq(points.registers[2].address, 0x3000);
    ck_assert_ptr_eq(points_of_register(&points, 3), points_find(&points, DEBUG_POINT_READ, 0x4000, 2));
}
END_TEST

START_TEST(registers_come_back_and_are_used_again)
{
    add(DEBUG_POINT_WRITE, 0x1001, 8, POINT_BY_REGISTER, 0);
    ck_assert_uint_eq(points_registers_free(&points), 0);
    ck_assert_uint_eq(points.registers[1].address, 0x1002);
    ck_assert_uint_eq(points.registers[1].size, 2);
    points_remove(&points, points_find(&points, DEBUG_POINT_WRITE, 0x1001, 8));
    ck_assert_uint_eq(points_registers_free(&points), POINT_REGISTERS);
    ck_assert_uint_eq(points_control(&points), 0);
    ck_assert_uint_eq(points.count, 0);
}
END_TEST

START_TEST(a_point_that_goes_leaves_anothers_registers_alone)
{
    add(DEBUG_POINT_WRITE, 0x1000, 8, POINT_BY_REGISTER, 0);
    add(DEBUG_POINT_WRITE, 0x1000, 4, POINT_BY_REGISTER, 0);
    points_remove(&points, points_find(&points, DEBUG_POINT_WRITE, 0x1000, 8));
    ck_assert_uint_eq(points_registers_free(&points), POINT_REGISTERS - 1);
    ck_assert_ptr_eq(points_of_register(&points, 1), points_find(&points, DEBUG_POINT_WRITE, 0x1000, 4));
    ck_assert_uint_eq(points.site_count, 1);
}
END_TEST

START_TEST(a_point_is_found_by_kind_place_and_size)
{
    add(DEBUG_POINT_WRITE, 0x1000, 4, POINT_BY_PAGE, 0);
    ck_assert_ptr_nonnull(points_find(&points, DEBUG_POINT_WRITE, 0x1000, 4));
    ck_assert_ptr_null(points_find(&points, DEBUG_POINT_WRITE, 0x1000, 8));
    ck_assert_ptr_null(points_find(&points, DEBUG_POINT_READ, 0x1000, 4));
    ck_assert_ptr_null(points_find(&points, DEBUG_POINT_WRITE, 0x1001, 4));
}
END_TEST

START_TEST(an_access_meets_what_it_overlaps_in_its_space)
{
    uint64_t linear = 0;

    add(DEBUG_POINT_WRITE, 0xffff0001234, 4, POINT_BY_PAGE, 7);
    add(DEBUG_POINT_READ, 0xffff0001240, 1, POINT_BY_PAGE, 7);
    ck_assert_ptr_null(points_watched(&points, 7, 0x1230, 4, HV_MEMORY_WRITE, &linear));
    ck_assert_ptr_null(points_watched(&points, 7, 0x1238, 8, HV_MEMORY_WRITE, &linear));
    ck_assert_ptr_null(points_watched(&points, 8, 0x1234, 4, HV_MEMORY_WRITE, &linear));
    ck_assert_ptr_null(points_watched(&points, 7, 0x1234, 4, HV_MEMORY_READ, &linear));
    ck_assert_ptr_nonnull(points_watched(&points, 7, 0x1230, 8, HV_MEMORY_WRITE, &linear));
    ck_assert_uint_eq(linear, 0xffff0001234);
    ck_assert_ptr_nonnull(points_watched(&points, 7, 0x1237, 1, HV_MEMORY_WRITE, &linear));
    ck_assert_uint_eq(linear, 0xffff0001237);
    ck_assert_ptr_nonnull(points_watched(&points, 7, 0x123c, 8, HV_MEMORY_READ, &linear));
    ck_assert_uint_eq(linear, 0xffff0001240);
}
END_TEST

START_TEST(a_breakpoint_is_one_where_it_has_a_place_in_the_space)
{
    add(DEBUG_POINT_SOFTWARE, 0x1000, 1, POINT_BY_PAGE, 2);
    add(DEBUG_POINT_HARDWARE, 0x2000, 1, POINT_BY_REGISTER, 2);
    ck_assert_ptr_nonnull(points_breakpoint_at(&points, 2, 0x1000));
    ck_assert_ptr_null(points_breakpoint_at(&points, 1, 0x1000));
    ck_assert_ptr_null(points_breakpoint_at(&points, 2, 0x1001));
    ck_assert_ptr_null(points_breakpoint_at(&points, 2, 0x2000));
}
END_TEST

START_TEST(traps_of_a_page_are_joined_and_in_order)
{
    struct point_trap *traps;
    size_t count;

    add(DEBUG_POINT_WRITE, 0x5010, 4, POINT_BY_PAGE, 1);
    add(DEBUG_POINT_SOFTWARE, 0x5ff0, 1, POINT_BY_PAGE, 1);
    add(DEBUG_POINT_READ, 0x3000, 1, POINT_BY_PAGE, 1);
    add(DEBUG_POINT_ACCESS, 0x9000, 1, POINT_BY_PAGE, 0);
    add(DEBUG_POINT_SOFTWARE, 0xa000, 1, POINT_BY_INT3, 0);
    add(DEBUG_POINT_WRITE, 0xb000, 1, POINT_BY_REGISTER, 0);
    ck_assert(points_traps(&points, &traps, &count));
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(traps[0].space, 0);
    ck_assert_uint_eq(traps[0].gpa, 0x9000);
    ck_assert_uint_eq(traps[0].access, HV_MEMORY_READ | HV_MEMORY_WRITE);
    ck_assert_uint_eq(traps[1].gpa, 0x3000);
    ck_assert_uint_eq(traps[1].access, HV_MEMORY_READ);
    ck_assert_uint_eq(traps[2].gpa, 0x5000);
    ck_assert_uint_eq(traps[2].access, HV_MEMORY_WRITE | HV_MEMORY_EXEC);
    free(traps);
}
END_TEST

START_TEST(a_page_has_breakpoints_or_watches_for_reads)
{
    static const struct {
        enum debug_point_kind kind;
        uint64_t address;
        bool conflicts;
    } examples[] = {
        {DEBUG_POINT_READ, 0x5800, true},      {DEBUG_POINT_ACCESS, 0x5000, true},
        {DEBUG_POINT_WRITE, 0x5800, false},    {DEBUG_POINT_READ, 0x6000, false},
        {DEBUG_POINT_HARDWARE, 0x5ff, false},  {DEBUG_POINT_HARDWARE, 0x7ff0, true},
        {DEBUG_POINT_SOFTWARE, 0x8000, false},
    };

    add(DEBUG_POINT_SOFTWARE, 0x5010, 1, POINT_BY_PAGE, 1);
    add(DEBUG_POINT_READ, 0x7000, 4, POINT_BY_PAGE, 1);
    add(DEBUG_POINT_WRITE, 0x8000, 4, POINT_BY_PAGE, 1);
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        const struct point point = {.kind = examples[i].kind,
                                    .address = examples[i].address,
                                    .size = 1,
                                    .sites = one_site(1, examples[i].address, examples[i].address, 1),
                                    .site_count = 1};
        ck_assert_int_eq(points_conflict(&points, &point), examples[i].conflicts);
        point.sites[0].space = 2;
        ck_assert(!points_conflict(&points, &point));
        free(point.sites);
    }
}
END_TEST

/* Thousands, in and out in any order. */
START_TEST(many_points_come_and_go)
{
    enum { COUNT = 3000 };
    struct point_trap *traps;
    size_t count;

    for (unsigned i = 0; i < COUNT; i++)
        add(DEBUG_POINT_WRITE, 0x1000ull * (i * 7 % COUNT), 8, POINT_BY_PAGE, 0);
    ck_assert(points_traps(&points, &traps, &count));
    ck_assert_uint_eq(count, COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_uint_eq(traps[i].gpa, 0x1000ull * i);
    free(traps);
    for (unsigned i = 0; i < COUNT; i++)
        points_remove(&points, points_find(&points, DEBUG_POINT_WRITE, 0x1000ull * i, 8));
    ck_assert_uint_eq(points.count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("points");
    TCase *cases = tcase_create("points");

    tcase_add_checked_fixture(cases, NULL, free_points);
    tcase_add_test(cases, a_range_takes_as_many_registers_as_it_has_aligned_pieces);
    tcase_add_test(cases, the_control_register_says_what_each_register_is_for);
    tcase_add_test(cases, registers_come_back_and_are_used_again);
    tcase_add_test(cases, a_point_that_goes_leaves_anothers_registers_alone);
    tcase_add_test(cases, a_point_is_found_by_kind_place_and_size);
    tcase_add_test(cases, an_access_meets_what_it_overlaps_in_its_space);
    tcase_add_test(cases, a_breakpoint_is_one_where_it_has_a_place_in_the_space);
    tcase_add_test(cases, traps_of_a_page_are_joined_and_in_order);
    tcase_add_test(cases, a_page_has_breakpoints_or_watches_for_reads);
    tcase_add_test(cases, many_points_come_and_go);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
