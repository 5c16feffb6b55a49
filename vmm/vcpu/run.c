/*
 * Running vCPUs and getting them out of the guest.
 */
#include "vmm/vcpu/vcpu.h"

#include "vmm/vcpu/x86/debug.h"
#include "vmm/vcpu/x86/state.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <x86intrin.h>

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
 * Whether a run that a signal has ended is to go on: it was for the gate, or one of ours that came late. The flag that
 * made KVM leave is cleared first, so that a request in between makes it leave again.
 */
static bool goes_on(struct vcpu *vcpu, uint64_t deadline)
{
    __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    const bool kicked = atomic_exchange(&vcpu->kicked, false);
    const bool signalled = atomic_exchange(&vcpu->signalled, false);
    if (atomic_exchange(&vcpu->interrupt_requested, false))
        return false;
    if (deadline != HV_DEADLINE_FOREVER && vcpu_now_nanoseconds() >= deadline)
        return false;
    /* Otherwise it was a signal of the client's. */
    return kicked || signalled;
}

/* Whether KVM wanted a full ring emptied before the guest goes on, and that is done. */
static bool ring_was_emptied(struct vcpu *vcpu, int error)
{
    if (error != 0 || vcpu->run->exit_reason != KVM_EXIT_DIRTY_RING_FULL)
        return false;
    pthread_mutex_lock(&vcpu->vm->lock);
    hv_return_t result = kvm_slots_ring_is_full(vcpu->vm->slots[vcpu->space], vcpu->id);
    pthread_mutex_unlock(&vcpu->vm->lock);
    return result == HV_SUCCESS;
}

/*
 * Whether the exit is an access to a mapping that is done now. Such accesses come from strict spaces and mappings with
 * traps, whose data KVM has no slots for, from changes that overtook the access, and from mappings whose policy is to
 * go on.
 */
static bool access_is_done(struct vcpu *vcpu)
{
    return vcpu->access_pending && vcpu->access_is_mapped && vcpu_serve_access(vcpu);
}

/*
 * Whether KVM found no memory to run where there is some now: a change of the space overtook the fetch. What else KVM
 * cannot do it cannot do the next time either.
 */
static bool was_overtaken(const struct vcpu *vcpu, uint64_t version)
{
    const bool failed = vcpu->exit.reason == HVX_EXIT_EMULATION_FAILURE ||
                        (vcpu->exit.reason == HVX_EXIT_UNKNOWN && vcpu->exit.unknown.error == ENOSPC);

    return failed && atomic_load(&vcpu->vm->spaces[vcpu->space]->version) != version;
}

/* Runs to an exit, and describes it. */
static void run_to_exit(struct vcpu *vcpu, uint64_t deadline)
{
    uint64_t version;
    int error;

    do {
        version = atomic_load(&vcpu->vm->spaces[vcpu->space]->version);
        do
            error = enter_guest(vcpu);
        /* EAGAIN: a processor that waits for its start-up was woken for nothing. */
        while (error == EAGAIN || (error == EINTR && goes_on(vcpu, deadline)) || ring_was_emptied(vcpu, error));
        vcpu_describe_exit(vcpu, error);
    } while (was_overtaken(vcpu, version));
}

/* As hvx_vcpu_finish(), of what is not finished. */
static hv_return_t finish(struct vcpu *vcpu)
{
    hv_return_t result;

    do {
        pthread_mutex_lock(&vcpu->vm->lock);
        result = vcpu_finish_instruction(vcpu);
        pthread_mutex_unlock(&vcpu->vm->lock);
    } while (result == HV_BUSY && access_is_done(vcpu));
    return result;
}

static void take_if_fetch_fault(struct vcpu *vcpu)
{
    if (vcpu->exit.reason == HVX_EXIT_MEMORY && vcpu->exit.memory.access == HV_MEMORY_EXEC &&
        !vcpu->exit.memory.is_trap)
        vcpu_take_fetch_fault(vcpu);
}

/*
 * A run of a vCPU that single-steps. An instruction with an exit of its own is finished without entering the guest: KVM
 * would not stop behind a store, nor behind an OUT that it emulates.
 */
static hv_return_t step(struct vcpu *vcpu, uint64_t deadline)
{
    if (vcpu->is_unfinished && (finish(vcpu) != HV_SUCCESS || vcpu->exit.reason == HVX_EXIT_DEBUG))
        return HV_SUCCESS;
    if (!vcpu_arm_step(vcpu))
        return HV_ERROR;
    run_to_exit(vcpu, deadline);
    take_if_fetch_fault(vcpu);
    /* If there is another access that the client has to see, that is the exit. */
    if (access_is_done(vcpu))
        (void)finish(vcpu);
    return HV_SUCCESS;
}

static hv_return_t run_until(struct vcpu *vcpu, uint64_t deadline)
{
    if (vcpu->access_pending && !vcpu_serve_access(vcpu))
        return HV_SUCCESS;
    if (vcpu->debug.single_step)
        return step(vcpu, deadline);
    /* A guest that faults without end, each time answered, still leaves when asked: each round goes into KVM_RUN. */
    do
        run_to_exit(vcpu, deadline);
    while (access_is_done(vcpu));
    take_if_fetch_fault(vcpu);
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
    /* As in vcpu_drain(): an instruction may have any number of accesses, and come here for each. */
    (void)kvm_slots_empty_rings(vcpu->vm->slots[vcpu->space]);
    vcpu_settle_immediate_exit(vcpu);
    if (error == EINTR) {
        vcpu->is_unfinished = false;
        if (vcpu->debug.single_step)
            vcpu_describe_step(vcpu);
        return HV_SUCCESS;
    }
    vcpu->vm_is_locked = true;
    vcpu_describe_exit(vcpu, error);
    vcpu->vm_is_locked = false;
    return vcpu->exit.reason == HVX_EXIT_DEBUG ? HV_SUCCESS : HV_BUSY;
}

hv_return_t hvx_vcpu_finish(hv_vcpuid_t id)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (vcpu->access_pending && !vcpu_serve_access(vcpu))
        return HV_BUSY;
    return vcpu->is_unfinished ? finish(vcpu) : HV_SUCCESS;
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
    const uint64_t nanoseconds = vcpu_now_nanoseconds() - vcpu->nanoseconds_at_start;
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
    vcpu_end_debug(vcpu);
    pthread_mutex_lock(&vcpu->vm->lock);
    vcpu_drain(vcpu);
    pthread_mutex_unlock(&vcpu->vm->lock);
    vcpu_settle_immediate_exit(vcpu);
    memset(&vcpu->exit, 0, sizeof(vcpu->exit));
    vcpu->access_pending = false;
    vcpu->is_unfinished = false;
    return vcpu_state_restore(vcpu->fd, vcpu->run, vcpu->vm->power_on[id]);
}
