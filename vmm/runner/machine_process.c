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
    /* What --status-fd has said so far. */
    char line[sizeof(struct machine_end)];
    size_t line_used;
};

bool machine_end_is_hosts(const struct machine_end *end)
{
    return end->status == EXIT_STATUS_USAGE || end->status == EXIT_STATUS_HOST_FAILED;
}

static void on_output(void *context, enum child_stream stream, const char *bytes, size_t length)
{
    struct machine_process *process = context;

    if (stream == CHILD_STDOUT) {
        process->handlers.console(process->handlers.context, bytes, length);
    } else if (stream == CHILD_STDERR) {
        process->handlers.log(process->handlers.context, bytes, length);
    } else {
        const size_t room = sizeof(process->line) - 1 - process->line_used;
        const size_t taken = length < room ? length : room;
        memcpy(process->line + process->line_used, bytes, taken);
        process->line_used += taken;
    }
}

/* "NAME STATUS TEXT" */
static void read_line(struct machine_process *process)
{
    struct machine_end *end = &process->end;
    int text_at = 0;
    int status;

    process->line[process->line_used] = '\0';
    process->line[strcspn(process->line, "\n")] = '\0';
    end->status = child_status(process->child);
    const bool has_said = sscanf(process->line, "%31s %d %n", end->name, &status, &text_at) == 2 && text_at > 0;
    if (has_said && (status == end->status || process->was_killed)) {
        end->status = status;
        (void)snprintf(end->text, sizeof(end->text), "%s", process->line + text_at);
        return;
    }
    (void)snprintf(end->name, sizeof(end->name), "killed");
    if (has_said)
        (void)snprintf(end->text, sizeof(end->text), "the machine's process ended with status %d after it had said: %s",
                       end->status, process->line + text_at);
    else
        (void)snprintf(end->text, sizeof(end->text),
                       "the machine's process ended with status %d, and could not say why", end->status);
    end->status = EXIT_STATUS_HOST_FAILED;
}

static void on_end(void *context)
{
    struct machine_process *process = context;

    read_line(process);
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
