/*
 * vmm/runner/interrupts.c: which signals end a run, and which are not its own.
 */
#include "vmm/runner/interrupts.h"

#include "unit_test.h"

#include <signal.h>

static struct event_loop *loop;
static struct error error;
static struct {
    int number;
    unsigned count;
} seen[4];
static unsigned seen_count;

static void on_signal(void *context, int number, unsigned count)
{
    (void)context;
    ck_assert_uint_lt(seen_count, 4);
    seen[seen_count].number = number;
    seen[seen_count++].count = count;
    event_loop_stop(loop);
}

static struct interrupts *create(void)
{
    loop = event_loop_create(&error);
    struct interrupts *interrupts = interrupts_create(loop, on_signal, NULL, &error);
    ck_assert_ptr_nonnull(interrupts);
    return interrupts;
}

static void serve_one(void)
{
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
}

START_TEST(each_signal_is_told_and_counted)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
    struct interrupts *interrupts = create();

    for (unsigned i = 0; i < 3; i++) {
        raise(numbers[i]);
        serve_one();
        ck_assert_int_eq(seen[i].number, numbers[i]);
        ck_assert_uint_eq(seen[i].count, i + 1);
    }
    interrupts_destroy(interrupts);
    event_loop_destroy(loop);
}
END_TEST

START_TEST(under_nohup_a_hangup_is_none)
{
    ck_assert(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    struct interrupts *interrupts = create();

    raise(SIGHUP);
    raise(SIGINT);
    serve_one();
    ck_assert_uint_eq(seen_count, 1);
    ck_assert_int_eq(seen[0].number, SIGINT);
    interrupts_release(interrupts);
    raise(SIGHUP);
    interrupts_destroy(interrupts);
    event_loop_destroy(loop);
}
END_TEST

/* As shells have it for what they run behind them. */
START_TEST(what_is_ignored_otherwise_ends_a_run)
{
    ck_assert(signal(SIGINT, SIG_IGN) != SIG_ERR);
    struct interrupts *interrupts = create();

    raise(SIGINT);
    serve_one();
    ck_assert_int_eq(seen[0].number, SIGINT);
    interrupts_release(interrupts);
    raise(SIGINT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runner_interrupts");
    TCase *tcase = tcase_create("interrupts");

    tcase_add_test(tcase, each_signal_is_told_and_counted);
    tcase_add_test(tcase, under_nohup_a_hangup_is_none);
    tcase_add_test_raise_signal(tcase, what_is_ignored_otherwise_ends_a_run, SIGINT);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
