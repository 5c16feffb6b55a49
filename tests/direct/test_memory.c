/*
 * What guests see of mappings, and what the API says of them, on a real KVM.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const hv_memory_flags_t RW = HV_MEMORY_READ | HV_MEMORY_WRITE;
static const hv_memory_flags_t RWX = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

/* mov [DATA_GPA], eax; mov ebx, [DATA_GPA]; hlt */
static const uint8_t store_and_load[] = {0xa3, 0x00, 0x00, 0x02, 0x00, 0x8b, 0x1d, 0x00, 0x00, 0x02, 0x00, 0xf4};

static void expect_halt(struct bare_guest *guest)
{
    ck_assert_int_eq(bare_guest_run(guest->vcpu).reason, HVX_EXIT_HALT);
}

START_TEST(guest_and_host_see_the_same_bytes)
{
    struct bare_guest guest;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0xcafe1234);
    expect_halt(&guest);
    ck_assert_uint_eq(*(uint32_t *)guest.data, 0xcafe1234);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0xcafe1234);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_store_to_a_read_only_mapping_exits_and_changes_nothing)
{
    struct bare_guest guest;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x55aa);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.gpa, DATA_GPA);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_WRITE);
    ck_assert_uint_eq(exit.memory.allowed, HV_MEMORY_READ);
    ck_assert_uint_eq(exit.memory.length, 4);
    ck_assert_uint_eq(exit.memory.data[0], 0xaa);
    ck_assert_uint_eq(*(uint32_t *)guest.data, 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_refused_store_is_repeated_until_the_map_allows_it_and_then_lands_once)
{
    struct bare_guest guest;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x1111);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
        ck_assert_uint_eq(*(uint32_t *)guest.data, 0);
    }
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, RW), HV_SUCCESS);
    expect_halt(&guest);
    ck_assert_uint_eq(*(uint32_t *)guest.data, 0x1111);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), 0x1111);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_completed_store_does_not_reach_memory)
{
    struct bare_guest guest;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x2222);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_ERROR);
    expect_halt(&guest);
    ck_assert_uint_eq(*(uint32_t *)guest.data, 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_unmapped_load_exits_and_sees_what_the_client_gives)
{
    struct bare_guest guest;
    const uint32_t value = 0x77665544;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    ck_assert_uint_eq(bare_guest_run(guest.vcpu).memory.access, HV_MEMORY_WRITE);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_READ);
    ck_assert_uint_eq(exit.memory.allowed, 0);
    ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &value), HV_SUCCESS);
    expect_halt(&guest);
    ck_assert_uint_eq(bare_guest_register(guest.vcpu, HV_X86_RBX), value);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_page_cut_out_of_a_large_region_is_lost_to_a_guest_that_has_it_and_only_that)
{
    /* again: mov [ebx], eax; out 0x80, al; jmp again. In user mode an emulating KVM has page tables for it. */
    static const uint8_t store_and_tell[] = {0x89, 0x03, 0xe6, 0x80, 0xeb, 0xfa};
    const hv_gpaddr_t gpa = 0x40000000;
    const hv_gpaddr_t cut = gpa + 0x9005000;
    const size_t size = 1u << 30;
    struct bare_guest guest;
    void *memory;

    bare_guest_create(&guest, store_and_tell, sizeof(store_and_tell));
    bare_guest_enter_user_mode(guest.vcpu);
    ck_assert_int_eq(hv_vm_allocate(&memory, size, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(memory, gpa, size, RWX), HV_SUCCESS);
    /* Once to have them all, then with the page read-only, and then without it. */
    for (unsigned round = 0; round < 3; round++) {
        for (hv_gpaddr_t at = cut - 32 * PAGE; at <= cut + 0x10000000; at += at < cut + 32 * PAGE ? PAGE : 0x1000000) {
            const uint32_t value = (uint32_t)at + round;
            ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RBX, at), HV_SUCCESS);
            ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, value), HV_SUCCESS);
            hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
            if (round > 0 && at == cut) {
                ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
                ck_assert_uint_eq(exit.memory.gpa, cut);
                ck_assert_uint_eq(exit.memory.allowed, round == 1 ? HV_MEMORY_READ : 0);
                ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
                exit = bare_guest_run(guest.vcpu);
            }
            ck_assert_int_eq(exit.reason, HVX_EXIT_PORT);
            const uint32_t expected = at == cut ? (uint32_t)at : value;
            ck_assert_uint_eq(*(uint32_t *)(void *)((uint8_t *)memory + (at - gpa)), expected);
        }
        if (round == 0)
            ck_assert_int_eq(hv_vm_protect(cut, PAGE, HV_MEMORY_READ), HV_SUCCESS);
        else
            ck_assert_int_eq(hv_vm_unmap(cut, PAGE), HV_SUCCESS);
    }
    ck_assert_int_eq(hv_vm_unmap(gpa, size), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_deallocate(memory, size), HV_SUCCESS);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_mapping_without_flags_faults_until_it_is_protected_again)
{
    struct bare_guest guest;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x3333);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, 0), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA, PAGE, RWX), HV_SUCCESS);
    expect_halt(&guest);
    ck_assert_uint_eq(*(uint32_t *)guest.data, 0x3333);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_jump_to_where_nothing_is_mapped_is_an_execute_fault)
{
    /* mov eax, 0x300000; jmp eax */
    static const uint8_t jump[] = {0xb8, 0x00, 0x00, 0x30, 0x00, 0xff, 0xe0};
    struct bare_guest guest;

    bare_guest_create(&guest, jump, sizeof(jump));
    hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
    ck_assert_int_eq(exit.reason, HVX_EXIT_MEMORY);
    ck_assert_uint_eq(exit.memory.access, HV_MEMORY_EXEC);
    ck_assert_uint_eq(exit.memory.gpa, 0x300000);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(cutting_a_page_out_of_a_mapping_leaves_the_rest)
{
    struct bare_guest guest;
    void *memory;
    uint32_t value = 0;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_allocate(&memory, 3 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(memory, DATA_GPA - PAGE, 3 * PAGE, RW), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_unmap(DATA_GPA - PAGE, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_protect(DATA_GPA + PAGE, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    hv_vcpu_write_register(guest.vcpu, HV_X86_RAX, 0x4444);
    expect_halt(&guest);
    memcpy(&value, (uint8_t *)memory + PAGE, sizeof(value));
    ck_assert_uint_eq(value, 0x4444);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_second_vm_is_refused_and_the_first_is_unharmed)
{
    struct bare_guest guest;

    bare_guest_create(&guest, store_and_load, sizeof(store_and_load));
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_BUSY);
    ck_assert_int_eq(hv_vm_destroy(), HV_BUSY);
    expect_halt(&guest);
    bare_guest_destroy(&guest);
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_destroy(), HV_NO_DEVICE);
}
END_TEST

START_TEST(a_forked_child_starts_without_a_vm_and_may_make_one)
{
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        hv_vcpuid_t vcpu;
        int good = hv_vm_destroy() == HV_NO_DEVICE && hv_vm_create(HV_VM_DEFAULT) == HV_SUCCESS &&
                   hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT) == HV_SUCCESS && hv_vcpu_destroy(vcpu) == HV_SUCCESS &&
                   hv_vm_destroy() == HV_SUCCESS;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(memory_that_is_mapped_is_not_deallocated)
{
    void *memory;

    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_allocate(&memory, 2 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map((uint8_t *)memory + PAGE, 0, PAGE, RW), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_deallocate(memory, 2 * PAGE), HV_BUSY);
    ck_assert_int_eq(hv_vm_deallocate(memory, PAGE), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_deallocate(memory, 2 * PAGE), HV_SUCCESS);
}
END_TEST

START_TEST(arguments_are_checked_in_order_and_a_refused_call_changes_nothing)
{
    static _Alignas(4096) uint8_t memory[2 * PAGE];
    hvx_range_t range;
    void *hole;

    ck_assert_int_eq(hv_vm_map(NULL, 1, 0, ~0ull), HV_NO_DEVICE);
    ck_assert_int_eq(hv_vm_create(1ull << 63), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_create(HV_VM_ACCEL_APIC), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(NULL, 0, PAGE, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory + 1, 0, PAGE, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory, 1, PAGE, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory, 0, 0, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory, 0, PAGE + 1, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory, ~0ull - PAGE + 1, PAGE, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory, 1ull << 48, PAGE, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory, 0, PAGE, 1ull << 9), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_map(memory, 0, PAGE, HV_MEMORY_UEXEC), HV_UNSUPPORTED);
    ck_assert_int_eq(hv_vm_map_space(7, memory, 0, PAGE, RW), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_protect(0, PAGE, RW), HV_ERROR);
    ck_assert_int_eq(hv_vm_unmap(0, PAGE), HV_SUCCESS);

    hole = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(hole, MAP_FAILED);
    munmap((uint8_t *)hole + PAGE, PAGE);
    ck_assert_int_eq(hv_vm_map(hole, 0, 2 * PAGE, RW), HV_ERROR);
    ck_assert_int_eq(hvx_vm_query_space(HV_VM_SPACE_DEFAULT, 0, &range), HV_ERROR);

    ck_assert_int_eq(hv_vm_map(memory, PAGE, PAGE, RW), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(memory, 0, 2 * PAGE, RW), HV_ERROR);
    ck_assert_int_eq(hv_vm_protect(0, 2 * PAGE, HV_MEMORY_READ), HV_ERROR);
    ck_assert_int_eq(hvx_vm_query_space(HV_VM_SPACE_DEFAULT, 0, &range), HV_SUCCESS);
    ck_assert_uint_eq(range.gpa, PAGE);
    ck_assert_uint_eq(range.size, PAGE);
    ck_assert_uint_eq(range.flags, RW);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(spaces_get_the_smallest_free_id_and_map_the_same_address_differently)
{
    static _Alignas(4096) uint8_t memory[2][PAGE];
    hv_vm_space_t a, b;
    uint8_t byte;

    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_space_create(&a), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_space_create(&b), HV_SUCCESS);
    ck_assert_uint_eq(a, 1);
    ck_assert_uint_eq(b, 2);
    ck_assert_int_eq(hv_vm_space_destroy(a), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_space_create(&a), HV_SUCCESS);
    ck_assert_uint_eq(a, 1);
    memory[0][5] = 10;
    memory[1][5] = 11;
    ck_assert_int_eq(hv_vm_map_space(a, memory[0], 0, PAGE, RW), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map_space(b, memory[1], 0, PAGE, RW), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_read_space(a, 5, &byte, 1), HV_SUCCESS);
    ck_assert_uint_eq(byte, 10);
    ck_assert_int_eq(hvx_vm_read_space(b, 5, &byte, 1), HV_SUCCESS);
    ck_assert_uint_eq(byte, 11);
    ck_assert_int_eq(hv_vm_space_destroy(HV_VM_SPACE_DEFAULT), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_space_destroy(3), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct memory");
    TCase *tcase = tcase_create("memory");

    bare_guest_require_kvm();
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, guest_and_host_see_the_same_bytes);
    tcase_add_test(tcase, a_store_to_a_read_only_mapping_exits_and_changes_nothing);
    tcase_add_test(tcase, a_refused_store_is_repeated_until_the_map_allows_it_and_then_lands_once);
    tcase_add_test(tcase, a_completed_store_does_not_reach_memory);
    tcase_add_test(tcase, an_unmapped_load_exits_and_sees_what_the_client_gives);
    tcase_add_test(tcase, a_page_cut_out_of_a_large_region_is_lost_to_a_guest_that_has_it_and_only_that);
    tcase_add_test(tcase, a_mapping_without_flags_faults_until_it_is_protected_again);
    tcase_add_test(tcase, a_jump_to_where_nothing_is_mapped_is_an_execute_fault);
    tcase_add_test(tcase, cutting_a_page_out_of_a_mapping_leaves_the_rest);
    tcase_add_test(tcase, a_second_vm_is_refused_and_the_first_is_unharmed);
    tcase_add_test(tcase, a_forked_child_starts_without_a_vm_and_may_make_one);
    tcase_add_test(tcase, memory_that_is_mapped_is_not_deallocated);
    tcase_add_test(tcase, arguments_are_checked_in_order_and_a_refused_call_changes_nothing);
    tcase_add_test(tcase, spaces_get_the_smallest_free_id_and_map_the_same_address_differently);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
