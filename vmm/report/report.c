#include "vmm/report/report.h"

#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/report/html.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
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

/* Beside path, so that it can be renamed to it. The descriptor, or -1 with errno. */
static int open_partial(const char *path, char name[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    const int folder = slash != NULL ? (int)(slash - path) + 1 : 0;

    for (unsigned i = 0; i < NAMES_TRIED; i++) {
        const int length = snprintf(name, PATH_MAX, "%.*s.%s.%ld-%u", folder, path, path + folder, (long)getpid(), i);
        if (length < 0 || length >= PATH_MAX) {
            errno = ENAMETOOLONG;
            return -1;
        }
        const int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            return fd;
    }
    return -1;
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
    int result = fill(fd, path, writer, context, error);
    if (result == 0 && rename(partial, path) < 0)
        result = fail_to_make(path, error);
    if (result < 0)
        (void)unlink(partial);
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
