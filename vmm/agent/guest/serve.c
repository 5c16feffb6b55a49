#include "vmm/agent/guest/guest.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    OUT_SIZE = 64 << 10,
    IN_SIZE = 64 << 10,
    /* Where nobody is at the other end, it is asked again so often. */
    NOBODY_MILLISECONDS = 100,
    HELLO_FIRST_MILLISECONDS = 1000,
    HELLO_MOST_MILLISECONDS = 30000,
};

struct agent {
    int port;
    int signal_fd;
    /* 0: no session */
    uint64_t session;
    int64_t hello_at;
    int64_t hello_pause;
    struct agent_queue out;
    struct agent_decoder decoder;
    struct job jobs[JOB_MAX];
    uint8_t out_bytes[OUT_SIZE];
};

int64_t now_milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- Sessions ---- */

static void send_hello(struct agent *agent)
{
    uint8_t payload[12];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, AGENT_VERSION);
    agent_put_u64(&writer, agent->session);
    (void)agent_queue_add_frame(&agent->out,
                                &(struct agent_frame){.type = AGENT_HELLO, .payload = payload, .size = writer.used});
}

static void end_session(struct agent *agent)
{
    agent->session = 0;
    agent->hello_pause = HELLO_FIRST_MILLISECONDS;
    agent->hello_at = now_milliseconds();
    for (size_t i = 0; i < JOB_MAX; i++)
        if (agent->jobs[i].is_used)
            job_cancel(&agent->jobs[i], now_milliseconds());
}

static void take_sync(struct agent *agent, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);

    (void)agent_get_u32(&reader); /* whoever speaks another version says so when it hears ours */
    const uint64_t number = agent_get_u64(&reader);
    if (!agent_reader_is_done(&reader) || number == 0)
        return;
    if (number != agent->session)
        end_session(agent);
    agent->session = number;
    send_hello(agent);
}

/* Until the host has said something. */
static void hello_again(struct agent *agent, int64_t now)
{
    if (agent->session != 0 || now < agent->hello_at || agent->out.used > 0)
        return;
    send_hello(agent);
    agent->hello_at = now + agent->hello_pause;
    agent->hello_pause *= 2;
    if (agent->hello_pause > HELLO_MOST_MILLISECONDS)
        agent->hello_pause = HELLO_MOST_MILLISECONDS;
}

/* ---- Jobs ---- */

static struct job *find_job(struct agent *agent, uint32_t id)
{
    for (size_t i = 0; i < JOB_MAX; i++)
        if (agent->jobs[i].is_used && !agent->jobs[i].is_cancelled && agent->jobs[i].id == id)
            return &agent->jobs[i];
    return NULL;
}

static void send_fail(struct agent *agent, uint32_t id, enum agent_failure why, const char *text)
{
    uint8_t payload[256];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_fail_encode(&writer, why, text);
    (void)agent_queue_add_frame(
        &agent->out, &(struct agent_frame){.type = AGENT_FAIL, .id = id, .payload = payload, .size = writer.used});
}

static void begin_job(struct agent *agent, const struct agent_frame *frame)
{
    size_t free_place = 0;

    while (free_place < JOB_MAX && agent->jobs[free_place].is_used)
        free_place++;
    if (free_place == JOB_MAX) {
        send_fail(agent, frame->id, AGENT_FAILED,
                  "the agent in the guest has too many jobs; wait until some have ended");
        return;
    }
    struct job *job = &agent->jobs[free_place];
    if (!job_begin(job, frame))
        send_fail(agent, frame->id, job->failure, job->failure_text);
}

static void send_power_started(struct agent *agent, uint32_t id)
{
    static const uint8_t nobody[4];

    (void)agent_queue_add_frame(
        &agent->out, &(struct agent_frame){.type = AGENT_STARTED, .id = id, .payload = nobody, .size = sizeof(nobody)});
    /* It may be the last that is heard of this guest. */
    for (int i = 0; i < 100 && agent->out.used > 0; i++) {
        struct pollfd one = {.fd = agent->port, .events = POLLOUT};
        const ssize_t written = write(agent->port, agent_queue_bytes(&agent->out), agent->out.used);
        if (written > 0)
            agent_queue_take(&agent->out, (size_t)written);
        else if (poll(&one, 1, 10) < 0 && errno != EINTR)
            break;
    }
}

/* By way of the system's own init where that is systemd; otherwise at once. */
static void take_power(struct agent *agent, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);
    const uint32_t what = agent_get_u32(&reader);

    if (!agent_reader_is_done(&reader) || what > AGENT_POWER_RESET) {
        send_fail(agent, frame->id, AGENT_FAILED_PROTOCOL, "the agent in the guest does not know that");
        return;
    }
    send_power_started(agent, frame->id);
    if (access("/run/systemd/system", F_OK) != 0) {
        power((enum agent_power)what);
        return;
    }
    if (fork() == 0) {
        execlp("systemctl", "systemctl", what == AGENT_POWER_OFF ? "poweroff" : "reboot", (char *)NULL);
        _exit(127);
    }
}

static void take_frame(struct agent *agent, const struct agent_frame *frame)
{
    struct job *job;

    if (frame->type == AGENT_SYNC) {
        take_sync(agent, frame);
        return;
    }
    if (agent->session == 0)
        return;
    switch (frame->type) {
    case AGENT_EXEC:
    case AGENT_PUT:
    case AGENT_GET:
        begin_job(agent, frame);
        break;
    case AGENT_POWER:
        take_power(agent, frame);
        break;
    case AGENT_PING:
        if (frame->size <= AGENT_PING_MAX)
            (void)agent_queue_add_frame(
                &agent->out, &(struct agent_frame){
                                 .type = AGENT_PONG, .id = frame->id, .payload = frame->payload, .size = frame->size});
        break;
    case AGENT_CANCEL:
        job = find_job(agent, frame->id);
        if (job != NULL)
            job_cancel(job, now_milliseconds());
        break;
    default:
        job = find_job(agent, frame->id);
        if (job != NULL)
            job_take(job, frame);
    }
}

static void reap(struct agent *agent)
{
    struct signalfd_siginfo info;
    int status;
    pid_t pid;

    while (read(agent->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        continue;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (size_t i = 0; i < JOB_MAX; i++) {
            if (agent->jobs[i].is_used && agent->jobs[i].pid == pid) {
                agent->jobs[i].has_exited = true;
                agent->jobs[i].wait_status = status;
            }
        }
    }
}

/* ---- The port ---- */

/* False: it is of no use any more. */
static bool read_port(struct agent *agent)
{
    static uint8_t bytes[IN_SIZE];
    struct agent_frame frame;
    size_t taken;
    const ssize_t got = read(agent->port, bytes, sizeof(bytes));

    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (got == 0) {
        /* Nobody is at the host's end. */
        (void)usleep(NOBODY_MILLISECONDS * 1000);
        return true;
    }
    for (size_t at = 0; at < (size_t)got; at += taken) {
        const enum agent_decoded what = agent_decode(&agent->decoder, bytes + at, (size_t)got - at, &taken, &frame);
        if (what == AGENT_DECODED_FRAME)
            take_frame(agent, &frame);
        else if (what == AGENT_DECODED_DAMAGE && agent->session != 0)
            end_session(agent);
    }
    return true;
}

static bool write_port(struct agent *agent)
{
    while (agent->out.used > 0) {
        const ssize_t written = write(agent->port, agent_queue_bytes(&agent->out), agent->out.used);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno == EAGAIN;
        agent_queue_take(&agent->out, (size_t)written);
    }
    return true;
}

/* ---- The loop ---- */

static int pause_until_next(const struct agent *agent, int64_t now)
{
    int64_t pause = agent->session == 0 ? agent->hello_at - now : -1;

    for (size_t i = 0; i < JOB_MAX; i++) {
        const struct job *job = &agent->jobs[i];
        if (job->is_used && job->kill_at != 0 && !job->has_exited && (pause < 0 || job->kill_at - now < pause))
            pause = job->kill_at - now;
    }
    return agent->session == 0 && pause < 0 ? 0 : (int)pause;
}

static void wait_for_events(struct agent *agent)
{
    struct pollfd polls[2 + 4 * JOB_MAX];
    const bool has_room = agent->out.used == 0;
    size_t count = 0;

    polls[count++] = (struct pollfd){.fd = agent->signal_fd, .events = POLLIN};
    polls[count++] =
        (struct pollfd){.fd = agent->port, .events = (short)(POLLIN | (agent->out.used > 0 ? POLLOUT : 0))};
    for (size_t i = 0; i < JOB_MAX; i++)
        if (agent->jobs[i].is_used)
            job_poll(&agent->jobs[i], has_room, polls, &count);
    (void)poll(polls, count, pause_until_next(agent, now_milliseconds()));
    /* A port without anybody at the host's end hangs up without end. */
    if (polls[1].revents & POLLHUP)
        (void)usleep(NOBODY_MILLISECONDS * 1000);
}

void serve(int port)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    sigset_t mask;

    if (agent == NULL)
        return;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    agent->port = port;
    agent->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    agent->out = (struct agent_queue){.bytes = agent->out_bytes, .size = sizeof(agent->out_bytes)};
    end_session(agent);
    for (;;) {
        const int64_t now = now_milliseconds();
        hello_again(agent, now);
        for (size_t i = 0; i < JOB_MAX; i++)
            if (agent->jobs[i].is_used)
                (void)job_work(&agent->jobs[i], &agent->out, now);
        if (!write_port(agent))
            break;
        wait_for_events(agent);
        reap(agent);
        if (!read_port(agent))
            break;
    }
    /* Whoever starts it again finds the jobs' processes gone, or going. */
    end_session(agent);
    free(agent);
}
