#include "vmm/config/config.h"

#include "vmm/config/schema.h"
#include "vmm/config/toml.h"
#include "vmm/config/value.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* dots counts those of the line: whoever reads it back takes no more. */
static void print_string(const char *text, unsigned *dots, FILE *out)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f || (c == '.' && ++*dots > TOML_MAX_DOTS_IN_LINE))
            fprintf(out, "\\u%04X", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

static void print_names(const struct config_names *names, FILE *out)
{
    unsigned dots = 0;

    putc('[', out);
    for (size_t i = 0; i < names->count; i++) {
        if (i > 0)
            fputs(", ", out);
        print_string(names->items[i].text, &dots, out);
    }
    putc(']', out);
}

static void print_value(const struct schema_key *schema, const struct config_value *value, FILE *out)
{
    char size[CONFIG_SIZE_TEXT_SIZE];
    char flags[CONFIG_FLAGS_TEXT_SIZE];
    unsigned dots = 0;

    switch (schema->type) {
    case SCHEMA_STRING:
    case SCHEMA_NAME:
    case SCHEMA_PATH:
    case SCHEMA_SOCKET:
        print_string(value->string, &dots, out);
        break;
    case SCHEMA_INTEGER:
    case SCHEMA_OPTIONAL:
        fprintf(out, "%" PRIu64, value->number);
        break;
    case SCHEMA_BOOLEAN:
        fputs(value->number != 0 ? "true" : "false", out);
        break;
    case SCHEMA_ADDRESS:
        print_string(config_address_format(value->number, size), &dots, out);
        break;
    case SCHEMA_FLAGS:
        print_string(config_flags_format((uint32_t)value->number, flags), &dots, out);
        break;
    case SCHEMA_SIZE:
        print_string(config_size_format(value->number, size), &dots, out);
        break;
    case SCHEMA_CHOICE:
        print_string(schema->choices[value->number], &dots, out);
        break;
    case SCHEMA_NAMES:
    case SCHEMA_WORDS:
        print_names(&value->names, out);
        break;
    }
}

/* Whether key is the first of its section. */
static bool opens_section(size_t key)
{
    return key == 0 || strcmp(config_schema[key].section, config_schema[key - 1].section) != 0;
}

/* Prints one key of a struct that holds it, unless it has no value. */
static void print_key(const struct schema_key *schema, const void *holder, FILE *out)
{
    const struct config_value value = config_value_load(holder, schema);

    const bool may_be_missing = schema->type == SCHEMA_PATH || schema->type == SCHEMA_SOCKET;

    if ((may_be_missing && value.string == NULL) ||
        (schema->type == SCHEMA_OPTIONAL && value.number == CONFIG_NOT_GIVEN))
        return;
    fprintf(out, "%s = ", schema->name);
    print_value(schema, &value, out);
    putc('\n', out);
}

static void print_table(const char *title, const struct schema_table *table, const void *element, FILE *out)
{
    fprintf(out, "\n[[%s]]\n", title);
    for (size_t i = 0; i < table->count; i++)
        print_key(&table->keys[i], element, out);
}

/* Of the keys, those that do not go with the others are left out. */
static void print_range(const char *title, const struct config_range *range, FILE *out)
{
    fprintf(out, "\n[[%s]]\n", title);
    for (size_t i = 0; i < CONFIG_RANGE_KEY_COUNT; i++) {
        const bool is_alias = range->of[0] != '\0';
        const bool is_for_alias = i == CONFIG_RANGE_OF || i == CONFIG_RANGE_FROM;
        if (i < CONFIG_RANGE_OF || is_for_alias == is_alias)
            print_key(&config_range_table.keys[i], range, out);
    }
}

static void print_lists(const struct config_lists *lists, FILE *out)
{
    for (size_t i = 0; i < lists->ranges.count; i++)
        print_range("memory.range", &lists->ranges.items[i], out);
    for (size_t i = 0; i < lists->space_count; i++) {
        print_table("space", &config_space_table, &lists->spaces[i], out);
        for (size_t j = 0; j < lists->spaces[i].ranges.count; j++)
            print_range("space.range", &lists->spaces[i].ranges.items[j], out);
    }
    for (size_t i = 0; i < lists->device_count; i++) {
        const struct schema_table *table = &config_device_tables[lists->devices[i].kind];
        if (lists->devices[i].is_implied)
            continue;
        print_table(table->keys[0].section, table, &lists->devices[i], out);
        for (size_t j = 0; j < lists->devices[i].console.port_count; j++)
            if (!lists->devices[i].console.ports[j].is_agents)
                print_table("console.port", &config_port_table, &lists->devices[i].console.ports[j], out);
    }
    for (size_t i = 0; i < lists->vcpu_count; i++)
        print_table("vcpu", &config_vcpu_table, &lists->vcpus[i], out);
}

void config_print(const struct config *config, FILE *out)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct schema_key *schema = &config_schema[i];
        if (opens_section(i))
            fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", schema->section);
        print_key(schema, config, out);
    }
    print_lists(&config->lists, out);
}

/* What a value is, and its default: "1 to 240; default 1". */
static void print_kind(const struct schema_key *schema, FILE *out)
{
    char minimum[CONFIG_SIZE_TEXT_SIZE];
    char maximum[CONFIG_SIZE_TEXT_SIZE];

    switch (schema->type) {
    case SCHEMA_STRING:
        fputs("string", out);
        break;
    case SCHEMA_NAME:
        fputs("name", out);
        break;
    case SCHEMA_PATH:
        fputs("path", out);
        break;
    case SCHEMA_SOCKET:
        fputs("socket", out);
        break;
    case SCHEMA_INTEGER:
    case SCHEMA_OPTIONAL:
        fprintf(out, "%" PRIu64 " to %" PRIu64, schema->minimum, schema->maximum);
        break;
    case SCHEMA_SIZE:
        fprintf(out, "size, %s to %s", config_size_format(schema->minimum, minimum),
                config_size_format(schema->maximum, maximum));
        break;
    case SCHEMA_ADDRESS:
        fputs("address", out);
        break;
    case SCHEMA_BOOLEAN:
        fputs("true | false", out);
        break;
    case SCHEMA_FLAGS:
        fputs("some of r, w, x", out);
        break;
    case SCHEMA_CHOICE:
        for (size_t i = 0; schema->choices[i] != NULL; i++)
            fprintf(out, "%s%s", i > 0 ? " | " : "", schema->choices[i]);
        break;
    case SCHEMA_NAMES:
        fputs("list of names", out);
        break;
    case SCHEMA_WORDS:
        fputs("list of strings", out);
        break;
    }
    if (schema->is_required)
        fputs("; must be given", out);
    else if (schema->default_text[0] != '\0')
        fprintf(out, "; default %s", schema->default_text);
}

/* One line, or two where it would get too long. */
static void print_key_help(const struct schema_key *schema, FILE *out)
{
    enum { COLUMNS = 100, INDENT = 15 };
    char *kind = NULL;
    size_t length = 0;
    FILE *text = open_memstream(&kind, &length);

    if (text == NULL)
        return;
    print_kind(schema, text);
    if (fclose(text) == 0)
        fprintf(out, "  %-12s %s%s(%s)\n", schema->name, schema->doc,
                INDENT + strlen(schema->doc) + strlen(" ()") + length <= COLUMNS ? " " : "\n               ", kind);
    free(kind);
}

/* The keys of a table from one of them on. */
static void print_table_help(const struct schema_table *table, size_t from, FILE *out)
{
    fprintf(out, "\n%s\n  %s\n", table->title, table->doc);
    for (size_t i = from; i < table->count; i++)
        print_key_help(&table->keys[i], out);
}

void config_print_keys(FILE *out)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct schema_key *schema = &config_schema[i];
        if (opens_section(i))
            fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", schema->section);
        print_key_help(schema, out);
    }
    print_table_help(&config_range_table, 0, out);
    print_table_help(&config_space_table, 0, out);
    print_table_help(&config_vcpu_table, 0, out);
}

void config_print_device_keys(FILE *out)
{
    const struct schema_table *first = &config_device_tables[CONFIG_DEVICE_DISK];

    fputs("All of them\n", out);
    for (size_t i = 0; i < CONFIG_DEVICE_COMMON_COUNT; i++)
        print_key_help(&first->keys[i], out);
    for (int kind = CONFIG_DEVICE_DISK; kind <= CONFIG_DEVICE_RNG; kind++) {
        print_table_help(&config_device_tables[kind], CONFIG_DEVICE_COMMON_COUNT, out);
        if (kind == CONFIG_DEVICE_CONSOLE)
            print_table_help(&config_port_table, 0, out);
    }
}
