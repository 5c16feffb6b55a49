#include "devices/host/event_loop.h"

#include "unit_test.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>

enum { MANY = 100 };

/* An eventfd in the loop. */
struct source {
    int fd;
    unsigned calls;
    uint32_t events;
};

static struct event_loop *loop;
static struct error error;

static void setup(void)
{
    loop = event_loop_create(&error);
    ck_assert_ptr_nonnull(loop);
}

static void teardown(void)
{
    event_loop_destroy(loop);
}

static struct source source_new(unsigned value)
{
    struct source source = {.fd = eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC)};

    ck_assert_int_ge(source.fd, 0);
    return source;
}

static void source_add(struct source *source, uint32_t events, event_callback *callback)
{
    ck_assert_int_eq(event_loop_add(loop, source->fd, events, callback, source, &error), 0);
}

static void run(void)
{
    ck_assert_int_eq(event_loop_run(loop, &error), 0);
}

static void count_and_stop(void *context, uint32_t events)
{
    struct source *source = context;

    source->calls++;
    source->events = events;
    event_loop_stop(loop);
}

static void must_not_be_called(void *context, uint32_t events)
{
    (void)context;
    ck_abort_msg("an event 0x%x of a descriptor that nobody waits for", events);
}

START_TEST(ready_descriptor_is_reported_with_its_events)
{
    struct source source = source_new(1);

    source_add(&source, EPOLLIN, count_and_stop);
    run();
    ck_assert_uint_eq(source.calls, 1);
    ck_assert_uint_eq(source.events, EPOLLIN);
    close(source.fd);
}
END_TEST

START_TEST(what_is_left_is_reported_again)
{
    struct source source = source_new(1);

    source_add(&source, EPOLLIN, count_and_stop);
    for (unsigned i = 0; i < 3; i++)
        run();
    ck_assert_uint_eq(source.calls, 3);
    close(source.fd);
}
END_TEST

START_TEST(modify_changes_what_is_waited_for)
{
    struct source quiet = source_new(1);
    struct source source = source_new(1);

    source_add(&quiet, EPOLLIN, must_not_be_called);
    source_add(&source, 0, count_and_stop);
    event_loop_modify(loop, quiet.fd, 0);
    event_loop_modify(loop, source.fd, EPOLLOUT);
    run();
    ck_assert_uint_eq(source.events, EPOLLOUT);
    close(source.fd);
    close(quiet.fd);
}
END_TEST

START_TEST(all_of_many_descriptors_are_served)
{
    static struct source sources[MANY];

    for (size_t i = 0; i < MANY; i++) {
        sources[i] = source_new(0);
        source_add(&sources[i], EPOLLIN, count_and_stop);
    }
    for (size_t i = 0; i < MANY; i++) {
        ck_assert_int_eq(eventfd_write(sources[i].fd, 1), 0);
        run();
        ck_assert_uint_eq(sources[i].calls, 1);
        event_loop_remove(loop, sources[i].fd);
        close(sources[i].fd);
    }
}
END_TEST

/* Two that are ready in one round: whichever is served first does something to the other. */
static struct source pair[2];
static struct source last;
static unsigned pair_calls;

static struct source *other_of(const struct source *source)
{
    return source == &pair[0] ? &pair[1] : &pair[0];
}

static void run_pair(event_callback *callback)
{
    for (size_t i = 0; i < 2; i++) {
        pair[i] = source_new(1);
        source_add(&pair[i], EPOLLIN, callback);
    }
    run();
    ck_assert_uint_eq(pair_calls, 1);
    ck_assert_uint_eq(last.calls, 1);
}

/* In a later round. */
static void end_the_run(void)
{
    last = source_new(1);
    source_add(&last, EPOLLIN, count_and_stop);
}

static void remove_both(void *context, uint32_t events)
{
    (void)events;
    pair_calls++;
    event_loop_remove(loop, other_of(context)->fd);
    event_loop_remove(loop, ((struct source *)context)->fd);
    end_the_run();
}

START_TEST(removed_in_the_same_round_is_not_called)
{
    run_pair(remove_both);
}
END_TEST

/* Puts a descriptor that is not ready in the place of the other, under the same number. */
static void replace_other(void *context, uint32_t events)
{
    struct source *other = other_of(context);
    struct source fresh = source_new(0);

    (void)events;
    pair_calls++;
    event_loop_remove(loop, other->fd);
    ck_assert_int_eq(dup2(fresh.fd, other->fd), other->fd);
    close(fresh.fd);
    source_add(other, EPOLLIN, must_not_be_called);
    event_loop_modify(loop, ((struct source *)context)->fd, 0);
    end_the_run();
}

START_TEST(number_reused_in_the_same_round_gets_no_old_event)
{
    run_pair(replace_other);
}
END_TEST

static void remove_and_close_itself(void *context, uint32_t events)
{
    struct source *source = context;

    (void)events;
    source->calls++;
    event_loop_remove(loop, source->fd);
    close(source->fd);
    event_loop_stop(loop);
}

START_TEST(callback_may_remove_and_close_its_own_descriptor)
{
    struct source source = source_new(1);
    struct source next = source_new(1);

    source_add(&source, EPOLLIN, remove_and_close_itself);
    run();
    source_add(&next, EPOLLIN, count_and_stop);
    run();
    ck_assert_uint_eq(source.calls, 1);
    ck_assert_uint_eq(next.calls, 1);
    close(next.fd);
}
END_TEST

START_TEST(regular_file_is_refused_with_eperm)
{
    char path[] = "/tmp/quire-test-event-loop-XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    errno = 0;
    ck_assert_int_eq(event_loop_add(loop, fd, EPOLLIN, must_not_be_called, NULL, &error), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(error.kind, ERROR_HOST);
    event_loop_remove(loop, fd);
    close(fd);
}
END_TEST

START_TEST(descriptor_is_in_the_loop_once_at_the_most)
{
    struct source source = source_new(1);

    source_add(&source, EPOLLIN, count_and_stop);
    ck_assert_int_eq(event_loop_add(loop, source.fd, EPOLLIN, must_not_be_called, NULL, &error), -1);
    ck_assert_int_eq(errno, EEXIST);
    run();
    ck_assert_uint_eq(source.calls, 1);
    close(source.fd);
}
END_TEST

START_TEST(stop_before_the_run_counts_once)
{
    struct source source = source_new(1);

    source_add(&source, EPOLLIN, count_and_stop);
    event_loop_stop(loop);
    run();
    ck_assert_uint_eq(source.calls, 0);
    run();
    ck_assert_uint_eq(source.calls, 1);
    close(source.fd);
}
END_TEST

static void *stop_loop(void *unused)
{
    (void)unused;
    event_loop_stop(loop);
    return NULL;
}

START_TEST(another_thread_stops_it)
{
    pthread_t thread;

    for (unsigned i = 0; i < 200; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, stop_loop, NULL), 0);
        run();
        pthread_join(thread, NULL);
    }
}
END_TEST

static void stop_in_handler(int number)
{
    (void)number;
    event_loop_stop(loop);
}

START_TEST(signal_handler_stops_it)
{
    const struct itimerval soon = {.it_value.tv_usec = 1000};

    signal(SIGALRM, stop_in_handler);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
    run();
}
END_TEST

static pthread_t waiting_thread;
static struct source interrupted;

static volatile sig_atomic_t handled;

static void note_signal(int number)
{
    (void)number;
    handled = 1;
}

static void *interrupt_then_serve(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 100; i++) {
        pthread_kill(waiting_thread, SIGUSR1);
        usleep(200);
    }
    (void)eventfd_write(interrupted.fd, 1);
    return NULL;
}

START_TEST(other_signals_do_not_end_it)
{
    pthread_t thread;

    interrupted = source_new(0);
    source_add(&interrupted, EPOLLIN, count_and_stop);
    waiting_thread = pthread_self();
    signal(SIGUSR1, note_signal);
    ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_then_serve, NULL), 0);
    run();
    ck_assert_uint_eq(interrupted.calls, 1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(handled, 1);
    close(interrupted.fd);
}
END_TEST

/* What a hook has been asked, and its answer. */
struct hooked {
    struct event_hook hook;
    unsigned calls;
    int timeout;
};

static int count_and_answer(void *context)
{
    struct hooked *hooked = context;

    /* The second time the wait before it has ended by itself. */
    if (++hooked->calls == 3)
        event_loop_stop(loop);
    return hooked->timeout;
}

START_TEST(hooks_run_before_each_wait_and_limit_it)
{
    struct hooked never = {.timeout = -1};
    struct hooked soon = {.timeout = 1};

    never.hook = (struct event_hook){.prepare = count_and_answer, .context = &never};
    soon.hook = (struct event_hook){.prepare = count_and_answer, .context = &soon};
    event_loop_add_hook(loop, &never.hook);
    event_loop_add_hook(loop, &soon.hook);
    run();
    ck_assert_uint_eq(never.calls, 3);
    ck_assert_uint_eq(soon.calls, 3);
}
END_TEST

START_TEST(removed_hook_is_not_called)
{
    struct source source = source_new(1);
    struct hooked first = {.timeout = 0};
    struct hooked second = {.timeout = 0};

    first.hook = (struct event_hook){.prepare = count_and_answer, .context = &first};
    second.hook = (struct event_hook){.prepare = count_and_answer, .context = &second};
    event_loop_add_hook(loop, &first.hook);
    event_loop_add_hook(loop, &second.hook);
    event_loop_remove_hook(loop, &first.hook);
    event_loop_remove_hook(loop, &first.hook);
    source_add(&source, EPOLLIN, count_and_stop);
    run();
    ck_assert_uint_eq(first.calls, 0);
    ck_assert_uint_eq(second.calls, 1);
    close(source.fd);
}
END_TEST

static void count(void *context, uint32_t events)
{
    struct source *source = context;

    source->calls++;
    source->events = events;
}

START_TEST(a_loop_within_a_poll)
{
    struct source quiet = source_new(0), ready = source_new(0);
    struct pollfd one = {.fd = event_loop_fd(loop), .events = POLLIN};

    source_add(&quiet, EPOLLIN, count);
    source_add(&ready, EPOLLIN, count);
    ck_assert_int_eq(poll(&one, 1, 0), 0);
    event_loop_serve(loop);
    ck_assert_uint_eq(ready.calls, 0);
    ck_assert_int_eq(eventfd_write(ready.fd, 1), 0);
    ck_assert_int_eq(poll(&one, 1, 0), 1);
    event_loop_serve(loop);
    ck_assert_uint_eq(ready.calls, 1);
    ck_assert_uint_eq(quiet.calls, 0);
    ck_assert_uint_eq(ready.events, EPOLLIN);
    close(quiet.fd);
    close(ready.fd);
}
END_TEST

START_TEST(destroying_nothing_is_fine)
{
    event_loop_destroy(NULL);
    event_loop_remove(loop, -1);
    event_loop_remove(loop, 12345);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("event_loop");
    TCase *tcase = tcase_create("event_loop");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, ready_descriptor_is_reported_with_its_events);
    tcase_add_test(tcase, what_is_left_is_reported_again);
    tcase_add_test(tcase, modify_changes_what_is_waited_for);
    tcase_add_test(tcase, all_of_many_descriptors_are_served);
    tcase_add_test(tcase, removed_in_the_same_round_is_not_called);
    tcase_add_test(tcase, number_reused_in_the_same_round_gets_no_old_event);
    tcase_add_test(tcase, callback_may_remove_and_close_its_own_descriptor);
    tcase_add_test(tcase, regular_file_is_refused_with_eperm);
    tcase_add_test(tcase, descriptor_is_in_the_loop_once_at_the_most);
    tcase_add_test(tcase, stop_before_the_run_counts_once);
    tcase_add_test(tcase, another_thread_stops_it);
    tcase_add_test(tcase, signal_handler_stops_it);
    tcase_add_test(tcase, other_signals_do_not_end_it);
    tcase_add_test(tcase, hooks_run_before_each_wait_and_limit_it);
    tcase_add_test(tcase, removed_hook_is_not_called);
    tcase_add_test(tcase, a_loop_within_a_poll);
    tcase_add_test(tcase, destroying_nothing_is_fine);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
