#include "vmm/runner/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* As much as a pipe has room for. */
enum { PIECE_SIZE = 64 << 10, LAST_PIECES = 64, SIGNAL_BASE = 128, STATUS_CANNOT_START = 127 };

struct pipe_end {
    struct child *child;
    int fd;
};

struct child {
    struct event_loop *loop;
    struct child_handlers handlers;
    pid_t pid;
    int pid_fd;
    int status;
    struct pipe_end streams[CHILD_STREAM_COUNT];
    int input_fd;
    char *input;
    size_t input_start;
    size_t input_used;
    char piece[PIECE_SIZE];
};

/* ---- What it writes ---- */

static void close_stream(struct pipe_end *end)
{
    if (end->fd < 0)
        return;
    event_loop_remove(end->child->loop, end->fd);
    close(end->fd);
    end->fd = -1;
}

/* Takes a piece; false: there is none now. */
static bool read_piece(struct pipe_end *end)
{
    struct child *child = end->child;
    const ssize_t got = end->fd >= 0 ? read(end->fd, child->piece, sizeof(child->piece)) : 0;

    if (got > 0) {
        child->handlers.output(child->handlers.context, (enum child_stream)(end - child->streams), child->piece,
                               (size_t)got);
        return true;
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR))
        close_stream(end);
    return false;
}

static void on_stream(void *context, uint32_t events)
{
    (void)events;
    (void)read_piece(context);
}

/* ---- What it reads ---- */

static void close_input(struct child *child)
{
    if (child->input_fd < 0)
        return;
    event_loop_remove(child->loop, child->input_fd);
    close(child->input_fd);
    child->input_fd = -1;
}

static void on_input(void *context, uint32_t events)
{
    struct child *child = context;

    /* Nobody reads any more. */
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        close_input(child);
        return;
    }
    const ssize_t written =
        send(child->input_fd, child->input + child->input_start, child->input_used, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (written < 0) {
        close_input(child);
        return;
    }
    child->input_start += (size_t)written;
    child->input_used -= (size_t)written;
    if (child->input_used == 0) {
        child->input_start = 0;
        event_loop_modify(child->loop, child->input_fd, 0);
    }
}

int child_write(struct child *child, const char *bytes, size_t length, struct error *error)
{
    if (child->input_fd < 0 || length > CHILD_INPUT_MAX - child->input_used)
        return error_set(error, ERROR_HOST, "nothing reads it, and %zu bytes wait already", child->input_used);
    if (child->input == NULL) {
        child->input = malloc(CHILD_INPUT_MAX);
        if (child->input == NULL)
            return error_set(error, ERROR_HOST, "out of memory");
    }
    memmove(child->input, child->input + child->input_start, child->input_used);
    child->input_start = 0;
    memcpy(child->input + child->input_used, bytes, length);
    child->input_used += length;
    if (child->input_used > 0)
        event_loop_modify(child->loop, child->input_fd, EPOLLOUT);
    return 0;
}

/* ---- Its end ---- */

static void reap(struct child *child)
{
    siginfo_t info = {0};

    /* As long as nobody has waited for it, its number is no other's. */
    (void)kill(-child->pid, SIGKILL);
    while (waitid(P_PIDFD, (id_t)child->pid_fd, &info, WEXITED) < 0 && errno == EINTR)
        ;
    child->status = info.si_code == CLD_EXITED ? info.si_status : SIGNAL_BASE + info.si_status;
    event_loop_remove(child->loop, child->pid_fd);
    close(child->pid_fd);
    child->pid_fd = -1;
}

static void on_end(void *context, uint32_t events)
{
    struct child *child = context;

    (void)events;
    reap(child);
    /* Whoever else has a pipe's end may write for ever; what is there from before has room in a few pieces. */
    for (size_t i = 0; i < CHILD_STREAM_COUNT; i++)
        for (int n = 0; n < LAST_PIECES && read_piece(&child->streams[i]); n++)
            ;
    child->handlers.ended(child->handlers.context);
}

void child_kill(struct child *child)
{
    if (child->pid_fd >= 0)
        (void)pidfd_send_signal(child->pid_fd, SIGKILL, NULL, 0);
}

int child_status(const struct child *child)
{
    return child->status;
}

void child_destroy(struct child *child)
{
    if (child == NULL)
        return;
    child_kill(child);
    if (child->pid_fd >= 0)
        reap(child);
    for (size_t i = 0; i < CHILD_STREAM_COUNT; i++)
        close_stream(&child->streams[i]);
    close_input(child);
    free(child->input);
    free(child);
}

/* ---- Its start ---- */

/* The child's side of its descriptors, in the order of their numbers. */
struct child_fds {
    int numbers[CHILD_STATUS_FD + 1];
};

__attribute__((noreturn)) static void become(const char *const argv[], pid_t parent, const struct child_fds *fds)
{
    sigset_t none;
    int copies[CHILD_STATUS_FD + 1];

    /* First out of the way of the numbers that they are to have. */
    for (int i = 0; i <= CHILD_STATUS_FD; i++)
        copies[i] = fcntl(fds->numbers[i], F_DUPFD_CLOEXEC, CHILD_STATUS_FD + 1);
    for (int i = 0; i <= CHILD_STATUS_FD; i++)
        if (dup2(copies[i], i) < 0)
            _exit(STATUS_CANNOT_START);
    /* Whoever has started this process may have left it others. */
    (void)close_range(CHILD_STATUS_FD + 1, ~0u, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* It may have died before that. */
    if (getppid() != parent)
        _exit(STATUS_CANNOT_START);
    /* It changes none of them, whatever its type says. */
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    (void)dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(STATUS_CANNOT_START);
}

static int open_pipes(struct child *child, bool has_input, struct child_fds *fds)
{
    int ends[2];

    if (has_input) {
        /* No pipe, because only a socket can be written to without SIGPIPE. */
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
            return -1;
        fds->numbers[STDIN_FILENO] = ends[0];
        child->input_fd = ends[1];
    } else if ((fds->numbers[STDIN_FILENO] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0) {
        return -1;
    }
    for (int i = 0; i < CHILD_STREAM_COUNT; i++) {
        if (pipe2(ends, O_CLOEXEC) < 0)
            return -1;
        child->streams[i].fd = ends[0];
        fds->numbers[STDOUT_FILENO + i] = ends[1];
        (void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

static int watch(struct child *child, struct error *error)
{
    for (size_t i = 0; i < CHILD_STREAM_COUNT; i++)
        if (event_loop_add(child->loop, child->streams[i].fd, EPOLLIN, on_stream, &child->streams[i], error) < 0)
            return -1;
    if (child->input_fd >= 0 && event_loop_add(child->loop, child->input_fd, 0, on_input, child, error) < 0)
        return -1;
    return event_loop_add(child->loop, child->pid_fd, EPOLLIN, on_end, child, error);
}

static int start(struct child *child, const char *const argv[], bool has_input, struct error *error)
{
    struct child_fds fds = {.numbers = {-1, -1, -1, -1}};
    const pid_t parent = getpid();
    int result = open_pipes(child, has_input, &fds);

    if (result == 0) {
        /* Whoever ignores this signal hears of no child's status, and whoever has started this process may have. */
        (void)signal(SIGCHLD, SIG_DFL);
        child->pid = fork();
        if (child->pid == 0)
            become(argv, parent, &fds);
        child->pid_fd = child->pid > 0 ? pidfd_open(child->pid, 0) : -1;
        result = child->pid_fd < 0 ? -1 : 0;
    }
    const int why = errno;
    if (result < 0 && child->pid > 0) {
        (void)kill(child->pid, SIGKILL);
        (void)waitpid(child->pid, NULL, 0);
    }
    for (int i = 0; i <= CHILD_STATUS_FD; i++)
        if (fds.numbers[i] >= 0)
            close(fds.numbers[i]);
    if (result < 0)
        return error_set(error, ERROR_HOST, "%s cannot be started: %s", argv[0], strerror(why));
    return watch(child, error);
}

struct child *child_start(struct event_loop *loop, const char *const argv[], bool has_input,
                          const struct child_handlers *handlers, struct error *error)
{
    struct child *child = calloc(1, sizeof(*child));

    if (child == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    child->loop = loop;
    child->handlers = *handlers;
    child->pid_fd = -1;
    child->input_fd = -1;
    for (size_t i = 0; i < CHILD_STREAM_COUNT; i++)
        child->streams[i] = (struct pipe_end){.child = child, .fd = -1};
    if (start(child, argv, has_input, error) == 0)
        return child;
    child_destroy(child);
    return NULL;
}
