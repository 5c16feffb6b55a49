#include "loader/x86/entry.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <string.h>

static struct fixture_machine machine;
static struct error error;

static void set_up(void)
{
    fixture_machine_init(&machine, MIB(64), 1);
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
}

static struct boot_entry write_entry(enum boot_mode mode)
{
    struct boot_entry entry = {.mode = mode};

    ck_assert_int_eq(entry_write(&machine.platform, &machine.memory, &entry, &error), 0);
    return entry;
}

static uint64_t read64(uint64_t gpa)
{
    uint64_t value;

    memcpy(&value, machine.memory_base + gpa, sizeof(value));
    return value;
}

/* What the processor makes of a virtual address: Intel SDM, volume 3, 4.5. UINT64_MAX: a page fault. */
static uint64_t translate(uint64_t cr3, uint64_t address)
{
    uint64_t table = cr3;

    for (unsigned shift = 39; shift >= 21; shift -= 9) {
        uint64_t item = read64(table + (address >> shift & 511) * 8);
        uint64_t page_mask = (UINT64_C(1) << shift) - 1;

        if ((item & 3) != 3)
            return UINT64_MAX;
        if (shift < 39 && (item & 0x80))
            return (item & ~UINT64_C(0xfff) & ~page_mask) | (address & page_mask);
        table = item & ~UINT64_C(0xfff);
    }
    return UINT64_MAX;
}

START_TEST(the_first_4_gib_are_mapped_to_themselves)
{
    static const uint64_t addresses[] = {
        0, 0x7000, MIB(16) + 5, GIB(1) - 1, GIB(1), GIB(2) + MIB(3), GIB(3) + 0x1234, LAYOUT_IOAPIC_GPA, GIB(4) - 1};

    machine.platform.has_1gib_pages = _i;
    struct boot_entry entry = write_entry(BOOT_LINUX_64);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
        ck_assert_uint_eq(translate(entry.cr3, addresses[i]), addresses[i]);
}
END_TEST

START_TEST(with_1_gib_pages_512_gib_are_mapped)
{
    struct boot_entry entry = write_entry(BOOT_LINUX_64);

    ck_assert_uint_eq(translate(entry.cr3, GIB(512) - 1), GIB(512) - 1);
    ck_assert_uint_eq(translate(entry.cr3, GIB(512)), UINT64_MAX);
}
END_TEST

START_TEST(the_tables_stay_clear_of_the_command_line)
{
    machine.platform.has_1gib_pages = false;
    memset(machine.memory_base + LAYOUT_PAGE_TABLES_GPA + 6 * 4096, 0x5a, 64);
    write_entry(BOOT_LINUX_64);
    ck_assert_uint_le(LAYOUT_PAGE_TABLES_GPA + 6 * 4096, LAYOUT_CMDLINE_GPA);
    for (size_t i = 0; i < 64; i++)
        ck_assert_uint_eq(machine.memory_base[LAYOUT_PAGE_TABLES_GPA + 6 * 4096 + i], 0x5a);
}
END_TEST

START_TEST(without_paging_there_is_no_cr3)
{
    ck_assert_uint_eq(write_entry(BOOT_LINUX_32).cr3, 0);
    ck_assert_uint_eq(write_entry(BOOT_PVH).cr3, 0);
}
END_TEST

/* Intel SDM, volume 3, figure 3-8: type and S in bits 40 to 44, P in 47, L in 53, D in 54, G in 55. */
START_TEST(the_gdt_has_the_segments_of_the_mode)
{
    static const struct {
        enum boot_mode mode;
        bool is_long;
    } modes[] = {{BOOT_LINUX_64, true}, {BOOT_LINUX_32, false}, {BOOT_PVH, false}};
    struct boot_entry entry = write_entry(modes[_i].mode);
    uint64_t code = read64(entry.gdt_gpa + BOOT_CODE_SELECTOR);
    uint64_t data = read64(entry.gdt_gpa + BOOT_DATA_SELECTOR);
    uint64_t tss = read64(entry.gdt_gpa + BOOT_TSS_SELECTOR);

    ck_assert_uint_eq(entry.gdt_limit, BOOT_TSS_SELECTOR + 15);
    ck_assert_uint_eq(read64(entry.gdt_gpa), 0);
    ck_assert_uint_eq(code >> 40 & 0xff, 0x9b);
    ck_assert_uint_eq(code >> 53 & 1, modes[_i].is_long);
    ck_assert_uint_eq(code >> 54 & 1, !modes[_i].is_long);
    ck_assert_uint_eq(data >> 40 & 0xff, 0x93);
    ck_assert_uint_eq(data >> 54 & 3, 3);
    ck_assert_uint_eq(data & 0xffff, 0xffff);
    ck_assert_uint_eq(tss >> 40 & 0xff, 0x8b);
    ck_assert_uint_eq(entry.rsp, LAYOUT_BOOT_STACK_TOP_GPA);
}
END_TEST

START_TEST(a_machine_without_the_memory_is_the_host_s_error)
{
    struct boot_entry entry = {.mode = BOOT_LINUX_64};

    machine.platform.ram.count = 0;
    ck_assert_int_eq(entry_write(&machine.platform, &machine.memory, &entry, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_HOST);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("entry");
    TCase *tcase = tcase_create("entry");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, the_first_4_gib_are_mapped_to_themselves, 0, 2);
    tcase_add_test(tcase, with_1_gib_pages_512_gib_are_mapped);
    tcase_add_test(tcase, the_tables_stay_clear_of_the_command_line);
    tcase_add_test(tcase, without_paging_there_is_no_cr3);
    tcase_add_loop_test(tcase, the_gdt_has_the_segments_of_the_mode, 0, 3);
    tcase_add_test(tcase, a_machine_without_the_memory_is_the_host_s_error);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
