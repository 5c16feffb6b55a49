#include "device_test.h"
#include "devices/i8042.h"

enum { DATA = TEST_DEVICE_BASE, COMMAND = TEST_DEVICE_BASE + 4 };

static struct test_requests requests;
static struct i8042 *i8042;
static struct bus *bus;

static void setup(void)
{
    const struct system_requests system = test_system_requests(&requests);

    requests = (struct test_requests){0};
    i8042 = i8042_create(&system);
    ck_assert_ptr_nonnull(i8042);
    bus = test_bus_with(i8042_device(i8042), I8042_PORT_COUNT);
}

static void teardown(void)
{
    bus_destroy(bus);
    i8042_destroy(i8042);
    i8042_destroy(NULL);
}

START_TEST(pulse_on_the_reset_line_resets)
{
    bus_write(bus, COMMAND, 1, 0xfe);
    ck_assert_uint_eq(requests.count, 1);
    ck_assert_int_eq(requests.last, SYSTEM_RESET);
    bus_write(bus, COMMAND, 1, 0xf0);
    ck_assert_uint_eq(requests.count, 2);
}
END_TEST

START_TEST(other_commands_and_data_do_not)
{
    for (unsigned command = 0; command < 0xf0; command++)
        bus_write(bus, COMMAND, 1, command);
    bus_write(bus, COMMAND, 1, 0xff);
    bus_write(bus, COMMAND, 1, 0xfd);
    for (unsigned port = DATA; port < COMMAND; port++)
        bus_write(bus, port, 1, 0xfe);
    ck_assert_uint_eq(requests.count, 0);
}
END_TEST

/* i8042_flush() of Linux drains 16 bytes at the most and then finds no controller. */
START_TEST(probe_finds_no_end_of_data)
{
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_uint_eq(bus_read(bus, COMMAND, 1) & 0x01, 0x01);
        ck_assert_uint_eq(bus_read(bus, DATA, 1), 0xff);
    }
}
END_TEST

/* kb_wait() of Linux, before each reset command. */
START_TEST(reboot_need_not_wait_for_the_input_buffer)
{
    ck_assert_uint_eq(bus_read(bus, COMMAND, 1) & 0x02, 0);
}
END_TEST

START_TEST(ports_between_read_as_nothing)
{
    for (unsigned port = DATA + 1; port < COMMAND; port++)
        ck_assert_uint_eq(bus_read(bus, port, 1), 0xff);
    ck_assert_uint_eq(bus_read(bus, DATA, 2), 0xffff);
}
END_TEST

START_TEST(survives_anything)
{
    test_device_survives_anything(i8042_device(i8042), I8042_PORT_COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("i8042");
    TCase *tcase = tcase_create("i8042");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, pulse_on_the_reset_line_resets);
    tcase_add_test(tcase, other_commands_and_data_do_not);
    tcase_add_test(tcase, probe_finds_no_end_of_data);
    tcase_add_test(tcase, reboot_need_not_wait_for_the_input_buffer);
    tcase_add_test(tcase, ports_between_read_as_nothing);
    tcase_add_test(tcase, survives_anything);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
