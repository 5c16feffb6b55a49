#include "loader/elf_image.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <elf.h>
#include <string.h>

#define ENTRY (MIB(16) + 0x40)
#define PVH_ENTRY (MIB(16) + 0x80)

static const struct fixture_segment segments[] = {
    {.offset = 0x3000, .gpa = MIB(18), .file_size = 0x800, .memory_size = 0x2000},
    {.offset = 0x1000, .gpa = MIB(16), .file_size = 0x1000, .memory_size = 0x1000},
};
static struct fixture_file file;
static struct elf_image image;
static struct error error;

static Elf64_Ehdr *header(void)
{
    return (Elf64_Ehdr *)file.data;
}

static Elf64_Phdr *program_header(size_t index)
{
    return (Elf64_Phdr *)(file.data + sizeof(Elf64_Ehdr)) + index;
}

static void set_up(void)
{
    file = fixture_elf64(ENTRY, PVH_ENTRY, segments, 2, 0);
}

static void tear_down(void)
{
    fixture_file_free(&file);
}

static int parse(void)
{
    error = (struct error){0};
    return elf_image_parse(file.data, file.size, &image, &error);
}

static void expect_refused(const char *words)
{
    ck_assert_int_eq(parse(), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\" in: %s", words, error.text);
}

START_TEST(segments_come_in_ascending_order)
{
    ck_assert_int_eq(parse(), 0);
    ck_assert(image.is_64bit);
    ck_assert_uint_eq(image.entry, ENTRY);
    ck_assert_uint_eq(image.segment_count, 2);
    ck_assert_uint_eq(image.segments[0].gpa, MIB(16));
    ck_assert_uint_eq(image.segments[0].file_offset, 0x1000);
    ck_assert_uint_eq(image.segments[1].gpa, MIB(18));
    ck_assert_uint_eq(image.segments[1].file_size, 0x800);
    ck_assert_uint_eq(elf_image_end(&image), MIB(18) + 0x2000);
}
END_TEST

START_TEST(an_address_is_contained_up_to_the_last_byte)
{
    ck_assert_int_eq(parse(), 0);
    ck_assert(!elf_image_contains(&image, MIB(16) - 1));
    ck_assert(elf_image_contains(&image, MIB(16)));
    ck_assert(elf_image_contains(&image, MIB(16) + 0xfff));
    ck_assert(!elf_image_contains(&image, MIB(16) + 0x1000));
    ck_assert(elf_image_contains(&image, MIB(18) + 0x1fff));
}
END_TEST

START_TEST(the_pvh_note_is_found)
{
    ck_assert_int_eq(parse(), 0);
    ck_assert(image.has_pvh_entry);
    ck_assert_uint_eq(image.pvh_entry, PVH_ENTRY);
}
END_TEST

START_TEST(a_note_of_another_name_is_not_pvh_s)
{
    file.data[program_header(2)->p_offset + sizeof(Elf64_Nhdr)] = 'Y';
    ck_assert_int_eq(parse(), 0);
    ck_assert(!image.has_pvh_entry);
}
END_TEST

START_TEST(notes_cut_short_are_passed_over)
{
    program_header(2)->p_filesz = sizeof(Elf64_Nhdr) - 1;
    ck_assert_int_eq(parse(), 0);
    ck_assert(!image.has_pvh_entry);
    program_header(2)->p_filesz = UINT64_MAX;
    ck_assert_int_eq(parse(), 0);
    ck_assert(!image.has_pvh_entry);
    program_header(2)->p_offset = UINT64_MAX - 4;
    program_header(2)->p_filesz = 8;
    ck_assert_int_eq(parse(), 0);
    ck_assert(!image.has_pvh_entry);
}
END_TEST

START_TEST(a_note_whose_sizes_lie_is_passed_over)
{
    Elf64_Nhdr *note = (Elf64_Nhdr *)(file.data + program_header(2)->p_offset);

    note->n_descsz = UINT32_MAX;
    ck_assert_int_eq(parse(), 0);
    ck_assert(!image.has_pvh_entry);
    note->n_namesz = UINT32_MAX;
    ck_assert_int_eq(parse(), 0);
    ck_assert(!image.has_pvh_entry);
}
END_TEST

START_TEST(a_32_bit_program_keeps_its_pvh_entry)
{
    fixture_file_free(&file);
    file = fixture_elf32(0x100000, 0x100010, &(struct fixture_segment){0x200, 0x100000, 0x100, 0x400});
    ck_assert_int_eq(parse(), 0);
    ck_assert(!image.is_64bit);
    ck_assert(image.has_pvh_entry);
    ck_assert_uint_eq(image.pvh_entry, 0x100010);
    ck_assert_uint_eq(image.segments[0].gpa, 0x100000);
    ck_assert_uint_eq(image.segments[0].memory_size, 0x400);
}
END_TEST

START_TEST(other_processors_are_named)
{
    header()->e_machine = EM_AARCH64;
    expect_refused("arm64");
    header()->e_machine = EM_RISCV;
    expect_refused("RISC-V");
    header()->e_machine = EM_386;
    expect_refused("another processor");
    header()->e_machine = EM_X86_64;
    header()->e_ident[EI_DATA] = ELFDATA2MSB;
    expect_refused("big-endian");
}
END_TEST

START_TEST(every_length_short_of_the_whole_is_refused)
{
    size_t whole = file.size;

    for (size_t size = 0; size < whole; size++) {
        file.size = size;
        ck_assert_int_eq(parse(), -1);
    }
    file.size = whole;
    ck_assert_int_eq(parse(), 0);
}
END_TEST

START_TEST(program_headers_that_are_not_in_the_file_are_refused)
{
    header()->e_phoff = UINT64_MAX - 16;
    expect_refused("cut short");
    header()->e_phoff = file.size - sizeof(Elf64_Phdr);
    expect_refused("cut short");
    header()->e_phoff = sizeof(Elf64_Ehdr);
    header()->e_phentsize = 32;
    expect_refused("32 bytes each");
    header()->e_phentsize = sizeof(Elf64_Phdr);
    header()->e_phnum = UINT16_MAX;
    expect_refused("65535 program headers");
    header()->e_phnum = 0;
    expect_refused("no segments");
}
END_TEST

START_TEST(a_segment_with_impossible_sizes_is_refused)
{
    program_header(0)->p_filesz = program_header(0)->p_memsz + 1;
    expect_refused("impossible sizes");
    program_header(0)->p_filesz = 0;
    program_header(0)->p_memsz = UINT64_MAX;
    expect_refused("impossible sizes");
}
END_TEST

START_TEST(a_segment_outside_the_file_is_refused)
{
    program_header(0)->p_offset = UINT64_MAX - 0x100;
    expect_refused("cut short");
    program_header(0)->p_offset = file.size - 0x7ff;
    expect_refused("cut short");
}
END_TEST

START_TEST(segments_that_overlap_by_a_byte_are_refused)
{
    program_header(1)->p_memsz = MIB(2);
    ck_assert_int_eq(parse(), 0);
    program_header(1)->p_memsz++;
    expect_refused("overlap");
}
END_TEST

START_TEST(a_file_without_memory_is_refused)
{
    program_header(0)->p_filesz = program_header(0)->p_memsz = 0;
    program_header(1)->p_type = PT_NULL;
    expect_refused("no segment to load");
}
END_TEST

START_TEST(one_segment_too_many_is_refused)
{
    struct fixture_segment many[ELF_IMAGE_MAX_SEGMENTS + 1];

    for (size_t i = 0; i <= ELF_IMAGE_MAX_SEGMENTS; i++)
        many[i] =
            (struct fixture_segment){.offset = 0x1000, .gpa = MIB(16) + i * 16, .file_size = 16, .memory_size = 16};
    fixture_file_free(&file);
    file = fixture_elf64(MIB(16), 0, many, ELF_IMAGE_MAX_SEGMENTS, 0);
    ck_assert_int_eq(parse(), 0);
    fixture_file_free(&file);
    file = fixture_elf64(MIB(16), 0, many, ELF_IMAGE_MAX_SEGMENTS + 1, 0);
    expect_refused("more than 32 segments");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("elf_image");
    TCase *tcase = tcase_create("elf_image");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, segments_come_in_ascending_order);
    tcase_add_test(tcase, an_address_is_contained_up_to_the_last_byte);
    tcase_add_test(tcase, the_pvh_note_is_found);
    tcase_add_test(tcase, a_note_of_another_name_is_not_pvh_s);
    tcase_add_test(tcase, notes_cut_short_are_passed_over);
    tcase_add_test(tcase, a_note_whose_sizes_lie_is_passed_over);
    tcase_add_test(tcase, a_32_bit_program_keeps_its_pvh_entry);
    tcase_add_test(tcase, other_processors_are_named);
    tcase_add_test(tcase, every_length_short_of_the_whole_is_refused);
    tcase_add_test(tcase, program_headers_that_are_not_in_the_file_are_refused);
    tcase_add_test(tcase, a_segment_with_impossible_sizes_is_refused);
    tcase_add_test(tcase, a_segment_outside_the_file_is_refused);
    tcase_add_test(tcase, segments_that_overlap_by_a_byte_are_refused);
    tcase_add_test(tcase, a_file_without_memory_is_refused);
    tcase_add_test(tcase, one_segment_too_many_is_refused);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
