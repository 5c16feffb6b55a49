#include "vmm/runner/case_private.h"

#include "vmm/maps/maps.h"
#include "vmm/runner/symbols.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of quire.log: a machine says little, unless its log level has it say more. */
static const uint64_t LOG_MAX = 8 << 20;

/* ---- What it prints ---- */

static void on_bytes(void *context, const char *bytes, size_t length)
{
    struct case_run *run = context;

    case_file_write(&run->console_log, bytes, length);
}

static void write_timed(struct case_run *run, const struct console_line *line)
{
    char front[32];
    const int used = snprintf(front, sizeof(front), "%.6f%c", (double)(line->at_ns - run->started_ns) / NS_PER_S,
                              line->continues ? '+' : ' ');

    case_file_write(&run->console_timed, front, (size_t)used);
    case_file_write(&run->console_timed, line->text, line->length);
    case_file_write(&run->console_timed, "\n", 1);
}

static void on_line(void *context, const struct console_line *line)
{
    struct case_run *run = context;

    write_timed(run, line);
    if (run->console_ktap != NULL)
        ktap_line(run->console_ktap, line->text, line->length);
}

static void on_console(void *context, const char *bytes, size_t length)
{
    struct case_run *run = context;
    const uint64_t now = clock_now_ns();

    console_watch_feed(run->watch, now, bytes, length);
    case_set_timer(run, CASE_TIMER_QUIET, now + CONSOLE_QUIET_NS);
    case_advance(run);
}

static void on_log(void *context, const char *bytes, size_t length)
{
    struct case_run *run = context;

    case_file_write(&run->machine_log, bytes, length);
}

static void on_waits(void *context)
{
    struct case_run *run = context;

    run->machine_waits = true;
    case_advance(run);
}

static void on_end(void *context)
{
    struct case_run *run = context;

    run->machine_has_ended = true;
    run->machine_is_gone = true;
    console_watch_finish(run->watch);
    case_advance(run);
}

/* ---- Its start ---- */

static int watch_console(struct case_run *run, struct error *error)
{
    const struct scenario_texts *texts = &run->scenario->ignored;
    struct console_watch_options options = {.sink = on_bytes, .line = on_line, .opaque = run};
    struct pattern_failure failure;

    run->ignored = calloc(texts->count + 1, sizeof(struct pattern *));
    if (run->ignored == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (; run->ignored_count < texts->count; run->ignored_count++) {
        char *text = scenario_expand(&run->values, texts->items[run->ignored_count].text, true);
        struct pattern *pattern = text != NULL ? pattern_compile(text, &failure) : NULL;
        if (pattern == NULL) {
            error_set(error, text != NULL && !failure.out_of_memory ? ERROR_CONFIG : ERROR_HOST, "ignore: %s: %s",
                      text != NULL ? text : "a pattern", text != NULL ? failure.text : "out of memory");
            free(text);
            return -1;
        }
        free(text);
        run->ignored[run->ignored_count] = pattern;
    }
    options.ignored = run->ignored;
    options.ignored_count = run->ignored_count;
    run->watch = console_watch_create(&options, error);
    return run->watch != NULL ? 0 : -1;
}

static bool reads_ktap(const struct scenario *scenario)
{
    for (size_t i = 0; i < scenario->step_count; i++)
        if (scenario->steps[i].kind == SCENARIO_KTAP && scenario->steps[i].source == SCENARIO_KTAP_CONSOLE)
            return true;
    return false;
}

static int set_socket(struct case_run *run, struct config *config, const char *key, const char *kind, char **address,
                      struct error *error)
{
    if (asprintf(address, "unix:%s/%zx-%s", run->settings.sockets, (size_t)(uintptr_t)run, kind) < 0) {
        *address = NULL;
        return error_set(error, ERROR_HOST, "out of memory");
    }
    return config_set(config, "quire test", key, *address, error);
}

/* What has the terminal is the console that is watched: a virtio console if the file says so, or the serial port. */
static int take_console(struct config *config, struct error *error)
{
    if (config_has_terminal_device(config))
        return 0;
    return config_set(config, "quire test", "serial.path", "", error) < 0
               ? -1
               : config_set(config, "quire test", "serial.backend", "stdio", error);
}

/* The console and the sockets are this process's, so that any number of machines of one file can run. */
static int adapt(struct case_run *run, struct config *config, struct error *error)
{
    if (take_console(config, error) < 0 ||
        set_socket(run, config, "control.listen", "control", &run->control_address, error) < 0)
        return -1;
    if (scenario_wants_agent(run->scenario, config) &&
        set_socket(run, config, "agent.listen", "agent", &run->agent_address, error) < 0)
        return -1;
    if ((run->settings.dumps || scenario_wants_gdb(run->scenario, config)) &&
        set_socket(run, config, "gdb.listen", "gdb", &run->gdb_address, error) < 0)
        return -1;
    /* A guest that has crashed is looked at before its machine ends, unless that is to start again. */
    if (!run->settings.dumps || config->machine.on_panic == CONFIG_ACTION_RESTART)
        return 0;
    return config_set(config, "quire test", "gdb.on-crash", "wait", error);
}

/* Writes a small file. */
static int write_file(const char *folder, const char *name, const void *content,
                      void (*write)(const void *content, FILE *out), struct error *error)
{
    struct case_file file;

    if (case_file_open(&file, folder, name, 0, error) < 0)
        return -1;
    write(content, file.file);
    return case_file_close(&file) < 0 ? error_set(error, ERROR_HOST, "%s/%s cannot be written", folder, name) : 0;
}

/* The same, as one of the case's. */
static int write_artefact(struct case_run *run, const char *name, const void *content,
                          void (*write)(const void *content, FILE *out), struct error *error)
{
    if (write_file(run->settings.folder, name, content, write, error) < 0)
        return -1;
    case_attach(run, name);
    return 0;
}

static void write_config(const void *config, FILE *out)
{
    config_print(config, out);
}

static void write_maps(const void *plan, FILE *out)
{
    maps_write_svg(plan, out);
}

/* The file that the machine runs from names sockets that nobody else has a use for, so it is no artefact. */
static int write_running(struct case_run *run, const struct config *config, struct error *error)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "%zx.toml", (size_t)(uintptr_t)run);
    if (asprintf(&run->machine_path, "%s/%s", run->settings.sockets, name) < 0) {
        run->machine_path = NULL;
        return error_set(error, ERROR_HOST, "out of memory");
    }
    return write_file(run->settings.sockets, name, config, write_config, error);
}

static int write_machine(struct case_run *run, struct config *config, struct error *error)
{
    struct memory_plan plan;

    if (write_artefact(run, "machine.toml", config, write_config, error) < 0 || adapt(run, config, error) < 0 ||
        write_running(run, config, error) < 0 || config_complete(config, error) < 0 ||
        config_check(config, error) < 0 || memory_plan_create(config, &plan, error) < 0)
        return -1;
    const int result = write_artefact(run, "maps.svg", &plan, write_maps, error);
    memory_plan_free(&plan);
    if (config->boot.kernel == NULL)
        return result;
    run->kernel = strdup(config->boot.kernel);
    return run->kernel != NULL ? result : error_set(error, ERROR_HOST, "out of memory");
}

static int open_files(struct case_run *run, struct error *error)
{
    const char *folder = run->settings.folder;

    if (case_file_open(&run->console_log, folder, "console.log", CASE_RUN_CONSOLE_MAX, error) < 0 ||
        case_file_open(&run->console_timed, folder, "console.timed", CASE_RUN_CONSOLE_MAX, error) < 0 ||
        case_file_open(&run->machine_log, folder, "quire.log", LOG_MAX, error) < 0)
        return -1;
    case_attach(run, "console.log");
    case_attach(run, "console.timed");
    case_attach(run, "quire.log");
    return 0;
}

int case_start_machine(struct case_run *run, struct error *error)
{
    const struct machine_process_handlers handlers = {
        .console = on_console, .log = on_log, .waits = on_waits, .ended = on_end, .context = run};
    struct config config = {0};
    int result = scenario_case_config(run->scenario, run->index, run->settings.options, &config, error);

    if (result == 0)
        result = write_machine(run, &config, error);
    config_free(&config);
    if (result < 0 || open_files(run, error) < 0 || watch_console(run, error) < 0)
        return -1;
    if (reads_ktap(run->scenario) && (run->console_ktap = ktap_create(error)) == NULL)
        return -1;
    run->machine = machine_process_start(run->loop, run->settings.quire, run->machine_path, &handlers, error);
    return run->machine != NULL ? 0 : -1;
}

/* ---- What others ask of it ---- */

bool case_listens(const char *address)
{
    return access(address + strlen("unix:"), F_OK) == 0;
}

char *case_find_symbols(const struct case_run *run)
{
    if (run->settings.symbols != NULL)
        return strdup(run->settings.symbols);
    return run->kernel != NULL ? symbols_find(run->kernel) : NULL;
}

/* ---- Its end ---- */

/* A machine that was killed leaves its sockets. */
static void remove_socket(char **address)
{
    if (*address != NULL)
        (void)unlink(*address + strlen("unix:"));
    free(*address);
    *address = NULL;
}

void case_end_machine(struct case_run *run)
{
    machine_process_destroy(run->machine);
    run->machine = NULL;
    if (run->machine_path != NULL)
        (void)unlink(run->machine_path);
    free(run->machine_path);
    run->machine_path = NULL;
    remove_socket(&run->agent_address);
    remove_socket(&run->control_address);
    remove_socket(&run->gdb_address);
    console_watch_free(run->watch);
    for (size_t i = 0; i < run->ignored_count; i++)
        pattern_free(run->ignored[i]);
    free(run->ignored);
    ktap_free(run->console_ktap);
    free(run->kernel);
    (void)case_file_close(&run->console_log);
    (void)case_file_close(&run->console_timed);
    (void)case_file_close(&run->machine_log);
    (void)case_file_close(&run->exec_log);
}
