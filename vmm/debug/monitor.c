/*
 * `monitor COMMAND`: what gdb has no command of its own for.
 */
#include "vmm/debug/engine.h"

#include "vmm/debug/linux/kaslr.h"
#include "vmm/debug/linux/kernel_log.h"
#include "vmm/debug/linux/view.h"
#include "vmm/debug/output.h"

#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* One command under way. */
struct monitor {
    struct debugger *debugger;
    unsigned vcpu;
    /* What follows the command's name; "" for nothing. */
    const char *argument;
    const struct debug_output *output;
};

#define SAY(monitor, ...) debug_print((monitor)->output, __VA_ARGS__)

static void say_error(const struct monitor *monitor, const struct error *error)
{
    SAY(monitor, "%s\n", error->text);
}

static void show_maps(struct monitor *monitor)
{
    monitor->debugger->environment.print_maps(monitor->debugger->environment.context, monitor->output);
}

/* ---- Whose addresses ---- */

static void show_space(const struct monitor *monitor)
{
    const struct debugger *debugger = monitor->debugger;
    const hv_vm_space_t space = debugger->has_space ? debugger->space : debugger->vcpu[monitor->vcpu].space;

    SAY(monitor, "addresses are of space \"%s\"%s\n", debugger_space_name(debugger, space),
        debugger->has_space ? "" : ", in which the vCPU is");
}

static void set_space(struct monitor *monitor)
{
    struct debugger *debugger = monitor->debugger;
    const struct debugger_environment *environment = &debugger->environment;
    const char *name;
    hv_vm_space_t id;

    if (strcmp(monitor->argument, "auto") == 0)
        debugger->has_space = false;
    for (size_t i = 0; (name = environment->space_name(environment->context, i, &id)) != NULL; i++) {
        if (strcmp(name, monitor->argument) == 0) {
            debugger->space = id;
            debugger->has_space = true;
        }
    }
    if (monitor->argument[0] == '\0' || strcmp(monitor->argument, "auto") == 0 ||
        (debugger->has_space && strcmp(debugger_space_name(debugger, debugger->space), monitor->argument) == 0)) {
        show_space(monitor);
        return;
    }
    SAY(monitor, "there is no space \"%s\"; there are:", monitor->argument);
    for (size_t i = 0; (name = environment->space_name(environment->context, i, &id)) != NULL; i++)
        SAY(monitor, " %s", name);
    SAY(monitor, "\n");
}

static void set_physical(struct monitor *monitor)
{
    if (strcmp(monitor->argument, "on") == 0)
        monitor->debugger->is_physical = true;
    else if (strcmp(monitor->argument, "off") == 0)
        monitor->debugger->is_physical = false;
    else if (monitor->argument[0] != '\0')
        SAY(monitor, "\"%s\" is neither on nor off\n", monitor->argument);
    SAY(monitor, "addresses are %s\n",
        monitor->debugger->is_physical ? "guest-physical" : "linear, through the vCPU's page tables");
}

static void translate(struct monitor *monitor)
{
    struct guest_view view = debugger_view(monitor->debugger, monitor->vcpu);
    struct walk walk;
    char *end;

    const uint64_t linear = strtoull(monitor->argument, &end, 0);
    if (monitor->argument[0] == '\0' || *end != '\0') {
        SAY(monitor, "translate takes an address, as in \"monitor translate 0xffffffff81000000\"\n");
        return;
    }
    view.is_physical = false;
    guest_view_walk(&view, linear, &walk);
    walk_print(&walk, linear, monitor->output);
}

/* ---- Registers ---- */

static void show_registers(struct monitor *monitor)
{
    static const char *const names[DEBUG_GENERAL_COUNT] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                                           "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const struct debug_registers *registers = &monitor->debugger->vcpu[monitor->vcpu].registers;

    SAY(monitor, "vCPU %u: %u-bit code at privilege %u\n", monitor->vcpu, registers->code_bits, registers->privilege);
    SAY(monitor, "rip %016" PRIx64 "  rflags %08" PRIx64 "  cs base %" PRIx64 "\n", registers->rip, registers->rflags,
        registers->code_base);
    for (size_t i = 0; i < DEBUG_GENERAL_COUNT; i++)
        SAY(monitor, "%-3s %016" PRIx64 "%s", names[i], registers->general[i], i % 4 == 3 ? "\n" : "  ");
    SAY(monitor, "cs %04x  ss %04x  ds %04x  es %04x  fs %04x  gs %04x\n", registers->selectors[DEBUG_CS],
        registers->selectors[DEBUG_SS], registers->selectors[DEBUG_DS], registers->selectors[DEBUG_ES],
        registers->selectors[DEBUG_FS], registers->selectors[DEBUG_GS]);
    SAY(monitor, "fs_base %016" PRIx64 "  gs_base %016" PRIx64 "  k_gs_base %016" PRIx64 "\n", registers->fs_base,
        registers->gs_base, registers->kernel_gs_base);
    SAY(monitor,
        "cr0 %08" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "  cr4 %08" PRIx64 "  cr8 %" PRIx64 "  efer %" PRIx64
        "\n",
        registers->cr0, registers->cr2, registers->cr3, registers->cr4, registers->cr8, registers->efer);
}

/* ---- What the kernel has in memory ---- */

/* A Linux that runs in the space that the client looks at. view is to live as long as the result. */
static struct linux_memory linux_memory_of(const struct monitor *monitor, struct guest_view *view)
{
    *view = debugger_view(monitor->debugger, monitor->vcpu);
    return guest_view_linux(view);
}

static void show_log(struct monitor *monitor)
{
    struct guest_view view;
    const struct linux_memory memory = linux_memory_of(monitor, &view);
    uint64_t count = KERNEL_LOG_ALL;
    struct error error;
    char *end;

    if (monitor->argument[0] != '\0') {
        count = strtoull(monitor->argument, &end, 10);
        if (*end != '\0' || count == 0) {
            SAY(monitor, "dmesg takes a number of lines, or nothing for all\n");
            return;
        }
    }
    if (kernel_log_print(&memory, count, monitor->output, &error) < 0)
        say_error(monitor, &error);
}

static void show_kaslr(struct monitor *monitor)
{
    struct guest_view view;
    const struct linux_memory memory = linux_memory_of(monitor, &view);
    struct kaslr kaslr;
    struct error error;

    if (kaslr_find(&memory, &kaslr, &error) < 0)
        say_error(monitor, &error);
    else
        kaslr_print(&kaslr, monitor->output);
}

/* ---- Break- and watchpoints ---- */

static const char *const mechanism_names[] = {[POINT_BY_INT3] = "int3",
                                              [POINT_BY_REGISTER] = "processor",
                                              [POINT_BY_PAGE] = "page",
                                              [POINT_MECHANISM_COUNT] = "auto"};

static void set_mechanism(struct monitor *monitor)
{
    bool is_known = monitor->argument[0] == '\0';

    for (int i = 0; i <= POINT_MECHANISM_COUNT && !is_known; i++) {
        is_known = strcmp(monitor->argument, mechanism_names[i]) == 0;
        if (is_known)
            monitor->debugger->mechanism = (enum point_mechanism)i;
    }
    if (!is_known)
        SAY(monitor, "there is no mechanism \"%s\"; there are auto, int3, processor and page\n", monitor->argument);
    SAY(monitor, "new break- and watchpoints are realised by: %s\n", mechanism_names[monitor->debugger->mechanism]);
}

static void show_points(struct monitor *monitor)
{
    static const char *const kinds[DEBUG_POINT_KIND_COUNT] = {[DEBUG_POINT_SOFTWARE] = "breakpoint",
                                                              [DEBUG_POINT_HARDWARE] = "hardware breakpoint",
                                                              [DEBUG_POINT_WRITE] = "write watch",
                                                              [DEBUG_POINT_READ] = "read watch",
                                                              [DEBUG_POINT_ACCESS] = "access watch"};
    const struct points *points = &monitor->debugger->points;

    for (size_t i = 0; i < points->count; i++) {
        const struct point *point = &points->items[i];
        SAY(monitor, "%s at 0x%" PRIx64 ", %" PRIu64 " bytes, by %s", kinds[point->kind], point->address, point->size,
            mechanism_names[point->mechanism]);
        for (size_t j = 0; j < point->site_count && j < 4; j++)
            SAY(monitor, "%s guest-physical 0x%" PRIx64 " of \"%s\"", j == 0 ? ":" : ",", point->sites[j].gpa,
                debugger_space_name(monitor->debugger, point->sites[j].space));
        SAY(monitor, "\n");
    }
    if (points->count == 0)
        SAY(monitor, "the client has set no break- or watchpoints now; gdb sets them when the guest goes on\n");
}

static const char *yes(bool value)
{
    return value ? "yes" : "no";
}

static void show_caps(struct monitor *monitor)
{
    static const char *const int3s[] = {[INT3_NO] = "no", [INT3_EXITS] = "yes", [INT3_FAILS] = "as a failure, yes"};
    const struct debug_host *host = &monitor->debugger->environment.host;

    SAY(monitor, "what this host's KVM honours          kernel code / user code\n");
    SAY(monitor, "  single step                          %s / %s\n", yes(host->single_step[0]),
        yes(host->single_step[1]));
    SAY(monitor, "  breakpoints by INT3                  %s / %s\n", int3s[host->int3[0]], int3s[host->int3[1]]);
    SAY(monitor, "  breakpoints by debug register, four  %s / %s\n", yes(host->execute_breakpoint[0]),
        yes(host->execute_breakpoint[1]));
    SAY(monitor, "  watchpoints by debug register, four  %s / %s\n", yes(host->watchpoint[0]),
        yes(host->watchpoint[1]));
    SAY(monitor, "  breakpoints by page, any number      %s / %s\n", yes(host->single_step[0]),
        yes(host->single_step[1]));
    SAY(monitor, "  watchpoints by page, any number      yes / yes\n");
    SAY(monitor, "interrupts are held during a step: %s\n", yes(host->holds_interrupts));
    SAY(monitor, "watchpoints do not see what devices write\n");
}

/* ---- The machine ---- */

static void reset(struct monitor *monitor)
{
    struct error error;

    if (debugger_restart(monitor->debugger, &error) < 0)
        say_error(monitor, &error);
    else
        SAY(monitor,
            "the machine is before its first instruction; \"maintenance flush register-cache\" has gdb look\n");
}

struct nmi_call {
    int status;
};

static void send_nmi(void *context, hv_vcpuid_t id)
{
    struct nmi_call *call = context;
    int fd;

    call->status = hvx_vcpu_kvm_fd(id, &fd) == HV_SUCCESS ? ioctl(fd, KVM_NMI) : -1;
}

static void nmi(struct monitor *monitor)
{
    struct nmi_call call = {.status = -1};

    vcpus_call(monitor->debugger->vcpus, monitor->vcpu, send_nmi, &call);
    if (call.status < 0)
        SAY(monitor, "KVM did not take the interrupt\n");
    else
        SAY(monitor, "vCPU %u gets a non-maskable interrupt when the guest goes on\n", monitor->vcpu);
}

static void quit(struct monitor *monitor)
{
    monitor->debugger->environment.kill(monitor->debugger->environment.context);
    SAY(monitor, "the machine ends\n");
}

/* The kernel tree's gdb scripts ask so whether this is a virtual machine's stub, and take any answer for a yes. */
static void info(struct monitor *monitor)
{
    if (strcmp(monitor->argument, "version") == 0)
        SAY(monitor, "Quire\n");
    else
        SAY(monitor, "\"monitor help\" lists the commands\n");
}

/* ---- Which command ---- */

static void help(struct monitor *monitor);

static const struct command {
    const char *name;
    const char *arguments;
    const char *doc;
    void (*run)(struct monitor *monitor);
} commands[] = {
    {"help", "", "this list", help},
    {"maps", "", "what lies where in the guest's spaces", show_maps},
    {"space", "[NAME | auto]", "whose memory addresses are of; auto: of the vCPU's space", set_space},
    {"phys", "[on | off]", "addresses are guest-physical, or linear", set_physical},
    {"translate", "ADDRESS", "a linear address's way through the page tables", translate},
    {"regs", "", "the vCPU's registers, system ones too", show_registers},
    {"dmesg", "[N]", "the Linux guest's log, or its last N lines, read from memory", show_log},
    {"kaslr", "", "where the guest's kernel is, and how gdb is told", show_kaslr},
    {"caps", "", "what this host can do for break- and watchpoints", show_caps},
    {"mechanism", "[auto | int3 | processor | page]", "how new ones are realised", set_mechanism},
    {"points", "", "those that are set, and how", show_points},
    {"nmi", "", "give the vCPU a non-maskable interrupt", nmi},
    {"reset", "", "restart the machine, and stop before its first instruction", reset},
    {"quit", "", "end the machine", quit},
    {"info", "version", "what this is", info},
};

static void help(struct monitor *monitor)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        SAY(monitor, "%s %s%*s%s\n", commands[i].name, commands[i].arguments,
            (int)(44 - strlen(commands[i].name) - strlen(commands[i].arguments)), "", commands[i].doc);
}

void monitor_command(void *context, unsigned vcpu, const char *command, const struct debug_output *output)
{
    static const char blanks[] = " \t";
    struct monitor monitor = {.debugger = context, .vcpu = vcpu, .output = output};
    const char *name = command + strspn(command, blanks);
    const size_t length = strcspn(name, blanks);
    char argument[256];

    (void)snprintf(argument, sizeof(argument), "%s", name + length + strspn(name + length, blanks));
    for (size_t end = strlen(argument); end > 0 && strchr(blanks, argument[end - 1]) != NULL; end--)
        argument[end - 1] = '\0';
    monitor.argument = argument;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strlen(commands[i].name) == length && strncmp(commands[i].name, name, length) == 0) {
            commands[i].run(&monitor);
            return;
        }
    }
    SAY(&monitor, "there is no monitor command \"%.*s\"; \"monitor help\" lists them\n",
        (int)(length < 64 ? length : 64), name);
}
