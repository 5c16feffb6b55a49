/*
 * What a debugger's client (vmm/gdb) needs of the machine that it debugs. The client knows no more of the machine than
 * this; vCPUs are numbered from 0.
 *
 * Threads: all for the machine's main thread. While the guest runs only interrupt(), vcpu_count, detach() and kill()
 * may be called; the rest is for while it is stopped.
 */
#ifndef VMM_DEBUG_TARGET_H
#define VMM_DEBUG_TARGET_H

#include "memory/support/error.h"
#include "vmm/debug/x86/registers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* gdb's kinds of break- and watchpoints, with the numbers of its packets Z0 to Z4. */
enum debug_point_kind {
    DEBUG_POINT_SOFTWARE,
    DEBUG_POINT_HARDWARE,
    DEBUG_POINT_WRITE,
    DEBUG_POINT_READ,
    DEBUG_POINT_ACCESS,
    DEBUG_POINT_KIND_COUNT,
};

/* What a vCPU does when the guest goes on. */
enum debug_action { DEBUG_HOLD, DEBUG_CONTINUE, DEBUG_STEP };

enum debug_stop_reason {
    /* interrupt(), or attach(). */
    DEBUG_STOP_INTERRUPTED,
    DEBUG_STOP_STEPPED,
    DEBUG_STOP_BREAKPOINT,
    /* The access is done: RIP is behind the instruction. */
    DEBUG_STOP_WATCHPOINT,
    /* The guest crashed; what is left can be looked at. text says how. */
    DEBUG_STOP_CRASHED,
};

struct debug_stop {
    enum debug_stop_reason reason;
    unsigned vcpu;
    /* Of a break- or watchpoint; address is the linear address of the access. */
    enum debug_point_kind kind;
    uint64_t address;
    /* For people; may be empty. */
    char text[512];
};

/* Where a command's answer goes. */
struct debug_output {
    void (*write)(void *context, const char *text, size_t size);
    void *context;
};

struct debug_target {
    void *context;
    unsigned vcpu_count;

    /*
     * A client has come: the guest is stopped, and stopped() is called, before this returns or later. Or it has gone,
     * at any moment: its break- and watchpoints are taken away, and the guest goes on as if it had never been there; a
     * guest that has crashed ends.
     */
    void (*attach)(void *context);
    void (*detach)(void *context);
    /* The server's; filled in by it. The guest has stopped; or it was, and is before its first instruction now. */
    void (*stopped)(void *server, const struct debug_stop *stop);
    void *server;

    /* 0, or -1 with *error, here and below. */
    int (*get_registers)(void *context, unsigned vcpu, struct debug_registers *registers, struct error *error);
    /* What is "for looking at only" is ignored. */
    int (*set_registers)(void *context, unsigned vcpu, const struct debug_registers *registers, struct error *error);
    int (*get_vectors)(void *context, unsigned vcpu, struct debug_vectors *vectors, struct error *error);
    int (*set_vectors)(void *context, unsigned vcpu, const struct debug_vectors *vectors, struct error *error);

    /*
     * Memory at the addresses that a vCPU uses, through its page tables and in its space, or as `monitor phys` and
     * `monitor space` have it. Pages' permissions do not matter, and device memory is not touched. The result is how
     * many bytes could be read, from the first on. A write is done whole or not at all.
     */
    size_t (*read)(void *context, unsigned vcpu, uint64_t address, void *buffer, size_t size);
    int (*write)(void *context, unsigned vcpu, uint64_t address, const void *buffer, size_t size, struct error *error);
    /* Whether addresses are guest-physical: what `monitor phys` sets, too. */
    bool (*get_physical)(void *context);
    void (*set_physical)(void *context, bool physical);

    /*
     * Adds or takes away a break- or watchpoint; vcpu says whose addresses they are. One that is there twice is there
     * once. size: bytes to watch; for breakpoints whatever the client says. *error says what the host cannot do.
     */
    int (*insert)(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                  struct error *error);
    int (*remove)(void *context, unsigned vcpu, enum debug_point_kind kind, uint64_t address, uint64_t size,
                  struct error *error);

    /*
     * Lets the guest go on; actions has one for each vCPU, and not all are DEBUG_HOLD. stopped() follows, once. -1: it
     * stays stopped, and stopped() is not called.
     */
    int (*resume)(void *context, const enum debug_action *actions, struct error *error);
    /* Has a guest that runs stop soon. */
    void (*interrupt)(void *context);

    /* A line for people about a vCPU: what it does, and in which space. */
    void (*describe)(void *context, unsigned vcpu, char *text, size_t size);

    /* `monitor COMMAND`: its answer goes to output. */
    void (*monitor)(void *context, unsigned vcpu, const char *command, const struct debug_output *output);

    /* Restarts the machine; it is stopped before its first instruction. */
    int (*restart)(void *context, struct error *error);
    /* Ends the machine, once the caller is back in the event loop. */
    void (*kill)(void *context);
};

#endif
