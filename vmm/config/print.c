#include "vmm/config/config.h"

#include "vmm/config/schema.h"
#include "vmm/config/value.h"

#include <inttypes.h>
#include <string.h>

static void print_string(const char *text, FILE *out)
{
    putc('"', out);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\u%04X", c);
        else
            putc(c, out);
    }
    putc('"', out);
}

static void print_names(const struct config_names *names, FILE *out)
{
    putc('[', out);
    for (size_t i = 0; i < names->count; i++) {
        if (i > 0)
            fputs(", ", out);
        print_string(names->items[i].text, out);
    }
    putc(']', out);
}

static void print_value(const struct schema_key *schema, const struct config_value *value, FILE *out)
{
    char size[CONFIG_SIZE_TEXT_SIZE];

    switch (schema->type) {
    case SCHEMA_STRING:
    case SCHEMA_PATH:
        print_string(value->string, out);
        break;
    case SCHEMA_INTEGER:
        fprintf(out, "%" PRIu64, value->number);
        break;
    case SCHEMA_SIZE:
        print_string(config_size_format(value->number, size), out);
        break;
    case SCHEMA_CHOICE:
        print_string(schema->choices[value->number], out);
        break;
    case SCHEMA_NAMES:
        print_names(&value->names, out);
        break;
    }
}

/* Whether key is the first of its section. */
static bool opens_section(size_t key)
{
    return key == 0 || strcmp(config_schema[key].section, config_schema[key - 1].section) != 0;
}

void config_print(const struct config *config, FILE *out)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct schema_key *schema = &config_schema[i];
        struct config_value value = config_value_load(config, (enum config_key)i);
        if (opens_section(i))
            fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", schema->section);
        if (schema->type == SCHEMA_PATH && value.string == NULL)
            continue;
        fprintf(out, "%s = ", schema->name);
        print_value(schema, &value, out);
        putc('\n', out);
    }
}

static void print_kind(const struct schema_key *schema, FILE *out)
{
    char minimum[CONFIG_SIZE_TEXT_SIZE];
    char maximum[CONFIG_SIZE_TEXT_SIZE];

    switch (schema->type) {
    case SCHEMA_STRING:
        fputs("string", out);
        break;
    case SCHEMA_PATH:
        fputs("path", out);
        break;
    case SCHEMA_INTEGER:
        fprintf(out, "%" PRIu64 " to %" PRIu64, schema->minimum, schema->maximum);
        break;
    case SCHEMA_SIZE:
        fprintf(out, "size, %s to %s", config_size_format(schema->minimum, minimum),
                config_size_format(schema->maximum, maximum));
        break;
    case SCHEMA_CHOICE:
        for (size_t i = 0; schema->choices[i] != NULL; i++)
            fprintf(out, "%s%s", i > 0 ? " | " : "", schema->choices[i]);
        break;
    case SCHEMA_NAMES:
        fputs("list of names", out);
        break;
    }
}

void config_print_keys(FILE *out)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct schema_key *schema = &config_schema[i];
        if (opens_section(i))
            fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", schema->section);
        fprintf(out, "  %-10s", schema->name);
        print_kind(schema, out);
        if (schema->default_text[0] != '\0')
            fprintf(out, "; default %s", schema->default_text);
        fprintf(out, "\n            %s\n", schema->doc);
    }
}
