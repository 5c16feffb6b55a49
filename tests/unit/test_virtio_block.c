/*
 * devices/virtio/block.h and devices/block: disks, through all forms of queues and all engines.
 */
#include "devices/virtio/block.h"

#include "devices/block/overlay.h"
#include "fake_guest.h"
#include "unit_test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    RINGS = 0x10000,
    RINGS_2 = 0x20000,
    TABLES = 0x30000,
    HEADERS = 0x38000,
    DATA = 0x100000,
    SECTORS = 2048,
    SIZE = SECTORS * 512,
    RING_SIZE = 64,
    SLOTS = 16,
};

enum kind { URING, THREADS, INLINE };

static struct block_image *image;
static struct virtio_block *block;
static struct virtio_device *device;
static struct fake_transport transport;
static struct fake_queue queue;
static struct event_loop *loop;
static int once = -1;
static char path[] = "test-virtio-block-XXXXXX";
static struct log logs = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
static bool has_indirect;
static uint16_t ids[SLOTS];

/* ---- A host that can be made to fail ---- */

static struct {
    /* Steps until the next that fails, with this errno value; -1: none. */
    int until_failure;
    int failure;
    /* Reads and writes stop after as many bytes; 0: they do not. */
    unsigned most;
    unsigned counts[5];
    enum block_step_kind last;
} host;

static int make(void *context, const struct block_image *from, const struct block_step *step)
{
    (void)context;
    host.counts[step->kind]++;
    host.last = step->kind;
    if (host.until_failure >= 0 && host.until_failure-- == 0)
        return -host.failure;
    if (host.most == 0 || step->piece_count == 0)
        return block_step_make(from, step);
    struct iovec piece = step->pieces[0];
    if (piece.iov_len > host.most)
        piece.iov_len = host.most;
    struct block_step less = *step;
    less.pieces = &piece;
    less.piece_count = 1;
    return block_step_make(from, &less);
}

/* ---- Setting up ---- */

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset / 512 * 7 + offset % 512 * 13 + 5);
}

static void write_file(const void *bytes, size_t size)
{
    const int fd = open(path, O_WRONLY | O_TRUNC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
    close(fd);
}

static void setup(void)
{
    static uint8_t bytes[SIZE];
    struct error error;

    fake_guest_reset();
    memset(&host, 0, sizeof(host));
    host.until_failure = -1;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = byte_at(i);
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    write_file(bytes, SIZE);
    loop = event_loop_create(&error);
    ck_assert_ptr_nonnull(loop);
}

static void close_disk(void)
{
    virtio_block_destroy(block);
    block_image_close(image);
    block = NULL;
    image = NULL;
    ck_assert_int_eq(fake_guest_pins, 0);
}

static void teardown(void)
{
    close_disk();
    event_loop_destroy(loop);
    unlink(path);
}

static int enter(void *context, const char *thread_name, struct error *error)
{
    (void)context;
    (void)thread_name;
    (void)error;
    return 0;
}

static void failed(void *context, const struct error *error)
{
    (void)context;
    ck_abort_msg("%s", error->text);
}

static const struct worker_hooks hooks = {.enter = enter, .failed = failed};

static struct block_engine *make_engine(enum kind kind)
{
    struct error error;
    struct block_engine *engine = NULL;

    if (kind == INLINE)
        return block_engine_inline(image, make, NULL);
    if (kind == URING) {
        engine = block_engine_uring(image, VIRTIO_BLOCK_QUEUE_SIZE * 2, &error);
        if (engine == NULL)
            printf("this machine has no io_uring (%s): tested with threads only\n", error.text);
    }
    if (engine == NULL)
        engine = block_engine_threads(image, "test-disk", &hooks, &error);
    ck_assert_ptr_nonnull(engine);
    return engine;
}

static void open_disk_with(const struct block_image_options *options, struct block_engine *(*engine)(enum kind),
                           enum kind kind)
{
    struct error error = {0};
    const struct virtio_environment environment = {.name = "disk0", .loop = loop, .log = &logs};

    image = block_image_open(options, &error);
    ck_assert_msg(image != NULL, "%s", error.text);
    const struct virtio_block_options all = {
        .queues = 2, .serial = "a serial number of more", .own_engine = engine(kind)};
    block = virtio_block_create(&environment, image, &all, &error);
    ck_assert_msg(block != NULL, "%s", error.text);
    ck_assert_int_eq(virtio_block_start(block, &error), 0);
    device = virtio_block_device(block);
    device->transport = fake_transport_make(&transport);
}

static void open_disk(enum kind kind)
{
    const struct block_image_options options = {.path = path};

    open_disk_with(&options, make_engine, kind);
}

enum { FLUSH = 1 << VIRTIO_BLK_F_FLUSH };

static void start(uint64_t features)
{
    has_indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1;
    ck_assert(fake_driver_begin(device, features));
    fake_queue_enable(&queue, device, 0, RING_SIZE, RINGS);
    fake_driver_start(device);
}

enum { KIND_COUNT = 3, ALL = FAKE_QUEUE_FORM_COUNT * KIND_COUNT };

static bool needs_reset(void)
{
    return (device->state.status & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

/* ---- Waiting ---- */

static void stop_loop(void *context, uint32_t events)
{
    (void)context;
    (void)events;
    event_loop_stop(loop);
}

/* One round of the loop, which has more to do than this at times. Check writes down each assertion: none here. */
static void pump(void)
{
    struct error error;

    if (once < 0)
        once = eventfd(1, EFD_CLOEXEC);
    /* Behind all that is ready by now. */
    event_loop_remove(loop, once);
    if (event_loop_add(loop, once, EPOLLIN, stop_loop, NULL, &error) < 0 || event_loop_run(loop, &error) < 0)
        ck_abort_msg("%s", error.text);
    sched_yield();
}

/* ---- Requests ---- */

static uint64_t header_of(unsigned slot)
{
    return HEADERS + 0x40ull * slot;
}

static uint8_t *status_of(unsigned slot)
{
    return &fake_guest_memory[header_of(slot) + 0x20];
}

static void set_header(unsigned slot, uint32_t type, uint64_t sector)
{
    const struct virtio_blk_outhdr header = {.type = type, .sector = sector};

    memcpy(fake_guest_memory + header_of(slot), &header, sizeof(header));
    *status_of(slot) = 0xee;
}

static void add_buffers(unsigned slot, const struct fake_buffer *buffers, unsigned count)
{
    ids[slot] = has_indirect ? fake_queue_add_indirect(&queue, TABLES + 0x400ull * slot, buffers, count)
                             : fake_queue_add(&queue, buffers, count);
}

/* Header, up to two pieces of data, status. */
static void add(unsigned slot, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t size)
{
    const bool is_read = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    const uint32_t first = size > 600 ? 300 : size;
    const struct fake_buffer buffers[] = {
        {header_of(slot), 16, false},
        {gpa, first, is_read},
        {gpa + first, size - first, is_read},
        {header_of(slot) + 0x20, 1, true},
    };
    const struct fake_buffer bare[] = {buffers[0], buffers[3]};
    const struct fake_buffer one[] = {buffers[0], buffers[1], buffers[3]};

    set_header(slot, type, sector);
    if (size == 0)
        add_buffers(slot, bare, 2);
    else if (size == first)
        add_buffers(slot, one, 3);
    else
        add_buffers(slot, buffers, 4);
}

static void wait_for(unsigned count)
{
    uint16_t used;
    uint32_t written;

    while (count > 0) {
        while (count > 0 && fake_queue_used(&queue, &used, &written))
            count--;
        if (count > 0)
            pump();
    }
}

static void finish(unsigned count)
{
    virtio_notify(device, 0);
    wait_for(count);
}

static uint8_t run(uint32_t type, uint64_t sector, uint64_t gpa, uint32_t size)
{
    add(0, type, sector, gpa, size);
    finish(1);
    return *status_of(0);
}

static uint8_t run_range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    const struct virtio_blk_discard_write_zeroes range = {.sector = sector, .num_sectors = sectors, .flags = flags};

    memcpy(fake_guest_memory + DATA, &range, sizeof(range));
    return run(type, 0, DATA, sizeof(range));
}

static uint8_t *data(uint64_t offset)
{
    return fake_guest_memory + DATA + offset;
}

static void check_file(uint64_t offset, size_t size, const uint8_t *expected)
{
    uint8_t bytes[8192];
    const int fd = open(path, O_RDONLY);

    ck_assert_uint_le(size, sizeof(bytes));
    ck_assert_int_eq(pread(fd, bytes, size, (off_t)offset), (ssize_t)size);
    close(fd);
    ck_assert_mem_eq(bytes, expected, size);
}

static void check_data(uint64_t offset, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ck_assert_uint_eq(*data(i), byte_at(offset + i));
}

/* ---- What a disk does ---- */

START_TEST(reads_and_writes_reach_the_file)
{
    open_disk((enum kind)(_i / FAKE_QUEUE_FORM_COUNT));
    start(FLUSH | fake_queue_forms[_i % FAKE_QUEUE_FORM_COUNT]);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 3, DATA, 2048), VIRTIO_BLK_S_OK);
    check_data(3 * 512, 2048);
    memset(data(0), 0xa5, 1024);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 9, DATA, 1024), VIRTIO_BLK_S_OK);
    check_file(9 * 512, 1024, data(0));
    /* The last sector, and a buffer of several pieces that begins at an odd address. */
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, SECTORS - 1, DATA, 512), VIRTIO_BLK_S_OK);
    check_data((SECTORS - 1) * 512, 512);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 16, 0x200000 - 777, 2048), VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < 2048; i++)
        ck_assert_uint_eq(fake_guest_memory[0x200000 - 777 + i], byte_at(16 * 512 + i));
    ck_assert_uint_eq(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    ck_assert(!needs_reset());
    ck_assert_uint_gt(transport.interrupts, 0);
    ck_assert_uint_eq(virtio_block_in_flight(block), 0);
}
END_TEST

START_TEST(discards_and_zeroes_reach_the_file)
{
    static const uint8_t zeroes[4096];

    open_disk((enum kind)(_i / FAKE_QUEUE_FORM_COUNT));
    start(FLUSH | fake_queue_forms[_i % FAKE_QUEUE_FORM_COUNT]);
    for (uint32_t flags = 0; flags < 2; flags++) {
        ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, 8 + flags * 100, 8, flags), VIRTIO_BLK_S_OK);
        check_file((8 + flags * 100) * 512, 4096, zeroes);
    }
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_DISCARD, 64, 16, 0), VIRTIO_BLK_S_OK);
    /* Neighbours are left alone. */
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 7, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(7 * 512, 512);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 16, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(16 * 512, 512);
}
END_TEST

START_TEST(zeroes_are_written_where_the_host_cannot_make_them)
{
    static const uint8_t zeroes[4096];

    open_disk(INLINE);
    start(FLUSH);
    host.until_failure = 0;
    host.failure = EOPNOTSUPP;
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, 8, 1000, 0), VIRTIO_BLK_S_OK);
    check_file(8 * 512, 4096, zeroes);
    check_file(1000 * 512, 4096, zeroes);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 1008, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(1008 * 512, 512);
    ck_assert_uint_eq(host.counts[BLOCK_STEP_WRITE], 2);
    host.until_failure = 0;
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(serial_number_is_cut_to_20_bytes)
{
    uint16_t used;
    uint32_t written;

    open_disk(URING);
    start(FLUSH | fake_queue_forms[_i]);
    memset(data(0), 0xee, 32);
    add(0, VIRTIO_BLK_T_GET_ID, 0, DATA, 20);
    fake_queue_serve(&queue);
    ck_assert(fake_queue_used(&queue, &used, &written));
    ck_assert_uint_eq(written, 21);
    ck_assert_mem_eq(data(0), "a serial number of m\xee", 21);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_GET_ID, 0, DATA, 4), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(many_requests_in_two_queues_come_back_each_to_its_own)
{
    struct fake_queue second;
    uint16_t used;
    uint32_t written;
    unsigned left = SLOTS;

    open_disk((enum kind)(_i / FAKE_QUEUE_FORM_COUNT));
    has_indirect = fake_queue_forms[_i % FAKE_QUEUE_FORM_COUNT] >> VIRTIO_RING_F_INDIRECT_DESC & 1;
    ck_assert(fake_driver_begin(device, FLUSH | fake_queue_forms[_i % FAKE_QUEUE_FORM_COUNT] | 1 << VIRTIO_BLK_F_MQ));
    fake_queue_enable(&queue, device, 0, RING_SIZE, RINGS);
    fake_queue_enable(&second, device, 1, RING_SIZE, RINGS_2);
    fake_driver_start(device);
    for (unsigned round = 0; round < 50; round++) {
        struct fake_queue first;
        for (unsigned i = 0; i < SLOTS / 2; i++)
            add(i, VIRTIO_BLK_T_IN, 8 * i + round, DATA + 0x1000 * i, 512);
        first = queue;
        queue = second;
        for (unsigned i = SLOTS / 2; i < SLOTS; i++)
            add(i, VIRTIO_BLK_T_IN, 8 * i + round, DATA + 0x1000 * i, 512);
        second = queue;
        queue = first;
        virtio_notify(device, 0);
        virtio_notify(device, 1);
        for (left = SLOTS; left > 0; pump()) {
            left -= fake_queue_used(&queue, &used, &written);
            left -= fake_queue_used(&second, &used, &written);
        }
        for (unsigned i = 0; i < SLOTS; i++) {
            ck_assert_uint_eq(*status_of(i), VIRTIO_BLK_S_OK);
            ck_assert_uint_eq(*data(0x1000 * i + 511), byte_at((8 * i + round) * 512 + 511));
        }
    }
}
END_TEST

START_TEST(unaligned_requests_pass_a_direct_image)
{
    struct block_image_options options = {.path = path, .direct = true};
    struct error error;

    struct block_image *probe = block_image_open(&options, &error);
    if (probe == NULL) {
        printf("no direct access here: %s\n", error.text);
        return;
    }
    block_image_close(probe);
    open_disk_with(&options, make_engine, (enum kind)_i);
    start(FLUSH);
    for (unsigned shift = 0; shift < 1024; shift += 101) {
        ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 24, DATA + shift, 4096), VIRTIO_BLK_S_OK);
        for (unsigned i = 0; i < 4096; i++)
            ck_assert_uint_eq(*data(shift + i), byte_at(24 * 512 + i));
        memset(data(shift), (int)shift, 1024);
        ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 97, DATA + shift, 1024), VIRTIO_BLK_S_OK);
        check_file(97 * 512, 1024, data(shift));
        ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 96, DATA, 1024), VIRTIO_BLK_S_OK);
        ck_assert_uint_eq(*data(512), (uint8_t)shift);
    }
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, 97, 1, 0), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 97, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(*data(100), 0);
}
END_TEST

/* ---- Caches ---- */

START_TEST(flush_syncs_where_the_cache_is_safe)
{
    const struct block_image_options unsafe = {.path = path, .cache = BLOCK_CACHE_UNSAFE};

    open_disk(INLINE);
    start(FLUSH);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(host.counts[BLOCK_STEP_SYNC], 0);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(host.counts[BLOCK_STEP_SYNC], 1);
    host.until_failure = 0;
    host.failure = EIO;
    ck_assert_uint_eq(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_IOERR);
    close_disk();
    open_disk_with(&unsafe, make_engine, INLINE);
    start(0);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(host.counts[BLOCK_STEP_SYNC], 2);
}
END_TEST

START_TEST(driver_without_flushes_has_each_write_synced)
{
    open_disk(INLINE);
    start(0);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(host.counts[BLOCK_STEP_SYNC], 1);
    ck_assert_int_eq(host.last, BLOCK_STEP_SYNC);
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
    ck_assert_int_eq(host.last, BLOCK_STEP_SYNC);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_int_eq(host.last, BLOCK_STEP_READ);
    host.until_failure = 1;
    host.failure = EIO;
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_IOERR);
}
END_TEST

static uint8_t cache_mode(void)
{
    uint8_t mode;

    pthread_mutex_lock(&device->lock);
    virtio_read_config(device, offsetof(struct virtio_blk_config, wce), &mode, 1);
    pthread_mutex_unlock(&device->lock);
    return mode;
}

static void choose_cache_mode(uint8_t mode)
{
    pthread_mutex_lock(&device->lock);
    virtio_write_config(device, offsetof(struct virtio_blk_config, wce), &mode, 1);
    pthread_mutex_unlock(&device->lock);
}

START_TEST(driver_may_choose_the_cache_mode_if_that_was_agreed_on)
{
    open_disk(INLINE);
    start(FLUSH);
    ck_assert_uint_eq(cache_mode(), 1);
    choose_cache_mode(0);
    ck_assert_uint_eq(cache_mode(), 1);
    start(1 << VIRTIO_BLK_F_CONFIG_WCE);
    ck_assert_uint_eq(cache_mode(), 0);
    start(FLUSH | 1 << VIRTIO_BLK_F_CONFIG_WCE);
    ck_assert_uint_eq(cache_mode(), 1);
    choose_cache_mode(0);
    ck_assert_uint_eq(cache_mode(), 0);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_int_eq(host.last, BLOCK_STEP_SYNC);
    choose_cache_mode(1);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_int_eq(host.last, BLOCK_STEP_WRITE);
    /* A reset forgets it. */
    choose_cache_mode(0);
    start(FLUSH | 1 << VIRTIO_BLK_F_CONFIG_WCE);
    ck_assert_uint_eq(cache_mode(), 1);
}
END_TEST

START_TEST(saved_state_makes_another_disk_the_same)
{
    struct error error;
    size_t size, size_again;

    open_disk(INLINE);
    start(FLUSH | fake_queue_forms[_i] | 1 << VIRTIO_BLK_F_CONFIG_WCE);
    choose_cache_mode(0);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    add(0, VIRTIO_BLK_T_IN, 0, DATA + 4096, 512);
    uint8_t *bytes = virtio_save(device, &size);
    ck_assert_ptr_nonnull(bytes);
    close_disk();
    open_disk(INLINE);
    ck_assert_int_eq(virtio_restore(device, bytes, size, &error), 0);
    ck_assert_uint_eq(cache_mode(), 0);
    uint8_t *again = virtio_save(device, &size_again);
    ck_assert_uint_eq(size_again, size);
    ck_assert_mem_eq(again, bytes, size);
    /* What was available is served without another notification. */
    queue.device = device;
    wait_for(1);
    ck_assert_uint_eq(*status_of(0), VIRTIO_BLK_S_OK);
    ck_assert_mem_eq(data(4096), data(0), 512);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_int_eq(host.last, BLOCK_STEP_SYNC);
    for (size_t cut = 0; cut < size; cut++)
        ck_assert_int_eq(virtio_restore(device, bytes, cut, &error), -1);
    free(again);
    free(bytes);
}
END_TEST

START_TEST(configuration_says_what_the_disk_is)
{
    struct virtio_blk_config config = {0};

    open_disk(INLINE);
    pthread_mutex_lock(&device->lock);
    virtio_read_config(device, 0, &config, sizeof(config));
    pthread_mutex_unlock(&device->lock);
    ck_assert_uint_eq(config.capacity, SECTORS);
    ck_assert_uint_eq(config.blk_size, 512);
    ck_assert_uint_eq(config.seg_max, 254);
    ck_assert_uint_eq(config.num_queues, 2);
    ck_assert_uint_eq(config.max_discard_seg, 1);
    ck_assert_uint_gt(config.max_write_zeroes_sectors, 0);
    ck_assert(device->features >> VIRTIO_BLK_F_MQ & 1);
    ck_assert(!(device->features >> VIRTIO_BLK_F_RO & 1));
}
END_TEST

/* ---- Overlays ---- */

START_TEST(overlay_keeps_writes_and_the_image_stays)
{
    static uint8_t before[SIZE], after[SIZE];
    const struct block_image_options options = {
        .path = path, .snapshot = _i % 2 != 0 ? BLOCK_SNAPSHOT_FILE : BLOCK_SNAPSHOT_MEMORY, .snapshot_folder = "."};

    for (size_t i = 0; i < SIZE; i++)
        before[i] = byte_at(i);
    open_disk_with(&options, make_engine, (enum kind)(_i / 2));
    start(FLUSH);
    memset(data(0), 0x5a, 512);
    /* Every second sector: a read has many pieces. */
    for (unsigned sector = 1; sector < 200; sector += 2)
        ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, sector, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, 100, 3, 1), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_DISCARD, 300, 100, 0), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 220 * 512), VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < 220 * 512; i++) {
        const unsigned sector = i / 512;
        const bool is_zero = sector >= 100 && sector < 103;
        const uint8_t expected = is_zero ? 0 : sector % 2 != 0 && sector < 200 ? 0x5a : byte_at(i);
        ck_assert_uint_eq(*data(i), expected);
    }
    const int fd = open(path, O_RDONLY);
    ck_assert_int_eq(pread(fd, after, SIZE, 0), SIZE);
    close(fd);
    ck_assert_mem_eq(before, after, SIZE);
    ck_assert_uint_eq(host.counts[BLOCK_STEP_SYNC], 0);
}
END_TEST

START_TEST(overlay_at_its_limit_fails_as_a_full_disk)
{
    const struct block_image_options options = {
        .path = path, .snapshot = BLOCK_SNAPSHOT_MEMORY, .snapshot_limit = 2 * 512};

    open_disk_with(&options, make_engine, URING);
    start(FLUSH);
    memset(data(0), 1, 1024);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 1024), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 2, DATA, 512), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 1, DATA, 1024), VIRTIO_BLK_S_IOERR);
    /* What is there can be written again. */
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 1024), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 2, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(1024, 512);
}
END_TEST

START_TEST(failed_write_to_an_overlay_leaves_what_was)
{
    const struct block_image_options options = {
        .path = path, .snapshot = BLOCK_SNAPSHOT_MEMORY, .snapshot_limit = 2 * 512};

    open_disk_with(&options, make_engine, INLINE);
    start(FLUSH);
    for (unsigned i = 0; i < 10; i++) {
        host.until_failure = 0;
        host.failure = EIO;
        ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, i, DATA, 512), VIRTIO_BLK_S_IOERR);
    }
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(0, 512);
    /* And none of the room is lost. */
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 1024), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(runs_of_an_overlay_end_where_bits_change)
{
    struct block_overlay *overlay = block_overlay_create(1000 * 512, 1000 * 512);
    uint64_t reserved;
    bool is_kept;

    block_overlay_keep(overlay, 60 * 512, 200 * 512);
    ck_assert_uint_eq(block_overlay_run(overlay, 0, 1000 * 512, &is_kept), 60 * 512);
    ck_assert(!is_kept);
    ck_assert_uint_eq(block_overlay_run(overlay, 60 * 512, 940 * 512, &is_kept), 200 * 512);
    ck_assert(is_kept);
    ck_assert_uint_eq(block_overlay_run(overlay, 100 * 512, 28 * 512, &is_kept), 28 * 512);
    ck_assert_uint_eq(block_overlay_run(overlay, 260 * 512, 740 * 512, &is_kept), 740 * 512);
    ck_assert(!is_kept);
    ck_assert(block_overlay_reserve(overlay, 0, 1000 * 512, &reserved));
    ck_assert_uint_eq(reserved, 800 * 512);
    ck_assert(!block_overlay_reserve(overlay, 0, 512, &reserved));
    block_overlay_destroy(overlay);
}
END_TEST

/* ---- Trouble on the host ---- */

START_TEST(short_reads_and_writes_go_on)
{
    open_disk(INLINE);
    start(FLUSH);
    host.most = (unsigned[]){1, 100, 511, 513}[_i];
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 5, DATA, 4096), VIRTIO_BLK_S_OK);
    check_data(5 * 512, 4096);
    for (unsigned i = 0; i < 4096; i++)
        *data(i) = (uint8_t)(i * 3);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 50, DATA, 4096), VIRTIO_BLK_S_OK);
    check_file(50 * 512, 4096, data(0));
}
END_TEST

START_TEST(interrupted_steps_are_made_again_and_errors_are_the_guests_to_see)
{
    static const int errors[] = {EINTR, EAGAIN, EIO, ENOSPC, ENXIO, ESTALE};

    open_disk(INLINE);
    start(FLUSH);
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        const uint8_t expected = i < 2 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
        host.failure = errors[i];
        host.until_failure = 0;
        ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), expected);
        host.until_failure = 0;
        ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), expected);
    }
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 8, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(8 * 512, 512);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(trouble_is_logged_with_disk_operation_place_and_reason)
{
    char text[4096] = "";
    int ends[2];

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    logs = (struct log){.level = LOG_LEVEL_WARN, .fd = ends[1]};
    open_disk(INLINE);
    start(FLUSH);
    for (unsigned i = 0; i < 100; i++) {
        host.until_failure = 0;
        host.failure = ENOSPC;
        ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 16, DATA, 512), VIRTIO_BLK_S_IOERR);
    }
    ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
    ck_assert_ptr_nonnull(strstr(text, "disk0: a write at byte 8192 of the image failed: No space left on device\n"));
    unsigned lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    ck_assert_uint_lt(lines, 50);
}
END_TEST

START_TEST(file_that_became_shorter_fails_and_the_disk_goes_on)
{
    open_disk((enum kind)_i);
    start(FLUSH);
    ck_assert_int_eq(truncate(path, 10 * 512 + 100), 0);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 10, DATA, 1024), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 1000, DATA, 1024), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 1024), VIRTIO_BLK_S_OK);
    check_data(0, 1024);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 1024), VIRTIO_BLK_S_OK);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(file_that_may_not_grow_fails_and_the_disk_goes_on)
{
    const struct rlimit limit = {.rlim_cur = 100 * 512, .rlim_max = RLIM_INFINITY};
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};

    signal(SIGXFSZ, SIG_IGN);
    open_disk((enum kind)_i);
    start(FLUSH);
    /* Check's own file is not to grow meanwhile: no assertions. */
    setrlimit(RLIMIT_FSIZE, &limit);
    const uint8_t too_far = run(VIRTIO_BLK_T_OUT, 98, DATA, 2048);
    const uint8_t near = run(VIRTIO_BLK_T_OUT, 98, DATA, 1024);
    setrlimit(RLIMIT_FSIZE, &none);
    ck_assert_uint_eq(too_far, VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(near, VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 98, DATA, 2048), VIRTIO_BLK_S_OK);
}
END_TEST

/* ---- Hostile drivers ---- */

START_TEST(read_only_disk_is_not_written)
{
    const struct block_image_options options = {.path = path, .read_only = true};
    uint8_t expected[512];

    for (unsigned i = 0; i < 512; i++)
        expected[i] = byte_at(i);
    open_disk_with(&options, make_engine, (enum kind)_i);
    ck_assert(device->features >> VIRTIO_BLK_F_RO & 1);
    start(FLUSH);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_DISCARD, 0, 1, 0), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(0, 512);
    check_file(0, 512, expected);
    /* The host was not even asked. */
    ck_assert_uint_eq(host.counts[BLOCK_STEP_WRITE] + host.counts[BLOCK_STEP_PUNCH] + host.counts[BLOCK_STEP_ZERO], 0);
}
END_TEST

START_TEST(places_beyond_the_end_are_refused)
{
    static const uint64_t sectors[] = {SECTORS - 1, SECTORS, SECTORS + 1, UINT64_MAX, UINT64_MAX / 512, 1ull << 55};

    open_disk(INLINE);
    start(FLUSH);
    for (unsigned i = 0; i < sizeof(sectors) / sizeof(sectors[0]); i++) {
        ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, sectors[i], DATA, 1024), VIRTIO_BLK_S_IOERR);
        ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, sectors[i], DATA, 1024), VIRTIO_BLK_S_IOERR);
        ck_assert_uint_eq(run_range(VIRTIO_BLK_T_DISCARD, sectors[i], 2, 0), VIRTIO_BLK_S_IOERR);
        ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, sectors[i], UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
    }
    for (unsigned kind = 0; kind < 5; kind++)
        ck_assert_uint_eq(host.counts[kind], 0);
    ck_assert(!needs_reset());
}
END_TEST

START_TEST(malformed_requests_fail_alone)
{
    open_disk(INLINE);
    start(FLUSH | fake_queue_forms[_i]);
    /* Lengths, types, flags. */
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 511), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 700), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_SCSI_CMD, 0, DATA, 512), VIRTIO_BLK_S_UNSUPP);
    ck_assert_uint_eq(run(0xffffffff, 0, DATA, 512), VIRTIO_BLK_S_UNSUPP);
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_DISCARD, 0, 1, 1), VIRTIO_BLK_S_UNSUPP);
    ck_assert_uint_eq(run_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 2), VIRTIO_BLK_S_UNSUPP);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 32), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_DISCARD, 0, DATA, 15), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_WRITE_ZEROES, 0, 0, 0), VIRTIO_BLK_S_IOERR);
    /* No header, and one that is too short. */
    const struct fake_buffer no_header[] = {{header_of(0) + 0x20, 1, true}};
    const struct fake_buffer short_header[] = {{header_of(0), 15, false}, {header_of(0) + 0x20, 1, true}};
    *status_of(0) = 0xee;
    add_buffers(0, no_header, 1);
    finish(1);
    ck_assert_uint_eq(*status_of(0), VIRTIO_BLK_S_IOERR);
    *status_of(0) = 0xee;
    add_buffers(0, short_header, 2);
    finish(1);
    ck_assert_uint_eq(*status_of(0), VIRTIO_BLK_S_IOERR);
    for (unsigned kind = 0; kind < 5; kind++)
        ck_assert_uint_eq(host.counts[kind], 0);
    /* The disk is as good as before. */
    ck_assert(!needs_reset());
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(0, 512);
}
END_TEST

START_TEST(header_and_status_may_lie_anywhere)
{
    open_disk(INLINE);
    start(FLUSH | fake_queue_forms[_i]);
    /* The header in three pieces, one with data; the status behind the data. */
    const struct fake_buffer write[] = {
        {DATA, 3, false}, {DATA + 3, 6, false}, {DATA + 9, 7 + 512, false}, {DATA + 0x1000, 1, true}};
    set_header(0, VIRTIO_BLK_T_OUT, 7);
    memset(data(0), 0x77, 1024);
    memcpy(data(0), fake_guest_memory + header_of(0), 16);
    add_buffers(0, write, 4);
    finish(1);
    ck_assert_uint_eq(*data(0x1000), VIRTIO_BLK_S_OK);
    check_file(7 * 512, 512, data(16));
    const struct fake_buffer read[] = {{header_of(0), 16, false}, {DATA, 513, true}};
    set_header(0, VIRTIO_BLK_T_IN, 8);
    add_buffers(0, read, 2);
    finish(1);
    check_data(8 * 512, 512);
    ck_assert_uint_eq(*data(512), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(buffers_that_may_not_be_reached_fail_the_request)
{
    open_disk(INLINE);
    start(FLUSH | fake_queue_forms[_i]);
    fake_guest_protect(DATA, 4096, HV_MEMORY_READ);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_IOERR);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
    ck_assert(!needs_reset());
    ck_assert_int_eq(fake_guest_pins, 0);
}
END_TEST

START_TEST(request_without_a_status_breaks_the_device)
{
    const struct fake_buffer none[] = {{header_of(0), 16, false}};
    const struct fake_buffer empty[] = {{header_of(0), 16, false}, {DATA, 0, true}};
    const struct fake_buffer refused[] = {{header_of(0), 16, false}, {DATA, 1, true}};
    const struct fake_buffer *buffers[] = {none, empty, refused};

    open_disk(INLINE);
    for (unsigned i = 0; i < 3; i++) {
        start(FLUSH | fake_queue_forms[_i]);
        set_header(0, VIRTIO_BLK_T_IN, 0);
        fake_guest_protect(DATA, 4096, HV_MEMORY_READ);
        add_buffers(0, buffers[i], i == 0 ? 1 : 2);
        fake_queue_serve(&queue);
        ck_assert(needs_reset());
        fake_guest_protect(DATA, 4096, HV_MEMORY_READ | HV_MEMORY_WRITE);
    }
    start(FLUSH | fake_queue_forms[_i]);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
}
END_TEST

/* ---- Resets ---- */

/* An engine that makes nothing until it is told to. */
static struct {
    struct block_engine engine;
    struct block_io *held[4 * VIRTIO_BLOCK_QUEUE_SIZE];
    unsigned count;
    unsigned released;
} holder;

static void hold(struct block_engine *engine, struct block_io *io)
{
    (void)engine;
    ck_assert_uint_lt(holder.count, sizeof(holder.held) / sizeof(holder.held[0]));
    holder.held[holder.count++] = io;
}

static bool hold_on(struct block_engine *engine)
{
    (void)engine;
    return true;
}

static void release(unsigned count)
{
    const uint64_t value = count;

    holder.released += count;
    ck_assert_int_eq(write(holder.engine.fd, &value, sizeof(value)), sizeof(value));
}

static struct block_io *reap_released(struct block_engine *engine)
{
    uint64_t count;

    if (holder.released == 0)
        return NULL;
    ck_assert_int_eq(read(engine->fd, &count, sizeof(count)), sizeof(count));
    struct block_io *io = holder.held[0];
    memmove(&holder.held[0], &holder.held[1], --holder.count * sizeof(holder.held[0]));
    holder.released--;
    io->step_result = block_step_make(image, &io->step);
    return io;
}

static void release_all(struct block_engine *engine)
{
    (void)engine;
    if (holder.released < holder.count)
        release(holder.count - holder.released);
}

static void close_holder(struct block_engine *engine)
{
    close(engine->fd);
}

static struct block_engine *make_holder(enum kind kind)
{
    static const struct block_engine_ops ops = {.name = "holder",
                                                .submit = hold,
                                                .commit = hold_on,
                                                .reap = reap_released,
                                                .wait = release_all,
                                                .destroy = close_holder};

    (void)kind;
    memset(&holder, 0, sizeof(holder));
    holder.engine = (struct block_engine){.ops = &ops, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)};
    return &holder.engine;
}

static void open_held_disk(void)
{
    const struct block_image_options options = {.path = path};

    open_disk_with(&options, make_holder, INLINE);
}

START_TEST(reset_waits_for_what_is_in_flight_and_drops_it)
{
    uint16_t used;
    uint32_t written;

    open_held_disk();
    start(FLUSH | fake_queue_forms[_i]);
    for (unsigned i = 0; i < 4; i++)
        add(i, i % 2 != 0 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, i, DATA + 0x1000 * i, 512);
    fake_queue_serve(&queue);
    ck_assert_uint_eq(virtio_block_in_flight(block), 4);
    fake_driver_reset(device);
    /* A second reset, and what the driver does before the first is done, change nothing. */
    fake_driver_reset(device);
    ck_assert(device->state.is_stopping);
    ck_assert(!virtio_is_running(device));
    memset(fake_guest_memory + RINGS, 0, 0x10000);
    release(3);
    pump();
    pump();
    ck_assert(device->state.is_stopping);
    release(1);
    while (device->state.is_stopping)
        pump();
    ck_assert_int_eq(fake_guest_pins, 0);
    ck_assert_uint_eq(device->state.status, 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(*status_of(i), 0xee);
    for (unsigned i = 0; i < 0x10000; i++)
        ck_assert_uint_eq(fake_guest_memory[RINGS + i], 0);
    /* And on it goes. */
    start(FLUSH | fake_queue_forms[_i]);
    add(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
    fake_queue_serve(&queue);
    ck_assert(!fake_queue_used(&queue, &used, &written));
    release(1);
    finish(1);
    check_data(0, 512);
}
END_TEST

START_TEST(reset_ends_a_request_between_two_steps)
{
    open_held_disk();
    start(0); /* each write is followed by a sync */
    add(0, VIRTIO_BLK_T_OUT, 0, DATA, 512);
    fake_queue_serve(&queue);
    fake_driver_reset(device);
    release(1);
    while (device->state.is_stopping)
        pump();
    ck_assert_uint_eq(holder.count, 0);
}
END_TEST

static bool rings_are_untouched(void)
{
    static const uint8_t zeroes[0x10000];

    return memcmp(fake_guest_memory + RINGS, zeroes, sizeof(zeroes)) == 0;
}

/* virtio 1.2, 4.2.2.1: as long as it is taken back, the device does not access it; and its size may be anything. */
START_TEST(queue_that_was_taken_back_hears_nothing_of_what_was_in_flight)
{
    open_held_disk();
    start(FLUSH | fake_queue_forms[_i]);
    pump(); /* what the start has notified */
    for (unsigned i = 0; i < 2; i++)
        add(i, VIRTIO_BLK_T_IN, i, DATA + 0x1000 * i, 512);
    fake_queue_serve(&queue);
    pthread_mutex_lock(&device->lock);
    virtq_disable(virtio_queue(device, 0));
    virtio_queue(device, 0)->state.size = 0;
    pthread_mutex_unlock(&device->lock);
    memset(fake_guest_memory + RINGS, 0, 0x10000);
    release(1);
    while (virtio_block_in_flight(block) > 1)
        pump();
    ck_assert(rings_are_untouched());
    fake_queue_enable(&queue, device, 0, RING_SIZE, RINGS);
    release(1);
    while (virtio_block_in_flight(block) > 0)
        pump();
    ck_assert(rings_are_untouched());
    ck_assert(!needs_reset());
    ck_assert_int_eq(fake_guest_pins, 0);
    /* And on it goes. */
    add(2, VIRTIO_BLK_T_IN, 0, DATA, 512);
    fake_queue_serve(&queue);
    release(1);
    wait_for(1);
    check_data(0, 512);
}
END_TEST

START_TEST(no_more_are_in_flight_than_a_queue_holds)
{
    struct vring_avail *ring = (struct vring_avail *)(void *)(fake_guest_memory + RINGS + 0x4000);
    unsigned served = 0;
    uint16_t used;
    uint32_t written;

    open_held_disk();
    has_indirect = true;
    ck_assert(fake_driver_begin(device, 1ull << VIRTIO_RING_F_INDIRECT_DESC));
    fake_queue_enable(&queue, device, 0, 256, RINGS);
    fake_driver_start(device);
    add(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
    /* The same request again and again, as if it had been used each time. */
    for (unsigned i = 0; i < 8; i++) {
        for (unsigned j = i == 0; j < 256; j++)
            ring->ring[j] = 0;
        ring->idx = (uint16_t)(256 * (i + 1));
        fake_queue_serve(&queue);
        ck_assert_uint_eq(virtio_block_in_flight(block), VIRTIO_BLOCK_QUEUE_SIZE);
        if (needs_reset())
            break;
    }
    /* Once some are done it goes on by itself. */
    ring->idx = 512;
    while (served < 512) {
        if (holder.count > holder.released)
            release(1);
        pump();
        while (fake_queue_used(&queue, &used, &written))
            served++;
    }
    ck_assert_uint_eq(virtio_block_in_flight(block), 0);
}
END_TEST

static void set_policy(int policy)
{
    const struct sched_param parameters = {0};

    ck_assert_int_eq(sched_setscheduler(0, policy, &parameters), 0);
}

/* So many rounds of requests at a time. */
static void run_rounds(unsigned rounds, unsigned requests)
{
    for (unsigned i = 0; i < rounds; i++) {
        for (unsigned slot = 0; slot < requests; slot++)
            add(slot, VIRTIO_BLK_T_IN, slot, DATA + 0x1000 * slot, 512);
        finish(requests);
        pump();
    }
}

START_TEST(thread_is_patient_while_requests_are_several)
{
    set_policy(SCHED_OTHER);
    open_disk((enum kind)_i);
    start(FLUSH);
    run_rounds(20, 1);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
    run_rounds(4, 2);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    run_rounds(10, 1);
    ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
}
END_TEST

/* Found at different times, and not done in between. */
START_TEST(requests_in_flight_are_several)
{
    set_policy(SCHED_OTHER);
    open_held_disk();
    start(FLUSH);
    for (unsigned slot = 0; slot < 5; slot++) {
        ck_assert_int_eq(sched_getscheduler(0), SCHED_OTHER);
        add(slot, VIRTIO_BLK_T_IN, slot, DATA + 0x1000 * slot, 512);
        virtio_notify(device, 0);
        pump();
        pump();
    }
    ck_assert_int_eq(sched_getscheduler(0), SCHED_BATCH);
    release(5);
    wait_for(5);
}
END_TEST

static void *serve_once(void *context)
{
    (void)context;
    fake_queue_serve(&queue);
    return NULL;
}

/* As when the machine ends: the thread that began them is no more. */
START_TEST(end_waits_for_requests_of_a_thread_that_has_ended)
{
    struct block_image_options options = {.path = path};
    pthread_t thread;
    struct error error;

    /* Direct, so that they take a while, where that can be. */
    options.direct = true;
    struct block_image *probe = block_image_open(&options, &error);
    options.direct = probe != NULL;
    block_image_close(probe);
    open_disk_with(&options, make_engine, (enum kind)_i);
    start(FLUSH);
    for (unsigned i = 0; i < SLOTS; i++)
        add(i, VIRTIO_BLK_T_OUT, 64 * i, DATA + 0x8000 * i, 512);
    ck_assert_int_eq(pthread_create(&thread, NULL, serve_once, NULL), 0);
    pthread_join(thread, NULL);
    close_disk();
}
END_TEST

START_TEST(real_engines_stop_with_requests_in_flight)
{
    open_disk((enum kind)_i);
    for (unsigned round = 0; round < 20; round++) {
        start(FLUSH | fake_queue_forms[round % FAKE_QUEUE_FORM_COUNT]);
        for (unsigned i = 0; i < SLOTS; i++)
            add(i, VIRTIO_BLK_T_OUT, 64 * i, DATA + 0x8000 * i, 512);
        fake_queue_serve(&queue);
        fake_driver_reset(device);
        while (device->state.is_stopping)
            pump();
        ck_assert_int_eq(fake_guest_pins, 0);
    }
}
END_TEST

/* ---- Images ---- */

static void check_refused(const struct block_image_options *options, const char *part)
{
    struct error error = {0};

    ck_assert_ptr_null(block_image_open(options, &error));
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_msg(strstr(error.text, options->path) != NULL, "%s", error.text);
    ck_assert_msg(strstr(error.text, part) != NULL, "%s", error.text);
}

START_TEST(files_that_are_no_disks_are_refused)
{
    const struct block_image_options options = {.path = path};
    const struct block_image_options folder = {.path = "/tmp", .read_only = true};
    const struct block_image_options nothing = {.path = "/tmp/there/is/none"};
    const struct block_image_options device_file = {.path = "/dev/null"};
    char fifo[] = "test-virtio-block-fifo-XXXXXX";

    write_file("QFI\xfb\0\0\0\3", 8);
    ck_assert_int_eq(truncate(path, SIZE), 0);
    check_refused(&options, "qemu-img convert -O raw");
    write_file("KDMV", 4);
    check_refused(&options, "vmdk");
    write_file("", 0);
    check_refused(&options, "empty");
    ck_assert_int_eq(truncate(path, 1000), 0);
    check_refused(&options, "truncate");
    check_refused(&folder, "neither");
    check_refused(&nothing, "No such file");
    check_refused(&device_file, "neither");
    ck_assert_int_ge(close(mkstemp(fifo)), 0);
    unlink(fifo);
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    check_refused(&(struct block_image_options){.path = fifo, .read_only = true}, "neither");
    unlink(fifo);
}
END_TEST

/* Is closed during the third pause of those that wait for it, which take no time here. */
static struct block_image *to_be_closed;
static unsigned pauses;

int nanosleep(const struct timespec *time, struct timespec *rest)
{
    (void)time;
    (void)rest;
    if (++pauses == 3 && to_be_closed != NULL)
        block_image_close(to_be_closed);
    return 0;
}

START_TEST(image_that_is_about_to_be_closed_is_waited_for)
{
    const struct block_image_options writer = {.path = path};
    struct error error;

    to_be_closed = block_image_open(&writer, &error);
    ck_assert_ptr_nonnull(to_be_closed);
    struct block_image *two = block_image_open(&writer, &error);
    ck_assert_msg(two != NULL, "%s", error.text);
    ck_assert_uint_eq(pauses, 3);
    block_image_close(two);
}
END_TEST

START_TEST(image_is_written_by_one_or_read_by_many)
{
    const struct block_image_options writer = {.path = path};
    const struct block_image_options reader = {.path = path, .read_only = true};
    const struct block_image_options snapshot = {.path = path, .snapshot = BLOCK_SNAPSHOT_MEMORY};
    struct error error;

    struct block_image *one = block_image_open(&writer, &error);
    ck_assert_ptr_nonnull(one);
    check_refused(&writer, "in use");
    check_refused(&reader, "in use");
    block_image_close(one);
    one = block_image_open(&reader, &error);
    struct block_image *two = block_image_open(&snapshot, &error);
    ck_assert_ptr_nonnull(one);
    ck_assert_ptr_nonnull(two);
    check_refused(&writer, "in use");
    block_image_close(one);
    block_image_close(two);
    one = block_image_open(&writer, &error);
    ck_assert_ptr_nonnull(one);
    block_image_close(one);
}
END_TEST

START_TEST(engine_is_chosen_by_the_device)
{
    const struct virtio_environment environment = {.name = "disk0", .loop = loop, .log = &logs};
    const struct block_image_options options = {.path = path};
    const struct virtio_block_options all = {.queues = 1,
                                             .engine = _i != 0 ? VIRTIO_BLOCK_ENGINE_THREADS : VIRTIO_BLOCK_ENGINE_BEST,
                                             .hooks = &hooks,
                                             .thread_name = "disk0"};
    struct error error;

    image = block_image_open(&options, &error);
    block = virtio_block_create(&environment, image, &all, &error);
    ck_assert_ptr_nonnull(block);
    ck_assert_int_eq(virtio_block_start(block, &error), 0);
    device = virtio_block_device(block);
    device->transport = fake_transport_make(&transport);
    start(FLUSH);
    ck_assert_uint_eq(run(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
    check_data(0, 512);
}
END_TEST

/* ---- Random operations against a model ---- */

static uint8_t model[SIZE];
static uint64_t random_state;

static unsigned below(unsigned limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % limit;
}

struct expectation {
    bool is_read;
    unsigned sector;
    unsigned sectors;
    uint64_t gpa;
};

/* Slots have parts of the disk of their own, so that their order does not matter. */
static struct expectation add_random(unsigned slot)
{
    enum { PART = SECTORS / SLOTS };
    const unsigned first = below(PART);
    struct expectation it = {.sector = slot * PART + first,
                             .sectors = 1 + below(PART - first < 32 ? PART - first : 32),
                             .gpa = DATA + 0x8000ull * slot + below(2) * below(600)};
    const uint32_t size = it.sectors * 512;
    const unsigned what = below(10);
    uint8_t *bytes = fake_guest_memory + it.gpa;

    if (what == 0) {
        const struct virtio_blk_discard_write_zeroes range = {
            .sector = it.sector, .num_sectors = it.sectors, .flags = below(2)};
        memcpy(bytes, &range, sizeof(range));
        memset(model + it.sector * 512, 0, size);
        add(slot, VIRTIO_BLK_T_WRITE_ZEROES, 0, it.gpa, sizeof(range));
    } else if (what == 1) {
        add(slot, VIRTIO_BLK_T_FLUSH, 0, 0, 0);
    } else if (what < 6) {
        for (unsigned i = 0; i < size; i++)
            bytes[i] = (uint8_t)(random_state >> (i % 50));
        memcpy(model + it.sector * 512, bytes, size);
        add(slot, VIRTIO_BLK_T_OUT, it.sector, it.gpa, size);
        below(2);
    } else {
        it.is_read = true;
        memset(bytes, 0xee, size);
        add(slot, VIRTIO_BLK_T_IN, it.sector, it.gpa, size);
    }
    return it;
}

START_TEST(random_operations_agree_with_a_model)
{
    enum { OPERATIONS = 10000 };
    const struct block_image_options options = {
        .path = path, .snapshot = (enum block_snapshot)(_i / KIND_COUNT), .snapshot_folder = "."};
    struct expectation expected[SLOTS];

    random_state = (uint64_t)_i + 1;
    for (size_t i = 0; i < SIZE; i++)
        model[i] = byte_at(i);
    open_disk_with(&options, make_engine, (enum kind)(_i % KIND_COUNT));
    if (_i % KIND_COUNT == INLINE)
        host.most = 1000;
    for (unsigned done = 0; done < OPERATIONS;) {
        if (below(50) == 0 || done == 0)
            start(FLUSH | fake_queue_forms[below(FAKE_QUEUE_FORM_COUNT)]);
        const unsigned count = 1 + below(SLOTS);
        for (unsigned i = 0; i < count; i++)
            expected[i] = add_random(i);
        finish(count);
        for (unsigned i = 0; i < count; i++) {
            ck_assert_uint_eq(*status_of(i), VIRTIO_BLK_S_OK);
            if (expected[i].is_read)
                ck_assert_mem_eq(fake_guest_memory + expected[i].gpa, model + expected[i].sector * 512,
                                 expected[i].sectors * 512);
        }
        done += count;
    }
}
END_TEST

static void add_data_tests(TCase *tests)
{
    tcase_add_loop_test(tests, reads_and_writes_reach_the_file, 0, ALL);
    tcase_add_loop_test(tests, discards_and_zeroes_reach_the_file, 0, ALL);
    tcase_add_test(tests, zeroes_are_written_where_the_host_cannot_make_them);
    tcase_add_loop_test(tests, serial_number_is_cut_to_20_bytes, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, many_requests_in_two_queues_come_back_each_to_its_own, 0, ALL);
    tcase_add_loop_test(tests, unaligned_requests_pass_a_direct_image, 0, KIND_COUNT);
    tcase_add_test(tests, flush_syncs_where_the_cache_is_safe);
    tcase_add_test(tests, driver_without_flushes_has_each_write_synced);
    tcase_add_test(tests, driver_may_choose_the_cache_mode_if_that_was_agreed_on);
    tcase_add_loop_test(tests, saved_state_makes_another_disk_the_same, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, configuration_says_what_the_disk_is);
    tcase_add_loop_test(tests, overlay_keeps_writes_and_the_image_stays, 0, 2 * KIND_COUNT);
    tcase_add_test(tests, overlay_at_its_limit_fails_as_a_full_disk);
    tcase_add_test(tests, failed_write_to_an_overlay_leaves_what_was);
    tcase_add_test(tests, runs_of_an_overlay_end_where_bits_change);
    tcase_add_loop_test(tests, random_operations_agree_with_a_model, 0, 3 * KIND_COUNT);
}

static void add_trouble_tests(TCase *tests)
{
    tcase_add_loop_test(tests, short_reads_and_writes_go_on, 0, 4);
    tcase_add_test(tests, interrupted_steps_are_made_again_and_errors_are_the_guests_to_see);
    tcase_add_test(tests, trouble_is_logged_with_disk_operation_place_and_reason);
    tcase_add_loop_test(tests, file_that_became_shorter_fails_and_the_disk_goes_on, 0, KIND_COUNT);
    tcase_add_loop_test(tests, file_that_may_not_grow_fails_and_the_disk_goes_on, 0, KIND_COUNT);
    tcase_add_loop_test(tests, read_only_disk_is_not_written, 0, KIND_COUNT);
    tcase_add_test(tests, places_beyond_the_end_are_refused);
    tcase_add_loop_test(tests, malformed_requests_fail_alone, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, header_and_status_may_lie_anywhere, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, buffers_that_may_not_be_reached_fail_the_request, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, request_without_a_status_breaks_the_device, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_loop_test(tests, reset_waits_for_what_is_in_flight_and_drops_it, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, reset_ends_a_request_between_two_steps);
    tcase_add_loop_test(tests, queue_that_was_taken_back_hears_nothing_of_what_was_in_flight, 0, FAKE_QUEUE_FORM_COUNT);
    tcase_add_test(tests, no_more_are_in_flight_than_a_queue_holds);
    tcase_add_loop_test(tests, thread_is_patient_while_requests_are_several, 0, KIND_COUNT);
    tcase_add_test(tests, requests_in_flight_are_several);
    tcase_add_loop_test(tests, end_waits_for_requests_of_a_thread_that_has_ended, 0, KIND_COUNT);
    tcase_add_loop_test(tests, real_engines_stop_with_requests_in_flight, 0, KIND_COUNT);
    tcase_add_test(tests, files_that_are_no_disks_are_refused);
    tcase_add_test(tests, image_is_written_by_one_or_read_by_many);
    tcase_add_test(tests, image_that_is_about_to_be_closed_is_waited_for);
    tcase_add_loop_test(tests, engine_is_chosen_by_the_device, 0, 2);
}

static Suite *suite(void)
{
    Suite *all = suite_create("virtio_block");
    TCase *tests = tcase_create("block");

    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    add_data_tests(tests);
    add_trouble_tests(tests);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
