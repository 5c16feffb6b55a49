#include "vmm/machine/fault_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PART_SIZE = 96 };

const char *fault_format_flags(hv_memory_flags_t flags, char text[FAULT_FLAGS_SIZE])
{
    text[0] = flags & HV_MEMORY_READ ? 'r' : '-';
    text[1] = flags & HV_MEMORY_WRITE ? 'w' : '-';
    text[2] = flags & HV_MEMORY_EXEC ? 'x' : '-';
    text[3] = '\0';
    return text;
}

/* What was done, up to the address: "wrote 4 bytes at". A device can have wanted both. */
static void format_access(const hvx_fault_t *fault, char text[PART_SIZE])
{
    const bool reads = (fault->access & HV_MEMORY_READ) != 0;
    const bool writes = (fault->access & HV_MEMORY_WRITE) != 0;

    if (fault->access == HV_MEMORY_EXEC)
        (void)snprintf(text, PART_SIZE, "jumped to");
    else
        (void)snprintf(text, PART_SIZE, "%s %" PRIu64 " byte%s at",
                       reads && writes ? "read and wrote"
                       : writes        ? "wrote"
                                       : "read",
                       fault->length, fault->length == 1 ? "" : "s");
}

static void describe(const hvx_fault_t *fault, const char *who, char *text, size_t size)
{
    char access[PART_SIZE];
    char allowed[FAULT_FLAGS_SIZE];

    format_access(fault, access);
    fault_format_flags(fault->allowed, allowed);
    if (fault->mapping[0] != '\0')
        (void)snprintf(text, size, "%s %s guest-physical 0x%" PRIx64 " of \"%s\" in space %u, which allows %s", who,
                       access, fault->gpa, fault->mapping, fault->space, allowed);
    else
        (void)snprintf(text, size, "%s %s guest-physical 0x%" PRIx64 " in space %u, where %s is allowed", who, access,
                       fault->gpa, fault->space, fault->allowed != 0 ? allowed : "nothing");
}

void fault_describe(const hvx_fault_t *fault, char *text, size_t size)
{
    char who[PART_SIZE];

    if (fault->vcpu == HVX_FAULT_NO_VCPU)
        (void)snprintf(who, sizeof(who), "%s", fault->device);
    else
        (void)snprintf(who, sizeof(who), "vCPU %u at rip 0x%" PRIx64, fault->vcpu, fault->rip);
    describe(fault, who, text, size);
}

void fault_describe_exit(const hvx_exit_memory_t *access, char *text, size_t size)
{
    hvx_fault_t fault = {.space = access->space,
                         .gpa = access->gpa,
                         .access = access->access,
                         .allowed = access->allowed,
                         .length = access->length};
    hvx_range_t range;

    if (hvx_vm_query_space(access->space, access->gpa, &range) == HV_SUCCESS && range.gpa <= access->gpa) {
        memcpy(fault.mapping, range.name, sizeof(fault.mapping));
    } else if (access->access == HV_MEMORY_EXEC) {
        (void)snprintf(text, size, "it jumped to guest-physical 0x%" PRIx64 ", where there is no memory", access->gpa);
        return;
    }
    describe(&fault, "it", text, size);
}

void fault_log_listen(void *context, const hvx_fault_t *fault)
{
    struct fault_log *fault_log = context;
    char text[FAULT_TEXT_SIZE];

    if (fault->policy != HVX_POLICY_LOG && fault->vcpu != HVX_FAULT_NO_VCPU)
        return;
    fault_describe(fault, text, sizeof(text));
    log_guest_misbehaviour(fault_log->log, &fault_log->limit, "memory", "%s", text);
}
