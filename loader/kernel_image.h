/*
 * What a kernel file is, and the setup header of a bzImage: pure functions on bytes.
 */
#ifndef LOADER_KERNEL_IMAGE_H
#define LOADER_KERNEL_IMAGE_H

#include "memory/support/error.h"

#include <asm/bootparam.h>
#include <stddef.h>
#include <stdint.h>

enum kernel_kind {
    KERNEL_BZIMAGE,
    KERNEL_ELF,
};

/* Tells the two kinds apart. -1 with an error that says what the file looks like instead. */
int kernel_image_identify(const void *data, size_t size, enum kernel_kind *ret_kind, struct error *error);

/* Versions of the boot protocol, as in setup_header.version: Documentation/arch/x86/boot.rst. */
#define BZIMAGE_PROTOCOL_MIN 0x0206u
#define BZIMAGE_PROTOCOL_PAYLOAD 0x0208u
#define BZIMAGE_PROTOCOL_SETUP_DATA 0x0209u
#define BZIMAGE_PROTOCOL_INIT_SIZE 0x020au
#define BZIMAGE_PROTOCOL_XLOADFLAGS 0x020cu

struct bzimage {
    /* A copy. Fields that the image's protocol does not have yet are zero. */
    struct setup_header header;
    /* Into the file: what follows the real-mode code. */
    const uint8_t *protected_mode;
    size_t protected_mode_size;
    /* Into the file: the compressed kernel. NULL where the protocol has none or the header names none. */
    const uint8_t *payload;
    size_t payload_size;
};

/* The file has to stay for as long as *image is used. */
int bzimage_parse(const void *data, size_t size, struct bzimage *image, struct error *error);

#endif
