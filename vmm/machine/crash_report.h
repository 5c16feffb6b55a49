/*
 * Where a vCPU was when its guest crashed: registers, the bytes of the instruction, and where they lie.
 */
#ifndef VMM_MACHINE_CRASH_REPORT_H
#define VMM_MACHINE_CRASH_REPORT_H

#include <Hypervisor/hvx.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct crash_report {
    bool valid;
    uint64_t registers[HV_X86_REGISTERS_MAX];
    uint64_t efer;
    /* The guest-physical address of RIP; valid where the guest's page tables give one. */
    bool rip_mapped;
    uint64_t rip_gpa;
    /* The range it is in; an empty name and size 0 where there is none. */
    hvx_range_t range;
    uint8_t instruction[16];
    uint32_t instruction_size;
};

/* Looks at the calling thread's vCPU. What cannot be read stays 0. */
void crash_report_capture(struct crash_report *report, hv_vcpuid_t vcpu);

/* Writes it for people, each line ended by newline (which is CR LF on a raw terminal). */
void crash_report_print(const struct crash_report *report, unsigned vcpu, const char *newline, FILE *out);

#endif
