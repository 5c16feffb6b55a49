/*
 * Random changes of several spaces against a model of single pages: results, maps and KVM's slots are compared after
 * each call. KVM is a fake here, so that calls can be refused anywhere in the middle of a change.
 */
#include "test_random.h"
#include "unit_test.h"

#include "memory/kvm_slots.h"
#include "memory/space.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { CALLS = 100000 };
#else
enum { CALLS = 1000000 };
#endif

/* As ck_assert(), which costs a system call, and this is asked a hundred million times. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("not so: %s", #condition);                                                                    \
    } while (0)

enum { PAGE = 4096, PAGES = 48, SPACES = 4, FAKE_SLOTS = 64, LARGE_FAKE_SLOTS = 2048 };

/* Every so manieth page is written, says the fake. */
enum { WRITTEN_STRIDE = 1000 };

static const hv_memory_flags_t ALL = HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC;

/* ---- A fake of KVM: one set of slots for each VM ---- */

struct fake_slot {
    uint64_t gpa;
    uint64_t size;
    uint64_t hva;
    bool read_only;
    bool is_logged;
};

static struct fake_vm {
    int fd;
    unsigned limit;
    /* Slots that were taken away. */
    unsigned deleted;
    struct fake_slot slots[LARGE_FAKE_SLOTS];
} vms[SPACES];

/* Calls of KVM's about slots. */
static unsigned slot_calls;

/* The /dev/kvm of a KVM that can drop one slot's page tables alone; any other cannot. */
enum { OLD_FD = -1, NEW_FD = -2 };

#ifdef KVM_X86_QUIRK_SLOT_ZAP_ALL
static const int new_quirks = KVM_X86_QUIRK_SLOT_ZAP_ALL;
static const bool cuts_slots = true;
#else
static const int new_quirks = 0;
static const bool cuts_slots = false;
#endif

/* How many more changes of slots go well before one is refused; negative: all. */
static int changes_until_refusal = -1;

static int set_slot(struct fake_vm *vm, const struct kvm_userspace_memory_region *region)
{
    EXPECT(region->slot < vm->limit);
    struct fake_slot *slot = &vm->slots[region->slot];

    slot_calls++;
    if (changes_until_refusal >= 0 && changes_until_refusal-- == 0) {
        errno = ENOMEM;
        return -1;
    }
    if (region->memory_size == 0) {
        EXPECT(slot->size != 0);
        *slot = (struct fake_slot){0};
        vm->deleted++;
        return 0;
    }
    const bool read_only = (region->flags & KVM_MEM_READONLY) != 0;
    const bool is_logged = (region->flags & KVM_MEM_LOG_DIRTY_PAGES) != 0;
    if (slot->gpa == region->guest_phys_addr && slot->size == region->memory_size && slot->size != 0) {
        EXPECT(slot->hva == region->userspace_addr && slot->read_only == read_only);
        slot->is_logged = is_logged;
        return 0;
    }
    /* KVM changes no slot's place, and lets none overlap. */
    EXPECT(slot->size == 0);
    for (unsigned i = 0; i < vm->limit; i++)
        EXPECT(vm->slots[i].size == 0 || vm->slots[i].gpa + vm->slots[i].size <= region->guest_phys_addr ||
               region->guest_phys_addr + region->memory_size <= vm->slots[i].gpa);
    *slot = (struct fake_slot){.gpa = region->guest_phys_addr,
                               .size = region->memory_size,
                               .hva = region->userspace_addr,
                               .read_only = read_only,
                               .is_logged = is_logged};
    return 0;
}

static void get_dirty_log(const struct fake_vm *vm, const struct kvm_dirty_log *request)
{
    const struct fake_slot *slot = &vm->slots[request->slot];
    const uint64_t first = slot->gpa / PAGE;
    const uint64_t count = slot->size / PAGE;
    uint64_t *bits = request->dirty_bitmap;

    EXPECT(slot->size != 0 && slot->is_logged);
    memset(bits, 0, (count + 63) / 64 * sizeof(*bits));
    for (uint64_t page = first + (WRITTEN_STRIDE - first % WRITTEN_STRIDE) % WRITTEN_STRIDE; page < first + count;
         page += WRITTEN_STRIDE)
        bits[(page - first) / 64] |= 1ull << ((page - first) % 64);
}

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;

    va_start(arguments, request);
    const void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (request == KVM_CREATE_VM)
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    if (request == KVM_CHECK_EXTENSION)
        return fd == NEW_FD && (uintptr_t)argument == KVM_CAP_DISABLE_QUIRKS2 ? new_quirks : 0;
    if (request != KVM_SET_USER_MEMORY_REGION && request != KVM_GET_DIRTY_LOG)
        return 0;
    for (unsigned i = 0; i < SPACES; i++) {
        if (vms[i].fd != fd)
            continue;
        if (request == KVM_SET_USER_MEMORY_REGION)
            return set_slot(&vms[i], argument);
        get_dirty_log(&vms[i], argument);
        return 0;
    }
    ck_abort_msg("a slot of no VM");
    return -1;
}

/* ---- The model ---- */

struct page {
    bool is_mapped;
    unsigned host_page;
    hv_memory_flags_t flags;
    hvx_policy_t policy;
    hv_memory_flags_t traps;
};

static struct model {
    struct page pages[PAGES];
    bool is_strict;
    /* The tracked range. */
    unsigned tracked;
    unsigned tracked_count;
} models[SPACES];

static struct space *spaces[SPACES];
static struct kvm_slots *slots[SPACES];
/* Only its addresses are used. */
static uint8_t *const host = (uint8_t *)(uintptr_t)0x100000000;

static bool any_mapped(const struct model *model, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        if (model->pages[i].is_mapped)
            return true;
    return false;
}

static bool all_mapped(const struct model *model, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        if (!model->pages[i].is_mapped)
            return false;
    return true;
}

static void compare_map(const struct space *space, const struct model *model)
{
    for (unsigned i = 0; i < PAGES; i++) {
        const struct page *page = &model->pages[i];
        const struct region *region = region_map_find(space->map, (uint64_t)i * PAGE);
        const bool found = region != NULL && region->gpa <= (uint64_t)i * PAGE;
        EXPECT(found == page->is_mapped);
        if (!found)
            continue;
        EXPECT(region->flags == page->flags);
        EXPECT(region->policy == page->policy);
        EXPECT(region->traps == page->traps);
        EXPECT(region->hva + (i * (uint64_t)PAGE - region->gpa) == host + (uint64_t)page->host_page * PAGE);
    }
}

static const struct fake_slot *fake_find(const struct fake_vm *vm, uint64_t gpa)
{
    for (unsigned i = 0; i < vm->limit; i++)
        if (vm->slots[i].size != 0 && vm->slots[i].gpa <= gpa && gpa < vm->slots[i].gpa + vm->slots[i].size)
            return &vm->slots[i];
    return NULL;
}

static void compare_slots(const struct fake_vm *vm, const struct model *model)
{
    for (unsigned i = 0; i < PAGES; i++) {
        const struct page *page = &model->pages[i];
        const struct fake_slot *slot = fake_find(vm, (uint64_t)i * PAGE);
        const bool is_hidden = (page->traps & (HV_MEMORY_READ | HV_MEMORY_EXEC)) != 0;
        const bool wanted = i < 40 && page->is_mapped && page->flags != 0 && !is_hidden &&
                            (!model->is_strict || (page->flags & HV_MEMORY_EXEC) != 0);
        EXPECT((slot != NULL) == wanted);
        if (!wanted)
            continue;
        EXPECT(slot->read_only == !(page->flags & ~page->traps & HV_MEMORY_WRITE));
        const bool is_tracked = i >= model->tracked && i < model->tracked + model->tracked_count;
        EXPECT(slot->is_logged || slot->read_only || !is_tracked);
        EXPECT(!slot->is_logged || model->tracked_count > 0);
        EXPECT(slot->hva + (i * (uint64_t)PAGE - slot->gpa) == (uintptr_t)host + (uint64_t)page->host_page * PAGE);
    }
}

/* ---- Calls ---- */

static uint64_t seed;

static unsigned below(unsigned limit)
{
    return (unsigned)test_random_below(&seed, limit);
}

static hv_return_t call_map(unsigned which, unsigned first, unsigned count)
{
    const hv_memory_flags_t flags = below(8);
    const unsigned host_page = below(PAGES);
    const struct region region = {.gpa = (uint64_t)first * PAGE,
                                  .size = (uint64_t)count * PAGE,
                                  .hva = host + (uint64_t)host_page * PAGE,
                                  .flags = flags};
    const bool expected = !any_mapped(&models[which], first, count);
    hv_return_t result = space_map(spaces[which], &region);

    if (!expected)
        EXPECT(result == HV_ERROR);
    for (unsigned i = 0; result == HV_SUCCESS && i < count; i++)
        models[which].pages[first + i] = (struct page){true, host_page + i, flags, HVX_POLICY_CLIENT, 0};
    return result;
}

static hv_return_t call_unmap(unsigned which, unsigned first, unsigned count)
{
    hv_return_t result = space_unmap(spaces[which], (uint64_t)first * PAGE, (uint64_t)count * PAGE);

    for (unsigned i = 0; result == HV_SUCCESS && i < count; i++)
        models[which].pages[first + i].is_mapped = false;
    return result;
}

static hv_return_t call_protect(unsigned which, unsigned first, unsigned count)
{
    const hv_memory_flags_t flags = below(2) == 0 ? ALL : below(8);
    const bool expected = all_mapped(&models[which], first, count);
    hv_return_t result = space_protect(spaces[which], (uint64_t)first * PAGE, (uint64_t)count * PAGE, flags);

    if (!expected)
        EXPECT(result == HV_ERROR);
    for (unsigned i = 0; result == HV_SUCCESS && i < count; i++)
        models[which].pages[first + i].flags = flags;
    return result;
}

/* Refused or not as the map alone says, and no slot is touched. */
static hv_return_t call_set_policy(unsigned which, unsigned first, unsigned count)
{
    const hvx_policy_t policy = (hvx_policy_t)below(4);
    const bool expected = all_mapped(&models[which], first, count);
    const unsigned before = slot_calls;
    hv_return_t result = space_set_policy(spaces[which], (uint64_t)first * PAGE, (uint64_t)count * PAGE, policy);

    EXPECT(result == (expected ? HV_SUCCESS : HV_ERROR));
    EXPECT(slot_calls == before);
    for (unsigned i = 0; result == HV_SUCCESS && i < count; i++)
        models[which].pages[first + i].policy = policy;
    return result;
}

static hv_return_t call_set_traps(unsigned which, unsigned first, unsigned count)
{
    const hv_memory_flags_t traps = below(2) == 0 ? 0 : below(8);
    const bool expected = all_mapped(&models[which], first, count);
    hv_return_t result = space_set_traps(spaces[which], (uint64_t)first * PAGE, (uint64_t)count * PAGE, traps);

    if (!expected)
        EXPECT(result == HV_ERROR);
    for (unsigned i = 0; result == HV_SUCCESS && i < count; i++)
        models[which].pages[first + i].traps = traps;
    return result;
}

static hv_return_t call_set_strict(unsigned which)
{
    const bool is_strict = below(2) == 0;
    hv_return_t result = space_set_strict(spaces[which], is_strict);

    if (result == HV_SUCCESS)
        models[which].is_strict = is_strict;
    return result;
}

static hv_return_t call_track(unsigned which, unsigned first, unsigned count)
{
    struct model *model = &models[which];
    hv_return_t result;

    if (model->tracked_count > 0) {
        result =
            space_dirty_stop(spaces[which], (uint64_t)model->tracked * PAGE, (uint64_t)model->tracked_count * PAGE);
        if (result == HV_SUCCESS)
            model->tracked_count = 0;
        return result;
    }
    result = space_dirty_start(spaces[which], (uint64_t)first * PAGE, (uint64_t)count * PAGE);
    if (result == HV_SUCCESS) {
        model->tracked = first;
        model->tracked_count = count;
    }
    return result;
}

static hv_return_t call_something(unsigned which)
{
    const unsigned first = below(PAGES);
    const unsigned most = below(3) == 0 ? PAGES - first : 4;
    const unsigned count = 1 + below(most < PAGES - first ? most : PAGES - first);

    switch (below(20)) {
    case 0:
        return call_set_strict(which);
    case 1:
        return call_track(which, first, count);
    case 2:
    case 3:
    case 4:
        return call_unmap(which, first, count);
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
        return call_protect(which, first, count);
    case 10:
    case 11:
        return call_set_policy(which, first, count);
    case 12:
    case 13:
        return call_set_traps(which, first, count);
    default:
        return call_map(which, first, count);
    }
}

static void make_space(unsigned which, const struct kvm_system *system)
{
    spaces[which] = space_create(which);
    ck_assert_int_eq(kvm_slots_create(system, &slots[which]), HV_SUCCESS);
    vms[which].fd = kvm_slots_vm_fd(slots[which]);
    vms[which].limit = system->slot_limit;
    const struct space_listener listener = {.change = kvm_slots_change,
                                            .set_log = kvm_slots_set_log,
                                            .harvest = kvm_slots_harvest,
                                            .context = slots[which]};
    ck_assert_int_eq(space_listen(spaces[which], &listener), HV_SUCCESS);
}

static void destroy_space(unsigned which)
{
    kvm_slots_destroy(slots[which]);
    space_destroy(spaces[which]);
}

START_TEST(random_calls_do_what_a_model_of_pages_does)
{
    static const struct kvm_system old = {
        .fd = OLD_FD, .slot_limit = FAKE_SLOTS, .address_limit = 40 * PAGE, .cut_size = 4 * PAGE};
    static const struct kvm_system new = {
        .fd = NEW_FD, .slot_limit = FAKE_SLOTS, .address_limit = 40 * PAGE, .cut_size = 4 * PAGE};
    unsigned refused = 0;
    unsigned done = 0;

    seed = test_random_seed();
    for (unsigned i = 0; i < SPACES; i++) {
        make_space(i, i % 2 == 0 ? &old : &new);
        /* One has to think that there are readers. */
        spaces[i]->dma_references = i == 0;
    }
    for (unsigned call = 0; call < CALLS; call++) {
        const unsigned which = below(SPACES);
        changes_until_refusal = below(8) == 0 ? (int)below(4) : -1;
        const bool may_be_refused = changes_until_refusal >= 0;
        hv_return_t result = call_something(which);
        if (result == HV_NO_RESOURCES)
            EXPECT(may_be_refused);
        refused += result == HV_NO_RESOURCES;
        done += result == HV_SUCCESS;
        changes_until_refusal = -1;
        compare_map(spaces[which], &models[which]);
        compare_slots(&vms[which], &models[which]);
    }
    /* The test has tested something: about one call in a hundred is refused, and half are done. */
    ck_assert_uint_gt(refused, CALLS / 300);
    ck_assert_uint_gt(done, CALLS / 4);
    for (unsigned i = 0; i < SPACES; i++)
        destroy_space(i);
}
END_TEST

/* ---- Large regions ---- */

static const uint64_t MIB = 1ull << 20;
static const struct kvm_system large = {
    .fd = NEW_FD, .slot_limit = LARGE_FAKE_SLOTS, .address_limit = 1ull << 52, .cut_size = 64ull << 20};

static hv_return_t map_large(uint64_t gpa, uint64_t size)
{
    const struct region region = {.gpa = gpa, .size = size, .hva = host + gpa, .flags = ALL};

    return space_map(spaces[0], &region);
}

START_TEST(a_cut_makes_a_small_part_of_a_large_region_anew)
{
    make_space(0, &large);
    ck_assert_int_eq(map_large(4096 * MIB, 4096 * MIB), HV_SUCCESS);
    ck_assert_uint_eq(kvm_slots_count(slots[0]), cuts_slots ? 64 : 1);
    vms[0].deleted = 0;
    ck_assert_int_eq(space_protect(spaces[0], 5000 * MIB + PAGE, PAGE, HV_MEMORY_READ), HV_SUCCESS);
    ck_assert_uint_eq(vms[0].deleted, 1);
    ck_assert_uint_eq(kvm_slots_count(slots[0]), cuts_slots ? 66 : 3);
    const struct fake_slot *slot = fake_find(&vms[0], 5000 * MIB);
    ck_assert_uint_eq(slot->size, cuts_slots ? (5000 - 4992) * MIB + PAGE : (5000 - 4096) * MIB + PAGE);
    /* The pieces stay apart when the page is as it was, and come and go as one. */
    ck_assert_int_eq(space_protect(spaces[0], 5000 * MIB + PAGE, PAGE, ALL), HV_SUCCESS);
    ck_assert_uint_eq(vms[0].deleted, 2);
    ck_assert_int_eq(space_unmap(spaces[0], 4096 * MIB, 4096 * MIB), HV_SUCCESS);
    ck_assert_uint_eq(kvm_slots_count(slots[0]), 0);
    destroy_space(0);
}
END_TEST

START_TEST(a_region_of_any_size_is_few_slots)
{
    make_space(0, &large);
    /* KVM takes no slot of more than 4 TiB. */
    ck_assert_int_eq(map_large(PAGE, 64 * MIB * MIB), HV_SUCCESS);
    ck_assert_uint_ge(kvm_slots_count(slots[0]), cuts_slots ? LARGE_FAKE_SLOTS / 32 : 16);
    ck_assert_uint_le(kvm_slots_count(slots[0]), cuts_slots ? LARGE_FAKE_SLOTS / 16 + 1 : 17);
    destroy_space(0);
}
END_TEST

START_TEST(many_regions_that_all_could_be_cut_find_room)
{
    const unsigned count = LARGE_FAKE_SLOTS - 4;

    /* Each has a place in it where slots are cut as long as there are enough. */
    make_space(0, &large);
    for (unsigned i = 1; i <= count; i++)
        ck_assert_int_eq(map_large(i * 64 * MIB - PAGE, 2 * PAGE), HV_SUCCESS);
    ck_assert_uint_le(kvm_slots_count(slots[0]), LARGE_FAKE_SLOTS);
    /* All at once. */
    ck_assert_int_eq(space_set_strict(spaces[0], true), HV_SUCCESS);
    /* The pages between them, too, which are neighbours of both. */
    for (unsigned i = 1; i < count; i++)
        ck_assert_int_eq(map_large(i * 64 * MIB + PAGE, 64 * MIB - 2 * PAGE), HV_SUCCESS);
    destroy_space(0);
}
END_TEST

START_TEST(neighbouring_pages_become_few_slots)
{
    make_space(0, &large);
    for (uint64_t i = 0; i < 10000; i++)
        ck_assert_int_eq(map_large(4096 * MIB + i * PAGE, PAGE), HV_SUCCESS);
    ck_assert_uint_le(kvm_slots_count(slots[0]), 10);
    destroy_space(0);
}
END_TEST

static void expect_written(uint64_t gpa, uint64_t size)
{
    uint64_t *bitmap = calloc((size / PAGE + 63) / 64, sizeof(*bitmap));

    ck_assert_int_eq(space_dirty_start(spaces[0], gpa, size), HV_SUCCESS);
    ck_assert_int_eq(space_dirty_fetch(spaces[0], gpa, size, bitmap), HV_SUCCESS);
    for (uint64_t page = 0; page < size / PAGE; page++)
        EXPECT((bitmap[page / 64] >> (page % 64) & 1) == ((gpa / PAGE + page) % WRITTEN_STRIDE == 0));
    ck_assert_int_eq(space_dirty_stop(spaces[0], gpa, size), HV_SUCCESS);
    free(bitmap);
}

START_TEST(the_written_pages_of_several_slots_are_found)
{
    make_space(0, &large);
    ck_assert_int_eq(map_large(1024 * MIB, 1024 * MIB), HV_SUCCESS);
    /* Slots that begin at words of the bitmap, and that do not. */
    expect_written(1024 * MIB, 1024 * MIB);
    expect_written(1024 * MIB + 5 * PAGE, 700 * MIB);
    ck_assert_int_eq(space_protect(spaces[0], 1100 * MIB, 3 * PAGE, HV_MEMORY_READ), HV_SUCCESS);
    ck_assert_int_eq(space_protect(spaces[0], 1100 * MIB, 3 * PAGE, ALL), HV_SUCCESS);
    expect_written(1024 * MIB, 1024 * MIB);
    expect_written(1024 * MIB + 64 * PAGE, 200 * MIB + 7 * PAGE);
    destroy_space(0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slots_model");
    TCase *tcase = tcase_create("model");

    tcase_set_timeout(tcase, 280);
    tcase_add_test(tcase, random_calls_do_what_a_model_of_pages_does);
    tcase_add_test(tcase, a_cut_makes_a_small_part_of_a_large_region_anew);
    tcase_add_test(tcase, a_region_of_any_size_is_few_slots);
    tcase_add_test(tcase, many_regions_that_all_could_be_cut_find_room);
    tcase_add_test(tcase, neighbouring_pages_become_few_slots);
    tcase_add_test(tcase, the_written_pages_of_several_slots_are_found);
    suite_add_tcase(suite, tcase);
    return unit_test_run(suite);
}
