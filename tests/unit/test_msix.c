/*
 * devices/pci/msix.c: the table, the masks, and that no interrupt gets lost between them.
 */
#include "devices/pci/msix.h"

#include "fake_pci.h"
#include "unit_test.h"

#include <pthread.h>
#include <string.h>

enum { SLOT = 1, VECTORS = 65, CONTROL = 12, ROUNDS = 20000 };

static struct fake_pci pci;
static struct msi_controller controller;
static struct msix msix;
static struct pci_function function;

static void config_written(struct pci_function *changed, unsigned offset, unsigned size)
{
    (void)changed;
    (void)offset;
    (void)size;
    msix_config_written(&msix);
}

static const struct pci_ops ops = {.config_written = config_written};

static void setup(void)
{
    static const struct pci_identity identity = {.vendor = 0x1234};
    struct error error;

    fake_pci_begin(&pci);
    controller = fake_pci_messages(&pci);
    pci_function_init(&function, &ops, &identity);
    ck_assert_int_eq(msix_init(&msix, &function, &controller, VECTORS, 2, 0x4000, 0x5000, &error), 0);
    ck_assert_int_eq(pci_bus_attach(pci.bus, SLOT, &function, &error), 0);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
}

static void teardown(void)
{
    msix_fini(&msix);
    fake_pci_end(&pci);
}

static void set_flags(uint32_t flags)
{
    fake_pci_set(&pci, SLOT, msix.capability + PCI_MSIX_FLAGS, 2, flags);
}

static void set_mask(unsigned vector, uint32_t mask)
{
    msix_table_write(&msix, vector * MSIX_ENTRY_SIZE + CONTROL, 4, mask);
}

static bool is_pending(unsigned vector)
{
    return msix_pending_read(&msix, vector / 32 * 4, 4) >> vector % 32 & 1;
}

START_TEST(capability_says_where_things_are)
{
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, msix.capability + PCI_MSIX_FLAGS, 2), VECTORS - 1);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, msix.capability + PCI_MSIX_TABLE, 4), 0x4002);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, msix.capability + PCI_MSIX_PBA, 4), 0x5002);
    set_flags(UINT16_MAX);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, msix.capability + PCI_MSIX_FLAGS, 2),
                      (VECTORS - 1) | PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
}
END_TEST

START_TEST(table_has_words_and_double_words)
{
    const uint64_t entry = 64 * MSIX_ENTRY_SIZE;

    ck_assert_uint_eq(msix_table_read(&msix, entry + CONTROL, 4), 1);
    msix_table_write(&msix, entry, 8, 0x1122334455667788);
    msix_table_write(&msix, entry + 8, 8, 0x99aabbcc);
    ck_assert_uint_eq(msix_table_read(&msix, entry, 4), 0x55667788);
    ck_assert_uint_eq(msix_table_read(&msix, entry + 4, 4), 0x11223344);
    ck_assert_uint_eq(msix_table_read(&msix, entry + 8, 4), 0x99aabbcc);
    ck_assert_uint_eq(msix_table_read(&msix, entry + CONTROL, 4), 0);
    ck_assert_uint_eq(msix_table_read(&msix, entry, 8), 0x1122334455667788);
    /* Others are none: they read as 0 and change nothing. */
    for (unsigned offset = 0; offset < 16; offset++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            if (size >= 4 && offset % size == 0)
                continue;
            ck_assert_uint_eq(msix_table_read(&msix, entry + offset, size), 0);
            msix_table_write(&msix, entry + offset, size, 0);
            ck_assert_uint_eq(msix_pending_read(&msix, offset, size), 0);
        }
    }
    ck_assert_uint_eq(msix_table_read(&msix, entry, 8), 0x1122334455667788);
    ck_assert_uint_eq(msix_table_read(&msix, entry + MSIX_ENTRY_SIZE, 8), 0);
    msix_table_write(&msix, entry + MSIX_ENTRY_SIZE, 8, 1);
    msix_table_write(&msix, UINT64_MAX - 7, 8, 1);
    ck_assert_uint_eq(msix_table_read(&msix, UINT64_MAX - 7, 8), 0);
}
END_TEST

START_TEST(pending_bits_have_words_and_double_words)
{
    msix_raise(&msix, 1);
    msix_raise(&msix, 33);
    msix_raise(&msix, 64);
    ck_assert_uint_eq(msix_pending_read(&msix, 0, 4), 2);
    ck_assert_uint_eq(msix_pending_read(&msix, 4, 4), 2);
    ck_assert_uint_eq(msix_pending_read(&msix, 0, 8), 2ull << 32 | 2);
    ck_assert_uint_eq(msix_pending_read(&msix, 8, 8), 1);
    ck_assert_uint_eq(msix_pending_read(&msix, 16, 8), 0);
    ck_assert_uint_eq(msix_pending_read(&msix, UINT64_MAX - 7, 8), 0);
    ck_assert_uint_eq(msix_pending_read(&msix, 2, 4), 0);
}
END_TEST

START_TEST(open_vector_sends_its_message)
{
    msix_table_write(&msix, 0, 8, 0xfee01000);
    msix_table_write(&msix, 8, 8, 0x4042);
    set_flags(PCI_MSIX_FLAGS_ENABLE);
    ck_assert(msix_is_enabled(&msix));
    ck_assert_uint_eq(pci.messages[0].address, 0xfee01000);
    ck_assert_uint_eq(pci.messages[0].data, 0x4042);
    msix_raise(&msix, 0);
    ck_assert_uint_eq(fake_pci_sent(&pci, 0), 1);
    msix_raise(&msix, VECTORS);
    msix_raise(&msix, UINT16_MAX);
    for (unsigned i = 0; i < VECTORS; i++)
        ck_assert_uint_eq(fake_pci_sent(&pci, i), 0);
    msix_table_write(&msix, 8, 4, 0x4043);
    ck_assert_uint_eq(pci.messages[0].data, 0x4043);
}
END_TEST

/* What can be in the way of vector 0. */
static void close_way(unsigned way)
{
    switch (way) {
    case 0:
        set_mask(0, PCI_MSIX_ENTRY_CTRL_MASKBIT);
        break;
    case 1:
        set_flags(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
        break;
    case 2:
        set_flags(0);
        break;
    default:
        fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, 0);
        break;
    }
}

static void open_all_ways(void)
{
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    set_flags(PCI_MSIX_FLAGS_ENABLE);
    set_mask(0, 0);
}

START_TEST(what_is_raised_behind_a_mask_is_sent_once_after_it)
{
    open_all_ways();
    close_way(_i);
    msix_raise(&msix, 0);
    msix_raise(&msix, 0);
    ck_assert_uint_eq(fake_pci_sent(&pci, 0), 0);
    ck_assert(is_pending(0));
    open_all_ways();
    ck_assert_uint_eq(fake_pci_sent(&pci, 0), 1);
    ck_assert(!is_pending(0));
    open_all_ways();
    ck_assert_uint_eq(fake_pci_sent(&pci, 0), 0);
}
END_TEST

START_TEST(message_that_cannot_be_set_is_kept)
{
    set_flags(PCI_MSIX_FLAGS_ENABLE);
    pci.refuses_messages = true;
    set_mask(0, 0);
    msix_raise(&msix, 0);
    ck_assert_uint_eq(fake_pci_sent(&pci, 0), 0);
    ck_assert(is_pending(0));
    pci.refuses_messages = false;
    set_mask(0, 0);
    ck_assert_uint_eq(fake_pci_sent(&pci, 0), 1);
    /* A mask needs no message. */
    pci.refuses_messages = true;
    set_mask(0, 1);
    msix_raise(&msix, 0);
    ck_assert(is_pending(0));
}
END_TEST

START_TEST(vectors_that_run_out_are_an_error)
{
    struct pci_function other;
    struct msix more;
    static const struct pci_identity identity = {.vendor = 0x1234};
    struct error error;

    pci.message_limit = pci.message_count + 2;
    pci_function_init(&other, &ops, &identity);
    ck_assert_int_eq(msix_init(&more, &other, &controller, 3, 0, 0, 0x1000, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "fewer queues"));
    ck_assert_uint_eq(more.count, 0);
    msix_fini(&more);
}
END_TEST

START_TEST(reset_closes_and_forgets)
{
    open_all_ways();
    msix_raise(&msix, 1);
    msix_table_write(&msix, 0, 8, UINT64_MAX);
    pci_bus_reset(pci.bus);
    msix_reset(&msix);
    ck_assert(!msix_is_enabled(&msix));
    ck_assert(!is_pending(1));
    ck_assert_uint_eq(msix_table_read(&msix, 0, 8), 0);
    ck_assert_uint_eq(msix_table_read(&msix, 8, 8), 1ull << 32);
    msix_raise(&msix, 0);
    ck_assert_uint_eq(fake_pci_sent(&pci, 0), 0);
    ck_assert(is_pending(0));
}
END_TEST

static atomic_uint round_begun, round_done;

/* Each round changes the mask once, while the other thread raises. */
static void *change_mask(void *context)
{
    (void)context;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        while (atomic_load(&round_begun) < i)
            ;
        set_mask(0, i % 2);
        atomic_store(&round_done, i);
    }
    return NULL;
}

/* After each round there is a message or, behind a mask, a pending bit. */
START_TEST(no_interrupt_is_lost_between_threads)
{
    pthread_t thread;

    open_all_ways();
    ck_assert_int_eq(pthread_create(&thread, NULL, change_mask, NULL), 0);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        const bool was_pending = is_pending(0);
        atomic_store(&round_begun, i);
        msix_raise(&msix, 0);
        while (atomic_load(&round_done) < i)
            ;
        const uint64_t sent = fake_pci_sent(&pci, 0);
        ck_assert_uint_ge(sent + is_pending(0), 1);
        ck_assert_uint_le(sent + is_pending(0), 1 + was_pending);
        ck_assert(i % 2 == 1 || !is_pending(0));
    }
    pthread_join(thread, NULL);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("msix");
    TCase *tests = tcase_create("msix");

    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, capability_says_where_things_are);
    tcase_add_test(tests, table_has_words_and_double_words);
    tcase_add_test(tests, pending_bits_have_words_and_double_words);
    tcase_add_test(tests, open_vector_sends_its_message);
    tcase_add_loop_test(tests, what_is_raised_behind_a_mask_is_sent_once_after_it, 0, 4);
    tcase_add_test(tests, message_that_cannot_be_set_is_kept);
    tcase_add_test(tests, vectors_that_run_out_are_an_error);
    tcase_add_test(tests, reset_closes_and_forgets);
    tcase_add_test(tests, no_interrupt_is_lost_between_threads);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
