#include "vmm/scenario/template.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/scenario/pattern.h"
#include "vmm/scenario/scenario.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool template_is_name(const char *name, size_t length)
{
    if (length == 0 || length >= PATTERN_NAME_SIZE || !is_letter(name[0]))
        return false;
    for (size_t i = 1; i < length; i++) {
        if (!is_letter(name[i]) && !is_digit(name[i]))
            return false;
    }
    return true;
}

static struct template_piece take_variable(const char **at)
{
    const char *name = *at + 2;
    const size_t length = strcspn(name, "}");
    struct template_piece piece = {.kind = TEMPLATE_VARIABLE, .text = name, .length = length};

    if (name[length] != '}' || !template_is_name(name, length))
        piece = (struct template_piece){.kind = TEMPLATE_BROKEN, .text = *at, .length = strlen(*at)};
    *at = piece.text + piece.length + (piece.kind == TEMPLATE_VARIABLE);
    return piece;
}

struct template_piece template_next(const char **at)
{
    struct template_piece piece = {.kind = TEMPLATE_LITERAL, .text = *at};

    if (**at == '\0')
        return (struct template_piece){.kind = TEMPLATE_END};
    if (strncmp(*at, "${", 2) == 0)
        return take_variable(at);
    if (strncmp(*at, "$${", 3) == 0) {
        piece.text++;
        piece.length = 2;
        *at += 3;
        return piece;
    }
    /* At least one letter: a "$" may be one. */
    piece.length = 1;
    while (piece.text[piece.length] != '\0' && piece.text[piece.length] != '$')
        piece.length++;
    *at += piece.length;
    return piece;
}

bool template_has_variables(const char *text)
{
    struct template_piece piece;

    do
        piece = template_next(&text);
    while (piece.kind == TEMPLATE_LITERAL);
    return piece.kind == TEMPLATE_VARIABLE;
}

/* ---- Values ---- */

static struct scenario_value *find(const struct scenario_values *values, const char *name, size_t length)
{
    for (size_t i = 0; i < values->count; i++) {
        if (strlen(values->items[i].name) == length && memcmp(values->items[i].name, name, length) == 0)
            return &values->items[i];
    }
    return NULL;
}

/* A value of this name, without a text yet if it is new. */
static struct scenario_value *find_or_add(struct scenario_values *values, const char *name)
{
    struct scenario_value *value = find(values, name, strlen(name));

    if (value != NULL)
        return value;
    struct scenario_value *grown = reallocarray(values->items, values->count + 1, sizeof(*grown));
    char *copy = strdup(name);
    if (grown != NULL)
        values->items = grown;
    if (grown == NULL || copy == NULL) {
        free(copy);
        return NULL;
    }
    value = &values->items[values->count++];
    *value = (struct scenario_value){.name = copy};
    return value;
}

int scenario_values_set(struct scenario_values *values, const char *name, const char *text, size_t length)
{
    struct scenario_value *value = find_or_add(values, name);
    char *copy = malloc(length + 1);
    size_t used = 0;

    if (value == NULL || copy == NULL) {
        free(copy);
        return -1;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] != '\0')
            copy[used++] = text[i];
    }
    copy[used] = '\0';
    free(value->text);
    value->text = copy;
    value->is_given = false;
    return 0;
}

/* The same for what the scenario itself says. */
static int give(struct scenario_values *values, const char *name, const char *text)
{
    if (scenario_values_set(values, name, text, strlen(text)) < 0)
        return -1;
    find(values, name, strlen(name))->is_given = true;
    return 0;
}

const char *scenario_values_get(const struct scenario_values *values, const char *name)
{
    const struct scenario_value *value = find(values, name, strlen(name));

    return value != NULL ? value->text : NULL;
}

int scenario_values_begin(struct scenario_values *values, const struct scenario *scenario, size_t case_index)
{
    for (size_t i = 0; i < scenario->variable_count; i++) {
        const struct scenario_variable *variable = &scenario->variables[i];
        if (give(values, variable->name, variable->value) < 0)
            return -1;
    }
    for (size_t i = 0; i < scenario->axis_count; i++) {
        const struct scenario_axis *axis = &scenario->axes[i];
        const char *entry = axis->entries[scenario->cases[case_index].entries[i]].name;
        if (give(values, axis->name, entry) < 0)
            return -1;
    }
    return 0;
}

void scenario_values_free(struct scenario_values *values)
{
    for (size_t i = 0; i < values->count; i++) {
        free(values->items[i].name);
        free(values->items[i].text);
    }
    free(values->items);
    *values = (struct scenario_values){0};
}

/*
 * A backslash makes any sign that is no letter and no digit stand for itself (pcre2pattern(3)). In a group, so that
 * what is behind it, a "+", is for all of it.
 */
static void write_literally(FILE *out, const char *text)
{
    (void)fputs("(?:", out);
    for (; *text != '\0'; text++) {
        if (!is_letter(*text) && !is_digit(*text) && ((unsigned char)*text < 0x80))
            (void)fputc('\\', out);
        (void)fputc(*text, out);
    }
    (void)fputc(')', out);
}

char *scenario_expand(const struct scenario_values *values, const char *text, bool is_pattern)
{
    char *result = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&result, &size);

    if (out == NULL)
        return NULL;
    for (struct template_piece piece = template_next(&text); piece.kind != TEMPLATE_END; piece = template_next(&text)) {
        if (piece.kind != TEMPLATE_VARIABLE) {
            (void)fwrite(piece.text, 1, piece.length, out);
            continue;
        }
        const struct scenario_value *value = find(values, piece.text, piece.length);
        const char *has = value != NULL && value->text != NULL ? value->text : "";
        if (is_pattern)
            write_literally(out, has);
        else
            (void)fputs(has, out);
    }
    if (fclose(out) != 0) {
        free(result);
        return NULL;
    }
    return result;
}

bool scenario_is_guests(const struct scenario_values *values, const char *text)
{
    for (;;) {
        const struct template_piece piece = template_next(&text);
        if (piece.kind == TEMPLATE_END)
            return false;
        const struct scenario_value *value =
            piece.kind == TEMPLATE_VARIABLE ? find(values, piece.text, piece.length) : NULL;
        if (value != NULL && !value->is_given)
            return true;
    }
}

/* Whether all that a guest has printed of a path is part of a name. */
static int check_path(const struct scenario_values *values, const char *text, struct error *error)
{
    char shown[CONFIG_TEXT_SIZE];

    for (;;) {
        const struct template_piece piece = template_next(&text);
        if (piece.kind == TEMPLATE_END)
            return 0;
        if (piece.kind != TEMPLATE_VARIABLE)
            continue;
        const struct scenario_value *value = find(values, piece.text, piece.length);
        if (value == NULL || value->is_given || (value->text[0] != '.' && strchr(value->text, '/') == NULL))
            continue;
        return error_set(error, ERROR_CONFIG,
                         "\"${%s}\" is %s; in a path of the host's, what a guest has printed may have no \"/\" and no "
                         "\".\" first",
                         value->name, config_text_quote(shown, value->text, strlen(value->text)));
    }
}

char *scenario_expand_path(const struct scenario_values *values, const struct scenario_text *text, struct error *error)
{
    if (check_path(values, text->text, error) < 0)
        return NULL;
    char *expanded = scenario_expand(values, text->text, false);
    char *folder = config_path_folder(text->position.file);
    char *path = expanded != NULL && folder != NULL ? config_path_resolve(folder, expanded) : NULL;
    free(expanded);
    free(folder);
    if (path == NULL)
        (void)config_out_of_memory(error);
    return path;
}
