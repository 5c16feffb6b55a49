#include "memory/kvm_system.h"

#include "memory/x86/address_width.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <unistd.h>

/*
 * See cut_size. Whole huge pages, a thirty-second of 4 GiB, and not so little that a client who fetches the dirty
 * bits of a GiB notices the number of slots that it asks for them.
 */
static const uint64_t CUT_SIZE = 128ull << 20;

hv_return_t kvm_result_of_errno(int error)
{
    switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return HV_NO_DEVICE;
    case EACCES:
    case EPERM:
        return HV_DENIED;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOSPC:
    case EAGAIN:
        return HV_NO_RESOURCES;
    default:
        return HV_ERROR;
    }
}

hv_return_t kvm_system_open(struct kvm_system *system)
{
    static const int required[] = {
        KVM_CAP_USER_MEMORY,
        KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
        KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
        KVM_CAP_READONLY_MEM,
        KVM_CAP_IMMEDIATE_EXIT,
    };

    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return kvm_result_of_errno(errno);

    hv_return_t result = HV_UNSUPPORTED;
    if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
        goto fail;
    for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
        if (ioctl(fd, KVM_CHECK_EXTENSION, required[i]) <= 0)
            goto fail;
    int slot_limit = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    int vcpu_limit = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    int run_size = ioctl(fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (slot_limit <= 0 || vcpu_limit <= 0 || run_size < (int)sizeof(struct kvm_run))
        goto fail;
    const int guest_debug = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);
    *system = (struct kvm_system){
        .fd = fd,
        .slot_limit = (unsigned)slot_limit,
        .vcpu_limit = (unsigned)vcpu_limit,
        .address_limit = 1ull << host_physical_address_bits(),
        .cut_size = CUT_SIZE,
        .run_size = (unsigned)run_size,
        .guest_debug = guest_debug > 0 ? (uint32_t)guest_debug : 0,
        .rings = dirty_ring_support(fd),
    };
    return HV_SUCCESS;
fail:
    close(fd);
    return result;
}

void kvm_system_close(struct kvm_system *system)
{
    close(system->fd);
    system->fd = -1;
}

int kvm_system_create_vm(const struct kvm_system *system)
{
    int fd;

    /* A signal during a long allocation makes it fail with EINTR, and trying again is right. */
    do
        fd = ioctl(system->fd, KVM_CREATE_VM, 0);
    while (fd < 0 && errno == EINTR);
    return fd;
}

hv_return_t kvm_system_check_ring(const struct kvm_system *system, uint32_t entry_count)
{
    const int fd = kvm_system_create_vm(system);

    if (fd < 0)
        return kvm_result_of_errno(errno);
    hv_return_t result = dirty_ring_enable(&system->rings, fd, entry_count);
    close(fd);
    return result;
}
