#include "vmm/machine/maps.h"

#include "vmm/machine/fault_report.h"

#include <Hypervisor/hvx.h>

#include <inttypes.h>

enum { FAULTS_SHOWN = 8 };

/* What follows the name of a range whose faults do not go to the devices. */
static const char *policy_suffix(hvx_policy_t policy)
{
    switch (policy) {
    case HVX_POLICY_CLIENT:
        return "";
    case HVX_POLICY_STOP:
        return ", faults stop the machine";
    case HVX_POLICY_LOG:
        return ", faults are logged";
    case HVX_POLICY_COUNT:
        return ", faults are counted";
    }
    return "";
}

static void report_space(const struct log *log, hv_vm_space_t space, const hvx_space_info_t *info)
{
    hvx_range_t range = {0};
    char flags[FAULT_FLAGS_SIZE];

    log_line(log, LOG_LEVEL_ERROR, "maps", "space %u: %zu ranges in %zu KVM slots, %u vCPUs, %" PRIu64 " faults%s",
             space, info->range_count, info->slot_count, info->vcpu_count, info->fault_count,
             info->is_strict ? ", strict" : "");
    for (hv_gpaddr_t gpa = 0; hvx_vm_query_space(space, gpa, &range) == HV_SUCCESS; gpa = range.gpa + range.size)
        log_line(log, LOG_LEVEL_ERROR, "maps", "  0x%012" PRIx64 " - 0x%012" PRIx64 "  %s  %s%s", range.gpa,
                 range.gpa + range.size - 1, fault_format_flags(range.flags, flags), range.name,
                 policy_suffix(range.policy));
}

static void report_fault(const struct log *log, const hvx_fault_t *fault)
{
    char text[FAULT_TEXT_SIZE];

    fault_describe(fault, text, sizeof(text));
    log_line(log, LOG_LEVEL_ERROR, "maps", "  fault %" PRIu64 ": %s", fault->number, text);
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
    log_line(log, LOG_LEVEL_ERROR, "maps", "%" PRIu64 " faults recorded%s", total, count > 0 ? "; the last:" : "");
    for (size_t i = 0; i < count; i++)
        report_fault(log, &faults[i]);
}
