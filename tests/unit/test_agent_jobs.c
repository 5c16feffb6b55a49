/*
 * Jobs from a client to the guest's agent and back: the client on this thread, the server in a loop of another, and the
 * agent itself in a process, at the other end of a socket in the port's place.
 */
#include "vmm/agent/agent_server.h"
#include "vmm/agent/client.h"
#include "vmm/agent/guest/guest.h"
#include "vmm/agent/mux.h"

#include "unit_test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MILLISECONDS = 300000 };

static struct event_loop *loop;
static struct agent_server *server;
static struct log log_of_test = {.level = LOG_LEVEL_ERROR, .fd = STDERR_FILENO};
static struct error error;
static pthread_t thread;
static char folder[64];
static char address[128];
/* The host's end of the port, and the agent. */
static int port;
static pid_t agent;
static int stop_fd;

/* ---- The port ---- */

static size_t port_receive(void *context, const uint8_t *bytes, size_t len)
{
    const ssize_t sent = send(port, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    (void)context;
    if (sent < (ssize_t)len)
        event_loop_modify(loop, port, EPOLLIN | EPOLLOUT);
    return sent < 0 ? 0 : (size_t)sent;
}

/* What has come out of the socket, and the server has not taken. */
static uint8_t pending[4096];
static size_t pending_used;

static void port_writable(void *context)
{
    const size_t taken = agent_server_write(server, pending, pending_used);

    (void)context;
    pending_used -= taken;
    memmove(pending, pending + taken, pending_used);
    event_loop_modify(loop, port, EPOLLIN);
}

static void on_port(void *context, uint32_t events)
{
    if (events & EPOLLOUT) {
        event_loop_modify(loop, port, EPOLLIN);
        agent_server_input_room(server);
    }
    if (pending_used > 0)
        return;
    const ssize_t got = recv(port, pending, sizeof(pending), MSG_DONTWAIT);
    if (got == 0) {
        event_loop_remove(loop, port);
        agent_server_opened(server, false);
    }
    pending_used = got > 0 ? (size_t)got : 0;
    port_writable(context);
}

static void on_stop(void *context, uint32_t events)
{
    (void)context;
    (void)events;
    event_loop_stop(loop);
}

static void *run_loop(void *context)
{
    (void)context;
    (void)event_loop_run(loop, &error);
    return NULL;
}

static void start_agent(const int ends[2])
{
    agent = fork();
    if (agent != 0)
        return;
    close(ends[0]);
    (void)fcntl(ends[1], F_SETFL, O_NONBLOCK);
    signal(SIGPIPE, SIG_DFL);
    serve(ends[1]);
    _exit(0);
}

static void setup(void)
{
    const struct agent_port way = {.receive = port_receive, .writable = port_writable};
    int ends[2];

    strcpy(folder, "/tmp/quire-test-agent-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(address, sizeof(address), "unix:%s/s", folder);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    start_agent(ends);
    close(ends[1]);
    port = ends[0];
    loop = event_loop_create(&error);
    server = agent_server_create(address, loop, &log_of_test, &error);
    ck_assert_msg(server != NULL, "%s", error.text);
    ck_assert_int_eq(agent_server_attach(server, &way, true, &error), 0);
    ck_assert_int_eq(event_loop_add(loop, port, EPOLLIN, on_port, NULL, &error), 0);
    stop_fd = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(event_loop_add(loop, stop_fd, EPOLLIN, on_stop, NULL, &error), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
}

static void teardown(void)
{
    const uint64_t one = 1;

    ck_assert_int_eq(write(stop_fd, &one, sizeof(one)), sizeof(one));
    pthread_join(thread, NULL);
    kill(agent, SIGKILL);
    waitpid(agent, NULL, 0);
    agent_server_destroy(server);
    event_loop_destroy(loop);
    close(port);
    close(stop_fd);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* ---- Jobs ---- */

struct job_of_test {
    struct agent_client *client;
    size_t sizes[AGENT_STREAM_COUNT];
    char texts[AGENT_STREAM_COUNT][4096];
    /* Of all the bytes. */
    uint32_t sums[AGENT_STREAM_COUNT];
    bool holds_back;
};

static void on_output(void *context, enum agent_stream stream, const uint8_t *bytes, size_t len)
{
    struct job_of_test *job = context;

    for (size_t i = 0; i < len; i++) {
        if (job->sizes[stream] < sizeof(job->texts[stream]) - 1)
            job->texts[stream][job->sizes[stream]] = (char)bytes[i];
        job->sums[stream] = job->sums[stream] * 31 + bytes[i];
        job->sizes[stream]++;
    }
    if (!job->holds_back)
        agent_client_passed_on(job->client, stream, len);
}

static struct agent_client *connect_job(struct job_of_test *job)
{
    const struct agent_client_handlers handlers = {.output = on_output, .context = job};

    /* Many at once may have to wait until some have been taken in. */
    while ((job->client = agent_client_connect(address, &handlers, &error)) == NULL && errno == EAGAIN)
        (void)poll(NULL, 0, 1);
    ck_assert_msg(job->client != NULL, "%s", error.text);
    return job->client;
}

static void begin(struct job_of_test *job, const char *script)
{
    struct agent_exec exec = {.cwd = "", .argc = 3, .argv = {"sh", "-c", script}};

    *job = (struct job_of_test){0};
    ck_assert_int_eq(agent_client_exec(connect_job(job), &exec, &error), 0);
}

static void begin_on_terminal(struct job_of_test *job, const char *script)
{
    struct agent_exec exec = {
        .flags = AGENT_EXEC_TTY, .rows = 30, .columns = 90, .cwd = "", .argc = 3, .argv = {"sh", "-c", script}};

    *job = (struct job_of_test){0};
    ck_assert_int_eq(agent_client_exec(connect_job(job), &exec, &error), 0);
}

static void wait_until(struct job_of_test *job, enum agent_client_state state)
{
    const int64_t until = now_milliseconds() + PATIENCE_MILLISECONDS;

    while (now_milliseconds() < until && agent_client_state(job->client) < state)
        agent_client_wait(job->client, 100);
    ck_assert_int_ge(agent_client_state(job->client), state);
}

static void wait_for_text(struct job_of_test *job, const char *text)
{
    const int64_t until = now_milliseconds() + PATIENCE_MILLISECONDS;

    while (now_milliseconds() < until && strstr(job->texts[AGENT_STDOUT], text) == NULL)
        agent_client_wait(job->client, 100);
    ck_assert_ptr_nonnull(strstr(job->texts[AGENT_STDOUT], text));
}

static const struct agent_outcome *end(struct job_of_test *job)
{
    wait_until(job, AGENT_CLIENT_OVER);
    return agent_client_outcome(job->client);
}

static void expect_status(struct job_of_test *job, unsigned status)
{
    const struct agent_outcome *outcome = end(job);

    ck_assert_msg(outcome->kind == AGENT_OUTCOME_EXITED, "kind %d: %s", (int)outcome->kind, outcome->text);
    ck_assert_uint_eq(outcome->status, status);
    agent_client_destroy(job->client);
}

static struct job_of_test jobs[AGENT_CLIENT_MAX + 4];

START_TEST(a_commands_streams_and_status_come_back)
{
    begin(&jobs[0], "echo out; echo err >&2; exit 7");
    expect_status(&jobs[0], 7);
    ck_assert_str_eq(jobs[0].texts[AGENT_STDOUT], "out\n");
    ck_assert_str_eq(jobs[0].texts[AGENT_STDERR], "err\n");
}
END_TEST

START_TEST(a_signal_that_ends_it_is_told)
{
    begin(&jobs[0], "kill -TERM $$");
    const struct agent_outcome *outcome = end(&jobs[0]);
    ck_assert_int_eq(outcome->kind, AGENT_OUTCOME_SIGNALLED);
    ck_assert_uint_eq(outcome->status, SIGTERM);
    agent_client_destroy(jobs[0].client);
}
END_TEST

START_TEST(what_is_not_there_or_may_not_run_is_told_apart)
{
    static const struct {
        const char *command;
        enum agent_failure failure;
    } cases[] = {{"no-such-command", AGENT_FAILED_NOT_FOUND}, {"/etc/passwd", AGENT_FAILED_NOT_EXECUTABLE}};

    for (size_t i = 0; i < 2; i++) {
        struct agent_exec exec = {.cwd = "", .argc = 1, .argv = {cases[i].command}};
        jobs[0] = (struct job_of_test){0};
        ck_assert_int_eq(agent_client_exec(connect_job(&jobs[0]), &exec, &error), 0);
        const struct agent_outcome *outcome = end(&jobs[0]);
        ck_assert_int_eq(outcome->kind, AGENT_OUTCOME_FAILED);
        ck_assert_int_eq(outcome->failure, cases[i].failure);
        agent_client_destroy(jobs[0].client);
    }
}
END_TEST

START_TEST(directory_and_environment_are_as_asked_for)
{
    struct agent_exec exec = {
        .cwd = "/usr", .argc = 3, .argv = {"sh", "-c", "pwd; echo $A-$B"}, .env_count = 2, .env = {"A=a", "B=b c"}};

    ck_assert_int_eq(agent_client_exec(connect_job(&jobs[0]), &exec, &error), 0);
    expect_status(&jobs[0], 0);
    ck_assert_str_eq(jobs[0].texts[AGENT_STDOUT], "/usr\na-b c\n");
}
END_TEST

/* What cat gives back is what went in, and neither side keeps more than its windows. */
START_TEST(megabytes_go_in_and_come_out_whole)
{
    enum { SIZE = 10 << 20 };
    uint32_t sum = 0;
    size_t sent = 0;

    begin(&jobs[0], "cat");
    while (agent_client_state(jobs[0].client) != AGENT_CLIENT_OVER) {
        uint8_t piece[AGENT_DATA_MAX];
        const size_t room = agent_client_room(jobs[0].client);
        size_t size = SIZE - sent < room ? SIZE - sent : room;
        for (size_t i = 0; i < size; i++) {
            piece[i] = (uint8_t)((sent + i) * 7 >> 3);
            sum = sum * 31 + piece[i];
        }
        ck_assert_uint_eq(agent_client_write(jobs[0].client, piece, size), size);
        sent += size;
        if (sent == SIZE)
            agent_client_end_input(jobs[0].client);
        agent_client_wait(jobs[0].client, size > 0 ? 0 : 100);
    }
    expect_status(&jobs[0], 0);
    ck_assert_uint_eq(jobs[0].sizes[AGENT_STDOUT], SIZE);
    ck_assert_uint_eq(jobs[0].sums[AGENT_STDOUT], sum);
}
END_TEST

START_TEST(output_that_nobody_passes_on_stops_at_the_window)
{
    begin(&jobs[0], "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2");
    jobs[0].holds_back = true;
    wait_until(&jobs[0], AGENT_CLIENT_RUNNING);
    for (int i = 0; i < 5; i++)
        agent_client_wait(jobs[0].client, 100);
    ck_assert_uint_le(jobs[0].sizes[AGENT_STDOUT], AGENT_WINDOW);
    ck_assert_int_eq(agent_client_state(jobs[0].client), AGENT_CLIENT_RUNNING);
    /* Others are not held up. */
    begin(&jobs[1], "echo other");
    expect_status(&jobs[1], 0);
    jobs[0].holds_back = false;
    agent_client_passed_on(jobs[0].client, AGENT_STDOUT, jobs[0].sizes[AGENT_STDOUT]);
    expect_status(&jobs[0], 0);
    ck_assert_uint_eq(jobs[0].sizes[AGENT_STDOUT], 1000000);
    ck_assert_uint_eq(jobs[0].sizes[AGENT_STDERR], 1000000);
}
END_TEST

START_TEST(input_that_nobody_reads_stops_at_the_window)
{
    static const uint8_t zeros[AGENT_DATA_MAX];
    size_t sent = 0;

    begin(&jobs[0], "exec sleep 1000");
    for (int idle = 0; idle < 5;) {
        const size_t taken = agent_client_write(jobs[0].client, zeros, sizeof(zeros));
        sent += taken;
        idle = taken > 0 ? 0 : idle + 1;
        agent_client_wait(jobs[0].client, taken > 0 ? 0 : 100);
    }
    /* The window, a pipe, and what the shell has read. */
    ck_assert_uint_le(sent, 2 * AGENT_WINDOW + (256 << 10));
    begin(&jobs[1], "echo other");
    expect_status(&jobs[1], 0);
    agent_client_destroy(jobs[0].client);
}
END_TEST

START_TEST(a_signal_goes_to_the_command)
{
    begin(&jobs[0], "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done");
    wait_for_text(&jobs[0], "ready");
    agent_client_signal(jobs[0].client, SIGINT);
    expect_status(&jobs[0], 5);
    ck_assert_str_eq(jobs[0].texts[AGENT_STDOUT], "ready\ncaught\n");
}
END_TEST

START_TEST(a_command_on_a_terminal_has_one)
{
    begin_on_terminal(&jobs[0], "test -t 0 && test -t 2 && stty size; trap 'stty size; exit 3' WINCH; echo ready; "
                                "while :; do sleep 0.1; done");
    wait_for_text(&jobs[0], "ready");
    agent_client_resize(jobs[0].client, 40, 120);
    expect_status(&jobs[0], 3);
    ck_assert_str_eq(jobs[0].texts[AGENT_STDOUT], "30 90\r\nready\r\n40 120\r\n");
}
END_TEST

START_TEST(keys_and_their_end_work_on_a_terminal)
{
    begin_on_terminal(&jobs[0], "stty -echo; echo ready; cat; echo end; sleep 1000");
    wait_for_text(&jobs[0], "ready");
    ck_assert_uint_eq(agent_client_write(jobs[0].client, (const uint8_t *)"typed\n", 6), 6);
    wait_for_text(&jobs[0], "typed");
    agent_client_end_input(jobs[0].client);
    wait_for_text(&jobs[0], "end");
    agent_client_destroy(jobs[0].client);

    begin_on_terminal(&jobs[0], "echo ready; sleep 1000");
    wait_for_text(&jobs[0], "ready");
    /* Some shells lose one that comes while they start a command. */
    for (int i = 0; i < 50 && agent_client_state(jobs[0].client) != AGENT_CLIENT_OVER; i++) {
        ck_assert_uint_eq(agent_client_write(jobs[0].client, (const uint8_t *)"\3", 1), 1);
        for (int j = 0; j < 10; j++)
            agent_client_wait(jobs[0].client, 10);
    }
    const struct agent_outcome *outcome = end(&jobs[0]);
    ck_assert_int_eq(outcome->kind, AGENT_OUTCOME_SIGNALLED);
    ck_assert_uint_eq(outcome->status, SIGINT);
    agent_client_destroy(jobs[0].client);
}
END_TEST

START_TEST(what_goes_on_behind_the_command_does_not_hold_it_up)
{
    begin(&jobs[0], "sleep 1000 & echo $!");
    expect_status(&jobs[0], 0);
    kill(atoi(jobs[0].texts[AGENT_STDOUT]), SIGKILL);
}
END_TEST

START_TEST(whoever_leaves_ends_the_command)
{
    pid_t pid;

    begin(&jobs[0], "trap '' HUP; echo $$; while :; do sleep 0.1; done");
    wait_for_text(&jobs[0], "\n");
    pid = atoi(jobs[0].texts[AGENT_STDOUT]);
    ck_assert_int_eq(kill(pid, 0), 0);
    agent_client_destroy(jobs[0].client);
    for (int i = 0; i < 3000 && kill(pid, 0) == 0; i++)
        usleep(100000);
    ck_assert_int_lt(kill(pid, 0), 0);
}
END_TEST

START_TEST(many_at_once_and_more_than_there_is_room_for)
{
    const size_t count = AGENT_CLIENT_MAX + 4;

    for (size_t i = 0; i < count; i++) {
        char script[64];
        snprintf(script, sizeof(script), "sleep 0.2; echo job %zu; exit %zu", i, i);
        begin(&jobs[i], script);
    }
    for (size_t i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof(text), "job %zu\n", i);
        expect_status(&jobs[i], (unsigned)i);
        ck_assert_str_eq(jobs[i].texts[AGENT_STDOUT], text);
    }
}
END_TEST

START_TEST(files_go_there_and_back)
{
    char path[128];
    struct stat status;

    snprintf(path, sizeof(path), "%s/file", folder);
    const struct agent_file file = {.mode = 0750, .path = path};
    ck_assert_int_eq(agent_client_put(connect_job(&jobs[0]), &file, &error), 0);
    ck_assert_uint_eq(agent_client_write(jobs[0].client, (const uint8_t *)"content", 7), 7);
    wait_until(&jobs[0], AGENT_CLIENT_RUNNING);
    ck_assert_int_lt(stat(path, &status), 0); /* it is not whole */
    agent_client_end_input(jobs[0].client);
    expect_status(&jobs[0], 0);
    ck_assert_int_eq(stat(path, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0750);

    jobs[1] = (struct job_of_test){0};
    ck_assert_int_eq(agent_client_get(connect_job(&jobs[1]), path, &error), 0);
    expect_status(&jobs[1], 0);
    ck_assert_str_eq(jobs[1].texts[AGENT_STDOUT], "content");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(agent_client_get(connect_job(&jobs[2]), path, &error), 0);
    expect_status(&jobs[2], 1);
    ck_assert_ptr_nonnull(strstr(jobs[2].texts[AGENT_STDERR], "No such file"));
}
END_TEST

/* In the folder: one is the socket. */
static unsigned count_files(void)
{
    DIR *files = opendir(folder);
    unsigned count = 0;

    ck_assert_ptr_nonnull(files);
    for (const struct dirent *entry; (entry = readdir(files)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(files);
    return count;
}

START_TEST(a_put_that_is_given_up_leaves_nothing)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/file", folder);
    const struct agent_file file = {.mode = 0644, .path = path};
    ck_assert_int_eq(agent_client_put(connect_job(&jobs[0]), &file, &error), 0);
    ck_assert_uint_eq(agent_client_write(jobs[0].client, (const uint8_t *)"content", 7), 7);
    wait_until(&jobs[0], AGENT_CLIENT_RUNNING);
    for (int i = 0; i < 3000 && count_files() < 2; i++)
        usleep(100000);
    ck_assert_uint_eq(count_files(), 2);
    agent_client_destroy(jobs[0].client);
    for (int i = 0; i < 3000 && count_files() > 1; i++)
        usleep(100000);
    ck_assert_uint_eq(count_files(), 1);
}
END_TEST

START_TEST(a_put_whose_agent_dies_leaves_nothing)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/file", folder);
    const struct agent_file file = {.mode = 0644, .path = path};
    ck_assert_int_eq(agent_client_put(connect_job(&jobs[0]), &file, &error), 0);
    ck_assert_uint_eq(agent_client_write(jobs[0].client, (const uint8_t *)"content", 7), 7);
    wait_until(&jobs[0], AGENT_CLIENT_RUNNING);
    for (int i = 0; i < 3000 && count_files() < 2; i++)
        usleep(100000);
    kill(agent, SIGKILL);
    ck_assert_int_eq(end(&jobs[0])->kind, AGENT_OUTCOME_LOST);
    for (int i = 0; i < 3000 && count_files() > 1; i++)
        usleep(100000);
    ck_assert_uint_eq(count_files(), 1);
    ck_assert_int_lt(access(path, F_OK), 0);
    agent_client_destroy(jobs[0].client);
}
END_TEST

START_TEST(an_agent_that_dies_is_told_of)
{
    begin(&jobs[0], "echo ready; exec sleep 1000");
    wait_for_text(&jobs[0], "ready");
    kill(agent, SIGKILL);
    const struct agent_outcome *outcome = end(&jobs[0]);
    ck_assert_int_eq(outcome->kind, AGENT_OUTCOME_LOST);
    ck_assert_ptr_nonnull(strstr(outcome->text, "ended"));
    agent_client_destroy(jobs[0].client);
}
END_TEST

START_TEST(a_machine_that_starts_again_is_told_of)
{
    begin(&jobs[0], "echo ready; exec sleep 1000");
    wait_for_text(&jobs[0], "ready");
    const uint64_t one = 1;
    ck_assert_int_eq(write(stop_fd, &one, sizeof(one)), sizeof(one));
    pthread_join(thread, NULL);
    agent_server_restarted(server);
    const struct agent_outcome *outcome = end(&jobs[0]);
    ck_assert_int_eq(outcome->kind, AGENT_OUTCOME_LOST);
    ck_assert_ptr_nonnull(strstr(outcome->text, "started again"));
    agent_client_destroy(jobs[0].client);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_loop, NULL), 0);
}
END_TEST

START_TEST(the_socket_is_this_users_alone_and_a_missing_one_is_named)
{
    struct stat status;
    const struct agent_client_handlers handlers = {.output = on_output};

    ck_assert_int_eq(stat(address + 5, &status), 0);
    ck_assert_uint_eq(status.st_mode & 0777, 0600);
    ck_assert_ptr_null(agent_client_connect("unix:/nowhere/s", &handlers, &error));
    ck_assert_int_eq(error.kind, ERROR_HOST);
    ck_assert_ptr_nonnull(strstr(error.text, "unix:/nowhere/s"));
    errno = EAGAIN;
    ck_assert_ptr_null(agent_client_connect("tcp:1", &handlers, &error));
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("agent_jobs");
    TCase *cases = tcase_create("jobs");
    TCase *terminals = tcase_create("terminals");

    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_set_timeout(cases, 120);
    tcase_add_checked_fixture(terminals, setup, teardown);
    tcase_set_timeout(terminals, 120);
    tcase_add_test(cases, a_commands_streams_and_status_come_back);
    tcase_add_test(cases, a_signal_that_ends_it_is_told);
    tcase_add_test(cases, what_is_not_there_or_may_not_run_is_told_apart);
    tcase_add_test(cases, directory_and_environment_are_as_asked_for);
    tcase_add_test(cases, megabytes_go_in_and_come_out_whole);
    tcase_add_test(cases, output_that_nobody_passes_on_stops_at_the_window);
    tcase_add_test(cases, input_that_nobody_reads_stops_at_the_window);
    tcase_add_test(cases, a_signal_goes_to_the_command);
    tcase_add_test(terminals, a_command_on_a_terminal_has_one);
    tcase_add_test(terminals, keys_and_their_end_work_on_a_terminal);
    tcase_add_test(cases, what_goes_on_behind_the_command_does_not_hold_it_up);
    tcase_add_test(cases, whoever_leaves_ends_the_command);
    tcase_add_test(cases, many_at_once_and_more_than_there_is_room_for);
    tcase_add_test(cases, files_go_there_and_back);
    tcase_add_test(cases, a_put_that_is_given_up_leaves_nothing);
    tcase_add_test(cases, a_put_whose_agent_dies_leaves_nothing);
    tcase_add_test(cases, an_agent_that_dies_is_told_of);
    tcase_add_test(cases, a_machine_that_starts_again_is_told_of);
    tcase_add_test(cases, the_socket_is_this_users_alone_and_a_missing_one_is_named);
    suite_add_tcase(suite, cases);
    suite_add_tcase(suite, terminals);
    return unit_test_run(suite);
}
