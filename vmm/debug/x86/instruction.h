/*
 * Which instructions a processor's single step does not stop behind, or leaves a trace of in the guest.
 */
#ifndef VMM_DEBUG_X86_INSTRUCTION_H
#define VMM_DEBUG_X86_INSTRUCTION_H

#include <stddef.h>
#include <stdint.h>

/* The longest instruction: Intel SDM volume 2, 2.3.11. */
enum { INSTRUCTION_MAX = 15 };

enum instruction_kind {
    /* The processor's trap flag is right for it. */
    INSTRUCTION_PLAIN,
    /* It would wait, and with interrupts held for ever. */
    INSTRUCTION_HLT,
    /* They take RFLAGS, and the trap flag with it, from elsewhere: the step would not end behind them. */
    INSTRUCTION_SYSCALL,
    INSTRUCTION_SYSRET,
    /* The flags that it pushes have the trap flag of the step. */
    INSTRUCTION_PUSHF,
    /* REP STOS and REP MOVS of 64-bit code, without other prefixes: a step is one round of maybe millions. */
    INSTRUCTION_REP_STOS,
    INSTRUCTION_REP_MOVS,
};

struct instruction {
    enum instruction_kind kind;
    /* Bytes; 0 for INSTRUCTION_PLAIN, whose length nobody needs. */
    unsigned length;
    /* Of PUSHF's push: 2, 4 or 8 bytes. Of SYSRET: 8 if it returns to 64-bit code, else 4. Of REP: bytes a round. */
    unsigned operand_size;
};

/* Looks at the first size bytes of an instruction, in code of 16, 32 or 64 bits (Intel SDM volume 2, 2.1 and 2.2). */
struct instruction instruction_identify(const uint8_t *bytes, size_t size, unsigned code_bits);

#endif
