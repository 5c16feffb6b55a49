/*
 * gdb's remote protocol, the outer layer (gdb manual, appendix E.1 "Overview", E.10 "Packet Acknowledgment"): bytes of
 * a client to packets, and replies to bytes. Nothing here grows: both have buffers for one packet of the largest size.
 *
 * Threads: of one caller at a time.
 */
#ifndef VMM_GDB_GDB_PACKET_H
#define VMM_GDB_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a packet may have between '$' and '#', in both directions. Large, because a client that reads memory waits for
 * each reply before it asks for more.
 */
enum { GDB_PACKET_SIZE = 128 * 1024 };

/* ---- In ---- */

enum gdb_event {
    /* All bytes are used, and more are needed. */
    GDB_EVENT_NONE,
    /* payload and size, until the next call. */
    GDB_EVENT_PACKET,
    GDB_EVENT_BAD_CHECKSUM,
    /* It had more than GDB_PACKET_SIZE bytes; its checksum was right. */
    GDB_EVENT_TOO_LONG,
    /* Outside of packets: '+', '-', and Ctrl-C. */
    GDB_EVENT_ACK,
    GDB_EVENT_NACK,
    GDB_EVENT_INTERRUPT,
};

/* Where in a stream we are. */
enum gdb_framing { GDB_OUTSIDE, GDB_INSIDE, GDB_CHECKSUM_FIRST, GDB_CHECKSUM_SECOND };

/* All zero: at the start of a connection. */
struct gdb_reader {
    enum gdb_framing framing;
    bool escaped;
    bool too_long;
    uint8_t sum;
    /* What the packet says; > 0xff: no hexadecimal digits */
    unsigned claimed_sum;
    size_t size;
    /* Escapes are undone, and there is a NUL behind. */
    uint8_t payload[GDB_PACKET_SIZE + 1];
};

void gdb_reader_reset(struct gdb_reader *reader);

/*
 * Uses bytes up to and with the first event's; *used is how many. Garbage between packets is skipped. A '$' in a packet
 * begins a new one: what was before it was cut off.
 */
enum gdb_event gdb_reader_take(struct gdb_reader *reader, const uint8_t *bytes, size_t size, size_t *used);

/*
 * Where in bytes a Ctrl-C is that is no packet's, or size; *framing, GDB_OUTSIDE first, is brought forward over what
 * was looked at. For bytes that cannot be taken yet.
 */
size_t gdb_find_interrupt(enum gdb_framing *framing, const uint8_t *bytes, size_t size);

/* ---- Out ---- */

/* A reply, its acknowledgement, and two packets with a line of text each. */
enum { GDB_WRITER_SIZE = GDB_PACKET_SIZE + 4096, GDB_RETRANSMISSIONS = 8 };

/* All zero: at the start of a connection. */
struct gdb_writer {
    /* bytes[sent, size) are to be sent. */
    size_t sent;
    size_t size;
    /* The last packet, from '$' on; kept when it has been sent, in case that the client asks for it again. */
    size_t packet;
    bool has_packet;
    unsigned retransmissions;
    uint8_t bytes[GDB_WRITER_SIZE];
};

void gdb_writer_reset(struct gdb_writer *writer);
bool gdb_writer_is_empty(const struct gdb_writer *writer);
/* So many bytes have been sent. */
void gdb_writer_sent(struct gdb_writer *writer, size_t size);

/* '+' or '-'. */
void gdb_writer_acknowledge(struct gdb_writer *writer, bool was_good);
/* The client has the last packet. */
void gdb_writer_acknowledged(struct gdb_writer *writer);
/* The client wants it again. False: too often. */
bool gdb_writer_again(struct gdb_writer *writer);

/*
 * A packet: begin, put, end. What would make it longer than GDB_PACKET_SIZE is left away. A packet does not fit while
 * much is left to be sent: callers wait until the writer is empty, or send a stop reply and a line of text.
 */
void gdb_put_begin(struct gdb_writer *writer);
void gdb_put_end(struct gdb_writer *writer);
/* How many bytes can still be put. */
size_t gdb_put_room(const struct gdb_writer *writer);
/* Text that needs no escapes. */
void gdb_put_text(struct gdb_writer *writer, const char *text);
__attribute__((format(printf, 2, 3))) void gdb_put_format(struct gdb_writer *writer, const char *format, ...);
/* Two digits for each byte. How many of the bytes had room. */
size_t gdb_put_hex(struct gdb_writer *writer, const void *bytes, size_t size);
/*
 * The same, with long runs of a digit said shortly (gdb manual, E.1: run-length encoding), of which memory has many,
 * and which a client reads far more quickly. How many of the bytes would have had room as digits.
 */
size_t gdb_put_hex_runs(struct gdb_writer *writer, const void *bytes, size_t size);
/* Bytes as they are, with escapes. How many of them had room. */
size_t gdb_put_binary(struct gdb_writer *writer, const void *bytes, size_t size);
/* Has the first character of the packet's payload be another. */
void gdb_put_first(struct gdb_writer *writer, char first);

#endif
