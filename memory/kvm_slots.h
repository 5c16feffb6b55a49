/*
 * The KVM VM of a space, and the memory slots that realise its map. The only part of memory/ that knows KVM.
 *
 * A region that a guest may write is a slot, one that it may only read (or execute, which KVM cannot tell from reading)
 * is a read-only slot, and one that allows nothing is no slot: accesses exit.
 */
#ifndef MEMORY_KVM_SLOTS_H
#define MEMORY_KVM_SLOTS_H

#include "memory/region_map.h"
#include "memory/space.h"

/* /dev/kvm, opened. */
struct kvm_system {
    int fd;
    /* Slots that one VM may have, and vCPUs. */
    unsigned slot_limit;
    unsigned vcpu_limit;
    /* Bytes of a vCPU's shared page (struct kvm_run). */
    unsigned run_size;
};

/*
 * HV_NO_DEVICE: no KVM. HV_DENIED: no permission. HV_UNSUPPORTED: it lacks what we need; HV_NO_RESOURCES.
 */
hv_return_t kvm_system_open(struct kvm_system *system);
void kvm_system_close(struct kvm_system *system);

/* One KVM VM and its slots; follows one space as its listener. For one thread at a time. */
struct kvm_slots;

/* Makes a KVM VM. The system must outlive it. */
hv_return_t kvm_slots_create(const struct kvm_system *system, struct kvm_slots **ret_slots);

/* Closes the VM: memory is the guest's no more once the last vCPU's descriptor is closed too. Takes NULL. */
void kvm_slots_destroy(struct kvm_slots *slots);

/* The listener for space_listener.change; context is the struct kvm_slots. */
hv_return_t kvm_slots_change(void *context, const struct region_map *from, const struct region_map *to, uint64_t gpa,
                             uint64_t size);

/* The VM's descriptor; not the caller's to close. */
int kvm_slots_vm_fd(const struct kvm_slots *slots);

/* Slots in use. */
size_t kvm_slots_count(const struct kvm_slots *slots);

/* Makes a vCPU of this KVM VM and maps its struct kvm_run. */
hv_return_t kvm_slots_create_vcpu(const struct kvm_slots *slots, unsigned id, int *ret_fd, void **ret_run);
void kvm_slots_destroy_vcpu(const struct kvm_slots *slots, int fd, void *run);

#endif
