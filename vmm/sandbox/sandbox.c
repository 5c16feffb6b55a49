#include "vmm/sandbox/sandbox.h"

#include "vmm/sandbox/capabilities.h"
#include "vmm/sandbox/files.h"
#include "vmm/sandbox/filter.h"
#include "vmm/sandbox/violation.h"

#include <malloc.h>
#include <stdbool.h>

/* Few: guests' requests do not contend for memory, and each arena costs the process some of its own. */
enum { ARENA_MAX = 4 };

/* Constant once there are threads. */
static struct {
    enum config_seccomp mode;
    struct filter filters[SANDBOX_THREAD_COUNT];
} sandbox = {.mode = CONFIG_SECCOMP_OFF};

static int build_filters(bool log_only, unsigned kinds, struct error *error)
{
    for (unsigned kind = 0; kind < SANDBOX_THREAD_COUNT; kind++) {
        if ((kinds & 1u << kind) == 0)
            continue;
        if (filter_build((enum sandbox_thread)kind, log_only, &sandbox.filters[kind], error) < 0) {
            sandbox_release();
            return -1;
        }
    }
    return 0;
}

int sandbox_prepare(enum config_seccomp mode, unsigned kinds, const struct log *log, struct error *error)
{
    /* Where many threads use malloc, it would look up how many arenas suit the host, in a file that nobody may open. */
    (void)mallopt(M_ARENA_MAX, ARENA_MAX);
    /* And how the host overcommits, before an arena gives memory back; large blocks have none, and do go back. */
    (void)mallopt(M_TRIM_THRESHOLD, -1);
    if (capabilities_drop(error) < 0)
        return -1;
    if (mode == CONFIG_SECCOMP_OFF)
        return 0;
    if (violation_handler_install(log, error) < 0 || build_filters(mode == CONFIG_SECCOMP_LOG, kinds, error) < 0)
        return -1;
    sandbox.mode = mode;
    return 0;
}

int sandbox_enter(enum sandbox_thread kind, const char *thread_name, struct error *error)
{
    if (sandbox.mode == CONFIG_SECCOMP_OFF)
        return 0;
    /* It looks there for the name servers that it asks for its guest. */
    if (kind == SANDBOX_SLIRP && files_allow_reading("/etc/resolv.conf", error) < 0)
        return error_prefix(error, "%s", thread_name);
    if (violation_handler_enter(thread_name, error) < 0 || filter_load(&sandbox.filters[kind], error) < 0)
        return error_prefix(error, "%s", thread_name);
    return 0;
}

void sandbox_release(void)
{
    for (unsigned kind = 0; kind < SANDBOX_THREAD_COUNT; kind++)
        filter_free(&sandbox.filters[kind]);
    sandbox.mode = CONFIG_SECCOMP_OFF;
}
