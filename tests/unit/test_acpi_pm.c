#include "device_test.h"
#include "devices/acpi_pm.h"
#include "memory/x86/layout.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    STATUS = TEST_DEVICE_BASE + ACPI_PM1_EVENT_OFFSET,
    ENABLE = STATUS + 2,
    CONTROL = TEST_DEVICE_BASE + ACPI_PM1_CONTROL_OFFSET,
    TIMER = TEST_DEVICE_BASE + ACPI_PM_TIMER_OFFSET,
};
enum { POWER_BUTTON = 0x100, SCI_EN = 1, SLP_EN = 0x2000 };

static struct test_irq sci;
static struct test_requests requests;
static const struct log quiet = {.level = LOG_LEVEL_ERROR, .fd = 2};
static struct acpi_pm *pm;
static struct bus *bus;

static void setup(void)
{
    const struct irq_line line = test_irq_line(&sci);
    const struct system_requests system = test_system_requests(&requests);

    sci = (struct test_irq){0};
    requests = (struct test_requests){0};
    pm = acpi_pm_create(&line, &system, &quiet);
    ck_assert_ptr_nonnull(pm);
    bus = test_bus_with(acpi_pm_device(pm), ACPI_PM_BLOCK_SIZE);
}

static void teardown(void)
{
    bus_destroy(bus);
    acpi_pm_destroy(pm);
    acpi_pm_destroy(NULL);
}

START_TEST(power_button_holds_the_sci_until_it_is_cleared)
{
    bus_write(bus, ENABLE, 2, POWER_BUTTON);
    ck_assert_int_eq(sci.level, 0);
    acpi_pm_power_button(pm);
    ck_assert_int_eq(sci.level, 1);
    ck_assert_uint_eq(bus_read(bus, STATUS, 2), POWER_BUTTON);
    /* Writing 0, or another bit, clears nothing. */
    bus_write(bus, STATUS, 2, 0);
    bus_write(bus, STATUS, 2, 0xfeff);
    ck_assert_int_eq(sci.level, 1);
    bus_write(bus, STATUS, 2, POWER_BUTTON);
    ck_assert_uint_eq(bus_read(bus, STATUS, 2), 0);
    ck_assert_int_eq(sci.level, 0);
    acpi_pm_power_button(pm);
    acpi_pm_power_button(pm);
    ck_assert_int_eq(sci.level, 1);
    ck_assert_uint_eq(sci.rises, 2);
    ck_assert_uint_eq(requests.count, 0);
}
END_TEST

START_TEST(power_button_waits_for_its_enable_bit)
{
    acpi_pm_power_button(pm);
    ck_assert_int_eq(sci.level, 0);
    ck_assert_uint_eq(bus_read(bus, STATUS, 2), POWER_BUTTON);
    bus_write(bus, ENABLE, 2, 0xffff & ~POWER_BUTTON);
    ck_assert_int_eq(sci.level, 0);
    bus_write(bus, ENABLE, 2, POWER_BUTTON);
    ck_assert_int_eq(sci.level, 1);
    bus_write(bus, ENABLE, 2, 0);
    ck_assert_int_eq(sci.level, 0);
}
END_TEST

START_TEST(sleep_type_of_s5_powers_off)
{
    bus_write(bus, CONTROL, 2, ACPI_SLEEP_TYPE_S5 << 10);
    ck_assert_uint_eq(requests.count, 0);
    bus_write(bus, CONTROL, 2, ACPI_SLEEP_TYPE_S5 << 10 | SLP_EN);
    ck_assert_uint_eq(requests.count, 1);
    ck_assert_int_eq(requests.last, SYSTEM_POWER_OFF);
    ck_assert_uint_eq(bus_read(bus, CONTROL, 2), ACPI_SLEEP_TYPE_S5 << 10 | SCI_EN);
}
END_TEST

START_TEST(s5_works_by_the_byte_and_by_the_dword)
{
    bus_write(bus, CONTROL + 1, 1, ACPI_SLEEP_TYPE_S5 << 2 | SLP_EN >> 8);
    ck_assert_uint_eq(requests.count, 1);
    bus_write(bus, CONTROL, 4, ACPI_SLEEP_TYPE_S5 << 10 | SLP_EN);
    ck_assert_uint_eq(requests.count, 2);
    /* From the enable register across into control. */
    bus_write(bus, ENABLE, 4, (uint64_t)(ACPI_SLEEP_TYPE_S5 << 10 | SLP_EN) << 16 | POWER_BUTTON);
    ck_assert_uint_eq(requests.count, 3);
    ck_assert_uint_eq(bus_read(bus, ENABLE, 2), POWER_BUTTON);
}
END_TEST

START_TEST(other_sleep_types_do_nothing)
{
    for (unsigned type = 0; type < 8; type++) {
        if (type != ACPI_SLEEP_TYPE_S5)
            bus_write(bus, CONTROL, 2, type << 10 | SLP_EN);
    }
    ck_assert_uint_eq(requests.count, 0);
}
END_TEST

START_TEST(acpi_mode_is_always_on)
{
    ck_assert_uint_eq(bus_read(bus, CONTROL, 2), SCI_EN);
    bus_write(bus, CONTROL, 2, 0);
    ck_assert_uint_eq(bus_read(bus, CONTROL, 2), SCI_EN);
    bus_write(bus, CONTROL, 2, 0x0007);
    ck_assert_uint_eq(bus_read(bus, CONTROL, 2), 0x0003);
}
END_TEST

START_TEST(registers_work_byte_by_byte)
{
    acpi_pm_power_button(pm);
    bus_write(bus, ENABLE, 1, 0xff);
    ck_assert_uint_eq(bus_read(bus, ENABLE, 2), 0x0021);
    ck_assert_int_eq(sci.level, 0);
    bus_write(bus, ENABLE + 1, 1, 0x01);
    ck_assert_uint_eq(bus_read(bus, ENABLE, 2), 0x0121);
    ck_assert_int_eq(sci.level, 1);
    ck_assert_uint_eq(bus_read(bus, STATUS, 1), 0);
    ck_assert_uint_eq(bus_read(bus, STATUS + 1, 1), 1);
    ck_assert_uint_eq(bus_read(bus, STATUS, 4), 0x01210100);
    ck_assert_uint_eq(bus_read(bus, STATUS + 1, 2), 0x2101);
    bus_write(bus, STATUS, 1, 0xff);
    ck_assert_int_eq(sci.level, 1);
    bus_write(bus, STATUS + 1, 1, 0x01);
    ck_assert_int_eq(sci.level, 0);
    ck_assert_uint_eq(bus_read(bus, ENABLE, 2), 0x0121);
}
END_TEST

START_TEST(a_dword_sets_status_and_enable)
{
    acpi_pm_power_button(pm);
    bus_write(bus, STATUS, 4, (uint64_t)POWER_BUTTON << 16 | POWER_BUTTON);
    ck_assert_uint_eq(bus_read(bus, STATUS, 4), (uint64_t)POWER_BUTTON << 16);
    /* Cleared before it was enabled. */
    ck_assert_uint_eq(sci.rises, 0);
}
END_TEST

static uint64_t monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

START_TEST(timer_runs_at_its_rate)
{
    const struct timespec pause = {.tv_nsec = 50000000};

    /* The timer is read at some moment of [begin, begin_end], and again of [end, end_end]. */
    uint64_t begin = monotonic_ns();
    uint32_t first = (uint32_t)bus_read(bus, TIMER, 4);
    uint64_t begin_end = monotonic_ns();
    nanosleep(&pause, NULL);
    uint64_t end = monotonic_ns();
    uint32_t ticks = (uint32_t)bus_read(bus, TIMER, 4) - first;
    uint64_t end_end = monotonic_ns();

    ck_assert_uint_ge(ticks + 1, (end - begin_end) * 3579545 / 1000000000);
    ck_assert_uint_le(ticks, (end_end - begin) * 3579545 / 1000000000 + 1);
}
END_TEST

START_TEST(timer_cannot_be_written)
{
    uint32_t before = (uint32_t)bus_read(bus, TIMER, 4);

    bus_write(bus, TIMER, 4, 0x80000000);
    device_reset(acpi_pm_device(pm));
    uint32_t ticks = (uint32_t)bus_read(bus, TIMER, 4) - before;
    ck_assert_uint_lt(ticks, 0x40000000);
}
END_TEST

START_TEST(reset_forgets_events)
{
    bus_write(bus, ENABLE, 2, POWER_BUTTON);
    acpi_pm_power_button(pm);
    device_reset(acpi_pm_device(pm));
    ck_assert_int_eq(sci.level, 0);
    ck_assert_uint_eq(bus_read(bus, STATUS, 4), 0);
    ck_assert_uint_eq(bus_read(bus, CONTROL, 2), SCI_EN);
}
END_TEST

static _Atomic(int) presses_done;

static void *press_often(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 10000; i++)
        acpi_pm_power_button(pm);
    atomic_store(&presses_done, 1);
    return NULL;
}

START_TEST(button_and_guest_at_once)
{
    pthread_t thread;

    bus_write(bus, ENABLE, 2, POWER_BUTTON);
    ck_assert_int_eq(pthread_create(&thread, NULL, press_often, NULL), 0);
    while (!atomic_load(&presses_done)) {
        (void)bus_read(bus, STATUS, 2);
        bus_write(bus, STATUS, 2, POWER_BUTTON);
    }
    pthread_join(thread, NULL);
    bus_write(bus, STATUS, 2, POWER_BUTTON);
    ck_assert_int_eq(sci.level, 0);
}
END_TEST

START_TEST(survives_anything)
{
    test_device_survives_anything(acpi_pm_device(pm), ACPI_PM_BLOCK_SIZE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("acpi_pm");
    TCase *tcase = tcase_create("acpi_pm");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, power_button_holds_the_sci_until_it_is_cleared);
    tcase_add_test(tcase, power_button_waits_for_its_enable_bit);
    tcase_add_test(tcase, sleep_type_of_s5_powers_off);
    tcase_add_test(tcase, s5_works_by_the_byte_and_by_the_dword);
    tcase_add_test(tcase, other_sleep_types_do_nothing);
    tcase_add_test(tcase, acpi_mode_is_always_on);
    tcase_add_test(tcase, registers_work_byte_by_byte);
    tcase_add_test(tcase, a_dword_sets_status_and_enable);
    tcase_add_test(tcase, timer_runs_at_its_rate);
    tcase_add_test(tcase, timer_cannot_be_written);
    tcase_add_test(tcase, reset_forgets_events);
    tcase_add_test(tcase, button_and_guest_at_once);
    tcase_add_test(tcase, survives_anything);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
