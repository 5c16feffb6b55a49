/* A client whose machine says anything: the test is at the other end of the socket. */
#include "vmm/agent/client.h"

#include "devices/host/unix_socket.h"

#include "scratch_folder.h"
#include "unit_test.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct error error;
static struct agent_client *client;
static char address[128];
static int listener;
/* The machine's end of the connection. */
static int machine;
/* Of both streams, and not passed on. */
static size_t kept;

static void on_output(void *context, enum agent_stream stream, const uint8_t *bytes, size_t len)
{
    (void)context;
    (void)stream;
    (void)bytes;
    kept += len;
}

static void setup(void)
{
    const struct agent_client_handlers handlers = {.output = on_output};

    scratch_folder_make();
    (void)snprintf(address, sizeof(address), "unix:%s/s", scratch_folder);
    listener = unix_socket_listen(address, "the machine's socket", 1, &error);
    ck_assert_int_ge(listener, 0);
    client = agent_client_connect(address, &handlers, &error);
    ck_assert_msg(client != NULL, "%s", error.text);
    machine = accept(listener, NULL, NULL);
    ck_assert_int_ge(machine, 0);
    kept = 0;
}

static void teardown(void)
{
    agent_client_destroy(client);
    close(machine);
    close(listener);
    scratch_folder_remove();
}

static void machine_says(uint8_t type, uint8_t stream, const void *payload, size_t size)
{
    static uint8_t wire[AGENT_WIRE_MAX];
    const struct agent_frame frame = {.type = type, .stream = stream, .payload = payload, .size = size};
    const size_t length = agent_frame_encode(&frame, wire);

    ck_assert_int_eq(send(machine, wire, length, MSG_NOSIGNAL), (ssize_t)length);
    /* A call takes as much as its buffer holds. */
    for (int i = 0; i < 4; i++)
        agent_client_serve(client);
}

static void machine_says_number(uint8_t type, uint8_t stream, uint32_t number)
{
    uint8_t payload[4];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, number);
    machine_says(type, stream, payload, writer.used);
}

static void begin_job(void)
{
    const struct agent_exec exec = {.cwd = "", .argc = 1, .argv = {"true"}};

    machine_says_number(AGENT_HELLO, 0, AGENT_VERSION);
    ck_assert_int_eq(agent_client_state(client), AGENT_CLIENT_READY);
    ck_assert_int_eq(agent_client_exec(client, &exec, &error), 0);
    machine_says_number(AGENT_STARTED, 0, 1);
    ck_assert_int_eq(agent_client_state(client), AGENT_CLIENT_RUNNING);
}

static void expect_lost(const char *words)
{
    ck_assert_int_eq(agent_client_state(client), AGENT_CLIENT_OVER);
    const struct agent_outcome *outcome = agent_client_outcome(client);
    ck_assert_int_eq(outcome->kind, AGENT_OUTCOME_LOST);
    ck_assert_msg(strstr(outcome->text, words) != NULL, "%s", outcome->text);
}

/* Whoever keeps what has come needs room for a window and no more. */
START_TEST(output_beyond_the_window_ends_it)
{
    static const uint8_t zeros[AGENT_DATA_MAX];
    const size_t size = _i == 0 ? AGENT_DATA_MAX : 16;

    begin_job();
    /* What frames cost beside their bytes comes back by itself. */
    for (size_t said = 0; said <= AGENT_WINDOW && agent_client_state(client) == AGENT_CLIENT_RUNNING; said += size)
        machine_says(AGENT_DATA, AGENT_STDOUT, zeros, size);
    expect_lost("does not keep to the protocol");
    ck_assert_uint_gt(kept, AGENT_WINDOW / 2);
    ck_assert_uint_le(kept, AGENT_WINDOW);
}
END_TEST

START_TEST(output_of_the_input_ends_it)
{
    begin_job();
    machine_says(AGENT_DATA, AGENT_STDIN, "x", 1);
    expect_lost("does not keep to the protocol");
    ck_assert_uint_eq(kept, 0);
}
END_TEST

START_TEST(credit_beyond_the_window_ends_it)
{
    static const uint8_t zeros[AGENT_DATA_MAX];

    begin_job();
    const size_t taken = agent_client_write(client, zeros, 100);
    ck_assert_uint_eq(taken, 100);
    machine_says_number(AGENT_CREDIT, AGENT_STDIN, 100 + AGENT_FRAME_COST);
    ck_assert_int_eq(agent_client_state(client), AGENT_CLIENT_RUNNING);
    machine_says_number(AGENT_CREDIT, AGENT_STDIN, 1);
    expect_lost("does not keep to the protocol");
}
END_TEST

START_TEST(another_version_ends_it)
{
    machine_says_number(AGENT_HELLO, 0, AGENT_VERSION + 1);
    expect_lost("is it a quire of this version?");
}
END_TEST

START_TEST(a_guests_words_are_fit_for_a_terminal)
{
    uint8_t payload[512];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};
    char words[400];

    memset(words, 'w', sizeof(words));
    memcpy(words, "\x1b[2J\r\n\x9b\x7f no", 11);
    words[sizeof(words) - 1] = '\0';
    begin_job();
    agent_fail_encode(&writer, AGENT_FAILED_NOT_FOUND, words);
    machine_says(AGENT_FAIL, 0, payload, writer.used);
    ck_assert_int_eq(agent_client_state(client), AGENT_CLIENT_OVER);
    const struct agent_outcome *outcome = agent_client_outcome(client);
    ck_assert_int_eq(outcome->kind, AGENT_OUTCOME_FAILED);
    ck_assert_int_eq(outcome->failure, AGENT_FAILED_NOT_FOUND);
    ck_assert_int_eq(strncmp(outcome->text, "?[2J???? now", 12), 0);
    ck_assert_uint_eq(strlen(outcome->text), sizeof(outcome->text) - 1);
}
END_TEST

START_TEST(a_machine_that_hangs_up_has_ended)
{
    begin_job();
    ck_assert_int_eq(shutdown(machine, SHUT_RDWR), 0);
    agent_client_serve(client);
    expect_lost("the machine has ended");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("agent_client");
    TCase *cases = tcase_create("client");

    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_loop_test(cases, output_beyond_the_window_ends_it, 0, 2);
    tcase_add_test(cases, output_of_the_input_ends_it);
    tcase_add_test(cases, credit_beyond_the_window_ends_it);
    tcase_add_test(cases, another_version_ends_it);
    tcase_add_test(cases, a_guests_words_are_fit_for_a_terminal);
    tcase_add_test(cases, a_machine_that_hangs_up_has_ended);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
