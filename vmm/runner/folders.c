#include "vmm/runner/folders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a case's folder, without what makes it unique. NAME_MAX is 255. */
enum { NAME_LENGTH_MAX = 200, NAME_TRIES = 10000, DESCRIPTORS = 16 };
/* A socket's path has 107 bytes at the most (unix(7)); what is behind the folder's has to fit, too. */
enum { TEMPORARY_LENGTH_MAX = 50, TEMPORARY_TRIES = 100 };
#define TEMPORARY_PREFIX "quire-test-"
#define TEMPORARY_MARK ".quire-temporary"

/* ---- Removing ---- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status;
    (void)at;
    if (kind == FTW_DP)
        (void)rmdir(path);
    else
        (void)unlink(path);
    return 0;
}

void folders_remove(const char *path)
{
    if (path != NULL)
        (void)nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* ---- The report's ---- */

/* "." and ".." are not counted. */
static bool is_empty(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool found = false;

    if (folder == NULL)
        return false;
    while (!found && (entry = readdir(folder)) != NULL)
        found = strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(folder);
    return !found;
}

static char *mark_of(const char *path)
{
    char *mark;

    return asprintf(&mark, "%s/" FOLDERS_REPORT_MARK, path) < 0 ? NULL : mark;
}

/*
 * Only what was empty, or not there, when a run began gets the mark. A results.json would not do: in a folder with a
 * user's own files, to which --json has added one, all of them would go.
 */
static bool has_mark(const char *path)
{
    char *mark = mark_of(path);
    const bool result = mark != NULL && access(mark, F_OK) == 0;

    free(mark);
    return result;
}

int folders_check_report(const char *path, struct error *error)
{
    struct stat status;

    if (stat(path, &status) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(error, ERROR_CONFIG, "--report: %s cannot be used: %s", path, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return error_set(error, ERROR_CONFIG, "--report: %s is no folder; name one, it is made if it is not there",
                         path);
    if (access(path, R_OK | W_OK | X_OK) < 0)
        return error_set(error, ERROR_CONFIG, "--report: %s cannot be used: %s", path, strerror(errno));
    if (is_empty(path) || has_mark(path))
        return 0;
    return error_set(error, ERROR_CONFIG,
                     "--report: %s holds something else than an earlier report, and is left alone; name a new folder",
                     path);
}

static int fail_report(const char *path, struct error *error)
{
    return error_set(error, ERROR_CONFIG, "--report: %s cannot be made: %s", path, strerror(errno));
}

static int mark(const char *path, struct error *error)
{
    char *name = mark_of(path);
    const int fd = name != NULL ? open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;

    free(name);
    if (fd < 0)
        return fail_report(path, error);
    close(fd);
    return 0;
}

/* Without the folder itself, which may be a link, or where something is mounted. */
static void empty(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL) {
        char *inner;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, FOLDERS_REPORT_MARK) == 0 || asprintf(&inner, "%s/%s", path, entry->d_name) < 0)
            continue;
        folders_remove(inner);
        free(inner);
    }
    (void)closedir(folder);
}

char *folders_open_report(const char *path, struct error *error)
{
    if (folders_check_report(path, error) < 0)
        return NULL;
    if (mkdir(path, 0777) < 0 && errno != EEXIST) {
        (void)fail_report(path, error);
        return NULL;
    }
    if (mark(path, error) < 0)
        return NULL;
    empty(path);
    char *absolute = realpath(path, NULL);
    if (absolute == NULL)
        (void)fail_report(path, error);
    return absolute;
}

/* ---- Others ---- */

/*
 * The mark in a temporary folder, to be locked: by who uses the folder, until his end, or by who removes it. A folder
 * without one is not such a folder, whatever its name. -1: none, or not ours.
 */
static int open_mark(const char *path, int how)
{
    struct stat status;
    const int folder = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int fd = folder < 0 ? -1 : openat(folder, TEMPORARY_MARK, O_RDWR | O_NOFOLLOW | O_CLOEXEC | how, 0600);

    if (fd >= 0 && (fstat(folder, &status) < 0 || status.st_uid != geteuid())) {
        close(folder);
        close(fd);
        return -1;
    }
    if (folder >= 0)
        close(folder);
    return fd;
}

/* Those of runs that were killed, which nobody has locked any more. */
static void remove_abandoned(const char *base)
{
    DIR *folder = opendir(base);
    const struct dirent *entry;

    if (folder == NULL)
        return;
    while ((entry = readdir(folder)) != NULL) {
        char *path;
        if (strncmp(entry->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)) != 0 ||
            asprintf(&path, "%s/%s", base, entry->d_name) < 0)
            continue;
        const int fd = open_mark(path, 0);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            folders_remove(path);
        if (fd >= 0)
            close(fd);
        free(path);
    }
    (void)closedir(folder);
}

/* Locks a folder that has just been made, and may be taken for an abandoned one until then: false if it is gone. */
static bool lock_temporary(const char *path)
{
    struct stat status;
    const int fd = open_mark(path, O_CREAT | O_EXCL);

    if (fd < 0)
        return false;
    /* Where there are no locks, nobody has one to remove it with. */
    (void)flock(fd, LOCK_EX);
    if (fstat(fd, &status) < 0 || status.st_nlink == 0) {
        close(fd);
        return false;
    }
    /* It stays open: the kernel gives the lock back when the process ends, whatever ends it. */
    return true;
}

char *folders_make_temporary(struct error *error)
{
    const char *base = getenv("TMPDIR");

    if (base == NULL || base[0] != '/' || strlen(base) > TEMPORARY_LENGTH_MAX)
        base = "/tmp";
    remove_abandoned(base);
    for (int i = 0; i < TEMPORARY_TRIES; i++) {
        char *path;
        if (asprintf(&path, "%s/" TEMPORARY_PREFIX "XXXXXX", base) < 0) {
            (void)error_set(error, ERROR_HOST, "out of memory");
            return NULL;
        }
        if (mkdtemp(path) == NULL) {
            (void)error_set(error, ERROR_HOST, "no folder can be made in %s: %s; set TMPDIR to one where it can", base,
                            strerror(errno));
            free(path);
            return NULL;
        }
        if (lock_temporary(path))
            return path;
        free(path);
    }
    (void)error_set(error, ERROR_HOST, "folders that are made in %s do not stay; set TMPDIR to another", base);
    return NULL;
}

static bool is_safe(char letter)
{
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || (letter >= '0' && letter <= '9') ||
           strchr("-_+=,.", letter) != NULL;
}

/* "boot[kernel=6.1]#3" is "boot-kernel=6.1-3". */
static void make_safe(const char *name, char safe[NAME_LENGTH_MAX + 1])
{
    size_t length = 0;

    for (; *name != '\0' && length < NAME_LENGTH_MAX; name++) {
        if (*name == ']')
            continue;
        safe[length] = '-';
        if (is_safe(*name) && !(length == 0 && *name == '.'))
            safe[length] = *name;
        length++;
    }
    safe[length] = '\0';
}

/* Names of files that are beside the folders in a report, whose case makes no difference to some file systems. */
static bool is_taken(const char *safe)
{
    static const char *const names[] = {"index.html", "results.json", "junit.xml", "results.tap", ""};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(safe, names[i]) == 0)
            return true;
    }
    return false;
}

/* The n-th name for a case; NULL: out of memory. */
static char *name_folder(const char *root, const char *safe, unsigned n)
{
    char *path;

    if ((n == 1 ? asprintf(&path, "%s/%s", root, safe) : asprintf(&path, "%s/%s_%u", root, safe, n)) < 0)
        return NULL;
    return path;
}

char *folders_make_for_case(const char *root, const char *name, struct error *error)
{
    char safe[NAME_LENGTH_MAX + 1];

    make_safe(name, safe);
    for (unsigned n = is_taken(safe) ? 2 : 1; n < NAME_TRIES; n++) {
        char *path = name_folder(root, safe, n);
        if (path == NULL) {
            (void)error_set(error, ERROR_HOST, "out of memory");
            return NULL;
        }
        if (mkdir(path, 0777) == 0)
            return path;
        free(path);
        if (errno != EEXIST)
            break;
    }
    (void)error_set(error, ERROR_HOST, "no folder for a case's files can be made in %s: %s", root, strerror(errno));
    return NULL;
}
