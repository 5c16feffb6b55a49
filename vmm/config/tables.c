#include "vmm/config/tables.h"

#include "vmm/config/place.h"
#include "vmm/config/schema.h"
#include "vmm/config/text.h"
#include "vmm/config/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The key of a [[space]] that holds tables of its own. */
static const char RANGE_KEY[] = "range";
/* The same of a [[console]]. */
static const char PORT_KEY[] = "port";

static struct place place_at(const struct tables_reader *reader, unsigned line, unsigned column)
{
    return (struct place){.file = reader->file, .position = {line, column}};
}

static bool key_is(const struct toml_node *node, const char *name)
{
    return node->key_length == strlen(name) && strcmp(node->key, name) == 0;
}

/* ---- One table ---- */

static const char *table_help(const struct schema_table *table)
{
    const bool is_device = table == &config_port_table ||
                           (table >= config_device_tables && table <= &config_device_tables[CONFIG_DEVICE_RNG]);

    return is_device ? "'quire help devices'" : "'quire help keys'";
}

static int fail_unknown_key(const struct tables_reader *reader, const struct schema_table *table,
                            const struct toml_node *node)
{
    const struct place place = place_at(reader, node->key_line, node->key_column);
    const struct schema_key *nearest = config_table_nearest(table, node->key);
    char full[CONFIG_TEXT_SIZE];
    char shown[CONFIG_TEXT_SIZE];

    (void)snprintf(full, sizeof(full), "%s.%s", table->keys[0].section, node->key);
    (void)config_text_escape(shown, full, strlen(full));
    if (nearest == NULL)
        return config_place_error(&place, shown, reader->error, "unknown key; %s lists those there are",
                                  table_help(table));
    return config_place_error(&place, shown, reader->error, "unknown key; did you mean %s?", nearest->name);
}

static struct config_position *positions_of(const struct schema_table *table, void *element)
{
    return (struct config_position *)(void *)((char *)element + table->positions_offset);
}

static int read_key(const struct tables_reader *reader, const struct schema_table *table, const struct toml_node *node,
                    void *element)
{
    const struct schema_key *key = key_is(node, node->key) ? config_table_find(table, node->key) : NULL;
    const struct place place = {.file = reader->file};
    struct config_value value;

    if (key == NULL)
        return fail_unknown_key(reader, table, node);
    if (config_value_from_node(key, node, reader->folder, &place, &value, reader->error) < 0)
        return -1;
    config_value_store(element, key, &value);
    positions_of(table, element)[key - table->keys] = (struct config_position){node->line, node->column};
    return 0;
}

static int check_required(const struct tables_reader *reader, const struct schema_table *table,
                          const struct toml_node *node, void *element)
{
    const struct place place = place_at(reader, node->line, node->column);
    char name[SCHEMA_NAME_SIZE];

    for (size_t i = 0; i < table->count; i++) {
        if (table->keys[i].is_required && positions_of(table, element)[i].line == 0)
            return config_place_error(&place, config_schema_name(&table->keys[i], name), reader->error,
                                      "is missing in this %s; it has no default", table->keys[i].section);
    }
    return 0;
}

/* Fills in a zeroed element; of the keys, `except` is for the caller. */
static int read_table(const struct tables_reader *reader, const struct schema_table *table,
                      const struct toml_node *node, void *element, const char *except)
{
    const struct config_position position = {node->line, node->column};
    const struct place nowhere = {0};
    struct config_value value;

    memcpy((char *)element + table->position_offset, &position, sizeof(position));
    for (size_t i = 0; i < table->count; i++) {
        if (config_value_from_text(&table->keys[i], table->keys[i].default_text, "", &nowhere, &value, reader->error) <
            0)
            return -1;
        config_value_store(element, &table->keys[i], &value);
    }
    for (size_t i = 0; i < node->count; i++) {
        if (except != NULL && key_is(&node->children[i], except))
            continue;
        if (read_key(reader, table, &node->children[i], element) < 0)
            return -1;
    }
    return check_required(reader, table, node, element);
}

/* Whether node is a list of tables, as [[title]] makes it. */
static int check_list(const struct tables_reader *reader, const struct toml_node *node, const char *title)
{
    bool is_list = node->kind == TOML_KIND_ARRAY;

    for (size_t i = 0; is_list && i < node->count; i++)
        is_list = node->children[i].kind == TOML_KIND_TABLE;
    if (is_list)
        return 0;
    const struct place place = place_at(reader, node->key_line, node->key_column);
    return config_place_error(&place, node->key, reader->error,
                              "is a list of tables; write %s for each, and its keys in the lines below", title);
}

/* ---- The lists ---- */

/* Room for more elements in a list, zeroed. NULL, with *error: no memory. */
static void *grow(const struct tables_reader *reader, void *items, size_t count, size_t more, size_t size)
{
    char *grown = reallocarray(items, count + more, size);

    if (grown == NULL) {
        (void)config_out_of_memory(reader->error);
        return NULL;
    }
    memset(grown + count * size, 0, more * size);
    return grown;
}

int config_tables_read_ranges(const struct tables_reader *reader, const struct toml_node *node,
                              struct config_ranges *ranges)
{
    if (check_list(reader, node, "[[memory.range]] or [[space.range]]") < 0)
        return -1;
    if (node->count == 0)
        return 0;
    struct config_range *items = grow(reader, ranges->items, ranges->count, node->count, sizeof(*items));
    if (items == NULL)
        return -1;
    ranges->items = items;
    for (size_t i = 0; i < node->count; i++) {
        if (read_table(reader, &config_range_table, &node->children[i], &items[ranges->count++], NULL) < 0)
            return -1;
    }
    return 0;
}

int config_tables_read_spaces(const struct tables_reader *reader, const struct toml_node *node,
                              struct config_lists *lists)
{
    if (check_list(reader, node, "[[space]]") < 0)
        return -1;
    if (node->count == 0)
        return 0;
    struct config_space *items = grow(reader, lists->spaces, lists->space_count, node->count, sizeof(*items));
    if (items == NULL)
        return -1;
    lists->spaces = items;
    for (size_t i = 0; i < node->count; i++) {
        struct config_space *space = &items[lists->space_count++];
        if (read_table(reader, &config_space_table, &node->children[i], space, RANGE_KEY) < 0)
            return -1;
        for (size_t j = 0; j < node->children[i].count; j++) {
            const struct toml_node *child = &node->children[i].children[j];
            if (key_is(child, RANGE_KEY) && config_tables_read_ranges(reader, child, &space->ranges) < 0)
                return -1;
        }
    }
    return 0;
}

int config_tables_read_vcpus(const struct tables_reader *reader, const struct toml_node *node,
                             struct config_lists *lists)
{
    if (check_list(reader, node, "[[vcpu]]") < 0)
        return -1;
    if (node->count == 0)
        return 0;
    if (node->count > CONFIG_MAX_CPU_COUNT) {
        const struct toml_node *first_too_many = &node->children[CONFIG_MAX_CPU_COUNT];
        const struct place place = place_at(reader, first_too_many->line, first_too_many->column);
        return config_place_error(&place, "vcpu", reader->error,
                                  "a machine has at most %u of them; take this one and those after it out",
                                  CONFIG_MAX_CPU_COUNT);
    }
    struct config_vcpu *items = grow(reader, lists->vcpus, lists->vcpu_count, node->count, sizeof(*items));
    if (items == NULL)
        return -1;
    lists->vcpus = items;
    for (size_t i = 0; i < node->count; i++) {
        if (read_table(reader, &config_vcpu_table, &node->children[i], &items[lists->vcpu_count++], NULL) < 0)
            return -1;
    }
    return 0;
}

/* "disk0" for the first of its kind. */
static int name_after_kind(const struct tables_reader *reader, struct config_device *device, size_t number)
{
    char *name = NULL;

    if (asprintf(&name, "%s%zu", config_device_tables[device->kind].keys[0].section, number) < 0)
        return config_out_of_memory(reader->error);
    free(device->name);
    device->name = name;
    return 0;
}

static int compare_positions(const void *left, const void *right)
{
    const struct config_position *a = &((const struct config_device *)left)->position;
    const struct config_position *b = &((const struct config_device *)right)->position;

    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    return (a->column > b->column) - (a->column < b->column);
}

static int read_ports(const struct tables_reader *reader, const struct toml_node *node, struct config_device *device)
{
    if (check_list(reader, node, "[[console.port]]") < 0)
        return -1;
    if (node->count == 0)
        return 0;
    struct config_port *items = grow(reader, NULL, 0, node->count, sizeof(*items));
    if (items == NULL)
        return -1;
    device->console.ports = items;
    for (size_t i = 0; i < node->count; i++) {
        if (read_table(reader, &config_port_table, &node->children[i], &items[device->console.port_count++], NULL) < 0)
            return -1;
    }
    return 0;
}

static int read_device(const struct tables_reader *reader, const struct toml_node *node, size_t number,
                       struct config_device *device)
{
    const bool has_ports = device->kind == CONFIG_DEVICE_CONSOLE;

    if (read_table(reader, &config_device_tables[device->kind], node, device, has_ports ? PORT_KEY : NULL) < 0)
        return -1;
    for (size_t i = 0; has_ports && i < node->count; i++)
        if (key_is(&node->children[i], PORT_KEY) && read_ports(reader, &node->children[i], device) < 0)
            return -1;
    return device->name[0] != '\0' ? 0 : name_after_kind(reader, device, number);
}

int config_tables_read_devices(const struct tables_reader *reader, const struct toml_node *node,
                               enum config_device_kind kind, struct config_lists *lists)
{
    if (check_list(reader, node, config_device_tables[kind].title) < 0)
        return -1;
    if (node->count == 0)
        return 0;
    struct config_device *items = grow(reader, lists->devices, lists->device_count, node->count, sizeof(*items));
    if (items == NULL)
        return -1;
    lists->devices = items;
    for (size_t i = 0; i < node->count; i++) {
        struct config_device *device = &items[lists->device_count++];
        device->kind = kind;
        if (read_device(reader, &node->children[i], i, device) < 0)
            return -1;
    }
    qsort(lists->devices, lists->device_count, sizeof(*lists->devices), compare_positions);
    return 0;
}

static void free_element(const struct schema_table *table, void *element)
{
    for (size_t i = 0; i < table->count; i++) {
        struct config_value value = config_value_load(element, &table->keys[i]);
        config_value_free(&value);
    }
}

static void free_ranges(struct config_ranges *ranges)
{
    for (size_t i = 0; i < ranges->count; i++)
        free_element(&config_range_table, &ranges->items[i]);
    free(ranges->items);
}

static void free_device(struct config_device *device)
{
    free_element(&config_device_tables[device->kind], device);
    for (size_t i = 0; i < device->console.port_count; i++)
        free_element(&config_port_table, &device->console.ports[i]);
    free(device->console.ports);
}

void config_lists_free(struct config_lists *lists)
{
    free_ranges(&lists->ranges);
    for (size_t i = 0; i < lists->space_count; i++) {
        free_ranges(&lists->spaces[i].ranges);
        free_element(&config_space_table, &lists->spaces[i]);
    }
    for (size_t i = 0; i < lists->vcpu_count; i++)
        free_element(&config_vcpu_table, &lists->vcpus[i]);
    for (size_t i = 0; i < lists->device_count; i++)
        free_device(&lists->devices[i]);
    free(lists->devices);
    free(lists->spaces);
    free(lists->vcpus);
    *lists = (struct config_lists){0};
}
