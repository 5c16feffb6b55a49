/*
 * From KVM's exits to the API's, and what becomes of an access that no mapping allowed.
 */
#include "vmm/vcpu/vcpu.h"

#include "vmm/vcpu/x86/debug.h"

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

/* Fills in what the map says of where the exit's access went. With the VM locked. */
static void describe_mapping(struct vcpu *vcpu)
{
    hvx_exit_memory_t *access = &vcpu->exit.memory;
    const struct region *region = space_find(vcpu->vm->spaces[vcpu->space], access->gpa);

    vcpu->access_is_mapped = region != NULL;
    access->allowed = region != NULL ? region->flags : 0;
    access->policy = region != NULL ? region->policy : HVX_POLICY_CLIENT;
    access->is_trap =
        region != NULL && region->traps != 0 && space_traps(vcpu->vm->spaces[vcpu->space], access->gpa, access->access);
}

static void describe_mmio(struct vcpu *vcpu)
{
    const struct kvm_run *run = vcpu->run;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    exit->reason = HVX_EXIT_MEMORY;
    exit->memory.space = vcpu->space;
    exit->memory.gpa = run->mmio.phys_addr;
    exit->memory.access = run->mmio.is_write ? HV_MEMORY_WRITE : HV_MEMORY_READ;
    exit->memory.length = run->mmio.len;
    lock_vm(vcpu);
    describe_mapping(vcpu);
    unlock_vm(vcpu);
    if (run->mmio.is_write)
        memcpy(exit->memory.data, run->mmio.data, sizeof(exit->memory.data));
    vcpu->access_pending = true;
    vcpu->access_is_counted = false;
    vcpu->is_unfinished = true;
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
    vcpu->is_unfinished = true;
}

/* Makes the exit a fetch if nothing may be executed at a linear address, or a trap is there; whether it is one. */
static bool describe_if_refused(struct vcpu *vcpu, uint64_t linear)
{
    hvx_vcpu_exit_t *exit = &vcpu->exit;
    struct kvm_translation translation = {.linear_address = linear};

    if (ioctl(vcpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return false;
    lock_vm(vcpu);
    const struct space *space = vcpu->vm->spaces[vcpu->space];
    const bool is_refused = !space_allows(space, translation.physical_address, HV_MEMORY_EXEC) ||
                            space_traps(space, translation.physical_address, HV_MEMORY_EXEC);
    if (is_refused) {
        exit->reason = HVX_EXIT_MEMORY;
        exit->memory.space = vcpu->space;
        exit->memory.gpa = translation.physical_address;
        exit->memory.access = HV_MEMORY_EXEC;
        exit->memory.length = 1;
        describe_mapping(vcpu);
    }
    unlock_vm(vcpu);
    return is_refused;
}

/*
 * Makes the exit an execute fault if the instruction at RIP, of which KVM has fetched some bytes, reaches where nothing
 * may be executed; whether it does.
 */
static bool describe_fetch(struct vcpu *vcpu, uint32_t fetched)
{
    enum { PAGE = 4096, INSTRUCTION_MAX = 15 };
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return false;
    /* In 64-bit code the base of CS counts as 0. */
    const uint64_t linear = (sregs.cs.l ? 0 : sregs.cs.base) + regs.rip;
    const uint64_t next_page = (linear | (PAGE - 1)) + 1;
    if (describe_if_refused(vcpu, linear))
        return true;
    return next_page - linear < INSTRUCTION_MAX && (fetched == 0 || linear + fetched == next_page) &&
           describe_if_refused(vcpu, next_page);
}

/* As after INIT or RESET: at the reset vector, in real mode. */
static bool is_reset(const struct vcpu *vcpu)
{
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    return ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0 && ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) == 0 &&
           regs.rip == 0xfff0 && sregs.cs.base == 0xffff0000 && (sregs.cr0 & 1) == 0;
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
    vcpu->is_unfinished = false;
    vcpu->exception_is_ours = false;
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
        /*
         * A KVM that emulates in software answers a fetch at CPL 3 with an exception, which may find no handler. With
         * AMD's processors a vCPU has been reset by now (since Linux 5.19), and has fetched nothing there.
         */
        if (is_reset(vcpu) || !describe_fetch(vcpu, 0))
            exit->reason = HVX_EXIT_SHUTDOWN;
        break;
    case KVM_EXIT_DEBUG:
        vcpu_describe_debug(vcpu);
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
        vcpu->is_unfinished = true;
        break;
    }
}

/* ---- What becomes of an access ---- */

/* The record of the exit's access, but for what the registers say. With the VM locked. */
static hvx_fault_t fault_of_exit(const struct vcpu *vcpu)
{
    const hvx_exit_memory_t *access = &vcpu->exit.memory;
    hvx_fault_t fault = {.space = access->space,
                         .gpa = access->gpa,
                         .access = access->access,
                         .length = access->length,
                         .vcpu = vcpu->id};

    memcpy(fault.data, access->data, sizeof(fault.data));
    vm_describe_mapping(vcpu->vm->spaces[access->space], &fault);
    return fault;
}

static void take_fault(const struct vcpu *vcpu, hvx_fault_t *fault)
{
    struct kvm_regs regs;

    /* What is only counted has no record, and a guest may cause it without end. */
    if (fault->policy != HVX_POLICY_COUNT && ioctl(vcpu->fd, KVM_GET_REGS, &regs) == 0)
        fault->rip = regs.rip;
    vm_take_fault(vcpu->vm, vcpu->vm->spaces[vcpu->space], fault);
}

void vcpu_take_fetch_fault(struct vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->vm->lock);
    hvx_fault_t fault = fault_of_exit(vcpu);
    pthread_mutex_unlock(&vcpu->vm->lock);
    take_fault(vcpu, &fault);
}

static hv_memory_flags_t pending_access(const struct vcpu *vcpu)
{
    return vcpu->run->mmio.is_write ? HV_MEMORY_WRITE : HV_MEMORY_READ;
}

/* Carries the pending access out if the flags allow it. With the VM locked. */
static hv_return_t carry_out_access(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    const struct space *space = vcpu->vm->spaces[vcpu->space];
    const uint64_t gpa = run->mmio.phys_addr;
    hv_return_t result = HV_ERROR;

    /* KVM takes the access as done whenever the vCPU runs again, so it is done here if it may be, as KVM would. */
    if (space_allows(space, gpa, pending_access(vcpu)))
        result = space_copy(space, gpa, run->mmio.len, run->mmio.is_write ? NULL : run->mmio.data,
                            run->mmio.is_write ? run->mmio.data : NULL);
    vcpu->access_pending = result != HV_SUCCESS;
    return result;
}

hv_return_t vcpu_settle_access_locked(struct vcpu *vcpu)
{
    const struct space *space = vcpu->vm->spaces[vcpu->space];

    if (space_traps(space, vcpu->run->mmio.phys_addr, pending_access(vcpu)))
        return HV_ERROR;
    return carry_out_access(vcpu);
}

/* As an open bus: nobody takes what is stored, and a load finds all lines high. */
static void answer_access(struct vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;

    if (!run->mmio.is_write)
        memset(run->mmio.data, 0xff, run->mmio.len);
    vcpu->access_pending = false;
}

/* Carries the access out if the map allows it by now; otherwise describes what became of it, as of the same moment. */
static bool settle_or_describe(struct vcpu *vcpu, hvx_fault_t *ret_fault)
{
    pthread_mutex_lock(&vcpu->vm->lock);
    const bool is_settled = vcpu_settle_access_locked(vcpu) == HV_SUCCESS;
    if (!is_settled) {
        describe_mapping(vcpu);
        *ret_fault = fault_of_exit(vcpu);
    }
    pthread_mutex_unlock(&vcpu->vm->lock);
    return is_settled;
}

bool vcpu_serve_access(struct vcpu *vcpu)
{
    hvx_fault_t fault;

    if (settle_or_describe(vcpu, &fault))
        return true;
    /* The usual exit, a device's register: no mapping, no fault. Nor is a trap one. */
    if (!vcpu->access_is_mapped || vcpu->exit.memory.is_trap)
        return false;
    if (!vcpu->access_is_counted)
        take_fault(vcpu, &fault);
    vcpu->access_is_counted = true;
    if (fault.policy != HVX_POLICY_LOG && fault.policy != HVX_POLICY_COUNT)
        return false;
    answer_access(vcpu);
    return true;
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

hv_return_t hvx_vcpu_allow(hv_vcpuid_t id)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (!vcpu->access_pending || !vcpu->exit.memory.is_trap)
        return HV_ERROR;
    pthread_mutex_lock(&vcpu->vm->lock);
    result = carry_out_access(vcpu);
    pthread_mutex_unlock(&vcpu->vm->lock);
    return result == HV_SUCCESS ? HV_SUCCESS : HV_DENIED;
}
