#include "loader/kernel_image.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <elf.h>
#include <string.h>

static struct fixture_file image;
static struct bzimage parsed;
static struct error error;

static void set_up(void)
{
    uint8_t payload_bytes[64];
    const struct fixture_file payload = {.data = payload_bytes, .size = sizeof(payload_bytes)};

    memset(payload_bytes, 0x77, sizeof(payload_bytes));
    image = fixture_bzimage(&payload);
}

static void tear_down(void)
{
    fixture_file_free(&image);
}

static void expect_refused(const char *words)
{
    error = (struct error){0};
    ck_assert_int_eq(bzimage_parse(image.data, image.size, &parsed, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\" in: %s", words, error.text);
}

static void expect_unidentified(const void *data, size_t size, const char *words)
{
    enum kernel_kind kind;

    error = (struct error){0};
    ck_assert_int_eq(kernel_image_identify(data, size, &kind, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\" in: %s", words, error.text);
}

START_TEST(a_bzimage_and_an_elf_are_told_apart)
{
    enum kernel_kind kind;

    ck_assert_int_eq(kernel_image_identify(image.data, image.size, &kind, &error), 0);
    ck_assert_int_eq(kind, KERNEL_BZIMAGE);
    ck_assert_int_eq(kernel_image_identify(ELFMAG, SELFMAG, &kind, &error), 0);
    ck_assert_int_eq(kind, KERNEL_ELF);
}
END_TEST

START_TEST(other_files_are_named)
{
    static const struct {
        size_t offset;
        const char *magic;
        const char *words;
    } files[] = {
        {0x38, "ARM\x64", "arm64"},
        {0x38, "RISCV", "RISC-V"},
        {0x8001, "CD001", "ISO 9660"},
        {0, "\x1f\x8b", "gzip"},
        {0, "\xfd\x37zXZ", "xz file"},
        {0, "\x28\xb5\x2f\xfd", "zstd"},
        {0, "070701", "cpio"},
        {0, "!<arch>\n", "ar archive"},
        {0, "\x04\x22\x4d\x18", "lz4"},
        {0x1fe, "\x55\xaa", "boot sector"},
        {0, "hello", "neither a bzImage"},
    };
    static uint8_t data[0x9000];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        memset(data, 0, sizeof(data));
        memcpy(data + files[i].offset, files[i].magic, strlen(files[i].magic));
        expect_unidentified(data, sizeof(data), files[i].words);
    }
}
END_TEST

START_TEST(an_empty_file_is_called_empty)
{
    expect_unidentified("", 0, "empty");
}
END_TEST

START_TEST(every_length_below_the_header_is_refused)
{
    for (size_t size = 1; size < 0x206; size++)
        expect_unidentified(image.data, size, "");
    expect_unidentified(image.data, 0x1f0, "cut short");
}
END_TEST

START_TEST(header_and_payload_are_found)
{
    ck_assert_int_eq(bzimage_parse(image.data, image.size, &parsed, &error), 0);
    ck_assert_uint_eq(parsed.header.version, 0x020f);
    ck_assert_uint_eq(parsed.header.init_size, FIXTURE_INIT_SIZE);
    ck_assert_ptr_eq(parsed.protected_mode, image.data + 1024);
    ck_assert_uint_eq(parsed.protected_mode_size, FIXTURE_CODE_SIZE + 64);
    ck_assert_ptr_eq(parsed.payload, image.data + 1024 + FIXTURE_CODE_SIZE);
    ck_assert_uint_eq(parsed.payload_size, 64);
}
END_TEST

START_TEST(no_setup_sectors_mean_four)
{
    fixture_header(&image)->setup_sects = 0;
    fixture_header(&image)->syssize = 1;
    expect_refused("cut short");
}
END_TEST

START_TEST(a_file_cut_by_one_byte_is_refused)
{
    image.size--;
    expect_refused("cut short");
}
END_TEST

START_TEST(a_file_with_more_than_the_code_is_accepted)
{
    fixture_header(&image)->syssize -= 4;
    fixture_header(&image)->payload_length = 0;
    ck_assert_int_eq(bzimage_parse(image.data, image.size, &parsed, &error), 0);
    ck_assert_ptr_null(parsed.payload);
}
END_TEST

START_TEST(a_payload_past_the_end_by_one_byte_is_refused)
{
    fixture_header(&image)->payload_length++;
    expect_refused("header lies");
}
END_TEST

START_TEST(a_payload_whose_end_wraps_is_refused)
{
    fixture_header(&image)->payload_offset = UINT32_MAX;
    fixture_header(&image)->payload_length = UINT32_MAX;
    expect_refused("header lies");
}
END_TEST

START_TEST(no_code_is_refused)
{
    fixture_header(&image)->syssize = 0;
    expect_refused("no code");
}
END_TEST

START_TEST(protocol_2_06_is_the_oldest)
{
    fixture_header(&image)->version = 0x0206;
    ck_assert_int_eq(bzimage_parse(image.data, image.size, &parsed, &error), 0);
    fixture_header(&image)->version = 0x0205;
    expect_refused("2.05");
}
END_TEST

START_TEST(a_zimage_is_refused)
{
    fixture_header(&image)->loadflags = 0;
    expect_refused("zImage");
}
END_TEST

START_TEST(fields_newer_than_the_protocol_are_not_believed)
{
    fixture_header(&image)->version = 0x0207;
    ck_assert_int_eq(bzimage_parse(image.data, image.size, &parsed, &error), 0);
    ck_assert_uint_eq(parsed.payload_size, 0);
    ck_assert_uint_eq(parsed.header.pref_address, 0);
    ck_assert_uint_eq(parsed.header.init_size, 0);
    ck_assert_uint_eq(parsed.header.xloadflags, 0);
}
END_TEST

START_TEST(fields_past_the_header_s_end_are_not_believed)
{
    /* The header ends just before pref_address. */
    fixture_header(&image)->jump = 0x56eb;
    ck_assert_int_eq(bzimage_parse(image.data, image.size, &parsed, &error), 0);
    ck_assert_uint_eq(parsed.payload_size, 64);
    ck_assert_uint_eq(parsed.header.pref_address, 0);
    ck_assert_uint_eq(parsed.header.init_size, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel_image");
    TCase *tcase = tcase_create("kernel_image");

    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_bzimage_and_an_elf_are_told_apart);
    tcase_add_test(tcase, other_files_are_named);
    tcase_add_test(tcase, an_empty_file_is_called_empty);
    tcase_add_test(tcase, every_length_below_the_header_is_refused);
    tcase_add_test(tcase, header_and_payload_are_found);
    tcase_add_test(tcase, no_setup_sectors_mean_four);
    tcase_add_test(tcase, a_file_cut_by_one_byte_is_refused);
    tcase_add_test(tcase, a_file_with_more_than_the_code_is_accepted);
    tcase_add_test(tcase, a_payload_past_the_end_by_one_byte_is_refused);
    tcase_add_test(tcase, a_payload_whose_end_wraps_is_refused);
    tcase_add_test(tcase, no_code_is_refused);
    tcase_add_test(tcase, protocol_2_06_is_the_oldest);
    tcase_add_test(tcase, a_zimage_is_refused);
    tcase_add_test(tcase, fields_newer_than_the_protocol_are_not_believed);
    tcase_add_test(tcase, fields_past_the_header_s_end_are_not_believed);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
