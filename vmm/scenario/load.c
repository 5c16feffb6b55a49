#include "vmm/scenario/scenario.h"

#include "vmm/config/path.h"
#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/scenario/matrix.h"
#include "vmm/scenario/read.h"
#include "vmm/scenario/steps.h"
#include "vmm/scenario/template.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file that is being read, and what included it. */
struct source {
    struct scenario_reader reader;
    const struct source *includer;
    /* Which file it is, whatever it is called; known of files that were opened. */
    struct {
        dev_t device;
        ino_t inode;
        bool is_known;
    } identity;
    unsigned depth;
};

/* The files that have been read, so that none is read twice. */
struct load {
    struct scenario *scenario;
    const struct scenario_options *options;
    struct error *error;
    struct {
        dev_t device;
        ino_t inode;
    } seen[SCENARIO_MAX_FILES];
    size_t seen_count;
};

static int load_file(struct load *load, struct source *source, const char *path, const struct toml_node *node);

/* ---- Includes ---- */

static bool is_same(const struct source *source, const struct stat *status)
{
    return source->identity.is_known && source->identity.device == status->st_dev &&
           source->identity.inode == status->st_ino;
}

/* "a.toml includes b.toml includes a.toml". */
static int fail_cycle(const struct source *includer, const struct toml_node *node, const struct stat *status)
{
    char chain[300];
    char named[CONFIG_TEXT_SIZE];

    (void)snprintf(chain, sizeof(chain), "%s", config_text_escape_tail(named, node->string));
    for (const struct source *source = includer; source != NULL; source = source->includer) {
        char before[sizeof(chain)];
        char shown[CONFIG_TEXT_SIZE];
        memcpy(before, chain, sizeof(before));
        (void)snprintf(chain, sizeof(chain), "%.100s includes %.180s",
                       config_text_escape_tail(shown, source->reader.file), before);
        if (is_same(source, status))
            break;
    }
    return scenario_fail(&includer->reader, node, "include", "%s, and so on; take one out", chain);
}

/* Whether a file may be read: 1, 0 if it has been read, or -1 with an error. */
static int enter_file(struct load *load, struct source *source, const struct toml_node *node, const struct stat *status)
{
    for (const struct source *outer = source->includer; outer != NULL; outer = outer->includer) {
        if (is_same(outer, status))
            return fail_cycle(source->includer, node, status);
    }
    for (size_t i = 0; i < load->seen_count; i++) {
        if (load->seen[i].device == status->st_dev && load->seen[i].inode == status->st_ino)
            return 0;
    }
    if (node != NULL && (load->seen_count == SCENARIO_MAX_FILES || source->depth > SCENARIO_MAX_INCLUDES))
        return scenario_fail(&source->includer->reader, node, "include",
                             "there are more than 64 files, or they include each other more than 16 deep; put some "
                             "together");
    load->seen[load->seen_count].device = status->st_dev;
    load->seen[load->seen_count++].inode = status->st_ino;
    source->identity.device = status->st_dev;
    source->identity.inode = status->st_ino;
    source->identity.is_known = true;
    return 1;
}

static int check_include(const struct source *source, const struct toml_node *list, size_t index)
{
    const struct toml_node *node = &list->children[index];
    char shown[CONFIG_TEXT_SIZE];

    if (node->kind != TOML_KIND_STRING || node->length == 0 || strlen(node->string) != node->length)
        return scenario_fail(&source->reader, node, "include", "is a list of paths; write each in quotes");
    for (size_t i = 0; i < index; i++) {
        if (strcmp(list->children[i].string, node->string) == 0)
            return scenario_fail(&source->reader, node, "include", "%s is there twice; take one out",
                                 config_text_quote(shown, node->string, node->length));
    }
    return 0;
}

static int include(struct load *load, const struct source *includer, const struct toml_node *node)
{
    const char *folder = includer->reader.folder;
    struct source source = {.includer = includer, .depth = includer->depth + 1};
    char *path = NULL;

    if (node->string[0] == '/' || folder[0] == '\0')
        path = strdup(node->string);
    else if (asprintf(&path, "%s/%s", folder, node->string) < 0)
        path = NULL;
    if (path == NULL)
        return config_out_of_memory(load->error);
    source.reader.timeout_ns = includer->reader.timeout_ns;
    const int result = load_file(load, &source, path, node);
    free(path);
    return result;
}

static int read_includes(struct load *load, const struct source *source, const struct toml_node *node)
{
    if (node->kind != TOML_KIND_ARRAY)
        return scenario_fail(&source->reader, node, "include", "is a list; write [\"login.toml\"]");
    for (size_t i = 0; i < node->count; i++) {
        if (check_include(source, node, i) < 0 || include(load, source, &node->children[i]) < 0)
            return -1;
    }
    return 0;
}

/* ---- The top of a file ---- */

static int read_defaults(struct source *source, const struct toml_node *node)
{
    struct scenario_reader *reader = &source->reader;

    if (scenario_check_table(reader, "defaults", node) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        const struct toml_node *child = &node->children[i];
        const struct scenario_key *key = scenario_key_of(&scenario_defaults_table, child);
        if (key == NULL)
            return scenario_fail_unknown(reader, &scenario_defaults_table, 0, child);
        if (scenario_read_value(reader, &scenario_defaults_table, key, child, &reader->timeout_ns) < 0)
            return -1;
    }
    return 0;
}

static struct scenario_variable *find_variable(struct scenario *scenario, const char *name)
{
    for (size_t i = 0; i < scenario->variable_count; i++) {
        if (strcmp(scenario->variables[i].name, name) == 0)
            return &scenario->variables[i];
    }
    return NULL;
}

static int read_variable(const struct scenario_reader *reader, const struct toml_node *node)
{
    struct scenario *scenario = reader->scenario;
    struct scenario_text value = {0};
    char shown[CONFIG_TEXT_SIZE];

    if (!template_is_name(node->key, node->key_length))
        return scenario_fail_key(reader, node, "variables",
                                 "%s cannot be a variable's name; take 1 to 32 letters, digits and \"_\", and no digit "
                                 "first",
                                 config_text_quote(shown, node->key, node->key_length));
    if (scenario_read_string(reader, "variables", node, 0, &value) < 0)
        return -1;
    struct scenario_variable *variable = find_variable(scenario, node->key);
    if (variable == NULL) {
        variable = scenario_grow(reader, (void **)&scenario->variables, &scenario->variable_count, sizeof(*variable));
        if (variable != NULL)
            variable->name = strdup(node->key);
    }
    if (variable == NULL || variable->name == NULL) {
        scenario_text_free(&value);
        return config_out_of_memory(reader->error);
    }
    free(variable->value);
    variable->value = value.text;
    variable->position = value.position;
    return 0;
}

static int read_variables(const struct scenario_reader *reader, const struct toml_node *node)
{
    if (scenario_check_table(reader, "variables", node) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        if (read_variable(reader, &node->children[i]) < 0)
            return -1;
    }
    return 0;
}

/* What a scenario is called; of a file that is included, only whether it is right. */
static int read_name(const struct source *source, const struct toml_node *node)
{
    struct scenario_text text = {0};
    char shown[CONFIG_TEXT_SIZE];
    int result = scenario_read_string(&source->reader, "name", node, 1, &text);

    if (result == 0 && !scenario_is_word(text.text))
        result =
            scenario_fail(&source->reader, node, "name",
                          "%s cannot be a name; take 1 to 64 letters, digits, \"-\", \"_\", \"+\" and \".\", and no "
                          "\".\" first",
                          config_text_quote(shown, text.text, strlen(text.text)));
    if (result == 0 && source->includer == NULL) {
        free(source->reader.scenario->name);
        source->reader.scenario->name = text.text;
        text.text = NULL;
    }
    scenario_text_free(&text);
    return result;
}

static int read_description(const struct source *source, const struct toml_node *node)
{
    struct scenario_text text = {0};

    if (scenario_read_string(&source->reader, "description", node, 0, &text) < 0)
        return -1;
    if (source->includer == NULL) {
        free(source->reader.scenario->description);
        source->reader.scenario->description = text.text;
    } else {
        scenario_text_free(&text);
    }
    return 0;
}

/* The keys that are not one value; defaults and includes have been read before. */
static int read_other(const struct source *source, const struct toml_node *node)
{
    const struct scenario_reader *reader = &source->reader;

    if (strcmp(node->key, "name") == 0)
        return read_name(source, node);
    if (strcmp(node->key, "description") == 0)
        return read_description(source, node);
    if (strcmp(node->key, "override") == 0)
        return scenario_read_overrides(reader, "override", node, &reader->scenario->overrides);
    if (strcmp(node->key, "variables") == 0)
        return read_variables(reader, node);
    if (strcmp(node->key, "matrix") == 0)
        return scenario_read_matrix(reader, node);
    return strcmp(node->key, "step") == 0 ? scenario_read_steps(reader, node) : 0;
}

static int read_top(struct load *load, struct source *source, const struct toml_node *root)
{
    const struct scenario_reader *reader = &source->reader;
    const struct toml_node *defaults = scenario_child(root, "defaults");
    const struct toml_node *includes = scenario_child(root, "include");

    for (size_t i = 0; i < root->count; i++) {
        if (scenario_key_of(&scenario_top_table, &root->children[i]) == NULL)
            return scenario_fail_unknown(reader, &scenario_top_table, 0, &root->children[i]);
    }
    if (defaults != NULL && read_defaults(source, defaults) < 0)
        return -1;
    if (includes != NULL && read_includes(load, source, includes) < 0)
        return -1;
    for (size_t i = 0; i < root->count; i++) {
        const struct toml_node *node = &root->children[i];
        const struct scenario_key *key = scenario_key_of(&scenario_top_table, node);
        if (scenario_read_value(reader, &scenario_top_table, key, node, load->scenario) < 0 ||
            read_other(source, node) < 0)
            return -1;
    }
    return 0;
}

/* ---- Files ---- */

static int read_text(struct load *load, struct source *source, const char *text, size_t length)
{
    struct toml_failure failure;
    struct toml_node *root = toml_parse(text, length, &failure);

    if (root == NULL)
        return config_place_not_toml(source->reader.file, &failure, load->error);
    const int result = read_top(load, source, root);
    toml_free(root);
    return result;
}

static int read_source(struct load *load, struct source *source, const char *name, const char *text, size_t length)
{
    struct scenario *scenario = load->scenario;
    const struct scenario_position place = {.file = name};
    int result = -1;

    if (length > SCENARIO_MAX_FILE_SIZE)
        return scenario_fail_at(&place, NULL, load->error, "larger than 1 MiB; name the TOML file of a scenario");
    if (scenario->file_count == SCENARIO_MAX_FILES)
        return scenario_fail_at(&place, NULL, load->error, "is one file too many; 64 are the most");
    char *copy = strdup(name);
    char *folder = config_path_folder(name);
    if (copy != NULL)
        scenario->files[scenario->file_count++] = copy;
    if (copy == NULL || folder == NULL) {
        (void)config_out_of_memory(load->error);
    } else {
        source->reader.scenario = scenario;
        source->reader.file = copy;
        source->reader.folder = folder;
        source->reader.is_dry = load->options != NULL && load->options->is_dry;
        source->reader.may_lack_files = load->options != NULL && load->options->may_lack_files;
        source->reader.error = load->error;
        result = read_text(load, source, text, length);
    }
    free(folder);
    return result;
}

/* A file that cannot be had: the include is to blame, or who named the scenario. */
static int fail_file(const struct load *load, const struct source *source, const char *path,
                     const struct toml_node *node, const char *why)
{
    const struct scenario_position place = {.file = path};
    char shown[CONFIG_TEXT_SIZE];

    if (node == NULL)
        return scenario_fail_at(&place, NULL, load->error, "%s; name the TOML file of a scenario", why);
    return scenario_fail(&source->includer->reader, node, "include",
                         "%s %s; relative paths start at this file's folder",
                         config_text_quote(shown, node->string, node->length), why);
}

/* As many bytes as there are, up to size. -1: errno says why. */
static ssize_t read_bytes(int fd, char *bytes, size_t size)
{
    size_t length = 0;

    while (length < size) {
        const ssize_t count = read(fd, bytes + length, size - length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        length += (size_t)count;
    }
    return (ssize_t)length;
}

static int load_open(struct load *load, struct source *source, const char *path, const struct toml_node *node, int fd)
{
    struct stat status;
    char why[CONFIG_TEXT_SIZE];

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return fail_file(load, source, path, node, "is not a regular file");
    const int is_new = enter_file(load, source, node, &status);
    if (is_new <= 0)
        return is_new;
    /* One byte more than there may be, to see that there are too many. */
    char *text = malloc(SCENARIO_MAX_FILE_SIZE + 1);
    if (text == NULL)
        return config_out_of_memory(load->error);
    const ssize_t length = read_bytes(fd, text, SCENARIO_MAX_FILE_SIZE + 1);
    (void)snprintf(why, sizeof(why), "cannot be read: %s", strerror(errno));
    const int result =
        length < 0 ? fail_file(load, source, path, node, why) : read_source(load, source, path, text, (size_t)length);
    free(text);
    return result;
}

/* node: what includes it; NULL: the scenario's own. */
static int load_file(struct load *load, struct source *source, const char *path, const struct toml_node *node)
{
    char why[CONFIG_TEXT_SIZE];
    /* Not to wait for whoever may open the other end of a FIFO. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0) {
        (void)snprintf(why, sizeof(why), "cannot be opened: %s", strerror(errno));
        return fail_file(load, source, path, node, why);
    }
    const int result = load_open(load, source, path, node, fd);
    (void)close(fd);
    return result;
}

/* ---- The whole ---- */

/* "boot/smp.toml" gives "smp". */
static int name_after_file(struct scenario *scenario, const char *file, struct error *error)
{
    static const char suffix[] = ".toml";
    const char *slash = strrchr(file, '/');
    const char *base = slash != NULL ? slash + 1 : file;
    size_t length = strlen(base);

    if (length > strlen(suffix) && strcmp(base + length - strlen(suffix), suffix) == 0)
        length -= strlen(suffix);
    scenario->name = strndup(base, length);
    if (scenario->name == NULL)
        return config_out_of_memory(error);
    if (scenario_is_word(scenario->name))
        return 0;
    const struct scenario_position place = {.file = file};
    return scenario_fail_at(&place, "name", error, "is missing, and the file's name cannot be one; give it a name");
}

static int check_trouble(const struct scenario *scenario, struct error *error)
{
    const struct scenario_position place = {.file = scenario->files[0]};

    for (int kind = 0; kind < TROUBLE_KIND_COUNT; kind++) {
        if (scenario->allowed[kind] && scenario->expected[kind])
            return scenario_fail_at(&place, "expect-trouble", error, "\"%s\" is in allow, too; take it out there",
                                    trouble_name((enum trouble_kind)kind));
    }
    return 0;
}

static int check_machines(const struct load *load)
{
    for (size_t i = 0; i < load->scenario->case_count; i++) {
        if (scenario_check_machine(load->scenario, i, load->options, load->error) < 0)
            return -1;
    }
    return 0;
}

static int complete(const struct load *load, const char *file)
{
    struct scenario *scenario = load->scenario;
    const struct scenario_position place = {.file = file};

    if (scenario->name == NULL && name_after_file(scenario, file, load->error) < 0)
        return -1;
    if (scenario->step_count == 0)
        return scenario_fail_at(&place, "step", load->error,
                                "there is no step, so nothing is tested; write a [[step]]");
    if (check_trouble(scenario, load->error) < 0 || scenario_check_steps(scenario, load->error) < 0 ||
        scenario_make_cases(scenario, load->error) < 0)
        return -1;
    if (load->options != NULL && load->options->is_dry)
        return 0;
    if ((load->options == NULL || !load->options->may_lack_files) && scenario_check_files(scenario, load->error) < 0)
        return -1;
    return check_machines(load);
}

static int finish(struct load *load, int result, const char *file, struct scenario **ret_scenario)
{
    if (result == 0)
        result = complete(load, file);
    if (result < 0) {
        scenario_free(load->scenario);
        return -1;
    }
    *ret_scenario = load->scenario;
    return 0;
}

int scenario_load(const char *path, const struct scenario_options *options, struct scenario **ret_scenario,
                  struct error *error)
{
    struct source source = {.reader = {.timeout_ns = SCENARIO_DEFAULT_TIMEOUT_NS}};
    struct load load = {.scenario = calloc(1, sizeof(*load.scenario)), .options = options, .error = error};

    if (load.scenario == NULL)
        return config_out_of_memory(error);
    return finish(&load, load_file(&load, &source, path, NULL), path, ret_scenario);
}

int scenario_parse(const char *name, const char *text, size_t length, const struct scenario_options *options,
                   struct scenario **ret_scenario, struct error *error)
{
    struct source source = {.reader = {.timeout_ns = SCENARIO_DEFAULT_TIMEOUT_NS}};
    struct load load = {.scenario = calloc(1, sizeof(*load.scenario)), .options = options, .error = error};

    if (load.scenario == NULL)
        return config_out_of_memory(error);
    return finish(&load, read_source(&load, &source, name, text, length), name, ret_scenario);
}

void scenario_free(struct scenario *scenario)
{
    if (scenario == NULL)
        return;
    for (size_t i = 0; i < scenario->step_count; i++)
        scenario_step_free(&scenario->steps[i]);
    for (size_t i = 0; i < scenario->axis_count; i++)
        scenario_axis_free(&scenario->axes[i]);
    for (size_t i = 0; i < scenario->case_count; i++)
        free(scenario->cases[i].name);
    for (size_t i = 0; i < scenario->variable_count; i++) {
        free(scenario->variables[i].name);
        free(scenario->variables[i].value);
    }
    for (size_t i = 0; i < scenario->file_count; i++)
        free(scenario->files[i]);
    scenario_overrides_free(&scenario->overrides);
    scenario_text_free(&scenario->machine);
    scenario_texts_free(&scenario->ignored);
    free(scenario->steps);
    free(scenario->axes);
    free(scenario->cases);
    free(scenario->variables);
    free(scenario->name);
    free(scenario->description);
    free(scenario);
}
