/*
 * From KVM's exits to the API's, and what becomes of an access that no mapping allowed.
 */
#include "vmm/vcpu/vcpu.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* What the map of a space allows at gpa; 0 where nothing is mapped. */
static hv_memory_flags_t allowed_flags(struct vm *vm, hv_vm_space_t space, uint64_t gpa)
{
    pthread_mutex_lock(&vm->lock);
    const struct region *region = region_map_find(vm->spaces[space]->map, gpa);
    hv_memory_flags_t flags = region != NULL && region->gpa <= gpa ? region->flags : 0;
    pthread_mutex_unlock(&vm->lock);
    return flags;
}

static void describe_mmio(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    exit->reason = HVX_EXIT_MEMORY;
    exit->memory.space = vcpu->space;
    exit->memory.gpa = run->mmio.phys_addr;
    exit->memory.access = run->mmio.is_write ? HV_MEMORY_WRITE : HV_MEMORY_READ;
    exit->memory.allowed = allowed_flags(vcpu->vm, vcpu->space, run->mmio.phys_addr);
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

/* Whether RIP points at memory that nothing is mapped at, and the guest-physical address if so. */
static bool fetch_is_unmapped(struct vcpu *vcpu, uint64_t *ret_gpa)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return false;
    /* In 64-bit code the base of CS counts as 0. */
    uint64_t base = sregs.cs.l ? 0 : sregs.cs.base;
    struct kvm_translation translation = {.linear_address = base + regs.rip};
    if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return false;
    *ret_gpa = translation.physical_address;
    return allowed_flags(vcpu->vm, vcpu->space, *ret_gpa) == 0;
}

static void describe_emulation_failure(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;
    uint64_t gpa;

    if (fetch_is_unmapped(vcpu, &gpa)) {
        exit->reason = HVX_EXIT_MEMORY;
        exit->memory.space = vcpu->space;
        exit->memory.gpa = gpa;
        exit->memory.access = HV_MEMORY_EXEC;
        exit->memory.length = 1;
        return;
    }
    exit->reason = HVX_EXIT_EMULATION_FAILURE;
    exit->emulation.suberror = run->internal.suberror;
    if (run->emulation_failure.ndata >= 1 &&
        run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
        exit->emulation.instruction_size = run->emulation_failure.insn_size;
        if (exit->emulation.instruction_size > sizeof(exit->emulation.instruction))
            exit->emulation.instruction_size = sizeof(exit->emulation.instruction);
        memcpy(exit->emulation.instruction, run->emulation_failure.insn_bytes, exit->emulation.instruction_size);
    }
}

static void describe_failure(struct vcpu *vcpu, int error)
{
    vcpu->exit.reason = HVX_EXIT_UNKNOWN;
    vcpu->exit.unknown.error = error;
}

void vcpu_describe_exit(struct vcpu *vcpu, int error)
{
    struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    vcpu->access_pending = false;
    memset(exit, 0, sizeof(*exit));
    exit->raw_reason = run->exit_reason;
    if (error == EINTR) {
        __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
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

hv_return_t vcpu_settle_access(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    uint32_t length = run->mmio.len;
    hv_return_t result = HV_ERROR;

    /* KVM takes the access as done whenever the vCPU runs again, so it is done here if it may be, as KVM would. */
    pthread_mutex_lock(&vcpu->vm->lock);
    struct space *space = vcpu->vm->spaces[vcpu->space];
    const struct region *region = region_map_find(space->map, run->mmio.phys_addr);
    if (region != NULL && region->gpa <= run->mmio.phys_addr &&
        (run->mmio.is_write ? (region->flags & HV_MEMORY_WRITE) != 0 : region->flags != 0))
        result = space_copy(space, run->mmio.phys_addr, length, run->mmio.is_write ? NULL : run->mmio.data,
                            run->mmio.is_write ? run->mmio.data : NULL);
    pthread_mutex_unlock(&vcpu->vm->lock);
    vcpu->access_pending = result != HV_SUCCESS;
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
