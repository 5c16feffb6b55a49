/*
 * The architectural state of a KVM vCPU as a whole: read, written, and carried from one to another.
 */
#ifndef VMM_VCPU_X86_STATE_H
#define VMM_VCPU_X86_STATE_H

#include <Hypervisor/hvx.h>

#include <linux/kvm.h>
#include <stdbool.h>

/* Gets or sets one MSR (KVM_GET_MSRS, KVM_SET_MSRS); whether KVM did. */
bool vcpu_access_msr(int vcpu_fd, unsigned long request, uint32_t msr, uint64_t *value);

/* A vCPU's state, and room for a change of it. */
struct vcpu_state;

/*
 * Reads all that KVM keeps for a vCPU but the time stamp counter, which goes on over a reset so that all vCPUs' stay in
 * step. The caller's to vcpu_state_free(). HV_ERROR: KVM refused; HV_NO_RESOURCES.
 */
hv_return_t vcpu_state_capture(int system_fd, int vcpu_fd, struct vcpu_state **ret_state);

/* Gives a vCPU a state that was its own earlier. */
hv_return_t vcpu_state_restore(int vcpu_fd, struct kvm_run *run, const struct vcpu_state *state);

/* Takes NULL. */
void vcpu_state_free(struct vcpu_state *state);

/* What is needed to carry a state to another KVM VM: the MSRs to take along, and an external interrupt on its way. */
struct vcpu_baggage;

/* HV_NO_RESOURCES, or HV_ERROR: KVM refused. vcpu_fd is in the default space. The caller's to vcpu_baggage_free(). */
hv_return_t vcpu_baggage_create(int system_fd, int vcpu_fd, struct vcpu_baggage **ret_baggage);
void vcpu_baggage_free(struct vcpu_baggage *baggage);

/* Makes a new KVM vCPU in another VM one of the same kind: CPUID and the like, which a guest cannot change. */
hv_return_t vcpu_state_match(int system_fd, int from_fd, int to_fd);

/* Has a vCPU go on that KVM has wait in a HLT. */
void vcpu_wake(int vcpu_fd);

/* How a state is carried: out of the default space, whose interrupt controllers stay; into it; between others. */
enum vcpu_direction { VCPU_LEAVES_DEFAULT, VCPU_ENTERS_DEFAULT, VCPU_BETWEEN_OTHERS };

/*
 * Carries the state from one KVM vCPU to another: registers, segments, floating point, debug registers, MSRs, pending
 * exceptions and the offset of the time stamp counter. Nothing of KVM's own (kvmclock and the like, which would have it
 * write to memory of the other space), nor of the local APIC. An external interrupt that is on its way waits in the
 * baggage until the vCPU is back in the default space. On failure the source is as it was.
 */
hv_return_t vcpu_state_carry(struct vcpu_baggage *baggage, enum vcpu_direction direction, int from_fd, int to_fd,
                             struct kvm_run *to_run);

#endif
