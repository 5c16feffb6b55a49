#include "vmm/debug/pass.h"

#include "vmm/debug/rounds.h"
#include "vmm/debug/x86/vcpu_registers.h"

#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>

static const uint64_t PAGE_MASK = POINT_PAGE_SIZE - 1;

enum { PASS_PAGES_MAX = 8, PASS_STEPS_MAX = 256 };

/* No instruction takes this long; an exception's handler may, and others are not to wait for it. */
static const uint64_t PASS_STEP_NANOSECONDS = 100000000;

/*
 * A vCPU goes past pages whose traps are not for what it does, or an INT3 of ours, alone in the guest: traps and INT3
 * are not in force meanwhile.
 */
struct pass {
    const struct side *side;
    hv_vm_space_t space;
    uint64_t pages[PASS_PAGES_MAX];
    unsigned page_count;
    /* All traps of the space are lifted, because there was no telling which was in the way. */
    bool lifted_all;
    uint64_t *digests;
    struct point_site *patch;
    /* The last step was a HLT: the vCPU is to wait, once others may enter the guest. */
    bool halts;
    /* Before the last step. */
    struct debug_registers from;
};

enum step_result { STEP_DONE, STEP_LEFT };

static uint64_t now_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static hv_memory_flags_t trap_of(const struct pass *pass, uint64_t page)
{
    const struct debugger *debugger = pass->side->debugger;

    return traps_of_page(debugger->traps, debugger->trap_count, pass->space, page);
}

/*
 * Has a page's code be executed. Writes to it are still trapped if they are watched; reads are not, because what cannot
 * be read cannot be fetched. False: there is no room to remember it.
 */
static bool lift_page(struct pass *pass, uint64_t gpa)
{
    const uint64_t page = gpa & ~PAGE_MASK;

    if (pass->page_count == PASS_PAGES_MAX)
        return false;
    pass->pages[pass->page_count++] = page;
    return hvx_vm_set_traps(pass->space, page, POINT_PAGE_SIZE, trap_of(pass, page) & HV_MEMORY_WRITE) == HV_SUCCESS;
}

static void set_all(const struct pass *pass, bool in_force)
{
    const struct debugger *debugger = pass->side->debugger;
    const size_t from = traps_find(debugger->traps, debugger->trap_count, pass->space, 0);
    size_t end = from;

    while (end < debugger->trap_count && debugger->traps[end].space == pass->space)
        end++;
    if (!traps_set(debugger->traps + from, end - from, in_force) && in_force)
        side_record_trouble(pass->side, "the host has no memory for all of the watch- and breakpoints; some were not "
                                        "in force; take some away");
}

/* What the instruction has written over itself stays; the INT3 is then gone, as where the guest writes over that. */
static void set_patch(const struct pass *pass, bool in_force)
{
    const uint8_t before = in_force ? pass->patch->original : 0xcc;
    const uint8_t after = in_force ? 0xcc : pass->patch->original;
    uint8_t byte;

    if (hvx_vm_read_space(pass->patch->space, pass->patch->gpa, &byte, 1) == HV_SUCCESS && byte == before)
        (void)hvx_vm_write_space(pass->patch->space, pass->patch->gpa, &after, 1);
}

/* What a watchpoint's memory holds, in a number: FNV-1a. */
static uint64_t digest_of(const struct point *point)
{
    uint64_t digest = 0xcbf29ce484222325;
    uint8_t bytes[POINT_PAGE_SIZE];

    for (size_t i = 0; i < point->site_count; i++) {
        const struct point_site *site = &point->sites[i];
        if (hvx_vm_read_space(site->space, site->gpa, bytes, site->size) != HV_SUCCESS)
            continue;
        for (size_t j = 0; j < site->size; j++)
            digest = (digest ^ bytes[j]) * 0x100000001b3;
    }
    return digest;
}

static void lift_all(struct pass *pass)
{
    const struct points *points = &pass->side->debugger->points;

    pass->digests = calloc(points->count + 1, sizeof(*pass->digests));
    for (size_t i = 0; pass->digests != NULL && i < points->count; i++)
        pass->digests[i] = digest_of(&points->items[i]);
    set_all(pass, false);
    pass->lifted_all = true;
}

static bool is_watched_in(const struct point *point, hv_vm_space_t space)
{
    bool is_there = false;

    for (size_t i = 0; i < point->site_count && !is_there; i++)
        is_there = point->sites[i].space == space;
    return is_there && point->mechanism == POINT_BY_PAGE && !point_is_breakpoint(point->kind);
}

/* After an instruction that was carried out with no trap in force: what it has hit, as far as can be told. */
static void look_for_changes(const struct pass *pass)
{
    const struct points *points = &pass->side->debugger->points;

    for (size_t i = 0; i < points->count; i++) {
        const struct point *point = &points->items[i];
        if (!is_watched_in(point, pass->space))
            continue;
        if (pass->digests == NULL || digest_of(point) != pass->digests[i])
            side_record_point(pass->side, point, point->address);
        else if (point->kind != DEBUG_POINT_WRITE)
            side_record_trouble(pass->side,
                                "an instruction has reached a page with watched memory in a way that this host "
                                "cannot tell more of; it may have read what is watched");
    }
}

static void restore(struct pass *pass)
{
    hv_return_t result = HV_SUCCESS;

    if (pass->patch != NULL)
        set_patch(pass, true);
    if (pass->lifted_all) {
        look_for_changes(pass);
        set_all(pass, true);
    }
    for (unsigned i = 0; i < pass->page_count && result == HV_SUCCESS && !pass->lifted_all; i++)
        result = hvx_vm_set_traps(pass->space, pass->pages[i], POINT_PAGE_SIZE, trap_of(pass, pass->pages[i]));
    if (result != HV_SUCCESS)
        side_record_trouble(pass->side,
                            "the host has no memory for all of the watch- and breakpoints; some were not in "
                            "force; take some away");
    free(pass->digests);
}

/* An exit of a step that is under way; whether the step goes on. */
static bool serve_pass_exit(struct pass *pass, const hvx_vcpu_exit_t *exit, uint64_t from)
{
    const struct side *side = pass->side;

    switch (exit->reason) {
    case HVX_EXIT_INTERRUPTED:
        return false;
    case HVX_EXIT_DEBUG:
        side_on_debug(side, exit);
        return false;
    case HVX_EXIT_MEMORY:
        if (exit->memory.is_trap && exit->memory.access == HV_MEMORY_EXEC)
            /* Of the next page, which the instruction reaches into; or of an exception's handler, which is no step. */
            return vcpu_linear_rip(side->id) == from && lift_page(pass, exit->memory.gpa);
        vcpus_serve_exit(side->debugger->vcpus, exit);
        return true;
    case HVX_EXIT_EMULATION_FAILURE:
        if (!pass->lifted_all && side->debugger->trap_count > 0) {
            lift_all(pass);
            return true;
        }
        vcpus_serve_exit(side->debugger->vcpus, exit);
        return false;
    default:
        vcpus_serve_exit(side->debugger->vcpus, exit);
        return true;
    }
}

/*
 * HLT on the page of a breakpoint: the vCPU waits behind it, outside the pass, as KVM has it wait, or in a space
 * without interrupt controllers, where HLT is an exit, as vcpus.c does. False: it is no HLT that waits.
 */
static bool halt(struct pass *pass, const struct instruction *instruction)
{
    const struct side *side = pass->side;
    struct kvm_mp_state halted = {.mp_state = KVM_MP_STATE_HALTED};
    int fd;

    if (instruction->kind != INSTRUCTION_HLT || side->vcpu->action == DEBUG_STEP ||
        vcpu_carry_out(side->id, instruction) != HV_SUCCESS)
        return false;
    pass->halts = side->vcpu->space != HV_VM_SPACE_DEFAULT;
    if (!pass->halts && (hvx_vcpu_kvm_fd(side->id, &fd) != HV_SUCCESS || ioctl(fd, KVM_SET_MP_STATE, &halted) < 0))
        side_record_trouble(side, "the host's KVM does not let a vCPU wait in HLT; it goes on behind it");
    return true;
}

/* One instruction. */
static enum step_result step_once(struct pass *pass)
{
    const struct side *side = pass->side;
    const uint64_t deadline = now_nanoseconds() + PASS_STEP_NANOSECONDS;
    struct debug_registers *from = &pass->from;
    hvx_vcpu_exit_t exit;
    bool goes_on;

    if (vcpu_registers_read(side->id, from) != HV_SUCCESS)
        return STEP_LEFT;
    const struct instruction instruction = side_instruction_at(side, from);
    if (halt(pass, &instruction))
        return STEP_LEFT;
    if (vcpu_carry_out(side->id, &instruction) == HV_SUCCESS)
        return STEP_DONE;
    side_set_controls(side, true);
    do {
        goes_on = vcpus_run_once(side->debugger->vcpus, deadline, &exit);
        if (side_is_access(&exit) ? side_finish_access(side, &exit) : side_is_step_end(&exit)) {
            side_settle_step(side, from, &instruction);
            if (exit.reason == HVX_EXIT_DEBUG)
                side_take_watch_registers(side, &exit);
            if (side->vcpu->action != DEBUG_STEP &&
                (instruction.kind == INSTRUCTION_REP_STOS || instruction.kind == INSTRUCTION_REP_MOVS))
                rounds_take(side, from, &instruction);
            return STEP_DONE;
        }
    } while (serve_pass_exit(pass, &exit, from->code_base + from->rip) && goes_on);
    if (vcpu_linear_rip(side->id) != from->code_base + from->rip)
        side->vcpu->has_stray_trap_flag = true;
    return STEP_LEFT;
}

/* Whether RIP is still in one of the lifted pages, where every instruction has to be stepped. */
static bool is_in_lifted_page(const struct pass *pass, const struct debug_registers *registers)
{
    const struct guest_view view = guest_view_of(registers, pass->space);
    struct walk walk;
    bool is_in = false;

    guest_view_walk(&view, registers->code_base + registers->rip, &walk);
    for (unsigned i = 0; i < pass->page_count && walk.is_mapped && !is_in; i++)
        is_in = pass->pages[i] == (walk.gpa & ~PAGE_MASK);
    return is_in;
}

/* Whether the vCPU, after a step, is to take another one in the same pass. */
static bool goes_on_in_pass(const struct pass *pass)
{
    const struct side *side = pass->side;
    struct debug_registers registers;

    if (side->vcpu->has_stop || vcpu_registers_read(side->id, &registers) != HV_SUCCESS)
        return false;
    (void)side_clean_frame(side, &pass->from, &registers);
    if (side->vcpu->action == DEBUG_STEP) {
        side_record(side, &(struct debug_stop){.reason = DEBUG_STOP_STEPPED});
        return false;
    }
    const uint64_t linear = registers.code_base + registers.rip;
    const struct point *point = points_breakpoint_at(&side->debugger->points, pass->space, linear);
    if (point != NULL && point->mechanism == POINT_BY_PAGE) {
        side_record_point(side, point, linear);
        return false;
    }
    return pass->patch == NULL && !pass->lifted_all && is_in_lifted_page(pass, &registers);
}

/* Takes steps, with what is in the way lifted. After some it lets others, and interrupts, have their turn. */
static void take_pass(struct pass *pass)
{
    struct vcpus *vcpus = pass->side->debugger->vcpus;

    for (unsigned i = 0;
         i < PASS_STEPS_MAX && step_once(pass) == STEP_DONE && goes_on_in_pass(pass) && vcpus_are_to_run(vcpus); i++)
        continue;
    restore(pass);
    vcpus_end_exclusive(vcpus);
    side_set_controls(pass->side, pass->side->vcpu->action == DEBUG_STEP);
    if (pass->halts)
        vcpus_serve_exit(vcpus, &(hvx_vcpu_exit_t){.reason = HVX_EXIT_HALT});
}

static struct pass begin_pass(const struct side *side)
{
    vcpus_begin_exclusive(side->debugger->vcpus);
    return (struct pass){.side = side, .space = side->vcpu->space};
}

void pass_page(const struct side *side, uint64_t gpa)
{
    struct pass pass = begin_pass(side);

    if (!lift_page(&pass, gpa))
        side_record_trouble(side,
                            "the host has no memory to let a vCPU past a breakpoint's page; take some points away");
    take_pass(&pass);
}

void pass_all(const struct side *side)
{
    struct pass pass = begin_pass(side);

    lift_all(&pass);
    take_pass(&pass);
}

void pass_patch(const struct side *side, struct point_site *patch)
{
    struct pass pass = begin_pass(side);

    pass.patch = patch;
    set_patch(&pass, false);
    take_pass(&pass);
}
