/*
 * Steps that the guest's agent takes: commands, and files to and fro.
 */
#include "vmm/runner/case_private.h"

#include "vmm/agent/client.h"
#include "vmm/config/text.h"
#include "vmm/scenario/read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

/* What a guest may have us store with one step. */
static const uint64_t FILE_MAX = 4ull << 30;

struct step_agent {
    struct case_run *run;
    struct agent_client *client;
    /* What is in the loop, of the client's. */
    int fd;
    bool is_lost;
    /* exec: what is written to it, and how much of that has been. */
    char *input;
    size_t input_size;
    size_t input_used;
    struct line_match output;
    struct line_match errors;
    struct ktap *ktap;
    /* put: what is read; get: what is written. */
    int file;
    char *path;
    /* get: what the copy is called when it is whole. */
    char *name;
    uint64_t size;
};

/* Whether it is a command: the others copy a file. */
static bool is_command(const struct scenario_step *step)
{
    return step->kind != SCENARIO_PUT && step->kind != SCENARIO_GET;
}

/* ---- What comes ---- */

static void write_file(struct step_agent *agent, const uint8_t *bytes, size_t length)
{
    size_t written = 0;

    if (length > FILE_MAX - agent->size) {
        case_step_fail(agent->run, "the file is larger than %" PRIu64 " bytes", FILE_MAX);
        return;
    }
    agent->size += length;
    while (written < length) {
        const ssize_t some = write(agent->file, bytes + written, length - written);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0) {
            case_step_break(agent->run, "%s cannot be written: %s", agent->path, strerror(errno));
            return;
        }
        written += (size_t)some;
    }
}

static void on_output(void *context, enum agent_stream stream, const uint8_t *bytes, size_t length)
{
    struct step_agent *agent = context;

    if (is_command(case_step(agent->run)))
        case_log_output(agent->run, (const char *)bytes, length);
    if (stream == AGENT_STDOUT && agent->file >= 0)
        write_file(agent, bytes, length);
    else if (stream == AGENT_STDOUT && agent->ktap != NULL)
        ktap_bytes(agent->ktap, (const char *)bytes, length);
    else
        line_match_feed(stream == AGENT_STDOUT ? &agent->output : &agent->errors, (const char *)bytes, length);
    agent_client_passed_on(agent->client, stream, length);
}

/* ---- What goes ---- */

/* More of the file into input. */
static void read_file(struct step_agent *agent)
{
    const ssize_t got = read(agent->file, agent->input, AGENT_DATA_MAX);

    if (got < 0 && errno != EINTR)
        case_step_break(agent->run, "%s cannot be read: %s", agent->path, strerror(errno));
    agent->input_size = got > 0 ? (size_t)got : 0;
    agent->input_used = 0;
    if (got == 0) {
        agent_client_end_input(agent->client);
        close(agent->file);
        agent->file = -1;
    }
}

static void send_input(struct step_agent *agent)
{
    const bool is_put = case_step(agent->run)->kind == SCENARIO_PUT;

    while (agent->input != NULL && agent_client_state(agent->client) == AGENT_CLIENT_RUNNING) {
        if (is_put && agent->file >= 0 && agent->input_used == agent->input_size)
            read_file(agent);
        if (agent->input_used == agent->input_size)
            break;
        const size_t written = agent_client_write(agent->client, (const uint8_t *)agent->input + agent->input_used,
                                                  agent->input_size - agent->input_used);
        if (written == 0)
            return;
        agent->input_used += written;
    }
    if (!is_put && agent->input != NULL && agent->input_used == agent->input_size &&
        agent_client_state(agent->client) == AGENT_CLIENT_RUNNING) {
        agent_client_end_input(agent->client);
        free(agent->input);
        agent->input = NULL;
    }
}

/* ---- The end ---- */

/* Of a command whose tests have failed already it is one more thing to know. */
__attribute__((format(printf, 2, 3))) static void fail_status(struct case_run *run, const char *format, ...)
{
    char text[128];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (run->step_status != RESULT_NOT_RUN)
        case_step_add_detail(run, "%s", text);
    case_step_fail(run, "%s", text);
}

static void take_status(struct case_run *run, const struct agent_outcome *outcome)
{
    const struct scenario_step *step = case_step(run);
    const bool is_copy = !is_command(step);

    if (step->any_status)
        return;
    if (outcome->kind == AGENT_OUTCOME_SIGNALLED)
        fail_status(run, "signal %u (%s) ended the command", outcome->status, strsignal((int)outcome->status));
    else if (is_copy && outcome->status != 0)
        case_step_fail(run, "the agent could not do it");
    else if (!is_copy && outcome->status != step->status)
        fail_status(run, "the command's status is %u, and not %" PRIu32, outcome->status, step->status);
}

static void finish_exec(struct step_agent *agent)
{
    struct case_run *run = agent->run;
    const char *name = case_step(run)->capture.text;
    size_t length = agent->output.kept_used;

    case_take_match(run, &agent->output, "standard output");
    case_take_match(run, &agent->errors, "standard error");
    if (name == NULL || run->step_status != RESULT_NOT_RUN)
        return;
    if (agent->output.total > LINE_MATCH_KEPT_MAX) {
        case_step_fail(run, "the command has printed %" PRIu64 " bytes, and a variable takes %u at most",
                       agent->output.total, LINE_MATCH_KEPT_MAX);
        return;
    }
    if (length > 0 && agent->output.kept[length - 1] == '\n')
        length--;
    if (scenario_values_set(&run->values, name, length > 0 ? agent->output.kept : "", length) < 0)
        case_step_break(run, "out of memory");
}

/*
 * Nobody hears how a command ends that ends its guest, or has it start again; so it may come to any end. But a guest
 * that ended before there was an agent has not been ended by the command.
 */
static bool may_be_lost(const struct step_agent *agent)
{
    const struct scenario_step *step = case_step(agent->run);

    return step->kind == SCENARIO_EXEC && step->any_status && agent_client_was_answered(agent->client);
}

static void finish_ktap(struct step_agent *agent)
{
    case_take_ktap(agent->run, agent->ktap);
    if (!ktap_passed(agent->ktap))
        case_step_fail(agent->run, "not all tests have passed");
}

/* The file has its name when it is whole. */
static void finish_get(struct step_agent *agent)
{
    struct case_run *run = agent->run;
    char *attachment = NULL;
    char *whole = NULL;

    if (run->step_status != RESULT_NOT_RUN)
        return;
    if (asprintf(&attachment, "files/%s", agent->name) < 0 ||
        asprintf(&whole, "%s/files/%s", run->settings.folder, agent->name) < 0 || rename(agent->path, whole) < 0)
        case_step_break(run, "%s cannot be written: %s", agent->path, strerror(errno));
    else
        case_attach(run, attachment);
    free(attachment);
    free(whole);
}

static void finish(struct step_agent *agent)
{
    struct case_run *run = agent->run;
    const struct agent_outcome *outcome = agent_client_outcome(agent->client);

    if (is_command(case_step(run)))
        case_log_outcome(run, outcome);
    if (outcome->kind == AGENT_OUTCOME_LOST && may_be_lost(agent)) {
        finish_exec(agent);
        case_step_pass(run);
        return;
    }
    if (outcome->kind == AGENT_OUTCOME_LOST) {
        agent->is_lost = true;
        case_set_timer(run, CASE_TIMER_WAKE, clock_now_ns() + CASE_LOST_NS);
        return;
    }
    if (outcome->kind == AGENT_OUTCOME_FAILED)
        case_step_fail(run, "%s", outcome->text);
    /* Which tests have failed says more than a status that follows from it. */
    if (agent->ktap != NULL)
        finish_ktap(agent);
    if (outcome->kind != AGENT_OUTCOME_FAILED)
        take_status(run, outcome);
    if (case_step(run)->kind == SCENARIO_EXEC)
        finish_exec(agent);
    else if (case_step(run)->kind == SCENARIO_GET)
        finish_get(agent);
    if (run->step_status != RESULT_NOT_RUN) {
        case_show_output(run, &agent->output, "standard output");
        case_show_output(run, &agent->errors, "standard error");
    }
    case_step_pass(run);
}

static void leave_loop(struct step_agent *agent)
{
    if (agent->fd >= 0)
        event_loop_remove(agent->run->loop, agent->fd);
    agent->fd = -1;
}

static void on_agent(void *context, uint32_t events)
{
    struct step_agent *agent = context;
    struct case_run *run = agent->run;

    (void)events;
    agent_client_serve(agent->client);
    send_input(agent);
    if (agent_client_state(agent->client) == AGENT_CLIENT_OVER) {
        leave_loop(agent);
        finish(agent);
    } else {
        const short wanted = agent_client_events(agent->client);
        event_loop_modify(run->loop, agent->fd,
                          ((wanted & POLLIN) != 0 ? EPOLLIN : 0u) | ((wanted & POLLOUT) != 0 ? EPOLLOUT : 0u));
    }
    case_advance(run);
}

/* ---- The jobs ---- */

static int begin_exec_job(struct step_agent *agent, const struct scenario_step *step, struct error *error)
{
    struct case_run *run = agent->run;
    struct agent_exec *exec = calloc(1, sizeof(*exec));
    char *command = case_expand(run, &step->what);
    int result = -1;

    if (exec != NULL && command != NULL) {
        case_log_command(run, command);
        *exec = (struct agent_exec){.cwd = "", .argc = 3, .argv = {"/bin/sh", "-c", command}};
        result = agent_client_exec(agent->client, exec, error);
    } else {
        error_set(error, ERROR_HOST, "out of memory");
    }
    free(command);
    free(exec);
    if (result == 0 && agent->input == NULL)
        agent_client_end_input(agent->client);
    return result;
}

static int begin_put_job(struct step_agent *agent, const struct scenario_step *step, struct error *error)
{
    char *to = case_expand(agent->run, &step->to);

    if (to == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    const int result = agent_client_put(agent->client, &(struct agent_file){.mode = step->mode, .path = to}, error);
    free(to);
    return result;
}

static int begin_get_job(struct step_agent *agent, const struct scenario_step *step, struct error *error)
{
    char *from = case_expand(agent->run, &step->what);

    if (from == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    const int result = agent_client_get(agent->client, from, error);
    free(from);
    return result;
}

static int begin_any_job(struct step_agent *agent, struct error *error)
{
    const struct scenario_step *step = case_step(agent->run);

    if (step->kind == SCENARIO_PUT)
        return begin_put_job(agent, step, error);
    if (step->kind == SCENARIO_GET)
        return begin_get_job(agent, step, error);
    return begin_exec_job(agent, step, error);
}

/* ---- The connection ---- */

static void connect_agent(struct case_run *run)
{
    struct step_agent *agent = run->at.agent;
    const struct agent_client_handlers handlers = {.output = on_output, .context = agent};
    struct error error;

    if (case_listens(run->agent_address))
        agent->client = agent_client_connect(run->agent_address, &handlers, &error);
    if (agent->client == NULL) {
        case_set_timer(run, CASE_TIMER_WAKE, clock_now_ns() + CASE_RETRY_NS);
        return;
    }
    agent->fd = agent_client_fd(agent->client);
    if (begin_any_job(agent, &error) < 0)
        case_step_fail(run, "%s", error.text);
    else if (event_loop_add(run->loop, agent->fd, EPOLLIN | EPOLLOUT, on_agent, agent, &error) < 0)
        case_step_break(run, "%s", error.text);
}

static void wake_agent(struct case_run *run)
{
    if (run->at.agent->is_lost)
        case_step_fail(run, "%s", agent_client_outcome(run->at.agent->client)->text);
    else
        connect_agent(run);
}

/* The machine has ended: so has the command, if it had begun. */
static void look_at_exec(struct case_run *run)
{
    struct step_agent *agent = run->at.agent;

    if (!run->machine_has_ended || agent->client == NULL || !may_be_lost(agent))
        return;
    finish_exec(agent);
    case_step_pass(run);
}

static void describe_agent(struct case_run *run, char *text, size_t size)
{
    const struct step_agent *agent = run->at.agent;

    if (agent == NULL)
        return;
    if (agent->client == NULL || agent_client_state(agent->client) == AGENT_CLIENT_WAITING)
        (void)snprintf(text, size, "no agent answers in the guest; does quire-agent run there?");
    else
        (void)snprintf(text, size, "the agent has not come to the end of it");
    case_show_output(run, &agent->output, "standard output");
    case_show_output(run, &agent->errors, "standard error");
}

static void end_agent(struct case_run *run)
{
    struct step_agent *agent = run->at.agent;

    if (agent == NULL)
        return;
    run->at.agent = NULL;
    leave_loop(agent);
    agent_client_destroy(agent->client);
    pattern_free(agent->output.pattern);
    pattern_free(agent->errors.pattern);
    line_match_free(&agent->output);
    line_match_free(&agent->errors);
    ktap_free(agent->ktap);
    if (agent->file >= 0)
        close(agent->file);
    /* What has not come whole. */
    if (agent->path != NULL && case_step(run)->kind == SCENARIO_GET)
        (void)unlink(agent->path);
    free(agent->input);
    free(agent->path);
    free(agent->name);
    free(agent);
}

/* ---- The steps ---- */

/* NULL: the step is broken. */
static struct step_agent *begin_agent(struct case_run *run)
{
    struct step_agent *agent = calloc(1, sizeof(*agent));

    if (agent == NULL) {
        case_step_break(run, "out of memory");
        return NULL;
    }
    agent->run = run;
    agent->fd = -1;
    agent->file = -1;
    run->at.agent = agent;
    return agent;
}

static void connect_unless_failed(struct case_run *run)
{
    if (run->step_status == RESULT_NOT_RUN)
        connect_agent(run);
}

static void begin_exec(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);
    struct step_agent *agent = begin_agent(run);

    if (agent == NULL)
        return;
    if (step->output.text != NULL)
        agent->output.pattern = case_compile(run, &step->output);
    if (step->errors.text != NULL)
        agent->errors.pattern = case_compile(run, &step->errors);
    if (step->input.text != NULL && (agent->input = case_expand(run, &step->input)) != NULL)
        agent->input_size = strlen(agent->input);
    connect_unless_failed(run);
}

static void begin_exec_ktap(struct case_run *run)
{
    struct step_agent *agent = begin_agent(run);
    struct error error;

    if (agent != NULL && (agent->ktap = ktap_create(&error)) == NULL)
        case_step_break(run, "%s", error.text);
    connect_unless_failed(run);
}

/* One that the guest has named may be none, or not be there: then that is no fault of the host's. */
static void open_file_to_put(struct step_agent *agent, const struct scenario_text *text)
{
    struct case_run *run = agent->run;
    struct stat status;
    struct error error;

    agent->path = scenario_expand_path(&run->values, text, &error);
    if (agent->path == NULL && error.kind == ERROR_CONFIG)
        case_step_fail(run, "%s", error.text);
    else if (agent->path == NULL)
        case_step_break(run, "%s", error.text);
    if (agent->path == NULL)
        return;
    agent->file = open(agent->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (agent->file >= 0 && fstat(agent->file, &status) == 0 && S_ISREG(status.st_mode))
        return;
    const char *why = agent->file < 0 ? strerror(errno) : "not a regular file";
    if (scenario_is_guests(&run->values, text->text))
        case_step_fail(run, "%s cannot be read: %s", agent->path, why);
    else
        case_step_break(run, "%s cannot be read: %s", agent->path, why);
}

static void begin_put(struct case_run *run)
{
    const struct scenario_step *step = case_step(run);
    struct step_agent *agent = begin_agent(run);

    if (agent == NULL)
        return;
    agent->input = malloc(AGENT_DATA_MAX);
    if (agent->input == NULL)
        case_step_break(run, "out of memory");
    else
        open_file_to_put(agent, &step->what);
    connect_unless_failed(run);
}

/* Where copies are, apart from the case's own files. */
static bool make_folder(struct case_run *run)
{
    char *folder = NULL;

    if (asprintf(&folder, "%s/files", run->settings.folder) < 0 || (mkdir(folder, 0777) < 0 && errno != EEXIST))
        case_step_break(run, "no folder for copies: %s", strerror(errno));
    free(folder);
    return run->step_status == RESULT_NOT_RUN;
}

static void begin_get(struct case_run *run)
{
    struct step_agent *agent = begin_agent(run);
    char shown[CONFIG_TEXT_SIZE];
    const char *name;

    if (agent == NULL || (name = agent->name = case_expand(run, &case_step(run)->to)) == NULL)
        return;
    if (!scenario_is_word(name))
        case_step_fail(run, "%s is no name for a copy; give it one with \"to\"",
                       config_text_quote(shown, name, strlen(name)));
    /* Not beside the copies, which may have any name. */
    else if (asprintf(&agent->path, "%s/get.partial", run->settings.folder) < 0)
        agent->path = NULL;
    if (run->step_status != RESULT_NOT_RUN || !make_folder(run))
        return;
    agent->file = agent->path != NULL ? open(agent->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    if (agent->file < 0)
        case_step_break(run, "the copy cannot be made: %s", strerror(errno));
    connect_unless_failed(run);
}

const struct step_kind step_exec = {
    .begin = begin_exec, .look = look_at_exec, .wake = wake_agent, .describe = describe_agent, .end = end_agent};
const struct step_kind step_exec_ktap = {
    .begin = begin_exec_ktap, .wake = wake_agent, .describe = describe_agent, .end = end_agent};
const struct step_kind step_put = {
    .begin = begin_put, .wake = wake_agent, .describe = describe_agent, .end = end_agent};
const struct step_kind step_get = {
    .begin = begin_get, .wake = wake_agent, .describe = describe_agent, .end = end_agent};
