#include "vmm/scenario/console_watch.h"

#include "vmm/config/place.h"
#include "vmm/scenario/escapes.h"
#include "vmm/scenario/history.h"
#include "vmm/scenario/pattern_words.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An unfinished line up to this long is searched whenever it grows; a longer one, each time by as much. */
#define SEARCH_STEP 4096u
/* How much of a line is kept in front of the words of trouble in it, if it is too long to be kept whole. */
#define TROUBLE_LEAD 64u

struct console_watch {
    struct console_watch_options options;
    struct trouble_scanner *scanner;
    struct history *history;
    uint64_t bytes;

    /* The unfinished line: its text, and the bytes as they came, behind the last of the piece before. */
    size_t text_length;
    size_t raw_length;
    /* How much of raw has been scanned. */
    size_t raw_known;
    struct escapes escapes;
    uint64_t at_ns;
    bool continues;
    /* A CR has ended a line; a LF that follows belongs to it. */
    bool after_cr;
    /* text_length when it was last searched. */
    size_t searched;

    enum console_search state;
    struct pattern *wanted;
    struct pattern *forbidden[CONSOLE_FORBIDDEN_MAX];
    size_t forbidden_count;
    /* Words without which patterns match no line, and which ones these are; NULL: each pattern has to be asked. */
    struct words *words;
    uint64_t with_words;
    size_t found_forbidden;
    struct console_line found;
    /* Where the search goes on. */
    uint64_t search_line;
    size_t search_offset;
    uint64_t missed;
    struct error error;

    uint64_t trouble_counts[TROUBLE_KIND_COUNT];
    uint64_t trouble_total;
    uint64_t ignored;
    struct console_trouble trouble[CONSOLE_TROUBLE_MAX];

    char text[CONSOLE_LINE_MAX];
    char raw[CONSOLE_LINE_MAX + TROUBLE_REACH];
};

struct console_watch *console_watch_create(const struct console_watch_options *options, struct error *error)
{
    struct console_watch *watch = calloc(1, sizeof(*watch));

    if (watch == NULL) {
        (void)config_out_of_memory(error);
        return NULL;
    }
    watch->options = *options;
    watch->search_line = 1;
    watch->history = history_create();
    watch->scanner = trouble_scanner_create(error);
    if (watch->history == NULL)
        (void)config_out_of_memory(error);
    if (watch->history == NULL || watch->scanner == NULL) {
        console_watch_free(watch);
        return NULL;
    }
    return watch;
}

void console_watch_free(struct console_watch *watch)
{
    if (watch == NULL)
        return;
    words_free(watch->words);
    trouble_scanner_free(watch->scanner);
    history_free(watch->history);
    free(watch);
}

/* ---- Searching ---- */

static bool end_search(struct console_watch *watch, enum console_search state, const struct console_line *line)
{
    watch->state = state;
    watch->found = *line;
    return true;
}

/* The patterns' bits, here and for words_find(). */
enum { BIT_WANTED, BIT_FORBIDDEN };

/* Which patterns may match a line that has ended: nearly always none. */
static uint64_t possible_in(const struct console_watch *watch, const struct console_line *line)
{
    if (watch->words == NULL)
        return UINT64_MAX;
    return ~watch->with_words |
           words_find(watch->words, line->text + watch->search_offset, line->length - watch->search_offset);
}

/*
 * Looks into one line, from the search's offset on, and says whether the search has ended. Where the wanted pattern and
 * a forbidden one are both there, the one that begins first counts; of an unfinished line, only what is certain.
 */
static bool search_line(struct console_watch *watch, const struct console_line *line, bool unfinished)
{
    /* What an unfinished line may become has no words yet. */
    const uint64_t possible = unfinished ? UINT64_MAX : possible_in(watch, line);
    const enum pattern_result wanted =
        (possible & 1ull << BIT_WANTED) != 0
            ? pattern_match(watch->wanted, line->text, line->length, watch->search_offset, unfinished, &watch->error)
            : PATTERN_NO_MATCH;
    const bool is_there = wanted == PATTERN_MATCH || wanted == PATTERN_UNDECIDED;
    size_t first = is_there ? pattern_start(watch->wanted) : SIZE_MAX;
    enum console_search state = wanted == PATTERN_MATCH ? CONSOLE_FOUND : CONSOLE_WAITING;

    if (wanted == PATTERN_FAILED)
        return end_search(watch, CONSOLE_FAILED, line);
    for (uint64_t left = possible >> BIT_FORBIDDEN & ((1ull << watch->forbidden_count) - 1); left != 0;
         left &= left - 1) {
        const size_t i = (size_t)__builtin_ctzll(left);
        struct pattern *pattern = watch->forbidden[i];
        const enum pattern_result result =
            pattern_match(pattern, line->text, line->length, watch->search_offset, unfinished, &watch->error);
        if (result == PATTERN_FAILED)
            return end_search(watch, CONSOLE_FAILED, line);
        if (result == PATTERN_NO_MATCH || pattern_start(pattern) > first)
            continue;
        first = pattern_start(pattern);
        state = result == PATTERN_MATCH ? CONSOLE_FORBIDDEN : CONSOLE_WAITING;
        watch->found_forbidden = i;
    }
    if (state == CONSOLE_WAITING)
        return false;
    if (state == CONSOLE_FOUND)
        watch->search_offset = pattern_end(watch->wanted);
    return end_search(watch, state, line);
}

static struct console_line unfinished_line(const struct console_watch *watch)
{
    return (struct console_line){
        .number = history_next(watch->history),
        .at_ns = watch->at_ns,
        .text = watch->text,
        .length = watch->text_length,
        .continues = watch->continues,
    };
}

static void search_unfinished(struct console_watch *watch, bool is_settled)
{
    const struct console_line line = unfinished_line(watch);

    if (watch->state != CONSOLE_WAITING || line.length == 0)
        return;
    watch->searched = line.length;
    (void)search_line(watch, &line, !is_settled);
}

/* Lines that have ended; then what there is of the next. */
static void search(struct console_watch *watch)
{
    while (watch->search_line < history_next(watch->history)) {
        const struct console_line line = history_line(watch->history, watch->search_line);
        if (search_line(watch, &line, false))
            return;
        watch->search_line++;
        watch->search_offset = 0;
    }
    search_unfinished(watch, false);
}

static size_t add_words(struct console_watch *watch, const struct pattern *pattern, unsigned bit, struct word *list,
                        size_t count)
{
    const size_t more = pattern_words(pattern_text(pattern), bit, list + count, WORDS_MAX - count);

    if (more > 0)
        watch->with_words |= 1ull << bit;
    return count + more;
}

/* One pattern alone is quicker than a search for its words. */
static void find_words(struct console_watch *watch)
{
    struct word list[WORDS_MAX];
    size_t count = 0;

    words_free(watch->words);
    watch->words = NULL;
    watch->with_words = 0;
    if (watch->wanted == NULL || watch->forbidden_count < 2)
        return;
    count = add_words(watch, watch->wanted, BIT_WANTED, list, count);
    for (unsigned i = 0; i < watch->forbidden_count; i++)
        count = add_words(watch, watch->forbidden[i], BIT_FORBIDDEN + i, list, count);
    if (count > 0)
        watch->words = words_create(list, count);
}

void console_watch_expect(struct console_watch *watch, struct pattern *wanted, struct pattern *const *forbidden,
                          size_t count)
{
    const uint64_t first = history_first(watch->history);

    assert(count <= CONSOLE_FORBIDDEN_MAX);
    watch->wanted = wanted;
    watch->state = wanted != NULL ? CONSOLE_WAITING : CONSOLE_IDLE;
    watch->forbidden_count = count;
    for (size_t i = 0; i < count; i++)
        watch->forbidden[i] = forbidden[i];
    find_words(watch);
    if (watch->search_line < first) {
        watch->missed += first - watch->search_line;
        watch->search_line = first;
        watch->search_offset = 0;
    }
    if (wanted != NULL)
        search(watch);
}

void console_watch_skip(struct console_watch *watch)
{
    watch->search_line = history_next(watch->history);
    watch->search_offset = watch->text_length;
}

/* ---- Trouble ---- */

/* A pattern that is given up ignores nothing. */
static bool is_ignored(const struct console_watch *watch, const char *line, size_t length, size_t start)
{
    struct error error;

    for (size_t i = 0; i < watch->options.ignored_count; i++) {
        if (pattern_match(watch->options.ignored[i], line, length, start, false, &error) == PATTERN_MATCH)
            return true;
    }
    return false;
}

static void keep_trouble(struct console_watch *watch, enum trouble_kind kind, const char *text, size_t length,
                         size_t start)
{
    if (is_ignored(watch, text, length, start)) {
        watch->ignored++;
        return;
    }
    watch->trouble_counts[kind]++;
    if (watch->trouble_total++ >= CONSOLE_TROUBLE_MAX)
        return;
    struct console_trouble *trouble = &watch->trouble[watch->trouble_total - 1];
    const size_t room = sizeof(trouble->text) - 1;
    if (length > room && start > TROUBLE_LEAD) {
        text += start - TROUBLE_LEAD;
        length -= start - TROUBLE_LEAD;
    }
    if (length > room)
        length = room;
    trouble->kind = kind;
    trouble->line = history_next(watch->history);
    trouble->at_ns = watch->at_ns;
    for (size_t i = 0; i < length; i++)
        trouble->text[i] = text[i] != '\0' ? text[i] : ' ';
    trouble->text[length] = '\0';
}

static void scan(struct console_watch *watch, const char *line, size_t length, size_t known)
{
    size_t start;
    const enum trouble_kind kind = trouble_scan(watch->scanner, line, length, known, &start);

    if (kind != TROUBLE_NONE)
        keep_trouble(watch, kind, line, length, start);
}

/* ---- Lines ---- */

/* A line, or a piece of one, has ended. */
static void end_line(struct console_watch *watch, const struct console_line *line)
{
    history_add(watch->history, line);
    if (watch->options.line != NULL)
        watch->options.line(watch->options.opaque, line);
    if (watch->state == CONSOLE_WAITING) {
        const struct console_line kept = history_line(watch->history, line->number);
        if (search_line(watch, &kept, false))
            return;
        watch->search_line = line->number + 1;
        watch->search_offset = 0;
    }
}

static void end_piece(struct console_watch *watch, bool goes_on)
{
    const struct console_line line = unfinished_line(watch);
    size_t carried = 0;

    scan(watch, watch->raw, watch->raw_length, watch->raw_known);
    if (goes_on) {
        carried = watch->raw_length < TROUBLE_REACH ? watch->raw_length : TROUBLE_REACH;
        memmove(watch->raw, watch->raw + watch->raw_length - carried, carried);
    }
    watch->raw_length = watch->raw_known = carried;
    end_line(watch, &line);
    watch->text_length = 0;
    watch->searched = 0;
    watch->continues = goes_on;
}

static void add_text(struct console_watch *watch, const char *text, size_t length)
{
    while (length > 0) {
        const size_t room = sizeof(watch->text) - watch->text_length;
        const size_t part = length < room ? length : room;
        memcpy(watch->text + watch->text_length, text, part);
        watch->text_length += part;
        text += part;
        length -= part;
        if (length > 0)
            end_piece(watch, true);
    }
}

static void end_unfinished(struct console_watch *watch)
{
    const char *text;
    const size_t length = escapes_end(&watch->escapes, &text);

    add_text(watch, text, length);
    end_piece(watch, false);
}

/* Neither ends a line nor is taken out of it, or may be. */
static bool is_plain(char byte)
{
    return byte != '\0' && byte != '\n' && byte != '\r' && byte != '\x1b';
}

/* All at once, for compilers that do many bytes in a step. */
static bool are_plain(const char *bytes, size_t length)
{
    unsigned strange = 0;

    for (size_t i = 0; i < length; i++)
        strange |= (unsigned)(bytes[i] == '\0') | (unsigned)(bytes[i] == '\n') | (unsigned)(bytes[i] == '\r') |
                   (unsigned)(bytes[i] == '\x1b');
    return strange == 0;
}

/* How many plain bytes there are at the start. */
static size_t count_plain(const char *bytes, size_t length)
{
    enum { BLOCK = 64 };
    size_t count = 0;

    while (length - count >= BLOCK && are_plain(bytes + count, BLOCK))
        count += BLOCK;
    while (count < length && is_plain(bytes[count]))
        count++;
    return count;
}

static bool is_line_open(const struct console_watch *watch)
{
    return watch->raw_length > 0 || watch->text_length > 0 || watch->continues;
}

/* A whole line of plain bytes at once: its length with its end, or 0 if there is none. */
static size_t take_whole_line(struct console_watch *watch, uint64_t now_ns, const char *bytes, size_t length)
{
    if (is_line_open(watch))
        return 0;
    const char *end = memchr(bytes, '\n', length < CONSOLE_LINE_MAX ? length : CONSOLE_LINE_MAX);
    if (end == NULL)
        return 0;
    struct console_line line = {.number = history_next(watch->history), .at_ns = now_ns, .text = bytes};
    line.length = (size_t)(end - bytes);
    if (line.length > 0 && end[-1] == '\r')
        line.length--;
    if (!are_plain(bytes, line.length))
        return 0;
    watch->at_ns = now_ns;
    scan(watch, line.text, line.length, 0);
    end_line(watch, &line);
    return (size_t)(end - bytes) + 1;
}

/* Room for one more byte of raw. */
static void make_room(struct console_watch *watch)
{
    if (watch->raw_length == sizeof(watch->raw))
        end_piece(watch, true);
}

static size_t take_plain(struct console_watch *watch, const char *bytes, size_t length)
{
    const size_t raw_room = sizeof(watch->raw) - watch->raw_length;
    const size_t text_room = sizeof(watch->text) - watch->text_length;
    size_t room = raw_room < text_room ? raw_room : text_room;

    /* The byte that there is no room for ends the piece: what is scanned then ends with it, however many came. */
    if (room == 0)
        room = 1;
    const size_t count = count_plain(bytes, length < room ? length : room);

    memcpy(watch->raw + watch->raw_length, bytes, count);
    watch->raw_length += count;
    add_text(watch, bytes, count);
    return count;
}

static void take_strange(struct console_watch *watch, char byte)
{
    const char *text;

    watch->raw[watch->raw_length++] = byte;
    const size_t length = escapes_take(&watch->escapes, byte, &text);
    add_text(watch, text, length);
}

/* Takes some bytes, at least one. */
static size_t take(struct console_watch *watch, uint64_t now_ns, const char *bytes, size_t length)
{
    const bool ends_after_cr = watch->after_cr && bytes[0] == '\n';
    const size_t whole = ends_after_cr ? 0 : take_whole_line(watch, now_ns, bytes, length);

    watch->after_cr = false;
    if (ends_after_cr)
        return 1;
    if (whole > 0)
        return whole;
    if (!is_line_open(watch))
        watch->at_ns = now_ns;
    if (bytes[0] == '\n' || bytes[0] == '\r') {
        watch->after_cr = bytes[0] == '\r';
        end_unfinished(watch);
        return 1;
    }
    make_room(watch);
    if (watch->escapes.state == ESCAPES_TEXT && is_plain(bytes[0]))
        return take_plain(watch, bytes, length);
    take_strange(watch, bytes[0]);
    return 1;
}

void console_watch_feed(struct console_watch *watch, uint64_t now_ns, const char *bytes, size_t length)
{
    if (watch->options.sink != NULL && length > 0)
        watch->options.sink(watch->options.opaque, bytes, length);
    watch->bytes += length;
    while (length > 0) {
        const size_t taken = take(watch, now_ns, bytes, length);
        bytes += taken;
        length -= taken;
    }
    if (watch->text_length <= SEARCH_STEP || watch->text_length - watch->searched >= SEARCH_STEP)
        search_unfinished(watch, false);
}

/* Trouble waits for the end of its line: what is yet to come says its kind, and whether it is ignored. */
void console_watch_settle(struct console_watch *watch)
{
    search_unfinished(watch, true);
}

void console_watch_finish(struct console_watch *watch)
{
    if (is_line_open(watch))
        end_unfinished(watch);
}

/* ---- What there is to know ---- */

enum console_search console_watch_state(const struct console_watch *watch)
{
    return watch->state;
}

const struct error *console_watch_error(const struct console_watch *watch)
{
    return &watch->error;
}

struct console_line console_watch_match(const struct console_watch *watch)
{
    return watch->found;
}

size_t console_watch_forbidden(const struct console_watch *watch)
{
    return watch->found_forbidden;
}

bool console_watch_capture(const struct console_watch *watch, size_t index, const char **text, size_t *length)
{
    size_t start;

    if (!pattern_capture(watch->wanted, index, &start, length))
        return false;
    *text = watch->found.text + start;
    return true;
}

uint64_t console_watch_missed(const struct console_watch *watch)
{
    return watch->missed;
}

uint64_t console_watch_trouble_count(const struct console_watch *watch, enum trouble_kind kind)
{
    return watch->trouble_counts[kind];
}

uint64_t console_watch_trouble_total(const struct console_watch *watch)
{
    return watch->trouble_total;
}

uint64_t console_watch_ignored(const struct console_watch *watch)
{
    return watch->ignored;
}

const struct console_trouble *console_watch_trouble(const struct console_watch *watch, size_t index)
{
    return index < watch->trouble_total && index < CONSOLE_TROUBLE_MAX ? &watch->trouble[index] : NULL;
}

bool console_watch_tail(const struct console_watch *watch, size_t index, struct console_line *line)
{
    const uint64_t next = history_next(watch->history);

    if (watch->text_length > 0) {
        *line = unfinished_line(watch);
        if (index == 0)
            return true;
        index--;
    }
    if (index >= next - history_first(watch->history))
        return false;
    *line = history_line(watch->history, next - 1 - index);
    return true;
}

uint64_t console_watch_bytes(const struct console_watch *watch)
{
    return watch->bytes;
}

uint64_t console_watch_lines(const struct console_watch *watch)
{
    return history_next(watch->history) - 1;
}
