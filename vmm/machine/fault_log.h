/*
 * Refused accesses to guest memory, in the log.
 */
#ifndef VMM_MACHINE_FAULT_LOG_H
#define VMM_MACHINE_FAULT_LOG_H

#include "memory/support/log.h"
#include "vmm/machine/machine_memory.h"

#include <Hypervisor/hvx.h>

struct fault_log {
    const struct log *log;
    /* for the names of spaces */
    const struct machine_memory *memory;
    struct log_limit limit;
};

/*
 * For hvx_vm_set_fault_listener(), with a struct fault_log: warns, at a limited rate, of what the guest does not notice
 * or a device has been refused. Other accesses of vCPUs are exits, and an ordinary kernel that looks for ROMs makes
 * some.
 */
void fault_log_listen(void *context, const hvx_fault_t *fault);

#endif
