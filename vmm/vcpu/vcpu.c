/*
 * Making and ending vCPUs, and whose they are.
 */
#include "vmm/vcpu/vcpu.h"

#include "vmm/vcpu/x86/debug.h"
#include "vmm/vcpu/x86/state.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

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

/*
 * The signal's delivery makes KVM_RUN return. One that comes before it, from a timer, counts too: KVM looks at this
 * flag after it has blocked signals.
 */
static void on_interrupt_signal(int signal)
{
    (void)signal;
    if (current == NULL)
        return;
    atomic_store(&current->signalled, true);
    __atomic_store_n(&current->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

void vcpu_kick(const struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (!vcpu->owner_ended)
        pthread_kill(vcpu->owner, hvx_interrupt_signal());
}

/* struct gate_pass: the gate is held by whoever has the VM locked. */
static void kick_for_gate(void *context)
{
    struct vcpu *vcpu = context;

    atomic_store(&vcpu->kicked, true);
    vcpu_kick(vcpu);
}

void vcpu_drain(struct vcpu *vcpu)
{
    /* More than any instruction has accesses; of string instructions each is an item or a page. */
    enum { ROUNDS_MAX = 1 << 16 };
    struct kvm_run *run = vcpu->run;
    bool goes_on = true;

    for (unsigned i = 0; i < ROUNDS_MAX && goes_on; i++) {
        __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        goes_on =
            ioctl(vcpu->fd, KVM_RUN, 0) == 0 && (run->exit_reason == KVM_EXIT_MMIO || run->exit_reason == KVM_EXIT_IO);
        /* KVM says that a ring is full only on its way into the guest. */
        (void)kvm_slots_empty_rings(vcpu->vm->slots[vcpu->space]);
    }
    __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

uint64_t vcpu_now_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
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

struct vcpu *vcpu_callers(const struct vm *vm, hv_vcpuid_t id, hv_return_t *ret_error)
{
    struct vcpu *vcpu = id < VM_VCPU_MAX ? vm->vcpus[id] : NULL;

    if (vcpu == NULL) {
        *ret_error = HV_BAD_ARGUMENT;
        return NULL;
    }
    *ret_error = vcpu == current || vcpu->owner_ended ? HV_SUCCESS : HV_DENIED;
    return *ret_error == HV_SUCCESS ? vcpu : NULL;
}

void vcpu_settle_immediate_exit(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (atomic_load(&vcpu->interrupt_requested))
        __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

static hv_return_t check_options(hv_vcpu_options_t flags)
{
    if (flags & ~(hv_vcpu_options_t)(HV_VCPU_ACCEL_RDPMC | HV_VCPU_TSC_RELATIVE))
        return HV_BAD_ARGUMENT;
    return flags == HV_VCPU_DEFAULT ? HV_SUCCESS : HV_UNSUPPORTED;
}

/* A thread that blocked the signal could not be got out of the guest. */
static void unblock_interrupt_signal(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, hvx_interrupt_signal());
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* The smallest free id, or VM_VCPU_MAX. */
static unsigned free_id(const struct vm *vm)
{
    unsigned id = 0;

    while (id < VM_VCPU_MAX && vm->vcpus[id] != NULL)
        id++;
    return id;
}

void vcpu_place(struct vcpu *vcpu, hv_vm_space_t space, const struct kvm_vcpu *kvm)
{
    vcpu->space = space;
    vcpu->fd = kvm->fd;
    vcpu->run = kvm->run;
    vcpu->gate = kvm_slots_gate(vcpu->vm->slots[space]);
    gate_add(vcpu->gate, &vcpu->pass);
    vcpu->vm->spaces[space]->vcpu_references++;
    vcpu->vm->spaces[space]->vcpu_count++;
}

/*
 * A KVM vCPU of the default space in the state that it was made in: the id may have been another's before, and KVM
 * cannot end a vCPU. With the VM locked.
 */
static hv_return_t fresh_kvm_vcpu(struct vm *vm, unsigned id, struct kvm_vcpu *ret_kvm)
{
    hv_return_t result = kvm_slots_vcpu(vm->slots[HV_VM_SPACE_DEFAULT], id, ret_kvm);

    if (result != HV_SUCCESS)
        return result;
    vm->free_power_on = vcpu_state_free;
    /* Without a state to go back to it has never run. */
    if (vm->power_on[id] == NULL)
        return vcpu_state_capture(vm->kvm.fd, ret_kvm->fd, &vm->power_on[id]);
    return vcpu_state_restore(ret_kvm->fd, ret_kvm->run, vm->power_on[id]);
}

/* With the VM locked. */
static hv_return_t create_locked(struct vm *vm, struct vcpu **ret_vcpu)
{
    struct kvm_vcpu kvm;
    unsigned id = free_id(vm);
    if (id == VM_VCPU_MAX)
        return HV_NO_RESOURCES;
    struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
    if (vcpu == NULL)
        return HV_NO_RESOURCES;
    hv_return_t result = fresh_kvm_vcpu(vm, id, &kvm);
    if (result != HV_SUCCESS) {
        free(vcpu);
        return result;
    }
    vcpu->id = id;
    vcpu->vm = vm;
    vcpu->owner = pthread_self();
    vcpu->pass = (struct gate_pass){.kick = kick_for_gate, .context = vcpu};
    vcpu->cycles_at_start = __rdtsc();
    vcpu->nanoseconds_at_start = vcpu_now_nanoseconds();
    vcpu_place(vcpu, HV_VM_SPACE_DEFAULT, &kvm);
    vm->vcpus[id] = vcpu;
    vm->vcpu_count++;
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
        unblock_interrupt_signal();
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

    hv_return_t result;
    struct vcpu *vcpu = vcpu_callers(vm, id, &result);
    if (vcpu != NULL) {
        if (vcpu == current) {
            current = NULL;
            (void)pthread_setspecific(owner_key, NULL);
        }
        /* The space keeps its reference: see hv_vm_space_destroy(). */
        vm->vcpus[id] = NULL;
        vm->vcpu_count--;
        vm->spaces[vcpu->space]->vcpu_count--;
        gate_remove(vcpu->gate, &vcpu->pass);
        /* The next vCPU of this number gets the same KVM vCPU. */
        vcpu_end_debug(vcpu);
        vcpu_drain(vcpu);
        if (vcpu->has_timer)
            timer_delete(vcpu->timer);
        vcpu_baggage_free(vcpu->baggage);
        free(vcpu);
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
