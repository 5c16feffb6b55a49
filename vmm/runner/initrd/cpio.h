/*
 * Writes cpio archives as the kernel unpacks them: "newc", Documentation/driver-api/early-userspace/buffer-format.rst
 * in its tree. There is no time in it and no user but root, so that the same files give the same bytes.
 *
 * Threads: one at a time for each.
 */
#ifndef VMM_RUNNER_INITRD_CPIO_H
#define VMM_RUNNER_INITRD_CPIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Zeroed but for out, which is the caller's, at a multiple of 4 bytes. */
struct cpio {
    FILE *out;
    uint32_t inode;
    uint64_t written;
};

struct cpio_entry {
    /* Without a slash in front. */
    const char *name;
    /* As stat(2) has it. */
    uint32_t mode;
    /* Of a device. */
    unsigned major, minor;
    /* Of a file; of a link, where it leads. */
    const void *bytes;
    size_t size;
};

/* False, with errno: it cannot be written. Folders come before what is in them. */
bool cpio_add(struct cpio *cpio, const struct cpio_entry *entry);
bool cpio_end(struct cpio *cpio);

#endif
