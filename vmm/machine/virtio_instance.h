/*
 * One virtio device of a machine: what the guest has in front of it, and what is behind it on the host.
 */
#ifndef VMM_MACHINE_VIRTIO_INSTANCE_H
#define VMM_MACHINE_VIRTIO_INSTANCE_H

#include "devices/block/image.h"
#include "devices/host/worker.h"
#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "devices/virtio/net.h"
#include "devices/virtio/rng.h"
#include "memory/support/error.h"
#include "vmm/agent/agent_server.h"
#include "vmm/config/config.h"
#include "vmm/console/terminal.h"
#include "vmm/console/virtio_port_host.h"
#include "vmm/sandbox/sandbox.h"

#include <stddef.h>
#include <stdint.h>

struct virtio_instance {
    const struct config *config;
    const struct config_device *device_config;
    struct virtio_device *device;
    /* Of the kind that it is; the rest is NULL. */
    struct virtio_rng *rng;
    struct block_image *image;
    struct virtio_block *block;
    struct virtio_net *net;
    struct virtio_console *console;
    /* One for each port; NULL for the agent's. */
    struct virtio_port_host **port_hosts;
    size_t port_count;
    /* Which of them is the agent's. */
    unsigned agent_port;
};

struct virtio_instance_environment {
    /* What all kinds get: the loop in it serves the device. */
    struct virtio_environment device;
    /* The machine's log, and what a console's keys do. */
    struct log *log;
    struct console_commands commands;
    /* Where a console's port for the agent leads. */
    struct agent_server *agent;
    /* How threads begin that the device makes besides its loop's. */
    struct worker_hooks hooks;
};

/* Which thread serves a kind: the machine's loop, or one of its own. */
enum sandbox_thread virtio_instance_thread(const struct config_device *config);

/* Base class and subclass on PCI: PCI Code and ID Assignment 1.11, 1. */
uint16_t virtio_instance_class(enum config_device_kind kind);

/*
 * Opens what is on the host, and makes the device. config and device_config are filled in, the rest is zero. 0, or -1
 * with *error; virtio_instance_destroy() is due in any case.
 */
int virtio_instance_make(struct virtio_instance *instance, const struct virtio_instance_environment *environment,
                         struct error *error);

/* Starts threads; in the sandbox that has been prepared, before the loop runs. 0, or -1 with *error. */
int virtio_instance_start(struct virtio_instance *instance, struct error *error);

/* On SIGWINCH, on the machine's loop. */
void virtio_instance_terminal_resized(struct virtio_instance *instance);

/* The guest's last output is written, and a terminal given back. The loops have ended. */
void virtio_instance_finish(struct virtio_instance *instance);

/* The loops have ended. */
void virtio_instance_destroy(struct virtio_instance *instance);

#endif
