/*
 * Disk images on the host: raw files and block devices, and overlays that keep what is written to them.
 */
#ifndef DEVICES_BLOCK_IMAGE_H
#define DEVICES_BLOCK_IMAGE_H

#include "memory/support/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The unit of all that a disk does: virtio 1.2, 5.2.4. */
#define BLOCK_SECTOR 512u

enum block_cache {
    /* What the guest has flushed is on the disk. */
    BLOCK_CACHE_SAFE,
    /* A flush does nothing: for what may be lost when the host fails. */
    BLOCK_CACHE_UNSAFE,
};

/* Where writes go. */
enum block_snapshot {
    /* To the image. */
    BLOCK_SNAPSHOT_OFF,
    /* To a file without a name, until the image is closed: the image itself is only read. */
    BLOCK_SNAPSHOT_FILE,
    /* The same, in memory. */
    BLOCK_SNAPSHOT_MEMORY,
};

struct block_image_options {
    const char *path;
    bool read_only;
    /* Past the host's page cache, for what is aligned as the host needs it; it bounces the rest. */
    bool direct;
    enum block_cache cache;
    enum block_snapshot snapshot;
    /* Where the file without a name is made; NULL: /var/tmp. */
    const char *snapshot_folder;
    /* Bytes that an overlay keeps at the most, beyond which writes fail as on a full disk; 0: as many as the image has.
     */
    uint64_t snapshot_limit;
};

/* The descriptors of an image, which an io_uring has by these numbers. */
enum block_file {
    BLOCK_FILE_BASE,
    /* The same file through the page cache, where the base is direct. */
    BLOCK_FILE_BOUNCE,
    BLOCK_FILE_OVERLAY,
    BLOCK_FILE_COUNT,
};

struct block_overlay;

/* Constant once it is open, but for what the overlay points at. For engines and requests; others see no inside. */
struct block_image {
    /* -1: there is none. */
    int files[BLOCK_FILE_COUNT];
    /* Bytes: a multiple of BLOCK_SECTOR and of block_size, and not 0. */
    uint64_t size;
    /* What offsets and lengths should be multiples of, and buffers' addresses if it is direct; a power of two. */
    uint32_t block_size;
    bool read_only;
    bool direct;
    enum block_cache cache;
    /* NULL: there is none. For one thread at a time. */
    struct block_overlay *overlay;
};

/*
 * Opens and locks an image. The lock is advisory, and the whole file's: shared where it is only read, exclusive where
 * it is written; one that is in use is waited for, a second at the most. To be called before the sandbox. NULL with
 * *error: ERROR_CONFIG, and a sentence that names the path, where it can be helped by another path or option.
 */
struct block_image *block_image_open(const struct block_image_options *options, struct error *error);

/* Nothing uses it any more; an overlay is gone. Takes NULL. */
void block_image_close(struct block_image *image);

#endif
