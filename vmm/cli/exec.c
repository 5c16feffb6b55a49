#include "vmm/cli/exec.h"

#include "vmm/cli/exec_session.h"
#include "vmm/machine/outcome.h"

#include <inttypes.h>

/* Says why there is no status of the command's. */
static int fail(int status, const char *what, const char *text)
{
    fprintf(stderr, "quire: exec: %s%s\n", what, text);
    return status;
}

static int fail_to_answer(const struct exec_options *options)
{
    char text[256];

    (void)snprintf(text, sizeof(text),
                   "no agent answers in the guest; does quire-agent run there, and has it booted? "
                   "--wait has it more time than %" PRId64 " ms",
                   options->wait);
    return fail(EXIT_STATUS_HOST_FAILED, "", text);
}

int exec_run(const struct exec_options *options)
{
    struct exec_end end;
    char text[sizeof(end.text) + 8];

    exec_session_run(options, NULL, &end);
    (void)snprintf(text, sizeof(text), ": %s", end.text);
    switch (end.kind) {
    case EXEC_ENDED:
    case EXEC_SIGNALLED:
        return end.status;
    case EXEC_NOT_RUN:
        return fail(end.status, options->command_count > 0 ? options->command[0] : "sh", text);
    case EXEC_NO_ANSWER:
        return fail_to_answer(options);
    case EXEC_OUT_OF_TIME:
        return fail(EXIT_STATUS_OUT_OF_TIME, "out of time, and the command is ended", "");
    case EXEC_FAILED:
        return fail(end.error.kind == ERROR_CONFIG ? EXIT_STATUS_USAGE : EXIT_STATUS_HOST_FAILED, "", end.error.text);
    case EXEC_LOST:
    case EXEC_STOPPED:
        break;
    }
    return fail(EXIT_STATUS_HOST_FAILED, "what has become of the command is not known: ", end.text);
}
