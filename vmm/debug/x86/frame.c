#include "vmm/debug/x86/frame.h"

#include <asm/processor-flags.h>
#include <stdbool.h>
#include <string.h>

enum { RIP, CS, RFLAGS, RSP, SS, SLOTS };

/* Of so many bits, as pushed. */
static bool is_frame(const uint64_t *slots, unsigned bits, const struct debug_registers *from)
{
    const bool has_flag = (slots[RFLAGS] & X86_EFLAGS_TF) != 0 && (slots[RFLAGS] & X86_EFLAGS_FIXED) != 0;

    if (!has_flag || (uint16_t)slots[CS] != from->selectors[DEBUG_CS])
        return false;
    /* A trap's RIP is behind the instruction; but where the stack is pushed too, that tells enough. */
    return bits == 64 ? slots[RSP] == from->general[DEBUG_RSP] && (uint16_t)slots[SS] == from->selectors[DEBUG_SS]
                      : slots[RIP] == from->rip;
}

size_t frame_find_trap_flag(const uint8_t *stack, size_t size, unsigned code_bits, const struct debug_registers *from)
{
    const size_t slot = code_bits / 8;
    const size_t count = code_bits == 64 ? SLOTS : RFLAGS + 1;

    for (size_t at = 0; at + count * slot <= size; at += slot) {
        uint64_t slots[SLOTS] = {0};
        for (size_t i = 0; i < count; i++)
            memcpy(&slots[i], stack + at + i * slot, slot);
        if (is_frame(slots, code_bits, from))
            return at + RFLAGS * slot;
    }
    return FRAME_NONE;
}
