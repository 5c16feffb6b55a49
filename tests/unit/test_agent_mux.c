/* Sessions and jobs between clients and a guest that may do anything. */
#include "vmm/agent/mux.h"

#include "test_random.h"
#include "unit_test.h"
#include "vmm/agent/protocol.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct agent_mux *mux;
static struct log log_of_test = {.level = LOG_LEVEL_WARN};
static struct agent_decoder from_host;
static struct agent_decoder from_machine[AGENT_CLIENT_MAX];
static struct agent_frame frame;
static uint8_t wire[AGENT_WIRE_MAX];
static uint64_t session;

static void setup(void)
{
    log_of_test.fd = memfd_create("log", MFD_CLOEXEC);
    mux = agent_mux_create(42, &log_of_test);
    ck_assert_ptr_nonnull(mux);
}

static void teardown(void)
{
    agent_mux_destroy(mux);
    close(log_of_test.fd);
}

/* ---- Both ends ---- */

static size_t encode(uint8_t type, uint8_t stream, uint32_t id, const void *payload, size_t size)
{
    return agent_frame_encode(
        &(struct agent_frame){.type = type, .stream = stream, .id = id, .payload = payload, .size = size}, wire);
}

static void guest_says(uint8_t type, uint8_t stream, uint32_t id, const void *payload, size_t size)
{
    agent_mux_from_guest(mux, wire, encode(type, stream, id, payload, size));
}

static void guest_says_numbers(uint8_t type, uint8_t stream, uint32_t id, uint32_t first, uint32_t second, size_t size)
{
    uint8_t payload[8];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, first);
    agent_put_u32(&writer, second);
    guest_says(type, stream, id, payload, size);
}

static void guest_hello(uint32_t version, uint64_t number)
{
    uint8_t payload[12];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, version);
    agent_put_u64(&writer, number);
    guest_says(AGENT_HELLO, 0, 0, payload, writer.used);
}

static bool client_says(int client, uint8_t type, uint8_t stream, const void *payload, size_t size)
{
    const size_t len = encode(type, stream, 0, payload, size);

    return agent_mux_from_client(mux, client, wire, len) == len;
}

static bool client_credits(int client, uint8_t stream, uint32_t credit)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, credit);
    return client_says(client, AGENT_CREDIT, stream, payload, writer.used);
}

/* The next frame to the guest; 0: none. */
static uint8_t to_guest(void)
{
    size_t size, taken;
    const uint8_t *bytes = agent_mux_to_guest(mux, &size);

    while (size > 0) {
        const enum agent_decoded what = agent_decode(&from_host, bytes, size, &taken, &frame);
        agent_mux_sent_to_guest(mux, taken);
        if (what == AGENT_DECODED_FRAME)
            return frame.type;
        bytes = agent_mux_to_guest(mux, &size);
    }
    return 0;
}

static uint8_t to_client(int client)
{
    size_t size, taken;
    const uint8_t *bytes = agent_mux_to_client(mux, client, &size);

    while (size > 0) {
        const enum agent_decoded what = agent_decode(&from_machine[client], bytes, size, &taken, &frame);
        agent_mux_sent_to_client(mux, client, taken);
        if (what == AGENT_DECODED_FRAME)
            return frame.type;
        bytes = agent_mux_to_client(mux, client, &size);
    }
    return 0;
}

static void expect_fail(int client, enum agent_failure why, const char *word)
{
    ck_assert_int_eq(to_client(client), AGENT_FAIL);
    struct agent_reader reader = agent_reader_of(&frame);
    ck_assert_uint_eq(agent_get_u32(&reader), why);
    const char *text = agent_get_string(&reader);
    ck_assert_msg(strstr(text, word) != NULL, "%s", text);
    ck_assert(agent_mux_is_over(mux, client));
}

static void begin_session(void)
{
    agent_mux_set_open(mux, true);
    ck_assert_int_eq(to_guest(), AGENT_SYNC);
    struct agent_reader reader = agent_reader_of(&frame);
    ck_assert_uint_eq(agent_get_u32(&reader), AGENT_VERSION);
    session = agent_get_u64(&reader);
    guest_hello(AGENT_VERSION, session);
}

static int connect_client(void)
{
    const int client = agent_mux_connect(mux);

    ck_assert_int_ge(client, 0);
    from_machine[client] = (struct agent_decoder){0};
    return client;
}

/* Its job's number. */
static uint32_t begin_job(int client)
{
    ck_assert_int_eq(to_client(client), AGENT_HELLO);
    ck_assert(client_says(client, AGENT_EXEC, 0, "x", 1));
    ck_assert_int_eq(to_guest(), AGENT_EXEC);
    return frame.id;
}

/* ---- Sessions ---- */

START_TEST(a_session_begins_with_an_answer_to_the_number)
{
    const int client = connect_client();

    ck_assert_int_eq(to_guest(), 0);
    begin_session();
    ck_assert_int_eq(to_client(client), AGENT_HELLO);
    ck_assert(agent_mux_wants(mux, client));
}
END_TEST

START_TEST(other_numbers_and_what_comes_before_begin_none)
{
    const int client = connect_client();

    guest_hello(AGENT_VERSION, 0);
    ck_assert_int_eq(to_guest(), 0);
    agent_mux_set_open(mux, true);
    ck_assert_int_eq(to_guest(), AGENT_SYNC);
    agent_mux_from_guest(mux, (const uint8_t *)"login: \0\xff\0", 10);
    guest_hello(AGENT_VERSION, 12345);
    guest_says_numbers(AGENT_EXIT, 0, 0, 0, 0, 8);
    ck_assert_int_eq(to_client(client), 0);
    ck_assert(!agent_mux_wants(mux, client));
    ck_assert(!client_says(client, AGENT_EXEC, 0, "x", 1));
    /* An agent that has not heard is told once more. */
    guest_hello(AGENT_VERSION, 0);
    ck_assert_int_eq(to_guest(), AGENT_SYNC);
}
END_TEST

START_TEST(another_version_is_told_to_clients)
{
    const int client = connect_client();

    agent_mux_set_open(mux, true);
    ck_assert_int_eq(to_guest(), AGENT_SYNC);
    struct agent_reader reader = agent_reader_of(&frame);
    (void)agent_get_u32(&reader);
    guest_hello(AGENT_VERSION + 1, agent_get_u64(&reader));
    expect_fail(client, AGENT_FAILED_LOST, "version");
}
END_TEST

START_TEST(a_new_agent_ends_the_jobs_of_the_old_one)
{
    begin_session();
    const int client = connect_client();
    (void)begin_job(client);
    const int other = connect_client();
    ck_assert_int_eq(to_client(other), AGENT_HELLO);

    guest_hello(AGENT_VERSION, 0);
    expect_fail(client, AGENT_FAILED_LOST, "started again");
    ck_assert_int_eq(to_guest(), AGENT_SYNC);
    struct agent_reader reader = agent_reader_of(&frame);
    (void)agent_get_u32(&reader);
    const uint64_t next = agent_get_u64(&reader);
    ck_assert_uint_ne(next, session);
    guest_hello(AGENT_VERSION, session);
    ck_assert(!agent_mux_wants(mux, other));
    guest_hello(AGENT_VERSION, next);
    ck_assert_int_eq(to_client(other), AGENT_HELLO);
    ck_assert(agent_mux_wants(mux, other));
}
END_TEST

START_TEST(damage_and_a_closed_port_end_the_session)
{
    begin_session();
    int client = connect_client();
    (void)begin_job(client);
    agent_mux_from_guest(mux, (const uint8_t *)"\0kernel: hello\0", 15);
    expect_fail(client, AGENT_FAILED_LOST, "damaged");
    agent_mux_disconnect(mux, client);

    ck_assert_int_eq(to_guest(), AGENT_SYNC);
    struct agent_reader reader = agent_reader_of(&frame);
    (void)agent_get_u32(&reader);
    guest_hello(AGENT_VERSION, agent_get_u64(&reader));
    client = connect_client();
    (void)begin_job(client);
    agent_mux_set_open(mux, false);
    expect_fail(client, AGENT_FAILED_LOST, "ended");
    ck_assert_int_eq(to_guest(), 0);
}
END_TEST

/* ---- Jobs ---- */

START_TEST(a_job_goes_to_and_fro_under_its_own_number)
{
    begin_session();
    const int a = connect_client(), b = connect_client();
    const uint32_t job_a = begin_job(a), job_b = begin_job(b);

    ck_assert_uint_ne(job_a, job_b);
    guest_says_numbers(AGENT_STARTED, 0, job_b, 7, 0, 4);
    guest_says(AGENT_DATA, AGENT_STDOUT, job_b, "for b", 5);
    guest_says(AGENT_DATA, AGENT_STDERR, job_a, "for a", 5);
    ck_assert_int_eq(to_client(a), AGENT_DATA);
    ck_assert_int_eq(frame.stream, AGENT_STDERR);
    ck_assert_uint_eq(frame.id, 0);
    ck_assert_mem_eq(frame.payload, "for a", 5);
    ck_assert_int_eq(to_client(b), AGENT_STARTED);
    ck_assert_int_eq(to_client(b), AGENT_DATA);
    ck_assert_mem_eq(frame.payload, "for b", 5);
    ck_assert(client_says(b, AGENT_DATA, AGENT_STDIN, "in", 2));
    ck_assert_int_eq(to_guest(), AGENT_DATA);
    ck_assert_uint_eq(frame.id, job_b);
    guest_says_numbers(AGENT_EXIT, 0, job_b, AGENT_EXITED, 3, 8);
    ck_assert_int_eq(to_client(b), AGENT_EXIT);
    ck_assert(agent_mux_is_over(mux, b));
    ck_assert(!agent_mux_is_over(mux, a));
}
END_TEST

START_TEST(a_client_that_leaves_ends_its_job_and_nobody_gets_its_output)
{
    begin_session();
    const int client = connect_client();
    const uint32_t job = begin_job(client);

    agent_mux_disconnect(mux, client);
    ck_assert_int_eq(to_guest(), AGENT_CANCEL);
    ck_assert_uint_eq(frame.id, job);
    const int next = connect_client();
    ck_assert_int_eq(next, client);
    ck_assert_uint_ne(begin_job(next), job);
    guest_says(AGENT_DATA, AGENT_STDOUT, job, "old", 3);
    guest_says_numbers(AGENT_EXIT, 0, job, AGENT_EXITED, 0, 8);
    ck_assert_int_eq(to_client(next), 0);
    ck_assert(!agent_mux_is_over(mux, next));
}
END_TEST

START_TEST(there_are_so_many_clients_and_no_more)
{
    begin_session();
    for (unsigned i = 0; i < AGENT_CLIENT_MAX; i++)
        (void)begin_job(connect_client());
    ck_assert(!agent_mux_is_free(mux));
    ck_assert_int_eq(agent_mux_connect(mux), -1);
    agent_mux_disconnect(mux, 5);
    ck_assert(agent_mux_is_free(mux));
    ck_assert_int_eq(agent_mux_connect(mux), 5);
}
END_TEST

/* ---- What a guest may not ---- */

enum offence {
    TOO_MUCH_OUTPUT,
    OUTPUT_AFTER_ITS_END,
    DATA_OF_INPUT,
    EMPTY_DATA,
    LARGE_DATA,
    TWO_STARTS,
    TWO_ENDS,
    TOO_MUCH_CREDIT,
    CREDIT_FOR_OUTPUT,
    SHORT_EXIT,
    A_PONG,
    A_HOSTS_MESSAGE,
    OFFENCE_COUNT,
};

static void offend(enum offence offence, uint32_t job)
{
    static const uint8_t zeros[AGENT_DATA_MAX + 1];

    switch (offence) {
    case TOO_MUCH_OUTPUT:
        for (unsigned i = 0; i <= AGENT_WINDOW / (AGENT_DATA_MAX + AGENT_FRAME_COST); i++)
            guest_says(AGENT_DATA, AGENT_STDOUT, job, zeros, AGENT_DATA_MAX);
        break;
    case OUTPUT_AFTER_ITS_END:
        guest_says(AGENT_END, AGENT_STDOUT, job, NULL, 0);
        guest_says(AGENT_DATA, AGENT_STDOUT, job, "x", 1);
        break;
    case DATA_OF_INPUT:
        guest_says(AGENT_DATA, AGENT_STDIN, job, "x", 1);
        break;
    case EMPTY_DATA:
        guest_says(AGENT_DATA, AGENT_STDOUT, job, NULL, 0);
        break;
    case LARGE_DATA:
        guest_says(AGENT_DATA, AGENT_STDOUT, job, zeros, AGENT_DATA_MAX + 1);
        break;
    case TWO_STARTS:
        guest_says_numbers(AGENT_STARTED, 0, job, 1, 0, 4);
        guest_says_numbers(AGENT_STARTED, 0, job, 1, 0, 4);
        break;
    case TWO_ENDS:
        guest_says(AGENT_END, AGENT_STDERR, job, NULL, 0);
        guest_says(AGENT_END, AGENT_STDERR, job, NULL, 0);
        break;
    case TOO_MUCH_CREDIT:
        guest_says_numbers(AGENT_CREDIT, AGENT_STDIN, job, 1, 0, 4);
        break;
    case CREDIT_FOR_OUTPUT:
        guest_says_numbers(AGENT_CREDIT, AGENT_STDOUT, job, 0, 0, 4);
        break;
    case SHORT_EXIT:
        guest_says_numbers(AGENT_EXIT, 0, job, 0, 0, 4);
        break;
    case A_PONG:
        guest_says(AGENT_PONG, 0, job, NULL, 0);
        break;
    case A_HOSTS_MESSAGE:
    case OFFENCE_COUNT:
        guest_says(AGENT_EXEC, 0, job, "x", 1);
        break;
    }
}

START_TEST(a_guest_that_breaks_the_protocol_ends_its_session)
{
    begin_session();
    const int client = connect_client();
    const uint32_t job = begin_job(client);

    offend((enum offence)_i, job);
    uint8_t last = 0;
    for (uint8_t type; (type = to_client(client)) != 0;)
        last = type;
    ck_assert_int_eq(last, AGENT_FAIL);
    ck_assert(agent_mux_is_over(mux, client));
    ck_assert_int_eq(to_guest(), AGENT_SYNC);
}
END_TEST

START_TEST(a_window_that_is_given_back_can_be_used_again)
{
    static const uint8_t zeros[AGENT_DATA_MAX];
    const uint32_t cost = AGENT_DATA_MAX + AGENT_FRAME_COST;

    begin_session();
    const int client = connect_client();
    const uint32_t job = begin_job(client);
    for (unsigned i = 0; i < 1000; i++) {
        guest_says(AGENT_DATA, AGENT_STDOUT, job, zeros, AGENT_DATA_MAX);
        ck_assert_int_eq(to_client(client), AGENT_DATA);
        ck_assert(client_credits(client, AGENT_STDOUT, cost));
        ck_assert_int_eq(to_guest(), AGENT_CREDIT);
    }
    ck_assert(!agent_mux_is_over(mux, client));
}
END_TEST

/* The guest's frames may be of one byte each: the window's cost of a frame is what bounds them. */
START_TEST(a_client_that_does_not_read_has_a_bounded_queue)
{
    begin_session();
    const int client = connect_client();
    const uint32_t job = begin_job(client);
    size_t size;

    for (unsigned i = 0; i < AGENT_WINDOW / (AGENT_FRAME_COST + 1); i++) {
        guest_says(AGENT_DATA, AGENT_STDOUT, job, "x", 1);
        guest_says(AGENT_DATA, AGENT_STDERR, job, "x", 1);
        guest_says_numbers(AGENT_CREDIT, AGENT_STDIN, job, 0, 0, 4);
    }
    (void)agent_mux_to_client(mux, client, &size);
    ck_assert_uint_le(size, 2 * AGENT_WINDOW);
    ck_assert(!agent_mux_is_over(mux, client));
}
END_TEST

START_TEST(a_guest_that_does_not_read_has_a_bounded_queue)
{
    static const uint8_t zeros[AGENT_PAYLOAD_MAX];
    size_t size;

    begin_session();
    for (unsigned i = 0; i < AGENT_CLIENT_MAX; i++) {
        const int client = connect_client();
        while (agent_mux_wants(mux, client))
            if (!client_says(client, i % 2 ? AGENT_EXEC : AGENT_SIGNAL, 0, zeros, i % 2 ? AGENT_PAYLOAD_MAX : 4))
                break;
    }
    for (int i = 0; i < 1000; i++) {
        agent_mux_disconnect(mux, i % (int)AGENT_CLIENT_MAX);
        if (agent_mux_connect(mux) < 0)
            break;
    }
    (void)agent_mux_to_guest(mux, &size);
    ck_assert_uint_le(size, 2 * AGENT_WIRE_MAX + 4096);
}
END_TEST

/* Whatever comes: nothing is asked but that it ends, and a session can begin after it. */
START_TEST(noise_does_no_harm)
{
    uint64_t seed = test_random_seed();

    for (int round = 0; round < 200; round++) {
        agent_mux_set_open(mux, true);
        while (to_guest() != AGENT_SYNC)
            guest_hello(AGENT_VERSION, 0);
        struct agent_reader reader = agent_reader_of(&frame);
        (void)agent_get_u32(&reader);
        guest_hello(AGENT_VERSION, agent_get_u64(&reader));
        const int client = connect_client();
        const uint32_t job = begin_job(client);
        for (int i = 0; i < 50; i++) {
            uint8_t noise[300];
            for (size_t j = 0; j < sizeof(noise); j++)
                noise[j] = (uint8_t)test_random(&seed);
            if (i % 10 == 9)
                agent_mux_from_guest(mux, noise, test_random_below(&seed, sizeof(noise)));
            else
                guest_says((uint8_t)test_random_below(&seed, AGENT_POWER + 2), (uint8_t)test_random_below(&seed, 4),
                           job + (test_random_below(&seed, 8) == 0), noise, test_random_below(&seed, 16));
        }
        agent_mux_disconnect(mux, client);
        agent_mux_set_open(mux, false);
    }
    /* What a guest can have said in the log is bounded. */
    ck_assert_int_le(lseek(log_of_test.fd, 0, SEEK_END), 4096);
}
END_TEST

/* ---- What a client may not ---- */

START_TEST(a_client_that_breaks_the_protocol_ends_alone)
{
    static const uint8_t zeros[AGENT_DATA_MAX + 1];

    begin_session();
    const int other = connect_client();
    (void)begin_job(other);
    for (int i = 0; i < 6; i++) {
        const int client = connect_client();
        const uint32_t job = begin_job(client);
        switch (i) {
        case 0:
            ck_assert(client_says(client, AGENT_EXEC, 0, "x", 1));
            break;
        case 1:
            ck_assert(client_says(client, AGENT_DATA, AGENT_STDOUT, "x", 1));
            break;
        case 2:
            ck_assert(client_says(client, AGENT_DATA, AGENT_STDIN, zeros, AGENT_DATA_MAX + 1));
            break;
        case 3:
            ck_assert(client_credits(client, AGENT_STDOUT, 1));
            break;
        case 4:
            for (unsigned j = 0; j <= AGENT_WINDOW / (AGENT_DATA_MAX + AGENT_FRAME_COST); j++) {
                (void)client_says(client, AGENT_DATA, AGENT_STDIN, zeros, AGENT_DATA_MAX);
                if (!agent_mux_is_over(mux, client))
                    ck_assert_int_eq(to_guest(), AGENT_DATA);
            }
            break;
        default:
            ck_assert_uint_eq(agent_mux_from_client(mux, client, (const uint8_t *)"\0xyz\0", 5), 5);
        }
        ck_assert_int_eq(to_guest(), AGENT_CANCEL);
        ck_assert_uint_eq(frame.id, job);
        expect_fail(client, AGENT_FAILED_PROTOCOL, "protocol");
        ck_assert(!agent_mux_wants(mux, client));
        agent_mux_disconnect(mux, client);
    }
    ck_assert(!agent_mux_is_over(mux, other));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("agent_mux");
    TCase *cases = tcase_create("mux");

    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
    tcase_add_test(cases, a_session_begins_with_an_answer_to_the_number);
    tcase_add_test(cases, other_numbers_and_what_comes_before_begin_none);
    tcase_add_test(cases, another_version_is_told_to_clients);
    tcase_add_test(cases, a_new_agent_ends_the_jobs_of_the_old_one);
    tcase_add_test(cases, damage_and_a_closed_port_end_the_session);
    tcase_add_test(cases, a_job_goes_to_and_fro_under_its_own_number);
    tcase_add_test(cases, a_client_that_leaves_ends_its_job_and_nobody_gets_its_output);
    tcase_add_test(cases, there_are_so_many_clients_and_no_more);
    tcase_add_loop_test(cases, a_guest_that_breaks_the_protocol_ends_its_session, 0, OFFENCE_COUNT);
    tcase_add_test(cases, a_window_that_is_given_back_can_be_used_again);
    tcase_add_test(cases, a_client_that_does_not_read_has_a_bounded_queue);
    tcase_add_test(cases, a_guest_that_does_not_read_has_a_bounded_queue);
    tcase_add_test(cases, noise_does_no_harm);
    tcase_add_test(cases, a_client_that_breaks_the_protocol_ends_alone);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
