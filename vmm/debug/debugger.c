/*
 * The debugger on the main thread: a client's wishes, and what becomes of them.
 */
#include "vmm/debug/engine.h"

#include "vmm/debug/placing.h"
#include "vmm/debug/x86/vcpu_registers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Views ---- */

struct guest_view debugger_view(const struct debugger *debugger, unsigned vcpu)
{
    const struct debug_vcpu *from = &debugger->vcpu[vcpu];
    struct guest_view view = guest_view_of(&from->registers, debugger->has_space ? debugger->space : from->space);

    view.is_physical = debugger->is_physical;
    return view;
}

const char *debugger_space_name(const struct debugger *debugger, hv_vm_space_t space)
{
    const struct debugger_environment *environment = &debugger->environment;
    const char *name;
    hv_vm_space_t id;

    for (size_t i = 0; (name = environment->space_name(environment->context, i, &id)) != NULL; i++)
        if (id == space)
            return name;
    return "?";
}

/* ---- Stopping and going on ---- */

static void tell(struct debugger *debugger, const struct debug_stop *stop)
{
    struct debug_stop copy = *stop;

    if (debugger->target.stopped != NULL)
        debugger->target.stopped(debugger->target.server, &copy);
}

static void tell_crash(struct debugger *debugger)
{
    debugger->crash_is_told = true;
    tell(debugger, &debugger->crash);
}

static void forget_stops(struct debugger *debugger)
{
    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++)
        debugger->vcpu[i].has_stop = false;
}

/* A watchpoint's hit is over and done, and so is trouble; other stops come again when the vCPU runs. */
static void forget_repeatable_stops(struct debugger *debugger)
{
    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++) {
        const struct debug_stop *stop = &debugger->vcpu[i].stop;
        debugger->vcpu[i].has_stop &= stop->reason == DEBUG_STOP_WATCHPOINT || stop->text[0] != '\0';
    }
}

/* The vCPU whose stop is told of next, or -1. One that stepped is what the client waits for most. */
static int choose_stop(const struct debugger *debugger)
{
    int chosen = -1;

    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++) {
        const struct debug_vcpu *vcpu = &debugger->vcpu[i];
        if (vcpu->has_stop && (chosen < 0 || vcpu->action == DEBUG_STEP))
            chosen = (int)i;
    }
    return chosen;
}

/* What a vCPU has hit while another's stop was told of, if it is watched still. */
static bool is_still_watched(const struct debugger *debugger, const struct debug_stop *stop)
{
    bool is_watched = false;

    for (size_t i = 0; i < debugger->points.count && !is_watched; i++) {
        const struct point *point = &debugger->points.items[i];
        is_watched = point->kind == stop->kind && stop->address >= point->address &&
                     stop->address - point->address < point->size;
    }
    return is_watched;
}

static void forget_stale_stops(struct debugger *debugger)
{
    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++) {
        const struct debug_stop *stop = &debugger->vcpu[i].stop;
        debugger->vcpu[i].has_stop &= stop->text[0] != '\0' || is_still_watched(debugger, stop);
    }
}

static void tell_stop_of(struct debugger *debugger, unsigned vcpu)
{
    debugger->vcpu[vcpu].has_stop = false;
    tell(debugger, &debugger->vcpu[vcpu].stop);
}

static int run(struct debugger *debugger, struct error *error)
{
    if (placing_update_traps(debugger, error) < 0)
        return -1;
    placing_patch_all(debugger, !debugger->points_are_hidden);
    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++) {
        vcpus_hold(debugger->vcpus, i, debugger->vcpu[i].action == DEBUG_HOLD);
        /* A step does not wait in HLT. */
        if (debugger->vcpu[i].action == DEBUG_STEP)
            vcpus_wake(debugger->vcpus, i);
    }
    debugger->state = DEBUGGER_RUNNING;
    vcpus_resume(debugger->vcpus);
    return 0;
}

/* There is nobody to tell if it fails, or no reason for a client to hear of a stop. */
static void run_on(struct debugger *debugger)
{
    struct error error;

    if (run(debugger, &error) == 0)
        return;
    /* Only points can be what fails. */
    struct debug_stop stop = {.reason = DEBUG_STOP_INTERRUPTED};
    (void)snprintf(stop.text, sizeof(stop.text), "%s", error.text);
    tell(debugger, &stop);
}

/* What a client has left is taken away; is_attached says whether there is another. */
static void leave_client(struct debugger *debugger)
{
    bool is_clean = true;

    placing_drop(debugger);
    forget_stops(debugger);
    debugger->detach_wanted = false;
    debugger->is_physical = false;
    debugger->has_space = false;
    debugger->mechanism = POINT_MECHANISM_COUNT;
    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++) {
        debugger->vcpu[i].action = DEBUG_CONTINUE;
        is_clean &= !debugger->vcpu[i].has_stray_trap_flag;
    }
    /* The next client may have come already. */
    atomic_store(&debugger->is_active, debugger->is_attached || !is_clean);
}

void debugger_wake(struct debugger *debugger)
{
    if (debugger->state != DEBUGGER_RUNNING)
        return;
    vcpus_request_park(debugger->vcpus, 0);
    vcpus_wait_parked(debugger->vcpus);
    debugger->state = DEBUGGER_STOPPED;
    placing_patch_all(debugger, false);
    if (debugger->detach_wanted)
        leave_client(debugger);

    const int stopped = choose_stop(debugger);
    const bool wanted = debugger->stop_wanted;
    debugger->stop_wanted = false;
    if (stopped >= 0) {
        forget_repeatable_stops(debugger);
        tell_stop_of(debugger, (unsigned)stopped);
    } else if (wanted) {
        tell(debugger, &(struct debug_stop){.reason = DEBUG_STOP_INTERRUPTED});
    } else {
        /* A stop that has been told of already, or one of a client that has left: what was ordered holds. */
        run_on(debugger);
    }
}

static int resume(void *context, const enum debug_action *actions, struct error *error)
{
    struct debugger *debugger = context;

    if (debugger->state == DEBUGGER_CRASHED && !debugger->crash_is_told) {
        tell_crash(debugger);
        return 0;
    }
    if (debugger->state == DEBUGGER_CRASHED && !debugger->crash_can_go_on) {
        debugger->environment.end_crashed(debugger->environment.context);
        return 0;
    }
    forget_stale_stops(debugger);
    const int stopped = choose_stop(debugger);
    if (stopped >= 0 && actions[stopped] != DEBUG_HOLD) {
        tell_stop_of(debugger, (unsigned)stopped);
        return 0;
    }
    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++)
        debugger->vcpu[i].action = actions[i];
    return run(debugger, error);
}

static void interrupt(void *context)
{
    struct debugger *debugger = context;

    if (debugger->state != DEBUGGER_RUNNING)
        return;
    debugger->stop_wanted = true;
    debugger->environment.notify(debugger->environment.context);
}

static void attach(void *context)
{
    struct debugger *debugger = context;

    debugger->is_attached = true;
    /* vCPUs that run look at it at their next exit; there are no points yet that could be missed. */
    atomic_store(&debugger->is_active, true);
    if (debugger->state == DEBUGGER_RUNNING)
        interrupt(debugger);
    else if (debugger->state == DEBUGGER_CRASHED)
        tell_crash(debugger);
    else
        tell(debugger, &(struct debug_stop){.reason = DEBUG_STOP_INTERRUPTED});
}

static void detach(void *context)
{
    struct debugger *debugger = context;

    debugger->is_attached = false;
    if (debugger->state == DEBUGGER_RUNNING) {
        debugger->stop_wanted = false;
        debugger->detach_wanted = true;
        debugger->environment.notify(debugger->environment.context);
        return;
    }
    const bool has_crashed = debugger->state == DEBUGGER_CRASHED;
    leave_client(debugger);
    if (has_crashed)
        debugger->environment.end_crashed(debugger->environment.context);
    else
        run_on(debugger);
}

static void kill_machine(void *context)
{
    struct debugger *debugger = context;

    debugger->environment.kill(debugger->environment.context);
}

/* ---- Registers and memory ---- */

/* What a call on a vCPU's thread is about. */
struct register_call {
    struct debug_vcpu *vcpu;
    const struct debug_registers *registers;
    const struct debug_vectors *new_vectors;
    struct debug_vectors *vectors;
    hv_return_t result;
};

static void write_registers(void *context, hv_vcpuid_t id)
{
    struct register_call *call = context;

    call->result = vcpu_registers_write(id, &call->vcpu->registers, call->registers);
    (void)vcpu_registers_read(id, &call->vcpu->registers);
}

static void refresh_registers(void *context, hv_vcpuid_t id)
{
    struct register_call *call = context;

    call->result = vcpu_registers_read(id, &call->vcpu->registers);
    (void)hvx_vcpu_get_space(id, &call->vcpu->space);
}

static void read_vectors(void *context, hv_vcpuid_t id)
{
    struct register_call *call = context;

    call->result = vcpu_vectors_read(id, call->vectors);
}

static void write_vectors(void *context, hv_vcpuid_t id)
{
    struct register_call *call = context;

    call->result = vcpu_vectors_write(id, call->new_vectors);
}

static int make_call(struct debugger *debugger, unsigned vcpu, void (*function)(void *context, hv_vcpuid_t id),
                     struct register_call *call, const char *what, struct error *error)
{
    call->vcpu = &debugger->vcpu[vcpu];
    call->result = HV_ERROR;
    vcpus_call(debugger->vcpus, vcpu, function, call);
    return call->result == HV_SUCCESS ? 0
                                      : error_set(error, ERROR_CONFIG, "KVM does not take %s of vCPU %u", what, vcpu);
}

static int get_registers(void *context, unsigned vcpu, struct debug_registers *registers, struct error *error)
{
    const struct debugger *debugger = context;

    (void)error;
    *registers = debugger->vcpu[vcpu].registers;
    return 0;
}

static int set_registers(void *context, unsigned vcpu, const struct debug_registers *registers, struct error *error)
{
    struct register_call call = {.registers = registers};

    return make_call(context, vcpu, write_registers, &call, "these registers", error);
}

static int get_vectors(void *context, unsigned vcpu, struct debug_vectors *vectors, struct error *error)
{
    struct register_call call = {.vectors = vectors};

    return make_call(context, vcpu, read_vectors, &call, "a look at the vector registers", error);
}

static int set_vectors(void *context, unsigned vcpu, const struct debug_vectors *vectors, struct error *error)
{
    struct register_call call = {.new_vectors = vectors};

    return make_call(context, vcpu, write_vectors, &call, "these vector registers", error);
}

/* How an address is reached: as the vCPU does, or in a kernel that has no page tables yet where it has been put. */
static struct guest_view reach(const struct debugger *debugger, unsigned vcpu, uint64_t *address)
{
    struct guest_view view = debugger_view(debugger, vcpu);
    struct walk walk;
    uint64_t gpa;

    if (view.is_physical || debugger->kernel_count == 0)
        return view;
    guest_view_walk(&view, *address, &walk);
    if (!walk.is_mapped && placing_find_in_kernel(debugger, &view, *address, &gpa)) {
        view.is_physical = true;
        *address = gpa;
    }
    return view;
}

static size_t read_memory(void *context, unsigned vcpu, uint64_t address, void *buffer, size_t size)
{
    const struct guest_view view = reach(context, vcpu, &address);

    return guest_view_read(&view, address, buffer, size);
}

static int write_memory(void *context, unsigned vcpu, uint64_t address, const void *buffer, size_t size,
                        struct error *error)
{
    const uint64_t linear = address;
    const struct guest_view view = reach(context, vcpu, &address);

    if (guest_view_write(&view, address, buffer, size))
        return 0;
    return error_set(error, ERROR_CONFIG, "0x%" PRIx64 " and what follows is not memory, or not mapped", linear);
}

static bool get_physical(void *context)
{
    const struct debugger *debugger = context;

    return debugger->is_physical;
}

static void set_physical(void *context, bool physical)
{
    struct debugger *debugger = context;

    debugger->is_physical = physical;
}

static void describe(void *context, unsigned vcpu, char *text, size_t size)
{
    const struct debugger *debugger = context;
    const struct debug_vcpu *described = &debugger->vcpu[vcpu];

    (void)snprintf(text, size, "%s, %u-bit code at privilege %u, space \"%s\"",
                   debugger->state == DEBUGGER_CRASHED && debugger->crash.vcpu == vcpu ? "crashed" : "stopped",
                   described->registers.code_bits, described->registers.privilege,
                   debugger_space_name(debugger, described->space));
}

/* ---- Restarts ---- */

/* The vCPUs' new first states. */
static int refresh(struct debugger *debugger, struct error *error)
{
    for (unsigned i = 0; i < debugger->environment.vcpu_count; i++) {
        struct register_call call = {0};
        if (make_call(debugger, i, refresh_registers, &call, "a look at the registers", error) < 0)
            return -1;
        debugger->vcpu[i].has_stray_trap_flag = false;
    }
    forget_stops(debugger);
    return 0;
}

static int settle_restart(struct debugger *debugger, struct error *error)
{
    if (refresh(debugger, error) < 0)
        return -1;
    for (size_t i = 0; i < debugger->points.count; i++)
        placing_relocate(debugger, &debugger->points.items[i]);
    return 0;
}

int debugger_restart(struct debugger *debugger, struct error *error)
{
    if (debugger->environment.restart(debugger->environment.context, error) < 0)
        return -1;
    debugger->state = DEBUGGER_STOPPED;
    return settle_restart(debugger, error);
}

static int restart(void *context, struct error *error)
{
    return debugger_restart(context, error);
}

bool debugger_restarted(struct debugger *debugger)
{
    struct error error;

    /* Nobody has looked at the crash, and somebody else has the machine start again. */
    if (debugger->state == DEBUGGER_CRASHED && !debugger->is_attached)
        debugger->state = DEBUGGER_RUNNING;
    if (debugger->state != DEBUGGER_RUNNING) {
        debugger->state = DEBUGGER_STOPPED;
        (void)settle_restart(debugger, &error);
        /* A client that has been told of a stop is told of no other, but has to forget what it knows. */
        tell(debugger, &(struct debug_stop){.reason = DEBUG_STOP_INTERRUPTED});
        return false;
    }
    if (debugger->detach_wanted)
        leave_client(debugger);
    if (debugger->points.count == 0 && !debugger->is_attached)
        return true;
    if (settle_restart(debugger, &error) < 0 || placing_update_traps(debugger, &error) < 0) {
        debugger->state = DEBUGGER_STOPPED;
        struct debug_stop stop = {.reason = DEBUG_STOP_INTERRUPTED};
        (void)snprintf(stop.text, sizeof(stop.text), "%s", error.text);
        tell(debugger, &stop);
        return false;
    }
    placing_patch_all(debugger, !debugger->points_are_hidden);
    return true;
}

bool debugger_crashed(struct debugger *debugger, int vcpu, bool can_go_on, bool waits, const char *text)
{
    const bool was_running = debugger->state == DEBUGGER_RUNNING;

    if (debugger->detach_wanted)
        leave_client(debugger);
    if (!debugger->is_attached && !waits)
        return false;
    placing_patch_all(debugger, false);
    debugger->state = DEBUGGER_CRASHED;
    debugger->stop_wanted = false;
    debugger->crash_can_go_on = can_go_on;
    debugger->crash = (struct debug_stop){.reason = DEBUG_STOP_CRASHED, .vcpu = vcpu < 0 ? 0 : (unsigned)vcpu};
    (void)snprintf(debugger->crash.text, sizeof(debugger->crash.text), "%s", text);
    debugger->crash_is_told = false;
    /* A client that knows of another stop hears of this one when it goes on. */
    if (debugger->is_attached && was_running)
        tell_crash(debugger);
    return true;
}

/* ---- Its life ---- */

void debugger_hold_start(struct debugger *debugger)
{
    struct error ignored;

    debugger->state = DEBUGGER_STOPPED;
    (void)refresh(debugger, &ignored);
}

bool debugger_is_stopped(const struct debugger *debugger)
{
    return debugger->state != DEBUGGER_RUNNING;
}

bool debugger_has_crashed(const struct debugger *debugger)
{
    return debugger->state == DEBUGGER_CRASHED;
}

void debugger_hide_points(struct debugger *debugger, bool hidden)
{
    debugger->points_are_hidden = hidden;
    if (debugger->state == DEBUGGER_RUNNING)
        placing_patch_all(debugger, !hidden);
}

void debugger_set_kernel(struct debugger *debugger, const struct boot_segment *segments, size_t count)
{
    debugger->kernel_count = count < DEBUGGER_KERNEL_SEGMENTS_MAX ? count : DEBUGGER_KERNEL_SEGMENTS_MAX;
    memcpy(debugger->kernel, segments, debugger->kernel_count * sizeof(segments[0]));
}

struct debugger *debugger_create(const struct debugger_environment *environment, struct error *error)
{
    struct debugger *debugger = calloc(1, sizeof(*debugger) + environment->vcpu_count * sizeof(debugger->vcpu[0]));

    if (debugger == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    debugger->environment = *environment;
    debugger->mechanism = POINT_MECHANISM_COUNT;
    debugger->vcpu_side = (struct vcpus_debugger){
        .before_run = vcpu_side_before_run,
        .on_exit = vcpu_side_on_exit,
        .before_park = vcpu_side_before_park,
        .context = debugger,
    };
    debugger->target = (struct debug_target){
        .context = debugger,
        .vcpu_count = environment->vcpu_count,
        .attach = attach,
        .detach = detach,
        .get_registers = get_registers,
        .set_registers = set_registers,
        .get_vectors = get_vectors,
        .set_vectors = set_vectors,
        .read = read_memory,
        .write = write_memory,
        .get_physical = get_physical,
        .set_physical = set_physical,
        .insert = placing_insert,
        .remove = placing_remove,
        .resume = resume,
        .interrupt = interrupt,
        .describe = describe,
        .monitor = monitor_command,
        .restart = restart,
        .kill = kill_machine,
    };
    for (unsigned i = 0; i < environment->vcpu_count; i++)
        debugger->vcpu[i].action = DEBUG_CONTINUE;
    return debugger;
}

void debugger_destroy(struct debugger *debugger)
{
    if (debugger == NULL)
        return;
    points_free(&debugger->points);
    free(debugger->traps);
    free(debugger);
}

const struct vcpus_debugger *debugger_vcpu_side(struct debugger *debugger)
{
    return &debugger->vcpu_side;
}

void debugger_set_vcpus(struct debugger *debugger, struct vcpus *vcpus)
{
    debugger->vcpus = vcpus;
}

struct debug_target *debugger_target(struct debugger *debugger)
{
    return &debugger->target;
}
