#include "vmm/vcpu/x86/state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Intel SDM volume 4, table 2-2. The counter goes on over a reset, so that all vCPUs' stay in step. */
static const uint32_t MSR_TIME_STAMP_COUNTER = 0x10;

/* One MSR in the layout of KVM_GET_MSRS and KVM_SET_MSRS: a header and one entry behind it. */
union one_msr {
    struct kvm_msrs msrs;
    uint8_t bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

bool vcpu_access_msr(int vcpu_fd, unsigned long request, uint32_t msr, uint64_t *value)
{
    union one_msr one = {.msrs.nmsrs = 1};

    one.msrs.entries[0].index = msr;
    one.msrs.entries[0].data = *value;
    /* KVM says how many it has done. */
    if (ioctl(vcpu_fd, request, &one) != 1)
        return false;
    *value = one.msrs.entries[0].data;
    return true;
}

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
    bool has_lapic;
    bool has_mp;
    /* the last: it ends in an array of no fixed size, which KVM_GET_XSAVE leaves alone */
    struct kvm_xsave xsave;
};

/* What a request for a list of MSRs gives: KVM_GET_MSR_INDEX_LIST or KVM_GET_MSR_FEATURE_INDEX_LIST. */
static struct kvm_msr_list *msr_list_get(int system_fd, unsigned long request)
{
    struct kvm_msr_list probe = {.nmsrs = 0};

    /* With no room KVM says E2BIG and how many there are. */
    if (ioctl(system_fd, request, &probe) < 0 && errno != E2BIG)
        return NULL;
    struct kvm_msr_list *list = malloc(sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
    if (list == NULL)
        return NULL;
    list->nmsrs = probe.nmsrs;
    if (ioctl(system_fd, request, list) < 0) {
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

static bool list_has(const struct kvm_msr_list *list, uint32_t index)
{
    bool found = false;

    for (uint32_t i = 0; list != NULL && i < list->nmsrs && !found; i++)
        found = list->indices[i] == index;
    return found;
}

/*
 * The MSRs that a vCPU has and that are wanted, with their values; the caller's to free. NULL: KVM refused, or no
 * memory. Those that tell what the processor can do are left out: they belong to it as CPUID does, and KVM refuses to
 * change them once it has run.
 */
static struct kvm_msrs *msrs_of(int system_fd, int vcpu_fd, bool (*is_wanted)(uint32_t index))
{
    struct kvm_msr_list *list = msr_list_get(system_fd, KVM_GET_MSR_INDEX_LIST);
    if (list == NULL)
        return NULL;
    struct kvm_msr_list *features = msr_list_get(system_fd, KVM_GET_MSR_FEATURE_INDEX_LIST);
    struct kvm_msrs *msrs = calloc(1, sizeof(*msrs) + list->nmsrs * sizeof(msrs->entries[0]));
    for (uint32_t i = 0; msrs != NULL && i < list->nmsrs; i++)
        if (is_wanted(list->indices[i]) && !list_has(features, list->indices[i]))
            msrs->entries[msrs->nmsrs++].index = list->indices[i];
    free(features);
    free(list);
    if (msrs != NULL && msrs_capture(vcpu_fd, msrs) == 0)
        return msrs;
    free(msrs);
    return NULL;
}

static bool is_no_counter(uint32_t index)
{
    return index != MSR_TIME_STAMP_COUNTER;
}

/* One of KVM's requests, and what it reads or writes. */
struct step {
    unsigned long request;
    void *data;
};

static bool steps_do(int vcpu_fd, const struct step *steps, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (ioctl(vcpu_fd, steps[i].request, steps[i].data) < 0)
            return false;
    return true;
}

#define STEP_COUNT(steps) (sizeof(steps) / sizeof((steps)[0]))

hv_return_t vcpu_state_capture(int system_fd, int vcpu_fd, struct vcpu_state **ret_state)
{
    struct vcpu_state *state = calloc(1, sizeof(*state));
    if (state == NULL)
        return HV_NO_RESOURCES;

    const struct step steps[] = {
        {KVM_GET_REGS, &state->regs},       {KVM_GET_SREGS, &state->sregs},        {KVM_GET_XSAVE, &state->xsave},
        {KVM_GET_DEBUGREGS, &state->debug}, {KVM_GET_VCPU_EVENTS, &state->events},
    };
    bool done = steps_do(vcpu_fd, steps, STEP_COUNT(steps));
    /* Without interrupt controllers in the kernel there is no local APIC, and a vCPU always runs. */
    state->has_lapic = ioctl(vcpu_fd, KVM_GET_LAPIC, &state->lapic) == 0;
    state->has_mp = ioctl(vcpu_fd, KVM_GET_MP_STATE, &state->mp) == 0;
    /* A processor without XSAVE has no XCRs to get. */
    state->has_xcrs = ioctl(vcpu_fd, KVM_GET_XCRS, &state->xcrs) == 0 && state->xcrs.nr_xcrs > 0;
    state->msrs = msrs_of(system_fd, vcpu_fd, is_no_counter);
    if (!done || state->msrs == NULL) {
        vcpu_state_free(state);
        return HV_ERROR;
    }
    *ret_state = state;
    return HV_SUCCESS;
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

hv_return_t vcpu_state_restore(int vcpu_fd, struct kvm_run *run, const struct vcpu_state *state)
{
    struct vcpu_state copy = *state; /* the requests take pointers to what is not const */
    const struct step steps[] = {
        {KVM_SET_SREGS, &copy.sregs},
        {KVM_SET_REGS, &copy.regs},
        {KVM_SET_XSAVE, &copy.xsave},
        {KVM_SET_DEBUGREGS, &copy.debug},
    };
    struct kvm_msrs *scratch = malloc(sizeof(*scratch) + state->msrs->nmsrs * sizeof(scratch->entries[0]));

    if (scratch == NULL)
        return HV_NO_RESOURCES;
    /* Without interrupt controllers in the kernel KVM takes the task priority from here at each entry. */
    run->cr8 = state->sregs.cr8;
    bool done = !state->has_xcrs || ioctl(vcpu_fd, KVM_SET_XCRS, &copy.xcrs) == 0;
    /* KVM's own (kvmclock and the like) go first: they name guest memory that means nothing after the reset. */
    restore_msrs(vcpu_fd, state->msrs, scratch);
    free(scratch);
    done = done && steps_do(vcpu_fd, steps, STEP_COUNT(steps)) &&
           (!state->has_lapic || ioctl(vcpu_fd, KVM_SET_LAPIC, &copy.lapic) == 0) &&
           ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, &copy.events) == 0 &&
           (!state->has_mp || ioctl(vcpu_fd, KVM_SET_MP_STATE, &copy.mp) == 0);
    return done ? HV_SUCCESS : HV_ERROR;
}

void vcpu_state_free(struct vcpu_state *state)
{
    if (state == NULL)
        return;
    free(state->msrs);
    free(state);
}

/* ---- From one KVM VM to another ---- */

struct vcpu_baggage {
    /* MSRs that are carried; their values are those of the last time. */
    struct kvm_msrs *msrs;
    /* An external interrupt that the processor had accepted: its controller is in the default space. */
    struct kvm_vcpu_events held;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    /* the last: see struct vcpu_state */
    struct kvm_xsave xsave;
};

/* Intel SDM volume 4, table 2-2. */
static const uint32_t MSR_TSC_ADJUST = 0x3b;
static const uint32_t MSR_APIC_BASE = 0x1b;
static const uint32_t MSR_TSC_DEADLINE = 0x6e0;

/* KVM's own: Documentation/virt/kvm/x86/msr.rst, and Hyper-V's (TLFS, appendix F). */
static bool is_paravirtual(uint32_t index)
{
    return index == 0x11 || index == 0x12 || (index >= 0x4b564d00 && index <= 0x4b564dff) ||
           (index >= 0x40000000 && index <= 0x400001ff);
}

/* The counter goes by its offset, the APIC's base with the segments. */
static bool is_carried(uint32_t index)
{
    return !is_paravirtual(index) && index != MSR_TIME_STAMP_COUNTER && index != MSR_TSC_ADJUST &&
           index != MSR_APIC_BASE && index != MSR_TSC_DEADLINE;
}

/* Keeps those that KVM takes back: some it only gives. */
static void keep_writable(int vcpu_fd, struct kvm_msrs *msrs)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < msrs->nmsrs; i++) {
        uint64_t value = msrs->entries[i].data;
        if (vcpu_access_msr(vcpu_fd, KVM_SET_MSRS, msrs->entries[i].index, &value))
            msrs->entries[kept++] = msrs->entries[i];
    }
    msrs->nmsrs = kept;
}

hv_return_t vcpu_baggage_create(int system_fd, int vcpu_fd, struct vcpu_baggage **ret_baggage)
{
    struct vcpu_baggage *baggage = calloc(1, sizeof(*baggage));
    if (baggage == NULL)
        return HV_NO_RESOURCES;
    baggage->msrs = msrs_of(system_fd, vcpu_fd, is_carried);
    if (baggage->msrs == NULL) {
        free(baggage);
        return HV_ERROR;
    }
    keep_writable(vcpu_fd, baggage->msrs);
    *ret_baggage = baggage;
    return HV_SUCCESS;
}

void vcpu_baggage_free(struct vcpu_baggage *baggage)
{
    if (baggage == NULL)
        return;
    free(baggage->msrs);
    free(baggage);
}

/* What one processor says that it can do, the other says too, as far as KVM has it. */
static void match_features(int system_fd, int from_fd, int to_fd)
{
    struct kvm_msr_list *features = msr_list_get(system_fd, KVM_GET_MSR_FEATURE_INDEX_LIST);
    uint64_t value = 0;

    for (uint32_t i = 0; features != NULL && i < features->nmsrs; i++)
        if (vcpu_access_msr(from_fd, KVM_GET_MSRS, features->indices[i], &value))
            (void)vcpu_access_msr(to_fd, KVM_SET_MSRS, features->indices[i], &value);
    free(features);
}

hv_return_t vcpu_state_match(int system_fd, int from_fd, int to_fd)
{
    enum { ENTRIES = 256 };
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));
    hv_return_t result = HV_SUCCESS;

    if (cpuid == NULL)
        return HV_NO_RESOURCES;
    cpuid->nent = ENTRIES;
    if (ioctl(from_fd, KVM_GET_CPUID2, cpuid) < 0 || (cpuid->nent > 0 && ioctl(to_fd, KVM_SET_CPUID2, cpuid) < 0))
        result = HV_ERROR;
    free(cpuid);
    if (result == HV_SUCCESS)
        match_features(system_fd, from_fd, to_fd);
    return result;
}

/* The same offset from the host's counter. An older KVM has no such attribute: the counter's value is carried then. */
static bool carry_counter(int from_fd, int to_fd)
{
    uint64_t value = 0;
    struct kvm_device_attr offset = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&value};

    if (ioctl(from_fd, KVM_GET_DEVICE_ATTR, &offset) == 0)
        return ioctl(to_fd, KVM_SET_DEVICE_ATTR, &offset) == 0;
    return vcpu_access_msr(from_fd, KVM_GET_MSRS, MSR_TIME_STAMP_COUNTER, &value) &&
           vcpu_access_msr(to_fd, KVM_SET_MSRS, MSR_TIME_STAMP_COUNTER, &value);
}

/* Holds back, or gives back, an external interrupt, and leaves out what belongs to the default space's VM. */
static void sort_events(struct vcpu_baggage *baggage, enum vcpu_direction direction)
{
    struct kvm_vcpu_events *events = &baggage->events;

    events->flags &= ~(KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SMM);
    if (direction == VCPU_LEAVES_DEFAULT) {
        baggage->held = *events;
        memset(&events->interrupt, 0, sizeof(events->interrupt));
    } else if (direction == VCPU_ENTERS_DEFAULT && events->interrupt.injected == 0) {
        events->interrupt = baggage->held.interrupt;
        memset(&baggage->held, 0, sizeof(baggage->held));
    }
    /* A shadow of STI or MOV SS counts only where KVM says that it knows. */
    if (!(events->flags & KVM_VCPUEVENT_VALID_SHADOW))
        events->interrupt.shadow = 0;
}

void vcpu_wake(int vcpu_fd)
{
    struct kvm_mp_state state;

    if (ioctl(vcpu_fd, KVM_GET_MP_STATE, &state) < 0 || state.mp_state != KVM_MP_STATE_HALTED)
        return;
    state.mp_state = KVM_MP_STATE_RUNNABLE;
    (void)ioctl(vcpu_fd, KVM_SET_MP_STATE, &state);
}

hv_return_t vcpu_state_carry(struct vcpu_baggage *baggage, enum vcpu_direction direction, int from_fd, int to_fd,
                             struct kvm_run *to_run)
{
    const struct step get[] = {
        {KVM_GET_REGS, &baggage->regs}, {KVM_GET_SREGS, &baggage->sregs},     {KVM_GET_XSAVE, &baggage->xsave},
        {KVM_GET_XCRS, &baggage->xcrs}, {KVM_GET_DEBUGREGS, &baggage->debug}, {KVM_GET_VCPU_EVENTS, &baggage->events},
    };
    const struct step set[] = {
        {KVM_SET_SREGS, &baggage->sregs},     {KVM_SET_REGS, &baggage->regs},          {KVM_SET_XSAVE, &baggage->xsave},
        {KVM_SET_DEBUGREGS, &baggage->debug}, {KVM_SET_VCPU_EVENTS, &baggage->events},
    };
    const struct kvm_vcpu_events held = baggage->held;
    const int count = (int)baggage->msrs->nmsrs;

    if (!steps_do(from_fd, get, STEP_COUNT(get)) || ioctl(from_fd, KVM_GET_MSRS, baggage->msrs) != count)
        return HV_ERROR;
    memset(baggage->sregs.interrupt_bitmap, 0, sizeof(baggage->sregs.interrupt_bitmap));
    sort_events(baggage, direction);
    /* Without interrupt controllers in the kernel KVM takes the task priority from here at each entry. */
    to_run->cr8 = baggage->sregs.cr8;
    if ((baggage->xcrs.nr_xcrs > 0 && ioctl(to_fd, KVM_SET_XCRS, &baggage->xcrs) < 0) ||
        !steps_do(to_fd, set, STEP_COUNT(set)) || ioctl(to_fd, KVM_SET_MSRS, baggage->msrs) != count ||
        !carry_counter(from_fd, to_fd)) {
        baggage->held = held;
        return HV_ERROR;
    }
    /* A HLT that KVM waits in was left when the vCPU went to another space. */
    if (direction == VCPU_ENTERS_DEFAULT)
        vcpu_wake(to_fd);
    return HV_SUCCESS;
}
