#include "vmm/machine/machine_private.h"

#include "devices/bus.h"
#include "devices/host/signals.h"
#include "memory/x86/layout.h"
#include "vmm/console/serial_host.h"
#include "vmm/machine/x86/cpu_features.h"
#include "vmm/machine/x86/cpuid.h"
#include "vmm/maps/device_plan.h"
#include "vmm/sandbox/sandbox.h"

#include <Hypervisor/hvx.h>

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const uint64_t MMIO_END = 1ull << 48;

static int step_vm(struct machine *machine, struct error *error)
{
    hv_return_t result = hv_vm_create(HV_VM_DEFAULT);

    switch (result) {
    case HV_SUCCESS:
        break;
    case HV_NO_DEVICE:
        return error_set(
            error, ERROR_HOST,
            "/dev/kvm is not there; load the module kvm_intel or kvm_amd, or switch virtualisation on in the "
            "firmware, or see tools/quickstart");
    case HV_DENIED:
        return error_set(
            error, ERROR_HOST,
            "/dev/kvm may not be opened by this user; join its group, usually with \"sudo adduser $USER kvm\", "
            "and log in again");
    case HV_UNSUPPORTED:
        return error_set(error, ERROR_HOST, "this host's KVM is too old; Linux 5.10 or later has what is needed");
    default:
        return error_set(error, ERROR_HOST, "KVM gave no virtual machine (error 0x%x): %s", (unsigned)result,
                         result == HV_NO_RESOURCES ? "the host is out of memory or descriptors" : strerror(errno));
    }
    machine->has_vm = true;
    machine->fault_log.log = machine->log;
    machine->fault_log.memory = &machine->memory;
    /* Before there is anybody whose faults could be under way, so it succeeds. */
    (void)hvx_vm_set_fault_listener(fault_log_listen, &machine->fault_log);
    if (hvx_vm_kvm_fd(&machine->vm_fd) != HV_SUCCESS || hvx_system_kvm_fd(&machine->system_fd) != HV_SUCCESS)
        return error_set(error, ERROR_HOST, "KVM gave no virtual machine");
    return 0;
}

static int step_plan(struct machine *machine, struct error *error)
{
    return memory_plan_create(machine->config, &machine->plan, error);
}

static int step_memory(struct machine *machine, struct error *error)
{
    hvx_host_limits_t limits;
    const uint32_t count = machine->config->cpu.count;
    const struct config_lists *lists = &machine->config->lists;

    if (hvx_host_limits(&limits) == HV_SUCCESS && memory_plan_check_host(&machine->plan, &limits, error) < 0)
        return -1;
    if (machine_memory_create(&machine->memory, &machine->plan, error) < 0)
        return -1;
    machine->vcpu_spaces = calloc(count, sizeof(*machine->vcpu_spaces));
    if (machine->vcpu_spaces == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (size_t i = 0; i < lists->vcpu_count; i++)
        machine->vcpu_spaces[i] = machine->memory.spaces[memory_plan_space(&machine->plan, lists->vcpus[i].space)];
    return 0;
}

static int step_irqchip(struct machine *machine, struct error *error)
{
    const uint16_t level_inputs = machine->config->boot.tables == CONFIG_TABLES_NONE ? LAYOUT_8259_VIRTIO_GSIS : 0;

    return irqchip_create(&machine->irqchip, machine->vm_fd, level_inputs, error);
}

static int step_cpuid(struct machine *machine, struct error *error)
{
    const struct config_names *hide = &machine->config->cpu.hide;

    machine->hidden = calloc(hide->count + 1, sizeof(*machine->hidden));
    if (machine->hidden == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (size_t i = 0; i < hide->count; i++) {
        machine->hidden[i] = cpu_feature_find(hide->items[i].text);
        if (machine->hidden[i] == NULL)
            return config_error_hide(machine->config, i, error, "no such processor feature: %s; did you mean %s?",
                                     hide->items[i].text, cpu_feature_nearest(hide->items[i].text));
    }
    return cpuid_read_supported(machine->system_fd, &machine->supported_cpuid, error);
}

static int make_cpuid(const struct machine *machine, unsigned index, struct kvm_cpuid2 **ret_table, struct error *error)
{
    const struct cpuid_options options = {
        .cpu_count = machine->config->cpu.count,
        .has_tsc_deadline = ioctl(machine->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
        .hide = machine->hidden,
        .hide_count = machine->config->cpu.hide.count,
    };
    return cpuid_build(machine->supported_cpuid, &options, index, ret_table, error);
}

static int step_platform(struct machine *machine, struct error *error)
{
    const uint32_t count = machine->config->cpu.count;
    struct kvm_cpuid2 *table;

    machine->apic_ids = calloc(count, sizeof(*machine->apic_ids));
    if (machine->apic_ids == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    for (uint32_t i = 0; i < count; i++)
        machine->apic_ids[i] = i; /* as in CPUID */
    if (make_cpuid(machine, 0, &table, error) < 0)
        return -1;
    machine->platform = (struct platform){
        .cpu_count = count,
        .apic_ids = machine->apic_ids,
        .physical_address_bits = cpuid_physical_address_bits(table),
        .has_1gib_pages = cpuid_has_1gib_pages(table),
        .has_pci = device_plan_count(machine->config, CONFIG_TRANSPORT_PCI) > 0,
        .virtio_mmio_count = (unsigned)device_plan_count(machine->config, CONFIG_TRANSPORT_MMIO),
    };
    free(table);
    ram_layout_compute(machine->config->memory.size, &machine->platform.ram);

    const struct layout_range *last = &machine->platform.ram.ranges[machine->platform.ram.count - 1];
    if (last->gpa + last->size > 1ull << machine->platform.physical_address_bits)
        return config_error(machine->config, CONFIG_MEMORY_SIZE, error,
                            "this host's processor addresses 2^%u bytes; make it smaller",
                            machine->platform.physical_address_bits);
    return 0;
}

static int step_loop(struct machine *machine, struct error *error)
{
    machine->loop = event_loop_create(error);
    machine->ports = bus_create("ports", LEGACY_PORT_COUNT);
    machine->mmio = bus_create("mmio", MMIO_END);
    if (machine->loop == NULL)
        return -1;
    if (machine->ports == NULL || machine->mmio == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    return 0;
}

static int step_serial_host(struct machine *machine, struct error *error)
{
    const struct console_commands commands = {.command = machine_console_command, .context = machine};

    machine->serial_host = serial_host_create(machine->config->serial.backend, machine->config->serial.path,
                                              machine->loop, machine->log, &commands, error);
    return machine->serial_host == NULL ? config_error_of(machine->config, CONFIG_SERIAL_PATH, error) : 0;
}

static int step_agent(struct machine *machine, struct error *error)
{
    if (machine->config->agent.listen == NULL)
        return 0;
    machine->agent = agent_server_create(machine->config->agent.listen, machine->loop, machine->log, error);
    return machine->agent != NULL ? 0 : config_error_of(machine->config, CONFIG_AGENT_LISTEN, error);
}

static size_t agent_serial_write(void *context, const uint8_t *bytes, size_t len)
{
    return agent_server_write(context, bytes, len);
}

static void agent_serial_input_room(void *context)
{
    agent_server_input_room(context);
}

static size_t agent_serial_receive(void *context, const uint8_t *bytes, size_t len)
{
    return serial_receive(context, bytes, len);
}

static void agent_serial_writable(void *context)
{
    serial_backend_writable(context);
}

/* A serial port does not tell whether anybody in the guest has it open. */
static int attach_agent_serial(struct machine *machine, struct error *error)
{
    const struct agent_port port = {
        .receive = agent_serial_receive, .writable = agent_serial_writable, .context = machine->devices.agent_serial};

    return agent_server_attach(machine->agent, &port, true, error);
}

static int step_devices(struct machine *machine, struct error *error)
{
    const bool has_agent_serial = machine->agent != NULL && machine->config->agent.port == CONFIG_AGENT_SERIAL;
    const struct serial_backend agent_backend = {
        .write = agent_serial_write, .input_room = agent_serial_input_room, .ctx = machine->agent};
    const struct legacy_environment environment = {
        .set_level = irqchip_set_level,
        .irq_context = &machine->irqchip,
        .serial_backend = serial_host_backend(machine->serial_host),
        .agent_backend = has_agent_serial ? &agent_backend : NULL,
        .requests = {.request = machine_system_request, .context = machine},
        .log = machine->log,
    };
    if (legacy_devices_create(&machine->devices, &environment, machine->ports, error) < 0)
        return -1;
    if (has_agent_serial && attach_agent_serial(machine, error) < 0)
        return -1;
    return serial_host_attach(machine->serial_host, machine->devices.serial, error);
}

static int step_virtio(struct machine *machine, struct error *error)
{
    const struct virtio_devices_environment environment = {
        .config = machine->config,
        .memory = &machine->memory,
        .ports = machine->ports,
        .mmio = machine->mmio,
        .loop = machine->loop,
        .set_level = irqchip_set_level,
        .irq_context = &machine->irqchip,
        .vm_fd = machine->vm_fd,
        .log = machine->log,
        .commands = {.command = machine_console_command, .context = machine},
        .agent = machine->agent,
        .failed = machine_worker_failed,
        .failed_context = machine,
    };

    machine->virtio = virtio_devices_create(&environment, error);
    return machine->virtio != NULL ? 0 : -1;
}

static int step_files(struct machine *machine, struct error *error)
{
    return boot_sources_open(&machine->sources, machine->config, error);
}

static int step_signals(struct machine *machine, struct error *error)
{
    sigset_t mask;

    /* Blocked in this thread, and so in the vCPUs' that it makes. */
    signals_that_end(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGWINCH);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    signal(SIGPIPE, SIG_IGN);
    machine->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    machine->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (machine->signal_fd < 0 || machine->event_fd < 0)
        return error_set(error, ERROR_HOST, "no descriptor for signals: %s", strerror(errno));
    if (event_loop_add(machine->loop, machine->signal_fd, EPOLLIN, machine_on_signal, machine, error) < 0)
        return -1;
    return event_loop_add(machine->loop, machine->event_fd, EPOLLIN, machine_on_event, machine, error);
}

static int step_gdb(struct machine *machine, struct error *error)
{
    const struct gdb_stub_environment environment = {
        .config = machine->config,
        .memory = &machine->memory,
        .loop = machine->loop,
        .log = machine->log,
        .system_fd = machine->system_fd,
        .restart = machine_restart,
        .kill = machine_quit,
        .end_crashed = machine_crash_seen,
        .context = machine,
    };

    if (machine->config->gdb.listen == NULL)
        return 0;
    machine->gdb = gdb_stub_create(&environment, error);
    return machine->gdb != NULL ? 0 : -1;
}

static int step_control(struct machine *machine, struct error *error)
{
    const struct machine_control_environment environment = {
        .config = machine->config,
        .memory = &machine->memory,
        .loop = machine->loop,
        .log = machine->log,
        .gdb = machine->gdb,
        .press_power_button = machine_press_power_button,
        .reset = machine_reset_by_user,
        .quit = machine_quit,
        .context = machine,
    };

    if (machine->config->control.listen == NULL)
        return 0;
    machine->control = machine_control_create(&environment, error);
    return machine->control != NULL ? 0 : -1;
}

static enum sandbox_thread vcpu_sandbox(const struct machine *machine)
{
    return machine->gdb != NULL ? SANDBOX_VCPU_DEBUGGED : SANDBOX_VCPU;
}

static int step_sandbox(struct machine *machine, struct error *error)
{
    sandbox_set_fatal_hook(terminal_restore_from_signal);
    return sandbox_prepare(machine->config->sandbox.seccomp,
                           1u << vcpu_sandbox(machine) | 1u << SANDBOX_LOOP | virtio_devices_sandboxes(machine->config),
                           machine->log, error);
}

static int step_workers(struct machine *machine, struct error *error)
{
    return virtio_devices_start(machine->virtio, error);
}

static struct kvm_cpuid2 *on_cpuid(void *context, unsigned index, struct error *error)
{
    struct kvm_cpuid2 *table;

    return make_cpuid(context, index, &table, error) < 0 ? NULL : table;
}

static const char *on_space_name(void *context, hv_vm_space_t space)
{
    const struct machine *machine = context;

    return machine_memory_space_name(&machine->memory, space);
}

static int on_enter_sandbox(void *context, const char *thread_name, struct error *error)
{
    return sandbox_enter(vcpu_sandbox(context), thread_name, error);
}

static int step_vcpus(struct machine *machine, struct error *error)
{
    const struct vcpus_environment environment = {
        .count = machine->config->cpu.count,
        .ports = machine->ports,
        .mmio = machine->mmio,
        .spaces = machine->vcpu_spaces,
        .space_name = on_space_name,
        .log = machine->log,
        .debugger = gdb_stub_vcpu_side(machine->gdb),
        .cpuid = on_cpuid,
        .enter_sandbox = on_enter_sandbox,
        .stopped = machine_vcpu_stopped,
        .context = machine,
    };
    const int result = vcpus_create(&environment, &machine->vcpus, error);

    if (result == 0) {
        gdb_stub_set_vcpus(machine->gdb, machine->vcpus);
        machine_control_set_vcpus(machine->control, machine->vcpus);
    }
    return result;
}

static int step_load(struct machine *machine, struct error *error)
{
    struct boot_entry entry;

    if (machine_load(machine, &entry, error) < 0)
        return -1;
    log_line(machine->log, LOG_LEVEL_INFO, "quire", "%s: %s, entry at 0x%" PRIx64, machine->config->machine.name,
             entry.description, entry.rip);
    vcpus_set_boot(machine->vcpus, &entry);
    return 0;
}

/* Cheap things that the user may have got wrong come first, and the sandbox before all that the guest can reach. */
static int (*const steps[])(struct machine *machine, struct error *error) = {
    step_plan,    step_files,       step_vm,      step_cpuid,   step_memory, step_irqchip, step_platform,
    step_loop,    step_serial_host, step_agent,   step_devices, step_virtio, step_signals, step_gdb,
    step_control, step_sandbox,     step_workers, step_vcpus,   step_load,
};

int machine_create(const struct config *config, struct log *log, struct machine **ret_machine, struct error *error)
{
    struct machine *machine = calloc(1, sizeof(*machine));

    if (machine == NULL)
        return error_set(error, ERROR_HOST, "out of memory");
    machine->config = config;
    machine->log = log;
    machine->signal_fd = -1;
    machine->event_fd = -1;
    machine->sources = (struct boot_sources){.kernel_fd = -1, .initrd_fd = -1, .flat_fd = -1};
    pthread_mutex_init(&machine->lock, NULL);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (steps[i](machine, error) < 0) {
            machine_destroy(machine);
            return -1;
        }
    }
    *ret_machine = machine;
    return 0;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

void machine_destroy(struct machine *machine)
{
    if (machine == NULL)
        return;
    machine_control_destroy(machine->control);
    vcpus_destroy(machine->vcpus);
    gdb_stub_destroy(machine->gdb);
    virtio_devices_destroy(machine->virtio);
    serial_host_destroy(machine->serial_host);
    legacy_devices_destroy(&machine->devices);
    agent_server_destroy(machine->agent);
    event_loop_destroy(machine->loop);
    bus_destroy(machine->mmio);
    bus_destroy(machine->ports);
    close_if_open(machine->signal_fd);
    close_if_open(machine->event_fd);
    boot_sources_close(&machine->sources);
    free(machine->apic_ids);
    free(machine->supported_cpuid);
    free(machine->hidden);
    free(machine->vcpu_spaces);
    machine_memory_destroy(&machine->memory);
    if (machine->has_vm)
        hv_vm_destroy();
    memory_plan_free(&machine->plan);
    sandbox_release();
    pthread_mutex_destroy(&machine->lock);
    free(machine);
}
