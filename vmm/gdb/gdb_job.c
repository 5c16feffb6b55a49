/* What takes longer than one turn of the event loop: answers of `monitor`, searches, checksums. */
#include "vmm/gdb/gdb_protocol_private.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* Of `monitor`'s text in one packet. */
    TEXT_PIECE = 16 * 1024,
    /* How often scratch is filled in one turn. */
    FILLS_PER_TURN = 16,
};

void gdb_job_end(struct gdb_protocol *protocol)
{
    free(protocol->text);
    protocol->text = NULL;
    protocol->text_size = 0;
    protocol->text_capacity = 0;
    protocol->text_sent = 0;
    protocol->text_is_cut = false;
    protocol->scratch_used = 0;
    protocol->job = GDB_JOB_NONE;
}

/* ---- `monitor` ---- */

/* False: there is no memory for it, or it is too much. */
static bool make_room(struct gdb_protocol *protocol, size_t size)
{
    size_t capacity = protocol->text_capacity == 0 ? 4096 : protocol->text_capacity;

    if (size > GDB_MONITOR_MAX - protocol->text_size)
        return false;
    while (capacity < protocol->text_size + size)
        capacity *= 2;
    if (capacity == protocol->text_capacity)
        return true;
    char *text = realloc(protocol->text, capacity);
    if (text == NULL)
        return false;
    protocol->text = text;
    protocol->text_capacity = capacity;
    return true;
}

static void append(void *context, const char *text, size_t size)
{
    struct gdb_protocol *protocol = context;

    if (size == 0 || protocol->text_is_cut)
        return;
    if (!make_room(protocol, size)) {
        protocol->text_is_cut = true;
        return;
    }
    memcpy(protocol->text + protocol->text_size, text, size);
    protocol->text_size += size;
}

static void put_console_text(struct gdb_protocol *protocol, const char *text, size_t size)
{
    gdb_put_begin(&protocol->writer);
    gdb_put_text(&protocol->writer, "O");
    gdb_put_hex(&protocol->writer, text, size);
    gdb_put_end(&protocol->writer);
}

/* The next piece, and, after the last, the reply. */
static void send_text(struct gdb_protocol *protocol)
{
    static const char cut[] = "\n[the rest is left out: it is too long]\n";
    const size_t left = protocol->text_size - protocol->text_sent;
    const size_t size = left < TEXT_PIECE ? left : TEXT_PIECE;

    if (size > 0)
        put_console_text(protocol, protocol->text + protocol->text_sent, size);
    protocol->text_sent += size;
    if (protocol->text_sent < protocol->text_size)
        return;
    if (protocol->text_is_cut)
        put_console_text(protocol, cut, strlen(cut));
    gdb_job_end(protocol);
    gdb_reply_ok(protocol);
}

/* ",COMMAND" in hexadecimal digits */
void gdb_monitor(struct gdb_protocol *protocol, struct gdb_text args)
{
    const struct debug_target *target = protocol->target;
    const struct debug_output output = {.write = append, .context = protocol};
    char *command = (char *)protocol->scratch;

    if (!gdb_text_skip(&args, ',') || gdb_text_size(&args) % 2 != 0 ||
        !gdb_hex_decode(command, args.at, gdb_text_size(&args) / 2)) {
        gdb_reply_malformed(protocol);
        return;
    }
    command[gdb_text_size(&args) / 2] = '\0';
    protocol->job = GDB_JOB_MONITOR;
    target->monitor(target->context, protocol->general_vcpu, command, &output);
    gdb_forget_registers(protocol);
    if (!protocol->is_over)
        send_text(protocol);
}

/* ---- Memory, from one address on ---- */

static void end_with(struct gdb_protocol *protocol, const char *reply)
{
    gdb_job_end(protocol);
    gdb_reply(protocol, reply);
}

static void end_unreadable(struct gdb_protocol *protocol)
{
    struct error error;

    error_set(&error, ERROR_CONFIG, "there is no memory that can be read at 0x%llx",
              (unsigned long long)(protocol->job_address + protocol->scratch_used));
    gdb_job_end(protocol);
    gdb_reply_error(protocol, &error);
}

/* Behind what is there. False: not all that was wanted could be read. */
static bool fill(struct gdb_protocol *protocol)
{
    const struct debug_target *target = protocol->target;
    const size_t room = sizeof(protocol->scratch) - protocol->scratch_used;
    const size_t size = protocol->job_left < room ? (size_t)protocol->job_left : room;
    const size_t got = size == 0 ? 0
                                 : target->read(target->context, protocol->general_vcpu,
                                                protocol->job_address + protocol->scratch_used,
                                                protocol->scratch + protocol->scratch_used, size);

    protocol->scratch_used += got;
    protocol->job_left -= got;
    return got == size;
}

/* Keeps the last bytes only. */
static void keep(struct gdb_protocol *protocol, size_t size)
{
    if (size > protocol->scratch_used)
        size = protocol->scratch_used;
    const size_t dropped = protocol->scratch_used - size;
    memmove(protocol->scratch, protocol->scratch + dropped, size);
    protocol->scratch_used = size;
    protocol->job_address += dropped;
}

static bool begin(struct gdb_protocol *protocol, enum gdb_job job, uint64_t address, uint64_t size)
{
    if (size > 0 && size - 1 > UINT64_MAX - address) {
        gdb_reply_malformed(protocol);
        return false;
    }
    protocol->job = job;
    protocol->job_address = address;
    protocol->job_left = size;
    protocol->scratch_used = 0;
    return true;
}

/* ---- qSearch:memory ---- */

static void search_once(struct gdb_protocol *protocol)
{
    const bool filled = fill(protocol);
    const size_t pattern_size = gdb_text_size(&protocol->pattern);
    const uint8_t *found = memmem(protocol->scratch, protocol->scratch_used, protocol->pattern.at, pattern_size);

    if (found != NULL) {
        const uint64_t address = protocol->job_address + (uint64_t)(found - protocol->scratch);
        gdb_job_end(protocol);
        gdb_put_begin(&protocol->writer);
        gdb_put_format(&protocol->writer, "1,%llx", (unsigned long long)address);
        gdb_put_end(&protocol->writer);
    } else if (!filled) {
        end_unreadable(protocol);
    } else if (protocol->job_left == 0) {
        end_with(protocol, "0");
    } else {
        keep(protocol, pattern_size - 1);
    }
}

/* ":ADDRESS;SIZE;PATTERN" */
void gdb_search(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint64_t address, size;

    if (!gdb_text_skip(&args, ':') || !gdb_text_number(&args, &address) || !gdb_text_skip(&args, ';') ||
        !gdb_text_number(&args, &size) || !gdb_text_skip(&args, ';') || gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return;
    }
    /* It stays in the reader's buffer: no packet is taken before the reply. */
    protocol->pattern = args;
    if (begin(protocol, GDB_JOB_SEARCH, address, size))
        gdb_job_step(protocol);
}

/* ---- qCRC ---- */

/* CRC-32 with the polynomial 0x04c11db7, the most significant bit first, four bits at a time (gdb manual, "qCRC"). */
static uint32_t crc32(uint32_t crc, const uint8_t *bytes, size_t size)
{
    static const uint32_t table[16] = {0x00000000, 0x04c11db7, 0x09823b6e, 0x0d4326d9, 0x130476dc, 0x17c56b6b,
                                       0x1a864db2, 0x1e475005, 0x2608edb8, 0x22c9f00f, 0x2f8ad6d6, 0x2b4bcb61,
                                       0x350c9b64, 0x31cd86d3, 0x3c8ea00a, 0x384fbdbd};

    for (size_t i = 0; i < size; i++) {
        crc = crc << 4 ^ table[crc >> 28 ^ bytes[i] >> 4];
        crc = crc << 4 ^ table[crc >> 28 ^ (bytes[i] & 15)];
    }
    return crc;
}

static void crc_once(struct gdb_protocol *protocol)
{
    const bool filled = fill(protocol);

    protocol->crc = crc32(protocol->crc, protocol->scratch, protocol->scratch_used);
    if (!filled) {
        end_unreadable(protocol);
    } else if (protocol->job_left == 0) {
        gdb_job_end(protocol);
        gdb_put_begin(&protocol->writer);
        gdb_put_format(&protocol->writer, "C%08x", protocol->crc);
        gdb_put_end(&protocol->writer);
    } else {
        keep(protocol, 0);
    }
}

/* ":ADDRESS,SIZE" */
void gdb_crc(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint64_t address, size;

    if (!gdb_text_skip(&args, ':') || !gdb_text_range(&args, &address, &size) || !gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return;
    }
    protocol->crc = UINT32_MAX;
    if (begin(protocol, GDB_JOB_CRC, address, size))
        gdb_job_step(protocol);
}

/* ---- Turns ---- */

void gdb_job_step(struct gdb_protocol *protocol)
{
    const enum gdb_job job = protocol->job;

    if (job == GDB_JOB_MONITOR) {
        send_text(protocol);
        return;
    }
    for (unsigned i = 0; i < FILLS_PER_TURN && protocol->job == job; i++) {
        if (job == GDB_JOB_SEARCH)
            search_once(protocol);
        else
            crc_once(protocol);
    }
}
