/*
 * Features of a processor by the names that Linux gives them in /proc/cpuinfo. Those that it does not show there have
 * its constant's name (X86_FEATURE_*) in lower case, and so have KVM's paravirtual ones (KVM_FEATURE_*), after "kvm_".
 */
#ifndef VMM_MACHINE_X86_CPU_FEATURES_H
#define VMM_MACHINE_X86_CPU_FEATURES_H

#include <stddef.h>
#include <stdint.h>

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* Longest name and its NUL. Names are kept in place: the table needs no relocation. */
#define CPU_FEATURE_NAME_SIZE 20u

struct cpu_feature {
    char name[CPU_FEATURE_NAME_SIZE];
    /* enum cpuid_register */
    uint8_t reg;
    uint8_t subleaf;
    uint32_t leaf;
    /* Its bit, or bits, in that register. */
    uint32_t mask;
};

/* NULL: no feature has this name. */
const struct cpu_feature *cpu_feature_find(const char *name);

/* The name that an unknown one may be a slip of the pen for, or NULL. */
const char *cpu_feature_nearest(const char *name);

/* All of them, in no particular order; index below the count. */
size_t cpu_feature_count(void);
const struct cpu_feature *cpu_feature_at(size_t index);

#endif
