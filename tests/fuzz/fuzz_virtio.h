/*
 * A hostile driver for fuzz targets of virtio devices: the input is a list of steps, which set up queues, fill rings
 * with sense or nonsense, forbid memory, notify and reset.
 */
#ifndef TESTS_FUZZ_VIRTIO_H
#define TESTS_FUZZ_VIRTIO_H

#include "fake_guest.h"
#include "fuzz_require.h"

#include <string.h>
#include <unistd.h>

enum {
    FUZZ_RING_SIZE = 16,
    FUZZ_RINGS = 0x10000,
    FUZZ_BUFFERS = 0x200000,
    FUZZ_QUEUES_MAX = 8,
    /* More than any test input needs; a run takes no longer then. */
    FUZZ_STEPS_MAX = 200,
};

struct fuzz_input {
    const uint8_t *bytes;
    size_t left;
};

struct fuzz_driver {
    struct virtio_device *device;
    unsigned queue_count;
    struct fake_queue queues[FUZZ_QUEUES_MAX];
};

static inline uint8_t fuzz_byte(struct fuzz_input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->bytes++;
}

static inline uint32_t fuzz_word(struct fuzz_input *input)
{
    uint32_t word = 0;

    for (unsigned i = 0; i < 4; i++)
        word = word << 8 | fuzz_byte(input);
    return word;
}

/* Features are one byte: the lowest three bits are the kind's, and then come those of queues. */
static inline void fuzz_start(struct fuzz_driver *driver, struct fuzz_input *input)
{
    const uint8_t chosen = fuzz_byte(input);
    const uint64_t features = (chosen & 7) | (uint64_t)(chosen >> 3 & 1) << 28 | (uint64_t)(chosen >> 4 & 1) << 29 |
                              (uint64_t)(chosen >> 5 & 1) << 34;

    if (!fake_driver_begin(driver->device, features))
        return;
    for (unsigned i = 0; i < driver->queue_count; i++)
        fake_queue_enable(&driver->queues[i], driver->device, i, FUZZ_RING_SIZE, FUZZ_RINGS + 0x10000u * i);
    fake_driver_start(driver->device);
}

static inline bool fuzz_is_started(const struct fuzz_driver *driver)
{
    return driver->queues[0].device != NULL && (driver->device->state.status & 4) != 0;
}

/* A request of up to 4 buffers, in order or not, inside of memory or not. */
static inline void fuzz_add(struct fuzz_driver *driver, struct fuzz_input *input)
{
    struct fake_queue *queue = &driver->queues[fuzz_byte(input) % driver->queue_count];
    const uint8_t shape = fuzz_byte(input);
    const unsigned count = 1 + shape % 4;
    struct fake_buffer buffers[4];

    for (unsigned i = 0; i < count; i++) {
        buffers[i].gpa = FUZZ_BUFFERS + fuzz_byte(input) * 64u;
        buffers[i].length = fuzz_byte(input);
        buffers[i].is_written = (shape >> (2 + i) & 1) != 0;
        if (buffers[i].length > 200)
            buffers[i].length <<= 13;
    }
    if (shape & 0x40)
        fake_queue_add_indirect(queue, FUZZ_BUFFERS + 0x8000, buffers, count);
    else
        fake_queue_add(queue, buffers, count);
}

/* Some bytes anywhere: into rings, tables and buffers. */
static inline void fuzz_scribble(const struct fuzz_driver *driver, struct fuzz_input *input)
{
    const unsigned place = fuzz_byte(input) % (driver->queue_count + 1);
    const uint32_t part = fuzz_byte(input) % 4u * 0x4000u;
    const uint32_t offset = fuzz_byte(input) * 2u;
    const unsigned count = fuzz_byte(input) % 32;
    const uint32_t base = place == driver->queue_count ? FUZZ_BUFFERS : FUZZ_RINGS + 0x10000u * place;

    for (unsigned i = 0; i < count; i++)
        fake_guest_memory[base + part + offset + i] = fuzz_byte(input);
}

static inline void fuzz_protect(struct fuzz_input *input)
{
    const uint32_t page = fuzz_word(input) % (FAKE_GUEST_SIZE / 4096);

    fake_guest_protect(page * 4096u, 4096, fuzz_byte(input) % 4);
}

/* Notifies a queue, and lets the device have a few turns, as it asks for them. */
static inline void fuzz_serve(struct fuzz_driver *driver, struct fuzz_input *input)
{
    const unsigned queue = fuzz_byte(input) % driver->queue_count;
    uint64_t count;

    for (unsigned turn = 0; turn < 4; turn++) {
        fake_queue_serve(&driver->queues[queue]);
        if (read(driver->device->queues[queue].eventfd, &count, sizeof(count)) < 0)
            break;
    }
}

/* One step of a driver; false: it is none of these. */
static inline bool fuzz_step(struct fuzz_driver *driver, unsigned step, struct fuzz_input *input)
{
    switch (step) {
    case 0:
        fuzz_start(driver, input);
        return true;
    case 1:
        if (fuzz_is_started(driver))
            fuzz_add(driver, input);
        return true;
    case 2:
        fuzz_scribble(driver, input);
        return true;
    case 3:
        fuzz_protect(input);
        return true;
    case 4:
        if (fuzz_is_started(driver))
            fuzz_serve(driver, input);
        return true;
    case 5:
        fake_driver_reset(driver->device);
        return true;
    default:
        return false;
    }
}

#endif
