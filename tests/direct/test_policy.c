/*
 * What becomes of a refused access by its mapping's policy: vCPUs' and devices', the counters, and the listener.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include <Hypervisor/hvx_dma.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

/* mov [DATA_GPA], eax; mov ebx, [DATA_GPA]; again: out 0x10, al; jmp again */
static const uint8_t store_and_load[] = {0xa3, 0x00, 0x00, 0x02, 0x00, 0x8b, 0x1d, 0x00,
                                         0x00, 0x02, 0x00, 0xe6, 0x10, 0xeb, 0xfc};
/* again: mov [DATA_GPA], eax; inc edx; jmp again */
static const uint8_t store_without_end[] = {0xa3, 0x00, 0x00, 0x02, 0x00, 0x42, 0xeb, 0xf8};
/* again: mov eax, [DATA_GPA]; inc edx; jmp again */
static const uint8_t load_without_end[] = {0xa1, 0x00, 0x00, 0x02, 0x00, 0x42, 0xeb, 0xf8};

/* ---- A listener that remembers ---- */

static struct {
    atomic_uint calls;
    /* The last call's; written by one thread at a time, where a test looks at them. */
    hvx_fault_t fault;
    pthread_t thread;
    uint64_t total;
    void *context;
} heard;

static void remember(void *context, const hvx_fault_t *fault)
{
    hvx_fault_t last;
    size_t count = 1;

    ck_assert_int_eq(hvx_vm_faults(&last, &count, &heard.total), HV_SUCCESS);
    /* It has been recorded. */
    ck_assert_uint_eq(count, 1);
    ck_assert_mem_eq(&last, fault, sizeof(last));
    heard.fault = *fault;
    heard.thread = pthread_self();
    heard.context = context;
    atomic_fetch_add(&heard.calls, 1);
}

/* A guest whose VM has a listener, and whose data page has a name. */
static void create(struct bare_guest *guest, const void *program, size_t size,
                   void (*listener)(void *context, const hvx_fault_t *fault))
{
    bare_guest_create(guest, program, size);
    ck_assert_int_eq(hv_vcpu_destroy(guest->vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_fault_listener(listener, guest), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_create(&guest->vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    bare_guest_enter_protected_mode(guest->vcpu);
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_map_space_named(HV_VM_SPACE_DEFAULT, guest->data, DATA_GPA, PAGE, ALL, "secret"),
                     HV_SUCCESS);
}

static void set_page(hv_memory_flags_t flags, hvx_policy_t policy)
{
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, policy), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, flags), HV_SUCCESS);
}

static uint64_t fault_count(void)
{
    hvx_space_info_t info;

    ck_assert_int_eq(hvx_vm_space_info(HV_VM_SPACE_DEFAULT, &info), HV_SUCCESS);
    return info.fault_count;
}

static uint64_t recorded(void)
{
    hvx_fault_t fault;
    size_t count = 1;
    uint64_t total;

    ck_assert_int_eq(hvx_vm_faults(&fault, &count, &total), HV_SUCCESS);
    return total;
}

static void expect_counts(uint64_t counted, uint64_t kept)
{
    ck_assert_uint_eq(fault_count(), counted);
    ck_assert_uint_eq(recorded(), kept);
    ck_assert_uint_eq(atomic_load(&heard.calls), kept);
}

/* ---- vCPUs ---- */

/* Bit 0: at CPL 3. The rest: LOG or COUNT. */
START_TEST(what_is_answered_goes_on_as_on_an_open_bus)
{
    const hvx_policy_t policy = _i & 2 ? HVX_POLICY_COUNT : HVX_POLICY_LOG;
    const uint32_t before = 0x5a5a5a5a;
    struct bare_guest guest;

    create(&guest, store_and_load, sizeof(store_and_load), remember);
    if (_i & 1)
        bare_guest_enter_user_mode(guest.vcpu);
    memcpy(guest.data, &before, sizeof(before));
    set_page(0, policy);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x11223344), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RBX, 0), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_PORT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0xffffffff);
    ck_assert_mem_eq(guest.data, &before, sizeof(before));
    expect_counts(2, policy == HVX_POLICY_LOG ? 2 : 0);
    /* Where the map allows it the memory is there as before. */
    set_page(ALL, policy);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RIP, CODE_GPA), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_PORT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0x11223344);
    expect_counts(2, policy == HVX_POLICY_LOG ? 2 : 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_load_is_all_ones_in_its_length_and_a_read_and_write_is_two_accesses)
{
    /* mov al, [DATA_GPA]; mov bx, [DATA_GPA + 2]; inc dword [DATA_GPA + 4]; hlt */
    static const uint8_t program[] = {0xa0, 0x00, 0x00, 0x02, 0x00, 0x66, 0x8b, 0x1d, 0x02, 0x00,
                                      0x02, 0x00, 0xff, 0x05, 0x04, 0x00, 0x02, 0x00, 0xf4};
    static const uint8_t untouched[8] = {0};
    struct bare_guest guest;

    create(&guest, program, sizeof(program), remember);
    set_page(0, HVX_POLICY_LOG);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x12345678), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RBX, 0x12345678), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 0x123456ff);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0x1234ffff);
    ck_assert_mem_eq(guest.data, untouched, sizeof(untouched));
    expect_counts(4, 4);
    /* The last was the write of all ones and one. */
    ck_assert_uint_eq(heard.fault.access, HV_MEMORY_WRITE);
    ck_assert_uint_eq(heard.fault.gpa, DATA_GPA + 4);
    ck_assert_uint_eq(heard.fault.length, 4);
    ck_assert_uint_eq(heard.fault.data[0], 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(the_listener_gets_the_record_on_the_thread_that_caused_it)
{
    struct bare_guest guest;

    create(&guest, store_and_load, sizeof(store_and_load), remember);
    set_page(HV_MEMORY_READ, HVX_POLICY_LOG);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x11223344), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_PORT);
    expect_counts(1, 1);
    ck_assert(pthread_equal(heard.thread, pthread_self()));
    ck_assert_ptr_eq(heard.context, &guest);
    ck_assert_uint_eq(heard.fault.number, 0);
    ck_assert_uint_eq(heard.fault.space, HV_VM_SPACE_DEFAULT);
    ck_assert_uint_eq(heard.fault.gpa, DATA_GPA);
    ck_assert_uint_eq(heard.fault.access, HV_MEMORY_WRITE);
    ck_assert_uint_eq(heard.fault.allowed, HV_MEMORY_READ);
    ck_assert_uint_eq(heard.fault.length, 4);
    ck_assert_uint_eq(heard.fault.data[0], 0x44);
    ck_assert_int_eq(heard.fault.policy, HVX_POLICY_LOG);
    ck_assert_str_eq(heard.fault.mapping, "secret");
    ck_assert_uint_eq(heard.fault.vcpu, guest.vcpu);
    ck_assert_uint_ge(heard.fault.rip, CODE_GPA);
    ck_assert_uint_le(heard.fault.rip, CODE_GPA + 5);
    ck_assert_str_eq(heard.fault.device, "");
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(what_goes_to_the_client_is_one_fault_however_often_it_is_tried)
{
    const hvx_policy_t policy = _i == 0 ? HVX_POLICY_CLIENT : HVX_POLICY_STOP;
    struct bare_guest guest;

    create(&guest, store_and_load, sizeof(store_and_load), remember);
    set_page(0, policy);
    for (unsigned i = 0; i < 3; i++) {
        hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
        ck_assert_uint_eq(exit.memory.access, HV_MEMORY_WRITE);
        ck_assert_int_eq(exit.memory.policy, policy);
        expect_counts(1, 1);
    }
    ck_assert_int_eq(heard.fault.policy, policy);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
    ck_assert_uint_eq(bare_guest_run(guest.vcpu).memory.access, HV_MEMORY_READ);
    expect_counts(2, 2);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_PORT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0);
    expect_counts(2, 2);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_policy_counts_for_an_access_that_is_pending)
{
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;

    create(&guest, store_and_load, sizeof(store_and_load), remember);
    set_page(0, HVX_POLICY_CLIENT);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).memory.policy, HVX_POLICY_CLIENT);
    set_page(HV_MEMORY_READ, HVX_POLICY_STOP);
    exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(exit.memory.policy, HVX_POLICY_STOP);
    ck_assert_uint_eq(exit.memory.allowed, HV_MEMORY_READ);
    set_page(HV_MEMORY_READ, HVX_POLICY_COUNT);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_PORT);
    /* The store was one fault, and the load is none. */
    expect_counts(1, 1);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(where_nothing_is_mapped_is_no_fault_until_something_is_that_forbids_it)
{
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;

    create(&guest, store_and_load, sizeof(store_and_load), remember);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, HVX_POLICY_COUNT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(exit.memory.policy, HVX_POLICY_CLIENT);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    expect_counts(0, 0);
    /* The mapping's policy went with it. */
    ck_assert_int_eq(hv_vm_map(guest.data, DATA_GPA, PAGE, 0), HV_SUCCESS);
    exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(exit.memory.policy, HVX_POLICY_CLIENT);
    expect_counts(1, 1);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(each_access_of_many_is_counted_once)
{
    /* mov ecx, 1000; again: mov [DATA_GPA], eax; mov ebx, [DATA_GPA]; loop again; hlt */
    static const uint8_t program[] = {0xb9, 0xe8, 0x03, 0x00, 0x00, 0xa3, 0x00, 0x00, 0x02, 0x00,
                                      0x8b, 0x1d, 0x00, 0x00, 0x02, 0x00, 0xe2, 0xf3, 0xf4};
    struct bare_guest guest;

    create(&guest, program, sizeof(program), remember);
    set_page(0, _i == 0 ? HVX_POLICY_COUNT : HVX_POLICY_LOG);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    expect_counts(2000, _i == 0 ? 0 : 2000);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_fetch_is_an_exit_whatever_the_policy)
{
    static const hvx_policy_t policies[] = {HVX_POLICY_CLIENT, HVX_POLICY_STOP, HVX_POLICY_LOG, HVX_POLICY_COUNT};
    /* mov eax, DATA_GPA; jmp eax */
    static const uint8_t jump[] = {0xb8, 0x00, 0x00, 0x02, 0x00, 0xff, 0xe0};
    const hvx_policy_t policy = policies[_i / 2];
    const bool is_strict = _i % 2 != 0;
    const uint64_t kept = policy == HVX_POLICY_COUNT ? 0 : 1;
    struct bare_guest guest;

    create(&guest, jump, sizeof(jump), remember);
    ck_assert_int_eq(hvx_vm_space_set_strict(HV_VM_SPACE_DEFAULT, is_strict), HV_SUCCESS);
    set_page(is_strict ? HV_MEMORY_READ | HV_MEMORY_WRITE : 0, policy);
    guest.data[0] = 0xf4;
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_EXEC);
    ck_assert_uint_eq(exit.memory.gpa, DATA_GPA);
    ck_assert_int_eq(exit.memory.policy, policy);
    expect_counts(1, kept);
    set_page(ALL, policy);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    expect_counts(1, kept);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_access_that_comes_up_while_the_vcpu_moves_is_counted_when_it_runs)
{
    /* add [DATA_GPA], al; hlt */
    static const uint8_t program[] = {0x00, 0x05, 0x00, 0x00, 0x02, 0x00, 0xf4};
    const uint8_t five = 5;
    struct bare_guest guest;
    hv_vm_space_t space;

    create(&guest, program, sizeof(program), remember);
    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    set_page(0, HVX_POLICY_CLIENT);
    ck_assert_uint_eq(bare_guest_run(guest.vcpu).memory.access, HV_MEMORY_READ);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &five), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_BUSY);
    expect_counts(1, 1);
    if (_i == 1)
        set_page(0, HVX_POLICY_LOG);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, _i == 1 ? HVX_EXIT_HALT : HVX_EXIT_MEMORY);
    expect_counts(2, 2);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- Guests that fault without end ---- */

static uint64_t now_nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *interrupt_soon(void *argument)
{
    const struct timespec soon = {.tv_nsec = 50000000};
    hv_vcpuid_t vcpu = *(const hv_vcpuid_t *)argument;

    nanosleep(&soon, NULL);
    ck_assert_int_eq(hv_vcpu_interrupt(&vcpu, 1), HV_SUCCESS);
    return NULL;
}

static void expect_interrupted(const struct bare_guest *guest)
{
    hvx_vcpu_exit_t exit;

    ck_assert_int_eq(hvx_vcpu_exit(guest->vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
}

static void run_until_interrupted(const struct bare_guest *guest)
{
    hv_vcpuid_t vcpu = guest->vcpu;
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, interrupt_soon, &vcpu), 0);
    ck_assert_int_eq(hv_vcpu_run(guest->vcpu), HV_SUCCESS);
    pthread_join(thread, NULL);
    expect_interrupted(guest);
}

static void run_until_deadline(const struct bare_guest *guest)
{
    const uint64_t deadline = now_nanoseconds() + 50000000;

    ck_assert_int_eq(hv_vcpu_run_until(guest->vcpu, deadline), HV_SUCCESS);
    ck_assert_uint_ge(now_nanoseconds(), deadline);
    expect_interrupted(guest);
}

/* Bit 0: loads. Bit 1: CPL 3. Bit 2: LOG. */
START_TEST(a_guest_that_faults_without_end_leaves_when_it_is_told_to)
{
    struct bare_guest guest;
    uint64_t last = 0;

    create(&guest, _i & 1 ? load_without_end : store_without_end, sizeof(store_without_end), remember);
    if (_i & 2)
        bare_guest_enter_user_mode(guest.vcpu);
    set_page(0, _i & 4 ? HVX_POLICY_LOG : HVX_POLICY_COUNT);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RDX, 0), HV_SUCCESS);
    for (unsigned i = 0; i < 4; i++) {
        /* Again where the host had no time for the guest. */
        uint64_t done;
        do {
            if (i % 2 == 0)
                run_until_interrupted(&guest);
            else
                run_until_deadline(&guest);
            done = bare_guest_register(guest.vcpu, HV_X86_RDX);
        } while (done == last);
        /* The guest counts what it has done; it may be between an access and its count. */
        const uint64_t counted = fault_count();
        ck_assert_uint_ge(counted, done);
        ck_assert_uint_le(counted - done, 1);
        ck_assert_uint_gt(done, last);
        last = done;
    }
    /* One that has passed, and one that was asked for before. */
    ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, 0), HV_SUCCESS);
    expect_interrupted(&guest);
    ck_assert_int_eq(hv_vcpu_interrupt(&guest.vcpu, 1), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
    expect_interrupted(&guest);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_string_instruction_over_a_large_mapping_leaves_when_it_is_told_to)
{
    enum { LARGE_GPA = 0x40000000, LARGE_SIZE = 0x10000000 };
    static const uint8_t programs[2][3] = {{0xf3, 0xac, 0xf4} /* rep lodsb; hlt */,
                                           {0xf3, 0xaa, 0xf4} /* rep stosb; hlt */};
    struct bare_guest guest;

    create(&guest, programs[_i], sizeof(programs[_i]), remember);
    void *large = mmap(NULL, LARGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ck_assert_ptr_ne(large, MAP_FAILED);
    ck_assert_int_eq(hv_vm_map(large, LARGE_GPA, LARGE_SIZE, 0), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, LARGE_GPA, LARGE_SIZE, HVX_POLICY_COUNT), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RSI, LARGE_GPA), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RDI, LARGE_GPA), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RCX, LARGE_SIZE), HV_SUCCESS);
    do {
        run_until_interrupted(&guest);
        run_until_deadline(&guest);
    } while (fault_count() == 0);
    ck_assert_uint_gt(bare_guest_register(guest.vcpu, HV_X86_RCX), 0);
    bare_guest_destroy(&guest);
}
END_TEST

static void interrupt_and_look(void *context, const hvx_fault_t *fault)
{
    const struct bare_guest *guest = context;
    hv_vcpuid_t vcpu = fault->vcpu;
    hvx_space_info_t info;
    hvx_range_t range;
    uint8_t byte;

    remember(context, fault);
    ck_assert_int_eq(hvx_vm_space_info(fault->space, &info), HV_SUCCESS);
    ck_assert_uint_eq(info.fault_count, atomic_load(&heard.calls));
    ck_assert_int_eq(hvx_vm_query_space(fault->space, fault->gpa, &range), HV_SUCCESS);
    ck_assert_int_eq(range.policy, HVX_POLICY_LOG);
    ck_assert_int_eq(hvx_vm_read_space(fault->space, fault->gpa, &byte, 1), HV_SUCCESS);
    ck_assert_uint_eq(byte, guest->data[0]);
    ck_assert_int_eq(hv_vcpu_interrupt(&vcpu, 1), HV_SUCCESS);
}

START_TEST(a_listener_may_look_and_interrupt)
{
    struct bare_guest guest;

    create(&guest, store_without_end, sizeof(store_without_end), interrupt_and_look);
    guest.data[0] = 0x77;
    set_page(0, HVX_POLICY_LOG);
    for (unsigned i = 1; i < 4; i++) {
        ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
        expect_interrupted(&guest);
        expect_counts(i, i);
    }
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- The map ---- */

static size_t slot_count(void)
{
    hvx_space_info_t info;

    ck_assert_int_eq(hvx_vm_space_info(HV_VM_SPACE_DEFAULT, &info), HV_SUCCESS);
    return info.slot_count;
}

static hvx_range_t range_at(hv_gpaddr_t gpa)
{
    hvx_range_t range;

    ck_assert_int_eq(hvx_vm_query_space(HV_VM_SPACE_DEFAULT, gpa, &range), HV_SUCCESS);
    return range;
}

START_TEST(a_policy_is_the_maps_and_costs_no_slot)
{
    const hv_gpaddr_t gpa = 0x100000;
    void *memory;

    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_allocate(&memory, 4 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(memory, gpa, 4 * PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(range_at(gpa).policy, HVX_POLICY_CLIENT);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, gpa + PAGE, 2 * PAGE, HVX_POLICY_STOP), HV_SUCCESS);
    ck_assert_uint_eq(slot_count(), 1);
    ck_assert_uint_eq(range_at(gpa).size, PAGE);
    ck_assert_uint_eq(range_at(gpa + PAGE).size, 2 * PAGE);
    ck_assert_int_eq(range_at(gpa + PAGE).policy, HVX_POLICY_STOP);
    ck_assert_int_eq(range_at(gpa + 3 * PAGE).policy, HVX_POLICY_CLIENT);
    /* KVM sees flags only. */
    ck_assert_int_eq(hv_vm_protect(gpa, 4 * PAGE, HV_MEMORY_READ), HV_SUCCESS);
    ck_assert_uint_eq(slot_count(), 1);
    ck_assert_int_eq(range_at(gpa + PAGE).policy, HVX_POLICY_STOP);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, gpa + PAGE, 2 * PAGE, HVX_POLICY_CLIENT), HV_SUCCESS);
    ck_assert_uint_eq(range_at(gpa).size, 4 * PAGE);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(arguments_are_checked_in_order_and_a_refused_call_changes_nothing)
{
    void *memory;

    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 1, 0, (hvx_policy_t)9), HV_NO_DEVICE);
    ck_assert_int_eq(hvx_vm_set_fault_listener(remember, NULL), HV_NO_DEVICE);
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 1, PAGE, HVX_POLICY_LOG), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 0, 0, HVX_POLICY_LOG), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 0, PAGE + 1, HVX_POLICY_LOG), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 1ull << 48, PAGE, HVX_POLICY_LOG), HV_BAD_ARGUMENT);
    /* Before it is seen that nothing is mapped. */
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 0, PAGE, (hvx_policy_t)4), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_policy(7, 0, PAGE, HVX_POLICY_LOG), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 0, PAGE, HVX_POLICY_LOG), HV_ERROR);
    ck_assert_int_eq(hv_vm_allocate(&memory, PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(memory, 0, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, 0, 2 * PAGE, HVX_POLICY_LOG), HV_ERROR);
    ck_assert_int_eq(range_at(0).policy, HVX_POLICY_CLIENT);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(a_listener_is_set_while_nobody_can_fault)
{
    hv_vcpuid_t vcpu;
    hvx_dma_t *dma;
    uint8_t byte;

    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_fault_listener(remember, NULL), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_fault_listener(NULL, NULL), HV_BUSY);
    ck_assert_int_eq(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, "disk0", &dma), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_fault_listener(NULL, NULL), HV_BUSY);
    ck_assert_int_eq(hvx_dma_read(dma, 0, &byte, 1), HV_DENIED);
    expect_counts(1, 1);
    hvx_dma_close(dma);
    ck_assert_int_eq(hvx_vm_set_fault_listener(NULL, NULL), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, "disk0", &dma), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_read(dma, 0, &byte, 1), HV_DENIED);
    ck_assert_uint_eq(recorded(), 2);
    ck_assert_uint_eq(atomic_load(&heard.calls), 1);
    hvx_dma_close(dma);
    /* It ends with its VM. */
    ck_assert_int_eq(hvx_vm_set_fault_listener(remember, NULL), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, "disk0", &dma), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_read(dma, 0, &byte, 1), HV_DENIED);
    ck_assert_uint_eq(atomic_load(&heard.calls), 1);
    hvx_dma_close(dma);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

/* ---- Devices ---- */

START_TEST(a_device_is_refused_whatever_the_policy)
{
    static const hvx_policy_t policies[] = {HVX_POLICY_CLIENT, HVX_POLICY_STOP, HVX_POLICY_LOG, HVX_POLICY_COUNT};
    const hvx_policy_t policy = policies[_i];
    const uint64_t kept = policy == HVX_POLICY_COUNT ? 0 : 1;
    hvx_dma_segment_t segment;
    hv_vm_space_t space;
    hvx_space_info_t info;
    hvx_dma_pin_t pin;
    hvx_dma_t *dma;
    size_t room = 1;
    void *memory;
    uint8_t byte = 0x99;

    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_fault_listener(remember, &heard), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_allocate(&memory, PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_map_space_named(space, memory, DATA_GPA, PAGE, HV_MEMORY_READ, "rom"), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_policy(space, DATA_GPA, PAGE, policy), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_open(space, "disk0 queue 1", &dma), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_write(dma, DATA_GPA, &byte, 1), HV_DENIED);
    ck_assert_uint_eq(*(uint8_t *)memory, 0);
    ck_assert_uint_eq(recorded(), kept);
    ck_assert_uint_eq(atomic_load(&heard.calls), kept);
    if (kept == 1) {
        ck_assert_int_eq(heard.fault.policy, policy);
        ck_assert_uint_eq(heard.fault.vcpu, HVX_FAULT_NO_VCPU);
        ck_assert_str_eq(heard.fault.device, "disk0 queue 1");
        ck_assert_str_eq(heard.fault.mapping, "rom");
        ck_assert_uint_eq(heard.fault.space, space);
    }
    ck_assert_int_eq(hvx_dma_store32(dma, DATA_GPA, 1), HV_DENIED);
    ck_assert_int_eq(hvx_dma_pin(dma, DATA_GPA, PAGE, HV_MEMORY_WRITE, &segment, &room, &pin), HV_DENIED);
    /* A device's access where nothing is mapped is the client's. */
    ck_assert_int_eq(hvx_dma_read(dma, 0, &byte, 1), HV_DENIED);
    ck_assert_int_eq(heard.fault.policy, HVX_POLICY_CLIENT);
    ck_assert_int_eq(hvx_dma_read(dma, DATA_GPA, &byte, 1), HV_SUCCESS);
    ck_assert_uint_eq(recorded(), 3 * kept + 1);
    ck_assert_int_eq(hvx_vm_space_info(space, &info), HV_SUCCESS);
    ck_assert_uint_eq(info.fault_count, 4);
    ck_assert_uint_eq(fault_count(), 0);
    hvx_dma_close(dma);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

/* ---- Everything at once ---- */

static atomic_bool stop;
static atomic_uint refused;

static void count_call(void *context, const hvx_fault_t *fault)
{
    (void)context;
    ck_assert(fault->policy == HVX_POLICY_LOG);
    atomic_fetch_add(&heard.calls, 1);
}

static void *fault_as_device(void *argument)
{
    uint8_t byte = 1;

    while (!atomic_load(&stop)) {
        ck_assert_int_eq(hvx_dma_write(argument, DATA_GPA, &byte, 1), HV_DENIED);
        atomic_fetch_add(&refused, 1);
    }
    return NULL;
}

static void *change_policy(void *unused)
{
    (void)unused;
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        const hvx_policy_t policy = i % 2 == 0 ? HVX_POLICY_COUNT : HVX_POLICY_LOG;
        ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, policy), HV_SUCCESS);
    }
    return NULL;
}

START_TEST(faults_of_vcpus_and_devices_at_once_are_counted_each)
{
    struct bare_guest guest;
    pthread_t threads[3];
    hvx_dma_t *dma;

    create(&guest, store_without_end, sizeof(store_without_end), count_call);
    set_page(0, HVX_POLICY_LOG);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RDX, 0), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, "disk0", &dma), HV_SUCCESS);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, fault_as_device, dma), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, fault_as_device, dma), 0);
    ck_assert_int_eq(pthread_create(&threads[2], NULL, change_policy, NULL), 0);
    for (unsigned i = 0; i < 20; i++)
        run_until_deadline(&guest);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    const uint64_t of_vcpu = fault_count() - atomic_load(&refused);
    const uint64_t done = bare_guest_register(guest.vcpu, HV_X86_RDX);
    ck_assert(of_vcpu == done || of_vcpu == done + 1);
    ck_assert_uint_gt(done, 0);
    ck_assert_uint_eq(recorded(), atomic_load(&heard.calls));
    ck_assert_uint_gt(recorded(), 0);
    hvx_dma_close(dma);
    bare_guest_destroy(&guest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct policy");
    TCase *tcase = tcase_create("policy");

    bare_guest_require_kvm();
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, what_is_answered_goes_on_as_on_an_open_bus, 0, 4);
    tcase_add_test(tcase, a_load_is_all_ones_in_its_length_and_a_read_and_write_is_two_accesses);
    tcase_add_test(tcase, the_listener_gets_the_record_on_the_thread_that_caused_it);
    tcase_add_loop_test(tcase, what_goes_to_the_client_is_one_fault_however_often_it_is_tried, 0, 2);
    tcase_add_test(tcase, a_policy_counts_for_an_access_that_is_pending);
    tcase_add_test(tcase, where_nothing_is_mapped_is_no_fault_until_something_is_that_forbids_it);
    tcase_add_loop_test(tcase, each_access_of_many_is_counted_once, 0, 2);
    tcase_add_loop_test(tcase, a_fetch_is_an_exit_whatever_the_policy, 0, 8);
    tcase_add_loop_test(tcase, an_access_that_comes_up_while_the_vcpu_moves_is_counted_when_it_runs, 0, 2);
    tcase_add_loop_test(tcase, a_guest_that_faults_without_end_leaves_when_it_is_told_to, 0, 8);
    tcase_add_loop_test(tcase, a_string_instruction_over_a_large_mapping_leaves_when_it_is_told_to, 0, 2);
    tcase_add_test(tcase, a_listener_may_look_and_interrupt);
    tcase_add_test(tcase, a_policy_is_the_maps_and_costs_no_slot);
    tcase_add_test(tcase, arguments_are_checked_in_order_and_a_refused_call_changes_nothing);
    tcase_add_test(tcase, a_listener_is_set_while_nobody_can_fault);
    tcase_add_loop_test(tcase, a_device_is_refused_whatever_the_policy, 0, 4);
    tcase_add_test(tcase, faults_of_vcpus_and_devices_at_once_are_counted_each);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
