/*
 * Any driver of a console with two ports, and a host's side that does what it may at any moment: no request stays
 * pinned, a turn has an end, and back ends are neither given more than there is nor asked without a reason.
 */
#include "devices/virtio/console.h"

#include "fuzz_virtio.h"

#include <linux/virtio_console.h>

enum { PORTS = 2, QUEUES = 2 * PORTS + 2, CONTROL_OUT = 3, TURN_SIZE = 64 << 10, TURNS = 5 };

struct end {
    size_t room;
    size_t written;
    bool has_offered;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t end_write(void *context, const uint8_t *bytes, size_t len)
{
    struct end *end = context;
    const size_t taken = len < end->room ? len : end->room;
    volatile uint8_t last = bytes[len - 1];

    (void)last;
    require(len > 0);
    end->room -= taken;
    end->written += taken;
    return taken;
}

static void end_input_room(void *context)
{
    struct end *end = context;

    require(end->has_offered);
    end->has_offered = false;
}

static void receive(struct virtio_console *console, struct end *ends, struct fuzz_input *input)
{
    static const uint8_t bytes[10000];
    const unsigned port = fuzz_byte(input) % PORTS;
    const size_t size = fuzz_byte(input) * 37u;

    ends[port].has_offered = false;
    const size_t taken = virtio_console_receive(console, port, bytes, size);
    require(taken <= size);
    ends[port].has_offered = taken < size;
}

/* A message as a driver would send it, of any content. */
static void send_control(struct fuzz_driver *driver, struct fuzz_input *input)
{
    const struct virtio_console_control message = {
        .id = fuzz_byte(input) % 4u, .event = fuzz_byte(input) % 9u, .value = fuzz_byte(input) % 2u};
    const struct fake_buffer buffer = {FUZZ_BUFFERS + 0xc000, sizeof(message), false};

    if (!fuzz_is_started(driver))
        return;
    memcpy(fake_guest_memory + buffer.gpa, &message, sizeof(message));
    fake_queue_add(&driver->queues[CONTROL_OUT], &buffer, 1);
    fake_queue_serve(&driver->queues[CONTROL_OUT]);
}

static void write_config(struct virtio_device *device, struct fuzz_input *input)
{
    const uint64_t offset = fuzz_byte(input);
    uint32_t value = fuzz_word(input);

    pthread_mutex_lock(&device->lock);
    virtio_write_config(device, offset, &value, 1u << (value % 3));
    virtio_read_config(device, offset, &value, 4);
    pthread_mutex_unlock(&device->lock);
}

static void host_step(struct virtio_console *console, struct end *ends, unsigned step, struct fuzz_driver *driver,
                      struct fuzz_input *input)
{
    const unsigned port = fuzz_byte(input) % PORTS;

    switch (step) {
    case 6:
        receive(console, ends, input);
        break;
    case 7:
        ends[port].room = (size_t)fuzz_byte(input) << 9;
        virtio_console_writable(console, port);
        break;
    case 8:
        virtio_console_set_connected(console, port, fuzz_byte(input) & 1);
        break;
    case 9:
        virtio_console_resize(console, port, fuzz_byte(input), fuzz_byte(input));
        break;
    case 10:
        write_config(driver->device, input);
        break;
    default:
        send_control(driver, input);
        break;
    }
}

static void run(struct virtio_console *console, struct end *ends, struct fuzz_driver *driver, struct fuzz_input *input)
{
    fuzz_start(driver, input);
    for (unsigned i = 0; i < FUZZ_STEPS_MAX && input->left > 0; i++) {
        const unsigned step = fuzz_byte(input) % 12;
        for (unsigned port = 0; port < PORTS; port++)
            ends[port].written = 0;
        if (!fuzz_step(driver, step, input))
            host_step(console, ends, step, driver, input);
        require(fake_guest_pins == 0);
        for (unsigned port = 0; port < PORTS; port++)
            require(ends[port].written <= TURNS * TURN_SIZE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct log log = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
    struct fuzz_input input = {.bytes = data, .left = size};
    struct fuzz_driver driver = {.queue_count = QUEUES};
    struct fake_transport transport;
    struct end ends[PORTS] = {{.room = SIZE_MAX}, {.room = 5000}};
    struct virtio_console_port_options ports[PORTS] = {{.is_console = true}, {.name = "channel"}};
    struct error error;

    for (unsigned i = 0; i < PORTS; i++)
        ports[i].backend =
            (struct virtio_console_backend){.write = end_write, .input_room = end_input_room, .context = &ends[i]};
    fake_guest_reset();
    struct event_loop *loop = event_loop_create(&error);
    const struct virtio_environment environment = {.name = "console0", .loop = loop, .log = &log};
    struct virtio_console *console = virtio_console_create(&environment, ports, PORTS, &error);
    require(console != NULL);
    driver.device = virtio_console_device(console);
    driver.device->transport = fake_transport_make(&transport);
    run(console, ends, &driver, &input);
    virtio_console_destroy(console);
    event_loop_destroy(loop);
    return 0;
}
