#include "vmm/debug/rounds.h"

#include "vmm/debug/x86/vcpu_registers.h"

#include <asm/processor-flags.h>
#include <string.h>

static const uint64_t PAGE_MASK = POINT_PAGE_SIZE - 1;

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
static bool find_repeated(const struct side *side, const struct guest_view *view, uint64_t before, uint64_t now,
                          hv_memory_flags_t access, uint64_t *ret_gpa)
{
    const struct debugger *debugger = side->debugger;
    struct walk walk;

    guest_view_walk(view, now, &walk);
    *ret_gpa = walk.gpa;
    return walk.is_mapped && (before & ~PAGE_MASK) == (now & ~PAGE_MASK) && allows(view->space, walk.gpa, access) &&
           (traps_of_page(debugger->traps, debugger->trap_count, view->space, walk.gpa & ~PAGE_MASK) &
            (HV_MEMORY_READ | HV_MEMORY_WRITE)) == 0;
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
void rounds_take(const struct side *side, const struct debug_registers *from, const struct instruction *instruction)
{
    static const hv_x86_reg_t which[] = {HV_X86_RCX, HV_X86_RDI, HV_X86_RSI};
    const bool is_move = instruction->kind == INSTRUCTION_REP_MOVS;
    const unsigned round = instruction->operand_size;
    struct debug_registers now;
    uint64_t to;
    uint64_t source = 0;

    if (vcpu_registers_read(side->id, &now) != HV_SUCCESS || now.rip != from->rip || (now.rflags & X86_EFLAGS_DF) != 0)
        return;
    const struct guest_view view = guest_view_of(&now, side->vcpu->space);
    uint64_t *general = now.general;
    uint64_t rounds = rounds_in_page(general[DEBUG_RDI], general[DEBUG_RCX], round);
    if (is_move)
        rounds = rounds_in_page(general[DEBUG_RSI], rounds, round);
    const size_t size = (size_t)rounds * round;
    if (rounds == 0 ||
        !find_repeated(side, &view, from->general[DEBUG_RDI], general[DEBUG_RDI], HV_MEMORY_WRITE, &to) ||
        (is_move &&
         !find_repeated(side, &view, from->general[DEBUG_RSI], general[DEBUG_RSI], HV_MEMORY_READ, &source)) ||
        !(is_move ? copy_rounds(side->vcpu->space, to, source, size)
                  : fill_rounds(side->vcpu->space, to, general[DEBUG_RAX], size, round)))
        return;
    const uint64_t values[] = {general[DEBUG_RCX] - rounds, general[DEBUG_RDI] + size,
                               general[DEBUG_RSI] + (is_move ? size : 0)};
    (void)hvx_vcpu_write_registers(side->id, which, values, sizeof(values) / sizeof(values[0]));
}
