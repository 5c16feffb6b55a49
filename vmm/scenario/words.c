#include "vmm/scenario/words.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/*
 * Wu and Manber's search: the last two bytes of a window as long as the shortest word say how far the window can move,
 * most often by nearly its length. Only the words' heads, that long, are searched for; then they are compared.
 */
enum { WINDOW_MOST = 16, PAIRS = 1 << 16 };

struct words {
    size_t window;
    uint8_t shift[PAIRS];
    /* Where the shift is 0: the words whose heads end in this pair, as a place in sets. */
    uint8_t set_of[PAIRS];
    /* Of places in list. */
    uint64_t sets[WORDS_MAX + 1];
    size_t set_count;
    struct word list[WORDS_MAX];
};

static unsigned pair_at(const char *bytes)
{
    return (unsigned)(unsigned char)bytes[0] << 8 | (unsigned char)bytes[1];
}

static void add(struct words *words, size_t index)
{
    const char *text = words->list[index].text;
    const unsigned last = pair_at(text + words->window - 2);

    for (size_t i = 0; i + 2 <= words->window; i++) {
        uint8_t *shift = &words->shift[pair_at(text + i)];
        const uint8_t distance = (uint8_t)(words->window - 2 - i);
        if (distance < *shift)
            *shift = distance;
    }
    if (words->set_of[last] == 0)
        words->set_of[last] = (uint8_t)++words->set_count;
    words->sets[words->set_of[last]] |= 1ull << index;
}

struct words *words_create(const struct word *list, size_t count)
{
    struct words *words = calloc(1, sizeof(*words));

    assert(count > 0 && count <= WORDS_MAX);
    if (words == NULL)
        return NULL;
    words->window = WINDOW_MOST;
    for (size_t i = 0; i < count; i++) {
        assert(list[i].length >= WORDS_LEAST && list[i].number < 64);
        words->list[i] = list[i];
        if (list[i].length < words->window)
            words->window = list[i].length;
    }
    memset(words->shift, (int)words->window - 1, sizeof(words->shift));
    for (size_t i = 0; i < count; i++)
        add(words, i);
    return words;
}

void words_free(struct words *words)
{
    free(words);
}

/* Those of a set that stand at `at`. */
static uint64_t words_at(const struct words *words, uint64_t set, const char *at, size_t left)
{
    uint64_t found = 0;

    for (; set != 0; set &= set - 1) {
        const struct word *word = &words->list[__builtin_ctzll(set)];
        if (word->length <= left && memcmp(at, word->text, word->length) == 0)
            found |= 1ull << word->number;
    }
    return found;
}

uint64_t words_find(const struct words *words, const char *text, size_t length)
{
    const size_t lead = words->window - 2;
    uint64_t found = 0;
    size_t at = lead;

    while (at + 2 <= length) {
        const unsigned pair = pair_at(text + at);
        const unsigned shift = words->shift[pair];
        if (shift != 0) {
            at += shift;
            continue;
        }
        const size_t start = at - lead;
        found |= words_at(words, words->sets[words->set_of[pair]], text + start, length - start);
        at++;
    }
    return found;
}
