/*
 * What Apple leaves open and this library has decided: a test for each decision, by its number in the list that
 * docs/hypervisor-framework.md sums up. Tests of what guests see of a decision are in test_memory.c and test_spaces.c.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const hv_memory_flags_t RW = HV_MEMORY_READ | HV_MEMORY_WRITE;
static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

static _Alignas(4096) uint8_t memory[8 * PAGE];

#define EXPECT(call, result) ck_assert_int_eq(call, result)

static void setup(void)
{
    EXPECT(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
}

/* The range at gpa, all of it, or that there is none. */
static void expect_range(hv_gpaddr_t gpa, uint64_t size, hv_memory_flags_t flags)
{
    hvx_range_t range;

    EXPECT(hvx_vm_query_space(HV_VM_SPACE_DEFAULT, gpa, &range), HV_SUCCESS);
    ck_assert_uint_eq(range.gpa, gpa);
    ck_assert_uint_eq(range.size, size);
    ck_assert_uint_eq(range.flags, flags);
}

static void expect_empty(void)
{
    hvx_space_info_t info;

    EXPECT(hvx_vm_space_info(HV_VM_SPACE_DEFAULT, &info), HV_SUCCESS);
    ck_assert_uint_eq(info.range_count, 0);
    ck_assert_uint_eq(info.slot_count, 0);
}

START_TEST(d01_the_first_fault_in_order_is_the_answer)
{
    hv_vcpuid_t vcpu;

    EXPECT(hv_vm_map_space(99, NULL, 1, 3, ~0ull), HV_NO_DEVICE);
    setup();
    EXPECT(hv_vm_map(memory, 0, PAGE, RW), HV_SUCCESS);
    /* A bad flag, a known one that is not there, an unknown space and an overlap, in that order. */
    EXPECT(hv_vm_map_space(99, memory, 0, PAGE, 1ull << 9 | HV_MEMORY_UEXEC), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map_space(99, memory, 0, PAGE, HV_MEMORY_UEXEC), HV_UNSUPPORTED);
    EXPECT(hv_vm_map_space(99, memory, 0, PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, 0, PAGE, RW), HV_ERROR);
    EXPECT(hv_vcpu_create(&vcpu, 1ull << 60), HV_BAD_ARGUMENT);
    expect_range(0, PAGE, RW);
}
END_TEST

START_TEST(d02_without_a_vm_all_calls_say_so)
{
    hv_vm_space_t space;
    hv_vcpuid_t vcpu = 0;
    uint64_t value;

    EXPECT(hv_vm_destroy(), HV_NO_DEVICE);
    EXPECT(hv_vm_map(memory, 0, PAGE, RW), HV_NO_DEVICE);
    EXPECT(hv_vm_unmap(0, PAGE), HV_NO_DEVICE);
    EXPECT(hv_vm_protect(0, PAGE, RW), HV_NO_DEVICE);
    EXPECT(hv_vm_space_create(&space), HV_NO_DEVICE);
    EXPECT(hv_vm_space_destroy(1), HV_NO_DEVICE);
    EXPECT(hv_vm_sync_tsc(0), HV_NO_DEVICE);
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_NO_DEVICE);
    EXPECT(hv_vcpu_destroy(0), HV_NO_DEVICE);
    EXPECT(hv_vcpu_set_space(0, 0), HV_NO_DEVICE);
    EXPECT(hv_vcpu_run(0), HV_NO_DEVICE);
    EXPECT(hv_vcpu_interrupt(&vcpu, 1), HV_NO_DEVICE);
    EXPECT(hv_vcpu_read_register(0, HV_X86_RIP, &value), HV_NO_DEVICE);
    EXPECT(hv_vcpu_read_msr(0, 0x10, &value), HV_NO_DEVICE);
}
END_TEST

START_TEST(d03_a_second_vm_is_busy_and_the_first_unharmed)
{
    setup();
    EXPECT(hv_vm_map(memory, 0, PAGE, RW), HV_SUCCESS);
    EXPECT(hv_vm_create(HV_VM_DEFAULT), HV_BUSY);
    expect_range(0, PAGE, RW);
    EXPECT(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(d04_option_bits_are_known_or_not)
{
    hv_vcpuid_t vcpu;

    EXPECT(hv_vm_create(1ull << 5), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_create(1ull << 63), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_create(HV_VM_SPECIFY_MITIGATIONS), HV_UNSUPPORTED);
    EXPECT(hv_vm_create(HV_VM_ACCEL_APIC), HV_UNSUPPORTED);
    setup();
    EXPECT(hv_vcpu_create(&vcpu, 1ull << 2), HV_BAD_ARGUMENT);
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_TSC_RELATIVE), HV_UNSUPPORTED);
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_ACCEL_RDPMC), HV_UNSUPPORTED);
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
}
END_TEST

START_TEST(d05_null_pointers_are_refused)
{
    setup();
    EXPECT(hv_vm_map(NULL, 0, PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_space_create(NULL), HV_BAD_ARGUMENT);
    EXPECT(hv_vcpu_create(NULL, HV_VCPU_DEFAULT), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_allocate(NULL, PAGE, HV_ALLOCATE_DEFAULT), HV_BAD_ARGUMENT);
    EXPECT(hv_capability(HV_CAP_VCPUMAX, NULL), HV_BAD_ARGUMENT);
    expect_empty();
}
END_TEST

START_TEST(d06_d07_d08_d09_ranges_are_whole_pages_and_do_not_wrap)
{
    setup();
    EXPECT(hv_vm_map(memory + 8, 0, PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, 1024, PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, 0, 1024, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map_space(HV_VM_SPACE_DEFAULT, memory, 0, 1024, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_unmap(0, PAGE + 1), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_protect(0, 100, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, 0, 0, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_unmap(0, 0), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_protect(0, 0, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, ~0ull - PAGE + 1, 2 * PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, 0, ~(size_t)0 - PAGE + 1, RW), HV_BAD_ARGUMENT);
    expect_empty();
}
END_TEST

START_TEST(d10_addresses_reach_to_2_to_the_48)
{
    setup();
    EXPECT(hv_vm_map(memory, (1ull << 48) - PAGE, PAGE, RW), HV_SUCCESS);
    expect_range((1ull << 48) - PAGE, PAGE, RW);
    EXPECT(hv_vm_map(memory, 1ull << 48, PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, (1ull << 48) - 2 * PAGE, 3 * PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_unmap((1ull << 48) - PAGE, PAGE), HV_SUCCESS);
    expect_empty();
}
END_TEST

START_TEST(d11_d12_d14_flags)
{
    setup();
    for (hv_memory_flags_t flags = 0; flags < 8; flags++) {
        EXPECT(hv_vm_map(memory, flags * 2 * PAGE, PAGE, flags), HV_SUCCESS);
        expect_range(flags * 2 * PAGE, PAGE, flags);
        EXPECT(hv_vm_map(memory, flags * 2 * PAGE, PAGE, RW), HV_ERROR);
    }
    EXPECT(hv_vm_map(memory, 0x100000, PAGE, 1ull << 9), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map(memory, 0x100000, PAGE, HV_MEMORY_MAXPROT_READ), HV_UNSUPPORTED);
    EXPECT(hv_vm_protect(0, PAGE, HV_MEMORY_UEXEC), HV_UNSUPPORTED);
    EXPECT(hv_vm_protect(2 * PAGE, PAGE, 0), HV_SUCCESS);
    expect_range(2 * PAGE, PAGE, 0);
}
END_TEST

START_TEST(d15_overlaps_are_errors)
{
    setup();
    EXPECT(hv_vm_map(memory, 4 * PAGE, 2 * PAGE, RW), HV_SUCCESS);
    EXPECT(hv_vm_map(memory, 4 * PAGE, 2 * PAGE, RW), HV_ERROR);
    EXPECT(hv_vm_map(memory, 3 * PAGE, 2 * PAGE, RW), HV_ERROR);
    EXPECT(hv_vm_map(memory + PAGE, 5 * PAGE, PAGE, RW), HV_ERROR);
    EXPECT(hv_vm_map(memory, 0, 8 * PAGE, RW), HV_ERROR);
    expect_range(4 * PAGE, 2 * PAGE, RW);
}
END_TEST

START_TEST(d16_d17_unmap_takes_what_there_is)
{
    setup();
    EXPECT(hv_vm_unmap(0, 8 * PAGE), HV_SUCCESS);
    EXPECT(hv_vm_map(memory, PAGE, 6 * PAGE, RW), HV_SUCCESS);
    EXPECT(hv_vm_unmap(3 * PAGE, PAGE), HV_SUCCESS);
    expect_range(PAGE, 2 * PAGE, RW);
    expect_range(4 * PAGE, 3 * PAGE, RW);
    EXPECT(hv_vm_unmap(2 * PAGE, 3 * PAGE), HV_SUCCESS);
    expect_range(PAGE, PAGE, RW);
    expect_range(5 * PAGE, 2 * PAGE, RW);
    EXPECT(hv_vm_unmap(0, 100 * PAGE), HV_SUCCESS);
    expect_empty();
}
END_TEST

START_TEST(d18_d19_protect_wants_all_of_it_mapped)
{
    setup();
    EXPECT(hv_vm_map(memory, 0, 2 * PAGE, RW), HV_SUCCESS);
    EXPECT(hv_vm_map(memory + 4 * PAGE, 2 * PAGE, PAGE, RW), HV_SUCCESS);
    EXPECT(hv_vm_protect(PAGE, 3 * PAGE, HV_MEMORY_READ), HV_ERROR);
    expect_range(0, 2 * PAGE, RW);
    EXPECT(hv_vm_protect(PAGE, 2 * PAGE, HV_MEMORY_READ), HV_SUCCESS);
    expect_range(0, PAGE, RW);
    expect_range(PAGE, PAGE, HV_MEMORY_READ);
    expect_range(2 * PAGE, PAGE, HV_MEMORY_READ);
}
END_TEST

START_TEST(d20_d21_host_memory_is_mapped_by_one_region_or_more)
{
    uint8_t *pages = mmap(NULL, 6 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    setup();
    ck_assert_ptr_ne(pages, MAP_FAILED);
    EXPECT(mprotect(pages + PAGE, PAGE, PROT_READ), 0);
    EXPECT(hv_vm_map(pages, 0, 4 * PAGE, HV_MEMORY_READ), HV_SUCCESS);
    EXPECT(hv_vm_unmap(0, 4 * PAGE), HV_SUCCESS);
    munmap(pages + 2 * PAGE, PAGE);
    munmap(pages + 4 * PAGE, PAGE);
    EXPECT(hv_vm_map(pages, 0, 4 * PAGE, HV_MEMORY_READ), HV_ERROR);
    EXPECT(hv_vm_map(pages + 3 * PAGE, 0, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    EXPECT(hv_vm_map(pages + 3 * PAGE, PAGE, 2 * PAGE, HV_MEMORY_READ), HV_ERROR);
}
END_TEST

START_TEST(d22_a_write_to_memory_that_the_host_may_not_write_is_a_write_fault)
{
    /* mov [DATA_GPA + 4096], al; hlt */
    static const uint8_t program[] = {0xa2, 0x00, 0x10, 0x02, 0x00, 0xf4};
    uint8_t *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct bare_guest guest;
    const uint8_t byte = 1;

    bare_guest_create(&guest, program, sizeof(program));
    EXPECT(hv_vm_map(page, DATA_GPA + PAGE, PAGE, ALL), HV_SUCCESS);
    for (unsigned i = 0; i < 2; i++) {
        hvx_vcpu_exit_t exit = bare_guest_run(guest.vcpu);
        EXPECT(exit.reason, HVX_EXIT_MEMORY);
        ck_assert_uint_eq(exit.memory.access, HV_MEMORY_WRITE);
        ck_assert_uint_eq(exit.memory.gpa, DATA_GPA + PAGE);
    }
    EXPECT(hvx_vm_write_space(HV_VM_SPACE_DEFAULT, DATA_GPA + PAGE, &byte, 1), HV_ERROR);
    EXPECT(hvx_vcpu_complete(guest.vcpu, NULL), HV_SUCCESS);
    EXPECT(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(d24_without_resources_the_old_state_stands)
{
    struct rlimit limit, none;
    hv_vm_space_t space;

    setup();
    EXPECT(hv_vm_space_create(&space), HV_SUCCESS);
    hv_vcpuid_t vcpu;
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    /* No descriptor for the KVM VM that the space would need. */
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 3;
    EXPECT(setrlimit(RLIMIT_NOFILE, &none), 0);
    EXPECT(hv_vcpu_set_space(vcpu, space), HV_NO_RESOURCES);
    EXPECT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT(hv_vm_space_destroy(space), HV_SUCCESS);
    hv_vm_space_t now;
    EXPECT(hvx_vcpu_get_space(vcpu, &now), HV_SUCCESS);
    ck_assert_uint_eq(now, HV_VM_SPACE_DEFAULT);
}
END_TEST

START_TEST(d25_d26_d27_spaces_are_numbered_and_counted)
{
    hv_vm_space_t space = 77;
    uint64_t most;

    EXPECT(hv_capability(HV_CAP_ADDRSPACEMAX, &most), HV_SUCCESS);
    setup();
    for (uint64_t i = 1; i < most; i++) {
        EXPECT(hv_vm_space_create(&space), HV_SUCCESS);
        ck_assert_uint_eq(space, i);
    }
    space = 77;
    EXPECT(hv_vm_space_create(&space), HV_NO_RESOURCES);
    ck_assert_uint_eq(space, 77);
    EXPECT(hv_vm_space_destroy(5), HV_SUCCESS);
    EXPECT(hv_vm_space_create(&space), HV_SUCCESS);
    ck_assert_uint_eq(space, 5);
}
END_TEST

START_TEST(d28_d29_the_default_space_stays_and_unknown_ones_are_refused)
{
    setup();
    EXPECT(hv_vm_space_destroy(HV_VM_SPACE_DEFAULT), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_space_destroy(1), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_space_destroy(UINT32_MAX), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_map_space(1, memory, 0, PAGE, RW), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_unmap_space(1, 0, PAGE), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_protect_space(1, 0, PAGE, RW), HV_BAD_ARGUMENT);
}
END_TEST

START_TEST(d30_d31_d32_a_space_with_a_vcpu_is_busy_for_ever_if_that_ends_there)
{
    hv_vm_space_t space;
    hv_vcpuid_t vcpu;

    setup();
    EXPECT(hv_vm_space_create(&space), HV_SUCCESS);
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    EXPECT(hv_vcpu_set_space(vcpu, HV_VM_SPACE_DEFAULT), HV_SUCCESS);
    EXPECT(hv_vcpu_set_space(vcpu, space), HV_SUCCESS);
    EXPECT(hv_vcpu_set_space(vcpu, space), HV_SUCCESS);
    EXPECT(hv_vm_space_destroy(space), HV_BUSY);
    EXPECT(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    EXPECT(hv_vm_space_destroy(space), HV_BUSY);
    EXPECT(hv_vm_destroy(), HV_SUCCESS);
    setup();
    EXPECT(hv_vm_space_destroy(space), HV_BAD_ARGUMENT);
}
END_TEST

static void *create_in_space(void *argument)
{
    hv_vcpuid_t *vcpu = argument;

    EXPECT(hv_vcpu_create(vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    EXPECT(hv_vcpu_set_space(*vcpu, 1), HV_SUCCESS);
    return NULL;
}

static void *use_another_threads_vcpu(void *argument)
{
    const hv_vcpuid_t vcpu = *(hv_vcpuid_t *)argument;
    uint64_t value;

    EXPECT(hv_vcpu_set_space(vcpu, HV_VM_SPACE_DEFAULT), HV_DENIED);
    EXPECT(hv_vcpu_destroy(vcpu), HV_DENIED);
    EXPECT(hv_vcpu_read_register(vcpu, HV_X86_RIP, &value), HV_DENIED);
    EXPECT(hv_vcpu_run(vcpu), HV_DENIED);
    EXPECT(hv_vcpu_run(vcpu + 1), HV_BAD_ARGUMENT);
    return NULL;
}

START_TEST(d33_d34_a_vcpu_is_its_threads_until_that_ends)
{
    hv_vcpuid_t mine, theirs = 0;
    hv_vm_space_t space;
    pthread_t thread;

    setup();
    EXPECT(hv_vm_space_create(&space), HV_SUCCESS);
    EXPECT(hv_vcpu_create(&mine, HV_VCPU_DEFAULT), HV_SUCCESS);
    EXPECT(hv_vcpu_create(&theirs, HV_VCPU_DEFAULT), HV_BUSY);
    pthread_create(&thread, NULL, use_another_threads_vcpu, &mine);
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, create_in_space, &theirs);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(theirs, 1);
    EXPECT(hv_vm_space_destroy(space), HV_BUSY);
    EXPECT(hv_vcpu_set_space(theirs, HV_VM_SPACE_DEFAULT), HV_SUCCESS);
    EXPECT(hv_vm_space_destroy(space), HV_SUCCESS);
    EXPECT(hv_vcpu_destroy(theirs), HV_SUCCESS);
}
END_TEST

START_TEST(d35_vcpu_ids_are_the_smallest_free)
{
    hv_vcpuid_t vcpu, again;
    uint64_t most;

    EXPECT(hv_capability(HV_CAP_VCPUMAX, &most), HV_SUCCESS);
    ck_assert_uint_gt(most, 0);
    setup();
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    ck_assert_uint_eq(vcpu, 0);
    EXPECT(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    EXPECT(hv_vcpu_create(&again, HV_VCPU_DEFAULT), HV_SUCCESS);
    ck_assert_uint_eq(again, 0);
}
END_TEST

START_TEST(d36_d37_a_vm_ends_without_vcpus_and_another_begins_at_once)
{
    hv_vm_space_t space;
    hv_vcpuid_t vcpu;

    for (unsigned i = 0; i < 5; i++) {
        setup();
        EXPECT(hv_vm_map(memory, 0, PAGE, RW), HV_SUCCESS);
        EXPECT(hv_vm_space_create(&space), HV_SUCCESS);
        EXPECT(hv_vm_map_space(space, memory, 0, PAGE, RW), HV_SUCCESS);
        EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
        EXPECT(hv_vm_destroy(), HV_BUSY);
        expect_range(0, PAGE, RW);
        EXPECT(hv_vcpu_destroy(vcpu), HV_SUCCESS);
        EXPECT(hv_vm_destroy(), HV_SUCCESS);
    }
}
END_TEST

START_TEST(d38_a_forked_child_has_no_vm_and_may_make_one)
{
    hv_vcpuid_t vcpu;
    int status;

    setup();
    EXPECT(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    EXPECT(hv_vm_map(memory, 0, PAGE, RW), HV_SUCCESS);
    const pid_t child = fork();
    if (child == 0) {
        uint64_t value;
        bool fine = hv_vcpu_read_register(vcpu, HV_X86_RIP, &value) == HV_NO_DEVICE &&
                    hv_vm_unmap(0, PAGE) == HV_NO_DEVICE && hv_vm_create(HV_VM_DEFAULT) == HV_SUCCESS &&
                    hv_vm_map(memory, 0, PAGE, RW) == HV_SUCCESS &&
                    hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT) == HV_SUCCESS && hv_vcpu_destroy(vcpu) == HV_SUCCESS &&
                    hv_vm_destroy() == HV_SUCCESS;
        _exit(fine ? 0 : 1);
    }
    EXPECT(waitpid(child, &status, 0), child);
    EXPECT(status, 0);
    expect_range(0, PAGE, RW);
    EXPECT(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    EXPECT(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(d39_capabilities_need_no_vm)
{
    uint64_t value;

    EXPECT(hv_capability(HV_CAP_VCPUMAX, &value), HV_SUCCESS);
    EXPECT(hv_capability(HV_CAP_ADDRSPACEMAX, &value), HV_SUCCESS);
    EXPECT(hv_capability(2, &value), HV_BAD_ARGUMENT);
}
END_TEST

START_TEST(d40_d41_host_memory_comes_and_goes_whole)
{
    void *allocated = NULL;

    EXPECT(hv_vm_allocate(&allocated, 0, HV_ALLOCATE_DEFAULT), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_allocate(&allocated, 100, HV_ALLOCATE_DEFAULT), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_allocate(&allocated, PAGE, 1), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_allocate(&allocated, (size_t)1 << 62, HV_ALLOCATE_DEFAULT), HV_NO_RESOURCES);
    ck_assert_ptr_null(allocated);
    EXPECT(hv_vm_allocate(&allocated, 2 * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    uint8_t *bytes = allocated;
    for (unsigned i = 0; i < 2 * PAGE; i++)
        ck_assert(bytes[i] == 0);
    bytes[5] = 1;
    setup();
    EXPECT(hv_vm_map(bytes + PAGE, 0, PAGE, RW), HV_SUCCESS);
    EXPECT(hv_vm_deallocate(bytes, 2 * PAGE), HV_BUSY);
    EXPECT(hv_vm_deallocate(bytes, PAGE), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_deallocate(bytes + PAGE, PAGE), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_deallocate(memory, PAGE), HV_BAD_ARGUMENT);
    EXPECT(hv_vm_unmap(0, PAGE), HV_SUCCESS);
    EXPECT(hv_vm_deallocate(bytes, 2 * PAGE), HV_SUCCESS);
    EXPECT(hv_vm_deallocate(bytes, 2 * PAGE), HV_BAD_ARGUMENT);
}
END_TEST

START_TEST(aliases_in_one_space_and_across_spaces)
{
    hv_vm_space_t space;
    uint8_t byte = 0;

    setup();
    EXPECT(hv_vm_space_create(&space), HV_SUCCESS);
    EXPECT(hv_vm_map(memory, 0, PAGE, RW), HV_SUCCESS);
    EXPECT(hv_vm_map(memory, 7 * PAGE, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    EXPECT(hv_vm_map_space(space, memory, 3 * PAGE, PAGE, 0), HV_SUCCESS);
    memory[9] = 0x42;
    EXPECT(hvx_vm_read_space(HV_VM_SPACE_DEFAULT, 7 * PAGE + 9, &byte, 1), HV_SUCCESS);
    ck_assert_uint_eq(byte, 0x42);
    byte = 0;
    EXPECT(hvx_vm_read_space(space, 3 * PAGE + 9, &byte, 1), HV_SUCCESS);
    ck_assert_uint_eq(byte, 0x42);
    EXPECT(hv_vm_unmap(0, PAGE), HV_SUCCESS);
    expect_range(7 * PAGE, PAGE, HV_MEMORY_READ);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct decisions");
    TCase *tcase = tcase_create("decisions");

    bare_guest_require_kvm();
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, d01_the_first_fault_in_order_is_the_answer);
    tcase_add_test(tcase, d02_without_a_vm_all_calls_say_so);
    tcase_add_test(tcase, d03_a_second_vm_is_busy_and_the_first_unharmed);
    tcase_add_test(tcase, d04_option_bits_are_known_or_not);
    tcase_add_test(tcase, d05_null_pointers_are_refused);
    tcase_add_test(tcase, d06_d07_d08_d09_ranges_are_whole_pages_and_do_not_wrap);
    tcase_add_test(tcase, d10_addresses_reach_to_2_to_the_48);
    tcase_add_test(tcase, d11_d12_d14_flags);
    tcase_add_test(tcase, d15_overlaps_are_errors);
    tcase_add_test(tcase, d16_d17_unmap_takes_what_there_is);
    tcase_add_test(tcase, d18_d19_protect_wants_all_of_it_mapped);
    tcase_add_test(tcase, d20_d21_host_memory_is_mapped_by_one_region_or_more);
    tcase_add_test(tcase, d22_a_write_to_memory_that_the_host_may_not_write_is_a_write_fault);
    tcase_add_test(tcase, d24_without_resources_the_old_state_stands);
    tcase_add_test(tcase, d25_d26_d27_spaces_are_numbered_and_counted);
    tcase_add_test(tcase, d28_d29_the_default_space_stays_and_unknown_ones_are_refused);
    tcase_add_test(tcase, d30_d31_d32_a_space_with_a_vcpu_is_busy_for_ever_if_that_ends_there);
    tcase_add_test(tcase, d33_d34_a_vcpu_is_its_threads_until_that_ends);
    tcase_add_test(tcase, d35_vcpu_ids_are_the_smallest_free);
    tcase_add_test(tcase, d36_d37_a_vm_ends_without_vcpus_and_another_begins_at_once);
    tcase_add_test(tcase, d38_a_forked_child_has_no_vm_and_may_make_one);
    tcase_add_test(tcase, d39_capabilities_need_no_vm);
    tcase_add_test(tcase, d40_d41_host_memory_comes_and_goes_whole);
    tcase_add_test(tcase, aliases_in_one_space_and_across_spaces);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
