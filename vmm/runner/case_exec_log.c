/*
 * What commands in the guest print, as a file for people.
 */
#include "vmm/runner/case_private.h"

#include "vmm/agent/client.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* What comes behind is counted and left out. */
static const uint64_t EXEC_LOG_MAX = 64u << 20;

/* A line of ours, which begins where lines do. */
__attribute__((format(printf, 2, 3))) static void write_line(struct case_run *run, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;

    va_start(arguments, format);
    const int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    if (run->exec_log_has_tail)
        case_file_write(&run->exec_log, "\n", 1);
    run->exec_log_has_tail = false;
    case_file_write(&run->exec_log, text, (size_t)length);
    case_file_flush(&run->exec_log);
    free(text);
}

void case_log_command(struct case_run *run, const char *command)
{
    struct error error;

    if (run->exec_log.file == NULL) {
        if (case_file_open(&run->exec_log, run->settings.folder, CASE_EXEC_LOG, EXEC_LOG_MAX, &error) < 0) {
            case_step_break(run, "%s", error.text);
            return;
        }
        case_attach(run, CASE_EXEC_LOG);
    }
    write_line(run, "[step %zu] %s\n", run->step + 1, command);
}

void case_log_output(struct case_run *run, const char *bytes, size_t length)
{
    case_file_write(&run->exec_log, bytes, length);
    if (length > 0)
        run->exec_log_has_tail = bytes[length - 1] != '\n';
}

void case_log_outcome(struct case_run *run, const struct agent_outcome *outcome)
{
    const size_t number = run->step + 1;

    if (outcome->kind == AGENT_OUTCOME_EXITED)
        write_line(run, "[step %zu] status %u\n", number, outcome->status);
    else if (outcome->kind == AGENT_OUTCOME_SIGNALLED)
        write_line(run, "[step %zu] signal %u (%s)\n", number, outcome->status, strsignal((int)outcome->status));
    else
        write_line(run, "[step %zu] %s\n", number, outcome->text);
}
