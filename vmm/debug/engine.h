/*
 * What the parts of the debugger share: debugger.c and monitor.c on the main thread, vcpu_side.c on the vCPUs'.
 *
 * Whoever changes it has all vCPUs parked; a vCPU's thread changes its own struct debug_vcpu alone, while it runs.
 */
#ifndef VMM_DEBUG_ENGINE_H
#define VMM_DEBUG_ENGINE_H

#include "vmm/debug/debugger.h"
#include "vmm/debug/guest_view.h"
#include "vmm/debug/points.h"
#include "vmm/debug/x86/instruction.h"
#include "vmm/debug/x86/registers.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DEBUGGER_KERNEL_SEGMENTS_MAX = 8 };

enum debugger_state { DEBUGGER_RUNNING, DEBUGGER_STOPPED, DEBUGGER_CRASHED };

struct debug_vcpu {
    enum debug_action action;
    bool has_stop;
    struct debug_stop stop;
    /* As it parked last. */
    struct debug_registers registers;
    hv_vm_space_t space;
    /* Of a step: where it began, and with which instruction. */
    struct debug_registers step_from;
    struct instruction step_instruction;
    /*
     * A step of ours has not ended where it should have: the guest's handler of an exception was entered, and flags
     * with our trap flag are on its stack.
     */
    bool has_stray_trap_flag;
    /* hvx_vcpu_set_debug() has something in force. */
    bool is_controlled;
};

struct debugger {
    /* constant */
    struct debugger_environment environment;
    struct vcpus *vcpus;
    struct debug_target target;
    struct vcpus_debugger vcpu_side;
    /* Somebody debugs the guest, or something of that is left: vCPUs ask at each exit. */
    atomic_bool is_active;

    /* owner: the main thread, as for all below */
    enum debugger_state state;
    bool is_attached;
    /* A client wants the guest stopped, or has left while it ran. */
    bool stop_wanted;
    bool detach_wanted;
    bool crash_can_go_on;
    bool crash_is_told;
    struct debug_stop crash;
    struct boot_segment kernel[DEBUGGER_KERNEL_SEGMENTS_MAX];
    size_t kernel_count;

    /* What the client chose by `monitor`. */
    bool is_physical;
    bool has_space;
    hv_vm_space_t space;
    /* POINT_MECHANISM_COUNT: whatever fits. */
    enum point_mechanism mechanism;

    struct points points;
    /* The traps that are in force. */
    struct point_trap *traps;
    size_t trap_count;
    /* INT3s that are in the guest. */
    size_t patch_count;
    /* The points have changed since the traps were set. */
    bool traps_are_old;
    /* No INT3 is to be in the guest, though it counts as running. */
    bool points_are_hidden;

    struct debug_vcpu vcpu[];
};

/* The hooks of the vCPUs' threads. */
bool vcpu_side_before_run(void *context, unsigned vcpu, hv_vcpuid_t id);
bool vcpu_side_on_exit(void *context, unsigned vcpu, hv_vcpuid_t id, const hvx_vcpu_exit_t *exit);
void vcpu_side_before_park(void *context, unsigned vcpu, hv_vcpuid_t id);

/* `monitor COMMAND`: the target's function. */
void monitor_command(void *context, unsigned vcpu, const char *command, const struct debug_output *output);

/* How a vCPU's addresses are read: as the client chose. */
struct guest_view debugger_view(const struct debugger *debugger, unsigned vcpu);

/* Everything back to power-on state, the guest stopped before its first instruction. 0, or -1 with *error. */
int debugger_restart(struct debugger *debugger, struct error *error);

/* What messages call a space; "?" for one that is not the machine's. */
const char *debugger_space_name(const struct debugger *debugger, hv_vm_space_t space);

#endif
