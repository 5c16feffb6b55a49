/*
 * Moving vCPUs between spaces.
 */
#include "vmm/vcpu/vcpu.h"

#include "vmm/vcpu/x86/debug.h"
#include "vmm/vcpu/x86/state.h"

static enum vcpu_direction direction_of(hv_vm_space_t from, hv_vm_space_t to)
{
    if (from == HV_VM_SPACE_DEFAULT)
        return VCPU_LEAVES_DEFAULT;
    return to == HV_VM_SPACE_DEFAULT ? VCPU_ENTERS_DEFAULT : VCPU_BETWEEN_OTHERS;
}

/* The KVM vCPU of a space, made and made alike if there is none yet. With the VM locked. */
static hv_return_t kvm_vcpu_in(struct vcpu *vcpu, hv_vm_space_t space, struct kvm_vcpu *ret_kvm)
{
    hv_return_t result = vm_realise_space(vcpu->vm, space);

    if (result == HV_SUCCESS)
        result = kvm_slots_vcpu(vcpu->vm->slots[space], vcpu->id, ret_kvm);
    if (result != HV_SUCCESS || space == HV_VM_SPACE_DEFAULT)
        return result;
    if (ret_kvm->is_ready)
        return HV_SUCCESS;
    result = vcpu_state_match(vcpu->vm->kvm.fd, vcpu->fd, ret_kvm->fd);
    if (result == HV_SUCCESS)
        kvm_slots_vcpu_is_ready(vcpu->vm->slots[space], vcpu->id);
    return result;
}

/* Nothing of the last exit is left to be done in the space that is left. With the VM locked. */
static hv_return_t settle_exit(struct vcpu *vcpu)
{
    if (vcpu->access_pending && vcpu_settle_access_locked(vcpu) != HV_SUCCESS)
        return HV_BUSY;
    return vcpu->is_unfinished ? vcpu_finish_instruction(vcpu) : HV_SUCCESS;
}

/* With the VM locked. */
static hv_return_t move_locked(struct vcpu *vcpu, hv_vm_space_t space)
{
    struct kvm_vcpu kvm;
    hv_return_t result = settle_exit(vcpu);

    if (result == HV_SUCCESS)
        result = kvm_vcpu_in(vcpu, space, &kvm);
    if (result == HV_SUCCESS && vcpu->baggage == NULL)
        result = vcpu_baggage_create(vcpu->vm->kvm.fd, vcpu->fd, &vcpu->baggage);
    if (result == HV_SUCCESS)
        result = vcpu_state_carry(vcpu->baggage, direction_of(vcpu->space, space), vcpu->fd, kvm.fd, kvm.run);
    if (result == HV_SUCCESS && !vcpu_carry_debug(vcpu, kvm.fd))
        result = HV_ERROR;
    if (result != HV_SUCCESS)
        return result;
    gate_remove(vcpu->gate, &vcpu->pass);
    vcpu->vm->spaces[vcpu->space]->vcpu_references--;
    vcpu->vm->spaces[vcpu->space]->vcpu_count--;
    /* An interruption that was asked for goes along. */
    vcpu->run->immediate_exit = 0;
    vcpu_place(vcpu, space, &kvm);
    vcpu_settle_immediate_exit(vcpu);
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_set_space(hv_vcpuid_t id, hv_vm_space_t asid)
{
    struct vm *vm = vm_lock();
    if (vm == NULL)
        return HV_NO_DEVICE;

    hv_return_t result = HV_BAD_ARGUMENT;
    struct vcpu *vcpu = vm_space(vm, asid) == NULL ? NULL : vcpu_callers(vm, id, &result);
    if (vcpu != NULL && vcpu->space != asid)
        result = move_locked(vcpu, asid);
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vcpu_get_space(hv_vcpuid_t id, hv_vm_space_t *asid)
{
    hv_return_t result;
    const struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (asid == NULL)
        return HV_BAD_ARGUMENT;
    *asid = vcpu->space;
    return HV_SUCCESS;
}
