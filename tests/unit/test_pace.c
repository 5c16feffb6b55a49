/*
 * devices/host/pace.
 */
#include "devices/host/pace.h"

#include "unit_test.h"

#include <sched.h>

/* So many turns, of one thing or several, after which the thread is as it says after each of them. */
static void count_all(struct pace *pace, unsigned turns, bool has_several, bool is_patient)
{
    for (unsigned i = 0; i < turns; i++)
        ck_assert_msg(pace_count(pace, has_several) == is_patient, "turn %u of %u", i + 1, turns);
}

static struct pace patient(void)
{
    struct pace pace = {0};

    count_all(&pace, PACE_FULL / PACE_SEVERAL - 1, true, false);
    count_all(&pace, 1, true, true);
    return pace;
}

START_TEST(several_things_in_a_few_turns_make_it_patient)
{
    struct pace pace = patient();

    count_all(&pace, 1000, true, true);
}
END_TEST

START_TEST(single_things_in_some_turns_end_that)
{
    struct pace pace = patient();

    count_all(&pace, PACE_FULL - 1, false, true);
    count_all(&pace, 1, false, false);
}
END_TEST

START_TEST(neither_changes_by_a_turn_of_the_other_kind)
{
    struct pace pace = {0};

    for (unsigned i = 0; i < 10; i++) {
        count_all(&pace, 1, true, false);
        count_all(&pace, 2, false, false);
    }
    pace = patient();
    for (unsigned i = 0; i < 1000; i++) {
        count_all(&pace, 2, false, true);
        count_all(&pace, 1, true, true);
    }
}
END_TEST

/* As packets and their acknowledgements come. */
START_TEST(every_second_turn_is_enough_to_become_patient)
{
    struct pace pace = {0};

    for (unsigned i = 0; i < PACE_FULL; i++) {
        pace_count(&pace, true);
        pace_count(&pace, false);
    }
    ck_assert(pace.is_patient);
}
END_TEST

START_TEST(patience_is_tried_less_and_less_often_while_it_is_in_vain)
{
    struct pace pace = {0};

    for (unsigned interval = PACE_FIRST_TRY; interval <= PACE_LAST_TRY; interval *= 2) {
        count_all(&pace, interval - 1, false, false);
        count_all(&pace, PACE_TRY, false, true);
        count_all(&pace, 1, false, false);
    }
    for (unsigned i = 0; i < 3; i++) {
        count_all(&pace, PACE_LAST_TRY - 1, false, false);
        count_all(&pace, PACE_TRY, false, true);
        count_all(&pace, 1, false, false);
    }
}
END_TEST

START_TEST(try_that_finds_several_goes_on_and_later_ones_come_soon_again)
{
    struct pace pace = {0};

    for (unsigned i = 0; i < 3 * PACE_LAST_TRY; i++)
        pace_count(&pace, false);
    while (!pace.is_patient)
        pace_count(&pace, false);
    count_all(&pace, 1000, true, true);
    count_all(&pace, PACE_FULL - 1, false, true);
    count_all(&pace, PACE_FIRST_TRY, false, false);
    count_all(&pace, 1, false, true);
}
END_TEST

START_TEST(several_that_are_expected_make_it_patient_at_once)
{
    struct pace pace = {0};

    pace_expect_several(&pace);
    count_all(&pace, 1, true, true);
    count_all(&pace, PACE_FULL - 1, false, true);
    count_all(&pace, 1, false, false);
}
END_TEST

/* Whatever comes, changes are few: each takes several turns. */
START_TEST(changes_are_rare)
{
    enum { TURNS = 10000 };
    struct pace pace = {0};
    unsigned state = (unsigned)_i + 1;
    unsigned changes = 0;
    unsigned highest = 0;

    for (unsigned i = 0; i < TURNS; i++) {
        const bool before = pace.is_patient;
        state = state * 1103515245 + 12345;
        changes += pace_count(&pace, (state >> 16) % 10 < (unsigned)_i) != before;
        highest = pace.score > highest ? pace.score : highest;
    }
    ck_assert_uint_le(highest, PACE_FULL);
    ck_assert_uint_lt(changes, TURNS / PACE_TRY);
}
END_TEST

/* ---- The thread's policy ---- */

static void turns(struct pace *pace, unsigned count, bool has_several)
{
    for (unsigned i = 0; i < count; i++)
        pace_turn(pace, has_several);
}

START_TEST(policy_follows)
{
    const struct sched_param parameters = {0};
    struct pace pace;

    ck_assert_int_eq(sched_setscheduler(0, SCHED_OTHER, &parameters), 0);
    pace_init(&pace);
    turns(&pace, PACE_FULL, true);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    turns(&pace, PACE_FULL, false);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
}
END_TEST

START_TEST(policy_that_somebody_has_chosen_stays)
{
    const struct sched_param parameters = {0};
    struct pace pace;

    ck_assert_int_eq(sched_setscheduler(0, SCHED_BATCH, &parameters), 0);
    pace_init(&pace);
    turns(&pace, PACE_FULL, true);
    turns(&pace, PACE_FULL, false);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pace");
    TCase *decision = tcase_create("decision");
    TCase *policy = tcase_create("policy");

    tcase_set_timeout(decision, 60);
    tcase_set_timeout(policy, 60);
    tcase_add_test(decision, several_things_in_a_few_turns_make_it_patient);
    tcase_add_test(decision, single_things_in_some_turns_end_that);
    tcase_add_test(decision, neither_changes_by_a_turn_of_the_other_kind);
    tcase_add_test(decision, every_second_turn_is_enough_to_become_patient);
    tcase_add_test(decision, patience_is_tried_less_and_less_often_while_it_is_in_vain);
    tcase_add_test(decision, try_that_finds_several_goes_on_and_later_ones_come_soon_again);
    tcase_add_test(decision, several_that_are_expected_make_it_patient_at_once);
    tcase_add_loop_test(decision, changes_are_rare, 0, 11);
    suite_add_tcase(suite, decision);

    tcase_add_test(policy, policy_follows);
    tcase_add_test(policy, policy_that_somebody_has_chosen_stays);
    suite_add_tcase(suite, policy);
    return unit_test_run(suite);
}
