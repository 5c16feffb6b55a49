/*
 * A vCPU context: one architectural state, owned by one thread. Internal to libhv.
 */
#ifndef VMM_VCPU_VCPU_H
#define VMM_VCPU_VCPU_H

#include "memory/vm.h"

#include <Hypervisor/hvx.h>

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>

struct vcpu {
    /* constant */
    unsigned id;
    struct vm *vm;
    pthread_t owner;
    int fd;
    struct kvm_run *run;
    /* Set when the owner's thread has ended; guarded by vm->lock. */
    bool owner_ended;
    /* Guarded by vm->lock; changed by the owner. */
    hv_vm_space_t space;
    /* owner: the vCPU's thread, as for all below */
    hvx_vcpu_exit_t exit;
    /* The last exit was an access that is neither repeated nor completed yet. */
    bool access_pending;
};

/* The calling thread's vCPU if it has this id. Otherwise NULL, and *ret_error says why not. Takes no lock. */
struct vcpu *vcpu_owned(hv_vcpuid_t id, hv_return_t *ret_error);

/* Fills in vcpu->exit from what KVM_RUN has left; error is its errno value, or 0. */
void vcpu_describe_exit(struct vcpu *vcpu, int error);

/*
 * Before KVM_RUN: carries out a pending access that the map now allows. HV_SUCCESS: the vCPU can run.
 * HV_ERROR: it is still not allowed, and the exit stands.
 */
hv_return_t vcpu_settle_access(struct vcpu *vcpu);

#endif
