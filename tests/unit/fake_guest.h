/*
 * A guest for tests of devices, without KVM: memory behind hvx_dma_*, of which parts can be forbidden, and a driver's
 * side of virtio: split and packed queues, and a transport that counts interrupts. Links in the place of libhv.
 */
#ifndef TESTS_UNIT_FAKE_GUEST_H
#define TESTS_UNIT_FAKE_GUEST_H

#include "devices/virtio/virtio.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Guest memory, from address 0 on. */
#define FAKE_GUEST_SIZE (4u << 20)

extern uint8_t fake_guest_memory[FAKE_GUEST_SIZE];

/* All zero and allowed again, and all counts 0. */
void fake_guest_reset(void);

/* What devices may do with the pages of a range: HV_MEMORY_READ and HV_MEMORY_WRITE. */
void fake_guest_protect(uint64_t gpa, uint64_t size, hv_memory_flags_t flags);

/* Accesses that were refused, and pins that have not been let go. */
extern unsigned fake_guest_refused;
extern int fake_guest_pins;

/* A transport, for device->transport; may_use_memory is always so. */
struct fake_transport {
    unsigned interrupts;
    unsigned config_interrupts;
};
struct virtio_transport fake_transport_make(struct fake_transport *transport);

/* One buffer of a request. */
struct fake_buffer {
    uint64_t gpa;
    uint32_t length;
    bool is_written;
};

/* A driver's queue. Its rings are at gpa, for which there are 64 KiB; size is a power of two, 256 at most. */
struct fake_queue {
    struct virtio_device *device;
    unsigned index;
    bool is_packed;
    uint16_t size;
    uint64_t gpa;
    uint16_t next;
    bool wrap;
    uint16_t next_used;
    bool used_wrap;
    /* packed: how many places the request with this id takes */
    uint16_t places[256];
};

/* The features of all the forms that a queue can have. */
enum { FAKE_QUEUE_FORM_COUNT = 5 };
extern const uint64_t fake_queue_forms[FAKE_QUEUE_FORM_COUNT];

/* Makes the driver accept features (and VIRTIO_F_VERSION_1), up to FEATURES_OK. Whether the device agrees. */
bool fake_driver_begin(struct virtio_device *device, uint64_t features);

/* Enables a queue, between fake_driver_begin() and fake_driver_start(). */
void fake_queue_enable(struct fake_queue *queue, struct virtio_device *device, unsigned index, uint16_t size,
                       uint64_t gpa);
void fake_driver_start(struct virtio_device *device);
void fake_driver_reset(struct virtio_device *device);

/* Adds a request; its id is what fake_queue_used() gives back. It does not notify. */
uint16_t fake_queue_add(struct fake_queue *queue, const struct fake_buffer *buffers, unsigned count);

/* The same through an indirect table at table_gpa. */
uint16_t fake_queue_add_indirect(struct fake_queue *queue, uint64_t table_gpa, const struct fake_buffer *buffers,
                                 unsigned count);

/* Serves the queue on this thread, as the device's loop would after a notification. */
void fake_queue_serve(struct fake_queue *queue);

/* Takes what the device has used: true, with the request's id and how much was written. */
bool fake_queue_used(struct fake_queue *queue, uint16_t *ret_id, uint32_t *ret_written);

#endif
