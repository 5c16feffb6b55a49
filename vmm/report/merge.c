#include "vmm/report/merge.h"

#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/report/artefact.h"
#include "vmm/report/report.h"
#include "vmm/report/results_read.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In front of the number of the report that a folder of copies is for. */
#define COPIES "report-"

/* A case, the number of the report that it is from, and its own in there. */
struct entry {
    struct result_case *one;
    size_t report;
    size_t index;
};

struct merge {
    const char *const *paths;
    size_t count;
    struct results **reports;
    struct entry *entries;
    size_t entry_count;
    struct error *error;
};

/* ---- Reading ---- */

static bool is_folder(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

struct results *merge_read(const char *path, struct error *error)
{
    char *file = NULL;

    if (!is_folder(path))
        return results_read_json(path, error);
    if (asprintf(&file, "%s/" REPORT_JSON, path) < 0) {
        (void)config_out_of_memory(error);
        return NULL;
    }
    struct results *results = results_read_json(file, error);
    free(file);
    return results;
}

/* The folder that a report's attachments are below of. -1 with errno. */
static int open_report(const char *path)
{
    if (is_folder(path))
        return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    char *folder = strndup(path, (size_t)(slash - path) + 1);
    if (folder == NULL)
        return -1;
    const int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    return fd;
}

static int read_reports(struct merge *merge)
{
    size_t total = 0;

    merge->reports = calloc(merge->count, sizeof(struct results *));
    if (merge->reports == NULL)
        return config_out_of_memory(merge->error);
    for (size_t i = 0; i < merge->count; i++) {
        merge->reports[i] = merge_read(merge->paths[i], merge->error);
        if (merge->reports[i] == NULL)
            return -1;
        total += merge->reports[i]->case_count;
    }
    merge->entries = calloc(total + 1, sizeof(*merge->entries));
    if (merge->entries == NULL)
        return config_out_of_memory(merge->error);
    for (size_t i = 0; i < merge->count; i++)
        for (size_t j = 0; j < merge->reports[i]->case_count; j++)
            merge->entries[merge->entry_count++] = (struct entry){merge->reports[i]->cases[j], i, j};
    return 0;
}

/* ---- Cases ---- */

static int compare_cases(const struct result_case *a, const struct result_case *b)
{
    const int order = strcmp(a->name, b->name);

    return order != 0 ? order : strcmp(a->file != NULL ? a->file : "", b->file != NULL ? b->file : "");
}

/* Of one case, what has been run is first. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    const int order = compare_cases(left->one, right->one);
    const int runs = (left->one->status == RESULT_NOT_RUN) - (right->one->status == RESULT_NOT_RUN);

    if (order != 0 || runs != 0)
        return order != 0 ? order : runs;
    return (left->report > right->report) - (left->report < right->report);
}

static int fail_twice(const struct merge *merge, const struct entry *a, const struct entry *b)
{
    char shown[CONFIG_TEXT_SIZE];
    char first[CONFIG_TEXT_SIZE];
    char second[CONFIG_TEXT_SIZE];

    return error_set(merge->error, ERROR_CONFIG,
                     "%.120s has been run in %.120s and in %.120s; leave one of the two reports out",
                     config_text_quote(shown, a->one->name, strlen(a->one->name)),
                     config_text_escape_tail(first, merge->paths[a->report]),
                     config_text_escape_tail(second, merge->paths[b->report]));
}

/* One entry for each case. */
static int choose_cases(struct merge *merge)
{
    size_t kept = 0;

    qsort(merge->entries, merge->entry_count, sizeof(*merge->entries), compare_entries);
    for (size_t i = 0; i < merge->entry_count; i++) {
        const struct entry *last = kept > 0 ? &merge->entries[kept - 1] : NULL;
        if (last == NULL || compare_cases(last->one, merge->entries[i].one) != 0)
            merge->entries[kept++] = merge->entries[i];
        else if (merge->entries[i].one->status != RESULT_NOT_RUN)
            return fail_twice(merge, last, &merge->entries[i]);
    }
    merge->entry_count = kept;
    return 0;
}

/* ---- Attachments ---- */

/* Where the copies are. */
struct copying {
    const struct merge *merge;
    int to;
    struct merge_missing *missing;
};

/* what: with why behind it, which may be empty. */
static int fail_to_copy(const struct copying *copying, const struct entry *entry, const char *path,
                        enum error_kind kind, const char *what, const char *why)
{
    char shown[CONFIG_TEXT_SIZE];
    char report[CONFIG_TEXT_SIZE];

    return error_set(copying->merge->error, kind, "%.150s: the attachment %.150s %s%s",
                     config_text_escape_tail(report, copying->merge->paths[entry->report]),
                     config_text_quote(shown, path, strlen(path)), what, why);
}

static int fail_to_open(const struct copying *copying, const struct entry *entry, const char *path, int why)
{
    /* ENXIO: a socket. */
    if (why == EINVAL || why == ELOOP || why == ENOTDIR || why == ENXIO)
        return fail_to_copy(copying, entry, path, ERROR_CONFIG, "is no file below the report's folder", "");
    return fail_to_copy(copying, entry, path, ERROR_HOST, "cannot be read: ", strerror(why));
}

static void note_missing(struct merge_missing *missing, const char *path)
{
    char shown[CONFIG_TEXT_SIZE];

    if (missing->count++ == 0)
        (void)snprintf(missing->first, sizeof(missing->first), "%s", config_text_escape_tail(shown, path));
}

static void drop_attachment(struct result_attachment *attachment)
{
    free(attachment->name);
    free(attachment->path);
    *attachment = (struct result_attachment){NULL, NULL};
}

/* Copies its file from below the folder, and renames it; or drops it if that is not there. */
static int copy_attachment(const struct copying *copying, const struct entry *entry, int folder,
                           struct result_attachment *attachment)
{
    char *path = NULL;

    const int from = artefact_open(folder, attachment->path);
    if (from < 0 && (errno == ENOENT || errno == EACCES) && artefact_path_is_safe(attachment->path)) {
        note_missing(copying->missing, attachment->path);
        drop_attachment(attachment);
        return 0;
    }
    if (from < 0)
        return fail_to_open(copying, entry, attachment->path, errno);
    if (asprintf(&path, COPIES "%zu/%s", entry->report + 1, attachment->path) < 0) {
        close(from);
        return config_out_of_memory(copying->merge->error);
    }
    const int result = artefact_copy(from, copying->to, path);
    const int why = errno;
    close(from);
    free(attachment->path);
    attachment->path = path;
    return result < 0 ? fail_to_copy(copying, entry, path, ERROR_HOST, "cannot be written: ", strerror(why)) : 0;
}

/* Closes the gaps that dropped ones have left. */
static void keep_attachments(struct result_case *one)
{
    size_t kept = 0;

    for (size_t i = 0; i < one->attachment_count; i++)
        if (one->attachments[i].path != NULL)
            one->attachments[kept++] = one->attachments[i];
    one->attachment_count = kept;
}

static int fail_to_read(const struct merge *merge, size_t report)
{
    char shown[CONFIG_TEXT_SIZE];

    return error_set(merge->error, ERROR_CONFIG, "%s: cannot be read: %s",
                     config_text_escape_tail(shown, merge->paths[report]), strerror(errno));
}

static int copy_attachments(const struct copying *copying, const struct entry *entry)
{
    struct result_case *one = entry->one;
    int result = 0;

    if (one->attachment_count == 0)
        return 0;
    const int folder = open_report(copying->merge->paths[entry->report]);
    if (folder < 0)
        return fail_to_read(copying->merge, entry->report);
    for (size_t i = 0; i < one->attachment_count && result == 0; i++)
        result = copy_attachment(copying, entry, folder, &one->attachments[i]);
    close(folder);
    keep_attachments(one);
    return result;
}

static bool is_same(int a, int b)
{
    struct stat one;
    struct stat other;

    return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* The folder that is written to, which is that of no report. */
static int check_target(const struct merge *merge, int to, const char *directory)
{
    char shown[CONFIG_TEXT_SIZE];

    for (size_t i = 0; i < merge->count; i++) {
        const int folder = open_report(merge->paths[i]);
        if (folder < 0)
            return fail_to_read(merge, i);
        const bool is_overwritten = is_same(folder, to);
        close(folder);
        if (is_overwritten)
            return error_set(merge->error, ERROR_CONFIG,
                             "%s: is one of the reports, and would be overwritten; name another folder",
                             config_text_escape_tail(shown, directory));
    }
    return 0;
}

/* What is in a folder is neither a report nor what a merge that failed has left. */
static bool is_somebodys(const char *directory)
{
    DIR *folder = opendir(directory);
    const struct dirent *entry;
    bool has_others = false;
    bool has_results = false;

    if (folder == NULL)
        return false;
    while ((entry = readdir(folder)) != NULL) {
        const char *name = entry->d_name;
        has_results = has_results || strcmp(name, REPORT_JSON) == 0;
        has_others = has_others ||
                     (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strncmp(name, COPIES, strlen(COPIES)) != 0);
    }
    (void)closedir(folder);
    return has_others && !has_results;
}

static int open_target(const char *directory, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    if (mkdir(directory, 0777) < 0 && errno != EEXIST)
        return error_set(error, ERROR_CONFIG, "%s: cannot be made: %s", config_text_escape_tail(shown, directory),
                         strerror(errno));
    if (is_somebodys(directory))
        return error_set(error, ERROR_CONFIG,
                         "%s: holds something else than a report, and is left alone; name a new folder",
                         config_text_escape_tail(shown, directory));
    const int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd
                   : error_set(error, ERROR_CONFIG, "%s: cannot be opened: %s",
                               config_text_escape_tail(shown, directory), strerror(errno));
}

static int copy_everything(struct merge *merge, const char *directory, struct merge_missing *missing)
{
    const struct copying copying = {.merge = merge, .to = open_target(directory, merge->error), .missing = missing};

    if (copying.to < 0)
        return -1;
    int result = check_target(merge, copying.to, directory);
    for (size_t i = 0; result == 0 && i < merge->entry_count; i++)
        result = copy_attachments(&copying, &merge->entries[i]);
    close(copying.to);
    return result;
}

static void drop_everything(struct merge *merge)
{
    for (size_t i = 0; i < merge->entry_count; i++) {
        struct result_case *one = merge->entries[i].one;
        for (size_t j = 0; j < one->attachment_count; j++)
            drop_attachment(&one->attachments[j]);
        one->attachment_count = 0;
    }
}

/* ---- The whole ---- */

/* All the suites' names are one, or there is none that fits. */
static const char *suite_of(const struct merge *merge)
{
    const char *name = merge->reports[0]->suite;

    for (size_t i = 1; i < merge->count && name != NULL; i++)
        if (merge->reports[i]->suite == NULL || strcmp(merge->reports[i]->suite, name) != 0)
            return "merged";
    return name;
}

/* Closes the gaps that cases have left. */
static void keep_cases(struct results *report)
{
    size_t kept = 0;

    for (size_t i = 0; i < report->case_count; i++)
        if (report->cases[i] != NULL)
            report->cases[kept++] = report->cases[i];
    report->case_count = kept;
}

/* Cases that are the whole's are no report's any more. */
static void take_cases(struct merge *merge, struct results *all)
{
    for (size_t i = 0; i < merge->entry_count; i++) {
        const struct entry *entry = &merge->entries[i];
        merge->reports[entry->report]->cases[entry->index] = NULL;
        all->cases[all->case_count++] = entry->one;
    }
    for (size_t i = 0; i < merge->count; i++)
        keep_cases(merge->reports[i]);
}

static struct results *put_together(struct merge *merge)
{
    struct results *all = results_create(suite_of(merge), merge->error);

    if (all == NULL)
        return NULL;
    all->cases = calloc(merge->entry_count + 1, sizeof(*all->cases));
    if (all->cases == NULL) {
        (void)config_out_of_memory(merge->error);
        results_free(all);
        return NULL;
    }
    for (size_t i = 0; i < merge->count; i++) {
        const struct results *report = merge->reports[i];
        all->duration_ns += report->duration_ns;
        if (all->duration_ns > RESULTS_READ_NS_MAX)
            all->duration_ns = RESULTS_READ_NS_MAX;
        if (report->started_at > 0 && (all->started_at == 0 || report->started_at < all->started_at))
            all->started_at = report->started_at;
    }
    take_cases(merge, all);
    return all;
}

struct results *merge_reports(const char *const paths[], size_t count, const char *directory,
                              struct merge_missing *missing, struct error *error)
{
    struct merge merge = {.paths = paths, .count = count, .error = error};
    struct results *all = NULL;

    *missing = (struct merge_missing){0};
    if (read_reports(&merge) == 0 && choose_cases(&merge) == 0) {
        int result = 0;
        if (directory != NULL)
            result = copy_everything(&merge, directory, missing);
        else
            drop_everything(&merge);
        all = result == 0 ? put_together(&merge) : NULL;
    }
    for (size_t i = 0; merge.reports != NULL && i < count; i++)
        results_free(merge.reports[i]);
    free(merge.reports);
    free(merge.entries);
    return all;
}
