/*
 * Logs of a Linux guest: whole ones, and each way in which one can be damaged.
 */
#include "vmm/debug/linux/kernel_log.h"

#include "linux_fixture.h"
#include "unit_test.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint64_t SECOND = 1000000000;

/* Prints the last records; the result is to be freed. */
static char *print_last(uint64_t count)
{
    const struct linux_memory memory = fixture_memory(NULL);
    struct fixture_text text;
    const struct debug_output output = fixture_output(&text);
    struct error error = {0};

    ck_assert_msg(kernel_log_print(&memory, count, &output, &error) == 0, "%s", error.text);
    return text.bytes;
}

static void expect_log(const char *expected)
{
    char *text = print_last(KERNEL_LOG_ALL);

    ck_assert_str_eq(text, expected);
    free(text);
}

static void expect_error(const char *start)
{
    const struct linux_memory memory = fixture_memory(NULL);
    struct fixture_text text;
    const struct debug_output output = fixture_output(&text);
    struct error error = {0};

    ck_assert_int_eq(kernel_log_print(&memory, KERNEL_LOG_ALL, &output, &error), -1);
    ck_assert_msg(strncmp(error.text, start, strlen(start)) == 0, "%s", error.text);
    ck_assert_uint_eq(text.size, 0);
    free(text.bytes);
}

START_TEST(records_are_printed_as_dmesg_does)
{
    fixture_make(4, 10);
    expect_log("");
    fixture_log(0, "Linux version 6.1");
    fixture_log(1234567890, "two\nlines");
    fixture_log(12345 * SECOND + 999, NULL);
    fixture_log(123456 * SECOND, "a\ttab");
    expect_log("[    0.000000] Linux version 6.1\n"
               "[    1.234567] two\n"
               "               lines\n"
               "[12345.000000] \n"
               "[123456.000000] a\ttab\n");
}
END_TEST

START_TEST(no_text_commands_a_terminal)
{
    fixture_make(4, 10);
    fixture_log(SECOND, "\x1b[2J\x9b\x7f\r\\ \xc3\xa4");
    expect_log("[    1.000000] \\x1b[2J\\x9b\\x7f\\x0d\\ \\xc3\\xa4\n");
}
END_TEST

START_TEST(the_last_records_can_be_had_alone)
{
    fixture_make(4, 10);
    for (unsigned i = 0; i < 5; i++)
        fixture_log(i * SECOND, "text");
    char *text = print_last(2);
    ck_assert_str_eq(text, "[    3.000000] text\n[    4.000000] text\n");
    free(text);
    text = print_last(0);
    ck_assert_str_eq(text, "");
    free(text);
}
END_TEST

/* Texts of many lengths, until both rings have wrapped, ids and positions too. Each step is looked at. */
START_TEST(rings_wrap)
{
    char texts[200][64], expected[16384];
    const size_t count = sizeof(texts) / sizeof(texts[0]);

    fixture_make(_i % 2 == 0 ? 3 : 6, _i % 2 == 0 ? 9 : 8);
    srandom((unsigned)_i);
    for (size_t i = 0; i < count; i++) {
        const size_t length = (size_t)random() % 60;
        memset(texts[i], 'a' + (int)(i % 26), length);
        texts[i][length] = '\0';
        fixture_log(i * SECOND, texts[i]);
        size_t used = 0;
        expected[0] = '\0';
        for (size_t j = 0; j <= i; j++) {
            if (fixture_log_is_whole(j))
                used += (size_t)snprintf(&expected[used], sizeof(expected) - used, "[%5zu.000000] %s\n", j, texts[j]);
        }
        ck_assert_uint_gt(used, 0);
        expect_log(expected);
    }
}
END_TEST

/* Newer kernels let a text end where the ring does. */
START_TEST(a_text_may_end_with_the_ring)
{
    fixture_make(4, 6);
    const uint64_t id = fixture_log(SECOND, "12345678");

    fixture_put64(FIXTURE_DATA + 0x30, id);
    memcpy(&fixture_bytes[FIXTURE_DATA + 0x38], "the end.", 8);
    fixture_put64(fixture_desc(id) + 8, UINT64_C(0x1000) + 0x30);
    fixture_put64(fixture_desc(id) + 16, UINT64_C(0x1000) + 0x40);
    expect_log("[    1.000000] the end.\n");
}
END_TEST

START_TEST(unfinished_records_are_told_of)
{
    fixture_make(4, 10);
    fixture_log(SECOND, "whole");
    uint64_t id = fixture_log(2 * SECOND, "not yet finalized");
    fixture_set_state(id, FIXTURE_COMMITTED);
    expect_log("[    1.000000] whole\n[    2.000000] not yet finalized\n");
    fixture_set_state(id, FIXTURE_RESERVED);
    expect_log("[    1.000000] whole\n"
               "[    2.000000] not yet finalized (unfinished)\n"
               "-- a record was being written\n");
    fixture_put64(fixture_desc_info(id) + 16, 0);
    id = fixture_log(0, "gone");
    fixture_put64(fixture_desc(id) + 8, 1);
    fixture_put64(fixture_desc(id) + 16, 1);
    fixture_set_state(id, FIXTURE_RESERVED);
    expect_log("[    1.000000] whole\n-- 2 records were being written\n");
}
END_TEST

struct damage {
    uint64_t offset, value;
    const char *error;
};

static const struct damage ring_damages[] = {
    {FIXTURE_COUNT_BITS, 21, "the kernel's log is damaged, or larger"},
    {FIXTURE_COUNT_BITS, UINT32_MAX, "the kernel's log is damaged, or larger"},
    {FIXTURE_COUNT_BITS, 20, "the kernel's log is damaged: its descriptors"},
    {FIXTURE_COUNT_BITS, 15, "the kernel's log is damaged: its infos"},
    {FIXTURE_DESCS_POINTER, 0, "the kernel's log is damaged: its descriptors"},
    {FIXTURE_DESCS_POINTER, UINT64_MAX, "the kernel's log is damaged: its descriptors"},
    {FIXTURE_DESCS_POINTER, UINT64_C(0x8000000000000000), "the kernel's log is damaged: its descriptors"},
    {FIXTURE_INFOS_POINTER, 0, "the kernel's log is damaged: its infos"},
    {FIXTURE_INFOS_POINTER, UINT64_MAX - 7, "the kernel's log is damaged: its infos"},
    {FIXTURE_SIZE_BITS, 3, "the kernel's log is damaged, or larger"},
    {FIXTURE_SIZE_BITS, 26, "the kernel's log is damaged, or larger"},
    {FIXTURE_SIZE_BITS, 64, "the kernel's log is damaged, or larger"},
    {FIXTURE_SIZE_BITS, 25, "the kernel's log is damaged: its texts"},
    {FIXTURE_DATA_POINTER, 0, "the kernel's log is damaged: its texts"},
    {FIXTURE_DATA_POINTER, UINT64_MAX - 1, "the kernel's log is damaged: its texts"},
};

START_TEST(a_damaged_ring_is_an_error)
{
    const struct damage *damage = &ring_damages[_i];

    fixture_make(4, 10);
    fixture_log(SECOND, "text");
    fixture_put64(FIXTURE_RING + damage->offset, damage->value);
    expect_error(damage->error);
}
END_TEST

START_TEST(a_ring_that_is_not_mapped_is_an_error)
{
    fixture_make(4, 10);
    fixture_put64(FIXTURE_PRB, UINT64_C(0xffffffff82000000));
    expect_error("the kernel's log is damaged: prb is 0xffffffff82000000, which is not mapped");
    fixture_put64(FIXTURE_PT + 7 * 8, 0);
    expect_error("the kernel's log is not there: prb is not mapped");
}
END_TEST

START_TEST(ends_that_do_not_fit_leave_what_the_other_has)
{
    fixture_make(3, 10);
    for (unsigned i = 0; i < 20; i++)
        fixture_log(i * SECOND, "text");
    const uint64_t tail = fixture_get64(FIXTURE_RING + FIXTURE_TAIL_ID);
    const uint64_t head = fixture_get64(FIXTURE_RING + FIXTURE_HEAD_ID);
    const char *const words = "-- the log is damaged: its oldest record and its newest do not fit each other\n";
    char *good = print_last(KERNEL_LOG_ALL), expected[1024];

    ck_assert_int_eq(snprintf(expected, sizeof(expected), "%s%s", words, good) > 0, 1);
    fixture_put64(FIXTURE_RING + FIXTURE_TAIL_ID, UINT64_C(0x1234567812345678));
    expect_log(expected);
    fixture_put64(FIXTURE_RING + FIXTURE_TAIL_ID, tail);
    fixture_put64(FIXTURE_RING + FIXTURE_HEAD_ID, tail - 1);
    expect_log(expected);
    fixture_put64(FIXTURE_RING + FIXTURE_HEAD_ID, UINT64_C(0x1234567812345678));
    expect_log(expected);
    fixture_put64(FIXTURE_RING + FIXTURE_TAIL_ID, UINT64_C(0x2345678912345678));
    expect_error("the kernel's log is damaged: neither its oldest record, 0x2345678912345678, nor its newest");
    /* The upper bits are no part of an id. */
    fixture_put64(FIXTURE_RING + FIXTURE_TAIL_ID, tail | UINT64_C(1) << 63);
    fixture_put64(FIXTURE_RING + FIXTURE_HEAD_ID, head | UINT64_C(1) << 62);
    expect_log(good);
    free(good);
}
END_TEST

/* Positions of a ring of 1024 bytes. */
static const uint64_t bad_blocks[][2] = {
    {0x10101, 0x10118}, /* odd begin */
    {0x10100, 0x10119}, /* odd end */
    {0x10104, 0x10120}, /* not aligned */
    {0x10100, 0x1011c}, /* end not aligned */
    {0x10110, 0x10100}, /* backwards */
    {0x10100, 0x10100}, /* empty */
    {0x10100, 0x10908}, /* two turns */
    {0x10100, 0x0fc18}, /* a turn back */
    {1, 1},             /* FAILED_LPOS */
    {3, 1},             /* a mix of words */
    {1, 3},
    {0x10000, 0x10018}, /* another's */
};

START_TEST(a_record_with_a_bad_block_loses_its_text)
{
    fixture_make(4, 10);
    fixture_log(0, "first");
    const uint64_t id = fixture_log(SECOND, "second");
    fixture_log(2 * SECOND, "third");
    /* Out of the way of the others, and with an id: only the block is bad. */
    if (bad_blocks[_i][0] % 1024 >= 256)
        fixture_put64(FIXTURE_DATA + bad_blocks[_i][0] % 1024, id);
    fixture_put64(fixture_desc(id) + 8, bad_blocks[_i][0]);
    fixture_put64(fixture_desc(id) + 16, bad_blocks[_i][1]);
    expect_log("[    0.000000] first\n[    2.000000] third\n-- a record's text is lost\n");
}
END_TEST

START_TEST(a_descriptor_of_another_id_is_left_out)
{
    fixture_make(4, 10);
    fixture_log(0, "first");
    const uint64_t id = fixture_log(SECOND, "second");
    fixture_log(2 * SECOND, "third");
    fixture_put64(fixture_desc(id), UINT64_C(2) << 62 | ((id + 16) & UINT64_MAX >> 2));
    expect_log("[    0.000000] first\n[    2.000000] third\n-- a record is damaged and left out\n");
    fixture_put64(fixture_desc(id + 1), 0);
    expect_log("[    0.000000] first\n-- 2 records are damaged and left out\n");
}
END_TEST

START_TEST(a_text_ends_with_its_block)
{
    fixture_make(4, 10);
    const uint64_t id = fixture_log(SECOND, "12345678");
    fixture_log(SECOND, "secret");
    fixture_put64(fixture_desc_info(id) + 16, UINT16_MAX);
    expect_log("[    1.000000] 12345678\n[    1.000000] secret\n");
}
END_TEST

START_TEST(pages_that_are_gone_cost_their_records)
{
    fixture_make(12, 13);
    for (unsigned i = 0; i < 100; i++)
        fixture_log(i * SECOND, "1234567812345678123456781234567812345678123456781234567812345678");
    /* Infos of 88 bytes: the second page of them begins within the 47th. */
    fixture_put64(FIXTURE_PT + (FIXTURE_INFOS / 4096 + 1) * 8, 0);
    char *text = print_last(KERNEL_LOG_ALL);
    ck_assert_ptr_nonnull(strstr(text, "[   45.000000]"));
    ck_assert_ptr_null(strstr(text, "[   46.000000]"));
    ck_assert_ptr_null(strstr(text, "[   92.000000]"));
    ck_assert_ptr_nonnull(strstr(text, "[   94.000000]"));
    ck_assert_ptr_nonnull(strstr(text, "-- 48 records are damaged and left out\n"));
    free(text);
}
END_TEST

/* As many records as there can be, all with the ring's whole text, would be 16 MiB for a ring of 4 KiB. */
START_TEST(no_more_text_comes_than_the_ring_has)
{
    fixture_make(12, 12);
    for (unsigned i = 0; i < 4096; i++) {
        const uint64_t id = fixture_log(SECOND, NULL);
        fixture_put64(fixture_desc(id) + 8, 0);
        fixture_put64(fixture_desc(id) + 16, 4096);
        fixture_put64(fixture_desc_info(id) + 16, UINT16_MAX);
    }
    const uint64_t last = fixture_get64(FIXTURE_RING + FIXTURE_HEAD_ID);
    memset(&fixture_bytes[FIXTURE_DATA], '\n', 4096);
    fixture_put64(FIXTURE_DATA, (last - 4095) & UINT64_MAX >> 2);
    char *text = print_last(KERNEL_LOG_ALL);
    ck_assert_uint_lt(strlen(text), 100000);
    free(text);

    /* All ids in one place: texts that overlap. */
    fixture_make(1, 12);
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t id = fixture_log(SECOND, NULL);
        fixture_put64(FIXTURE_DATA + i * 8, id);
        fixture_put64(fixture_desc(id) + 8, i * 8);
        fixture_put64(fixture_desc(id) + 16, 4096);
        fixture_put64(fixture_desc_info(id) + 16, UINT16_MAX);
    }
    text = print_last(KERNEL_LOG_ALL);
    ck_assert_ptr_nonnull(strstr(text, "-- the log is damaged: its records have more text than it has room for\n"));
    free(text);
}
END_TEST

/* Lines without text are all indent: 4 MiB of them, which are 64 KiB many times over, would come to 90 MiB. */
START_TEST(what_is_printed_has_an_end)
{
    const uint64_t linear = UINT64_C(0xffffffff88000000);

    fixture_make(6, 10);
    for (unsigned i = 0; i < 1024; i++)
        fixture_put64(0xc0000 + i * 8, (FIXTURE_DATA + i % 16 * 4096) | 3);
    fixture_put64(FIXTURE_PD + 64 * 8, 0xc0000 | 3);
    fixture_put64(FIXTURE_PD + 65 * 8, 0xc1000 | 3);
    fixture_put64(FIXTURE_RING + FIXTURE_DATA_POINTER, linear);
    fixture_put64(FIXTURE_RING + FIXTURE_SIZE_BITS, 22);
    memset(&fixture_bytes[FIXTURE_DATA], '\n', 0x10000);
    for (uint64_t i = 0; i < 60; i++) {
        const uint64_t id = fixture_log(UINT64_MAX, NULL);
        fixture_put64(FIXTURE_DATA + i * 8, id);
        fixture_put64(fixture_desc(id) + 8, i * 0x10008);
        fixture_put64(fixture_desc(id) + 16, i * 0x10008 + 0xff00);
        fixture_put64(fixture_desc_info(id) + 16, UINT16_MAX);
    }
    char *text = print_last(KERNEL_LOG_ALL);
    ck_assert_uint_lt(strlen(text), 66u << 20);
    ck_assert_ptr_nonnull(strstr(text, "\n-- the rest is left out: this is more than a log can be\n"));
    free(text);
}
END_TEST

struct layout_line {
    const char *line;
    /* The first value that does not fit. */
    const char *too_large;
};

static const struct layout_line layout_lines[] = {
    {"SIZE(printk_ringbuffer)=", "257"},
    {"SIZE(prb_desc_ring)=", "257"},
    {"SIZE(prb_desc)=", "257"},
    {"SIZE(prb_data_blk_lpos)=", "257"},
    {"SIZE(printk_info)=", "257"},
    {"SIZE(prb_data_ring)=", "257"},
    {"OFFSET(printk_ringbuffer.desc_ring)=", "41"},
    {"OFFSET(printk_ringbuffer.text_data_ring)=", "57"},
    {"OFFSET(prb_desc_ring.count_bits)=", "45"},
    {"OFFSET(prb_desc_ring.descs)=", "41"},
    {"OFFSET(prb_desc_ring.infos)=", "41"},
    {"OFFSET(prb_desc_ring.head_id)=", "41"},
    {"OFFSET(prb_desc_ring.tail_id)=", "41"},
    {"OFFSET(prb_desc.state_var)=", "17"},
    {"OFFSET(prb_desc.text_blk_lpos)=", "9"},
    {"OFFSET(prb_data_blk_lpos.begin)=", "9"},
    {"OFFSET(prb_data_blk_lpos.next)=", "9"},
    {"OFFSET(printk_info.seq)=", "81"},
    {"OFFSET(printk_info.ts_nsec)=", "81"},
    {"OFFSET(printk_info.text_len)=", "87"},
    {"OFFSET(prb_data_ring.size_bits)=", "29"},
    {"OFFSET(prb_data_ring.data)=", "25"},
};

/* Each size and offset: not there, no number, too large, and so that the sum wraps. */
START_TEST(each_line_of_the_layout_has_to_fit)
{
    const struct layout_line *line = &layout_lines[_i];
    const char *const values[] = {"",  "x", line->too_large, "257", "18446744073709551615", "18446744073709551616",
                                  "-8"};

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[100] = "";
        fixture_make(4, 10);
        fixture_log(SECOND, "text");
        if (values[i][0] != '\0')
            ck_assert_int_gt(snprintf(text, sizeof(text), "%s%s", line->line, values[i]), 0);
        fixture_change_line(line->line, text);
        expect_error("the kernel's VMCOREINFO has no ");
    }
}
END_TEST

START_TEST(a_kernel_without_this_log_is_told_of)
{
    fixture_make(4, 10);
    fixture_change_line("SYMBOL(prb)", "");
    expect_error("the kernel's VMCOREINFO does not say where its log is");
    fixture_change_line("SIZE(list_head)", "SIZE(list_head)=16\nSYMBOL(log_buf)=ffffffff81007000");
    expect_error("the kernel's log is of the kind before Linux 5.10");
    fixture_change_line("SIZE(list_head)", "SIZE(list_head)=8");
    expect_error("the guest's kernel is a 32-bit one");
    memset(&fixture_bytes[FIXTURE_INFO], 0, 4096);
    expect_error("there is no Linux kernel's VMCOREINFO in the guest's memory: it has none before");
}
END_TEST

START_TEST(what_the_vcpu_does_not_confirm_is_told_of)
{
    struct walk_registers registers = fixture_registers();
    const struct linux_memory memory = fixture_memory(&registers);
    struct fixture_text text;
    struct debug_output output = fixture_output(&text);
    struct error error = {0};

    fixture_make(4, 10);
    fixture_log(SECOND, "text");
    ck_assert_int_eq(kernel_log_print(&memory, KERNEL_LOG_ALL, &output, &error), 0);
    ck_assert_str_eq(text.bytes, "[    1.000000] text\n");
    free(text.bytes);
    registers.cr3 = 0;
    output = fixture_output(&text);
    ck_assert_int_eq(kernel_log_print(&memory, KERNEL_LOG_ALL, &output, &error), 0);
    ck_assert_str_eq(text.bytes, "-- the vCPU's page tables do not confirm that this is the kernel's log\n"
                                 "[    1.000000] text\n");
    free(text.bytes);
}
END_TEST

/* Bytes changed at random, where they matter: it ends, and what comes is bounded. */
START_TEST(random_damage_is_survived)
{
    static const uint64_t places[] = {FIXTURE_PRB,  FIXTURE_RING,         FIXTURE_DESCS,   FIXTURE_INFOS,
                                      FIXTURE_INFO, FIXTURE_ROOT + 0xff8, FIXTURE_PT + 56, FIXTURE_DATA};

    srandom((unsigned)_i);
    for (unsigned turn = 0; turn < 300; turn++) {
        const struct linux_memory memory = fixture_memory(NULL);
        struct fixture_text text;
        const struct debug_output output = fixture_output(&text);
        struct error error;

        fixture_make(4, 9);
        for (unsigned i = 0; i < 30; i++)
            fixture_log(i * SECOND, "some text\nof lines");
        for (long i = random() % 8; i >= 0; i--)
            fixture_bytes[places[random() % 8] + (uint64_t)random() % 96] = (uint8_t)random();
        (void)kernel_log_print(&memory, KERNEL_LOG_ALL, &output, &error);
        ck_assert_uint_lt(text.size, 1u << 20);
        free(text.bytes);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linux_log");
    TCase *cases = tcase_create("all");

    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, records_are_printed_as_dmesg_does);
    tcase_add_test(cases, no_text_commands_a_terminal);
    tcase_add_test(cases, the_last_records_can_be_had_alone);
    tcase_add_loop_test(cases, rings_wrap, 0, 6);
    tcase_add_test(cases, a_text_may_end_with_the_ring);
    tcase_add_test(cases, unfinished_records_are_told_of);
    tcase_add_loop_test(cases, a_damaged_ring_is_an_error, 0, sizeof(ring_damages) / sizeof(ring_damages[0]));
    tcase_add_test(cases, a_ring_that_is_not_mapped_is_an_error);
    tcase_add_test(cases, ends_that_do_not_fit_leave_what_the_other_has);
    tcase_add_loop_test(cases, a_record_with_a_bad_block_loses_its_text, 0, sizeof(bad_blocks) / sizeof(bad_blocks[0]));
    tcase_add_test(cases, a_descriptor_of_another_id_is_left_out);
    tcase_add_test(cases, a_text_ends_with_its_block);
    tcase_add_test(cases, pages_that_are_gone_cost_their_records);
    tcase_add_test(cases, no_more_text_comes_than_the_ring_has);
    tcase_add_test(cases, what_is_printed_has_an_end);
    tcase_add_loop_test(cases, each_line_of_the_layout_has_to_fit, 0, sizeof(layout_lines) / sizeof(layout_lines[0]));
    tcase_add_test(cases, a_kernel_without_this_log_is_told_of);
    tcase_add_test(cases, what_the_vcpu_does_not_confirm_is_told_of);
    tcase_add_loop_test(cases, random_damage_is_survived, 0, 4);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
