/*
 * What the parts of the debugger on a vCPU's thread share: vcpu_side.c, its hooks; pass.c, which lets it past what is
 * in the way; rounds.c, for string instructions. For that thread, while the vCPU is not in the guest.
 */
#ifndef VMM_DEBUG_SIDE_H
#define VMM_DEBUG_SIDE_H

#include "vmm/debug/engine.h"

/* One vCPU, on its thread. */
struct side {
    struct debugger *debugger;
    struct debug_vcpu *vcpu;
    unsigned index;
    hv_vcpuid_t id;
};

/* Has the guest stop because of this; of several reasons the first counts. */
void side_record(const struct side *side, const struct debug_stop *stop);
void side_record_point(const struct side *side, const struct point *point, uint64_t address);
/* What the client is to know because it would be missed otherwise. */
void side_record_trouble(const struct side *side, const char *text);

/* Sets what the processor is to do for the debugger: the points that it realises, and maybe a step. */
void side_set_controls(const struct side *side, bool single_step);
void side_write_rflags(const struct side *side, uint64_t rflags);

/* The breakpoint by INT3 whose place a linear address is, as the vCPU sees it; NULL. */
struct point_site *side_patch_at(const struct side *side, const struct debug_registers *registers, uint64_t linear);
/* The instruction at RIP, and not an INT3 of ours. */
struct instruction side_instruction_at(const struct side *side, const struct debug_registers *registers);

/* A step is done: puts right what it left in the guest, and gives the guest the trap that it has set itself. */
void side_settle_step(const struct side *side, const struct debug_registers *from,
                      const struct instruction *instruction);
/*
 * An event that came in a step has pushed flags with our trap flag, which its handler's IRET would give to the guest:
 * takes it out, if the frame is found at the stack's top; whether it is.
 */
enum { SIDE_STACK_SIZE = 1024 };
bool side_clean_frame(const struct side *side, const struct debug_registers *from, const struct debug_registers *now);
bool side_is_step_end(const hvx_vcpu_exit_t *exit);

/* A load or store: it is carried out in any case, and told of if it is watched. False: it is to fail otherwise. */
bool side_on_data_trap(const struct side *side, const hvx_exit_memory_t *access);

/* Whether an exit is an access of an instruction, which goes on once it is served. */
bool side_is_access(const hvx_vcpu_exit_t *exit);
/*
 * Serves an access, and has its instruction come to its end. KVM forgets a step in which the client is asked for
 * something: left to a run, it would end behind the next instruction. False: it has not come to its end; *exit is what
 * has come up instead.
 */
bool side_finish_access(const struct side *side, hvx_vcpu_exit_t *exit);

/* An HVX_EXIT_DEBUG. */
void side_on_debug(const struct side *side, const hvx_vcpu_exit_t *exit);
/* Tells of the watchpoints by debug register that a step has hit: they say more than the step. */
void side_take_watch_registers(const struct side *side, const hvx_vcpu_exit_t *exit);

#endif
