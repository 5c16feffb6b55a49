/*
 * Everything of the Hypervisor.framework API that this library has. Apple's own names begin with hv_;
 * what goes beyond them begins with hvx_ and is in <Hypervisor/hvx.h>, which this header leaves out.
 */
#ifndef HYPERVISOR_HYPERVISOR_H
#define HYPERVISOR_HYPERVISOR_H

#include <Hypervisor/hv.h>
#include <Hypervisor/hv_arch_x86.h>
#include <Hypervisor/hv_error.h>
#include <Hypervisor/hv_types.h>

#endif
