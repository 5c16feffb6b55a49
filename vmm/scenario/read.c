#include "vmm/scenario/read.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/scenario/pattern.h"
#include "vmm/scenario/template.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Messages ---- */

__attribute__((format(printf, 4, 0))) static int fail_with(const struct scenario_position *position, const char *name,
                                                           struct error *error, const char *format, va_list args)
{
    const struct place place = {.file = position->file, .position = {position->line, position->column}};

    (void)config_place_verror(&place, name, error, format, args);
    return -1;
}

int scenario_fail_at(const struct scenario_position *position, const char *name, struct error *error,
                     const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fail_with(position, name, error, format, args);
    va_end(args);
    return -1;
}

struct scenario_position scenario_position_of(const struct scenario_reader *reader, const struct toml_node *node)
{
    return (struct scenario_position){reader->file, node->line, node->column};
}

int scenario_fail(const struct scenario_reader *reader, const struct toml_node *node, const char *name,
                  const char *format, ...)
{
    const struct scenario_position position = scenario_position_of(reader, node);
    va_list args;

    va_start(args, format);
    (void)fail_with(&position, name, reader->error, format, args);
    va_end(args);
    return -1;
}

int scenario_fail_key(const struct scenario_reader *reader, const struct toml_node *node, const char *name,
                      const char *format, ...)
{
    const struct scenario_position position = {reader->file, node->key_line, node->key_column};
    va_list args;

    va_start(args, format);
    (void)fail_with(&position, name, reader->error, format, args);
    va_end(args);
    return -1;
}

const char *scenario_key_name(const struct scenario_table *table, const char *key, char out[SCENARIO_KEY_SIZE])
{
    (void)snprintf(out, SCENARIO_KEY_SIZE, "%s%s%s", table->name, table->name[0] != '\0' ? "." : "", key);
    return out;
}

int scenario_fail_unknown(const struct scenario_reader *reader, const struct scenario_table *table, uint32_t kinds,
                          const struct toml_node *node)
{
    const struct scenario_key *nearest = scenario_table_nearest(table, kinds, node->key);
    char full[CONFIG_TEXT_SIZE];
    char shown[CONFIG_TEXT_SIZE];

    (void)snprintf(full, sizeof(full), "%s%s%s", table->name, table->name[0] != '\0' ? "." : "", node->key);
    (void)config_text_escape(shown, full, strlen(full));
    if (nearest == NULL)
        return scenario_fail_key(reader, node, shown, "unknown key; quire.scenario(5) lists those there are");
    return scenario_fail_key(reader, node, shown, "unknown key; did you mean %s?", nearest->name);
}

/* ---- Finding ---- */

const struct scenario_key *scenario_key_of(const struct scenario_table *table, const struct toml_node *node)
{
    return strlen(node->key) == node->key_length ? scenario_table_find(table, node->key) : NULL;
}

const struct toml_node *scenario_child(const struct toml_node *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct toml_node *child = &table->children[i];
        if (child->key_length == strlen(name) && strcmp(child->key, name) == 0)
            return child;
    }
    return NULL;
}

int scenario_check_tables(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                          const char *title)
{
    bool is_list = node->kind == TOML_KIND_ARRAY;

    for (size_t i = 0; is_list && i < node->count; i++)
        is_list = node->children[i].kind == TOML_KIND_TABLE;
    return is_list
               ? 0
               : scenario_fail_key(reader, node, name,
                                   "is a list of tables; write %s for each, and its keys in the lines below", title);
}

int scenario_check_table(const struct scenario_reader *reader, const char *name, const struct toml_node *node)
{
    if (node->kind == TOML_KIND_TABLE)
        return 0;
    return scenario_fail_key(reader, node, name, "is a table; write [%s] once, and its keys in the lines below", name);
}

void *scenario_grow(const struct scenario_reader *reader, void **items, size_t *count, size_t size)
{
    char *grown = reallocarray(*items, *count + 1, size);

    if (grown == NULL) {
        (void)config_out_of_memory(reader->error);
        return NULL;
    }
    *items = grown;
    return memset(grown + (*count)++ * size, 0, size);
}

bool scenario_is_word(const char *text)
{
    const size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+");

    return length > 0 && length <= SCENARIO_MAX_NAME && text[length] == '\0' && text[0] != '.';
}

void scenario_text_free(struct scenario_text *text)
{
    free(text->text);
    text->text = NULL;
}

void scenario_texts_free(struct scenario_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        scenario_text_free(&texts->items[i]);
    free(texts->items);
    *texts = (struct scenario_texts){0};
}

/* ---- Texts ---- */

int scenario_read_string(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                         size_t least, struct scenario_text *text)
{
    if (node->kind != TOML_KIND_STRING)
        return scenario_fail(reader, node, name, "is a string; write it in quotes");
    if (strlen(node->string) != node->length)
        return scenario_fail(reader, node, name, "has a NUL in it; take it out");
    if (node->length < least)
        return scenario_fail(reader, node, name, "is empty; leave it out if there is nothing to say");
    char *copy = strdup(node->string);
    if (copy == NULL)
        return config_out_of_memory(reader->error);
    free(text->text);
    *text = (struct scenario_text){copy, scenario_position_of(reader, node)};
    return 0;
}

static int check_template(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                          const char *text)
{
    char shown[CONFIG_TEXT_SIZE];

    for (;;) {
        const struct template_piece piece = template_next(&text);
        if (piece.kind == TEMPLATE_END)
            return 0;
        if (piece.kind == TEMPLATE_BROKEN)
            return scenario_fail(reader, node, name,
                                 "%s is no variable; write \"${name}\", or \"$${\" for the two letters",
                                 config_text_quote(shown, piece.text, piece.length));
    }
}

/*
 * Stand for the values of variables, which are not known yet, as scenario_expand() writes them: a letter, nothing, and
 * what ends quotations, comments and strings, so that a variable in one of these is noticed.
 */
static const char *const STAND_INS[] = {"x", "", "\\\\E\\)\\\n\\\"\\'\\`\\^\\%\\#\\$\\}"};
enum { STAND_IN_COUNT = sizeof(STAND_INS) / sizeof(STAND_INS[0]) };

/* The longest is yet longer for each variable: values need not be of the same length, as a look behind may want. */
static void put_stand_in(FILE *out, unsigned which, size_t number)
{
    (void)fprintf(out, "(?:%s", STAND_INS[which]);
    for (size_t i = 0; which == STAND_IN_COUNT - 1 && i < number; i++)
        (void)fputc('x', out);
    (void)fputc(')', out);
}

/*
 * The pattern with something in the place of its variables, and where in text the first `offset` bytes of that end. The
 * caller frees it; NULL: out of memory.
 */
static char *fill_pattern(const char *text, unsigned stand_in, size_t offset, size_t *ret_place)
{
    const char *const start = text;
    char *filled = NULL;
    size_t size = 0;
    size_t variables = 0;
    FILE *out = open_memstream(&filled, &size);

    *ret_place = strlen(text);
    if (out == NULL)
        return NULL;
    for (;;) {
        const char *const begin = text;
        const long before = ftell(out);
        const struct template_piece piece = template_next(&text);
        if (piece.kind == TEMPLATE_END)
            break;
        if (piece.kind == TEMPLATE_VARIABLE)
            put_stand_in(out, stand_in, variables++);
        else
            (void)fwrite(piece.text, 1, piece.length, out);
        if (offset >= (size_t)before && offset < (size_t)ftell(out)) {
            const size_t within = piece.kind == TEMPLATE_VARIABLE ? 0 : offset - (size_t)before;
            *ret_place = (size_t)(begin - start) + within;
        }
    }
    if (fclose(out) != 0) {
        free(filled);
        return NULL;
    }
    return filled;
}

/* Counted from 1, of a place in bytes. */
static size_t character_at(const char *text, size_t offset)
{
    size_t count = 1;

    for (size_t i = 0; i < offset && text[i] != '\0'; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static int fail_pattern(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                        const char *text, unsigned stand_in, const struct pattern_failure *failure)
{
    char shown[CONFIG_TEXT_SIZE];
    size_t place;

    if (failure->out_of_memory)
        return config_out_of_memory(reader->error);
    free(fill_pattern(text, stand_in, failure->offset, &place));
    return scenario_fail(reader, node, name, "%s is no pattern%s: %s, at character %zu of it; see %s",
                         config_text_quote(shown, text, strlen(text)),
                         stand_in > 0 ? " with every value of its variables" : "", failure->text,
                         character_at(text, place), stand_in > 0 ? "quire.scenario(5), Variables" : "pcre2pattern(3)");
}

static int check_pattern(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                         const char *text)
{
    const unsigned count = template_has_variables(text) ? STAND_IN_COUNT : 1;

    for (unsigned i = 0; i < count; i++) {
        struct pattern_failure failure;
        size_t place;
        char *filled = fill_pattern(text, i, 0, &place);
        if (filled == NULL)
            return config_out_of_memory(reader->error);
        /* How long it gets is found out only with its values. */
        const bool is_too_long = i > 0 && strlen(filled) > PATTERN_MAX_LENGTH;
        struct pattern *pattern = is_too_long ? NULL : pattern_compile(filled, &failure);
        free(filled);
        if (pattern == NULL && !is_too_long)
            return fail_pattern(reader, name, node, text, i, &failure);
        pattern_free(pattern);
    }
    return 0;
}

int scenario_check_file(const struct scenario_position *position, const char *name, const char *shown, const char *path,
                        struct error *error)
{
    struct stat status;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return scenario_fail_at(position, name, error,
                                "%s cannot be read: %s; relative paths start at this file's folder", shown,
                                strerror(errno));
    const bool is_file = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
    (void)close(fd);
    return is_file ? 0 : scenario_fail_at(position, name, error, "%s is not a regular file; name one", shown);
}

static int check_file(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                      const char *path)
{
    const struct scenario_position position = scenario_position_of(reader, node);
    char shown[CONFIG_TEXT_SIZE];

    return scenario_check_file(&position, name, config_text_quote(shown, node->string, node->length), path,
                               reader->error);
}

static int resolve_file(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                        struct scenario_text *text)
{
    char *path = config_path_resolve(reader->folder, text->text);

    if (path == NULL)
        return config_out_of_memory(reader->error);
    free(text->text);
    text->text = path;
    return reader->is_dry ? 0 : check_file(reader, name, node, path);
}

/* Which files the variables make is known when they are, see scenario_check_files(). */
static int check_file_template(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                               const struct scenario_text *text)
{
    const struct scenario_values nothing = {0};

    if (check_template(reader, name, node, text->text) < 0)
        return -1;
    if (reader->is_dry || reader->may_lack_files || template_has_variables(text->text))
        return 0;
    char *path = scenario_expand_path(&nothing, text, reader->error);
    const int result = path != NULL ? check_file(reader, name, node, path) : -1;
    free(path);
    return result;
}

static int check_guest_path(const struct scenario_reader *reader, const char *name, const struct toml_node *node)
{
    char shown[CONFIG_TEXT_SIZE];

    /* What a variable has is not known yet. */
    if (node->string[0] == '/' || strncmp(node->string, "${", 2) == 0)
        return 0;
    return scenario_fail(reader, node, name, "%s is not absolute; a path in the guest starts with \"/\"",
                         config_text_quote(shown, node->string, node->length));
}

static int check_variable(const struct scenario_reader *reader, const char *name, const struct toml_node *node)
{
    char shown[CONFIG_TEXT_SIZE];

    if (template_is_name(node->string, node->length))
        return 0;
    return scenario_fail(reader, node, name,
                         "%s cannot be a variable's name; take 1 to 32 letters, digits and \"_\", and no digit first",
                         config_text_quote(shown, node->string, node->length));
}

static int check_artefact(const struct scenario_reader *reader, const char *name, const struct toml_node *node)
{
    char shown[CONFIG_TEXT_SIZE];

    /* Of one with variables the runner looks at the name. */
    if (scenario_is_word(node->string) || template_has_variables(node->string))
        return 0;
    return scenario_fail(reader, node, name,
                         "%s cannot be an artefact's name; take 1 to 64 letters, digits, \"-\", \"_\", \"+\" and "
                         "\".\", and no \".\" first",
                         config_text_quote(shown, node->string, node->length));
}

int scenario_read_as(const struct scenario_reader *reader, const char *name, enum scenario_type type,
                     const struct toml_node *node, struct scenario_text *text)
{
    /* An empty pattern is found everywhere, and an empty text can be sent: as Enter alone. */
    const size_t least = type == SCENARIO_TYPE_STRING || type == SCENARIO_TYPE_TEMPLATE ? 0 : 1;

    if (scenario_read_string(reader, name, node, least, text) < 0)
        return -1;
    switch (type) {
    case SCENARIO_TYPE_TEMPLATE:
        return check_template(reader, name, node, text->text);
    case SCENARIO_TYPE_PATTERN:
        if (check_template(reader, name, node, text->text) < 0)
            return -1;
        return check_pattern(reader, name, node, text->text);
    case SCENARIO_TYPE_GUEST_PATH:
        if (check_template(reader, name, node, text->text) < 0)
            return -1;
        return check_guest_path(reader, name, node);
    case SCENARIO_TYPE_FILE:
        return resolve_file(reader, name, node, text);
    case SCENARIO_TYPE_FILE_TEMPLATE:
        return check_file_template(reader, name, node, text);
    case SCENARIO_TYPE_VARIABLE:
        return check_variable(reader, name, node);
    case SCENARIO_TYPE_ARTEFACT:
        if (check_template(reader, name, node, text->text) < 0)
            return -1;
        return check_artefact(reader, name, node);
    default:
        return 0;
    }
}

static int read_patterns(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                         struct scenario_texts *texts)
{
    const struct toml_node *const items = node->kind == TOML_KIND_ARRAY ? node->children : node;
    const size_t count = node->kind == TOML_KIND_ARRAY ? node->count : 1;

    if (count > 16)
        return scenario_fail(reader, node, name, "has more than 16 patterns; make one of several, with \"|\"");
    for (size_t i = 0; i < count; i++) {
        struct scenario_text *text = scenario_grow(reader, (void **)&texts->items, &texts->count, sizeof(*text));
        if (text == NULL || scenario_read_as(reader, name, SCENARIO_TYPE_PATTERN, &items[i], text) < 0)
            return -1;
    }
    return 0;
}

/* ---- Other values ---- */

static int read_time(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                     uint64_t *ret_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ms", 1000000}, {"s", 1000000000}, {"m", 60000000000}, {"h", 3600000000000}};
    char shown[CONFIG_TEXT_SIZE];

    if (node->kind == TOML_KIND_INTEGER)
        return scenario_fail(reader, node, name, "is a string with a unit; write \"%llds\" for seconds",
                             (long long)node->integer);
    if (node->kind != TOML_KIND_STRING)
        return scenario_fail(reader, node, name, "is a string; write \"500ms\", \"60s\", \"2m\" or \"1h\"");
    (void)config_text_quote(shown, node->string, node->length);
    const size_t digits = strspn(node->string, "0123456789");
    for (size_t i = 0; digits > 0 && digits < 12 && i < sizeof(units) / sizeof(units[0]); i++) {
        uint64_t ns;
        if (strcmp(node->string + digits, units[i].name) != 0 || strlen(node->string) != node->length)
            continue;
        if (__builtin_mul_overflow(strtoull(node->string, NULL, 10), units[i].ns, &ns) || ns > SCENARIO_MAX_TIME_NS)
            return scenario_fail(reader, node, name, "%s is too long; 168h is the most", shown);
        if (ns == 0)
            return scenario_fail(reader, node, name, "%s is no time at all; 1ms is the least", shown);
        *ret_ns = ns;
        return 0;
    }
    return scenario_fail(reader, node, name, "%s is no time; write \"500ms\", \"60s\", \"2m\" or \"1h\"", shown);
}

static int read_boolean(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                        bool *value)
{
    if (node->kind != TOML_KIND_BOOLEAN)
        return scenario_fail(reader, node, name, "is true or false, without quotes");
    *value = node->boolean;
    return 0;
}

static int read_true(const struct scenario_reader *reader, const char *name, const struct toml_node *node)
{
    if (node->kind == TOML_KIND_BOOLEAN && node->boolean)
        return 0;
    return scenario_fail(reader, node, name, "can only be true; take the step out if it is not to be");
}

static int read_mode(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                     uint32_t *mode)
{
    if (node->kind == TOML_KIND_STRING && node->length >= 3 && node->length <= 4 &&
        strspn(node->string, "01234567") == node->length) {
        *mode = (uint32_t)strtoul(node->string, NULL, 8);
        return 0;
    }
    return scenario_fail(reader, node, name, "is a string of three or four octal digits; write \"0755\"");
}

static int read_trouble(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                        bool kinds[TROUBLE_KIND_COUNT])
{
    char shown[CONFIG_TEXT_SIZE];

    if (node->kind != TOML_KIND_STRING)
        return scenario_fail(reader, node, name, "is a list of strings; write each kind in quotes");
    const enum trouble_kind kind = trouble_find(node->string);
    const char *nearest = trouble_nearest(node->string);
    (void)config_text_quote(shown, node->string, node->length);
    if (kind == TROUBLE_NONE && nearest == NULL)
        return scenario_fail(reader, node, name, "%s is no kind of trouble; quire.scenario(5) lists them", shown);
    if (kind == TROUBLE_NONE)
        return scenario_fail(reader, node, name, "%s is no kind of trouble; did you mean \"%s\"?", shown, nearest);
    if (kinds[kind])
        return scenario_fail(reader, node, name, "%s is there twice; take one out", shown);
    kinds[kind] = true;
    return 0;
}

static int read_troubles(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                         bool kinds[TROUBLE_KIND_COUNT])
{
    bool given[TROUBLE_KIND_COUNT] = {0};

    if (node->kind != TOML_KIND_ARRAY)
        return scenario_fail(reader, node, name, "is a list; write [\"warning\"]");
    for (size_t i = 0; i < node->count; i++) {
        if (read_trouble(reader, name, &node->children[i], given) < 0)
            return -1;
    }
    for (size_t i = 0; i < TROUBLE_KIND_COUNT; i++)
        kinds[i] |= given[i];
    return 0;
}

static int read_number(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                       uint32_t *number)
{
    if (node->integer < 0 || node->integer > 255)
        return scenario_fail(reader, node, name, "%lld is no exit status; they go from 0 to 255",
                             (long long)node->integer);
    *number = (uint32_t)node->integer;
    return 0;
}

static int read_status(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                       struct scenario_step *step)
{
    step->any_status = node->kind == TOML_KIND_STRING && strcmp(node->string, "any") == 0;
    if (step->any_status)
        return 0;
    if (node->kind != TOML_KIND_INTEGER)
        return scenario_fail(reader, node, name, "is a number, without quotes, or \"any\"");
    return read_number(reader, name, node, &step->status);
}

/* The place of a node's string in a list that ends in NULL, or -1 with an error. */
static int read_choice(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                       const char *const *choices, const char *listed)
{
    char shown[CONFIG_TEXT_SIZE];

    if (node->kind != TOML_KIND_STRING)
        return scenario_fail(reader, node, name, "is one of %s", listed);
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(node->string, choices[i]) == 0)
            return i;
    }
    const char *nearest = config_text_nearest(node->string, choices);
    (void)config_text_quote(shown, node->string, node->length);
    if (nearest == NULL)
        return scenario_fail(reader, node, name, "%s is none of %s", shown, listed);
    return scenario_fail(reader, node, name, "%s is none of %s; did you mean \"%s\"?", shown, listed, nearest);
}

static int read_exit(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                     struct scenario_step *step)
{
    if (node->kind == TOML_KIND_INTEGER) {
        step->exit = SCENARIO_EXIT_STATUS;
        return read_number(reader, name, node, &step->status);
    }
    const int choice = read_choice(reader, name, node, scenario_exit_names,
                                   "\"power-off\", \"reset\", \"panic\", \"triple-fault\", \"unhandled-exit\", "
                                   "\"crash\", \"any\" or a number");
    if (choice >= 0)
        step->exit = (enum scenario_exit)choice;
    return choice < 0 ? -1 : 0;
}

static int read_ktap(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                     struct scenario_step *step)
{
    const int choice = read_choice(reader, name, node, scenario_ktap_names, "\"console\" and \"exec\"");

    if (choice >= 0)
        step->source = (enum scenario_ktap_source)choice;
    return choice < 0 ? -1 : 0;
}

static int read_gdb(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                    struct scenario_step *step)
{
    if (node->kind == TOML_KIND_STRING)
        return scenario_read_as(reader, name, SCENARIO_TYPE_FILE, node, &step->what);
    if (node->kind != TOML_KIND_ARRAY)
        return scenario_fail(reader, node, name, "is a script's path, or a list of commands");
    if (node->count == 0)
        return scenario_fail(reader, node, name, "has no commands; write some, or take the step out");
    for (size_t i = 0; i < node->count; i++) {
        struct scenario_text *text =
            scenario_grow(reader, (void **)&step->commands.items, &step->commands.count, sizeof(*text));
        if (text == NULL || scenario_read_as(reader, name, SCENARIO_TYPE_TEMPLATE, &node->children[i], text) < 0)
            return -1;
    }
    return 0;
}

int scenario_read_value(const struct scenario_reader *reader, const struct scenario_table *table,
                        const struct scenario_key *key, const struct toml_node *node, void *holder)
{
    char name[SCENARIO_KEY_SIZE];
    void *field = (char *)holder + key->offset;

    (void)scenario_key_name(table, key->name, name);
    switch (key->type) {
    case SCENARIO_TYPE_PATTERNS:
        return read_patterns(reader, name, node, field);
    case SCENARIO_TYPE_TIME:
        return read_time(reader, name, node, field);
    case SCENARIO_TYPE_BOOLEAN:
        return read_boolean(reader, name, node, field);
    case SCENARIO_TYPE_TRUE:
        return read_true(reader, name, node);
    case SCENARIO_TYPE_MODE:
        return read_mode(reader, name, node, field);
    case SCENARIO_TYPE_TROUBLES:
        return read_troubles(reader, name, node, field);
    case SCENARIO_TYPE_STATUS:
        return read_status(reader, name, node, holder);
    case SCENARIO_TYPE_EXIT:
        return read_exit(reader, name, node, holder);
    case SCENARIO_TYPE_KTAP:
        return read_ktap(reader, name, node, holder);
    case SCENARIO_TYPE_GDB:
        return read_gdb(reader, name, node, holder);
    case SCENARIO_TYPE_OTHER:
        return 0;
    default:
        return scenario_read_as(reader, name, key->type, node, field);
    }
}
