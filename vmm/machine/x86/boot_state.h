/*
 * The state in which the boot processor starts.
 */
#ifndef VMM_MACHINE_X86_BOOT_STATE_H
#define VMM_MACHINE_X86_BOOT_STATE_H

#include "loader/loader.h"
#include "memory/support/error.h"

/*
 * Makes the boot processor start where the loader says, from its power-on state. For the vCPU's owner; vcpu_fd is its
 * KVM descriptor. Errors are ERROR_HOST.
 */
int boot_state_set(int vcpu_fd, const struct boot_entry *entry, struct error *error);

#endif
