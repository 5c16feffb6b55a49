/*
 * Debugging of a vCPU by KVM's means: steps, breakpoints, exceptions. Internal to libhv.
 */
#ifndef VMM_VCPU_X86_DEBUG_H
#define VMM_VCPU_X86_DEBUG_H

#include "vmm/vcpu/vcpu.h"

/* Fills in vcpu->exit for KVM_EXIT_DEBUG, and has a vCPU that has stepped over HLT not wait in it. */
void vcpu_describe_debug(struct vcpu *vcpu);

/* The same for a step that KVM has ended without a word; nothing, if the last exit was not of an instruction's own. */
void vcpu_describe_step(struct vcpu *vcpu);

/*
 * Before each run of a vCPU that single-steps: KVM keeps the flag that it steps by for just the RIP at which it was
 * asked, and drops it with what it emulates. False: KVM refused.
 */
bool vcpu_arm_step(const struct vcpu *vcpu);

/* Has another KVM vCPU do what the present one does for hvx_vcpu_set_debug(), and that one no more. False: the first.
 */
bool vcpu_carry_debug(const struct vcpu *vcpu, int to_fd);

/* Ends what hvx_vcpu_set_debug() has begun. */
void vcpu_end_debug(struct vcpu *vcpu);

#endif
