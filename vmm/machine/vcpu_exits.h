/* What a vCPU's exits come to: accesses go to the buses, and what nobody can answer for ends the machine. */
#ifndef VMM_MACHINE_VCPU_EXITS_H
#define VMM_MACHINE_VCPU_EXITS_H

#include "vmm/machine/vcpus.h"

#include <Hypervisor/hvx.h>

/*
 * Serves the last exit of vCPU index, which the library knows as id, on its thread; of one that ends the machine the
 * environment's stopped() hears. HLT, and what has no consequence, is the caller's.
 */
void vcpu_exit_serve(const struct vcpus_environment *environment, unsigned index, hv_vcpuid_t id,
                     const hvx_vcpu_exit_t *exit);

#endif
