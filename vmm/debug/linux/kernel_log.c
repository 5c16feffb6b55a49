#include "vmm/debug/linux/kernel_log.h"

#include "vmm/debug/linux/printk_ring.h"
#include "vmm/debug/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const uint64_t NANOSECONDS = 1000000000;

struct printer {
    const struct linux_kernel *kernel;
    const struct printk_ring *ring;
    const struct debug_output *output;
    /* Bytes of text that may still come: all records' texts fit into the ring. */
    uint64_t room;
    uint64_t missing;
    uint64_t lost;
    uint64_t reserved;
    /* How far a line is indented: the width of the record's time. */
    int indent;
    /* Output on its way. */
    char buffer[1024];
    size_t used;
    uint64_t written;
};

static void flush(struct printer *printer)
{
    if (printer->used > 0)
        printer->output->write(printer->output->context, printer->buffer, printer->used);
    printer->written += printer->used;
    printer->used = 0;
}

static void put(struct printer *printer, const char *text, size_t size)
{
    if (size > sizeof(printer->buffer) - printer->used)
        flush(printer);
    memcpy(&printer->buffer[printer->used], text, size);
    printer->used += size;
}

/* The guest's text goes to a terminal: what could be a command to that is shown as what it is. */
static void put_byte(struct printer *printer, unsigned char byte)
{
    char text[128];
    int length = 1;

    text[0] = (char)byte;
    if (byte == '\n')
        length = snprintf(text, sizeof(text), "\n%*s", printer->indent, "");
    else if (byte != '\t' && (byte < ' ' || byte > '~'))
        length = snprintf(text, sizeof(text), "\\x%02x", byte);
    put(printer, text, (size_t)length);
}

static void put_text(struct printer *printer, uint64_t linear, size_t size)
{
    unsigned char piece[512];

    while (size > 0) {
        const size_t count = size < sizeof(piece) ? size : sizeof(piece);
        if (!linux_kernel_read(printer->kernel, linear, piece, count)) {
            printer->lost++;
            return;
        }
        for (size_t i = 0; i < count; i++)
            put_byte(printer, piece[i]);
        linear += count;
        size -= count;
    }
}

static void put_words(struct printer *printer, const char *words)
{
    put(printer, words, strlen(words));
}

static void put_record(struct printer *printer, const struct printk_ring_record *record)
{
    char time[64];

    printer->indent = snprintf(time, sizeof(time), "[%5" PRIu64 ".%06" PRIu64 "] ", record->time / NANOSECONDS,
                               record->time % NANOSECONDS / 1000);
    put_words(printer, time);
    put_text(printer, record->text, record->text_size);
    printer->room -= record->text_size;
    if (record->state == PRINTK_RING_RESERVED)
        put_words(printer, " (unfinished)");
    put_words(printer, "\n");
}

/* false: the ring cannot have as much text as its records say. */
static bool print_record(struct printer *printer, const struct printk_ring_record *record)
{
    switch (record->state) {
    case PRINTK_RING_MISSING:
        printer->missing++;
        return true;
    case PRINTK_RING_REUSABLE:
        return true;
    case PRINTK_RING_RESERVED:
        printer->reserved++;
        /* A line that is being continued has its first part. A new one has nothing yet. */
        if (record->is_lost || record->text_size == 0)
            return true;
        break;
    case PRINTK_RING_WRITTEN:
        if (record->is_lost) {
            printer->lost++;
            return true;
        }
        break;
    }
    if (record->text_size > printer->room)
        return false;
    put_record(printer, record);
    return true;
}

static void print_records(struct printer *printer, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct printk_ring_record record;
        printk_ring_read(printer->kernel, printer->ring, (first + i) & PRINTK_RING_ID_MASK, &record);
        if (!print_record(printer, &record)) {
            flush(printer);
            debug_print(printer->output, "-- the log is damaged: its records have more text than it has room for\n");
            break;
        }
        if (printer->written > KERNEL_LOG_PRINTED_MAX) {
            flush(printer);
            debug_print(printer->output, "-- the rest is left out: this is more than a log can be\n");
            break;
        }
    }
    flush(printer);
}

static void print_count(const struct printer *printer, uint64_t count, const char *one, const char *many)
{
    if (count == 1)
        debug_print(printer->output, "-- %s\n", one);
    else if (count > 1)
        debug_print(printer->output, "-- %" PRIu64 " %s\n", count, many);
}

static void print_summary(const struct printer *printer)
{
    print_count(printer, printer->reserved, "a record was being written", "records were being written");
    print_count(printer, printer->lost, "a record's text is lost", "records' texts are lost");
    print_count(printer, printer->missing, "a record is damaged and left out", "records are damaged and left out");
}

static bool is_there(const struct linux_kernel *kernel, const struct printk_ring *ring, uint64_t id)
{
    struct printk_ring_record record;

    printk_ring_read(kernel, ring, id, &record);
    return record.state != PRINTK_RING_MISSING;
}

/* Records from tail to head; if these do not fit each other, as many as the one can have that is there. */
static int find_records(const struct linux_kernel *kernel, const struct printk_ring *ring, uint64_t *first,
                        uint64_t *count, bool *is_damaged, struct error *error)
{
    const uint64_t most = UINT64_C(1) << ring->count_bits;

    *first = ring->tail;
    *count = ((ring->head - ring->tail) & PRINTK_RING_ID_MASK) + 1;
    *is_damaged = *count > most;
    if (!*is_damaged)
        return 0;
    *count = most;
    if (is_there(kernel, ring, ring->head)) {
        *first = (ring->head - most + 1) & PRINTK_RING_ID_MASK;
        return 0;
    }
    if (is_there(kernel, ring, ring->tail))
        return 0;
    return error_set(error, ERROR_CONFIG,
                     "the kernel's log is damaged: neither its oldest record, 0x%" PRIx64 ", nor its newest, 0x%" PRIx64
                     ", is there",
                     ring->tail, ring->head);
}

int kernel_log_print(const struct linux_memory *memory, uint64_t count, const struct debug_output *output,
                     struct error *error)
{
    struct linux_kernel kernel;
    struct printk_ring ring;
    uint64_t first, available;
    bool is_damaged;

    if (linux_kernel_find(memory, &kernel, error) < 0 || printk_ring_open(&kernel, &ring, error) < 0 ||
        find_records(&kernel, &ring, &first, &available, &is_damaged, error) < 0)
        return -1;
    if (memory->registers != NULL && !kernel.is_certain)
        debug_print(output, "-- the vCPU's page tables do not confirm that this is the kernel's log\n");
    if (is_damaged)
        debug_print(output, "-- the log is damaged: its oldest record and its newest do not fit each other\n");
    if (count < available) {
        first = (first + available - count) & PRINTK_RING_ID_MASK;
        available = count;
    }
    struct printer printer = {
        .kernel = &kernel, .ring = &ring, .output = output, .room = UINT64_C(1) << ring.size_bits};
    print_records(&printer, first, available);
    print_summary(&printer);
    return 0;
}
