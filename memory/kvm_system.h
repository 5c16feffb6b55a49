/*
 * The host's KVM: /dev/kvm, what it can do, and VMs.
 */
#ifndef MEMORY_KVM_SYSTEM_H
#define MEMORY_KVM_SYSTEM_H

#include "memory/dirty_ring.h"

#include <Hypervisor/hv_error.h>

#include <stdint.h>

/* /dev/kvm, opened. */
struct kvm_system {
    int fd;
    /* Slots that one VM may have, and vCPUs. */
    unsigned slot_limit;
    unsigned vcpu_limit;
    /* Guest addresses from here on get no slot: KVM has none for them, and no guest can generate them. */
    uint64_t address_limit;
    /* A power of two: where slots are cut, if KVM can drop one slot's page tables alone. See kvm_slots.c. */
    uint64_t cut_size;
    /* Bytes of a vCPU's shared page (struct kvm_run). */
    unsigned run_size;
    /* KVM_GUESTDBG_*: what KVM_SET_GUEST_DEBUG takes; 0: this KVM does not say. */
    uint32_t guest_debug;
    struct dirty_ring_support rings;
};

/*
 * HV_NO_DEVICE: no KVM. HV_DENIED: no permission. HV_UNSUPPORTED: it lacks what we need; HV_NO_RESOURCES.
 */
hv_return_t kvm_system_open(struct kvm_system *system);
void kvm_system_close(struct kvm_system *system);

/*
 * Whether kvm_slots_use_ring() takes this number, asked of a VM that is made for the question. HV_UNSUPPORTED: there
 * are no rings. HV_BAD_ARGUMENT: none of that size. HV_NO_RESOURCES.
 */
hv_return_t kvm_system_check_ring(const struct kvm_system *system, uint32_t entry_count);

/* Makes a KVM VM: its descriptor, or -1 with errno. */
int kvm_system_create_vm(const struct kvm_system *system);

/* What the API says of an errno value that an ioctl has left. */
hv_return_t kvm_result_of_errno(int error);

#endif
