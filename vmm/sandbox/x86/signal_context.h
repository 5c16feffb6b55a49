/*
 * The registers that a signal handler is given.
 */
#ifndef VMM_SANDBOX_X86_SIGNAL_CONTEXT_H
#define VMM_SANDBOX_X86_SIGNAL_CONTEXT_H

#include <linux/audit.h>
#include <stdint.h>
#include <ucontext.h>

/* What the kernel calls the system calls that the table of names is for. */
#define SIGNAL_CONTEXT_ARCHITECTURE AUDIT_ARCH_X86_64

/* The second argument of the system call that SIGSYS interrupts: in RSI (System V ABI, x86-64 supplement, A.2.1). */
static inline uint64_t signal_context_second_argument(const ucontext_t *context)
{
    return (uint64_t)context->uc_mcontext.gregs[REG_RSI];
}

#endif
