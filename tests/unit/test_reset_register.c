#include "device_test.h"
#include "devices/reset_register.h"

static struct test_requests requests;
static struct reset_register *reset_register;
static struct bus *bus;

static void setup(void)
{
    const struct system_requests system = test_system_requests(&requests);

    requests = (struct test_requests){0};
    reset_register = reset_register_create(&system);
    ck_assert_ptr_nonnull(reset_register);
    bus = test_bus_with(reset_register_device(reset_register), RESET_REGISTER_PORT_COUNT);
}

static void teardown(void)
{
    bus_destroy(bus);
    reset_register_destroy(reset_register);
    reset_register_destroy(NULL);
}

static void write_register(unsigned value)
{
    bus_write(bus, TEST_DEVICE_BASE, 1, value);
}

START_TEST(what_the_fadt_announces_resets)
{
    write_register(RESET_REGISTER_VALUE);
    ck_assert_uint_eq(requests.count, 1);
    ck_assert_int_eq(requests.last, SYSTEM_RESET);
}
END_TEST

/* native_machine_emergency_restart() of Linux, BOOT_CF9_FORCE: it chooses a kind first, then resets. */
START_TEST(choosing_a_hard_reset_does_not_reset_yet)
{
    write_register(0x02);
    ck_assert_uint_eq(requests.count, 0);
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE, 1), 0x02);
    write_register(0x0e);
    ck_assert_uint_eq(requests.count, 1);
}
END_TEST

START_TEST(soft_reset_is_a_reset)
{
    write_register(0x04);
    ck_assert_uint_eq(requests.count, 1);
}
END_TEST

START_TEST(only_defined_bits_read_back_and_reset_clears_them)
{
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE, 1), 0);
    write_register(0xfb);
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE, 1), 0x02);
    write_register(0xff);
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE, 1), 0x06);
    device_reset(reset_register_device(reset_register));
    ck_assert_uint_eq(bus_read(bus, TEST_DEVICE_BASE, 1), 0);
    ck_assert_uint_eq(requests.count, 1);
}
END_TEST

START_TEST(survives_anything)
{
    test_device_survives_anything(reset_register_device(reset_register), RESET_REGISTER_PORT_COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reset_register");
    TCase *tcase = tcase_create("reset_register");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, what_the_fadt_announces_resets);
    tcase_add_test(tcase, choosing_a_hard_reset_does_not_reset_yet);
    tcase_add_test(tcase, soft_reset_is_a_reset);
    tcase_add_test(tcase, only_defined_bits_read_back_and_reset_clears_them);
    tcase_add_test(tcase, survives_anything);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
