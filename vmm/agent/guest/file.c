#include "vmm/agent/guest/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_SIZE = 64 << 10, PATH_SIZE = 4096 + 16 };

/* Of what is not whole yet; "": nothing. */
static char unfinished[PATH_SIZE];

static int fail(const char *path)
{
    const int why = errno;

    if (unfinished[0] != '\0')
        (void)unlink(unfinished);
    dprintf(STDERR_FILENO, "%s: %s", path, strerror(why));
    return 1;
}

static void on_hangup(int signal_number)
{
    (void)signal_number;
    if (unfinished[0] != '\0')
        (void)unlink(unfinished);
    _exit(1);
}

/* 0, or -1 with errno. */
static int copy(int from, int to)
{
    static char piece[PIECE_SIZE];
    ssize_t got;

    while ((got = read(from, piece, sizeof(piece))) != 0) {
        ssize_t done = 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        while (done < got) {
            const ssize_t written = write(to, piece + done, (size_t)(got - done));
            if (written < 0 && errno != EINTR)
                return -1;
            done += written > 0 ? written : 0;
        }
    }
    return 0;
}

/* The end of the input was that of the file. */
static bool is_whole(void)
{
    char byte;

    if (read(FILE_WHOLE_FD, &byte, 1) == 1)
        return true;
    errno = ECANCELED;
    return false;
}

/* A file that appears when it is whole; or, where none can be made, the one that is there. */
int file_put(const char *path, mode_t mode)
{
    struct stat status;
    const bool is_there = stat(path, &status) == 0;
    int fd = -1;

    signal(SIGHUP, on_hangup);
    if (is_there && S_ISDIR(status.st_mode)) {
        errno = EISDIR;
        return fail(path);
    }
    if (strlen(path) + 16 > sizeof(unfinished)) {
        errno = ENAMETOOLONG;
        return fail(path);
    }
    if (!is_there || S_ISREG(status.st_mode)) {
        char name[PATH_SIZE];
        (void)snprintf(name, sizeof(name), "%s.%d", path, (int)getpid());
        /* First, for a signal that comes between the two. */
        strcpy(unfinished, name);
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
            unfinished[0] = '\0';
    }
    if (fd < 0 && is_there)
        fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || copy(STDIN_FILENO, fd) < 0 || !is_whole())
        return fail(path);
    if (unfinished[0] != '\0' && (fchmod(fd, mode) < 0 || rename(unfinished, path) < 0))
        return fail(path);
    return close(fd) < 0 ? fail(path) : 0;
}

int file_get(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 || copy(fd, STDOUT_FILENO) < 0 ? fail(path) : 0;
}
