#include "vmm/config/place.h"

#include "vmm/config/schema.h"
#include "vmm/config/text.h"

#include <stdio.h>
#include <string.h>

int config_place_verror(const struct place *place, const char *name, struct error *error, const char *format,
                        va_list args)
{
    char text[sizeof(error->text)];
    char source[CONFIG_TEXT_SIZE + 32] = "";
    char file[CONFIG_TEXT_SIZE];

    (void)vsnprintf(text, sizeof(text), format, args);
    if (place->option != NULL)
        (void)snprintf(source, sizeof(source), "%s: ", place->option);
    else if (place->file != NULL && place->position.line != 0)
        (void)snprintf(source, sizeof(source), "%s:%u:%u: ", config_text_escape_tail(file, place->file),
                       place->position.line, place->position.column);
    else if (place->file != NULL)
        (void)snprintf(source, sizeof(source), "%s: ", config_text_escape_tail(file, place->file));

    return error_set(error, ERROR_CONFIG, "%s%s%s%s", source, name != NULL ? name : "", name != NULL ? ": " : "", text);
}

int config_place_error(const struct place *place, const char *name, struct error *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)config_place_verror(place, name, error, format, args);
    va_end(args);
    return -1;
}

int config_place_unknown_key(const struct place *place, const char *name, struct error *error)
{
    char full[SCHEMA_NAME_SIZE];
    enum config_key nearest = config_schema_nearest(name);

    if (nearest == CONFIG_KEY_COUNT)
        return config_place_error(place, name, error, "unknown key; 'quire help keys' lists those there are");
    return config_place_error(place, name, error, "unknown key; did you mean %s?",
                              config_schema_name(&config_schema[nearest], full));
}

/* What helps against the commonest slips, by what toml++ says of them; the first that fits. */
static const char *toml_remedy(const char *text)
{
    static const char *const remedies[][2] = {
        {"cannot redefine", "; give it only once"},
        {"not representable", "; give a smaller number"},
        {"exceeded maximum", "; take some brackets out"},
        {"unescaped control characters", "; is the closing quote missing?"},
        {"end-of-file", "; is something not closed?"},
        {"value: ", "; a string needs quotes"},
        {"integer: ", "; a string needs quotes"},
        {"floating-point: ", "; a string needs quotes"},
        {"boolean: ", "; a string needs quotes"},
        {"date: ", "; a string needs quotes"},
        {"time: ", "; a string needs quotes"},
    };

    for (size_t i = 0; i < sizeof(remedies) / sizeof(remedies[0]); i++) {
        if (strstr(text, remedies[i][0]) != NULL)
            return remedies[i][1];
    }
    return "";
}

/* What toml++ found, in the form of our own messages. */
int config_place_not_toml(const char *file, const struct toml_failure *failure, struct error *error)
{
    static const char opening[] = "Error while parsing ";
    const struct place place = {.file = file, .position = {failure->line, failure->column}};
    char shown[CONFIG_TEXT_SIZE];
    const char *text = failure->text;

    if (failure->out_of_memory)
        return config_out_of_memory(error);
    if (strncmp(text, opening, strlen(opening)) == 0)
        text += strlen(opening);
    return config_place_error(&place, NULL, error, "not TOML: %s%s", config_text_escape(shown, text, strlen(text)),
                              toml_remedy(text));
}

int config_out_of_memory(struct error *error)
{
    return error_set(error, ERROR_HOST, "out of memory");
}
