/*
 * The machine as ACPI tables, in the ROM below 1 MiB (and the FACS, which the guest writes, in RAM).
 */
#ifndef LOADER_X86_ACPI_H
#define LOADER_X86_ACPI_H

#include "loader/loader.h"

/* Writes the tables; *ret_rsdp_gpa is where the root is. ERROR_CONFIG if there are more CPUs than the ROM has room for.
 */
int acpi_write(const struct platform *platform, const struct guest_memory *memory, uint64_t *ret_rsdp_gpa,
               struct error *error);

#endif
