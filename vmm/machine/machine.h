/*
 * A machine: everything that a configuration describes, built, run until it ends, taken apart.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/config/config.h"
#include "vmm/console/terminal.h"
#include "vmm/machine/outcome.h"

#include <stdio.h>

struct machine;

/*
 * Builds the machine, in the order of the steps in machine.c; guest memory is loaded and all vCPUs wait. config passed
 * config_check(). config and log must outlive it. From here on the process has no capabilities, and its main thread
 * must not need any.
 * 0, or -1 with *error and nothing left behind. One machine at a time; for the main thread.
 */
int machine_create(const struct config *config, struct log *log, struct machine **ret_machine, struct error *error);

typedef void machine_waits_callback(void *context, const struct machine_outcome *outcome);

/*
 * The guest has crashed, and the machine does not end, but waits for a debugger to come (gdb.on-crash): tells of what
 * would have been its end, in machine_run(), on its thread and in its sandbox. Before machine_run().
 */
void machine_tell_crash(struct machine *machine, machine_waits_callback *callback, void *context);

/* Runs it until it ends; restarts happen inside. The calling thread serves the event loop, in its sandbox. */
void machine_run(struct machine *machine, struct machine_outcome *outcome);

/* After machine_run(): the guest's last output is written, and the terminal given back. */
void machine_close_console(struct machine *machine);

/* Writes what a crash left to be seen: the vCPU that crashed, or where all were. After machine_run(). */
void machine_print_crash(const struct machine *machine, const struct machine_outcome *outcome, FILE *out);

/* Takes NULL. */
void machine_destroy(struct machine *machine);

#endif
