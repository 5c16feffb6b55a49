/*
 * The machine's virtio devices, as the configuration has them, and the PCI bus that they are on.
 */
#ifndef VMM_MACHINE_VIRTIO_DEVICES_H
#define VMM_MACHINE_VIRTIO_DEVICES_H

#include "devices/bus.h"
#include "devices/host/event_loop.h"
#include "memory/support/error.h"
#include "memory/support/log.h"
#include "vmm/agent/agent_server.h"
#include "vmm/config/config.h"
#include "vmm/console/terminal.h"
#include "vmm/machine/machine_memory.h"

#include <stdbool.h>

struct virtio_devices;

/* What they are connected to. The pointers must outlive them. */
struct virtio_devices_environment {
    const struct config *config;
    const struct machine_memory *memory;
    struct bus *ports;
    struct bus *mmio;
    /* the machine's, for devices that need no thread of their own */
    struct event_loop *loop;
    /* For pins; of any GSI. */
    void (*set_level)(void *context, uint32_t gsi, int level);
    void *irq_context;
    int vm_fd;
    struct log *log;
    /* What a console's keys do. */
    struct console_commands commands;
    /* Where a console's port for the guest's agent leads; NULL where there is no such port. */
    struct agent_server *agent;
    /* A thread of theirs cannot go on; called on it. */
    void (*failed)(void *context, const struct error *error);
    void *failed_context;
};

/* The kinds of threads that they have, as 1 << kind (sandbox.h). */
unsigned virtio_devices_sandboxes(const struct config *config);

/* Makes them. The interrupt controllers are there. NULL with *error, and nothing left but the attachments to the buses.
 */
struct virtio_devices *virtio_devices_create(const struct virtio_devices_environment *environment, struct error *error);

/* Starts their threads, in the sandbox that has been prepared. 0, or -1 with *error. */
int virtio_devices_start(struct virtio_devices *devices, struct error *error);

/* Back to power-on state, and nothing that they had begun goes on. No vCPU may be running. */
void virtio_devices_reset(struct virtio_devices *devices);

/* On SIGWINCH, on the machine's loop. */
void virtio_devices_terminal_resized(struct virtio_devices *devices);

/* Ends their threads; the guest's last output is written, and a terminal given back. The loop has ended. */
void virtio_devices_finish(struct virtio_devices *devices);

/* Nobody uses them any more: vCPUs have ended, and the loop does not run. Takes NULL. */
void virtio_devices_destroy(struct virtio_devices *devices);

#endif
