/*
 * Registers of a vCPU by Apple's numbers, floating-point state, and MSRs.
 */
#include "vmm/vcpu/vcpu.h"

#include "vmm/vcpu/x86/state.h"

#include <asm/processor-flags.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

/* Which of KVM's structures holds a register, and how. */
enum register_set { SET_NONE, SET_REGS, SET_SREGS, SET_DEBUG, SET_XCR0, SET_LDT_ACCESS, SET_TSS_ACCESS, SET_COUNT };

struct register_place {
    enum register_set set;
    uint16_t offset;
    uint8_t size;
};

#define IN(set_, type, field)                                                                                          \
    {                                                                                                                  \
        set_, offsetof(struct type, field), sizeof(((struct type *)0)->field)                                          \
    }

static const struct register_place places[HV_X86_REGISTERS_MAX] = {
    [HV_X86_RIP] = IN(SET_REGS, kvm_regs, rip),
    [HV_X86_RFLAGS] = IN(SET_REGS, kvm_regs, rflags),
    [HV_X86_RAX] = IN(SET_REGS, kvm_regs, rax),
    [HV_X86_RCX] = IN(SET_REGS, kvm_regs, rcx),
    [HV_X86_RDX] = IN(SET_REGS, kvm_regs, rdx),
    [HV_X86_RBX] = IN(SET_REGS, kvm_regs, rbx),
    [HV_X86_RSI] = IN(SET_REGS, kvm_regs, rsi),
    [HV_X86_RDI] = IN(SET_REGS, kvm_regs, rdi),
    [HV_X86_RSP] = IN(SET_REGS, kvm_regs, rsp),
    [HV_X86_RBP] = IN(SET_REGS, kvm_regs, rbp),
    [HV_X86_R8] = IN(SET_REGS, kvm_regs, r8),
    [HV_X86_R9] = IN(SET_REGS, kvm_regs, r9),
    [HV_X86_R10] = IN(SET_REGS, kvm_regs, r10),
    [HV_X86_R11] = IN(SET_REGS, kvm_regs, r11),
    [HV_X86_R12] = IN(SET_REGS, kvm_regs, r12),
    [HV_X86_R13] = IN(SET_REGS, kvm_regs, r13),
    [HV_X86_R14] = IN(SET_REGS, kvm_regs, r14),
    [HV_X86_R15] = IN(SET_REGS, kvm_regs, r15),
    [HV_X86_CS] = IN(SET_SREGS, kvm_sregs, cs.selector),
    [HV_X86_SS] = IN(SET_SREGS, kvm_sregs, ss.selector),
    [HV_X86_DS] = IN(SET_SREGS, kvm_sregs, ds.selector),
    [HV_X86_ES] = IN(SET_SREGS, kvm_sregs, es.selector),
    [HV_X86_FS] = IN(SET_SREGS, kvm_sregs, fs.selector),
    [HV_X86_GS] = IN(SET_SREGS, kvm_sregs, gs.selector),
    [HV_X86_IDT_BASE] = IN(SET_SREGS, kvm_sregs, idt.base),
    [HV_X86_IDT_LIMIT] = IN(SET_SREGS, kvm_sregs, idt.limit),
    [HV_X86_GDT_BASE] = IN(SET_SREGS, kvm_sregs, gdt.base),
    [HV_X86_GDT_LIMIT] = IN(SET_SREGS, kvm_sregs, gdt.limit),
    [HV_X86_LDTR] = IN(SET_SREGS, kvm_sregs, ldt.selector),
    [HV_X86_LDT_BASE] = IN(SET_SREGS, kvm_sregs, ldt.base),
    [HV_X86_LDT_LIMIT] = IN(SET_SREGS, kvm_sregs, ldt.limit),
    [HV_X86_LDT_AR] = {.set = SET_LDT_ACCESS},
    [HV_X86_TR] = IN(SET_SREGS, kvm_sregs, tr.selector),
    [HV_X86_TSS_BASE] = IN(SET_SREGS, kvm_sregs, tr.base),
    [HV_X86_TSS_LIMIT] = IN(SET_SREGS, kvm_sregs, tr.limit),
    [HV_X86_TSS_AR] = {.set = SET_TSS_ACCESS},
    [HV_X86_CR0] = IN(SET_SREGS, kvm_sregs, cr0),
    /* CR1, DR4 and DR5 do not exist in the processor: reading or writing them is refused. */
    [HV_X86_CR2] = IN(SET_SREGS, kvm_sregs, cr2),
    [HV_X86_CR3] = IN(SET_SREGS, kvm_sregs, cr3),
    [HV_X86_CR4] = IN(SET_SREGS, kvm_sregs, cr4),
    [HV_X86_DR0] = IN(SET_DEBUG, kvm_debugregs, db[0]),
    [HV_X86_DR1] = IN(SET_DEBUG, kvm_debugregs, db[1]),
    [HV_X86_DR2] = IN(SET_DEBUG, kvm_debugregs, db[2]),
    [HV_X86_DR3] = IN(SET_DEBUG, kvm_debugregs, db[3]),
    [HV_X86_DR6] = IN(SET_DEBUG, kvm_debugregs, dr6),
    [HV_X86_DR7] = IN(SET_DEBUG, kvm_debugregs, dr7),
    /* CR8 is the task priority. */
    [HV_X86_TPR] = IN(SET_SREGS, kvm_sregs, cr8),
    [HV_X86_XCR0] = {.set = SET_XCR0},
};

/* Room for any of KVM's register structures. */
union register_file {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_debugregs debug;
    struct kvm_xcrs xcrs;
};

struct register_ioctls {
    unsigned long get;
    unsigned long set;
};

static struct register_ioctls ioctls_of(enum register_set set)
{
    switch (set) {
    case SET_REGS:
        return (struct register_ioctls){KVM_GET_REGS, KVM_SET_REGS};
    case SET_DEBUG:
        return (struct register_ioctls){KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS};
    case SET_XCR0:
        return (struct register_ioctls){KVM_GET_XCRS, KVM_SET_XCRS};
    default:
        return (struct register_ioctls){KVM_GET_SREGS, KVM_SET_SREGS};
    }
}

/* A segment's access rights as in a VMCS (Intel SDM volume 3, 25.4.1, table 25-2). */
static uint64_t segment_access(const struct kvm_segment *segment)
{
    return (uint64_t)segment->type | (uint64_t)segment->s << 4 | (uint64_t)segment->dpl << 5 |
           (uint64_t)segment->present << 7 | (uint64_t)segment->avl << 12 | (uint64_t)segment->l << 13 |
           (uint64_t)segment->db << 14 | (uint64_t)segment->g << 15 | (uint64_t)segment->unusable << 16;
}

static void segment_set_access(struct kvm_segment *segment, uint64_t access)
{
    segment->type = access & 0xf;
    segment->s = access >> 4 & 1;
    segment->dpl = access >> 5 & 3;
    segment->present = access >> 7 & 1;
    segment->avl = access >> 12 & 1;
    segment->l = access >> 13 & 1;
    segment->db = access >> 14 & 1;
    segment->g = access >> 15 & 1;
    segment->unusable = access >> 16 & 1;
}

static uint64_t *xcr0_of(struct kvm_xcrs *xcrs)
{
    for (uint32_t i = 0; i < xcrs->nr_xcrs && i < KVM_MAX_XCRS; i++)
        if (xcrs->xcrs[i].xcr == 0)
            return (uint64_t *)&xcrs->xcrs[i].value;
    return NULL;
}

static hv_return_t file_get(union register_file *file, const struct register_place *place, uint64_t *value)
{
    uint64_t *xcr0;

    switch (place->set) {
    case SET_LDT_ACCESS:
        *value = segment_access(&file->sregs.ldt);
        return HV_SUCCESS;
    case SET_TSS_ACCESS:
        *value = segment_access(&file->sregs.tr);
        return HV_SUCCESS;
    case SET_XCR0:
        xcr0 = xcr0_of(&file->xcrs);
        if (xcr0 == NULL)
            return HV_UNSUPPORTED;
        *value = *xcr0;
        return HV_SUCCESS;
    default:
        *value = 0;
        memcpy(value, (const uint8_t *)file + place->offset, place->size);
        return HV_SUCCESS;
    }
}

static hv_return_t file_set(union register_file *file, const struct register_place *place, uint64_t value)
{
    uint64_t *xcr0;

    switch (place->set) {
    case SET_LDT_ACCESS:
        segment_set_access(&file->sregs.ldt, value);
        return HV_SUCCESS;
    case SET_TSS_ACCESS:
        segment_set_access(&file->sregs.tr, value);
        return HV_SUCCESS;
    case SET_XCR0:
        xcr0 = xcr0_of(&file->xcrs);
        if (xcr0 == NULL)
            return HV_UNSUPPORTED;
        *xcr0 = value;
        return HV_SUCCESS;
    default:
        if (place->size < sizeof(value) && value >> (8 * place->size) != 0)
            return HV_BAD_ARGUMENT;
        memcpy((uint8_t *)file + place->offset, &value, place->size);
        return HV_SUCCESS;
    }
}

/* Each of KVM's structures, read when it is first needed. */
struct register_files {
    bool is_read[SET_COUNT];
    union register_file files[SET_COUNT];
};

/* The structure that a register is in: what is worked out of segments is with them. */
static enum register_set file_of(hv_x86_reg_t reg)
{
    const enum register_set set = places[reg].set;

    return set == SET_LDT_ACCESS || set == SET_TSS_ACCESS ? SET_SREGS : set;
}

/* The structures that hold these registers, all of which there are. */
static hv_return_t files_read(const struct vcpu *vcpu, const hv_x86_reg_t *registers, size_t count,
                              struct register_files *files)
{
    memset(files->is_read, 0, sizeof(files->is_read));
    for (size_t i = 0; i < count; i++) {
        const enum register_set set = file_of(registers[i]);
        if (!files->is_read[set] && ioctl(vcpu->fd, ioctls_of(set).get, &files->files[set]) < 0)
            return HV_ERROR;
        files->is_read[set] = true;
    }
    return HV_SUCCESS;
}

static hv_return_t check_registers(const hv_x86_reg_t *registers, const uint64_t *values, size_t count)
{
    if (count > 0 && (registers == NULL || values == NULL))
        return HV_BAD_ARGUMENT;
    for (size_t i = 0; i < count; i++)
        if ((unsigned)registers[i] >= HV_X86_REGISTERS_MAX || places[registers[i]].set == SET_NONE)
            return HV_BAD_ARGUMENT;
    return HV_SUCCESS;
}

hv_return_t hvx_vcpu_read_registers(hv_vcpuid_t id, const hv_x86_reg_t *registers, uint64_t *values, size_t count)
{
    hv_return_t result;
    const struct vcpu *vcpu = vcpu_owned(id, &result);
    struct register_files files;

    if (vcpu == NULL)
        return result;
    result = check_registers(registers, values, count);
    if (result == HV_SUCCESS)
        result = files_read(vcpu, registers, count, &files);
    for (size_t i = 0; i < count && result == HV_SUCCESS; i++)
        result = file_get(&files.files[file_of(registers[i])], &places[registers[i]], &values[i]);
    return result;
}

hv_return_t hvx_vcpu_write_registers(hv_vcpuid_t id, const hv_x86_reg_t *registers, const uint64_t *values,
                                     size_t count)
{
    /* The general registers last: KVM takes any. */
    static const enum register_set order[] = {SET_SREGS, SET_XCR0, SET_DEBUG, SET_REGS};
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);
    struct register_files files;

    if (vcpu == NULL)
        return result;
    result = check_registers(registers, values, count);
    if (result == HV_SUCCESS)
        result = files_read(vcpu, registers, count, &files);
    for (size_t i = 0; i < count && result == HV_SUCCESS; i++)
        result = file_set(&files.files[file_of(registers[i])], &places[registers[i]], values[i]);
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && result == HV_SUCCESS; i++)
        if (files.is_read[order[i]] && ioctl(vcpu->fd, ioctls_of(order[i]).set, &files.files[order[i]]) < 0)
            result = HV_BAD_ARGUMENT;
    /* Without interrupt controllers in the kernel KVM takes the task priority from here at each entry. */
    if (result == HV_SUCCESS && files.is_read[SET_SREGS])
        vcpu->run->cr8 = files.files[SET_SREGS].sregs.cr8;
    return result;
}

hv_return_t hv_vcpu_read_register(hv_vcpuid_t id, hv_x86_reg_t reg, uint64_t *value)
{
    return hvx_vcpu_read_registers(id, &reg, value, 1);
}

hv_return_t hv_vcpu_write_register(hv_vcpuid_t id, hv_x86_reg_t reg, uint64_t value)
{
    return hvx_vcpu_write_registers(id, &reg, &value, 1);
}

static const struct kvm_segment *segment_of(const struct kvm_sregs *sregs, hv_x86_reg_t selector_register)
{
    switch (selector_register) {
    case HV_X86_CS:
        return &sregs->cs;
    case HV_X86_SS:
        return &sregs->ss;
    case HV_X86_DS:
        return &sregs->ds;
    case HV_X86_ES:
        return &sregs->es;
    case HV_X86_FS:
        return &sregs->fs;
    case HV_X86_GS:
        return &sregs->gs;
    case HV_X86_LDTR:
        return &sregs->ldt;
    case HV_X86_TR:
        return &sregs->tr;
    default:
        return NULL;
    }
}

hv_return_t hvx_vcpu_read_segment(hv_vcpuid_t id, hv_x86_reg_t selector_register, hvx_segment_t *ret_segment)
{
    hv_return_t result;
    const struct vcpu *vcpu = vcpu_owned(id, &result);
    struct kvm_sregs sregs;
    const struct kvm_segment *segment = segment_of(&sregs, selector_register);

    if (vcpu == NULL)
        return result;
    if (ret_segment == NULL || segment == NULL)
        return HV_BAD_ARGUMENT;
    if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return HV_ERROR;
    *ret_segment = (hvx_segment_t){.base = segment->base,
                                   .limit = segment->limit,
                                   .access = (uint32_t)segment_access(segment),
                                   .selector = segment->selector};
    return HV_SUCCESS;
}

/* ---- Other state ---- */

hv_return_t hv_vcpu_read_fpstate(hv_vcpuid_t id, void *buffer, size_t size)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);
    struct kvm_xsave xsave;

    if (vcpu == NULL)
        return result;
    if (buffer == NULL || size == 0 || size > sizeof(xsave.region))
        return HV_BAD_ARGUMENT;
    if (ioctl(vcpu->fd, KVM_GET_XSAVE, &xsave) < 0)
        return HV_ERROR;
    memcpy(buffer, xsave.region, size);
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_write_fpstate(hv_vcpuid_t id, const void *buffer, size_t size)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);
    struct kvm_xsave xsave;

    if (vcpu == NULL)
        return result;
    if (buffer == NULL || size == 0 || size > sizeof(xsave.region))
        return HV_BAD_ARGUMENT;
    if (ioctl(vcpu->fd, KVM_GET_XSAVE, &xsave) < 0)
        return HV_ERROR;
    memcpy(xsave.region, buffer, size);
    return ioctl(vcpu->fd, KVM_SET_XSAVE, &xsave) < 0 ? HV_BAD_ARGUMENT : HV_SUCCESS;
}

hv_return_t hv_vcpu_read_msr(hv_vcpuid_t id, uint32_t msr, uint64_t *value)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);
    uint64_t data = 0;

    if (vcpu == NULL)
        return result;
    if (value == NULL)
        return HV_BAD_ARGUMENT;
    if (!vcpu_access_msr(vcpu->fd, KVM_GET_MSRS, msr, &data))
        return HV_UNSUPPORTED;
    *value = data;
    return HV_SUCCESS;
}

hv_return_t hv_vcpu_write_msr(hv_vcpuid_t id, uint32_t msr, uint64_t value)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    return vcpu_access_msr(vcpu->fd, KVM_SET_MSRS, msr, &value) ? HV_SUCCESS : HV_BAD_ARGUMENT;
}

/* Whether the vCPU has such an MSR. */
static hv_return_t check_msr(hv_vcpuid_t id, uint32_t msr)
{
    hv_return_t result;
    const struct vcpu *vcpu = vcpu_owned(id, &result);
    uint64_t value = 0;

    if (vcpu == NULL)
        return result;
    return vcpu_access_msr(vcpu->fd, KVM_GET_MSRS, msr, &value) ? HV_SUCCESS : HV_UNSUPPORTED;
}

hv_return_t hv_vcpu_enable_native_msr(hv_vcpuid_t id, uint32_t msr, bool enable)
{
    hv_return_t result = check_msr(id, msr);

    return result == HV_SUCCESS && !enable ? HV_UNSUPPORTED : result;
}

hv_return_t hv_vcpu_enable_managed_msr(hv_vcpuid_t id, uint32_t msr, bool enable)
{
    return hv_vcpu_enable_native_msr(id, msr, enable);
}

hv_return_t hv_vcpu_set_msr_access(hv_vcpuid_t id, uint32_t msr, hv_msr_flags_t flags)
{
    const hv_msr_flags_t all = HV_MSR_READ | HV_MSR_WRITE;
    hv_return_t result = check_msr(id, msr);

    if (result == HV_SUCCESS && (flags & ~all) != 0)
        return HV_BAD_ARGUMENT;
    return result == HV_SUCCESS && flags != all ? HV_UNSUPPORTED : result;
}

hv_return_t hv_vcpu_invalidate_tlb(hv_vcpuid_t id)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);
    struct kvm_sregs sregs;

    if (vcpu == NULL)
        return result;
    if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return HV_ERROR;
    /* KVM drops what it has of the guest's page tables when CR4.PGE changes, as the processor does. */
    sregs.cr4 ^= X86_CR4_PGE;
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
        return HV_ERROR;
    sregs.cr4 ^= X86_CR4_PGE;
    return ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 ? HV_ERROR : HV_SUCCESS;
}

hv_return_t hv_vcpu_exit_info(hv_vcpuid_t id, hv_vm_exitinfo_t *code)
{
    hv_return_t result;

    if (vcpu_owned(id, &result) == NULL)
        return result;
    if (code == NULL)
        return HV_BAD_ARGUMENT;
    *code = HV_VM_EXITINFO_VMX;
    return HV_SUCCESS;
}

/* The gates of all spaces that vCPUs can be in, so that nobody is in the guest. With the VM locked. */
static void hold_all(struct vm *vm)
{
    for (hv_vm_space_t id = 0; id < VM_SPACE_MAX; id++)
        if (vm->slots[id] != NULL)
            gate_hold(kvm_slots_gate(vm->slots[id]));
}

static void release_all(struct vm *vm)
{
    for (hv_vm_space_t id = 0; id < VM_SPACE_MAX; id++)
        if (vm->slots[id] != NULL)
            gate_release(kvm_slots_gate(vm->slots[id]));
}

/* A KVM that runs guest code on the host's own counter takes a new value and does nothing with it. */
static hv_return_t set_counter(const struct vcpu *vcpu, uint64_t tsc)
{
    const uint32_t time_stamp_counter = 0x10; /* Intel SDM volume 4, table 2-2 */
    uint64_t value = tsc;
    uint64_t now = 0;

    if (!vcpu_access_msr(vcpu->fd, KVM_SET_MSRS, time_stamp_counter, &value) ||
        !vcpu_access_msr(vcpu->fd, KVM_GET_MSRS, time_stamp_counter, &now))
        return HV_ERROR;
    /* 2^40 cycles are minutes; this took less. */
    return now - tsc < 1ull << 40 ? HV_SUCCESS : HV_UNSUPPORTED;
}

hv_return_t hv_vm_sync_tsc(uint64_t tsc)
{
    hv_return_t result = HV_SUCCESS;
    struct vm *vm = vm_lock();

    if (vm == NULL)
        return HV_NO_DEVICE;
    hold_all(vm);
    for (unsigned id = 0; id < VM_VCPU_MAX && result == HV_SUCCESS; id++)
        if (vm->vcpus[id] != NULL)
            result = set_counter(vm->vcpus[id], tsc);
    release_all(vm);
    vm_unlock(vm);
    return result;
}

hv_return_t hv_vcpu_flush(hv_vcpuid_t id)
{
    (void)id;
    return HV_UNSUPPORTED;
}
