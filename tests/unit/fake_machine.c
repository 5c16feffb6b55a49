#include "fake_machine.h"

#include <string.h>
#include <unistd.h>

static void note(struct fake_machine *machine, char what)
{
    const size_t length = strlen(machine->log);

    if (length + 1 < sizeof(machine->log))
        machine->log[length] = what;
}

static int refuse(const struct fake_machine *machine, struct error *error)
{
    return machine->refuses ? error_set(error, ERROR_CONFIG, "gdb has the guest stopped") : 0;
}

static void get_status(void *context, struct control_status *ret_status)
{
    const struct fake_machine *machine = context;

    *ret_status = machine->status;
}

static const char *space_name(void *context, unsigned index)
{
    static const char *const names[] = {"default", "other"};

    (void)context;
    return index < 2 ? names[index] : NULL;
}

static int pause_guest(void *context, struct error *error)
{
    note(context, 'p');
    return refuse(context, error);
}

static int resume_guest(void *context, struct error *error)
{
    note(context, 'r');
    return refuse(context, error);
}

static void press_power_button(void *context)
{
    note(context, 'b');
}

static void reset(void *context)
{
    note(context, 'R');
}

static void quit(void *context)
{
    note(context, 'q');
}

static int send_nmi(void *context, unsigned vcpu, struct error *error)
{
    struct fake_machine *machine = context;

    note(machine, 'n');
    machine->nmi_vcpu = vcpu;
    return refuse(machine, error);
}

static int look_at_vcpus(void *context, struct control_vcpu *ret_vcpus, struct error *error)
{
    struct fake_machine *machine = context;

    note(machine, 'v');
    memcpy(ret_vcpus, machine->vcpus, machine->status.vcpu_count * sizeof(*ret_vcpus));
    return refuse(machine, error);
}

static int begin_dump(void *context, int fd, struct error *error)
{
    struct fake_machine *machine = context;

    note(machine, 'd');
    if (machine->refuses || machine->dump_fd >= 0) {
        close(fd);
        return error_set(error, ERROR_CONFIG, "another dump is under way; wait for it");
    }
    machine->dump_fd = fd;
    return 0;
}

static void abort_dump(void *context)
{
    struct fake_machine *machine = context;

    note(machine, 'a');
    close(machine->dump_fd);
    machine->dump_fd = -1;
}

static int step_dump(void *context, struct vmcore_progress *ret_progress, struct error *error)
{
    struct fake_machine *machine = context;

    note(machine, 's');
    *ret_progress = (struct vmcore_progress){.done = 1, .total = 2, .written = 3};
    if (machine->dump_steps-- > 1)
        return 1;
    close(machine->dump_fd);
    machine->dump_fd = -1;
    return machine->dump_fails ? error_set(error, ERROR_HOST, "the dump cannot be written: no room") : 0;
}

void fake_machine_init(struct fake_machine *machine, unsigned vcpu_count)
{
    memset(machine, 0, sizeof(*machine));
    machine->status = (struct control_status){
        .name = "fake", .uptime_seconds = 1.5, .vcpu_count = vcpu_count, .memory = UINT64_C(512) << 20};
    for (unsigned i = 0; i < vcpu_count; i++) {
        machine->vcpus[i].space = "default";
        machine->vcpus[i].registers.rip = UINT64_C(0xffffffff81000000) + i;
    }
    machine->dump_steps = 1;
    machine->dump_fd = -1;
    machine->target = (struct control_target){
        .context = machine,
        .get_status = get_status,
        .space_name = space_name,
        .pause = pause_guest,
        .resume = resume_guest,
        .press_power_button = press_power_button,
        .reset = reset,
        .send_nmi = send_nmi,
        .quit = quit,
        .look_at_vcpus = look_at_vcpus,
        .begin_dump = begin_dump,
        .step_dump = step_dump,
        .abort_dump = abort_dump,
    };
}

void fake_machine_fini(struct fake_machine *machine)
{
    if (machine->dump_fd >= 0)
        close(machine->dump_fd);
}
