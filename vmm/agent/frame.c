#include "vmm/agent/frame.h"

#include <assert.h>
#include <string.h>

/* Without a zero, a block has so many bytes. COBS, section 3. */
enum { BLOCK_MAX = 254 };

/* ---- CRC-32C ---- */

/* Of each half of a byte, for the polynomial 0x82f63b78 (reflected). */
static const uint32_t crc_of_nibble[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

static uint32_t crc_of_byte[256];

/* Before main(), so that threads find it filled in. */
__attribute__((constructor)) static void fill_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        const uint32_t half = crc_of_nibble[i & 15];
        crc_of_byte[i] = (half >> 4) ^ crc_of_nibble[(half ^ (i >> 4)) & 15];
    }
}

static uint32_t crc_add(uint32_t crc, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        crc = (crc >> 8) ^ crc_of_byte[(crc ^ bytes[i]) & 0xff];
    return crc;
}

uint32_t agent_crc(const uint8_t *bytes, size_t len)
{
    return ~crc_add(UINT32_MAX, bytes, len);
}

static void put_le32(uint8_t *out, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get_le32(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* ---- Bytes to a stream ---- */

struct stuffer {
    uint8_t *out;
    /* Where the block's code goes, and where its next byte does. */
    size_t code;
    size_t at;
};

static void end_block(struct stuffer *stuffer)
{
    stuffer->out[stuffer->code] = (uint8_t)(stuffer->at - stuffer->code);
    stuffer->code = stuffer->at++;
}

static void stuff(struct stuffer *stuffer, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        const size_t room = BLOCK_MAX - (stuffer->at - stuffer->code - 1);
        if (room == 0) {
            end_block(stuffer);
            continue;
        }
        const size_t offered = len < room ? len : room;
        const uint8_t *zero = memchr(bytes, 0, offered);
        const size_t run = zero != NULL ? (size_t)(zero - bytes) : offered;
        memcpy(stuffer->out + stuffer->at, bytes, run);
        stuffer->at += run;
        bytes += run;
        len -= run;
        if (zero != NULL) {
            end_block(stuffer);
            bytes++;
            len--;
        }
    }
}

size_t agent_frame_encode(const struct agent_frame *frame, uint8_t *out)
{
    struct stuffer stuffer = {.out = out, .code = 1, .at = 2};
    uint8_t header[AGENT_HEADER_SIZE] = {frame->type, frame->stream};
    uint8_t tail[AGENT_CRC_SIZE];

    assert(frame->size <= AGENT_PAYLOAD_MAX);
    put_le32(header + 2, frame->id);
    put_le32(tail, ~crc_add(crc_add(UINT32_MAX, header, sizeof(header)), frame->payload, frame->size));
    out[0] = 0;
    stuff(&stuffer, header, sizeof(header));
    stuff(&stuffer, frame->payload, frame->size);
    stuff(&stuffer, tail, sizeof(tail));
    out[stuffer.code] = (uint8_t)(stuffer.at - stuffer.code);
    out[stuffer.at++] = 0;
    return stuffer.at;
}

/* ---- And back ---- */

static void keep(struct agent_decoder *decoder, const uint8_t *bytes, size_t len)
{
    if (len > sizeof(decoder->body) - decoder->used) {
        decoder->is_damaged = true;
        return;
    }
    memcpy(decoder->body + decoder->used, bytes, len);
    decoder->used += len;
}

/* The bytes between zeros have all come. */
static enum agent_decoded end_of_body(struct agent_decoder *decoder, struct agent_frame *frame)
{
    const bool has_begun = decoder->has_begun;
    const bool is_whole = !decoder->is_damaged && decoder->left == 0;
    const size_t used = decoder->used;

    decoder->used = 0;
    decoder->left = 0;
    decoder->zero_follows = false;
    decoder->has_begun = false;
    decoder->is_damaged = false;
    if (!has_begun)
        return AGENT_DECODED_NOTHING;
    if (!is_whole || used < AGENT_HEADER_SIZE + AGENT_CRC_SIZE ||
        agent_crc(decoder->body, used - AGENT_CRC_SIZE) != get_le32(decoder->body + used - AGENT_CRC_SIZE))
        return AGENT_DECODED_DAMAGE;
    *frame = (struct agent_frame){
        .type = decoder->body[0],
        .stream = decoder->body[1],
        .id = get_le32(decoder->body + 2),
        .payload = decoder->body + AGENT_HEADER_SIZE,
        .size = used - AGENT_HEADER_SIZE - AGENT_CRC_SIZE,
    };
    return AGENT_DECODED_FRAME;
}

/* Bytes without a zero. */
static void unstuff(struct agent_decoder *decoder, const uint8_t *bytes, size_t len)
{
    static const uint8_t zero;

    while (len > 0 && !decoder->is_damaged) {
        if (decoder->left == 0) {
            if (decoder->zero_follows)
                keep(decoder, &zero, 1);
            decoder->left = (uint8_t)(bytes[0] - 1);
            decoder->zero_follows = bytes[0] != BLOCK_MAX + 1;
            bytes++;
            len--;
            continue;
        }
        const size_t run = len < decoder->left ? len : decoder->left;
        keep(decoder, bytes, run);
        decoder->left = (uint8_t)(decoder->left - run);
        bytes += run;
        len -= run;
    }
}

enum agent_decoded agent_decode(struct agent_decoder *decoder, const uint8_t *bytes, size_t len, size_t *ret_taken,
                                struct agent_frame *frame)
{
    const size_t all = len;

    while (len > 0) {
        const uint8_t *zero = memchr(bytes, 0, len);
        const size_t run = zero != NULL ? (size_t)(zero - bytes) : len;
        decoder->has_begun |= run > 0;
        unstuff(decoder, bytes, run);
        bytes += run;
        len -= run;
        if (zero == NULL)
            break;
        bytes++;
        len--;
        const enum agent_decoded what = end_of_body(decoder, frame);
        if (what != AGENT_DECODED_NOTHING) {
            *ret_taken = all - len;
            return what;
        }
    }
    *ret_taken = all;
    return AGENT_DECODED_NOTHING;
}
