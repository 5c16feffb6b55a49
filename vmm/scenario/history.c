#include "vmm/scenario/history.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    /* Counted over all that was ever kept; modulo CONSOLE_KEPT_MAX it is the place in the buffer. */
    uint64_t start;
    uint64_t at_ns;
    uint32_t length;
    bool continues;
};

struct history {
    uint64_t first;
    uint64_t next;
    /* Where the next line's text goes, counted as entries are. */
    uint64_t end;
    /* Line n is entry n modulo their number. */
    struct entry entries[CONSOLE_KEPT_LINES];
    char bytes[CONSOLE_KEPT_MAX];
};

struct history *history_create(void)
{
    struct history *history = calloc(1, sizeof(*history));

    if (history != NULL)
        history->first = history->next = 1;
    return history;
}

void history_free(struct history *history)
{
    free(history);
}

static struct entry *entry_of(struct history *history, uint64_t number)
{
    return &history->entries[number % CONSOLE_KEPT_LINES];
}

void history_add(struct history *history, const struct console_line *line)
{
    const size_t left = CONSOLE_KEPT_MAX - history->end % CONSOLE_KEPT_MAX;
    /* What does not fit at the end goes to the start. */
    const uint64_t start = line->length <= left ? history->end : history->end + left;
    const uint64_t end = start + line->length;

    assert(line->length <= CONSOLE_LINE_MAX);
    while (history->first < history->next && (history->next - history->first == CONSOLE_KEPT_LINES ||
                                              entry_of(history, history->first)->start + CONSOLE_KEPT_MAX < end))
        history->first++;
    memcpy(history->bytes + start % CONSOLE_KEPT_MAX, line->text, line->length);
    *entry_of(history, history->next) = (struct entry){
        .start = start, .at_ns = line->at_ns, .length = (uint32_t)line->length, .continues = line->continues};
    history->end = end;
    history->next++;
}

uint64_t history_first(const struct history *history)
{
    return history->first;
}

uint64_t history_next(const struct history *history)
{
    return history->next;
}

struct console_line history_line(const struct history *history, uint64_t number)
{
    const struct entry *entry = &history->entries[number % CONSOLE_KEPT_LINES];

    assert(number >= history->first && number < history->next);
    return (struct console_line){
        .number = number,
        .at_ns = entry->at_ns,
        .text = history->bytes + entry->start % CONSOLE_KEPT_MAX,
        .length = entry->length,
        .continues = entry->continues,
    };
}
