/*
 * Words that patterns need, and the search for them: against patterns and searches that know nothing of words.
 */
#include "vmm/scenario/console_watch.h"
#include "vmm/scenario/pattern_words.h"

#include "test_random.h"
#include "unit_test.h"

#include <stdbool.h>
#include <string.h>

static uint64_t seed;

static void setup(void)
{
    seed = test_random_seed();
}

/* ---- The search ---- */

/* Few letters, so that heads and halves of words are everywhere. */
static size_t make_text(char *text, size_t most, const char *letters)
{
    const size_t length = test_random_below(&seed, (unsigned)most + 1);

    for (size_t i = 0; i < length; i++)
        text[i] = letters[test_random_below(&seed, (unsigned)strlen(letters))];
    return length;
}

START_TEST(words_are_found_where_they_are)
{
    static char texts[WORDS_MAX][40];
    struct word list[WORDS_MAX];
    char text[200];

    for (unsigned round = 0; round < 3000; round++) {
        const size_t count = 1 + test_random_below(&seed, _i == 0 ? 3 : WORDS_MAX);
        for (size_t i = 0; i < count; i++) {
            list[i] = (struct word){.text = texts[i], .number = test_random_below(&seed, 64)};
            list[i].length = WORDS_LEAST + make_text(texts[i] + WORDS_LEAST, sizeof(texts[i]) - WORDS_LEAST, "ab");
            for (size_t j = 0; j < WORDS_LEAST; j++)
                texts[i][j] = "ab"[test_random_below(&seed, 2)];
        }
        struct words *words = words_create(list, count);
        ck_assert_ptr_nonnull(words);
        for (unsigned i = 0; i < 20; i++) {
            const size_t length = make_text(text, sizeof(text), "aab");
            uint64_t expected = 0;
            for (size_t j = 0; j < count; j++) {
                if (memmem(text, length, list[j].text, list[j].length) != NULL)
                    expected |= 1ull << list[j].number;
            }
            ck_assert_uint_eq(words_find(words, text, length), expected);
        }
        words_free(words);
    }
}
END_TEST

/* ---- Words of a pattern ---- */

static const struct {
    const char *pattern;
    /* Each with a "/" behind it. */
    const char *words;
} extracted[] = {
    {"login: ", "login: /"},
    {"^login: never$", "login: never/"},
    {"error: .*failed", "error: /"},
    {"I/O error, dev \\w+", "I/O error, dev /"},
    {"segfault at [0-9a-f]+", "segfault at /"},
    {"one thing|another", "one thing/another/"},
    {"one thing|no", ""},
    {"one thing|", ""},
    {"|one thing", ""},
    {"", ""},
    {"abc", ""},
    {"abcd", "abcd/"},
    {"abcd?", ""},
    {"abcde?", "abcd/"},
    {"abcde*?fg", "abcd/"},
    {"abcde{0}", "abcd/"},
    {"abcde{1,2}fghij", "fghij/"},
    {"abcde{,2}fghi", "abcd/"},
    {"abcd{name}efghijkl", ""},
    {"abcd{[}x]efgh", ""},
    {"abcd{", ""},
    {"abcd+efgh", "abcd/"},
    {"abcde++fg", "abcde/"},
    {"(abcdefg)", ""},
    {"(abcdefg)?hijk", "hijk/"},
    {"(?:abcd|efgh)ijkl", "ijkl/"},
    {"(?:abcd|efgh|)ijkl|mnop", "ijkl/mnop/"},
    {"(?<name>abcdefg)hijk", "hijk/"},
    {"(?=abcdefg)abcd", "abcd/"},
    {"(?<!abcdefg)hijk", "hijk/"},
    {"abcd\\.efghi", "efghi/"},
    {"abcd\\(efghi\\)", "efghi/"},
    {"[abcdefg]hijk", "hijk/"},
    {"[]abcd]efgh", "efgh/"},
    {"[^]abcd]efgh", "efgh/"},
    {"[ab\\]cdef]ghij", "ghij/"},
    {"([)(]|x)efgh", "efgh/"},
    /* What is not understood, or changes what letters are. */
    {"(?i)abcd", ""},
    {"abcd(?i:e)", ""},
    {"(?x)abcd", ""},
    {"(?#abcd)efgh", ""},
    {"abcd(*ACCEPT)efgh", ""},
    {"a(*ACCEPT)?bcdef", ""},
    {"(?(?=a)abcd|efgh)ijkl", ""},
    {"(?R)?abcd", ""},
    {"\\Qab.cd\\E", ""},
    {"\\x61bcdefg", ""},
    {"\\101bcdefg", ""},
    {"abcd\\Kefgh", ""},
    {"(a)bcdef\\1", ""},
    {"\\cabcdefg", ""},
    {"[\\c]abcdefg]hijk", ""},
    {"[[:alpha:]abcdefg]hijk", ""},
};

START_TEST(words_of_a_pattern_are_outside_of_groups)
{
    struct word list[WORDS_MAX];
    struct pattern_failure failure;
    char words[256] = "";

    struct pattern *pattern = pattern_compile(extracted[_i].pattern, &failure);
    ck_assert_msg(pattern != NULL, "%s: %s", extracted[_i].pattern, failure.text);
    pattern_free(pattern);
    const size_t count = pattern_words(extracted[_i].pattern, 7, list, WORDS_MAX);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(list[i].number, 7);
        (void)snprintf(words + strlen(words), sizeof(words) - strlen(words), "%.*s/", (int)list[i].length,
                       list[i].text);
    }
    ck_assert_msg(strcmp(words, extracted[_i].words) == 0, "%s: %s, and not %s", extracted[_i].pattern, words,
                  extracted[_i].words);
}
END_TEST

START_TEST(there_is_not_always_room_for_words)
{
    struct word list[2];

    ck_assert_uint_eq(pattern_words("abcd|efgh", 0, list, 2), 2);
    ck_assert_uint_eq(pattern_words("abcd|efgh|ijkl", 0, list, 2), 0);
    ck_assert_uint_eq(pattern_words("abcd", 0, list, 0), 0);
}
END_TEST

/* Of these patterns are made; many more than are patterns. */
static const char *const pieces[] = {
    "abab",  "aabb",      "bbaab", "ababb", "baba",   "a",       "b",    "b ",    "x",           "]",    "a?",
    "b*",    "a+",        "?",     "*",     "+",      "{2}",     "{0}",  "{0,1}", "{,2}",        "{1",   "}",
    "(a|b)", "(",         ")",     ")?",    "(?:",    "(?=",     "(?!",  "(?<=",  "(?<n>",       "(?|",  "|",
    "|abba", "[ab]",      "[^a]",  "[]ab]", "[^]]",   "[ab\\]]", "[a(]", "[",     "\\w",         "\\.",  "\\(",
    "\\x61", "\\141",     "\\Q",   "\\E",   "\\b",    "\\d",     "\\1",  "\\K",   "\\ca",        "^",    "$",
    ".",     ".*",        "(?i)",  "(?x)",  "(?#a)",  "\\N",     "\\h",  "\\pL",  "[[:alpha:]]", "\\c]", "#",
    "(*F)",  "(*ACCEPT)", "(?-i)", "(?>",   "(?P<m>", "(?&n)",
};

static struct pattern *make_pattern(void)
{
    struct pattern_failure failure;
    char text[128] = "";

    for (unsigned i = 1 + test_random_below(&seed, 7); i > 0; i--)
        (void)strcat(text, pieces[test_random_below(&seed, sizeof(pieces) / sizeof(pieces[0]))]);
    return pattern_compile(text, &failure);
}

static const char letters[] = "aaabbb x].A(";

START_TEST(no_match_is_without_its_words)
{
    struct word list[WORDS_MAX];
    struct error error;
    char line[64];
    unsigned tried = 0;

    for (unsigned round = 0; round < 60000; round++) {
        struct pattern *pattern = make_pattern();
        const size_t count = pattern != NULL ? pattern_words(pattern_text(pattern), 0, list, WORDS_MAX) : 0;
        for (unsigned i = 0; i < 20 && count > 0; i++) {
            const size_t length = make_text(line, sizeof(line), letters);
            if (pattern_match(pattern, line, length, 0, false, &error) != PATTERN_MATCH)
                continue;
            bool is_there = false;
            for (size_t j = 0; j < count; j++)
                is_there |= memmem(line + pattern_start(pattern), pattern_end(pattern) - pattern_start(pattern),
                                   list[j].text, list[j].length) != NULL;
            ck_assert_msg(is_there, "%s matches %.*s", pattern_text(pattern), (int)length, line);
            tried++;
        }
        pattern_free(pattern);
    }
    ck_assert_uint_gt(tried, 1000);
}
END_TEST

/* ---- A console ---- */

enum { LINES = 30, PATTERNS = 1 + CONSOLE_FORBIDDEN_MAX };

struct console {
    char lines[LINES][64];
    size_t lengths[LINES];
    /* The one that is wanted, and those that are forbidden. */
    struct pattern *patterns[PATTERNS];
    size_t forbidden_count;
};

/* One that is given up is not given up on a line that it is not shown. */
static bool is_given_up(const struct console *console, struct pattern *pattern)
{
    struct error error;

    for (size_t i = 0; i < LINES; i++) {
        if (pattern_match(pattern, console->lines[i], console->lengths[i], 0, false, &error) == PATTERN_FAILED)
            return true;
    }
    return false;
}

static void make_console(struct console *console)
{
    console->forbidden_count = test_random_below(&seed, PATTERNS);
    for (size_t i = 0; i < LINES; i++)
        console->lengths[i] = make_text(console->lines[i], sizeof(console->lines[i]), letters);
    for (size_t i = 0; i <= console->forbidden_count; i++) {
        while ((console->patterns[i] = make_pattern()) == NULL || is_given_up(console, console->patterns[i]))
            pattern_free(console->patterns[i]);
    }
}

/* Where a search ends: the first line with a match, and there the match that begins first. */
struct ending {
    enum console_search state;
    size_t line;
    size_t forbidden;
    size_t start;
};

static struct ending search_one_by_one(const struct console *console)
{
    struct error error;

    for (size_t i = 0; i < LINES; i++) {
        struct ending ending = {.state = CONSOLE_WAITING, .line = i + 1, .start = SIZE_MAX};
        for (size_t j = 0; j <= console->forbidden_count; j++) {
            const enum pattern_result result =
                pattern_match(console->patterns[j], console->lines[i], console->lengths[i], 0, false, &error);
            const size_t start = result == PATTERN_MATCH ? pattern_start(console->patterns[j]) : SIZE_MAX;
            if (result != PATTERN_MATCH || (ending.state != CONSOLE_WAITING && start > ending.start))
                continue;
            ending.state = j == 0 ? CONSOLE_FOUND : CONSOLE_FORBIDDEN;
            ending.forbidden = j == 0 ? 0 : j - 1;
            ending.start = start;
        }
        if (ending.state != CONSOLE_WAITING)
            return ending;
    }
    return (struct ending){.state = CONSOLE_WAITING};
}

START_TEST(a_console_is_searched_as_by_each_pattern_alone)
{
    unsigned found[CONSOLE_FAILED + 1] = {0};
    struct console console;
    struct error error;

    for (unsigned round = 0; round < 3000; round++) {
        const struct console_watch_options options = {0};
        struct console_watch *watch = console_watch_create(&options, &error);
        make_console(&console);
        console_watch_expect(watch, console.patterns[0], console.patterns + 1, console.forbidden_count);
        for (size_t i = 0; i < LINES; i++) {
            char line[80];
            const int length = snprintf(line, sizeof(line), "%.*s\n", (int)console.lengths[i], console.lines[i]);
            console_watch_feed(watch, 0, line, (size_t)length);
        }
        const enum console_search state = console_watch_state(watch);
        const struct console_line line =
            state != CONSOLE_WAITING ? console_watch_match(watch) : (struct console_line){0};
        const size_t forbidden = state == CONSOLE_FORBIDDEN ? console_watch_forbidden(watch) : 0;
        const struct ending ending = search_one_by_one(&console);
        ck_assert_int_eq(state, ending.state);
        ck_assert_uint_eq(line.number, ending.line);
        ck_assert_uint_eq(forbidden, ending.forbidden);
        found[state]++;
        console_watch_free(watch);
        for (size_t i = 0; i <= console.forbidden_count; i++)
            pattern_free(console.patterns[i]);
    }
    ck_assert_uint_gt(found[CONSOLE_FOUND], 100);
    ck_assert_uint_gt(found[CONSOLE_FORBIDDEN], 100);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scenario_words");
    TCase *words = tcase_create("words");

    tcase_add_checked_fixture(words, setup, NULL);
    tcase_set_timeout(words, 300);
    tcase_add_loop_test(words, words_are_found_where_they_are, 0, 2);
    tcase_add_loop_test(words, words_of_a_pattern_are_outside_of_groups, 0,
                        (int)(sizeof(extracted) / sizeof(extracted[0])));
    tcase_add_test(words, there_is_not_always_room_for_words);
    tcase_add_test(words, no_match_is_without_its_words);
    tcase_add_test(words, a_console_is_searched_as_by_each_pattern_alone);
    suite_add_tcase(suite, words);
    return unit_test_run(suite);
}
