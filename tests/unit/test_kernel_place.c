#include "loader/kernel_place.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <elf.h>
#include <string.h>

/* A vmlinux in small: two segments as far apart in the file as in memory, two that are nearer there, then symbols. */
static const struct fixture_segment vmlinux[] = {
    {.offset = MIB(2), .gpa = MIB(16), .file_size = 0x10000, .memory_size = 0x10000},
    {.offset = MIB(2) + 0x20000, .gpa = MIB(16) + 0x20000, .file_size = 0x5000, .memory_size = 0x5000},
    {.offset = MIB(2) + 0x40000, .gpa = MIB(16) + 0x25000, .file_size = 0x1234, .memory_size = 0x2000},
    {.offset = MIB(2) + 0x50000, .gpa = MIB(16) + 0x28000, .file_size = 0x20001, .memory_size = 0x40000},
};
#define VMLINUX_COUNT 4u
#define ENTRY MIB(16)

static struct fixture_machine machine;
static struct fixture_file file;
static struct fixture_file packed;
static struct elf_image image;
static struct error error;

static void set_up(void)
{
    fixture_machine_init(&machine, MIB(64), 1);
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
    fixture_file_free(&file);
    fixture_file_free(&packed);
}

static int place(const struct fixture_segment *segments, size_t count, uint64_t preferred_gpa)
{
    file = fixture_elf64(segments[0].gpa, 0, segments, count, 0x3000);
    packed = fixture_pack(PAYLOAD_LZ4, &file);
    error = (struct error){0};
    return kernel_place_payload(PAYLOAD_LZ4, packed.data, packed.size, preferred_gpa, &machine.platform,
                                &machine.memory, &image, &error);
}

/* All of the RAM above 1 MiB: the segments' bytes, and zeroes everywhere else. */
static void expect_memory(const struct fixture_segment *segments, size_t count)
{
    uint64_t position = LAYOUT_HIGH_RAM_GPA;
    uint64_t end = kernel_place_ram_end(&machine.platform.ram);

    for (; position < end; position++) {
        uint8_t expected = 0;

        for (size_t i = 0; i < count; i++) {
            if (position >= segments[i].gpa && position - segments[i].gpa < segments[i].file_size)
                expected = fixture_byte(position);
        }
        if (machine.memory_base[position] != expected)
            ck_abort_msg("0x%lx: %02x instead of %02x", (unsigned long)position, machine.memory_base[position],
                         expected);
    }
}

static void expect_placed(const struct fixture_segment *segments, size_t count, uint64_t preferred_gpa)
{
    ck_assert_msg(place(segments, count, preferred_gpa) == 0, "%s", error.text);
    ck_assert_uint_eq(image.segment_count, count);
    expect_memory(segments, count);
}

START_TEST(segments_of_a_vmlinux_come_to_their_places)
{
    expect_placed(vmlinux, VMLINUX_COUNT, MIB(16));
}
END_TEST

START_TEST(a_preferred_address_of_none_means_16_mib)
{
    expect_placed(vmlinux, VMLINUX_COUNT, 0);
}
END_TEST

START_TEST(a_wrong_guess_of_the_place_does_no_harm)
{
    static const uint64_t guesses[] = {MIB(3), MIB(15), MIB(20), MIB(40), MIB(64), MIB(1), 1, UINT64_MAX - 3};

    expect_placed(vmlinux, VMLINUX_COUNT, guesses[_i]);
}
END_TEST

START_TEST(segments_in_another_order_than_in_the_file_are_placed)
{
    const struct fixture_segment swapped[] = {
        {.offset = MIB(2) + 0x20000, .gpa = MIB(16), .file_size = 0x10000, .memory_size = 0x10000},
        {.offset = MIB(2), .gpa = MIB(16) + 0x10000, .file_size = 0x10000, .memory_size = 0x10000},
    };

    expect_placed(swapped, 2, MIB(16));
}
END_TEST

START_TEST(segments_that_move_down_past_each_other_are_placed)
{
    const struct fixture_segment swapped[] = {
        {.offset = MIB(2) + 0x28000, .gpa = MIB(16), .file_size = 0x10000, .memory_size = 0x10000},
        {.offset = MIB(2) + 0x18000, .gpa = MIB(16) + 0x10000, .file_size = 0x10000, .memory_size = 0x10000},
    };

    expect_placed(swapped, 2, MIB(16));
}
END_TEST

START_TEST(segments_that_would_move_up_are_placed)
{
    const struct fixture_segment spread[] = {
        {.offset = MIB(2), .gpa = MIB(16), .file_size = 0x10000, .memory_size = 0x10000},
        {.offset = MIB(2) + 0x10000, .gpa = MIB(16) + 0x18000, .file_size = 0x10000, .memory_size = 0x20000},
        {.offset = MIB(2) + 0x20000, .gpa = MIB(16) + 0x40000, .file_size = 0x10000, .memory_size = 0x10000},
    };

    expect_placed(spread, 3, MIB(16));
}
END_TEST

START_TEST(a_segment_without_bytes_in_the_file_may_have_any_offset)
{
    const struct fixture_segment segments[] = {
        {.offset = MIB(2), .gpa = MIB(16), .file_size = 0x1000, .memory_size = 0x1000},
        {.offset = 0, .gpa = MIB(17), .file_size = 0, .memory_size = 0x1000},
        {.offset = MIB(2) + 0x2000, .gpa = MIB(18), .file_size = 0x1000, .memory_size = 0x1000},
    };

    expect_placed(segments, 3, MIB(18));
}
END_TEST

START_TEST(a_payload_that_is_no_64_bit_elf_leaves_memory_as_it_was)
{
    file = fixture_elf64(ENTRY, 0, vmlinux, VMLINUX_COUNT, 0);
    file.data[_i] ^= 3; /* the magic, or the class */
    packed = fixture_pack(PAYLOAD_LZ4, &file);
    ck_assert_int_eq(kernel_place_payload(PAYLOAD_LZ4, packed.data, packed.size, MIB(16), &machine.platform,
                                          &machine.memory, &image, &error),
                     1);
    expect_memory(NULL, 0);
}
END_TEST

static void expect_refused(const char *words)
{
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\" in: %s", words, error.text);
}

START_TEST(a_size_beyond_the_machine_s_memory_is_refused_with_both)
{
    const uint32_t announced = UINT32_MAX;

    file = fixture_elf64(ENTRY, 0, vmlinux, VMLINUX_COUNT, 0);
    packed = fixture_pack(PAYLOAD_LZ4, &file);
    memcpy(packed.data + packed.size - 4, &announced, 4);
    ck_assert_int_eq(kernel_place_payload(PAYLOAD_LZ4, packed.data, packed.size, MIB(16), &machine.platform,
                                          &machine.memory, &image, &error),
                     -1);
    expect_refused("4096 MiB");
    expect_refused("63 MiB");
}
END_TEST

START_TEST(a_size_of_nothing_is_refused)
{
    file = fixture_elf64(ENTRY, 0, vmlinux, VMLINUX_COUNT, 0);
    packed = fixture_pack(PAYLOAD_LZ4, &file);
    memset(packed.data + packed.size - 4, 0, 4);
    ck_assert_int_eq(kernel_place_payload(PAYLOAD_LZ4, packed.data, packed.size, MIB(16), &machine.platform,
                                          &machine.memory, &image, &error),
                     -1);
    expect_refused("0 bytes");
}
END_TEST

START_TEST(segments_outside_of_ram_are_refused)
{
    struct fixture_segment segment = {.offset = MIB(2), .gpa = MIB(64) - 0x1000, .file_size = 0x1000};

    segment.memory_size = 0x1001;
    ck_assert_int_eq(place(&segment, 1, MIB(16)), -1);
    expect_refused("needs 65 MiB");
    expect_refused("has 64 MiB");
    tear_down();
    set_up();
    segment.memory_size = 0x1000;
    expect_placed(&segment, 1, MIB(16));
}
END_TEST

START_TEST(the_place_of_a_kernel_is_ram_above_1_mib_and_below_the_devices)
{
    ck_assert_int_eq(kernel_place_check(&machine.platform, MIB(1), MIB(63), &error), 0);
    ck_assert_int_eq(kernel_place_check(&machine.platform, MIB(1), MIB(63) + 1, &error), -1);
    expect_refused("needs 65 MiB");
    ck_assert_int_eq(kernel_place_check(&machine.platform, MIB(1) - 1, 1, &error), -1);
    expect_refused("below 1 MiB");
    ck_assert_int_eq(kernel_place_check(&machine.platform, LAYOUT_DEVICES_GPA, 1, &error), -1);
    expect_refused("link it elsewhere");
    ck_assert_int_eq(kernel_place_check(&machine.platform, UINT64_MAX, 2, &error), -1);
    expect_refused("link it elsewhere");
}
END_TEST

START_TEST(an_elf_of_its_own_is_copied_to_its_places)
{
    file = fixture_elf64(ENTRY, 0, vmlinux, VMLINUX_COUNT, 0);
    ck_assert_int_eq(elf_image_parse(file.data, file.size, &image, &error), 0);
    ck_assert_int_eq(kernel_place_segments(&image, file.data, &machine.platform, &machine.memory, &error), 0);
    expect_memory(vmlinux, VMLINUX_COUNT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel_place");
    TCase *tcase = tcase_create("kernel_place");

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, segments_of_a_vmlinux_come_to_their_places);
    tcase_add_test(tcase, a_preferred_address_of_none_means_16_mib);
    tcase_add_loop_test(tcase, a_wrong_guess_of_the_place_does_no_harm, 0, 8);
    tcase_add_test(tcase, segments_in_another_order_than_in_the_file_are_placed);
    tcase_add_test(tcase, segments_that_move_down_past_each_other_are_placed);
    tcase_add_test(tcase, segments_that_would_move_up_are_placed);
    tcase_add_test(tcase, a_segment_without_bytes_in_the_file_may_have_any_offset);
    tcase_add_loop_test(tcase, a_payload_that_is_no_64_bit_elf_leaves_memory_as_it_was, EI_MAG3, EI_CLASS + 1);
    tcase_add_test(tcase, a_size_beyond_the_machine_s_memory_is_refused_with_both);
    tcase_add_test(tcase, a_size_of_nothing_is_refused);
    tcase_add_test(tcase, segments_outside_of_ram_are_refused);
    tcase_add_test(tcase, the_place_of_a_kernel_is_ram_above_1_mib_and_below_the_devices);
    tcase_add_test(tcase, an_elf_of_its_own_is_copied_to_its_places);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
