/* What a client asks about: features, registers' description, threads. */
#include "vmm/gdb/gdb_protocol_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DESCRIPTION_SIZE = 256 };

static void reply_no_memory(struct gdb_protocol *protocol)
{
    struct error error;

    error_set(&error, ERROR_HOST, "out of memory");
    gdb_reply_refusal(protocol, &error);
}

/* ---- Features ---- */

void gdb_supported(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)gdb_text_skip(&args, ':');
    while (!gdb_text_is_empty(&args)) {
        const struct gdb_text feature = gdb_text_until(&args, ';');
        protocol->knows_swbreak |= gdb_text_is(&feature, "swbreak+");
        protocol->knows_hwbreak |= gdb_text_is(&feature, "hwbreak+");
        protocol->takes_error_text |= gdb_text_is(&feature, "error-message+");
    }
    gdb_put_begin(&protocol->writer);
    gdb_put_format(&protocol->writer, "PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+",
                   (unsigned)GDB_PACKET_SIZE);
    gdb_put_text(&protocol->writer, ";vContSupported+;binary-upload+;multiprocess-");
    if (protocol->knows_swbreak)
        gdb_put_text(&protocol->writer, ";swbreak+");
    if (protocol->knows_hwbreak)
        gdb_put_text(&protocol->writer, ";hwbreak+");
    if (protocol->takes_error_text)
        gdb_put_text(&protocol->writer, ";error-message+");
    gdb_put_end(&protocol->writer);
}

/* ---- Documents, in parts ---- */

/* ":ANNEX:OFFSET,SIZE" */
static bool take_part(struct gdb_text *args, const char *annex, uint64_t *ret_offset, uint64_t *ret_size)
{
    return gdb_text_skip(args, ':') && gdb_text_skip_word(args, annex) && gdb_text_skip(args, ':') &&
           gdb_text_range(args, ret_offset, ret_size) && gdb_text_is_empty(args);
}

static void reply_part(struct gdb_protocol *protocol, const char *text, size_t total, uint64_t offset, uint64_t size)
{
    struct gdb_writer *writer = &protocol->writer;

    if (offset > total) {
        gdb_reply_malformed(protocol);
        return;
    }
    const size_t left = total - offset;
    gdb_put_begin(writer);
    gdb_put_text(writer, "m");
    if (gdb_put_binary(writer, text + offset, size < left ? size : left) == left)
        gdb_put_first(writer, 'l');
    gdb_put_end(writer);
}

void gdb_features(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint64_t offset, size;
    struct error error;

    if (!take_part(&args, "target.xml", &offset, &size)) {
        gdb_reply_malformed(protocol);
        return;
    }
    if (protocol->features_xml == NULL) {
        if (gdb_load_vectors(protocol, protocol->general_vcpu, &error) < 0) {
            gdb_reply_refusal(protocol, &error);
            return;
        }
        protocol->features_xml = gdb_registers_describe(protocol->registers.vectors.has_avx);
    }
    if (protocol->features_xml == NULL) {
        reply_no_memory(protocol);
        return;
    }
    reply_part(protocol, protocol->features_xml, strlen(protocol->features_xml), offset, size);
}

/* ---- Threads ---- */

static void describe(const struct gdb_protocol *protocol, unsigned vcpu, char text[DESCRIPTION_SIZE])
{
    text[0] = '\0';
    protocol->target->describe(protocol->target->context, vcpu, text, DESCRIPTION_SIZE);
}

static void put_xml(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '<' || c == '>' || c == '&' || c == '"')
            fprintf(file, "&#%u;", c);
        else
            fputc(c < ' ' || c > '~' ? '?' : c, file);
    }
}

/* (gdb manual, "Thread List Format") */
static char *threads_xml(const struct gdb_protocol *protocol, size_t *ret_size)
{
    char description[DESCRIPTION_SIZE];
    char *text = NULL;
    FILE *file = open_memstream(&text, ret_size);

    if (file == NULL)
        return NULL;
    fputs("<?xml version=\"1.0\"?>\n<threads>\n", file);
    for (unsigned i = 0; i < protocol->vcpu_count; i++) {
        describe(protocol, i, description);
        fprintf(file, "<thread id=\"%x\" core=\"%u\" name=\"vCPU %u\">", i + 1, i, i);
        put_xml(file, description);
        fputs("</thread>\n", file);
    }
    fputs("</threads>\n", file);
    const int failed = ferror(file);
    if (fclose(file) == 0 && !failed)
        return text;
    free(text);
    return NULL;
}

/* Parts are of one document: it is made when the first is asked for. */
void gdb_threads(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint64_t offset, size;

    if (!take_part(&args, "", &offset, &size)) {
        gdb_reply_malformed(protocol);
        return;
    }
    if (offset == 0 || protocol->threads_xml == NULL) {
        free(protocol->threads_xml);
        protocol->threads_xml = threads_xml(protocol, &protocol->threads_xml_size);
    }
    if (protocol->threads_xml == NULL) {
        reply_no_memory(protocol);
        return;
    }
    reply_part(protocol, protocol->threads_xml, protocol->threads_xml_size, offset, size);
}

/* All of them: there are far fewer than would fill a packet. */
void gdb_first_threads(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_put_begin(&protocol->writer);
    for (unsigned i = 0; i < protocol->vcpu_count; i++)
        gdb_put_format(&protocol->writer, "%c%x", i == 0 ? 'm' : ',', i + 1);
    gdb_put_end(&protocol->writer);
}

void gdb_thread_extra_info(struct gdb_protocol *protocol, struct gdb_text args)
{
    char description[DESCRIPTION_SIZE];
    int64_t thread;

    if (!gdb_text_skip(&args, ',') || !gdb_take_thread(protocol, &args, &thread) || thread < 1 ||
        !gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return;
    }
    describe(protocol, (unsigned)thread - 1, description);
    gdb_put_begin(&protocol->writer);
    gdb_put_hex(&protocol->writer, description, strlen(description));
    gdb_put_end(&protocol->writer);
}

void gdb_current_thread(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_put_begin(&protocol->writer);
    gdb_put_format(&protocol->writer, "QC%x", protocol->general_vcpu + 1);
    gdb_put_end(&protocol->writer);
}
