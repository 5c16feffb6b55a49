#include "memory/x86/layout.h"
#include "unit_test.h"

static uint64_t total(const struct ram_layout *layout)
{
    uint64_t size = 0;

    for (size_t i = 0; i < layout->count; i++)
        size += layout->ranges[i].size;
    return size;
}

START_TEST(ram_up_to_the_hole_is_in_one_piece_above_1_mib)
{
    struct ram_layout layout;

    ram_layout_compute(GIB(3), &layout);
    ck_assert_uint_eq(layout.count, 2);
    ck_assert_uint_eq(layout.ranges[1].gpa + layout.ranges[1].size, LAYOUT_DEVICES_GPA);
    ram_layout_compute(LAYOUT_MIN_RAM_SIZE, &layout);
    ck_assert_uint_eq(layout.count, 2);
    ck_assert_uint_eq(layout.ranges[1].gpa + layout.ranges[1].size, LAYOUT_MIN_RAM_SIZE);
}
END_TEST

START_TEST(what_does_not_fit_below_the_hole_goes_above_4_gib)
{
    struct ram_layout layout;

    ram_layout_compute(GIB(3) + 4096, &layout);
    ck_assert_uint_eq(layout.count, 3);
    ck_assert_uint_eq(layout.ranges[2].gpa, GIB(4));
    ck_assert_uint_eq(layout.ranges[2].size, 4096);
    ram_layout_compute(GIB(6), &layout);
    ck_assert_uint_eq(layout.ranges[2].size, GIB(3));
}
END_TEST

START_TEST(all_of_the_ram_is_somewhere_but_for_the_pc_hole)
{
    const uint64_t sizes[] = {MIB(32), MIB(512), GIB(3), GIB(5), GIB(1024), LAYOUT_MAX_RAM_SIZE};
    struct ram_layout layout;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ram_layout_compute(sizes[i], &layout);
        ck_assert_uint_eq(total(&layout), sizes[i] - (LAYOUT_HIGH_RAM_GPA - LAYOUT_LOW_RAM_END_GPA));
        for (size_t j = 1; j < layout.count; j++)
            ck_assert_uint_gt(layout.ranges[j].gpa, layout.ranges[j - 1].gpa + layout.ranges[j - 1].size);
    }
}
END_TEST

START_TEST(fixed_addresses_do_not_touch_each_other)
{
    /* Below 640 KiB, in order, each with its size. */
    const uint64_t low[][2] = {{LAYOUT_GDT_GPA, 0x1000},
                               {LAYOUT_PVH_START_INFO_GPA, 0x5000},
                               {LAYOUT_BOOT_PARAMS_GPA, 0x1000},
                               {LAYOUT_PAGE_TABLES_GPA, 0x6000},
                               {LAYOUT_CMDLINE_GPA, LAYOUT_CMDLINE_MAX_SIZE},
                               {LAYOUT_FACS_GPA, 0x1000},
                               {LAYOUT_LOW_RAM_END_GPA, 0}};
    /* The hole below 4 GiB. */
    const uint64_t high[][2] = {{LAYOUT_DEVICES_GPA, 0},
                                {LAYOUT_PCI_MMCONFIG_GPA, LAYOUT_PCI_MMCONFIG_SIZE},
                                {LAYOUT_IOAPIC_GPA, 0x1000},
                                {LAYOUT_LAPIC_GPA, 0x1000},
                                {LAYOUT_KVM_IDENTITY_MAP_GPA, 0x1000},
                                {LAYOUT_KVM_TSS_GPA, 0x3000},
                                {LAYOUT_RAM_ABOVE_4G_GPA, 0}};

    for (size_t i = 1; i < sizeof(low) / sizeof(low[0]); i++)
        ck_assert_uint_le(low[i - 1][0] + low[i - 1][1], low[i][0]);
    for (size_t i = 1; i < sizeof(high) / sizeof(high[0]); i++)
        ck_assert_uint_le(high[i - 1][0] + high[i - 1][1], high[i][0]);
}
END_TEST

START_TEST(virtio_devices_have_inputs_of_their_own)
{
    /* The timer, the keyboard, the cascade, both serial ports, the clock, ACPI and the coprocessor. */
    uint32_t taken = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 13;

    for (unsigned i = 0; i < LAYOUT_VIRTIO_MMIO_COUNT; i++) {
        const uint32_t bit = 1u << layout_virtio_mmio_gsi(i, false);
        ck_assert(bit < 1 << 16 && (taken & bit) == 0);
        ck_assert((LAYOUT_8259_VIRTIO_GSIS & bit) != 0);
        taken |= bit;
        ck_assert_uint_eq(layout_virtio_mmio_gsi(i, true), 16 + i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("layout");
    TCase *tcase = tcase_create("layout");

    tcase_add_test(tcase, ram_up_to_the_hole_is_in_one_piece_above_1_mib);
    tcase_add_test(tcase, what_does_not_fit_below_the_hole_goes_above_4_gib);
    tcase_add_test(tcase, all_of_the_ram_is_somewhere_but_for_the_pc_hole);
    tcase_add_test(tcase, fixed_addresses_do_not_touch_each_other);
    tcase_add_test(tcase, virtio_devices_have_inputs_of_their_own);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
