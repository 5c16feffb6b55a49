#include "vmm/report/artefact.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool part_is_safe(const char *part, size_t length)
{
    return length > 0 && length <= NAME_MAX && !(length == 1 && part[0] == '.') &&
           !(length == 2 && part[0] == '.' && part[1] == '.');
}

bool artefact_path_is_safe(const char *path)
{
    if (strlen(path) >= PATH_MAX)
        return false;
    for (;;) {
        const size_t length = strcspn(path, "/");
        if (!part_is_safe(path, length))
            return false;
        if (path[length] == '\0')
            return true;
        path += length + 1;
    }
}

/* The folder's descriptor is not used any more; errno stays. */
static void leave(int folder, int callers)
{
    const int why = errno;

    if (folder != callers)
        close(folder);
    errno = why;
}

/* One step down, without following a link; leaves folder. */
static int open_part(int folder, int callers, const char *part, size_t length, int flags, bool makes)
{
    char name[NAME_MAX + 1];
    int fd = -1;

    memcpy(name, part, length);
    name[length] = '\0';
    if (!makes || mkdirat(folder, name, 0777) == 0 || errno == EEXIST)
        fd = openat(folder, name, flags | O_NOFOLLOW | O_CLOEXEC);
    leave(folder, callers);
    return fd;
}

/* The folder that a path's last part is in, and that part at *name. It may be the caller's own descriptor. */
static int open_folder(int folder, const char *path, bool makes, const char **name)
{
    int fd = folder;

    if (!artefact_path_is_safe(path)) {
        errno = EINVAL;
        return -1;
    }
    for (;;) {
        const size_t length = strcspn(path, "/");
        *name = path;
        if (path[length] == '\0')
            return fd;
        fd = open_part(fd, folder, path, length, O_PATH | O_DIRECTORY, makes);
        if (fd < 0)
            return -1;
        path += length + 1;
    }
}

static int keep_regular(int fd)
{
    struct stat status;

    if (fd < 0 || (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)))
        return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

int artefact_open(int folder, const char *path)
{
    const char *name;
    const int last = open_folder(folder, path, false, &name);

    /* Not to wait for a pipe's other end. */
    return last < 0 ? -1 : keep_regular(open_part(last, folder, name, strlen(name), O_RDONLY | O_NONBLOCK, false));
}

/* ---- Copies ---- */

static int write_all(int to, const char *bytes, size_t length, off_t at)
{
    while (length > 0) {
        const ssize_t written = pwrite(to, bytes, length, at);
        if (written < 0 && errno != EINTR)
            return -1;
        bytes += written > 0 ? written : 0;
        at += written > 0 ? written : 0;
        length -= written > 0 ? (size_t)written : 0;
    }
    return 0;
}

/* Through memory, for file systems that have no other way. */
static int copy_bytes(int from, int to, off_t start, off_t end)
{
    char buffer[65536];

    while (start < end) {
        const size_t want = end - start < (off_t)sizeof(buffer) ? (size_t)(end - start) : sizeof(buffer);
        const ssize_t got = pread(from, buffer, want, start);
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return -1;
        if (got > 0 && write_all(to, buffer, (size_t)got, start) < 0)
            return -1;
        start += got > 0 ? got : 0;
    }
    return 0;
}

static int copy_range(int from, int to, off_t start, off_t end)
{
    off_t in = start;
    off_t out = start;

    while (in < end) {
        errno = 0;
        const ssize_t got = copy_file_range(from, &in, to, &out, (size_t)(end - in), 0);
        if (got <= 0)
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? -1 : copy_bytes(from, to, in, end);
    }
    return 0;
}

static int copy_all(int from, int to)
{
    struct stat status;
    off_t start = 0;

    if (fstat(from, &status) < 0)
        return -1;
    while ((start = lseek(from, start, SEEK_DATA)) >= 0) {
        const off_t end = lseek(from, start, SEEK_HOLE);
        if (end < 0 || copy_range(from, to, start, end) < 0)
            return -1;
        start = end;
    }
    /* No data any more. */
    return errno == ENXIO ? ftruncate(to, status.st_size) : -1;
}

static int copy_to(int from, int folder, const char *name)
{
    char partial[64];

    (void)snprintf(partial, sizeof(partial), ".copy-%ld", (long)getpid());
    (void)unlinkat(folder, partial, 0);
    const int to = openat(folder, partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (to < 0)
        return -1;
    int result = copy_all(from, to);
    int why = errno;
    if (close(to) < 0 && result == 0) {
        result = -1;
        why = errno;
    }
    if (result == 0 && renameat(folder, partial, folder, name) < 0) {
        result = -1;
        why = errno;
    }
    if (result < 0)
        (void)unlinkat(folder, partial, 0);
    errno = why;
    return result;
}

int artefact_copy(int from, int folder, const char *path)
{
    const char *name;
    const int last = open_folder(folder, path, true, &name);

    if (last < 0)
        return -1;
    const int result = copy_to(from, last, name);
    leave(last, folder);
    return result;
}
