/*
 * The frame that a processor pushes when it enters a handler (Intel SDM volume 3, 6.12.1 and 6.14.2): RIP, CS, RFLAGS,
 * and in 64-bit code always RSP and SS.
 */
#ifndef VMM_DEBUG_X86_FRAME_H
#define VMM_DEBUG_X86_FRAME_H

#include "vmm/debug/x86/registers.h"

#include <stddef.h>
#include <stdint.h>

#define FRAME_NONE SIZE_MAX

/*
 * Looks in memory, from RSP upwards, for the frame of an event that came at an instruction with the registers `from`,
 * and whose flags have the trap flag: the place of its flags in `stack`, or FRAME_NONE. code_bits: of the handler's
 * code, which has the size of what was pushed.
 */
size_t frame_find_trap_flag(const uint8_t *stack, size_t size, unsigned code_bits, const struct debug_registers *from);

#endif
