/*
 * The files that the guest boots from, and one boot from them.
 */
#ifndef VMM_MACHINE_BOOT_H
#define VMM_MACHINE_BOOT_H

#include "loader/loader.h"
#include "memory/support/error.h"
#include "vmm/config/config.h"

/* Open for as long as the machine runs: a restart reads them again, after the sandbox has closed the file system. */
struct boot_sources {
    int kernel_fd;
    /* -1: none */
    int initrd_fd;
};

/* 0, or -1 with *error and nothing open. */
int boot_sources_open(struct boot_sources *sources, const struct config *config, struct error *error);
void boot_sources_close(struct boot_sources *sources);

/* Reads the files, and fills guest memory (guest_ram.h) for a boot of this platform. */
int boot_load(const struct boot_sources *sources, const struct config *config, const struct platform *platform,
              struct boot_entry *entry, struct error *error);

#endif
