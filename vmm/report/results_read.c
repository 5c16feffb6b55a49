#include "vmm/report/results_read.h"

#include "vmm/config/place.h"
#include "vmm/config/text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Seconds: more than any case takes, and few enough that ns come back as they were. */
#define SECONDS_MAX 2000000.0
/* More than all cases of many machines take together, and few enough that microseconds do. */
#define SECONDS_OF_ALL_MAX ((double)(RESULTS_READ_NS_MAX / 1000000000u))
#define KEYS_MAX 11u

/* Where in the file an object is, for messages: "cases[3].steps[0]". */
struct place_in {
    const struct place_in *outer;
    const char *key;
    /* In a list; NO_INDEX: it is in none. */
    size_t index;
};
#define NO_INDEX SIZE_MAX

struct reader {
    const char *path;
    struct results *results;
    struct error *error;
};

/* ---- Errors ---- */

/* With a full stop behind it, for what is in there. */
static void write_place(const struct place_in *place, char *text, size_t size)
{
    if (place == NULL)
        return;
    write_place(place->outer, text, size);
    const size_t length = strlen(text);
    if (place->index == NO_INDEX)
        (void)snprintf(text + length, size - length, "%s.", place->key);
    else
        (void)snprintf(text + length, size - length, "%s[%zu].", place->key, place->index);
}

/* key: NULL for the object itself, which is in some other. */
__attribute__((format(printf, 4, 5))) static int fail(const struct reader *reader, const struct place_in *place,
                                                      const char *key, const char *format, ...)
{
    char shown[CONFIG_TEXT_SIZE];
    char text[200] = "";
    char what[200];
    va_list args;

    write_place(place, text, sizeof(text));
    if (key == NULL)
        text[strlen(text) - 1] = '\0';
    va_start(args, format);
    (void)vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return error_set(reader->error, ERROR_CONFIG, "%s: %s%s: %s; it is no results.json of this version of quire",
                     config_text_escape_tail(shown, reader->path), text, key != NULL ? key : "", what);
}

/* ---- Values ---- */

/* All the keys, and no other. */
static int check_keys(const struct reader *reader, const struct place_in *place, json_t *object,
                      const char *const keys[])
{
    char shown[CONFIG_TEXT_SIZE];
    const char *key;
    json_t *value;
    size_t known = 0;

    if (!json_is_object(object))
        return fail(reader, place, NULL, "an object was expected");
    for (; keys[known] != NULL; known++)
        if (json_object_get(object, keys[known]) == NULL)
            return fail(reader, place, keys[known], "is not there");
    if (json_object_size(object) == known)
        return 0;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        for (; keys[i] != NULL && strcmp(keys[i], key) != 0; i++)
            ;
        if (keys[i] == NULL)
            return fail(reader, place, config_text_escape(shown, key, strlen(key)), "nobody knows this key");
    }
    return 0;
}

/* A text, or null. */
static int read_text(const struct reader *reader, const struct place_in *place, json_t *object, const char *key,
                     char **to)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_null(value) && !json_is_string(value))
        return fail(reader, place, key, "a text or null was expected");
    return result_set_text(to, json_string_value(value), reader->error);
}

/* A text. NULL, with the error. */
static const char *text_of(const struct reader *reader, const struct place_in *place, json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    if (text == NULL)
        (void)fail(reader, place, key, "a text was expected");
    return text;
}

static int read_time(const struct reader *reader, const struct place_in *place, json_t *object, const char *key,
                     uint64_t *ns)
{
    const json_t *value = json_object_get(object, key);
    const double seconds = json_number_value(value);

    if (!json_is_number(value) || !(seconds >= 0 && seconds <= SECONDS_MAX))
        return fail(reader, place, key, "seconds from 0 to %.0f were expected", SECONDS_MAX);
    *ns = (uint64_t)(seconds * 1e9 + 0.5);
    return 0;
}

/* The same for the time of all cases together. */
static int read_time_of_all(const struct reader *reader, json_t *all, uint64_t *ns)
{
    const json_t *value = json_object_get(all, "duration");
    const double seconds = json_number_value(value);

    if (!json_is_number(value) || seconds <= SECONDS_MAX)
        return read_time(reader, NULL, all, "duration", ns);
    if (seconds > SECONDS_OF_ALL_MAX)
        return fail(reader, NULL, "duration", "seconds from 0 to %.0f were expected", SECONDS_OF_ALL_MAX);
    *ns = (uint64_t)(seconds * 1e6 + 0.5) * 1000;
    return 0;
}

static int read_count(const struct reader *reader, const struct place_in *place, json_t *object, const char *key,
                      json_int_t *to)
{
    const json_t *value = json_object_get(object, key);

    *to = json_integer_value(value);
    return json_is_integer(value) && *to >= 0 ? 0 : fail(reader, place, key, "a number from 0 on was expected");
}

static int read_bool(const struct reader *reader, const struct place_in *place, json_t *object, const char *key,
                     bool *to)
{
    const json_t *value = json_object_get(object, key);

    *to = json_is_true(value);
    return json_is_boolean(value) ? 0 : fail(reader, place, key, "true or false was expected");
}

static const char *result_name(int status)
{
    return result_status_name((enum result_status)status);
}

static const char *ktap_name(int status)
{
    return ktap_status_name((enum ktap_status)status);
}

/* The one of count names that a key has, or -1 with the error. */
static int read_name(const struct reader *reader, const struct place_in *place, json_t *object, const char *key,
                     const char *(*name)(int), int count)
{
    char shown[CONFIG_TEXT_SIZE];
    const char *text = text_of(reader, place, object, key);

    if (text == NULL)
        return -1;
    for (int i = 0; i < count; i++)
        if (strcmp(name(i), text) == 0)
            return i;
    return fail(reader, place, key, "%s is none that is known", config_text_quote(shown, text, strlen(text)));
}

static int read_status(const struct reader *reader, const struct place_in *place, json_t *object,
                       enum result_status *to)
{
    const int status = read_name(reader, place, object, "status", result_name, RESULT_STATUS_COUNT);

    if (status < 0)
        return -1;
    *to = (enum result_status)status;
    return 0;
}

/* ---- Parts of a case ---- */

typedef int read_part(const struct reader *reader, const struct place_in *place, json_t *object,
                      struct result_case *one);

static int read_step(const struct reader *reader, const struct place_in *place, json_t *object, struct result_case *one)
{
    static const char *const keys[] = {"kind", "title", "status", "start", "duration", "message", "detail", NULL};

    if (check_keys(reader, place, object, keys) < 0)
        return -1;
    const char *kind = text_of(reader, place, object, "kind");
    struct result_step *step = kind != NULL ? result_add_step(one, kind, NULL, reader->error) : NULL;
    if (step == NULL || read_text(reader, place, object, "title", &step->title) < 0 ||
        read_status(reader, place, object, &step->status) < 0 ||
        read_time(reader, place, object, "start", &step->start_ns) < 0 ||
        read_time(reader, place, object, "duration", &step->duration_ns) < 0 ||
        read_text(reader, place, object, "message", &step->message) < 0)
        return -1;
    return read_text(reader, place, object, "detail", &step->detail);
}

static int read_subtest(const struct reader *reader, const struct place_in *place, json_t *object,
                        struct result_case *one)
{
    static const char *const keys[] = {"name", "status", "reason", "diagnostics", NULL};

    if (check_keys(reader, place, object, keys) < 0)
        return -1;
    const char *name = text_of(reader, place, object, "name");
    const int status = name != NULL ? read_name(reader, place, object, "status", ktap_name, KTAP_STATUS_COUNT) : -1;
    struct result_subtest *subtest = status >= 0 ? result_add_subtest(one, name, reader->error) : NULL;
    if (subtest == NULL)
        return -1;
    subtest->status = (enum ktap_status)status;
    if (read_text(reader, place, object, "reason", &subtest->reason) < 0)
        return -1;
    return read_text(reader, place, object, "diagnostics", &subtest->diagnostics);
}

static int read_trouble(const struct reader *reader, const struct place_in *place, json_t *object,
                        struct result_case *one)
{
    static const char *const keys[] = {"kind", "line", "at", "text", "tolerated", NULL};
    char shown[CONFIG_TEXT_SIZE];
    json_int_t line;

    if (check_keys(reader, place, object, keys) < 0)
        return -1;
    const char *name = text_of(reader, place, object, "kind");
    if (name == NULL)
        return -1;
    const enum trouble_kind kind = trouble_find(name);
    if (kind == TROUBLE_NONE)
        return fail(reader, place, "kind", "%s is no kind of trouble", config_text_quote(shown, name, strlen(name)));
    struct result_trouble *trouble = result_add_trouble(one, kind, NULL, reader->error);
    if (trouble == NULL || read_count(reader, place, object, "line", &line) < 0 ||
        read_time(reader, place, object, "at", &trouble->at_ns) < 0 ||
        read_text(reader, place, object, "text", &trouble->text) < 0)
        return -1;
    trouble->line = (uint64_t)line;
    return read_bool(reader, place, object, "tolerated", &trouble->is_tolerated);
}

static int read_attachment(const struct reader *reader, const struct place_in *place, json_t *object,
                           struct result_case *one)
{
    static const char *const keys[] = {"name", "path", NULL};

    if (check_keys(reader, place, object, keys) < 0)
        return -1;
    const char *name = text_of(reader, place, object, "name");
    const char *path = name != NULL ? text_of(reader, place, object, "path") : NULL;
    return path != NULL && result_add_attachment(one, name, path, reader->error) != NULL ? 0 : -1;
}

static int read_list(const struct reader *reader, const struct place_in *place, json_t *object, const char *key,
                     read_part *read, struct result_case *one)
{
    const json_t *list = json_object_get(object, key);

    if (!json_is_array(list))
        return fail(reader, place, key, "a list was expected");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const struct place_in inner = {place, key, i};
        if (read(reader, &inner, json_array_get(list, i), one) < 0)
            return -1;
    }
    return 0;
}

/* ---- The whole ---- */

static int read_case(const struct reader *reader, const struct place_in *place, json_t *object)
{
    static const char *const keys[] = {"name",    "file",  "status",   "started", "duration",    "message",
                                       "console", "steps", "subtests", "trouble", "attachments", NULL};
    json_int_t started;

    if (check_keys(reader, place, object, keys) < 0)
        return -1;
    const char *name = text_of(reader, place, object, "name");
    struct result_case *one = name != NULL ? results_add_case(reader->results, name, NULL, reader->error) : NULL;
    if (one == NULL || read_text(reader, place, object, "file", &one->file) < 0 ||
        read_status(reader, place, object, &one->status) < 0 ||
        read_count(reader, place, object, "started", &started) < 0 ||
        read_time(reader, place, object, "duration", &one->duration_ns) < 0 ||
        read_text(reader, place, object, "message", &one->message) < 0 ||
        read_text(reader, place, object, "console", &one->console) < 0)
        return -1;
    one->started_at = started;
    if (read_list(reader, place, object, "steps", read_step, one) < 0 ||
        read_list(reader, place, object, "subtests", read_subtest, one) < 0 ||
        read_list(reader, place, object, "trouble", read_trouble, one) < 0)
        return -1;
    return read_list(reader, place, object, "attachments", read_attachment, one);
}

static int check_tally(const struct reader *reader, json_t *tally)
{
    const struct place_in place = {NULL, "tally", NO_INDEX};
    const char *names[RESULT_STATUS_COUNT + 1] = {NULL};

    for (int i = 0; i < RESULT_STATUS_COUNT; i++)
        names[i] = result_name(i);
    if (check_keys(reader, &place, tally, names) < 0)
        return -1;
    for (int i = 0; i < RESULT_STATUS_COUNT; i++) {
        const size_t count = results_tally(reader->results, (enum result_status)i);
        if (json_integer_value(json_object_get(tally, names[i])) != (json_int_t)count)
            return fail(reader, NULL, "tally", "there are %zu cases that are %s, and it has another number", count,
                        names[i]);
    }
    return 0;
}

static int read_all(const struct reader *reader, json_t *all)
{
    static const char *const keys[] = {"format", "suite", "started", "duration", "tally", "cases", NULL};
    const json_t *format = json_object_get(all, "format");
    json_int_t started;

    /* First: another format may have other keys. */
    if (!json_is_integer(format) || json_integer_value(format) != 1)
        return fail(reader, NULL, "format", "1 was expected");
    if (check_keys(reader, NULL, all, keys) < 0 || read_text(reader, NULL, all, "suite", &reader->results->suite) < 0 ||
        read_count(reader, NULL, all, "started", &started) < 0 ||
        read_time_of_all(reader, all, &reader->results->duration_ns) < 0)
        return -1;
    reader->results->started_at = started;
    const json_t *cases = json_object_get(all, "cases");
    if (!json_is_array(cases))
        return fail(reader, NULL, "cases", "a list was expected");
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const struct place_in place = {NULL, "cases", i};
        if (read_case(reader, &place, json_array_get(cases, i)) < 0)
            return -1;
    }
    return check_tally(reader, json_object_get(all, "tally"));
}

/* Each value but the first stands behind one of these: so a small file cannot take much memory. */
static bool has_too_many_values(const char *text, size_t length)
{
    bool is_in_string = false;
    size_t count = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"')
            is_in_string = !is_in_string;
        else if (is_in_string)
            i += text[i] == '\\';
        else
            count += text[i] == ',' || text[i] == '[' || text[i] == '{' || text[i] == ':';
    }
    return count > RESULTS_READ_VALUES;
}

static json_t *parse(const char *path, const char *text, size_t length, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    char why[CONFIG_TEXT_SIZE];
    json_error_t wrong;

    if (has_too_many_values(text, length)) {
        (void)error_set(error, ERROR_CONFIG, "%s: has more values than any results that quire writes",
                        config_text_escape_tail(shown, path));
        return NULL;
    }
    json_t *all = json_loadb(text, length, JSON_REJECT_DUPLICATES, &wrong);
    if (all == NULL && json_error_code(&wrong) == json_error_out_of_memory)
        (void)config_out_of_memory(error);
    else if (all == NULL)
        (void)error_set(error, ERROR_CONFIG, "%s:%d:%d: is no JSON: %s", config_text_escape_tail(shown, path),
                        wrong.line, wrong.column, config_text_escape(why, wrong.text, strlen(wrong.text)));
    return all;
}

struct results *results_read_text(const char *path, const char *text, size_t length, struct error *error)
{
    struct reader reader = {.path = path, .error = error};
    json_t *all = parse(path, text, length, error);

    if (all == NULL)
        return NULL;
    reader.results = results_create(NULL, error);
    if (reader.results != NULL && read_all(&reader, all) < 0) {
        results_free(reader.results);
        reader.results = NULL;
    }
    json_decref(all);
    return reader.results;
}

/* ---- The file ---- */

/* All of it, and *length; NULL with errno: EFBIG if it is too large. */
static char *read_file(int fd, size_t *length)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return NULL;
    if (!S_ISREG(status.st_mode) || status.st_size > (off_t)RESULTS_READ_MAX) {
        errno = S_ISREG(status.st_mode) ? EFBIG : EINVAL;
        return NULL;
    }
    const size_t size = (size_t)status.st_size;
    char *text = malloc(size + 1);
    if (text == NULL)
        return NULL;
    for (*length = 0; *length < size;) {
        const ssize_t got = read(fd, text + *length, size - *length);
        if (got == 0)
            break;
        if (got > 0)
            *length += (size_t)got;
        else if (errno != EINTR) {
            const int why = errno;
            free(text);
            errno = why;
            return NULL;
        }
    }
    return text;
}

struct results *results_read_json(const char *path, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    size_t length = 0;
    char *text = fd >= 0 ? read_file(fd, &length) : NULL;

    if (text == NULL)
        (void)error_set(error, errno == ENOMEM ? ERROR_HOST : ERROR_CONFIG, "%s: cannot be read: %s",
                        config_text_escape_tail(shown, path), strerror(errno));
    if (fd >= 0)
        close(fd);
    struct results *results = text != NULL ? results_read_text(path, text, length, error) : NULL;
    free(text);
    return results;
}
