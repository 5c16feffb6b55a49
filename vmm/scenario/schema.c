#include "vmm/scenario/schema.h"

#include "vmm/config/text.h"

#include <string.h>

const char *const scenario_exit_names[] = {"power-off",      "reset", "panic", "triple-fault",
                                           "unhandled-exit", "crash", "any",   NULL};
const char *const scenario_ktap_names[] = {"console", "exec", NULL};

_Static_assert(SCENARIO_EXIT_ANY == 6, "order of scenario_exit_names");
_Static_assert(SCENARIO_KTAP_EXEC == 1, "order of scenario_ktap_names");

#define FIELD(field) .offset = offsetof(struct scenario, field)

static const struct scenario_key top_keys[] = {
    {"name", SCENARIO_TYPE_OTHER, .doc = "what reports call it; without it, the file's name without .toml"},
    {"description", SCENARIO_TYPE_OTHER, .doc = "what it is for, in a line"},
    {"machine", SCENARIO_TYPE_FILE, FIELD(machine),
     .doc = "the machine's configuration, a file as quire.toml(5) has it"},
    {"include", SCENARIO_TYPE_OTHER,
     .doc = "scenarios whose steps come first, and whose settings hold where none are here"},
    {"limit", SCENARIO_TYPE_TIME, FIELD(limit_ns), .doc = "what all steps together may take"},
    {"allow", SCENARIO_TYPE_TROUBLES, FIELD(allowed), .default_text = "[]",
     .doc = "kinds of trouble that do not make the test fail"},
    {"expect-trouble", SCENARIO_TYPE_TROUBLES, FIELD(expected), .default_text = "[]",
     .doc = "kinds of trouble that have to be seen"},
    {"ignore", SCENARIO_TYPE_PATTERNS, FIELD(ignored), .default_text = "[]",
     .doc = "patterns of messages that are no trouble, whatever they look like"},
    {"override", SCENARIO_TYPE_OTHER, .doc = "keys of the machine's configuration that are other here"},
    {"variables", SCENARIO_TYPE_OTHER, .doc = "variables that are set from the start"},
    {"defaults", SCENARIO_TYPE_OTHER, .doc = "what steps of this file have where they say nothing else"},
    {"matrix", SCENARIO_TYPE_OTHER, .doc = "axes; the test is run once for each combination"},
    {"step", SCENARIO_TYPE_OTHER, .is_required = true, .doc = "what is done, in this order"},
};

/* Read into a file's own defaults. */
static const struct scenario_key defaults_keys[] = {
    {"timeout", SCENARIO_TYPE_TIME, .default_text = "60s", .doc = "what a step may take"},
};

static const struct scenario_key matrix_keys[] = {
    {"axis", SCENARIO_TYPE_OTHER, .is_required = true, .doc = "its name, which is a variable as well"},
    {"key", SCENARIO_TYPE_OTHER, .doc = "the key of the machine's configuration that takes the values"},
    {"values", SCENARIO_TYPE_OTHER, .doc = "the values of key, each an entry"},
    {"entry", SCENARIO_TYPE_OTHER, .doc = "entries that say more than one value"},
};

#undef FIELD
#define FIELD(field) .offset = offsetof(struct scenario_entry, field)

static const struct scenario_key entry_keys[] = {
    {"name", SCENARIO_TYPE_OTHER, .is_required = true, .doc = "what the case's name has of it"},
    {"machine", SCENARIO_TYPE_FILE, FIELD(machine), .doc = "the machine's configuration for it"},
    {"override", SCENARIO_TYPE_OTHER, .doc = "keys of the machine's configuration that are other with it"},
};

#undef FIELD
#define FIELD(field) .offset = offsetof(struct scenario_step, field)
#define KIND .is_kind = true
#define WITH(kind) .kinds = 1u << SCENARIO_##kind
#define WITH2(a, b) .kinds = 1u << SCENARIO_##a | 1u << SCENARIO_##b

/* The first ones say the kind, in the order of enum scenario_step_kind. */
static const struct scenario_key step_keys[] = {
    {"expect", SCENARIO_TYPE_PATTERN, FIELD(what), WITH(EXPECT), KIND, .doc = "waits for a pattern on the console"},
    {"send", SCENARIO_TYPE_TEMPLATE, FIELD(what), WITH(SEND), KIND, .doc = "types a text on the console"},
    {"exec", SCENARIO_TYPE_TEMPLATE, FIELD(what), WITH(EXEC), KIND, .doc = "runs a command in the guest"},
    {"put", SCENARIO_TYPE_FILE_TEMPLATE, FIELD(what), WITH(PUT), KIND, .doc = "copies a file into the guest"},
    {"get", SCENARIO_TYPE_GUEST_PATH, FIELD(what), WITH(GET), KIND,
     .doc = "copies a file of the guest to the artefacts"},
    {"ktap", SCENARIO_TYPE_KTAP, FIELD(source), WITH(KTAP), KIND, .doc = "reads results of tests in the guest"},
    {"power-button", SCENARIO_TYPE_TRUE, WITH(POWER_BUTTON), KIND, .doc = "presses the power button"},
    {"reset", SCENARIO_TYPE_TRUE, WITH(RESET), KIND, .doc = "resets the machine"},
    {"expect-exit", SCENARIO_TYPE_EXIT, WITH(EXPECT_EXIT), KIND, .doc = "waits for the machine's end"},
    {"pause", SCENARIO_TYPE_TRUE, WITH(PAUSE), KIND, .doc = "stops the vCPUs"},
    {"resume", SCENARIO_TYPE_TRUE, WITH(RESUME), KIND, .doc = "lets the vCPUs run again"},
    {"gdb", SCENARIO_TYPE_GDB, WITH(GDB), KIND, .doc = "runs a gdb script against the guest"},
    {"sleep", SCENARIO_TYPE_TIME, FIELD(duration_ns), WITH(SLEEP), KIND, .doc = "waits"},

    {"timeout", SCENARIO_TYPE_TIME, FIELD(timeout_ns), .doc = "what the step may take; without it, that of [defaults]"},
    {"message", SCENARIO_TYPE_TEMPLATE, FIELD(message), .doc = "what a failure of the step means"},
    {"not", SCENARIO_TYPE_PATTERNS, FIELD(forbidden), WITH(EXPECT), .doc = "patterns that must not be there before"},
    {"raw", SCENARIO_TYPE_BOOLEAN, FIELD(is_raw), WITH(SEND), .default_text = "false",
     .doc = "whether the text is sent as it is, without Enter"},
    {"status", SCENARIO_TYPE_STATUS, WITH2(EXEC, KTAP), .default_text = "0", .doc = "the exit status that is right"},
    {"output", SCENARIO_TYPE_PATTERN, FIELD(output), WITH2(EXEC, GDB), .doc = "a pattern that is in what it prints"},
    {"error", SCENARIO_TYPE_PATTERN, FIELD(errors), WITH(EXEC), .doc = "a pattern that is in its standard error"},
    {"input", SCENARIO_TYPE_TEMPLATE, FIELD(input), WITH(EXEC), .doc = "what it is given as standard input"},
    {"capture", SCENARIO_TYPE_VARIABLE, FIELD(capture), WITH(EXEC), .doc = "a variable that keeps what it prints"},
    {"to", SCENARIO_TYPE_OTHER, FIELD(to), WITH2(PUT, GET), .doc = "the copy's path, or name among the artefacts"},
    {"mode", SCENARIO_TYPE_MODE, FIELD(mode), WITH(PUT), .default_text = "0644", .doc = "the copy's permissions"},
    {"command", SCENARIO_TYPE_TEMPLATE, FIELD(what), WITH(KTAP), .doc = "the command, with \"exec\""},
};

_Static_assert(sizeof(step_keys) / sizeof(step_keys[0]) > SCENARIO_STEP_KIND_COUNT, "kinds come first");

#define KEYS(its_keys) .keys = its_keys, .count = sizeof(its_keys) / sizeof(its_keys[0])

const struct scenario_table scenario_top_table = {.name = "", .title = "", KEYS(top_keys)};
const struct scenario_table scenario_defaults_table = {.name = "defaults", .title = "[defaults]", KEYS(defaults_keys)};
const struct scenario_table scenario_matrix_table = {.name = "matrix", .title = "[[matrix]]", KEYS(matrix_keys)};
const struct scenario_table scenario_entry_table = {
    .name = "matrix.entry", .title = "[[matrix.entry]]", KEYS(entry_keys)};
const struct scenario_table scenario_step_table = {.name = "step", .title = "[[step]]", KEYS(step_keys)};

const struct scenario_table *const scenario_tables[] = {
    &scenario_top_table,   &scenario_defaults_table, &scenario_matrix_table,
    &scenario_entry_table, &scenario_step_table,     NULL,
};

const char *scenario_step_name(enum scenario_step_kind kind)
{
    return step_keys[kind].name;
}

const struct scenario_key *scenario_table_find(const struct scenario_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->keys[i].name, name) == 0)
            return &table->keys[i];
    }
    return NULL;
}

const struct scenario_key *scenario_table_nearest(const struct scenario_table *table, uint32_t kinds, const char *name)
{
    const struct scenario_key *nearest = NULL;
    unsigned best = config_text_tolerance(name) + 1;

    for (size_t i = 0; i < table->count; i++) {
        const struct scenario_key *key = &table->keys[i];
        const unsigned distance = config_text_distance(name, key->name);
        if (distance >= best || (kinds != 0 && key->kinds != 0 && (key->kinds & kinds) == 0))
            continue;
        best = distance;
        nearest = key;
    }
    return nearest;
}

bool scenario_key_fits(const struct scenario_key *key, enum scenario_step_kind kind)
{
    return key->kinds == 0 || (key->kinds & 1u << kind) != 0;
}
