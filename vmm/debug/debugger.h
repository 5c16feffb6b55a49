/*
 * Debugs a machine: stops its vCPUs, steps them, and realises break- and watchpoints on hosts that honour all, some or
 * none of what a processor offers. It is the target of vmm/gdb, and a party to the run of each vCPU.
 */
#ifndef VMM_DEBUG_DEBUGGER_H
#define VMM_DEBUG_DEBUGGER_H

#include "memory/support/error.h"
#include "vmm/debug/target.h"
#include "vmm/debug/x86/probe.h"
#include "vmm/machine/vcpus.h"

#include <Hypervisor/hvx.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct debugger;

/* The machine around it. Functions are called on the main thread. Must outlive it. */
struct debugger_environment {
    unsigned vcpu_count;
    struct debug_host host;
    /* Wakes the main thread, which calls debugger_wake() soon. Any thread. */
    void (*notify)(void *context);
    /* Everything back to power-on state; all vCPUs are parked, and stay so. 0, or -1 with *error. */
    int (*restart)(void *context, struct error *error);
    /* Ends the machine, as a user would; or as the crash that debugger_crashed() told of. */
    void (*kill)(void *context);
    void (*end_crashed)(void *context);
    /* Spaces by number from 0 on; NULL: there are no more. */
    const char *(*space_name)(void *context, size_t index, hv_vm_space_t *ret_space);
    /* Prints all spaces and their ranges. */
    void (*print_maps)(void *context, const struct debug_output *output);
    void *context;
};

/* NULL with *error. */
struct debugger *debugger_create(const struct debugger_environment *environment, struct error *error);

/* Nobody uses it, and no vCPU runs. Takes NULL. */
void debugger_destroy(struct debugger *debugger);

/* For vcpus_create(), whose result is told before any of the functions below is called. */
const struct vcpus_debugger *debugger_vcpu_side(struct debugger *debugger);
void debugger_set_vcpus(struct debugger *debugger, struct vcpus *vcpus);

/* For a server, which fills in its part. */
struct debug_target *debugger_target(struct debugger *debugger);

/*
 * Where the loader has put the kernel: linear addresses that will be mapped to these, for breakpoints and memory before
 * the kernel has its page tables.
 */
void debugger_set_kernel(struct debugger *debugger, const struct boot_segment *segments, size_t count);

/* The main thread is back in its loop after notify(): acts on what has happened. */
void debugger_wake(struct debugger *debugger);

/* The guest is not to start before a client lets it; vCPUs are parked. */
void debugger_hold_start(struct debugger *debugger);

/* It is stopped, or has not started. */
bool debugger_is_stopped(const struct debugger *debugger);

/* It has crashed, and is looked at or waits for somebody who does. */
bool debugger_has_crashed(const struct debugger *debugger);

/* The vCPUs are parked for somebody else, who looks at memory: breakpoints are not to be in it until that is over. */
void debugger_hide_points(struct debugger *debugger, bool hidden);

/*
 * The guest has crashed, in a way that it can go on from or not, and its vCPUs are parked. Whether the debugger takes
 * over; end_crashed() follows when it is done, if the guest does not go on.
 */
bool debugger_crashed(struct debugger *debugger, int vcpu, bool can_go_on, bool waits, const char *text);

/* The machine has restarted by itself, and its vCPUs are parked: whether they are to run. */
bool debugger_restarted(struct debugger *debugger);

#endif
