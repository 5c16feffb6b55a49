/*
 * The machine's vCPUs, each with a thread of its own, that run and park together.
 */
#ifndef VMM_MACHINE_VCPUS_H
#define VMM_MACHINE_VCPUS_H

#include "devices/bus.h"
#include "loader/loader.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/machine/crash_report.h"
#include "vmm/machine/outcome.h"

#include <Hypervisor/hvx.h>

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct vcpus;

/* What a debugger has a say in. Called on the vCPU's thread. */
struct vcpus_debugger {
    /* The vCPU is about to run, for the first time since it parked. False: it is not to, and parking has been asked
     * for. */
    bool (*before_run)(void *context, unsigned vcpu, hv_vcpuid_t id);
    /* Whether an exit has been dealt with; if not, it is as if there were no debugger. */
    bool (*on_exit)(void *context, unsigned vcpu, hv_vcpuid_t id, const hvx_vcpu_exit_t *exit);
    /* The vCPU is about to park, between two instructions. */
    void (*before_park)(void *context, unsigned vcpu, hv_vcpuid_t id);
    void *context;
};

/* What the threads need of the machine around them. Must outlive them. */
struct vcpus_environment {
    unsigned count;
    struct bus *ports;
    struct bus *mmio;
    const struct log *log;
    /* NULL: nobody can debug the guest. */
    const struct vcpus_debugger *debugger;
    /* The space that each vCPU starts in. */
    const hv_vm_space_t *spaces;
    /* What messages call a space. Any thread. */
    const char *(*space_name)(void *context, hv_vm_space_t space);
    /* The CPUID table of a vCPU, to be freed with free(); NULL with *error. */
    struct kvm_cpuid2 *(*cpuid)(void *context, unsigned index, struct error *error);
    /* Called once on each thread before its vCPU runs for the first time. 0, or -1 with *error. */
    int (*enter_sandbox)(void *context, const char *thread_name, struct error *error);
    /* A vCPU cannot go on; called on its thread. The machine then parks them all. */
    void (*stopped)(void *context, const struct machine_outcome *outcome);
    void *context;
};

/*
 * Makes the threads and their vCPUs, numbered from 0, parked in power-on state. There is a VM with its interrupt
 * controllers and nobody else makes vCPUs. The functions here are for the machine's main thread, unless they say
 * otherwise. 0, or -1 with *error and nothing left behind.
 */
int vcpus_create(const struct vcpus_environment *environment, struct vcpus **ret_vcpus, struct error *error);

/* Parks, ends and joins all threads. Takes NULL. */
void vcpus_destroy(struct vcpus *vcpus);

/*
 * While parked: the next vcpus_resume() starts from power-on state, vCPU 0 at entry, the others waiting to be started
 * by it.
 */
void vcpus_set_boot(struct vcpus *vcpus, const struct boot_entry *entry);

/* Lets them run, all but those that are held; or, while they are paused, has them run when that ends. */
void vcpus_resume(struct vcpus *vcpus);

/*
 * Keeps them parked, whoever lets them run meanwhile, until vcpus_unpause() has been called as often. Returns when they
 * are parked, each behind the instruction of its last exit; capture is not asked for.
 */
void vcpus_pause(struct vcpus *vcpus);
/* Those that would run by now do. */
void vcpus_unpause(struct vcpus *vcpus);

/* While parked: whether a vCPU waits in HLT, in a space where nothing can wake it. */
bool vcpus_is_halted(const struct vcpus *vcpus, unsigned index);

/* While parked: whether a vCPU stays parked when the others run. */
void vcpus_hold(struct vcpus *vcpus, unsigned index, bool held);
/* While parked: a vCPU that waited in HLT, in a space where nothing can wake it, goes on behind that. */
void vcpus_wake(struct vcpus *vcpus, unsigned index);

/* While parked: calls a function on a vCPU's thread and waits for it. A boot that has been ordered is prepared first.
 */
void vcpus_call(struct vcpus *vcpus, unsigned index, void (*function)(void *context, hv_vcpuid_t id), void *context);

/*
 * For a debugger, on the thread of a vCPU that is not in the guest: keeps all others out of the guest until it is
 * ended. Others that want the same have their turns in the order of asking, and those that want to enter the guest have
 * a moment between two turns.
 */
void vcpus_begin_exclusive(struct vcpus *vcpus);
void vcpus_end_exclusive(struct vcpus *vcpus);

/* Whether vCPUs are neither to park nor to end. Any thread. */
bool vcpus_are_to_run(const struct vcpus *vcpus);

/* Exclusively: runs the vCPU until its next exit, or until deadline (see hv_vcpu_run_until()). Whether it is to go on.
 */
bool vcpus_run_once(struct vcpus *vcpus, uint64_t deadline, hvx_vcpu_exit_t *exit);

/* The same: does what an exit asks for, as if there were no debugger. */
void vcpus_serve_exit(struct vcpus *vcpus, const hvx_vcpu_exit_t *exit);

/*
 * Makes them park, without waiting for it; with capture, each looks at its registers first (crash_report.h). Any
 * thread; a vCPU's own thread parks as soon as the access that it serves is done. The first call decides about capture.
 */
void vcpus_request_park(struct vcpus *vcpus, int capture);

/* Waits until all are parked. vcpus_request_park() has been called. */
void vcpus_wait_parked(struct vcpus *vcpus);

/* While parked: what a vCPU saw when it parked; not valid if capture was not asked for. */
const struct crash_report *vcpus_crash_report(const struct vcpus *vcpus, unsigned index);

/* The number of the calling thread's vCPU, or -1. Any thread. */
int vcpus_current(const struct vcpus *vcpus);

#endif
