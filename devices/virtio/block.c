#include "devices/virtio/block.h"

#include "devices/host/pace.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    QUEUE_SIZE = VIRTIO_BLOCK_QUEUE_SIZE,
    /* Steps that are looked after in one go: then others get their turn. */
    STEPS_AT_ONCE = 2 * QUEUE_SIZE,
    /* Descriptors of a request, besides header and status. */
    SEGMENTS_MAX = VIRTQ_CHAIN_MAX - 2,
    /* The host's file systems mostly have blocks of this size. */
    PHYSICAL_BLOCK = 4096,
    /* Sectors of one request. Where the host has no quick zeroes, they are written. */
    DISCARD_MAX = (1 << 30) / BLOCK_SECTOR,
    ZEROES_MAX = (64 << 20) / BLOCK_SECTOR,
    /* Up to and with max_write_zeroes_seg and its neighbours. */
    CONFIG_SIZE = offsetof(struct virtio_blk_config, write_zeroes_may_unmap) + 4,
};

struct request {
    /* the first: what engines know */
    struct block_io io;
    struct virtq_chain *chain;
    unsigned queue;
    /* of the free ones */
    struct request *next;
};

struct queue_requests {
    struct request *free;
    unsigned in_flight;
    /* There may be more in the ring, which wait for one of the free. */
    bool is_starved;
    /* Some have been given back since the driver was last told. */
    bool has_news;
};

struct virtio_block {
    /* the first: see virtio.h */
    struct virtio_device device;
    struct virtio_block_state state;
    struct block_image *image;
    struct block_engine *engine;
    struct log_limit host_limit;
    /* Written to where steps are left for a later commit(). */
    int again;
    char serial[VIRTIO_BLK_ID_BYTES];
    unsigned in_flight;
    /* Of the loop's thread: the most that were in flight since it last waited, with those that it took. */
    unsigned found;
    struct pace pace;
    struct event_hook hook;
    struct queue_requests queues[VIRTIO_QUEUE_MAX];
    /* QUEUE_SIZE for each queue */
    struct request *requests;
};

static struct virtio_block *block_of(struct virtio_device *device)
{
    return (struct virtio_block *)(void *)device;
}

/* ---- Giving back ---- */

/* The bytes before the status are filled: what may be said of the request's buffers as a whole (virtio 1.2, 2.7.8.2).
 */
static void push(struct virtio_block *block, unsigned queue, struct virtq_chain *chain, uint8_t status, uint64_t filled)
{
    const struct iovec *last = &chain->writable[chain->writable_count - 1];

    ((uint8_t *)last->iov_base)[last->iov_len - 1] = status;
    if (filled + 1 == chain->writable_size)
        filled++;
    virtio_push(&block->device, queue, chain, filled < UINT32_MAX ? (uint32_t)filled : UINT32_MAX);
    block->queues[queue].has_news = true;
}

static struct request *take_free(struct virtio_block *block, unsigned queue)
{
    struct queue_requests *requests = &block->queues[queue];
    struct request *request = requests->free;

    if (request == NULL)
        return NULL;
    requests->free = request->next;
    requests->in_flight++;
    block->in_flight++;
    return request;
}

static void put_free(struct virtio_block *block, struct request *request)
{
    struct queue_requests *requests = &block->queues[request->queue];

    request->chain = NULL;
    request->next = requests->free;
    requests->free = request;
    requests->in_flight--;
    block->in_flight--;
}

static void report(struct virtio_block *block, const struct block_io *io)
{
    log_host_trouble(block->device.log, &block->host_limit, block->device.name,
                     "a %s at byte %" PRIu64 " of the image failed: %s", block_operation_name(io->operation),
                     io->error_offset, strerror(io->error));
}

static void complete(struct virtio_block *block, struct request *request)
{
    const struct block_io *io = &request->io;
    struct virtq_chain *chain = request->chain;
    const unsigned queue = request->queue;

    if (block->device.state.is_stopping) {
        virtq_drop(virtio_queue(&block->device, queue), chain);
    } else {
        if (io->error != 0)
            report(block, io);
        push(block, queue, chain, io->error == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR,
             io->error == 0 && io->operation == BLOCK_READ ? io->size : 0);
    }
    put_free(block, request);
}

/* ---- Understanding ---- */

struct header {
    uint32_t type;
    uint64_t sector;
};

/* Removes bytes from the start of a chain's buffers. */
static struct iovec *skip(struct iovec *pieces, size_t *count, size_t size)
{
    while (*count > 0 && size >= pieces->iov_len) {
        size -= pieces->iov_len;
        pieces++;
        --*count;
    }
    if (size > 0) {
        pieces->iov_base = (char *)pieces->iov_base + size;
        pieces->iov_len -= size;
    }
    return pieces;
}

static bool is_inside(const struct virtio_block *block, uint64_t sector, uint64_t sectors)
{
    const uint64_t capacity = block->image->size / BLOCK_SECTOR;

    return sector <= capacity && sectors <= capacity - sector;
}

static bool is_writethrough(const struct virtio_block *block)
{
    if (block->state.has_chosen)
        return !block->state.is_writeback;
    return !virtio_has_feature(&block->device, VIRTIO_BLK_F_FLUSH);
}

/* Each of the next gives the status that ends the request, or VIRTIO_BLK_S_OK if io is ready. */

static uint8_t understand_data(struct virtio_block *block, struct virtq_chain *chain, const struct header *header,
                               struct block_io *io)
{
    const bool is_read = io->operation == BLOCK_READ;

    io->size = is_read ? chain->writable_size - 1 : chain->readable_size - sizeof(struct virtio_blk_outhdr);
    if (io->size % BLOCK_SECTOR != 0 || !is_inside(block, header->sector, io->size / BLOCK_SECTOR) ||
        (!is_read && block->image->read_only))
        return VIRTIO_BLK_S_IOERR;
    io->offset = header->sector * BLOCK_SECTOR;
    io->pieces = is_read ? chain->writable : chain->readable;
    io->piece_count = is_read ? chain->writable_count : chain->readable_count;
    if (!is_read)
        io->pieces = skip(chain->readable, &io->piece_count, sizeof(struct virtio_blk_outhdr));
    return VIRTIO_BLK_S_OK;
}

static uint8_t understand_range(struct virtio_block *block, const struct virtq_chain *chain, struct block_io *io)
{
    const bool is_discard = io->operation == BLOCK_DISCARD;
    struct virtio_blk_discard_write_zeroes range;

    if (block->image->read_only)
        return VIRTIO_BLK_S_IOERR;
    /* One range is as many as we say that there may be. */
    if (chain->readable_size != sizeof(struct virtio_blk_outhdr) + sizeof(range) ||
        virtq_read(chain, sizeof(struct virtio_blk_outhdr), &range, sizeof(range)) != sizeof(range))
        return VIRTIO_BLK_S_IOERR;
    const uint64_t sector = le64toh(range.sector);
    const uint32_t sectors = le32toh(range.num_sectors);
    const uint32_t flags = le32toh(range.flags);
    /* virtio 1.2, 5.2.6.2: unknown flags, and for a discard the known one too. */
    if ((flags & ~(is_discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)) != 0)
        return VIRTIO_BLK_S_UNSUPP;
    if (!is_inside(block, sector, sectors) || sectors > (is_discard ? DISCARD_MAX : ZEROES_MAX))
        return VIRTIO_BLK_S_IOERR;
    io->offset = sector * BLOCK_SECTOR;
    io->size = (uint64_t)sectors * BLOCK_SECTOR;
    io->may_unmap = flags != 0;
    return VIRTIO_BLK_S_OK;
}

static bool find_operation(uint32_t type, enum block_operation *ret_operation)
{
    static const struct {
        uint32_t type;
        enum block_operation operation;
    } known[] = {
        {VIRTIO_BLK_T_IN, BLOCK_READ},
        {VIRTIO_BLK_T_OUT, BLOCK_WRITE},
        {VIRTIO_BLK_T_FLUSH, BLOCK_FLUSH},
        {VIRTIO_BLK_T_DISCARD, BLOCK_DISCARD},
        {VIRTIO_BLK_T_WRITE_ZEROES, BLOCK_WRITE_ZEROES},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].type == type) {
            *ret_operation = known[i].operation;
            return true;
        }
    }
    return false;
}

static uint8_t understand(struct virtio_block *block, struct virtq_chain *chain, const struct header *header,
                          struct block_io *io)
{
    *io = (struct block_io){.is_durable = is_writethrough(block)};
    if (!find_operation(header->type, &io->operation))
        return VIRTIO_BLK_S_UNSUPP;
    if (io->operation == BLOCK_READ || io->operation == BLOCK_WRITE)
        return understand_data(block, chain, header, io);
    if (io->operation == BLOCK_FLUSH)
        return VIRTIO_BLK_S_OK;
    return understand_range(block, chain, io);
}

/* ---- Taking ---- */

static void give_serial(struct virtio_block *block, unsigned queue, struct virtq_chain *chain)
{
    const size_t room = chain->writable_size - 1;
    const size_t size = room < sizeof(block->serial) ? room : sizeof(block->serial);

    push(block, queue, chain, VIRTIO_BLK_S_OK, virtq_write(chain, 0, block->serial, size));
}

/* Hands a step over, or, if there is none, gives the request back. */
static void go_on(struct virtio_block *block, struct request *request, bool has_step)
{
    if (has_step && block->device.state.is_stopping) {
        block_io_cancel(&request->io);
        has_step = false;
    }
    if (has_step)
        block->engine->ops->submit(block->engine, &request->io);
    else
        complete(block, request);
}

static void take_request(struct virtio_block *block, unsigned queue, struct virtq_chain *chain)
{
    struct virtio_blk_outhdr raw;

    if (!chain->has_last) {
        virtio_push(&block->device, queue, chain, 0);
        virtio_fail(&block->device, queue, "a request has no place for its status");
        return;
    }
    if (chain->is_refused || virtq_read(chain, 0, &raw, sizeof(raw)) != sizeof(raw)) {
        push(block, queue, chain, VIRTIO_BLK_S_IOERR, 0);
        return;
    }
    const struct header header = {.type = le32toh(raw.type), .sector = le64toh(raw.sector)};
    if (header.type == VIRTIO_BLK_T_GET_ID) {
        give_serial(block, queue, chain);
        return;
    }
    struct request *request = take_free(block, queue);
    assert(request != NULL);
    const uint8_t status = understand(block, chain, &header, &request->io);
    if (status != VIRTIO_BLK_S_OK) {
        put_free(block, request);
        push(block, queue, chain, status, 0);
        return;
    }
    if (block->found < block->in_flight)
        block->found = block->in_flight;
    request->chain = chain;
    go_on(block, request, block_io_begin(&request->io, block->image));
}

/* Takes what is in the ring, up to count; how many there were. */
static unsigned take_requests(struct virtio_block *block, unsigned queue, unsigned count)
{
    unsigned taken = 0;

    while (taken < count && block->queues[queue].free != NULL) {
        struct virtq_chain *chain = virtio_pop(&block->device, queue);
        if (chain == NULL)
            break;
        take_request(block, queue, chain);
        taken++;
    }
    return taken;
}

/* ---- What engines have made ---- */

/* Comes again, after others had their turn, where the kernel had no memory for all that was handed in. */
static void commit(struct virtio_block *block)
{
    const uint64_t one = 1;

    if (block->engine->ops->commit(block->engine))
        return;
    /* It cannot be full: the loop empties it. */
    ssize_t written = write(block->again, &one, sizeof(one));
    (void)written;
}

/* Takes what is there, and hands in the steps that follow. Whatever is left is still to be seen at the engine's fd. */
static void reap(struct virtio_block *block)
{
    unsigned count = 0;

    while (count < STEPS_AT_ONCE || block->engine->fd < 0) {
        struct block_io *io = block->engine->ops->reap(block->engine);
        if (io == NULL)
            break;
        go_on(block, (struct request *)(void *)io, block_io_continue(io, io->step_result));
        count++;
    }
    if (count > 0)
        commit(block);
}

/* Tells the driver of what has been given back, and has queues go on that had to wait for that. */
static void flush(struct virtio_block *block)
{
    for (unsigned i = 0; i < block->device.queue_count; i++) {
        struct queue_requests *requests = &block->queues[i];
        if (requests->has_news)
            virtio_flush(&block->device, i);
        requests->has_news = false;
        if (requests->is_starved && requests->free != NULL) {
            requests->is_starved = false;
            virtio_notify(&block->device, i);
        }
    }
}

static void notified(struct virtio_device *device, unsigned queue)
{
    struct virtio_block *block = block_of(device);
    struct virtq *ring = virtio_queue(device, queue);
    unsigned rest = QUEUE_SIZE;
    unsigned taken;

    do {
        virtq_disable_notifications(ring);
        taken = take_requests(block, queue, rest);
        rest -= taken;
        commit(block);
        /* What was in the page cache has been read by now. */
        reap(block);
        block->queues[queue].is_starved = block->queues[queue].free == NULL;
        flush(block);
        if (block->queues[queue].is_starved || !virtio_is_running(device))
            return;
    } while (rest > 0 && taken > 0 && virtq_enable_notifications(ring));
    if (rest == 0 || (taken == 0 && virtq_enable_notifications(ring)))
        virtio_notify(device, queue);
}

static void on_made(void *context, uint32_t events)
{
    struct virtio_block *block = context;
    struct virtio_device *device = &block->device;

    (void)events;
    pthread_mutex_lock(&device->lock);
    reap(block);
    if (!device->state.is_stopping)
        flush(block);
    else if (block->in_flight == 0)
        virtio_stopped(device);
    pthread_mutex_unlock(&device->lock);
}

static void on_again(void *context, uint32_t events)
{
    struct virtio_block *block = context;
    uint64_t count;

    (void)events;
    ssize_t got = read(block->again, &count, sizeof(count));
    (void)got;
    pthread_mutex_lock(&block->device.lock);
    commit(block);
    pthread_mutex_unlock(&block->device.lock);
}

/* Before the loop waits. */
static int end_turn(void *context)
{
    struct virtio_block *block = context;

    if (block->found > 0)
        pace_turn(&block->pace, block->found > 1);
    block->found = 0;
    return -1;
}

/* Steps that are out are waited for; where they lead to is dropped then. */
static bool stop(struct virtio_device *device)
{
    struct virtio_block *block = block_of(device);

    block->state = (struct virtio_block_state){0};
    for (unsigned i = 0; i < device->queue_count; i++) {
        block->queues[i].is_starved = false;
        block->queues[i].has_news = false;
    }
    return block->in_flight == 0;
}

/* ---- Configuration ---- */

static uint8_t log2_of(uint32_t power)
{
    return (uint8_t)__builtin_ctz(power);
}

static void read_config(struct virtio_device *device, void *config)
{
    const struct virtio_block *block = block_of(device);
    const uint32_t block_size = block->image->block_size;
    const struct virtio_blk_config all = {
        .capacity = htole64(block->image->size / BLOCK_SECTOR),
        .seg_max = htole32(SEGMENTS_MAX),
        .blk_size = htole32(block_size),
        .physical_block_exp = log2_of(PHYSICAL_BLOCK / block_size),
        .min_io_size = htole16((uint16_t)(PHYSICAL_BLOCK / block_size)),
        .wce = !is_writethrough(block),
        .num_queues = htole16((uint16_t)device->queue_count),
        .max_discard_sectors = htole32(DISCARD_MAX),
        .max_discard_seg = htole32(1),
        .discard_sector_alignment = htole32(PHYSICAL_BLOCK / BLOCK_SECTOR),
        .max_write_zeroes_sectors = htole32(ZEROES_MAX),
        .max_write_zeroes_seg = htole32(1),
        .write_zeroes_may_unmap = 1,
    };

    memcpy(config, &all, CONFIG_SIZE);
}

/* Nothing but the cache's mode can be chosen: virtio 1.2, 5.2.4. */
static void write_config(struct virtio_device *device, size_t offset, const void *bytes, size_t size)
{
    struct virtio_block *block = block_of(device);
    const size_t place = offsetof(struct virtio_blk_config, wce);

    if (!virtio_has_feature(device, VIRTIO_BLK_F_CONFIG_WCE) || offset > place || size <= place - offset)
        return;
    block->state =
        (struct virtio_block_state){.has_chosen = true, .is_writeback = ((const uint8_t *)bytes)[place - offset] != 0};
}

/* ---- Beginning and end ---- */

static const struct state_field state_fields[] = {
    STATE_FIELD(struct virtio_block_state, has_chosen),
    STATE_FIELD(struct virtio_block_state, is_writeback),
};
STATE_DESCRIPTION(state_description, struct virtio_block_state, "virtio-block", 1, state_fields);

static void add_state(struct virtio_device *device, struct state_parts *parts)
{
    state_add(parts, &state_description, &block_of(device)->state);
}

static const struct virtio_ops ops = {
    .name = "block",
    .id = VIRTIO_ID_BLOCK,
    .config_size = CONFIG_SIZE,
    .read_config = read_config,
    .write_config = write_config,
    .stop = stop,
    .notified = notified,
    .add_state = add_state,
};

static uint64_t features_of(const struct block_image *image, unsigned queues)
{
    uint64_t features = 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE | 1ull << VIRTIO_BLK_F_TOPOLOGY |
                        1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE;

    if (queues > 1)
        features |= 1ull << VIRTIO_BLK_F_MQ;
    if (image->read_only)
        return features | 1ull << VIRTIO_BLK_F_RO;
    return features | 1ull << VIRTIO_BLK_F_DISCARD | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

static int make_engine(struct virtio_block *block, const struct virtio_environment *environment,
                       const struct virtio_block_options *options, struct error *error)
{
    block->engine = options->own_engine;
    if (block->engine != NULL)
        return 0;
    if (options->engine == VIRTIO_BLOCK_ENGINE_BEST)
        block->engine = block_engine_uring(block->image, options->queues * QUEUE_SIZE, error);
    if (block->engine != NULL)
        return 0;
    if (options->engine == VIRTIO_BLOCK_ENGINE_BEST)
        log_line(environment->log, LOG_LEVEL_DEBUG, environment->name, "%s; it has threads instead", error->text);
    block->engine = block_engine_threads(block->image, options->thread_name, options->hooks, error);
    return block->engine != NULL ? 0 : -1;
}

static int make_requests(struct virtio_block *block, unsigned queues, struct error *error)
{
    block->requests = calloc((size_t)queues * QUEUE_SIZE, sizeof(*block->requests));
    if (block->requests == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (unsigned i = 0; i < queues * QUEUE_SIZE; i++) {
        struct request *request = &block->requests[i];
        request->queue = i / QUEUE_SIZE;
        request->next = block->queues[request->queue].free;
        block->queues[request->queue].free = request;
    }
    return 0;
}

static int watch(struct virtio_block *block, struct event_loop *loop, struct error *error)
{
    block->again = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (block->again < 0)
        return error_set(error, ERROR_HOST, "no descriptor for %s: %s", block->device.name, strerror(errno));
    if (event_loop_add(loop, block->again, EPOLLIN, on_again, block, error) < 0)
        return -1;
    return block->engine->fd < 0 ? 0 : event_loop_add(loop, block->engine->fd, EPOLLIN, on_made, block, error);
}

static int initialise(struct virtio_block *block, const struct virtio_environment *environment,
                      const struct virtio_block_options *options, struct error *error)
{
    if (make_engine(block, environment, options, error) < 0 || make_requests(block, options->queues, error) < 0 ||
        virtio_init(&block->device, &ops, environment, features_of(block->image, options->queues), options->queues,
                    QUEUE_SIZE, error) < 0)
        return -1;
    return watch(block, environment->loop, error);
}

struct virtio_block *virtio_block_create(const struct virtio_environment *environment, struct block_image *image,
                                         const struct virtio_block_options *options, struct error *error)
{
    struct virtio_block *block = calloc(1, sizeof(*block));

    if (block == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    block->image = image;
    block->again = -1;
    pace_init(&block->pace);
    block->hook = (struct event_hook){.prepare = end_turn, .context = block};
    if (options->serial != NULL)
        memcpy(block->serial, options->serial, strnlen(options->serial, sizeof(block->serial)));
    if (initialise(block, environment, options, error) == 0) {
        event_loop_add_hook(block->device.loop, &block->hook);
        return block;
    }
    virtio_block_destroy(block);
    return NULL;
}

int virtio_block_start(struct virtio_block *block, struct error *error)
{
    const struct block_engine *engine = block->engine;

    return engine->ops->start != NULL ? engine->ops->start(block->engine, error) : 0;
}

static void drain(struct virtio_block *block)
{
    block->device.state.is_stopping = true;
    while (block->in_flight > 0) {
        (void)block->engine->ops->commit(block->engine);
        block->engine->ops->wait(block->engine);
        reap(block);
    }
}

void virtio_block_destroy(struct virtio_block *block)
{
    if (block == NULL)
        return;
    drain(block);
    if (block->engine != NULL && block->device.ops != NULL) {
        event_loop_remove_hook(block->device.loop, &block->hook);
        event_loop_remove(block->device.loop, block->engine->fd);
    }
    if (block->again >= 0) {
        event_loop_remove(block->device.loop, block->again);
        close(block->again);
    }
    block_engine_destroy(block->engine);
    virtio_fini(&block->device);
    free(block->requests);
    free(block);
}

struct virtio_device *virtio_block_device(struct virtio_block *block)
{
    return &block->device;
}

struct virtio_block_state *virtio_block_state(struct virtio_block *block)
{
    return &block->state;
}

unsigned virtio_block_in_flight(const struct virtio_block *block)
{
    return block->in_flight;
}
