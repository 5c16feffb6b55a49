/*
 * Which pages have been written, on a real KVM: by a vCPU, by a device, by the client, and over changes of the map.
 */
#include "bare_guest.h"
#include "test_random.h"
#include "unit_test.h"

#include <Hypervisor/hvx_dma.h>

#include <string.h>

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

enum { WINDOW_GPA = 0x400000, WINDOW_PAGES = 100 };

/* again: mov [ebx], al; hlt; jmp again */
static const uint8_t store[] = {0x88, 0x03, 0xf4, 0xeb, 0xfb};

static struct bare_guest guest;
static uint8_t *window;
static hv_vm_space_t space;

/* The ways in which each test runs: in the default space or another, with KVM's bitmaps or its rings. */
enum { IN_EXTRA_SPACE = 1, WITH_RING = 2, WAYS = 4 };

/* More than any test here fills: test_dirty_ring.c has full ones. */
enum { RING = 32768 };

static void setup(int way)
{
    const uint32_t ring = way & WITH_RING && bare_guest_smallest_ring() > 0 ? RING : 0;
    void *memory;

    bare_guest_create_with_ring(&guest, store, sizeof(store), ring);
    ck_assert_int_eq(hv_vm_allocate(&memory, WINDOW_PAGES * PAGE, HV_ALLOCATE_DEFAULT), HV_SUCCESS);
    window = memory;
    space = HV_VM_SPACE_DEFAULT;
    if (way & IN_EXTRA_SPACE) {
        ck_assert_int_eq(hv_vm_space_create(&space), HV_SUCCESS);
        if (ring > 0)
            ck_assert_int_eq(hvx_vm_dirty_use_ring(space, ring), HV_SUCCESS);
        ck_assert_int_eq(hv_vm_map_space(space, guest.code, CODE_GPA, PAGE, ALL), HV_SUCCESS);
    }
    ck_assert_int_eq(hv_vm_map_space(space, window, WINDOW_GPA, WINDOW_PAGES * PAGE, ALL), HV_SUCCESS);
}

static void guest_writes(unsigned page)
{
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RBX, WINDOW_GPA + page * PAGE + 17), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
}

/* Fetches the whole window; exactly these pages, listed up to a negative number, are there. */
static void expect_dirty(const int *pages)
{
    uint64_t bitmap[2] = {0}, expected[2] = {0};

    for (; *pages >= 0; pages++)
        expected[*pages / 64] |= 1ull << (*pages % 64);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA, WINDOW_PAGES * PAGE, bitmap), HV_SUCCESS);
    ck_assert_uint_eq(bitmap[0], expected[0]);
    ck_assert_uint_eq(bitmap[1], expected[1]);
}

#define EXPECT_DIRTY(...) expect_dirty((const int[]){__VA_ARGS__, -1})

static void start(void)
{
    ck_assert_int_eq(hvx_vm_dirty_start(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
}

START_TEST(what_a_vcpu_writes_is_found_once)
{
    setup(_i);
    /* Before anybody is in the space, and before anybody tracks it. */
    start();
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_stop(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
    guest_writes(1);
    start();
    EXPECT_DIRTY(-1);
    guest_writes(3);
    guest_writes(3);
    guest_writes(99);
    EXPECT_DIRTY(3, 99);
    EXPECT_DIRTY(-1);
    guest_writes(3);
    EXPECT_DIRTY(3);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(changes_of_the_map_lose_nothing)
{
    setup(_i);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    start();
    guest_writes(3);
    /* The slot is made anew, in pieces. */
    ck_assert_int_eq(hv_vm_protect_space(space, WINDOW_GPA + 10 * PAGE, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    guest_writes(9);
    guest_writes(11);
    ck_assert_int_eq(hv_vm_protect_space(space, WINDOW_GPA + 10 * PAGE, PAGE, ALL), HV_SUCCESS);
    guest_writes(10);
    ck_assert_int_eq(hv_vm_unmap_space(space, WINDOW_GPA + 9 * PAGE, PAGE), HV_SUCCESS);
    EXPECT_DIRTY(3, 9, 10, 11);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(devices_and_the_client_count_too)
{
    hvx_dma_segment_t segments[2];
    hvx_dma_pin_t pin;
    size_t count = 2;
    hvx_dma_t *dma;
    uint8_t bytes[2] = {1, 2};

    setup(_i);
    start();
    ck_assert_int_eq(hvx_dma_open(space, "disk0", &dma), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_read(dma, WINDOW_GPA, bytes, 1), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_write(dma, WINDOW_GPA + 5 * PAGE - 1, bytes, 2), HV_SUCCESS);
    ck_assert_int_eq(hvx_dma_store16(dma, WINDOW_GPA + 20 * PAGE, 7), HV_SUCCESS);
    EXPECT_DIRTY(4, 5, 20);
    ck_assert_int_eq(hvx_vm_write_space(space, WINDOW_GPA + 70 * PAGE, bytes, 2), HV_SUCCESS);
    EXPECT_DIRTY(70);
    ck_assert_int_eq(
        hvx_dma_pin(dma, WINDOW_GPA + 30 * PAGE, 2 * PAGE, HV_MEMORY_READ | HV_MEMORY_WRITE, segments, &count, &pin),
        HV_SUCCESS);
    EXPECT_DIRTY(-1);
    hvx_dma_unpin(dma, &pin);
    EXPECT_DIRTY(30, 31);
    hvx_dma_close(dma);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(stores_in_a_strict_space_count_too)
{
    setup(_i | IN_EXTRA_SPACE);
    ck_assert_int_eq(hvx_vm_space_set_strict(space, true), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_protect_space(space, WINDOW_GPA, WINDOW_PAGES * PAGE, HV_MEMORY_READ | HV_MEMORY_WRITE),
                     HV_SUCCESS);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    start();
    guest_writes(42);
    EXPECT_DIRTY(42);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(tracking_is_of_whole_ranges_that_do_not_overlap)
{
    uint64_t bitmap[2];

    setup(_i);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA, PAGE, bitmap), HV_ERROR);
    ck_assert_int_eq(hvx_vm_dirty_stop(space, WINDOW_GPA, PAGE), HV_ERROR);
    start();
    ck_assert_int_eq(hvx_vm_dirty_start(space, WINDOW_GPA + PAGE, PAGE), HV_ERROR);
    ck_assert_int_eq(hvx_vm_dirty_start(space, WINDOW_GPA - PAGE, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA - PAGE, 2 * PAGE, bitmap), HV_ERROR);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA, PAGE, NULL), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA, PAGE + 1, bitmap), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_dirty_start(99, WINDOW_GPA, PAGE), HV_BAD_ARGUMENT);
    ck_assert_int_eq(hvx_vm_dirty_stop(space, WINDOW_GPA, PAGE), HV_ERROR);
    ck_assert_int_eq(hvx_vm_dirty_stop(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
    guest_writes(3);
    start();
    EXPECT_DIRTY(-1);
    /* A part is fetched alone, and the rest stays. */
    guest_writes(70);
    guest_writes(71);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA + 70 * PAGE, PAGE, bitmap), HV_SUCCESS);
    ck_assert_uint_eq(bitmap[0], 1);
    EXPECT_DIRTY(71);
    /* What was written before a range is tracked does not count, although its slot was logged. */
    ck_assert_int_eq(hvx_vm_dirty_stop(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_start(space, WINDOW_GPA, PAGE), HV_SUCCESS);
    guest_writes(0);
    guest_writes(50);
    ck_assert_int_eq(hvx_vm_dirty_start(space, WINDOW_GPA + 50 * PAGE, PAGE), HV_SUCCESS);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA + 50 * PAGE, PAGE, bitmap), HV_SUCCESS);
    ck_assert_uint_eq(bitmap[0], 0);
    ck_assert_int_eq(hvx_vm_dirty_fetch(space, WINDOW_GPA, PAGE, bitmap), HV_SUCCESS);
    ck_assert_uint_eq(bitmap[0], 1);
    bare_guest_destroy(&guest);
}
END_TEST

START_TEST(what_was_written_to_a_slot_that_went_is_no_other_slots)
{
    setup(_i);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    start();
    guest_writes(3);
    ck_assert_int_eq(hvx_vm_dirty_stop(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
    /* The next slot gets the id. */
    ck_assert_int_eq(hv_vm_unmap_space(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map_space(space, window, WINDOW_GPA, WINDOW_PAGES * PAGE, ALL), HV_SUCCESS);
    start();
    EXPECT_DIRTY(-1);
    guest_writes(4);
    ck_assert_int_eq(hv_vm_unmap_space(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
    ck_assert_int_eq(hv_vm_map_space(space, window, WINDOW_GPA + PAGE, (WINDOW_PAGES - 1) * PAGE, ALL), HV_SUCCESS);
    EXPECT_DIRTY(4);
    bare_guest_destroy(&guest);
}
END_TEST

/* What is written, mapped and tracked of the window. */
struct model {
    bool is_written[WINDOW_PAGES];
    bool is_tracked;
};

/* A program of stores to random pages, which it runs. */
static void write_at_random(struct model *model, uint64_t *seed)
{
    enum { STORE_SIZE = 7, STORES_MAX = 50 };
    const unsigned count = test_random_below(seed, STORES_MAX) + 1;
    uint8_t *at = guest.code;

    for (unsigned i = 0; i < count; i++) {
        const unsigned page = test_random_below(seed, WINDOW_PAGES);
        const uint32_t gpa = WINDOW_GPA + page * PAGE + test_random_below(seed, PAGE);
        /* mov byte [gpa], 1 */
        *at++ = 0xc6;
        *at++ = 0x05;
        memcpy(at, &gpa, sizeof(gpa));
        at += sizeof(gpa);
        *at++ = 1;
        model->is_written[page] = model->is_written[page] || model->is_tracked;
    }
    *at = 0xf4; /* hlt */
    ck_assert_int_eq(hv_vcpu_write_register(guest.vcpu, HV_X86_RIP, CODE_GPA), HV_SUCCESS);
    ck_assert_int_eq(bare_guest_run(guest.vcpu).reason, HVX_EXIT_HALT);
}

/* Has the slots of a part of the window made anew. */
static void remake_at_random(uint64_t *seed)
{
    const unsigned first = test_random_below(seed, WINDOW_PAGES);
    const hv_gpaddr_t gpa = WINDOW_GPA + first * PAGE;
    const size_t size = (test_random_below(seed, WINDOW_PAGES - first) + 1) * PAGE;

    if (test_random_below(seed, 2) == 0) {
        ck_assert_int_eq(hv_vm_protect_space(space, gpa, size, HV_MEMORY_READ), HV_SUCCESS);
        ck_assert_int_eq(hv_vm_protect_space(space, gpa, size, ALL), HV_SUCCESS);
    } else {
        ck_assert_int_eq(hv_vm_unmap_space(space, gpa, size), HV_SUCCESS);
        ck_assert_int_eq(hv_vm_map_space(space, window + first * PAGE, gpa, size, ALL), HV_SUCCESS);
    }
}

static void fetch_at_random(struct model *model, uint64_t *seed)
{
    const unsigned first = test_random_below(seed, WINDOW_PAGES);
    const unsigned count = test_random_below(seed, WINDOW_PAGES - first) + 1;
    uint64_t bitmap[2] = {0}, expected[2] = {0};
    const hv_return_t result = hvx_vm_dirty_fetch(space, WINDOW_GPA + first * PAGE, (size_t)count * PAGE, bitmap);

    ck_assert_int_eq(result, model->is_tracked ? HV_SUCCESS : HV_ERROR);
    if (!model->is_tracked)
        return;
    for (unsigned i = 0; i < count; i++) {
        expected[i / 64] |= (uint64_t)model->is_written[first + i] << (i % 64);
        model->is_written[first + i] = false;
    }
    ck_assert_mem_eq(bitmap, expected, (count + 63) / 64 * sizeof(bitmap[0]));
}

static void toggle_tracking(struct model *model)
{
    if (model->is_tracked)
        ck_assert_int_eq(hvx_vm_dirty_stop(space, WINDOW_GPA, WINDOW_PAGES * PAGE), HV_SUCCESS);
    else
        start();
    *model = (struct model){.is_tracked = !model->is_tracked};
}

START_TEST(random_stores_are_found_as_a_model_has_them)
{
    enum { STEPS = 400 };
    struct model model = {0};
    uint64_t seed = test_random_seed();

    setup(_i);
    ck_assert_int_eq(hv_vcpu_set_space(guest.vcpu, space), HV_SUCCESS);
    for (unsigned i = 0; i < STEPS; i++)
        switch (test_random_below(&seed, 8)) {
        case 0:
            toggle_tracking(&model);
            break;
        case 1:
            remake_at_random(&seed);
            break;
        case 2:
        case 3:
            fetch_at_random(&model, &seed);
            break;
        default:
            write_at_random(&model, &seed);
            break;
        }
    bare_guest_destroy(&guest);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("direct dirty");
    TCase *tcase = tcase_create("dirty");

    bare_guest_require_kvm();
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, what_a_vcpu_writes_is_found_once, 0, WAYS);
    tcase_add_loop_test(tcase, changes_of_the_map_lose_nothing, 0, WAYS);
    tcase_add_loop_test(tcase, devices_and_the_client_count_too, 0, WAYS);
    tcase_add_loop_test(tcase, stores_in_a_strict_space_count_too, 0, WAYS);
    tcase_add_loop_test(tcase, tracking_is_of_whole_ranges_that_do_not_overlap, 0, WAYS);
    tcase_add_loop_test(tcase, what_was_written_to_a_slot_that_went_is_no_other_slots, 0, WAYS);
    tcase_add_loop_test(tcase, random_stores_are_found_as_a_model_has_them, 0, WAYS);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
