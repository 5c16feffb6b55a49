#include "vmm/gdb/gdb_packet.h"

#include "vmm/gdb/gdb_text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { INTERRUPT = 0x03, ESCAPE = '}', ESCAPE_BIT = 0x20, NO_SUM = 0x100 };

/* ---- In ---- */

void gdb_reader_reset(struct gdb_reader *reader)
{
    /* Not the payload, which is large. */
    memset(reader, 0, offsetof(struct gdb_reader, payload));
}

static void begin(struct gdb_reader *reader)
{
    gdb_reader_reset(reader);
    reader->framing = GDB_INSIDE;
}

static enum gdb_event take_outside(struct gdb_reader *reader, uint8_t byte)
{
    switch (byte) {
    case '$':
        begin(reader);
        return GDB_EVENT_NONE;
    case '+':
        return GDB_EVENT_ACK;
    case '-':
        return GDB_EVENT_NACK;
    case INTERRUPT:
        return GDB_EVENT_INTERRUPT;
    default:
        return GDB_EVENT_NONE;
    }
}

static void take_inside(struct gdb_reader *reader, uint8_t byte)
{
    if (byte == '$') {
        begin(reader);
        return;
    }
    if (byte == '#') {
        reader->framing = GDB_CHECKSUM_FIRST;
        return;
    }
    reader->sum = (uint8_t)(reader->sum + byte);
    if (byte == ESCAPE && !reader->escaped) {
        reader->escaped = true;
        return;
    }
    if (reader->escaped)
        byte ^= ESCAPE_BIT;
    reader->escaped = false;
    if (reader->size == GDB_PACKET_SIZE)
        reader->too_long = true;
    else
        reader->payload[reader->size++] = byte;
}

static enum gdb_event end(struct gdb_reader *reader)
{
    reader->framing = GDB_OUTSIDE;
    reader->payload[reader->size] = '\0';
    if (reader->claimed_sum != reader->sum)
        return GDB_EVENT_BAD_CHECKSUM;
    return reader->too_long ? GDB_EVENT_TOO_LONG : GDB_EVENT_PACKET;
}

static enum gdb_event take_byte(struct gdb_reader *reader, uint8_t byte)
{
    const int digit = gdb_digit(byte);

    switch (reader->framing) {
    case GDB_OUTSIDE:
        return take_outside(reader, byte);
    case GDB_INSIDE:
        take_inside(reader, byte);
        return GDB_EVENT_NONE;
    case GDB_CHECKSUM_FIRST:
        reader->claimed_sum = digit < 0 ? NO_SUM : (unsigned)digit << 4;
        reader->framing = GDB_CHECKSUM_SECOND;
        return GDB_EVENT_NONE;
    case GDB_CHECKSUM_SECOND:
        reader->claimed_sum |= digit < 0 ? NO_SUM : (unsigned)digit;
        return end(reader);
    }
    return GDB_EVENT_NONE;
}

enum gdb_event gdb_reader_take(struct gdb_reader *reader, const uint8_t *bytes, size_t size, size_t *used)
{
    enum gdb_event event = GDB_EVENT_NONE;
    size_t i = 0;

    while (i < size && event == GDB_EVENT_NONE)
        event = take_byte(reader, bytes[i++]);
    *used = i;
    return event;
}

size_t gdb_find_interrupt(enum gdb_framing *framing, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        switch (*framing) {
        case GDB_OUTSIDE:
            if (bytes[i] == INTERRUPT)
                return i;
            if (bytes[i] == '$')
                *framing = GDB_INSIDE;
            break;
        case GDB_INSIDE:
            if (bytes[i] == '#')
                *framing = GDB_CHECKSUM_FIRST;
            break;
        case GDB_CHECKSUM_FIRST:
            *framing = GDB_CHECKSUM_SECOND;
            break;
        case GDB_CHECKSUM_SECOND:
            *framing = GDB_OUTSIDE;
            break;
        }
    }
    return size;
}

/* ---- Out ---- */

void gdb_writer_reset(struct gdb_writer *writer)
{
    memset(writer, 0, offsetof(struct gdb_writer, bytes));
}

bool gdb_writer_is_empty(const struct gdb_writer *writer)
{
    return writer->sent == writer->size;
}

void gdb_writer_sent(struct gdb_writer *writer, size_t size)
{
    assert(size <= writer->size - writer->sent);
    writer->sent += size;
}

/* Before anything is put: what has been sent makes room. */
static void make_room(struct gdb_writer *writer)
{
    if (!gdb_writer_is_empty(writer))
        return;
    writer->sent = 0;
    writer->size = 0;
    writer->has_packet = false;
}

void gdb_writer_acknowledge(struct gdb_writer *writer, bool was_good)
{
    make_room(writer);
    if (writer->size < sizeof(writer->bytes))
        writer->bytes[writer->size++] = was_good ? '+' : '-';
}

void gdb_writer_acknowledged(struct gdb_writer *writer)
{
    if (gdb_writer_is_empty(writer))
        writer->has_packet = false;
    writer->retransmissions = 0;
}

bool gdb_writer_again(struct gdb_writer *writer)
{
    if (!writer->has_packet || !gdb_writer_is_empty(writer))
        return true;
    if (++writer->retransmissions > GDB_RETRANSMISSIONS)
        return false;
    writer->sent = writer->packet;
    return true;
}

void gdb_put_begin(struct gdb_writer *writer)
{
    make_room(writer);
    writer->packet = writer->size;
    writer->has_packet = false;
    if (writer->size < sizeof(writer->bytes))
        writer->bytes[writer->size++] = '$';
}

size_t gdb_put_room(const struct gdb_writer *writer)
{
    const size_t limit = writer->packet + 1 + GDB_PACKET_SIZE;
    const size_t end_of_buffer = sizeof(writer->bytes) - sizeof("#00");
    const size_t last = limit < end_of_buffer ? limit : end_of_buffer;

    return writer->size < last ? last - writer->size : 0;
}

static void put(struct gdb_writer *writer, const void *bytes, size_t size)
{
    const size_t room = gdb_put_room(writer);

    if (size > room)
        size = room;
    memcpy(writer->bytes + writer->size, bytes, size);
    writer->size += size;
}

void gdb_put_end(struct gdb_writer *writer)
{
    char tail[sizeof("#00")];
    uint8_t sum = 0;

    for (size_t i = writer->packet + 1; i < writer->size; i++)
        sum = (uint8_t)(sum + writer->bytes[i]);
    (void)snprintf(tail, sizeof(tail), "#%02x", sum);
    assert(writer->size + 3 <= sizeof(writer->bytes));
    memcpy(writer->bytes + writer->size, tail, 3);
    writer->size += 3;
    writer->has_packet = true;
}

void gdb_put_text(struct gdb_writer *writer, const char *text)
{
    put(writer, text, strlen(text));
}

void gdb_put_format(struct gdb_writer *writer, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    gdb_put_text(writer, text);
}

size_t gdb_put_hex(struct gdb_writer *writer, const void *bytes, size_t size)
{
    const size_t room = gdb_put_room(writer) / 2;

    if (size > room)
        size = room;
    gdb_hex_encode(writer->bytes + writer->size, bytes, size);
    writer->size += 2 * size;
    return size;
}

/* Shorter runs are written out. */
enum { RUN_BLOCK = 16, RUN_REPEATS_MAX = 97, RUN_REPEATS_MIN = 3, RUN_BASE = 29 };

/* Bytes from here on that have one digit only, the same; in whole blocks. */
static size_t run_length(const uint8_t *bytes, size_t size)
{
    size_t length = 0;

    if (bytes[0] >> 4 != (bytes[0] & 15))
        return 0;
    /* Each block is compared with itself, a byte further on. */
    while (size - length >= RUN_BLOCK && bytes[length] == bytes[0] &&
           memcmp(bytes + length, bytes + length + 1, RUN_BLOCK - 1) == 0)
        length += RUN_BLOCK;
    return length;
}

/* A digit, and how often it is repeated; some counts would be characters that mean something (E.1). */
static uint8_t *put_run(uint8_t *to, uint8_t digit, size_t count)
{
    while (count > 0) {
        size_t repeats = count - 1 < RUN_REPEATS_MAX ? count - 1 : RUN_REPEATS_MAX;
        while (repeats >= RUN_REPEATS_MIN && memchr("#$+-", (int)repeats + RUN_BASE, 4) != NULL)
            repeats--;
        *to++ = digit;
        count--;
        if (repeats < RUN_REPEATS_MIN)
            continue;
        *to++ = '*';
        *to++ = (uint8_t)(repeats + RUN_BASE);
        count -= repeats;
    }
    return to;
}

size_t gdb_put_hex_runs(struct gdb_writer *writer, const void *bytes, size_t size)
{
    const size_t room = gdb_put_room(writer) / 2;
    const uint8_t *from = bytes;
    uint8_t *to = writer->bytes + writer->size;

    if (size > room)
        size = room;
    for (size_t i = 0; i < size;) {
        const size_t run = run_length(from + i, size - i);
        const size_t plain = run > 0 ? 0 : size - i < RUN_BLOCK ? size - i : RUN_BLOCK;
        uint8_t digits[2];
        gdb_hex_encode(digits, from + i, 1);
        to = put_run(to, digits[0], 2 * run);
        gdb_hex_encode(to, from + i, plain);
        to += 2 * plain;
        i += run + plain;
    }
    writer->size = (size_t)(to - writer->bytes);
    return size;
}

static bool needs_escape(uint8_t byte)
{
    return byte == '#' || byte == '$' || byte == ESCAPE || byte == '*';
}

size_t gdb_put_binary(struct gdb_writer *writer, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;
    uint8_t *to = writer->bytes + writer->size;
    const uint8_t *end = to + gdb_put_room(writer);
    size_t i;

    for (i = 0; i < size; i++) {
        const uint8_t byte = from[i];
        const bool escaped = needs_escape(byte);
        if (end - to < (escaped ? 2 : 1))
            break;
        if (escaped) {
            *to++ = ESCAPE;
            *to++ = byte ^ ESCAPE_BIT;
        } else {
            *to++ = byte;
        }
    }
    writer->size = (size_t)(to - writer->bytes);
    return i;
}

void gdb_put_first(struct gdb_writer *writer, char first)
{
    writer->bytes[writer->packet + 1] = (uint8_t)first;
}
