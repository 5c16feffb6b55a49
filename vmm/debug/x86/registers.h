/*
 * A processor's registers as a debugger sees and sets them.
 */
#ifndef VMM_DEBUG_X86_REGISTERS_H
#define VMM_DEBUG_X86_REGISTERS_H

#include <stdbool.h>
#include <stdint.h>

/* In gdb's order (its features/i386/64bit-core.xml); the same for general[]. */
enum debug_general {
    DEBUG_RAX,
    DEBUG_RBX,
    DEBUG_RCX,
    DEBUG_RDX,
    DEBUG_RSI,
    DEBUG_RDI,
    DEBUG_RBP,
    DEBUG_RSP,
    DEBUG_R8,
    DEBUG_R9,
    DEBUG_R10,
    DEBUG_R11,
    DEBUG_R12,
    DEBUG_R13,
    DEBUG_R14,
    DEBUG_R15,
    DEBUG_GENERAL_COUNT,
};

/* The same for selectors[]. */
enum debug_segment { DEBUG_CS, DEBUG_SS, DEBUG_DS, DEBUG_ES, DEBUG_FS, DEBUG_GS, DEBUG_SEGMENT_COUNT };

struct debug_registers {
    uint64_t general[DEBUG_GENERAL_COUNT];
    uint64_t rip;
    uint64_t rflags;
    uint16_t selectors[DEBUG_SEGMENT_COUNT];
    /* What is added to RIP for a linear address: 0 in 64-bit code. For looking at only. */
    uint64_t code_base;
    /* 16, 32 or 64: how CS has the processor read code. For looking at only. */
    unsigned code_bits;
    /* 0 to 3. For looking at only. */
    unsigned privilege;
    uint64_t fs_base;
    uint64_t gs_base;
    uint64_t kernel_gs_base;
    uint64_t cr0;
    uint64_t cr2;
    uint64_t cr3;
    uint64_t cr4;
    uint64_t cr8;
    uint64_t efer;
};

/*
 * x87, SSE and AVX state: the standard form of XSAVE's area (Intel SDM volume 1, 13.4): the legacy region, the header,
 * and the upper halves of the YMM registers at 576, where Intel and AMD have them.
 */
enum { DEBUG_VECTORS_SIZE = 832, DEBUG_VECTORS_YMM_HIGH = 576 };

struct debug_vectors {
    uint8_t xsave[DEBUG_VECTORS_SIZE];
    /* The guest's processor has AVX. */
    bool has_avx;
};

#endif
