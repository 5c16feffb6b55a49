/*
 * Results of the Hypervisor.framework API: Apple's names and values (err_local | err_sub(0xba5) is the base).
 */
#ifndef HYPERVISOR_HV_ERROR_H
#define HYPERVISOR_HV_ERROR_H

#include <stdint.h>

/* Apple's hv_return_t is a mach_error_t, a signed 32-bit integer: errors are negative. */
typedef int32_t hv_return_t;

#define HV_SUCCESS ((hv_return_t)0)
/* The call failed for a reason that no other code names: an overlap, for one. */
#define HV_ERROR ((hv_return_t)0xfae94001)
/* What the call wants to take is in use. */
#define HV_BUSY ((hv_return_t)0xfae94002)
#define HV_BAD_ARGUMENT ((hv_return_t)0xfae94003)
/* The host cannot supply memory, slots or descriptors. */
#define HV_NO_RESOURCES ((hv_return_t)0xfae94005)
/* There is no VM, or the host has no hypervisor. */
#define HV_NO_DEVICE ((hv_return_t)0xfae94006)
/* The host has a hypervisor and forbids its use, or the vCPU belongs to another thread. */
#define HV_DENIED ((hv_return_t)0xfae94007)
#define HV_UNSUPPORTED ((hv_return_t)0xfae9400f)

#endif
