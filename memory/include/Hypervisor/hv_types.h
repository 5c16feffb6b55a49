/*
 * Types of the Hypervisor.framework API for Intel processors, under Apple's names and with Apple's values.
 * Include <Hypervisor/Hypervisor.h>, or this header alone: every part stands by itself, in C and in C++.
 */
#ifndef HYPERVISOR_HV_TYPES_H
#define HYPERVISOR_HV_TYPES_H

#include <Hypervisor/hv_error.h>

#include <stdint.h>

typedef uint64_t hv_capability_t;
typedef uint64_t hv_vm_options_t;
typedef uint64_t hv_vcpu_options_t;
typedef unsigned hv_vcpuid_t;
typedef unsigned hv_vm_space_t;
typedef uint64_t hv_memory_flags_t;
/* A host virtual address. Guests may write through it whatever its type says. */
typedef const void *hv_uvaddr_t;
/* A guest-physical address. */
typedef uint64_t hv_gpaddr_t;
typedef uint64_t hv_allocate_flags_t;
typedef uint32_t hv_msr_flags_t;
typedef uint32_t hv_ion_flags_t;

/* Options of hv_vm_create(). Only HV_VM_DEFAULT is supported; see there. */
enum {
    HV_VM_DEFAULT = 0ull,
    HV_VM_SPECIFY_MITIGATIONS = 1ull << 0,
    HV_VM_MITIGATION_A_ENABLE = 1ull << 1,
    HV_VM_MITIGATION_B_ENABLE = 1ull << 2,
    HV_VM_MITIGATION_C_ENABLE = 1ull << 3,
    HV_VM_MITIGATION_D_ENABLE = 1ull << 4,
    HV_VM_MITIGATION_E_ENABLE = 1ull << 6,
    HV_VM_ACCEL_APIC = 1ull << 10,
};

/* Options of hv_vcpu_create(). Only HV_VCPU_DEFAULT is supported; see there. */
enum {
    HV_VCPU_DEFAULT = 0ull,
    HV_VCPU_ACCEL_RDPMC = 1ull << 0,
    HV_VCPU_TSC_RELATIVE = 1ull << 1,
};

/* What a guest may do with a mapping. No flag at all is valid: mapped, and every access faults. */
enum {
    HV_MEMORY_READ = 1ull << 0,
    HV_MEMORY_WRITE = 1ull << 1,
    HV_MEMORY_EXEC = 1ull << 2,
    /* Known and refused with HV_UNSUPPORTED. */
    HV_MEMORY_UEXEC = 1ull << 3,
    HV_MEMORY_MAXPROT = 1ull << 4,
    HV_MEMORY_MAXPROT_READ = 1ull << 5,
    HV_MEMORY_MAXPROT_WRITE = 1ull << 6,
    HV_MEMORY_MAXPROT_EXEC = 1ull << 7,
    HV_MEMORY_MAXPROT_UEXEC = 1ull << 8,
};

/* The space that exists as long as the VM does, and in which every vCPU starts. */
enum {
    HV_VM_SPACE_DEFAULT = 0,
};

/* What hv_capability() can be asked. */
enum {
    HV_CAP_VCPUMAX = 0,
    HV_CAP_ADDRSPACEMAX = 1,
};

enum {
    HV_ALLOCATE_DEFAULT = 0ull,
};

/* For hv_vcpu_run_until(): no deadline. */
#define HV_DEADLINE_FOREVER (~0ull)

enum {
    HV_MSR_NONE = 0,
    HV_MSR_READ = 1 << 0,
    HV_MSR_WRITE = 1 << 1,
};

/* Extra information that an exit can carry on macOS 12 and later. */
typedef enum {
    HV_VM_EXITINFO_VMX = 1,
    HV_VM_EXITINFO_INIT_AP = 2,
    HV_VM_EXITINFO_STARTUP_AP = 3,
    HV_VM_EXITINFO_IOAPIC_EOI = 4,
    HV_VM_EXITINFO_INJECT_EXCP = 5,
    HV_VM_EXITINFO_SMI = 6,
    HV_VM_EXITINFO_APIC_ACCESS_READ = 7,
} hv_vm_exitinfo_t;

#endif
