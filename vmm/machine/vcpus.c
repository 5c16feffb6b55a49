#include "vmm/machine/vcpus.h"

#include "vmm/machine/vcpu_exits.h"
#include "vmm/machine/x86/boot_state.h"

#include <Hypervisor/hvx.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

/* A vCPU thread's stack: plenty, and too small for a huge page, which would be 2 MiB of private memory for each. */
static const size_t STACK_SIZE = 256 << 10;

enum command { COMMAND_PARK, COMMAND_RUN, COMMAND_QUIT };

struct vcpu_thread {
    struct vcpus *group;
    unsigned index;
    char name[16];
    pthread_t thread;
    /* Set by the thread while it starts, then constant. */
    hv_vcpuid_t id;
    int fd;
    /* owner: the thread */
    bool sandboxed;
    /* It waited in HLT for what cannot come when it parked last, and RIP behind that. */
    bool is_halted;
    uint64_t halted_rip;
    /* It is, or is about to be, in the guest. With a debugger only. */
    atomic_bool inside;
    /* Signalled when a parked thread has something to do. */
    pthread_cond_t wake;
    /* Guarded by group->lock, as all below. */
    unsigned boot_generation;
    bool is_parked;
    bool is_held;
    /* What it is to call while it is parked. */
    void (*call)(void *context, hv_vcpuid_t id);
    void *call_context;
    struct crash_report report;
};

struct vcpus {
    struct vcpus_environment environment;

    pthread_mutex_t lock;
    /* The command has changed, or a thread has parked, or what else is guarded by the lock. */
    pthread_cond_t changed;
    /* The only one that may enter the guest, or NULL. Written with the lock held. */
    struct vcpu_thread *_Atomic exclusive;
    /* Written with the lock held; also read without, after each exit. */
    _Atomic(enum command) command;
    /* Guarded by lock, as all below. */
    bool capture;
    /* They are to run, as far as vcpus_resume() and vcpus_request_park() go; and how often they are paused. */
    bool wants_run;
    unsigned pauses;
    unsigned parked_count;
    /* Who wants the guest for itself gets it in the order of asking: numbers given out, and whose turn it is. */
    uint64_t next_turn;
    uint64_t turn;
    /* vCPUs that wait until they may enter the guest. */
    unsigned waiting_count;
    struct boot_entry boot;
    unsigned boot_generation;
    /* Whether the thread that is starting has succeeded, and why not. */
    bool start_failed;
    struct error start_error;

    unsigned started;
    struct vcpu_thread threads[];
};

/* ---- HLT ---- */

/*
 * HLT in a space where no interrupt can come: the vCPU waits for the machine to end, to stop or to start again. In the
 * default space KVM waits itself, and knows that when it is run again.
 */
static void wait_halted(struct vcpu_thread *self)
{
    struct vcpus *group = self->group;

    self->is_halted = hv_vcpu_read_register(self->id, HV_X86_RIP, &self->halted_rip) == HV_SUCCESS;
    pthread_mutex_lock(&group->lock);
    while (group->command == COMMAND_RUN)
        pthread_cond_wait(&group->changed, &group->lock);
    pthread_mutex_unlock(&group->lock);
}

/* A machine that was stopped goes on: who waited waits again, unless a debugger has put it elsewhere. */
static void wait_halted_again(struct vcpu_thread *self)
{
    uint64_t rip;

    if (self->is_halted && hv_vcpu_read_register(self->id, HV_X86_RIP, &rip) == HV_SUCCESS && rip == self->halted_rip)
        wait_halted(self);
    else
        self->is_halted = false;
}

/* ---- Running ---- */

static void serve_exit(struct vcpu_thread *self, const hvx_vcpu_exit_t *exit)
{
    if (exit->reason == HVX_EXIT_HALT)
        wait_halted(self);
    else
        vcpu_exit_serve(&self->group->environment, self->index, self->id, exit);
}

/* Waits until another vCPU no longer has the guest for itself, or a command comes. */
static void wait_for_others_turn(struct vcpu_thread *self)
{
    struct vcpus *group = self->group;

    pthread_mutex_lock(&group->lock);
    pthread_cond_broadcast(&group->changed);
    group->waiting_count++;
    while (group->exclusive != NULL && group->exclusive != self && group->command == COMMAND_RUN)
        pthread_cond_wait(&group->changed, &group->lock);
    group->waiting_count--;
    pthread_mutex_unlock(&group->lock);
}

/* Whether the vCPU may enter the guest; if so, it counts as inside. */
static bool enter(struct vcpu_thread *self)
{
    struct vcpu_thread *exclusive;

    /* Whoever wants the guest for itself sets that first and then looks who is inside. */
    atomic_store(&self->inside, true);
    exclusive = atomic_load(&self->group->exclusive);
    if (exclusive == NULL || exclusive == self)
        return true;
    atomic_store(&self->inside, false);
    wait_for_others_turn(self);
    return false;
}

static void leave(struct vcpu_thread *self)
{
    struct vcpus *group = self->group;

    atomic_store(&self->inside, false);
    if (atomic_load(&group->exclusive) == NULL)
        return;
    pthread_mutex_lock(&group->lock);
    pthread_cond_broadcast(&group->changed);
    pthread_mutex_unlock(&group->lock);
}

/* As run_until_commanded(), with a debugger that sees each exit first. */
static void run_debugged(struct vcpu_thread *self, const struct vcpus_debugger *debugger)
{
    hvx_vcpu_exit_t exit;

    if (!debugger->before_run(debugger->context, self->index, self->id))
        return;
    wait_halted_again(self);
    while (atomic_load_explicit(&self->group->command, memory_order_acquire) == COMMAND_RUN) {
        if (!enter(self))
            continue;
        hv_vcpu_run(self->id);
        leave(self);
        hvx_vcpu_exit(self->id, &exit);
        if (!debugger->on_exit(debugger->context, self->index, self->id, &exit))
            serve_exit(self, &exit);
    }
}

static void run_until_commanded(struct vcpu_thread *self)
{
    hvx_vcpu_exit_t exit;

    if (self->group->environment.debugger != NULL) {
        run_debugged(self, self->group->environment.debugger);
        return;
    }
    wait_halted_again(self);
    while (atomic_load_explicit(&self->group->command, memory_order_acquire) == COMMAND_RUN) {
        hv_vcpu_run(self->id);
        hvx_vcpu_exit(self->id, &exit);
        serve_exit(self, &exit);
    }
}

static struct vcpu_thread *current_thread(struct vcpus *vcpus)
{
    const int index = vcpus_current(vcpus);

    assert(index >= 0);
    return &vcpus->threads[index];
}

/* Whether nobody but self is inside, with the lock held. */
static bool is_alone(const struct vcpu_thread *self)
{
    bool alone = true;

    for (unsigned i = 0; i < self->group->started && alone; i++)
        alone = &self->group->threads[i] == self || !atomic_load(&self->group->threads[i].inside);
    return alone;
}

/* Those that wait to enter the guest are let in for a moment first, or they might never be. With the lock held. */
static void let_others_in(struct vcpus *vcpus)
{
    static const long nanoseconds = 1000000;
    struct timespec until;

    if (vcpus->waiting_count == 0 || vcpus->command != COMMAND_RUN)
        return;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += nanoseconds;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (vcpus->command == COMMAND_RUN && pthread_cond_timedwait(&vcpus->changed, &vcpus->lock, &until) == 0)
        continue;
}

void vcpus_begin_exclusive(struct vcpus *vcpus)
{
    struct vcpu_thread *self = current_thread(vcpus);

    pthread_mutex_lock(&vcpus->lock);
    const uint64_t turn = vcpus->next_turn++;
    while (vcpus->turn != turn)
        pthread_cond_wait(&vcpus->changed, &vcpus->lock);
    let_others_in(vcpus);
    atomic_store(&vcpus->exclusive, self);
    for (unsigned i = 0; i < vcpus->started; i++)
        if (&vcpus->threads[i] != self && atomic_load(&vcpus->threads[i].inside))
            hv_vcpu_interrupt(&vcpus->threads[i].id, 1);
    while (!is_alone(self))
        pthread_cond_wait(&vcpus->changed, &vcpus->lock);
    pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_end_exclusive(struct vcpus *vcpus)
{
    pthread_mutex_lock(&vcpus->lock);
    atomic_store(&vcpus->exclusive, NULL);
    vcpus->turn++;
    pthread_cond_broadcast(&vcpus->changed);
    pthread_mutex_unlock(&vcpus->lock);
}

bool vcpus_are_to_run(const struct vcpus *vcpus)
{
    return atomic_load_explicit(&vcpus->command, memory_order_acquire) == COMMAND_RUN;
}

bool vcpus_run_once(struct vcpus *vcpus, uint64_t deadline, hvx_vcpu_exit_t *exit)
{
    const struct vcpu_thread *self = current_thread(vcpus);

    hv_vcpu_run_until(self->id, deadline);
    hvx_vcpu_exit(self->id, exit);
    return vcpus_are_to_run(vcpus);
}

void vcpus_serve_exit(struct vcpus *vcpus, const hvx_vcpu_exit_t *exit)
{
    serve_exit(current_thread(vcpus), exit);
}

/*
 * The instruction of the last exit comes to its end, so that the registers are complete. More of them than an
 * instruction has accesses are a string instruction's, which can be left between two items.
 */
static void finish_instruction(struct vcpu_thread *self, const struct vcpus_debugger *debugger)
{
    enum { ACCESSES_MAX = 1 << 16 };
    hvx_vcpu_exit_t exit;

    for (unsigned i = 0; i < ACCESSES_MAX && hvx_vcpu_finish(self->id) == HV_BUSY; i++) {
        hvx_vcpu_exit(self->id, &exit);
        if (debugger == NULL || !debugger->on_exit(debugger->context, self->index, self->id, &exit))
            serve_exit(self, &exit);
    }
}

/* Whether somebody is to see the registers, and the guest is to go on. */
static bool is_to_finish(struct vcpu_thread *self)
{
    struct vcpus *group = self->group;

    if (self->boot_generation == 0)
        return false;
    pthread_mutex_lock(&group->lock);
    const bool is_paused = group->pauses > 0;
    pthread_mutex_unlock(&group->lock);
    return is_paused || group->environment.debugger != NULL;
}

/* ---- The threads ---- */

static int start_vcpu(struct vcpu_thread *self, struct error *error)
{
    const struct vcpus_environment *environment = &self->group->environment;

    hv_return_t result = hv_vcpu_create(&self->id, HV_VCPU_DEFAULT);
    if (result != HV_SUCCESS)
        return error_set(error, ERROR_HOST, "KVM gave no vCPU %u (error 0x%x)", self->index, (unsigned)result);
    if (hvx_vcpu_kvm_fd(self->id, &self->fd) != HV_SUCCESS)
        return error_set(error, ERROR_HOST, "KVM gave no vCPU %u", self->index);

    struct kvm_cpuid2 *cpuid = environment->cpuid(environment->context, self->index, error);
    if (cpuid == NULL)
        return -1;
    int status = ioctl(self->fd, KVM_SET_CPUID2, cpuid);
    free(cpuid);
    if (status < 0)
        return error_set(error, ERROR_HOST, "KVM refused KVM_SET_CPUID2: %s", strerror(errno));
    return 0;
}

/*
 * Back to the default space, where a vCPU is reset. What its last instruction is still to do goes nowhere; there are
 * few accesses to an instruction.
 */
static hv_return_t leave_space(const struct vcpu_thread *self)
{
    static const uint64_t nothing;
    hv_return_t result;
    unsigned accesses = 0;

    while ((result = hv_vcpu_set_space(self->id, HV_VM_SPACE_DEFAULT)) == HV_BUSY && accesses++ < 64)
        hvx_vcpu_complete(self->id, &nothing);
    return result;
}

/* Back to power-on state if a boot has been ordered since the last time. */
static int prepare_boot(struct vcpu_thread *self, struct error *error)
{
    struct boot_entry entry;

    pthread_mutex_lock(&self->group->lock);
    bool wanted = self->boot_generation != self->group->boot_generation;
    bool first = self->boot_generation == 0;
    self->boot_generation = self->group->boot_generation;
    entry = self->group->boot;
    pthread_mutex_unlock(&self->group->lock);
    if (!wanted)
        return 0;
    self->is_halted = false;
    hv_return_t result = first ? HV_SUCCESS : leave_space(self);
    if (result == HV_SUCCESS && !first)
        result = hvx_vcpu_reset(self->id);
    if (result != HV_SUCCESS)
        return error_set(error, ERROR_HOST, "KVM refused to reset vCPU %u (error 0x%x)", self->index, (unsigned)result);
    if ((self->index == 0 || boot_state_starts_all(&entry)) && boot_state_set(self->fd, self->index, &entry, error) < 0)
        return -1;
    result = hv_vcpu_set_space(self->id, self->group->environment.spaces[self->index]);
    if (result != HV_SUCCESS)
        return error_set(error, ERROR_HOST, "KVM gave no vCPU %u in its space (error 0x%x)", self->index,
                         (unsigned)result);
    return 0;
}

static int prepare_run(struct vcpu_thread *self, struct error *error)
{
    const struct vcpus_environment *environment = &self->group->environment;

    if (prepare_boot(self, error) < 0)
        return -1;
    if (!self->sandboxed && environment->enter_sandbox(environment->context, self->name, error) < 0)
        return -1;
    self->sandboxed = true;
    return 0;
}

/* The machine cannot go on with this vCPU. */
static void fail(struct vcpu_thread *self, const struct error *error)
{
    struct machine_outcome outcome = {.event = MACHINE_HOST_FAILURE, .vcpu = (int)self->index};

    memcpy(outcome.text, error->text, sizeof(outcome.text));
    self->group->environment.stopped(self->group->environment.context, &outcome);
}

/* Does what somebody wants done on this thread. With the lock held, which is let go meanwhile. */
static void make_call(struct vcpu_thread *self)
{
    struct vcpus *group = self->group;
    struct error error;

    pthread_mutex_unlock(&group->lock);
    if (prepare_boot(self, &error) == 0)
        self->call(self->call_context, self->id);
    else
        fail(self, &error);
    pthread_mutex_lock(&group->lock);
    self->call = NULL;
    pthread_cond_broadcast(&group->changed);
}

/* Parks until told otherwise; gives the new command. */
static enum command park(struct vcpu_thread *self)
{
    struct vcpus *group = self->group;
    const struct vcpus_debugger *debugger = group->environment.debugger;

    if (is_to_finish(self))
        finish_instruction(self, debugger);
    if (debugger != NULL && self->boot_generation != 0)
        debugger->before_park(debugger->context, self->index, self->id);
    pthread_mutex_lock(&group->lock);
    if (group->capture && self->boot_generation != 0) {
        /* Not under the lock: it takes the VM's. */
        pthread_mutex_unlock(&group->lock);
        struct crash_report report;
        crash_report_capture(&report, self->id);
        pthread_mutex_lock(&group->lock);
        self->report = report;
    }
    group->parked_count++;
    self->is_parked = true;
    pthread_cond_broadcast(&group->changed);
    while (group->command == COMMAND_PARK || (group->command == COMMAND_RUN && self->is_held)) {
        if (self->call != NULL)
            make_call(self);
        else
            pthread_cond_wait(&self->wake, &group->lock);
    }
    enum command command = group->command;
    group->parked_count--;
    self->is_parked = false;
    self->report.valid = false;
    pthread_mutex_unlock(&group->lock);
    return command;
}

static void *vcpu_thread(void *argument)
{
    struct vcpu_thread *self = argument;
    struct error error;

    pthread_setname_np(pthread_self(), self->name);
    if (start_vcpu(self, &error) < 0) {
        pthread_mutex_lock(&self->group->lock);
        self->group->start_failed = true;
        self->group->start_error = error;
        pthread_cond_broadcast(&self->group->changed);
        pthread_mutex_unlock(&self->group->lock);
    } else {
        while (park(self) == COMMAND_RUN) {
            if (prepare_run(self, &error) == 0)
                run_until_commanded(self);
            else
                fail(self, &error);
        }
    }
    hv_vcpu_destroy(self->id);
    return NULL;
}

/* Starts the next thread and waits until its vCPU is there, so that the numbers of the two agree. */
static int start_thread(struct vcpus *vcpus, struct error *error)
{
    struct vcpu_thread *self = &vcpus->threads[vcpus->started];
    int result = 0;

    self->group = vcpus;
    self->index = vcpus->started;
    self->id = UINT32_MAX;
    (void)snprintf(self->name, sizeof(self->name), "vcpu%u", self->index);
    pthread_attr_t attributes;
    pthread_cond_init(&self->wake, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    int status = pthread_create(&self->thread, &attributes, vcpu_thread, self);
    pthread_attr_destroy(&attributes);
    if (status != 0)
        return error_set(error, ERROR_HOST, "no thread for vCPU %u: %s", self->index, strerror(status));

    pthread_mutex_lock(&vcpus->lock);
    vcpus->started++;
    while (!vcpus->start_failed && vcpus->parked_count < vcpus->started)
        pthread_cond_wait(&vcpus->changed, &vcpus->lock);
    if (vcpus->start_failed) {
        *error = vcpus->start_error;
        result = -1;
    }
    pthread_mutex_unlock(&vcpus->lock);
    return result;
}

int vcpus_create(const struct vcpus_environment *environment, struct vcpus **ret_vcpus, struct error *error)
{
    struct vcpus *vcpus = calloc(1, sizeof(*vcpus) + environment->count * sizeof(vcpus->threads[0]));

    if (vcpus == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    vcpus->environment = *environment;
    pthread_mutex_init(&vcpus->lock, NULL);
    pthread_cond_init(&vcpus->changed, NULL);
    for (unsigned i = 0; i < environment->count; i++) {
        if (start_thread(vcpus, error) < 0) {
            vcpus_destroy(vcpus);
            return -1;
        }
    }
    *ret_vcpus = vcpus;
    return 0;
}

static void set_command(struct vcpus *vcpus, enum command command)
{
    pthread_mutex_lock(&vcpus->lock);
    atomic_store_explicit(&vcpus->command, command, memory_order_release);
    pthread_cond_broadcast(&vcpus->changed);
    for (unsigned i = 0; i < vcpus->started; i++)
        if (command == COMMAND_QUIT || !vcpus->threads[i].is_held)
            pthread_cond_signal(&vcpus->threads[i].wake);
    pthread_mutex_unlock(&vcpus->lock);
}

/* Gets out of the guest whoever is in it, or about to enter. The caller's own vCPU is not. */
static void interrupt_all(struct vcpus *vcpus)
{
    pthread_mutex_lock(&vcpus->lock);
    for (unsigned i = 0; i < vcpus->started; i++)
        if (!vcpus->threads[i].is_parked && !pthread_equal(vcpus->threads[i].thread, pthread_self()))
            hv_vcpu_interrupt(&vcpus->threads[i].id, 1);
    pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_destroy(struct vcpus *vcpus)
{
    if (vcpus == NULL)
        return;
    set_command(vcpus, COMMAND_QUIT);
    interrupt_all(vcpus);
    for (unsigned i = 0; i < vcpus->started; i++)
        pthread_join(vcpus->threads[i].thread, NULL);
    for (unsigned i = 0; i < vcpus->started; i++)
        pthread_cond_destroy(&vcpus->threads[i].wake);
    pthread_cond_destroy(&vcpus->changed);
    pthread_mutex_destroy(&vcpus->lock);
    free(vcpus);
}

void vcpus_set_boot(struct vcpus *vcpus, const struct boot_entry *entry)
{
    pthread_mutex_lock(&vcpus->lock);
    vcpus->boot = *entry;
    vcpus->boot_generation++;
    pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_resume(struct vcpus *vcpus)
{
    pthread_mutex_lock(&vcpus->lock);
    vcpus->capture = false;
    vcpus->wants_run = true;
    const bool is_paused = vcpus->pauses > 0;
    pthread_mutex_unlock(&vcpus->lock);
    if (!is_paused)
        set_command(vcpus, COMMAND_RUN);
}

void vcpus_pause(struct vcpus *vcpus)
{
    pthread_mutex_lock(&vcpus->lock);
    vcpus->pauses++;
    const bool is_running = vcpus->command == COMMAND_RUN;
    if (is_running)
        vcpus->capture = false;
    pthread_mutex_unlock(&vcpus->lock);
    if (is_running) {
        set_command(vcpus, COMMAND_PARK);
        interrupt_all(vcpus);
    }
    vcpus_wait_parked(vcpus);
}

void vcpus_unpause(struct vcpus *vcpus)
{
    pthread_mutex_lock(&vcpus->lock);
    vcpus->pauses--;
    const bool goes_on = vcpus->pauses == 0 && vcpus->wants_run;
    pthread_mutex_unlock(&vcpus->lock);
    if (goes_on)
        set_command(vcpus, COMMAND_RUN);
}

bool vcpus_is_halted(const struct vcpus *vcpus, unsigned index)
{
    return vcpus->threads[index].is_halted;
}

void vcpus_hold(struct vcpus *vcpus, unsigned index, bool held)
{
    pthread_mutex_lock(&vcpus->lock);
    vcpus->threads[index].is_held = held;
    pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_wake(struct vcpus *vcpus, unsigned index)
{
    vcpus->threads[index].is_halted = false;
}

void vcpus_call(struct vcpus *vcpus, unsigned index, void (*function)(void *context, hv_vcpuid_t id), void *context)
{
    struct vcpu_thread *thread = &vcpus->threads[index];

    pthread_mutex_lock(&vcpus->lock);
    thread->call_context = context;
    thread->call = function;
    pthread_cond_signal(&thread->wake);
    while (thread->call != NULL)
        pthread_cond_wait(&vcpus->changed, &vcpus->lock);
    pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_request_park(struct vcpus *vcpus, int capture)
{
    pthread_mutex_lock(&vcpus->lock);
    bool first = vcpus->command == COMMAND_RUN;
    vcpus->wants_run = false;
    /* A pause is not what decides: who has something to show has not parked for it yet. */
    if (first)
        vcpus->capture = capture != 0;
    else if (vcpus->pauses > 0)
        vcpus->capture |= capture != 0;
    pthread_mutex_unlock(&vcpus->lock);
    if (!first)
        return;
    set_command(vcpus, COMMAND_PARK);
    interrupt_all(vcpus);
}

void vcpus_wait_parked(struct vcpus *vcpus)
{
    pthread_mutex_lock(&vcpus->lock);
    while (vcpus->parked_count < vcpus->environment.count)
        pthread_cond_wait(&vcpus->changed, &vcpus->lock);
    pthread_mutex_unlock(&vcpus->lock);
}

const struct crash_report *vcpus_crash_report(const struct vcpus *vcpus, unsigned index)
{
    return &vcpus->threads[index].report;
}

int vcpus_current(const struct vcpus *vcpus)
{
    for (unsigned i = 0; i < vcpus->started; i++)
        if (pthread_equal(vcpus->threads[i].thread, pthread_self()))
            return (int)i;
    return -1;
}
