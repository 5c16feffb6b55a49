#include "device_test.h"
#include "devices/cmos.h"

enum { INDEX = TEST_DEVICE_BASE, DATA = TEST_DEVICE_BASE + 1 };
enum { SECONDS = 0, MINUTES = 2, HOURS = 4, WEEKDAY = 6, DAY = 7, MONTH = 8, YEAR = 9 };
enum { STATUS_A = 10, STATUS_B = 11, STATUS_C = 12, STATUS_D = 13, CENTURY = 0x32 };
enum { B_SET = 0x80, B_BINARY = 0x04, B_24_HOURS = 0x02 };

static time_t host_now;
static struct cmos *cmos;
static struct bus *bus;

static time_t fake_time(time_t *ret_now)
{
    ck_assert_ptr_null(ret_now);
    return host_now;
}

/* 2023-12-31 23:59:58 UTC, a Sunday. */
static void setup(void)
{
    host_now = 1704067198;
    cmos = cmos_create(fake_time);
    ck_assert_ptr_nonnull(cmos);
    bus = test_bus_with(cmos_device(cmos), CMOS_PORT_COUNT);
}

static void teardown(void)
{
    bus_destroy(bus);
    cmos_destroy(cmos);
    cmos_destroy(NULL);
}

static unsigned get(unsigned index)
{
    bus_write(bus, INDEX, 1, index);
    return (unsigned)bus_read(bus, DATA, 1);
}

static void set(unsigned index, unsigned value)
{
    bus_write(bus, INDEX, 1, index);
    bus_write(bus, DATA, 1, value);
}

static void check_date(unsigned century, unsigned year, unsigned month, unsigned day)
{
    ck_assert_uint_eq(get(CENTURY), century);
    ck_assert_uint_eq(get(YEAR), year);
    ck_assert_uint_eq(get(MONTH), month);
    ck_assert_uint_eq(get(DAY), day);
}

static void check_time(unsigned hours, unsigned minutes, unsigned seconds)
{
    ck_assert_uint_eq(get(HOURS), hours);
    ck_assert_uint_eq(get(MINUTES), minutes);
    ck_assert_uint_eq(get(SECONDS), seconds);
}

START_TEST(time_is_the_hosts_in_bcd_and_24_hours)
{
    check_date(0x20, 0x23, 0x12, 0x31);
    check_time(0x23, 0x59, 0x58);
    ck_assert_uint_eq(get(WEEKDAY), 1);
    host_now += 2;
    check_date(0x20, 0x24, 0x01, 0x01);
    check_time(0x00, 0x00, 0x00);
    ck_assert_uint_eq(get(WEEKDAY), 2);
}
END_TEST

START_TEST(binary_mode_counts_in_binary)
{
    set(STATUS_B, B_24_HOURS | B_BINARY);
    check_date(20, 23, 12, 31);
    check_time(23, 59, 58);
}
END_TEST

START_TEST(hours_of_12_have_a_bit_for_the_afternoon)
{
    static const uint8_t bcd[24] = {0x12, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x10, 0x11,
                                    0x92, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x90, 0x91};
    static const uint8_t binary[24] = {12,        1,        2,        3,        4,         5,
                                       6,         7,        8,        9,        10,        11,
                                       0x80 | 12, 0x80 | 1, 0x80 | 2, 0x80 | 3, 0x80 | 4,  0x80 | 5,
                                       0x80 | 6,  0x80 | 7, 0x80 | 8, 0x80 | 9, 0x80 | 10, 0x80 | 11};

    for (unsigned hour = 0; hour < 24; hour++) {
        host_now = 1704067200 + (time_t)hour * 3600;
        set(STATUS_B, 0);
        ck_assert_uint_eq(get(HOURS), bcd[hour]);
        set(STATUS_B, B_BINARY);
        ck_assert_uint_eq(get(HOURS), binary[hour]);
        /* What was read can be written, and is the same time. */
        set(HOURS, binary[hour]);
        ck_assert_uint_eq(get(HOURS), binary[hour]);
        set(STATUS_B, B_BINARY | B_24_HOURS);
        ck_assert_uint_eq(get(HOURS), hour);
    }
}
END_TEST

START_TEST(leap_years_have_a_29th_of_february)
{
    static const struct {
        time_t before;
        uint8_t century, year, month, day;
    } days[] = {
        {951782400 - 1, 0x20, 0x00, 0x02, 0x29},  /* 2000-02-29: a century that is a leap year */
        {951868800 - 1, 0x20, 0x00, 0x03, 0x01},  /* the day after */
        {1709164800 - 1, 0x20, 0x24, 0x02, 0x29}, /* 2024-02-29 */
        {1677628800 - 1, 0x20, 0x23, 0x03, 0x01}, /* 2023 has none */
        {4107542400 - 1, 0x21, 0x00, 0x03, 0x01}, /* 2100 has none */
    };

    for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
        host_now = days[i].before;
        check_time(0x23, 0x59, 0x59);
        host_now++;
        check_time(0, 0, 0);
        check_date(days[i].century, days[i].year, days[i].month, days[i].day);
    }
}
END_TEST

/* As mc146818_set_time() of Linux writes it. */
static void set_as_linux(unsigned century, unsigned year, unsigned month, unsigned day, unsigned hour, unsigned minute,
                         unsigned second)
{
    unsigned b = get(STATUS_B);
    unsigned a = get(STATUS_A);

    set(STATUS_B, b | B_SET);
    set(STATUS_A, a | 0x70);
    set(YEAR, year);
    set(MONTH, month);
    set(DAY, day);
    set(HOURS, hour);
    set(MINUTES, minute);
    set(SECONDS, second);
    set(CENTURY, century);
    set(STATUS_B, b);
    set(STATUS_A, a);
}

START_TEST(time_that_the_guest_sets_goes_on)
{
    set_as_linux(0x20, 0x31, 0x02, 0x28, 0x23, 0x59, 0x59);
    check_date(0x20, 0x31, 0x02, 0x28);
    check_time(0x23, 0x59, 0x59);
    ck_assert_uint_eq(get(WEEKDAY), 6);
    host_now++;
    check_date(0x20, 0x31, 0x03, 0x01);
    check_time(0, 0, 0);
    host_now -= 86400;
    check_date(0x20, 0x31, 0x02, 0x28);
}
END_TEST

START_TEST(time_stands_still_while_it_is_set)
{
    set(STATUS_B, B_24_HOURS | B_SET);
    host_now += 1000;
    check_time(0x23, 0x59, 0x58);
    set(MINUTES, 0x30);
    check_time(0x23, 0x30, 0x58);
    set(STATUS_B, B_24_HOURS);
    check_time(0x23, 0x30, 0x58);
    host_now += 2;
    check_time(0x23, 0x31, 0x00);
}
END_TEST

START_TEST(one_register_can_be_set_while_the_clock_runs)
{
    set(MINUTES, 0x10);
    check_date(0x20, 0x23, 0x12, 0x31);
    check_time(0x23, 0x10, 0x58);
    host_now += 2;
    check_time(0x23, 0x11, 0x00);
}
END_TEST

START_TEST(no_update_is_ever_in_progress)
{
    set(STATUS_A, 0xff);
    ck_assert_uint_eq(get(STATUS_A), 0x7f);
    set(STATUS_A, 0x26);
    for (unsigned i = 0; i < 10; i++, host_now++)
        ck_assert_uint_eq(get(STATUS_A), 0x26);
}
END_TEST

START_TEST(status_registers_are_as_drivers_expect)
{
    ck_assert_uint_eq(get(STATUS_A), 0x26);
    ck_assert_uint_eq(get(STATUS_B), B_24_HOURS);
    ck_assert_uint_eq(get(STATUS_C), 0);
    ck_assert_uint_eq(get(STATUS_D), 0x80);
    set(STATUS_C, 0xff);
    set(STATUS_D, 0xff);
    ck_assert_uint_eq(get(STATUS_C), 0);
    ck_assert_uint_eq(get(STATUS_D), 0x80);
    /* Interrupt enables read back. */
    set(STATUS_B, 0x72);
    ck_assert_uint_eq(get(STATUS_B), 0x72);
    ck_assert_uint_eq(get(STATUS_C), 0);
}
END_TEST

START_TEST(ram_keeps_what_is_written)
{
    for (unsigned index = 0x0e; index < 0x80; index++) {
        if (index != CENTURY)
            set(index, index ^ 0x5a);
    }
    for (unsigned index = 0x0e; index < 0x80; index++) {
        if (index != CENTURY)
            ck_assert_uint_eq(get(index), index ^ 0x5a);
    }
    /* Alarm registers, too. */
    set(1, 0xc0);
    ck_assert_uint_eq(get(1), 0xc0);
    /* Bit 7 of the index is the NMI mask. */
    ck_assert_uint_eq(get(0x80 | 0x40), 0x40 ^ 0x5a);
    ck_assert_uint_eq(bus_read(bus, INDEX, 1), 0xff);
}
END_TEST

START_TEST(reset_keeps_time_and_ram)
{
    set_as_linux(0x20, 0x31, 0x02, 0x28, 0x23, 0x59, 0x59);
    set(0x40, 0x77);
    set(STATUS_B, 0x70 | B_24_HOURS | B_BINARY);
    device_reset(cmos_device(cmos));
    ck_assert_uint_eq(get(STATUS_B), B_24_HOURS | B_BINARY);
    ck_assert_uint_eq(get(0x40), 0x77);
    check_date(20, 31, 2, 28);
}
END_TEST

START_TEST(nonsense_carries_over_and_never_hurts)
{
    set_as_linux(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff);
    (void)get(YEAR);
    set_as_linux(0, 0, 0, 0, 0, 0, 0);
    /* The 0th of month 0 of year 0 is the 30th of November before it. */
    check_date(0x99, 0x99, 0x11, 0x30);
    set_as_linux(0x20, 0x24, 0x02, 0x30, 0, 0, 0);
    check_date(0x20, 0x24, 0x03, 0x01);
}
END_TEST

START_TEST(host_clock_that_no_calendar_has_changes_nothing)
{
    static const time_t times[] = {INT64_MIN, INT64_MAX};

    check_time(0x23, 0x59, 0x58);
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        host_now = times[i];
        check_time(0x23, 0x59, 0x58);
    }
    host_now = -1;
    check_date(0x19, 0x69, 0x12, 0x31);
}
END_TEST

START_TEST(survives_anything)
{
    test_device_survives_anything(cmos_device(cmos), CMOS_PORT_COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cmos");
    TCase *tcase = tcase_create("cmos");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, time_is_the_hosts_in_bcd_and_24_hours);
    tcase_add_test(tcase, binary_mode_counts_in_binary);
    tcase_add_test(tcase, hours_of_12_have_a_bit_for_the_afternoon);
    tcase_add_test(tcase, leap_years_have_a_29th_of_february);
    tcase_add_test(tcase, time_that_the_guest_sets_goes_on);
    tcase_add_test(tcase, time_stands_still_while_it_is_set);
    tcase_add_test(tcase, one_register_can_be_set_while_the_clock_runs);
    tcase_add_test(tcase, no_update_is_ever_in_progress);
    tcase_add_test(tcase, status_registers_are_as_drivers_expect);
    tcase_add_test(tcase, ram_keeps_what_is_written);
    tcase_add_test(tcase, reset_keeps_time_and_ram);
    tcase_add_test(tcase, nonsense_carries_over_and_never_hurts);
    tcase_add_test(tcase, host_clock_that_no_calendar_has_changes_nothing);
    tcase_add_test(tcase, survives_anything);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
