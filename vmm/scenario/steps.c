#include "vmm/scenario/steps.h"

#include "vmm/config/place.h"
#include "vmm/config/text.h"
#include "vmm/scenario/pattern.h"
#include "vmm/scenario/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reading ---- */

static const char KINDS_LISTED[] =
    "expect, send, exec, put, get, ktap, power-button, reset, expect-exit, pause, resume, "
    "gdb and sleep";

/* Which kind of step a table is: the one key that says so. */
static int find_kind(const struct scenario_reader *reader, const struct toml_node *node, enum scenario_step_kind *kind)
{
    const struct toml_node *found = NULL;

    for (size_t i = 0; i < node->count; i++) {
        const struct toml_node *child = &node->children[i];
        const struct scenario_key *key = scenario_key_of(&scenario_step_table, child);
        if (key == NULL || !key->is_kind)
            continue;
        if (found != NULL)
            return scenario_fail_key(reader, child, "step", "is both %s and %s; make two steps of it", found->key,
                                     child->key);
        found = child;
        *kind = (enum scenario_step_kind)(key - scenario_step_table.keys);
    }
    if (found != NULL)
        return 0;
    /* A kind that is misspelt is the likeliest reason. */
    for (size_t i = 0; i < node->count; i++) {
        if (scenario_key_of(&scenario_step_table, &node->children[i]) == NULL)
            return scenario_fail_unknown(reader, &scenario_step_table, 0, &node->children[i]);
    }
    return scenario_fail(reader, node, "step", "does nothing; write one of %s", KINDS_LISTED);
}

static int fail_misplaced(const struct scenario_reader *reader, const struct scenario_key *key,
                          enum scenario_step_kind kind, const struct toml_node *node)
{
    char name[SCENARIO_KEY_SIZE];
    char kinds[80] = "";

    for (unsigned i = 0; i < SCENARIO_STEP_KIND_COUNT; i++) {
        if ((key->kinds & 1u << i) != 0)
            (void)snprintf(kinds + strlen(kinds), sizeof(kinds) - strlen(kinds), "%s%s", kinds[0] != '\0' ? " or " : "",
                           scenario_step_name((enum scenario_step_kind)i));
    }
    return scenario_fail_key(reader, node, scenario_key_name(&scenario_step_table, key->name, name),
                             "goes with %s, not with %s; take it out", kinds, scenario_step_name(kind));
}

/* "to" of put is in the guest; of get, among the artefacts. */
static int read_to(const struct scenario_reader *reader, const struct toml_node *node, struct scenario_step *step)
{
    return scenario_read_as(reader, "step.to",
                            step->kind == SCENARIO_PUT ? SCENARIO_TYPE_GUEST_PATH : SCENARIO_TYPE_ARTEFACT, node,
                            &step->to);
}

static int read_keys(const struct scenario_reader *reader, const struct toml_node *node, struct scenario_step *step)
{
    for (size_t i = 0; i < node->count; i++) {
        const struct toml_node *child = &node->children[i];
        const struct scenario_key *key = scenario_key_of(&scenario_step_table, child);
        if (key == NULL)
            return scenario_fail_unknown(reader, &scenario_step_table, 1u << step->kind, child);
        if (!scenario_key_fits(key, step->kind))
            return fail_misplaced(reader, key, step->kind, child);
        if (scenario_read_value(reader, &scenario_step_table, key, child, step) < 0)
            return -1;
        if (strcmp(key->name, "to") == 0 && read_to(reader, child, step) < 0)
            return -1;
    }
    return 0;
}

/* The artefact is called as the file in the guest is. */
static int name_artefact(const struct scenario_reader *reader, const struct toml_node *node, struct scenario_step *step)
{
    const char *slash = strrchr(step->what.text, '/');
    const char *base = slash != NULL ? slash + 1 : step->what.text;

    if (!scenario_is_word(base) && !template_has_variables(base))
        return scenario_fail(reader, node, "step.to", "is missing; say what the file is called among the artefacts");
    step->to = (struct scenario_text){strdup(base), step->what.position};
    return step->to.text != NULL ? 0 : config_out_of_memory(reader->error);
}

/* There is no command that these could be about. */
static int check_console_ktap(const struct scenario_reader *reader, const struct toml_node *node)
{
    static const char *const of_commands[] = {"command", "status"};
    char full[SCENARIO_KEY_SIZE];

    for (size_t i = 0; i < sizeof(of_commands) / sizeof(of_commands[0]); i++) {
        const struct toml_node *child = scenario_child(node, of_commands[i]);
        if (child != NULL)
            return scenario_fail(reader, child, scenario_key_name(&scenario_step_table, of_commands[i], full),
                                 "goes with ktap = \"exec\"; take it out, or read from there");
    }
    return 0;
}

/* What a step of its kind has to have. */
static int complete_step(const struct scenario_reader *reader, const struct toml_node *node, struct scenario_step *step)
{
    if (step->kind == SCENARIO_PUT && step->to.text == NULL)
        return scenario_fail(reader, node, "step.to", "is missing; say where in the guest the file goes");
    if (step->kind == SCENARIO_GET && step->to.text == NULL)
        return name_artefact(reader, node, step);
    if (step->kind != SCENARIO_KTAP)
        return 0;
    if (step->source == SCENARIO_KTAP_EXEC && step->what.text == NULL)
        return scenario_fail(reader, node, "step.command", "is missing; ktap = \"exec\" reads what a command prints");
    return step->source == SCENARIO_KTAP_CONSOLE ? check_console_ktap(reader, node) : 0;
}

static int read_step(const struct scenario_reader *reader, const struct toml_node *node, struct scenario_step *step)
{
    step->position = scenario_position_of(reader, node);
    step->mode = 0644;
    if (find_kind(reader, node, &step->kind) < 0 || read_keys(reader, node, step) < 0 ||
        complete_step(reader, node, step) < 0)
        return -1;
    if (step->timeout_ns == 0)
        step->timeout_ns = reader->timeout_ns;
    return 0;
}

int scenario_read_steps(const struct scenario_reader *reader, const struct toml_node *node)
{
    struct scenario *scenario = reader->scenario;

    if (scenario_check_tables(reader, "step", node, scenario_step_table.title) < 0)
        return -1;
    for (size_t i = 0; i < node->count; i++) {
        if (scenario->step_count == SCENARIO_MAX_STEPS)
            return scenario_fail(reader, &node->children[i], "step", "there are more than 4096 steps; take some out");
        struct scenario_step *step =
            scenario_grow(reader, (void **)&scenario->steps, &scenario->step_count, sizeof(*step));
        if (step == NULL || read_step(reader, &node->children[i], step) < 0)
            return -1;
    }
    return 0;
}

void scenario_step_free(struct scenario_step *step)
{
    scenario_text_free(&step->message);
    scenario_text_free(&step->what);
    scenario_text_free(&step->output);
    scenario_text_free(&step->errors);
    scenario_text_free(&step->input);
    scenario_text_free(&step->capture);
    scenario_text_free(&step->to);
    scenario_texts_free(&step->forbidden);
    scenario_texts_free(&step->commands);
}

/* ---- Variables ---- */

/* The names that are set at some step, borrowed or copied: NULL where there is none. */
struct names {
    char (*items)[PATTERN_NAME_SIZE];
    size_t count;
};

struct checker {
    const struct scenario *scenario;
    struct error *error;
    struct names set;
    /* What steps further on set, for the message. */
    struct names later;
};

static bool has_name(const struct names *names, const char *name, size_t length)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strlen(names->items[i]) == length && memcmp(names->items[i], name, length) == 0)
            return true;
    }
    return false;
}

static int add_name(const struct checker *checker, struct names *names, const char *name)
{
    if (has_name(names, name, strlen(name)))
        return 0;
    char(*grown)[PATTERN_NAME_SIZE] = reallocarray(names->items, names->count + 1, sizeof(*grown));
    if (grown == NULL)
        return config_out_of_memory(checker->error);
    names->items = grown;
    (void)snprintf(grown[names->count++], sizeof(*grown), "%s", name);
    return 0;
}

static const char *nearest_name(const struct names *names, const char *name)
{
    const char *nearest = NULL;
    unsigned best = config_text_tolerance(name) + 1;

    for (size_t i = 0; i < names->count; i++) {
        const unsigned distance = config_text_distance(name, names->items[i]);
        if (distance < best) {
            best = distance;
            nearest = names->items[i];
        }
    }
    return nearest;
}

static int fail_not_set(const struct checker *checker, const struct scenario_text *text,
                        const struct scenario_table *table, const char *key, const struct template_piece *piece)
{
    char name[PATTERN_NAME_SIZE];
    char full[SCENARIO_KEY_SIZE];

    (void)snprintf(name, sizeof(name), "%.*s", (int)piece->length, piece->text);
    (void)scenario_key_name(table, key, full);
    const char *nearest = nearest_name(&checker->set, name);
    if (table == &scenario_top_table)
        return scenario_fail_at(&text->position, full, checker->error,
                                "\"${%s}\" is not set from the start; set it in [variables]", name);
    if (has_name(&checker->later, name, piece->length))
        return scenario_fail_at(&text->position, full, checker->error, "\"${%s}\" is set only by %s; move that up",
                                name, table == &scenario_step_table ? "this step or a later one" : "a step");
    if (nearest != NULL)
        return scenario_fail_at(&text->position, full, checker->error,
                                "\"${%s}\" is never set; did you mean \"${%s}\"?", name, nearest);
    return scenario_fail_at(
        &text->position, full, checker->error,
        "\"${%s}\" is never set; capture it with \"(?<%s>...)\" in a pattern, or set it in [variables]", name, name);
}

static int check_uses(const struct checker *checker, const struct scenario_text *text,
                      const struct scenario_table *table, const char *key)
{
    const char *at = text->text;

    if (at == NULL)
        return 0;
    for (;;) {
        const struct template_piece piece = template_next(&at);
        if (piece.kind == TEMPLATE_END)
            return 0;
        if (piece.kind == TEMPLATE_VARIABLE && !has_name(&checker->set, piece.text, piece.length))
            return fail_not_set(checker, text, table, key, &piece);
    }
}

static int check_list_uses(const struct checker *checker, const struct scenario_texts *texts,
                           const struct scenario_table *table, const char *key)
{
    for (size_t i = 0; i < texts->count; i++) {
        if (check_uses(checker, &texts->items[i], table, key) < 0)
            return -1;
    }
    return 0;
}

/* Whether the kind's own key holds a text with variables. */
static bool has_template(const struct scenario_step *step)
{
    return step->kind != SCENARIO_GDB;
}

static int check_step_uses(const struct checker *checker, const struct scenario_step *step)
{
    const struct scenario_table *table = &scenario_step_table;
    const struct {
        const struct scenario_text *text;
        const char *key;
    } texts[] = {
        {has_template(step) ? &step->what : NULL,
         step->kind == SCENARIO_KTAP ? "command" : scenario_step_name(step->kind)},
        {&step->to, "to"},
        {&step->output, "output"},
        {&step->errors, "error"},
        {&step->input, "input"},
        {&step->message, "message"},
    };

    if (check_list_uses(checker, &step->forbidden, table, "not") < 0 ||
        check_list_uses(checker, &step->commands, table, "gdb") < 0)
        return -1;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].text != NULL && check_uses(checker, texts[i].text, table, texts[i].key) < 0)
            return -1;
    }
    return 0;
}

static const struct scenario_axis *find_axis(const struct scenario *scenario, const char *name)
{
    for (size_t i = 0; i < scenario->axis_count; i++) {
        if (strcmp(scenario->axes[i].name, name) == 0)
            return &scenario->axes[i];
    }
    return NULL;
}

static int set_name(const struct checker *checker, struct names *names, const struct scenario_text *text,
                    const char *key, const char *name)
{
    char full[SCENARIO_KEY_SIZE];

    if (find_axis(checker->scenario, name) != NULL)
        return scenario_fail_at(&text->position, scenario_key_name(&scenario_step_table, key, full), checker->error,
                                "sets \"%s\", which an axis of the matrix is called; take another name", name);
    return add_name(checker, names, name);
}

/* The groups of a pattern; what variables in it have is of no matter for them. */
static int set_groups(const struct checker *checker, struct names *names, const struct scenario_text *text,
                      const char *key)
{
    const struct scenario_values nothing = {0};
    struct pattern_failure failure;
    int result = 0;

    if (text->text == NULL)
        return 0;
    char *filled = scenario_expand(&nothing, text->text, true);
    struct pattern *pattern = filled != NULL ? pattern_compile(filled, &failure) : NULL;
    free(filled);
    if (pattern == NULL)
        return config_out_of_memory(checker->error);
    for (size_t i = 0; i < pattern_capture_count(pattern) && result == 0; i++)
        result = set_name(checker, names, text, key, pattern_capture_name(pattern, i));
    pattern_free(pattern);
    return result;
}

static int set_step_names(const struct checker *checker, struct names *names, const struct scenario_step *step)
{
    if (step->kind == SCENARIO_EXPECT && set_groups(checker, names, &step->what, "expect") < 0)
        return -1;
    if (set_groups(checker, names, &step->output, "output") < 0 ||
        set_groups(checker, names, &step->errors, "error") < 0)
        return -1;
    return step->capture.text != NULL ? set_name(checker, names, &step->capture, "capture", step->capture.text) : 0;
}

static int set_first_names(struct checker *checker)
{
    const struct scenario *scenario = checker->scenario;

    for (size_t i = 0; i < scenario->variable_count; i++) {
        const struct scenario_variable *variable = &scenario->variables[i];
        if (find_axis(scenario, variable->name) != NULL)
            return scenario_fail_at(&variable->position, "variables", checker->error,
                                    "\"%s\" is an axis of the matrix, too; take another name", variable->name);
        if (add_name(checker, &checker->set, variable->name) < 0)
            return -1;
    }
    for (size_t i = 0; i < scenario->axis_count; i++) {
        if (add_name(checker, &checker->set, scenario->axes[i].name) < 0)
            return -1;
    }
    return 0;
}

static int set_later_names(struct checker *checker)
{
    const struct scenario *scenario = checker->scenario;

    for (size_t i = 0; i < scenario->step_count; i++) {
        if (set_step_names(checker, &checker->later, &scenario->steps[i]) < 0)
            return -1;
    }
    return 0;
}

static int check_variables(struct checker *checker)
{
    const struct scenario *scenario = checker->scenario;

    if (set_first_names(checker) < 0 ||
        check_list_uses(checker, &scenario->ignored, &scenario_top_table, "ignore") < 0 || set_later_names(checker) < 0)
        return -1;
    for (size_t i = 0; i < scenario->step_count; i++) {
        if (check_step_uses(checker, &scenario->steps[i]) < 0 ||
            set_step_names(checker, &checker->set, &scenario->steps[i]) < 0)
            return -1;
    }
    return 0;
}

/* ---- The order ---- */

struct progress {
    bool is_paused;
    bool has_ended;
};

bool scenario_step_needs_agent(const struct scenario_step *step)
{
    return step->kind == SCENARIO_EXEC || step->kind == SCENARIO_PUT || step->kind == SCENARIO_GET ||
           (step->kind == SCENARIO_KTAP && step->source == SCENARIO_KTAP_EXEC);
}

static bool needs_running_guest(const struct scenario_step *step)
{
    return scenario_step_needs_agent(step) || step->kind == SCENARIO_EXPECT_EXIT;
}

static int check_order(const struct scenario_step *step, struct progress *progress, struct error *error)
{
    const char *name = scenario_step_name(step->kind);

    if (progress->has_ended)
        return scenario_fail_at(&step->position, "step", error,
                                "%s comes behind expect-exit, when the machine has ended; move it up", name);
    if (progress->is_paused && (needs_running_guest(step) || step->kind == SCENARIO_PAUSE))
        return scenario_fail_at(&step->position, "step", error, "%s while the machine is paused; put a resume in front",
                                name);
    if (!progress->is_paused && step->kind == SCENARIO_RESUME)
        return scenario_fail_at(&step->position, "step", error,
                                "resume while the machine runs; put a pause in front, or take it out");
    if (step->kind == SCENARIO_PAUSE || step->kind == SCENARIO_RESUME)
        progress->is_paused = step->kind == SCENARIO_PAUSE;
    progress->has_ended = step->kind == SCENARIO_EXPECT_EXIT;
    return 0;
}

int scenario_check_steps(const struct scenario *scenario, struct error *error)
{
    struct checker checker = {.scenario = scenario, .error = error};
    struct progress progress = {0};
    int result = 0;

    for (size_t i = 0; i < scenario->step_count && result == 0; i++)
        result = check_order(&scenario->steps[i], &progress, error);
    if (result == 0)
        result = check_variables(&checker);
    free(checker.set.items);
    free(checker.later.items);
    return result;
}

/* ---- Files ---- */

/* Whether it has variables, and has the same in each run. */
static bool is_known_file(const struct checker *checker, const struct scenario_step *step)
{
    const char *at = step->what.text;

    if (step->kind != SCENARIO_PUT || !template_has_variables(at))
        return false;
    for (;;) {
        const struct template_piece piece = template_next(&at);
        if (piece.kind == TEMPLATE_END)
            return true;
        if (piece.kind == TEMPLATE_VARIABLE && has_name(&checker->later, piece.text, piece.length))
            return false;
    }
}

static int check_file(const struct checker *checker, const struct scenario_values *values,
                      const struct scenario_text *text)
{
    char shown[CONFIG_TEXT_SIZE];
    char *expanded = scenario_expand(values, text->text, false);
    char *path = scenario_expand_path(values, text, checker->error);
    int result = -1;

    if (expanded != NULL && path != NULL)
        result = scenario_check_file(&text->position, "step.put", config_text_quote(shown, expanded, strlen(expanded)),
                                     path, checker->error);
    else
        (void)config_out_of_memory(checker->error);
    free(expanded);
    free(path);
    return result;
}

static int check_files_of_case(const struct checker *checker, size_t index)
{
    const struct scenario *scenario = checker->scenario;
    struct scenario_values values = {0};
    int result = scenario_values_begin(&values, scenario, index);

    if (result < 0)
        (void)config_out_of_memory(checker->error);
    for (size_t i = 0; i < scenario->step_count && result == 0; i++) {
        if (is_known_file(checker, &scenario->steps[i]))
            result = check_file(checker, &values, &scenario->steps[i].what);
    }
    scenario_values_free(&values);
    return result;
}

int scenario_check_files(const struct scenario *scenario, struct error *error)
{
    struct checker checker = {.scenario = scenario, .error = error};
    int result = set_later_names(&checker);

    for (size_t i = 0; i < scenario->case_count && result == 0; i++)
        result = check_files_of_case(&checker, i);
    free(checker.later.items);
    return result;
}
