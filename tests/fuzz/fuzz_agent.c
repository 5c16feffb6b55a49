/*
 * A guest's agent and a client that send anything: the machine's side of the protocol neither fails nor grows. An input
 * is steps: a byte for what happens, a byte for its size, and as many bytes. Frames are made of them, or they go as
 * they are.
 */
#include "vmm/agent/mux.h"
#include "vmm/agent/protocol.h"

#include "fuzz_require.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
    STEP_GUEST_BYTES,
    STEP_GUEST_FRAME,
    STEP_GUEST_HELLO,
    STEP_CLIENT_BYTES,
    STEP_CLIENT_FRAME,
    STEP_GUEST_READS,
    STEP_CLIENTS_READ,
    STEP_OPEN,
    STEP_CLOSE,
    STEP_RESTART,
    STEP_CONNECT,
    STEP_DISCONNECT,
    STEP_COUNT,
};

static const struct log silent = {.level = LOG_LEVEL_ERROR, .fd = -1};

static struct agent_mux *mux;
static bool is_there[AGENT_CLIENT_MAX];
/* As the guest was told last. */
static uint64_t session;
static uint32_t last_id;
static struct agent_decoder guest;
static uint8_t wire[AGENT_WIRE_MAX];

static void guest_reads(void)
{
    struct agent_frame frame;
    size_t size, taken;
    const uint8_t *bytes = agent_mux_to_guest(mux, &size);

    while (size > 0) {
        const enum agent_decoded what = agent_decode(&guest, bytes, size, &taken, &frame);
        if (what == AGENT_DECODED_FRAME) {
            struct agent_reader reader = agent_reader_of(&frame);
            last_id = frame.id;
            if (frame.type == AGENT_SYNC) {
                (void)agent_get_u32(&reader);
                session = agent_get_u64(&reader);
            }
        }
        agent_mux_sent_to_guest(mux, taken);
        bytes = agent_mux_to_guest(mux, &size);
    }
}

static void guest_hello(uint8_t how)
{
    uint8_t payload[12];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, how % 16 == 15 ? 2 : AGENT_VERSION);
    agent_put_u64(&writer, how % 16 == 14 ? 0 : session);
    const struct agent_frame frame = {.type = AGENT_HELLO, .payload = payload, .size = writer.used};
    agent_mux_from_guest(mux, wire, agent_frame_encode(&frame, wire));
}

/* Type, stream and number come first; the last job's number is near. A payload can be longer than what is left. */
static size_t make_frame(const uint8_t *data, size_t size, uint32_t id)
{
    static uint8_t payload[AGENT_PAYLOAD_MAX];
    const uint8_t type = size > 0 ? data[0] % (AGENT_POWER + 2) : 0;
    const uint8_t stream = size > 1 ? data[1] % 4 : 0;
    const size_t given = size > 3 ? size - 3 : 0;
    size_t used = size > 2 ? (size_t)data[2] * 33 : 0;

    if (used < given || size < 3 || data[2] < 128)
        used = given;
    memset(payload, 0, used);
    if (given > 0)
        memcpy(payload, data + 3, given);
    return agent_frame_encode(
        &(struct agent_frame){.type = type, .stream = stream, .id = id, .payload = payload, .size = used}, wire);
}

static int any_client(uint8_t choice)
{
    for (unsigned i = 0; i < AGENT_CLIENT_MAX; i++)
        if (is_there[(choice + i) % AGENT_CLIENT_MAX])
            return (int)((choice + i) % AGENT_CLIENT_MAX);
    return -1;
}

static void disconnect(int client)
{
    agent_mux_disconnect(mux, client);
    is_there[client] = false;
}

static void from_client(int client, const uint8_t *bytes, size_t size)
{
    if (client >= 0)
        require(agent_mux_from_client(mux, client, bytes, size) <= size);
}

static void clients_read(void)
{
    for (int i = 0; i < (int)AGENT_CLIENT_MAX; i++) {
        size_t size;
        if (!is_there[i])
            continue;
        (void)agent_mux_to_client(mux, i, &size);
        agent_mux_sent_to_client(mux, i, size);
        if (agent_mux_is_over(mux, i))
            disconnect(i);
    }
}

static void check_bounds(void)
{
    size_t size;

    (void)agent_mux_to_guest(mux, &size);
    require(size <= 2 * AGENT_WIRE_MAX + 4096);
    for (int i = 0; i < (int)AGENT_CLIENT_MAX; i++) {
        if (!is_there[i])
            continue;
        (void)agent_mux_to_client(mux, i, &size);
        require(size <= 2 * AGENT_WINDOW + 16384);
    }
}

static void take_step(enum step step, const uint8_t *data, size_t size)
{
    const uint8_t choice = size > 0 ? data[size - 1] : 0;
    int client;

    switch (step) {
    case STEP_GUEST_BYTES:
        agent_mux_from_guest(mux, data, size);
        break;
    case STEP_GUEST_FRAME:
        agent_mux_from_guest(mux, wire, make_frame(data, size, choice == 255 ? choice : last_id));
        break;
    case STEP_GUEST_HELLO:
        guest_hello(choice);
        break;
    case STEP_CLIENT_BYTES:
        from_client(any_client(choice), data, size);
        break;
    case STEP_CLIENT_FRAME:
        client = any_client(choice);
        from_client(client, wire, make_frame(data, size, 0));
        break;
    case STEP_GUEST_READS:
        guest_reads();
        break;
    case STEP_CLIENTS_READ:
        clients_read();
        break;
    case STEP_OPEN:
        agent_mux_set_open(mux, true);
        break;
    case STEP_CLOSE:
        agent_mux_set_open(mux, false);
        break;
    case STEP_RESTART:
        agent_mux_lose(mux, "it has started again");
        break;
    case STEP_CONNECT:
        client = agent_mux_connect(mux);
        require(client >= 0 ? !is_there[client] : !agent_mux_is_free(mux));
        if (client >= 0)
            is_there[client] = true;
        break;
    case STEP_DISCONNECT:
        client = any_client(choice);
        if (client >= 0)
            disconnect(client);
        break;
    case STEP_COUNT:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(is_there, 0, sizeof(is_there));
    guest = (struct agent_decoder){0};
    session = 0;
    last_id = 0;
    mux = agent_mux_create(1, &silent);
    if (mux == NULL)
        return 0;
    while (size >= 2) {
        const enum step step = (enum step)(data[0] % STEP_COUNT);
        const size_t wanted = data[1];
        const size_t used = wanted < size - 2 ? wanted : size - 2;
        take_step(step, data + 2, used);
        check_bounds();
        data += 2 + used;
        size -= 2 + used;
    }
    agent_mux_destroy(mux);

    return 0;
}
