#include "vmm/scenario/matrix.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/config/schema.h"
#include "vmm/config/text.h"
#include "vmm/scenario/steps.h"
#include "vmm/scenario/template.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Overrides ---- */

/* The value as config_set() takes it. */
static int write_value(const struct scenario_reader *reader, const char *name, const struct toml_node *node, FILE *out)
{
    switch (node->kind) {
    case TOML_KIND_STRING:
        if (strlen(node->string) != node->length)
            return scenario_fail(reader, node, name, "has a NUL in it; take it out");
        (void)fputs(node->string, out);
        return 0;
    case TOML_KIND_INTEGER:
        (void)fprintf(out, "%" PRId64, node->integer);
        return 0;
    case TOML_KIND_BOOLEAN:
        (void)fputs(node->boolean ? "true" : "false", out);
        return 0;
    case TOML_KIND_ARRAY:
        for (size_t i = 0; i < node->count; i++) {
            if (node->children[i].kind != TOML_KIND_STRING)
                return scenario_fail(reader, &node->children[i], name, "is a list of strings");
            (void)fprintf(out, "%s%s", i > 0 ? "," : "", node->children[i].string);
        }
        return 0;
    default:
        return scenario_fail(reader, node, name, "is a string, a number, true, false or a list of strings");
    }
}

/* Relative to the file that they stand in, as other paths are; config_set() would start at the current folder. */
static char *resolve_value(const struct scenario_reader *reader, const struct schema_key *key, char *text)
{
    static const char socket[] = "unix:";
    char *path = NULL;

    if (key->type == SCHEMA_PATH && text[0] != '\0') {
        path = config_path_resolve(reader->folder, text);
    } else if (key->type == SCHEMA_SOCKET && strncmp(text, socket, strlen(socket)) == 0) {
        char *resolved = config_path_resolve(reader->folder, text + strlen(socket));
        if (resolved != NULL && asprintf(&path, "%s%s", socket, resolved) < 0)
            path = NULL;
        free(resolved);
    } else {
        return text;
    }
    free(text);
    return path;
}

static char *read_text(const struct scenario_reader *reader, const char *name, const struct schema_key *key,
                       const struct toml_node *node)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    if (out == NULL) {
        (void)config_out_of_memory(reader->error);
        return NULL;
    }
    const int result = write_value(reader, name, node, out);
    if (fclose(out) != 0)
        text = NULL;
    if (result < 0) {
        free(text);
        return NULL;
    }
    text = text != NULL ? resolve_value(reader, key, text) : NULL;
    if (text == NULL)
        (void)config_out_of_memory(reader->error);
    return text;
}

/* Sets a key that is known, from a node. */
static int add_override(const struct scenario_reader *reader, const char *name, enum config_key index,
                        const struct toml_node *node, struct scenario_overrides *overrides)
{
    char full[SCHEMA_NAME_SIZE];
    const struct schema_key *key = &config_schema[index];

    struct scenario_override *override =
        scenario_grow(reader, (void **)&overrides->items, &overrides->count, sizeof(*override));
    if (override == NULL)
        return -1;
    override->text = read_text(reader, name, key, node);
    if (override->text == NULL)
        return -1;
    override->key = strdup(config_schema_name(key, full));
    if (asprintf(&override->origin, "%s:%u:%u", reader->file, node->line, node->column) < 0)
        override->origin = NULL;
    return override->key != NULL && override->origin != NULL ? 0 : config_out_of_memory(reader->error);
}

static int fail_unknown_override(const struct scenario_reader *reader, const char *shown, const char *dotted,
                                 const struct toml_node *node)
{
    char full[SCHEMA_NAME_SIZE];
    const enum config_key nearest = config_schema_nearest(dotted);

    if (nearest == CONFIG_KEY_COUNT)
        return scenario_fail_key(reader, node, shown,
                                 "unknown key of a machine; 'quire help keys' lists those there are");
    return scenario_fail_key(reader, node, shown, "unknown key of a machine; did you mean %s?",
                             config_schema_name(&config_schema[nearest], full));
}

static int read_override(const struct scenario_reader *reader, const char *name, const struct toml_node *section,
                         const struct toml_node *node, struct scenario_overrides *overrides)
{
    const enum config_key key =
        strlen(node->key) == node->key_length ? config_schema_find(section->key, node->key) : CONFIG_KEY_COUNT;
    char dotted[CONFIG_TEXT_SIZE];
    char full[2 * CONFIG_TEXT_SIZE];
    char shown[CONFIG_TEXT_SIZE];

    (void)snprintf(dotted, sizeof(dotted), "%s.%s", section->key, node->key);
    (void)snprintf(full, sizeof(full), "%s.%s", name, dotted);
    (void)config_text_escape(shown, full, strlen(full));
    if (key == CONFIG_KEY_COUNT)
        return fail_unknown_override(reader, shown, dotted, node);
    return add_override(reader, shown, key, node, overrides);
}

int scenario_read_overrides(const struct scenario_reader *reader, const char *name, const struct toml_node *node,
                            struct scenario_overrides *overrides)
{
    char shown[CONFIG_TEXT_SIZE];

    if (scenario_check_table(reader, name, node) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        const struct toml_node *section = &node->children[i];
        if (section->kind != TOML_KIND_TABLE)
            return scenario_fail_key(reader, section, config_text_escape(shown, section->key, strlen(section->key)),
                                     "is no key of a machine by itself; write section.key = value, as in "
                                     "cpu.count = 4");
        for (size_t j = 0; j < section->count; j++) {
            if (read_override(reader, name, section, &section->children[j], overrides) < 0)
                return -1;
        }
    }
    return 0;
}

void scenario_overrides_free(struct scenario_overrides *overrides)
{
    for (size_t i = 0; i < overrides->count; i++) {
        free(overrides->items[i].key);
        free(overrides->items[i].text);
        free(overrides->items[i].origin);
    }
    free(overrides->items);
    *overrides = (struct scenario_overrides){0};
}

/* ---- Axes ---- */

void scenario_axis_free(struct scenario_axis *axis)
{
    for (size_t i = 0; i < axis->entry_count; i++) {
        free(axis->entries[i].name);
        scenario_text_free(&axis->entries[i].machine);
        scenario_overrides_free(&axis->entries[i].overrides);
    }
    free(axis->entries);
    free(axis->name);
}

static int fail_too_many(const struct scenario_axis *axis, struct error *error)
{
    return scenario_fail_at(&axis->position, "matrix", error,
                            "makes more than 4096 cases; give its axes fewer entries");
}

/* Takes over the name, which no other entry of the axis may have. */
static int name_entry(const struct scenario_reader *reader, const struct scenario_axis *axis,
                      struct scenario_entry *entry, char *entry_name, const struct toml_node *node)
{
    char shown[CONFIG_TEXT_SIZE];

    if (entry_name == NULL)
        return config_out_of_memory(reader->error);
    entry->name = entry_name;
    entry->position = scenario_position_of(reader, node);
    if (axis->entry_count > SCENARIO_MAX_CASES)
        return fail_too_many(axis, reader->error);
    (void)config_text_quote(shown, entry_name, strlen(entry_name));
    if (!scenario_is_word(entry_name))
        return scenario_fail(reader, node, "matrix.entry",
                             "%s cannot be an entry's name; write a [[matrix.entry]] with a name of letters, digits, "
                             "\"-\", \"_\", \"+\" and \".\"",
                             shown);
    for (size_t i = 0; i < axis->entry_count; i++) {
        const struct scenario_entry *other = &axis->entries[i];
        if (other != entry && other->name != NULL && strcmp(other->name, entry_name) == 0)
            return scenario_fail(reader, node, "matrix.entry", "the axis \"%s\" has %s twice; give it another name",
                                 axis->name, shown);
    }
    return 0;
}

/* Values of paths are called as the files are, others by what they are. */
static char *name_of_value(const struct scenario_override *override, enum config_key key)
{
    const char *slash = config_schema[key].type == SCHEMA_PATH ? strrchr(override->text, '/') : NULL;

    return strdup(slash != NULL ? slash + 1 : override->text);
}

static int read_values(const struct scenario_reader *reader, struct scenario_axis *axis,
                       const struct toml_node *key_node, const struct toml_node *values)
{
    struct scenario_text key_text = {0};
    const char *dot;

    if (scenario_read_string(reader, "matrix.key", key_node, 1, &key_text) < 0)
        return -1;
    dot = strchr(key_text.text, '.');
    char *section = strndup(key_text.text, dot != NULL ? (size_t)(dot - key_text.text) : 0);
    const enum config_key key =
        section != NULL && dot != NULL ? config_schema_find(section, dot + 1) : CONFIG_KEY_COUNT;
    free(section);
    scenario_text_free(&key_text);
    if (key == CONFIG_KEY_COUNT) {
        char full[SCHEMA_NAME_SIZE];
        const enum config_key nearest = config_schema_nearest(key_node->string);
        if (nearest == CONFIG_KEY_COUNT)
            return scenario_fail(reader, key_node, "matrix.key",
                                 "is no key of a machine; 'quire help keys' lists those there are");
        return scenario_fail(reader, key_node, "matrix.key", "is no key of a machine; did you mean %s?",
                             config_schema_name(&config_schema[nearest], full));
    }
    if (values->kind != TOML_KIND_ARRAY)
        return scenario_fail(reader, values, "matrix.values", "is a list; write [1, 4]");
    for (size_t i = 0; i < values->count; i++) {
        struct scenario_entry *entry =
            scenario_grow(reader, (void **)&axis->entries, &axis->entry_count, sizeof(*entry));
        if (entry == NULL || add_override(reader, "matrix.values", key, &values->children[i], &entry->overrides) < 0 ||
            name_entry(reader, axis, entry, name_of_value(&entry->overrides.items[0], key), &values->children[i]) < 0)
            return -1;
    }
    return 0;
}

static int read_entry(const struct scenario_reader *reader, struct scenario_axis *axis, const struct toml_node *node)
{
    const struct toml_node *name = scenario_child(node, "name");
    struct scenario_text text = {0};

    struct scenario_entry *entry = scenario_grow(reader, (void **)&axis->entries, &axis->entry_count, sizeof(*entry));
    if (entry == NULL)
        return -1;
    if (name == NULL)
        return scenario_fail(reader, node, "matrix.entry.name", "is missing; cases are called by it");
    if (scenario_read_string(reader, "matrix.entry.name", name, 1, &text) < 0 ||
        name_entry(reader, axis, entry, text.text, name) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        const struct toml_node *child = &node->children[i];
        const struct scenario_key *key = scenario_key_of(&scenario_entry_table, child);
        if (key == NULL)
            return scenario_fail_unknown(reader, &scenario_entry_table, 0, child);
        if (scenario_read_value(reader, &scenario_entry_table, key, child, entry) < 0)
            return -1;
        if (strcmp(key->name, "override") == 0 &&
            scenario_read_overrides(reader, "matrix.entry.override", child, &entry->overrides) < 0)
            return -1;
    }
    return 0;
}

static int read_entries(const struct scenario_reader *reader, struct scenario_axis *axis, const struct toml_node *node)
{
    if (scenario_check_tables(reader, "matrix.entry", node, scenario_entry_table.title) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        if (read_entry(reader, axis, &node->children[i]) < 0)
            return -1;
    }
    return 0;
}

static int name_axis(const struct scenario_reader *reader, struct scenario_axis *axis, const struct toml_node *node)
{
    const struct scenario *scenario = reader->scenario;
    const struct toml_node *name = scenario_child(node, "axis");
    struct scenario_text text = {0};

    if (name == NULL)
        return scenario_fail(reader, node, "matrix.axis", "is missing; the axis needs a name");
    if (scenario_read_as(reader, "matrix.axis", SCENARIO_TYPE_VARIABLE, name, &text) < 0) {
        scenario_text_free(&text);
        return -1;
    }
    axis->name = text.text;
    axis->position = text.position;
    for (size_t i = 0; i + 1 < scenario->axis_count; i++) {
        if (strcmp(scenario->axes[i].name, axis->name) == 0)
            return scenario_fail(reader, name, "matrix.axis", "there is an axis \"%s\" already, at %s:%u; rename one",
                                 axis->name, scenario->axes[i].position.file, scenario->axes[i].position.line);
    }
    return 0;
}

static int read_axis(const struct scenario_reader *reader, struct scenario_axis *axis, const struct toml_node *node)
{
    const struct toml_node *key = scenario_child(node, "key");
    const struct toml_node *values = scenario_child(node, "values");
    const struct toml_node *entries = scenario_child(node, "entry");

    for (size_t i = 0; i < node->count; i++) {
        if (scenario_key_of(&scenario_matrix_table, &node->children[i]) == NULL)
            return scenario_fail_unknown(reader, &scenario_matrix_table, 0, &node->children[i]);
    }
    if (name_axis(reader, axis, node) < 0)
        return -1;
    if (values != NULL && key == NULL)
        return scenario_fail_key(reader, values, "matrix.values", "goes with key, which says whose values they are");
    if (key != NULL && values == NULL)
        return scenario_fail_key(reader, key, "matrix.key", "goes with values; write some, or take it out");
    if (values != NULL && read_values(reader, axis, key, values) < 0)
        return -1;
    if (entries != NULL && read_entries(reader, axis, entries) < 0)
        return -1;
    if (axis->entry_count == 0)
        return scenario_fail(reader, node, "matrix", "the axis \"%s\" has no entries; give it values, or take it out",
                             axis->name);
    return 0;
}

int scenario_read_matrix(const struct scenario_reader *reader, const struct toml_node *node)
{
    struct scenario *scenario = reader->scenario;

    if (scenario_check_tables(reader, "matrix", node, scenario_matrix_table.title) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        if (scenario->axis_count == SCENARIO_MAX_AXES)
            return scenario_fail(reader, &node->children[i], "matrix", "there are more than 16 axes; take some out");
        struct scenario_axis *axis =
            scenario_grow(reader, (void **)&scenario->axes, &scenario->axis_count, sizeof(*axis));
        if (axis == NULL || read_axis(reader, axis, &node->children[i]) < 0)
            return -1;
    }
    return 0;
}

/* ---- Cases ---- */

static int name_case(const struct scenario *scenario, struct scenario_case *one, struct error *error)
{
    size_t size = 0;
    FILE *out = open_memstream(&one->name, &size);

    if (out == NULL)
        return config_out_of_memory(error);
    (void)fputs(scenario->name, out);
    for (size_t i = 0; i < scenario->axis_count; i++) {
        const struct scenario_axis *axis = &scenario->axes[i];
        (void)fprintf(out, "%s%s=%s", i == 0 ? "[" : ",", axis->name, axis->entries[one->entries[i]].name);
    }
    if (scenario->axis_count > 0)
        (void)fputc(']', out);
    return fclose(out) == 0 ? 0 : config_out_of_memory(error);
}

int scenario_make_cases(struct scenario *scenario, struct error *error)
{
    size_t count = 1;

    for (size_t i = 0; i < scenario->axis_count; i++) {
        count *= scenario->axes[i].entry_count;
        if (count > SCENARIO_MAX_CASES)
            return fail_too_many(&scenario->axes[i], error);
    }
    scenario->cases = calloc(count, sizeof(*scenario->cases));
    if (scenario->cases == NULL)
        return config_out_of_memory(error);
    scenario->case_count = count;
    for (size_t i = 0; i < count; i++) {
        /* The last axis changes from case to case. */
        size_t rest = i;
        for (size_t axis = scenario->axis_count; axis-- > 0;) {
            scenario->cases[i].entries[axis] = rest % scenario->axes[axis].entry_count;
            rest /= scenario->axes[axis].entry_count;
        }
        if (name_case(scenario, &scenario->cases[i], error) < 0)
            return -1;
    }
    return 0;
}

static const struct scenario_entry *entry_of(const struct scenario *scenario, size_t index, size_t axis)
{
    return &scenario->axes[axis].entries[scenario->cases[index].entries[axis]];
}

/* ---- Filters ---- */

static bool fits_entry(const struct scenario *scenario, size_t index, const char *axis_name, const char *pattern)
{
    for (size_t i = 0; i < scenario->axis_count; i++) {
        if (strcmp(scenario->axes[i].name, axis_name) == 0)
            return fnmatch(pattern, entry_of(scenario, index, i)->name, 0) == 0;
    }
    return false;
}

static bool fits_word(const struct scenario *scenario, size_t index, char *word)
{
    char *equals = strchr(word, '=');
    char *pattern = NULL;

    if (equals != NULL) {
        *equals = '\0';
        return fits_entry(scenario, index, word, equals + 1);
    }
    if (asprintf(&pattern, "*%s*", word) < 0)
        return false;
    const bool fits = fnmatch(pattern, scenario->cases[index].name, 0) == 0;
    free(pattern);
    return fits;
}

bool scenario_case_fits(const struct scenario *scenario, size_t index, const char *filter)
{
    char *words = strdup(filter);
    char *rest = words;
    bool fits = words != NULL;

    for (char *word = strsep(&rest, ","); fits && word != NULL; word = strsep(&rest, ","))
        fits = fits_word(scenario, index, word);
    free(words);
    return fits;
}

/* ---- The machine of a case ---- */

static int apply(struct config *config, const struct scenario_overrides *overrides, struct error *error)
{
    for (size_t i = 0; i < overrides->count; i++) {
        const struct scenario_override *override = &overrides->items[i];
        if (config_set(config, override->origin, override->key, override->text, error) < 0)
            return -1;
    }
    return 0;
}

static const struct scenario_text *machine_of(const struct scenario *scenario, size_t index)
{
    const struct scenario_text *machine = &scenario->machine;

    for (size_t i = 0; i < scenario->axis_count; i++) {
        if (entry_of(scenario, index, i)->machine.text != NULL)
            machine = &entry_of(scenario, index, i)->machine;
    }
    return machine;
}

/* Files that a machine boots from, which it would find out about only when it starts. */
static int check_boot_files(const struct config *config, struct error *error)
{
    const struct {
        enum config_key key;
        const char *path;
    } files[] = {
        {CONFIG_BOOT_KERNEL, config->boot.kernel},
        {CONFIG_BOOT_INITRD, config->boot.initrd},
        {CONFIG_BOOT_FLAT, config->boot.flat},
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char shown[CONFIG_TEXT_SIZE];
        if (files[i].path != NULL && access(files[i].path, R_OK) < 0)
            return config_error(config, files[i].key, error, "%s cannot be read: %s; name a file that is there",
                                config_text_escape_tail(shown, files[i].path), strerror(errno));
    }
    return 0;
}

/* Where nothing says what boots, the scenario is the place to say it. */
static int check_machine(const struct scenario *scenario, const struct scenario_text *machine,
                         const struct config *config, struct error *error)
{
    const struct scenario_position place = {.file = scenario->files[0]};

    if (machine->text != NULL || config->boot.kernel != NULL || config->boot.flat != NULL)
        return 0;
    return scenario_fail_at(&place, "machine", error,
                            "is missing, and so is boot.kernel in [override]; name a machine's configuration");
}

static bool has_step(const struct scenario *scenario, bool (*fits)(const struct scenario_step *step))
{
    for (size_t i = 0; i < scenario->step_count; i++) {
        if (fits(&scenario->steps[i]))
            return true;
    }
    return false;
}

static bool needs_gdb(const struct scenario_step *step)
{
    return step->kind == SCENARIO_GDB;
}

bool scenario_wants_agent(const struct scenario *scenario, const struct config *config)
{
    return config->agent.listen != NULL || config->agent.port != CONFIG_AGENT_AUTO ||
           has_step(scenario, scenario_step_needs_agent);
}

bool scenario_wants_gdb(const struct scenario *scenario, const struct config *config)
{
    return config->gdb.listen != NULL || has_step(scenario, needs_gdb);
}

/* Sockets that stand in for those that whoever runs the machine makes, or with "" none. */
static int stand_in(struct config *config, bool agent, bool gdb, const char *agents, const char *gdbs,
                    struct error *error)
{
    if (agent && config_set(config, "quire test", "agent.listen", agents, error) < 0)
        return -1;
    return gdb ? config_set(config, "quire test", "gdb.listen", gdbs, error) : 0;
}

/* As it will be, if not where its sockets are. is_whole: with what follows from that, which stays in *config. */
static int check_config(const struct scenario *scenario, struct config *config, bool is_whole, struct error *error)
{
    const bool agent = config->agent.listen == NULL && scenario_wants_agent(scenario, config);
    const bool gdb = config->gdb.listen == NULL && scenario_wants_gdb(scenario, config);

    if (stand_in(config, agent, gdb, "unix:/agent", "unix:/gdb", error) < 0 ||
        (is_whole && config_complete(config, error) < 0) || config_check(config, error) < 0)
        return -1;
    return stand_in(config, agent, gdb, "", "", error);
}

int scenario_check_machine(const struct scenario *scenario, size_t index, const struct scenario_options *options,
                           struct error *error)
{
    struct config config;
    int result = scenario_case_config(scenario, index, options, &config, error);

    if (result == 0 && (options == NULL || !options->may_lack_files))
        result = check_boot_files(&config, error);
    if (result == 0)
        result = check_config(scenario, &config, true, error);
    config_free(&config);
    return result;
}

int scenario_case_config(const struct scenario *scenario, size_t index, const struct scenario_options *options,
                         struct config *config, struct error *error)
{
    const struct scenario_text *machine = machine_of(scenario, index);

    *config = (struct config){0};
    if (config_defaults(config, error) < 0)
        return -1;
    if (machine->text != NULL && config_load(config, machine->text, error) < 0)
        return -1;
    if (apply(config, &scenario->overrides, error) < 0)
        return -1;
    for (size_t i = 0; i < scenario->axis_count; i++) {
        if (apply(config, &entry_of(scenario, index, i)->overrides, error) < 0)
            return -1;
    }
    for (size_t i = 0; options != NULL && i < options->assignment_count; i++) {
        if (config_assign(config, "--set", options->assignments[i], error) < 0)
            return -1;
    }
    return check_machine(scenario, machine, config, error) < 0 ? -1 : check_config(scenario, config, false, error);
}
