/*
 * Unpacking the compressed kernel inside a bzImage.
 */
#ifndef LOADER_DECOMPRESS_H
#define LOADER_DECOMPRESS_H

#include "memory/support/error.h"

#include <stddef.h>
#include <stdint.h>

enum payload_format {
    PAYLOAD_UNKNOWN,
    PAYLOAD_GZIP,
    PAYLOAD_XZ,
    PAYLOAD_LZ4,
    PAYLOAD_ZSTD,
};

/* By the payload's first bytes: Documentation/arch/x86/boot.rst, "payload_offset". */
enum payload_format payload_format_find(const uint8_t *payload, size_t size);

const char *payload_format_name(enum payload_format format);

/* The unpacked size, from the four bytes that end the payload (the same text). 0 where it is too short for them. */
uint32_t payload_unpacked_size(const uint8_t *payload, size_t size);

/*
 * Unpacks into output, whose size is payload_unpacked_size(): an ERROR_CONFIG if the data is damaged or makes more or
 * less than that, and output then holds anything. Never writes past output. format: not PAYLOAD_UNKNOWN.
 */
int payload_unpack(enum payload_format format, const uint8_t *payload, size_t size, void *output, size_t output_size,
                   struct error *error);

#endif
