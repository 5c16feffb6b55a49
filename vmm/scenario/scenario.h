/*
 * A scenario: what one boot test does with a machine, as quire.scenario(5) describes it, read from a TOML file into
 * plain data. Everything that can be known before anything boots is checked here: names, patterns, files, variables,
 * and the machine of every case.
 *
 * Errors are ERROR_CONFIG (out of memory: ERROR_HOST) and say
 *     FILE:LINE:COLUMN: table.key: what is wrong; remedy
 *
 * Threads: one at a time for each struct scenario; once it is loaded, any number may read it.
 */
#ifndef VMM_SCENARIO_SCENARIO_H
#define VMM_SCENARIO_SCENARIO_H

#include "memory/support/error.h"
#include "vmm/config/config.h"
#include "vmm/scenario/trouble.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCENARIO_MAX_FILE_SIZE (1u << 20)
/* Files in all, and how deep they include each other. */
#define SCENARIO_MAX_FILES 64u
#define SCENARIO_MAX_INCLUDES 16u
#define SCENARIO_MAX_STEPS 4096u
#define SCENARIO_MAX_AXES 16u
#define SCENARIO_MAX_CASES 4096u
/* Of names of cases, without the NUL. */
#define SCENARIO_MAX_NAME 64u
/* What a step may take where nothing says otherwise. */
#define SCENARIO_DEFAULT_TIMEOUT_NS 60000000000ull
#define SCENARIO_MAX_TIME_NS (7ull * 24 * 3600 * 1000000000)

struct scenario_position {
    /* The scenario's. */
    const char *file;
    /* Counted from 1; 0: not given. */
    unsigned line;
    unsigned column;
};

/* text NULL: not given. */
struct scenario_text {
    char *text;
    struct scenario_position position;
};

struct scenario_texts {
    struct scenario_text *items;
    size_t count;
};

/* In the order in which help and the manual have them. */
enum scenario_step_kind {
    SCENARIO_EXPECT,
    SCENARIO_SEND,
    SCENARIO_EXEC,
    SCENARIO_PUT,
    SCENARIO_GET,
    SCENARIO_KTAP,
    SCENARIO_POWER_BUTTON,
    SCENARIO_RESET,
    SCENARIO_EXPECT_EXIT,
    SCENARIO_PAUSE,
    SCENARIO_RESUME,
    SCENARIO_GDB,
    SCENARIO_SLEEP,
    SCENARIO_STEP_KIND_COUNT,
};

/* "expect", and so on: the key that says the kind. */
const char *scenario_step_name(enum scenario_step_kind kind);

enum scenario_ktap_source { SCENARIO_KTAP_CONSOLE, SCENARIO_KTAP_EXEC };

enum scenario_exit {
    SCENARIO_EXIT_POWER_OFF,
    SCENARIO_EXIT_RESET,
    SCENARIO_EXIT_PANIC,
    SCENARIO_EXIT_TRIPLE_FAULT,
    SCENARIO_EXIT_UNHANDLED,
    /* any of the three above */
    SCENARIO_EXIT_CRASH,
    SCENARIO_EXIT_ANY,
    /* the machine ends with scenario_step.status, as quire run would */
    SCENARIO_EXIT_STATUS,
};

/*
 * Texts of what is marked with a T may have variables in them, for scenario_expand(); of what is marked with a P the
 * result is a pattern.
 */
struct scenario_step {
    enum scenario_step_kind kind;
    struct scenario_position position;
    uint64_t timeout_ns;
    /* What to say if it fails; T */
    struct scenario_text message;
    /*
     * expect: what is expected (TP); send: what is sent (T); exec: the command (T); put: the file here, for
     * scenario_expand_path() (T);
     * get: the file in the guest (T); ktap with exec: the command (T); gdb: the script, absolute, or NULL
     */
    struct scenario_text what;
    /* expect: what must not come before (TP) */
    struct scenario_texts forbidden;
    /* send: no Enter behind it, and newlines as they are */
    bool is_raw;
    /* exec; ktap with exec; expect-exit with SCENARIO_EXIT_STATUS */
    bool any_status;
    uint32_t status;
    /* exec: on standard output (TP) and error (TP), for standard input (T); gdb: in what gdb prints (TP) */
    struct scenario_text output;
    struct scenario_text errors;
    struct scenario_text input;
    /* exec: the variable that keeps standard output, without its last newline */
    struct scenario_text capture;
    /* put: the file in the guest (T); get: a file's name among the artefacts (T) */
    struct scenario_text to;
    /* put: permissions */
    uint32_t mode;
    enum scenario_ktap_source source;
    enum scenario_exit exit;
    /* gdb: commands (T), where there is no script */
    struct scenario_texts commands;
    /* sleep */
    uint64_t duration_ns;
};

/* A key of the machine's configuration and its value, as config_set() takes them. */
struct scenario_override {
    char *key;
    char *text;
    /* "FILE:LINE:COLUMN", for the front of messages */
    char *origin;
};

struct scenario_overrides {
    struct scenario_override *items;
    size_t count;
};

/* A variable that is set from the start. */
struct scenario_variable {
    char *name;
    char *value;
    struct scenario_position position;
};

/* One of the values of an axis. */
struct scenario_entry {
    char *name;
    struct scenario_position position;
    /* Absolute; NULL: the scenario's. */
    struct scenario_text machine;
    struct scenario_overrides overrides;
};

/* One [[matrix]]. Its name is a variable, with the name of the case's entry. */
struct scenario_axis {
    char *name;
    struct scenario_position position;
    struct scenario_entry *entries;
    size_t entry_count;
};

/* One way through the matrix: an entry of each axis. */
struct scenario_case {
    /* "boot" or "boot[kernel=6.1,vcpus=4]": the same in every run */
    char *name;
    size_t entries[SCENARIO_MAX_AXES];
};

struct scenario {
    char *name;
    char *description;
    /* Of all files, as they were given; the scenario's own first. */
    char *files[SCENARIO_MAX_FILES];
    size_t file_count;

    /* Absolute; NULL: the machine is made of defaults and overrides. */
    struct scenario_text machine;
    struct scenario_overrides overrides;
    struct scenario_variable *variables;
    size_t variable_count;
    /* What all of it may take; 0: what the steps may. */
    uint64_t limit_ns;
    /* By kind: what does not make the test fail, and what has to happen (and does not, either). */
    bool allowed[TROUBLE_KIND_COUNT];
    bool expected[TROUBLE_KIND_COUNT];
    /* Trouble that is none, by its line from the words of trouble on (TP, with what a case starts with) */
    struct scenario_texts ignored;

    struct scenario_step *steps;
    size_t step_count;
    struct scenario_axis *axes;
    size_t axis_count;
    /* At least one. */
    struct scenario_case *cases;
    size_t case_count;
};

struct scenario_options {
    /* "key=value", applied to each machine after the scenario's own: --set. */
    const char *const *assignments;
    size_t assignment_count;
    /* Whether files that are named exist, and machines are right, is not looked at. */
    bool is_dry;
    /* What machines boot and steps put need not be there yet: a case that misses it is broken when it comes to it. */
    bool may_lack_files;
};

/*
 * Reads a file and those that it includes. options may be NULL. 0 with *ret_scenario, for scenario_free(), or -1 with
 * *error: the first mistake.
 */
int scenario_load(const char *path, const struct scenario_options *options, struct scenario **ret_scenario,
                  struct error *error);

/* As scenario_load(), with the file's length bytes at text given; name stands for its path. */
int scenario_parse(const char *name, const char *text, size_t length, const struct scenario_options *options,
                   struct scenario **ret_scenario, struct error *error);

/* NULL is fine. */
void scenario_free(struct scenario *scenario);

/*
 * Whether the machine has a socket for the guest's agent, or for gdb: steps need it, or the machine's configuration
 * asks for it. Where it is, is up to who runs the machine: the configuration need not say so.
 */
bool scenario_wants_agent(const struct scenario *scenario, const struct config *config);
bool scenario_wants_gdb(const struct scenario *scenario, const struct config *config);

/*
 * The machine of a case, into an uninitialised *config, for config_free() whatever is returned. 0, or -1 with *error.
 * The scenario must live as long as the configuration.
 */
int scenario_case_config(const struct scenario *scenario, size_t index, const struct scenario_options *options,
                         struct config *config, struct error *error);

/*
 * Whether a case is one of those that a filter asks for: words separated by commas, all of which fit. "AXIS=ENTRY" fits
 * a case with that entry, any other word a case whose name it is part of; "*" and "?" stand for what they do in shells.
 */
bool scenario_case_fits(const struct scenario *scenario, size_t index, const char *filter);

/* ---- Variables, while a case runs ---- */

/* What variables have in a run. Zeroed at first. */
struct scenario_values {
    struct scenario_value {
        char *name;
        char *text;
        /* By the scenario, and not by what a guest has printed. */
        bool is_given;
    } * items;
    size_t count;
};

/* Sets those that a case starts with: the scenario's own and the axes'. -1: out of memory. */
int scenario_values_begin(struct scenario_values *values, const struct scenario *scenario, size_t case_index);
/* Copies length bytes of text, without NULs in them. -1: out of memory. */
int scenario_values_set(struct scenario_values *values, const char *name, const char *text, size_t length);
/* NULL: not set. */
const char *scenario_values_get(const struct scenario_values *values, const char *name);
void scenario_values_free(struct scenario_values *values);

/*
 * text with the variables' values in the place of "${name}"; those that are not set are empty (a group of a pattern
 * that took no part). In a pattern a value stands for its letters. The caller frees it; NULL: out of memory.
 */
char *scenario_expand(const struct scenario_values *values, const char *text, bool is_pattern);

/*
 * The path of a file of the host's, absolute: a relative one starts at the folder of the scenario's file. A value that
 * a guest has printed leads to no other folder. The caller frees it; NULL with *error: it would (ERROR_CONFIG), or out
 * of memory (ERROR_HOST).
 */
char *scenario_expand_path(const struct scenario_values *values, const struct scenario_text *text, struct error *error);
/* Whether what a guest has printed is in it. */
bool scenario_is_guests(const struct scenario_values *values, const char *text);

#endif
