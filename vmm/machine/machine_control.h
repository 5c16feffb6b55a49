/*
 * A machine's control socket: the server, and what it does with the machine.
 */
#ifndef VMM_MACHINE_MACHINE_CONTROL_H
#define VMM_MACHINE_MACHINE_CONTROL_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/config/config.h"
#include "vmm/machine/gdb_stub.h"
#include "vmm/machine/machine_memory.h"
#include "vmm/machine/vcpus.h"

#include <stdbool.h>

struct machine_control;

/* The machine around it. Must outlive it; functions are called on the main thread. */
struct machine_control_environment {
    const struct config *config;
    const struct machine_memory *memory;
    struct event_loop *loop;
    const struct log *log;
    /* NULL: nobody can debug the guest. */
    struct gdb_stub *gdb;
    void (*press_power_button)(void *context);
    /* As the guest would: on-reset says what follows. */
    void (*reset)(void *context);
    /* As a user at the console would. */
    void (*quit)(void *context);
    void *context;
};

/* Listens where config.control.listen says; nobody is served before the loop runs. NULL with *error. */
struct machine_control *machine_control_create(const struct machine_control_environment *environment,
                                               struct error *error);

/* Takes NULL, as all functions below do, where there is no control socket. The vCPUs are there still, if they ever
 * were. */
void machine_control_destroy(struct machine_control *control);

void machine_control_set_vcpus(struct machine_control *control, struct vcpus *vcpus);

/* The guest starts anew, its vCPUs are parked: a dump of what it was cannot be completed. */
void machine_control_restarted(struct machine_control *control);

/* Somebody keeps the guest from running. */
bool machine_control_is_paused(const struct machine_control *control);

#endif
