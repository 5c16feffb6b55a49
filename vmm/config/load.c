#include "vmm/config/config.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/config/schema.h"
#include "vmm/config/tables.h"
#include "vmm/config/text.h"
#include "vmm/config/toml.h"
#include "vmm/config/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a file gives, apart from *config until all of it is known to be good. */
struct load {
    const char *name;
    char *folder;
    struct error *error;
    bool given[CONFIG_KEY_COUNT];
    struct config_value values[CONFIG_KEY_COUNT];
    struct config_origin origins[CONFIG_KEY_COUNT];
    struct config_lists lists;
};

static struct place key_place(const struct load *load, const struct toml_node *node)
{
    return (struct place){.file = load->name, .position = {node->key_line, node->key_column}};
}

/* A name made of keys of the document, fit to be shown; section: one that is known, or NULL. */
static void shown_name(const struct toml_node *section, const struct toml_node *node, char out[CONFIG_TEXT_SIZE])
{
    char full[CONFIG_TEXT_SIZE] = "";

    if (section != NULL)
        (void)snprintf(full, sizeof(full), "%s.", section->key);
    const size_t before = strlen(full);
    const size_t room = sizeof(full) - before;
    /* The key may have NULs in it. */
    const size_t length = node->key_length < room ? node->key_length : room;
    memcpy(full + before, node->key, length);
    (void)config_text_escape(out, full, before + length);
}

static int fail_unknown_key(const struct load *load, const struct toml_node *section, const struct toml_node *node)
{
    struct place place = key_place(load, node);
    char shown[CONFIG_TEXT_SIZE];

    shown_name(section, node, shown);
    return config_place_unknown_key(&place, shown, load->error);
}

static int fail_unknown_section(const struct load *load, const struct toml_node *node)
{
    struct place place = key_place(load, node);
    char shown[CONFIG_TEXT_SIZE];

    shown_name(NULL, node, shown);
    const char *nearest = config_schema_nearest_section(shown);
    if (nearest == NULL)
        return config_place_error(&place, shown, load->error,
                                  "unknown section; 'quire help keys' lists those there are");
    return config_place_error(&place, shown, load->error, "unknown section; did you mean [%s]?", nearest);
}

static int read_key(struct load *load, const struct toml_node *section, const struct toml_node *node)
{
    enum config_key key = config_schema_find(section->key, node->key);
    struct place place = {.file = load->name};

    if (key == CONFIG_KEY_COUNT || strlen(node->key) != node->key_length)
        return fail_unknown_key(load, section, node);
    if (config_value_from_node(&config_schema[key], node, load->folder, &place, &load->values[key], load->error) < 0)
        return -1;
    load->given[key] = true;
    load->origins[key].position = (struct config_position){node->line, node->column};
    return 0;
}

/* The same for devices. */
static int read_devices(struct load *load, const struct tables_reader *reader, const char *name,
                        const struct toml_node *node)
{
    for (int kind = CONFIG_DEVICE_DISK; kind <= CONFIG_DEVICE_RNG; kind++) {
        if (strcmp(name, config_device_tables[kind].keys[0].section) != 0)
            continue;
        return config_tables_read_devices(reader, node, (enum config_device_kind)kind, &load->lists) < 0 ? -1 : 1;
    }
    return 0;
}

/* Reads a node if it is one of the lists of tables: 1, or -1 with an error; 0: it is none. */
static int read_list(struct load *load, const struct toml_node *section, const struct toml_node *node)
{
    const struct tables_reader reader = {.file = load->name, .folder = load->folder, .error = load->error};
    char name[CONFIG_TEXT_SIZE];
    int result;

    /* Of these names, a dot or a NUL in the key itself makes others. */
    if (strlen(node->key) != node->key_length || strchr(node->key, '.') != NULL)
        return 0;
    shown_name(section, node, name);
    if (strcmp(name, "memory.range") == 0)
        result = config_tables_read_ranges(&reader, node, &load->lists.ranges);
    else if (strcmp(name, "space") == 0)
        result = config_tables_read_spaces(&reader, node, &load->lists);
    else if (strcmp(name, "vcpu") == 0)
        result = config_tables_read_vcpus(&reader, node, &load->lists);
    else
        return read_devices(load, &reader, name, node);
    return result < 0 ? -1 : 1;
}

static int read_section(struct load *load, const struct toml_node *node)
{
    bool known = config_schema_has_section(node->key) && strlen(node->key) == node->key_length;

    if (node->kind == TOML_KIND_TABLE && known) {
        for (size_t i = 0; i < node->count; i++) {
            const int is_list = read_list(load, node, &node->children[i]);
            if (is_list < 0 || (is_list == 0 && read_key(load, node, &node->children[i]) < 0))
                return -1;
        }
        return 0;
    }
    const int is_list = read_list(load, NULL, node);
    if (is_list != 0)
        return is_list < 0 ? -1 : 0;
    if (known) {
        struct place place = key_place(load, node);
        return config_place_error(&place, node->key, load->error,
                                  "is a section, not a key; write [%s] once, and its keys in the lines below",
                                  node->key);
    }
    return node->kind == TOML_KIND_TABLE ? fail_unknown_section(load, node) : fail_unknown_key(load, NULL, node);
}

/* "dir/vm.toml" gives "vm". What is no good as a name leaves the one that there is. */
static int name_after_file(struct load *load)
{
    static const char suffix[] = ".toml";
    const char *slash = strrchr(load->name, '/');
    const char *base = slash != NULL ? slash + 1 : load->name;
    size_t length = strlen(base);
    const struct schema_key *schema = &config_schema[CONFIG_MACHINE_NAME];

    if (length > strlen(suffix) && strcmp(base + length - strlen(suffix), suffix) == 0)
        length -= strlen(suffix);
    if (length < schema->minimum || length > schema->maximum)
        return 0;
    char *name = strndup(base, length);
    if (name == NULL)
        return config_out_of_memory(load->error);
    load->values[CONFIG_MACHINE_NAME].string = name;
    load->given[CONFIG_MACHINE_NAME] = true;
    return 0;
}

static int read_document(struct load *load, const char *text, size_t length)
{
    struct toml_failure failure;
    struct toml_node *root = toml_parse(text, length, &failure);
    int result = 0;

    if (root == NULL)
        return config_place_not_toml(load->name, &failure, load->error);
    for (size_t i = 0; i < root->count && result == 0; i++)
        result = read_section(load, &root->children[i]);
    toml_free(root);
    if (result == 0 && !load->given[CONFIG_MACHINE_NAME])
        result = name_after_file(load);
    return result;
}

static void store(struct load *load, struct config *config, char *file)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (!load->given[i])
            continue;
        config_value_store(config, &config_schema[i], &load->values[i]);
        config->origins[i] = load->origins[i];
    }
    config_lists_free(&config->lists);
    config->lists = load->lists;
    load->lists = (struct config_lists){0};
    /* As many vCPUs as there are entries, where nothing else is said. */
    if (!load->given[CONFIG_CPU_COUNT] && config->lists.vcpu_count > config->cpu.count)
        config->cpu.count = (uint32_t)config->lists.vcpu_count;
    free(config->file);
    config->file = file;
}

int config_parse(struct config *config, const char *name, const char *text, size_t length, struct error *error)
{
    const struct place place = {.file = name};
    struct load load = {.name = name, .error = error};
    int result = -1;

    if (length > CONFIG_MAX_FILE_SIZE)
        return config_place_error(
            &place, NULL, error,
            "larger than 1 MiB; name the TOML file of a machine (a kernel is given with --kernel)");

    char *file = strdup(name);
    load.folder = config_path_folder(name);
    if (file == NULL || load.folder == NULL) {
        config_out_of_memory(error);
        goto out;
    }
    if (read_document(&load, text, length) < 0)
        goto out;
    store(&load, config, file);
    file = NULL;
    result = 0;
out:
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        config_value_free(&load.values[i]);
    config_lists_free(&load.lists);
    free(load.folder);
    free(file);
    return result;
}

static int read_up_to(int fd, char *buffer, size_t size, size_t *ret_length)
{
    size_t length = 0;

    while (length < size) {
        ssize_t count = read(fd, buffer + length, size - length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        length += (size_t)count;
    }
    *ret_length = length;
    return 0;
}

static int load_from(struct config *config, int fd, const char *path, struct error *error)
{
    const struct place place = {.file = path};
    struct stat status;

    if (fstat(fd, &status) < 0)
        return config_place_error(&place, NULL, error, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(status.st_mode))
        return config_place_error(&place, NULL, error, "not a regular file; name the TOML file of a machine");
    if (status.st_size > (off_t)CONFIG_MAX_FILE_SIZE)
        return config_parse(config, path, "", CONFIG_MAX_FILE_SIZE + 1, error);

    /* One byte more, to see a file that grows meanwhile. */
    size_t size = (size_t)status.st_size + 1;
    size_t length;
    char *text = malloc(size);
    if (text == NULL)
        return config_out_of_memory(error);
    int result = read_up_to(fd, text, size, &length);
    if (result < 0)
        config_place_error(&place, NULL, error, "cannot be read: %s", strerror(errno));
    else
        result = config_parse(config, path, text, length, error);
    free(text);
    return result;
}

int config_load(struct config *config, const char *path, struct error *error)
{
    const struct place place = {.file = path};
    /* Not to wait for whoever may open the other end of a FIFO. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return config_place_error(&place, NULL, error, "cannot be opened: %s; name the TOML file of a machine",
                                  strerror(errno));
    int result = load_from(config, fd, path, error);
    (void)close(fd);
    return result;
}
