/* Registers, memory, and break- and watchpoints. */
#include "vmm/gdb/gdb_protocol_private.h"

/* ---- Registers ---- */

void gdb_forget_registers(struct gdb_protocol *protocol)
{
    protocol->has_core = false;
    protocol->has_vectors = false;
}

static void choose_registers(struct gdb_protocol *protocol, unsigned vcpu)
{
    if (protocol->registers_vcpu != vcpu)
        gdb_forget_registers(protocol);
    protocol->registers_vcpu = vcpu;
}

int gdb_load_core(struct gdb_protocol *protocol, unsigned vcpu, struct error *error)
{
    const struct debug_target *target = protocol->target;

    choose_registers(protocol, vcpu);
    if (!protocol->has_core && target->get_registers(target->context, vcpu, &protocol->registers.core, error) < 0)
        return -1;
    protocol->has_core = true;
    return 0;
}

int gdb_load_vectors(struct gdb_protocol *protocol, unsigned vcpu, struct error *error)
{
    const struct debug_target *target = protocol->target;

    choose_registers(protocol, vcpu);
    if (!protocol->has_vectors) {
        if (target->get_vectors(target->context, vcpu, &protocol->registers.vectors, error) < 0)
            return -1;
        gdb_vectors_prepare(&protocol->registers.vectors);
    }
    protocol->has_vectors = true;
    return 0;
}

/* What the target has made of them is asked for when it is needed. */
static int store_core(struct gdb_protocol *protocol, unsigned vcpu, struct error *error)
{
    const struct debug_target *target = protocol->target;

    protocol->has_core = false;
    return target->set_registers(target->context, vcpu, &protocol->registers.core, error);
}

static int store_vectors(struct gdb_protocol *protocol, unsigned vcpu, struct error *error)
{
    const struct debug_target *target = protocol->target;

    protocol->has_vectors = false;
    return target->set_vectors(target->context, vcpu, &protocol->registers.vectors, error);
}

int gdb_set_rip(struct gdb_protocol *protocol, unsigned vcpu, uint64_t rip, struct error *error)
{
    if (gdb_load_core(protocol, vcpu, error) < 0)
        return -1;
    protocol->registers.core.rip = rip;
    return store_core(protocol, vcpu, error);
}

static int load_all(struct gdb_protocol *protocol, struct error *error)
{
    return gdb_load_core(protocol, protocol->general_vcpu, error) < 0
               ? -1
               : gdb_load_vectors(protocol, protocol->general_vcpu, error);
}

void gdb_get_registers(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint8_t bytes[GDB_REGISTERS_MAX];
    struct error error;

    (void)args;
    if (load_all(protocol, &error) < 0) {
        gdb_reply_refusal(protocol, &error);
        return;
    }
    gdb_registers_get(&protocol->registers, bytes);
    gdb_put_begin(&protocol->writer);
    gdb_put_hex(&protocol->writer, bytes, gdb_registers_size(protocol->registers.vectors.has_avx));
    gdb_put_end(&protocol->writer);
}

void gdb_set_registers(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint8_t bytes[GDB_REGISTERS_MAX];
    struct error error;

    if (load_all(protocol, &error) < 0) {
        gdb_reply_refusal(protocol, &error);
        return;
    }
    const size_t size = gdb_registers_size(protocol->registers.vectors.has_avx);
    if (gdb_text_size(&args) != 2 * size || !gdb_hex_decode(bytes, args.at, size)) {
        gdb_reply_malformed(protocol);
        return;
    }
    gdb_registers_set(&protocol->registers, bytes);
    if (store_core(protocol, protocol->general_vcpu, &error) < 0 ||
        store_vectors(protocol, protocol->general_vcpu, &error) < 0) {
        gdb_reply_refusal(protocol, &error);
        return;
    }
    gdb_reply_ok(protocol);
}

/* Whether there are AVX's registers is known with the vectors. False: it has been replied that there is none. */
static bool load_numbered(struct gdb_protocol *protocol, struct gdb_text *args, unsigned *ret_number)
{
    struct error error;
    uint64_t number;

    if (!gdb_text_number(args, &number) || number >= gdb_register_count(true)) {
        gdb_reply_malformed(protocol);
        return false;
    }
    *ret_number = (unsigned)number;
    const bool is_vector = gdb_register_is_vector(*ret_number);
    if ((is_vector ? gdb_load_vectors(protocol, protocol->general_vcpu, &error)
                   : gdb_load_core(protocol, protocol->general_vcpu, &error)) < 0) {
        gdb_reply_refusal(protocol, &error);
        return false;
    }
    if (is_vector && *ret_number >= gdb_register_count(protocol->registers.vectors.has_avx)) {
        gdb_reply_malformed(protocol);
        return false;
    }
    return true;
}

void gdb_get_register(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint8_t bytes[GDB_REGISTER_MAX];
    unsigned number;

    if (!load_numbered(protocol, &args, &number))
        return;
    if (!gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return;
    }
    gdb_register_get(&protocol->registers, number, bytes);
    gdb_put_begin(&protocol->writer);
    gdb_put_hex(&protocol->writer, bytes, gdb_register_size(number));
    gdb_put_end(&protocol->writer);
}

void gdb_set_register(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint8_t bytes[GDB_REGISTER_MAX];
    struct error error;
    unsigned number;

    if (!load_numbered(protocol, &args, &number))
        return;
    const size_t size = gdb_register_size(number);
    if (!gdb_text_skip(&args, '=') || gdb_text_size(&args) != 2 * size || !gdb_hex_decode(bytes, args.at, size)) {
        gdb_reply_malformed(protocol);
        return;
    }
    gdb_register_set(&protocol->registers, number, bytes);
    if ((gdb_register_is_vector(number) ? store_vectors(protocol, protocol->general_vcpu, &error)
                                        : store_core(protocol, protocol->general_vcpu, &error)) < 0) {
        gdb_reply_refusal(protocol, &error);
        return;
    }
    gdb_reply_ok(protocol);
}

/* ---- Memory ---- */

static void reply_unreadable(struct gdb_protocol *protocol, uint64_t address)
{
    struct error error;

    error_set(&error, ERROR_CONFIG, "there is no memory that can be read at 0x%llx", (unsigned long long)address);
    gdb_reply_error(protocol, &error);
}

/* Into scratch: what can be read of it, and of what fits; false: it has been replied that nothing can. */
static bool read_memory(struct gdb_protocol *protocol, struct gdb_text args, size_t limit, size_t *ret_size)
{
    const struct debug_target *target = protocol->target;
    uint64_t address, size;

    if (!gdb_text_range(&args, &address, &size) || !gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return false;
    }
    if (size > limit)
        size = limit;
    *ret_size = size == 0 ? 0 : target->read(target->context, protocol->general_vcpu, address, protocol->scratch, size);
    if (*ret_size == 0 && size > 0)
        reply_unreadable(protocol, address);
    return *ret_size > 0 || size == 0;
}

void gdb_read_hex(struct gdb_protocol *protocol, struct gdb_text args)
{
    size_t size;

    if (!read_memory(protocol, args, GDB_PACKET_SIZE / 2, &size))
        return;
    if (size == 0) {
        gdb_reply_malformed(protocol); /* An empty reply would mean that we know no such packet. */
        return;
    }
    gdb_put_begin(&protocol->writer);
    gdb_put_hex_runs(&protocol->writer, protocol->scratch, size);
    gdb_put_end(&protocol->writer);
}

/* The newer gdb's: "b" and the bytes (gdb manual, E.2 "Packets", 'x'). */
void gdb_read_binary(struct gdb_protocol *protocol, struct gdb_text args)
{
    size_t size;

    if (!read_memory(protocol, args, GDB_PACKET_SIZE - 1, &size))
        return;
    gdb_put_begin(&protocol->writer);
    gdb_put_text(&protocol->writer, "b");
    gdb_put_binary(&protocol->writer, protocol->scratch, size);
    gdb_put_end(&protocol->writer);
}

static void write_memory(struct gdb_protocol *protocol, uint64_t address, const void *bytes, size_t size)
{
    const struct debug_target *target = protocol->target;
    struct error error;

    if (size > 0 && target->write(target->context, protocol->general_vcpu, address, bytes, size, &error) < 0)
        gdb_reply_error(protocol, &error);
    else
        gdb_reply_ok(protocol);
}

void gdb_write_hex(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint64_t address, size;

    if (!gdb_text_range(&args, &address, &size) || !gdb_text_skip(&args, ':') || gdb_text_size(&args) % 2 != 0 ||
        gdb_text_size(&args) / 2 != size || !gdb_hex_decode(protocol->scratch, args.at, size)) {
        gdb_reply_malformed(protocol);
        return;
    }
    write_memory(protocol, address, protocol->scratch, size);
}

void gdb_write_binary(struct gdb_protocol *protocol, struct gdb_text args)
{
    uint64_t address, size;

    if (!gdb_text_range(&args, &address, &size) || !gdb_text_skip(&args, ':') || gdb_text_size(&args) != size) {
        gdb_reply_malformed(protocol);
        return;
    }
    write_memory(protocol, address, args.at, size);
}

void gdb_get_physical(struct gdb_protocol *protocol, struct gdb_text args)
{
    const struct debug_target *target = protocol->target;

    (void)args;
    gdb_reply(protocol, target->get_physical(target->context) ? "1" : "0");
}

void gdb_set_physical(struct gdb_protocol *protocol, struct gdb_text args)
{
    const struct debug_target *target = protocol->target;
    uint64_t number;

    if (!gdb_text_skip(&args, ':') || !gdb_text_number(&args, &number) || !gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return;
    }
    target->set_physical(target->context, number != 0);
    gdb_reply_ok(protocol);
}

/* ---- Break- and watchpoints ---- */

typedef int change_point(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                         struct error *error);

/* "KIND,ADDRESS,SIZE". Conditions and commands may follow, if we had announced that. */
static void serve_point(struct gdb_protocol *protocol, struct gdb_text args, change_point *change)
{
    const struct debug_target *target = protocol->target;
    uint64_t kind, address, size;
    struct error error;

    if (!gdb_text_number(&args, &kind) || !gdb_text_skip(&args, ',') || !gdb_text_range(&args, &address, &size) ||
        !gdb_text_is_empty(&args)) {
        gdb_reply_malformed(protocol);
        return;
    }
    if (kind >= DEBUG_POINT_KIND_COUNT) {
        gdb_reply(protocol, "");
        return;
    }
    if (kind >= DEBUG_POINT_WRITE && size == 0) {
        gdb_reply_malformed(protocol);
        return;
    }
    if (change(target->context, protocol->general_vcpu, (enum debug_point_kind)kind, address, size, &error) < 0)
        gdb_reply_refusal(protocol, &error);
    else
        gdb_reply_ok(protocol);
}

void gdb_insert_point(struct gdb_protocol *protocol, struct gdb_text args)
{
    serve_point(protocol, args, protocol->target->insert);
}

void gdb_remove_point(struct gdb_protocol *protocol, struct gdb_text args)
{
    serve_point(protocol, args, protocol->target->remove);
}
