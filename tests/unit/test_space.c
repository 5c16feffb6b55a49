#include "memory/space.h"
#include "unit_test.h"

#include <string.h>

enum { PAGE = 4096 };

static uint8_t memory[8 * PAGE];

/* A listener that remembers its last call and can be told to fail. */
struct listener {
    unsigned calls;
    uint64_t gpa;
    uint64_t size;
    size_t count;
    bool is_strict;
    hv_return_t answer;
};

static hv_return_t on_change(void *context, const struct region_map *to, bool is_strict, uint64_t gpa, uint64_t size)
{
    struct listener *listener = context;

    listener->calls++;
    listener->gpa = gpa;
    listener->size = size;
    listener->count = region_map_count(to);
    listener->is_strict = is_strict;
    return listener->answer;
}

static struct space *make_space(struct listener *listener)
{
    struct space *space = space_create(1);

    memset(listener, 0, sizeof(*listener));
    space->listener = (struct space_listener){.change = on_change, .context = listener};
    return space;
}

static hv_return_t map(struct space *space, uint64_t gpa, uint64_t size)
{
    struct region region = {.gpa = gpa, .size = size, .hva = memory + gpa, .flags = HV_MEMORY_READ};

    return space_map(space, &region);
}

START_TEST(a_listener_hears_of_a_change_before_it_is_published)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, PAGE, PAGE), HV_SUCCESS);
    ck_assert_uint_eq(listener.calls, 1);
    ck_assert_uint_eq(listener.gpa, PAGE);
    ck_assert_uint_eq(listener.size, PAGE);
    ck_assert_uint_eq(listener.count, 1);
    space_destroy(space);
}
END_TEST

START_TEST(what_the_listener_refuses_leaves_the_map_as_it_was)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, 0, 2 * PAGE), HV_SUCCESS);
    listener.answer = HV_NO_RESOURCES;
    ck_assert_int_eq(map(space, 4 * PAGE, PAGE), HV_NO_RESOURCES);
    ck_assert_int_eq(space_unmap(space, 0, PAGE), HV_NO_RESOURCES);
    ck_assert_int_eq(space_protect(space, 0, PAGE, 0), HV_NO_RESOURCES);
    ck_assert_uint_eq(region_map_count(space->map), 1);
    ck_assert_uint_eq(region_map_find(space->map, 0)->size, 2 * PAGE);
    ck_assert_uint_eq(region_map_find(space->map, 0)->flags, HV_MEMORY_READ);
    space_destroy(space);
}
END_TEST

START_TEST(an_overlap_is_refused_without_a_word_to_the_listener)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, PAGE, 2 * PAGE), HV_SUCCESS);
    ck_assert_int_eq(map(space, PAGE, 2 * PAGE), HV_ERROR);
    ck_assert_int_eq(map(space, 2 * PAGE, PAGE), HV_ERROR);
    ck_assert_int_eq(map(space, 0, 4 * PAGE), HV_ERROR);
    ck_assert_uint_eq(listener.calls, 1);
    space_destroy(space);
}
END_TEST

START_TEST(unmapping_nothing_succeeds_and_says_nothing)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(space_unmap(space, 0, 4 * PAGE), HV_SUCCESS);
    ck_assert_uint_eq(listener.calls, 0);
    ck_assert_int_eq(map(space, PAGE, PAGE), HV_SUCCESS);
    ck_assert_int_eq(space_unmap(space, 0, 4 * PAGE), HV_SUCCESS);
    ck_assert_uint_eq(region_map_count(space->map), 0);
    space_destroy(space);
}
END_TEST

START_TEST(protecting_over_a_hole_changes_no_page)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, 0, PAGE), HV_SUCCESS);
    ck_assert_int_eq(map(space, 2 * PAGE, PAGE), HV_SUCCESS);
    ck_assert_int_eq(space_protect(space, 0, 3 * PAGE, 0), HV_ERROR);
    ck_assert_uint_eq(region_map_find(space->map, 0)->flags, HV_MEMORY_READ);
    ck_assert_int_eq(map(space, PAGE, PAGE), HV_SUCCESS);
    ck_assert_int_eq(space_protect(space, 0, 3 * PAGE, 0), HV_SUCCESS);
    ck_assert_uint_eq(region_map_find(space->map, 2 * PAGE)->flags, 0);
    space_destroy(space);
}
END_TEST

START_TEST(a_policy_is_the_maps_alone)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, 0, 3 * PAGE), HV_SUCCESS);
    ck_assert_uint_eq(listener.calls, 1);
    /* Nobody who could refuse is asked. */
    listener.answer = HV_NO_RESOURCES;
    ck_assert_int_eq(space_set_policy(space, PAGE, PAGE, HVX_POLICY_LOG), HV_SUCCESS);
    ck_assert_uint_eq(listener.calls, 1);
    ck_assert_int_eq(space_find(space, PAGE)->policy, HVX_POLICY_LOG);
    ck_assert_uint_eq(region_map_count(space->map), 3);
    ck_assert_int_eq(space_set_policy(space, 2 * PAGE, 2 * PAGE, HVX_POLICY_STOP), HV_ERROR);
    ck_assert_int_eq(space_find(space, 2 * PAGE)->policy, HVX_POLICY_CLIENT);
    ck_assert_ptr_null(space_find(space, 3 * PAGE));
    space_destroy(space);
}
END_TEST

START_TEST(the_listener_hears_of_traps_and_may_refuse_them)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, 0, 3 * PAGE), HV_SUCCESS);
    ck_assert_int_eq(space_set_traps(space, PAGE, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    ck_assert_uint_eq(listener.calls, 2);
    ck_assert_uint_eq(listener.gpa, PAGE);
    ck_assert_uint_eq(listener.size, PAGE);
    ck_assert_uint_eq(listener.count, 3);
    ck_assert_uint_eq(space_find(space, PAGE)->traps, HV_MEMORY_READ);
    listener.answer = HV_NO_RESOURCES;
    ck_assert_int_eq(space_set_traps(space, 0, 3 * PAGE, HV_MEMORY_WRITE), HV_NO_RESOURCES);
    ck_assert_uint_eq(space_find(space, 0)->traps, 0);
    ck_assert_uint_eq(space_find(space, PAGE)->traps, HV_MEMORY_READ);
    /* Where part of it is not mapped, nobody is asked. */
    ck_assert_int_eq(space_set_traps(space, 2 * PAGE, 2 * PAGE, HV_MEMORY_WRITE), HV_ERROR);
    ck_assert_uint_eq(listener.calls, 3);
    ck_assert_uint_eq(space_find(space, 2 * PAGE)->traps, 0);
    space_destroy(space);
}
END_TEST

START_TEST(what_is_trapped_is_allowed_and_what_is_not_allowed_is_not_trapped)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, PAGE, PAGE), HV_SUCCESS);
    for (unsigned i = 0; i < 2 * 8 * 8; i++) {
        const hv_memory_flags_t flags = i % 8;
        const hv_memory_flags_t traps = i / 8 % 8;
        const bool is_strict = i >= 64;
        ck_assert_int_eq(space_set_strict(space, is_strict), HV_SUCCESS);
        ck_assert_int_eq(space_protect(space, PAGE, PAGE, flags), HV_SUCCESS);
        bool allowed[3];
        for (unsigned kind = 0; kind < 3; kind++)
            allowed[kind] = space_allows(space, PAGE, 1ull << kind);
        ck_assert_int_eq(space_set_traps(space, PAGE, PAGE, traps), HV_SUCCESS);
        for (unsigned kind = 0; kind < 3; kind++) {
            const bool is_trapped = (traps >> kind & 1) != 0;
            ck_assert(space_allows(space, PAGE, 1ull << kind) == allowed[kind]);
            ck_assert(space_traps(space, PAGE, 1ull << kind) == (allowed[kind] && is_trapped));
        }
        /* A slot serves what it allows without an exit: it allows nothing that is trapped. */
        const struct region *region = space_find(space, PAGE);
        const bool has_slot = space_wants_slot(is_strict, region);
        ck_assert(!has_slot || (traps & (HV_MEMORY_READ | HV_MEMORY_EXEC)) == 0);
        ck_assert(has_slot || flags == 0 || is_strict || (traps & (HV_MEMORY_READ | HV_MEMORY_EXEC)) != 0);
        ck_assert(space_wants_read_only_slot(region) == ((flags & ~traps & HV_MEMORY_WRITE) == 0));
    }
    ck_assert(!space_traps(space, 5 * PAGE, HV_MEMORY_READ));
    space_destroy(space);
}
END_TEST

START_TEST(policies_that_change_without_end_keep_a_bounded_number_of_versions)
{
    struct listener listener;
    struct space *space = make_space(&listener);

    ck_assert_int_eq(map(space, 0, 3 * PAGE), HV_SUCCESS);
    space->dma_references = 1;
    for (unsigned i = 0; i < 4 * SPACE_RETIRED_MAX; i++) {
        ck_assert_int_eq(space_set_policy(space, PAGE, PAGE, i % 2 == 0 ? HVX_POLICY_LOG : HVX_POLICY_COUNT),
                         HV_SUCCESS);
        ck_assert_uint_le(space->retired_count, SPACE_RETIRED_MAX);
    }
    space_destroy(space);
}
END_TEST

START_TEST(a_copy_crosses_mappings_and_stops_at_nothing_less_than_all)
{
    struct listener listener;
    struct space *space = make_space(&listener);
    uint8_t buffer[PAGE];

    ck_assert_int_eq(map(space, 0, PAGE), HV_SUCCESS);
    /* The next guest page is elsewhere in the host. */
    struct region far = {.gpa = PAGE, .size = PAGE, .hva = memory + 5 * PAGE};
    ck_assert_int_eq(space_map(space, &far), HV_SUCCESS);
    memory[PAGE - 1] = 1;
    memory[5 * PAGE] = 2;
    ck_assert_int_eq(space_copy(space, PAGE - 1, 2, buffer, NULL), HV_SUCCESS);
    ck_assert_uint_eq(buffer[0], 1);
    ck_assert_uint_eq(buffer[1], 2);
    memset(buffer, 9, sizeof(buffer));
    ck_assert_int_eq(space_copy(space, 2 * PAGE - 1, 2, NULL, buffer), HV_ERROR);
    ck_assert_uint_eq(memory[6 * PAGE - 1], 0);
    ck_assert_int_eq(space_copy(space, 2 * PAGE - 1, 1, NULL, buffer), HV_SUCCESS);
    ck_assert_uint_eq(memory[6 * PAGE - 1], 9);
    ck_assert_int_eq(space_copy(space, 7 * PAGE, 0, buffer, NULL), HV_SUCCESS);
    space_destroy(space);
}
END_TEST

START_TEST(a_listener_that_comes_late_hears_of_the_whole_map)
{
    struct listener listener = {0};
    struct space *space = space_create(1);
    const struct space_listener on = {.change = on_change, .context = &listener};

    ck_assert_int_eq(map(space, PAGE, PAGE), HV_SUCCESS);
    listener.answer = HV_NO_RESOURCES;
    ck_assert_int_eq(space_listen(space, &on), HV_NO_RESOURCES);
    ck_assert_int_eq(map(space, 3 * PAGE, PAGE), HV_SUCCESS);
    ck_assert_uint_eq(listener.calls, 1);
    listener.answer = HV_SUCCESS;
    ck_assert_int_eq(space_listen(space, &on), HV_SUCCESS);
    ck_assert_uint_eq(listener.count, 2);
    ck_assert_uint_eq(listener.gpa, 0);
    ck_assert_uint_eq(listener.size, REGION_GPA_END);
    space_destroy(space);
}
END_TEST

START_TEST(what_each_combination_of_flags_allows)
{
    struct listener listener;
    struct space *space = make_space(&listener);
    const hv_memory_flags_t r = HV_MEMORY_READ, w = HV_MEMORY_WRITE, x = HV_MEMORY_EXEC;

    ck_assert_int_eq(map(space, PAGE, PAGE), HV_SUCCESS);
    for (hv_memory_flags_t flags = 0; flags < 8; flags++) {
        ck_assert_int_eq(space_protect(space, PAGE, PAGE, flags), HV_SUCCESS);
        ck_assert_int_eq(space_set_strict(space, false), HV_SUCCESS);
        ck_assert_int_eq(space_allows(space, PAGE, r), flags != 0);
        ck_assert_int_eq(space_allows(space, PAGE, x), flags != 0);
        ck_assert_int_eq(space_allows(space, PAGE, w), (flags & w) != 0);
        ck_assert_int_eq(space_set_strict(space, true), HV_SUCCESS);
        ck_assert(listener.is_strict);
        ck_assert_int_eq(space_allows(space, PAGE, r), (flags & (r | x)) != 0);
        ck_assert_int_eq(space_allows(space, PAGE, x), (flags & x) != 0);
        ck_assert_int_eq(space_allows(space, PAGE, w), (flags & w) != 0);
    }
    ck_assert(!space_allows(space, 5 * PAGE, r));
    listener.answer = HV_NO_RESOURCES;
    ck_assert_int_eq(space_set_strict(space, false), HV_NO_RESOURCES);
    ck_assert(space->is_strict);
    space_destroy(space);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("space");
    TCase *tcase = tcase_create("space");

    tcase_add_test(tcase, a_listener_hears_of_a_change_before_it_is_published);
    tcase_add_test(tcase, what_the_listener_refuses_leaves_the_map_as_it_was);
    tcase_add_test(tcase, an_overlap_is_refused_without_a_word_to_the_listener);
    tcase_add_test(tcase, unmapping_nothing_succeeds_and_says_nothing);
    tcase_add_test(tcase, protecting_over_a_hole_changes_no_page);
    tcase_add_test(tcase, a_policy_is_the_maps_alone);
    tcase_add_test(tcase, the_listener_hears_of_traps_and_may_refuse_them);
    tcase_add_test(tcase, what_is_trapped_is_allowed_and_what_is_not_allowed_is_not_trapped);
    tcase_add_test(tcase, policies_that_change_without_end_keep_a_bounded_number_of_versions);
    tcase_add_test(tcase, a_listener_that_comes_late_hears_of_the_whole_map);
    tcase_add_test(tcase, what_each_combination_of_flags_allows);
    tcase_add_test(tcase, a_copy_crosses_mappings_and_stops_at_nothing_less_than_all);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
