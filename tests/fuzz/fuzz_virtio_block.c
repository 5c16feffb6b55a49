/*
 * A driver of a disk, or what pretends to be one. The input is a row of actions on its registers, its memory and its
 * queues; the disk is in memory, and the host fails now and then, or takes its time.
 */
#include "devices/virtio/block.h"

#include "devices/virtio/virtio_mmio.h"
#include "fake_guest.h"
#include "fuzz_require.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    QUEUES = 2,
    SECTORS = 128,
    /* Where queues, requests and data lie: all within the reach of two bytes. */
    REACH = 0x10000,
};

static struct block_image *image;
static struct virtio_block *block;
static struct virtio_device *device;
static struct virtio_mmio *mmio;
static struct event_loop *loop;
static unsigned failures;
static struct log silence = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};

struct input {
    const uint8_t *next;
    size_t left;
};

static uint32_t take(struct input *input, unsigned bytes)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < bytes && input->left > 0; i++) {
        value |= (uint32_t)*input->next++ << (8 * i);
        input->left--;
    }
    return value;
}

/* ---- The host ---- */

/* Steps are made when they are reaped: at once, or as long as the host is busy not at all. */
static struct {
    struct block_engine engine;
    bool is_busy;
    struct block_io *steps[QUEUES * VIRTIO_BLOCK_QUEUE_SIZE];
    unsigned count;
} host;

/* What becomes of a step the input says: two bits for each of the next. */
static int make(const struct block_step *step)
{
    struct block_step less = *step;
    const unsigned how = failures & 3;

    require(step->kind == BLOCK_STEP_SYNC || (step->size > 0 && step->offset + step->size <= SECTORS * 512));
    failures >>= 2;
    if (how == 1)
        return -EIO;
    if (how == 2)
        return -EOPNOTSUPP;
    if (how == 3 && step->piece_count > 1)
        less.piece_count--;
    return block_step_make(image, &less);
}

static void submit(struct block_engine *engine, struct block_io *io)
{
    (void)engine;
    require(host.count < sizeof(host.steps) / sizeof(host.steps[0]));
    host.steps[host.count++] = io;
}

static bool commit(struct block_engine *engine)
{
    (void)engine;
    return true;
}

static struct block_io *reap(struct block_engine *engine)
{
    (void)engine;
    if (host.is_busy || host.count == 0)
        return NULL;
    struct block_io *io = host.steps[0];
    memmove(&host.steps[0], &host.steps[1], --host.count * sizeof(host.steps[0]));
    io->step_result = make(&io->step);
    return io;
}

static const struct block_engine_ops host_ops = {.name = "fuzz", .submit = submit, .commit = commit, .reap = reap};

/* What is out is one step for each request, and holds all pins that there are. */
static void check_host(void)
{
    require(virtio_block_in_flight(block) == host.count && (host.count > 0 || fake_guest_pins == 0));
}

/* The loop's turn, in which it finds what the host has made. */
static void turn(void)
{
    event_loop_serve(loop);
    check_host();
}

/* The host is not busy any more, and makes all that is out. */
static void let_finish(void)
{
    host.is_busy = false;
    while (host.count > 0)
        turn();
}

/* ---- The driver ---- */

static void no_interrupt(void *context, uint32_t gsi, int level)
{
    (void)context;
    (void)gsi;
    (void)level;
}

static void begin(void)
{
    static const struct irq_line irq = {.set_level = no_interrupt};
    struct error error;
    char path[32];

    const int fd = memfd_create("disk", 0);
    require(fd >= 0 && ftruncate(fd, SECTORS * 512) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    const struct block_image_options options = {.path = path};
    image = block_image_open(&options, &error);
    loop = event_loop_create(&error);
    /* It can always be read from: what is not there to reap is not missed. */
    host.engine = (struct block_engine){.ops = &host_ops, .fd = eventfd(1, EFD_NONBLOCK)};
    require(image != NULL && loop != NULL && host.engine.fd >= 0);
    const struct virtio_environment environment = {.name = "disk0", .loop = loop, .log = &silence};
    const struct virtio_block_options all = {.queues = QUEUES, .serial = "fuzz", .own_engine = &host.engine};
    block = virtio_block_create(&environment, image, &all, &error);
    require(block != NULL);
    device = virtio_block_device(block);
    mmio = virtio_mmio_create(device, &irq);
    require(mmio != NULL);
}

static void write_register(uint32_t offset, uint32_t value)
{
    struct device *bus = virtio_mmio_device(mmio);

    pthread_mutex_lock(&bus->lock);
    bus->ops->write(bus, offset, 4, value);
    pthread_mutex_unlock(&bus->lock);
}

static void read_register(uint32_t offset, unsigned size)
{
    struct device *bus = virtio_mmio_device(mmio);

    pthread_mutex_lock(&bus->lock);
    (void)bus->ops->read(bus, offset, size);
    pthread_mutex_unlock(&bus->lock);
}

/* What a driver does until it is ready, so that the fuzzer need not find it out; in memory as small as can be. */
static void start_driver(uint32_t features, uint32_t size)
{
    const uint32_t status[] = {0, 3, 11, 15};

    for (unsigned i = 0; i < 3; i++) {
        write_register(VIRTIO_MMIO_STATUS, status[i]);
        if (i == 1) {
            write_register(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
            write_register(VIRTIO_MMIO_DRIVER_FEATURES, features & (uint32_t)device->features);
            write_register(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
            write_register(VIRTIO_MMIO_DRIVER_FEATURES, 1 | (features >> 8 & 4));
        }
    }
    for (unsigned queue = 0; queue < QUEUES; queue++) {
        write_register(VIRTIO_MMIO_QUEUE_SEL, queue);
        write_register(VIRTIO_MMIO_QUEUE_NUM, size);
        write_register(VIRTIO_MMIO_QUEUE_DESC_LOW, 0x1000 * queue);
        write_register(VIRTIO_MMIO_QUEUE_AVAIL_LOW, 0x1000 * queue + 0x800);
        write_register(VIRTIO_MMIO_QUEUE_USED_LOW, 0x1000 * queue + 0xc00);
        write_register(VIRTIO_MMIO_QUEUE_READY, 1);
    }
    write_register(VIRTIO_MMIO_STATUS, status[3]);
}

static void serve(unsigned queue)
{
    pthread_mutex_lock(&device->lock);
    if (virtio_is_running(device) && device->queues[queue].ring.state.is_enabled)
        device->ops->notified(device, queue);
    pthread_mutex_unlock(&device->lock);
    check_host();
}

static void poke(uint32_t gpa, struct input *input, unsigned count)
{
    for (unsigned i = 0; i < count && input->left > 0; i++, input->left--)
        fake_guest_memory[(gpa + i) % REACH] = *input->next++;
}

/* One request of three descriptors in a split queue, made of a few bytes: what most inputs should be about. */
static void request(struct input *input)
{
    const uint64_t base = take(input, 1) & 1 ? 0x1000 : 0;
    struct vring_desc *table = (struct vring_desc *)(void *)(fake_guest_memory + base);
    struct vring_avail *ring = (struct vring_avail *)(void *)(fake_guest_memory + base + 0x800);
    const struct virtio_blk_outhdr header = {.type = take(input, 1) & 15, .sector = take(input, 2)};

    memcpy(fake_guest_memory + 0x4000, &header, sizeof(header));
    const uint16_t is_read = take(input, 1) & 1 ? VRING_DESC_F_WRITE : 0;
    table[0] = (struct vring_desc){.addr = 0x4000, .len = 16, .flags = VRING_DESC_F_NEXT, .next = 1};
    table[1] = (struct vring_desc){
        .addr = 0x5000 + take(input, 1), .len = take(input, 2), .flags = VRING_DESC_F_NEXT | is_read, .next = 2};
    table[2] = (struct vring_desc){.addr = 0x4800, .len = 1, .flags = VRING_DESC_F_WRITE};
    ring->ring[ring->idx % 8] = 0;
    ring->idx++;
    serve(base != 0);
}

static void act(struct input *input)
{
    const uint32_t action = take(input, 1);

    switch (action % 8) {
    case 0:
        write_register((action & 8 ? VIRTIO_MMIO_CONFIG : 0) + take(input, 1) % 0x100, take(input, 4));
        break;
    case 1:
        read_register(take(input, 2) % 0x200, 1u << (action >> 3) % 3);
        break;
    case 2:
        start_driver(take(input, 4), action & 8 ? take(input, 2) : 8);
        break;
    case 3:
        poke(take(input, 2), input, action >> 3);
        break;
    case 4:
        if (action & 16)
            let_finish();
        else
            serve((action >> 3) % QUEUES);
        break;
    case 5:
        failures = take(input, 4);
        host.is_busy = (action & 8) != 0;
        break;
    case 6:
        request(input);
        break;
    default:
        fake_guest_protect(take(input, 2) % REACH, 4096, (hv_memory_flags_t)(action >> 3 & 3));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};

    if (block == NULL)
        begin();
    fake_guest_reset();
    failures = 0;
    /* An action costs its bytes, so that there is an end to each input; more than these are slow, and no richer. */
    for (unsigned i = 0; i < 500 && input.left > 0; i++)
        act(&input);
    write_register(VIRTIO_MMIO_STATUS, 0);
    let_finish();
    /* What the input has notified is not the next one's. */
    turn();
    require(!device->state.is_stopping && host.count == 0);
    return 0;
}
