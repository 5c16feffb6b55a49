#include "vmm/machine/crash_report.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

/* IA32_EFER, Intel SDM volume 4, table 2-2. */
static const uint32_t MSR_EFER = 0xc0000080;
static const uint64_t EFER_LMA = 1u << 10;

static void capture_instruction(struct crash_report *report, hv_vcpuid_t vcpu)
{
    struct kvm_sregs sregs;
    int fd;

    if (hvx_vcpu_kvm_fd(vcpu, &fd) != HV_SUCCESS || ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
        return;
    uint64_t base = sregs.cs.l ? 0 : sregs.cs.base;
    struct kvm_translation translation = {.linear_address = base + report->registers[HV_X86_RIP]};
    if (ioctl(fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
        return;
    report->rip_mapped = true;
    report->rip_gpa = translation.physical_address;

    hvx_range_t range;
    hv_vm_space_t space;
    if (hvx_vcpu_get_space(vcpu, &space) != HV_SUCCESS ||
        hvx_vm_query_space(space, report->rip_gpa, &range) != HV_SUCCESS || range.gpa > report->rip_gpa)
        return;
    report->range = range;
    /* Not over the end of the page: the next one may be elsewhere. */
    uint64_t in_page = 4096 - report->rip_gpa % 4096;
    report->instruction_size =
        in_page < sizeof(report->instruction) ? (uint32_t)in_page : (uint32_t)sizeof(report->instruction);
    if (hvx_vm_read_space(space, report->rip_gpa, report->instruction, report->instruction_size) != HV_SUCCESS)
        report->instruction_size = 0;
}

void crash_report_capture(struct crash_report *report, hv_vcpuid_t vcpu)
{
    memset(report, 0, sizeof(*report));
    for (int reg = 0; reg < HV_X86_REGISTERS_MAX; reg++)
        (void)hv_vcpu_read_register(vcpu, (hv_x86_reg_t)reg, &report->registers[reg]);
    (void)hv_vcpu_read_msr(vcpu, MSR_EFER, &report->efer);
    capture_instruction(report, vcpu);
    report->valid = true;
}

static const char *mode_of(const struct crash_report *report)
{
    if (report->efer & EFER_LMA)
        return "long mode";
    return report->registers[HV_X86_CR0] & 1 ? "protected mode" : "real mode";
}

static void print_registers(const struct crash_report *report, const char *newline, FILE *out)
{
    static const struct {
        const char *name;
        hv_x86_reg_t reg;
    } shown[] = {
        {"rax", HV_X86_RAX}, {"rbx", HV_X86_RBX}, {"rcx", HV_X86_RCX},      {"rdx", HV_X86_RDX},
        {"rsi", HV_X86_RSI}, {"rdi", HV_X86_RDI}, {"rbp", HV_X86_RBP},      {"rsp", HV_X86_RSP},
        {"r8 ", HV_X86_R8},  {"r9 ", HV_X86_R9},  {"r10", HV_X86_R10},      {"r11", HV_X86_R11},
        {"r12", HV_X86_R12}, {"r13", HV_X86_R13}, {"r14", HV_X86_R14},      {"r15", HV_X86_R15},
        {"cr0", HV_X86_CR0}, {"cr2", HV_X86_CR2}, {"cr3", HV_X86_CR3},      {"cr4", HV_X86_CR4},
        {"cs ", HV_X86_CS},  {"ss ", HV_X86_SS},  {"gdt", HV_X86_GDT_BASE}, {"idt", HV_X86_IDT_BASE},
    };
    const size_t count = sizeof(shown) / sizeof(shown[0]);

    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %s %016llx%s", shown[i].name, (unsigned long long)report->registers[shown[i].reg],
                i % 4 == 3 ? newline : "");
}

void crash_report_print(const struct crash_report *report, unsigned vcpu, const char *newline, FILE *out)
{
    fprintf(out, "vCPU %u, %s:%s", vcpu, mode_of(report), newline);
    fprintf(out, "  rip %016llx  rflags %08llx  efer %04llx%s", (unsigned long long)report->registers[HV_X86_RIP],
            (unsigned long long)report->registers[HV_X86_RFLAGS], (unsigned long long)report->efer, newline);
    print_registers(report, newline, out);
    if (!report->rip_mapped) {
        fprintf(out, "  rip is not mapped by the guest's page tables%s", newline);
        return;
    }
    if (report->range.size == 0) {
        fprintf(out, "  rip is guest-physical 0x%llx, where there is no memory%s", (unsigned long long)report->rip_gpa,
                newline);
        return;
    }
    fprintf(out, "  rip is guest-physical 0x%llx, in \"%s\" (0x%llx to 0x%llx)%s  code",
            (unsigned long long)report->rip_gpa, report->range.name, (unsigned long long)report->range.gpa,
            (unsigned long long)(report->range.gpa + report->range.size - 1), newline);
    for (uint32_t i = 0; i < report->instruction_size; i++)
        fprintf(out, " %02x", report->instruction[i]);
    fprintf(out, "%s", newline);
}
