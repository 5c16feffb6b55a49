/*
 * The log of written pages: ranges that come and go, and bits against a model.
 */
#include "test_random.h"
#include "unit_test.h"

#include "memory/dirty_log.h"

#include <string.h>

enum { PAGE = 4096, PAGES = 300 };

START_TEST(ranges_come_and_go_and_keep_their_bits)
{
    uint64_t bitmap[1] = {0};
    bool is_empty;

    struct dirty_log *one = dirty_log_with(NULL, 16 * PAGE, 4 * PAGE);
    dirty_log_mark(one, 17 * PAGE + 5, 1);
    struct dirty_log *two = dirty_log_with(one, 64 * PAGE, PAGE);
    dirty_log_free(one, two);
    ck_assert_ptr_nonnull(dirty_log_find(two, 17 * PAGE, 3 * PAGE));
    ck_assert_ptr_null(dirty_log_find(two, 17 * PAGE, 4 * PAGE));
    ck_assert_ptr_null(dirty_log_find(two, 15 * PAGE, PAGE));
    ck_assert(dirty_log_overlaps(two, 0, 17 * PAGE));
    ck_assert(!dirty_log_overlaps(two, 0, 16 * PAGE));
    ck_assert(!dirty_log_overlaps(NULL, 0, PAGE));
    dirty_range_fetch(dirty_log_find(two, 16 * PAGE, 4 * PAGE), 16 * PAGE, 4 * PAGE, bitmap);
    ck_assert_uint_eq(bitmap[0], 2);
    bitmap[0] = 0;
    dirty_range_fetch(dirty_log_find(two, 16 * PAGE, 4 * PAGE), 16 * PAGE, 4 * PAGE, bitmap);
    ck_assert_uint_eq(bitmap[0], 0);
    one = dirty_log_without(two, 16 * PAGE, 4 * PAGE, &is_empty);
    ck_assert(!is_empty);
    dirty_log_free(two, one);
    ck_assert(!dirty_log_overlaps(one, 0, 64 * PAGE));
    ck_assert_ptr_null(dirty_log_without(one, 64 * PAGE, PAGE, &is_empty));
    ck_assert(is_empty);
    dirty_log_free(one, NULL);
}
END_TEST

START_TEST(marks_that_touch_pages_mark_them)
{
    uint64_t bitmap[1] = {0};
    struct dirty_log *log = dirty_log_with(NULL, 2 * PAGE, 4 * PAGE);
    const struct dirty_range *range = &log->ranges[0];

    dirty_log_mark(log, 0, 0);
    dirty_log_mark(log, 3 * PAGE, 0);
    dirty_log_mark(log, 2 * PAGE - 1, 1);
    dirty_log_mark(log, 6 * PAGE, 100 * PAGE);
    dirty_range_fetch(range, 2 * PAGE, 4 * PAGE, bitmap);
    ck_assert_uint_eq(bitmap[0], 0);
    dirty_log_mark(log, 3 * PAGE - 1, 2);
    dirty_range_fetch(range, 2 * PAGE, 4 * PAGE, bitmap);
    ck_assert_uint_eq(bitmap[0], 3);
    bitmap[0] = 0;
    dirty_log_mark(log, 0, 100 * PAGE);
    dirty_range_fetch(range, 2 * PAGE, 4 * PAGE, bitmap);
    ck_assert_uint_eq(bitmap[0], 0xf);
    dirty_log_free(log, NULL);
}
END_TEST

START_TEST(parts_of_a_range_are_fetched_as_a_model_says)
{
    uint64_t seed = test_random_seed();
    bool model[PAGES] = {false};
    const uint64_t base = 7 * PAGE;
    struct dirty_log *log = dirty_log_with(NULL, base, PAGES * PAGE);

    for (unsigned round = 0; round < 3000; round++) {
        uint64_t bitmap[PAGES / 64 + 2] = {0};
        const unsigned first = test_random_below(&seed, PAGES);
        const unsigned count = 1 + test_random_below(&seed, PAGES - first);
        uint64_t bits[2] = {1ull << test_random_below(&seed, 64), 1ull << test_random_below(&seed, 64)};
        /* Some of these pages lie outside of the range. */
        dirty_log_merge(log, base + (uint64_t)first * PAGE, bits, 100);
        for (unsigned i = 0; i < 100; i++)
            if (first + i < PAGES && bits[i / 64] >> (i % 64) & 1)
                model[first + i] = true;
        bitmap[(count + 63) / 64] = 0x1234;
        dirty_range_fetch(&log->ranges[0], base + (uint64_t)first * PAGE, (uint64_t)count * PAGE, bitmap);
        ck_assert_uint_eq(bitmap[(count + 63) / 64], 0x1234);
        for (unsigned i = 0; i < count; i++) {
            if ((bitmap[i / 64] >> (i % 64) & 1) != model[first + i])
                ck_abort_msg("round %u: page %u of %u from %u", round, i, count, first);
            model[first + i] = false;
        }
    }
    dirty_log_free(log, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dirty_log");
    TCase *tcase = tcase_create("log");

    tcase_add_test(tcase, ranges_come_and_go_and_keep_their_bits);
    tcase_add_test(tcase, marks_that_touch_pages_mark_them);
    tcase_add_test(tcase, parts_of_a_range_are_fetched_as_a_model_says);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
