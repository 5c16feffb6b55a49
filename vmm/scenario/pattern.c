#include "vmm/scenario/pattern.h"

#include "vmm/config/place.h"
#include "vmm/config/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Steps from one place where a match may begin. A ".*" goes back over a whole line of 64 KiB within it. */
#define MATCH_LIMIT 200000u
/* For the interpreter, where the host forbids the compiler: KiB, and nested groups. */
#define HEAP_LIMIT_KIB (8u * 1024u)
#define DEPTH_LIMIT 20000u
#define JIT_STACK_LEAST (32u * 1024u)
#define JIT_STACK_MOST (1024u * 1024u)
/* How many places are tried between two looks at the clock; a shorter subject needs no clock. */
#define STRETCH 1024u
#define BUDGET_NS 1000000000ull

struct capture {
    char name[PATTERN_NAME_SIZE];
    uint32_t number;
};

struct pattern {
    char *text;
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    /* NULL: not compiled to machine code */
    pcre2_jit_stack *jit_stack;
    unsigned long long budget_ns;
    size_t capture_count;
    struct capture captures[PATTERN_MAX_CAPTURES];
};

static struct pattern *fail(struct pattern_failure *failure, size_t offset, const char *text)
{
    failure->offset = offset;
    (void)snprintf(failure->text, sizeof(failure->text), "%s", text);
    return NULL;
}

static struct pattern *fail_out_of_memory(struct pattern_failure *failure)
{
    failure->out_of_memory = true;
    return fail(failure, 0, "out of memory");
}

static pcre2_code *compile(const char *text, struct pattern_failure *failure)
{
    const uint32_t options = PCRE2_MULTILINE | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT;
    PCRE2_SIZE offset;
    int code;

    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL) {
        (void)fail_out_of_memory(failure);
        return NULL;
    }
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (compiled != NULL)
        return compiled;

    char message[sizeof(failure->text)];
    if (pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof(message)) < 0)
        (void)snprintf(message, sizeof(message), "not a pattern");
    failure->out_of_memory = code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED;
    (void)fail(failure, offset, message);
    return NULL;
}

static int compare_numbers(const void *left, const void *right)
{
    const struct capture *a = left;
    const struct capture *b = right;

    return (a->number > b->number) - (a->number < b->number);
}

static bool list_captures(struct pattern *pattern, struct pattern_failure *failure)
{
    uint32_t count = 0;
    uint32_t entry_size = 0;
    PCRE2_SPTR table = NULL;

    (void)pcre2_pattern_info(pattern->code, PCRE2_INFO_NAMECOUNT, &count);
    (void)pcre2_pattern_info(pattern->code, PCRE2_INFO_NAMEENTRYSIZE, &entry_size);
    (void)pcre2_pattern_info(pattern->code, PCRE2_INFO_NAMETABLE, &table);
    if (count > PATTERN_MAX_CAPTURES)
        return fail(failure, 0, "more than 32 named groups") != NULL;
    for (uint32_t i = 0; i < count; i++, table += entry_size) {
        /* A group's number in two bytes, the greater first, and its name (pcre2api(3)). */
        pattern->captures[i].number = (uint32_t)table[0] << 8 | table[1];
        (void)snprintf(pattern->captures[i].name, sizeof(pattern->captures[i].name), "%s", (const char *)table + 2);
    }
    pattern->capture_count = count;
    qsort(pattern->captures, count, sizeof(pattern->captures[0]), compare_numbers);
    return true;
}

static bool prepare_matching(struct pattern *pattern)
{
    pattern->match = pcre2_match_data_create_from_pattern(pattern->code, NULL);
    pattern->context = pcre2_match_context_create(NULL);
    if (pattern->match == NULL || pattern->context == NULL)
        return false;
    (void)pcre2_set_match_limit(pattern->context, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(pattern->context, HEAP_LIMIT_KIB);
    (void)pcre2_set_depth_limit(pattern->context, DEPTH_LIMIT);
    /* Without it (a host that forbids memory which is written and executed) matching is slower and the same. */
    if (pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD) != 0)
        return true;
    pattern->jit_stack = pcre2_jit_stack_create(JIT_STACK_LEAST, JIT_STACK_MOST, NULL);
    if (pattern->jit_stack == NULL)
        return false;
    pcre2_jit_stack_assign(pattern->context, NULL, pattern->jit_stack);
    return true;
}

struct pattern *pattern_compile(const char *text, struct pattern_failure *failure)
{
    *failure = (struct pattern_failure){0};
    if (strnlen(text, PATTERN_MAX_LENGTH + 1) > PATTERN_MAX_LENGTH)
        return fail(failure, PATTERN_MAX_LENGTH, "longer than 4096 bytes");

    struct pattern *pattern = calloc(1, sizeof(*pattern));
    if (pattern == NULL)
        return fail_out_of_memory(failure);
    pattern->budget_ns = BUDGET_NS;
    pattern->code = compile(text, failure);
    if (pattern->code == NULL || !list_captures(pattern, failure)) {
        pattern_free(pattern);
        return NULL;
    }
    pattern->text = strdup(text);
    if (pattern->text == NULL || !prepare_matching(pattern)) {
        pattern_free(pattern);
        return fail_out_of_memory(failure);
    }
    return pattern;
}

void pattern_free(struct pattern *pattern)
{
    if (pattern == NULL)
        return;
    pcre2_jit_stack_free(pattern->jit_stack);
    pcre2_match_context_free(pattern->context);
    pcre2_match_data_free(pattern->match);
    pcre2_code_free(pattern->code);
    free(pattern->text);
    free(pattern);
}

const char *pattern_text(const struct pattern *pattern)
{
    return pattern->text;
}

size_t pattern_capture_count(const struct pattern *pattern)
{
    return pattern->capture_count;
}

const char *pattern_capture_name(const struct pattern *pattern, size_t index)
{
    return pattern->captures[index].name;
}

static unsigned long long processor_time(void)
{
    struct timespec time = {0};

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (unsigned long long)time.tv_sec * 1000000000ull + (unsigned long long)time.tv_nsec;
}

static enum pattern_result give_up(const struct pattern *pattern, struct error *error, const char *why)
{
    char shown[CONFIG_TEXT_SIZE];

    (void)error_set(error, ERROR_CONFIG, "the pattern %s %s; make it simpler, without repetitions in repetitions",
                    config_text_quote(shown, pattern->text, strlen(pattern->text)), why);
    return PATTERN_FAILED;
}

static enum pattern_result judge(const struct pattern *pattern, int code, struct error *error)
{
    switch (code) {
    case PCRE2_ERROR_NOMATCH:
        return PATTERN_NO_MATCH;
    case PCRE2_ERROR_PARTIAL:
        return PATTERN_UNDECIDED;
    case PCRE2_ERROR_NOMEMORY:
        (void)config_out_of_memory(error);
        return PATTERN_FAILED;
    case PCRE2_ERROR_MATCHLIMIT:
    case PCRE2_ERROR_DEPTHLIMIT:
        return give_up(pattern, error, "takes too many steps on what the guest printed");
    case PCRE2_ERROR_HEAPLIMIT:
    case PCRE2_ERROR_JIT_STACKLIMIT:
        return give_up(pattern, error, "needs too much memory on what the guest printed");
    default:
        break;
    }
    /* 0 would be too few places for groups, which are made for this pattern. */
    return code >= 0 ? PATTERN_MATCH : give_up(pattern, error, "cannot be matched");
}

/* Both do the same; the first leaves out checks of what is known here, which cost as much as a short line. */
static int match(const struct pattern *pattern, const char *subject, size_t length, size_t from, uint32_t options)
{
    const PCRE2_SPTR bytes = (PCRE2_SPTR)subject;

    if (pattern->jit_stack != NULL)
        return pcre2_jit_match(pattern->code, bytes, length, from, options, pattern->match, pattern->context);
    return pcre2_match(pattern->code, bytes, length, from, options, pattern->match, pattern->context);
}

enum pattern_result pattern_match(struct pattern *pattern, const char *subject, size_t length, size_t from,
                                  bool unfinished, struct error *error)
{
    const uint32_t options = unfinished ? PCRE2_PARTIAL_HARD : 0;

    /* Few places need no clock. */
    if (length - from <= STRETCH)
        return judge(pattern, match(pattern, subject, length, from, options), error);
    const unsigned long long started = processor_time();
    for (;;) {
        /* Starts that come next; PCRE2 takes the last of them as well. */
        const bool is_last = length - from < STRETCH;
        (void)pcre2_set_offset_limit(pattern->context, is_last ? PCRE2_UNSET : from + STRETCH - 1);
        const int code = match(pattern, subject, length, from, options);
        (void)pcre2_set_offset_limit(pattern->context, PCRE2_UNSET);
        if (code != PCRE2_ERROR_NOMATCH || is_last)
            return judge(pattern, code, error);
        from += STRETCH;
        if (processor_time() - started > pattern->budget_ns)
            return give_up(pattern, error, "takes too long on what the guest printed");
    }
}

size_t pattern_start(const struct pattern *pattern)
{
    return pcre2_get_ovector_pointer(pattern->match)[0];
}

size_t pattern_end(const struct pattern *pattern)
{
    return pcre2_get_ovector_pointer(pattern->match)[1];
}

bool pattern_capture(const struct pattern *pattern, size_t index, size_t *start, size_t *length)
{
    const PCRE2_SIZE *places = pcre2_get_ovector_pointer(pattern->match);
    const uint32_t number = pattern->captures[index].number;

    if (places[2 * number] == PCRE2_UNSET)
        return false;
    *start = places[2 * number];
    *length = places[2 * number + 1] - *start;
    return true;
}

void pattern_set_budget(struct pattern *pattern, unsigned long long ns)
{
    pattern->budget_ns = ns;
}
