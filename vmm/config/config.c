#include "vmm/config/config.h"

#include "vmm/config/place.h"
#include "vmm/config/schema.h"
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
        enum config_key key = (enum config_key)i;
        struct config_value value;
        if (config_value_from_text(key, config_schema[key].default_text, "", &nowhere, &value, error) < 0) {
            config_free(config);
            return -1;
        }
        config_value_store(config, key, &value);
    }
    return 0;
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        struct config_value value = config_value_load(config, (enum config_key)i);
        config_value_free(&value);
    }
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
    if (config_value_from_text(key, text, "", &place, &value, error) < 0)
        return -1;
    config_value_store(config, key, &value);
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
    (void)config_place_verror(&place, config_schema_name(key, name), error, format, args);
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
    (void)config_place_verror(&place, config_schema_name(CONFIG_CPU_HIDE, name), error, format, args);
    va_end(args);
    return -1;
}

static int check_serial(const struct config *config, struct error *error)
{
    switch (config->serial.backend) {
    case CONFIG_SERIAL_PTY:
        return 0;
    case CONFIG_SERIAL_FILE:
        if (config->serial.path == NULL)
            return config_error(config, CONFIG_SERIAL_BACKEND, error,
                                "\"file\" needs a file; set serial.path, or use --serial file:PATH");
        return 0;
    case CONFIG_SERIAL_UNIX:
        if (config->serial.path == NULL)
            return config_error(config, CONFIG_SERIAL_BACKEND, error,
                                "\"unix\" needs a socket; set serial.path, or use --serial unix:PATH");
        return 0;
    case CONFIG_SERIAL_STDIO:
    case CONFIG_SERIAL_NONE:
        break;
    }
    if (config->serial.path != NULL)
        return config_error(config, CONFIG_SERIAL_PATH, error,
                            "has no use with serial.backend = \"%s\"; take it out, or choose file, unix or pty",
                            config->serial.backend == CONFIG_SERIAL_NONE ? "none" : "stdio");
    return 0;
}

static int check_memory(const struct config *config, struct error *error)
{
    const bool needs_path = config->memory.backing == CONFIG_BACKING_FILE;
    const uint64_t page = config->memory.pages == CONFIG_PAGES_1GIB ? 1ull << 30 : 1ull << 21;
    const bool is_set_aside = config->memory.pages == CONFIG_PAGES_2MIB || config->memory.pages == CONFIG_PAGES_1GIB;

    if (needs_path && config->memory.path == NULL)
        return config_error(config, CONFIG_MEMORY_BACKING, error, "\"file\" needs a file; set memory.path");
    if (!needs_path && config->memory.path != NULL)
        return config_error(config, CONFIG_MEMORY_PATH, error,
                            "has a use only with memory.backing = \"file\"; take it out, or choose that");
    if (is_set_aside && config->memory.backing != CONFIG_BACKING_MEMFD)
        return config_error(config, CONFIG_MEMORY_PAGES, error,
                            "pages that were set aside go with memory.backing = \"memfd\"; choose that, or \"thp\"");
    if (is_set_aside && config->memory.size % page != 0)
        return config_error(config, CONFIG_MEMORY_SIZE, error, "is not a multiple of memory.pages; change one of them");
    return 0;
}

int config_check(const struct config *config, struct error *error)
{
    if (check_memory(config, error) < 0)
        return -1;
    if (config->boot.kernel == NULL)
        return config_error(config, CONFIG_BOOT_KERNEL, error,
                            "there is no kernel; set it to a bzImage or an ELF vmlinux, or use --kernel PATH");
    return check_serial(config, error);
}
