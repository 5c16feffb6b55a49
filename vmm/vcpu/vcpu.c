/*
 * Making, running, interrupting and ending vCPUs.
 */
#include "vmm/vcpu/vcpu.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* Its destructor tells that an owner's thread has ended. */
static pthread_key_t owner_key;
static pthread_once_t owner_key_once = PTHREAD_ONCE_INIT;
static hv_return_t owner_key_result = HV_NO_RESOURCES;

/* The calling thread's vCPU: what every call by an owner finds without a lock. */
static _Thread_local struct vcpu *current;

static void owner_ended(void *value)
{
    struct vcpu *vcpu = value;
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return;
    /* The vCPU may be gone: whoever destroys one for an ended owner cannot reach into this thread. */
    for (size_t i = 0; i < VM_VCPU_MAX; i++)
        if (vm->vcpus[i] == vcpu)
            vcpu->owner_ended = true;
    vm_unlock(vm);
}

static void forget_parents_vcpu(void)
{
    current = NULL;
    (void)pthread_setspecific(owner_key, NULL);
}

/* Does nothing: the signal's delivery is what makes KVM_RUN return. */
static void on_interrupt_signal(int signal)
{
    (void)signal;
}

static void initialise_once(void)
{
    struct sigaction action = {.sa_handler = on_interrupt_signal};

    if (pthread_key_create(&owner_key, owner_ended) == 0 && pthread_atfork(NULL, NULL, forget_parents_vcpu) == 0 &&
        sigaction(hvx_interrupt_signal(), &action, NULL) == 0)
        owner_key_result = HV_SUCCESS;
}

int hvx_interrupt_signal(void)
{
    return SIGRTMIN;
}

struct vcpu *vcpu_owned(hv_vcpuid_t id, hv_return_t *ret_error)
{
    if (current != NULL && current->id == id)
        return current;

    struct vm *vm = vm_lock();
    if (vm == NULL) {
        *ret_error = HV_NO_DEVICE;
        return NULL;
    }
    *ret_error = id < VM_VCPU_MAX && vm->vcpus[id] != NULL ? HV_DENIED : HV_BAD_ARGUMENT;
    vm_unlock(vm);
    return NULL;
}

static hv_return_t check_options(hv_vcpu_options_t flags)
{
    if (flags & ~(hv_vcpu_options_t)(HV_VCPU_ACCEL_RDPMC | HV_VCPU_TSC_RELATIVE))
        return HV_BAD_ARGUMENT;
    return flags == HV_VCPU_DEFAULT ? HV_SUCCESS : HV_UNSUPPORTED;
}

/* The smallest free id, or VM_VCPU_MAX. */
static unsigned free_id(const struct vm *vm)
{
    unsigned id = 0;

    while (id < VM_VCPU_MAX && vm->vcpus[id] != NULL)
        id++;
    return id;
}

/* With the VM locked. */
static hv_return_t create_locked(struct vm *vm, struct vcpu **ret_vcpu)
{
    unsigned id = free_id(vm);
    if (id == VM_VCPU_MAX)
        return HV_NO_RESOURCES;
    struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
    if (vcpu == NULL)
        return HV_NO_RESOURCES;
    vcpu->id = id;
    vcpu->vm = vm;
    vcpu->owner = pthread_self();
    vcpu->space = HV_VM_SPACE_DEFAULT;

    void *run;
    hv_return_t result = kvm_slots_create_vcpu(vm->slots, id, &vcpu->fd, &run);
    if (result != HV_SUCCESS) {
        free(vcpu);
        return result;
    }
    vcpu->run = run;
    vm->vcpus[id] = vcpu;
    vm->vcpu_count++;
    vm->spaces[HV_VM_SPACE_DEFAULT]->vcpu_references++;
    *ret_vcpu = vcpu;
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_create(hv_vcpuid_t *vcpu, hv_vcpu_options_t flags)
{
    struct vm *vm = vm_lock();
    if (vm == NULL)
        return HV_NO_DEVICE;

    struct vcpu *created = NULL;
    hv_return_t result = vcpu == NULL ? HV_BAD_ARGUMENT : check_options(flags);
    pthread_once(&owner_key_once, initialise_once);
    if (result == HV_SUCCESS && current != NULL)
        result = HV_BUSY;
    if (result == HV_SUCCESS)
        result = owner_key_result;
    if (result == HV_SUCCESS)
        result = create_locked(vm, &created);
    if (result == HV_SUCCESS) {
        current = created;
        (void)pthread_setspecific(owner_key, created);
        *vcpu = created->id;
    }
    vm_unlock(vm);
    return result;
}

hv_return_t hv_vcpu_destroy(hv_vcpuid_t id)
{
    struct vm *vm = vm_lock();
    if (vm == NULL)
        return HV_NO_DEVICE;

    struct vcpu *vcpu = id < VM_VCPU_MAX ? vm->vcpus[id] : NULL;
    hv_return_t result = HV_SUCCESS;
    if (vcpu == NULL)
        result = HV_BAD_ARGUMENT;
    else if (vcpu != current && !vcpu->owner_ended)
        result = HV_DENIED;
    if (result == HV_SUCCESS) {
        if (vcpu == current) {
            current = NULL;
            (void)pthread_setspecific(owner_key, NULL);
        }
        /* The space keeps its reference: see hv_vm_space_destroy(). */
        vm->vcpus[id] = NULL;
        vm->vcpu_count--;
        kvm_slots_destroy_vcpu(vm->slots, vcpu->fd, vcpu->run);
        free(vcpu);
    }
    vm_unlock(vm);
    return result;
}

hv_return_t hv_vcpu_run(hv_vcpuid_t id)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);
    int error;

    if (vcpu == NULL)
        return result;
    if (vcpu->access_pending && vcpu_settle_access(vcpu) != HV_SUCCESS)
        return HV_SUCCESS;
    do
        error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
    while (error == EAGAIN); /* a processor that waits for its start-up was woken for nothing */
    vcpu_describe_exit(vcpu, error);
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_interrupt(hv_vcpuid_t *vcpus, unsigned int vcpu_count)
{
    struct vm *vm = vm_lock();
    hv_return_t result = HV_SUCCESS;

    if (vm == NULL)
        return HV_NO_DEVICE;
    if (vcpus == NULL && vcpu_count > 0)
        result = HV_BAD_ARGUMENT;
    for (unsigned i = 0; i < vcpu_count && result == HV_SUCCESS; i++)
        if (vcpus[i] >= VM_VCPU_MAX || vm->vcpus[vcpus[i]] == NULL)
            result = HV_BAD_ARGUMENT;
    for (unsigned i = 0; i < vcpu_count && result == HV_SUCCESS; i++) {
        struct vcpu *vcpu = vm->vcpus[vcpus[i]];
        /* For a vCPU that is just about to enter: KVM looks at this after it has blocked signals. */
        __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        if (!vcpu->owner_ended)
            pthread_kill(vcpu->owner, hvx_interrupt_signal());
    }
    vm_unlock(vm);
    return result;
}

hv_return_t hvx_vcpu_kvm_fd(hv_vcpuid_t id, int *fd)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (fd == NULL)
        return HV_BAD_ARGUMENT;
    *fd = vcpu->fd;
    return HV_SUCCESS;
}
