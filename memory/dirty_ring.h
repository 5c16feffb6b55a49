/*
 * KVM's dirty rings: each vCPU reports the pages that it writes in a ring of its own, in memory that KVM shares. An
 * entry is free, filled in by KVM, taken by us, and free again when KVM has been told to watch its page anew.
 *
 * KVM stops a vCPU before its ring is full. One that emulates the processor in software looks too late, and overruns
 * the ring: older entries are lost, and its place in the ring is no longer ours. That is found out and made good, as
 * far as it can be: what has been written is then anything.
 */
#ifndef MEMORY_DIRTY_RING_H
#define MEMORY_DIRTY_RING_H

#include <Hypervisor/hv_error.h>

#include <stdbool.h>
#include <stdint.h>

/* What a KVM has. */
struct dirty_ring_support {
    /* The capability to enable. */
    uint32_t capability;
    /* The most entries of a ring; 0: this KVM has no rings. */
    uint32_t entry_limit;
};

struct dirty_ring_support dirty_ring_support(int system_fd);

/*
 * Gives each vCPU that a KVM VM will have a ring of so many entries. HV_UNSUPPORTED: there are no rings.
 * HV_BAD_ARGUMENT: KVM has none of that size, or the VM has vCPUs or rings already.
 */
hv_return_t dirty_ring_enable(const struct dirty_ring_support *support, int vm_fd, uint32_t entry_count);

struct kvm_dirty_gfn;

/* One vCPU's ring; all zero where there is none. */
struct dirty_ring {
    /* entry_count of them, shared with KVM. */
    struct kvm_dirty_gfn *entries;
    uint32_t entry_count;
    /* The next to take, modulo entry_count; and how many have been taken since dirty_ring_reset(). */
    uint32_t next;
    uint32_t taken;
    /* KVM has overrun it, so there may be free entries between the last that was taken and the next that is filled. */
    bool is_overrun;
    /* KVM has called it full, and nothing has been taken since. */
    bool is_stuck;
};

/* HV_NO_RESOURCES: it cannot be mapped. */
hv_return_t dirty_ring_map(struct dirty_ring *ring, int vcpu_fd, uint32_t entry_count);

/* Takes a ring that is none, too. */
void dirty_ring_unmap(struct dirty_ring *ring);

/*
 * Takes the oldest entry: the slot, as KVM names it (the address space in the upper 16 bits, the id in the lower), and
 * the page's number in it. False: there is none. The vCPU is outside the guest, here and below.
 */
bool dirty_ring_take(struct dirty_ring *ring, uint32_t *ret_slot, uint64_t *ret_page);

/* Whether all that there was has been taken and that is more than there should have been: writes may be lost. */
bool dirty_ring_is_overrun(struct dirty_ring *ring);

/* For a ring that KVM calls full, after all has been taken: if that was nothing, because of an overrun, gives way. */
void dirty_ring_unblock(struct dirty_ring *ring);

/*
 * Has KVM watch the pages of all entries that have been taken from a VM's rings. On an error they wait for the next
 * call.
 */
hv_return_t dirty_ring_reset(int vm_fd, struct dirty_ring *rings, unsigned count);

#endif
