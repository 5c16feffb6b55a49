#include "vmm/machine/x86/boot_state.h"

#include <asm/processor-flags.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>

/* IA32_EFER, Intel SDM volume 3, 2.2.1. */
static const uint64_t EFER_LME = 1u << 8;
static const uint64_t EFER_LMA = 1u << 10;

/* RFLAGS bit 1 is always set: Intel SDM volume 1, 3.4.3. */
static const uint64_t RFLAGS_AT_ENTRY = X86_EFLAGS_FIXED;

static int ioctl_failed(struct error *error, const char *request)
{
    return error_set(error, ERROR_HOST, "KVM refused %s: %s", request, strerror(errno));
}

/* A flat segment of 4 GiB; type as in Intel SDM volume 3, table 3-1. */
static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool long_mode)
{
    return (struct kvm_segment){
        .base = 0,
        .limit = 0xffffffff,
        .selector = selector,
        .type = type,
        .present = 1,
        .s = 1,
        .db = !long_mode,
        .l = long_mode,
        .g = 1,
    };
}

static bool is_long_mode(enum boot_mode mode)
{
    return mode == BOOT_LINUX_64 || mode == BOOT_FLAT_LONG;
}

static void set_segments(struct kvm_sregs *sregs, const struct boot_entry *entry)
{
    enum { CODE_EXECUTE_READ_ACCESSED = 0xb, DATA_READ_WRITE_ACCESSED = 0x3, TSS_BUSY = 0xb };
    struct kvm_segment data = flat_segment(BOOT_DATA_SELECTOR, DATA_READ_WRITE_ACCESSED, false);

    sregs->cs = flat_segment(BOOT_CODE_SELECTOR, CODE_EXECUTE_READ_ACCESSED, is_long_mode(entry->mode));
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = (struct kvm_segment){.limit = 0x67, .selector = BOOT_TSS_SELECTOR, .type = TSS_BUSY, .present = 1};
    sregs->gdt.base = entry->gdt_gpa;
    sregs->gdt.limit = entry->gdt_limit;
    sregs->idt.base = 0;
    sregs->idt.limit = 0;
}

/* Real mode: a segment begins where its selector says, and the state at power-on has the rest right. */
static void set_real_mode(struct kvm_sregs *sregs, struct kvm_regs *regs, uint64_t gpa)
{
    sregs->cs.selector = (uint16_t)(gpa >> 4);
    sregs->cs.base = gpa & ~0xfull;
    regs->rip = gpa & 0xf;
}

static void set_paging(struct kvm_sregs *sregs, const struct boot_entry *entry)
{
    sregs->cr0 = X86_CR0_PE | X86_CR0_ET;
    sregs->cr4 = 0;
    sregs->efer = 0;
    if (!is_long_mode(entry->mode))
        return;
    sregs->cr0 |= X86_CR0_PG;
    sregs->cr3 = entry->cr3;
    sregs->cr4 |= X86_CR4_PAE;
    sregs->efer = EFER_LME | EFER_LMA;
}

static void set_argument(struct kvm_regs *regs, const struct boot_entry *entry, unsigned vcpu)
{
    switch (entry->mode) {
    case BOOT_LINUX_64:
    case BOOT_LINUX_32:
        regs->rsi = entry->argument;
        break;
    case BOOT_PVH:
        regs->rbx = entry->argument;
        break;
    case BOOT_FLAT_REAL:
    case BOOT_FLAT_PROTECTED:
    case BOOT_FLAT_LONG:
        regs->rdi = vcpu;
        break;
    }
}

bool boot_state_starts_all(const struct boot_entry *entry)
{
    return entry->mode == BOOT_FLAT_REAL || entry->mode == BOOT_FLAT_PROTECTED || entry->mode == BOOT_FLAT_LONG;
}

int boot_state_set(int vcpu_fd, unsigned vcpu, const struct boot_entry *entry, struct error *error)
{
    struct kvm_mp_state running = {.mp_state = KVM_MP_STATE_RUNNABLE};
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = entry->rip, .rsp = entry->rsp, .rflags = RFLAGS_AT_ENTRY};

    if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return ioctl_failed(error, "KVM_GET_SREGS");
    if (entry->mode == BOOT_FLAT_REAL) {
        set_real_mode(&sregs, &regs, entry->rip);
    } else {
        set_segments(&sregs, entry);
        set_paging(&sregs, entry);
    }
    set_argument(&regs, entry, vcpu);
    if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
        return ioctl_failed(error, "KVM_SET_SREGS");
    if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return ioctl_failed(error, "KVM_SET_REGS");
    /* Others than the first wait for a start-up interrupt otherwise. */
    if (boot_state_starts_all(entry) && ioctl(vcpu_fd, KVM_SET_MP_STATE, &running) < 0)
        return ioctl_failed(error, "KVM_SET_MP_STATE");
    return 0;
}
