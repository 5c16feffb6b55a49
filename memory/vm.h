/*
 * The VM: its spaces, the KVM VM of the default space, and the table of its vCPUs. The API's outer layer has one.
 */
#ifndef MEMORY_VM_H
#define MEMORY_VM_H

#include "memory/faults.h"
#include "memory/kvm_slots.h"
#include "memory/space.h"

#include <Hypervisor/hvx.h>

#include <pthread.h>

/* Spaces, the default one included; and the most vCPUs that we keep a place for. */
enum { VM_SPACE_MAX = 256, VM_VCPU_MAX = 1024 };

struct vcpu;       /* vmm/vcpu/vcpu.h */
struct vcpu_state; /* vmm/vcpu/x86/state.h */

struct vm {
    /* Guards everything below but what is constant after vm_create(); taken before no other lock. */
    pthread_mutex_t lock;
    /* constant */
    struct kvm_system kvm;
    /*
     * The KVM VM of each space that has one: the default space's is constant, another's is made when the first vCPU
     * enters, since KVM cannot give one VM several address spaces.
     */
    struct kvm_slots *slots[VM_SPACE_MAX];
    /* The entries of the rings in which a space's vCPUs report what they write; 0: it has none. */
    uint32_t ring_entries[VM_SPACE_MAX];
    /* By id; NULL where there is none. */
    struct space *spaces[VM_SPACE_MAX];
    struct vcpu *vcpus[VM_VCPU_MAX];
    unsigned vcpu_count;
    /* Open DMA handles, and calls that wait for their pins. */
    unsigned dma_count;
    /* Has a lock of its own. */
    struct faults faults;
    /* The state in which KVM made the vCPU with this id; vmm/vcpu's, ended by free_power_on. */
    struct vcpu_state *power_on[VM_VCPU_MAX];
    void (*free_power_on)(struct vcpu_state *state);
};

hv_return_t vm_create(struct vm **ret_vm);

/* Ends a VM that has no vCPUs. */
void vm_destroy(struct vm *vm);

/* Gives back what a forked child has inherited of its parent's VM: descriptors, no more. */
void vm_abandon(struct vm *vm);

/*
 * The process's VM, locked, or NULL where there is none; vm_unlock() lets it go. A destroyed VM is never seen.
 * Any thread, one at a time.
 */
struct vm *vm_lock(void);
void vm_unlock(struct vm *vm);

/* The space with this id, or NULL. With the lock held. */
struct space *vm_space(const struct vm *vm, hv_vm_space_t id);

/*
 * Gives a space a KVM VM, with slots as its map says, if it has none. HV_NO_RESOURCES and nothing changed, where KVM
 * cannot. With the lock held.
 */
hv_return_t vm_realise_space(struct vm *vm, hv_vm_space_t id);

/*
 * Fills in what the mapping at the fault's address, if there is one, says of it: allowed, policy, name. A reader of the
 * map, or with the lock held.
 */
void vm_describe_mapping(const struct space *space, hvx_fault_t *fault);

/*
 * Counts a fault of the space, and unless its policy is just that, adds it to the VM's. Any thread that keeps the space
 * from being destroyed, without the lock.
 */
void vm_take_fault(struct vm *vm, struct space *space, hvx_fault_t *fault);

/* hvx_vm_dirty_use_ring(), with its results, for a space that there is. With the lock held. */
hv_return_t vm_use_ring(struct vm *vm, hv_vm_space_t id, uint32_t entry_count);

/* Ends a space other than the default one, which no vCPU is in, and its KVM VM. With the lock held. */
void vm_remove_space(struct vm *vm, hv_vm_space_t id);

#endif
