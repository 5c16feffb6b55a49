#include "loader/loader.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <libfdt.h>
#include <string.h>

#define ENTRY (MIB(16) + 0x40)
#define PVH_ENTRY (MIB(16) + 0x80)
/* What no physical address is: the kernel's own view of its entry. */
#define VIRTUAL_ENTRY 0xffffffff81000040u

static const struct fixture_segment segments[] = {
    {.offset = MIB(2), .gpa = MIB(16), .file_size = 0x2000, .memory_size = 0x2000},
    {.offset = MIB(2) + 0x3000, .gpa = MIB(16) + 0x3000, .file_size = 0x800, .memory_size = 0x2000},
};
#define SEGMENTS_END (MIB(16) + 0x5000)

static struct fixture_machine machine;
static struct fixture_file kernel;
static struct boot_request request;
static struct boot_entry entry;
static struct error error;

static void set_up(void)
{
    fixture_machine_init(&machine, MIB(64), 2);
    request = (struct boot_request){.cmdline = "console=ttyS0", .tables = FIRMWARE_ACPI};
    memset(request.rng_seed, 0xa5, sizeof(request.rng_seed));
}

static void tear_down(void)
{
    fixture_machine_fini(&machine);
    fixture_file_free(&kernel);
}

static void make_bzimage(enum payload_format format)
{
    struct fixture_file elf = fixture_elf64(ENTRY, 0, segments, 2, 0x100);
    struct fixture_file packed = fixture_pack(format, &elf);

    fixture_file_free(&kernel);
    kernel = fixture_bzimage(&packed);
    fixture_file_free(&elf);
    fixture_file_free(&packed);
}

/* A payload that only the image's own code can unpack. */
static void make_old_bzimage(void)
{
    struct fixture_file payload = {.data = (uint8_t[]){'B', 'Z', 'h', '9', 1, 2, 3, 4}, .size = 8};

    fixture_file_free(&kernel);
    kernel = fixture_bzimage(&payload);
}

static void make_elf(uint64_t elf_entry, uint64_t pvh_entry)
{
    fixture_file_free(&kernel);
    kernel = fixture_elf64(elf_entry, pvh_entry, segments, 2, 0);
}

static int load(void)
{
    request.files.kernel = kernel.data;
    request.files.kernel_size = kernel.size;
    request.files.kernel_name = "the-kernel";
    request.files.initrd_name = "the-initrd";
    error = (struct error){0};
    return loader_load(&request, &machine.platform, &machine.memory, &entry, &error);
}

static void expect_loaded(void)
{
    ck_assert_msg(load() == 0, "%s", error.text);
}

static void expect_refused(const char *words)
{
    ck_assert_int_eq(load(), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\" in: %s", words, error.text);
}

static const struct boot_params *params(void)
{
    return (const struct boot_params *)(machine.memory_base + LAYOUT_BOOT_PARAMS_GPA);
}

static const struct setup_data *find_setup_data(uint32_t type)
{
    uint64_t gpa = params()->hdr.setup_data;

    while (gpa) {
        const struct setup_data *data = (const struct setup_data *)(machine.memory_base + gpa);

        if (data->type == type)
            return data;
        gpa = data->next;
    }
    return NULL;
}

static void expect_segments(void)
{
    for (size_t i = 0; i < 2; i++) {
        for (uint64_t gpa = segments[i].gpa; gpa < segments[i].gpa + segments[i].file_size; gpa++)
            ck_assert_uint_eq(machine.memory_base[gpa], fixture_byte(gpa));
    }
}

START_TEST(a_bzimage_s_payload_is_unpacked_and_entered_at_its_elf_entry)
{
    static const struct {
        enum payload_format format;
        const char *description;
    } cases[] = {
        {PAYLOAD_GZIP, "bzImage, gzip payload"},
        {PAYLOAD_XZ, "bzImage, xz payload"},
        {PAYLOAD_LZ4, "bzImage, lz4 payload"},
        {PAYLOAD_ZSTD, "bzImage, zstd payload"},
    };

    make_bzimage(cases[_i].format);
    expect_loaded();
    expect_segments();
    ck_assert_int_eq(entry.mode, BOOT_LINUX_64);
    ck_assert_uint_eq(entry.rip, ENTRY);
    ck_assert_uint_eq(entry.argument, LAYOUT_BOOT_PARAMS_GPA);
    ck_assert_uint_eq(entry.cr3, LAYOUT_PAGE_TABLES_GPA);
    ck_assert_str_eq(entry.description, cases[_i].description);
    ck_assert_uint_eq(params()->hdr.root_flags, 1);
    ck_assert_uint_eq(params()->hdr.init_size, FIXTURE_INIT_SIZE);
}
END_TEST

START_TEST(a_damaged_payload_is_refused_and_not_given_to_the_image_s_own_code)
{
    make_bzimage(PAYLOAD_ZSTD);
    memset(kernel.data + 1024 + FIXTURE_CODE_SIZE + 6, 0xff, 16);
    expect_refused("kernel the-kernel: its zstd payload cannot be unpacked");
}
END_TEST

START_TEST(a_payload_of_another_format_is_left_to_the_image_s_own_code)
{
    make_old_bzimage();
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_LINUX_64);
    ck_assert_uint_eq(entry.rip, FIXTURE_PREF_ADDRESS + 0x200);
    ck_assert_uint_eq(params()->hdr.code32_start, FIXTURE_PREF_ADDRESS);
    ck_assert_mem_eq(machine.memory_base + FIXTURE_PREF_ADDRESS, kernel.data + 1024, kernel.size - 1024);
    ck_assert_str_eq(entry.description, "bzImage, its own decompressor");
}
END_TEST

START_TEST(a_payload_that_is_a_32_bit_kernel_is_left_to_the_image_s_own_code)
{
    struct fixture_file elf = fixture_elf32(MIB(16), 0, &(struct fixture_segment){0x1000, MIB(16), 0x100, 0x100});
    struct fixture_file packed = fixture_pack(PAYLOAD_GZIP, &elf);

    kernel = fixture_bzimage(&packed);
    fixture_file_free(&elf);
    fixture_file_free(&packed);
    fixture_header(&kernel)->xloadflags = 0;
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_LINUX_32);
    ck_assert_uint_eq(entry.rip, FIXTURE_PREF_ADDRESS);
    ck_assert_uint_eq(entry.cr3, 0);
}
END_TEST

START_TEST(an_image_that_cannot_be_moved_goes_to_1_mib)
{
    make_old_bzimage();
    fixture_header(&kernel)->relocatable_kernel = 0;
    expect_loaded();
    ck_assert_uint_eq(entry.rip, MIB(1) + 0x200);
    make_old_bzimage();
    fixture_header(&kernel)->version = 0x0206;
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_LINUX_32);
    ck_assert_uint_eq(entry.rip, MIB(1));
    ck_assert_uint_eq(params()->hdr.setup_data, 0);
}
END_TEST

START_TEST(a_kernel_that_needs_more_memory_than_there_is_is_refused_with_both)
{
    make_bzimage(PAYLOAD_GZIP);
    fixture_header(&kernel)->init_size = MIB(48);
    expect_loaded();
    fixture_header(&kernel)->init_size = MIB(48) + 1;
    expect_refused("needs 65 MiB of memory, and the machine has 64 MiB");
    fixture_header(&kernel)->init_size = UINT32_MAX;
    expect_refused("the-kernel");
}
END_TEST

START_TEST(an_entry_outside_of_the_payload_s_segments_is_refused)
{
    struct fixture_file elf = fixture_elf64(SEGMENTS_END, 0, segments, 2, 0);
    struct fixture_file packed = fixture_pack(PAYLOAD_GZIP, &elf);

    kernel = fixture_bzimage(&packed);
    fixture_file_free(&elf);
    fixture_file_free(&packed);
    expect_refused("entry at 0x1005000");
}
END_TEST

START_TEST(an_entry_outside_of_the_image_s_own_code_is_refused)
{
    make_old_bzimage();
    fixture_header(&kernel)->payload_length = 0;
    fixture_header(&kernel)->syssize = 0x210 / 16;
    expect_loaded();
    fixture_header(&kernel)->syssize = 0x200 / 16;
    expect_refused("64-bit entry at 0x200, and there are 512 bytes of code");
    fixture_header(&kernel)->xloadflags = 0;
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_LINUX_32);
}
END_TEST

START_TEST(files_that_are_no_kernels_are_refused_by_name)
{
    static uint8_t text[] = "hello, world";

    request.files.kernel = text;
    kernel = (struct fixture_file){.data = text, .size = 0};
    expect_refused("kernel the-kernel: the file is empty");
    kernel.size = sizeof(text);
    expect_refused("kernel the-kernel: it is cut short or not a kernel");
    kernel = (struct fixture_file){0};
}
END_TEST

START_TEST(a_command_line_of_the_longest_length_is_passed)
{
    static char cmdline[2049];

    memset(cmdline, 'x', 2047);
    request.cmdline = cmdline;
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    ck_assert_uint_eq(params()->hdr.cmd_line_ptr, LAYOUT_CMDLINE_GPA);
    ck_assert_str_eq((const char *)machine.memory_base + LAYOUT_CMDLINE_GPA, cmdline);
    cmdline[2047] = 'x';
    expect_refused("2048 characters, and the-kernel takes 2047");
    make_elf(ENTRY, 0);
    expect_refused("2048 characters, and the-kernel takes 2047");
}
END_TEST

START_TEST(a_header_without_a_limit_means_255_characters)
{
    static char cmdline[257];

    memset(cmdline, 'x', 256);
    request.cmdline = cmdline;
    make_bzimage(PAYLOAD_GZIP);
    fixture_header(&kernel)->cmdline_size = 0;
    expect_refused("256 characters, and the-kernel takes 255");
}
END_TEST

START_TEST(a_limit_that_lies_does_not_let_the_command_line_out_of_its_place)
{
    static char cmdline[LAYOUT_CMDLINE_MAX_SIZE + 1];

    memset(cmdline, 'x', LAYOUT_CMDLINE_MAX_SIZE);
    request.cmdline = cmdline;
    make_bzimage(PAYLOAD_GZIP);
    fixture_header(&kernel)->cmdline_size = UINT32_MAX;
    expect_refused("65536 characters, and the-kernel takes 65535");
}
END_TEST

START_TEST(no_command_line_is_an_empty_one)
{
    request.cmdline = NULL;
    make_bzimage(PAYLOAD_GZIP);
    machine.memory_base[LAYOUT_CMDLINE_GPA] = 'x';
    expect_loaded();
    ck_assert_uint_eq(machine.memory_base[LAYOUT_CMDLINE_GPA], 0);
}
END_TEST

#define VIRTIO_MMIO_WORDS "virtio_mmio.device=4K@0xfeb00000:5 virtio_mmio.device=4K@0xfeb01000:6 "

START_TEST(without_tables_the_command_line_tells_of_virtio_devices)
{
    const char *cmdline = (const char *)machine.memory_base + LAYOUT_CMDLINE_GPA;

    machine.platform.virtio_mmio_count = 2;
    request.tables = FIRMWARE_NONE;
    request.cmdline = "quiet -- word";
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    ck_assert_str_eq(cmdline, VIRTIO_MMIO_WORDS "quiet -- word");
    machine.platform.virtio_mmio_count = 0;
    expect_loaded();
    ck_assert_str_eq(cmdline, "quiet -- word");
    machine.platform.virtio_mmio_count = LAYOUT_VIRTIO_MMIO_COUNT;
    expect_loaded();
    ck_assert_ptr_nonnull(strstr(cmdline, " virtio_mmio.device=4K@0xfeb07000:15 quiet -- word"));
}
END_TEST

START_TEST(with_tables_the_command_line_is_the_user_s)
{
    machine.platform.virtio_mmio_count = 2;
    request.tables = _i == 0 ? FIRMWARE_ACPI : FIRMWARE_DEVICE_TREE;
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    ck_assert_str_eq((const char *)machine.memory_base + LAYOUT_CMDLINE_GPA, "console=ttyS0");
}
END_TEST

START_TEST(the_words_for_virtio_devices_count_as_part_of_the_command_line)
{
    static char cmdline[2049];

    memset(cmdline, 'x', 2047 - strlen(VIRTIO_MMIO_WORDS));
    machine.platform.virtio_mmio_count = 2;
    request.tables = FIRMWARE_NONE;
    request.cmdline = cmdline;
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    cmdline[strlen(cmdline)] = 'x';
    expect_refused("2048 characters, and the-kernel takes 2047");
}
END_TEST

START_TEST(an_initrd_keeps_away_from_all_that_the_kernel_needs)
{
    uint64_t room = MIB(64) - FIXTURE_PREF_ADDRESS - FIXTURE_INIT_SIZE;
    uint8_t *initrd = calloc(1, room + 1);

    ck_assert_ptr_nonnull(initrd);
    request.files.initrd = initrd;
    request.files.initrd_size = room;
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    ck_assert_uint_eq(params()->hdr.ramdisk_image, FIXTURE_PREF_ADDRESS + FIXTURE_INIT_SIZE);
    ck_assert_uint_eq(params()->hdr.ramdisk_size, room);
    request.files.initrd_size = room + 1;
    expect_refused("initrd the-initrd: it has 45 MiB");
    free(initrd);
}
END_TEST

START_TEST(an_initrd_keeps_away_from_code_that_is_longer_than_the_header_says)
{
    static uint8_t bytes[8192];
    const struct fixture_file payload = {.data = bytes, .size = sizeof(bytes)};
    uint64_t code_end = FIXTURE_PREF_ADDRESS + FIXTURE_CODE_SIZE + sizeof(bytes);
    uint64_t room = MIB(64) - (code_end + 4095) / 4096 * 4096;
    uint8_t *initrd = calloc(1, room + 4096);

    ck_assert_ptr_nonnull(initrd);
    request.files.initrd = initrd;
    request.files.initrd_size = room;
    kernel = fixture_bzimage(&payload);
    fixture_header(&kernel)->init_size = 16;
    expect_loaded();
    ck_assert_uint_eq(params()->hdr.ramdisk_image, MIB(64) - room);
    request.files.initrd_size = room + 4096;
    expect_refused("initrd the-initrd");
    free(initrd);
}
END_TEST

START_TEST(an_elf_is_entered_in_64_bit_mode_if_it_can_be)
{
    make_elf(ENTRY, PVH_ENTRY);
    expect_loaded();
    expect_segments();
    ck_assert_int_eq(entry.mode, BOOT_LINUX_64);
    ck_assert_uint_eq(entry.rip, ENTRY);
    ck_assert_uint_eq(params()->hdr.boot_flag, 0xaa55);
    ck_assert_uint_eq(params()->hdr.type_of_loader, 0xff);
}
END_TEST

START_TEST(an_elf_whose_entry_is_virtual_is_entered_by_pvh)
{
    make_elf(VIRTUAL_ENTRY, PVH_ENTRY);
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_PVH);
    ck_assert_uint_eq(entry.rip, PVH_ENTRY);
    ck_assert_uint_eq(entry.argument, LAYOUT_PVH_START_INFO_GPA);
}
END_TEST

START_TEST(a_32_bit_elf_is_entered_by_pvh)
{
    kernel = fixture_elf32(MIB(1), MIB(1) + 16, &(struct fixture_segment){0x1000, MIB(1), 0x100, 0x100});
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_PVH);
    ck_assert_uint_eq(entry.rip, MIB(1) + 16);
}
END_TEST

START_TEST(the_choice_of_an_elf_s_entry_is_respected)
{
    make_elf(ENTRY, PVH_ENTRY);
    request.elf_entry = ELF_ENTRY_PVH;
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_PVH);
    request.elf_entry = ELF_ENTRY_LINUX64;
    expect_loaded();
    ck_assert_int_eq(entry.mode, BOOT_LINUX_64);
}
END_TEST

START_TEST(an_elf_without_the_entry_is_refused)
{
    make_elf(VIRTUAL_ENTRY, 0);
    expect_refused("CONFIG_PVH");
    request.elf_entry = ELF_ENTRY_LINUX64;
    expect_refused("no 64-bit entry");
    make_elf(ENTRY, 0);
    request.elf_entry = ELF_ENTRY_PVH;
    expect_refused("no PVH entry");
    make_elf(ENTRY, SEGMENTS_END);
    expect_refused("no PVH entry");
}
END_TEST

START_TEST(an_elf_on_top_of_the_boot_data_is_refused)
{
    const struct fixture_segment low = {
        .offset = 0x1000, .gpa = LAYOUT_BOOT_PARAMS_GPA, .file_size = 16, .memory_size = 16};

    kernel = fixture_elf64(LAYOUT_BOOT_PARAMS_GPA, 0, &low, 1, 0);
    expect_refused("below 1 MiB");
}
END_TEST

START_TEST(acpi_tables_are_announced)
{
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    ck_assert_uint_eq(params()->acpi_rsdp_addr, LAYOUT_TABLES_GPA);
    ck_assert_mem_eq(machine.memory_base + LAYOUT_TABLES_GPA, "RSD PTR ", 8);
    ck_assert_ptr_null(find_setup_data(SETUP_DTB));
}
END_TEST

START_TEST(a_device_tree_takes_the_place_of_acpi)
{
    request.tables = FIRMWARE_DEVICE_TREE;
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    const struct setup_data *data = find_setup_data(SETUP_DTB);

    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq((uintptr_t)data->data % 8, 0);
    ck_assert_int_eq(fdt_check_full(data->data, data->len), 0);
    ck_assert_int_ge(fdt_path_offset(data->data, "/cpus/cpu@1"), 0);
    ck_assert_uint_eq(params()->acpi_rsdp_addr, 0);
    ck_assert_uint_eq(machine.memory_base[LAYOUT_TABLES_GPA], 0);
}
END_TEST

START_TEST(a_device_tree_that_the_kernel_cannot_get_is_refused)
{
    request.tables = FIRMWARE_DEVICE_TREE;
    request.elf_entry = ELF_ENTRY_PVH;
    make_elf(ENTRY, PVH_ENTRY);
    expect_refused("choose ACPI");
    make_old_bzimage();
    fixture_header(&kernel)->version = 0x0208;
    expect_refused("choose ACPI");
}
END_TEST

START_TEST(without_tables_nothing_is_announced)
{
    request.tables = FIRMWARE_NONE;
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    ck_assert_uint_eq(params()->acpi_rsdp_addr, 0);
    ck_assert_ptr_null(find_setup_data(SETUP_DTB));
    ck_assert_uint_eq(machine.memory_base[LAYOUT_TABLES_GPA], 0);
}
END_TEST

START_TEST(the_seed_of_the_random_numbers_is_passed)
{
    make_bzimage(PAYLOAD_GZIP);
    expect_loaded();
    const struct setup_data *data = find_setup_data(SETUP_RNG_SEED);

    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(data->len, sizeof(request.rng_seed));
    ck_assert_mem_eq(data->data, request.rng_seed, sizeof(request.rng_seed));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loader");
    TCase *tcase = tcase_create("loader");

    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, a_bzimage_s_payload_is_unpacked_and_entered_at_its_elf_entry, 0, 4);
    tcase_add_test(tcase, a_damaged_payload_is_refused_and_not_given_to_the_image_s_own_code);
    tcase_add_test(tcase, a_payload_of_another_format_is_left_to_the_image_s_own_code);
    tcase_add_test(tcase, a_payload_that_is_a_32_bit_kernel_is_left_to_the_image_s_own_code);
    tcase_add_test(tcase, an_image_that_cannot_be_moved_goes_to_1_mib);
    tcase_add_test(tcase, a_kernel_that_needs_more_memory_than_there_is_is_refused_with_both);
    tcase_add_test(tcase, an_entry_outside_of_the_payload_s_segments_is_refused);
    tcase_add_test(tcase, an_entry_outside_of_the_image_s_own_code_is_refused);
    tcase_add_test(tcase, files_that_are_no_kernels_are_refused_by_name);
    tcase_add_test(tcase, a_command_line_of_the_longest_length_is_passed);
    tcase_add_test(tcase, a_header_without_a_limit_means_255_characters);
    tcase_add_test(tcase, a_limit_that_lies_does_not_let_the_command_line_out_of_its_place);
    tcase_add_test(tcase, no_command_line_is_an_empty_one);
    tcase_add_test(tcase, without_tables_the_command_line_tells_of_virtio_devices);
    tcase_add_loop_test(tcase, with_tables_the_command_line_is_the_user_s, 0, 2);
    tcase_add_test(tcase, the_words_for_virtio_devices_count_as_part_of_the_command_line);
    tcase_add_test(tcase, an_initrd_keeps_away_from_all_that_the_kernel_needs);
    tcase_add_test(tcase, an_initrd_keeps_away_from_code_that_is_longer_than_the_header_says);
    tcase_add_test(tcase, an_elf_is_entered_in_64_bit_mode_if_it_can_be);
    tcase_add_test(tcase, an_elf_whose_entry_is_virtual_is_entered_by_pvh);
    tcase_add_test(tcase, a_32_bit_elf_is_entered_by_pvh);
    tcase_add_test(tcase, the_choice_of_an_elf_s_entry_is_respected);
    tcase_add_test(tcase, an_elf_without_the_entry_is_refused);
    tcase_add_test(tcase, an_elf_on_top_of_the_boot_data_is_refused);
    tcase_add_test(tcase, acpi_tables_are_announced);
    tcase_add_test(tcase, a_device_tree_takes_the_place_of_acpi);
    tcase_add_test(tcase, a_device_tree_that_the_kernel_cannot_get_is_refused);
    tcase_add_test(tcase, without_tables_nothing_is_announced);
    tcase_add_test(tcase, the_seed_of_the_random_numbers_is_passed);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
