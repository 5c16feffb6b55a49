/*
 * The whole state of a vCPU as KVM has it: captured at power-on, given back at a reset, and changed for the boot.
 */
#ifndef VMM_MACHINE_X86_VCPU_STATE_H
#define VMM_MACHINE_X86_VCPU_STATE_H

#include "loader/loader.h"
#include "memory/support/error.h"

struct vcpu_state;

/*
 * These are for the vCPU's owner. vcpu_fd: its KVM descriptor, system_fd: /dev/kvm.
 * Errors are ERROR_HOST.
 */

/* Captures everything but the time stamp counter. The caller's to vcpu_state_free(). */
int vcpu_state_capture(int system_fd, int vcpu_fd, struct vcpu_state **ret_state, struct error *error);

int vcpu_state_restore(int vcpu_fd, const struct vcpu_state *state, struct error *error);

/* Takes NULL. */
void vcpu_state_free(struct vcpu_state *state);

/* Makes the boot processor start where the loader says, from its power-on state. */
int vcpu_state_boot(int vcpu_fd, const struct boot_entry *entry, struct error *error);

#endif
