/* Any driver of an rng: no request stays behind, and only what it may write is written. */
#include "devices/virtio/rng.h"

#include "fuzz_virtio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t fill(void *context, void *buffer, size_t size)
{
    (void)context;
    memset(buffer, 0x5a, size);
    return (ssize_t)size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct log log = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    struct fuzz_input input = {.bytes = data, .left = size};
    struct fuzz_driver driver = {.queue_count = 1};
    struct fake_transport transport;
    struct error error;

    fake_guest_reset();
    struct event_loop *loop = event_loop_create(&error);
    const struct virtio_environment environment = {.name = "rng0", .loop = loop, .log = &log};
    struct virtio_rng *rng = virtio_rng_create(&environment, fill, NULL, &error);
    require(rng != NULL);
    driver.device = virtio_rng_device(rng);
    driver.device->transport = fake_transport_make(&transport);
    fuzz_start(&driver, &input);
    for (unsigned i = 0; i < FUZZ_STEPS_MAX && input.left > 0; i++) {
        (void)fuzz_step(&driver, fuzz_byte(&input) % 6, &input);
        require(fake_guest_pins == 0);
    }
    virtio_rng_destroy(rng);
    event_loop_destroy(loop);
    return 0;
}
