/*
 * Letting a vCPU past what is in its way: a page whose traps are not for what it does, or an INT3 of ours. It takes
 * steps, alone in the guest, with that out of force.
 */
#ifndef VMM_DEBUG_PASS_H
#define VMM_DEBUG_PASS_H

#include "vmm/debug/side.h"

/* Past the page of a fetch that a trap caught, which gpa is in; as long as RIP stays there, up to a bound. */
void pass_page(const struct side *side, uint64_t gpa);

/* Past an instruction that KVM cannot emulate on a trapped page. */
void pass_all(const struct side *side);

/* Past the instruction that an INT3 stands for. */
void pass_patch(const struct side *side, struct point_site *patch);

#endif
