#include "vmm/scenario/ktap.h"

#include "vmm/config/place.h"
#include "vmm/scenario/ktap_words.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct node {
    enum ktap_status status;
    bool is_suite;
    /* Its subtests are not as planned. */
    bool is_broken;
    uint32_t depth;
    size_t parent;
    /* Owned; NULL for "". */
    char *name;
    char *reason;
    char *diagnostics;
};

/* A level of the stream that is open: the whole, or a suite's subtests. */
struct frame {
    size_t indent;
    /* Whose subtests these are; KTAP_NO_PARENT for the outermost level. */
    size_t suite;
    bool has_plan;
    uint64_t plan;
    uint64_t count;
    /* The number that is due. */
    uint64_t next;
};

struct ktap {
    struct node *nodes;
    size_t count;
    size_t capacity;
    /* Results that there was no room for. */
    size_t dropped;
    size_t text_size;

    struct frame frames[KTAP_MAX_DEPTH];
    size_t depth;
    bool is_finished;
    bool had_stream;
    bool is_too_deep;

    /* What the next suite is called, if it has been said. */
    char subtest[KTAP_NAME_SIZE];
    /* Lines since the last result. */
    char pending[KTAP_DIAGNOSTICS_SIZE];
    size_t pending_length;
    /* Of ktap_bytes(): a line that has not ended. */
    char line[KTAP_LINE_MAX];
    size_t line_length;

    size_t problem_count;
    char problems[KTAP_MAX_PROBLEMS][200];
};

static const char *const status_names[KTAP_STATUS_COUNT] = {
    [KTAP_MISSING] = "missing",      [KTAP_PASSED] = "passed",      [KTAP_FAILED] = "failed",
    [KTAP_SKIPPED] = "skipped",      [KTAP_TODO] = "known to fail", [KTAP_TIMED_OUT] = "timed out",
    [KTAP_ERROR] = "ended in error",
};

const char *ktap_status_name(enum ktap_status status)
{
    return status_names[status];
}

bool ktap_status_is_bad(enum ktap_status status)
{
    return status != KTAP_PASSED && status != KTAP_SKIPPED && status != KTAP_TODO;
}

struct ktap *ktap_create(struct error *error)
{
    struct ktap *ktap = calloc(1, sizeof(*ktap));

    if (ktap == NULL)
        (void)config_out_of_memory(error);
    return ktap;
}

void ktap_free(struct ktap *ktap)
{
    if (ktap == NULL)
        return;
    for (size_t i = 0; i < ktap->count; i++) {
        free(ktap->nodes[i].name);
        free(ktap->nodes[i].reason);
        free(ktap->nodes[i].diagnostics);
    }
    free(ktap->nodes);
    free(ktap);
}

__attribute__((format(printf, 2, 3))) static void add_problem(struct ktap *ktap, const char *format, ...)
{
    const size_t index = ktap->problem_count++;
    va_list args;

    if (index >= KTAP_MAX_PROBLEMS)
        return;
    va_start(args, format);
    (void)vsnprintf(ktap->problems[index], sizeof(ktap->problems[index]), format, args);
    va_end(args);
}

/* ---- Texts ---- */

/* Copies what fits, with control characters made visible. */
static void copy_printable(char *out, size_t size, struct ktap_text text)
{
    size_t length = text.length < size - 1 ? text.length : size - 1;

    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text.at[i];
        out[i] = (c < 0x20 && c != '\t') || c == 0x7f ? '?' : text.at[i];
    }
    out[length] = '\0';
}

/* Puts text behind *to; where there is no room for it any more, it is left out. */
static void append(struct ktap *ktap, char **to, const char *text, size_t most)
{
    const size_t before = *to != NULL ? strlen(*to) : 0;
    size_t length = strlen(text);

    if (before + length >= most)
        length = most - 1 - before;
    if (length == 0 || ktap->text_size + length > KTAP_TEXT_MAX)
        return;
    char *grown = realloc(*to, before + length + 1);
    if (grown == NULL)
        return;
    memcpy(grown + before, text, length);
    grown[before + length] = '\0';
    *to = grown;
    ktap->text_size += length;
}

static void set_name(struct ktap *ktap, struct node *node, struct ktap_text name)
{
    char printable[KTAP_NAME_SIZE];

    copy_printable(printable, sizeof(printable), name);
    free(node->name);
    node->name = NULL;
    append(ktap, &node->name, printable, sizeof(printable));
}

static const char *name_of(const struct ktap *ktap, size_t index)
{
    if (index == KTAP_NO_PARENT)
        return "the stream";
    return ktap->nodes[index].name != NULL ? ktap->nodes[index].name : "a suite without a name";
}

static void add_diagnostic(struct ktap *ktap, struct ktap_text text)
{
    const size_t room = sizeof(ktap->pending) - ktap->pending_length;

    if (text.length == 0 || room < 3)
        return;
    copy_printable(ktap->pending + ktap->pending_length, room - 1, text);
    ktap->pending_length += strlen(ktap->pending + ktap->pending_length);
    ktap->pending[ktap->pending_length++] = '\n';
    ktap->pending[ktap->pending_length] = '\0';
}

static void give_diagnostics(struct ktap *ktap, size_t index)
{
    if (index != KTAP_NO_PARENT && ktap->pending_length > 0)
        append(ktap, &ktap->nodes[index].diagnostics, ktap->pending, KTAP_DIAGNOSTICS_SIZE);
    ktap->pending_length = 0;
    ktap->pending[0] = '\0';
}

/* ---- The tree ---- */

static struct frame *top(struct ktap *ktap)
{
    return &ktap->frames[ktap->depth - 1];
}

/* A new result; NULL: there is no room, which is counted. */
static struct node *add_node(struct ktap *ktap)
{
    if (ktap->count == ktap->capacity && ktap->count < KTAP_MAX_RESULTS) {
        const size_t capacity = ktap->capacity == 0 ? 64 : ktap->capacity * 2;
        struct node *grown = reallocarray(ktap->nodes, capacity, sizeof(*grown));
        if (grown != NULL) {
            ktap->nodes = grown;
            ktap->capacity = capacity;
        }
    }
    if (ktap->count == ktap->capacity) {
        if (ktap->dropped++ == 0)
            add_problem(ktap, "more than %zu results; the others are not looked at", ktap->count);
        return NULL;
    }
    struct node *node = &ktap->nodes[ktap->count++];
    *node = (struct node){.parent = ktap->depth > 0 ? top(ktap)->suite : KTAP_NO_PARENT,
                          .depth = ktap->depth > 0 ? (uint32_t)ktap->depth - 1 : 0};
    return node;
}

static void open_root(struct ktap *ktap, size_t indent)
{
    ktap->had_stream = true;
    ktap->depth = 1;
    ktap->frames[0] = (struct frame){.indent = indent, .suite = KTAP_NO_PARENT, .next = 1};
}

/* A level of subtests starts; false: it is too deep, or there is no room for it. */
static bool open_suite(struct ktap *ktap, size_t indent)
{
    if (ktap->depth == KTAP_MAX_DEPTH) {
        if (!ktap->is_too_deep)
            add_problem(ktap, "subtests are nested more than %u deep", KTAP_MAX_DEPTH);
        ktap->is_too_deep = true;
        return false;
    }
    struct node *suite = add_node(ktap);
    if (suite == NULL)
        return false;
    suite->is_suite = true;
    if (ktap->subtest[0] != '\0')
        set_name(ktap, suite, (struct ktap_text){ktap->subtest, strlen(ktap->subtest)});
    ktap->subtest[0] = '\0';
    give_diagnostics(ktap, ktap->count - 1);
    ktap->frames[ktap->depth++] = (struct frame){.indent = indent, .suite = ktap->count - 1, .next = 1};
    return true;
}

static void close_top(struct ktap *ktap)
{
    const struct frame *frame = top(ktap);
    const bool is_kept = !frame->has_plan || frame->count == frame->plan;

    if (!is_kept) {
        add_problem(ktap, "%s: %llu results were planned, and %llu came", name_of(ktap, frame->suite),
                    (unsigned long long)frame->plan, (unsigned long long)frame->count);
        if (frame->suite != KTAP_NO_PARENT)
            ktap->nodes[frame->suite].is_broken = true;
    }
    ktap->depth--;
}

static void report_missing(struct ktap *ktap, size_t suite)
{
    if (suite != KTAP_NO_PARENT)
        add_problem(ktap, "%s: its result is missing", name_of(ktap, suite));
}

/*
 * Closes the levels that are further in than indent, but never the outermost. Returns the suite whose level was closed
 * last, for which a result is due; KTAP_NO_PARENT if there is none.
 */
static size_t close_to(struct ktap *ktap, size_t indent)
{
    size_t suite = KTAP_NO_PARENT;

    while (ktap->depth > 1 && top(ktap)->indent > indent) {
        report_missing(ktap, suite);
        suite = top(ktap)->suite;
        close_top(ktap);
    }
    return suite;
}

static void close_root(struct ktap *ktap)
{
    report_missing(ktap, close_to(ktap, 0));
    if (ktap->depth > 1) {
        /* The outermost level is indented itself. */
        report_missing(ktap, top(ktap)->suite);
        close_top(ktap);
    }
    if (!top(ktap)->has_plan)
        add_problem(ktap, "there is no plan, so nobody knows whether all results came");
    close_top(ktap);
}

/* ---- Lines ---- */

static bool is_root_complete(const struct ktap *ktap)
{
    const struct frame *root = &ktap->frames[0];

    return ktap->depth == 1 && root->has_plan && root->count >= root->plan;
}

static void take_version(struct ktap *ktap, const struct ktap_words *words)
{
    if (ktap->depth == 0) {
        open_root(ktap, words->indent);
        return;
    }
    report_missing(ktap, close_to(ktap, words->indent));
    if (words->indent > top(ktap)->indent) {
        (void)open_suite(ktap, words->indent);
        return;
    }
    if (ktap->depth > 1) {
        /* Another suite at the same level, though the one before has no result. */
        const size_t suite = top(ktap)->suite;
        close_top(ktap);
        report_missing(ktap, suite);
        (void)open_suite(ktap, words->indent);
        return;
    }
    if (!is_root_complete(ktap))
        add_problem(ktap, "a stream began before the one before it had ended");
    close_root(ktap);
    open_root(ktap, words->indent);
}

/* Comes to the level that a line is at, opening one if need be; false: it cannot be. */
static bool enter_level(struct ktap *ktap, size_t indent)
{
    return indent <= top(ktap)->indent || open_suite(ktap, indent);
}

static void take_subtest(struct ktap *ktap, const struct ktap_words *words)
{
    report_missing(ktap, close_to(ktap, words->indent));
    copy_printable(ktap->subtest, sizeof(ktap->subtest), words->name);
    if (words->indent > top(ktap)->indent) {
        (void)open_suite(ktap, words->indent);
        return;
    }
    const struct frame *frame = top(ktap);
    if (frame->suite == KTAP_NO_PARENT || frame->count > 0 || ktap->nodes[frame->suite].name != NULL)
        return;
    set_name(ktap, &ktap->nodes[frame->suite], words->name);
    ktap->subtest[0] = '\0';
}

static void take_plan(struct ktap *ktap, const struct ktap_words *words)
{
    report_missing(ktap, close_to(ktap, words->indent));
    if (!enter_level(ktap, words->indent))
        return;
    struct frame *frame = top(ktap);
    if (frame->has_plan) {
        add_problem(ktap, "%s: there is a second plan", name_of(ktap, frame->suite));
        return;
    }
    frame->has_plan = true;
    frame->plan = words->number;
    if (frame->suite != KTAP_NO_PARENT)
        give_diagnostics(ktap, frame->suite);
}

static bool is_named(const struct node *node, struct ktap_text name)
{
    char printable[KTAP_NAME_SIZE];

    copy_printable(printable, sizeof(printable), name);
    return node->name != NULL && strcmp(node->name, printable) == 0;
}

/* The result of a suite whose subtests have ended, if the line is it; otherwise one of its own. NULL: no room. */
static struct node *node_of_result(struct ktap *ktap, size_t suite, const struct ktap_words *words)
{
    if (suite == KTAP_NO_PARENT)
        return add_node(ktap);
    struct node *node = &ktap->nodes[suite];
    if (node->name == NULL || words->name.length == 0 || is_named(node, words->name))
        return node;
    report_missing(ktap, suite);
    return add_node(ktap);
}

static void take_result(struct ktap *ktap, const struct ktap_words *words)
{
    const size_t suite = close_to(ktap, words->indent);

    if (!enter_level(ktap, words->indent))
        return;
    struct frame *frame = top(ktap);
    frame->count++;
    if (words->number != 0 && words->number != frame->next)
        add_problem(ktap, "%s: number %llu came where %llu was due", name_of(ktap, frame->suite),
                    (unsigned long long)words->number, (unsigned long long)frame->next);
    frame->next = (words->number != 0 ? words->number : frame->next) + 1;

    struct node *node = node_of_result(ktap, suite, words);
    if (node == NULL)
        return;
    if (node->name == NULL)
        set_name(ktap, node, words->name);
    node->status = node->is_broken && !ktap_status_is_bad(words->status) ? KTAP_ERROR : words->status;
    char reason[KTAP_NAME_SIZE];
    copy_printable(reason, sizeof(reason), words->reason);
    append(ktap, &node->reason, reason, sizeof(reason));
    give_diagnostics(ktap, (size_t)(node - ktap->nodes));
}

static void take_in_stream(struct ktap *ktap, const struct ktap_words *words)
{
    switch (words->word) {
    case KTAP_WORD_SUBTEST:
        take_subtest(ktap, words);
        break;
    case KTAP_WORD_PLAN:
        take_plan(ktap, words);
        break;
    case KTAP_WORD_RESULT:
        take_result(ktap, words);
        break;
    case KTAP_WORD_BAIL_OUT: {
        char why[KTAP_NAME_SIZE];
        copy_printable(why, sizeof(why), words->name);
        add_problem(ktap, "the test bailed out%s%.150s", why[0] != '\0' ? ": " : "", why);
        break;
    }
    default:
        if (!is_root_complete(ktap))
            add_diagnostic(ktap, words->rest);
        break;
    }
}

void ktap_line(struct ktap *ktap, const char *line, size_t length)
{
    const struct ktap_words words = ktap_read_line(line, length < KTAP_LINE_MAX ? length : KTAP_LINE_MAX);

    if (ktap->is_finished)
        return;
    if (words.word == KTAP_WORD_VERSION)
        take_version(ktap, &words);
    else if (ktap->depth > 0)
        take_in_stream(ktap, &words);
}

void ktap_bytes(struct ktap *ktap, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            ktap_line(ktap, ktap->line, ktap->line_length);
            ktap->line_length = 0;
        } else if (ktap->line_length < sizeof(ktap->line)) {
            ktap->line[ktap->line_length++] = bytes[i];
        }
    }
}

bool ktap_is_complete(const struct ktap *ktap)
{
    return is_root_complete(ktap);
}

void ktap_finish(struct ktap *ktap)
{
    if (ktap->is_finished)
        return;
    if (ktap->line_length > 0)
        ktap_line(ktap, ktap->line, ktap->line_length);
    if (ktap->depth > 0) {
        /* What was said when the stream broke off. */
        give_diagnostics(ktap, top(ktap)->suite);
        close_root(ktap);
    }
    if (!ktap->had_stream)
        add_problem(ktap, "no KTAP came; it starts with \"KTAP version 1\"");
    ktap->is_finished = true;
}

/* ---- What came of it ---- */

size_t ktap_count(const struct ktap *ktap)
{
    return ktap->count;
}

static const char *text_of(const char *text)
{
    return text != NULL ? text : "";
}

struct ktap_result ktap_result(const struct ktap *ktap, size_t index)
{
    assert(index < ktap->count);
    const struct node *node = &ktap->nodes[index];
    return (struct ktap_result){
        .status = node->status,
        .is_suite = node->is_suite,
        .parent = node->parent,
        .depth = node->depth,
        .name = text_of(node->name),
        .reason = text_of(node->reason),
        .diagnostics = text_of(node->diagnostics),
    };
}

const char *ktap_path(const struct ktap *ktap, size_t index, char out[KTAP_PATH_SIZE])
{
    size_t chain[KTAP_MAX_DEPTH + 1];
    size_t count = 0;
    size_t used = 0;

    for (; index != KTAP_NO_PARENT; index = ktap->nodes[index].parent)
        chain[count++] = index;
    out[0] = '\0';
    while (count-- > 0 && used < KTAP_PATH_SIZE - 1) {
        const int length = snprintf(out + used, KTAP_PATH_SIZE - used, "%s%s", used > 0 ? "/" : "",
                                    text_of(ktap->nodes[chain[count]].name));
        used += (size_t)length;
    }
    return out;
}

size_t ktap_tally(const struct ktap *ktap, enum ktap_status status)
{
    size_t count = 0;

    for (size_t i = 0; i < ktap->count; i++)
        count += !ktap->nodes[i].is_suite && ktap->nodes[i].status == status;
    return count;
}

size_t ktap_problem_count(const struct ktap *ktap)
{
    return ktap->problem_count;
}

const char *ktap_problem(const struct ktap *ktap, size_t index)
{
    return index < ktap->problem_count && index < KTAP_MAX_PROBLEMS ? ktap->problems[index] : NULL;
}

bool ktap_passed(const struct ktap *ktap)
{
    if (!ktap->is_finished || ktap->count == 0 || ktap->problem_count > 0)
        return false;
    for (size_t i = 0; i < ktap->count; i++) {
        if (ktap_status_is_bad(ktap->nodes[i].status))
            return false;
    }
    return true;
}
