/*
 * What a configuration would give, for people: no KVM is needed.
 */
#ifndef VMM_MACHINE_DRY_RUN_H
#define VMM_MACHINE_DRY_RUN_H

#include "memory/support/error.h"
#include "vmm/config/config.h"

#include <stdio.h>

/* Writes the machine as TOML, which can be read again, with its memory map and its ports as comments. */
int dry_run_print(const struct config *config, FILE *out, struct error *error);

#endif
