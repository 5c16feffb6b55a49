#include "vmm/vcpu/x86/debug.h"

#include "vmm/vcpu/x86/state.h"

#include <asm/debugreg.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

enum { VECTOR_DB = 1, VECTOR_BP = 3 };

/* Of DR7: the enabling bits, bit 10, which is always 1, and kinds and lengths. What is left out is no breakpoint. */
static const uint64_t CONTROL_BITS = 0xffff07ff;

/* Of DR6 and DR7 (Intel SDM volume 3, 18.2.3 and 18.2.4). */
static const uint64_t DR6_ACCESS_DETECTED = 1 << 13;
static const uint64_t DR7_DETECT_ACCESS = 1 << 13;
static const uint64_t DR7_RESERVED = 1 << 10;

static bool wants_something(const hvx_vcpu_debug_t *debug)
{
    return debug->single_step || debug->hold_interrupts || debug->catch_int3 || debug->control != 0;
}

static bool is_same(const hvx_vcpu_debug_t *a, const hvx_vcpu_debug_t *b)
{
    return a->single_step == b->single_step && a->hold_interrupts == b->hold_interrupts &&
           a->catch_int3 == b->catch_int3 && a->control == b->control &&
           memcmp(a->breakpoints, b->breakpoints, sizeof(a->breakpoints)) == 0;
}

/* 0, or a negative errno. inject: KVM_GUESTDBG_INJECT_*, or 0. */
static int apply(int vcpu_fd, const hvx_vcpu_debug_t *debug, uint32_t inject)
{
    struct kvm_guest_debug request = {.control = inject};

    if (wants_something(debug))
        request.control |= KVM_GUESTDBG_ENABLE;
    if (debug->single_step)
        request.control |= KVM_GUESTDBG_SINGLESTEP;
    if (debug->hold_interrupts)
        request.control |= KVM_GUESTDBG_BLOCKIRQ;
    if (debug->catch_int3)
        request.control |= KVM_GUESTDBG_USE_SW_BP;
    if (debug->control != 0) {
        request.control |= KVM_GUESTDBG_USE_HW_BP;
        memcpy(request.arch.debugreg, debug->breakpoints, sizeof(debug->breakpoints));
        request.arch.debugreg[7] = debug->control;
    }
    return ioctl(vcpu_fd, KVM_SET_GUEST_DEBUG, &request) < 0 ? -errno : 0;
}

void vcpu_describe_debug(struct vcpu *vcpu)
{
    const struct kvm_debug_exit_arch *arch = &vcpu->run->debug.arch;
    hvx_vcpu_exit_t *exit = &vcpu->exit;

    exit->reason = HVX_EXIT_DEBUG;
    exit->debug.exception = arch->exception;
    exit->debug.pc = arch->pc;
    if (arch->exception == VECTOR_DB) {
        exit->debug.dr6 = arch->dr6;
        exit->debug.dr7 = arch->dr7;
    }
    vcpu->exception_is_ours = true;
    if (vcpu->debug.single_step)
        vcpu_wake(vcpu->fd);
}

void vcpu_describe_step(struct vcpu *vcpu)
{
    hvx_vcpu_exit_t *exit = &vcpu->exit;
    struct kvm_regs regs;
    struct kvm_sregs sregs;

    if ((exit->reason != HVX_EXIT_PORT && exit->reason != HVX_EXIT_MEMORY) ||
        ioctl(vcpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
        return;
    memset(exit, 0, sizeof(*exit));
    exit->reason = HVX_EXIT_DEBUG;
    exit->raw_reason = KVM_EXIT_DEBUG;
    exit->debug.exception = VECTOR_DB;
    /* In 64-bit code the base of CS counts as 0. */
    exit->debug.pc = (sregs.cs.l ? 0 : sregs.cs.base) + regs.rip;
    exit->debug.dr6 = DR6_RESERVED | DR_STEP;
    exit->debug.dr7 = DR7_RESERVED;
    vcpu->exception_is_ours = true;
}

bool vcpu_arm_step(const struct vcpu *vcpu)
{
    if (vcpu->debug.hold_interrupts)
        vcpu_wake(vcpu->fd);
    return apply(vcpu->fd, &vcpu->debug, 0) == 0;
}

bool vcpu_carry_debug(const struct vcpu *vcpu, int to_fd)
{
    static const hvx_vcpu_debug_t nothing;

    if (!wants_something(&vcpu->debug))
        return true;
    if (apply(to_fd, &vcpu->debug, 0) != 0)
        return false;
    (void)apply(vcpu->fd, &nothing, 0);
    return true;
}

void vcpu_end_debug(struct vcpu *vcpu)
{
    const hvx_vcpu_debug_t nothing = {0};

    if (wants_something(&vcpu->debug))
        (void)apply(vcpu->fd, &nothing, 0);
    vcpu->debug = nothing;
    vcpu->exception_is_ours = false;
}

hv_return_t hvx_vcpu_set_debug(hv_vcpuid_t id, const hvx_vcpu_debug_t *debug)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);
    hvx_vcpu_debug_t wanted = {0};

    if (vcpu == NULL)
        return result;
    if (debug != NULL)
        wanted = *debug;
    if ((wanted.control & ~CONTROL_BITS) != 0)
        return HV_BAD_ARGUMENT;
    if (wanted.hold_interrupts && (vcpu->vm->kvm.guest_debug & KVM_GUESTDBG_BLOCKIRQ) == 0)
        return HV_UNSUPPORTED;
    if (wanted.control == 0)
        memset(wanted.breakpoints, 0, sizeof(wanted.breakpoints));
    if (is_same(&wanted, &vcpu->debug))
        return HV_SUCCESS;
    if (apply(vcpu->fd, &wanted, 0) != 0)
        return HV_UNSUPPORTED;
    vcpu->debug = wanted;
    return HV_SUCCESS;
}

/* Sets DR6 and DR7 as the processor does when it delivers the exception: KVM does not, for one that it is given. */
static bool set_status(const struct vcpu *vcpu)
{
    const uint64_t reasons = DR_TRAP_BITS | DR_STEP | DR_SWITCH | DR6_ACCESS_DETECTED;
    struct kvm_debugregs registers;

    if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &registers) < 0)
        return false;
    registers.dr6 = (registers.dr6 & ~(uint64_t)DR_TRAP_BITS) | (vcpu->exit.debug.dr6 & reasons);
    registers.dr7 &= ~DR7_DETECT_ACCESS;
    return ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &registers) == 0;
}

hv_return_t hvx_vcpu_reflect(hv_vcpuid_t id)
{
    hv_return_t result;
    struct vcpu *vcpu = vcpu_owned(id, &result);

    if (vcpu == NULL)
        return result;
    if (!vcpu->exception_is_ours)
        return HV_ERROR;
    const bool is_debug = vcpu->exit.debug.exception == VECTOR_DB;
    const int error = apply(vcpu->fd, &vcpu->debug, is_debug ? KVM_GUESTDBG_INJECT_DB : KVM_GUESTDBG_INJECT_BP);
    if (error != 0)
        return error == -EBUSY ? HV_BUSY : HV_ERROR;
    vcpu->exception_is_ours = false;
    return is_debug && !set_status(vcpu) ? HV_ERROR : HV_SUCCESS;
}
