/*
 * The state in which a processor starts.
 */
#ifndef VMM_MACHINE_X86_BOOT_STATE_H
#define VMM_MACHINE_X86_BOOT_STATE_H

#include "loader/loader.h"
#include "memory/support/error.h"

#include <stdbool.h>

/*
 * Makes a processor start where the loader says, from its power-on state. For the vCPU's owner; vcpu_fd is its KVM
 * descriptor in the default space, and vcpu its number. Errors are ERROR_HOST.
 */
int boot_state_set(int vcpu_fd, unsigned vcpu, const struct boot_entry *entry, struct error *error);

/* Whether all processors start so, or the first alone, which starts the others. */
bool boot_state_starts_all(const struct boot_entry *entry);

#endif
