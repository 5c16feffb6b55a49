#include "memory/vm.h"

#include <stdlib.h>
#include <string.h>

hv_return_t vm_create(struct vm **ret_vm)
{
    hv_return_t result = HV_NO_RESOURCES;
    struct vm *vm = calloc(1, sizeof(*vm));

    if (vm == NULL)
        return result;
    result = kvm_system_open(&vm->kvm);
    if (result != HV_SUCCESS)
        goto free_vm;
    vm->spaces[HV_VM_SPACE_DEFAULT] = space_create(HV_VM_SPACE_DEFAULT);
    result = vm->spaces[HV_VM_SPACE_DEFAULT] == NULL ? HV_NO_RESOURCES : vm_realise_space(vm, HV_VM_SPACE_DEFAULT);
    if (result != HV_SUCCESS)
        goto close_system;
    pthread_mutex_init(&vm->lock, NULL);
    faults_init(&vm->faults);
    *ret_vm = vm;
    return HV_SUCCESS;

close_system:
    space_destroy(vm->spaces[HV_VM_SPACE_DEFAULT]);
    kvm_system_close(&vm->kvm);
free_vm:
    free(vm);
    return result;
}

hv_return_t vm_realise_space(struct vm *vm, hv_vm_space_t id)
{
    struct space *space = vm->spaces[id];
    struct kvm_slots *slots;

    if (vm->slots[id] != NULL)
        return HV_SUCCESS;
    hv_return_t result = kvm_slots_create(&vm->kvm, &slots);
    if (result != HV_SUCCESS)
        return result;
    /* Without the rings that its client counts on there is no VM: they have been tried, so it is for want of memory. */
    if (vm->ring_entries[id] > 0 && kvm_slots_use_ring(slots, vm->ring_entries[id]) != HV_SUCCESS)
        result = HV_NO_RESOURCES;
    if (result == HV_SUCCESS)
        result = space_listen(space, &(struct space_listener){.change = kvm_slots_change,
                                                              .set_log = kvm_slots_set_log,
                                                              .harvest = kvm_slots_harvest,
                                                              .context = slots});
    if (result != HV_SUCCESS) {
        kvm_slots_destroy(slots);
        return result;
    }
    vm->slots[id] = slots;
    return HV_SUCCESS;
}

hv_return_t vm_use_ring(struct vm *vm, hv_vm_space_t id, uint32_t entry_count)
{
    hv_return_t result = kvm_system_check_ring(&vm->kvm, entry_count);

    if (result != HV_SUCCESS)
        return result;
    if (vm->ring_entries[id] > 0)
        return HV_BUSY;
    if (vm->slots[id] != NULL)
        result = kvm_slots_use_ring(vm->slots[id], entry_count);
    if (result == HV_SUCCESS)
        vm->ring_entries[id] = entry_count;
    return result;
}

void vm_remove_space(struct vm *vm, hv_vm_space_t id)
{
    vm->ring_entries[id] = 0;
    kvm_slots_destroy(vm->slots[id]);
    vm->slots[id] = NULL;
    space_destroy(vm->spaces[id]);
    vm->spaces[id] = NULL;
}

void vm_destroy(struct vm *vm)
{
    for (hv_vm_space_t id = 0; id < VM_SPACE_MAX; id++)
        vm_remove_space(vm, id);
    for (unsigned id = 0; id < VM_VCPU_MAX; id++)
        if (vm->power_on[id] != NULL)
            vm->free_power_on(vm->power_on[id]);
    kvm_system_close(&vm->kvm);
    faults_fini(&vm->faults);
    pthread_mutex_destroy(&vm->lock);
    free(vm);
}

void vm_abandon(struct vm *vm)
{
    for (hv_vm_space_t id = 0; id < VM_SPACE_MAX; id++)
        if (vm->slots[id] != NULL)
            kvm_slots_abandon(vm->slots[id]);
    kvm_system_close(&vm->kvm);
}

struct space *vm_space(const struct vm *vm, hv_vm_space_t id)
{
    return id < VM_SPACE_MAX ? vm->spaces[id] : NULL;
}

void vm_describe_mapping(const struct space *space, hvx_fault_t *fault)
{
    const struct region *region = space_find(space, fault->gpa);

    if (region == NULL)
        return;
    fault->allowed = region->flags;
    fault->policy = region->policy;
    memcpy(fault->mapping, region->name, sizeof(fault->mapping));
}

void vm_take_fault(struct vm *vm, struct space *space, hvx_fault_t *fault)
{
    atomic_fetch_add_explicit(&space->fault_count, 1, memory_order_relaxed);
    if (fault->policy != HVX_POLICY_COUNT)
        faults_add(&vm->faults, fault);
}
