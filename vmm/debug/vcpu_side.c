/*
 * The debugger on the vCPUs' threads: what it does before they run and at their exits.
 */
#include "vmm/debug/engine.h"

#include "vmm/debug/x86/vcpu_registers.h"

#include <asm/processor-flags.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

/* DR6 (Intel SDM volume 3, 18.2.3): a single step. */
static const uint64_t DR6_SINGLE_STEP = 1 << 14;
/* DR7 without any register: #DB is ours all the same. */
static const uint64_t CONTROL_CATCH_ALL = 0x400;

static const uint64_t PAGE_MASK = POINT_PAGE_SIZE - 1;

/* One vCPU, on its thread. */
struct side {
    struct debugger *debugger;
    struct debug_vcpu *vcpu;
    unsigned index;
    hv_vcpuid_t id;
};

static struct side side_of(void *context, unsigned index, hv_vcpuid_t id)
{
    struct debugger *debugger = context;

    return (struct side){.debugger = debugger, .vcpu = &debugger->vcpu[index], .index = index, .id = id};
}

/* ---- Stopping ---- */

/* Has the guest stop because of this; of several reasons the first counts. */
static void record(const struct side *side, const struct debug_stop *stop)
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

static void record_point(const struct side *side, const struct point *point, uint64_t address)
{
    record(side, &(struct debug_stop){.reason = point_is_breakpoint(point->kind) ? DEBUG_STOP_BREAKPOINT
                                                                                 : DEBUG_STOP_WATCHPOINT,
                                      .kind = point->kind,
                                      .address = address});
}

/* What the client is to know because it would be missed otherwise. */
static void record_trouble(const struct side *side, const char *text)
{
    struct debug_stop stop = {.reason = DEBUG_STOP_INTERRUPTED};

    (void)snprintf(stop.text, sizeof(stop.text), "%s", text);
    record(side, &stop);
}

/* ---- What the processor is to do for us ---- */

static void set_controls(const struct side *side, bool single_step)
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

static void write_rflags(const struct side *side, uint64_t rflags)
{
    (void)hv_vcpu_write_register(side->id, HV_X86_RFLAGS, rflags);
}

/* The breakpoint by INT3 whose place a linear address is, as the vCPU sees it; NULL. */
static struct point_site *patch_at(const struct side *side, const struct debug_registers *registers, uint64_t linear)
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

static struct instruction instruction_at(const struct side *side, const struct debug_registers *registers)
{
    const struct guest_view view = guest_view_of(registers, side->vcpu->space);
    const uint64_t linear = registers->code_base + registers->rip;
    uint8_t bytes[INSTRUCTION_MAX];

    const size_t size = guest_view_read(&view, linear, bytes, sizeof(bytes));
    const struct point_site *patch = patch_at(side, registers, linear);
    if (patch != NULL && size > 0)
        bytes[0] = patch->original;
    return instruction_identify(bytes, size, registers->code_bits);
}

/* ---- A single step's end ---- */

/* Takes our trap flag out of the flags that PUSHF has pushed. */
static void clean_pushed_flags(const struct side *side, const struct debug_registers *from,
                               const struct instruction *instruction)
{
    struct debug_registers now;
    struct guest_view view;
    uint8_t second_byte;

    if (instruction->kind != INSTRUCTION_PUSHF || (from->rflags & X86_EFLAGS_TF) != 0 ||
        vcpu_registers_read(side->id, &now) != HV_SUCCESS || now.rip == from->rip)
        return;
    /* In code of 16 or 32 bits SS may have a base; nobody who runs such code today has one but in real mode. */
    const uint64_t stack = now.code_bits == 64 ? now.general[DEBUG_RSP]
                           : (now.cr0 & X86_CR0_PE) == 0
                               ? ((uint64_t)now.selectors[DEBUG_SS] << 4) + (uint16_t)now.general[DEBUG_RSP]
                               : (uint32_t)now.general[DEBUG_RSP];
    view = guest_view_of(&now, side->vcpu->space);
    if (guest_view_read(&view, stack + 1, &second_byte, 1) < 1)
        return;
    second_byte &= (uint8_t) ~(X86_EFLAGS_TF >> 8);
    (void)guest_view_write(&view, stack + 1, &second_byte, 1);
}

/* A step is done: puts right what it left in the guest, and gives the guest the trap that it has set itself. */
static void settle_step(const struct side *side, const struct debug_registers *from,
                        const struct instruction *instruction)
{
    uint64_t rflags = 0;

    clean_pushed_flags(side, from, instruction);
    if ((from->rflags & X86_EFLAGS_TF) == 0)
        return;
    /* KVM has used the flag for us, and dropped it. */
    set_controls(side, false);
    if (hv_vcpu_read_register(side->id, HV_X86_RFLAGS, &rflags) == HV_SUCCESS)
        write_rflags(side, rflags | X86_EFLAGS_TF);
    (void)hvx_vcpu_reflect(side->id);
}

static void end_step(const struct side *side)
{
    settle_step(side, &side->vcpu->step_from, &side->vcpu->step_instruction);
    record(side, &(struct debug_stop){.reason = DEBUG_STOP_STEPPED});
}

/* ---- Stepping past what is in the way ---- */

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
};

enum step_result { STEP_DONE, STEP_LEFT };

static uint64_t now_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static hv_memory_flags_t trap_of(const struct debugger *debugger, hv_vm_space_t space, uint64_t page)
{
    size_t low = 0;
    size_t high = debugger->trap_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct point_trap *trap = &debugger->traps[middle];
        if (trap->space < space || (trap->space == space && trap->gpa < page))
            low = middle + 1;
        else
            high = middle;
    }
    const bool is_there =
        low < debugger->trap_count && debugger->traps[low].space == space && debugger->traps[low].gpa == page;
    return is_there ? debugger->traps[low].access : 0;
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
    return hvx_vm_set_traps(pass->space, page, POINT_PAGE_SIZE,
                            trap_of(pass->side->debugger, pass->space, page) & HV_MEMORY_WRITE) == HV_SUCCESS;
}

static void set_all(const struct pass *pass, bool in_force)
{
    const struct debugger *debugger = pass->side->debugger;
    hv_return_t result = HV_SUCCESS;

    for (size_t i = 0; i < debugger->trap_count && result == HV_SUCCESS; i++)
        if (debugger->traps[i].space == pass->space)
            result = hvx_vm_set_traps(pass->space, debugger->traps[i].gpa, POINT_PAGE_SIZE,
                                      in_force ? debugger->traps[i].access : 0);
    if (result != HV_SUCCESS && in_force)
        record_trouble(pass->side, "the host has no memory for all of the watch- and breakpoints; some were not "
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
            record_point(pass->side, point, point->address);
        else if (point->kind != DEBUG_POINT_WRITE)
            record_trouble(pass->side, "an instruction has reached a page with watched memory in a way that this host "
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
        result = hvx_vm_set_traps(pass->space, pass->pages[i], POINT_PAGE_SIZE,
                                  trap_of(pass->side->debugger, pass->space, pass->pages[i]));
    if (result != HV_SUCCESS)
        record_trouble(pass->side, "the host has no memory for all of the watch- and breakpoints; some were not in "
                                   "force; take some away");
    free(pass->digests);
}

static void on_debug(const struct side *side, const hvx_vcpu_exit_t *exit);
static void take_watch_registers(const struct side *side, const hvx_vcpu_exit_t *exit);
static bool on_data_trap(const struct side *side, const hvx_exit_memory_t *access);

/* Whether an exit is an access of an instruction, which goes on once it is served. */
static bool is_access(const hvx_vcpu_exit_t *exit)
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
static bool finish_access(const struct side *side, hvx_vcpu_exit_t *exit)
{
    enum { ACCESSES_MAX = 1 << 16 };

    for (unsigned i = 0; i < ACCESSES_MAX && is_access(exit); i++) {
        const bool is_trap = exit->reason == HVX_EXIT_MEMORY && exit->memory.is_trap;
        if (!is_trap || !on_data_trap(side, &exit->memory))
            vcpus_serve_exit(side->debugger->vcpus, exit);
        const hv_return_t result = hvx_vcpu_finish(side->id);
        hvx_vcpu_exit(side->id, exit);
        if (result == HV_SUCCESS)
            return true;
    }
    return false;
}

/* An exit of a step that is under way; whether the step goes on. */
static bool serve_pass_exit(struct pass *pass, const hvx_vcpu_exit_t *exit, uint64_t from)
{
    const struct side *side = pass->side;

    switch (exit->reason) {
    case HVX_EXIT_INTERRUPTED:
        return false;
    case HVX_EXIT_DEBUG:
        on_debug(side, exit);
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
        record_trouble(side, "the host's KVM does not let a vCPU wait in HLT; it goes on behind it");
    return true;
}

/* One instruction. */
static void take_rounds(const struct pass *pass, const struct debug_registers *from,
                        const struct instruction *instruction);

static bool is_step_end(const hvx_vcpu_exit_t *exit)
{
    return exit->reason == HVX_EXIT_DEBUG && exit->debug.exception == 1 && (exit->debug.dr6 & DR6_SINGLE_STEP) != 0;
}

static enum step_result step_once(struct pass *pass)
{
    const struct side *side = pass->side;
    const uint64_t deadline = now_nanoseconds() + PASS_STEP_NANOSECONDS;
    struct debug_registers from;
    hvx_vcpu_exit_t exit;
    bool goes_on;

    if (vcpu_registers_read(side->id, &from) != HV_SUCCESS)
        return STEP_LEFT;
    const struct instruction instruction = instruction_at(side, &from);
    if (halt(pass, &instruction))
        return STEP_LEFT;
    if (vcpu_carry_out(side->id, &instruction) == HV_SUCCESS)
        return STEP_DONE;
    set_controls(side, true);
    do {
        goes_on = vcpus_run_once(side->debugger->vcpus, deadline, &exit);
        if (is_access(&exit) ? finish_access(side, &exit) : is_step_end(&exit)) {
            settle_step(side, &from, &instruction);
            if (exit.reason == HVX_EXIT_DEBUG)
                take_watch_registers(side, &exit);
            if (side->vcpu->action != DEBUG_STEP &&
                (instruction.kind == INSTRUCTION_REP_STOS || instruction.kind == INSTRUCTION_REP_MOVS))
                take_rounds(pass, &from, &instruction);
            return STEP_DONE;
        }
    } while (serve_pass_exit(pass, &exit, from.code_base + from.rip) && goes_on);
    if (vcpu_linear_rip(side->id) != from.code_base + from.rip)
        side->vcpu->has_stray_trap_flag = true;
    return STEP_LEFT;
}

/* How many rounds stay in the page of an address, of so many. */
static uint64_t rounds_in_page(uint64_t address, uint64_t count, unsigned size)
{
    const uint64_t rounds = (POINT_PAGE_SIZE - (address & PAGE_MASK)) / size;

    return rounds < count ? rounds : count;
}

/* Whether the guest may do so there: that an access is done does not say it, for a policy may have answered it. */
static bool allows(hv_vm_space_t space, uint64_t gpa, hv_memory_flags_t access)
{
    hvx_range_t range;

    return hvx_vm_query_space(space, gpa, &range) == HV_SUCCESS && range.gpa <= gpa && (range.flags & access) == access;
}

/* Where an address of a string instruction is, if the round before has just been there and nobody watches the page. */
static bool find_repeated(const struct pass *pass, const struct guest_view *view, uint64_t before, uint64_t now,
                          hv_memory_flags_t access, uint64_t *ret_gpa)
{
    const struct debugger *debugger = pass->side->debugger;
    struct walk walk;

    guest_view_walk(view, now, &walk);
    *ret_gpa = walk.gpa;
    return walk.is_mapped && (before & ~PAGE_MASK) == (now & ~PAGE_MASK) && allows(view->space, walk.gpa, access) &&
           (trap_of(debugger, view->space, walk.gpa & ~PAGE_MASK) & (HV_MEMORY_READ | HV_MEMORY_WRITE)) == 0;
}

static bool copy_rounds(hv_vm_space_t space, uint64_t to, uint64_t from, size_t size)
{
    uint8_t bytes[POINT_PAGE_SIZE];

    /* Where they overlap each round reads what another has written. */
    if (from < to + size && to < from + size)
        return false;
    return hvx_vm_read_space(space, from, bytes, size) == HV_SUCCESS &&
           hvx_vm_write_space(space, to, bytes, size) == HV_SUCCESS;
}

static bool fill_rounds(hv_vm_space_t space, uint64_t to, uint64_t value, size_t size, unsigned round)
{
    uint8_t bytes[POINT_PAGE_SIZE];

    for (size_t i = 0; i < size; i += round)
        memcpy(bytes + i, &value, round);
    return hvx_vm_write_space(space, to, bytes, size) == HV_SUCCESS;
}

/*
 * A string instruction has done one round, and may have millions left, each a step of its own: does those that stay in
 * the page of that round.
 */
static void take_rounds(const struct pass *pass, const struct debug_registers *from,
                        const struct instruction *instruction)
{
    static const hv_x86_reg_t which[] = {HV_X86_RCX, HV_X86_RDI, HV_X86_RSI};
    const struct side *side = pass->side;
    const bool is_move = instruction->kind == INSTRUCTION_REP_MOVS;
    const unsigned round = instruction->operand_size;
    struct debug_registers now;
    uint64_t to;
    uint64_t source = 0;

    if (vcpu_registers_read(side->id, &now) != HV_SUCCESS || now.rip != from->rip || (now.rflags & X86_EFLAGS_DF) != 0)
        return;
    const struct guest_view view = guest_view_of(&now, pass->space);
    uint64_t *general = now.general;
    uint64_t rounds = rounds_in_page(general[DEBUG_RDI], general[DEBUG_RCX], round);
    if (is_move)
        rounds = rounds_in_page(general[DEBUG_RSI], rounds, round);
    const size_t size = (size_t)rounds * round;
    if (rounds == 0 ||
        !find_repeated(pass, &view, from->general[DEBUG_RDI], general[DEBUG_RDI], HV_MEMORY_WRITE, &to) ||
        (is_move &&
         !find_repeated(pass, &view, from->general[DEBUG_RSI], general[DEBUG_RSI], HV_MEMORY_READ, &source)) ||
        !(is_move ? copy_rounds(pass->space, to, source, size)
                  : fill_rounds(pass->space, to, general[DEBUG_RAX], size, round)))
        return;
    const uint64_t values[] = {general[DEBUG_RCX] - rounds, general[DEBUG_RDI] + size,
                               general[DEBUG_RSI] + (is_move ? size : 0)};
    (void)hvx_vcpu_write_registers(side->id, which, values, sizeof(values) / sizeof(values[0]));
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
    if (side->vcpu->action == DEBUG_STEP) {
        record(side, &(struct debug_stop){.reason = DEBUG_STOP_STEPPED});
        return false;
    }
    const uint64_t linear = registers.code_base + registers.rip;
    const struct point *point = points_breakpoint_at(&side->debugger->points, pass->space, linear);
    if (point != NULL && point->mechanism == POINT_BY_PAGE) {
        record_point(side, point, linear);
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
    set_controls(pass->side, pass->side->vcpu->action == DEBUG_STEP);
    if (pass->halts)
        vcpus_serve_exit(vcpus, &(hvx_vcpu_exit_t){.reason = HVX_EXIT_HALT});
}

static struct pass begin_pass(const struct side *side)
{
    vcpus_begin_exclusive(side->debugger->vcpus);
    return (struct pass){.side = side, .space = side->vcpu->space};
}

static void pass_page(const struct side *side, uint64_t gpa)
{
    struct pass pass = begin_pass(side);

    if (!lift_page(&pass, gpa))
        record_trouble(side, "the host has no memory to let a vCPU past a breakpoint's page; take some points away");
    take_pass(&pass);
}

static void pass_all(const struct side *side)
{
    struct pass pass = begin_pass(side);

    lift_all(&pass);
    take_pass(&pass);
}

static void pass_patch(const struct side *side, struct point_site *patch)
{
    struct pass pass = begin_pass(side);

    pass.patch = patch;
    set_patch(&pass, false);
    take_pass(&pass);
}

/* ---- Before a run ---- */

/* Whether the vCPU is to run for its step. */
static bool begin_step(const struct side *side)
{
    struct debug_vcpu *vcpu = side->vcpu;

    vcpu->step_from = vcpu->registers;
    vcpu->step_instruction = instruction_at(side, &vcpu->registers);
    if (vcpu_carry_out(side->id, &vcpu->step_instruction) == HV_SUCCESS) {
        record(side, &(struct debug_stop){.reason = DEBUG_STOP_STEPPED});
        return false;
    }
    struct point_site *patch = patch_at(side, &vcpu->registers, vcpu->registers.code_base + vcpu->registers.rip);
    if (patch != NULL)
        pass_patch(side, patch);
    else
        set_controls(side, true);
    return true;
}

bool vcpu_side_before_run(void *context, unsigned vcpu, hv_vcpuid_t id)
{
    const struct side side = side_of(context, vcpu, id);

    if (!atomic_load(&side.debugger->is_active) && !side.vcpu->is_controlled)
        return true;
    if (side.vcpu->action == DEBUG_STEP)
        return begin_step(&side);
    set_controls(&side, false);
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
    write_rflags(side, rflags & ~(uint64_t)X86_EFLAGS_TF);
    side->vcpu->has_stray_trap_flag = false;
    set_controls(side, side->vcpu->action == DEBUG_STEP);
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
        record_point(side, point, points->registers[index].address);
        return true;
    }
    /* Not in this space: the resume flag lets one instruction past a breakpoint (Intel SDM volume 3, 18.3.1.1). */
    if (point_is_breakpoint(point->kind) && hv_vcpu_read_register(side->id, HV_X86_RFLAGS, &rflags) == HV_SUCCESS)
        write_rflags(side, rflags | X86_EFLAGS_RF);
    return true;
}

/* A watchpoint says more than the step that hit it. */
static void take_watch_registers(const struct side *side, const hvx_vcpu_exit_t *exit)
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

    if (vcpu_registers_read(side->id, &registers) == HV_SUCCESS && patch_at(side, &registers, exit->debug.pc) != NULL) {
        const struct point *point = points_breakpoint_at(&side->debugger->points, side->vcpu->space, exit->debug.pc);
        if (point != NULL)
            record_point(side, point, exit->debug.pc);
        else
            /* The same memory at another address, in another process: no hit there. */
            pass_patch(side, patch_at(side, &registers, exit->debug.pc));
        return;
    }
    (void)hvx_vcpu_reflect(side->id);
}

static void on_debug(const struct side *side, const hvx_vcpu_exit_t *exit)
{
    if (exit->debug.exception != 1) {
        on_int3(side, exit);
        return;
    }
    const int index = register_at(&side->debugger->points, exit->debug.pc, exit->debug.dr6);
    const bool is_step = (exit->debug.dr6 & DR6_SINGLE_STEP) != 0 && side->vcpu->action == DEBUG_STEP;
    if (index >= 0 && !is_step && on_register(side, index))
        return;
    if (is_step) {
        take_watch_registers(side, exit);
        end_step(side);
        return;
    }
    if ((exit->debug.dr6 & DR6_SINGLE_STEP) != 0)
        on_stray_step(side);
    else
        (void)hvx_vcpu_reflect(side->id);
}

/* A load or store: it is carried out in any case, and told of if it is watched. False: it is to fail otherwise. */
static bool on_data_trap(const struct side *side, const hvx_exit_memory_t *access)
{
    uint64_t linear = 0;
    const struct point *point =
        points_watched(&side->debugger->points, access->space, access->gpa, access->length, access->access, &linear);

    if (hvx_vcpu_allow(side->id) != HV_SUCCESS)
        return false;
    if (point != NULL)
        record_point(side, point, linear);
    return true;
}

static void on_fetch_trap(const struct side *side, uint64_t gpa)
{
    struct debug_registers registers;

    if (vcpu_registers_read(side->id, &registers) != HV_SUCCESS)
        return;
    const uint64_t linear = registers.code_base + registers.rip;
    if (side->vcpu->has_stray_trap_flag && (registers.rflags & X86_EFLAGS_TF) != 0)
        write_rflags(side, registers.rflags & ~(uint64_t)X86_EFLAGS_TF);
    const struct point *point = points_breakpoint_at(&side->debugger->points, side->vcpu->space, linear);
    const struct debug_registers *from = &side->vcpu->step_from;
    const bool starts_step = side->vcpu->action == DEBUG_STEP && linear == from->code_base + from->rip;
    if (point != NULL && point->mechanism == POINT_BY_PAGE && !starts_step)
        record_point(side, point, linear);
    else
        pass_page(side, gpa);
}

/* An access of an instruction that is stepped over. */
static void on_access(const struct side *side, const hvx_vcpu_exit_t *first)
{
    hvx_vcpu_exit_t exit = *first;

    if (!finish_access(side, &exit)) {
        vcpus_serve_exit(side->debugger->vcpus, &exit);
        return;
    }
    if (exit.reason == HVX_EXIT_DEBUG)
        take_watch_registers(side, &exit);
    end_step(side);
}

/* An INT3 of ours, where that is how the host takes it; or an instruction that KVM cannot emulate on a trapped page. */
static bool on_emulation_failure(const struct side *side)
{
    struct debug_registers registers;

    if (vcpu_registers_read(side->id, &registers) != HV_SUCCESS)
        return false;
    const uint64_t linear = registers.code_base + registers.rip;
    struct point_site *patch = patch_at(side, &registers, linear);
    if (patch != NULL) {
        const struct point *point = points_breakpoint_at(&side->debugger->points, side->vcpu->space, linear);
        if (point != NULL)
            record_point(side, point, linear);
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
    if (side.vcpu->action == DEBUG_STEP && is_access(exit)) {
        on_access(&side, exit);
        return true;
    }
    switch (exit->reason) {
    case HVX_EXIT_DEBUG:
        on_debug(&side, exit);
        return true;
    case HVX_EXIT_MEMORY:
        if (!exit->memory.is_trap)
            return false;
        if (exit->memory.access != HV_MEMORY_EXEC)
            return on_data_trap(&side, &exit->memory);
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
    if (self->action == DEBUG_STEP && !self->has_stop &&
        self->registers.code_base + self->registers.rip != self->step_from.code_base + self->step_from.rip)
        self->has_stray_trap_flag = true;
}
