/*
 * String instructions that repeat, and whose rounds would each be a step.
 */
#ifndef VMM_DEBUG_ROUNDS_H
#define VMM_DEBUG_ROUNDS_H

#include "vmm/debug/side.h"

/*
 * REP STOS or REP MOVS has done one round, beginning at `from`, and may have millions left: does those that stay in the
 * page of that round, where that comes to the same.
 */
void rounds_take(const struct side *side, const struct debug_registers *from, const struct instruction *instruction);

#endif
