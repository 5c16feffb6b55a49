#include "bare_guest.h"

#include <check.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { STATUS_SKIPPED = 77 };

void bare_guest_require_kvm(void)
{
    hv_return_t result = hv_vm_create(HV_VM_DEFAULT);

    /* tools/check sets this where /dev/kvm is there: then the tests have to run. */
    if ((result == HV_NO_DEVICE || result == HV_DENIED) && getenv("QUIRE_REQUIRE_KVM") == NULL) {
        printf("skipped: no usable /dev/kvm here (%s)\n",
               result == HV_DENIED ? "it may not be opened" : "there is none");
        exit(STATUS_SKIPPED);
    }
    /* Any other failure is one of ours, and the tests will say so. */
    if (result == HV_SUCCESS)
        hv_vm_destroy();
}

static uint8_t *map_page(hv_gpaddr_t gpa)
{
    void *page;

    ck_assert_int_eq(hv_vm_allocate(&page, PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(page, gpa, PAGE, HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC), HV_SUCCESS);
    return page;
}

uint32_t bare_guest_smallest_ring(void)
{
    hv_return_t result = HV_BAD_ARGUMENT;
    uint32_t entries = 1;

    if (hv_vm_create(HV_VM_DEFAULT) != HV_SUCCESS)
        abort();
    while (entries < 1u << 31 && (result = hvx_vm_dirty_use_ring(HV_VM_SPACE_DEFAULT, entries)) == HV_BAD_ARGUMENT)
        entries *= 2;
    hv_vm_destroy();
    if (result == HV_UNSUPPORTED)
        printf("skipped: this KVM has no dirty rings\n");
    else if (result != HV_SUCCESS)
        abort();
    return result == HV_SUCCESS ? entries : 0;
}

void bare_guest_create(struct bare_guest *guest, const void *program, size_t size)
{
    bare_guest_create_with_ring(guest, program, size, 0);
}

void bare_guest_create_with_ring(struct bare_guest *guest, const void *program, size_t size, uint32_t entries)
{
    ck_assert_uint_le(size, PAGE);
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    if (entries > 0)
        ck_assert_int_eq(hvx_vm_dirty_use_ring(HV_VM_SPACE_DEFAULT, entries), HV_SUCCESS);
    guest->code = map_page(CODE_GPA);
    guest->data = map_page(DATA_GPA);
    memcpy(guest->code, program, size);
    ck_assert_int_eq(hv_vcpu_create(&guest->vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    bare_guest_enter_protected_mode(guest->vcpu);
}

void bare_guest_destroy(struct bare_guest *guest)
{
    ck_assert_int_eq(hv_vcpu_destroy(guest->vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_deallocate(guest->code, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_deallocate(guest->data, PAGE), HV_SUCCESS);
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .dpl = selector & 3,
                                .s = 1,
                                .db = 1,
                                .g = 1};
}

void bare_guest_enter_protected_mode(hv_vcpuid_t vcpu)
{
    struct kvm_sregs sregs;
    int fd;

    ck_assert_int_eq(hvx_vcpu_kvm_fd(vcpu, &fd), HV_SUCCESS);
    ck_assert_int_eq(ioctl(fd, KVM_GET_SREGS, &sregs), 0);
    sregs.cs = flat_segment(0x8, 0xb);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(0x10, 0x3);
    sregs.cr0 |= 1;
    ck_assert_int_eq(ioctl(fd, KVM_SET_SREGS, &sregs), 0);
    ck_assert_int_eq(hv_vcpu_write_register(vcpu, HV_X86_RIP, CODE_GPA), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(vcpu, HV_X86_RFLAGS, 2), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(vcpu, HV_X86_RSP, DATA_GPA + PAGE), HV_SUCCESS);
}

void bare_guest_enter_user_mode(hv_vcpuid_t vcpu)
{
    /* RFLAGS with IOPL 3, so that OUT works (Intel SDM volume 1, 3.4.3). */
    const uint64_t flags = 0x3002;
    struct kvm_sregs sregs;
    int fd;

    ck_assert_int_eq(hvx_vcpu_kvm_fd(vcpu, &fd), HV_SUCCESS);
    ck_assert_int_eq(ioctl(fd, KVM_GET_SREGS, &sregs), 0);
    sregs.cs = flat_segment(0x1b, 0xb);
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(0x23, 0x3);
    ck_assert_int_eq(ioctl(fd, KVM_SET_SREGS, &sregs), 0);
    ck_assert_int_eq(hv_vcpu_write_register(vcpu, HV_X86_RFLAGS, flags), HV_SUCCESS);
}

hvx_vcpu_exit_t bare_guest_run(hv_vcpuid_t vcpu)
{
    hvx_vcpu_exit_t exit;

    do {
        ck_assert_int_eq(hv_vcpu_run(vcpu), HV_SUCCESS);
        ck_assert_int_eq(hvx_vcpu_exit(vcpu, &exit), HV_SUCCESS);
    } while (exit.reason == HVX_EXIT_INTERRUPTED);
    return exit;
}

uint64_t bare_guest_register(hv_vcpuid_t vcpu, hv_x86_reg_t reg)
{
    uint64_t value;

    ck_assert_int_eq(hv_vcpu_read_register(vcpu, reg, &value), HV_SUCCESS);
    return value;
}
