/*
 * A machine's gdb stub: the debugger, the server that gdb connects to, and what they need of the machine.
 */
#ifndef VMM_MACHINE_GDB_STUB_H
#define VMM_MACHINE_GDB_STUB_H

#include "devices/host/event_loop.h"
#include "loader/loader.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/config/config.h"
#include "vmm/machine/machine_memory.h"
#include "vmm/machine/outcome.h"
#include "vmm/machine/vcpus.h"

#include <stdbool.h>

struct gdb_stub;

/* The machine around it. Must outlive it; functions are called on the main thread. */
struct gdb_stub_environment {
    const struct config *config;
    const struct machine_memory *memory;
    struct event_loop *loop;
    struct log *log;
    /* /dev/kvm */
    int system_fd;
    /* See struct debugger_environment. */
    int (*restart)(void *context, struct error *error);
    void (*kill)(void *context);
    void (*end_crashed)(void *context);
    void *context;
};

/* Listens where config.gdb.listen says; nobody is served before the loop runs. NULL with *error. */
struct gdb_stub *gdb_stub_create(const struct gdb_stub_environment *environment, struct error *error);

/* The vCPUs have ended. Takes NULL, as all functions below do, where nobody can debug the guest. */
void gdb_stub_destroy(struct gdb_stub *stub);

/* For vcpus_create(). */
const struct vcpus_debugger *gdb_stub_vcpu_side(struct gdb_stub *stub);
void gdb_stub_set_vcpus(struct gdb_stub *stub, struct vcpus *vcpus);

/* A kernel has been loaded. */
void gdb_stub_loaded(struct gdb_stub *stub, const struct boot_entry *entry);

/* The vCPUs are parked and about to run for the first time: whether they are to wait for a client. */
bool gdb_stub_holds_start(struct gdb_stub *stub);

/* A debugger has the guest stopped. */
bool gdb_stub_is_stopped(const struct gdb_stub *stub);

/* See debugger_has_crashed() and debugger_hide_points(). */
bool gdb_stub_has_crashed(const struct gdb_stub *stub);
void gdb_stub_hide_points(struct gdb_stub *stub, bool hidden);

/* The machine has been restarted by itself: whether its vCPUs are to run. */
bool gdb_stub_restarted(struct gdb_stub *stub);

/* Whether somebody is there already to look at a crash. Takes NULL. */
bool gdb_stub_has_client(const struct gdb_stub *stub);

/* What happened to the machine, whose vCPUs are parked, is a crash that somebody looks at now. */
bool gdb_stub_takes_crash(struct gdb_stub *stub, const struct machine_outcome *outcome);

/* The machine has ended: a client is told. */
void gdb_stub_exited(struct gdb_stub *stub, const struct machine_outcome *outcome);

#endif
