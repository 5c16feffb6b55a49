/*
 * What the parts of the debugger on a vCPU's thread share.
 */
#include "vmm/debug/side.h"

#include "vmm/debug/x86/frame.h"
#include "vmm/debug/x86/vcpu_registers.h"

#include <asm/processor-flags.h>
#include <stdio.h>

/* DR6 (Intel SDM volume 3, 18.2.3): a single step. */
static const uint64_t DR6_SINGLE_STEP = 1 << 14;
/* DR7 without any register: #DB is ours all the same. */
static const uint64_t CONTROL_CATCH_ALL = 0x400;

/* ---- Stopping ---- */

/* Has the guest stop because of this; of several reasons the first counts. */
void side_record(const struct side *side, const struct debug_stop *stop)
{
    struct debugger *debugger = side->debugger;

    if (!side->vcpu->has_stop) {
        side->vcpu->stop = *stop;
        side->vcpu->stop.vcpu = side->index;
        side->vcpu->has_stop = true;
    }
    vcpus_request_park(debugger->vcpus, 0);
    debugger->environment.notify(debugger->environment.context);
}

void side_record_point(const struct side *side, const struct point *point, uint64_t address)
{
    side_record(side, &(struct debug_stop){.reason = point_is_breakpoint(point->kind) ? DEBUG_STOP_BREAKPOINT
                                                                                      : DEBUG_STOP_WATCHPOINT,
                                           .kind = point->kind,
                                           .address = address});
}

/* What the client is to know because it would be missed otherwise. */
void side_record_trouble(const struct side *side, const char *text)
{
    struct debug_stop stop = {.reason = DEBUG_STOP_INTERRUPTED};

    (void)snprintf(stop.text, sizeof(stop.text), "%s", text);
    side_record(side, &stop);
}

/* ---- What the processor is to do for us ---- */

void side_set_controls(const struct side *side, bool single_step)
{
    const struct points *points = &side->debugger->points;
    hvx_vcpu_debug_t debug = {
        .single_step = single_step,
        .hold_interrupts = single_step && side->debugger->environment.host.holds_interrupts,
        .catch_int3 = side->debugger->patch_count > 0,
        .control = points_control(points),
    };

    for (unsigned i = 0; i < POINT_REGISTERS; i++)
        debug.breakpoints[i] = points->registers[i].address;
    if (side->vcpu->has_stray_trap_flag && debug.control == 0)
        debug.control = CONTROL_CATCH_ALL;
    const bool is_wanted = single_step || debug.catch_int3 || debug.control != 0;
    if (is_wanted || side->vcpu->is_controlled)
        (void)hvx_vcpu_set_debug(side->id, is_wanted ? &debug : NULL);
    side->vcpu->is_controlled = is_wanted;
}

void side_write_rflags(const struct side *side, uint64_t rflags)
{
    (void)hv_vcpu_write_register(side->id, HV_X86_RFLAGS, rflags);
}

/* The breakpoint by INT3 whose place a linear address is, as the vCPU sees it; NULL. */
struct point_site *side_patch_at(const struct side *side, const struct debug_registers *registers, uint64_t linear)
{
    const struct points *points = &side->debugger->points;
    const struct guest_view view = guest_view_of(registers, side->vcpu->space);
    struct walk walk;

    if (side->debugger->patch_count == 0)
        return NULL;
    guest_view_walk(&view, linear, &walk);
    for (size_t i = 0; walk.is_mapped && i < points->count; i++) {
        for (size_t j = 0; j < points->items[i].site_count; j++) {
            struct point_site *site = &points->items[i].sites[j];
            if (site->is_patched && site->space == view.space && site->gpa == walk.gpa)
                return site;
        }
    }
    return NULL;
}

struct instruction side_instruction_at(const struct side *side, const struct debug_registers *registers)
{
    const struct guest_view view = guest_view_of(registers, side->vcpu->space);
    const uint64_t linear = registers->code_base + registers->rip;
    uint8_t bytes[INSTRUCTION_MAX];

    const size_t size = guest_view_read(&view, linear, bytes, sizeof(bytes));
    const struct point_site *patch = side_patch_at(side, registers, linear);
    if (patch != NULL && size > 0)
        bytes[0] = patch->original;
    return instruction_identify(bytes, size, registers->code_bits);
}

/* ---- A single step's end ---- */

/* In code of 16 or 32 bits SS may have a base; nobody who runs such code today has one but in real mode. */
static uint64_t stack_of(const struct debug_registers *registers)
{
    const uint64_t pointer = registers->general[DEBUG_RSP];

    if (registers->code_bits == 64)
        return pointer;
    return (registers->cr0 & X86_CR0_PE) == 0 ? ((uint64_t)registers->selectors[DEBUG_SS] << 4) + (uint16_t)pointer
                                              : (uint32_t)pointer;
}

/* Takes the trap flag out of flags that have been pushed. */
static void clear_trap_flag(const struct guest_view *view, uint64_t flags)
{
    uint8_t second_byte;

    if (guest_view_read(view, flags + 1, &second_byte, 1) < 1)
        return;
    second_byte &= (uint8_t) ~(X86_EFLAGS_TF >> 8);
    (void)guest_view_write(view, flags + 1, &second_byte, 1);
}

bool side_clean_frame(const struct side *side, const struct debug_registers *from, const struct debug_registers *now)
{
    const struct guest_view view = guest_view_of(now, side->vcpu->space);
    const uint64_t stack = stack_of(now);
    uint8_t bytes[SIDE_STACK_SIZE];

    if ((from->rflags & X86_EFLAGS_TF) != 0 || now->general[DEBUG_RSP] == from->general[DEBUG_RSP])
        return false;
    const size_t size = guest_view_read(&view, stack, bytes, sizeof(bytes));
    const size_t flags = frame_find_trap_flag(bytes, size, now->code_bits, from);
    if (flags != FRAME_NONE)
        clear_trap_flag(&view, stack + flags);
    return flags != FRAME_NONE;
}

/* Takes our trap flag out of the flags that PUSHF has pushed. */
static void clean_pushed_flags(const struct side *side, const struct debug_registers *from,
                               const struct instruction *instruction)
{
    struct debug_registers now;

    if (instruction->kind != INSTRUCTION_PUSHF || (from->rflags & X86_EFLAGS_TF) != 0 ||
        vcpu_registers_read(side->id, &now) != HV_SUCCESS || now.rip == from->rip)
        return;
    const struct guest_view view = guest_view_of(&now, side->vcpu->space);
    clear_trap_flag(&view, stack_of(&now));
}

/* A step is done: puts right what it left in the guest, and gives the guest the trap that it has set itself. */
void side_settle_step(const struct side *side, const struct debug_registers *from,
                      const struct instruction *instruction)
{
    uint64_t rflags = 0;

    clean_pushed_flags(side, from, instruction);
    if ((from->rflags & X86_EFLAGS_TF) == 0)
        return;
    /* KVM has used the flag for us, and dropped it. */
    side_set_controls(side, false);
    if (hv_vcpu_read_register(side->id, HV_X86_RFLAGS, &rflags) == HV_SUCCESS)
        side_write_rflags(side, rflags | X86_EFLAGS_TF);
    (void)hvx_vcpu_reflect(side->id);
}

bool side_is_step_end(const hvx_vcpu_exit_t *exit)
{
    return exit->reason == HVX_EXIT_DEBUG && exit->debug.exception == 1 && (exit->debug.dr6 & DR6_SINGLE_STEP) != 0;
}

/* ---- Accesses that are trapped ---- */

/* A load or store: it is carried out in any case, and told of if it is watched. False: it is to fail otherwise. */
bool side_on_data_trap(const struct side *side, const hvx_exit_memory_t *access)
{
    uint64_t linear = 0;
    const struct point *point =
        points_watched(&side->debugger->points, access->space, access->gpa, access->length, access->access, &linear);

    if (hvx_vcpu_allow(side->id) != HV_SUCCESS)
        return false;
    if (point != NULL)
        side_record_point(side, point, linear);
    return true;
}

/* Whether an exit is an access of an instruction, which goes on once it is served. */
bool side_is_access(const hvx_vcpu_exit_t *exit)
{
    if (exit->reason == HVX_EXIT_PORT)
        return true;
    return exit->reason == HVX_EXIT_MEMORY && exit->memory.access != HV_MEMORY_EXEC &&
           (exit->memory.is_trap ||
            (exit->memory.policy != HVX_POLICY_STOP && exit->memory.space == HV_VM_SPACE_DEFAULT));
}

/*
 * Serves an access, and has its instruction come to its end. KVM forgets a step in which the client is asked for
 * something: left to a run, it would end behind the next instruction. False: it has not come to its end; *exit is what
 * has come up instead.
 */
bool side_finish_access(const struct side *side, hvx_vcpu_exit_t *exit)
{
    enum { ACCESSES_MAX = 1 << 16 };

    for (unsigned i = 0; i < ACCESSES_MAX && side_is_access(exit); i++) {
        const bool is_trap = exit->reason == HVX_EXIT_MEMORY && exit->memory.is_trap;
        if (!is_trap || !side_on_data_trap(side, &exit->memory))
            vcpus_serve_exit(side->debugger->vcpus, exit);
        const hv_return_t result = hvx_vcpu_finish(side->id);
        hvx_vcpu_exit(side->id, exit);
        if (result == HV_SUCCESS)
            return true;
    }
    return false;
}
