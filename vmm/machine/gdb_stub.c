#include "vmm/machine/gdb_stub.h"

#include "vmm/debug/debugger.h"
#include "vmm/debug/output.h"
#include "vmm/debug/x86/probe.h"
#include "vmm/gdb/gdb_server.h"
#include "vmm/machine/map_report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct gdb_stub {
    struct gdb_stub_environment environment;
    struct debugger *debugger;
    struct gdb_server *server;
    /* Written to by vCPUs that have stopped. */
    int event_fd;
};

/* ---- What the debugger needs of the machine ---- */

static void notify(void *context)
{
    struct gdb_stub *stub = context;
    const uint64_t one = 1;

    /* It cannot be full: the loop empties it, and a second count says nothing more. */
    ssize_t written = write(stub->event_fd, &one, sizeof(one));
    (void)written;
}

static void on_notified(void *context, uint32_t events)
{
    struct gdb_stub *stub = context;
    uint64_t count;

    (void)events;
    if (read(stub->event_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        debugger_wake(stub->debugger);
}

static int restart(void *context, struct error *error)
{
    const struct gdb_stub *stub = context;

    return stub->environment.restart(stub->environment.context, error);
}

static void kill_machine(void *context)
{
    const struct gdb_stub *stub = context;

    stub->environment.kill(stub->environment.context);
}

static void end_crashed(void *context)
{
    const struct gdb_stub *stub = context;

    stub->environment.end_crashed(stub->environment.context);
}

static const char *space_name(void *context, size_t index, hv_vm_space_t *ret_space)
{
    const struct gdb_stub *stub = context;
    const struct machine_memory *memory = stub->environment.memory;

    if (index >= memory->space_count)
        return NULL;
    *ret_space = memory->spaces[index];
    return memory->plan->spaces[index].name;
}

static void print_line(void *context, const char *text)
{
    debug_print(context, "%s\n", text);
}

static void print_maps(void *context, const struct debug_output *output)
{
    const struct gdb_stub *stub = context;
    struct debug_output copy = *output;

    map_report_write(stub->environment.memory, print_line, &copy);
}

/* ---- Its life ---- */

static int make_debugger(struct gdb_stub *stub, struct error *error)
{
    struct debugger_environment environment = {
        .vcpu_count = stub->environment.config->cpu.count,
        .notify = notify,
        .restart = restart,
        .kill = kill_machine,
        .end_crashed = end_crashed,
        .space_name = space_name,
        .print_maps = print_maps,
        .context = stub,
    };

    if (debug_host_probe(stub->environment.system_fd, &environment.host, error) < 0)
        return -1;
    stub->debugger = debugger_create(&environment, error);
    if (stub->debugger == NULL)
        return -1;
    stub->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stub->event_fd < 0)
        return error_set(error, ERROR_HOST, "no descriptor for the debugger: %s", strerror(errno));
    return event_loop_add(stub->environment.loop, stub->event_fd, EPOLLIN, on_notified, stub, error);
}

static int make_server(struct gdb_stub *stub, struct error *error)
{
    const struct config *config = stub->environment.config;
    struct gdb_server_options options;

    if (gdb_address_parse(config->gdb.listen, &options.address, error) < 0)
        return config_error(config, CONFIG_GDB_LISTEN, error, "%s", strdupa(error->text));
    if (!options.address.is_loopback && options.address.kind != GDB_ADDRESS_UNIX)
        log_line(stub->environment.log, LOG_LEVEL_WARN, "gdb",
                 "%s: whoever reaches this address owns the guest, without a password", config->gdb.listen);
    stub->server = gdb_server_create(&options, debugger_target(stub->debugger), stub->environment.loop,
                                     stub->environment.log, error);
    if (stub->server != NULL)
        return 0;
    return config_error_of(config, CONFIG_GDB_LISTEN, error);
}

struct gdb_stub *gdb_stub_create(const struct gdb_stub_environment *environment, struct error *error)
{
    struct gdb_stub *stub = calloc(1, sizeof(*stub));

    if (stub == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    stub->environment = *environment;
    stub->event_fd = -1;
    if (make_debugger(stub, error) == 0 && make_server(stub, error) == 0)
        return stub;
    gdb_stub_destroy(stub);
    return NULL;
}

void gdb_stub_destroy(struct gdb_stub *stub)
{
    if (stub == NULL)
        return;
    gdb_server_destroy(stub->server);
    if (stub->event_fd >= 0) {
        event_loop_remove(stub->environment.loop, stub->event_fd);
        close(stub->event_fd);
    }
    debugger_destroy(stub->debugger);
    free(stub);
}

const struct vcpus_debugger *gdb_stub_vcpu_side(struct gdb_stub *stub)
{
    return stub != NULL ? debugger_vcpu_side(stub->debugger) : NULL;
}

void gdb_stub_set_vcpus(struct gdb_stub *stub, struct vcpus *vcpus)
{
    if (stub != NULL)
        debugger_set_vcpus(stub->debugger, vcpus);
}

void gdb_stub_loaded(struct gdb_stub *stub, const struct boot_entry *entry)
{
    if (stub != NULL)
        debugger_set_kernel(stub->debugger, entry->segments, entry->segment_count);
}

/* What gdb's "target remote" takes: unix sockets without the word. */
static const char *target_of(const struct gdb_stub *stub, char text[GDB_ADDRESS_TEXT_SIZE])
{
    static const char unix_prefix[] = "unix:";
    const size_t length = sizeof(unix_prefix) - 1;

    gdb_address_format(gdb_server_address(stub->server), text);
    return strncmp(text, unix_prefix, length) == 0 ? text + length : text;
}

bool gdb_stub_holds_start(struct gdb_stub *stub)
{
    char address[GDB_ADDRESS_TEXT_SIZE];

    if (stub == NULL || !stub->environment.config->gdb.wait)
        return false;
    debugger_hold_start(stub->debugger);
    log_line(stub->environment.log, LOG_LEVEL_WARN, "gdb", "the guest waits for gdb: target remote %s",
             target_of(stub, address));
    return true;
}

bool gdb_stub_is_stopped(const struct gdb_stub *stub)
{
    return stub != NULL && debugger_is_stopped(stub->debugger);
}

bool gdb_stub_has_crashed(const struct gdb_stub *stub)
{
    return stub != NULL && debugger_has_crashed(stub->debugger);
}

void gdb_stub_hide_points(struct gdb_stub *stub, bool hidden)
{
    if (stub != NULL)
        debugger_hide_points(stub->debugger, hidden);
}

bool gdb_stub_restarted(struct gdb_stub *stub)
{
    return stub == NULL || debugger_restarted(stub->debugger);
}

bool gdb_stub_has_client(const struct gdb_stub *stub)
{
    return stub != NULL && gdb_server_has_client(stub->server);
}

bool gdb_stub_takes_crash(struct gdb_stub *stub, const struct machine_outcome *outcome)
{
    char text[sizeof(((struct debug_stop *)NULL)->text)];

    switch (outcome->event) {
    case MACHINE_GUEST_PANIC:
    case MACHINE_TRIPLE_FAULT:
    case MACHINE_UNHANDLED_EXIT:
    case MACHINE_EMULATION_FAILURE:
        break;
    default:
        return false;
    }
    if (stub == NULL)
        return false;
    const bool waits = stub->environment.config->gdb.on_crash == CONFIG_CRASH_WAIT;
    machine_outcome_describe(outcome, text, sizeof(text));
    if (!debugger_crashed(stub->debugger, outcome->vcpu, outcome->event == MACHINE_GUEST_PANIC, waits, text))
        return false;
    if (!gdb_stub_has_client(stub)) {
        char address[GDB_ADDRESS_TEXT_SIZE];
        log_line(stub->environment.log, LOG_LEVEL_ERROR, "gdb", "%s; it waits for gdb: target remote %s", text,
                 target_of(stub, address));
    }
    return true;
}

void gdb_stub_exited(struct gdb_stub *stub, const struct machine_outcome *outcome)
{
    if (stub != NULL)
        gdb_server_exited(stub->server, machine_outcome_status(outcome));
}
