#include "device_test.h"
#include "devices/pvpanic.h"

#include <fcntl.h>
#include <misc/pvpanic.h>
#include <string.h>
#include <unistd.h>

static struct test_requests requests;
static struct log to_pipe;
static int pipe_ends[2];
static struct pvpanic *pvpanic;
static struct bus *bus;

static void setup(void)
{
    const struct system_requests system = test_system_requests(&requests);

    requests = (struct test_requests){0};
    ck_assert_int_eq(pipe2(pipe_ends, O_NONBLOCK), 0);
    to_pipe = (struct log){.level = LOG_LEVEL_DEBUG, .fd = pipe_ends[1]};
    pvpanic = pvpanic_create(&system, &to_pipe);
    ck_assert_ptr_nonnull(pvpanic);
    bus = test_bus_with(pvpanic_device(pvpanic), PVPANIC_PORT_COUNT);
}

static void teardown(void)
{
    bus_destroy(bus);
    pvpanic_destroy(pvpanic);
    pvpanic_destroy(NULL);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void write_event(unsigned event)
{
    bus_write(bus, TEST_DEVICE_BASE, 1, event);
}

/* What the device has logged; "" for nothing. */
static const char *logged(void)
{
    static char text[1024];
    ssize_t length = read(pipe_ends[0], text, sizeof(text) - 1);

    text[length > 0 ? length : 0] = '\0';
    return text;
}

START_TEST(read_tells_the_supported_events)
{
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE, 1), PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);
}
END_TEST

START_TEST(panic_is_reported)
{
    write_event(PVPANIC_PANICKED);
    ck_assert_uint_eq(requests.count, 1);
    ck_assert_int_eq(requests.last, SYSTEM_GUEST_PANIC);
    write_event(PVPANIC_PANICKED | PVPANIC_CRASH_LOADED);
    ck_assert_uint_eq(requests.count, 2);
}
END_TEST

START_TEST(crash_kernel_goes_on_and_leaves_a_line)
{
    write_event(PVPANIC_CRASH_LOADED);
    ck_assert_uint_eq(requests.count, 0);
    ck_assert_ptr_nonnull(strstr(logged(), "crash kernel"));
}
END_TEST

START_TEST(what_is_no_event_is_only_a_warning)
{
    write_event(0xfc);
    ck_assert_uint_eq(requests.count, 0);
    ck_assert_ptr_nonnull(strstr(logged(), "0xfc"));
    bus_write(bus, TEST_DEVICE_BASE, 2, PVPANIC_PANICKED);
    ck_assert_uint_eq(requests.count, 0);
    ck_assert_str_eq(logged(), "");
}
END_TEST

START_TEST(survives_anything)
{
    to_pipe.level = LOG_LEVEL_ERROR;
    test_device_survives_anything(pvpanic_device(pvpanic), PVPANIC_PORT_COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pvpanic");
    TCase *tcase = tcase_create("pvpanic");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, read_tells_the_supported_events);
    tcase_add_test(tcase, panic_is_reported);
    tcase_add_test(tcase, crash_kernel_goes_on_and_leaves_a_line);
    tcase_add_test(tcase, what_is_no_event_is_only_a_warning);
    tcase_add_test(tcase, survives_anything);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
