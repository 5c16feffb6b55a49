/*
 * Frames on a byte stream between host and guest, which may begin in the middle of anything: a serial port that a
 * firmware, a kernel or a shell has written to before, or a frame whose writer was killed.
 *
 * A frame is a body between two zero bytes: a type, a stream, a job's number, a payload, and a CRC-32C of all that. The
 * body is stuffed (COBS: Cheshire and Baker, IEEE/ACM Transactions on Networking 7(2), 1999), so that it has no zero: a
 * zero always ends what went before, whatever that was, and no length on the wire is to be believed. The next frame is
 * found at once, at the cost of a byte in 254.
 *
 * Plain data, no allocation, any input; each struct for one thread at a time.
 */
#ifndef VMM_AGENT_FRAME_H
#define VMM_AGENT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a payload at the most. */
#define AGENT_PAYLOAD_MAX 32768u
/* Type, stream, and the job's number; and the CRC behind the payload. */
#define AGENT_HEADER_SIZE 6u
#define AGENT_CRC_SIZE 4u
#define AGENT_BODY_MAX (AGENT_HEADER_SIZE + AGENT_PAYLOAD_MAX + AGENT_CRC_SIZE)

/* What a frame with a payload of this size takes on the wire at the most. */
#define AGENT_WIRE_SIZE(payload_size)                                                                                  \
    ((payload_size) + AGENT_HEADER_SIZE + AGENT_CRC_SIZE +                                                             \
     ((payload_size) + AGENT_HEADER_SIZE + AGENT_CRC_SIZE) / 254u + 1u + 2u)
#define AGENT_WIRE_MAX AGENT_WIRE_SIZE(AGENT_PAYLOAD_MAX)

struct agent_frame {
    uint8_t type;
    uint8_t stream;
    uint32_t id;
    /* Of a decoded frame, it is in the decoder, until the next call. */
    const uint8_t *payload;
    size_t size;
};

/*
 * Writes a frame, at most AGENT_WIRE_SIZE(frame->size) bytes, to out, which has room for so many. The payload has at
 * most AGENT_PAYLOAD_MAX bytes. Returns how many it was.
 */
size_t agent_frame_encode(const struct agent_frame *frame, uint8_t *out);

/* A zeroed one is at the beginning of a stream. */
struct agent_decoder {
    size_t used;
    /* Bytes that the block still has, and whether a zero follows it. */
    uint8_t left;
    bool zero_follows;
    /* Something has come since the last zero; and it can be no frame any more. */
    bool has_begun;
    bool is_damaged;
    uint8_t body[AGENT_BODY_MAX];
};

enum agent_decoded {
    /* All has been taken, and there is no frame yet. */
    AGENT_DECODED_NOTHING,
    /* *frame has been filled in. */
    AGENT_DECODED_FRAME,
    /* What stood between two zeros is no frame. At the beginning of a stream, that is nothing to worry about. */
    AGENT_DECODED_DAMAGE,
};

/* Takes bytes up to the end of a frame, or all; *ret_taken is how many. To be called again with the rest. */
enum agent_decoded agent_decode(struct agent_decoder *decoder, const uint8_t *bytes, size_t len, size_t *ret_taken,
                                struct agent_frame *frame);

/* CRC-32C (RFC 3720, B.4). */
uint32_t agent_crc(const uint8_t *bytes, size_t len);

#endif
