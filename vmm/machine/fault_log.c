#include "vmm/machine/fault_log.h"

#include "vmm/maps/maps.h"

void fault_log_listen(void *context, const hvx_fault_t *fault)
{
    struct fault_log *fault_log = context;
    char text[512];

    if (fault->policy != HVX_POLICY_LOG && fault->vcpu != HVX_FAULT_NO_VCPU)
        return;
    maps_describe_fault(fault, machine_memory_space_name(fault_log->memory, fault->space), text, sizeof(text));
    log_guest_misbehaviour(fault_log->log, &fault_log->limit, "memory", "%s", text);
}
