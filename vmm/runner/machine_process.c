#include "vmm/runner/machine_process.h"

#include "vmm/machine/outcome.h"
#include "vmm/runner/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct machine_process {
    struct machine_process_handlers handlers;
    struct child *child;
    struct machine_end end;
    bool was_killed;
    /* What --status-fd has said last; and of its next line so far. */
    bool has_said;
    struct machine_end said;
    bool waits;
    char line[sizeof(struct machine_end) + sizeof(MACHINE_WAITS)];
    size_t line_used;
};

bool machine_end_is_hosts(const struct machine_end *end)
{
    return end->status == EXIT_STATUS_USAGE || end->status == EXIT_STATUS_HOST_FAILED;
}

/* "NAME STATUS TEXT", or the same behind "waits". */
static void take_line(struct machine_process *process)
{
    const bool waits = strncmp(process->line, MACHINE_WAITS, strlen(MACHINE_WAITS)) == 0;
    const char *line = process->line + (waits ? strlen(MACHINE_WAITS) : 0);
    struct machine_end said = {0};
    int text_at = 0;

    if (sscanf(line, "%31s %d %n", said.name, &said.status, &text_at) != 2 || text_at == 0)
        return;
    (void)snprintf(said.text, sizeof(said.text), "%s", line + text_at);
    process->said = said;
    process->has_said = true;
    process->waits = process->waits || waits;
}

static void end_line(struct machine_process *process)
{
    process->line[process->line_used] = '\0';
    process->line_used = 0;
    take_line(process);
}

static void on_status(struct machine_process *process, const char *bytes, size_t length)
{
    const bool waited = process->waits;

    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n')
            end_line(process);
        else if (process->line_used < sizeof(process->line) - 1)
            process->line[process->line_used++] = bytes[i];
    }
    if (!process->waits || waited || process->handlers.waits == NULL)
        return;
    process->end = process->said;
    process->handlers.waits(process->handlers.context);
}

static void on_output(void *context, enum child_stream stream, const char *bytes, size_t length)
{
    struct machine_process *process = context;

    if (stream == CHILD_STDOUT) {
        process->handlers.console(process->handlers.context, bytes, length);
    } else if (stream == CHILD_STDERR) {
        process->handlers.log(process->handlers.context, bytes, length);
    } else {
        on_status(process, bytes, length);
    }
}

static void conclude(struct machine_process *process)
{
    const int status = child_status(process->child);
    struct machine_end *end = &process->end;

    if (process->line_used > 0)
        end_line(process);
    if (process->has_said && (process->said.status == status || process->was_killed)) {
        *end = process->said;
        return;
    }
    *end = (struct machine_end){.name = "killed", .status = EXIT_STATUS_HOST_FAILED};
    if (process->has_said)
        (void)snprintf(end->text, sizeof(end->text),
                       "the machine's process ended with status %d after it had said: %.500s", status,
                       process->said.text);
    else
        (void)snprintf(end->text, sizeof(end->text),
                       "the machine's process ended with status %d, and could not say why", status);
}

static void on_end(void *context)
{
    struct machine_process *process = context;

    conclude(process);
    process->handlers.ended(process->handlers.context);
}

struct machine_process *machine_process_start(struct event_loop *loop, const char *quire, const char *file,
                                              const struct machine_process_handlers *handlers, struct error *error)
{
    struct machine_process *process = calloc(1, sizeof(*process));
    const struct child_handlers child_handlers = {.output = on_output, .ended = on_end, .context = process};
    const char *const argv[] = {quire, "run", "--status-fd", "3", "--", file, NULL};

    if (process == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    process->handlers = *handlers;
    process->child = child_start(loop, argv, true, &child_handlers, error);
    if (process->child != NULL)
        return process;
    free(process);
    return NULL;
}

int machine_process_type(struct machine_process *process, const char *bytes, size_t length, struct error *error)
{
    return child_write(process->child, bytes, length, error);
}

void machine_process_kill(struct machine_process *process)
{
    process->was_killed = true;
    child_kill(process->child);
}

const struct machine_end *machine_process_end(const struct machine_process *process)
{
    return &process->end;
}

void machine_process_destroy(struct machine_process *process)
{
    if (process == NULL)
        return;
    child_destroy(process->child);
    free(process);
}
