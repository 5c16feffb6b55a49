/*
 * The debugger on the vCPUs' threads: what it does before they run and at their exits.
 */
#include "vmm/debug/pass.h"
#include "vmm/debug/side.h"
#include "vmm/debug/x86/vcpu_registers.h"

#include <asm/processor-flags.h>

static struct side side_of(void *context, unsigned index, hv_vcpuid_t id)
{
    struct debugger *debugger = context;

    return (struct side){.debugger = debugger, .vcpu = &debugger->vcpu[index], .index = index, .id = id};
}

static void end_step(const struct side *side)
{
    side_settle_step(side, &side->vcpu->step_from, &side->vcpu->step_instruction);
    side_record(side, &(struct debug_stop){.reason = DEBUG_STOP_STEPPED});
}

/* ---- Before a run ---- */

/* Whether the vCPU is to run for its step. */
static bool begin_step(const struct side *side)
{
    struct debug_vcpu *vcpu = side->vcpu;

    vcpu->step_from = vcpu->registers;
    vcpu->step_instruction = side_instruction_at(side, &vcpu->registers);
    if (vcpu_carry_out(side->id, &vcpu->step_instruction) == HV_SUCCESS) {
        side_record(side, &(struct debug_stop){.reason = DEBUG_STOP_STEPPED});
        return false;
    }
    struct point_site *patch = side_patch_at(side, &vcpu->registers, vcpu->registers.code_base + vcpu->registers.rip);
    if (patch != NULL)
        pass_patch(side, patch);
    else
        side_set_controls(side, true);
    return true;
}

bool vcpu_side_before_run(void *context, unsigned vcpu, hv_vcpuid_t id)
{
    const struct side side = side_of(context, vcpu, id);

    if (!atomic_load(&side.debugger->is_active) && !side.vcpu->is_controlled)
        return true;
    if (side.vcpu->action == DEBUG_STEP)
        return begin_step(&side);
    side_set_controls(&side, false);
    return true;
}

/* ---- Exits ---- */

/* The guest's own trap flag, or one of ours that has come back late. */
static void on_stray_step(const struct side *side)
{
    uint64_t rflags = 0;

    if (!side->vcpu->has_stray_trap_flag || hv_vcpu_read_register(side->id, HV_X86_RFLAGS, &rflags) != HV_SUCCESS) {
        (void)hvx_vcpu_reflect(side->id);
        return;
    }
    side_write_rflags(side, rflags & ~(uint64_t)X86_EFLAGS_TF);
    side->vcpu->has_stray_trap_flag = false;
    side_set_controls(side, side->vcpu->action == DEBUG_STEP);
}

/* Whether a debug register's breakpoint is at pc, which some hosts say in DR6 and some do not. */
static int register_at(const struct points *points, uint64_t pc, uint64_t dr6)
{
    for (int i = 0; i < POINT_REGISTERS; i++) {
        const struct point_register *used = &points->registers[i];
        if (!used->is_used)
            continue;
        if (point_is_breakpoint(used->kind) ? used->address == pc : (dr6 & 1ull << i) != 0)
            return i;
    }
    return -1;
}

/* One of ours; whether the client is to know. */
static bool on_register(const struct side *side, int index)
{
    const struct points *points = &side->debugger->points;
    const struct point *point = points_of_register(points, (unsigned)index);
    uint64_t rflags = 0;

    if (point == NULL)
        return false;
    if (!point->has_space || point->space == side->vcpu->space) {
        side_record_point(side, point, points->registers[index].address);
        return true;
    }
    /* Not in this space: the resume flag lets one instruction past a breakpoint (Intel SDM volume 3, 18.3.1.1). */
    if (point_is_breakpoint(point->kind) && hv_vcpu_read_register(side->id, HV_X86_RFLAGS, &rflags) == HV_SUCCESS)
        side_write_rflags(side, rflags | X86_EFLAGS_RF);
    return true;
}

/* A watchpoint says more than the step that hit it. */
void side_take_watch_registers(const struct side *side, const hvx_vcpu_exit_t *exit)
{
    const struct points *points = &side->debugger->points;

    for (int i = 0; i < POINT_REGISTERS; i++)
        if (points->registers[i].is_used && !point_is_breakpoint(points->registers[i].kind) &&
            (exit->debug.dr6 & 1ull << i) != 0)
            (void)on_register(side, i);
}

static void on_int3(const struct side *side, const hvx_vcpu_exit_t *exit)
{
    struct debug_registers registers;

    if (vcpu_registers_read(side->id, &registers) == HV_SUCCESS &&
        side_patch_at(side, &registers, exit->debug.pc) != NULL) {
        const struct point *point = points_breakpoint_at(&side->debugger->points, side->vcpu->space, exit->debug.pc);
        if (point != NULL)
            side_record_point(side, point, exit->debug.pc);
        else
            /* The same memory at another address, in another process: no hit there. */
            pass_patch(side, side_patch_at(side, &registers, exit->debug.pc));
        return;
    }
    (void)hvx_vcpu_reflect(side->id);
}

void side_on_debug(const struct side *side, const hvx_vcpu_exit_t *exit)
{
    if (exit->debug.exception != 1) {
        on_int3(side, exit);
        return;
    }
    const int index = register_at(&side->debugger->points, exit->debug.pc, exit->debug.dr6);
    const bool is_step = side_is_step_end(exit) && side->vcpu->action == DEBUG_STEP;
    if (index >= 0 && !is_step && on_register(side, index))
        return;
    if (is_step) {
        side_take_watch_registers(side, exit);
        end_step(side);
        return;
    }
    if (side_is_step_end(exit))
        on_stray_step(side);
    else
        (void)hvx_vcpu_reflect(side->id);
}

static void on_fetch_trap(const struct side *side, uint64_t gpa)
{
    struct debug_registers registers;

    if (vcpu_registers_read(side->id, &registers) != HV_SUCCESS)
        return;
    const uint64_t linear = registers.code_base + registers.rip;
    if (side->vcpu->has_stray_trap_flag && (registers.rflags & X86_EFLAGS_TF) != 0)
        side_write_rflags(side, registers.rflags & ~(uint64_t)X86_EFLAGS_TF);
    const struct point *point = points_breakpoint_at(&side->debugger->points, side->vcpu->space, linear);
    const struct debug_registers *from = &side->vcpu->step_from;
    const bool starts_step = side->vcpu->action == DEBUG_STEP && linear == from->code_base + from->rip;
    if (point != NULL && point->mechanism == POINT_BY_PAGE && !starts_step)
        side_record_point(side, point, linear);
    else
        pass_page(side, gpa);
}

/* An access of an instruction that is stepped over. */
static void on_access(const struct side *side, const hvx_vcpu_exit_t *first)
{
    hvx_vcpu_exit_t exit = *first;

    if (!side_finish_access(side, &exit)) {
        vcpus_serve_exit(side->debugger->vcpus, &exit);
        return;
    }
    if (exit.reason == HVX_EXIT_DEBUG)
        side_take_watch_registers(side, &exit);
    end_step(side);
}

/* An INT3 of ours, where that is how the host takes it; or an instruction that KVM cannot emulate on a trapped page. */
static bool on_emulation_failure(const struct side *side)
{
    struct debug_registers registers;

    if (vcpu_registers_read(side->id, &registers) != HV_SUCCESS)
        return false;
    const uint64_t linear = registers.code_base + registers.rip;
    struct point_site *patch = side_patch_at(side, &registers, linear);
    if (patch != NULL) {
        const struct point *point = points_breakpoint_at(&side->debugger->points, side->vcpu->space, linear);
        if (point != NULL)
            side_record_point(side, point, linear);
        else
            pass_patch(side, patch);
        return true;
    }
    if (side->debugger->trap_count == 0)
        return false;
    pass_all(side);
    return true;
}

bool vcpu_side_on_exit(void *context, unsigned vcpu, hv_vcpuid_t id, const hvx_vcpu_exit_t *exit)
{
    const struct side side = side_of(context, vcpu, id);

    if (!atomic_load_explicit(&side.debugger->is_active, memory_order_relaxed))
        return false;
    if (side.vcpu->action == DEBUG_STEP && side_is_access(exit)) {
        on_access(&side, exit);
        return true;
    }
    switch (exit->reason) {
    case HVX_EXIT_DEBUG:
        side_on_debug(&side, exit);
        return true;
    case HVX_EXIT_MEMORY:
        if (!exit->memory.is_trap)
            return false;
        if (exit->memory.access != HV_MEMORY_EXEC)
            return side_on_data_trap(&side, &exit->memory);
        on_fetch_trap(&side, exit->memory.gpa);
        return true;
    case HVX_EXIT_EMULATION_FAILURE:
        return on_emulation_failure(&side);
    default:
        return false;
    }
}

void vcpu_side_before_park(void *context, unsigned vcpu, hv_vcpuid_t id)
{
    const struct side side = side_of(context, vcpu, id);
    struct debug_vcpu *self = side.vcpu;

    (void)vcpu_registers_read(id, &self->registers);
    (void)hvx_vcpu_get_space(id, &self->space);
    if (self->action != DEBUG_STEP || side_clean_frame(&side, &self->step_from, &self->registers) || self->has_stop)
        return;
    if (self->registers.code_base + self->registers.rip != self->step_from.code_base + self->step_from.rip)
        self->has_stray_trap_flag = true;
}
