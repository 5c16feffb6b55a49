/*
 * Several spaces and one vCPU that moves between them, on a real KVM; strict spaces; changes under a running vCPU.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

static const uint8_t halt[] = {0xf4};
/* again: jmp again */
static const uint8_t endless[] = {0xeb, 0xfe};
/* again: mov eax, [DATA_GPA]; hlt; jmp again */
static const uint8_t load[] = {0xa1, 0x00, 0x00, 0x02, 0x00, 0xf4, 0xeb, 0xf8};
/* again: lock inc dword [DATA_GPA + 2048]; jmp again */
static const uint8_t count[] = {0xf0, 0xff, 0x05, 0x00, 0x08, 0x02, 0x00, 0xeb, 0xf7};

/* Programs for any privilege level, with `out 0x10, al` in HLT's place. */
static const uint8_t tell[] = {0xe6, 0x10, 0xeb, 0xfc};
static const uint8_t load_and_tell[] = {0xa1, 0x00, 0x00, 0x02, 0x00, 0xe6, 0x10, 0xeb, 0xf7};
static const uint8_t store_and_tell[] = {0xa3, 0x00, 0x00, 0x02, 0x00, 0xe6, 0x10, 0xeb, 0xf7};

static uint8_t *allocate(size_t size)
{
    void *memory;

    ck_assert_int_eq(hv_vm_allocate(&memory, size, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    return memory;
}

/* A space with the guest's code page and a data page of its own. */
static hv_vm_space_t make_space(const struct bare_guest *guest, uint8_t **ret_data)
{
    hv_vm_space_t space;

    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    *ret_data = allocate(PAGE);
    ck_assert_int_eq(hv_vm_map_space(space, guest->code, CODE_GPA, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map_space(space, *ret_data, DATA_GPA, PAGE, ALL), HV_SUCCESS);
    return space;
}

static void move_to(const struct bare_guest *guest, hv_vm_space_t space)
{
    ck_assert_int_eq(hv_vcpu_set_space(guest->vcpu, space), HV_SUCCESS);
}

static void expect_halt(const struct bare_guest *guest)
{
    ck_assert_int_eq(bare_guest_run(guest->vcpu).reason, HVX_EXIT_HALT);
}

START_TEST(a_vcpu_sees_the_memory_of_the_space_it_is_in)
{
    struct bare_guest guest;
    uint8_t *data;

    bare_guest_create(&guest, load, sizeof(load));
    const hv_vm_space_t space = make_space(&guest, &data);
    guest.data[0] = 0x11;
    data[0] = 0x22;
    for (unsigned i = 0; i < 20; i++) {
        move_to(&guest, i % 2 == 0 ? space : HV_VM_SPACE_DEFAULT);
        expect_halt(&guest);
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), i % 2 == 0 ? 0x22 : 0x11);
    }
    bare_guest_destroy(&guest);
}
END_TEST

/* XMM0's first byte in the legacy area of an XSAVE image: Intel SDM volume 1, 10.5.1. */
enum { XMM0_OFFSET = 160, XSTATE_BV_OFFSET = 512, IMAGE_SIZE = 576 };

START_TEST(a_vcpu_takes_its_whole_state_along)
{
    static const hv_x86_reg_t registers[] = {
        HV_X86_RAX, HV_X86_RBX, HV_X86_RCX, HV_X86_RDX, HV_X86_RSI, HV_X86_RDI, HV_X86_RSP,      HV_X86_RBP,
        HV_X86_R8,  HV_X86_R15, HV_X86_CR2, HV_X86_CR3, HV_X86_DR0, HV_X86_DR3, HV_X86_GDT_BASE, HV_X86_IDT_BASE};
    const size_t register_count = sizeof(registers) / sizeof(registers[0]);
    const uint32_t kernel_gs_base = 0xc0000102; /* Intel SDM volume 4, table 2-2 */
    uint8_t before[IMAGE_SIZE], after[IMAGE_SIZE];
    struct bare_guest guest;
    uint8_t *data;
    uint64_t value;

    bare_guest_create(&guest, halt, sizeof(halt));
    const hv_vm_space_t space = make_space(&guest, &data);
    for (size_t i = 0; i < register_count; i++)
        ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, registers[i], 0x10000 * (i + 1)), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_TPR, 5), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_msr(guest.vcpu, kernel_gs_base, 0x123456000), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_read_fpstate(guest.vcpu, before, sizeof(before)), HV_SUCCESS);
    before[XMM0_OFFSET] = 0xa5;
    before[XSTATE_BV_OFFSET] |= 2; /* SSE state is there */
    ck_assert_int_eq(hv_vcpu_write_fpstate(guest.vcpu, before, sizeof(before)), HV_SUCCESS);

    /* There, a run there, and back: at each of them all is as it was. */
    for (unsigned step = 0; step < 3; step++) {
        if (step == 0)
            move_to(&guest, space);
        if (step == 1)
            expect_halt(&guest);
        if (step == 2)
            move_to(&guest, HV_VM_SPACE_DEFAULT);
        for (size_t i = 0; i < register_count; i++)
            ck_assert_uint_eq(bare_guest_register(guest.vcpu, registers[i]), 0x10000 * (i + 1));
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RIP), CODE_GPA + (step > 0));
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_TPR), 5);
        ck_assert_int_eq(hv_vcpu_read_msr(guest.vcpu, kernel_gs_base, &value), HV_SUCCESS);
        ck_assert_uint_eq(value, 0x123456000);
        ck_assert_int_eq(hv_vcpu_read_fpstate(guest.vcpu, after, sizeof(after)), HV_SUCCESS);
        ck_assert_uint_eq(after[XMM0_OFFSET], 0xa5);
    }
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(changes_of_a_space_count_before_and_after_the_first_vcpu_enters)
{
    struct bare_guest guest;
    uint8_t *data;

    bare_guest_create(&guest, load, sizeof(load));
    const hv_vm_space_t space = make_space(&guest, &data);
    ck_assert_int_eq(hv_vm_unmap_space(space, DATA_GPA, PAGE), HV_SUCCESS);
    move_to(&guest, space);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.space, space);
    ck_assert_uint_eq(exit.memory.gpa, DATA_GPA);
    data[0] = 0x77;
    ck_assert_int_eq(hv_vm_map_space(space, data, DATA_GPA, PAGE, ALL), HV_SUCCESS);
    expect_halt(&guest);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 0x77);
    /* The default space has not seen any of that. */
    move_to(&guest, HV_VM_SPACE_DEFAULT);
    expect_halt(&guest);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_access_that_is_not_done_keeps_the_vcpu_where_it_is)
{
    const uint32_t answer = 0x99;
    struct bare_guest guest;
    uint8_t *data;

    bare_guest_create(&guest, load, sizeof(load));
    const hv_vm_space_t space = make_space(&guest, &data);
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_BUSY);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &answer), HV_SUCCESS);
    move_to(&guest, space);
    /* The load is done, with what the client gave; the space's own memory is not looked at. */
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 0x99);
    expect_halt(&guest);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 0x99);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_instruction_with_another_access_to_make_keeps_the_vcpu_where_it_is)
{
    /* add [DATA_GPA], al; hlt */
    static const uint8_t program[] = {0x00, 0x05, 0x00, 0x00, 0x02, 0x00, 0xf4};
    const uint8_t five = 5;
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;
    uint8_t *data;

    bare_guest_create(&guest, program, sizeof(program));
    const hv_vm_space_t space = make_space(&guest, &data);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 2), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    exit = bare_guest_run(guest.vcpu);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_READ);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &five), HV_SUCCESS);
    /* The store is its second access, and the exit now. */
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_BUSY);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_WRITE);
    ck_assert_uint_eq(exit.memory.data[0], 7);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
    move_to(&guest, space);
    expect_halt(&guest);
    ck_assert_uint_eq(data[0], 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_new_vcpu_has_nothing_of_the_one_before_with_its_id)
{
    hvx_vcpu_exit_t exit;
    hvx_space_info_t info;
    struct bare_guest guest;

    bare_guest_create(&guest, store_and_tell, sizeof(store_and_tell));
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_TPR, 5), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(hv_vcpu_interrupt(&guest.vcpu, 1), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_destroy(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_space_info(HV_VM_SPACE_DEFAULT, &info), HV_SUCCESS);
    ck_assert_uint_eq(info.vcpu_count, 0);
    memcpy(guest.code, halt, sizeof(halt));
    ck_assert_int_eq(hv_vcpu_create(&guest.vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    bare_guest_enter_protected_mode(guest.vcpu);
    ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_HALT);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_TPR), 0);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_TPR, 5), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_reset(guest.vcpu), HV_SUCCESS);
    bare_guest_enter_protected_mode(guest.vcpu);
    expect_halt(&guest);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_TPR), 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_strict_space_looks_at_the_whole_instruction)
{
    struct bare_guest guest;

    bare_guest_create(&guest, halt, sizeof(halt));
    uint8_t *pages = allocate(2 * PAGE);
    /* out 0x10, al across the two pages */
    pages[PAGE - 1] = 0xe6;
    pages[PAGE] = 0x10;
    pages[PAGE + 1] = 0xf4;
    ck_assert_int_eq(hv_vm_map(pages, 0x40000, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(pages + PAGE, 0x40000 + PAGE, PAGE, HV_MEMORY_READ | HV_MEMORY_WRITE), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_space_set_strict(HV_VM_SPACE_DEFAULT, true), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RIP, 0x40000 + PAGE - 1), HV_SUCCESS);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_EXEC);
    ck_assert_uint_eq(exit.memory.gpa, 0x40000 + PAGE);
    ck_assert_int_eq(hv_vm_protect(0x40000 + PAGE, PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_PORT);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_space_is_busy_while_a_vcpu_is_in_it)
{
    struct bare_guest guest;
    hv_vm_space_t space, again;
    uint8_t *data;

    bare_guest_create(&guest, halt, sizeof(halt));
    space = make_space(&guest, &data);
    move_to(&guest, space);
    move_to(&guest, space);
    ck_assert_int_eq(hvx_vcpu_get_space(guest.vcpu, &again), HV_SUCCESS);
    ck_assert_uint_eq(again, space);
    ck_assert_int_eq(hv_vm_space_destroy(space), HV_BUSY);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space + 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu + 1, space), HV_BAD_ARGUMENT);
    move_to(&guest, HV_VM_SPACE_DEFAULT);
    ck_assert_int_eq(hv_vm_space_destroy(space), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_BAD_ARGUMENT);
    /* A new space of the same number has nothing of the old one. */
    ck_assert_int_eq(hv_vm_space_create(&again), HV_SUCCESS);
    ck_assert_uint_eq(again, space);
    move_to(&guest, space);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_EXEC);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(the_space_of_a_destroyed_vcpu_stays_busy)
{
    struct bare_guest guest;
    uint8_t *data;

    bare_guest_create(&guest, halt, sizeof(halt));
    const hv_vm_space_t space = make_space(&guest, &data);
    move_to(&guest, space);
    ck_assert_int_eq(hv_vcpu_destroy(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_space_destroy(space), HV_BUSY);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(a_vcpu_with_a_used_id_starts_afresh)
{
    struct bare_guest guest;
    uint64_t fresh;
    uint8_t *data;

    bare_guest_create(&guest, halt, sizeof(halt));
    const hv_vm_space_t space = make_space(&guest, &data);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x1234), HV_SUCCESS);
    expect_halt(&guest);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(hv_vcpu_destroy(guest.vcpu), HV_SUCCESS);
        ck_assert_int_eq(hv_vcpu_create(&guest.vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
        ck_assert_uint_eq(guest.vcpu, 0);
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RAX), 0);
        ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RIP), 0xfff0); /* Intel SDM volume 3, table 10-1 */
        fresh = bare_guest_register(guest.vcpu, HV_X86_CR0);
        ck_assert_uint_eq(fresh & 1, 0);
        bare_guest_enter_protected_mode(guest.vcpu);
        expect_halt(&guest);
        move_to(&guest, space);
        move_to(&guest, HV_VM_SPACE_DEFAULT);
    }
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_reset_gives_the_first_state_back)
{
    struct bare_guest guest;

    bare_guest_create(&guest, load, sizeof(load));
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(hvx_vcpu_reset(guest.vcpu), HV_SUCCESS);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RIP), 0xfff0);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &guest), HV_ERROR);
    bare_guest_enter_protected_mode(guest.vcpu);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- Strict spaces ---- */

/* What the data page's flags make of a load, a store and a jump there. */
static void try_flags(const struct bare_guest *guest, hv_vm_space_t space, hv_memory_flags_t flags, bool strict)
{
    const bool may_read = strict ? (flags & (HV_MEMORY_READ | HV_MEMORY_EXEC)) != 0 : flags != 0;
    const bool may_write = (flags & HV_MEMORY_WRITE) != 0;
    const bool may_execute = strict ? (flags & HV_MEMORY_EXEC) != 0 : flags != 0;
    const struct {
        const uint8_t *program;
        size_t size;
        hv_memory_flags_t access;
        bool allowed;
    } tries[] = {
        {load_and_tell, sizeof(load_and_tell), HV_MEMORY_READ, may_read},
        {store_and_tell, sizeof(store_and_tell), HV_MEMORY_WRITE, may_write},
        {tell, sizeof(tell), HV_MEMORY_EXEC, may_execute},
    };

    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        const bool executes = tries[i].access == HV_MEMORY_EXEC;
        memcpy(guest->code, tries[i].program, tries[i].size);
        ck_assert_int_eq(hv_vm_protect_space(space, DATA_GPA, PAGE, flags), HV_SUCCESS);
        ck_assert_int_eq(hv_vcpu_write_register(guest->vcpu, HV_X86_RIP, executes ? DATA_GPA : CODE_GPA), HV_SUCCESS);
        hvx_vcpu_exit_t exit = bare_guest_run(guest->vcpu);
        const hvx_exit_reason_t expected = tries[i].allowed ? HVX_EXIT_PORT : HVX_EXIT_MEMORY;
        ck_assert_msg(exit.reason == expected, "flags %u, access %u, strict %d: exit %d", (unsigned)flags,
                      (unsigned)tries[i].access, strict, exit.reason);
        if (tries[i].allowed)
            continue;
        ck_assert_uint_eq(exit.memory.access, tries[i].access);
        ck_assert_uint_eq(exit.memory.allowed, flags);
        ck_assert_uint_eq(exit.memory.gpa, DATA_GPA);
        ck_assert_uint_eq(exit.memory.space, space);
        /* Again and again, until the map allows it. */
        ck_assert_int_eq(bare_guest_run(guest->vcpu).reason, HVX_EXIT_MEMORY);
        ck_assert_int_eq(hv_vm_protect_space(space, DATA_GPA, PAGE, ALL), HV_SUCCESS);
        ck_assert_int_eq(bare_guest_run(guest->vcpu).reason, HVX_EXIT_PORT);
    }
}

/* Bit 0: in an extra space. Bit 1: at CPL 3. */
enum { TRY_EXTRA_SPACE = 1, TRY_USER_MODE = 2, TRY_COUNT = 4 };

START_TEST(all_combinations_of_flags_hold)
{
    struct bare_guest guest;
    uint32_t code;
    uint8_t *data;

    bare_guest_create(&guest, halt, sizeof(halt));
    const hv_vm_space_t extra = make_space(&guest, &data);
    const hv_vm_space_t space = _i & TRY_EXTRA_SPACE ? extra : HV_VM_SPACE_DEFAULT;
    if (_i & TRY_USER_MODE)
        bare_guest_enter_user_mode(guest.vcpu);
    move_to(&guest, space);
    memcpy(&code, tell, sizeof(code));
    memcpy(guest.data, tell, sizeof(tell));
    memcpy(data, tell, sizeof(tell));
    for (unsigned strict = 0; strict < 2; strict++) {
        ck_assert_int_eq(hvx_vm_space_set_strict(space, strict != 0), HV_SUCCESS);
        for (hv_memory_flags_t flags = 0; flags <= ALL; flags++) {
            /* The store puts the register there, and the jump executes it. */
            ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, code), HV_SUCCESS);
            try_flags(&guest, space, flags, strict != 0);
        }
    }
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_CS) & 3, _i & TRY_USER_MODE ? 3 : 0);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- Changes under a running vCPU ---- */

static atomic_bool stop_changing;

struct change {
    hv_vm_space_t space;
    atomic_uint done;
};

/* Cuts the page beside the program's out of its mapping and puts it back, as fast as it goes. */
static void *change_neighbour(void *argument)
{
    struct change *change = argument;

    while (!atomic_load(&stop_changing)) {
        const hv_memory_flags_t flags = atomic_load(&change->done) % 2 == 0 ? HV_MEMORY_READ : ALL;
        ck_assert_int_eq(hv_vm_protect_space(change->space, DATA_GPA + PAGE, PAGE, flags), HV_SUCCESS);
        atomic_fetch_add(&change->done, 1);
    }
    return NULL;
}

START_TEST(a_running_vcpu_sees_no_hole_while_its_slot_is_cut)
{
    struct bare_guest guest;
    struct change change = {.space = HV_VM_SPACE_DEFAULT};
    struct timespec now;
    pthread_t changer;
    uint32_t last = 0;

    bare_guest_create(&guest, count, sizeof(count));
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    uint8_t *pages = allocate(4 * PAGE);
    ck_assert_int_eq(hv_vm_map(pages, DATA_GPA, 4 * PAGE, ALL), HV_SUCCESS);
    /* Program and counter are in the page whose slot comes and goes: a fetch that finds none is an exit. */
    memcpy(pages, count, sizeof(count));
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RIP, DATA_GPA), HV_SUCCESS);
    pthread_create(&changer, NULL, change_neighbour, &change);
    /* And until both have had time from the host. */
    for (unsigned round = 0; round < 150 || atomic_load(&change.done) <= 10 || last == 0; round++) {
        hvx_vcpu_exit_t exit;
        uint32_t counted;
        clock_gettime(CLOCK_MONOTONIC, &now);
        const uint64_t deadline = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + 10000000;
        ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, deadline), HV_SUCCESS);
        ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
        ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
        memcpy(&counted, pages + 2048, sizeof(counted));
        ck_assert_uint_ge(counted, last);
        last = counted;
    }
    atomic_store(&stop_changing, true);
    pthread_join(changer, NULL);
    bare_guest_destroy(&guest);
}
END_TEST

/* ---- The rest of the vCPU calls ---- */

START_TEST(a_deadline_ends_a_run_and_one_that_is_past_ends_it_at_once)
{
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;
    uint64_t before, after;

    bare_guest_create(&guest, endless, sizeof(endless));
    ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, 0), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    ck_assert_int_eq(hv_vcpu_get_exec_time(guest.vcpu, &before), HV_SUCCESS);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t deadline = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + 50000000;
    ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, deadline), HV_SUCCESS);
    clock_gettime(CLOCK_MONOTONIC, &now);
    ck_assert_uint_ge((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec, deadline);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    ck_assert_int_eq(hv_vcpu_get_exec_time(guest.vcpu, &after), HV_SUCCESS);
    ck_assert_uint_gt(after, before);
    ck_assert_int_eq(hv_vcpu_get_exec_time(guest.vcpu, NULL), HV_BAD_ARGUMENT);
    bare_guest_destroy(&guest);
}
END_TEST

static void ignore_signal(int number)
{
    (void)number;
}

START_TEST(a_signal_of_the_clients_ends_a_run_with_a_deadline)
{
    /* Again, if the guest was not yet running. */
    const struct itimerspec soon = {.it_value.tv_nsec = 50000000, .it_interval.tv_nsec = 50000000};
    struct sigaction action = {.sa_handler = ignore_signal};
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;
    timer_t timer;

    bare_guest_create(&guest, endless, sizeof(endless));
    sigaction(SIGUSR2, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    ck_assert_int_eq(timer_settime(timer, 0, &soon, NULL), 0);
    /* It would be an hour. */
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, (uint64_t)(now.tv_sec + 3600) * 1000000000), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    timer_delete(timer);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_interruption_goes_along_to_another_space)
{
    struct bare_guest guest;
    hvx_vcpu_exit_t exit;
    uint8_t *data;

    bare_guest_create(&guest, endless, sizeof(endless));
    const hv_vm_space_t space = make_space(&guest, &data);
    ck_assert_int_eq(hv_vcpu_interrupt(&guest.vcpu, 1), HV_SUCCESS);
    move_to(&guest, space);
    ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(the_time_stamp_counter_is_one_over_spaces)
{
    const uint32_t time_stamp_counter = 0x10; /* Intel SDM volume 4, table 2-2 */
    struct bare_guest guest;
    uint64_t first, second, third;
    uint8_t *data;

    bare_guest_create(&guest, halt, sizeof(halt));
    const hv_vm_space_t space = make_space(&guest, &data);
    const hv_return_t result = hv_vm_sync_tsc(1ull << 50);
    ck_assert(result == HV_SUCCESS || result == HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vcpu_read_msr(guest.vcpu, time_stamp_counter, &first), HV_SUCCESS);
    ck_assert(result == HV_UNSUPPORTED || first >= 1ull << 50);
    move_to(&guest, space);
    ck_assert_int_eq(hv_vcpu_read_msr(guest.vcpu, time_stamp_counter, &second), HV_SUCCESS);
    ck_assert_uint_ge(second, first);
    move_to(&guest, HV_VM_SPACE_DEFAULT);
    ck_assert_int_eq(hv_vcpu_read_msr(guest.vcpu, time_stamp_counter, &third), HV_SUCCESS);
    ck_assert_uint_ge(third, second);
    ck_assert_uint_lt(third, 1ull << 51);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(calls_about_msrs_say_what_kvm_does)
{
    const uint32_t kernel_gs_base = 0xc0000102; /* Intel SDM volume 4, table 2-2 */
    const uint32_t nonsense = 0xdead0000;
    hv_vm_exitinfo_t info;
    struct bare_guest guest;
    uint64_t time;

    bare_guest_create(&guest, halt, sizeof(halt));
    const hv_vcpuid_t vcpu = guest.vcpu;
    ck_assert_int_eq(hv_vcpu_enable_native_msr(vcpu, kernel_gs_base, true), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_enable_native_msr(vcpu, kernel_gs_base, false), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vcpu_enable_native_msr(vcpu, nonsense, true), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vcpu_enable_managed_msr(vcpu, kernel_gs_base, true), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_set_msr_access(vcpu, kernel_gs_base, HV_MSR_READ | HV_MSR_WRITE), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_set_msr_access(vcpu, kernel_gs_base, HV_MSR_READ), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vcpu_set_msr_access(vcpu, kernel_gs_base, 1u << 9), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vcpu_invalidate_tlb(vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_flush(vcpu), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vcpu_get_idle_time(vcpu, &time), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vcpu_exit_info(vcpu, &info), HV_SUCCESS);
    ck_assert_int_eq(info, HV_VM_EXITINFO_VMX);
    ck_assert_int_eq(hv_vcpu_exit_info(vcpu, NULL), HV_BAD_ARGUMENT);
    bare_guest_destroy(&guest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct spaces");
    TCase *tcase = tcase_create("spaces");

    bare_guest_require_kvm();
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_vcpu_sees_the_memory_of_the_space_it_is_in);
    tcase_add_test(tcase, a_vcpu_takes_its_whole_state_along);
    tcase_add_test(tcase, changes_of_a_space_count_before_and_after_the_first_vcpu_enters);
    tcase_add_test(tcase, an_access_that_is_not_done_keeps_the_vcpu_where_it_is);
    tcase_add_test(tcase, an_instruction_with_another_access_to_make_keeps_the_vcpu_where_it_is);
    tcase_add_test(tcase, a_new_vcpu_has_nothing_of_the_one_before_with_its_id);
    tcase_add_test(tcase, a_strict_space_looks_at_the_whole_instruction);
    tcase_add_test(tcase, a_space_is_busy_while_a_vcpu_is_in_it);
    tcase_add_test(tcase, the_space_of_a_destroyed_vcpu_stays_busy);
    tcase_add_test(tcase, a_vcpu_with_a_used_id_starts_afresh);
    tcase_add_test(tcase, a_reset_gives_the_first_state_back);
    tcase_add_loop_test(tcase, all_combinations_of_flags_hold, 0, TRY_COUNT);
    tcase_add_test(tcase, a_running_vcpu_sees_no_hole_while_its_slot_is_cut);
    tcase_add_test(tcase, a_deadline_ends_a_run_and_one_that_is_past_ends_it_at_once);
    tcase_add_test(tcase, a_signal_of_the_clients_ends_a_run_with_a_deadline);
    tcase_add_test(tcase, an_interruption_goes_along_to_another_space);
    tcase_add_test(tcase, the_time_stamp_counter_is_one_over_spaces);
    tcase_add_test(tcase, calls_about_msrs_say_what_kvm_does);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
