#include "vmm/scenario/pattern_words.h"

#include <stdbool.h>
#include <string.h>

/*
 * What is not understood for certain gives no words. Only letters outside of all groups count, and only what pcre2(3)
 * takes for letters under the options that patterns are compiled with.
 */
struct reader {
    const char *at;
    unsigned depth;
    /* Letters that follow each other; the longest ones of this alternative. */
    const char *run;
    size_t run_length;
    struct word best;

    struct word *list;
    size_t count;
    size_t room;
};

static void end_run(struct reader *reader)
{
    if (reader->run_length > reader->best.length) {
        reader->best.text = reader->run;
        reader->best.length = reader->run_length;
    }
    reader->run_length = 0;
}

static void take_letter(struct reader *reader)
{
    if (reader->depth == 0 && reader->run_length++ == 0)
        reader->run = reader->at;
    reader->at++;
}

/* Of the letter in front there may be none. */
static void drop_letter(struct reader *reader)
{
    if (reader->run_length > 0)
        reader->run_length--;
    end_run(reader);
}

static bool end_alternative(struct reader *reader)
{
    end_run(reader);
    if (reader->best.length < WORDS_LEAST || reader->count == reader->room)
        return false;
    reader->list[reader->count++] = reader->best;
    reader->best.length = 0;
    return true;
}

/* A backslash and one sign: not those that more belongs to, or that change what follows. */
static bool take_escape(struct reader *reader)
{
    const char sign = reader->at[1];
    const bool is_letter = (sign >= 'a' && sign <= 'z') || (sign >= 'A' && sign <= 'Z');
    const bool is_other = sign == '\0' || (sign >= '0' && sign <= '9') || (unsigned char)sign >= 0x80;

    end_run(reader);
    reader->at += 2;
    return is_letter ? strchr("dDwWsShHvVbBAzZnrtfeaR", sign) != NULL : !is_other;
}

static bool take_class(struct reader *reader)
{
    end_run(reader);
    reader->at++;
    reader->at += *reader->at == '^';
    /* As the first one, it is a letter. */
    reader->at += *reader->at == ']';
    while (*reader->at != ']') {
        if (*reader->at == '\0' || *reader->at == '[')
            return false;
        if (*reader->at != '\\')
            reader->at++;
        else if (!take_escape(reader))
            return false;
    }
    reader->at++;
    return true;
}

/* Not one that sets options, or is a verb, a comment, a condition or a call. */
static bool take_group(struct reader *reader)
{
    end_run(reader);
    reader->depth++;
    reader->at++;
    if (*reader->at == '*')
        return false;
    if (*reader->at != '?')
        return true;
    reader->at++;
    return *reader->at != '\0' && strchr(":=!>|<'P", *reader->at) != NULL;
}

static bool take_braces(struct reader *reader)
{
    drop_letter(reader);
    reader->at++;
    reader->at += strspn(reader->at, "0123456789, ");
    return *reader->at++ == '}';
}

static bool take_sign(struct reader *reader)
{
    switch (*reader->at) {
    case '\\':
        return take_escape(reader);
    case '[':
        return take_class(reader);
    case '(':
        return take_group(reader);
    case '{':
        return take_braces(reader);
    case ')':
        reader->at++;
        return reader->depth-- > 0;
    case '|':
        reader->at++;
        return reader->depth > 0 || end_alternative(reader);
    case '?':
    case '*':
        drop_letter(reader);
        reader->at++;
        return true;
    case '+':
    case '.':
    case '^':
    case '$':
        end_run(reader);
        reader->at++;
        return true;
    default:
        take_letter(reader);
        return true;
    }
}

size_t pattern_words(const char *pattern, unsigned number, struct word *list, size_t room)
{
    struct reader reader = {.at = pattern, .best.number = number, .list = list, .room = room};

    while (*reader.at != '\0') {
        if (!take_sign(&reader))
            return 0;
    }
    return reader.depth == 0 && end_alternative(&reader) ? reader.count : 0;
}
