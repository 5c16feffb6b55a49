#include "vmm/runner/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const char *path, enum error_kind kind, struct error *error)
{
    return error_set(error, kind, "%s cannot be written: %s", path, strerror(errno));
}

/* Closes fd in any case. */
static int write_to(int fd, const char *path, replace_writer *writer, const void *context, struct error *error)
{
    FILE *out = fdopen(fd, "w");

    if (out == NULL) {
        (void)fail(path, ERROR_HOST, error);
        close(fd);
        return -1;
    }
    int result = writer(context, out, error);
    if (result == 0 && (fflush(out) != 0 || ferror(out)))
        result = fail(path, ERROR_HOST, error);
    if (fclose(out) != 0 && result == 0)
        result = fail(path, ERROR_HOST, error);
    return result;
}

static int write_in_place(const char *path, replace_writer *writer, const void *context, struct error *error)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);

    return fd < 0 ? fail(path, ERROR_CONFIG, error) : write_to(fd, path, writer, context, error);
}

static int write_and_rename(const char *path, char *temporary, replace_writer *writer, const void *context,
                            struct error *error)
{
    const int fd = mkostemp(temporary, O_CLOEXEC);

    if (fd < 0)
        return fail(path, ERROR_CONFIG, error);
    /* As a file that is simply made would have it; there is no other way to ask for the mask. */
    const mode_t mask = umask(0);
    (void)umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
    int result = write_to(fd, path, writer, context, error);
    if (result == 0 && rename(temporary, path) < 0)
        result = fail(path, ERROR_HOST, error);
    if (result < 0)
        (void)unlink(temporary);
    return result;
}

int replace_file(const char *path, replace_writer *writer, const void *context, struct error *error)
{
    struct stat status;
    char *temporary;

    if (lstat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return write_in_place(path, writer, context, error);
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return error_set(error, ERROR_HOST, "out of memory");
    const int result = write_and_rename(path, temporary, writer, context, error);
    free(temporary);
    return result;
}
