#include "vmm/scenario/ktap_words.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct ktap_text behind(struct ktap_text text, size_t count)
{
    return (struct ktap_text){text.at + count, text.length - count};
}

static struct ktap_text without_blanks(struct ktap_text text)
{
    while (text.length > 0 && isspace((unsigned char)text.at[0]))
        text = behind(text, 1);
    while (text.length > 0 && isspace((unsigned char)text.at[text.length - 1]))
        text.length--;
    return text;
}

static bool starts_with(struct ktap_text text, const char *word)
{
    return text.length >= strlen(word) && memcmp(text.at, word, strlen(word)) == 0;
}

static bool take_word(struct ktap_text *text, const char *word)
{
    if (!starts_with(*text, word))
        return false;
    *text = behind(*text, strlen(word));
    return true;
}

static bool take_number(struct ktap_text *text, uint64_t *number)
{
    size_t digits = 0;

    *number = 0;
    /* More digits than nine are no number of a test. */
    for (; digits < text->length && digits < 10 && is_digit(text->at[digits]); digits++)
        *number = *number * 10 + (uint64_t)(text->at[digits] - '0');
    if (digits == 0 || digits == 10)
        return false;
    *text = behind(*text, digits);
    return true;
}

/* ---- What printk puts in front ---- */

static size_t count_in(struct ktap_text text, size_t from, const char *set)
{
    size_t count = 0;

    while (from + count < text.length && memchr(set, text.at[from + count], strlen(set)) != NULL)
        count++;
    return count;
}

/* "[    1.234567]": the length, or 0. */
static size_t time_length(struct ktap_text text)
{
    if (!starts_with(text, "["))
        return 0;
    size_t at = 1 + count_in(text, 1, " ");
    const size_t seconds = count_in(text, at, "0123456789");
    at += seconds;
    if (seconds == 0 || at >= text.length || text.at[at] != '.')
        return 0;
    const size_t fraction = count_in(text, at + 1, "0123456789");
    at += 1 + fraction;
    return fraction > 0 && at < text.length && text.at[at] == ']' ? at + 1 : 0;
}

/* "[    C0]" or "[  T123]", the caller of CONFIG_PRINTK_CALLER: the length, or 0. */
static size_t caller_length(struct ktap_text text)
{
    if (!starts_with(text, "["))
        return 0;
    size_t at = 1 + count_in(text, 1, " ");
    if (at >= text.length || (text.at[at] != 'C' && text.at[at] != 'T'))
        return 0;
    const size_t digits = count_in(text, at + 1, "0123456789");
    at += 1 + digits;
    return digits > 0 && at < text.length && text.at[at] == ']' ? at + 1 : 0;
}

/* "<4>", of console_msg_format=syslog: the length, or 0. */
static size_t level_length(struct ktap_text text)
{
    const size_t digits = starts_with(text, "<") ? count_in(text, 1, "0123456789") : 0;

    return digits > 0 && 1 + digits < text.length && text.at[1 + digits] == '>' ? digits + 2 : 0;
}

static struct ktap_text behind_prefix(struct ktap_text text)
{
    const size_t level = level_length(text);
    struct ktap_text rest = behind(text, level);
    const size_t time = time_length(rest);
    rest = behind(rest, time);
    /* Some versions have blanks in between. */
    const size_t blanks = time > 0 ? count_in(rest, 0, " ") : 0;
    const size_t caller = caller_length(behind(rest, blanks));

    if (caller > 0)
        rest = behind(rest, blanks + caller);
    if (time + caller == 0)
        return rest;
    /* One blank is printk's; more are the test's. */
    return starts_with(rest, " ") ? behind(rest, 1) : rest;
}

/* ---- Results ---- */

static bool is_name(struct ktap_text text, const char *name)
{
    return text.length >= strlen(name) && strncasecmp(text.at, name, strlen(name)) == 0 &&
           (text.length == strlen(name) || !isalpha((unsigned char)text.at[strlen(name)]));
}

static const struct {
    const char *name;
    /* for "ok" and for "not ok" */
    enum ktap_status statuses[2];
} directives[] = {
    {"SKIP", {KTAP_SKIPPED, KTAP_SKIPPED}}, {"TODO", {KTAP_PASSED, KTAP_TODO}},
    {"XFAIL", {KTAP_TODO, KTAP_TODO}},      {"TIMEOUT", {KTAP_TIMED_OUT, KTAP_TIMED_OUT}},
    {"ERROR", {KTAP_ERROR, KTAP_ERROR}},
};

/* Reads "SKIP why" behind a "#", and says whether it was a directive. */
static bool read_directive(struct ktap_text text, struct ktap_words *words)
{
    const bool is_failed = words->status == KTAP_FAILED;

    text = without_blanks(text);
    for (size_t i = 0; i < sizeof(directives) / sizeof(directives[0]); i++) {
        if (!is_name(text, directives[i].name))
            continue;
        words->status = directives[i].statuses[is_failed];
        words->reason = without_blanks(behind(text, strlen(directives[i].name)));
        return true;
    }
    return false;
}

/* "name # SKIP why"; a "#" that no directive follows is part of the name. */
static void read_description(struct ktap_text text, struct ktap_words *words)
{
    words->name = without_blanks(text);
    for (size_t i = 0; i < text.length; i++) {
        const bool is_escaped = i > 0 && text.at[i - 1] == '\\';
        if (text.at[i] != '#' || is_escaped || !read_directive(behind(text, i + 1), words))
            continue;
        words->name = without_blanks((struct ktap_text){text.at, i});
        return;
    }
}

static bool read_result(struct ktap_text text, struct ktap_words *words)
{
    const bool is_ok = take_word(&text, "ok");

    if (!is_ok && !take_word(&text, "not ok"))
        return false;
    if (text.length > 0 && text.at[0] != ' ')
        return false;
    words->word = KTAP_WORD_RESULT;
    words->status = is_ok ? KTAP_PASSED : KTAP_FAILED;
    text = without_blanks(text);
    if (!take_number(&text, &words->number))
        words->number = 0;
    text = without_blanks(text);
    if (text.length > 0 && text.at[0] == '-' && (text.length == 1 || text.at[1] == ' '))
        text = behind(text, 1);
    read_description(text, words);
    return true;
}

static bool read_plan(struct ktap_text text, struct ktap_words *words)
{
    if (!take_word(&text, "1..") || !take_number(&text, &words->number))
        return false;
    text = without_blanks(text);
    if (text.length > 0 && text.at[0] != '#')
        return false;
    words->word = KTAP_WORD_PLAN;
    words->status = KTAP_PASSED;
    if (text.length > 0)
        (void)read_directive(behind(text, 1), words);
    return true;
}

static bool read_version(struct ktap_text text, struct ktap_words *words)
{
    uint64_t number;

    if (!take_word(&text, "KTAP version ") && !take_word(&text, "TAP version "))
        return false;
    if (!take_number(&text, &number) || without_blanks(text).length > 0)
        return false;
    words->word = KTAP_WORD_VERSION;
    return true;
}

static void read_comment(struct ktap_text text, struct ktap_words *words)
{
    words->word = KTAP_WORD_DIAGNOSTIC;
    if (!take_word(&text, "# Subtest: "))
        return;
    words->word = KTAP_WORD_SUBTEST;
    words->name = without_blanks(text);
}

struct ktap_words ktap_read_line(const char *line, size_t length)
{
    struct ktap_words words = {.word = KTAP_WORD_NONE};
    struct ktap_text text = behind_prefix((struct ktap_text){line, length});

    words.indent = count_in(text, 0, " \t");
    text = behind(text, words.indent);
    while (text.length > 0 && (text.at[text.length - 1] == '\r' || text.at[text.length - 1] == '\n'))
        text.length--;
    words.rest = text;
    if (starts_with(text, "#"))
        read_comment(text, &words);
    else if (take_word(&text, "Bail out!")) {
        words.word = KTAP_WORD_BAIL_OUT;
        words.name = without_blanks(text);
    } else if (!read_result(text, &words) && !read_plan(text, &words))
        (void)read_version(text, &words);
    return words;
}
