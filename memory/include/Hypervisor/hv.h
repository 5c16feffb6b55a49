/*
 * The Hypervisor.framework API for Intel processors, over KVM.
 *
 * One VM per process. A VM has guest-physical address spaces; a vCPU runs in one of them at a time. Addresses and
 * sizes are in bytes and multiples of 4096. Unless a function says otherwise it may be called from any thread,
 * also while vCPUs run.
 *
 * Every call checks in this order, and a refused call changes nothing:
 *   1. no VM                                                    HV_NO_DEVICE
 *   2. a pointer, alignment, size, range or flag is wrong       HV_BAD_ARGUMENT, or HV_UNSUPPORTED for a known
 *                                                               flag or call that this library does not have
 *   3. no such space or vCPU                                    HV_BAD_ARGUMENT
 *   4. the state forbids it (overlap, in use, limits)           HV_ERROR, HV_BUSY, HV_DENIED, HV_NO_RESOURCES
 */
#ifndef HYPERVISOR_HV_H
#define HYPERVISOR_HV_H

#include <Hypervisor/hv_arch_x86.h>
#include <Hypervisor/hv_error.h>
#include <Hypervisor/hv_types.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HV_API __attribute__((visibility("default")))
#else
#define HV_API
#endif

/* ---- The VM ---------------------------------------------------------------------------------------------- */

/*
 * Makes the process's VM, with an empty default space.
 * flags: HV_VM_DEFAULT; other known bits are HV_UNSUPPORTED, unknown ones HV_BAD_ARGUMENT.
 * HV_BUSY: there is one. HV_NO_DEVICE: the host has no KVM. HV_DENIED: /dev/kvm may not be opened.
 * HV_UNSUPPORTED: this KVM lacks what the library needs. HV_NO_RESOURCES: the host is out of memory or descriptors.
 * A forked child starts without a VM and may make its own.
 */
HV_API hv_return_t hv_vm_create(hv_vm_options_t flags);

/* Ends the VM; mappings and extra spaces go with it. HV_BUSY, and nothing has changed: vCPUs or DMA handles are left.
 */
HV_API hv_return_t hv_vm_destroy(void);

/* What the host offers; works without a VM. HV_CAP_ADDRSPACEMAX counts the default space. */
HV_API hv_return_t hv_capability(hv_capability_t capability, uint64_t *value);

/*
 * Sets every vCPU's time stamp counter to tsc, as nearly at once as the host can. They are outside the guest
 * meanwhile. HV_UNSUPPORTED: this KVM lets guests see the host's counter.
 */
HV_API hv_return_t hv_vm_sync_tsc(uint64_t tsc);

/* ---- Memory of the default space ------------------------------------------------------------------------- */

/*
 * Lets the guest see size bytes of the caller's memory at uva from guest-physical address gpa on.
 * The caller keeps the memory, and may unmap or free it only after hv_vm_unmap() or hv_vm_destroy() has returned;
 * freeing it earlier makes guest accesses fault or see what the host has put there since.
 * Addresses reach to 2^48, whatever the processor can generate. The same host memory may be mapped many times.
 * HV_ERROR: part of the range is mapped already, or [uva, uva + size) is not wholly mapped in this process.
 * HV_NO_RESOURCES: KVM is out of memory slots.
 * Where this process may not write to the memory, the guest may not either, whatever the flags say.
 * A missing HV_MEMORY_READ or HV_MEMORY_WRITE is enforced; KVM can enforce a missing HV_MEMORY_EXEC only where
 * nothing is allowed at all, so it is recorded and reported, not enforced.
 */
HV_API hv_return_t hv_vm_map(hv_uvaddr_t uva, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t flags);

/*
 * Takes a range away, whole mappings or parts of them; what is not mapped is passed over. When it returns, no
 * vCPU and no device uses the memory any more; it waits for devices' pins.
 */
HV_API hv_return_t hv_vm_unmap(hv_gpaddr_t gpa, size_t size);

/* Changes the flags of a range that is wholly mapped, over as many mappings as it spans. HV_ERROR: it is not. */
HV_API hv_return_t hv_vm_protect(hv_gpaddr_t gpa, size_t size, hv_memory_flags_t flags);

/* ---- Additional spaces ----------------------------------------------------------------------------------- */

/* Makes an empty space and gives the smallest free id from 1 on. HV_NO_RESOURCES: there are too many. */
HV_API hv_return_t hv_vm_space_create(hv_vm_space_t *asid);

/*
 * Ends a space and its mappings. HV_BAD_ARGUMENT for the default space. HV_BUSY: a vCPU is in it, or was in it
 * when it was destroyed (as on Apple's systems, such a space stays until hv_vm_destroy()), or a device has a DMA
 * handle.
 */
HV_API hv_return_t hv_vm_space_destroy(hv_vm_space_t asid);

/* As hv_vm_map(), hv_vm_unmap() and hv_vm_protect(), in any space. */
HV_API hv_return_t hv_vm_map_space(hv_vm_space_t asid, hv_uvaddr_t uva, hv_gpaddr_t gpa, size_t size,
                                   hv_memory_flags_t flags);
HV_API hv_return_t hv_vm_unmap_space(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size);
HV_API hv_return_t hv_vm_protect_space(hv_vm_space_t asid, hv_gpaddr_t gpa, size_t size, hv_memory_flags_t flags);

/* ---- Host memory for guests ------------------------------------------------------------------------------ */

/*
 * Gives size bytes of zero-filled memory, readable and writable, kept out of core dumps, to be mapped with
 * hv_vm_map() and released with hv_vm_deallocate(). Works without a VM.
 */
HV_API hv_return_t hv_vm_allocate(void **uvap, size_t size, hv_allocate_flags_t flags);

/*
 * Releases one whole allocation: the address and size that hv_vm_allocate() had. Works without a VM.
 * HV_BUSY: part of it is mapped into a guest.
 */
HV_API hv_return_t hv_vm_deallocate(void *uva, size_t size);

/* ---- vCPUs ----------------------------------------------------------------------------------------------- */

/*
 * Makes a vCPU for the calling thread, which owns it, in the default space; ids are the smallest free from 0 on.
 * A thread owns one at most (HV_BUSY). HV_NO_RESOURCES: there are too many.
 * The functions below are for the owner: others get HV_DENIED, except where it says so.
 */
HV_API hv_return_t hv_vcpu_create(hv_vcpuid_t *vcpu, hv_vcpu_options_t flags);

/* Ends a vCPU. Any thread may, once the owner has ended. */
HV_API hv_return_t hv_vcpu_destroy(hv_vcpuid_t vcpu);

/*
 * Moves a vCPU, with its whole state, to another space. Any thread may, once the owner has ended.
 * The interrupt controllers belong to the default space: elsewhere external interrupts wait, HLT exits, and the vCPU
 * can be got out by hv_vcpu_interrupt() and hv_vcpu_run_until() alone.
 * What the client has set by KVM's own means, CPUID above all, is taken over the first time that it enters a space.
 * HV_BUSY, and nothing has changed: the instruction of the last exit is not done; complete its access, or run. Where a
 * move has ended a single step (see hvx_vcpu_set_debug()), the last exit is HVX_EXIT_DEBUG afterwards.
 * HV_NO_RESOURCES: the host has no VM, vCPU or slots for the space.
 */
HV_API hv_return_t hv_vcpu_set_space(hv_vcpuid_t vcpu, hv_vm_space_t asid);

/*
 * Runs the guest until something needs the client; hvx_vcpu_exit() tells what. Exits that KVM handled do not
 * return. HV_SUCCESS: there is an exit to look at. HV_ERROR: KVM refused; the vCPU may be run again.
 */
HV_API hv_return_t hv_vcpu_run(hv_vcpuid_t vcpu);

/* The same, until deadline at the latest: nanoseconds of CLOCK_MONOTONIC, or HV_DEADLINE_FOREVER. */
HV_API hv_return_t hv_vcpu_run_until(hv_vcpuid_t vcpu, uint64_t deadline);

/*
 * Makes each of these vCPUs leave the guest, or its next entry return at once; its exit is HVX_EXIT_INTERRUPTED.
 * Any thread.
 */
HV_API hv_return_t hv_vcpu_interrupt(hv_vcpuid_t *vcpus, unsigned int vcpu_count);

HV_API hv_return_t hv_vcpu_read_register(hv_vcpuid_t vcpu, hv_x86_reg_t reg, uint64_t *value);
HV_API hv_return_t hv_vcpu_write_register(hv_vcpuid_t vcpu, hv_x86_reg_t reg, uint64_t value);

/* The XSAVE image of the host's feature set; size is the buffer's, at most what the host has. */
HV_API hv_return_t hv_vcpu_read_fpstate(hv_vcpuid_t vcpu, void *buffer, size_t size);
HV_API hv_return_t hv_vcpu_write_fpstate(hv_vcpuid_t vcpu, const void *buffer, size_t size);

HV_API hv_return_t hv_vcpu_read_msr(hv_vcpuid_t vcpu, uint32_t msr, uint64_t *value);
HV_API hv_return_t hv_vcpu_write_msr(hv_vcpuid_t vcpu, uint32_t msr, uint64_t value);

/* KVM decides which MSRs a guest reaches natively: these accept what is so already. */
HV_API hv_return_t hv_vcpu_enable_native_msr(hv_vcpuid_t vcpu, uint32_t msr, bool enable);
HV_API hv_return_t hv_vcpu_enable_managed_msr(hv_vcpuid_t vcpu, uint32_t msr, bool enable);
HV_API hv_return_t hv_vcpu_set_msr_access(hv_vcpuid_t vcpu, uint32_t msr, hv_msr_flags_t flags);

/* Deprecated by Apple, and without effect there: always HV_UNSUPPORTED. */
HV_API hv_return_t hv_vcpu_flush(hv_vcpuid_t vcpu);

/* Drops what the vCPU remembers of the guest's page tables. */
HV_API hv_return_t hv_vcpu_invalidate_tlb(hv_vcpuid_t vcpu);

/* Nanoseconds that the vCPU has spent in the guest, KVM's own work for it included. */
HV_API hv_return_t hv_vcpu_get_exec_time(hv_vcpuid_t vcpu, uint64_t *time);

/* HV_UNSUPPORTED: KVM does not tell. */
HV_API hv_return_t hv_vcpu_get_idle_time(hv_vcpuid_t vcpu, uint64_t *time);

/* Which extra information the last exit carries: HV_VM_EXITINFO_VMX, which stands for none. */
HV_API hv_return_t hv_vcpu_exit_info(hv_vcpuid_t vcpu, hv_vm_exitinfo_t *code);

#ifdef __cplusplus
}
#endif

#endif
