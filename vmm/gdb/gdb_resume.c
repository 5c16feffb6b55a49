/* How the guest goes on, and what is said when it stops. */
#include "vmm/gdb/gdb_protocol_private.h"

#include <string.h>

/* gdb's numbers of signals (its include/gdb/signals.def). */
enum { SIGNAL_INT = 2, SIGNAL_TRAP = 5, SIGNAL_ABORT = 6 };

/* ---- Stops ---- */

static void put_register(struct gdb_protocol *protocol, unsigned number)
{
    uint8_t bytes[GDB_REGISTER_MAX];

    gdb_register_get(&protocol->registers, number, bytes);
    gdb_put_format(&protocol->writer, "%02x:", number);
    gdb_put_hex(&protocol->writer, bytes, gdb_register_size(number));
    gdb_put_text(&protocol->writer, ";");
}

/* What gdb would ask for first. */
static void put_first_registers(struct gdb_protocol *protocol)
{
    struct error error;

    if (gdb_load_core(protocol, protocol->stop.vcpu, &error) < 0)
        return;
    put_register(protocol, GDB_REGISTER_RBP);
    put_register(protocol, GDB_REGISTER_RSP);
    put_register(protocol, GDB_REGISTER_RIP);
    put_register(protocol, GDB_REGISTER_RFLAGS);
}

/*
 * Where code has a base, as in real mode, gdb has no breakpoint at what it takes for the address of the stop, and would
 * go on if it was told of one.
 */
static bool has_breakpoint_for_client(struct gdb_protocol *protocol)
{
    struct error error;

    return gdb_load_core(protocol, protocol->stop.vcpu, &error) == 0 && protocol->registers.core.code_base == 0;
}

/* (gdb manual, E.3 "Stop Reply Packets") */
static void put_reason(struct gdb_protocol *protocol)
{
    static const char *const watches[DEBUG_POINT_KIND_COUNT] = {
        [DEBUG_POINT_WRITE] = "watch", [DEBUG_POINT_READ] = "rwatch", [DEBUG_POINT_ACCESS] = "awatch"};
    const struct debug_stop *stop = &protocol->stop;

    if (stop->reason == DEBUG_STOP_WATCHPOINT && watches[stop->kind] != NULL)
        gdb_put_format(&protocol->writer, "%s:%llx;", watches[stop->kind], (unsigned long long)stop->address);
    if (stop->reason != DEBUG_STOP_BREAKPOINT || !has_breakpoint_for_client(protocol))
        return;
    if (stop->kind == DEBUG_POINT_SOFTWARE && protocol->knows_swbreak)
        gdb_put_text(&protocol->writer, "swbreak:;");
    if (stop->kind == DEBUG_POINT_HARDWARE && protocol->knows_hwbreak)
        gdb_put_text(&protocol->writer, "hwbreak:;");
}

static unsigned signal_of(enum debug_stop_reason reason)
{
    switch (reason) {
    case DEBUG_STOP_INTERRUPTED:
        return SIGNAL_INT;
    case DEBUG_STOP_CRASHED:
        return SIGNAL_ABORT;
    case DEBUG_STOP_STEPPED:
    case DEBUG_STOP_BREAKPOINT:
    case DEBUG_STOP_WATCHPOINT:
        break;
    }
    return SIGNAL_TRAP;
}

void gdb_put_stop(struct gdb_protocol *protocol)
{
    gdb_put_begin(&protocol->writer);
    gdb_put_format(&protocol->writer, "T%02xthread:%x;", signal_of(protocol->stop.reason), protocol->stop.vcpu + 1);
    put_reason(protocol);
    put_first_registers(protocol);
    gdb_put_end(&protocol->writer);
}

void gdb_last_stop(struct gdb_protocol *protocol, struct gdb_text args)
{
    (void)args;
    protocol->general_vcpu = protocol->stop.vcpu;
    gdb_put_stop(protocol);
}

/* A line for the person at the client. */
static void put_console_line(struct gdb_protocol *protocol, const char *text)
{
    gdb_put_begin(&protocol->writer);
    gdb_put_text(&protocol->writer, "O");
    gdb_put_hex(&protocol->writer, text, strlen(text));
    gdb_put_hex(&protocol->writer, "\n", 1);
    gdb_put_end(&protocol->writer);
}

static void stay_stopped(struct gdb_protocol *protocol)
{
    protocol->is_running = false;
    protocol->wants_interrupt = false;
    /* The client takes the thread that stopped as chosen from here on. */
    protocol->general_vcpu = protocol->stop.vcpu;
    if (!protocol->owes_stop)
        return;
    protocol->owes_stop = false;
    if (protocol->stop.text[0] != '\0')
        put_console_line(protocol, protocol->stop.text);
    gdb_put_stop(protocol);
}

/* The step was one of a range that the client does not want to hear of. */
static bool is_in_range(struct gdb_protocol *protocol)
{
    const struct gdb_plan *plan = &protocol->plans[protocol->stop.vcpu];
    struct error error;

    if (protocol->stop.reason != DEBUG_STOP_STEPPED || plan->start == plan->end)
        return false;
    if (protocol->wants_interrupt) {
        protocol->stop.reason = DEBUG_STOP_INTERRUPTED;
        return false;
    }
    if (gdb_load_core(protocol, protocol->stop.vcpu, &error) < 0)
        return false;
    const uint64_t rip = protocol->registers.core.rip;
    return rip >= plan->start && rip < plan->end;
}

/* With the actions as they are. 0, or -1 with *error: it did not go on. */
static int go_on(struct gdb_protocol *protocol, struct error *error)
{
    const struct debug_target *target = protocol->target;

    do {
        gdb_forget_registers(protocol);
        protocol->has_stopped_meanwhile = false;
        protocol->is_resuming = true;
        const int result = target->resume(target->context, protocol->actions, error);
        protocol->is_resuming = false;
        if (result < 0)
            return -1;
    } while (protocol->has_stopped_meanwhile && is_in_range(protocol));
    if (protocol->has_stopped_meanwhile)
        stay_stopped(protocol);
    return 0;
}

void gdb_protocol_stopped(struct gdb_protocol *protocol, const struct debug_stop *stop)
{
    struct error error;

    protocol->stop = *stop;
    gdb_forget_registers(protocol);
    if (!protocol->is_connected || !protocol->is_running)
        return;
    if (protocol->is_resuming)
        protocol->has_stopped_meanwhile = true;
    else if (!is_in_range(protocol) || go_on(protocol, &error) < 0)
        stay_stopped(protocol);
}

void gdb_interrupt(struct gdb_protocol *protocol)
{
    /* It may cross a stop reply on its way, and is then late; a client that has just come is owed none. */
    if (!protocol->is_running || !protocol->owes_stop || protocol->wants_interrupt)
        return;
    protocol->wants_interrupt = true;
    protocol->target->interrupt(protocol->target->context);
}

/* ---- Going on ---- */

static void clear_plans(struct gdb_protocol *protocol)
{
    memset(protocol->plans, 0, protocol->vcpu_count * sizeof(*protocol->plans));
}

/* The leftmost action of a thread counts. */
static void plan_for(struct gdb_protocol *protocol, unsigned vcpu, const struct gdb_plan *plan)
{
    if (!protocol->plans[vcpu].is_set)
        protocol->plans[vcpu] = *plan;
}

static void plan_for_thread(struct gdb_protocol *protocol, int64_t thread, const struct gdb_plan *plan)
{
    if (thread >= 0) {
        plan_for(protocol, thread == 0 ? protocol->general_vcpu : (unsigned)thread - 1, plan);
        return;
    }
    for (unsigned i = 0; i < protocol->vcpu_count; i++)
        plan_for(protocol, i, plan);
}

/* Old clients take a sentence here, too. */
static void reply_not_resumed(struct gdb_protocol *protocol, const struct error *error)
{
    const bool takes_error_text = protocol->takes_error_text;

    protocol->takes_error_text = true;
    gdb_reply_error(protocol, error);
    protocol->takes_error_text = takes_error_text;
}

/* As planned. */
static void resume(struct gdb_protocol *protocol)
{
    bool somebody_runs = false;
    struct error error;

    for (unsigned i = 0; i < protocol->vcpu_count; i++) {
        protocol->actions[i] = protocol->plans[i].is_set ? protocol->plans[i].action : DEBUG_HOLD;
        somebody_runs |= protocol->actions[i] != DEBUG_HOLD;
    }
    if (!somebody_runs) {
        error_set(&error, ERROR_CONFIG, "no vCPU would run; let one continue or step");
        reply_not_resumed(protocol, &error);
        return;
    }
    protocol->is_running = true;
    protocol->owes_stop = true;
    protocol->wants_interrupt = false;
    if (go_on(protocol, &error) == 0)
        return;
    protocol->is_running = false;
    protocol->owes_stop = false;
    reply_not_resumed(protocol, &error);
}

static bool take_signal(struct gdb_text *args)
{
    uint64_t number;

    return gdb_text_number(args, &number) && number <= 0xff;
}

/* Signals mean nothing to a guest: they are taken and forgotten. */
static bool take_action(struct gdb_text *args, struct gdb_plan *plan)
{
    *plan = (struct gdb_plan){.is_set = true, .action = DEBUG_CONTINUE};
    if (gdb_text_skip(args, 'c'))
        return true;
    if (gdb_text_skip(args, 'C'))
        return take_signal(args);
    if (gdb_text_skip(args, 't')) {
        plan->action = DEBUG_HOLD;
        return true;
    }
    plan->action = DEBUG_STEP;
    if (gdb_text_skip(args, 's'))
        return true;
    if (gdb_text_skip(args, 'S'))
        return take_signal(args);
    return gdb_text_skip(args, 'r') && gdb_text_range(args, &plan->start, &plan->end) && plan->start <= plan->end;
}

/* ";ACTION[:THREAD]..." */
static bool take_actions(struct gdb_protocol *protocol, struct gdb_text *args)
{
    clear_plans(protocol);
    do {
        struct gdb_plan plan;
        int64_t thread = -1;
        if (!gdb_text_skip(args, ';') || !take_action(args, &plan) ||
            (gdb_text_skip(args, ':') && !gdb_take_thread(protocol, args, &thread)))
            return false;
        plan_for_thread(protocol, thread, &plan);
    } while (!gdb_text_is_empty(args));
    return true;
}

void gdb_vcont(struct gdb_protocol *protocol, struct gdb_text args)
{
    if (take_actions(protocol, &args))
        resume(protocol);
    else
        gdb_reply_malformed(protocol);
}

/*
 * "[ADDRESS]" of `c` and `s`. `Hc` has chosen who runs; if it has not, all continue, and the vCPU that is looked at
 * steps alone.
 */
static void resume_plainly(struct gdb_protocol *protocol, struct gdb_text args, enum debug_action action)
{
    const bool is_chosen = protocol->continue_thread > 0;
    const unsigned vcpu = is_chosen ? (unsigned)protocol->continue_thread - 1 : protocol->general_vcpu;
    const struct gdb_plan plan = {.is_set = true, .action = action};
    uint64_t address;
    struct error error;

    if (!gdb_text_is_empty(&args)) {
        if (!gdb_text_number(&args, &address) || !gdb_text_is_empty(&args)) {
            gdb_reply_malformed(protocol);
            return;
        }
        if (gdb_set_rip(protocol, vcpu, address, &error) < 0) {
            reply_not_resumed(protocol, &error);
            return;
        }
    }
    clear_plans(protocol);
    plan_for_thread(protocol, is_chosen || action == DEBUG_STEP ? (int64_t)vcpu + 1 : -1, &plan);
    resume(protocol);
}

void gdb_continue(struct gdb_protocol *protocol, struct gdb_text args)
{
    resume_plainly(protocol, args, DEBUG_CONTINUE);
}

void gdb_step(struct gdb_protocol *protocol, struct gdb_text args)
{
    resume_plainly(protocol, args, DEBUG_STEP);
}

/* "SIGNAL[;ADDRESS]" */
static void resume_with_signal(struct gdb_protocol *protocol, struct gdb_text args, enum debug_action action)
{
    if (take_signal(&args) && (gdb_text_is_empty(&args) || (gdb_text_skip(&args, ';') && !gdb_text_is_empty(&args))))
        resume_plainly(protocol, args, action);
    else
        gdb_reply_malformed(protocol);
}

void gdb_continue_with_signal(struct gdb_protocol *protocol, struct gdb_text args)
{
    resume_with_signal(protocol, args, DEBUG_CONTINUE);
}

void gdb_step_with_signal(struct gdb_protocol *protocol, struct gdb_text args)
{
    resume_with_signal(protocol, args, DEBUG_STEP);
}
