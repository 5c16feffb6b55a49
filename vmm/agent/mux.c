#include "vmm/agent/mux.h"

#include "vmm/agent/protocol.h"
#include "vmm/agent/queue.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Control frames beside the windows' data: they are few, or come of what the client itself sends. */
    CLIENT_SLACK = 16 << 10,
    CLIENT_QUEUE_SIZE = 2 * AGENT_WINDOW + CLIENT_SLACK,
    /* Frames of ours: SYNC and CANCEL. */
    GUEST_SLACK = 4 << 10,
    GUEST_QUEUE_SIZE = 2 * AGENT_WIRE_MAX + GUEST_SLACK,
    /* Of our own sentences. */
    FAIL_MAX = 256,
    /* What a guest can have us say. */
    COMPLAINT_MAX = 10,
};

enum client_state {
    CLIENT_NONE,
    /* It is there, and has not asked for anything. */
    CLIENT_IDLE,
    CLIENT_HAS_JOB,
    /* Nothing more will come. */
    CLIENT_OVER,
    /* It has gone, and the agent is to be told. */
    CLIENT_LEAVING,
};

struct client {
    enum client_state state;
    /* Of the job: the type of the frame that began it, and its number with the agent. */
    uint8_t kind;
    uint32_t id;
    bool has_started;
    bool has_ended[AGENT_STREAM_COUNT];
    /* What may still be sent of each stream, to the agent or to the client. */
    uint32_t windows[AGENT_STREAM_COUNT];
    /* Credit for standard input that the client has not been told of. */
    uint32_t credit_due;
    struct agent_queue queue;
    struct agent_decoder decoder;
    uint8_t queue_bytes[CLIENT_QUEUE_SIZE];
};

struct agent_mux {
    const struct log *log;
    unsigned complaints;
    bool is_open;
    bool in_session;
    bool sync_due;
    /* Of the session, or of the one that has been asked for. */
    uint64_t number;
    /* Of the jobs that there have been. */
    uint32_t generation;
    /* What the agent says that it speaks, if it is not what we do. */
    uint32_t bad_version;
    struct client *clients[AGENT_CLIENT_MAX];
    struct agent_queue queue;
    struct agent_decoder decoder;
    uint8_t queue_bytes[GUEST_QUEUE_SIZE];
};

/* ---- To clients ---- */

/* False: it has not read what it was sent, though it has given credit for it. */
static bool tell(struct client *client, const struct agent_frame *frame)
{
    const struct agent_frame ours = {
        .type = frame->type, .stream = frame->stream, .payload = frame->payload, .size = frame->size};

    return agent_queue_add_frame(&client->queue, &ours);
}

static void end_client(struct client *client, enum agent_failure why, const char *text)
{
    uint8_t payload[FAIL_MAX];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_fail_encode(&writer, why, text);
    (void)tell(client, &(struct agent_frame){.type = AGENT_FAIL, .payload = payload, .size = writer.used});
    client->state = CLIENT_OVER;
}

static void tell_hello(struct client *client)
{
    uint8_t payload[12];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, AGENT_VERSION);
    agent_put_u64(&writer, 0);
    (void)tell(client, &(struct agent_frame){.type = AGENT_HELLO, .payload = payload, .size = writer.used});
}

/* Many small credits of a guest become one, as long as the client does not read. */
static void tell_credit(struct client *client)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    if (client->credit_due == 0 || client->queue.used > CLIENT_SLACK / 2)
        return;
    agent_put_u32(&writer, client->credit_due);
    if (tell(client, &(struct agent_frame){
                         .type = AGENT_CREDIT, .stream = AGENT_STDIN, .payload = payload, .size = writer.used}))
        client->credit_due = 0;
}

/* ---- Sessions ---- */

/* Says it in the log, unless the guest has had that said too often. */
static void complain(struct agent_mux *mux, const char *text)
{
    if (mux->complaints++ < COMPLAINT_MAX)
        log_line(mux->log, LOG_LEVEL_WARN, "agent", "%s", text);
}

/* Jobs that were begun are over; who has not asked yet waits for the next session. */
static void end_session(struct agent_mux *mux, const char *why)
{
    mux->in_session = false;
    mux->number++;
    mux->sync_due = mux->is_open;
    /* A frame that is cut off ends where the next one begins. */
    agent_queue_clear(&mux->queue);
    for (size_t i = 0; i < AGENT_CLIENT_MAX; i++) {
        struct client *client = mux->clients[i];
        if (client == NULL)
            continue;
        if (client->state == CLIENT_HAS_JOB)
            end_client(client, AGENT_FAILED_LOST, why);
        if (client->state == CLIENT_LEAVING) {
            free(client);
            mux->clients[i] = NULL;
        }
    }
}

static void break_session(struct agent_mux *mux, const char *why)
{
    complain(mux, why);
    end_session(mux, why);
}

/* Sends what is due and has room. */
static void send_due(struct agent_mux *mux)
{
    uint8_t payload[12];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    if (mux->sync_due) {
        agent_put_u32(&writer, AGENT_VERSION);
        agent_put_u64(&writer, mux->number);
        if (agent_queue_add_frame(&mux->queue,
                                  &(struct agent_frame){.type = AGENT_SYNC, .payload = payload, .size = writer.used}))
            mux->sync_due = false;
    }
    for (size_t i = 0; i < AGENT_CLIENT_MAX; i++) {
        struct client *client = mux->clients[i];
        if (client == NULL || client->state != CLIENT_LEAVING)
            continue;
        if (agent_queue_add_frame(&mux->queue, &(struct agent_frame){.type = AGENT_CANCEL, .id = client->id})) {
            free(client);
            mux->clients[i] = NULL;
        }
    }
}

void agent_mux_set_open(struct agent_mux *mux, bool is_open)
{
    if (mux->is_open == is_open)
        return;
    mux->is_open = is_open;
    mux->decoder = (struct agent_decoder){0};
    end_session(mux, "the agent in the guest has ended");
    send_due(mux);
}

void agent_mux_lose(struct agent_mux *mux, const char *why)
{
    mux->decoder = (struct agent_decoder){0};
    end_session(mux, why);
    send_due(mux);
}

static void begin_session(struct agent_mux *mux, uint32_t version)
{
    char text[FAIL_MAX];

    mux->bad_version = version != AGENT_VERSION ? version : 0;
    if (mux->bad_version != 0) {
        (void)snprintf(text, sizeof(text),
                       "the agent in the guest speaks version %" PRIu32 " of the protocol, and this quire %u; put the "
                       "agent that came with this quire into the guest",
                       version, AGENT_VERSION);
        complain(mux, text);
        for (size_t i = 0; i < AGENT_CLIENT_MAX; i++)
            if (mux->clients[i] != NULL && mux->clients[i]->state == CLIENT_IDLE)
                end_client(mux->clients[i], AGENT_FAILED_LOST, text);
        return;
    }
    mux->in_session = true;
    log_line(mux->log, LOG_LEVEL_DEBUG, "agent", "the agent in the guest is there");
    for (size_t i = 0; i < AGENT_CLIENT_MAX; i++)
        if (mux->clients[i] != NULL && mux->clients[i]->state == CLIENT_IDLE)
            tell_hello(mux->clients[i]);
}

static void take_hello(struct agent_mux *mux, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);
    const uint32_t version = agent_get_u32(&reader);
    const uint64_t number = agent_get_u64(&reader);

    if (!agent_reader_is_done(&reader))
        return;
    if (number == 0 && mux->in_session)
        end_session(mux, "the agent in the guest has started again");
    else if (number == 0)
        mux->sync_due = mux->is_open;
    else if (number == mux->number && !mux->in_session && mux->is_open)
        begin_session(mux, version);
}

/* ---- From the guest ---- */

/* Whether the agent may say this of a job; what it costs has been taken. */
static bool guest_may(struct client *client, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);
    const bool is_output = frame->stream == AGENT_STDOUT || frame->stream == AGENT_STDERR;

    switch (frame->type) {
    case AGENT_STARTED:
        if (client->has_started || frame->size != 4)
            return false;
        client->has_started = true;
        return true;
    case AGENT_DATA: {
        const uint32_t cost = (uint32_t)frame->size + AGENT_FRAME_COST;
        if (!is_output || frame->size == 0 || frame->size > AGENT_DATA_MAX || client->has_ended[frame->stream] ||
            cost > client->windows[frame->stream])
            return false;
        client->windows[frame->stream] -= cost;
        return true;
    }
    case AGENT_END:
        if (!is_output || frame->size != 0 || client->has_ended[frame->stream])
            return false;
        client->has_ended[frame->stream] = true;
        return true;
    case AGENT_CREDIT: {
        const uint32_t credit = agent_get_u32(&reader);
        if (frame->stream != AGENT_STDIN || !agent_reader_is_done(&reader) ||
            credit > AGENT_WINDOW - client->windows[AGENT_STDIN])
            return false;
        client->windows[AGENT_STDIN] += credit;
        client->credit_due += credit;
        return true;
    }
    case AGENT_EXIT:
        return frame->size == 8;
    case AGENT_FAIL:
        return frame->size >= 5 && frame->size <= 4096;
    case AGENT_PONG:
        return client->kind == AGENT_PING && frame->size <= AGENT_PING_MAX;
    default:
        return false;
    }
}

/* False: the agent has broken the protocol. */
static bool take_from_job(struct client *client, const struct agent_frame *frame)
{
    if (!guest_may(client, frame))
        return false;
    if (frame->type == AGENT_CREDIT) {
        tell_credit(client);
        return true;
    }
    if (!tell(client, frame)) {
        client->state = CLIENT_OVER; /* it has given credit for what it does not read */
        return true;
    }
    if (frame->type == AGENT_EXIT || frame->type == AGENT_FAIL || frame->type == AGENT_PONG)
        client->state = CLIENT_OVER;
    return true;
}

static void take_guest_frame(struct agent_mux *mux, const struct agent_frame *frame)
{
    struct client *client;

    if (frame->type == AGENT_HELLO) {
        take_hello(mux, frame);
        return;
    }
    if (!mux->in_session)
        return;
    client = mux->clients[frame->id % AGENT_CLIENT_MAX];
    /* Of a job that the agent does not know yet to be over. */
    if (client == NULL || client->state != CLIENT_HAS_JOB || client->id != frame->id)
        return;
    if (!take_from_job(client, frame))
        break_session(mux, "the agent in the guest breaks the protocol; its jobs are given up");
}

void agent_mux_from_guest(struct agent_mux *mux, const uint8_t *bytes, size_t len)
{
    struct agent_frame frame;

    while (len > 0) {
        size_t taken;
        const enum agent_decoded what = agent_decode(&mux->decoder, bytes, len, &taken, &frame);
        bytes += taken;
        len -= taken;
        if (what == AGENT_DECODED_FRAME)
            take_guest_frame(mux, &frame);
        else if (what == AGENT_DECODED_DAMAGE && mux->in_session)
            break_session(mux, "what came from the agent in the guest was damaged; does anything else write to its "
                               "port there?");
    }
    send_due(mux);
}

const uint8_t *agent_mux_to_guest(struct agent_mux *mux, size_t *ret_size)
{
    *ret_size = mux->queue.used;
    return agent_queue_bytes(&mux->queue);
}

void agent_mux_sent_to_guest(struct agent_mux *mux, size_t len)
{
    agent_queue_take(&mux->queue, len);
    send_due(mux);
}

/* ---- From clients ---- */

int agent_mux_connect(struct agent_mux *mux)
{
    int slot = 0;

    while (slot < (int)AGENT_CLIENT_MAX && mux->clients[slot] != NULL)
        slot++;
    if (slot == (int)AGENT_CLIENT_MAX)
        return -1;
    struct client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return -1;
    client->state = CLIENT_IDLE;
    client->queue = (struct agent_queue){.bytes = client->queue_bytes, .size = sizeof(client->queue_bytes)};
    mux->clients[slot] = client;
    if (mux->in_session)
        tell_hello(client);
    return slot;
}

bool agent_mux_is_free(const struct agent_mux *mux)
{
    for (size_t i = 0; i < AGENT_CLIENT_MAX; i++)
        if (mux->clients[i] == NULL)
            return true;
    return false;
}

void agent_mux_disconnect(struct agent_mux *mux, int slot)
{
    struct client *client = mux->clients[slot];

    if (client->state == CLIENT_HAS_JOB) {
        client->state = CLIENT_LEAVING;
        send_due(mux);
        return;
    }
    free(client);
    mux->clients[slot] = NULL;
}

/* A client begins its job. False: it is none. */
static bool begin_job(struct agent_mux *mux, int slot, const struct agent_frame *frame)
{
    struct client *client = mux->clients[slot];

    switch (frame->type) {
    case AGENT_EXEC:
    case AGENT_PUT:
    case AGENT_GET:
    case AGENT_POWER:
        break;
    case AGENT_PING:
        if (frame->size <= AGENT_PING_MAX)
            break;
        return false;
    default:
        return false;
    }
    client->state = CLIENT_HAS_JOB;
    client->kind = frame->type;
    client->id = mux->generation++ * AGENT_CLIENT_MAX + (uint32_t)slot;
    for (size_t i = 0; i < AGENT_STREAM_COUNT; i++)
        client->windows[i] = AGENT_WINDOW;
    return true;
}

/* Whether a client may say this of its job; what it costs has been taken. */
static bool client_may(struct client *client, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);
    const bool is_output = frame->stream == AGENT_STDOUT || frame->stream == AGENT_STDERR;

    switch (frame->type) {
    case AGENT_DATA: {
        const uint32_t cost = (uint32_t)frame->size + AGENT_FRAME_COST;
        if (frame->stream != AGENT_STDIN || frame->size == 0 || frame->size > AGENT_DATA_MAX ||
            client->has_ended[AGENT_STDIN] || cost > client->windows[AGENT_STDIN])
            return false;
        client->windows[AGENT_STDIN] -= cost;
        return true;
    }
    case AGENT_END:
        if (frame->stream != AGENT_STDIN || frame->size != 0 || client->has_ended[AGENT_STDIN])
            return false;
        client->has_ended[AGENT_STDIN] = true;
        return true;
    case AGENT_CREDIT: {
        const uint32_t credit = agent_get_u32(&reader);
        if (!is_output || !agent_reader_is_done(&reader) || credit > AGENT_WINDOW - client->windows[frame->stream])
            return false;
        client->windows[frame->stream] += credit;
        return true;
    }
    case AGENT_SIGNAL:
    case AGENT_RESIZE:
        return frame->size == 4;
    case AGENT_CANCEL:
        return frame->size == 0;
    default:
        return false;
    }
}

static void take_client_frame(struct agent_mux *mux, int slot, const struct agent_frame *frame)
{
    struct client *client = mux->clients[slot];
    const bool begins = client->state == CLIENT_IDLE;

    if (begins ? !begin_job(mux, slot, frame) : !client_may(client, frame)) {
        const bool had_job = client->state == CLIENT_HAS_JOB;
        const uint32_t id = client->id;
        end_client(client, AGENT_FAILED_PROTOCOL, "the client breaks the protocol; is it of this quire's version?");
        if (had_job)
            (void)agent_queue_add_frame(&mux->queue, &(struct agent_frame){.type = AGENT_CANCEL, .id = id});
        return;
    }
    const struct agent_frame ours = {
        .type = frame->type, .stream = frame->stream, .id = client->id, .payload = frame->payload, .size = frame->size};
    const bool has_room = agent_queue_add_frame(&mux->queue, &ours);
    assert(has_room); /* agent_mux_wants() */
    (void)has_room;
}

bool agent_mux_wants(const struct agent_mux *mux, int slot)
{
    const struct client *client = mux->clients[slot];

    return mux->in_session && (client->state == CLIENT_IDLE || client->state == CLIENT_HAS_JOB) &&
           agent_queue_room(&mux->queue) >= AGENT_WIRE_MAX + GUEST_SLACK;
}

size_t agent_mux_from_client(struct agent_mux *mux, int slot, const uint8_t *bytes, size_t len)
{
    struct client *client = mux->clients[slot];
    struct agent_frame frame;
    size_t all = 0;

    while (all < len && agent_mux_wants(mux, slot)) {
        size_t taken;
        const enum agent_decoded what = agent_decode(&client->decoder, bytes + all, len - all, &taken, &frame);
        all += taken;
        if (what == AGENT_DECODED_FRAME)
            take_client_frame(mux, slot, &frame);
        else if (what == AGENT_DECODED_DAMAGE)
            take_client_frame(mux, slot, &(struct agent_frame){0});
    }
    return all;
}

const uint8_t *agent_mux_to_client(struct agent_mux *mux, int slot, size_t *ret_size)
{
    struct client *client = mux->clients[slot];

    if (client->state == CLIENT_HAS_JOB)
        tell_credit(client);
    *ret_size = client->queue.used;
    return agent_queue_bytes(&client->queue);
}

void agent_mux_sent_to_client(struct agent_mux *mux, int slot, size_t len)
{
    agent_queue_take(&mux->clients[slot]->queue, len);
}

bool agent_mux_is_over(const struct agent_mux *mux, int slot)
{
    return mux->clients[slot]->state == CLIENT_OVER;
}

/* ---- Its life ---- */

struct agent_mux *agent_mux_create(uint64_t seed, const struct log *log)
{
    struct agent_mux *mux = calloc(1, sizeof(*mux));

    if (mux == NULL)
        return NULL;
    mux->log = log;
    /* 0 means no session. It counts up, and there is no end to it. */
    mux->number = (seed >> 1) + 1;
    mux->queue = (struct agent_queue){.bytes = mux->queue_bytes, .size = sizeof(mux->queue_bytes)};
    return mux;
}

void agent_mux_destroy(struct agent_mux *mux)
{
    if (mux == NULL)
        return;
    for (size_t i = 0; i < AGENT_CLIENT_MAX; i++)
        free(mux->clients[i]);
    free(mux);
}
