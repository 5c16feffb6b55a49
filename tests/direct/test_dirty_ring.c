/*
 * KVM's dirty rings where they are special: what is refused, rings that are full, vCPUs that run meanwhile,
 * instructions that never end, and a fork. That tracking is as with bitmaps is test_dirty.c's.
 */
#include "bare_guest.h"
#include "unit_test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

enum { WINDOW_GPA = 0x400000, WINDOW_PAGES = 8192, WORDS = WINDOW_PAGES / 64, LARGE_RING = 65536 };

/* sweep: mov [ebx], al; add ebx, 0x1000; loop sweep; hlt */
static const uint8_t sweep[] = {0x88, 0x03, 0x81, 0xc3, 0x00, 0x10, 0x00, 0x00, 0xe2, 0xf6, 0xf4};

/* again: mov ebx, WINDOW_GPA; mov ecx, WINDOW_PAGES; the same; jmp again */
static const uint8_t endless[] = {0xbb, 0x00, 0x00, 0x40, 0x00, 0xb9, 0x00, 0x20, 0x00, 0x00, 0x88,
                                  0x03, 0x81, 0xc3, 0x00, 0x10, 0x00, 0x00, 0xe2, 0xf6, 0xeb, 0xea};

/* rep movsb; hlt */
static const uint8_t copy[] = {0xf3, 0xa4, 0xf4};

static struct bare_guest guest;
static uint8_t *window;
static uint64_t bitmap[WORDS];
/* The smallest that KVM has. */
static uint32_t small_ring;

static void setup(const void *program, size_t size, uint32_t ring)
{
    void *memory;

    bare_guest_create_with_ring(&guest, program, size, ring);
    ck_assert_int_eq(hv_vm_allocate(&memory, WINDOW_PAGES * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    window = memory;
    ck_assert_int_eq(hv_vm_map(window, WINDOW_GPA, WINDOW_PAGES * PAGE, ALL), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_start(HV_VM_SPACE_DEFAULT, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
}

static void write_pages(hv_vcpuid_t vcpu, unsigned first, unsigned count)
{
    ck_assert_int_eq(hv_vcpu_write_register(vcpu, HV_X86_RIP, CODE_GPA), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(vcpu, HV_X86_RBX, WINDOW_GPA + first * PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(vcpu, HV_X86_RCX, count), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(vcpu).reason, HVX_EXIT_HALT);
}

static void fetch(void)
{
    ck_assert_int_eq(hvx_vm_dirty_fetch(HV_VM_SPACE_DEFAULT, WINDOW_GPA, WINDOW_PAGES * PAGE, bitmap), HV_SUCCESS);
}

static bool has(const uint64_t *bits, unsigned page)
{
    return bits[page / 64] >> (page % 64) & 1;
}

/* What is set: exactly these pages; or, where KVM may have overrun a ring, everything. */
static void expect_pages(const uint64_t *bits, unsigned first, unsigned count, bool may_be_all)
{
    const bool all = may_be_all && has(bits, 0) && has(bits, WINDOW_PAGES - 1);

    for (unsigned page = 0; page < WINDOW_PAGES; page++)
        if (has(bits, page) != (all || (page >= first && page < first + count)))
            ck_abort_msg("page %u is%s dirty", page, has(bits, page) ? "" : " not");
}

/* Mappings of vCPUs in this process. */
static unsigned vcpu_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned count = 0;
    char line[512];

    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL)
        count += strstr(line, "kvm-vcpu") != NULL;
    if (maps != NULL)
        fclose(maps);
    return count;
}

START_TEST(what_cannot_be_is_refused)
{
    static const uint32_t wrong[] = {0, 3, 1000, UINT32_MAX, 1, 128, 1u << 17, 1u << 31};
    hv_vm_space_t space;
    hv_vcpuid_t vcpu;

    ck_assert_int_eq(hvx_vm_dirty_use_ring(HV_VM_SPACE_DEFAULT, LARGE_RING), HV_NO_DEVICE);
    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_int_eq(hvx_vm_dirty_use_ring(HV_VM_SPACE_DEFAULT, wrong[i]), HV_BAD_ARGUMENT);
        ck_assert_int_eq(hvx_vm_dirty_use_ring(space, wrong[i]), HV_BAD_ARGUMENT);
    }
    ck_assert_int_eq(hvx_vm_dirty_use_ring(99, LARGE_RING), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_dirty_use_ring(space, LARGE_RING), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_use_ring(space, LARGE_RING), HV_BUSY);
    ck_assert_int_eq(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_use_ring(HV_VM_SPACE_DEFAULT, LARGE_RING), HV_BUSY);
    ck_assert_int_eq(hv_vcpu_set_space(vcpu, space), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_use_ring(space, LARGE_RING), HV_BUSY);
    /* A vCPU that has been and gone leaves its KVM vCPU behind. */
    ck_assert_int_eq(hv_vcpu_set_space(vcpu, HV_VM_SPACE_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_use_ring(space, LARGE_RING), HV_BUSY);
    ck_assert_int_eq(hvx_vm_dirty_use_ring(HV_VM_SPACE_DEFAULT, LARGE_RING), HV_BUSY);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(a_space_without_vcpus_remembers_its_ring)
{
    hv_vm_space_t space;
    hv_vcpuid_t vcpu;

    ck_assert_int_eq(hv_vm_create(HV_VM_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_use_ring(space, LARGE_RING), HV_SUCCESS);
    ck_assert_uint_eq(vcpu_mappings(), 1);
    /* The other vCPU's struct kvm_run, and its ring. */
    ck_assert_int_eq(hv_vcpu_set_space(vcpu, space), HV_SUCCESS);
    ck_assert_uint_eq(vcpu_mappings(), 3);
    ck_assert_int_eq(hv_vcpu_set_space(vcpu, HV_VM_SPACE_DEFAULT), HV_SUCCESS);
    /* Another space with the id has none. */
    ck_assert_int_eq(hv_vm_space_destroy(space), HV_SUCCESS);
    ck_assert_uint_eq(vcpu_mappings(), 1);
    ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_set_space(vcpu, space), HV_SUCCESS);
    ck_assert_uint_eq(vcpu_mappings(), 2);
    ck_assert_int_eq(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_destroy(), HV_SUCCESS);
}
END_TEST

START_TEST(a_full_ring_loses_nothing)
{
    const unsigned many = WINDOW_PAGES - 100;

    setup(sweep, sizeof(sweep), small_ring);
    for (unsigned i = 0; i < 20; i++) {
        write_pages(guest.vcpu, 10, many);
        fetch();
        expect_pages(bitmap, 10, many, true);
        /* What an overrun has left in disorder is in order again when a fetch has found what came after it. */
        write_pages(guest.vcpu, 7, 3);
        fetch();
        expect_pages(bitmap, 7, 3, false);
        fetch();
        expect_pages(bitmap, 0, 0, false);
    }
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_ring_goes_round_and_round)
{
    setup(sweep, sizeof(sweep), small_ring);
    /* A part of the ring at a time, so that no KVM overruns it. */
    for (unsigned i = 0; i < 200; i++) {
        const unsigned count = small_ring / 4 + i % 7;
        write_pages(guest.vcpu, i, count);
        fetch();
        expect_pages(bitmap, i, count, false);
    }
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_deadline_ends_a_guest_that_fills_rings)
{
    struct timespec now;

    setup(endless, sizeof(endless), small_ring);
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t deadline = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + 50000000;
    hvx_vcpu_exit_t exit;
    ck_assert_int_eq(hv_vcpu_run_until(guest.vcpu, deadline), HV_SUCCESS);
    ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
    ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
    bare_guest_destroy(&guest);
}
END_TEST

static void *fetch_and_interrupt(void *unused)
{
    bool written = false;

    (void)unused;
    while (!written) {
        fetch();
        for (unsigned i = 0; i < WORDS; i++)
            written = written || bitmap[i] != 0;
    }
    ck_assert_int_eq(hv_vcpu_interrupt(&guest.vcpu, 1), HV_SUCCESS);
    return NULL;
}

START_TEST(an_interruption_ends_a_guest_that_fills_rings)
{
    hvx_vcpu_exit_t exit;
    pthread_t thread;

    setup(endless, sizeof(endless), small_ring);
    for (unsigned i = 0; i < 10; i++) {
        fetch();
        pthread_create(&thread, NULL, fetch_and_interrupt, NULL);
        ck_assert_int_eq(hv_vcpu_run(guest.vcpu), HV_SUCCESS);
        ck_assert_int_eq(hvx_vcpu_exit(guest.vcpu, &exit), HV_SUCCESS);
        ck_assert_int_eq(exit.reason, HVX_EXIT_INTERRUPTED);
        pthread_join(thread, NULL);
    }
    bare_guest_destroy(&guest);
}
END_TEST

enum { WRITERS = 2, PAGES_EACH = 1000, ROUNDS = 20 };

static atomic_uint writers_left;

static void *write_again_and_again(void *index)
{
    const unsigned first = *(const unsigned *)index * PAGES_EACH;
    hv_vcpuid_t vcpu;

    ck_assert_int_eq(hv_vcpu_create(&vcpu, HV_VCPU_DEFAULT), HV_SUCCESS);
    bare_guest_enter_protected_mode(vcpu);
    for (unsigned i = 0; i < ROUNDS; i++)
        write_pages(vcpu, first, PAGES_EACH);
    ck_assert_int_eq(hv_vcpu_destroy(vcpu), HV_SUCCESS);
    atomic_fetch_sub(&writers_left, 1);
    return NULL;
}

static void fetch_into(uint64_t *seen)
{
    fetch();
    for (unsigned i = 0; i < WORDS; i++)
        seen[i] |= bitmap[i];
}

/* A page behind the others goes and comes back, so that the slot is made anew while they write. */
START_TEST(vcpus_that_run_meanwhile_lose_nothing)
{
    static const unsigned indexes[WRITERS] = {0, 1};
    const hv_gpaddr_t page = WINDOW_GPA + (WINDOW_PAGES / 2) * PAGE;
    static uint64_t seen[WORDS];
    pthread_t threads[WRITERS];

    setup(sweep, sizeof(sweep), _i == 0 ? LARGE_RING : small_ring);
    atomic_store(&writers_left, WRITERS);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_create(&threads[i], NULL, write_again_and_again, (void *)(uintptr_t)&indexes[i]);
    while (atomic_load(&writers_left) > 0) {
        fetch_into(seen);
        ck_assert_int_eq(hv_vm_protect(page, PAGE, HV_MEMORY_READ), HV_SUCCESS);
        ck_assert_int_eq(hv_vm_protect(page, PAGE, ALL), HV_SUCCESS);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    fetch_into(seen);
    expect_pages(seen, 0, WRITERS * PAGES_EACH, _i != 0);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(an_instruction_that_is_carried_on_outside_the_guest_overruns_no_ring)
{
    const unsigned bytes = small_ring * 4;
    hv_vm_space_t other;

    setup(copy, sizeof(copy), small_ring);
    ck_assert_int_eq(hv_vm_space_create(&other), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RSI, 0xd0000000), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RDI, WINDOW_GPA + 5 * PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RCX, bytes), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_MEMORY);
    for (unsigned i = 0; i < bytes / 2; i++) {
        ck_assert_int_eq(hvx_vcpu_complete(guest.vcpu, &i), HV_SUCCESS);
        ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, other), HV_BUSY);
    }
    /* That does the rest of it. */
    ck_assert_int_eq(hvx_vcpu_reset(guest.vcpu), HV_SUCCESS);
    fetch();
    expect_pages(bitmap, 5, (bytes + PAGE - 1) / PAGE, false);
    bare_guest_enter_protected_mode(guest.vcpu);
    memcpy(guest.code, sweep, sizeof(sweep));
    write_pages(guest.vcpu, 70, 3);
    fetch();
    expect_pages(bitmap, 70, 3, false);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(a_forked_child_has_no_ring)
{
    int status;

    setup(sweep, sizeof(sweep), small_ring);
    /* struct kvm_run, and the ring. */
    ck_assert_uint_eq(vcpu_mappings(), 2);
    const pid_t child = fork();
    if (child == 0)
        _exit((int)vcpu_mappings());
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    write_pages(guest.vcpu, 1, 1);
    fetch();
    expect_pages(bitmap, 1, 1, false);
    bare_guest_destroy(&guest);
    ck_assert_uint_eq(vcpu_mappings(), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct dirty ring");
    TCase *tcase = tcase_create("dirty ring");

    bare_guest_require_kvm();
    small_ring = bare_guest_smallest_ring();
    if (small_ring == 0)
        return 77;
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_cannot_be_is_refused);
    tcase_add_test(tcase, a_space_without_vcpus_remembers_its_ring);
    tcase_add_test(tcase, a_full_ring_loses_nothing);
    tcase_add_test(tcase, a_ring_goes_round_and_round);
    tcase_add_test(tcase, a_deadline_ends_a_guest_that_fills_rings);
    tcase_add_test(tcase, an_interruption_ends_a_guest_that_fills_rings);
    tcase_add_loop_test(tcase, vcpus_that_run_meanwhile_lose_nothing, 0, 2);
    tcase_add_test(tcase, an_instruction_that_is_carried_on_outside_the_guest_overruns_no_ring);
    tcase_add_test(tcase, a_forked_child_has_no_ring);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
