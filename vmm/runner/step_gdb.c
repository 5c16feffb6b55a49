/*
 * Steps that gdb takes.
 */
#include "vmm/runner/case_private.h"

#include "vmm/runner/child.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of gdb-STEP.log. */
static const uint64_t LOG_MAX = 16 << 20;

/* Of its command line. */
enum { WORDS_MAX = 16 };

struct step_gdb {
    struct child *child;
    bool has_ended;
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

static void fail(struct case_run *run)
{
    case_step_fail(run, "gdb ended with status %d", child_status(run->at.gdb->child));
}

static void on_end(void *context)
{
    struct case_run *run = context;
    struct step_gdb *gdb = run->at.gdb;
    const int status = child_status(gdb->child);

    gdb->has_ended = true;
    if (status == 127)
        case_step_break(run, "gdb cannot be started; is it installed?");
    else if (status != 0)
        case_set_timer(run, CASE_TIMER_WAKE, clock_now_ns() + CASE_LOST_NS);
    else
        case_take_match(run, &gdb->output, "what gdb printed");
    if (status != 0 || run->step_status != RESULT_NOT_RUN)
        case_show_output(run, &gdb->output, "gdb");
    if (status == 0)
        case_step_pass(run);
    case_advance(run);
}

/* ---- Its command line ---- */

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

/*
 * What gdb is told, as one script: of options, it goes on behind those that fail, and its status is that of the last.
 * So a gdb that finds no machine would pass.
 */
static void write_commands(struct case_run *run, FILE *out)
{
    const struct scenario_step *step = case_step(run);

    (void)fprintf(out, "target remote %s\n", run->gdb_address + strlen("unix:"));
    if (step->what.text != NULL)
        (void)fprintf(out, "source %s\n", step->what.text);
    for (size_t i = 0; i < step->commands.count; i++) {
        char *command = case_expand(run, &step->commands.items[i]);
        if (command == NULL)
            return;
        /* Behind it would be a command that the guest may have thought of. */
        if (strchr(command, '\n') != NULL)
            case_step_fail(run,
                           "command %zu of gdb's has more than one line; write several commands, and no variable "
                           "with a newline in it",
                           i + 1);
        (void)fprintf(out, "%s\n", command);
        free(command);
    }
}

/* Its path, which the caller frees; NULL: the step has failed. */
static char *write_script(struct case_run *run)
{
    struct case_file file;
    struct error error;
    char name[32];
    char *path = NULL;

    (void)snprintf(name, sizeof(name), "gdb-%zu.gdb", run->step + 1);
    if (case_file_open(&file, run->settings.folder, name, 0, &error) < 0) {
        case_step_break(run, "%s", error.text);
        return NULL;
    }
    write_commands(run, file.file);
    if (case_file_close(&file) < 0 || asprintf(&path, "%s/%s", run->settings.folder, name) < 0) {
        case_step_break(run, "%s/%s cannot be written", run->settings.folder, name);
        return NULL;
    }
    case_attach(run, name);
    return path;
}

/* A vmlinux that gdb can read, with its symbols; NULL: there is none. */
static char *find_symbols(const struct case_run *run)
{
    char *file = case_find_symbols(run);
    const char *name = file != NULL ? strrchr(file, '/') : NULL;

    if (name != NULL && strncmp(name, "/System.map", strlen("/System.map")) == 0) {
        free(file);
        return NULL;
    }
    return file;
}

static void fill(const struct case_run *run, struct words *words, const char *script)
{
    static const char *const first[] = {"gdb", "-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off"};
    char *symbols = find_symbols(run);

    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
        add(words, strdup(first[i]));
    if (symbols != NULL)
        add(words, symbols);
    add(words, strdup("-x"));
    add(words, strdup(script));
}

static void start_with(struct case_run *run, const char *script)
{
    const struct child_handlers handlers = {.output = on_output, .ended = on_end, .context = run};
    char *items[WORDS_MAX + 1] = {NULL};
    struct words words = {.items = items};
    struct error error;

    fill(run, &words, script);
    if (words.has_failed)
        case_step_break(run, "out of memory");
    else if ((run->at.gdb->child =
                  child_start(run->loop, (const char *const *)words.items, false, &handlers, &error)) == NULL)
        case_step_break(run, "%s", error.text);
    while (words.count > 0)
        free(words.items[--words.count]);
}

static void start(struct case_run *run)
{
    char *script = write_script(run);

    if (run->step_status == RESULT_NOT_RUN)
        start_with(run, script);
    free(script);
}

/* ---- The step ---- */

/* When the machine listens, or has not ended with gdb. */
static void wake_gdb(struct case_run *run)
{
    if (run->at.gdb->has_ended)
        fail(run);
    else if (case_listens(run->gdb_address))
        start(run);
    else
        case_set_timer(run, CASE_TIMER_WAKE, clock_now_ns() + CASE_RETRY_NS);
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

/* A gdb that has looked at a crash lets the machine end when it goes. */
static bool outlives_machine(const struct case_run *run)
{
    const struct step_gdb *gdb = run->at.gdb;

    return gdb != NULL && gdb->child != NULL && !gdb->has_ended;
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

const struct step_kind step_gdb = {
    .begin = begin_gdb, .wake = wake_gdb, .describe = describe_gdb, .outlives = outlives_machine, .end = end_gdb};
