/*
 * Where an initrd goes.
 */
#ifndef LOADER_INITRD_H
#define LOADER_INITRD_H

#include "loader/loader.h"

/*
 * Copies the initrd to the highest page-aligned place in the RAM below 4 GiB that does not reach past address_max and
 * lies above kernel_end. Without an initrd, *ret_range is zero. ERROR_CONFIG where there is no room.
 */
int initrd_load(const struct boot_files *files, const struct platform *platform, const struct guest_memory *memory,
                uint64_t kernel_end, uint64_t address_max, struct layout_range *ret_range, struct error *error);

#endif
