#include "device_test.h"
#include "devices/debug_exit.h"

static struct test_requests requests;
static struct debug_exit *debug_exit;
static struct bus *bus;

static void setup(void)
{
    const struct system_requests system = test_system_requests(&requests);

    requests = (struct test_requests){0};
    debug_exit = debug_exit_create(&system);
    ck_assert_ptr_nonnull(debug_exit);
    bus = test_bus_with(debug_exit_device(debug_exit), DEBUG_EXIT_PORT_COUNT);
}

static void teardown(void)
{
    bus_destroy(bus);
    debug_exit_destroy(debug_exit);
    debug_exit_destroy(NULL);
}

START_TEST(write_of_each_width_ends_the_machine_with_its_value)
{
    static const struct {
        unsigned width;
        uint32_t code;
    } writes[] = {{1, 0xef}, {2, 0xbeef}, {4, 0xdeadbeef}};

    for (unsigned i = 0; i < 3; i++) {
        bus_write(bus, TEST_DEVICE_BASE, writes[i].width, 0xffffffffdeadbeef);
        ck_assert_uint_eq(requests.count, i + 1);
        ck_assert_int_eq(requests.last, SYSTEM_DEBUG_EXIT);
        ck_assert_uint_eq(requests.argument, writes[i].code);
    }
}
END_TEST

START_TEST(zero_is_a_code)
{
    requests.argument = 1;
    bus_write(bus, TEST_DEVICE_BASE, 1, 0);
    ck_assert_uint_eq(requests.count, 1);
    ck_assert_uint_eq(requests.argument, 0);
}
END_TEST

START_TEST(reads_and_the_other_ports_do_nothing)
{
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE, 4), 0xffffffff);
    bus_write(bus, TEST_DEVICE_BASE + 1, 1, 1);
    bus_write(bus, TEST_DEVICE_BASE + 2, 2, 1);
    bus_write(bus, TEST_DEVICE_BASE, 8, 1);
    ck_assert_uint_eq(requests.count, 0);
}
END_TEST

START_TEST(survives_anything)
{
    test_device_survives_anything(debug_exit_device(debug_exit), DEBUG_EXIT_PORT_COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("debug_exit");
    TCase *tcase = tcase_create("debug_exit");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, write_of_each_width_ends_the_machine_with_its_value);
    tcase_add_test(tcase, zero_is_a_code);
    tcase_add_test(tcase, reads_and_the_other_ports_do_nothing);
    tcase_add_test(tcase, survives_anything);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
