/*
 * What the parts of the protocol share: gdb_protocol.c has the connection and the table of commands, gdb_access.c
 * registers and memory, gdb_query.c what is asked about, gdb_resume.c how the guest goes on and stops, gdb_job.c what
 * takes longer than one turn of the event loop.
 */
#ifndef VMM_GDB_GDB_PROTOCOL_PRIVATE_H
#define VMM_GDB_GDB_PROTOCOL_PRIVATE_H

#include "vmm/gdb/gdb_packet.h"
#include "vmm/gdb/gdb_protocol.h"
#include "vmm/gdb/gdb_registers.h"
#include "vmm/gdb/gdb_text.h"

enum {
    GDB_SCRATCH_SIZE = 2 * GDB_PACKET_SIZE,
    /* Of `monitor`'s answers; what is more is cut. */
    GDB_MONITOR_MAX = 16 * 1024 * 1024,
};

/* What a vCPU is to do when the guest goes on. */
struct gdb_plan {
    bool is_set;
    enum debug_action action;
    /* Steps are repeated while RIP is in [start, end). */
    uint64_t start;
    uint64_t end;
};

enum gdb_job { GDB_JOB_NONE, GDB_JOB_MONITOR, GDB_JOB_SEARCH, GDB_JOB_CRC };

struct gdb_protocol {
    struct debug_target *target;
    const struct log *log;
    struct log_limit refusals;
    unsigned vcpu_count;

    /* ---- The connection ---- */
    bool is_connected;
    bool is_over;
    /* The target has been detached, or is no more. */
    bool is_released;
    /* What the client has asked for. */
    bool no_acks;
    bool is_extended;
    /* The machine is to end, unless the client restarts it. */
    bool is_killed;
    bool takes_error_text;
    bool knows_swbreak;
    bool knows_hwbreak;
    /* reader has a packet that is not served yet. */
    bool packet_waits;
    /* In what is behind that packet. */
    enum gdb_framing beyond;

    /* ---- The guest ---- */
    bool is_running;
    /* The client waits for a stop reply. */
    bool owes_stop;
    bool wants_interrupt;
    /* The target's resume() is being called; and has stopped within. */
    bool is_resuming;
    bool has_stopped_meanwhile;
    struct debug_stop stop;
    /* Of Hg; and of Hc: an id, 0 or -1. */
    unsigned general_vcpu;
    int64_t continue_thread;
    /* One for each vCPU. */
    struct gdb_plan *plans;
    enum debug_action *actions;

    /* Registers of a vCPU that has not run since. */
    struct gdb_registers registers;
    unsigned registers_vcpu;
    bool has_core;
    bool has_vectors;

    /* Made when they are asked for; owned. */
    char *features_xml;
    char *threads_xml;
    size_t threads_xml_size;

    /* ---- What takes longer ---- */
    enum gdb_job job;
    /* A monitor command's answer; owned. */
    char *text;
    size_t text_size;
    size_t text_capacity;
    size_t text_sent;
    bool text_is_cut;
    /* The search's and the checksum's: scratch[0, scratch_used) is what is at job_address, job_left bytes follow. */
    uint64_t job_address;
    uint64_t job_left;
    size_t scratch_used;
    struct gdb_text pattern;
    uint32_t crc;

    uint8_t scratch[GDB_SCRATCH_SIZE];
    struct gdb_reader reader;
    struct gdb_writer writer;
};

/* ---- Replies (gdb_protocol.c) ---- */

void gdb_reply(struct gdb_protocol *protocol, const char *text);
void gdb_reply_ok(struct gdb_protocol *protocol);
/* "E01", or the sentence for a client that takes it. */
void gdb_reply_error(struct gdb_protocol *protocol, const struct error *error);
/* The same, of what a person has to know: it is logged for a client that does not take sentences. */
void gdb_reply_refusal(struct gdb_protocol *protocol, const struct error *error);
void gdb_reply_malformed(struct gdb_protocol *protocol);

/* A thread's id: that of a vCPU, -1 for all, 0 for any. False: it is none. */
bool gdb_take_thread(const struct gdb_protocol *protocol, struct gdb_text *args, int64_t *ret_thread);

/* ---- Registers (gdb_access.c) ---- */

/* Has these registers of a vCPU in protocol->registers. 0, or -1 with *error. */
int gdb_load_core(struct gdb_protocol *protocol, unsigned vcpu, struct error *error);
int gdb_load_vectors(struct gdb_protocol *protocol, unsigned vcpu, struct error *error);
/* The guest may have changed them. */
void gdb_forget_registers(struct gdb_protocol *protocol);
int gdb_set_rip(struct gdb_protocol *protocol, unsigned vcpu, uint64_t rip, struct error *error);

/* ---- How the guest goes on (gdb_resume.c) ---- */

/* The reply to `?`. */
void gdb_put_stop(struct gdb_protocol *protocol);
void gdb_interrupt(struct gdb_protocol *protocol);

/* ---- Jobs (gdb_job.c) ---- */

void gdb_job_step(struct gdb_protocol *protocol);
/* Frees what it has. */
void gdb_job_end(struct gdb_protocol *protocol);

/* ---- Commands: args is what is behind their names, with the separator ---- */

typedef void gdb_command(struct gdb_protocol *protocol, struct gdb_text args);

gdb_command gdb_get_registers, gdb_set_registers, gdb_get_register, gdb_set_register;
gdb_command gdb_read_hex, gdb_write_hex, gdb_read_binary, gdb_write_binary;
gdb_command gdb_insert_point, gdb_remove_point;
gdb_command gdb_get_physical, gdb_set_physical;
gdb_command gdb_supported, gdb_features, gdb_threads, gdb_first_threads, gdb_thread_extra_info, gdb_current_thread;
gdb_command gdb_continue, gdb_continue_with_signal, gdb_step, gdb_step_with_signal, gdb_vcont, gdb_last_stop;
gdb_command gdb_monitor, gdb_search, gdb_crc;

#endif
