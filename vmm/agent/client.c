#include "vmm/agent/client.h"

#include "devices/host/unix_socket.h"
#include "vmm/agent/queue.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    INPUT_SIZE = 64 << 10,
    /* Room for what is not data. */
    CONTROL_ROOM = 1024,
    QUEUE_SIZE = AGENT_WIRE_MAX + 4 * AGENT_WIRE_SIZE(AGENT_DATA_MAX) + CONTROL_ROOM,
};

struct agent_client {
    struct agent_client_handlers handlers;
    int fd;
    enum agent_client_state state;
    bool has_begun;
    bool was_answered;
    bool input_ended;
    /* Its end is still to be told. */
    bool end_due;
    /* Of the input: what may be sent. Of the output: what the guest may send, and what it has not been given back. */
    uint32_t windows[AGENT_STREAM_COUNT];
    uint32_t credit_due[AGENT_STREAM_COUNT];
    /* The socket takes nothing any more; what has come may still be read. */
    bool is_deaf;
    struct agent_outcome outcome;
    struct agent_queue queue;
    struct agent_decoder decoder;
    uint8_t queue_bytes[QUEUE_SIZE];
};

/* ---- The end ---- */

static void end(struct agent_client *client, const struct agent_outcome *outcome)
{
    if (client->state == AGENT_CLIENT_OVER)
        return;
    client->outcome = *outcome;
    client->state = AGENT_CLIENT_OVER;
}

static void lose(struct agent_client *client, const char *text)
{
    struct agent_outcome outcome = {.kind = AGENT_OUTCOME_LOST, .failure = AGENT_FAILED_LOST};

    (void)snprintf(outcome.text, sizeof(outcome.text), "%s", text);
    end(client, &outcome);
}

/* A guest's words, without what a terminal would obey. */
static void copy_words(char *out, size_t size, const char *text)
{
    size_t i = 0;

    for (; i + 1 < size && text[i] != '\0'; i++) {
        const unsigned char c = (unsigned char)text[i];
        out[i] = text[i];
        if (c < 0x20 || c >= 0x7f)
            out[i] = '?';
    }
    out[i] = '\0';
}

static void take_fail(struct agent_client *client, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);
    struct agent_outcome outcome = {.failure = (enum agent_failure)agent_get_u32(&reader)};

    copy_words(outcome.text, sizeof(outcome.text), agent_get_string(&reader));
    outcome.kind = outcome.failure >= AGENT_FAILED_NOT_FOUND && outcome.failure <= AGENT_FAILED ? AGENT_OUTCOME_FAILED
                                                                                                : AGENT_OUTCOME_LOST;
    end(client, &outcome);
}

static void take_exit(struct agent_client *client, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);
    const uint32_t ending = agent_get_u32(&reader);
    const uint32_t value = agent_get_u32(&reader);
    const struct agent_outcome outcome = {
        .kind = ending == AGENT_SIGNALLED ? AGENT_OUTCOME_SIGNALLED : AGENT_OUTCOME_EXITED,
        .status = ending == AGENT_SIGNALLED ? value & 0x7f : value & 0xff,
    };

    end(client, &outcome);
}

/* ---- Sending ---- */

static void send_frame(struct agent_client *client, uint8_t type, uint8_t stream, const void *payload, size_t size)
{
    (void)agent_queue_add_frame(
        &client->queue, &(struct agent_frame){.type = type, .stream = stream, .payload = payload, .size = size});
}

static void send_credit(struct agent_client *client, uint8_t stream)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    if (client->credit_due[stream] < AGENT_CREDIT_STEP ||
        agent_queue_room(&client->queue) < AGENT_WIRE_SIZE(sizeof(payload)))
        return;
    agent_put_u32(&writer, client->credit_due[stream]);
    send_frame(client, AGENT_CREDIT, stream, payload, writer.used);
    client->windows[stream] += client->credit_due[stream];
    client->credit_due[stream] = 0;
}

static void flush(struct agent_client *client)
{
    send_credit(client, AGENT_STDOUT);
    send_credit(client, AGENT_STDERR);
    if (client->end_due && agent_queue_room(&client->queue) >= AGENT_WIRE_SIZE(0)) {
        send_frame(client, AGENT_END, AGENT_STDIN, NULL, 0);
        client->end_due = false;
    }
    while (client->queue.used > 0 && !client->is_deaf) {
        const ssize_t sent =
            send(client->fd, agent_queue_bytes(&client->queue), client->queue.used, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return;
        /* Why it has hung up may have come before. */
        client->is_deaf = sent < 0;
        if (sent > 0)
            agent_queue_take(&client->queue, (size_t)sent);
    }
}

/* ---- Receiving ---- */

static bool take_data(struct agent_client *client, const struct agent_frame *frame)
{
    const uint32_t cost = (uint32_t)frame->size + AGENT_FRAME_COST;

    if ((frame->stream != AGENT_STDOUT && frame->stream != AGENT_STDERR) || cost > client->windows[frame->stream])
        return false;
    client->windows[frame->stream] -= cost;
    client->credit_due[frame->stream] += AGENT_FRAME_COST;
    client->handlers.output(client->handlers.context, (enum agent_stream)frame->stream, frame->payload, frame->size);
    return true;
}

static bool take_frame(struct agent_client *client, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);

    switch (frame->type) {
    case AGENT_HELLO:
        client->was_answered = true;
        if (client->state == AGENT_CLIENT_WAITING)
            client->state = AGENT_CLIENT_READY;
        return agent_get_u32(&reader) == AGENT_VERSION;
    case AGENT_STARTED:
        client->state = AGENT_CLIENT_RUNNING;
        return true;
    case AGENT_DATA:
        return take_data(client, frame);
    case AGENT_END:
        return true;
    case AGENT_CREDIT: {
        const uint32_t credit = agent_get_u32(&reader);
        if (frame->stream != AGENT_STDIN || credit > AGENT_WINDOW - client->windows[AGENT_STDIN])
            return false;
        client->windows[AGENT_STDIN] += credit;
        return true;
    }
    case AGENT_EXIT:
        take_exit(client, frame);
        return true;
    case AGENT_FAIL:
        take_fail(client, frame);
        return true;
    default:
        return false;
    }
}

static void take_bytes(struct agent_client *client, const uint8_t *bytes, size_t len)
{
    struct agent_frame frame;

    while (len > 0 && client->state != AGENT_CLIENT_OVER) {
        size_t taken;
        const enum agent_decoded what = agent_decode(&client->decoder, bytes, len, &taken, &frame);
        bytes += taken;
        len -= taken;
        if (what == AGENT_DECODED_DAMAGE || (what == AGENT_DECODED_FRAME && !take_frame(client, &frame)))
            lose(client, "the other side of the socket does not keep to the protocol; is it a quire of this version?");
    }
}

static void receive(struct agent_client *client)
{
    uint8_t bytes[INPUT_SIZE];
    const ssize_t got = recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (got > 0)
        take_bytes(client, bytes, (size_t)got);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        lose(client, "the machine has ended");
}

void agent_client_serve(struct agent_client *client)
{
    if (client->state == AGENT_CLIENT_OVER)
        return;
    flush(client);
    receive(client);
    flush(client);
}

void agent_client_wait(struct agent_client *client, int milliseconds)
{
    struct pollfd one = {.fd = client->fd, .events = agent_client_events(client)};

    if (client->state == AGENT_CLIENT_OVER)
        return;
    if (poll(&one, 1, milliseconds) > 0)
        agent_client_serve(client);
}

int agent_client_fd(const struct agent_client *client)
{
    return client->fd;
}

short agent_client_events(const struct agent_client *client)
{
    return (short)(POLLIN | (client->queue.used > 0 && !client->is_deaf ? POLLOUT : 0));
}

enum agent_client_state agent_client_state(const struct agent_client *client)
{
    return client->state;
}

bool agent_client_was_answered(const struct agent_client *client)
{
    return client->was_answered;
}

const struct agent_outcome *agent_client_outcome(const struct agent_client *client)
{
    return &client->outcome;
}

/* ---- Jobs ---- */

static int begin(struct agent_client *client, uint8_t type, const struct agent_writer *writer, bool fits,
                 struct error *error)
{
    if (!fits)
        return error_set(error, ERROR_CONFIG,
                         "the command and its environment have more than %u arguments or %u bytes; put a script into "
                         "the guest, and run that",
                         AGENT_ARGUMENT_MAX, AGENT_PAYLOAD_MAX);
    if (client->has_begun)
        return error_set(error, ERROR_CONFIG, "a connection to the agent is for one job; make another");
    client->has_begun = true;
    send_frame(client, type, 0, writer->bytes, writer->used);
    flush(client);
    return 0;
}

int agent_client_exec(struct agent_client *client, const struct agent_exec *exec, struct error *error)
{
    uint8_t payload[AGENT_PAYLOAD_MAX];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    return begin(client, AGENT_EXEC, &writer, agent_exec_encode(exec, &writer), error);
}

int agent_client_put(struct agent_client *client, const struct agent_file *file, struct error *error)
{
    uint8_t payload[AGENT_PAYLOAD_MAX];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    return begin(client, AGENT_PUT, &writer, agent_file_encode(file, &writer), error);
}

int agent_client_get(struct agent_client *client, const char *path, struct error *error)
{
    uint8_t payload[AGENT_PAYLOAD_MAX];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};
    const struct agent_file file = {.path = path};

    return begin(client, AGENT_GET, &writer, agent_file_encode(&file, &writer), error);
}

int agent_client_power(struct agent_client *client, enum agent_power power, struct error *error)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, power);
    return begin(client, AGENT_POWER, &writer, true, error);
}

size_t agent_client_room(const struct agent_client *client)
{
    const uint32_t window = client->windows[AGENT_STDIN];
    const size_t room = window > AGENT_FRAME_COST ? window - AGENT_FRAME_COST : 0;

    if (!client->has_begun || client->input_ended || client->state == AGENT_CLIENT_OVER ||
        agent_queue_room(&client->queue) < AGENT_WIRE_SIZE(AGENT_DATA_MAX) + CONTROL_ROOM)
        return 0;
    return room < AGENT_DATA_MAX ? room : AGENT_DATA_MAX;
}

size_t agent_client_write(struct agent_client *client, const uint8_t *bytes, size_t len)
{
    size_t all = 0;

    while (all < len) {
        const size_t room = agent_client_room(client);
        const size_t size = len - all < room ? len - all : room;
        if (size == 0)
            break;
        client->windows[AGENT_STDIN] -= (uint32_t)size + AGENT_FRAME_COST;
        send_frame(client, AGENT_DATA, AGENT_STDIN, bytes + all, size);
        all += size;
        flush(client);
    }
    return all;
}

void agent_client_end_input(struct agent_client *client)
{
    if (!client->has_begun || client->input_ended)
        return;
    client->input_ended = true;
    client->end_due = true;
    flush(client);
}

void agent_client_passed_on(struct agent_client *client, enum agent_stream stream, size_t len)
{
    client->credit_due[stream] += (uint32_t)len;
    flush(client);
}

void agent_client_signal(struct agent_client *client, unsigned number)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, number);
    if (client->has_begun)
        send_frame(client, AGENT_SIGNAL, 0, payload, writer.used);
    flush(client);
}

void agent_client_resize(struct agent_client *client, uint16_t rows, uint16_t columns)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u16(&writer, rows);
    agent_put_u16(&writer, columns);
    if (client->has_begun)
        send_frame(client, AGENT_RESIZE, 0, payload, writer.used);
    flush(client);
}

/* ---- Its life ---- */

struct agent_client *agent_client_connect(const char *address, const struct agent_client_handlers *handlers,
                                          struct error *error)
{
    struct agent_client *client = calloc(1, sizeof(*client));

    if (client == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    client->handlers = *handlers;
    client->queue = (struct agent_queue){.bytes = client->queue_bytes, .size = sizeof(client->queue_bytes)};
    for (size_t i = 0; i < AGENT_STREAM_COUNT; i++)
        client->windows[i] = AGENT_WINDOW;
    client->fd = unix_socket_connect(address, "agent.listen", false, error);
    if (client->fd >= 0)
        return client;
    const int why = errno;
    free(client);
    errno = why;
    return NULL;
}

void agent_client_destroy(struct agent_client *client)
{
    if (client == NULL)
        return;
    close(client->fd);
    free(client);
}
