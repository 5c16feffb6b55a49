/*
 * What of KVM's debugging a host honours: KVM takes any request, and where it is nested in another hypervisor, or
 * emulates the processor in software, does not keep all of them.
 */
#ifndef VMM_DEBUG_X86_PROBE_H
#define VMM_DEBUG_X86_PROBE_H

#include "memory/support/error.h"

#include <stdbool.h>

/* What becomes of an INT3 that is to exit. */
enum debug_int3 {
    /* The guest gets its exception. */
    INT3_NO,
    INT3_EXITS,
    /* KVM cannot carry it out: an emulation failure, with RIP at it. */
    INT3_FAILS,
};

/* Arrays: at privilege level 0, and at level 3. */
struct debug_host {
    /* Each step is one instruction, and is an exit. */
    bool single_step[2];
    /* Debug registers that the client sets: an instruction is about to be executed; data have been written, or read. */
    bool execute_breakpoint[2];
    bool watchpoint[2];
    enum debug_int3 int3[2];
    /* KVM can keep interrupts from a guest that is debugged: KVM_GUESTDBG_BLOCKIRQ. */
    bool holds_interrupts;
    /* Guests may have AVX. */
    bool has_avx;
};

/*
 * Tries all of it on a KVM VM that is made for it, with a vCPU and some pages, and gone afterwards. It takes
 * milliseconds. system_fd is /dev/kvm, which stays the caller's. 0, or -1 with *error: KVM refused something that every
 * KVM does. Any thread.
 */
int debug_host_probe(int system_fd, struct debug_host *host, struct error *error);

#endif
