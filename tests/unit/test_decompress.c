#include "loader/decompress.h"
#include "loader_fixture.h"
#include "unit_test.h"

#include <string.h>

static const enum payload_format formats[] = {PAYLOAD_GZIP, PAYLOAD_XZ, PAYLOAD_LZ4, PAYLOAD_ZSTD};

/* Longer than one block of LZ4's, and neither random nor uniform. */
#define PLAIN_SIZE ((size_t)9 << 20)
static struct fixture_file plain;
static struct fixture_file packed;
static uint8_t *output;
static struct error error;

static void set_up(void)
{
    plain = (struct fixture_file){.data = malloc(PLAIN_SIZE), .size = PLAIN_SIZE};
    output = malloc(PLAIN_SIZE);
    ck_assert(plain.data && output);
    for (size_t i = 0; i < PLAIN_SIZE; i++)
        plain.data[i] = (uint8_t)((i >> 8) * 7 + (i & 15));
}

static void tear_down(void)
{
    fixture_file_free(&plain);
    fixture_file_free(&packed);
    free(output);
}

static int unpack(enum payload_format format, size_t output_size)
{
    error = (struct error){0};
    return payload_unpack(format, packed.data, packed.size, output, output_size, &error);
}

static void expect_damaged(enum payload_format format, size_t output_size, const char *words)
{
    ck_assert_int_eq(unpack(format, output_size), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\" in: %s", words, error.text);
    ck_assert_ptr_nonnull(strstr(error.text, payload_format_name(format)));
}

START_TEST(what_was_packed_comes_back)
{
    packed = fixture_pack(formats[_i], &plain);
    ck_assert_int_eq(payload_format_find(packed.data, packed.size), formats[_i]);
    ck_assert_uint_eq(payload_unpacked_size(packed.data, packed.size), PLAIN_SIZE);
    ck_assert_int_eq(unpack(formats[_i], PLAIN_SIZE), 0);
    ck_assert_mem_eq(output, plain.data, PLAIN_SIZE);
}
END_TEST

START_TEST(more_data_than_announced_is_refused_and_nothing_is_written_past_the_end)
{
    packed = fixture_pack(formats[_i], &plain);
    output[PLAIN_SIZE - 1] = 0x5a;
    expect_damaged(formats[_i], PLAIN_SIZE - 1, "");
    ck_assert_uint_eq(output[PLAIN_SIZE - 1], 0x5a);
}
END_TEST

START_TEST(less_data_than_announced_is_refused)
{
    plain.size--;
    packed = fixture_pack(formats[_i], &plain);
    expect_damaged(formats[_i], PLAIN_SIZE, "cut short");
}
END_TEST

START_TEST(a_payload_cut_short_is_refused)
{
    packed = fixture_pack(formats[_i], &plain);
    size_t whole = packed.size;
    const size_t sizes[] = {whole - 1, whole - 9, whole / 2, 20, 9, 8};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        packed.size = sizes[i];
        expect_damaged(formats[_i], PLAIN_SIZE, "");
    }
    packed.size = whole;
}
END_TEST

START_TEST(a_changed_byte_is_noticed_where_there_is_a_checksum)
{
    if (formats[_i] == PAYLOAD_LZ4)
        return;
    packed = fixture_pack(formats[_i], &plain);
    packed.data[packed.size / 2] ^= 0x10;
    expect_damaged(formats[_i], PLAIN_SIZE, "");
}
END_TEST

START_TEST(garbage_after_the_magic_is_refused)
{
    packed = fixture_pack(formats[_i], &plain);
    memset(packed.data + 6, 0xff, packed.size - 6);
    expect_damaged(formats[_i], PLAIN_SIZE, "");
}
END_TEST

START_TEST(a_wrong_gzip_checksum_is_called_that)
{
    packed = fixture_pack(PAYLOAD_GZIP, &plain);
    packed.data[packed.size - 8] ^= 1;
    expect_damaged(PAYLOAD_GZIP, PLAIN_SIZE, "checksum");
}
END_TEST

START_TEST(other_magic_is_unknown)
{
    ck_assert_int_eq(payload_format_find((const uint8_t *)"BZh9....", 8), PAYLOAD_UNKNOWN);
    ck_assert_int_eq(payload_format_find((const uint8_t *)"\x1f\x8b...", 5), PAYLOAD_UNKNOWN);
    ck_assert_int_eq(payload_format_find(NULL, 0), PAYLOAD_UNKNOWN);
    ck_assert_uint_eq(payload_unpacked_size((const uint8_t *)"abc", 3), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decompress");
    TCase *tcase = tcase_create("decompress");
    int count = sizeof(formats) / sizeof(formats[0]);

    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(tcase, what_was_packed_comes_back, 0, count);
    tcase_add_loop_test(tcase, more_data_than_announced_is_refused_and_nothing_is_written_past_the_end, 0, count);
    tcase_add_loop_test(tcase, less_data_than_announced_is_refused, 0, count);
    tcase_add_loop_test(tcase, a_payload_cut_short_is_refused, 0, count);
    tcase_add_loop_test(tcase, a_changed_byte_is_noticed_where_there_is_a_checksum, 0, count);
    tcase_add_loop_test(tcase, garbage_after_the_magic_is_refused, 0, count);
    tcase_add_test(tcase, a_wrong_gzip_checksum_is_called_that);
    tcase_add_test(tcase, other_magic_is_unknown);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
