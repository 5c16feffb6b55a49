/*
 * A virtio 1.2 device without its transport: features, status, queues and configuration. What kind of device it is, a
 * table of functions says; how the driver reaches it, a transport (virtio_pci.h, virtio_mmio.h).
 *
 * One lock guards all of it. Queues are served on the thread of the event loop that the device was given.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H

#include "devices/host/event_loop.h"
#include "devices/state.h"
#include "devices/virtio/queue.h"
#include "memory/support/error.h"
#include "memory/support/log.h"

#include <Hypervisor/hvx_dma.h>

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Queues of one device, at the most. */
#define VIRTIO_QUEUE_MAX 64u

/* A vector that is none: VIRTIO_MSI_NO_VECTOR. */
#define VIRTIO_NO_VECTOR UINT16_MAX

struct virtio_device;

/* A kind of device. All functions are called with the lock held; the guest chooses everything. */
struct virtio_ops {
    /* As in messages: "block". */
    const char *name;
    /* VIRTIO_ID_* of <linux/virtio_ids.h> */
    uint16_t id;
    /* Bytes of the configuration. */
    size_t config_size;
    /* Its bytes as the driver sees them, little-endian, all of them. NULL where config_size is 0. */
    void (*read_config)(struct virtio_device *device, void *config);
    /* The driver writes to it, inside of config_size. NULL: nothing can be written. */
    void (*write_config)(struct virtio_device *device, size_t offset, const void *bytes, size_t size);
    /* The driver is ready: features are agreed on, and queues that it has enabled may be used. NULL: nothing to do. */
    void (*start)(struct virtio_device *device);
    /*
     * The driver resets the device: all chains are to be dropped. true: done. false: some are still in use by the host;
     * virtio_stopped() will be called once they are dropped, and until then no queue is served. NULL: done.
     */
    bool (*stop)(struct virtio_device *device);
    /* There may be new requests in a queue. On the loop's thread, while the device is started. */
    void (*notified)(struct virtio_device *device, unsigned queue);
    /* Adds what is to be saved of the kind, while no chain is out. NULL: it has no state. */
    void (*add_state)(struct virtio_device *device, struct state_parts *parts);
    /* All of the device's state has been read; it may be started, without start having been called. NULL: fine. */
    void (*restored)(struct virtio_device *device);
};

/* How a device reaches its driver; called with the device's lock held. */
struct virtio_transport {
    /* What has happened, to a queue or to the configuration, and the vector that the driver has chosen for it. */
    void (*interrupt)(void *context, uint16_t vector, bool is_config);
    /* Whether the device may reach memory now. */
    bool (*may_use_memory)(void *context);
    /* What is to be saved of the transport. NULL: nothing. */
    void (*add_state)(void *context, struct state_parts *parts);
    /*
     * All of the device's state has been read: makes interrupts agree with it. Called before the kind's, without the
     * lock. NULL: nothing to do.
     */
    void (*restored)(void *context);
    void *context;
};

/* What is saved, besides the queues' state and the kind's own. Plain data. */
struct virtio_state {
    uint64_t driver_features;
    uint32_t device_feature_select;
    uint32_t driver_feature_select;
    uint16_t queue_select;
    uint16_t config_vector;
    uint8_t status;
    uint8_t config_generation;
    /* Between the driver's reset and virtio_stopped(). */
    bool is_stopping;
    uint8_t unused[1];
};

/* The first member of each kind's struct. */
struct virtio_device {
    const struct virtio_ops *ops;
    /* as in messages and faults: "disk0" */
    const char *name;
    const struct log *log;
    struct log_limit limit;
    pthread_mutex_t lock;
    /* It has stopped. */
    pthread_cond_t stopped;
    struct virtio_state state;
    uint64_t features;
    hvx_dma_t *dma;
    struct virtio_transport transport;
    struct event_loop *loop;
    unsigned queue_count;
    struct {
        struct virtq ring;
        /* Written to for a notification. */
        int eventfd;
        struct virtio_device *device;
    } queues[VIRTIO_QUEUE_MAX];
};

/* What a device needs of the machine. Must outlive it. */
struct virtio_environment {
    const char *name;
    /* the space that it reaches */
    hv_vm_space_t space;
    struct event_loop *loop;
    const struct log *log;
};

/*
 * Fills in a device with queue_count queues of up to queue_size entries, which offers the kind's features besides those
 * of all. Before the loop runs. 0, or -1 with *error and nothing left behind.
 */
int virtio_init(struct virtio_device *device, const struct virtio_ops *ops,
                const struct virtio_environment *environment, uint64_t features, unsigned queue_count,
                uint16_t queue_size, struct error *error);

/* The loop does not run any more, and no chain is out. A zeroed struct is fine. */
void virtio_fini(struct virtio_device *device);

/*
 * What is saved of the device, its queues, its kind and its transport, as state_write() and state_read(). No vCPU and
 * no loop may be running, and no chain may be out: what the driver has made available and the device has not taken is
 * served again. Without the lock.
 */
uint8_t *virtio_save(struct virtio_device *device, size_t *ret_size);

/* What this device does not offer is not accepted any more, and then it needs a reset. */
int virtio_restore(struct virtio_device *device, const void *bytes, size_t size, struct error *error);

/* ---- For transports, with the lock held ---- */

/* Half of the features that the device offers; and what the driver accepts of them. */
uint32_t virtio_device_features(const struct virtio_device *device, uint32_t select);
void virtio_accept_features(struct virtio_device *device, uint32_t select, uint32_t features);

/* The driver writes the status register; 0 is a reset. */
void virtio_set_status(struct virtio_device *device, uint8_t status);

/* The driver enables a queue; false: it cannot be, and the device needs a reset. */
bool virtio_enable_queue(struct virtio_device *device, unsigned queue);

/* Accesses to the kind's configuration; what is outside of it reads as zeroes. */
void virtio_read_config(struct virtio_device *device, uint64_t offset, void *bytes, unsigned size);
void virtio_write_config(struct virtio_device *device, uint64_t offset, const void *bytes, unsigned size);

/* As after power-on, whatever the device is at; done at once, or later as after the driver's reset. */
void virtio_reset(struct virtio_device *device);

/* Waits until a reset is done, without the lock; not on the loop's thread. */
void virtio_wait_stopped(struct virtio_device *device);

/* The driver notifies a queue without the host's help. Any thread, without the lock. */
void virtio_notify(const struct virtio_device *device, unsigned queue);

/* ---- For kinds, with the lock held ---- */

/* Whether a feature was offered and accepted. */
bool virtio_has_feature(const struct virtio_device *device, unsigned bit);

/* Whether the driver has started the device, and it works. */
bool virtio_is_running(const struct virtio_device *device);

struct virtq *virtio_queue(struct virtio_device *device, unsigned queue);

/*
 * Takes the next request of a queue, or NULL: there is none, or the queue is broken, which is told to the driver and
 * the log.
 */
struct virtq_chain *virtio_pop(struct virtio_device *device, unsigned queue);

/* Gives one back; the driver is told by virtio_flush(). */
void virtio_push(struct virtio_device *device, unsigned queue, struct virtq_chain *chain, uint32_t written);

/* As virtq_push_all(). */
void virtio_push_all(struct virtio_device *device, unsigned queue, struct virtq_chain *const *chains,
                     const uint32_t *written, size_t count);

/* Interrupts the driver, if it wants that, for what has been given back. */
void virtio_flush(struct virtio_device *device, unsigned queue);

/* The driver has misused the device: it needs a reset. why is a sentence's end: "a request has no header". */
void virtio_fail(struct virtio_device *device, unsigned queue, const char *why);

/* The configuration has changed: the driver is told. */
void virtio_config_changed(struct virtio_device *device);

/* See struct virtio_ops.stop. */
void virtio_stopped(struct virtio_device *device);

#endif
