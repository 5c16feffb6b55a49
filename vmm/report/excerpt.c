#include "vmm/report/excerpt.h"

#include "vmm/config/text.h"
#include "vmm/report/markup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Longer than any line that a console has (CONSOLE_LINE_MAX), and its time. */
#define BUFFER_SIZE (128u << 10)
/* Where words of a boot are looked for: they stand near a line's start. */
#define PHASE_REACH 160u
/* A silence is one from here on, and from this part of the case's time. */
#define SILENCE_LEAST_NS 100000000u
#define SILENCE_PART 50u
/* More seconds than any case takes; behind it the digits are not of interest. */
#define SECONDS_MAX 100000000u

static const struct {
    const char *name;
    /* Both are in the line. */
    const char *words[2];
} phases[EXCERPT_PHASE_COUNT] = {
    [EXCERPT_FIRST_OUTPUT] = {"first output", {"", ""}},
    /* init/main.c and init/version.c of Linux. */
    [EXCERPT_LINUX] = {"Linux starts", {"Linux version ", ""}},
    [EXCERPT_FREED] = {"kernel is up", {"Freeing unused kernel", ""}},
    [EXCERPT_INIT] = {"first process", {"Run /", " as init process"}},
    [EXCERPT_SYSTEMD] = {"systemd", {"systemd[1]: ", ""}},
    [EXCERPT_LOGIN] = {"login prompt", {" login:", ""}},
    [EXCERPT_PANIC] = {"panic", {"Kernel panic - ", ""}},
    [EXCERPT_REBOOT] = {"shutdown", {"reboot: ", ""}},
};

const char *excerpt_phase_name(enum excerpt_phase_kind kind)
{
    return phases[kind].name;
}

struct reader {
    const struct excerpt_options *options;
    struct excerpt *excerpt;
    /* The last lines, a ring: `tail_count` of them, the oldest at `tail_first`; and the bytes that they and the head
     * have. */
    struct excerpt_line *tail;
    size_t tail_first;
    size_t tail_count;
    size_t tail_bytes;
    size_t head_bytes;
    /* A line did not fit it any more. */
    bool head_is_over;
    size_t room;
    /* Places that have been passed. */
    size_t place;
    /* The last line with a time. */
    uint64_t last_ns;
    uint64_t last_line;
    char last_text[EXCERPT_SILENCE_TEXT];
};

/* ---- Lines ---- */

/* "12.345678 TEXT" or "12.345678+TEXT". Returns where the text is; all of it where there is no time. */
static const char *parse_time(const char *bytes, size_t length, struct excerpt_line *line)
{
    uint64_t seconds = 0;
    uint64_t fraction = 0;
    uint64_t unit = 1000000000;
    size_t at = 0;

    for (; at < length && bytes[at] >= '0' && bytes[at] <= '9' && seconds < SECONDS_MAX; at++)
        seconds = seconds * 10 + (uint64_t)(bytes[at] - '0');
    if (at == 0 || at == length || bytes[at++] != '.')
        return bytes;
    for (; at < length && bytes[at] >= '0' && bytes[at] <= '9' && unit > 1; at++) {
        unit /= 10;
        fraction += (uint64_t)(bytes[at] - '0') * unit;
    }
    if (unit == 1000000000 || at == length || (bytes[at] != ' ' && bytes[at] != '+'))
        return bytes;
    line->has_time = true;
    line->at_ns = seconds * 1000000000u + fraction;
    line->continues = bytes[at] == '+';
    return bytes + at + 1;
}

static int copy_text(struct excerpt_line *line, const char *text, size_t length)
{
    line->length = markup_fit(text, length, EXCERPT_TEXT_MAX);
    line->cut = length - line->length;
    line->text = malloc(line->length + 1);
    if (line->text == NULL)
        return -1;
    memcpy(line->text, text, line->length);
    line->text[line->length] = '\0';
    return 0;
}

static int keep(struct reader *reader, const struct excerpt_line *line)
{
    struct excerpt *excerpt = reader->excerpt;

    if (excerpt->count == reader->room) {
        const size_t room = reader->room * 2 + 64;
        struct excerpt_line *grown = reallocarray(excerpt->lines, room, sizeof(*grown));
        if (grown == NULL)
            return -1;
        excerpt->lines = grown;
        reader->room = room;
    }
    excerpt->lines[excerpt->count++] = *line;
    return 0;
}

static bool is_at_a_place(struct reader *reader, uint64_t number)
{
    const struct excerpt_options *options = reader->options;

    while (reader->place < options->place_count && options->places[reader->place] + EXCERPT_AROUND < number)
        reader->place++;
    return reader->place < options->place_count && number + EXCERPT_AROUND >= options->places[reader->place];
}

/* The oldest of the last lines is none of them any more. */
static int drop_oldest(struct reader *reader)
{
    struct excerpt_line *oldest = &reader->tail[reader->tail_first];
    int result = 0;

    reader->tail_first = (reader->tail_first + 1) % reader->options->tail;
    reader->tail_count--;
    reader->tail_bytes -= oldest->length;
    if (is_at_a_place(reader, oldest->number))
        result = keep(reader, oldest);
    else
        free(oldest->text);
    if (result < 0)
        free(oldest->text);
    return result;
}

static int add_to_tail(struct reader *reader, const struct excerpt_line *line)
{
    const struct excerpt_options *options = reader->options;

    while (reader->tail_count > 0 &&
           (reader->tail_count == options->tail || reader->tail_bytes + line->length > options->bytes))
        if (drop_oldest(reader) < 0)
            return -1;
    reader->tail[(reader->tail_first + reader->tail_count++) % options->tail] = *line;
    reader->tail_bytes += line->length;
    return 0;
}

/* ---- Time ---- */

static void note_phases(struct reader *reader, const struct excerpt_line *line, const char *text, size_t length)
{
    const size_t reach = length < PHASE_REACH ? length : PHASE_REACH;

    for (size_t i = 0; i < EXCERPT_PHASE_COUNT; i++) {
        struct excerpt_phase *phase = &reader->excerpt->phases[i];
        const char *const *words = phases[i].words;
        if (phase->line == 0 && memmem(text, reach, words[0], strlen(words[0])) != NULL &&
            memmem(text, reach, words[1], strlen(words[1])) != NULL)
            *phase = (struct excerpt_phase){line->number, line->at_ns};
    }
}

/* Keeps the longest. */
static void note_silence(struct reader *reader, uint64_t to_ns)
{
    struct excerpt *excerpt = reader->excerpt;
    const uint64_t length = to_ns > reader->last_ns ? to_ns - reader->last_ns : 0;
    struct excerpt_silence *place = &excerpt->silences[0];

    if (length < SILENCE_LEAST_NS || length < reader->options->duration_ns / SILENCE_PART)
        return;
    if (excerpt->silence_count < EXCERPT_SILENCES)
        place = &excerpt->silences[excerpt->silence_count++];
    else
        for (size_t i = 1; i < EXCERPT_SILENCES; i++)
            if (excerpt->silences[i].to_ns - excerpt->silences[i].from_ns < place->to_ns - place->from_ns)
                place = &excerpt->silences[i];
    if (place->to_ns - place->from_ns >= length)
        return;
    *place = (struct excerpt_silence){reader->last_ns, to_ns, reader->last_line, ""};
    memcpy(place->text, reader->last_text, sizeof(place->text));
}

static void note_time(struct reader *reader, const struct excerpt_line *line, const char *text, size_t length)
{
    const uint64_t duration = reader->options->duration_ns;
    const size_t kept = markup_fit(text, length, EXCERPT_SILENCE_TEXT - 1);

    if (duration > 0) {
        const double part = (double)line->at_ns / (double)duration;
        reader->excerpt->activity[part < 1 ? (size_t)(part * EXCERPT_BINS) : EXCERPT_BINS - 1]++;
    }
    note_silence(reader, line->at_ns);
    if (line->at_ns > reader->last_ns)
        reader->last_ns = line->at_ns;
    reader->last_line = line->number;
    memcpy(reader->last_text, text, kept);
    reader->last_text[kept] = '\0';
}

/* ---- The file ---- */

static int take_line(struct reader *reader, const char *bytes, size_t length)
{
    struct excerpt_line line = {.number = ++reader->excerpt->total};
    const struct excerpt_options *options = reader->options;
    const char *text = parse_time(bytes, length, &line);

    length -= (size_t)(text - bytes);
    note_phases(reader, &line, text, length);
    if (line.has_time)
        note_time(reader, &line, text, length);
    if (copy_text(&line, text, length) < 0)
        return -1;
    int result;
    if (!reader->head_is_over && line.number <= options->head && reader->head_bytes + line.length <= options->bytes) {
        reader->head_bytes += line.length;
        result = keep(reader, &line);
    } else {
        reader->head_is_over = true;
        result = add_to_tail(reader, &line);
    }
    if (result < 0)
        free(line.text);
    return result;
}

/* Takes the lines that are complete, and moves the rest to the front. Returns how much that is, or -1. */
static ssize_t take_lines(struct reader *reader, char *buffer, size_t filled, bool *skips)
{
    size_t start = 0;

    for (;;) {
        const char *end = memchr(buffer + start, '\n', filled - start);
        size_t length = end != NULL ? (size_t)(end - buffer) - start : filled - start;
        if (end == NULL && filled - start < BUFFER_SIZE)
            break;
        /* What does not fit the buffer is no console's; its first part stands for the whole. */
        if (!*skips && take_line(reader, buffer + start, length) < 0)
            return -1;
        *skips = end == NULL;
        start += length + (end != NULL);
        if (end == NULL)
            break;
    }
    memmove(buffer, buffer + start, filled - start);
    return (ssize_t)(filled - start);
}

/* 0; or -1, with errno. */
static int read_lines(struct reader *reader, int fd, char *buffer)
{
    size_t total = 0;
    ssize_t filled = 0;
    bool skips = false;

    while (total < EXCERPT_READ_MAX) {
        const ssize_t got = read(fd, buffer + filled, BUFFER_SIZE - (size_t)filled);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0) {
            reader->excerpt->is_all = true;
            break;
        }
        total += (size_t)got;
        filled = take_lines(reader, buffer, (size_t)(filled + got), &skips);
        if (filled < 0)
            return -1;
    }
    return filled > 0 && !skips ? take_line(reader, buffer, (size_t)filled) : 0;
}

static int by_time(const void *a, const void *b)
{
    const uint64_t left = ((const struct excerpt_silence *)a)->from_ns;
    const uint64_t right = ((const struct excerpt_silence *)b)->from_ns;

    return (left > right) - (left < right);
}

static int finish(struct reader *reader)
{
    const struct excerpt_options *options = reader->options;

    while (reader->tail_count > 0) {
        struct excerpt_line *oldest = &reader->tail[reader->tail_first];
        if (keep(reader, oldest) < 0)
            return -1;
        reader->tail_first = (reader->tail_first + 1) % options->tail;
        reader->tail_count--;
    }
    if (reader->excerpt->is_all)
        note_silence(reader, options->duration_ns);
    qsort(reader->excerpt->silences, reader->excerpt->silence_count, sizeof(reader->excerpt->silences[0]), by_time);
    return 0;
}

int excerpt_read(int fd, const char *path, const struct excerpt_options *options, struct excerpt *excerpt,
                 struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];
    struct reader reader = {.options = options, .excerpt = excerpt};
    char *buffer = malloc(BUFFER_SIZE);
    int result = -1;

    *excerpt = (struct excerpt){0};
    reader.tail = calloc(options->tail, sizeof(*reader.tail));
    errno = ENOMEM;
    if (buffer != NULL && reader.tail != NULL && read_lines(&reader, fd, buffer) == 0)
        result = finish(&reader);
    if (result < 0) {
        (void)error_set(error, ERROR_HOST, "%s: cannot be read: %s", config_text_escape_tail(shown, path),
                        strerror(errno));
        for (; reader.tail != NULL && reader.tail_count > 0; reader.tail_count--)
            free(reader.tail[(reader.tail_first + reader.tail_count - 1) % options->tail].text);
        excerpt_free(excerpt);
    }
    free(reader.tail);
    free(buffer);
    return result;
}

void excerpt_free(struct excerpt *excerpt)
{
    for (size_t i = 0; i < excerpt->count; i++)
        free(excerpt->lines[i].text);
    free(excerpt->lines);
    *excerpt = (struct excerpt){0};
}
