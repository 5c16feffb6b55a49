#include "vmm/config/config.h"

#include "vmm/config/place.h"
#include "vmm/config/schema.h"
#include "vmm/config/tables.h"
#include "vmm/config/text.h"
#include "vmm/config/value.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int config_defaults(struct config *config, struct error *error)
{
    static const struct place nowhere = {0};

    *config = (struct config){0};
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct schema_key *schema = &config_schema[i];
        struct config_value value;
        if (config_value_from_text(schema, schema->default_text, "", &nowhere, &value, error) < 0) {
            config_free(config);
            return -1;
        }
        config_value_store(config, schema, &value);
    }
    return 0;
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        struct config_value value = config_value_load(config, &config_schema[i]);
        config_value_free(&value);
    }
    config_lists_free(&config->lists);
    free(config->file);
    *config = (struct config){0};
}

static enum config_key find_key(const char *name)
{
    const char *dot = strchr(name, '.');
    char section[SCHEMA_NAME_SIZE];

    if (dot == NULL || (size_t)(dot - name) >= sizeof(section))
        return CONFIG_KEY_COUNT;
    memcpy(section, name, (size_t)(dot - name));
    section[dot - name] = '\0';
    return config_schema_find(section, dot + 1);
}

int config_set(struct config *config, const char *option, const char *key_name, const char *text, struct error *error)
{
    const struct place place = {.option = option};
    enum config_key key = find_key(key_name);
    struct config_value value;
    char shown[CONFIG_TEXT_SIZE];

    if (key == CONFIG_KEY_COUNT)
        return config_place_unknown_key(&place, config_text_escape(shown, key_name, strlen(key_name)), error);
    if (config_value_from_text(&config_schema[key], text, "", &place, &value, error) < 0)
        return -1;
    config_value_store(config, &config_schema[key], &value);
    config->origins[key] = (struct config_origin){.option = option};
    return 0;
}

int config_assign(struct config *config, const char *option, const char *assignment, struct error *error)
{
    const struct place place = {.option = option};
    const char *equals = strchr(assignment, '=');
    char shown[CONFIG_TEXT_SIZE];

    if (equals == NULL)
        return config_place_error(&place, NULL, error, "%s has no \"=\"; write KEY=VALUE, as in memory.size=1GiB",
                                  config_text_quote(shown, assignment, strlen(assignment)));
    char *name = strndup(assignment, (size_t)(equals - assignment));
    if (name == NULL)
        return config_out_of_memory(error);
    int result = config_set(config, option, name, equals + 1, error);
    free(name);
    return result;
}

static struct place origin_place(const struct config *config, enum config_key key)
{
    const struct config_origin *origin = &config->origins[key];

    return (struct place){.file = config->file, .option = origin->option, .position = origin->position};
}

int config_error(const struct config *config, enum config_key key, struct error *error, const char *format, ...)
{
    struct place place = origin_place(config, key);
    char name[SCHEMA_NAME_SIZE];
    va_list args;

    va_start(args, format);
    (void)config_place_verror(&place, config_schema_name(&config_schema[key], name), error, format, args);
    va_end(args);
    return -1;
}

int config_error_of(const struct config *config, enum config_key key, struct error *error)
{
    return error->kind == ERROR_CONFIG ? config_error(config, key, error, "%s", strdupa(error->text)) : -1;
}

int config_error_at(const struct config *config, const struct config_position *position, const char *name,
                    struct error *error, const char *format, ...)
{
    const struct place place = {.file = config->file, .position = *position};
    va_list args;

    va_start(args, format);
    (void)config_place_verror(&place, name, error, format, args);
    va_end(args);
    return -1;
}

int config_error_hide(const struct config *config, size_t index, struct error *error, const char *format, ...)
{
    struct place place = origin_place(config, CONFIG_CPU_HIDE);
    char name[SCHEMA_NAME_SIZE];
    va_list args;

    place.position = config->cpu.hide.items[index].position;
    va_start(args, format);
    (void)config_place_verror(&place, config_schema_name(&config_schema[CONFIG_CPU_HIDE], name), error, format, args);
    va_end(args);
    return -1;
}
