/* A machine: what machine.c, which builds it, and machine_run.c have in common, and nobody else. */
#ifndef VMM_MACHINE_MACHINE_PRIVATE_H
#define VMM_MACHINE_MACHINE_PRIVATE_H

#include "vmm/agent/agent_server.h"
#include "vmm/machine/boot.h"
#include "vmm/machine/fault_log.h"
#include "vmm/machine/gdb_stub.h"
#include "vmm/machine/legacy_devices.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/machine_control.h"
#include "vmm/machine/machine_memory.h"
#include "vmm/machine/vcpus.h"
#include "vmm/machine/virtio_devices.h"
#include "vmm/machine/x86/irqchip.h"

#include <pthread.h>
#include <stdbool.h>

struct machine {
    const struct config *config;
    struct log *log;

    bool has_vm;
    int vm_fd;
    int system_fd;
    struct memory_plan plan;
    struct machine_memory memory;
    /* The space that each vCPU starts in. */
    hv_vm_space_t *vcpu_spaces;
    struct fault_log fault_log;
    struct irqchip irqchip;
    struct kvm_cpuid2 *supported_cpuid;
    const struct cpu_feature **hidden;
    struct bus *ports;
    struct bus *mmio;
    struct event_loop *loop;
    struct serial_host *serial_host;
    /* NULL: nobody can reach the guest's agent. */
    struct agent_server *agent;
    struct legacy_devices devices;
    struct virtio_devices *virtio;
    struct boot_sources sources;
    uint32_t *apic_ids;
    struct platform platform;
    /* NULL: nobody can debug the guest. */
    struct gdb_stub *gdb;
    /* NULL: there is no control socket. */
    struct machine_control *control;
    struct vcpus *vcpus;
    int signal_fd;
    /* Written to when `happened` has been filled in. */
    int event_fd;

    pthread_mutex_t lock;
    /* What the loop has to act on; guarded by lock. Only the first of several is kept. */
    struct machine_outcome happened;
    /* owner: the main thread, as for all below */
    struct machine_outcome outcome;
    bool power_button_pressed;

    /* Who is told that it waits after a crash. */
    machine_waits_callback *on_waits;
    void *waits_context;
};

/*
 * What happens to a machine: for its parts to call, whose context is the machine. All are for the loop's thread, but
 * where it says otherwise.
 */

/* The guest is loaded, as its vCPUs are to begin. 0, or -1 with *error. */
int machine_load(struct machine *machine, struct boot_entry *entry, struct error *error);

/*
 * Everything back to power-on state, and the guest loaded anew. All vCPUs are parked, and stay so. 0, or -1 with
 * *error.
 */
int machine_restart(void *context, struct error *error);

/* It is over for a vCPU, on whose thread it is called. */
void machine_vcpu_stopped(void *context, const struct machine_outcome *outcome);

/* A device's request, on the thread of the vCPU whose access it was. */
void machine_system_request(void *context, enum system_request request, uint32_t argument);

/* A device's own thread cannot go on. Any thread. */
void machine_worker_failed(void *context, const struct error *error);

/*
 * signal_fd: SIGTERM asks the guest to power off, as its power button would, if it runs; a second one, and other
 * signals, end it. SIGUSR1 shows the maps.
 */
void machine_on_signal(void *context, uint32_t events);

/* event_fd: an event has been recorded, and is acted on once all vCPUs are parked. */
void machine_on_event(void *context, uint32_t events);

/* Users: the terminal's keys, the control socket, a debugger. A reset is as the guest's own. */
void machine_console_command(void *context, enum console_command command);
void machine_press_power_button(void *context);
void machine_reset_by_user(void *context);
void machine_quit(void *context);

/* A crash has been looked at, and is the outcome still. */
void machine_crash_seen(void *context);

#endif
