#include "vmm/runner/live.h"

#include "memory/support/utf8.h"

#include <stdarg.h>
#include <string.h>

/* Of a name, what is left of it on a narrow terminal. */
enum { NAME_WIDTH_MIN = 8, LINE_SIZE = 600 };

const char *live_time(char text[LIVE_TIME_SIZE], uint64_t ns)
{
    const unsigned long long seconds = ns / 1000000000u;

    if (seconds < 60)
        (void)snprintf(text, LIVE_TIME_SIZE, "%llu s", seconds);
    else if (seconds < 3600)
        (void)snprintf(text, LIVE_TIME_SIZE, "%llu min %llu s", seconds / 60, seconds % 60);
    else
        (void)snprintf(text, LIVE_TIME_SIZE, "%llu h %llu min", seconds / 3600, seconds / 60 % 60);
    return text;
}

/* How many characters a text has; those of names are a column wide each. */
static unsigned width_of(const char *text)
{
    size_t left = strlen(text);
    unsigned width = 0;
    size_t used;

    for (; left > 0; text += used, left -= used, width++)
        (void)utf8_next(text, left, &used);
    return width;
}

/* At most so many characters. Names of files may have some that a terminal obeys, or that reorder others: "?". */
static void write_cut(const char *text, unsigned most, FILE *out)
{
    size_t left = strlen(text);
    size_t used;
    char bytes[4];

    for (; left > 0 && most > 0; text += used, left -= used, most--) {
        const uint32_t character = utf8_next(text, left, &used);
        if (utf8_is_control(character) || utf8_is_direction(character))
            (void)fputc('?', out);
        else
            (void)fwrite(bytes, 1, utf8_put(character, bytes), out);
    }
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* ---- Lines ---- */

/* One line more; its text is a head, which may be cut, and a tail, which is if that is not enough. */
static void add_line(struct live *live, const char *head, const char *tail, unsigned columns, FILE *out)
{
    /* The last column stays free: a terminal may wrap when there is something in it. */
    const unsigned most = columns > 1 ? columns - 1 : 1;
    const unsigned tail_width = width_of(tail);
    unsigned head_width = width_of(head);

    if (head_width + tail_width > most) {
        const unsigned left = most > tail_width ? most - tail_width : 0;
        head_width = least(head_width, left > NAME_WIDTH_MIN ? left : NAME_WIDTH_MIN);
    }
    head_width = least(head_width, most);
    if (live->count > 0)
        (void)fputc('\n', out);
    write_cut(head, head_width, out);
    write_cut(tail, most - head_width, out);
    live->widths[live->count++] = least(most, head_width + tail_width);
}

__attribute__((format(printf, 2, 3))) static void append(char line[LINE_SIZE], const char *format, ...)
{
    const size_t length = strlen(line);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line + length, LINE_SIZE - length, format, args);
    va_end(args);
}

static void add_case(struct live *live, const struct view_case *one, unsigned columns, FILE *out)
{
    char tail[LINE_SIZE] = "";
    char time[LIVE_TIME_SIZE];

    if (one->kind != NULL)
        append(tail, "  %zu/%zu %s", one->step + 1, one->step_count, one->kind);
    append(tail, "  %s", live_time(time, one->elapsed_ns));
    if (one->expected_ns > 0)
        append(tail, " of %s", live_time(time, one->expected_ns));
    add_line(live, one->name, tail, columns, out);
}

static void add_more(struct live *live, size_t count, unsigned columns, FILE *out)
{
    char line[LINE_SIZE] = "";

    append(line, "and %zu more", count);
    add_line(live, "", line, columns, out);
}

static void add_whole(struct live *live, const struct view *view, unsigned columns, FILE *out)
{
    char line[LINE_SIZE] = "";
    char time[LIVE_TIME_SIZE];

    append(line, "%zu passed, %zu failed", view->tallies[RESULT_PASSED], view->tallies[RESULT_FAILED]);
    if (view->tallies[RESULT_BROKEN] > 0)
        append(line, ", %zu broken", view->tallies[RESULT_BROKEN]);
    if (view->tallies[RESULT_SKIPPED] > 0)
        append(line, ", %zu skipped", view->tallies[RESULT_SKIPPED]);
    append(line, ", %zu running, %zu waiting", view->running_count, view->waiting);
    if (view->rounds == 0)
        append(line, ", round %u", view->round);
    else if (view->rounds > 1)
        append(line, ", round %u of %u", view->round, view->rounds);
    if (view->knows_left)
        append(line, ", about %s left", live_time(time, view->left_ns));
    add_line(live, "", line, columns, out);
}

void live_draw(struct live *live, const struct view *view, unsigned columns, unsigned rows, FILE *out)
{
    /* One is for the whole, and one for what is above. */
    const size_t room = least(rows > 3 ? rows - 2 : 1, LIVE_MAX_LINES - 1);
    const size_t shown = view->running_count <= room ? view->running_count : room - 1;

    live->count = 0;
    for (size_t i = 0; i < shown; i++)
        add_case(live, &view->running[i], columns, out);
    if (shown < view->running_count)
        add_more(live, view->running_count - shown, columns, out);
    add_whole(live, view, columns, out);
}

void live_erase(struct live *live, unsigned columns, FILE *out)
{
    size_t rows = 0;

    for (size_t i = 0; i < live->count; i++)
        rows += live->widths[i] > columns ? (live->widths[i] + columns - 1) / columns : 1;
    if (rows == 0)
        return;
    /* The first column, up to the first line, and nothing from there on (ECMA-48: CUU, ED). */
    (void)fputc('\r', out);
    if (rows > 1)
        (void)fprintf(out, "\x1b[%zuA", rows - 1);
    (void)fputs("\x1b[J", out);
    live->count = 0;
}
