#include "loader/decompress.h"

#include <assert.h>
#include <endian.h>
#include <limits.h>
#include <lz4.h>
#include <lzma.h>
#include <stdbool.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* Every format but gzip, whose own trailer has it, is followed by the unpacked size. */
#define SIZE_TRAILER 4u
/* Kernels are packed with dictionaries of up to 128 MiB; what is larger is refused. */
#define XZ_MEMORY_LIMIT (UINT64_C(160) << 20)
/* LZ4's legacy frame format: doc/lz4_Frame_format.md of lz4, "Legacy frame". */
#define LZ4_LEGACY_MAGIC 0x184c2102u
#define LZ4_LEGACY_BLOCK_SIZE (8u << 20)

struct payload_codec {
    const char *name;
    const char *magic;
    size_t magic_size;
    /* Unpacks to at most output_size bytes and says how many in *ret_size. NULL, or what is wrong with the data. */
    const char *(*unpack)(const uint8_t *input, size_t size, uint8_t *output, size_t output_size, size_t *ret_size);
    bool has_size_trailer;
};

static const char DAMAGED[] = "the data is damaged";
static const char CHECKSUM[] = "the checksum is wrong";
static const char CUT_SHORT[] = "the data is cut short";
static const char TOO_LONG[] = "there is more data than announced";
static const char NO_MEMORY[] = "there is no memory for the decoder";

static const char *unpack_gzip(const uint8_t *input, size_t size, uint8_t *output, size_t output_size, size_t *ret_size)
{
    z_stream stream = {0};

    if (size > UINT_MAX || output_size > UINT_MAX)
        return DAMAGED;
    /* 16: expect a gzip header, and check its checksum: zlib.h, inflateInit2. */
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK)
        return NO_MEMORY;
    /* zlib does not write to its input; the type is not const for old callers' sake. */
    memcpy(&stream.next_in, &input, sizeof(input));
    stream.avail_in = (uInt)size;
    stream.next_out = output;
    stream.avail_out = (uInt)output_size;
    int result = inflate(&stream, Z_FINISH);
    *ret_size = stream.total_out;
    bool input_used_up = stream.avail_in == 0;
    bool wrong_checksum = stream.msg && strstr(stream.msg, "check");
    (void)inflateEnd(&stream);

    if (result == Z_STREAM_END)
        return NULL;
    if (result == Z_BUF_ERROR || result == Z_OK)
        return input_used_up ? CUT_SHORT : TOO_LONG;
    if (result == Z_MEM_ERROR)
        return NO_MEMORY;
    return wrong_checksum ? CHECKSUM : DAMAGED;
}

static const char *unpack_xz(const uint8_t *input, size_t size, uint8_t *output, size_t output_size, size_t *ret_size)
{
    uint64_t memory_limit = XZ_MEMORY_LIMIT;
    size_t input_position = 0;

    *ret_size = 0;
    switch (lzma_stream_buffer_decode(&memory_limit, 0, NULL, input, &input_position, size, output, ret_size,
                                      output_size)) {
    case LZMA_OK:
        return NULL;
    case LZMA_BUF_ERROR:
        return TOO_LONG;
    case LZMA_MEM_ERROR:
        return NO_MEMORY;
    case LZMA_MEMLIMIT_ERROR:
        return "it needs a dictionary of more than 128 MiB";
    case LZMA_OPTIONS_ERROR:
        return "it uses a filter that liblzma does not know";
    default:
        return DAMAGED;
    }
}

static uint32_t read_le32(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return le32toh(value);
}

static const char *unpack_lz4(const uint8_t *input, size_t size, uint8_t *output, size_t output_size, size_t *ret_size)
{
    const uint8_t *end = input + size;
    size_t made = 0;

    while (input < end) {
        if (end - input < 4)
            return CUT_SHORT;
        uint32_t block_size = read_le32(input);
        input += 4;
        if (block_size == LZ4_LEGACY_MAGIC)
            continue;
        if (block_size > (uint32_t)LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK_SIZE))
            return DAMAGED;
        if (block_size > (size_t)(end - input))
            return CUT_SHORT;
        size_t room = output_size - made < LZ4_LEGACY_BLOCK_SIZE ? output_size - made : LZ4_LEGACY_BLOCK_SIZE;
        int length = LZ4_decompress_safe((const char *)input, (char *)output + made, (int)block_size, (int)room);
        if (length < 0)
            return DAMAGED;
        made += (size_t)length;
        input += block_size;
    }
    *ret_size = made;
    return NULL;
}

static const char *unpack_zstd(const uint8_t *input, size_t size, uint8_t *output, size_t output_size, size_t *ret_size)
{
    /* All at once: the output is the window then, and the frame's window size, up to 2 GiB, is never allocated. */
    size_t result = ZSTD_decompress(output, output_size, input, size);

    if (!ZSTD_isError(result)) {
        *ret_size = result;
        return NULL;
    }
    return ZSTD_getErrorName(result);
}

#define MAGIC(bytes) .magic = bytes, .magic_size = sizeof(bytes) - 1
static const struct payload_codec codecs[] = {
    [PAYLOAD_GZIP] = {.name = "gzip", MAGIC("\x1f\x8b"), .unpack = unpack_gzip, .has_size_trailer = false},
    [PAYLOAD_XZ] = {.name = "xz",
                    MAGIC("\xfd"
                          "7zXZ\0"),
                    .unpack = unpack_xz,
                    .has_size_trailer = true},
    [PAYLOAD_LZ4] = {.name = "lz4", MAGIC("\x02\x21\x4c\x18"), .unpack = unpack_lz4, .has_size_trailer = true},
    [PAYLOAD_ZSTD] = {.name = "zstd", MAGIC("\x28\xb5\x2f\xfd"), .unpack = unpack_zstd, .has_size_trailer = true},
};
#define CODEC_COUNT (sizeof(codecs) / sizeof(codecs[0]))

enum payload_format payload_format_find(const uint8_t *payload, size_t size)
{
    for (size_t i = PAYLOAD_UNKNOWN + 1; i < CODEC_COUNT; i++) {
        const struct payload_codec *codec = &codecs[i];

        if (size >= codec->magic_size + SIZE_TRAILER && memcmp(payload, codec->magic, codec->magic_size) == 0)
            return (enum payload_format)i;
    }
    return PAYLOAD_UNKNOWN;
}

const char *payload_format_name(enum payload_format format)
{
    return format == PAYLOAD_UNKNOWN ? "unknown" : codecs[format].name;
}

uint32_t payload_unpacked_size(const uint8_t *payload, size_t size)
{
    return size < SIZE_TRAILER ? 0 : read_le32(payload + size - SIZE_TRAILER);
}

int payload_unpack(enum payload_format format, const uint8_t *payload, size_t size, void *output, size_t output_size,
                   struct error *error)
{
    assert(format != PAYLOAD_UNKNOWN && (size_t)format < CODEC_COUNT && size >= SIZE_TRAILER);

    const struct payload_codec *codec = &codecs[format];
    size_t made = 0;
    const char *complaint =
        codec->unpack(payload, codec->has_size_trailer ? size - SIZE_TRAILER : size, output, output_size, &made);

    if (!complaint && made < output_size)
        complaint = CUT_SHORT;
    if (complaint)
        return error_set(error, ERROR_CONFIG, "its %s payload cannot be unpacked: %s; get it again", codec->name,
                         complaint);
    return 0;
}
