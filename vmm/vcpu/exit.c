/*
 * From KVM's exits to the API's, and what becomes of an access that no mapping allowed.
 */
#include "vmm/vcpu/vcpu.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

static void lock_vm(const struct vcpu *vcpu)
{
    if (!vcpu->vm_is_locked)
        pthread_mutex_lock(&vcpu->vm->lock);
}

static void unlock_vm(const struct vcpu *vcpu)
{
    if (!vcpu->vm_is_locked)
        pthread_mutex_unlock(&vcpu->vm->lock);
}

/* Whether something is mapped at gpa in the vCPU's space, and its flags. */
static bool look_up(const struct vcpu *vcpu, uint64_t gpa, hv_memory_flags_t *ret_flags)
{
    lock_vm(vcpu);
    const struct region *region = region_map_find(vcpu->vm->spaces[vcpu->space]->map, gpa);
    const bool is_mapped = region != NULL && region->gpa <= gpa;
    *ret_flags = is_mapped ? region->flags : 0;
    unlock_vm(vcpu);
    return is_mapped;
}

static void describe_mmio(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    exit->reason = HVX_EXIT_MEMORY;
    exit->memory.space = vcpu->space;
    exit->memory.gpa = run->mmio.phys_addr;
    exit->memory.access = run->mmio.is_write ? HV_MEMORY_WRITE : HV_MEMORY_READ;
    vcpu->access_is_mapped = look_up(vcpu, run->mmio.phys_addr, &exit->memory.allowed);
    exit->memory.length = run->mmio.len;
    if (run->mmio.is_write)
        memcpy(exit->memory.data, run->mmio.data, sizeof(exit->memory.data));
    vcpu->access_pending = true;
}

static void describe_port(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    exit->reason = HVX_EXIT_PORT;
    exit->port.port = run->io.port;
    exit->port.size = run->io.size;
    exit->port.is_write = run->io.direction == KVM_EXIT_IO_OUT;
    exit->port.count = run->io.count;
    exit->port.data = (uint8_t *)run + run->io.data_offset;
}

/* Whether nothing may be executed at a linear address, and if so the guest-physical one and what it allows. */
static bool is_refused(const struct vcpu *vcpu, uint64_t linear, uint64_t *ret_gpa, hv_memory_flags_t *ret_allowed)
{
    struct kvm_translation translation = {.linear_address = linear};

    if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return false;
    *ret_gpa = translation.physical_address;
    lock_vm(vcpu);
    const struct space *space = vcpu->vm->spaces[vcpu->space];
    const bool refused = !space_allows(space, *ret_gpa, HV_MEMORY_EXEC);
    *ret_allowed = space_flags(space, *ret_gpa);
    unlock_vm(vcpu);
    return refused;
}

/* Whether the instruction at RIP, of which KVM has fetched some bytes, reaches where nothing may be executed. */
static bool fetch_is_refused(const struct vcpu *vcpu, uint32_t fetched, uint64_t *ret_gpa,
                             hv_memory_flags_t *ret_allowed)
{
    enum { PAGE = 4096, INSTRUCTION_MAX = 15 };
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return false;
    /* In 64-bit code the base of CS counts as 0. */
    const uint64_t linear = (sregs.cs.l ? 0 : sregs.cs.base) + regs.rip;
    const uint64_t next_page = (linear | (PAGE - 1)) + 1;
    if (is_refused(vcpu, linear, ret_gpa, ret_allowed))
        return true;
    return next_page - linear < INSTRUCTION_MAX && (fetched == 0 || linear + fetched == next_page) &&
           is_refused(vcpu, next_page, ret_gpa, ret_allowed);
}

/* Makes the exit an execute fault if it is one; whether it is. */
static bool describe_fetch(struct vcpu *vcpu, uint32_t fetched)
{
    hvx_vcpu_exit_t *exit = &vcpu->exit;
    hv_memory_flags_t allowed;
    uint64_t gpa;

    if (!fetch_is_refused(vcpu, fetched, &gpa, &allowed))
        return false;
    exit->reason = HVX_EXIT_MEMORY;
    exit->memory.space = vcpu->space;
    exit->memory.gpa = gpa;
    exit->memory.access = HV_MEMORY_EXEC;
    exit->memory.allowed = allowed;
    exit->memory.length = 1;
    return true;
}

static void describe_emulation_failure(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    const bool has_bytes = run->emulation_failure.ndata >= 1 &&
                           run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
    if (describe_fetch(vcpu, has_bytes ? run->emulation_failure.insn_size : 0))
        return;
    exit->reason = HVX_EXIT_EMULATION_FAILURE;
    exit->emulation.suberror = run->internal.suberror;
    if (has_bytes) {
        exit->emulation.instruction_size = run->emulation_failure.insn_size;
        if (exit->emulation.instruction_size > sizeof(exit->emulation.instruction))
            exit->emulation.instruction_size = sizeof(exit->emulation.instruction);
        memcpy(exit->emulation.instruction, run->emulation_failure.insn_bytes, exit->emulation.instruction_size);
    }
}

static void describe_failure(struct vcpu *vcpu, int error)
{
    /* KVM does not run a VM without any slot at all, for which it wants no page tables. */
    if (error == ENOSPC && describe_fetch(vcpu, 0))
        return;
    vcpu->exit.reason = HVX_EXIT_UNKNOWN;
    vcpu->exit.unknown.error = error;
}

void vcpu_describe_exit(struct vcpu *vcpu, int error)
{
    const struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    vcpu->access_pending = false;
    memset(exit, 0, sizeof(*exit));
    exit->raw_reason = run->exit_reason;
    if (error == EINTR) {
        exit->reason = HVX_EXIT_INTERRUPTED;
        return;
    }
    if (error != 0) {
        describe_failure(vcpu, error);
        return;
    }
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        describe_port(vcpu);
        break;
    case KVM_EXIT_MMIO:
        describe_mmio(vcpu);
        break;
    case KVM_EXIT_HLT:
        exit->reason = HVX_EXIT_HALT;
        break;
    case KVM_EXIT_SHUTDOWN:
        /* A KVM that emulates in software answers a fetch at CPL 3 with an exception, which may find no handler. */
        if (!describe_fetch(vcpu, 0))
            exit->reason = HVX_EXIT_SHUTDOWN;
        break;
    case KVM_EXIT_DEBUG:
        exit->reason = HVX_EXIT_DEBUG;
        break;
    case KVM_EXIT_INTR:
        exit->reason = HVX_EXIT_INTERRUPTED;
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION) {
            describe_emulation_failure(vcpu);
            break;
        }
        exit->reason = HVX_EXIT_UNKNOWN;
        exit->unknown.hardware_reason = run->internal.suberror;
        break;
    case KVM_EXIT_FAIL_ENTRY:
        exit->reason = HVX_EXIT_UNKNOWN;
        exit->unknown.hardware_reason = run->fail_entry.hardware_entry_failure_reason;
        break;
    default:
        exit->reason = HVX_EXIT_UNKNOWN;
        exit->unknown.hardware_reason = run->hw.hardware_exit_reason;
        break;
    }
}

void vcpu_record_fault(const struct vcpu *vcpu)
{
    const hvx_exit_memory_t *access = &vcpu->exit.memory;
    /* The usual exit, a device's register: no mapping, no fault. */
    if (access->access != HV_MEMORY_EXEC && !vcpu->access_is_mapped)
        return;
    struct kvm_regs regs = {0};
    hvx_fault_t fault = {.space = access->space,
                         .gpa = access->gpa,
                         .access = access->access,
                         .allowed = access->allowed,
                         .length = access->length,
                         .vcpu = vcpu->id};

    pthread_mutex_lock(&vcpu->vm->lock);
    const struct region *region = region_map_find(vcpu->vm->spaces[access->space]->map, access->gpa);
    if (region != NULL && region->gpa <= access->gpa)
        memcpy(fault.mapping, region->name, sizeof(fault.mapping));
    pthread_mutex_unlock(&vcpu->vm->lock);
    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0)
        fault.rip = regs.rip;
    memcpy(fault.data, access->data, sizeof(fault.data));
    faults_add(&vcpu->vm->faults, &fault);
}

hv_return_t vcpu_settle_access_locked(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    const struct space *space = vcpu->vm->spaces[vcpu->space];
    const uint64_t gpa = run->mmio.phys_addr;
    hv_return_t result = HV_ERROR;

    /* KVM takes the access as done whenever the vCPU runs again, so it is done here if it may be, as KVM would. */
    if (space_allows(space, gpa, run->mmio.is_write ? HV_MEMORY_WRITE : HV_MEMORY_READ))
        result = space_copy(space, gpa, run->mmio.len, run->mmio.is_write ? NULL : run->mmio.data,
                            run->mmio.is_write ? run->mmio.data : NULL);
    vcpu->access_pending = result != HV_SUCCESS;
    return result;
}

hv_return_t vcpu_settle_access(struct vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->vm->lock);
    hv_return_t result = vcpu_settle_access_locked(vcpu);
    pthread_mutex_unlock(&vcpu->vm->lock);
    return result;
}

hv_return_t hvx_vcpu_exit(hv_vcpuid_t id, hvx_vcpu_exit_t *exit)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (exit == NULL)
        return HV_BAD_ARGUMENT;
    *exit = vcpu->exit;
    return HV_SUCCESS;
}

hv_return_t hvx_vcpu_complete(hv_vcpuid_t id, const void *data)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (!vcpu->access_pending)
        return HV_ERROR;
    if (!vcpu->run->mmio.is_write && data == NULL)
        return HV_BAD_ARGUMENT;
    if (!vcpu->run->mmio.is_write)
        memcpy(vcpu->run->mmio.data, data, vcpu->run->mmio.len);
    vcpu->access_pending = false;
    return HV_SUCCESS;
}
