#include "vmm/machine/x86/vcpu_state.h"

#include <asm/processor-flags.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Intel SDM volume 4, table 2-2. The counter goes on over a reset, so that all vCPUs' stay in step. */
static const uint32_t MSR_TIME_STAMP_COUNTER = 0x10;

/* IA32_EFER, Intel SDM volume 3, 2.2.1. */
static const uint64_t EFER_LME = 1u << 8;
static const uint64_t EFER_LMA = 1u << 10;

/* RFLAGS bit 1 is always set: Intel SDM volume 1, 3.4.3. */
static const uint64_t RFLAGS_AT_ENTRY = X86_EFLAGS_FIXED;

struct vcpu_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    struct kvm_lapic_state lapic;
    struct kvm_mp_state mp;
    struct kvm_vcpu_events events;
    struct kvm_msrs *msrs;
    bool has_xcrs;
    /* the last: it ends in an array of no fixed size, which KVM_GET_XSAVE leaves alone */
    struct kvm_xsave xsave;
};

static int ioctl_failed(struct error *error, const char *request)
{
    return error_set(error, ERROR_HOST, "KVM refused %s: %s", request, strerror(errno));
}

/* The indices of all MSRs that KVM keeps, in a struct kvm_msr_list. */
static struct kvm_msr_list *msr_list_get(int system_fd)
{
    struct kvm_msr_list probe = {.nmsrs = 0};

    /* With no room KVM says E2BIG and how many there are. */
    if (ioctl(system_fd, KVM_GET_MSR_INDEX_LIST, &probe) < 0 && errno != E2BIG)
        return NULL;
    struct kvm_msr_list *list = malloc(sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
    if (list == NULL)
        return NULL;
    list->nmsrs = probe.nmsrs;
    if (ioctl(system_fd, KVM_GET_MSR_INDEX_LIST, list) < 0) {
        free(list);
        return NULL;
    }
    return list;
}

/* Reads as many of these MSRs as this vCPU has: KVM stops at the first that it has not, which is then left out. */
static int msrs_capture(int vcpu_fd, struct kvm_msrs *msrs)
{
    struct kvm_msrs *rest = malloc(sizeof(*rest) + msrs->nmsrs * sizeof(rest->entries[0]));
    uint32_t read = 0;
    uint32_t next = 0;
    uint32_t total = msrs->nmsrs;

    if (rest == NULL)
        return -1;
    while (next < total) {
        rest->nmsrs = total - next;
        memcpy(rest->entries, &msrs->entries[next], rest->nmsrs * sizeof(rest->entries[0]));
        int done = ioctl(vcpu_fd, KVM_GET_MSRS, rest);
        if (done < 0)
            break;
        memmove(&msrs->entries[read], rest->entries, (uint32_t)done * sizeof(rest->entries[0]));
        read += (uint32_t)done;
        next += (uint32_t)done + 1;
    }
    free(rest);
    msrs->nmsrs = read;
    return next < total ? -1 : 0;
}

static int capture_msrs(int system_fd, int vcpu_fd, struct vcpu_state *state, struct error *error)
{
    struct kvm_msr_list *list = msr_list_get(system_fd);
    if (list == NULL)
        return ioctl_failed(error, "KVM_GET_MSR_INDEX_LIST");

    state->msrs = calloc(1, sizeof(*state->msrs) + list->nmsrs * sizeof(state->msrs->entries[0]));
    if (state->msrs == NULL) {
        free(list);
        return error_set(error, ERROR_HOST, "out of memory");
    }
    for (uint32_t i = 0; i < list->nmsrs; i++)
        if (list->indices[i] != MSR_TIME_STAMP_COUNTER)
            state->msrs->entries[state->msrs->nmsrs++].index = list->indices[i];
    free(list);
    return msrs_capture(vcpu_fd, state->msrs) < 0 ? ioctl_failed(error, "KVM_GET_MSRS") : 0;
}

int vcpu_state_capture(int system_fd, int vcpu_fd, struct vcpu_state **ret_state, struct error *error)
{
    struct vcpu_state *state = calloc(1, sizeof(*state));
    const struct {
        unsigned long request;
        void *to;
        const char *name;
    } steps[] = {
        {KVM_GET_REGS, &state->regs, "KVM_GET_REGS"},
        {KVM_GET_SREGS, &state->sregs, "KVM_GET_SREGS"},
        {KVM_GET_XSAVE, &state->xsave, "KVM_GET_XSAVE"},
        {KVM_GET_DEBUGREGS, &state->debug, "KVM_GET_DEBUGREGS"},
        {KVM_GET_LAPIC, &state->lapic, "KVM_GET_LAPIC"},
        {KVM_GET_MP_STATE, &state->mp, "KVM_GET_MP_STATE"},
        {KVM_GET_VCPU_EVENTS, &state->events, "KVM_GET_VCPU_EVENTS"},
    };

    if (state == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (ioctl(vcpu_fd, steps[i].request, steps[i].to) < 0) {
            ioctl_failed(error, steps[i].name);
            vcpu_state_free(state);
            return -1;
        }
    }
    /* A processor without XSAVE has no XCRs to get. */
    state->has_xcrs = ioctl(vcpu_fd, KVM_GET_XCRS, &state->xcrs) == 0 && state->xcrs.nr_xcrs > 0;
    if (capture_msrs(system_fd, vcpu_fd, state, error) < 0) {
        vcpu_state_free(state);
        return -1;
    }
    *ret_state = state;
    return 0;
}

/* Writes the MSRs one run at a time: one that KVM gives but does not take, of a newer kind, is passed over. */
static void restore_msrs(int vcpu_fd, const struct kvm_msrs *msrs, struct kvm_msrs *scratch)
{
    uint32_t next = 0;

    while (next < msrs->nmsrs) {
        scratch->nmsrs = msrs->nmsrs - next;
        memcpy(scratch->entries, &msrs->entries[next], scratch->nmsrs * sizeof(scratch->entries[0]));
        int done = ioctl(vcpu_fd, KVM_SET_MSRS, scratch);
        if (done < 0)
            return;
        next += (uint32_t)done + 1;
    }
}

int vcpu_state_restore(int vcpu_fd, const struct vcpu_state *state, struct error *error)
{
    struct vcpu_state copy = *state; /* the requests take pointers to what is not const */
    const struct {
        unsigned long request;
        void *from;
        const char *name;
    } steps[] = {
        {KVM_SET_SREGS, &copy.sregs, "KVM_SET_SREGS"},    {KVM_SET_REGS, &copy.regs, "KVM_SET_REGS"},
        {KVM_SET_XSAVE, &copy.xsave, "KVM_SET_XSAVE"},    {KVM_SET_DEBUGREGS, &copy.debug, "KVM_SET_DEBUGREGS"},
        {KVM_SET_LAPIC, &copy.lapic, "KVM_SET_LAPIC"},    {KVM_SET_VCPU_EVENTS, &copy.events, "KVM_SET_VCPU_EVENTS"},
        {KVM_SET_MP_STATE, &copy.mp, "KVM_SET_MP_STATE"},
    };
    struct kvm_msrs *scratch = malloc(sizeof(*scratch) + state->msrs->nmsrs * sizeof(scratch->entries[0]));

    if (scratch == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    if (state->has_xcrs && ioctl(vcpu_fd, KVM_SET_XCRS, &copy.xcrs) < 0) {
        free(scratch);
        return ioctl_failed(error, "KVM_SET_XCRS");
    }
    /* KVM's own (kvmclock and the like) go first: they name guest memory that means nothing after the reset. */
    restore_msrs(vcpu_fd, state->msrs, scratch);
    free(scratch);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (ioctl(vcpu_fd, steps[i].request, steps[i].from) < 0)
            return ioctl_failed(error, steps[i].name);
    return 0;
}

void vcpu_state_free(struct vcpu_state *state)
{
    if (state == NULL)
        return;
    free(state->msrs);
    free(state);
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

static void set_segments(struct kvm_sregs *sregs, const struct boot_entry *entry)
{
    enum { CODE_EXECUTE_READ_ACCESSED = 0xb, DATA_READ_WRITE_ACCESSED = 0x3, TSS_BUSY = 0xb };
    struct kvm_segment data = flat_segment(BOOT_DATA_SELECTOR, DATA_READ_WRITE_ACCESSED, false);

    sregs->cs = flat_segment(BOOT_CODE_SELECTOR, CODE_EXECUTE_READ_ACCESSED, entry->mode == BOOT_LINUX_64);
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    sregs->tr = (struct kvm_segment){.limit = 0x67, .selector = BOOT_TSS_SELECTOR, .type = TSS_BUSY, .present = 1};
    sregs->gdt.base = entry->gdt_gpa;
    sregs->gdt.limit = entry->gdt_limit;
    sregs->idt.base = 0;
    sregs->idt.limit = 0;
}

int vcpu_state_boot(int vcpu_fd, const struct boot_entry *entry, struct error *error)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = entry->rip, .rsp = entry->rsp, .rflags = RFLAGS_AT_ENTRY};

    if (ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
        return ioctl_failed(error, "KVM_GET_SREGS");
    set_segments(&sregs, entry);
    sregs.cr0 = X86_CR0_PE | X86_CR0_ET;
    sregs.cr4 = 0;
    sregs.efer = 0;
    if (entry->mode == BOOT_LINUX_64) {
        sregs.cr0 |= X86_CR0_PG;
        sregs.cr3 = entry->cr3;
        sregs.cr4 |= X86_CR4_PAE;
        sregs.efer = EFER_LME | EFER_LMA;
    }
    if (entry->mode == BOOT_PVH)
        regs.rbx = entry->argument;
    else
        regs.rsi = entry->argument;
    if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
        return ioctl_failed(error, "KVM_SET_SREGS");
    if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return ioctl_failed(error, "KVM_SET_REGS");
    return 0;
}
