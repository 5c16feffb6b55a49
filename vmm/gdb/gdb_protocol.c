#include "vmm/gdb/gdb_protocol_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* ---- Replies ---- */

void gdb_reply(struct gdb_protocol *protocol, const char *text)
{
    gdb_put_begin(&protocol->writer);
    gdb_put_text(&protocol->writer, text);
    gdb_put_end(&protocol->writer);
}

void gdb_reply_ok(struct gdb_protocol *protocol)
{
    gdb_reply(protocol, "OK");
}

/* The protocol has its errors in ASCII. */
static void put_sentence(struct gdb_writer *writer, const char *text)
{
    char copy[sizeof(((struct error *)0)->text)];
    size_t size;

    for (size = 0; size < sizeof(copy) && text[size] != '\0'; size++)
        copy[size] = isprint((unsigned char)text[size]) ? text[size] : '?';
    gdb_put_binary(writer, copy, size);
}

void gdb_reply_error(struct gdb_protocol *protocol, const struct error *error)
{
    if (!protocol->takes_error_text) {
        gdb_reply(protocol, "E01");
        return;
    }
    gdb_put_begin(&protocol->writer);
    gdb_put_text(&protocol->writer, "E.");
    put_sentence(&protocol->writer, error->text);
    gdb_put_end(&protocol->writer);
}

void gdb_reply_refusal(struct gdb_protocol *protocol, const struct error *error)
{
    if (!protocol->takes_error_text)
        log_host_trouble(protocol->log, &protocol->refusals, "gdb", "%s", error->text);
    gdb_reply_error(protocol, error);
}

void gdb_reply_malformed(struct gdb_protocol *protocol)
{
    struct error error;

    error_set(&error, ERROR_CONFIG, "the packet is malformed");
    gdb_reply_error(protocol, &error);
}

bool gdb_take_thread(const struct gdb_protocol *protocol, struct gdb_text *args, int64_t *ret_thread)
{
    uint64_t number;

    if (gdb_text_skip_word(args, "-1")) {
        *ret_thread = -1;
        return true;
    }
    if (!gdb_text_number(args, &number) || number > protocol->vcpu_count)
        return false;
    *ret_thread = (int64_t)number;
    return true;
}

/* ---- Small commands ---- */

static void start_no_ack_mode(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    protocol->no_acks = true;
    gdb_reply_ok(protocol);
}

static void choose_thread(struct gdb_protocol *protocol, struct gdb_text args)
{
    const bool is_general = gdb_text_skip(&args, 'g');
    int64_t thread;

    if ((!is_general && !gdb_text_skip(&args, 'c')) || !gdb_take_thread(protocol, &args, &thread) ||
        !gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return;
    }
    if (!is_general)
        protocol->continue_thread = thread;
    else if (thread > 0)
        protocol->general_vcpu = (unsigned)thread - 1;
    gdb_reply_ok(protocol);
}

static void thread_is_alive(struct gdb_protocol *protocol, struct gdb_text args)
{
    int64_t thread;

    if (gdb_take_thread(protocol, &args, &thread) && gdb_text_is_empty(&args) && thread > 0)
        gdb_reply_ok(protocol);
    else
        gdb_reply_malformed(protocol);
}

static void release(struct gdb_protocol *protocol)
{
    protocol->is_over = true;
    protocol->is_released = true;
}

static void detach(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_reply_ok(protocol);
    release(protocol);
    protocol->target->detach(protocol->target->context);
}

static void kill_machine(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    release(protocol);
    protocol->target->kill(protocol->target->context);
}

/* gdb's `run` kills first, and then restarts: in extended mode the machine waits for that while the client is there. */
static void kill_process(struct gdb_protocol *protocol, struct gdb_text args)
{
    gdb_reply_ok(protocol);
    if (protocol->is_extended && !protocol->is_running)
        protocol->is_killed = true;
    else
        kill_machine(protocol, args);
}

static void extended_mode(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    protocol->is_extended = true;
    gdb_reply_ok(protocol);
}

/* It has no reply: what becomes of it is what the client asks for next. */
static void restart(struct gdb_protocol *protocol, struct gdb_text args)
{
    struct error error;

    (void)args;
    protocol->is_killed = false;
    protocol->stop = (struct debug_stop){.reason = DEBUG_STOP_INTERRUPTED};
    protocol->general_vcpu = 0;
    if (protocol->target->restart(protocol->target->context, &error) < 0)
        log_line(protocol->log, LOG_LEVEL_ERROR, "gdb", "the machine is not restarted: %s", error.text);
    gdb_forget_registers(protocol);
}

static void is_attached(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_reply(protocol, "1");
}

static void end_of_threads(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_reply(protocol, "l");
}

/* The client offers to look symbols up; we need none. */
static void symbols(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_reply_ok(protocol);
}

static void vcont_supported(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_reply(protocol, "vCont;c;C;s;S;t;r");
}

/* QEMU's extensions (its gdbstub.c). */
static void qemu_supported(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    gdb_reply(protocol, "PhyMemMode");
}

/* ---- The table ---- */

/* Names of one letter have their arguments right behind them, longer ones end where they end or at one of ":;,". */
static const struct {
    const char *name;
    gdb_command *serve;
} commands[] = {
    {"!", extended_mode},
    {"?", gdb_last_stop},
    {"C", gdb_continue_with_signal},
    {"D", detach},
    {"G", gdb_set_registers},
    {"H", choose_thread},
    {"M", gdb_write_hex},
    {"P", gdb_set_register},
    {"QStartNoAckMode", start_no_ack_mode},
    {"Qqemu.PhyMemMode", gdb_set_physical},
    {"R", restart},
    {"S", gdb_step_with_signal},
    {"T", thread_is_alive},
    {"X", gdb_write_binary},
    {"Z", gdb_insert_point},
    {"c", gdb_continue},
    {"g", gdb_get_registers},
    {"k", kill_machine},
    {"m", gdb_read_hex},
    {"p", gdb_get_register},
    {"qAttached", is_attached},
    {"qC", gdb_current_thread},
    {"qCRC", gdb_crc},
    {"qRcmd", gdb_monitor},
    {"qSearch:memory", gdb_search},
    {"qSupported", gdb_supported},
    {"qSymbol", symbols},
    {"qThreadExtraInfo", gdb_thread_extra_info},
    {"qXfer:features:read", gdb_features},
    {"qXfer:threads:read", gdb_threads},
    {"qfThreadInfo", gdb_first_threads},
    {"qqemu.PhyMemMode", gdb_get_physical},
    {"qqemu.Supported", qemu_supported},
    {"qsThreadInfo", end_of_threads},
    {"s", gdb_step},
    {"vCont", gdb_vcont},
    {"vCont?", vcont_supported},
    {"vKill", kill_process},
    {"x", gdb_read_binary},
    {"z", gdb_remove_point},
};

static bool ends_here(const struct gdb_text *args)
{
    return gdb_text_is_empty(args) || *args->at == ':' || *args->at == ';' || *args->at == ',';
}

static void serve_packet(struct gdb_protocol *protocol)
{
    const struct gdb_reader *reader = &protocol->reader;
    const struct gdb_text packet = {.at = reader->payload, .end = reader->payload + reader->size};

    protocol->packet_waits = false;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct gdb_text args = packet;
        if (gdb_text_skip_word(&args, commands[i].name) && (commands[i].name[1] == '\0' || ends_here(&args))) {
            commands[i].serve(protocol, args);
            return;
        }
    }
    gdb_reply(protocol, "");
}

/* ---- Bytes in ---- */

static void acknowledge(struct gdb_protocol *protocol, bool was_good)
{
    if (!protocol->no_acks)
        gdb_writer_acknowledge(&protocol->writer, was_good);
}

/* A client that sends no good packet again would wait without end. */
static void refuse_packet(struct gdb_protocol *protocol, const char *why)
{
    struct error error;

    error_set(&error, ERROR_CONFIG, "%s", why);
    gdb_reply_error(protocol, &error);
}

static void take_packet(struct gdb_protocol *protocol)
{
    acknowledge(protocol, true);
    protocol->packet_waits = true;
    protocol->beyond = GDB_OUTSIDE;
    if (!protocol->is_running)
        serve_packet(protocol);
}

static void handle(struct gdb_protocol *protocol, enum gdb_event event)
{
    switch (event) {
    case GDB_EVENT_NONE:
        break;
    case GDB_EVENT_PACKET:
        take_packet(protocol);
        break;
    case GDB_EVENT_BAD_CHECKSUM:
        acknowledge(protocol, false);
        if (protocol->no_acks && !protocol->is_running)
            refuse_packet(protocol, "the packet's checksum is wrong");
        break;
    case GDB_EVENT_TOO_LONG:
        acknowledge(protocol, true);
        if (!protocol->is_running)
            refuse_packet(protocol, "the packet is longer than PacketSize");
        break;
    case GDB_EVENT_ACK:
        gdb_writer_acknowledged(&protocol->writer);
        break;
    case GDB_EVENT_NACK:
        if (!protocol->no_acks && !gdb_writer_again(&protocol->writer))
            protocol->is_over = true;
        break;
    case GDB_EVENT_INTERRUPT:
        gdb_interrupt(protocol);
        break;
    }
}

static bool takes_bytes(const struct gdb_protocol *protocol)
{
    return !protocol->is_over && !protocol->packet_waits && protocol->job == GDB_JOB_NONE &&
           gdb_writer_is_empty(&protocol->writer);
}

/* Bytes that stay where they are may have a Ctrl-C among them. What takes its place is skipped between packets. */
static void look_ahead(struct gdb_protocol *protocol, uint8_t *bytes, size_t size)
{
    while (protocol->is_running && size > 0) {
        const size_t found = gdb_find_interrupt(&protocol->beyond, bytes, size);
        if (found == size)
            return;
        bytes[found] = '\n';
        gdb_interrupt(protocol);
        bytes += found;
        size -= found;
    }
}

size_t gdb_protocol_take(struct gdb_protocol *protocol, uint8_t *bytes, size_t size, size_t seen)
{
    size_t used = 0;

    while (used < size && takes_bytes(protocol)) {
        size_t more;
        const enum gdb_event event = gdb_reader_take(&protocol->reader, bytes + used, size - used, &more);
        used += more;
        handle(protocol, event);
    }
    if (protocol->packet_waits && !protocol->is_over) {
        const size_t from = used > seen ? used : seen;
        look_ahead(protocol, bytes + from, size - from);
    }
    return used;
}

/* ---- Bytes out ---- */

const uint8_t *gdb_protocol_output(const struct gdb_protocol *protocol, size_t *size)
{
    *size = protocol->writer.size - protocol->writer.sent;
    return protocol->writer.bytes + protocol->writer.sent;
}

void gdb_protocol_sent(struct gdb_protocol *protocol, size_t size)
{
    gdb_writer_sent(&protocol->writer, size);
}

bool gdb_protocol_has_work(const struct gdb_protocol *protocol)
{
    return !protocol->is_over && (protocol->job != GDB_JOB_NONE || (protocol->packet_waits && !protocol->is_running));
}

void gdb_protocol_work(struct gdb_protocol *protocol)
{
    if (!gdb_protocol_has_work(protocol) || !gdb_writer_is_empty(&protocol->writer))
        return;
    if (protocol->job != GDB_JOB_NONE)
        gdb_job_step(protocol);
    else
        serve_packet(protocol);
}

bool gdb_protocol_is_over(const struct gdb_protocol *protocol)
{
    return protocol->is_over;
}

/* ---- Its life ---- */

struct gdb_protocol *gdb_protocol_create(struct debug_target *target, const struct log *log, struct error *error)
{
    struct gdb_protocol *protocol = calloc(1, sizeof(*protocol));

    if (protocol != NULL) {
        protocol->target = target;
        protocol->log = log;
        protocol->vcpu_count = target->vcpu_count;
        protocol->plans = calloc(target->vcpu_count, sizeof(*protocol->plans));
        protocol->actions = calloc(target->vcpu_count, sizeof(*protocol->actions));
        if (protocol->plans != NULL && protocol->actions != NULL)
            return protocol;
    }
    error_set(error, ERROR_HOST, "out of memory");
    gdb_protocol_destroy(protocol);
    return NULL;
}

static void forget_client(struct gdb_protocol *protocol)
{
    gdb_job_end(protocol);
    gdb_forget_registers(protocol);
    free(protocol->threads_xml);
    protocol->threads_xml = NULL;
    gdb_reader_reset(&protocol->reader);
    gdb_writer_reset(&protocol->writer);
    memset(protocol->plans, 0, protocol->vcpu_count * sizeof(*protocol->plans));
    protocol->is_connected = false;
    protocol->is_over = false;
    protocol->is_released = false;
    protocol->is_extended = false;
    protocol->is_killed = false;
    protocol->no_acks = false;
    protocol->takes_error_text = false;
    protocol->knows_swbreak = false;
    protocol->knows_hwbreak = false;
    protocol->packet_waits = false;
    protocol->is_running = false;
    protocol->owes_stop = false;
    protocol->wants_interrupt = false;
    protocol->general_vcpu = 0;
    protocol->continue_thread = 0;
}

void gdb_protocol_destroy(struct gdb_protocol *protocol)
{
    if (protocol == NULL)
        return;
    gdb_job_end(protocol);
    free(protocol->threads_xml);
    free(protocol->features_xml);
    free(protocol->actions);
    free(protocol->plans);
    free(protocol);
}

void gdb_protocol_connect(struct gdb_protocol *protocol)
{
    forget_client(protocol);
    protocol->is_connected = true;
    /* Until the target says that it has stopped. */
    protocol->is_running = true;
    protocol->target->attach(protocol->target->context);
}

void gdb_protocol_disconnect(struct gdb_protocol *protocol)
{
    const bool is_attached_still = protocol->is_connected && !protocol->is_released;
    const bool is_killed = protocol->is_killed;

    forget_client(protocol);
    if (is_attached_still && is_killed)
        protocol->target->kill(protocol->target->context);
    else if (is_attached_still)
        protocol->target->detach(protocol->target->context);
}

void gdb_protocol_exited(struct gdb_protocol *protocol, int status)
{
    if (!protocol->is_connected || protocol->is_released)
        return;
    if (protocol->owes_stop) {
        gdb_put_begin(&protocol->writer);
        if (status >= 0)
            gdb_put_format(&protocol->writer, "W%02x", (unsigned)status & 0xff);
        else
            gdb_put_format(&protocol->writer, "X%02x", (unsigned)-status & 0xff);
        gdb_put_end(&protocol->writer);
    }
    release(protocol);
}
