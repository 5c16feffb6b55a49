/*
 * A vCPU context: one architectural state, owned by one thread. Internal to libhv.
 */
#ifndef VMM_VCPU_VCPU_H
#define VMM_VCPU_VCPU_H

#include "memory/vm.h"

#include <Hypervisor/hvx.h>

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

struct vcpu {
    /* constant */
    unsigned id;
    struct vm *vm;
    pthread_t owner;
    /* Set when the owner's thread has ended; guarded by vm->lock. */
    bool owner_ended;
    /* The space it is in, and its KVM vCPU there: changed with vm->lock held, by the owner, who reads them without. */
    hv_vm_space_t space;
    int fd;
    struct kvm_run *run;
    struct gate *gate;
    struct gate_pass pass;
    /* Somebody wants the next run, or this one, to end. */
    atomic_bool interrupt_requested;
    /* The gate is held: out of the guest, and in again when it is not. */
    atomic_bool kicked;
    /* Our own signal has come, for whatever reason; one that comes late is for none. */
    atomic_bool signalled;
    /* Whoever describes an exit has the VM locked already. */
    bool vm_is_locked;
    /* owner: the vCPU's thread, as for all below */
    hvx_vcpu_exit_t exit;
    /* The last exit was an access that is neither repeated nor completed yet. */
    bool access_pending;
    /* KVM may have something of the last exit's instruction to finish. */
    bool is_unfinished;
    /* Something was mapped where that access went. */
    bool access_is_mapped;
    /* It has been taken as a fault: it is one once, however often it is repeated. */
    bool access_is_counted;
    /* What hvx_vcpu_set_debug() wants; in force in the KVM vCPU of its place, and in no other. */
    hvx_vcpu_debug_t debug;
    /* The exception of the last exit, an HVX_EXIT_DEBUG, has not been given back to the guest. */
    bool exception_is_ours;
    /* NULL until it has been in a space other than the default one. */
    struct vcpu_baggage *baggage;
    /* Cycles of the host's time stamp counter in KVM_RUN, and both clocks at the start. */
    uint64_t cycles_in_guest;
    uint64_t cycles_at_start;
    uint64_t nanoseconds_at_start;
    /* For hv_vcpu_run_until(). */
    timer_t timer;
    bool has_timer;
};

/* The calling thread's vCPU if it has this id. Otherwise NULL, and *ret_error says why not. Takes no lock. */
struct vcpu *vcpu_owned(hv_vcpuid_t id, hv_return_t *ret_error);

/*
 * The vCPU with this id, if the caller may do what is for the owner, or for anybody once the owner has ended. Otherwise
 * NULL, and *ret_error says why not. With the VM locked.
 */
struct vcpu *vcpu_callers(const struct vm *vm, hv_vcpuid_t id, hv_return_t *ret_error);

/*
 * Takes back what made the last KVM_RUN return at once, unless somebody has asked for an exit, which the next run is to
 * see. The flag is cleared first: who asks in between sets it again.
 */
void vcpu_settle_immediate_exit(struct vcpu *vcpu);

/* Gets the vCPU out of the guest, or keeps it from entering. With the VM locked. */
void vcpu_kick(const struct vcpu *vcpu);

/* Puts the vCPU at a place: a space, and its KVM vCPU there. With the VM locked. */
void vcpu_place(struct vcpu *vcpu, hv_vm_space_t space, const struct kvm_vcpu *kvm);

/*
 * Lets the vCPU's KVM vCPU finish what it has begun, whatever that is, without entering the guest; nobody uses it. With
 * the VM locked.
 */
void vcpu_drain(struct vcpu *vcpu);

/* CLOCK_MONOTONIC */
uint64_t vcpu_now_nanoseconds(void);

/* Fills in vcpu->exit from what KVM_RUN has left; error is its errno value, or 0. */
void vcpu_describe_exit(struct vcpu *vcpu, int error);

/*
 * Carries out a pending access that the map now allows and does not trap. HV_SUCCESS: the vCPU can run. HV_ERROR: the
 * exit stands. With the VM locked.
 */
hv_return_t vcpu_settle_access_locked(struct vcpu *vcpu);

/*
 * Does with a pending access what the map says: carries it out, or answers it as the mapping's policy has it, or leaves
 * it to the client; whether it is done, and the vCPU can run. One that is refused is a fault of the VM's.
 */
bool vcpu_serve_access(struct vcpu *vcpu);

/* Takes the last exit, a fetch that was refused, as a fault of the VM's. */
void vcpu_take_fetch_fault(struct vcpu *vcpu);

/*
 * Lets KVM finish the instruction of the last exit without entering the guest, so that the registers are complete.
 * HV_SUCCESS: if the vCPU single-steps, the exit is the step's now. HV_BUSY: it has another access to make, which is
 * the exit now. With the VM locked, by the owner or when that has ended.
 */
hv_return_t vcpu_finish_instruction(struct vcpu *vcpu);

#endif
