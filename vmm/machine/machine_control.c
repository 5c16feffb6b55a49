#include "vmm/machine/machine_control.h"

#include "vmm/control/control_server.h"
#include "vmm/debug/guest_view.h"
#include "vmm/debug/linux/view.h"
#include "vmm/debug/x86/vcpu_registers.h"

#include <asm/processor-flags.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct machine_control {
    struct machine_control_environment environment;
    struct control_target target;
    struct control_server *server;
    struct vcpus *vcpus;
    struct timespec start;
    /* By a client; besides, the guest does not run as long as there is a dump. */
    bool is_paused;
    struct vmcore *dump;
    /* The guest has started anew since the dump began. */
    bool dump_is_stale;
    /* /proc/self/pagemap; -1: it cannot be read here. */
    int pagemap_fd;
};

/* ---- vCPUs ---- */

struct look {
    struct control_vcpu *vcpu;
    hv_vm_space_t space;
    hv_return_t result;
};

/* On the vCPU's thread. */
static void look(void *context, hv_vcpuid_t id)
{
    struct look *look = context;
    struct kvm_mp_state state;
    int fd;

    look->result = vcpu_registers_read(id, &look->vcpu->registers);
    (void)hvx_vcpu_get_space(id, &look->space);
    if (hvx_vcpu_kvm_fd(id, &fd) != HV_SUCCESS || ioctl(fd, KVM_GET_MP_STATE, &state) < 0)
        return;
    look->vcpu->is_halted = state.mp_state == KVM_MP_STATE_HALTED;
    look->vcpu->is_waiting =
        state.mp_state == KVM_MP_STATE_UNINITIALIZED || state.mp_state == KVM_MP_STATE_INIT_RECEIVED;
}

static void find_rip(struct control_vcpu *vcpu, hv_vm_space_t space)
{
    const struct guest_view view = guest_view_of(&vcpu->registers, space);
    struct walk walk;

    guest_view_walk(&view, vcpu->registers.code_base + vcpu->registers.rip, &walk);
    vcpu->rip_is_mapped = walk.is_mapped;
    vcpu->rip_gpa = walk.gpa;
}

/* While they are parked. */
static int look_at_all(struct machine_control *control, struct control_vcpu *ret_vcpus, struct error *error)
{
    for (unsigned i = 0; i < control->environment.config->cpu.count; i++) {
        struct look call = {.vcpu = &ret_vcpus[i], .result = HV_ERROR};
        ret_vcpus[i] = (struct control_vcpu){0};
        vcpus_call(control->vcpus, i, look, &call);
        if (call.result != HV_SUCCESS)
            return error_set(error, ERROR_HOST, "KVM does not give the registers of vCPU %u", i);
        ret_vcpus[i].space = machine_memory_space_name(control->environment.memory, call.space);
        ret_vcpus[i].is_halted |= vcpus_is_halted(control->vcpus, i);
        find_rip(&ret_vcpus[i], call.space);
    }
    return 0;
}

static int look_at_vcpus(void *context, struct control_vcpu *ret_vcpus, struct error *error)
{
    struct machine_control *control = context;

    vcpus_pause(control->vcpus);
    const int result = look_at_all(control, ret_vcpus, error);
    vcpus_unpause(control->vcpus);
    return result;
}

struct nmi {
    int status;
};

static void give_nmi(void *context, hv_vcpuid_t id)
{
    struct nmi *nmi = context;
    int fd;

    nmi->status = hvx_vcpu_kvm_fd(id, &fd) == HV_SUCCESS ? ioctl(fd, KVM_NMI) : -1;
}

static int send_nmi(void *context, unsigned vcpu, struct error *error)
{
    struct machine_control *control = context;
    struct nmi nmi = {.status = -1};

    vcpus_pause(control->vcpus);
    vcpus_call(control->vcpus, vcpu, give_nmi, &nmi);
    vcpus_unpause(control->vcpus);
    return nmi.status < 0 ? error_set(error, ERROR_HOST, "KVM did not take the interrupt") : 0;
}

/* ---- Pausing ---- */

/* Has a guest with KVM's clock not take the time that has passed for a lockup. Others have no such flag. */
static void tell_of_pause(void *context, hv_vcpuid_t id)
{
    int fd;

    (void)context;
    if (hvx_vcpu_kvm_fd(id, &fd) == HV_SUCCESS)
        (void)ioctl(fd, KVM_KVMCLOCK_CTRL);
}

static void end_pause(struct machine_control *control)
{
    for (unsigned i = 0; i < control->environment.config->cpu.count; i++)
        vcpus_call(control->vcpus, i, tell_of_pause, NULL);
    vcpus_unpause(control->vcpus);
}

static int check_debugger(const struct machine_control *control, const char *what, struct error *error)
{
    if (gdb_stub_has_crashed(control->environment.gdb))
        return error_set(error, ERROR_CONFIG, "the guest has crashed, and cannot be %s; \"quit\" ends it", what);
    if (gdb_stub_is_stopped(control->environment.gdb))
        return error_set(error, ERROR_CONFIG,
                         "gdb has the guest stopped, and it cannot be %s; have gdb go on, or detach", what);
    return 0;
}

static int pause_guest(void *context, struct error *error)
{
    struct machine_control *control = context;

    if (check_debugger(control, "paused", error) < 0)
        return -1;
    if (!control->is_paused)
        vcpus_pause(control->vcpus);
    control->is_paused = true;
    return 0;
}

static int resume_guest(void *context, struct error *error)
{
    struct machine_control *control = context;

    if (check_debugger(control, "resumed", error) < 0)
        return -1;
    if (control->is_paused)
        end_pause(control);
    control->is_paused = false;
    return 0;
}

/* ---- Dumps ---- */

static size_t fill_ranges(const struct machine_control *control, struct vmcore_range *ranges)
{
    const struct machine_memory *memory = control->environment.memory;
    const struct plan_space *space = &memory->plan->spaces[0];

    for (size_t i = 0; i < space->count; i++) {
        const struct plan_range *range = &space->ranges[i];
        const struct config_host_memory *host = memory->plan->memories[range->memory].host;
        ranges[i] = (struct vmcore_range){.gpa = range->gpa,
                                          .size = range->size,
                                          .bytes = (const uint8_t *)memory->memories[range->memory] + range->offset,
                                          .is_files = host != NULL && host->backing == CONFIG_BACKING_FILE};
    }
    return space->count;
}

/* The vCPU whose page tables tell most of a kernel: one that is in it. */
static unsigned choose_vcpu(const struct debug_registers *registers, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (registers[i].privilege == 0 && (registers[i].cr0 & X86_CR0_PG) != 0)
            return i;
    return 0;
}

/* Where everything is that goes into it. */
static struct vmcore *begin_vmcore(struct machine_control *control, const struct debug_registers *registers,
                                   struct vmcore_range *ranges, int fd, struct error *error)
{
    const unsigned count = control->environment.config->cpu.count;
    struct guest_view view = guest_view_of(&registers[choose_vcpu(registers, count)], HV_VM_SPACE_DEFAULT);
    const struct linux_memory memory = guest_view_linux(&view);
    struct vmcore_contents contents = {
        .ranges = ranges, .range_count = fill_ranges(control, ranges), .vcpus = registers, .vcpu_count = count};
    struct linux_kernel kernel;
    struct error ignored;

    if (linux_kernel_find(&memory, &kernel, &ignored) == 0)
        contents.kernel = &kernel;
    return vmcore_begin(&contents, fd, control->pagemap_fd, error);
}

static struct vmcore *gather(struct machine_control *control, int fd, struct error *error)
{
    const unsigned count = control->environment.config->cpu.count;
    struct control_vcpu *vcpus = calloc(count, sizeof(*vcpus));
    struct debug_registers *registers = calloc(count, sizeof(*registers));
    struct vmcore_range *ranges =
        calloc(control->environment.memory->plan->spaces[0].count + 1, sizeof(struct vmcore_range));
    struct vmcore *dump = NULL;

    if (vcpus == NULL || registers == NULL || ranges == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        close(fd);
    } else if (look_at_all(control, vcpus, error) < 0) {
        close(fd);
    } else {
        for (unsigned i = 0; i < count; i++)
            registers[i] = vcpus[i].registers;
        dump = begin_vmcore(control, registers, ranges, fd, error);
    }
    free(ranges);
    free(registers);
    free(vcpus);
    return dump;
}

static void release_guest(struct machine_control *control)
{
    gdb_stub_hide_points(control->environment.gdb, false);
    end_pause(control);
}

static int begin_dump(void *context, int fd, struct error *error)
{
    struct machine_control *control = context;

    if (control->dump != NULL) {
        close(fd);
        return error_set(error, ERROR_CONFIG, "another dump is under way; wait for it");
    }
    vcpus_pause(control->vcpus);
    gdb_stub_hide_points(control->environment.gdb, true);
    control->dump_is_stale = false;
    control->dump = gather(control, fd, error);
    if (control->dump != NULL)
        return 0;
    release_guest(control);
    return -1;
}

static void end_dump(void *context)
{
    struct machine_control *control = context;

    vmcore_end(control->dump);
    control->dump = NULL;
    release_guest(control);
}

static int step_dump(void *context, struct vmcore_progress *ret_progress, struct error *error)
{
    struct machine_control *control = context;
    int result = -1;

    if (control->dump_is_stale)
        error_set(error, ERROR_CONFIG, "the machine has started again, and what was to be dumped is gone");
    else
        result = vmcore_step(control->dump, error);
    vmcore_progress(control->dump, ret_progress);
    if (result <= 0)
        end_dump(control);
    return result;
}

/* ---- The rest ---- */

static void get_status(void *context, struct control_status *ret_status)
{
    const struct machine_control *control = context;
    const struct config *config = control->environment.config;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    *ret_status = (struct control_status){
        .name = config->machine.name,
        .state = gdb_stub_has_crashed(control->environment.gdb)  ? CONTROL_CRASHED
                 : gdb_stub_is_stopped(control->environment.gdb) ? CONTROL_STOPPED
                 : machine_control_is_paused(control)            ? CONTROL_PAUSED
                                                                 : CONTROL_RUNNING,
        .is_dumping = control->dump != NULL,
        .uptime_seconds =
            (double)(now.tv_sec - control->start.tv_sec) + (double)(now.tv_nsec - control->start.tv_nsec) / 1e9,
        .vcpu_count = config->cpu.count,
        .memory = config->memory.size,
    };
}

static const char *space_name(void *context, unsigned index)
{
    const struct machine_control *control = context;
    const struct machine_memory *memory = control->environment.memory;

    return index < memory->space_count ? memory->plan->spaces[index].name : NULL;
}

static void press_power_button(void *context)
{
    const struct machine_control *control = context;

    control->environment.press_power_button(control->environment.context);
}

static void reset(void *context)
{
    const struct machine_control *control = context;

    control->environment.reset(control->environment.context);
}

static void quit(void *context)
{
    const struct machine_control *control = context;

    control->environment.quit(control->environment.context);
}

/* ---- Its life ---- */

struct machine_control *machine_control_create(const struct machine_control_environment *environment,
                                               struct error *error)
{
    const struct config *config = environment->config;
    struct machine_control *control = calloc(1, sizeof(*control));

    if (control == NULL) {
        error_set(error, ERROR_HOST, "out of memory");
        return NULL;
    }
    control->environment = *environment;
    control->target = (struct control_target){
        .context = control,
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
        .abort_dump = end_dump,
    };
    clock_gettime(CLOCK_MONOTONIC, &control->start);
    control->pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    control->server =
        control_server_create(config->control.listen, &control->target, environment->loop, environment->log, error);
    if (control->server != NULL)
        return control;
    (void)config_error_of(config, CONFIG_CONTROL_LISTEN, error);
    machine_control_destroy(control);
    return NULL;
}

void machine_control_destroy(struct machine_control *control)
{
    if (control == NULL)
        return;
    control_server_destroy(control->server);
    if (control->pagemap_fd >= 0)
        close(control->pagemap_fd);
    free(control);
}

void machine_control_set_vcpus(struct machine_control *control, struct vcpus *vcpus)
{
    if (control != NULL)
        control->vcpus = vcpus;
}

void machine_control_restarted(struct machine_control *control)
{
    if (control != NULL)
        control->dump_is_stale = true;
}

bool machine_control_is_paused(const struct machine_control *control)
{
    return control != NULL && (control->is_paused || control->dump != NULL);
}
