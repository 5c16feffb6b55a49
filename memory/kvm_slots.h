/*
 * The KVM VM of a space, and the memory slots that realise its map. With kvm_system and dirty_ring the
 * only part of memory/ that knows KVM.
 *
 * A region that a guest may write is a slot, one that it may only read (or execute, which KVM cannot tell from reading)
 * is a read-only slot, and one that allows nothing is no slot: accesses exit. In a strict space what may not be
 * executed is no slot either. Nor is what has traps for reading or execution; a trap for writing alone makes a slot
 * read-only.
 */
#ifndef MEMORY_KVM_SLOTS_H
#define MEMORY_KVM_SLOTS_H

#include "memory/dirty_log.h"
#include "memory/dirty_ring.h"
#include "memory/gate.h"
#include "memory/kvm_system.h"
#include "memory/region_map.h"
#include "memory/space.h"

/* One KVM VM and its slots; follows one space as its listener. For one thread at a time. */
struct kvm_slots;

/* Makes a KVM VM. The system must outlive it. */
hv_return_t kvm_slots_create(const struct kvm_system *system, struct kvm_slots **ret_slots);

/* Closes the VM and its vCPUs, which nobody uses any more. Takes NULL. */
void kvm_slots_destroy(struct kvm_slots *slots);

/* The listener for space_listener.change; context is the struct kvm_slots. */
hv_return_t kvm_slots_change(void *context, const struct region_map *to, bool is_strict, uint64_t gpa, uint64_t size);

/* Closes the descriptors of a parent process's VM, and leaves everything else alone. */
void kvm_slots_abandon(struct kvm_slots *slots);

/* The VM's descriptor; not the caller's to close. */
int kvm_slots_vm_fd(const struct kvm_slots *slots);

/* Slots in use. */
size_t kvm_slots_count(const struct kvm_slots *slots);

/* The listener's other parts: space_listener.set_log and harvest. */
hv_return_t kvm_slots_set_log(void *context, const struct dirty_log *log);
hv_return_t kvm_slots_harvest(void *context, uint64_t gpa, uint64_t size, uint64_t *bitmap);

/*
 * vCPUs report what they write in rings of so many entries each, and no longer in a bitmap for each slot. Once for a
 * VM. HV_BUSY: it has had a vCPU.
 */
hv_return_t kvm_slots_use_ring(struct kvm_slots *slots, uint32_t entry_count);

/*
 * Moves what the rings hold to the log, if there are rings. Callers are outside the guest; other vCPUs are kept there
 * meanwhile. On an error nothing is lost.
 */
hv_return_t kvm_slots_empty_rings(struct kvm_slots *slots);

/* The same, because KVM does not let the vCPU with this id go on before. */
hv_return_t kvm_slots_ring_is_full(struct kvm_slots *slots, unsigned id);

/* The gate that the VM's vCPUs pass. It is held while slots are taken away and made again, and rings are harvested. */
struct gate *kvm_slots_gate(struct kvm_slots *slots);

/* A vCPU of a KVM VM. KVM has no way to end one, so it stays until the VM is closed, to be used again. */
struct kvm_vcpu {
    int fd;
    /* struct kvm_run, mapped */
    void *run;
    /* It has all that its maker gives it once: see kvm_slots_vcpu_is_ready(). */
    bool is_ready;
};

/* Gives the vCPU with this id, made now if there is none yet. It lives as long as the slots. */
hv_return_t kvm_slots_vcpu(struct kvm_slots *slots, unsigned id, struct kvm_vcpu *ret_vcpu);

/* For later calls, which then find is_ready set. */
void kvm_slots_vcpu_is_ready(struct kvm_slots *slots, unsigned id);

#endif
