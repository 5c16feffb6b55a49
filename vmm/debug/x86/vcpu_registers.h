/*
 * From a vCPU's registers to a debugger's, and back. For the vCPU's owner.
 */
#ifndef VMM_DEBUG_X86_VCPU_REGISTERS_H
#define VMM_DEBUG_X86_VCPU_REGISTERS_H

#include "vmm/debug/x86/instruction.h"
#include "vmm/debug/x86/registers.h"

#include <Hypervisor/hvx.h>

/* What KVM does not give is 0. HV_ERROR: it gives nothing. */
hv_return_t vcpu_registers_read(hv_vcpuid_t id, struct debug_registers *registers);

/* Writes what differs from what there was before. HV_BAD_ARGUMENT: KVM does not take a value; others may be written. */
hv_return_t vcpu_registers_write(hv_vcpuid_t id, const struct debug_registers *before,
                                 const struct debug_registers *registers);

hv_return_t vcpu_vectors_read(hv_vcpuid_t id, struct debug_vectors *vectors);
hv_return_t vcpu_vectors_write(hv_vcpuid_t id, const struct debug_vectors *vectors);

/* The linear address of RIP. */
uint64_t vcpu_linear_rip(hv_vcpuid_t id);

/*
 * Does what an instruction would do that a single step cannot stop behind (INSTRUCTION_HLT, _SYSCALL, _SYSRET), as if
 * it had been carried out: HLT as one that an interrupt has ended. HV_UNSUPPORTED: it is another instruction, or one
 * that the processor would raise an exception for; it is to run.
 */
hv_return_t vcpu_carry_out(hv_vcpuid_t id, const struct instruction *instruction);

#endif
