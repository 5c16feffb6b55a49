#include "vmm/machine/maps.h"

#include <Hypervisor/hvx.h>

#include <inttypes.h>

enum { FAULTS_SHOWN = 8, FLAGS_SIZE = 4 };

static const char *format_flags(hv_memory_flags_t flags, char text[FLAGS_SIZE])
{
    text[0] = flags & HV_MEMORY_READ ? 'r' : '-';
    text[1] = flags & HV_MEMORY_WRITE ? 'w' : '-';
    text[2] = flags & HV_MEMORY_EXEC ? 'x' : '-';
    text[3] = '\0';
    return text;
}

static void report_space(const struct log *log, hv_vm_space_t space, const hvx_space_info_t *info)
{
    hvx_range_t range = {0};
    char flags[FLAGS_SIZE];

    log_line(log, LOG_LEVEL_ERROR, "maps", "space %u: %zu ranges in %zu KVM slots, %u vCPUs%s", space,
             info->range_count, info->slot_count, info->vcpu_count, info->is_strict ? ", strict" : "");
    for (hv_gpaddr_t gpa = 0; hvx_vm_query_space(space, gpa, &range) == HV_SUCCESS; gpa = range.gpa + range.size)
        log_line(log, LOG_LEVEL_ERROR, "maps", "  0x%012" PRIx64 " - 0x%012" PRIx64 "  %s  %s", range.gpa,
                 range.gpa + range.size - 1, format_flags(range.flags, flags), range.name);
}

static void report_fault(const struct log *log, const hvx_fault_t *fault)
{
    char wanted[FLAGS_SIZE], allowed[FLAGS_SIZE];

    if (fault->vcpu == HVX_FAULT_NO_VCPU)
        log_line(log, LOG_LEVEL_ERROR, "maps",
                 "  fault %" PRIu64 ": %s: %s of %" PRIu64 " bytes at 0x%" PRIx64 " in space %u, \"%s\" allows %s",
                 fault->number, fault->device, format_flags(fault->access, wanted), fault->length, fault->gpa,
                 fault->space, fault->mapping, format_flags(fault->allowed, allowed));
    else
        log_line(log, LOG_LEVEL_ERROR, "maps",
                 "  fault %" PRIu64 ": vCPU %u at rip 0x%" PRIx64 ": %s of %" PRIu64 " bytes at 0x%" PRIx64
                 " in space %u, \"%s\" allows %s",
                 fault->number, fault->vcpu, fault->rip, format_flags(fault->access, wanted), fault->length, fault->gpa,
                 fault->space, fault->mapping, format_flags(fault->allowed, allowed));
}

void maps_report(const struct log *log)
{
    hvx_fault_t faults[FAULTS_SHOWN];
    size_t count = FAULTS_SHOWN;
    hvx_space_info_t info;
    uint64_t total = 0;
    uint64_t most = 0;

    (void)hv_capability(HV_CAP_ADDRSPACEMAX, &most);
    for (hv_vm_space_t space = 0; space < most; space++)
        if (hvx_vm_space_info(space, &info) == HV_SUCCESS)
            report_space(log, space, &info);
    if (hvx_vm_faults(faults, &count, &total) != HV_SUCCESS)
        return;
    log_line(log, LOG_LEVEL_ERROR, "maps", "%" PRIu64 " faults%s", total, count > 0 ? "; the last:" : "");
    for (size_t i = 0; i < count; i++)
        report_fault(log, &faults[i]);
}
