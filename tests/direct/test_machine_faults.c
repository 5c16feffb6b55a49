/*
 * What a machine's vCPU threads make of refused accesses: by the mapping's policy, and in words.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include "vmm/machine/fault_log.h"
#include "vmm/machine/vcpus.h"
#include "vmm/maps/maps.h"

#include <fcntl.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

/* Where a processor begins after power-on (Intel SDM volume 3, 10.1.4), and the page around it. */
enum { RESET_OFFSET = 0xff0 };
static const hv_gpaddr_t RESET_PAGE_GPA = 0xfffff000;

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

static struct {
    sem_t happened;
    struct machine_outcome outcome;
    struct log log;
    int log_pipe;
    struct plan_space space;
    struct memory_plan plan;
    hv_vm_space_t space_id;
    struct machine_memory memory;
    struct fault_log fault_log;
    struct bus *ports;
    struct bus *mmio;
    struct vcpus *vcpus;
    uint8_t *pages;
} machine;

static struct kvm_cpuid2 *empty_cpuid(void *context, unsigned index, struct error *error)
{
    (void)context;
    (void)index;
    (void)error;
    return calloc(1, sizeof(struct kvm_cpuid2));
}

static int no_sandbox(void *context, const char *thread_name, struct error *error)
{
    (void)context;
    (void)thread_name;
    (void)error;
    return 0;
}

static const char *only_space(void *context, hv_vm_space_t space)
{
    (void)context;
    (void)space;
    return "default";
}

static void on_stopped(void *context, const struct machine_outcome *outcome)
{
    (void)context;
    machine.outcome = *outcome;
    vcpus_request_park(machine.vcpus, 0);
    sem_post(&machine.happened);
}

static void map(uint8_t *page, hv_gpaddr_t gpa, hv_memory_flags_t flags, hvx_policy_t policy, const char *name)
{
    ck_assert_int_eq(hvx_vm_map_space_named(HV_VM_SPACE_DEFAULT, page, gpa, PAGE, flags, name), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, gpa, PAGE, policy), HV_SUCCESS);
}

/* As much of a machine's memory as names its space. */
static void name_space(void)
{
    machine.space.name = "default";
    machine.plan = (struct memory_plan){.spaces = &machine.space, .space_count = 1};
    machine.memory = (struct machine_memory){.plan = &machine.plan, .spaces = &machine.space_id, .space_count = 1};
}

/* A machine of one vCPU: its program is what it begins with, in real mode; at 0x1000 and 0x2000 there is a page. */
static void create(const void *program, size_t size, hv_memory_flags_t flags, hvx_policy_t first, hvx_policy_t second)
{
    static const hv_vm_space_t spaces[1];
    struct vcpus_environment environment = {.count = 1,
                                            .spaces = spaces,
                                            .space_name = only_space,
                                            .cpuid = empty_cpuid,
                                            .enter_sandbox = no_sandbox,
                                            .stopped = on_stopped,
                                            .log = &machine.log};
    struct error error = {0};
    void *pages;
    int ends[2];

    sem_init(&machine.happened, 0, 0);
    ck_assert_int_eq(pipe2(ends, O_NONBLOCK), 0);
    machine.log = (struct log){.level = LOG_LEVEL_WARN, .fd = ends[1]};
    machine.log_pipe = ends[0];
    name_space();
    machine.fault_log = (struct fault_log){.log = &machine.log, .memory = &machine.memory};
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_fault_listener(fault_log_listen, &machine.fault_log), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_allocate(&pages, 3 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    machine.pages = pages;
    memcpy(machine.pages + RESET_OFFSET, program, size);
    map(machine.pages, RESET_PAGE_GPA, ALL, HVX_POLICY_CLIENT, "firmware");
    map(machine.pages + PAGE, 0x1000, flags, first, "first");
    map(machine.pages + 2 * PAGE, 0x2000, flags, second, "second");
    environment.ports = machine.ports = bus_create("ports", 0x10000);
    environment.mmio = machine.mmio = bus_create("mmio", 1ull << 48);
    ck_assert_int_eq(vcpus_create(&environment, &machine.vcpus, &error), 0);
}

static void run_until_stopped(void)
{
    vcpus_resume(machine.vcpus);
    while (sem_wait(&machine.happened) != 0)
        ;
    vcpus_wait_parked(machine.vcpus);
}

static void destroy(void)
{
    vcpus_destroy(machine.vcpus);
    bus_destroy(machine.ports);
    bus_destroy(machine.mmio);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_deallocate(machine.pages, 3 * PAGE), HV_SUCCESS);
}

/* What has been logged. */
static const char *logged(void)
{
    static char text[4096];
    const ssize_t length = read(machine.log_pipe, text, sizeof(text) - 1);

    text[length > 0 ? length : 0] = '\0';
    return text;
}

START_TEST(a_fault_of_a_mapping_that_stops_ends_the_machine)
{
    /* mov [0x1004], eax */
    static const uint8_t program[] = {0x66, 0xa3, 0x04, 0x10};

    create(program, sizeof(program), HV_MEMORY_READ, HVX_POLICY_STOP, HVX_POLICY_CLIENT);
    run_until_stopped();
    ck_assert_int_eq(machine.outcome.event, MACHINE_UNHANDLED_EXIT);
    ck_assert_int_eq(machine.outcome.vcpu, 0);
    ck_assert_str_eq(
        machine.outcome.text,
        "it wrote 4 bytes at guest-physical 0x1004 (0x0), \"first\" of space \"default\", which allows r--");
    ck_assert_str_eq(logged(), "");
    destroy();
}
END_TEST

START_TEST(what_is_logged_or_counted_goes_on_and_what_is_the_clients_is_a_dead_bus)
{
    /* mov al, [0x2000]; mov [0x1000], al; jmp 0:0x5000 */
    static const uint8_t program[] = {0xa0, 0x00, 0x20, 0xa2, 0x00, 0x10, 0xea, 0x00, 0x50, 0x00, 0x00};
    static const hvx_policy_t policies[] = {HVX_POLICY_CLIENT, HVX_POLICY_LOG, HVX_POLICY_COUNT};
    const bool is_logged = policies[_i] == HVX_POLICY_LOG;

    create(program, sizeof(program), 0, HVX_POLICY_COUNT, policies[_i]);
    run_until_stopped();
    ck_assert_int_eq(machine.outcome.event, MACHINE_UNHANDLED_EXIT);
    ck_assert_str_eq(machine.outcome.text,
                     "it jumped to guest-physical 0x5000 of space \"default\", where there is no memory");
    const char *text = logged();
    ck_assert_msg((strstr(text, "memory: vCPU 0 at rip 0xfff") == text) == is_logged, "logged: %s", text);
    ck_assert_msg(
        (strstr(text,
                " read 1 byte at guest-physical 0x2000, \"second\" of space \"default\", which allows nothing\n") !=
         NULL) == is_logged,
        "logged: %s", text);
    ck_assert_ptr_null(strstr(text, "first"));
    destroy();
}
END_TEST

START_TEST(a_jump_to_a_mapping_names_it)
{
    /* jmp 0:0x2000 */
    static const uint8_t program[] = {0xea, 0x00, 0x20, 0x00, 0x00};

    create(program, sizeof(program), 0, HVX_POLICY_CLIENT, HVX_POLICY_COUNT);
    run_until_stopped();
    ck_assert_int_eq(machine.outcome.event, MACHINE_UNHANDLED_EXIT);
    ck_assert_str_eq(machine.outcome.text,
                     "it jumped to guest-physical 0x2000, \"second\" of space \"default\", which allows nothing");
    destroy();
}
END_TEST

/* ---- Words ---- */

static const char *described(const hvx_fault_t *fault)
{
    static char text[256];

    maps_describe_fault(fault, "io", text, sizeof(text));
    return text;
}

START_TEST(a_fault_says_who_what_and_where)
{
    hvx_fault_t fault = {.space = 2,
                         .gpa = 0x1000,
                         .access = HV_MEMORY_READ | HV_MEMORY_WRITE,
                         .allowed = HV_MEMORY_READ | HV_MEMORY_EXEC,
                         .length = 5000000000,
                         .mapping = "ring",
                         .vcpu = HVX_FAULT_NO_VCPU,
                         .device = "disk0 queue 2"};

    ck_assert_str_eq(described(&fault), "disk0 queue 2 read and wrote 5000000000 bytes at guest-physical "
                                        "0x1000, \"ring\" of space \"io\", which allows r-x");
    fault.mapping[0] = '\0';
    fault.access = HV_MEMORY_WRITE;
    fault.length = 1;
    ck_assert_str_eq(described(&fault),
                     "disk0 queue 2 wrote 1 byte at guest-physical 0x1000 of space \"io\", where r-x is allowed");
    fault.allowed = 0;
    fault.vcpu = 3;
    fault.rip = 0xabc;
    fault.access = HV_MEMORY_EXEC;
    ck_assert_str_eq(described(&fault),
                     "vCPU 3 at rip 0xabc jumped to guest-physical 0x1000 of space \"io\", where nothing is allowed");
}
END_TEST

START_TEST(devices_faults_are_logged_and_an_ordinary_vcpus_are_not)
{
    hvx_fault_t fault = {.access = HV_MEMORY_READ, .length = 1, .mapping = "rom", .vcpu = 0};
    struct log log = {.level = LOG_LEVEL_WARN};
    struct fault_log fault_log = {.log = &log, .memory = &machine.memory};
    int ends[2];

    name_space();
    ck_assert_int_eq(pipe2(ends, O_NONBLOCK), 0);
    log.fd = ends[1];
    machine.log_pipe = ends[0];
    fault_log_listen(&fault_log, &fault);
    fault.policy = HVX_POLICY_STOP;
    fault_log_listen(&fault_log, &fault);
    ck_assert_str_eq(logged(), "");
    fault.policy = HVX_POLICY_CLIENT;
    fault.vcpu = HVX_FAULT_NO_VCPU;
    strcpy(fault.device, "nic0");
    fault_log_listen(&fault_log, &fault);
    ck_assert_str_eq(
        logged(),
        "memory: nic0 read 1 byte at guest-physical 0x0, \"rom\" of space \"default\", which allows nothing\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct machine faults");
    TCase *tcase = tcase_create("machine faults");

    bare_guest_require_kvm();
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_fault_of_a_mapping_that_stops_ends_the_machine);
    tcase_add_loop_test(tcase, what_is_logged_or_counted_goes_on_and_what_is_the_clients_is_a_dead_bus, 0, 3);
    tcase_add_test(tcase, a_jump_to_a_mapping_names_it);
    tcase_add_test(tcase, a_fault_says_who_what_and_where);
    tcase_add_test(tcase, devices_faults_are_logged_and_an_ordinary_vcpus_are_not);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
