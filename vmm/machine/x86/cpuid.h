/*
 * What CPUID tells the guest: what KVM supports, with the machine's topology and without what is hidden.
 *
 * The machine is one package of cpu_count cores of one thread each; the local APIC id of a vCPU is its index.
 */
#ifndef VMM_MACHINE_X86_CPUID_H
#define VMM_MACHINE_X86_CPUID_H

#include "memory/support/error.h"
#include "vmm/machine/x86/cpu_features.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpuid_options {
    /* 1 to 255 */
    uint32_t cpu_count;
    /* KVM_CAP_TSC_DEADLINE_TIMER: KVM_GET_SUPPORTED_CPUID does not tell. */
    bool has_tsc_deadline;
    /* Features to take away, hide_count of them; applied last, to whatever is there. */
    const struct cpu_feature *const *hide;
    size_t hide_count;
};

/*
 * Asks KVM (system_fd: /dev/kvm) what it can offer. The caller's to free().
 * 0, or -1 with *error (ERROR_HOST).
 */
int cpuid_read_supported(int system_fd, struct kvm_cpuid2 **ret_supported, struct error *error);

/*
 * Makes the table of vCPU number index for KVM_SET_CPUID2. The caller's to free(). No I/O; the same arguments give the
 * same table. Nested virtualisation and SGX are not offered: there is nothing that keeps their state.
 * 0, or -1 with *error: no memory (ERROR_HOST).
 */
int cpuid_build(const struct kvm_cpuid2 *supported, const struct cpuid_options *options, uint32_t index,
                struct kvm_cpuid2 **ret_table, struct error *error);

/* Whether all bits of the feature are set in a table. */
bool cpuid_has_feature(const struct kvm_cpuid2 *table, const struct cpu_feature *feature);

/* How wide a guest-physical address may be that the guest uses, in bits. */
uint8_t cpuid_physical_address_bits(const struct kvm_cpuid2 *table);

/* Whether page tables may map 1 GiB with one entry. */
bool cpuid_has_1gib_pages(const struct kvm_cpuid2 *table);

#endif
