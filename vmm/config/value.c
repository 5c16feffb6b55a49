#include "vmm/config/value.h"

#include "vmm/config/path.h"
#include "vmm/config/text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 4096u
#define MAX_FEATURE_NAME_LENGTH 64u

/* What every step needs to know and where it says what is wrong. */
struct context {
    const struct schema_key *schema;
    const char *folder;
    struct place place;
    struct error *error;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct context *context, const char *format, ...)
{
    char name[SCHEMA_NAME_SIZE];
    va_list args;

    va_start(args, format);
    (void)config_place_verror(&context->place, config_schema_name(context->schema, name), context->error, format, args);
    va_end(args);
    return -1;
}

const char *config_size_format(uint64_t size, char out[CONFIG_SIZE_TEXT_SIZE])
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;

    while (unit + 1 < sizeof(units) / sizeof(units[0]) && size != 0 && size % 1024 == 0) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(out, CONFIG_SIZE_TEXT_SIZE, "%" PRIu64 "%s", size, units[unit]);
    return out;
}

const char *config_address_format(uint64_t address, char out[CONFIG_SIZE_TEXT_SIZE])
{
    (void)snprintf(out, CONFIG_SIZE_TEXT_SIZE, "0x%" PRIx64, address);
    return out;
}

const char *config_flags_format(uint32_t flags, char out[CONFIG_FLAGS_TEXT_SIZE])
{
    char *at = out;

    if (flags & CONFIG_FLAG_READ)
        *at++ = 'r';
    if (flags & CONFIG_FLAG_WRITE)
        *at++ = 'w';
    if (flags & CONFIG_FLAG_EXEC)
        *at++ = 'x';
    *at = '\0';
    return out;
}

/* Decimal digits only, at least one; *rest is what follows them. A number too large for 64 bits becomes the largest. */
static bool parse_digits(const char *text, uint64_t *number, const char **rest)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *at - '0', &value))
            value = UINT64_MAX;
    }
    *number = value;
    *rest = at;
    return at != text;
}

static int check_integer(const struct context *context, const char *shown, uint64_t number, struct config_value *value)
{
    if (number < context->schema->minimum || number > context->schema->maximum)
        return fail(context, "%s is out of range; give %" PRIu64 " to %" PRIu64, shown, context->schema->minimum,
                    context->schema->maximum);
    value->number = number;
    return 0;
}

static int parse_integer(const struct context *context, const char *text, struct config_value *value)
{
    char shown[CONFIG_TEXT_SIZE];
    const char *rest;
    uint64_t number;

    if (!parse_digits(text + (text[0] == '-'), &number, &rest) || *rest != '\0')
        return fail(context, "%s is not a number; give %" PRIu64 " to %" PRIu64,
                    config_text_quote(shown, text, strlen(text)), context->schema->minimum, context->schema->maximum);
    if (text[0] == '-' && number != 0)
        number = UINT64_MAX;
    return check_integer(context, config_text_escape(shown, text, strlen(text)), number, value);
}

/* -1: no such unit. */
static int unit_shift(const char *unit)
{
    static const char *const names[][2] = {{"K", "KiB"}, {"M", "MiB"}, {"G", "GiB"}, {"T", "TiB"}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(unit, names[i][0]) == 0 || strcmp(unit, names[i][1]) == 0)
            return (int)(10 * (i + 1));
    }
    return -1;
}

static int parse_size(const struct context *context, const char *text, struct config_value *value)
{
    char shown[CONFIG_TEXT_SIZE];
    char minimum[CONFIG_SIZE_TEXT_SIZE];
    char maximum[CONFIG_SIZE_TEXT_SIZE];
    const char *unit;
    uint64_t number;

    (void)config_text_quote(shown, text, strlen(text));
    if (!parse_digits(text, &number, &unit))
        return fail(context, "%s is not a size; write a number and KiB, MiB, GiB or TiB, as in \"512MiB\"", shown);
    if (*unit == '\0')
        return fail(context, "%s has no unit; write KiB, MiB, GiB or TiB behind the number, as in \"512MiB\"", shown);
    int shift = unit_shift(unit);
    if (shift < 0)
        return fail(context, "%s has an unknown unit; write KiB, MiB, GiB or TiB behind the number, as in \"512MiB\"",
                    shown);
    uint64_t size;
    if (__builtin_mul_overflow(number, (uint64_t)1 << shift, &size) || size < context->schema->minimum ||
        size > context->schema->maximum)
        return fail(context, "%s is out of range; give %s to %s", shown,
                    config_size_format(context->schema->minimum, minimum),
                    config_size_format(context->schema->maximum, maximum));
    if (size % PAGE_SIZE != 0)
        return fail(context, "%s is not a multiple of 4KiB; give one that is", shown);
    value->number = size;
    return 0;
}

static void join_choices(const char *const *choices, char *out, size_t size)
{
    size_t used = 0;

    for (; *choices != NULL && used < size; choices++) {
        const char *separator = used == 0 ? "" : choices[1] != NULL ? ", " : " or ";
        used += (size_t)snprintf(out + used, size - used, "%s\"%s\"", separator, *choices);
    }
}

static int parse_choice(const struct context *context, const char *text, struct config_value *value)
{
    const char *const *choices = context->schema->choices;
    char shown[CONFIG_TEXT_SIZE];
    char list[CONFIG_TEXT_SIZE] = "";

    for (size_t i = 0; choices[i] != NULL; i++) {
        if (strcmp(text, choices[i]) == 0) {
            value->number = i;
            return 0;
        }
    }
    (void)config_text_quote(shown, text, strlen(text));
    join_choices(choices, list, sizeof(list));
    const char *nearest = config_text_nearest(text, choices);
    if (nearest != NULL)
        return fail(context, "%s is none of %s; did you mean \"%s\"?", shown, list, nearest);
    return fail(context, "%s is unknown; give %s", shown, list);
}

static int parse_string(const struct context *context, const char *text, struct config_value *value)
{
    size_t length = strlen(text);

    if (length < context->schema->minimum || length > context->schema->maximum)
        return fail(context, "is %zu bytes long; give %" PRIu64 " to %" PRIu64, length, context->schema->minimum,
                    context->schema->maximum);
    value->string = strdup(text);
    return value->string != NULL ? 0 : config_out_of_memory(context->error);
}

static int parse_path(const struct context *context, const char *text, struct config_value *value)
{
    if (text[0] == '\0')
        return context->schema->minimum == 0 ? 0 : fail(context, "is empty; name a file");
    value->string = config_path_resolve(context->folder, text);
    return value->string != NULL ? 0 : config_out_of_memory(context->error);
}

/* The path of a unix socket starts, as all paths do, at the folder. */
static int parse_socket(const struct context *context, const char *text, struct config_value *value)
{
    static const char unix_prefix[] = "unix:";
    const size_t length = sizeof(unix_prefix) - 1;

    if (text[0] == '\0')
        return 0;
    if (strncmp(text, unix_prefix, length) != 0 || text[length] == '\0') {
        value->string = strdup(text);
        return value->string != NULL ? 0 : config_out_of_memory(context->error);
    }
    char *path = config_path_resolve(context->folder, text + length);
    if (path == NULL || asprintf(&value->string, "%s%s", unix_prefix, path) < 0)
        value->string = NULL;
    free(path);
    return value->string != NULL ? 0 : config_out_of_memory(context->error);
}

static int parse_boolean(const struct context *context, const char *text, struct config_value *value)
{
    char shown[CONFIG_TEXT_SIZE];

    value->number = strcmp(text, "true") == 0;
    if (value->number == 0 && strcmp(text, "false") != 0)
        return fail(context, "%s is neither true nor false", config_text_quote(shown, text, strlen(text)));
    return 0;
}

static int check_address(const struct context *context, const char *shown, uint64_t address, struct config_value *value)
{
    if (address < context->schema->minimum || address > context->schema->maximum)
        return fail(context, "%s is out of range; give 0x%" PRIx64 " to 0x%" PRIx64, shown, context->schema->minimum,
                    context->schema->maximum);
    if (address % context->schema->multiple != 0)
        return fail(context, "%s is not a multiple of 0x%" PRIx32 "; give one that is", shown,
                    context->schema->multiple);
    value->number = address;
    return 0;
}

/* "0x1000", "4096" or "1MiB". */
static int parse_address(const struct context *context, const char *text, struct config_value *value)
{
    const bool is_hexadecimal = strncmp(text, "0x", 2) == 0 && isxdigit((unsigned char)text[2]);
    char shown[CONFIG_TEXT_SIZE];
    const char *unit;
    uint64_t number;

    (void)config_text_quote(shown, text, strlen(text));
    if (is_hexadecimal) {
        char *end;
        number = strtoull(text + 2, &end, 16); /* too large becomes the largest */
        unit = end;
    } else if (!parse_digits(text, &number, &unit)) {
        return fail(context, "%s is not an address; write it as in \"0x1000\" or \"1MiB\"", shown);
    }
    const int shift = *unit == '\0' ? 0 : is_hexadecimal ? -1 : unit_shift(unit);
    if (shift < 0)
        return fail(context, "%s is not an address; write it as in \"0x1000\" or \"1MiB\"", shown);
    if (__builtin_mul_overflow(number, (uint64_t)1 << shift, &number))
        number = UINT64_MAX;
    return check_address(context, shown, number, value);
}

static int parse_flags(const struct context *context, const char *text, struct config_value *value)
{
    static const char letters[] = "rwx";
    char shown[CONFIG_TEXT_SIZE];

    for (const char *at = text; *at != '\0'; at++) {
        const char *letter = strchr(letters, *at);
        const uint64_t flag = letter == NULL ? 0 : 1ull << (letter - letters);
        if (flag == 0 || (value->number & flag) != 0)
            return fail(context, "%s is not a set of flags; give some of the letters r, w and x, or \"\" for none",
                        config_text_quote(shown, text, strlen(text)));
        value->number |= flag;
    }
    return 0;
}

static int parse_optional(const struct context *context, const char *text, struct config_value *value)
{
    value->number = CONFIG_NOT_GIVEN;
    return text[0] == '\0' ? 0 : parse_integer(context, text, value);
}

static bool is_feature_name(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)text[i]) && strchr("_-.", text[i]) == NULL)
            return false;
    }
    return length > 0 && length <= MAX_FEATURE_NAME_LENGTH;
}

/* Printable letters of ASCII but blanks and commas, which separate words. */
static bool is_word(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] <= ' ' || text[i] > '~' || text[i] == ',')
            return false;
    }
    return length > 0;
}

/* Adds to names, which has room. */
static int parse_name(const struct context *context, const char *text, size_t length, struct config_names *names)
{
    char shown[CONFIG_TEXT_SIZE];

    if (context->schema->type == SCHEMA_NAMES && !is_feature_name(text, length))
        return fail(context, "%s is not the name of a feature; give names like \"avx512f\"",
                    config_text_quote(shown, text, length));
    if (!is_word(text, length))
        return fail(context, "%s is empty, or has blanks or commas; give printable letters",
                    config_text_quote(shown, text, length));

    struct config_name *name = &names->items[names->count];
    name->text = strndup(text, length);
    if (name->text == NULL)
        return config_out_of_memory(context->error);
    name->position = context->place.position;
    names->count++;
    return 0;
}

static int parse_single_name(const struct context *context, const char *text, struct config_value *value)
{
    const size_t length = strlen(text);
    char shown[CONFIG_TEXT_SIZE];

    if (length < context->schema->minimum || length > context->schema->maximum ||
        (length > 0 && !is_feature_name(text, length)))
        return fail(context, "%s is not a name; give 1 to %" PRIu64 " letters, digits, \"-\", \"_\" and \".\"",
                    config_text_quote(shown, text, length), context->schema->maximum);
    value->string = strdup(text);
    return value->string != NULL ? 0 : config_out_of_memory(context->error);
}

static int allocate_names(const struct context *context, size_t count, struct config_names *names)
{
    names->items = calloc(count, sizeof(*names->items));
    return names->items != NULL ? 0 : config_out_of_memory(context->error);
}

static int parse_names(const struct context *context, const char *text, struct config_value *value)
{
    size_t count = 1;

    if (text[0] == '\0')
        return 0;
    for (const char *at = text; *at != '\0'; at++)
        count += *at == ',';
    if (allocate_names(context, count, &value->names) < 0)
        return -1;
    for (const char *at = text;; at++) {
        size_t length = strcspn(at, ",");
        if (parse_name(context, at, length, &value->names) < 0)
            return -1;
        at += length;
        if (*at == '\0')
            return 0;
    }
}

static int parse_text(const struct context *context, const char *text, struct config_value *value)
{
    switch (context->schema->type) {
    case SCHEMA_STRING:
        return parse_string(context, text, value);
    case SCHEMA_PATH:
        return parse_path(context, text, value);
    case SCHEMA_INTEGER:
        return parse_integer(context, text, value);
    case SCHEMA_SIZE:
        return parse_size(context, text, value);
    case SCHEMA_CHOICE:
        return parse_choice(context, text, value);
    case SCHEMA_NAMES:
    case SCHEMA_WORDS:
        return parse_names(context, text, value);
    case SCHEMA_BOOLEAN:
        return parse_boolean(context, text, value);
    case SCHEMA_ADDRESS:
        return parse_address(context, text, value);
    case SCHEMA_FLAGS:
        return parse_flags(context, text, value);
    case SCHEMA_OPTIONAL:
        return parse_optional(context, text, value);
    case SCHEMA_NAME:
        return parse_single_name(context, text, value);
    case SCHEMA_SOCKET:
        return parse_socket(context, text, value);
    }
    return -1;
}

int config_value_from_text(const struct schema_key *key, const char *text, const char *folder,
                           const struct place *place, struct config_value *value, struct error *error)
{
    struct context context = {key, folder, *place, error};

    *value = (struct config_value){0};
    if (parse_text(&context, text, value) == 0)
        return 0;
    config_value_free(value);
    return -1;
}

static const char *kind_name(enum toml_kind kind)
{
    switch (kind) {
    case TOML_KIND_TABLE:
        return "a table";
    case TOML_KIND_ARRAY:
        return "an array";
    case TOML_KIND_STRING:
        return "a string";
    case TOML_KIND_INTEGER:
        return "an integer";
    case TOML_KIND_FLOAT:
        return "a floating-point number";
    case TOML_KIND_BOOLEAN:
        return "a boolean";
    case TOML_KIND_TIME:
        return "a date or time";
    }
    return "unknown";
}

static int fail_kind(const struct context *context, const struct toml_node *node)
{
    const char *kind = kind_name(node->kind);

    switch (context->schema->type) {
    case SCHEMA_INTEGER:
        return fail(context, "is %s, not an integer; write a number without quotes, as in %s", kind,
                    context->schema->default_text);
    case SCHEMA_SIZE:
        return fail(context, "is %s, not a size; write a string with a unit, as in \"%s\"", kind,
                    context->schema->default_text);
    case SCHEMA_OPTIONAL:
        return fail(context, "is %s, not an integer; write a number without quotes", kind);
    case SCHEMA_BOOLEAN:
        return fail(context, "is %s, not a boolean; write true or false without quotes", kind);
    case SCHEMA_ADDRESS:
        return fail(context, "is %s, not an address; write it as in 0x1000 or \"1MiB\"", kind);
    case SCHEMA_WORDS:
        return fail(context, "is %s, not an array of strings; write it as in [\"tcp::2222-:22\"]", kind);
    case SCHEMA_NAMES:
        return fail(context, "is %s, not an array of names; write it as in [\"avx512f\"]", kind);
    default:
        return fail(context, "is %s, not a string; write it in quotes", kind);
    }
}

/* The text of a string node; NULL with *error filled in where C cannot hold it. */
static const char *node_text(const struct context *context, const struct toml_node *node)
{
    if (strlen(node->string) == node->length)
        return node->string;
    (void)fail(context, "holds a NUL character; take it out");
    return NULL;
}

static int read_integer(const struct context *context, const struct toml_node *node, struct config_value *value)
{
    char shown[CONFIG_TEXT_SIZE];

    (void)snprintf(shown, sizeof(shown), "%" PRId64, node->integer);
    return check_integer(context, shown, node->integer < 0 ? UINT64_MAX : (uint64_t)node->integer, value);
}

static int read_address(const struct context *context, const struct toml_node *node, struct config_value *value)
{
    char shown[CONFIG_TEXT_SIZE];

    if (node->integer < 0)
        (void)snprintf(shown, sizeof(shown), "%" PRId64, node->integer);
    else
        (void)snprintf(shown, sizeof(shown), "0x%" PRIx64, (uint64_t)node->integer);
    return check_address(context, shown, node->integer < 0 ? UINT64_MAX : (uint64_t)node->integer, value);
}

static int read_names(struct context *context, const struct toml_node *node, struct config_value *value)
{
    if (node->count == 0)
        return 0;
    if (allocate_names(context, node->count, &value->names) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        const struct toml_node *item = &node->children[i];
        context->place.position = (struct config_position){item->line, item->column};
        if (item->kind != TOML_KIND_STRING)
            return fail(context, "holds %s; give names in quotes, as in [\"avx512f\"]", kind_name(item->kind));
        if (parse_name(context, item->string, item->length, &value->names) < 0)
            return -1;
    }
    return 0;
}

static int read_node(struct context *context, const struct toml_node *node, struct config_value *value)
{
    enum schema_type type = context->schema->type;

    if ((type == SCHEMA_INTEGER || type == SCHEMA_OPTIONAL) && node->kind == TOML_KIND_INTEGER)
        return read_integer(context, node, value);
    if (type == SCHEMA_ADDRESS && node->kind == TOML_KIND_INTEGER)
        return read_address(context, node, value);
    if ((type == SCHEMA_NAMES || type == SCHEMA_WORDS) && node->kind == TOML_KIND_ARRAY)
        return read_names(context, node, value);
    if (type == SCHEMA_BOOLEAN && node->kind == TOML_KIND_BOOLEAN) {
        value->number = node->boolean;
        return 0;
    }
    if (type == SCHEMA_INTEGER || type == SCHEMA_OPTIONAL || type == SCHEMA_NAMES || type == SCHEMA_WORDS ||
        type == SCHEMA_BOOLEAN || node->kind != TOML_KIND_STRING)
        return fail_kind(context, node);

    const char *text = node_text(context, node);
    return text != NULL ? parse_text(context, text, value) : -1;
}

int config_value_from_node(const struct schema_key *key, const struct toml_node *node, const char *folder,
                           const struct place *place, struct config_value *value, struct error *error)
{
    struct context context = {key, folder, *place, error};

    context.place.position = (struct config_position){node->line, node->column};
    *value = (struct config_value){0};
    if (read_node(&context, node, value) == 0)
        return 0;
    config_value_free(value);
    return -1;
}

void config_value_free(struct config_value *value)
{
    free(value->string);
    for (size_t i = 0; i < value->names.count; i++)
        free(value->names.items[i].text);
    free(value->names.items);
    *value = (struct config_value){0};
}

/* Enums have the size of unsigned int in the System V ABI, and a CHOICE field is one of them. */
_Static_assert(sizeof(enum config_action) == sizeof(unsigned), "size of enums");

struct config_value config_value_load(const void *holder, const struct schema_key *key)
{
    const char *field = (const char *)holder + key->offset;
    struct config_value value = {0};
    uint32_t number;
    bool boolean;

    switch (key->type) {
    case SCHEMA_STRING:
    case SCHEMA_NAME:
    case SCHEMA_PATH:
    case SCHEMA_SOCKET:
        memcpy(&value.string, field, sizeof(value.string));
        break;
    case SCHEMA_SIZE:
    case SCHEMA_ADDRESS:
        memcpy(&value.number, field, sizeof(value.number));
        break;
    case SCHEMA_BOOLEAN:
        memcpy(&boolean, field, sizeof(boolean));
        value.number = boolean;
        break;
    case SCHEMA_INTEGER:
    case SCHEMA_OPTIONAL:
    case SCHEMA_FLAGS:
    case SCHEMA_CHOICE:
        memcpy(&number, field, sizeof(number));
        value.number = number;
        break;
    case SCHEMA_NAMES:
    case SCHEMA_WORDS:
        memcpy(&value.names, field, sizeof(value.names));
        break;
    }
    return value;
}

void config_value_store(void *holder, const struct schema_key *key, struct config_value *value)
{
    char *field = (char *)holder + key->offset;
    struct config_value old = config_value_load(holder, key);
    const uint32_t number = (uint32_t)value->number;
    const bool boolean = value->number != 0;

    switch (key->type) {
    case SCHEMA_STRING:
    case SCHEMA_NAME:
    case SCHEMA_PATH:
    case SCHEMA_SOCKET:
        memcpy(field, &value->string, sizeof(value->string));
        break;
    case SCHEMA_SIZE:
    case SCHEMA_ADDRESS:
        memcpy(field, &value->number, sizeof(value->number));
        break;
    case SCHEMA_BOOLEAN:
        memcpy(field, &boolean, sizeof(boolean));
        break;
    case SCHEMA_INTEGER:
    case SCHEMA_OPTIONAL:
    case SCHEMA_FLAGS:
    case SCHEMA_CHOICE:
        memcpy(field, &number, sizeof(number));
        break;
    case SCHEMA_NAMES:
    case SCHEMA_WORDS:
        memcpy(field, &value->names, sizeof(value->names));
        break;
    }
    *value = (struct config_value){0};
    config_value_free(&old);
}
