#include "vmm/agent/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

enum {
    /* Between a hang-up and the end by force. */
    KILL_AFTER_MILLISECONDS = 2000,
    /* Frames of a job beside its data. */
    CONTROL_ROOM = 1024,
    SIGNAL_MAX = 64,
    /* More descriptors than all jobs have. */
    FD_MAX = 1024,
};

static const char default_path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* ---- The process of a job, before it is the command ---- */

/* Why it does not become the command. */
struct child_failure {
    enum agent_failure why;
    int error;
};

static void set_default(const char *assignment)
{
    char name[32];
    const char *value = strchr(assignment, '=') + 1;

    (void)snprintf(name, sizeof(name), "%.*s", (int)(value - assignment - 1), assignment);
    setenv(name, value, 0);
}

static void set_environment(const struct agent_exec *exec)
{
    if (exec->flags & AGENT_EXEC_ONLY_ENV)
        clearenv();
    for (size_t i = 0; i < exec->env_count; i++)
        if (strchr(exec->env[i], '=') > exec->env[i])
            putenv((char *)(uintptr_t)exec->env[i]);
    set_default(default_path);
    if ((exec->flags & AGENT_EXEC_ONLY_ENV) == 0)
        set_default("HOME=/root");
}

static struct child_failure become_command(const struct agent_exec *exec)
{
    set_environment(exec);
    if ((exec->flags & AGENT_EXEC_AS_USER) &&
        (setgroups(0, NULL) < 0 || setgid(exec->gid) < 0 || setuid(exec->uid) < 0))
        return (struct child_failure){AGENT_FAILED, errno};
    if (exec->cwd[0] != '\0' && chdir(exec->cwd) < 0)
        return (struct child_failure){AGENT_FAILED, errno};
    execvp(exec->argv[0], (char *const *)(uintptr_t)exec->argv);
    return (struct child_failure){
        errno == ENOENT || errno == ENOTDIR ? AGENT_FAILED_NOT_FOUND : AGENT_FAILED_NOT_EXECUTABLE, errno};
}

/* What a job is to do: a command, or a file to be moved. */
struct task {
    uint8_t type;
    const struct agent_exec *exec;
    const struct agent_file *file;
};

static void run_child(const struct task *task, const int ends[AGENT_STREAM_COUNT], int whole_fd, int status_fd)
{
    struct child_failure failure;
    sigset_t none;

    setsid();
    /* Without the agent it is lost, as it would be with its terminal. */
    (void)prctl(PR_SET_PDEATHSIG, SIGHUP);
    for (int i = 0; i < AGENT_STREAM_COUNT; i++)
        (void)dup2(ends[i], i);
    if (task->type == AGENT_EXEC && (task->exec->flags & AGENT_EXEC_TTY))
        (void)ioctl(STDIN_FILENO, TIOCSCTTY, 0);
    for (int i = 1; i <= SIGNAL_MAX; i++)
        signal(i, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (task->type == AGENT_EXEC) {
        failure = become_command(task->exec);
        const ssize_t written = write(status_fd, &failure, sizeof(failure));
        _exit(written == (ssize_t)sizeof(failure) ? 127 : 126);
    }
    /* Not just that one: with our own end of its input open, it would never see the end of that. */
    if (dup2(whole_fd, FILE_WHOLE_FD) < 0)
        close(FILE_WHOLE_FD);
    for (int fd = FILE_WHOLE_FD + 1; fd < FD_MAX; fd++)
        close(fd);
    _exit(task->type == AGENT_PUT ? file_put(task->file->path, (mode_t)task->file->mode) : file_get(task->file->path));
}

/* ---- Beginning ---- */

static bool fail(struct job *job, enum agent_failure why, const char *what, int error)
{
    job->failure = why;
    (void)snprintf(job->failure_text, sizeof(job->failure_text), "%.100s: %s", what, strerror(error));
    return false;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void release(struct job *job)
{
    for (int i = 0; i < AGENT_STREAM_COUNT; i++)
        close_fd(&job->fds[i]);
    close_fd(&job->status_fd);
    close_fd(&job->whole_fd);
    free(job->input.bytes);
    *job = (struct job){0};
}

static bool set_nonblocking(int fd)
{
    return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

/* The command's ends, and ours in job->fds. */
static bool open_pipes(struct job *job, int ends[AGENT_STREAM_COUNT])
{
    for (int i = 0; i < AGENT_STREAM_COUNT; i++) {
        int both[2];
        if (pipe2(both, O_CLOEXEC) < 0)
            return false;
        ends[i] = both[i == AGENT_STDIN ? 0 : 1];
        job->fds[i] = both[i == AGENT_STDIN ? 1 : 0];
        if (!set_nonblocking(job->fds[i]))
            return false;
    }
    return true;
}

static void set_size(int fd, uint16_t rows, uint16_t columns)
{
    const struct winsize size = {.ws_row = rows, .ws_col = columns};

    (void)ioctl(fd, TIOCSWINSZ, &size);
}

static bool open_terminal(struct job *job, const struct agent_exec *exec, int ends[AGENT_STREAM_COUNT])
{
    const int unlock = 0;
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

    job->fds[AGENT_STDIN] = master;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return false;
    set_size(master, exec->rows, exec->columns);
    for (int i = 0; i < AGENT_STREAM_COUNT; i++) {
        ends[i] = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (ends[i] < 0)
            return false;
    }
    job->fds[AGENT_STDOUT] = fcntl(master, F_DUPFD_CLOEXEC, 0);
    job->end_due[AGENT_STDERR] = true;
    return job->fds[AGENT_STDOUT] >= 0;
}

static bool start(struct job *job, const struct task *task)
{
    int ends[AGENT_STREAM_COUNT] = {-1, -1, -1};
    int status[2] = {-1, -1};
    int whole[2] = {-1, -1};

    job->is_tty = task->type == AGENT_EXEC && (task->exec->flags & AGENT_EXEC_TTY);
    const bool has_streams = job->is_tty ? open_terminal(job, task->exec, ends) : open_pipes(job, ends);
    const bool has_whole = task->type != AGENT_PUT || pipe2(whole, O_CLOEXEC) == 0;
    job->pid = has_streams && has_whole && pipe2(status, O_CLOEXEC | O_NONBLOCK) == 0 ? fork() : -1;
    const int why = errno;
    if (job->pid == 0)
        run_child(task, ends, whole[0], status[1]);
    job->status_fd = status[0];
    job->whole_fd = whole[1];
    for (int i = 0; i < AGENT_STREAM_COUNT; i++)
        close_fd(&ends[i]);
    close_fd(&status[1]);
    close_fd(&whole[0]);
    return job->pid > 0 || fail(job, AGENT_FAILED, "the guest has no process for it", why);
}

static bool begin(struct job *job, const struct agent_frame *frame)
{
    static struct agent_exec exec;
    struct agent_file file;
    const struct task task = {.type = frame->type, .exec = &exec, .file = &file};

    const bool is_good = frame->type == AGENT_EXEC ? agent_exec_decode(frame, &exec) : agent_file_decode(frame, &file);
    if (!is_good)
        return fail(job, AGENT_FAILED_PROTOCOL, "the request", EINVAL);
    job->input = (struct agent_queue){.bytes = malloc(AGENT_WINDOW), .size = AGENT_WINDOW};
    if (job->input.bytes == NULL)
        return fail(job, AGENT_FAILED, "the guest", ENOMEM);
    return start(job, &task);
}

bool job_begin(struct job *job, const struct agent_frame *frame)
{
    *job = (struct job){
        .is_used = true,
        .id = frame->id,
        .status_fd = -1,
        .whole_fd = -1,
        .fds = {-1, -1, -1},
        .windows = {AGENT_WINDOW, AGENT_WINDOW, AGENT_WINDOW},
        .input_window = AGENT_WINDOW,
    };
    if (begin(job, frame))
        return true;
    const enum agent_failure failure = job->failure;
    char text[sizeof(job->failure_text)];
    memcpy(text, job->failure_text, sizeof(text));
    release(job);
    job->failure = failure;
    memcpy(job->failure_text, text, sizeof(text));
    return false;
}

/* ---- From the host ---- */

static void signal_job(const struct job *job, int number)
{
    if (job->has_exited)
        return;
    /* Before it has become a session's leader, there is no such group. */
    if (kill(-job->pid, number) < 0)
        (void)kill(job->pid, number);
}

/* What cannot be written any more is done with. */
static void drop_input(struct job *job)
{
    job->credit_due += (uint32_t)job->input.used;
    agent_queue_clear(&job->input);
}

static void take_data(struct job *job, const struct agent_frame *frame)
{
    const uint32_t cost = (uint32_t)frame->size + AGENT_FRAME_COST;

    if (frame->stream != AGENT_STDIN || frame->size > AGENT_DATA_MAX || job->input_ended || cost > job->input_window)
        return;
    job->input_window -= cost;
    job->credit_due += AGENT_FRAME_COST;
    if (job->fds[AGENT_STDIN] < 0 || !agent_queue_add(&job->input, frame->payload, frame->size))
        job->credit_due += (uint32_t)frame->size;
}

static void end_input(struct job *job)
{
    static const uint8_t end_of_file = 4; /* Ctrl-D, a terminal's VEOF unless the job has changed it */

    if (job->input_ended)
        return;
    job->input_ended = true;
    if (job->is_tty)
        (void)agent_queue_add(&job->input, &end_of_file, 1);
}

void job_take(struct job *job, const struct agent_frame *frame)
{
    struct agent_reader reader = agent_reader_of(frame);

    switch (frame->type) {
    case AGENT_DATA:
        take_data(job, frame);
        break;
    case AGENT_END:
        if (frame->stream == AGENT_STDIN)
            end_input(job);
        break;
    case AGENT_CREDIT: {
        const uint32_t credit = agent_get_u32(&reader);
        if (frame->stream < AGENT_STREAM_COUNT && !reader.is_bad &&
            credit <= AGENT_WINDOW - job->windows[frame->stream])
            job->windows[frame->stream] += credit;
        break;
    }
    case AGENT_SIGNAL: {
        const uint32_t number = agent_get_u32(&reader);
        if (!reader.is_bad && number >= 1 && number <= SIGNAL_MAX)
            signal_job(job, (int)number);
        break;
    }
    case AGENT_RESIZE: {
        const uint16_t rows = agent_get_u16(&reader);
        const uint16_t columns = agent_get_u16(&reader);
        if (!reader.is_bad && job->is_tty && job->fds[AGENT_STDIN] >= 0)
            set_size(job->fds[AGENT_STDIN], rows, columns);
        break;
    }
    default:
        break;
    }
}

void job_cancel(struct job *job, int64_t now)
{
    if (job->is_cancelled)
        return;
    job->is_cancelled = true;
    job->kill_at = now + KILL_AFTER_MILLISECONDS;
    /* First, or the end of its input could be taken for that of a whole file. */
    signal_job(job, SIGHUP);
    signal_job(job, SIGCONT);
    for (int i = 0; i < AGENT_STREAM_COUNT; i++)
        close_fd(&job->fds[i]);
    drop_input(job);
}

/* ---- Moving ---- */

/* How much may be read of a stream for a frame; 0: none. */
static size_t frame_room(const struct job *job, int stream)
{
    const uint32_t window = job->windows[stream];
    const size_t room = window > AGENT_FRAME_COST ? window - AGENT_FRAME_COST : 0;

    return room < AGENT_DATA_MAX ? room : AGENT_DATA_MAX;
}

void job_poll(const struct job *job, bool has_room, struct pollfd *polls, size_t *count)
{
    if (job->status_fd >= 0)
        polls[(*count)++] = (struct pollfd){.fd = job->status_fd, .events = POLLIN};
    if (job->fds[AGENT_STDIN] >= 0 && job->input.used > 0)
        polls[(*count)++] = (struct pollfd){.fd = job->fds[AGENT_STDIN], .events = POLLOUT};
    for (int i = AGENT_STDOUT; i <= AGENT_STDERR; i++)
        if (has_room && job->fds[i] >= 0 && frame_room(job, i) > 0)
            polls[(*count)++] = (struct pollfd){.fd = job->fds[i], .events = POLLIN};
}

/* Whether it is known what has become of the process. */
static void read_status(struct job *job)
{
    struct child_failure failure;
    const ssize_t got = job->status_fd >= 0 ? read(job->status_fd, &failure, sizeof(failure)) : -1;

    if (got < 0)
        return;
    close_fd(&job->status_fd);
    if (got == (ssize_t)sizeof(failure))
        (void)fail(job, failure.why, "the guest cannot run it", failure.error);
    else
        job->started_due = true;
}

static void write_input(struct job *job)
{
    const int fd = job->fds[AGENT_STDIN];

    while (fd >= 0 && job->input.used > 0) {
        const ssize_t written = write(fd, agent_queue_bytes(&job->input), job->input.used);
        if (written < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (written < 0) {
            drop_input(job);
            close_fd(&job->fds[AGENT_STDIN]);
            return;
        }
        agent_queue_take(&job->input, (size_t)written);
        job->credit_due += (uint32_t)written;
    }
    if (!job->input_ended || job->is_tty)
        return;
    if (job->whole_fd >= 0)
        (void)!write(job->whole_fd, "", 1);
    close_fd(&job->whole_fd);
    close_fd(&job->fds[AGENT_STDIN]);
}

static void send_numbers(const struct job *job, struct agent_queue *out, uint8_t type, uint8_t stream, uint32_t first,
                         const uint32_t *second)
{
    uint8_t payload[8];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_put_u32(&writer, first);
    if (second != NULL)
        agent_put_u32(&writer, *second);
    (void)agent_queue_add_frame(
        out,
        &(struct agent_frame){.type = type, .stream = stream, .id = job->id, .payload = payload, .size = writer.used});
}

static void send_fail(const struct job *job, struct agent_queue *out)
{
    uint8_t payload[256];
    struct agent_writer writer = {.bytes = payload, .room = sizeof(payload)};

    agent_fail_encode(&writer, job->failure, job->failure_text);
    (void)agent_queue_add_frame(
        out, &(struct agent_frame){.type = AGENT_FAIL, .id = job->id, .payload = payload, .size = writer.used});
}

static bool has_room_for_data(const struct agent_queue *out)
{
    return agent_queue_room(out) >= AGENT_WIRE_SIZE(AGENT_DATA_MAX) + (size_t)JOB_MAX * CONTROL_ROOM / 8;
}

/* Of a process that has ended all is there; but what goes through a terminal may be on its way: that ends with EIO. */
static void move_output(struct job *job, struct agent_queue *out, int stream)
{
    uint8_t piece[AGENT_DATA_MAX];

    while (job->fds[stream] >= 0 && has_room_for_data(out) && frame_room(job, stream) > 0) {
        const ssize_t got = read(job->fds[stream], piece, frame_room(job, stream));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN && !(job->has_exited && !job->is_tty))
            return;
        if (got <= 0) {
            close_fd(&job->fds[stream]);
            job->end_due[stream] = true;
            return;
        }
        job->windows[stream] -= (uint32_t)got + AGENT_FRAME_COST;
        (void)agent_queue_add_frame(
            out,
            &(struct agent_frame){
                .type = AGENT_DATA, .stream = (uint8_t)stream, .id = job->id, .payload = piece, .size = (size_t)got});
        if (job->is_tty)
            return; /* what somebody types goes first */
    }
}

static bool has_control_room(const struct agent_queue *out)
{
    return agent_queue_room(out) >= CONTROL_ROOM;
}

static void send_control(struct job *job, struct agent_queue *out)
{
    if (job->started_due && has_control_room(out)) {
        send_numbers(job, out, AGENT_STARTED, 0, (uint32_t)job->pid, NULL);
        job->started_due = false;
    }
    if (job->credit_due >= AGENT_CREDIT_STEP && has_control_room(out)) {
        send_numbers(job, out, AGENT_CREDIT, AGENT_STDIN, job->credit_due, NULL);
        job->input_window += job->credit_due;
        job->credit_due = 0;
    }
    for (int i = AGENT_STDOUT; i <= AGENT_STDERR; i++)
        if (job->end_due[i] && !job->started_due && has_control_room(out)) {
            (void)agent_queue_add_frame(out,
                                        &(struct agent_frame){.type = AGENT_END, .stream = (uint8_t)i, .id = job->id});
            job->end_due[i] = false;
        }
}

/* Whether it is over, with nothing left to be said but that. */
static bool is_done(const struct job *job)
{
    return job->has_exited && job->status_fd < 0 && !job->started_due && job->fds[AGENT_STDOUT] < 0 &&
           job->fds[AGENT_STDERR] < 0 && !job->end_due[AGENT_STDOUT] && !job->end_due[AGENT_STDERR];
}

static void send_exit(const struct job *job, struct agent_queue *out)
{
    const bool is_signal = WIFSIGNALED(job->wait_status);
    const uint32_t value = (uint32_t)(is_signal ? WTERMSIG(job->wait_status) : WEXITSTATUS(job->wait_status));

    send_numbers(job, out, AGENT_EXIT, 0, is_signal ? AGENT_SIGNALLED : AGENT_EXITED, &value);
}

bool job_work(struct job *job, struct agent_queue *out, int64_t now)
{
    read_status(job);
    write_input(job);
    send_control(job, out);
    if (job->failure == 0) {
        move_output(job, out, AGENT_STDOUT);
        move_output(job, out, AGENT_STDERR);
    }
    send_control(job, out);
    if (job->kill_at != 0 && now >= job->kill_at && !job->has_exited) {
        signal_job(job, SIGKILL);
        job->kill_at = now + KILL_AFTER_MILLISECONDS;
    }
    if (!has_control_room(out) || !job->has_exited || (job->failure == 0 && !is_done(job)))
        return false;
    if (job->failure != 0)
        send_fail(job, out);
    else
        send_exit(job, out);
    release(job);
    return true;
}
