#include "vmm/runner/times.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/report/report.h"
#include "vmm/runner/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A week (SCENARIO_MAX_TIME_NS), and then some: what is more is damage. */
static const double MAX_SECONDS = 1e7;

char *times_default_path(void)
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    char *path = NULL;
    int length = -1;

    /* A relative one is to be ignored (XDG Base Directory Specification). */
    if (state != NULL && state[0] == '/')
        length = asprintf(&path, "%s/quire/tests.json", state);
    else if (home != NULL && home[0] == '/')
        length = asprintf(&path, "%s/.local/state/quire/tests.json", home);
    return length < 0 ? NULL : path;
}

/* ---- Entries ---- */

static int compare(const struct times_entry *entry, const char *file, const char *name)
{
    const int order = strcmp(entry->file, file);

    return order != 0 ? order : strcmp(entry->name, name);
}

/* Where the case is, or belongs. */
static size_t place_of(const struct times *times, const char *file, const char *name)
{
    size_t low = 0;
    size_t high = times->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (compare(&times->entries[middle], file, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct times_entry *find(const struct times *times, const char *file, const char *name)
{
    const size_t place = place_of(times, file, name);

    if (place == times->count || compare(&times->entries[place], file, name) != 0)
        return NULL;
    return &times->entries[place];
}

const struct times_entry *times_find(const struct times *times, const char *file, const char *name)
{
    return find(times, file, name);
}

static struct times_entry *add(struct times *times, const char *file, const char *name, struct error *error)
{
    const size_t place = place_of(times, file, name);
    struct times_entry entry = {.file = strdup(file), .name = strdup(name)};
    struct times_entry *grown = reallocarray(times->entries, times->count + 1, sizeof(*grown));

    if (grown != NULL)
        times->entries = grown;
    if (grown == NULL || entry.file == NULL || entry.name == NULL) {
        free(entry.file);
        free(entry.name);
        (void)config_out_of_memory(error);
        return NULL;
    }
    memmove(&grown[place + 1], &grown[place], (times->count - place) * sizeof(*grown));
    grown[place] = entry;
    times->count++;
    return &grown[place];
}

int times_note(struct times *times, const char *file, const char *name, enum result_status status, uint64_t duration_ns,
               int64_t at, struct error *error)
{
    struct times_entry *entry = find(times, file, name);

    if (entry == NULL)
        entry = add(times, file, name, error);
    if (entry == NULL)
        return -1;
    entry->status = status;
    entry->at = at;
    if (status == RESULT_PASSED || (status == RESULT_FAILED && !entry->has_passed)) {
        entry->duration_ns = duration_ns;
        entry->has_passed = status == RESULT_PASSED;
    }
    return 0;
}

void times_free(struct times *times)
{
    for (size_t i = 0; i < times->count; i++) {
        free(times->entries[i].file);
        free(times->entries[i].name);
    }
    free(times->entries);
    *times = (struct times){0};
}

/* ---- Reading ---- */

static bool find_status(const char *word, enum result_status *ret_status)
{
    for (int status = 0; status < RESULT_STATUS_COUNT; status++) {
        if (strcmp(result_status_name((enum result_status)status), word) == 0) {
            *ret_status = (enum result_status)status;
            return true;
        }
    }
    return false;
}

/* 0; 1: it is not as it should be; -1: no memory. */
static int take_case(json_t *object, struct times *times, struct error *error)
{
    const char *file, *name, *word;
    enum result_status status;
    double seconds;
    json_int_t at;
    int has_passed;

    if (json_unpack(object, "{s:s, s:s, s:F, s:b, s:s, s:I}", "file", &file, "name", &name, "seconds", &seconds,
                    "passes", &has_passed, "status", &word, "at", &at) < 0)
        return 1;
    if (!find_status(word, &status) || !(seconds >= 0 && seconds < MAX_SECONDS))
        return 1;
    struct times_entry *entry = find(times, file, name);
    if (entry == NULL)
        entry = add(times, file, name, error);
    if (entry == NULL)
        return -1;
    entry->duration_ns = (uint64_t)(seconds * 1e9);
    entry->has_passed = has_passed != 0;
    entry->status = status;
    entry->at = at;
    return 0;
}

static int fail_damaged(const char *path, const char *how, struct error *error)
{
    return error_set(error, ERROR_CONFIG,
                     "%s: %s, so nothing is known of earlier runs; it is replaced when this one ends", path, how);
}

static int take_cases(const char *path, const json_t *all, struct times *times, struct error *error)
{
    const json_t *cases = json_object_get(all, "cases");

    if (json_integer_value(json_object_get(all, "format")) != 1 || !json_is_array(cases))
        return fail_damaged(path, "not a file of earlier runs' times", error);
    if (json_array_size(cases) > TIMES_MAX)
        return fail_damaged(path, "too many cases", error);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const int result = take_case(json_array_get(cases, i), times, error);
        if (result != 0)
            return result < 0 ? -1 : fail_damaged(path, "damaged", error);
    }
    return 0;
}

static int read_from(const char *path, FILE *in, struct times *times, struct error *error)
{
    struct stat status;
    json_error_t where;

    if (fstat(fileno(in), &status) < 0 || !S_ISREG(status.st_mode))
        return error_set(error, ERROR_CONFIG, "%s: not a regular file; name another for the times of cases", path);
    if (status.st_size > TIMES_MAX_BYTES)
        return fail_damaged(path, "too large", error);
    json_t *all = json_loadf(in, JSON_REJECT_DUPLICATES, &where);
    if (all == NULL)
        return fail_damaged(path, "damaged", error);
    const int result = take_cases(path, all, times, error);
    json_decref(all);
    if (result < 0)
        times_free(times);
    return result;
}

int times_read(const char *path, struct times *times, struct error *error)
{
    *times = (struct times){0};
    FILE *in = fopen(path, "re");
    if (in == NULL && errno == ENOENT)
        return 0;
    if (in == NULL)
        return error_set(error, ERROR_CONFIG, "%s: %s; nothing is known of earlier runs", path, strerror(errno));
    const int result = read_from(path, in, times, error);
    (void)fclose(in);
    return result;
}

/* ---- Writing ---- */

static int compare_ages(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a;
    const int64_t y = *(const int64_t *)b;

    return (x < y) - (x > y);
}

/* The oldest that stays, where there are too many. */
static int find_oldest(const struct times *times, int64_t *ret_at, struct error *error)
{
    *ret_at = INT64_MIN;
    if (times->count <= TIMES_MAX)
        return 0;
    int64_t *ages = calloc(times->count, sizeof(*ages));
    if (ages == NULL)
        return config_out_of_memory(error);
    for (size_t i = 0; i < times->count; i++)
        ages[i] = times->entries[i].at;
    qsort(ages, times->count, sizeof(*ages), compare_ages);
    *ret_at = ages[TIMES_MAX - 1];
    free(ages);
    return 0;
}

static json_t *case_of(const struct times_entry *entry)
{
    return json_pack("{s:s, s:s, s:f, s:b, s:s, s:I}", "file", entry->file, "name", entry->name, "seconds",
                     (double)entry->duration_ns / 1e9, "passes", entry->has_passed, "status",
                     result_status_name(entry->status), "at", (json_int_t)entry->at);
}

static int write_json(const void *context, FILE *out, struct error *error)
{
    const struct times *times = context;
    json_t *cases = json_array();
    int64_t oldest;

    if (find_oldest(times, &oldest, error) < 0) {
        json_decref(cases);
        return -1;
    }
    for (size_t i = 0; i < times->count && json_array_size(cases) < TIMES_MAX; i++) {
        /* One whose file has a name that is no UTF-8 cannot be told of, and is not remembered. */
        json_t *one = times->entries[i].at >= oldest ? case_of(&times->entries[i]) : NULL;
        if (one != NULL)
            (void)json_array_append_new(cases, one);
    }
    json_t *all = json_pack("{s:i, s:o}", "format", 1, "cases", cases);
    char *text = all != NULL ? json_dumps(all, JSON_INDENT(1)) : NULL;
    json_decref(all);
    if (text == NULL)
        return config_out_of_memory(error);
    (void)fprintf(out, "%s\n", text);
    free(text);
    return 0;
}

/* Those above the file; that they cannot be made is told by who makes the file. */
static void make_folders(const char *path)
{
    char *copy = strdup(path);

    if (copy == NULL)
        return;
    for (char *slash = strchr(copy + strspn(copy, "/"), '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(copy, 0777);
        *slash = '/';
    }
    free(copy);
}

int times_write(const char *path, const struct times *times, struct error *error)
{
    make_folders(path);
    return report_write_file(path, write_json, times, error);
}

/* ---- Changing ---- */

/*
 * The lock is the folder's, as the file is another one after each change, and a file for the lock would be left behind.
 * A descriptor, or -1: there is none to be had, and nothing to be done but to go on without.
 */
static int lock_folder_of(const char *path, uint64_t patience_ns)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    const uint64_t started = clock_now_ns();
    char *folder = config_path_folder(path);
    const int fd = folder != NULL ? open(folder[0] != '\0' ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    free(folder);
    while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || clock_now_ns() - started >= patience_ns) {
            (void)close(fd);
            return -1;
        }
        (void)nanosleep(&moment, NULL);
    }
    return fd;
}

int times_update(const char *path, uint64_t patience_ns, times_change *change, void *context, struct error *error)
{
    struct times times;

    make_folders(path);
    const int lock = lock_folder_of(path, patience_ns);
    /* Of a file that is damaged nothing can be kept. */
    (void)times_read(path, &times, error);
    const int result = change(context, &times, error) < 0 ? -1 : times_write(path, &times, error);
    times_free(&times);
    if (lock >= 0)
        (void)close(lock);
    return result;
}
