/*
 * Steps that gdb takes.
 */
#include "vmm/runner/case_private.h"

#include "vmm/runner/child.h"
#include "vmm/runner/symbols.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of gdb-STEP.log. */
static const uint64_t LOG_MAX = 16 << 20;

struct step_gdb {
    struct child *child;
    struct line_match output;
    struct case_file log;
    char name[32];
};

static void on_output(void *context, enum child_stream stream, const char *bytes, size_t length)
{
    struct case_run *run = context;

    (void)stream;
    case_file_write(&run->at.gdb->log, bytes, length);
    line_match_feed(&run->at.gdb->output, bytes, length);
}

static void on_end(void *context)
{
    struct case_run *run = context;
    struct step_gdb *gdb = run->at.gdb;
    const int status = child_status(gdb->child);

    if (status == 127)
        case_step_break(run, "gdb cannot be started; is it installed?");
    else if (status != 0)
        case_step_fail(run, "gdb ended with status %d", status);
    case_take_match(run, &gdb->output, "what gdb printed");
    if (run->step_status != RESULT_NOT_RUN)
        case_show_output(run, &gdb->output, "gdb");
    case_step_pass(run);
    case_advance(run);
}

/* ---- Its command line ---- */

enum { WORDS_MAX = 16 };

struct words {
    char **items;
    size_t count;
    bool has_failed;
};

static void add(struct words *words, char *word)
{
    if (word == NULL)
        words->has_failed = true;
    words->items[words->count++] = word;
}

static void add_target(struct words *words, const char *address)
{
    char *word = NULL;

    add(words, strdup("-ex"));
    if (asprintf(&word, "target remote %s", address) < 0)
        word = NULL;
    add(words, word);
}

/* A vmlinux that gdb can read, with its symbols; NULL: there is none. */
static char *find_symbols(const struct case_run *run)
{
    char *file = run->settings.symbols != NULL ? strdup(run->settings.symbols)
                 : run->kernel != NULL         ? symbols_find(run->kernel)
                                               : NULL;
    const char *name = file != NULL ? strrchr(file, '/') : NULL;

    if (name != NULL && strncmp(name, "/System.map", strlen("/System.map")) == 0) {
        free(file);
        return NULL;
    }
    return file;
}

/*
 * The path of what gdb is to do, for free(). A list of commands becomes a script, because that ends with the first that
 * fails. NULL: out of memory, or the step is broken.
 */
static char *find_script(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);
    struct case_file script = {0};
    struct error error;
    char *path = NULL;
    char name[32];

    if (step->what.text != NULL)
        return strdup(step->what.text);
    (void)snprintf(name, sizeof(name), "gdb-%zu.gdb", run->step + 1);
    if (case_file_open(&script, run->settings.folder, name, 0, &error) < 0) {
        case_step_break(run, "%s", error.text);
        return NULL;
    }
    case_attach(run, name);
    for (size_t i = 0; i < step->commands.count; i++) {
        char *command = case_expand(run, &step->commands.items[i]);
        (void)fprintf(script.file, "%s\n", command != NULL ? command : "");
        free(command);
    }
    if (case_file_close(&script) < 0)
        case_step_break(run, "%s/%s cannot be written", run->settings.folder, name);
    return asprintf(&path, "%s/%s", run->settings.folder, name) < 0 ? NULL : path;
}

static void fill(struct case_run *run, struct words *words)
{
    static const char *const first[] = {"gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off"};
    char *symbols = find_symbols(run);

    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
        add(words, strdup(first[i]));
    if (symbols != NULL)
        add(words, symbols);
    add_target(words, run->gdb_address + strlen("unix:"));
    add(words, strdup("-x"));
    add(words, find_script(run));
}

static void start(struct case_run *run)
{
    const struct child_handlers handlers = {.output = on_output, .ended = on_end, .context = run};
    struct words words = {.items = calloc(WORDS_MAX, sizeof(char *))};
    struct error error;

    if (words.items == NULL) {
        case_step_break(run, "out of memory");
        return;
    }
    fill(run, &words);
    if (words.has_failed)
        case_step_break(run, "out of memory");
    else if (run->step_status == RESULT_NOT_RUN &&
             (run->at.gdb->child =
                  child_start(run->loop, (const char *const *)words.items, false, &handlers, &error)) == NULL)
        case_step_break(run, "%s", error.text);
    while (words.count > 0)
        free(words.items[--words.count]);
    free(words.items);
}

/* ---- The step ---- */

/* When the machine listens. */
static void wake_gdb(struct case_run *run)
{
    if (access(run->gdb_address + strlen("unix:"), F_OK) == 0)
        start(run);
    else
        case_set_timer(run, CASE_TIMER_WAKE, case_now_ns() + CASE_RETRY_NS);
}

static void begin_gdb(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);
    struct step_gdb *gdb = calloc(1, sizeof(*gdb));
    struct error error;

    if (gdb == NULL) {
        case_step_break(run, "out of memory");
        return;
    }
    run->at.gdb = gdb;
    if (step->output.text != NULL)
        gdb->output.pattern = case_compile(run, &step->output);
    (void)snprintf(gdb->name, sizeof(gdb->name), "gdb-%zu.log", run->step + 1);
    if (case_file_open(&gdb->log, run->settings.folder, gdb->name, LOG_MAX, &error) < 0)
        case_step_break(run, "%s", error.text);
    else
        case_attach(run, gdb->name);
    if (run->step_status == RESULT_NOT_RUN)
        wake_gdb(run);
}

static void describe_gdb(struct case_run *run, char *text, size_t size)
{
    (void)snprintf(text, size, "gdb has not come to its end");
    if (run->at.gdb != NULL)
        case_show_output(run, &run->at.gdb->output, "gdb");
}

static void end_gdb(struct case_run *run)
{
    struct step_gdb *gdb = run->at.gdb;

    if (gdb == NULL)
        return;
    run->at.gdb = NULL;
    child_destroy(gdb->child);
    pattern_free(gdb->output.pattern);
    line_match_free(&gdb->output);
    (void)case_file_close(&gdb->log);
    free(gdb);
}

const struct step_kind step_gdb = {.begin = begin_gdb, .wake = wake_gdb, .describe = describe_gdb, .end = end_gdb};
