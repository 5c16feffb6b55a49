#include "vmm/debug/x86/instruction.h"

#include <stdbool.h>

static bool is_legacy_prefix(uint8_t byte)
{
    switch (byte) {
    case 0x26: /* segments */
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66: /* operand size */
    case 0x67: /* address size */
    case 0xf0: /* LOCK, REPNE, REP */
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}

/* A string instruction with nothing but REP before it, and REX and the operand size. */
static struct instruction identify_string(uint8_t opcode, unsigned length, bool is_wide, bool has_operand_prefix)
{
    const bool is_byte = (opcode & 1) == 0;
    const unsigned size = is_byte ? 1 : is_wide ? 8 : has_operand_prefix ? 2 : 4;

    return (struct instruction){.kind = (opcode & 0xfe) == 0xaa ? INSTRUCTION_REP_STOS : INSTRUCTION_REP_MOVS,
                                .length = length,
                                .operand_size = size};
}

static unsigned pushf_size(unsigned code_bits, bool has_operand_prefix)
{
    if (code_bits == 64)
        return has_operand_prefix ? 2 : 8;
    return (code_bits == 32) != has_operand_prefix ? 4 : 2;
}

struct instruction instruction_identify(const uint8_t *bytes, size_t size, unsigned code_bits)
{
    const struct instruction plain = {.kind = INSTRUCTION_PLAIN};
    bool has_operand_prefix = false;
    bool has_other_prefix = false;
    bool repeats = false;
    bool is_wide = false;
    size_t at = 0;

    for (; at < size && is_legacy_prefix(bytes[at]); at++) {
        has_operand_prefix |= bytes[at] == 0x66;
        repeats |= bytes[at] == 0xf3;
        has_other_prefix |= bytes[at] != 0x66 && bytes[at] != 0xf3;
    }
    /* REX counts only directly before the opcode. */
    if (code_bits == 64 && at < size && (bytes[at] & 0xf0) == 0x40)
        is_wide = (bytes[at++] & 0x08) != 0;
    if (at >= size || at >= INSTRUCTION_MAX)
        return plain;

    const unsigned length = (unsigned)at + 1;
    if (bytes[at] == 0xf4)
        return (struct instruction){.kind = INSTRUCTION_HLT, .length = length};
    if (bytes[at] == 0x9c)
        return (struct instruction){
            .kind = INSTRUCTION_PUSHF, .length = length, .operand_size = pushf_size(code_bits, has_operand_prefix)};
    if (repeats && code_bits == 64 && !has_other_prefix && ((bytes[at] & 0xfe) == 0xaa || (bytes[at] & 0xfe) == 0xa4))
        return identify_string(bytes[at], length, is_wide, has_operand_prefix);
    if (bytes[at] != 0x0f || at + 1 >= size || length == INSTRUCTION_MAX)
        return plain;
    if (bytes[at + 1] == 0x05)
        return (struct instruction){.kind = INSTRUCTION_SYSCALL, .length = length + 1};
    if (bytes[at + 1] == 0x07)
        return (struct instruction){.kind = INSTRUCTION_SYSRET, .length = length + 1, .operand_size = is_wide ? 8 : 4};
    return plain;
}
