/*
 * The frame of an event on a stack.
 */
#include "vmm/debug/x86/frame.h"

#include "unit_test.h"

#include <string.h>

static const struct debug_registers from = {
    .rip = 0x401000,
    .general = {[DEBUG_RSP] = 0x7ffe1000},
    .selectors = {[DEBUG_CS] = 0x33, [DEBUG_SS] = 0x2b},
};

enum { TRAP_FLAG = 0x100, FLAGS = 0x302 };

START_TEST(a_frame_of_64_bits_is_found_behind_what_its_handler_has_pushed)
{
    uint64_t stack[16] = {0};

    for (size_t at = 0; at + 5 <= 16; at++) {
        memset(stack, 0xff, sizeof(stack));
        const uint64_t frame[] = {0x401002, 0x33, FLAGS, 0x7ffe1000, 0x2b};
        memcpy(&stack[at], frame, sizeof(frame));
        ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)stack, sizeof(stack), 64, &from), (at + 2) * 8);
    }
}
END_TEST

START_TEST(what_differs_in_one_word_is_no_frame)
{
    const uint64_t good[] = {0x401000, 0x33, FLAGS, 0x7ffe1000, 0x2b};

    ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)good, sizeof(good), 64, &from), 16);
    for (size_t i = 1; i < 5; i++) {
        uint64_t other[5];
        memcpy(other, good, sizeof(other));
        other[i] = i == 2 ? FLAGS & ~TRAP_FLAG : other[i] + 8;
        ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)other, sizeof(other), 64, &from), FRAME_NONE);
    }
    ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)good, sizeof(good) - 1, 64, &from), FRAME_NONE);
    ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)good, 0, 64, &from), FRAME_NONE);
}
END_TEST

START_TEST(smaller_frames_have_rip_to_tell_them)
{
    const struct debug_registers small = {.rip = 0x1000, .selectors = {[DEBUG_CS] = 0x8}};
    const uint32_t wide[] = {0xffffffff, 0x1000, 0x8, FLAGS};
    const uint16_t narrow[] = {0x1000, 0x8, FLAGS};
    const uint32_t elsewhere[] = {0x1002, 0x8, FLAGS};

    ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)wide, sizeof(wide), 32, &small), 12);
    ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)narrow, sizeof(narrow), 16, &small), 4);
    ck_assert_uint_eq(frame_find_trap_flag((const uint8_t *)elsewhere, sizeof(elsewhere), 32, &small), FRAME_NONE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("frame");
    TCase *cases = tcase_create("frames");

    tcase_add_test(cases, a_frame_of_64_bits_is_found_behind_what_its_handler_has_pushed);
    tcase_add_test(cases, what_differs_in_one_word_is_no_frame);
    tcase_add_test(cases, smaller_frames_have_rip_to_tell_them);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
