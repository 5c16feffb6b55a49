/*
 * The capabilities of the process. Internal to vmm/sandbox/.
 */
#ifndef VMM_SANDBOX_CAPABILITIES_H
#define VMM_SANDBOX_CAPABILITIES_H

#include "memory/support/error.h"

/* Drops all of the calling thread's capabilities, in every set, and sets no_new_privs. 0, or -1 with *error. */
int capabilities_drop(struct error *error);

#endif
