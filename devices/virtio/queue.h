/*
 * Virtqueues, split and packed, as the device sees them: virtio 1.2, 2.6 to 2.8. All of a ring is the driver's, who is
 * hostile: what is read is copied once, checked, and used from the copy. A queue that the driver has broken gives
 * nothing more until it is reset.
 */
#ifndef DEVICES_VIRTIO_QUEUE_H
#define DEVICES_VIRTIO_QUEUE_H

#include "devices/state.h"

#include <Hypervisor/hvx_dma.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Descriptors of one chain: more is a broken queue, and so are more pieces of host memory than twice that. */
#define VIRTQ_CHAIN_MAX 256u

/* What is saved of a queue. Plain data. */
struct virtq_state {
    /* guest-physical: descriptors, what the driver writes, what the device writes */
    uint64_t descriptors;
    uint64_t driver;
    uint64_t device;
    /* Entries; a power of two in a split queue. */
    uint16_t size;
    uint16_t vector;
    /* Split: free-running counters. Packed: places in the ring, with the counters of its wraps. */
    uint16_t next_available;
    uint16_t next_used;
    /* Where next_used was when the driver was last told, in steps of what has been used. */
    uint16_t signalled_used;
    bool available_wrap;
    bool used_wrap;
    bool has_signalled;
    bool is_enabled;
    bool is_broken;
    uint8_t unused[1];
};

/* What features have been agreed on that change a queue's form. */
struct virtq_features {
    bool is_packed;
    bool has_indirect;
    bool has_event_index;
};

struct virtq {
    struct virtq_state state;
    struct virtq_features features;
    uint16_t max_size;
    /* How often the driver has taken it back: what is out from before is not the ring's any more. */
    unsigned life;
    hvx_dma_t *dma;
    /* What broke it, for the log: a string constant. NULL: nothing. */
    const char *why_broken;
};

/* A request: buffers that the device reads, then buffers that it writes, pinned until it is given back. */
struct virtq_chain {
    uint16_t id;
    /* Places in the ring. */
    uint16_t descriptor_count;
    /* The queue's when it was taken. */
    unsigned life;
    /* Some buffer may not be reached as the request wants: it is missing below. */
    bool is_refused;
    /* The last buffer is one that the device writes, and it is there: where a status goes. */
    bool has_last;
    struct iovec *readable;
    size_t readable_count;
    size_t readable_size;
    struct iovec *writable;
    size_t writable_count;
    size_t writable_size;
    size_t pin_count;
    hvx_dma_pin_t *pins;
    /* The user's, for a request that takes its time. */
    struct virtq_chain *next;
};

/* dma outlives the queue. */
void virtq_init(struct virtq *queue, hvx_dma_t *dma, uint16_t max_size);

/* As after power-on. No chain of the queue is out. */
void virtq_reset(struct virtq *queue);

/* The driver enables it: false, and it stays off, for a size or an address that the standard does not allow. */
bool virtq_enable(struct virtq *queue, const struct virtq_features *features);

/*
 * The driver takes it back: no more requests, and it begins anew when it is enabled again. Its size and addresses stay.
 * A chain that is out may still be given back, but the ring is the driver's, who hears nothing of it (4.2.2.1).
 */
void virtq_disable(struct virtq *queue);

/* Adds what is saved of it, which knows nothing of chains that are out. */
void virtq_add_state(struct virtq *queue, struct state_parts *parts);

/* After that has been read. One that could not have been enabled so is broken now. */
void virtq_restored(struct virtq *queue, const struct virtq_features *features);

/*
 * Takes the next request: 1, and *ret_chain is the caller's until virtq_push(); 0: there is none; -1: the queue is
 * broken, now or earlier, or there is no memory for the request, which stays where it is (is_broken tells). For one
 * thread at a time, as everything that takes a queue.
 */
int virtq_pop(struct virtq *queue, struct virtq_chain **ret_chain);

/* Gives a request back, with as many bytes written to its buffers; the chain is gone. */
void virtq_push(struct virtq *queue, struct virtq_chain *chain, uint32_t written);

/*
 * Gives several back that were popped in this order, and the driver sees all at once: buffers of one packet (5.1.6.4).
 * written: for each.
 */
void virtq_push_all(struct virtq *queue, struct virtq_chain *const *chains, const uint32_t *written, size_t count);

/*
 * Gives one back as if it had not been taken: for the last that was popped, while all that are out were popped right
 * before it.
 */
void virtq_unpop(struct virtq *queue, struct virtq_chain *chain);

/* Lets a chain go without a word to the driver: the device is being reset. */
void virtq_drop(struct virtq *queue, struct virtq_chain *chain);

/* Whether the driver is to be interrupted for what has been pushed since the last time this said so. */
bool virtq_wants_interrupt(struct virtq *queue);

/*
 * Has the driver notify us of new requests, or asks it not to. Enabling gives true if some came in between, for which
 * no notification will come.
 */
bool virtq_enable_notifications(struct virtq *queue);
void virtq_disable_notifications(struct virtq *queue);

/* Copies up to size bytes between a buffer and what chains have, from an offset on; returns how many. */
size_t virtq_read(const struct virtq_chain *chain, size_t offset, void *buffer, size_t size);
size_t virtq_write(const struct virtq_chain *chain, size_t offset, const void *buffer, size_t size);

#endif
