#include "memory/dirty_ring.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Rings are mapped at KVM_DIRTY_LOG_PAGE_OFFSET pages. */
enum { PAGE_SIZE = 4096 };

struct dirty_ring_support dirty_ring_support(int system_fd)
{
    /* The first one says what order the accesses need, which are in that order in any case. */
    static const uint32_t capabilities[] = {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING};

    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        const int bytes = ioctl(system_fd, KVM_CHECK_EXTENSION, capabilities[i]);
        if (bytes > 0)
            return (struct dirty_ring_support){.capability = capabilities[i],
                                               .entry_limit = (uint32_t)bytes / sizeof(struct kvm_dirty_gfn)};
    }
    return (struct dirty_ring_support){0};
}

hv_return_t dirty_ring_enable(const struct dirty_ring_support *support, int vm_fd, uint32_t entry_count)
{
    struct kvm_enable_cap enable = {.cap = support->capability,
                                    .args = {entry_count * (uint64_t)sizeof(struct kvm_dirty_gfn)}};

    if (support->entry_limit == 0)
        return HV_UNSUPPORTED;
    if (entry_count > support->entry_limit)
        return HV_BAD_ARGUMENT;
    if (ioctl(vm_fd, KVM_ENABLE_CAP, &enable) == 0)
        return HV_SUCCESS;
    return errno == EINVAL || errno == E2BIG ? HV_BAD_ARGUMENT : HV_ERROR;
}

hv_return_t dirty_ring_map(struct dirty_ring *ring, int vcpu_fd, uint32_t entry_count)
{
    void *entries = mmap(NULL, entry_count * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd,
                         (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE);
    if (entries == MAP_FAILED)
        return HV_NO_RESOURCES;
    *ring = (struct dirty_ring){.entries = entries, .entry_count = entry_count};
    return HV_SUCCESS;
}

void dirty_ring_unmap(struct dirty_ring *ring)
{
    if (ring->entries != NULL)
        munmap(ring->entries, ring->entry_count * sizeof(struct kvm_dirty_gfn));
    *ring = (struct dirty_ring){0};
}

static struct kvm_dirty_gfn *entry_at(const struct dirty_ring *ring, uint32_t index)
{
    return &ring->entries[index % ring->entry_count];
}

/* The flag comes after the rest of the entry. One that has been taken and waits for its reset is not filled. */
static bool is_filled(const struct kvm_dirty_gfn *entry)
{
    return (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_MASK) == KVM_DIRTY_GFN_F_DIRTY;
}

/* KVM may use the entry again from here on. */
static void give_back_next(struct dirty_ring *ring)
{
    __atomic_store_n(&entry_at(ring, ring->next)->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    ring->next++;
    ring->taken++;
}

/* How many free entries are before the next that is filled; all that are left, if none is. */
static uint32_t free_before_filled(const struct dirty_ring *ring)
{
    const uint32_t left = ring->entry_count - ring->taken;
    uint32_t count = 0;

    while (count < left && !is_filled(entry_at(ring, ring->next + count))) {
        if (!ring->is_overrun)
            return left;
        count++;
    }
    return count;
}

bool dirty_ring_take(struct dirty_ring *ring, uint32_t *ret_slot, uint64_t *ret_page)
{
    uint32_t skipped = free_before_filled(ring);

    if (skipped == ring->entry_count - ring->taken)
        return false;
    while (skipped-- > 0)
        give_back_next(ring);
    const struct kvm_dirty_gfn *entry = entry_at(ring, ring->next);
    *ret_slot = entry->slot;
    *ret_page = entry->offset;
    give_back_next(ring);
    ring->is_stuck = false;
    return true;
}

bool dirty_ring_is_overrun(struct dirty_ring *ring)
{
    /* KVM keeps some entries in reserve, which a vCPU that it stops in time does not fill. */
    if (ring->entry_count == 0 || ring->taken < ring->entry_count)
        return false;
    ring->is_overrun = true;
    return true;
}

void dirty_ring_unblock(struct dirty_ring *ring)
{
    if (!ring->is_overrun || ring->taken > 0)
        return;
    /* Somebody else may have emptied it since KVM looked. If that comes twice, KVM waits for entries that are lost. */
    if (ring->is_stuck)
        give_back_next(ring);
    ring->is_stuck = true;
}

hv_return_t dirty_ring_reset(int vm_fd, struct dirty_ring *rings, unsigned count)
{
    uint64_t taken = 0;

    for (unsigned i = 0; i < count; i++)
        taken += rings[i].taken;
    while (taken > 0) {
        const int done = ioctl(vm_fd, KVM_RESET_DIRTY_RINGS, 0);
        /* A signal ends it early, and then it says how many were done, or EINTR. */
        if (done < 0 && errno != EINTR)
            return HV_ERROR;
        if (done > 0)
            taken -= (uint64_t)done < taken ? (uint64_t)done : taken;
    }
    for (unsigned i = 0; i < count; i++)
        rings[i].taken = 0;
    return HV_SUCCESS;
}
