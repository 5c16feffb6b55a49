#include "memory/vm.h"

#include <stdlib.h>
#include <unistd.h>

hv_return_t vm_create(struct vm **ret_vm)
{
    hv_return_t result = HV_NO_RESOURCES;
    struct vm *vm = calloc(1, sizeof(*vm));

    if (vm == NULL)
        return result;
    result = kvm_system_open(&vm->kvm);
    if (result != HV_SUCCESS)
        goto free_vm;
    result = kvm_slots_create(&vm->kvm, &vm->slots);
    if (result != HV_SUCCESS)
        goto close_system;
    vm->spaces[HV_VM_SPACE_DEFAULT] = space_create(HV_VM_SPACE_DEFAULT);
    if (vm->spaces[HV_VM_SPACE_DEFAULT] == NULL) {
        result = HV_NO_RESOURCES;
        goto destroy_slots;
    }
    vm->spaces[HV_VM_SPACE_DEFAULT]->listener =
        (struct space_listener){.change = kvm_slots_change, .context = vm->slots};
    pthread_mutex_init(&vm->lock, NULL);
    *ret_vm = vm;
    return HV_SUCCESS;

destroy_slots:
    kvm_slots_destroy(vm->slots);
close_system:
    kvm_system_close(&vm->kvm);
free_vm:
    free(vm);
    return result;
}

void vm_destroy(struct vm *vm)
{
    kvm_slots_destroy(vm->slots);
    for (size_t i = 0; i < VM_SPACE_MAX; i++)
        space_destroy(vm->spaces[i]);
    kvm_system_close(&vm->kvm);
    pthread_mutex_destroy(&vm->lock);
    free(vm);
}

void vm_abandon(struct vm *vm)
{
    close(kvm_slots_vm_fd(vm->slots));
    kvm_system_close(&vm->kvm);
}

struct space *vm_space(const struct vm *vm, hv_vm_space_t id)
{
    return id < VM_SPACE_MAX ? vm->spaces[id] : NULL;
}
