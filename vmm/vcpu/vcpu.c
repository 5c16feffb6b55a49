/*
 * Making, running, interrupting and ending vCPUs.
 */
#include "vmm/vcpu/vcpu.h"

#include "vmm/vcpu/x86/state.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
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
    if (current != NULL)
        __atomic_store_n(&current->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

/* Gets the vCPU out of the guest, or keeps it from entering. With the VM locked. */
static void vcpu_kick(const struct vcpu *vcpu)
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

static uint64_t now_nanoseconds(void)
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

/* Puts the vCPU at a place: a space, and its KVM vCPU there. With the VM locked. */
static void vcpu_place(struct vcpu *vcpu, hv_vm_space_t space, const struct kvm_vcpu *kvm)
{
    vcpu->space = space;
    vcpu->fd = kvm->fd;
    vcpu->run = kvm->run;
    vcpu->gate = kvm_slots_gate(vcpu->vm->slots[space]);
    gate_add(vcpu->gate, &vcpu->pass);
    vcpu->vm->spaces[space]->vcpu_references++;
}

/*
 * A KVM vCPU of the default space in the state that it was made in: the id may have been another's before, and KVM
 * cannot end a vCPU. With the VM locked.
 */
static hv_return_t fresh_kvm_vcpu(struct vm *vm, unsigned id, struct kvm_vcpu *ret_kvm)
{
    bool made;
    hv_return_t result = kvm_slots_vcpu(vm->slots[HV_VM_SPACE_DEFAULT], id, &made, ret_kvm);

    if (result != HV_SUCCESS)
        return result;
    vm->free_power_on = vcpu_state_free;
    if (made)
        return vcpu_state_capture(vm->kvm.fd, ret_kvm->fd, &vm->power_on[id]);
    return vm->power_on[id] == NULL ? HV_NO_RESOURCES : vcpu_state_restore(ret_kvm->fd, vm->power_on[id]);
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
    vcpu->nanoseconds_at_start = now_nanoseconds();
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
        gate_remove(vcpu->gate, &vcpu->pass);
        if (vcpu->has_timer)
            timer_delete(vcpu->timer);
        vcpu_baggage_free(vcpu->baggage);
        free(vcpu);
    }
    vm_unlock(vm);
    return result;
}

/* One KVM_RUN, between the gate's leaves. Its errno value, or 0. */
static int enter_guest(struct vcpu *vcpu)
{
    gate_enter(vcpu->gate, &vcpu->pass);
    const uint64_t entered = __rdtsc();
    int error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
    vcpu->cycles_in_guest += __rdtsc() - entered;
    gate_leave(vcpu->gate, &vcpu->pass);
    return error;
}

/*
 * Whether a run that a signal has ended is to go on: it was for the gate, or for a deadline that has not come. The flag
 * that made KVM leave is cleared first, so that a request in between makes it leave again.
 */
static bool goes_on(struct vcpu *vcpu, uint64_t deadline)
{
    __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    const bool kicked = atomic_exchange(&vcpu->kicked, false);
    if (atomic_exchange(&vcpu->interrupt_requested, false))
        return false;
    if (deadline != HV_DEADLINE_FOREVER)
        return now_nanoseconds() < deadline;
    return kicked;
}

/*
 * Whether the exit is an access that the map allows, and that is done now. Such accesses come from strict spaces, whose
 * data KVM has no slots for, and from changes that overtook the access.
 */
static bool access_is_allowed(struct vcpu *vcpu)
{
    return vcpu->access_pending && vcpu_settle_access(vcpu) == HV_SUCCESS;
}

static hv_return_t run_until(struct vcpu *vcpu, uint64_t deadline)
{
    int error;

    if (vcpu->access_pending && vcpu_settle_access(vcpu) != HV_SUCCESS)
        return HV_SUCCESS;
    do {
        do
            error = enter_guest(vcpu);
        /* EAGAIN: a processor that waits for its start-up was woken for nothing. */
        while (error == EAGAIN || (error == EINTR && goes_on(vcpu, deadline)));
        vcpu_describe_exit(vcpu, error);
    } while (access_is_allowed(vcpu));
    if (vcpu->exit.reason == HVX_EXIT_MEMORY)
        vcpu_record_fault(vcpu);
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_run(hv_vcpuid_t id)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    return vcpu == NULL ? result : run_until(vcpu, HV_DEADLINE_FOREVER);
}

/* Arms the timer whose signal ends the run; 0 disarms it. */
static hv_return_t set_timer(struct vcpu *vcpu, uint64_t deadline)
{
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(deadline / 1000000000), .tv_nsec = (long)(deadline % 1000000000)}};

    if (!vcpu->has_timer) {
        struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = hvx_interrupt_signal()};
        event._sigev_un._tid = gettid();
        if (timer_create(CLOCK_MONOTONIC, &event, &vcpu->timer) < 0)
            return HV_NO_RESOURCES;
        vcpu->has_timer = true;
    }
    return timer_settime(vcpu->timer, TIMER_ABSTIME, &when, NULL) == 0 ? HV_SUCCESS : HV_BAD_ARGUMENT;
}

hv_return_t hv_vcpu_run_until(hv_vcpuid_t id, uint64_t deadline)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (deadline == HV_DEADLINE_FOREVER)
        return run_until(vcpu, deadline);
    /* A deadline of 0 would disarm the timer; all that is past is alike. */
    result = set_timer(vcpu, deadline == 0 ? 1 : deadline);
    if (result != HV_SUCCESS)
        return result;
    result = run_until(vcpu, deadline);
    (void)set_timer(vcpu, 0);
    return result;
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
        atomic_store(&vm->vcpus[vcpus[i]]->interrupt_requested, true);
        vcpu_kick(vm->vcpus[vcpus[i]]);
    }
    vm_unlock(vm);
    return result;
}

hv_return_t vcpu_finish_instruction(struct vcpu *vcpu)
{
    /* KVM carries on with the instruction, looks at the flag, and comes back. */
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    int error = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
    if (!atomic_load(&vcpu->interrupt_requested))
        __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (error == EINTR)
        return HV_SUCCESS;
    vcpu_describe_exit(vcpu, error);
    return HV_BUSY;
}

/* ---- Moving between spaces ---- */

static enum vcpu_direction direction_of(hv_vm_space_t from, hv_vm_space_t to)
{
    if (from == HV_VM_SPACE_DEFAULT)
        return VCPU_LEAVES_DEFAULT;
    return to == HV_VM_SPACE_DEFAULT ? VCPU_ENTERS_DEFAULT : VCPU_BETWEEN_OTHERS;
}

/* The KVM vCPU of a space, made and made alike if there is none yet. With the VM locked. */
static hv_return_t kvm_vcpu_in(struct vcpu *vcpu, hv_vm_space_t space, struct kvm_vcpu *ret_kvm)
{
    bool made;
    hv_return_t result = vm_realise_space(vcpu->vm, space);

    if (result == HV_SUCCESS)
        result = kvm_slots_vcpu(vcpu->vm->slots[space], vcpu->id, &made, ret_kvm);
    if (result == HV_SUCCESS && space != HV_VM_SPACE_DEFAULT && made)
        result = vcpu_state_match(vcpu->fd, ret_kvm->fd);
    return result;
}

/* Nothing of the last exit is left to be done in the space that is left. With the VM locked. */
static hv_return_t settle_exit(struct vcpu *vcpu)
{
    if (vcpu->access_pending && vcpu_settle_access_locked(vcpu) != HV_SUCCESS)
        return HV_BUSY;
    return vcpu_finish_instruction(vcpu);
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
    if (result != HV_SUCCESS)
        return result;
    gate_remove(vcpu->gate, &vcpu->pass);
    vcpu->vm->spaces[vcpu->space]->vcpu_references--;
    /* An interruption that was asked for goes along. */
    vcpu->run->immediate_exit = 0;
    vcpu_place(vcpu, space, &kvm);
    __atomic_store_n(&vcpu->run->immediate_exit, atomic_load(&vcpu->interrupt_requested), __ATOMIC_SEQ_CST);
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_set_space(hv_vcpuid_t id, hv_vm_space_t asid)
{
    struct vm *vm = vm_lock();
    if (vm == NULL)
        return HV_NO_DEVICE;

    struct vcpu *vcpu = id < VM_VCPU_MAX ? vm->vcpus[id] : NULL;
    hv_return_t result = HV_SUCCESS;
    if (vcpu == NULL || vm_space(vm, asid) == NULL)
        result = HV_BAD_ARGUMENT;
    else if (vcpu != current && !vcpu->owner_ended)
        result = HV_DENIED;
    else if (vcpu->space != asid)
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

/* ---- Times ---- */

hv_return_t hv_vcpu_get_exec_time(hv_vcpuid_t id, uint64_t *time)
{
    hv_return_t result;
    const struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (time == NULL)
        return HV_BAD_ARGUMENT;
    const uint64_t cycles = __rdtsc() - vcpu->cycles_at_start;
    const uint64_t nanoseconds = now_nanoseconds() - vcpu->nanoseconds_at_start;
    *time = cycles == 0 ? 0 : (uint64_t)((unsigned __int128)vcpu->cycles_in_guest * nanoseconds / cycles);
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_get_idle_time(hv_vcpuid_t id, uint64_t *time)
{
    hv_return_t result;

    if (vcpu_owned(id, &result) == NULL)
        return result;
    return time == NULL ? HV_BAD_ARGUMENT : HV_UNSUPPORTED;
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

/* ---- The whole state ---- */

hv_return_t hvx_vcpu_reset(hv_vcpuid_t id)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (vcpu->space != HV_VM_SPACE_DEFAULT)
        return HV_BUSY;
    /* Whatever the last instruction still wanted is void. */
    do {
        if (vcpu->access_pending)
            memset(vcpu->run->mmio.data, 0, sizeof(vcpu->run->mmio.data));
        vcpu->access_pending = false;
    } while (vcpu_finish_instruction(vcpu) == HV_BUSY &&
             (vcpu->exit.reason == HVX_EXIT_MEMORY || vcpu->exit.reason == HVX_EXIT_PORT));
    memset(&vcpu->exit, 0, sizeof(vcpu->exit));
    vcpu->access_pending = false;
    return vcpu_state_restore(vcpu->fd, vcpu->vm->power_on[id]);
}
