/*
 * Any bytes as what a debugger sends: the target is used as its contract says, what comes back is packets, and no more
 * memory is held for them than one reply and one answer of `monitor`. Bytes from 0xf0 on are not the client's: they
 * have the guest stop, the client read slowly, leave or come again, the target fail.
 */
#include "vmm/gdb/gdb_packet.h"
#include "vmm/gdb/gdb_protocol.h"

#include "fake_target.h"
#include "fuzz_require.h"

#include <string.h>
#include <unistd.h>

/* More than a piece of an answer, and more memory than fits into a reply; but each byte costs a fuzzer time. */
enum { ANSWER_SIZE = 20000, MEMORY_SIZE = 80000, EVENTS = 0xf0 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fake_target fake;
static struct gdb_protocol *protocol;
static bool reads_slowly;
/* The output is the rest of a packet. */
static bool has_taken_a_part;
/* The machine is no more, and with it the target. */
static bool has_exited;

static void stopped(void *server, const struct debug_stop *stop)
{
    gdb_protocol_stopped(server, stop);
}

/* While the guest runs, only these may be called: the rest is put in front of the fake target's. */
static int (*fake_resume)(void *, const enum debug_action *, struct error *);
static size_t (*fake_read)(void *, unsigned, uint64_t, void *, size_t);

static int checked_resume(void *context, const enum debug_action *actions, struct error *error)
{
    bool somebody_runs = false;

    require(!fake.is_running && fake.is_attached);
    for (unsigned i = 0; i < FAKE_VCPUS; i++)
        somebody_runs |= actions[i] != DEBUG_HOLD;
    require(somebody_runs);
    return fake_resume(context, actions, error);
}

static size_t checked_read(void *context, unsigned vcpu, uint64_t address, void *buffer, size_t size)
{
    require(!fake.is_running && fake.is_attached && vcpu < FAKE_VCPUS && size > 0);
    if (address - FAKE_MEMORY_BASE >= MEMORY_SIZE)
        return 0;
    const size_t left = MEMORY_SIZE - (size_t)(address - FAKE_MEMORY_BASE);
    return fake_read(context, vcpu, address, buffer, size < left ? size : left);
}

/* What is sent are whole packets and acknowledgements, no longer than we have said. */
static void check_output(const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const uint8_t *end = bytes[0] == '$' ? memchr(bytes, '#', size) : bytes;
        require(end != NULL && (end != bytes || bytes[0] == '+' || bytes[0] == '-'));
        require(end - bytes <= 1 + GDB_PACKET_SIZE);
        const size_t length = end == bytes ? 1 : (size_t)(end - bytes) + 3;
        require(length <= size);
        bytes += length;
        size -= length;
    }
}

static void take_output(size_t limit)
{
    size_t size;
    const uint8_t *bytes = gdb_protocol_output(protocol, &size);

    require(size <= GDB_WRITER_SIZE);
    if (!has_taken_a_part)
        check_output(bytes, size);
    has_taken_a_part = limit < size;
    gdb_protocol_sent(protocol, limit < size ? limit : size);
}

static void work(void)
{
    /* Guests' memory has an end, and so has each job. */
    for (unsigned i = 0; i < 100 && gdb_protocol_has_work(protocol); i++) {
        gdb_protocol_work(protocol);
        take_output(SIZE_MAX);
    }
    require(!gdb_protocol_has_work(protocol) || gdb_protocol_is_over(protocol));
}

static void come(void)
{
    has_taken_a_part = false;
    has_exited = false;
    gdb_protocol_connect(protocol);
    if (fake.is_running)
        fake_target_stop(&fake, DEBUG_STOP_INTERRUPTED, 0);
}

/* The client's end is one of three: the machine goes on, is ended, or has ended by itself. */
static void leave(void)
{
    const unsigned ends = fake.detaches + fake.kills;

    gdb_protocol_disconnect(protocol);
    require(!has_exited || fake.detaches + fake.kills == ends);
    require(fake.detaches + fake.kills <= 1 && (!fake.is_attached || fake.kills == 1));
    fake.detaches = 0;
    fake.kills = 0;
}

static void happen(uint8_t event)
{
    switch (event) {
    case 0xf0:
    case 0xf1:
    case 0xf2:
    case 0xf3:
    case 0xf4:
        if (fake.is_running && fake.is_attached)
            fake_target_stop(&fake, (enum debug_stop_reason)(event - 0xf0), event % FAKE_VCPUS);
        break;
    case 0xf5:
        leave();
        come();
        break;
    case 0xf6:
        fake.fails = !fake.fails;
        break;
    case 0xf7:
        reads_slowly = !reads_slowly;
        break;
    case 0xf8:
        gdb_protocol_exited(protocol, 1);
        require(gdb_protocol_is_over(protocol));
        has_exited = true;
        fake.is_attached = false;
        break;
    default:
        take_output(7);
        break;
    }
}

/* As the server: what is not taken is offered again, and is dropped here when the guest runs or the client sleeps. */
static void send_bytes(const uint8_t *data, size_t size)
{
    static uint8_t bytes[65536];
    size_t used = 0;

    if (size > sizeof(bytes))
        size = sizeof(bytes);
    memcpy(bytes, data, size);
    for (;;) {
        const size_t more = gdb_protocol_take(protocol, bytes + used, size - used, 0);
        require(more <= size - used);
        used += more;
        if (reads_slowly)
            break;
        take_output(SIZE_MAX);
        const bool has_worked = gdb_protocol_has_work(protocol);
        work();
        if (more == 0 && !has_worked)
            break;
    }
}

/* What is between line feeds, as packets. */
static void send_packets(const uint8_t *data, size_t size)
{
    static struct gdb_writer packet;

    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        const size_t length = end == NULL ? size - at : (size_t)(end - data) - at;
        gdb_writer_reset(&packet);
        gdb_put_begin(&packet);
        (void)gdb_put_binary(&packet, data + at, length);
        gdb_put_end(&packet);
        send_bytes(packet.bytes, packet.size);
        at += length + 1;
    }
}

static void begin(void)
{
    static const struct log log = {.level = LOG_LEVEL_ERROR, .fd = -1};
    struct error error;

    fake_target_init(&fake, true);
    fake.answer_size = ANSWER_SIZE;
    fake_resume = fake.target.resume;
    fake_read = fake.target.read;
    fake.target.resume = checked_resume;
    fake.target.read = checked_read;
    protocol = gdb_protocol_create(&fake.target, &log, &error);
    require(protocol != NULL);
    fake.target.stopped = stopped;
    fake.target.server = protocol;
    reads_slowly = false;
    come();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const bool has_packets = data[0] % 2 != 0;
    begin();
    for (size_t at = 1; at < size;) {
        size_t end = at;
        while (end < size && data[end] < EVENTS)
            end++;
        if (has_packets)
            send_packets(data + at, end - at);
        else
            send_bytes(data + at, end - at);
        if (end < size)
            happen(data[end++]);
        at = end;
    }
    leave();
    gdb_protocol_destroy(protocol);
    fake_target_fini(&fake);
    return 0;
}
