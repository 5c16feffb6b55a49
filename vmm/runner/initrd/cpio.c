#include "vmm/runner/initrd/cpio.h"

#include <errno.h>
#include <string.h>

static bool write_bytes(struct cpio *cpio, const void *bytes, size_t size)
{
    cpio->written += size;
    return size == 0 || fwrite(bytes, 1, size, cpio->out) == size;
}

static bool pad(struct cpio *cpio)
{
    return write_bytes(cpio, "\0\0\0", (4 - cpio->written % 4) % 4);
}

bool cpio_add(struct cpio *cpio, const struct cpio_entry *entry)
{
    char header[6 + 13 * 8 + 1];

    if (entry->size > UINT32_MAX) {
        errno = EFBIG;
        return false;
    }
    /* magic, inode, mode, uid, gid, links, mtime, size, device, its own device, the name's size, no checksum */
    (void)snprintf(header, sizeof(header), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ++cpio->inode,
                   entry->mode, 0u, 0u, 1u, 0u, (unsigned)entry->size, 0u, 0u, entry->major, entry->minor,
                   (unsigned)strlen(entry->name) + 1, 0u);
    return write_bytes(cpio, header, sizeof(header) - 1) && write_bytes(cpio, entry->name, strlen(entry->name) + 1) &&
           pad(cpio) && write_bytes(cpio, entry->bytes, entry->size) && pad(cpio);
}

bool cpio_end(struct cpio *cpio)
{
    return cpio_add(cpio, &(struct cpio_entry){.name = "TRAILER!!!"});
}
