#include "vmm/report/report.h"

#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/report/html.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Enough for the names that other processes of this number have left behind. */
#define NAMES_TRIED 100u
/* As prove of Debian 12 reads it. */
#define TAP_VERSION 13u

static int fail_to_make(const char *path, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    return error_set(error, ERROR_CONFIG, "%s: cannot be made: %s", config_text_escape_tail(shown, path),
                     strerror(errno));
}

static int fail_to_write(const char *path, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    return error_set(error, ERROR_HOST, "%s: cannot be written: %s", config_text_escape_tail(shown, path),
                     strerror(errno));
}

/* ---- A file of another name until it is complete ---- */

/* Beside path, so that it can be renamed to it: ".FILE.END"; -1 with errno. */
__attribute__((format(printf, 3, 4))) static int name_beside(const char *path, char name[PATH_MAX], const char *end,
                                                             ...)
{
    const char *slash = strrchr(path, '/');
    const int folder = slash != NULL ? (int)(slash - path) + 1 : 0;
    const int front = snprintf(name, PATH_MAX, "%.*s.%s.", folder, path, path + folder);
    va_list arguments;

    va_start(arguments, end);
    const int rest = front < PATH_MAX ? vsnprintf(name + front, (size_t)(PATH_MAX - front), end, arguments) : 0;
    va_end(arguments);
    if (front + rest < PATH_MAX)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* Whether an open file is this user's alone, and still has the name. */
static bool is_ours_at(int fd, const char *name)
{
    struct stat ours, named;

    return fstat(fd, &ours) == 0 && lstat(name, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino && S_ISREG(ours.st_mode) && ours.st_nlink == 1 && ours.st_uid == geteuid();
}

/*
 * The usual name, which its user has locked: a file that is there without that is of somebody who was killed, and is
 * written anew, so that it does not stay. -1: there is one at work, or such a thing cannot be had here.
 */
static int open_usual(const char *path, char name[PATH_MAX])
{
    if (name_beside(path, name, "partial") < 0)
        return -1;
    const int fd = open(name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0)
        return -1;
    const bool is_locked = flock(fd, LOCK_EX | LOCK_NB) == 0, has_locks = is_locked || errno == EWOULDBLOCK;
    const bool is_ours = is_ours_at(fd, name);
    if (is_locked && is_ours && ftruncate(fd, 0) == 0)
        return fd;
    /* Where nothing can be locked nobody uses this name, and we have just made it. */
    if (!has_locks && is_ours)
        (void)unlink(name);
    close(fd);
    return -1;
}

/* The descriptor, or -1 with errno. */
static int open_partial(const char *path, char name[PATH_MAX])
{
    int fd = open_usual(path, name);

    for (unsigned i = 0; fd < 0 && i < NAMES_TRIED; i++) {
        if (name_beside(path, name, "%ld-%u", (long)getpid(), i) < 0)
            return -1;
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            return -1;
    }
    return fd;
}

/* Writes all, and closes the descriptor in any case. path: for messages. */
static int fill(int fd, const char *path, report_writer *writer, const void *context, struct error *error)
{
    FILE *out = fdopen(fd, "w");

    if (out == NULL) {
        close(fd);
        return config_out_of_memory(error);
    }
    errno = 0;
    int result = writer(context, out, error);
    if (result == 0 && (fflush(out) != 0 || ferror(out)))
        result = fail_to_write(path, error);
    if (fclose(out) != 0 && result == 0)
        result = fail_to_write(path, error);
    return result;
}

static int write_whole(const char *path, report_writer *writer, const void *context, struct error *error)
{
    char partial[PATH_MAX];
    const int fd = open_partial(path, partial);

    if (fd < 0)
        return fail_to_make(path, error);
    /* The lock is kept until the file has its name. */
    const int lock = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int result = fill(fd, path, writer, context, error);
    if (result == 0 && rename(partial, path) < 0)
        result = fail_to_make(path, error);
    if (result < 0)
        (void)unlink(partial);
    if (lock >= 0)
        close(lock);
    return result;
}

/* ---- One form ---- */

int report_json(const void *context, FILE *out, struct error *error)
{
    return results_write_json(context, out, error);
}

int report_junit(const void *context, FILE *out, struct error *error)
{
    (void)error;
    results_write_junit(context, out);
    return 0;
}

int report_tap(const void *context, FILE *out, struct error *error)
{
    (void)error;
    results_write_tap(context, TAP_VERSION, out);
    return 0;
}

/* A device must not be replaced by a file, nor a link, which may be /dev/stdout. */
static bool is_written_in_place(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

static int write_in_place(const char *path, report_writer *writer, const void *context, struct error *error)
{
    const bool is_standard = strcmp(path, "-") == 0;

    if (is_standard && fflush(stdout) != 0)
        return fail_to_write("standard output", error);
    const int fd = is_standard ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0)
        return fail_to_make(is_standard ? "standard output" : path, error);
    return fill(fd, is_standard ? "standard output" : path, writer, context, error);
}

int report_write_file(const char *path, report_writer *writer, const void *context, struct error *error)
{
    if (strcmp(path, "-") == 0 || is_written_in_place(path))
        return write_in_place(path, writer, context, error);
    return write_whole(path, writer, context, error);
}

/* ---- The folder ---- */

static int write_in(const char *directory, const char *name, report_writer *writer, const void *context,
                    struct error *error)
{
    char *path = NULL;

    if (asprintf(&path, "%s/%s", directory, name) < 0)
        return config_out_of_memory(error);
    const int result = write_whole(path, writer, context, error);
    free(path);
    return result;
}

struct page {
    const struct results *results;
    int folder;
};

static int page(const void *context, FILE *out, struct error *error)
{
    const struct page *of = context;

    return html_write(of->results, of->folder, out, error);
}

static int write_page(const char *directory, const struct results *results, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    const struct page of = {results, open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC)};

    if (of.folder < 0)
        return error_set(error, ERROR_CONFIG, "%s: cannot be opened: %s", config_text_escape_tail(shown, directory),
                         strerror(errno));
    const int result = write_in(directory, REPORT_PAGE, page, &of, error);
    close(of.folder);
    return result;
}

int report_write(const struct results *results, const char *directory, struct error *error)
{
    /* The page comes last: where it is new, all is. */
    if (write_in(directory, REPORT_JSON, report_json, results, error) < 0 ||
        write_in(directory, REPORT_JUNIT, report_junit, results, error) < 0 ||
        write_in(directory, REPORT_TAP, report_tap, results, error) < 0)
        return -1;
    return write_page(directory, results, error);
}
