/*
 * virtio-rng: random numbers for the guest. virtio 1.2, 5.4.
 */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

struct virtio_rng;

/* Fills a buffer with random bytes, never blocks; how many, or -1. */
typedef ssize_t rng_source(void *context, void *buffer, size_t size);

/* The host's own source is getrandom(2). NULL with *error. */
struct virtio_rng *virtio_rng_create(const struct virtio_environment *environment, rng_source *source, void *context,
                                     struct error *error);

/* As virtio_fini(). Takes NULL. */
void virtio_rng_destroy(struct virtio_rng *rng);

struct virtio_device *virtio_rng_device(struct virtio_rng *rng);

#endif
