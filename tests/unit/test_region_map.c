#include "memory/region_map.h"
#include "unit_test.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PAGE = 4096, MODEL_PAGES = 700 };

static uint8_t *const HOST = (uint8_t *)0x700000000000;

static struct region make(uint64_t gpa, uint64_t size, uint64_t host_offset, hv_memory_flags_t flags)
{
    return (struct region){.gpa = gpa, .size = size, .hva = HOST + host_offset, .flags = flags};
}

/* Replaces *map by a new version. */
static void replace(struct region_map **map, struct region_map *next)
{
    ck_assert_ptr_nonnull(next);
    region_map_publish(*map, next);
    region_map_release(*map);
    *map = next;
}

static void add(struct region_map **map, struct region region)
{
    replace(map, region_map_add(*map, &region));
}

START_TEST(an_empty_map_finds_nothing)
{
    struct region_map *map = region_map_create();

    ck_assert_uint_eq(region_map_count(map), 0);
    ck_assert_ptr_null(region_map_find(map, 0));
    ck_assert(!region_map_overlaps(map, 0, REGION_GPA_END));
    ck_assert(!region_map_covers(map, 0, PAGE));
    region_map_release(map);
}
END_TEST

START_TEST(find_gives_the_range_that_holds_the_address_or_the_next_above)
{
    struct region_map *map = region_map_create();

    add(&map, make(2 * PAGE, 2 * PAGE, 0, 1));
    ck_assert_uint_eq(region_map_find(map, 0)->gpa, 2 * PAGE);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->gpa, 2 * PAGE);
    ck_assert_uint_eq(region_map_find(map, 4 * PAGE - 1)->gpa, 2 * PAGE);
    ck_assert_ptr_null(region_map_find(map, 4 * PAGE));
    region_map_release(map);
}
END_TEST

START_TEST(overlap_counts_from_the_first_common_byte)
{
    struct region_map *map = region_map_create();

    add(&map, make(2 * PAGE, PAGE, 0, 1));
    ck_assert(!region_map_overlaps(map, PAGE, PAGE));
    ck_assert(region_map_overlaps(map, PAGE, PAGE + 1));
    ck_assert(region_map_overlaps(map, 3 * PAGE - 1, 1));
    ck_assert(!region_map_overlaps(map, 3 * PAGE, PAGE));
    region_map_release(map);
}
END_TEST

START_TEST(neighbours_join_only_if_host_flags_and_name_continue)
{
    struct region_map *map = region_map_create();
    struct region named = make(4 * PAGE, PAGE, 4 * PAGE, 3);

    add(&map, make(0, PAGE, 0, 3));
    add(&map, make(2 * PAGE, PAGE, 2 * PAGE, 3));
    ck_assert_uint_eq(region_map_count(map), 2);
    add(&map, make(PAGE, PAGE, PAGE, 3));
    ck_assert_uint_eq(region_map_count(map), 1);
    add(&map, make(3 * PAGE, PAGE, 3 * PAGE, 1));
    ck_assert_uint_eq(region_map_count(map), 2);
    strcpy(named.name, "rom");
    add(&map, named);
    ck_assert_uint_eq(region_map_count(map), 3);
    add(&map, make(5 * PAGE, PAGE, 9 * PAGE, 3));
    ck_assert_uint_eq(region_map_count(map), 4);
    region_map_release(map);
}
END_TEST

START_TEST(removing_the_middle_leaves_both_ends_with_their_host_addresses)
{
    struct region_map *map = region_map_create();

    add(&map, make(0, 5 * PAGE, 0, 7));
    replace(&map, region_map_remove(map, 2 * PAGE, PAGE));
    ck_assert_uint_eq(region_map_count(map), 2);
    ck_assert_uint_eq(region_map_find(map, 0)->size, 2 * PAGE);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->gpa, 3 * PAGE);
    ck_assert_ptr_eq(region_map_find(map, 2 * PAGE)->hva, HOST + 3 * PAGE);
    region_map_release(map);
}
END_TEST

START_TEST(protecting_back_joins_what_protecting_had_split)
{
    struct region_map *map = region_map_create();

    add(&map, make(0, 5 * PAGE, 0, 7));
    replace(&map, region_map_protect(map, 2 * PAGE, PAGE, 1));
    ck_assert_uint_eq(region_map_count(map), 3);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->flags, 1);
    replace(&map, region_map_protect(map, 2 * PAGE, PAGE, 7));
    ck_assert_uint_eq(region_map_count(map), 1);
    region_map_release(map);
}
END_TEST

START_TEST(a_policy_splits_is_kept_by_protect_and_joins_again)
{
    struct region_map *map = region_map_create();

    add(&map, make(0, 5 * PAGE, 0, 7));
    ck_assert_int_eq(region_map_find(map, 0)->policy, HVX_POLICY_CLIENT);
    replace(&map, region_map_set_policy(map, 2 * PAGE, PAGE, HVX_POLICY_COUNT));
    ck_assert_uint_eq(region_map_count(map), 3);
    ck_assert_int_eq(region_map_find(map, PAGE)->policy, HVX_POLICY_CLIENT);
    ck_assert_int_eq(region_map_find(map, 2 * PAGE)->policy, HVX_POLICY_COUNT);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->size, PAGE);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->flags, 7);
    ck_assert_ptr_eq(region_map_find(map, 3 * PAGE)->hva, HOST + 3 * PAGE);
    replace(&map, region_map_protect(map, 0, 5 * PAGE, 1));
    ck_assert_uint_eq(region_map_count(map), 3);
    ck_assert_int_eq(region_map_find(map, 2 * PAGE)->policy, HVX_POLICY_COUNT);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->flags, 1);
    replace(&map, region_map_set_policy(map, 0, 5 * PAGE, HVX_POLICY_COUNT));
    ck_assert_uint_eq(region_map_count(map), 1);
    /* What is mapped anew has none of it, and does not join. */
    replace(&map, region_map_remove(map, PAGE, PAGE));
    add(&map, make(PAGE, PAGE, PAGE, 1));
    ck_assert_uint_eq(region_map_count(map), 3);
    ck_assert_int_eq(region_map_find(map, PAGE)->policy, HVX_POLICY_CLIENT);
    region_map_release(map);
}
END_TEST

START_TEST(traps_split_are_kept_by_protect_and_join_again)
{
    struct region_map *map = region_map_create();

    add(&map, make(0, 5 * PAGE, 0, 7));
    ck_assert_uint_eq(region_map_find(map, 0)->traps, 0);
    replace(&map, region_map_set_traps(map, 2 * PAGE, PAGE, HV_MEMORY_WRITE));
    ck_assert_uint_eq(region_map_count(map), 3);
    ck_assert_uint_eq(region_map_find(map, PAGE)->traps, 0);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->traps, HV_MEMORY_WRITE);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->size, PAGE);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->flags, 7);
    ck_assert_ptr_eq(region_map_find(map, 3 * PAGE)->hva, HOST + 3 * PAGE);
    replace(&map, region_map_protect(map, 0, 5 * PAGE, 1));
    replace(&map, region_map_set_policy(map, 0, 5 * PAGE, HVX_POLICY_STOP));
    ck_assert_uint_eq(region_map_count(map), 3);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->traps, HV_MEMORY_WRITE);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->flags, 1);
    /* Others take the place of those there are. */
    replace(&map, region_map_set_traps(map, PAGE, 4 * PAGE, HV_MEMORY_READ | HV_MEMORY_EXEC));
    ck_assert_uint_eq(region_map_count(map), 2);
    ck_assert_uint_eq(region_map_find(map, 2 * PAGE)->traps, HV_MEMORY_READ | HV_MEMORY_EXEC);
    replace(&map, region_map_set_traps(map, 0, 5 * PAGE, 0));
    ck_assert_uint_eq(region_map_count(map), 1);
    /* What is mapped anew has none, and does not join. */
    replace(&map, region_map_set_traps(map, 0, 5 * PAGE, HV_MEMORY_READ));
    replace(&map, region_map_set_policy(map, 0, 5 * PAGE, HVX_POLICY_CLIENT));
    replace(&map, region_map_remove(map, PAGE, PAGE));
    add(&map, make(PAGE, PAGE, PAGE, 1));
    ck_assert_uint_eq(region_map_count(map), 3);
    ck_assert_uint_eq(region_map_find(map, PAGE)->traps, 0);
    region_map_release(map);
}
END_TEST

START_TEST(an_old_version_stays_as_it_was)
{
    struct region_map *old = region_map_create();
    add(&old, make(0, 4 * PAGE, 0, 7));
    /* One that is not taken leaves no trace. */
    region_map_release(region_map_remove(old, 0, PAGE));
    struct region_map *new = region_map_remove(old, PAGE, PAGE);
    region_map_publish(old, new);

    ck_assert_uint_eq(region_map_count(old), 1);
    ck_assert_uint_eq(region_map_find(old, PAGE)->size, 4 * PAGE);
    region_map_release(old);
    ck_assert_uint_eq(region_map_count(new), 2);
    ck_assert_uint_eq(region_map_find(new, PAGE)->gpa, 2 * PAGE);
    region_map_release(new);
}
END_TEST

START_TEST(ten_thousand_neighbouring_pages_are_one_range_in_any_order)
{
    struct region_map *map = region_map_create();

    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t page = i * 7919 % 10000; /* a prime: every page once */
        add(&map, make(page * PAGE, PAGE, page * PAGE, 3));
    }
    ck_assert_uint_eq(region_map_count(map), 1);
    region_map_release(map);
}
END_TEST

/* One page of the model: what the map must say of it. */
struct model_page {
    bool mapped;
    uint8_t *hva;
    hv_memory_flags_t flags;
    hvx_policy_t policy;
    hv_memory_flags_t traps;
};

static void compare(const struct region_map *map, const struct model_page *model)
{
    uint64_t gpa = 0;

    for (uint64_t page = 0; page < MODEL_PAGES; page++) {
        const struct region *region = region_map_find(map, page * PAGE);
        bool mapped = region != NULL && region->gpa <= page * PAGE;
        ck_assert_int_eq(mapped, model[page].mapped);
        if (!mapped)
            continue;
        ck_assert_ptr_eq(region->hva + (page * PAGE - region->gpa), model[page].hva);
        ck_assert_uint_eq(region->flags, model[page].flags);
        ck_assert_int_eq(region->policy, model[page].policy);
        ck_assert_uint_eq(region->traps, model[page].traps);
    }
    /* In order, and no two neighbours that should be one. */
    const struct region *last = NULL;
    size_t count = 0;
    for (const struct region *region; (region = region_map_find(map, gpa)) != NULL; gpa = region_end(region)) {
        ck_assert(region->gpa >= gpa && region->size > 0);
        if (last != NULL && region_end(last) == region->gpa)
            ck_assert(last->flags != region->flags || last->policy != region->policy || last->traps != region->traps ||
                      last->hva + last->size != region->hva);
        last = region;
        count++;
    }
    ck_assert_uint_eq(count, region_map_count(map));
}

static void random_change(struct region_map **map, struct model_page *model, unsigned *seed)
{
    uint64_t first = (uint64_t)rand_r(seed) % MODEL_PAGES;
    uint64_t count = 1 + (uint64_t)rand_r(seed) % (rand_r(seed) % 8 == 0 ? MODEL_PAGES : 4);
    hv_memory_flags_t flags = (hv_memory_flags_t)rand_r(seed) % 3;
    hvx_policy_t policy = (hvx_policy_t)(rand_r(seed) % 4);
    hv_memory_flags_t traps = (hv_memory_flags_t)rand_r(seed) % 8;
    uint64_t shift = (uint64_t)rand_r(seed) % 2;

    if (count > MODEL_PAGES - first)
        count = MODEL_PAGES - first;
    switch (rand_r(seed) % 6) {
    case 0:
        replace(map, region_map_remove(*map, first * PAGE, count * PAGE));
        for (uint64_t i = first; i < first + count; i++)
            model[i].mapped = false;
        break;
    case 1:
        replace(map, region_map_protect(*map, first * PAGE, count * PAGE, flags));
        for (uint64_t i = first; i < first + count; i++)
            model[i].flags = flags;
        break;
    case 2:
        replace(map, region_map_set_policy(*map, first * PAGE, count * PAGE, policy));
        for (uint64_t i = first; i < first + count; i++)
            model[i].policy = policy;
        break;
    case 3:
        replace(map, region_map_set_traps(*map, first * PAGE, count * PAGE, traps));
        for (uint64_t i = first; i < first + count; i++)
            model[i].traps = traps;
        break;
    default:
        if (region_map_overlaps(*map, first * PAGE, count * PAGE))
            break;
        add(map, make(first * PAGE, count * PAGE, (first + shift) * PAGE, flags));
        for (uint64_t i = first; i < first + count; i++)
            model[i] = (struct model_page){.mapped = true, .hva = HOST + (i + shift) * PAGE, .flags = flags};
        break;
    }
}

START_TEST(random_changes_agree_with_a_page_by_page_model)
{
    struct model_page model[MODEL_PAGES] = {0};
    struct region_map *map = region_map_create();
    const char *given = getenv("QUIRE_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);

    printf("QUIRE_TEST_SEED=%u\n", seed);
    for (int i = 0; i < 20000; i++) {
        random_change(&map, model, &seed);
        if (i % 16 == 0)
            compare(map, model);
    }
    region_map_release(map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("region_map");
    TCase *tcase = tcase_create("region_map");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, an_empty_map_finds_nothing);
    tcase_add_test(tcase, find_gives_the_range_that_holds_the_address_or_the_next_above);
    tcase_add_test(tcase, overlap_counts_from_the_first_common_byte);
    tcase_add_test(tcase, neighbours_join_only_if_host_flags_and_name_continue);
    tcase_add_test(tcase, removing_the_middle_leaves_both_ends_with_their_host_addresses);
    tcase_add_test(tcase, protecting_back_joins_what_protecting_had_split);
    tcase_add_test(tcase, a_policy_splits_is_kept_by_protect_and_joins_again);
    tcase_add_test(tcase, traps_split_are_kept_by_protect_and_join_again);
    tcase_add_test(tcase, an_old_version_stays_as_it_was);
    tcase_add_test(tcase, ten_thousand_neighbouring_pages_are_one_range_in_any_order);
    tcase_add_test(tcase, random_changes_agree_with_a_page_by_page_model);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
