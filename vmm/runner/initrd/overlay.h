/*
 * An initrd with more files in it: the kernel unpacks one archive after the other.
 */
#ifndef VMM_RUNNER_INITRD_OVERLAY_H
#define VMM_RUNNER_INITRD_OVERLAY_H

#include "memory/support/error.h"

#include <stddef.h>

struct initrd_put {
    /* On the host. */
    char *file;
    /* In the guest, from "/" on. */
    char *path;
};

/*
 * Writes to out the initrd at path base, compressed or not, with the files behind it; they keep their permissions, and
 * are root's. Folders that are not there are made. 0, or -1 with *error, which names the file.
 */
int initrd_overlay(const char *base, const struct initrd_put *puts, size_t count, const char *out, struct error *error);

#endif
