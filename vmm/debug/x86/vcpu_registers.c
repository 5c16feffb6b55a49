#include "vmm/debug/x86/vcpu_registers.h"

#include <asm/processor-flags.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

/* Intel SDM volume 4, table 2-2; CSTAR: AMD APM volume 2, appendix A.1. */
enum {
    MSR_EFER = 0xc0000080,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_CSTAR = 0xc0000083,
    MSR_SYSCALL_MASK = 0xc0000084,
    MSR_FS_BASE = 0xc0000100,
    MSR_GS_BASE = 0xc0000101,
    MSR_KERNEL_GS_BASE = 0xc0000102,
};

/* IA32_EFER: Intel SDM volume 3, 2.2.1. */
static const uint64_t EFER_SCE = 1u << 0;
static const uint64_t EFER_LMA = 1u << 10;

/* ---- Reading ---- */

static void take_general(struct debug_registers *registers, const struct kvm_regs *regs)
{
    const uint64_t general[DEBUG_GENERAL_COUNT] = {
        [DEBUG_RAX] = regs->rax, [DEBUG_RBX] = regs->rbx, [DEBUG_RCX] = regs->rcx, [DEBUG_RDX] = regs->rdx,
        [DEBUG_RSI] = regs->rsi, [DEBUG_RDI] = regs->rdi, [DEBUG_RBP] = regs->rbp, [DEBUG_RSP] = regs->rsp,
        [DEBUG_R8] = regs->r8,   [DEBUG_R9] = regs->r9,   [DEBUG_R10] = regs->r10, [DEBUG_R11] = regs->r11,
        [DEBUG_R12] = regs->r12, [DEBUG_R13] = regs->r13, [DEBUG_R14] = regs->r14, [DEBUG_R15] = regs->r15,
    };

    memcpy(registers->general, general, sizeof(general));
    registers->rip = regs->rip;
    registers->rflags = regs->rflags;
}

static bool is_long_code(const struct kvm_sregs *sregs)
{
    return (sregs->efer & EFER_LMA) != 0 && sregs->cs.l;
}

static unsigned privilege_of(const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
    if ((sregs->cr0 & X86_CR0_PE) == 0)
        return 0;
    return (regs->rflags & X86_EFLAGS_VM) != 0 ? 3 : sregs->ss.dpl;
}

static void take_system(struct debug_registers *registers, const struct kvm_regs *regs, const struct kvm_sregs *sregs)
{
    const uint16_t selectors[DEBUG_SEGMENT_COUNT] = {
        [DEBUG_CS] = sregs->cs.selector, [DEBUG_SS] = sregs->ss.selector, [DEBUG_DS] = sregs->ds.selector,
        [DEBUG_ES] = sregs->es.selector, [DEBUG_FS] = sregs->fs.selector, [DEBUG_GS] = sregs->gs.selector,
    };

    memcpy(registers->selectors, selectors, sizeof(selectors));
    registers->code_base = is_long_code(sregs) ? 0 : sregs->cs.base;
    registers->code_bits = is_long_code(sregs) ? 64 : sregs->cs.db ? 32 : 16;
    registers->privilege = privilege_of(regs, sregs);
    registers->fs_base = sregs->fs.base;
    registers->gs_base = sregs->gs.base;
    registers->cr0 = sregs->cr0;
    registers->cr2 = sregs->cr2;
    registers->cr3 = sregs->cr3;
    registers->cr4 = sregs->cr4;
    registers->cr8 = sregs->cr8;
    registers->efer = sregs->efer;
}

hv_return_t vcpu_registers_read(hv_vcpuid_t id, struct debug_registers *registers)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    int fd;

    memset(registers, 0, sizeof(*registers));
    /* All of a kind at once: the API gives registers one by one, and this is done for each step. */
    if (hvx_vcpu_kvm_fd(id, &fd) != HV_SUCCESS || ioctl(fd, KVM_GET_REGS, &regs) < 0 ||
        ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
        return HV_ERROR;
    take_general(registers, &regs);
    take_system(registers, &regs, &sregs);
    (void)hv_vcpu_read_msr(id, MSR_KERNEL_GS_BASE, &registers->kernel_gs_base);
    return HV_SUCCESS;
}

uint64_t vcpu_linear_rip(hv_vcpuid_t id)
{
    struct debug_registers registers;

    (void)vcpu_registers_read(id, &registers);
    return registers.code_base + registers.rip;
}

/* ---- Writing ---- */

struct field {
    size_t offset;
    hv_x86_reg_t reg;
};

#define GENERAL(name)                                                                                                  \
    {                                                                                                                  \
        offsetof(struct debug_registers, general[DEBUG_##name]), HV_X86_##name                                         \
    }

static const struct field fields[] = {
    GENERAL(RAX),
    GENERAL(RBX),
    GENERAL(RCX),
    GENERAL(RDX),
    GENERAL(RSI),
    GENERAL(RDI),
    GENERAL(RBP),
    GENERAL(RSP),
    GENERAL(R8),
    GENERAL(R9),
    GENERAL(R10),
    GENERAL(R11),
    GENERAL(R12),
    GENERAL(R13),
    GENERAL(R14),
    GENERAL(R15),
    {offsetof(struct debug_registers, rip), HV_X86_RIP},
    {offsetof(struct debug_registers, rflags), HV_X86_RFLAGS},
    {offsetof(struct debug_registers, cr0), HV_X86_CR0},
    {offsetof(struct debug_registers, cr2), HV_X86_CR2},
    {offsetof(struct debug_registers, cr3), HV_X86_CR3},
    {offsetof(struct debug_registers, cr4), HV_X86_CR4},
    {offsetof(struct debug_registers, cr8), HV_X86_TPR},
};

enum { FIELD_COUNT = sizeof(fields) / sizeof(fields[0]) };

static const hv_x86_reg_t selector_registers[DEBUG_SEGMENT_COUNT] = {HV_X86_CS, HV_X86_SS, HV_X86_DS,
                                                                     HV_X86_ES, HV_X86_FS, HV_X86_GS};

static uint64_t field_of(const struct debug_registers *registers, const struct field *field)
{
    uint64_t value;

    memcpy(&value, (const uint8_t *)registers + field->offset, sizeof(value));
    return value;
}

static hv_return_t write_msr(hv_vcpuid_t id, uint32_t msr, uint64_t before, uint64_t value)
{
    return before == value ? HV_SUCCESS : hv_vcpu_write_msr(id, msr, value);
}

hv_return_t vcpu_registers_write(hv_vcpuid_t id, const struct debug_registers *before,
                                 const struct debug_registers *registers)
{
    hv_x86_reg_t which[FIELD_COUNT + DEBUG_SEGMENT_COUNT];
    uint64_t values[FIELD_COUNT + DEBUG_SEGMENT_COUNT];
    size_t count = 0;

    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (field_of(before, &fields[i]) == field_of(registers, &fields[i]))
            continue;
        which[count] = fields[i].reg;
        values[count++] = field_of(registers, &fields[i]);
    }
    for (size_t i = 0; i < DEBUG_SEGMENT_COUNT; i++) {
        if (before->selectors[i] == registers->selectors[i])
            continue;
        which[count] = selector_registers[i];
        values[count++] = registers->selectors[i];
    }
    hv_return_t result = count == 0 ? HV_SUCCESS : hvx_vcpu_write_registers(id, which, values, count);
    if (result == HV_SUCCESS)
        result = write_msr(id, MSR_EFER, before->efer, registers->efer);
    if (result == HV_SUCCESS)
        result = write_msr(id, MSR_FS_BASE, before->fs_base, registers->fs_base);
    if (result == HV_SUCCESS)
        result = write_msr(id, MSR_GS_BASE, before->gs_base, registers->gs_base);
    if (result == HV_SUCCESS)
        result = write_msr(id, MSR_KERNEL_GS_BASE, before->kernel_gs_base, registers->kernel_gs_base);
    return result;
}

/* ---- x87, SSE, AVX ---- */

hv_return_t vcpu_vectors_read(hv_vcpuid_t id, struct debug_vectors *vectors)
{
    uint64_t xcr0 = 0;

    vectors->has_avx = hv_vcpu_read_register(id, HV_X86_XCR0, &xcr0) == HV_SUCCESS && (xcr0 & 1 << 2) != 0;
    return hv_vcpu_read_fpstate(id, vectors->xsave, sizeof(vectors->xsave));
}

hv_return_t vcpu_vectors_write(hv_vcpuid_t id, const struct debug_vectors *vectors)
{
    /* XSTATE_BV, at the header's start: parts that were in their first state are there now (SDM volume 1, 13.4.2). */
    enum { XSTATE_BV = 512 };
    struct debug_vectors copy = *vectors;
    uint64_t present;

    memcpy(&present, copy.xsave + XSTATE_BV, sizeof(present));
    present |= copy.has_avx ? 7 : 3;
    memcpy(copy.xsave + XSTATE_BV, &present, sizeof(present));
    return hv_vcpu_write_fpstate(id, copy.xsave, sizeof(copy.xsave));
}

/* ---- Instructions ---- */

/* A flat segment as SYSCALL and SYSRET load it: Intel SDM volume 2, there. */
static struct kvm_segment flat_segment(uint64_t selector, bool is_code, bool is_64bit, uint8_t privilege)
{
    enum { CODE_EXECUTE_READ_ACCESSED = 0xb, DATA_READ_WRITE_ACCESSED = 0x3 };

    return (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = (uint16_t)selector,
        .type = is_code ? CODE_EXECUTE_READ_ACCESSED : DATA_READ_WRITE_ACCESSED,
        .present = 1,
        .dpl = privilege,
        .db = !is_64bit,
        .s = 1,
        .l = is_code && is_64bit,
        .g = 1,
    };
}

static uint64_t msr_of(hv_vcpuid_t id, uint32_t msr)
{
    uint64_t value = 0;

    (void)hv_vcpu_read_msr(id, msr, &value);
    return value;
}

static hv_return_t carry_out_syscall(hv_vcpuid_t id, struct kvm_regs *regs, struct kvm_sregs *sregs, unsigned length)
{
    const uint64_t star = msr_of(id, MSR_STAR);

    if ((sregs->efer & (EFER_SCE | EFER_LMA)) != (EFER_SCE | EFER_LMA))
        return HV_UNSUPPORTED;
    regs->rcx = regs->rip + length;
    regs->r11 = regs->rflags & ~(uint64_t)X86_EFLAGS_RF;
    regs->rip = msr_of(id, sregs->cs.l ? MSR_LSTAR : MSR_CSTAR);
    regs->rflags &= ~(msr_of(id, MSR_SYSCALL_MASK) | X86_EFLAGS_RF);
    sregs->cs = flat_segment(star >> 32 & 0xfffc, true, true, 0);
    sregs->ss = flat_segment((star >> 32 & 0xfffc) + 8, false, false, 0);
    return HV_SUCCESS;
}

static hv_return_t carry_out_sysret(hv_vcpuid_t id, struct kvm_regs *regs, struct kvm_sregs *sregs, unsigned size)
{
    /* What SYSRET takes of R11: all but VM, RF and what does not exist. */
    const uint64_t flags = 0x3c7fd7;
    const uint64_t star = msr_of(id, MSR_STAR);
    const bool is_64bit = size == 8;

    if ((sregs->efer & (EFER_SCE | EFER_LMA)) != (EFER_SCE | EFER_LMA) || sregs->ss.dpl != 0)
        return HV_UNSUPPORTED;
    /* An address that is not canonical is an exception, whose place is a matter of the processor's maker. */
    if (is_64bit && (uint64_t)((int64_t)(regs->rcx << 16) >> 16) != regs->rcx)
        return HV_UNSUPPORTED;
    regs->rip = is_64bit ? regs->rcx : (uint32_t)regs->rcx;
    regs->rflags = (regs->r11 & flags) | X86_EFLAGS_FIXED;
    sregs->cs = flat_segment((star >> 48) + (is_64bit ? 16 : 0), true, is_64bit, 3);
    sregs->cs.selector |= 3;
    sregs->ss = flat_segment(((star >> 48) + 8) | 3, false, false, 3);
    return HV_SUCCESS;
}

hv_return_t vcpu_carry_out(hv_vcpuid_t id, const struct instruction *instruction)
{
    hv_return_t result = HV_UNSUPPORTED;
    struct kvm_sregs sregs;
    struct kvm_regs regs;
    int fd;

    if (instruction->kind != INSTRUCTION_HLT && instruction->kind != INSTRUCTION_SYSCALL &&
        instruction->kind != INSTRUCTION_SYSRET)
        return HV_UNSUPPORTED;
    if (hvx_vcpu_kvm_fd(id, &fd) != HV_SUCCESS || ioctl(fd, KVM_GET_REGS, &regs) < 0 ||
        ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
        return HV_ERROR;
    switch (instruction->kind) {
    case INSTRUCTION_HLT:
        if (privilege_of(&regs, &sregs) == 0) {
            regs.rip += instruction->length;
            result = HV_SUCCESS;
        }
        break;
    case INSTRUCTION_SYSCALL:
        result = carry_out_syscall(id, &regs, &sregs, instruction->length);
        break;
    case INSTRUCTION_SYSRET:
        result = carry_out_sysret(id, &regs, &sregs, instruction->operand_size);
        break;
    default:
        break;
    }
    if (result != HV_SUCCESS)
        return result;
    if (instruction->kind != INSTRUCTION_HLT && ioctl(fd, KVM_SET_SREGS, &sregs) < 0)
        return HV_ERROR;
    return ioctl(fd, KVM_SET_REGS, &regs) < 0 ? HV_ERROR : HV_SUCCESS;
}
