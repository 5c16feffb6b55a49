/*
 * What libhv has for debuggers, on a real KVM: traps of a mapping, and steps, breakpoints and exceptions of a vCPU.
 * What the host's KVM does not honour is left out, and said.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include "vmm/debug/x86/probe.h"

#include <Hypervisor/hvx_dma.h>

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;
static const hv_memory_flags_t READ_WRITE = HV_MEMORY_READ | HV_MEMORY_WRITE;

static struct debug_host host;

/* mov [DATA_GPA], eax; mov ebx, [DATA_GPA]; again: out 0x10, al; jmp again */
static const uint8_t store_and_load[] = {0xa3, 0x00, 0x00, 0x02, 0x00, 0x8b, 0x1d, 0x00,
                                         0x00, 0x02, 0x00, 0xe6, 0x10, 0xeb, 0xfc};
/* again: out 0x10, al; jmp again */
static const uint8_t tell[] = {0xe6, 0x10, 0xeb, 0xfc};

static void set_register(const struct bare_guest *guest, hv_x86_reg_t reg, uint64_t value)
{
    ck_assert_int_eq(hv_vcpu_write_register(guest->vcpu, reg, value), HV_SUCCESS);
}

static uint64_t rip_of(const struct bare_guest *guest)
{
    return bare_guest_register(guest->vcpu, HV_X86_RIP);
}

static uint32_t number_at(const uint8_t *memory)
{
    uint32_t number;

    memcpy(&number, memory, sizeof(number));
    return number;
}

static void set_traps(hv_gpaddr_t gpa, size_t size, hv_memory_flags_t access)
{
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, gpa, size, access), HV_SUCCESS);
}

static uint64_t fault_count(hv_vm_space_t space)
{
    hvx_space_info_t info;

    ck_assert_int_eq(hvx_vm_space_info(space, &info), HV_SUCCESS);
    return info.fault_count;
}

static size_t slot_count(void)
{
    hvx_space_info_t info;

    ck_assert_int_eq(hvx_vm_space_info(HV_VM_SPACE_DEFAULT, &info), HV_SUCCESS);
    return info.slot_count;
}

static void expect_no_faults(void)
{
    hvx_fault_t fault;
    size_t count = 1;
    uint64_t total;

    ck_assert_uint_eq(fault_count(HV_VM_SPACE_DEFAULT), 0);
    ck_assert_int_eq(hvx_vm_faults(&fault, &count, &total), HV_SUCCESS);
    ck_assert_uint_eq(total, 0);
}

static hvx_vcpu_exit_t last_exit(const struct bare_guest *guest)
{
    hvx_vcpu_exit_t exit;

    ck_assert_int_eq(hvx_vcpu_exit(guest->vcpu, &exit), HV_SUCCESS);
    return exit;
}

static void expect_trap(hvx_vcpu_exit_t exit, hv_memory_flags_t access, hv_gpaddr_t gpa)
{
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, access);
    ck_assert_uint_eq(exit.memory.gpa, gpa);
    ck_assert(exit.memory.is_trap);
}

static void expect_port(const struct bare_guest *guest, uint16_t port)
{
    const hvx_vcpu_exit_t exit = bare_guest_run(guest->vcpu);

    ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
    ck_assert_uint_eq(exit.port.port, port);
}

/* Bit 0 of a case's number: the space is strict. Bit 1: privilege level 3. */
enum { MODES = 4 };

static void create_in_mode(struct bare_guest *guest, const void *program, size_t size, int mode)
{
    bare_guest_create(guest, program, size);
    ck_assert_int_eq(hvx_vm_space_set_strict(HV_VM_SPACE_DEFAULT, mode & 1), HV_SUCCESS);
    if (mode & 2)
        bare_guest_enter_user_mode(guest->vcpu);
}

/* ---- Traps ---- */

START_TEST(a_store_that_is_trapped_happens_when_it_is_allowed)
{
    struct bare_guest guest;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i);
    set_traps(DATA_GPA, PAGE, HV_MEMORY_WRITE);
    set_register(&guest, HV_X86_RAX, 0x11223344);
    for (unsigned i = 0; i < 2; i++) {
        const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        expect_trap(exit, HV_MEMORY_WRITE, DATA_GPA);
        ck_assert_uint_eq(exit.memory.space, HV_VM_SPACE_DEFAULT);
        ck_assert_uint_eq(exit.memory.allowed, ALL);
        ck_assert_uint_eq(exit.memory.length, 4);
        ck_assert_uint_eq(number_at(exit.memory.data), 0x11223344);
        ck_assert_uint_eq(number_at(guest.data), 0);
    }
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
    ck_assert_uint_eq(number_at(guest.data), 0x11223344);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_ERROR);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_ERROR);
    /* The load is not trapped. */
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0x11223344);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_ERROR);
    expect_no_faults();
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_load_that_is_trapped_gets_what_is_there_or_what_the_client_gives)
{
    const uint32_t answer = 0x55667788;
    struct bare_guest guest;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i);
    set_traps(DATA_GPA, PAGE, HV_MEMORY_READ);
    set_register(&guest, HV_X86_RAX, 0x11223344);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_READ, DATA_GPA);
    /* The store, which is not trapped, has been served: there is no slot. */
    ck_assert_uint_eq(number_at(guest.data), 0x11223344);
    ck_assert_uint_eq(slot_count(), 1);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0x11223344);
    set_register(&guest, HV_X86_RIP, CODE_GPA);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_READ, DATA_GPA);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &answer), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_ERROR);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), answer);
    expect_no_faults();
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(the_exit_says_where_in_the_page_it_was_and_other_pages_are_free)
{
    /* mov [DATA_GPA + 8], al; mov [DATA_GPA + 4096], al; again: out 0x10, al; jmp again */
    static const uint8_t program[] = {0xa2, 0x08, 0x00, 0x02, 0x00, 0xa2, 0x00,
                                      0x10, 0x02, 0x00, 0xe6, 0x10, 0xeb, 0xfc};
    struct bare_guest guest;
    void *next;

    create_in_mode(&guest, program, sizeof(program), _i);
    ck_assert_int_eq(hv_vm_allocate(&next, PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(next, DATA_GPA + PAGE, PAGE, ALL), HV_SUCCESS);
    set_traps(DATA_GPA, PAGE, READ_WRITE);
    set_register(&guest, HV_X86_RAX, 0x77);
    const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    expect_trap(exit, HV_MEMORY_WRITE, DATA_GPA + 8);
    ck_assert_uint_eq(exit.memory.length, 1);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
    ck_assert_uint_eq(guest.data[8], 0x77);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(*(uint8_t *)next, 0x77);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_fetch_that_is_trapped_is_not_executed)
{
    /* mov ebx, [DATA_GPA + 16]; mov [DATA_GPA + 20], ebx; mov eax, DATA_GPA; jmp eax */
    static const uint8_t program[] = {0x8b, 0x1d, 0x10, 0x00, 0x02, 0x00, 0x89, 0x1d, 0x14, 0x00,
                                      0x02, 0x00, 0xb8, 0x00, 0x00, 0x02, 0x00, 0xff, 0xe0};
    const uint32_t number = 0x12345678;
    struct bare_guest guest;

    create_in_mode(&guest, program, sizeof(program), _i);
    memcpy(guest.data, tell, sizeof(tell));
    memcpy(guest.data + 16, &number, sizeof(number));
    set_traps(DATA_GPA, PAGE, HV_MEMORY_EXEC);
    for (unsigned i = 0; i < 2; i++) {
        const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        expect_trap(exit, HV_MEMORY_EXEC, DATA_GPA);
        ck_assert_uint_eq(exit.memory.allowed, ALL);
        ck_assert_uint_eq(rip_of(&guest), DATA_GPA);
        ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_ERROR);
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
        ck_assert_uint_eq(last_exit(&guest).memory.access, HV_MEMORY_EXEC);
    }
    /* Loads and stores have been served. */
    ck_assert_uint_eq(number_at(guest.data + 20), number);
    expect_no_faults();
    set_traps(DATA_GPA, PAGE, HV_MEMORY_WRITE);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(rip_of(&guest) & ~2ull, DATA_GPA);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_fetch_over_two_pages_names_the_one_that_is_trapped)
{
    struct bare_guest guest;
    void *memory;

    create_in_mode(&guest, tell, sizeof(tell), _i & 1);
    ck_assert_int_eq(hv_vm_allocate(&memory, 2 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    /* out 0x10, al across the two */
    uint8_t *pages = memory;
    memcpy(pages + PAGE - 1, tell, sizeof(tell));
    ck_assert_int_eq(hv_vm_map(pages, 0x40000, 2 * PAGE, ALL), HV_SUCCESS);
    set_traps(0x40000 + PAGE, PAGE, HV_MEMORY_EXEC);
    set_register(&guest, HV_X86_RIP, 0x40000 + PAGE - 1);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_EXEC, 0x40000 + PAGE);
    ck_assert_uint_eq(rip_of(&guest), 0x40000 + PAGE - 1);
    set_traps(0x40000, 2 * PAGE, HV_MEMORY_EXEC);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_EXEC, 0x40000 + PAGE - 1);
    set_traps(0x40000, 2 * PAGE, 0);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(what_the_flags_forbid_is_a_fault_and_no_trap)
{
    struct bare_guest guest;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i);
    set_traps(DATA_GPA, PAGE, READ_WRITE);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, HV_MEMORY_READ | HV_MEMORY_EXEC), HV_SUCCESS);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_WRITE);
    ck_assert(!exit.memory.is_trap);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_ERROR);
    ck_assert_uint_eq(fault_count(HV_VM_SPACE_DEFAULT), 1);
    /* Answered, as the policy has it; the load's trap has no policy. */
    ck_assert_int_eq(hvx_vm_set_policy(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, HVX_POLICY_LOG), HV_SUCCESS);
    exit = bare_guest_run(guest.vcpu);
    expect_trap(exit, HV_MEMORY_READ, DATA_GPA);
    ck_assert_int_eq(exit.memory.policy, HVX_POLICY_LOG);
    ck_assert_uint_eq(fault_count(HV_VM_SPACE_DEFAULT), 1);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(fault_count(HV_VM_SPACE_DEFAULT), 1);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_pending_access_goes_by_the_map_as_it_is_then)
{
    struct bare_guest guest;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i);
    set_register(&guest, HV_X86_RAX, 0x11223344);
    set_traps(DATA_GPA, PAGE, HV_MEMORY_WRITE);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_WRITE, DATA_GPA);
    /* What is forbidden by now cannot be allowed, and becomes a fault when it is tried again. */
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_DENIED);
    expect_no_faults();
    const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert(!exit.memory.is_trap);
    ck_assert_uint_eq(fault_count(HV_VM_SPACE_DEFAULT), 1);
    /* And the other way round; hv_vm_protect() has left the trap. */
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, ALL), HV_SUCCESS);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_WRITE, DATA_GPA);
    ck_assert_uint_eq(number_at(guest.data), 0);
    set_traps(DATA_GPA, PAGE, 0);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0x11223344);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_trap_ends_with_its_mapping)
{
    struct bare_guest guest;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i);
    set_traps(DATA_GPA, PAGE, ALL);
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(guest.data, DATA_GPA, PAGE, ALL), HV_SUCCESS);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(traps_are_over_several_mappings_and_can_be_taken_away)
{
    struct bare_guest guest;
    hvx_range_t range;
    void *memory;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    ck_assert_int_eq(hv_vm_allocate(&memory, 2 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(memory, DATA_GPA - 2 * PAGE, 2 * PAGE, ALL), HV_SUCCESS);
    const size_t slots = slot_count();
    set_traps(DATA_GPA - PAGE, 2 * PAGE, READ_WRITE);
    ck_assert_uint_lt(slot_count(), slots + 1);
    /* The flags are as they were. */
    ck_assert_int_eq(hvx_vm_query_space(HV_VM_SPACE_DEFAULT, DATA_GPA - PAGE, &range), HV_SUCCESS);
    ck_assert_uint_eq(range.flags, ALL);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_WRITE, DATA_GPA);
    set_traps(DATA_GPA - 2 * PAGE, 3 * PAGE, 0);
    ck_assert_uint_eq(slot_count(), slots);
    ck_assert_int_eq(hvx_vm_query_space(HV_VM_SPACE_DEFAULT, DATA_GPA - PAGE, &range), HV_SUCCESS);
    ck_assert_uint_eq(range.size, 2 * PAGE);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_trap_is_of_one_space)
{
    struct bare_guest guest;
    hv_vm_space_t space;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i & 2);
    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map_space(space, guest.code, CODE_GPA, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map_space(space, guest.data, DATA_GPA, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_space_set_strict(space, _i & 1), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_set_traps(space, DATA_GPA, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    expect_port(&guest, 0x10);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    set_register(&guest, HV_X86_RIP, CODE_GPA);
    const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    expect_trap(exit, HV_MEMORY_READ, DATA_GPA);
    ck_assert_uint_eq(exit.memory.space, space);
    /* A trap that holds the access holds the move. */
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, HV_VM_SPACE_DEFAULT), HV_BUSY);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, HV_VM_SPACE_DEFAULT), HV_SUCCESS);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(fault_count(space), 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(devices_and_the_client_are_not_bound)
{
    struct bare_guest guest;
    hvx_dma_segment_t segment;
    hvx_dma_pin_t pin;
    hvx_dma_t *dma;
    size_t room = 1;
    uint32_t number = 0x11223344;

    create_in_mode(&guest, tell, sizeof(tell), _i & 1);
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, "disk0", &dma), HV_SUCCESS);
    set_traps(DATA_GPA, PAGE, ALL);
    ck_assert_int_eq(hvx_dma_write(dma, DATA_GPA, &number, sizeof(number)), HV_SUCCESS);
    ck_assert_uint_eq(number_at(guest.data), 0x11223344);
    ck_assert_int_eq(hvx_dma_store32(dma, DATA_GPA + 4, 0x55), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_load32(dma, DATA_GPA + 4, &number), HV_SUCCESS);
    ck_assert_uint_eq(number, 0x55);
    ck_assert_int_eq(hvx_dma_pin(dma, DATA_GPA, PAGE, READ_WRITE, &segment, &room, &pin), HV_SUCCESS);
    /* Pins do not hold it up. */
    set_traps(DATA_GPA, PAGE, HV_MEMORY_WRITE);
    hvx_dma_unpin(dma, &pin);
    number = 0x66;
    ck_assert_int_eq(hvx_vm_write_space(HV_VM_SPACE_DEFAULT, DATA_GPA + 8, &number, sizeof(number)), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_read_space(HV_VM_SPACE_DEFAULT, DATA_GPA, &number, sizeof(number)), HV_SUCCESS);
    ck_assert_uint_eq(number, 0x11223344);
    ck_assert_uint_eq(guest.data[8], 0x66);
    expect_no_faults();
    hvx_dma_close(dma);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(what_is_allowed_is_tracked_as_written)
{
    struct bare_guest guest;
    uint64_t bitmap;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i & 1);
    ck_assert_int_eq(hvx_vm_dirty_start(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE), HV_SUCCESS);
    set_traps(DATA_GPA, PAGE, HV_MEMORY_WRITE);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_WRITE, DATA_GPA);
    ck_assert_int_eq(hvx_vm_dirty_fetch(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, &bitmap), HV_SUCCESS);
    ck_assert_uint_eq(bitmap, 0);
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_fetch(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, &bitmap), HV_SUCCESS);
    ck_assert_uint_eq(bitmap, 1);
    bare_guest_destroy(&guest);
}
END_TEST

/* Sets a trap while the guest counts in memory; what is counted afterwards. */
static struct {
    const struct bare_guest *guest;
    uint32_t counted_later;
} meanwhile;

static void *trap_meanwhile(void *unused)
{
    const struct timespec moment = {.tv_nsec = 20000000};

    (void)unused;
    while (number_at(meanwhile.guest->data) == 0)
        nanosleep(&moment, NULL);
    set_traps(DATA_GPA, PAGE, HV_MEMORY_WRITE);
    const uint32_t counted = number_at(meanwhile.guest->data);
    nanosleep(&moment, NULL);
    meanwhile.counted_later = number_at(meanwhile.guest->data) - counted;
    return NULL;
}

START_TEST(a_trap_counts_at_once_for_a_vcpu_that_runs)
{
    /* again: inc dword [DATA_GPA]; jmp again */
    static const uint8_t count[] = {0xff, 0x05, 0x00, 0x00, 0x02, 0x00, 0xeb, 0xf8};
    struct bare_guest guest;
    pthread_t thread;

    create_in_mode(&guest, count, sizeof(count), _i);
    meanwhile.guest = &guest;
    ck_assert_int_eq(pthread_create(&thread, NULL, trap_meanwhile, NULL), 0);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_WRITE, DATA_GPA);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(meanwhile.counted_later, 0);
    ck_assert_uint_gt(number_at(guest.data), 0);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- Finishing instructions ---- */

START_TEST(a_read_and_write_is_finished_access_by_access)
{
    /* inc dword [DATA_GPA]; again: out 0x10, al; jmp again */
    static const uint8_t program[] = {0xff, 0x05, 0x00, 0x00, 0x02, 0x00, 0xe6, 0x10, 0xeb, 0xfc};
    /* What is trapped, by case. */
    static const hv_memory_flags_t kinds[] = {READ_WRITE, HV_MEMORY_READ, HV_MEMORY_WRITE};
    const hv_memory_flags_t traps = kinds[_i / MODES];
    struct bare_guest guest;

    create_in_mode(&guest, program, sizeof(program), _i % MODES);
    guest.data[0] = 0xff;
    set_traps(DATA_GPA, PAGE, traps);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    if (traps & HV_MEMORY_READ) {
        expect_trap(exit, HV_MEMORY_READ, DATA_GPA);
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_BUSY);
        ck_assert_uint_eq(last_exit(&guest).memory.access, HV_MEMORY_READ);
        ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), traps & HV_MEMORY_WRITE ? HV_BUSY : HV_SUCCESS);
        exit = last_exit(&guest);
    }
    if (traps & HV_MEMORY_WRITE) {
        expect_trap(exit, HV_MEMORY_WRITE, DATA_GPA);
        ck_assert_uint_eq(number_at(exit.memory.data), 0x100);
        ck_assert_uint_eq(number_at(guest.data), 0xff);
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_BUSY);
        ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    }
    ck_assert_uint_eq(rip_of(&guest), CODE_GPA + 6);
    ck_assert_uint_eq(number_at(guest.data), 0x100);
    /* There is nothing more to finish, and nothing is done twice. */
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    expect_port(&guest, 0x10);
    ck_assert_uint_eq(number_at(guest.data), 0x100);
    expect_no_faults();
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_pending_access_that_the_map_allows_by_now_is_finished)
{
    struct bare_guest guest;

    create_in_mode(&guest, store_and_load, sizeof(store_and_load), _i);
    set_register(&guest, HV_X86_RAX, 0x11223344);
    set_traps(DATA_GPA, PAGE, HV_MEMORY_WRITE);
    expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_WRITE, DATA_GPA);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_BUSY);
    set_traps(DATA_GPA, PAGE, 0);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    ck_assert_uint_eq(number_at(guest.data), 0x11223344);
    ck_assert_uint_eq(rip_of(&guest), CODE_GPA + 5);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_string_instruction_stops_at_each_of_its_accesses_in_a_trapped_page)
{
    /* cld; rep stosd; again: out 0x10, al; jmp again */
    static const uint8_t program[] = {0xfc, 0xf3, 0xab, 0xe6, 0x10, 0xeb, 0xfc};
    enum { ITEMS = 20, BEFORE = 4 };
    struct bare_guest guest;
    uint64_t bytes = 0;
    void *memory;

    create_in_mode(&guest, program, sizeof(program), _i % MODES);
    ck_assert_int_eq(hv_vm_allocate(&memory, 2 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    uint8_t *pages = memory;
    ck_assert_int_eq(hv_vm_map(pages, 0x40000, 2 * PAGE, ALL), HV_SUCCESS);
    set_traps(0x40000 + PAGE, PAGE, HV_MEMORY_WRITE);
    set_register(&guest, HV_X86_RAX, 0x5a5a5a5a);
    set_register(&guest, HV_X86_RCX, ITEMS);
    set_register(&guest, HV_X86_RDI, 0x40000 + PAGE - 4 * BEFORE);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    while (exit.reason == HVX_EXIT_MEMORY) {
        expect_trap(exit, HV_MEMORY_WRITE, 0x40000 + PAGE + bytes);
        bytes += exit.memory.length;
        ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
        /* Finished each time, or not. */
        if (_i < MODES || hvx_vcpu_finish(guest.vcpu) == HV_SUCCESS)
            exit = bare_guest_run(guest.vcpu);
        else
            exit = last_exit(&guest);
    }
    ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
    ck_assert_uint_eq(bytes, 4 * (ITEMS - BEFORE));
    for (unsigned i = 0; i < 4 * ITEMS; i++)
        ck_assert_uint_eq(pages[PAGE - 4 * BEFORE + i], 0x5a);
    ck_assert_uint_eq(pages[PAGE - 4 * BEFORE - 1], 0);
    ck_assert_uint_eq(pages[PAGE + 4 * (ITEMS - BEFORE)], 0);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RCX), 0);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RDI), 0x40000 + PAGE + 4 * (ITEMS - BEFORE));
    expect_no_faults();
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_port_instruction_is_finished_with_what_the_client_gave)
{
    /* in al, 0x20; again: out 0x10, al; jmp again */
    static const uint8_t program[] = {0xe4, 0x20, 0xe6, 0x10, 0xeb, 0xfc};
    struct bare_guest guest;

    create_in_mode(&guest, program, sizeof(program), _i);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
    *(uint8_t *)exit.port.data = 0x99;
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(last_exit(&guest).reason, HVX_EXIT_PORT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX) & 0xff, 0x99);
    ck_assert_uint_eq(rip_of(&guest), CODE_GPA + 2);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(finishing_does_not_swallow_an_interruption)
{
    struct bare_guest guest;

    bare_guest_create(&guest, tell, sizeof(tell));
    expect_port(&guest, 0x10);
    ck_assert_int_eq(hv_vcpu_interrupt(&guest.vcpu, 1), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(last_exit(&guest).reason, HVX_EXIT_INTERRUPTED);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- Steps ---- */

static const hvx_vcpu_debug_t STEP = {.single_step = true};

static void set_debug(const struct bare_guest *guest, const hvx_vcpu_debug_t *debug)
{
    ck_assert_int_eq(hvx_vcpu_set_debug(guest->vcpu, debug), HV_SUCCESS);
}

static void expect_debug(const struct bare_guest *guest, hvx_vcpu_exit_t exit, uint64_t pc)
{
    ck_assert_int_eq(exit.reason, HVX_EXIT_DEBUG);
    ck_assert_uint_eq(exit.debug.exception, 1);
    ck_assert_uint_eq(exit.debug.pc, pc);
    ck_assert_uint_eq(rip_of(guest), pc);
}

static void expect_step(const struct bare_guest *guest, uint64_t pc)
{
    const hvx_vcpu_exit_t exit = bare_guest_run(guest->vcpu);

    expect_debug(guest, exit, pc);
    /* DR6.BS */
    ck_assert_uint_eq(exit.debug.dr6 & 0x4000, 0x4000);
}

/* Whether the host steps at the privilege level of a case's mode; it is said where it does not. */
static bool host_steps(int mode)
{
    const unsigned level = mode & 2 ? 1 : 0;

    if (!host.single_step[level])
        printf("left out: steps at level %u\n", level == 0 ? 0 : 3);
    return host.single_step[level];
}

/* Plain instructions, and such as KVM emulates: a port, device memory, memory without a slot, CPUID. */
static const uint8_t many_kinds[] = {
    0x90,                         /*  0: nop */
    0x40,                         /*  1: inc eax */
    0xe6, 0x20,                   /*  2: out 0x20, al */
    0x40,                         /*  4: inc eax */
    0xa3, 0x00, 0x00, 0x00, 0xd0, /*  5: mov [0xd0000000], eax */
    0xe4, 0x21,                   /* 10: in al, 0x21 */
    0xff, 0x05, 0x00, 0x00, 0x02, /* 12: inc dword [DATA_GPA] */
    0x00,                         /* */
    0x0f, 0xa2,                   /* 18: cpuid */
    0x90,                         /* 20: nop */
    0xeb, 0x00,                   /* 21: jmp 23 */
    0x41,                         /* 23: inc ecx */
    0xe6, 0x10,                   /* 24: out 0x10, al */
    0xeb, 0xfc,                   /* 26: jmp 24 */
};

START_TEST(each_step_is_one_instruction_whatever_it_does)
{
    const bool finishes = _i >= MODES;
    const bool is_trapped = _i % 2 != 0;
    struct bare_guest guest;

    if (!host_steps(_i))
        return;
    create_in_mode(&guest, many_kinds, sizeof(many_kinds), _i % MODES);
    /* Loads and stores without a slot are served inside, or trapped. */
    set_traps(DATA_GPA, PAGE, is_trapped ? READ_WRITE : HV_MEMORY_EXEC);
    set_register(&guest, HV_X86_RAX, 0);
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 1);
    expect_step(&guest, CODE_GPA + 2);
    expect_port(&guest, 0x20);
    if (finishes) {
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
        expect_debug(&guest, last_exit(&guest), CODE_GPA + 4);
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    } else {
        expect_step(&guest, CODE_GPA + 4);
    }
    expect_step(&guest, CODE_GPA + 5);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 2);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.gpa, 0xd0000000);
    ck_assert_uint_eq(exit.memory.data[0], 2);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
    if (finishes) {
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
        expect_debug(&guest, last_exit(&guest), CODE_GPA + 10);
    } else {
        expect_step(&guest, CODE_GPA + 10);
    }
    exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
    *(uint8_t *)exit.port.data = 0x77;
    expect_step(&guest, CODE_GPA + 12);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 0x77);
    if (is_trapped) {
        expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_READ, DATA_GPA);
        ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
        expect_trap(bare_guest_run(guest.vcpu), HV_MEMORY_WRITE, DATA_GPA);
        ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_SUCCESS);
    }
    if (is_trapped && finishes) {
        ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
        expect_debug(&guest, last_exit(&guest), CODE_GPA + 18);
    } else {
        expect_step(&guest, CODE_GPA + 18);
    }
    ck_assert_uint_eq(number_at(guest.data), 1);
    expect_step(&guest, CODE_GPA + 20);
    set_register(&guest, HV_X86_RCX, 0);
    expect_step(&guest, CODE_GPA + 21);
    expect_step(&guest, CODE_GPA + 23);
    expect_step(&guest, CODE_GPA + 24);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RCX), 1);
    /* The guest's flags do not show it. */
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RFLAGS) & 0x100, 0);
    set_debug(&guest, NULL);
    expect_port(&guest, 0x10);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_step_begins_where_the_client_puts_the_instruction_pointer)
{
    /* nop x 8 */
    static const uint8_t program[] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xe6, 0x10, 0xeb, 0xfc};
    struct bare_guest guest;

    if (!host_steps(_i))
        return;
    create_in_mode(&guest, program, sizeof(program), _i);
    /* The first run that steps ends the instruction of the exit before. */
    expect_port(&guest, 0x10);
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 10);
    expect_step(&guest, CODE_GPA + 8);
    set_register(&guest, HV_X86_RIP, CODE_GPA);
    /* But not what is finished. */
    set_debug(&guest, NULL);
    expect_port(&guest, 0x10);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(last_exit(&guest).reason, HVX_EXIT_PORT);
    set_register(&guest, HV_X86_RIP, CODE_GPA);
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 1);
    set_register(&guest, HV_X86_RIP, CODE_GPA + 5);
    expect_step(&guest, CODE_GPA + 6);
    set_register(&guest, HV_X86_RBX, 5);
    expect_step(&guest, CODE_GPA + 7);
    /* The same request again changes nothing. */
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 8);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

/* nop; hlt; nop; nop; again: out 0x10, al; jmp again */
static const uint8_t with_halt[] = {0x90, 0xf4, 0x90, 0x90, 0xe6, 0x10, 0xeb, 0xfc};

START_TEST(a_step_over_hlt_is_one_exit_without_interrupt_controllers)
{
    struct bare_guest guest;

    if (!host_steps(0))
        return;
    bare_guest_create(&guest, with_halt, sizeof(with_halt));
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 1);
    const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert(exit.reason == HVX_EXIT_HALT || exit.reason == HVX_EXIT_DEBUG);
    ck_assert_uint_eq(rip_of(&guest), CODE_GPA + 2);
    expect_step(&guest, CODE_GPA + 3);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(the_debugging_goes_where_the_vcpu_goes)
{
    struct bare_guest guest;
    hv_vm_space_t space;

    if (!host_steps(0))
        return;
    bare_guest_create(&guest, many_kinds, sizeof(many_kinds));
    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map_space(space, guest.code, CODE_GPA, PAGE, ALL), HV_SUCCESS);
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 1);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    ck_assert_int_eq(last_exit(&guest).reason, HVX_EXIT_DEBUG);
    expect_step(&guest, CODE_GPA + 2);
    /* A move that finishes an instruction ends the step. */
    expect_port(&guest, 0x20);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, HV_VM_SPACE_DEFAULT), HV_SUCCESS);
    expect_debug(&guest, last_exit(&guest), CODE_GPA + 4);
    expect_step(&guest, CODE_GPA + 5);
    set_register(&guest, HV_X86_RIP, CODE_GPA + 20);
    set_debug(&guest, NULL);
    /* Neither here nor there is any of it left. */
    expect_port(&guest, 0x10);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    set_register(&guest, HV_X86_RIP, CODE_GPA + 20);
    expect_port(&guest, 0x10);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    /* What begins there goes along too, and does not stay. */
    set_debug(&guest, &STEP);
    set_register(&guest, HV_X86_RIP, CODE_GPA + 20);
    expect_step(&guest, CODE_GPA + 21);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, HV_VM_SPACE_DEFAULT), HV_SUCCESS);
    expect_step(&guest, CODE_GPA + 23);
    set_debug(&guest, NULL);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_reset_and_the_end_of_a_vcpu_end_it)
{
    struct bare_guest guest;

    if (!host_steps(0))
        return;
    bare_guest_create(&guest, tell, sizeof(tell));
    set_debug(&guest, &STEP);
    expect_port(&guest, 0x10);
    ck_assert_int_eq(hvx_vcpu_reset(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(last_exit(&guest).reason, HVX_EXIT_NONE);
    bare_guest_enter_protected_mode(guest.vcpu);
    expect_port(&guest, 0x10);
    expect_port(&guest, 0x10);
    /* Setting it works anew. */
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 2);
    ck_assert_int_eq(hv_vcpu_destroy(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_create(&guest.vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    bare_guest_enter_protected_mode(guest.vcpu);
    expect_port(&guest, 0x10);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- Exceptions and interrupts ---- */

enum { GDT_GPA = DATA_GPA + 0x800, IDT_GPA = DATA_GPA + 0x900, HANDLER_OFFSET = 0x800, VECTORS = 0x50 };

/* An IDT whose vectors all lead to `again: out 0x30, al; jmp again`, and the GDT that it takes. */
static void install_handler(const struct bare_guest *guest)
{
    static const uint64_t segments[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
    static const uint8_t handler[] = {0xe6, 0x30, 0xeb, 0xfc};
    const uint64_t offset = CODE_GPA + HANDLER_OFFSET;
    /* A gate of 32 bits: Intel SDM volume 3, figure 6-2. */
    const uint64_t gate = (offset & 0xffff) | 0x8ull << 16 | 0x8eull << 40 | (offset >> 16) << 48;

    memcpy(guest->data + (GDT_GPA - DATA_GPA), segments, sizeof(segments));
    for (unsigned i = 0; i < VECTORS; i++)
        memcpy(guest->data + (IDT_GPA - DATA_GPA) + i * sizeof(gate), &gate, sizeof(gate));
    memcpy(guest->code + HANDLER_OFFSET, handler, sizeof(handler));
    set_register(guest, HV_X86_GDT_BASE, GDT_GPA);
    set_register(guest, HV_X86_GDT_LIMIT, sizeof(segments) - 1);
    set_register(guest, HV_X86_IDT_BASE, IDT_GPA);
    set_register(guest, HV_X86_IDT_LIMIT, VECTORS * sizeof(gate) - 1);
    set_register(guest, HV_X86_RSP, DATA_GPA + 0x800);
}

/* The guest is in its handler; where it is to return to is on the stack. */
static void expect_handler(const struct bare_guest *guest, uint64_t return_to)
{
    expect_port(guest, 0x30);
    const uint64_t stack = bare_guest_register(guest->vcpu, HV_X86_RSP);
    ck_assert_uint_eq(stack, DATA_GPA + 0x800 - 12);
    ck_assert_uint_eq(number_at(guest->data + (stack - DATA_GPA)), return_to);
}

/* nop x 3; again: out 0x10, al; jmp again */
static const uint8_t nops[] = {0x90, 0x90, 0x90, 0xe6, 0x10, 0xeb, 0xfc};

START_TEST(an_exception_that_is_given_back_reaches_the_guest_once)
{
    struct bare_guest guest;

    if (!host_steps(0))
        return;
    bare_guest_create(&guest, nops, sizeof(nops));
    install_handler(&guest);
    ck_assert_int_eq(hvx_vcpu_reflect(guest.vcpu), HV_ERROR);
    set_debug(&guest, &STEP);
    expect_step(&guest, CODE_GPA + 1);
    /* Bits of an earlier one, and the guard of the debug registers. */
    set_register(&guest, HV_X86_DR6, 0xffff0ff0 | 0x5);
    if (_i == 0)
        set_debug(&guest, NULL);
    ck_assert_int_eq(hvx_vcpu_reflect(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_reflect(guest.vcpu), HV_ERROR);
    if (_i == 1)
        set_debug(&guest, NULL);
    expect_handler(&guest, CODE_GPA + 1);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_DR6), 0xffff0ff0 | 0x4000);
    ck_assert_int_eq(hvx_vcpu_reflect(guest.vcpu), HV_ERROR);
    expect_port(&guest, 0x30);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(int3_exits_and_can_be_given_back)
{
    /* nop; int3; nop; again: out 0x10, al; jmp again */
    static const uint8_t program[] = {0x90, 0xcc, 0x90, 0xe6, 0x10, 0xeb, 0xfc};
    struct bare_guest guest;

    if (host.int3[0] != INT3_EXITS) {
        printf("left out: INT3 at level 0\n");
        return;
    }
    bare_guest_create(&guest, program, sizeof(program));
    install_handler(&guest);
    set_debug(&guest, &(hvx_vcpu_debug_t){.catch_int3 = true});
    for (unsigned i = 0; i < 2; i++) {
        const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        ck_assert_int_eq(exit.reason, HVX_EXIT_DEBUG);
        ck_assert_uint_eq(exit.debug.exception, 3);
        ck_assert_uint_eq(exit.debug.pc, CODE_GPA + 1);
        ck_assert_uint_eq(rip_of(&guest), CODE_GPA + 1);
    }
    ck_assert_int_eq(hvx_vcpu_reflect(guest.vcpu), HV_SUCCESS);
    expect_handler(&guest, CODE_GPA + 2);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_guest_goes_on_over_an_int3_that_is_taken_away)
{
    /* nop; int3; nop; again: out 0x10, al; jmp again */
    static const uint8_t program[] = {0x90, 0xcc, 0x90, 0xe6, 0x10, 0xeb, 0xfc};
    struct bare_guest guest;

    if (host.int3[0] == INT3_NO) {
        printf("left out: INT3 at level 0\n");
        return;
    }
    bare_guest_create(&guest, program, sizeof(program));
    set_debug(&guest, &(hvx_vcpu_debug_t){.catch_int3 = true});
    const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, host.int3[0] == INT3_EXITS ? HVX_EXIT_DEBUG : HVX_EXIT_EMULATION_FAILURE);
    ck_assert_uint_eq(rip_of(&guest), CODE_GPA + 1);
    ck_assert_int_eq(hvx_vm_write_space(HV_VM_SPACE_DEFAULT, CODE_GPA + 1, nops, 1), HV_SUCCESS);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_breakpoint_of_the_debug_registers_exits)
{
    const hvx_vcpu_debug_t at_third = {.breakpoints = {0, 0, CODE_GPA + 2, 0}, .control = 0x420};
    struct bare_guest guest;

    if (!host.execute_breakpoint[0]) {
        printf("left out: execute breakpoints at level 0\n");
        return;
    }
    bare_guest_create(&guest, nops, sizeof(nops));
    set_register(&guest, HV_X86_DR2, CODE_GPA + 1);
    set_debug(&guest, &at_third);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    expect_debug(&guest, exit, CODE_GPA + 2);
    ck_assert_uint_eq(exit.debug.dr6 & 0x400f, 0x4);
    /* The guest's own are as they were. */
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_DR2), CODE_GPA + 1);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_DR7), 0x400);
    /* It is there again the next time. */
    set_register(&guest, HV_X86_RIP, CODE_GPA);
    expect_debug(&guest, bare_guest_run(guest.vcpu), CODE_GPA + 2);
    set_debug(&guest, NULL);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_watchpoint_of_the_debug_registers_exits)
{
    /* Four bytes at DATA_GPA that are written. */
    const hvx_vcpu_debug_t watch = {.breakpoints = {0, DATA_GPA, 0, 0}, .control = 0xd00408};
    struct bare_guest guest;

    if (!host.watchpoint[0]) {
        printf("left out: watchpoints at level 0\n");
        return;
    }
    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    set_debug(&guest, &watch);
    const hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    expect_debug(&guest, exit, CODE_GPA + 5);
    ck_assert_uint_eq(exit.debug.dr6 & 0x400f, 0x2);
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- With interrupt controllers ---- */

/* A guest whose VM has interrupt controllers in the kernel, and whose local APIC takes messages. */
static void create_with_controllers(struct bare_guest *guest, const void *program, size_t size)
{
    const uint32_t spurious_vector = 0xf0; /* Intel SDM volume 3, table 10-1 */
    const uint32_t enabled = 0x1ff;
    struct kvm_lapic_state lapic;
    int fd;

    bare_guest_create(guest, program, size);
    ck_assert_int_eq(hv_vcpu_destroy(guest->vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(guest->code, CODE_GPA, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(guest->data, DATA_GPA, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_kvm_fd(&fd), HV_SUCCESS);
    ck_assert_int_eq(ioctl(fd, KVM_CREATE_IRQCHIP, 0), 0);
    ck_assert_int_eq(hv_vcpu_create(&guest->vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    bare_guest_enter_protected_mode(guest->vcpu);
    install_handler(guest);
    ck_assert_int_eq(hvx_vcpu_kvm_fd(guest->vcpu, &fd), HV_SUCCESS);
    ck_assert_int_eq(ioctl(fd, KVM_GET_LAPIC, &lapic), 0);
    memcpy(lapic.regs + spurious_vector, &enabled, sizeof(enabled));
    ck_assert_int_eq(ioctl(fd, KVM_SET_LAPIC, &lapic), 0);
}

static void send_interrupt(uint32_t vector)
{
    /* Fixed delivery, to the local APIC with the id 0 (Intel SDM volume 3, 10.11). */
    struct kvm_msi message = {.address_lo = 0xfee00000, .data = vector};
    int fd;

    ck_assert_int_eq(hvx_vm_kvm_fd(&fd), HV_SUCCESS);
    ck_assert_int_eq(ioctl(fd, KVM_SIGNAL_MSI, &message), 1);
}

static uint32_t mp_state(const struct bare_guest *guest)
{
    struct kvm_mp_state state;
    int fd;

    ck_assert_int_eq(hvx_vcpu_kvm_fd(guest->vcpu, &fd), HV_SUCCESS);
    ck_assert_int_eq(ioctl(fd, KVM_GET_MP_STATE, &state), 0);
    return state.mp_state;
}

static uint64_t soon(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + 50000000;
}

/* As expect_step(), of a guest that might wait for an interrupt that does not come. */
static void expect_step_soon(const struct bare_guest *guest, uint64_t pc)
{
    ck_assert_int_eq(hv_vcpu_run_until(guest->vcpu, soon() + 60000000000), HV_SUCCESS);
    expect_debug(guest, last_exit(guest), pc);
}

START_TEST(a_step_over_hlt_does_not_wait)
{
    struct bare_guest guest;

    if (!host_steps(0))
        return;
    create_with_controllers(&guest, with_halt, sizeof(with_halt));
    set_debug(&guest, &(hvx_vcpu_debug_t){.single_step = true, .hold_interrupts = _i == 1 && host.holds_interrupts});
    expect_step_soon(&guest, CODE_GPA + 1);
    expect_step_soon(&guest, CODE_GPA + 2);
    ck_assert_uint_eq(mp_state(&guest), KVM_MP_STATE_RUNNABLE);
    expect_step_soon(&guest, CODE_GPA + 3);
    expect_step_soon(&guest, CODE_GPA + 4);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_vcpu_that_waits_is_stepped_on)
{
    struct bare_guest guest;

    if (!host_steps(0) || !host.holds_interrupts)
        return;
    create_with_controllers(&guest, with_halt, sizeof(with_halt));
    do {
        ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, soon()), HV_SUCCESS);
        ck_assert_int_eq(last_exit(&guest).reason, HVX_EXIT_INTERRUPTED);
    } while (mp_state(&guest) != KVM_MP_STATE_HALTED);
    set_debug(&guest, &(hvx_vcpu_debug_t){.single_step = true, .hold_interrupts = true});
    expect_step_soon(&guest, CODE_GPA + 3);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(interrupts_that_are_held_come_later)
{
    struct bare_guest guest;

    if (!host.holds_interrupts) {
        printf("left out: interrupts that are held\n");
        return;
    }
    create_with_controllers(&guest, nops, sizeof(nops));
    set_register(&guest, HV_X86_RFLAGS, 0x202);
    send_interrupt(0x41);
    if (host.single_step[0]) {
        set_debug(&guest, &(hvx_vcpu_debug_t){.single_step = true, .hold_interrupts = true});
        expect_step(&guest, CODE_GPA + 1);
        expect_step(&guest, CODE_GPA + 2);
    }
    set_debug(&guest, &(hvx_vcpu_debug_t){.hold_interrupts = true});
    expect_port(&guest, 0x10);
    /* The guest is behind the OUT then. */
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    set_debug(&guest, NULL);
    expect_handler(&guest, CODE_GPA + 5);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- Arguments ---- */

START_TEST(a_range_of_traps_is_checked)
{
    struct bare_guest guest;

    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, ALL), HV_NO_DEVICE);
    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA + 1, PAGE, ALL), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE - 1, ALL), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA, 0, ALL), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, 1ull << 60), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA, PAGE, HV_MEMORY_UEXEC), HV_UNSUPPORTED);
    ck_assert_int_eq(hvx_vm_set_traps(5, DATA_GPA, PAGE, ALL), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA, 2 * PAGE, ALL), HV_ERROR);
    ck_assert_int_eq(hvx_vm_set_traps(HV_VM_SPACE_DEFAULT, DATA_GPA - PAGE, 2 * PAGE, ALL), HV_ERROR);
    /* None of it has changed anything. */
    expect_port(&guest, 0x10);
    bare_guest_destroy(&guest);
}
END_TEST

static void *call_as_other(void *argument)
{
    const hv_vcpuid_t vcpu = *(const hv_vcpuid_t *)argument;
    const hv_x86_reg_t reg = HV_X86_RIP;
    hvx_segment_t segment;
    uint64_t value = 0;

    ck_assert_int_eq(hvx_vcpu_allow(vcpu), HV_DENIED);
    ck_assert_int_eq(hvx_vcpu_finish(vcpu), HV_DENIED);
    ck_assert_int_eq(hvx_vcpu_reflect(vcpu), HV_DENIED);
    ck_assert_int_eq(hvx_vcpu_set_debug(vcpu, NULL), HV_DENIED);
    ck_assert_int_eq(hvx_vcpu_read_registers(vcpu, &reg, &value, 1), HV_DENIED);
    ck_assert_int_eq(hvx_vcpu_write_registers(vcpu, &reg, &value, 1), HV_DENIED);
    ck_assert_int_eq(hvx_vcpu_read_segment(vcpu, HV_X86_CS, &segment), HV_DENIED);
    return NULL;
}

START_TEST(calls_for_a_vcpu_are_for_its_owner)
{
    const hvx_vcpu_debug_t guarded = {.control = 0x2402};
    const hvx_vcpu_debug_t too_long = {.control = 1ull << 32};
    struct bare_guest guest;
    pthread_t thread;

    ck_assert_int_eq(hvx_vcpu_set_debug(0, NULL), HV_NO_DEVICE);
    bare_guest_create(&guest, tell, sizeof(tell));
    ck_assert_int_eq(pthread_create(&thread, NULL, call_as_other, &guest.vcpu), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(hvx_vcpu_allow(7), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_finish(7), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_reflect(7), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_set_debug(7, NULL), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_set_debug(guest.vcpu, &guarded), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vcpu_set_debug(guest.vcpu, &too_long), HV_BAD_ARGUMENT);
    /* Before the first run there is nothing to allow, to finish or to give back. */
    ck_assert_int_eq(hvx_vcpu_allow(guest.vcpu), HV_ERROR);
    ck_assert_int_eq(hvx_vcpu_finish(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_reflect(guest.vcpu), HV_ERROR);
    expect_port(&guest, 0x10);
    ck_assert_int_eq(hvx_vcpu_reflect(guest.vcpu), HV_ERROR);
    bare_guest_destroy(&guest);
}
END_TEST

static void probe(void)
{
    struct error error;
    int fd;

    if (hv_vm_create(HV_VM_DEFAULT) != HV_SUCCESS || hvx_system_kvm_fd(&fd) != HV_SUCCESS)
        abort();
    if (debug_host_probe(fd, &host, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    hv_vm_destroy();
}

static TCase *traps(void)
{
    TCase *tcase = tcase_create("traps");

    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, a_store_that_is_trapped_happens_when_it_is_allowed, 0, MODES);
    tcase_add_loop_test(tcase, a_load_that_is_trapped_gets_what_is_there_or_what_the_client_gives, 0, MODES);
    tcase_add_loop_test(tcase, the_exit_says_where_in_the_page_it_was_and_other_pages_are_free, 0, MODES);
    tcase_add_loop_test(tcase, a_fetch_that_is_trapped_is_not_executed, 0, MODES);
    tcase_add_loop_test(tcase, a_fetch_over_two_pages_names_the_one_that_is_trapped, 0, 2);
    tcase_add_loop_test(tcase, what_the_flags_forbid_is_a_fault_and_no_trap, 0, MODES);
    tcase_add_loop_test(tcase, a_pending_access_goes_by_the_map_as_it_is_then, 0, MODES);
    tcase_add_loop_test(tcase, a_trap_ends_with_its_mapping, 0, MODES);
    tcase_add_test(tcase, traps_are_over_several_mappings_and_can_be_taken_away);
    tcase_add_loop_test(tcase, a_trap_is_of_one_space, 0, MODES);
    tcase_add_loop_test(tcase, devices_and_the_client_are_not_bound, 0, 2);
    tcase_add_loop_test(tcase, what_is_allowed_is_tracked_as_written, 0, 2);
    tcase_add_loop_test(tcase, a_trap_counts_at_once_for_a_vcpu_that_runs, 0, MODES);
    tcase_add_loop_test(tcase, a_read_and_write_is_finished_access_by_access, 0, 3 * MODES);
    tcase_add_loop_test(tcase, a_pending_access_that_the_map_allows_by_now_is_finished, 0, MODES);
    tcase_add_loop_test(tcase, a_string_instruction_stops_at_each_of_its_accesses_in_a_trapped_page, 0, 2 * MODES);
    tcase_add_loop_test(tcase, a_port_instruction_is_finished_with_what_the_client_gave, 0, MODES);
    tcase_add_test(tcase, finishing_does_not_swallow_an_interruption);
    tcase_add_test(tcase, a_range_of_traps_is_checked);
    return tcase;
}

static TCase *steps(void)
{
    TCase *tcase = tcase_create("steps and exceptions");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, each_step_is_one_instruction_whatever_it_does, 0, 2 * MODES);
    tcase_add_loop_test(tcase, a_step_begins_where_the_client_puts_the_instruction_pointer, 0, MODES);
    tcase_add_test(tcase, a_step_over_hlt_is_one_exit_without_interrupt_controllers);
    tcase_add_test(tcase, the_debugging_goes_where_the_vcpu_goes);
    tcase_add_test(tcase, a_reset_and_the_end_of_a_vcpu_end_it);
    tcase_add_loop_test(tcase, an_exception_that_is_given_back_reaches_the_guest_once, 0, 2);
    tcase_add_test(tcase, int3_exits_and_can_be_given_back);
    tcase_add_test(tcase, a_guest_goes_on_over_an_int3_that_is_taken_away);
    tcase_add_test(tcase, a_breakpoint_of_the_debug_registers_exits);
    tcase_add_test(tcase, a_watchpoint_of_the_debug_registers_exits);
    tcase_add_loop_test(tcase, a_step_over_hlt_does_not_wait, 0, 2);
    tcase_add_test(tcase, a_vcpu_that_waits_is_stepped_on);
    tcase_add_test(tcase, interrupts_that_are_held_come_later);
    tcase_add_test(tcase, calls_for_a_vcpu_are_for_its_owner);
    return tcase;
}

int main(void)
{
    Suite *suite = suite_create("direct debug");

    bare_guest_require_kvm();
    probe();
    suite_add_tcase(suite, traps());
    suite_add_tcase(suite, steps());
    return unit_test_run(suite);
}
