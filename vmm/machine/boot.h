/*
 * The files that the guest boots from, and one boot from them.
 */
#ifndef VMM_MACHINE_BOOT_H
#define VMM_MACHINE_BOOT_H

#include "loader/loader.h"
#include "memory/support/error.h"
#include "vmm/config/config.h"

#include <Hypervisor/hvx.h>

/* Open for as long as the machine runs: a restart reads them again, after the sandbox has closed the file system. */
struct boot_sources {
    /* -1: none */
    int kernel_fd;
    int initrd_fd;
    int flat_fd;
};

/* 0, or -1 with *error and nothing open. */
int boot_sources_open(struct boot_sources *sources, const struct config *config, struct error *error);
void boot_sources_close(struct boot_sources *sources);

/* Reads the files, and fills guest memory (machine_memory.h) for a boot of this platform. */
int boot_load(const struct boot_sources *sources, const struct config *config, const struct platform *platform,
              struct boot_entry *entry, struct error *error);

/* Reads a flat binary, and puts it into each space that a vCPU starts in: spaces has one for each vCPU. */
int boot_load_flat(const struct boot_sources *sources, const struct config *config, const hv_vm_space_t *spaces,
                   struct boot_entry *entry, struct error *error);

#endif
