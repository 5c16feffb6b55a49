/*
 * Which instructions need more than the processor's single step.
 */
#include "vmm/debug/x86/instruction.h"

#include "unit_test.h"

struct example {
    unsigned code_bits;
    uint8_t bytes[INSTRUCTION_MAX];
    size_t size;
    struct instruction expected;
};

#define BYTES(...) {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})

static const struct example examples[] = {
    {64, BYTES(0xf4), {INSTRUCTION_HLT, 1, 0}},
    {16, BYTES(0xf4), {INSTRUCTION_HLT, 1, 0}},
    {64, BYTES(0x66, 0xf3, 0x48, 0xf4), {INSTRUCTION_HLT, 4, 0}},
    {64, BYTES(0x0f, 0x05), {INSTRUCTION_SYSCALL, 2, 0}},
    {32, BYTES(0x0f, 0x05), {INSTRUCTION_SYSCALL, 2, 0}},
    {64, BYTES(0x2e, 0x0f, 0x05), {INSTRUCTION_SYSCALL, 3, 0}},
    {64, BYTES(0x48, 0x0f, 0x07), {INSTRUCTION_SYSRET, 3, 8}},
    {64, BYTES(0x0f, 0x07), {INSTRUCTION_SYSRET, 2, 4}},
    {64, BYTES(0x9c), {INSTRUCTION_PUSHF, 1, 8}},
    {64, BYTES(0x66, 0x9c), {INSTRUCTION_PUSHF, 2, 2}},
    {32, BYTES(0x9c), {INSTRUCTION_PUSHF, 1, 4}},
    {32, BYTES(0x66, 0x9c), {INSTRUCTION_PUSHF, 2, 2}},
    {16, BYTES(0x9c), {INSTRUCTION_PUSHF, 1, 2}},
    {16, BYTES(0x66, 0x9c), {INSTRUCTION_PUSHF, 2, 4}},
    {64, BYTES(0xf3, 0xaa), {INSTRUCTION_REP_STOS, 2, 1}},
    {64, BYTES(0xf3, 0xab), {INSTRUCTION_REP_STOS, 2, 4}},
    {64, BYTES(0xf3, 0x48, 0xab), {INSTRUCTION_REP_STOS, 3, 8}},
    {64, BYTES(0xf3, 0x66, 0xab), {INSTRUCTION_REP_STOS, 3, 2}},
    {64, BYTES(0xf3, 0xa4), {INSTRUCTION_REP_MOVS, 2, 1}},
    {64, BYTES(0xf3, 0x48, 0xa5), {INSTRUCTION_REP_MOVS, 3, 8}},
    /* Not repeated, or from another segment, or with short addresses, or in other code. */
    {64, BYTES(0xaa), {INSTRUCTION_PLAIN, 0, 0}},
    {64, BYTES(0x65, 0xf3, 0xa4), {INSTRUCTION_PLAIN, 0, 0}},
    {64, BYTES(0x67, 0xf3, 0xaa), {INSTRUCTION_PLAIN, 0, 0}},
    {32, BYTES(0xf3, 0xaa), {INSTRUCTION_PLAIN, 0, 0}},
    /* In 32-bit code 48 is DEC EAX. */
    {32, BYTES(0x48, 0xf4), {INSTRUCTION_PLAIN, 0, 0}},
    /* An opcode of three bytes, an operand that looks like an opcode, and bytes that end too early. */
    {64, BYTES(0x0f, 0x38, 0x05), {INSTRUCTION_PLAIN, 0, 0}},
    {64, BYTES(0xb8, 0xf4, 0, 0, 0), {INSTRUCTION_PLAIN, 0, 0}},
    {64, BYTES(0x0f), {INSTRUCTION_PLAIN, 0, 0}},
    {64, BYTES(0x66, 0x66), {INSTRUCTION_PLAIN, 0, 0}},
    {64, BYTES(0x48), {INSTRUCTION_PLAIN, 0, 0}},
};

enum { EXAMPLE_COUNT = sizeof(examples) / sizeof(examples[0]) };

START_TEST(each_example_is_recognised)
{
    const struct example *example = &examples[_i];
    const struct instruction found = instruction_identify(example->bytes, example->size, example->code_bits);

    ck_assert_int_eq(found.kind, example->expected.kind);
    ck_assert_uint_eq(found.length, example->expected.length);
    ck_assert_uint_eq(found.operand_size, example->expected.operand_size);
}
END_TEST

/* The processor refuses what is longer than 15 bytes. */
START_TEST(prefixes_without_end_are_no_instruction)
{
    uint8_t bytes[INSTRUCTION_MAX + 1];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = 0x66;
    bytes[INSTRUCTION_MAX] = 0xf4;
    ck_assert_int_eq(instruction_identify(bytes, sizeof(bytes), 64).kind, INSTRUCTION_PLAIN);
    bytes[INSTRUCTION_MAX - 1] = 0xf4;
    ck_assert_int_eq(instruction_identify(bytes, sizeof(bytes), 64).kind, INSTRUCTION_HLT);
    ck_assert_int_eq(instruction_identify(bytes, 0, 64).kind, INSTRUCTION_PLAIN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("instruction");
    TCase *cases = tcase_create("instructions");

    tcase_add_loop_test(cases, each_example_is_recognised, 0, EXAMPLE_COUNT);
    tcase_add_test(cases, prefixes_without_end_are_no_instruction);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
