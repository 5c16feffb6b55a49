#include "vmm/machine/machine_private.h"

#include "vmm/console/serial_host.h"
#include "vmm/machine/map_report.h"
#include "vmm/sandbox/sandbox.h"

#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Records an event, parks the vCPUs, and wakes the loop. Any thread. */
static void machine_notify(struct machine *machine, const struct machine_outcome *outcome)
{
    const bool crash =
        machine_outcome_status(outcome) != EXIT_STATUS_ORDERLY && outcome->event != MACHINE_ENDED_BY_USER;
    const uint64_t one = 1;

    pthread_mutex_lock(&machine->lock);
    if (machine->happened.event == MACHINE_NO_EVENT)
        machine->happened = *outcome;
    pthread_mutex_unlock(&machine->lock);
    vcpus_request_park(machine->vcpus, crash);
    /* It cannot be full: the loop empties it, and a second count says nothing more. */
    ssize_t written = write(machine->event_fd, &one, sizeof(one));
    (void)written;
}

void machine_vcpu_stopped(void *context, const struct machine_outcome *outcome)
{
    machine_notify(context, outcome);
}

void machine_system_request(void *context, enum system_request request, uint32_t argument)
{
    static const enum machine_event events[] = {
        [SYSTEM_POWER_OFF] = MACHINE_POWERED_OFF,
        [SYSTEM_RESET] = MACHINE_RESET,
        [SYSTEM_GUEST_PANIC] = MACHINE_GUEST_PANIC,
        [SYSTEM_DEBUG_EXIT] = MACHINE_DEBUG_EXIT,
    };
    struct machine *machine = context;

    machine_notify(machine, &(struct machine_outcome){
                                .event = events[request], .argument = argument, .vcpu = vcpus_current(machine->vcpus)});
}

void machine_worker_failed(void *context, const struct error *error)
{
    struct machine_outcome outcome = {.event = MACHINE_HOST_FAILURE, .vcpu = -1};

    memcpy(outcome.text, error->text, sizeof(outcome.text));
    machine_notify(context, &outcome);
}

void machine_press_power_button(void *context)
{
    struct machine *machine = context;

    acpi_pm_power_button(machine->devices.acpi_pm);
}

void machine_reset_by_user(void *context)
{
    machine_notify(context, &(struct machine_outcome){.event = MACHINE_RESET, .vcpu = -1});
}

static void end_by_user(struct machine *machine, uint32_t signal)
{
    machine_notify(machine, &(struct machine_outcome){.event = MACHINE_ENDED_BY_USER, .argument = signal, .vcpu = -1});
}

void machine_quit(void *context)
{
    end_by_user(context, 0);
}

void machine_console_command(void *context, enum console_command command)
{
    struct machine *machine = context;

    switch (command) {
    case CONSOLE_LEAVE:
        end_by_user(machine, 0);
        break;
    case CONSOLE_POWER_BUTTON:
        machine_press_power_button(machine);
        break;
    case CONSOLE_RESET:
        machine_reset_by_user(machine);
        break;
    case CONSOLE_MAPS:
        map_report(&machine->memory, machine->log);
        break;
    }
}

void machine_on_signal(void *context, uint32_t events)
{
    struct machine *machine = context;
    struct signalfd_siginfo info;

    (void)events;
    if (read(machine->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGWINCH) {
        virtio_devices_terminal_resized(machine->virtio);
        return;
    }
    if (info.ssi_signo == SIGUSR1) {
        map_report(&machine->memory, machine->log);
        return;
    }
    if (info.ssi_signo == SIGTERM && !machine->power_button_pressed && !gdb_stub_is_stopped(machine->gdb) &&
        !machine_control_is_paused(machine->control)) {
        machine->power_button_pressed = true;
        log_line(machine->log, LOG_LEVEL_INFO, "quire", "SIGTERM: the power button is pressed; once more ends at once");
        machine_press_power_button(machine);
        return;
    }
    end_by_user(machine, info.ssi_signo);
}

static bool restarts(const struct machine *machine, enum machine_event event)
{
    const struct config *config = machine->config;

    return (event == MACHINE_RESET && config->machine.on_reset == CONFIG_ACTION_RESTART) ||
           (event == MACHINE_GUEST_PANIC && config->machine.on_panic == CONFIG_ACTION_RESTART);
}

int machine_load(struct machine *machine, struct boot_entry *entry, struct error *error)
{
    const int result = machine->config->boot.flat != NULL
                           ? boot_load_flat(&machine->sources, machine->config, machine->vcpu_spaces, entry, error)
                           : boot_load(&machine->sources, machine->config, &machine->platform, entry, error);

    if (result == 0)
        gdb_stub_loaded(machine->gdb, entry);
    return result;
}

int machine_restart(void *context, struct error *error)
{
    struct machine *machine = context;
    struct boot_entry entry;

    legacy_devices_reset(&machine->devices);
    virtio_devices_reset(machine->virtio);
    agent_server_restarted(machine->agent);
    machine_control_restarted(machine->control);
    if (irqchip_reset(&machine->irqchip, error) < 0 || machine_memory_clear(&machine->memory, error) < 0 ||
        machine_load(machine, &entry, error) < 0)
        return -1;
    vcpus_set_boot(machine->vcpus, &entry);
    return 0;
}

void machine_on_event(void *context, uint32_t events)
{
    struct machine *machine = context;
    struct error error;
    uint64_t count;

    (void)events;
    if (read(machine->event_fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
        return;
    /* A debugger may have let them go on since. */
    vcpus_request_park(machine->vcpus, 0);
    vcpus_wait_parked(machine->vcpus);
    pthread_mutex_lock(&machine->lock);
    machine->outcome = machine->happened;
    machine->happened = (struct machine_outcome){.event = MACHINE_NO_EVENT};
    pthread_mutex_unlock(&machine->lock);
    if (machine->outcome.event == MACHINE_NO_EVENT)
        return;
    if (gdb_stub_takes_crash(machine->gdb, &machine->outcome)) {
        if (machine->on_waits != NULL && !gdb_stub_has_client(machine->gdb))
            machine->on_waits(machine->waits_context, &machine->outcome);
        return;
    }
    if (!restarts(machine, machine->outcome.event)) {
        event_loop_stop(machine->loop);
        return;
    }
    char text[sizeof(machine->outcome.text)];
    machine_outcome_describe(&machine->outcome, text, sizeof(text));
    log_line(machine->log, LOG_LEVEL_INFO, "quire", "%s; it starts again", text);
    if (machine_restart(machine, &error) == 0) {
        if (gdb_stub_restarted(machine->gdb))
            vcpus_resume(machine->vcpus);
        return;
    }
    machine->outcome = (struct machine_outcome){.event = MACHINE_HOST_FAILURE, .vcpu = -1};
    (void)snprintf(machine->outcome.text, sizeof(machine->outcome.text), "the machine cannot start again: %.400s",
                   error.text);
    event_loop_stop(machine->loop);
}

void machine_crash_seen(void *context)
{
    struct machine *machine = context;

    event_loop_stop(machine->loop);
}

void machine_tell_crash(struct machine *machine, machine_waits_callback *callback, void *context)
{
    machine->on_waits = callback;
    machine->waits_context = context;
}

void machine_run(struct machine *machine, struct machine_outcome *outcome)
{
    struct error error;

    machine->outcome = (struct machine_outcome){.event = MACHINE_HOST_FAILURE, .vcpu = -1};
    if (sandbox_enter(SANDBOX_LOOP, "main", &error) < 0) {
        memcpy(machine->outcome.text, error.text, sizeof(machine->outcome.text));
    } else {
        if (!gdb_stub_holds_start(machine->gdb))
            vcpus_resume(machine->vcpus);
        if (event_loop_run(machine->loop, &error) < 0)
            memcpy(machine->outcome.text, error.text, sizeof(machine->outcome.text));
    }
    vcpus_request_park(machine->vcpus, 0);
    vcpus_wait_parked(machine->vcpus);
    gdb_stub_exited(machine->gdb, &machine->outcome);
    *outcome = machine->outcome;
}

void machine_print_crash(const struct machine *machine, const struct machine_outcome *outcome, FILE *out)
{
    const char *newline = atomic_load(&machine->log->raw_terminal) ? "\r\n" : "\n";

    for (unsigned i = 0; i < machine->config->cpu.count; i++) {
        const struct crash_report *report = vcpus_crash_report(machine->vcpus, i);
        if (report->valid && (outcome->vcpu < 0 || (unsigned)outcome->vcpu == i))
            crash_report_print(report, i, newline, out);
    }
}

void machine_close_console(struct machine *machine)
{
    serial_host_finish(machine->serial_host);
    virtio_devices_finish(machine->virtio);
}
