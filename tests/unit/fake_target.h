/*
 * A machine for debuggers, without one: vCPUs with registers, one range of memory, and a guest that goes on until the
 * test stops it. Says what has been asked of it.
 */
#ifndef TESTS_UNIT_FAKE_TARGET_H
#define TESTS_UNIT_FAKE_TARGET_H

#include "vmm/debug/target.h"

enum { FAKE_VCPUS = 3, FAKE_MEMORY_SIZE = 1024 * 1024, FAKE_POINTS = 16 };

/* Where the memory is; nothing else can be read. */
#define FAKE_MEMORY_BASE UINT64_C(0xffffffff81000000)

struct fake_point {
    enum debug_point_kind kind;
    unsigned vcpu;
    uint64_t address;
    uint64_t size;
};

struct fake_target {
    struct debug_target target;
    struct debug_registers registers[FAKE_VCPUS];
    struct debug_vectors vectors[FAKE_VCPUS];
    uint8_t *memory;
    struct fake_point points[FAKE_POINTS];
    unsigned point_count;
    bool is_physical;
    bool is_attached;
    bool is_running;
    enum debug_action actions[FAKE_VCPUS];

    /* ---- What it shall do ---- */
    /* attach() and interrupt() stop the guest themselves, and resume() stops it after a step of one byte. */
    bool stops_at_once;
    /* Calls with an error say that this was their fault. */
    bool fails;
    /* `monitor long` answers with so many bytes. */
    size_t answer_size;

    /* ---- How often it was asked ---- */
    unsigned attaches;
    unsigned detaches;
    unsigned resumes;
    unsigned interrupts;
    unsigned restarts;
    unsigned kills;
    unsigned monitor_vcpu;
    char command[64];
};

/* Aborts without memory. The registers have values that tell them apart. */
void fake_target_init(struct fake_target *fake, bool has_avx);
void fake_target_fini(struct fake_target *fake);

/* The guest stops, as if by itself. */
void fake_target_stop(struct fake_target *fake, enum debug_stop_reason reason, unsigned vcpu);

#endif
