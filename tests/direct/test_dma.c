/*
 * Devices' access to guest memory: flags, faults, pins, and changes of the space meanwhile.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include <Hypervisor/hvx_dma.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const hv_memory_flags_t READ_WRITE = HV_MEMORY_READ | HV_MEMORY_WRITE;
static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

static uint8_t *allocate(size_t size)
{
    void *memory;

    ck_assert_int_eq(hv_vm_allocate(&memory, size, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    return memory;
}

/* Pages 0 and 1 from one allocation, page 2 from another, page 3 read-only, page 4 not mapped, page 5 write-only. */
static uint8_t *first;
static uint8_t *second;
static hvx_dma_t *dma;

static void setup(void)
{
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    first = allocate(2 * PAGE);
    second = allocate(3 * PAGE);
    ck_assert_int_eq(hv_vm_map(first, 0, 2 * PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(second, 2 * PAGE, PAGE, READ_WRITE), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_map_space_named(HV_VM_SPACE_DEFAULT, second + PAGE, 3 * PAGE, PAGE, HV_MEMORY_READ, "rom"),
                     HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map(second + 2 * PAGE, 5 * PAGE, PAGE, HV_MEMORY_WRITE), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, "disk0", &dma), HV_SUCCESS);
}

static void teardown(void)
{
    hvx_dma_close(dma);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}

START_TEST(copies_go_over_mappings)
{
    uint8_t out[PAGE + 96], in[PAGE + 96];

    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7);
    ck_assert_int_eq(hvx_dma_write(dma, PAGE + 4000, out, sizeof(out)), HV_SUCCESS);
    ck_assert_mem_eq(first + PAGE + 4000, out, 96);
    ck_assert_mem_eq(second, out + 96, PAGE);
    /* It ended where the page does, which is the last that may be written. */
    ck_assert_int_eq(hvx_dma_write(dma, PAGE + 4001, out, sizeof(out)), HV_DENIED);
    ck_assert_int_eq(hvx_dma_read(dma, PAGE + 4000, in, sizeof(in)), HV_SUCCESS);
    ck_assert_mem_eq(in, out, sizeof(in));
    ck_assert_int_eq(hvx_dma_read(dma, 0, in, 0), HV_SUCCESS);
}
END_TEST

START_TEST(a_refused_access_does_nothing_and_is_recorded)
{
    static uint8_t buffer[4 * PAGE];
    hvx_fault_t faults[8];
    size_t count = 8;
    uint64_t total;

    memset(second, 0x11, PAGE);
    memset(buffer, 0xee, sizeof(buffer));
    /* The first page could be written, the second not. */
    ck_assert_int_eq(hvx_dma_write(dma, 2 * PAGE, buffer, 2 * PAGE), HV_DENIED);
    ck_assert_uint_eq(second[0], 0x11);
    ck_assert_int_eq(hvx_dma_read(dma, 3 * PAGE, buffer, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_read(dma, 3 * PAGE, buffer, PAGE + 1), HV_DENIED);
    ck_assert_int_eq(hvx_dma_read(dma, 5 * PAGE, buffer, 4), HV_DENIED);
    ck_assert_int_eq(hvx_vm_faults(faults, &count, &total), HV_SUCCESS);
    ck_assert_uint_eq(total, 3);
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(faults[0].number, 0);
    ck_assert_uint_eq(faults[0].gpa, 3 * PAGE);
    ck_assert_uint_eq(faults[0].access, HV_MEMORY_WRITE);
    ck_assert_uint_eq(faults[0].allowed, HV_MEMORY_READ);
    ck_assert_uint_eq(faults[0].length, PAGE);
    ck_assert_str_eq(faults[0].mapping, "rom");
    ck_assert_str_eq(faults[0].device, "disk0");
    ck_assert_uint_eq(faults[0].vcpu, HVX_FAULT_NO_VCPU);
    ck_assert_uint_eq(faults[1].gpa, 4 * PAGE);
    ck_assert_uint_eq(faults[1].allowed, 0);
    ck_assert_uint_eq(faults[2].allowed, HV_MEMORY_WRITE);
}
END_TEST

START_TEST(only_the_last_faults_are_kept)
{
    hvx_fault_t faults[100];
    size_t count = 100;
    uint64_t total;
    uint8_t byte;

    for (unsigned i = 0; i < 100; i++)
        ck_assert_int_eq(hvx_dma_read(dma, 4 * PAGE + i, &byte, 1), HV_DENIED);
    ck_assert_int_eq(hvx_vm_faults(faults, &count, &total), HV_SUCCESS);
    ck_assert_uint_eq(total, 100);
    ck_assert_uint_eq(count, 64);
    ck_assert_uint_eq(faults[0].number, 36);
    ck_assert_uint_eq(faults[63].gpa, 4 * PAGE + 99);
    count = 2;
    ck_assert_int_eq(hvx_vm_faults(faults, &count, &total), HV_SUCCESS);
    ck_assert_uint_eq(faults[1].number, 99);
    ck_assert_int_eq(hvx_vm_faults(NULL, &count, &total), HV_BAD_ARGUMENT);
}
END_TEST

START_TEST(numbers_are_aligned_and_little_endian)
{
    uint16_t small;
    uint32_t large;

    ck_assert_int_eq(hvx_dma_store32(dma, 8, 0x11223344), HV_SUCCESS);
    ck_assert_uint_eq(first[8], 0x44);
    ck_assert_int_eq(hvx_dma_load32(dma, 8, &large), HV_SUCCESS);
    ck_assert_uint_eq(large, 0x11223344);
    ck_assert_int_eq(hvx_dma_load16(dma, 10, &small), HV_SUCCESS);
    ck_assert_uint_eq(small, 0x1122);
    ck_assert_int_eq(hvx_dma_store16(dma, 10, 0x99aa), HV_SUCCESS);
    ck_assert_uint_eq(first[10], 0xaa);
    ck_assert_int_eq(hvx_dma_load16(dma, 9, &small), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_load32(dma, 2, &large), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_store16(dma, 3 * PAGE, 1), HV_DENIED);
    ck_assert_int_eq(hvx_dma_load16(dma, 3 * PAGE, &small), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_load32(dma, 4 * PAGE, &large), HV_DENIED);
}
END_TEST

START_TEST(bad_arguments_are_refused)
{
    hvx_dma_segment_t segments[2];
    size_t count = 2;
    hvx_dma_pin_t pin;
    hvx_dma_t *other;
    uint8_t byte;

    ck_assert_int_eq(hvx_dma_read(NULL, 0, &byte, 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_read(dma, 0, NULL, 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_read(dma, UINT64_MAX, &byte, 2), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_read(dma, 1ull << 48, &byte, 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_write(dma, 0, NULL, 1), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_pin(dma, 0, PAGE, 0, segments, &count, &pin), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_pin(dma, 0, PAGE, HV_MEMORY_EXEC, segments, &count, &pin), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_pin(dma, 0, PAGE, READ_WRITE, NULL, &count, &pin), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_open(7, "x", &other), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, NULL, &other), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hv_vm_destroy(), HV_BUSY);
}
END_TEST

START_TEST(a_handle_keeps_its_space)
{
    hv_vm_space_t space;
    hvx_dma_t *other;
    uint8_t byte = 5;

    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_open(space, "nic0", &other), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_write(other, 0, &byte, 1), HV_DENIED);
    ck_assert_int_eq(hv_vm_map_space(space, second, 0, PAGE, READ_WRITE), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_write(other, 0, &byte, 1), HV_SUCCESS);
    ck_assert_uint_eq(second[0], 5);
    ck_assert_int_eq(hv_vm_space_destroy(space), HV_BUSY);
    hvx_dma_close(other);
    ck_assert_int_eq(hv_vm_space_destroy(space), HV_SUCCESS);
}
END_TEST

static atomic_bool unmapped;

static void *unmap_first_page(void *unused)
{
    (void)unused;
    ck_assert_int_eq(hv_vm_unmap(0, PAGE), HV_SUCCESS);
    atomic_store(&unmapped, true);
    return NULL;
}

START_TEST(a_pin_holds_off_the_return_of_unmap_and_nothing_else)
{
    hvx_dma_segment_t segments[4];
    hvx_dma_segment_t more[4];
    hvx_dma_pin_t pin, later;
    size_t count = 4;
    pthread_t thread;
    uint8_t byte;

    ck_assert_int_eq(hvx_dma_pin(dma, 100, 3 * PAGE - 200, READ_WRITE, segments, &count, &pin), HV_SUCCESS);
    ck_assert_uint_eq(count, 2);
    ck_assert_ptr_eq(segments[0].address, first + 100);
    ck_assert_uint_eq(segments[0].size, 2 * PAGE - 100);
    ck_assert_ptr_eq(segments[1].address, second);
    ck_assert_uint_eq(segments[1].size, PAGE - 100);
    count = 1;
    ck_assert_int_eq(hvx_dma_pin(dma, 100, 3 * PAGE - 200, READ_WRITE, more, &count, &later), HV_NO_RESOURCES);
    count = 4;
    ck_assert_int_eq(hvx_dma_pin(dma, 0, 4 * PAGE, READ_WRITE, more, &count, &later), HV_DENIED);

    pthread_create(&thread, NULL, unmap_first_page, NULL);
    /* The page is gone for all others, while the pin keeps it. */
    while (hvx_dma_read(dma, 0, &byte, 1) == HV_SUCCESS)
        usleep(1000);
    memset(segments[0].address, 0x33, segments[0].size);
    ck_assert_int_eq(hv_vm_map(second, 10 * PAGE, PAGE, ALL), HV_SUCCESS);
    count = 4;
    ck_assert_int_eq(hvx_dma_pin(dma, 10 * PAGE, PAGE, READ_WRITE, more, &count, &later), HV_SUCCESS);
    ck_assert(!atomic_load(&unmapped));
    hvx_dma_unpin(dma, &later);
    usleep(20000);
    ck_assert(!atomic_load(&unmapped));
    hvx_dma_unpin(dma, &pin);
    pthread_join(thread, NULL);
    ck_assert(atomic_load(&unmapped));
}
END_TEST

static void *unmap_page(void *argument)
{
    ck_assert_int_eq(hv_vm_unmap((uintptr_t)argument * PAGE, PAGE), HV_SUCCESS);
    if ((uintptr_t)argument == 1)
        atomic_store(&unmapped, true);
    return NULL;
}

static void pin_page(unsigned page, hvx_dma_pin_t *pin)
{
    hvx_dma_segment_t segment;
    size_t count = 1;

    ck_assert_int_eq(hvx_dma_pin(dma, page * PAGE, PAGE, HV_MEMORY_READ, &segment, &count, pin), HV_SUCCESS);
}

/* Starts to unmap a page, and waits until it is gone for lookups. */
static void start_unmap(unsigned page, pthread_t *thread)
{
    uint8_t byte;

    pthread_create(thread, NULL, unmap_page, (void *)(uintptr_t)page);
    while (hvx_dma_read(dma, page * PAGE, &byte, 1) == HV_SUCCESS)
        usleep(1000);
    usleep(20000);
}

START_TEST(each_of_several_unmaps_waits_for_its_own_pins)
{
    pthread_t threads[3];
    hvx_dma_pin_t first_pin, second_pin;

    pin_page(1, &first_pin);
    start_unmap(0, &threads[0]);
    pin_page(2, &second_pin);
    start_unmap(1, &threads[1]);
    start_unmap(2, &threads[2]);
    hvx_dma_unpin(dma, &second_pin);
    usleep(50000);
    ck_assert(!atomic_load(&unmapped));
    hvx_dma_unpin(dma, &first_pin);
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    ck_assert(atomic_load(&unmapped));
}
END_TEST

/* ---- Everything at once ---- */

static atomic_bool stop;
/* Of those that change and those that read and write; each is to have done something. */
static atomic_uint rounds_done[2], accesses_done[2];

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { STRESS_SECONDS = 30 };
#else
enum { STRESS_SECONDS = 3 };
#endif

enum { WINDOW_GPA = 0x100000, WINDOW_PAGES = 16 };

static void *change_and_free(void *argument)
{
    const hv_gpaddr_t gpa = WINDOW_GPA + (uintptr_t)argument * WINDOW_PAGES * PAGE;

    while (!atomic_load(&stop)) {
        void *memory = mmap(NULL, WINDOW_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(memory, MAP_FAILED);
        ck_assert_int_eq(hv_vm_map(memory, gpa, WINDOW_PAGES * PAGE, READ_WRITE), HV_SUCCESS);
        ck_assert_int_eq(hv_vm_protect(gpa + PAGE, 3 * PAGE, HV_MEMORY_READ), HV_SUCCESS);
        ck_assert_int_eq(hv_vm_unmap(gpa + 5 * PAGE, PAGE), HV_SUCCESS);
        ck_assert_int_eq(hv_vm_unmap(gpa, WINDOW_PAGES * PAGE), HV_SUCCESS);
        /* Nobody uses it any more, or this would show. */
        munmap(memory, WINDOW_PAGES * PAGE);
        atomic_fetch_add(&rounds_done[(uintptr_t)argument], 1);
    }
    return NULL;
}

/* Each in a window of its own, because a device's writes are no more ordered among themselves than on real buses. */
static void *read_and_write(void *argument)
{
    const hv_gpaddr_t window = WINDOW_GPA + (uintptr_t)argument * WINDOW_PAGES * PAGE;
    uint8_t buffer[3 * PAGE];

    memset(buffer, 0x5a, sizeof(buffer));
    for (unsigned i = 0; !atomic_load(&stop); i++) {
        const hv_gpaddr_t gpa = window + (i * 1234567u) % (WINDOW_PAGES * PAGE - sizeof(buffer));
        hvx_dma_segment_t segments[8];
        hvx_dma_pin_t pin;
        size_t count = 8;
        unsigned successes = 0;
        successes += hvx_dma_write(dma, gpa, buffer, sizeof(buffer)) == HV_SUCCESS;
        successes += hvx_dma_read(dma, gpa, buffer, sizeof(buffer)) == HV_SUCCESS;
        if (hvx_dma_pin(dma, gpa, 100, HV_MEMORY_WRITE, segments, &count, &pin) == HV_SUCCESS) {
            for (size_t k = 0; k < count; k++)
                memset(segments[k].address, 0xa5, segments[k].size);
            hvx_dma_unpin(dma, &pin);
            successes++;
        }
        atomic_fetch_add(&accesses_done[(uintptr_t)argument], successes);
    }
    return NULL;
}

static bool all_have_done_something(const uint32_t *guest_counter)
{
    bool have = __atomic_load_n(guest_counter, __ATOMIC_RELAXED) > 0;

    for (unsigned i = 0; i < 2; i++)
        have = have && atomic_load(&rounds_done[i]) > 0 && atomic_load(&accesses_done[i]) > 0;
    return have;
}

/* again: lock inc dword [DATA_GPA]; jmp again */
static const uint8_t counter[] = {0xf0, 0xff, 0x05, 0x00, 0x00, 0x02, 0x00, 0xeb, 0xf7};

START_TEST(changes_vcpus_and_devices_at_once)
{
    struct bare_guest guest;
    pthread_t threads[4];

    bare_guest_create(&guest, counter, sizeof(counter));
    ck_assert_int_eq(hvx_dma_open(HV_VM_SPACE_DEFAULT, "stress", &dma), HV_SUCCESS);
    pthread_create(&threads[0], NULL, change_and_free, (void *)0);
    pthread_create(&threads[1], NULL, change_and_free, (void *)1);
    pthread_create(&threads[2], NULL, read_and_write, (void *)0);
    pthread_create(&threads[3], NULL, read_and_write, (void *)1);
    do {
        struct timespec now;
        hvx_vcpu_exit_t exit;
        clock_gettime(CLOCK_MONOTONIC, &now);
        const uint64_t deadline = (uint64_t)(now.tv_sec + STRESS_SECONDS) * 1000000000;
        ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, deadline), HV_SUCCESS);
        ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
        ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    } while (!all_have_done_something((const uint32_t *)(const void *)guest.data));
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    hvx_dma_close(dma);
    bare_guest_destroy(&guest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct dma");
    TCase *access = tcase_create("access");
    TCase *stress = tcase_create("stress");

    bare_guest_require_kvm();
    tcase_set_timeout(access, 120);
    tcase_add_checked_fixture(access, setup, teardown);
    tcase_add_test(access, copies_go_over_mappings);
    tcase_add_test(access, a_refused_access_does_nothing_and_is_recorded);
    tcase_add_test(access, only_the_last_faults_are_kept);
    tcase_add_test(access, numbers_are_aligned_and_little_endian);
    tcase_add_test(access, bad_arguments_are_refused);
    tcase_add_test(access, a_handle_keeps_its_space);
    tcase_add_test(access, each_of_several_unmaps_waits_for_its_own_pins);
    tcase_add_test(access, a_pin_holds_off_the_return_of_unmap_and_nothing_else);
    tcase_set_timeout(stress, 120);
    tcase_add_test(stress, changes_vcpus_and_devices_at_once);
    suite_add_tcase(suite, access);
    suite_add_tcase(suite, stress);
    return unit_test_run(suite);
}
