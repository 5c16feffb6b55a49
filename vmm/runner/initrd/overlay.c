#include "vmm/runner/initrd/overlay.h"

#include "vmm/runner/initrd/cpio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A guest has to hold it twice while it unpacks it. */
#define FILE_MAX ((size_t)1 << 30)

/* Folders that are not of mode 0755; the kernel gives one that is there this mode, too. */
static const struct {
    const char *name;
    uint32_t mode;
} special[] = {{"root", 0700}, {"tmp", 01777}};

static int fail(const char *path, struct error *error)
{
    return error_set(error, ERROR_CONFIG, "%s: %s", path, strerror(errno));
}

static int fail_to_write(const char *path, struct error *error)
{
    return error_set(error, ERROR_HOST, "%s: cannot be written: %s", path, strerror(errno));
}

/* A regular file's content; *status is its own. NULL with *error. */
static char *read_file(const char *path, struct stat *status, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *bytes = NULL;
    size_t done = 0;
    ssize_t got = 1;

    if (fd < 0 || fstat(fd, status) < 0) {
        fail(path, error);
    } else if (!S_ISREG(status->st_mode) || (size_t)status->st_size > FILE_MAX) {
        error_set(error, ERROR_CONFIG, "%s: is not a file, or larger than 1 GiB; a folder can be packed with tar",
                  path);
    } else if ((bytes = malloc((size_t)status->st_size + 1)) == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
    }
    while (bytes != NULL && done < (size_t)status->st_size && got != 0) {
        got = read(fd, bytes + done, (size_t)status->st_size - done);
        if (got < 0 && errno != EINTR) {
            fail(path, error);
            free(bytes);
            bytes = NULL;
        }
        done += got > 0 ? (size_t)got : 0;
    }
    /* If it has shrunk meanwhile. */
    status->st_size = (off_t)done;
    if (fd >= 0)
        close(fd);
    return bytes;
}

/* Of path, "a/b/c", the folders "a" and "a/b". */
static bool add_folders(struct cpio *cpio, char *path)
{
    bool is_good = true;

    for (char *slash = path; is_good && (slash = strchr(slash, '/')) != NULL; slash++) {
        uint32_t mode = 0755;
        *slash = '\0';
        for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++)
            if (strcmp(path, special[i].name) == 0)
                mode = special[i].mode;
        is_good = cpio_add(cpio, &(struct cpio_entry){.name = path, .mode = S_IFDIR | mode});
        *slash = '/';
    }
    return is_good;
}

static int add_file(struct cpio *cpio, const struct initrd_put *put, const char *out, struct error *error)
{
    struct stat status;
    char *bytes = read_file(put->file, &status, error);
    char *path = strdup(put->path + strspn(put->path, "/"));
    int result = -1;

    if (bytes != NULL && path == NULL)
        error_set(error, ERROR_HOST, "out of memory");
    if (bytes != NULL && path != NULL) {
        const struct cpio_entry entry = {
            .name = path, .mode = S_IFREG | (status.st_mode & 07777), .bytes = bytes, .size = (size_t)status.st_size};
        result = add_folders(cpio, path) && cpio_add(cpio, &entry) ? 0 : fail_to_write(out, error);
    }
    free(path);
    free(bytes);
    return result;
}

/* The base, and zeros up to where an archive can begin. */
static int copy_base(const char *base, FILE *file, const char *out, struct error *error)
{
    struct stat status;
    char *bytes = read_file(base, &status, error);

    if (bytes == NULL)
        return -1;
    const size_t size = (size_t)status.st_size;
    const size_t padding = (4 - size % 4) % 4;
    const bool is_good = fwrite(bytes, 1, size, file) == size && fwrite("\0\0\0", 1, padding, file) == padding;
    const int result = is_good ? 0 : fail_to_write(out, error);
    free(bytes);
    return result;
}

int initrd_overlay(const char *base, const struct initrd_put *puts, size_t count, const char *out, struct error *error)
{
    struct cpio cpio = {.out = fopen(out, "we")};

    if (cpio.out == NULL)
        return fail_to_write(out, error);
    int result = copy_base(base, cpio.out, out, error);
    for (size_t i = 0; result == 0 && i < count; i++)
        result = add_file(&cpio, &puts[i], out, error);
    if (result == 0 && !cpio_end(&cpio))
        result = fail_to_write(out, error);
    if (fclose(cpio.out) != 0 && result == 0)
        result = fail_to_write(out, error);
    return result;
}
