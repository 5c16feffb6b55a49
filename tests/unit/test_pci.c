/*
 * devices/pci/pci.c: configuration spaces by ports and in memory, and registers that the guest moves.
 */
#include "devices/pci/pci.h"

#include "fake_pci.h"
#include "unit_test.h"

#include <string.h>

enum {
    SLOT = 3,
    OTHER = 5,
    VENDOR = 0x1234,
    DEVICE = 0x5678,
    SMALL = 0x1000,
    LARGE = 0x8000,
    SECRET = 0x42,
    WINDOW = LAYOUT_PCI_WINDOW_GPA,
    WINDOW_END = LAYOUT_PCI_WINDOW_GPA + LAYOUT_PCI_WINDOW_SIZE,
    BAR0 = PCI_BASE_ADDRESS_0,
    BAR2 = PCI_BASE_ADDRESS_0 + 8,
};

/* What a function has last been asked. */
struct probe {
    struct pci_function function;
    unsigned bar;
    uint64_t offset;
    unsigned size;
    uint64_t value;
    unsigned accesses;
    uint64_t moved_to;
    unsigned moves;
    unsigned config_writes;
};

static struct fake_pci pci;
static struct probe first, second;

static uint64_t probe_read(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size)
{
    struct probe *probe = (struct probe *)function;

    probe->bar = bar;
    probe->offset = offset;
    probe->size = size;
    probe->accesses++;
    return 0x8877665544332200 | SECRET;
}

static void probe_write(struct pci_function *function, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
    (void)probe_read(function, bar, offset, size);
    ((struct probe *)function)->value = value;
}

static void probe_config_written(struct pci_function *function, unsigned offset, unsigned size)
{
    (void)offset;
    (void)size;
    ((struct probe *)function)->config_writes++;
}

static void probe_moved(struct pci_function *function, unsigned bar, uint64_t gpa)
{
    struct probe *probe = (struct probe *)function;

    probe->bar = bar;
    probe->moved_to = gpa;
    probe->moves++;
}

static const struct pci_ops probe_ops = {
    .read = probe_read, .write = probe_write, .config_written = probe_config_written, .moved = probe_moved};

static void attach(struct probe *probe, unsigned slot)
{
    const struct pci_identity identity = {.vendor = VENDOR,
                                          .device = DEVICE,
                                          .subsystem_vendor = 0x9abc,
                                          .subsystem = 0xdef0,
                                          .class_code = 0x010203,
                                          .revision = 7};
    struct error error;

    memset(probe, 0, sizeof(*probe));
    pci_function_init(&probe->function, &probe_ops, &identity);
    pci_function_add_bar(&probe->function, 0, SMALL);
    pci_function_add_bar(&probe->function, 2, LARGE);
    pci_function_add_pin(&probe->function);
    pci_function_add_capability(&probe->function, PCI_CAP_ID_VNDR, 7);
    pci_function_add_capability(&probe->function, PCI_CAP_ID_MSIX, 12);
    ck_assert_int_eq(pci_bus_attach(pci.bus, slot, &probe->function, &error), 0);
    probe->config_writes = 0;
}

static void setup(void)
{
    fake_pci_begin(&pci);
    attach(&first, SLOT);
    attach(&second, OTHER);
}

static void teardown(void)
{
    fake_pci_end(&pci);
}

static uint32_t port_address(unsigned slot, unsigned offset)
{
    return 0x80000000u | slot << 11 | (offset & 0xfc);
}

static uint32_t port_get(unsigned slot, unsigned offset, unsigned size)
{
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, port_address(slot, offset));
    return (uint32_t)bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT + 4 + offset % 4, size);
}

static void port_set(unsigned slot, unsigned offset, unsigned size, uint32_t value)
{
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, port_address(slot, offset));
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT + 4 + offset % 4, size, value);
}

static uint32_t mask(unsigned size)
{
    return size == 4 ? UINT32_MAX : (1u << 8 * size) - 1;
}

static void decode(unsigned slot)
{
    fake_pci_set(&pci, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

START_TEST(ids_are_where_they_belong)
{
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_VENDOR_ID, 4), (uint32_t)DEVICE << 16 | VENDOR);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_CLASS_REVISION, 4), 0x01020307);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_HEADER_TYPE, 1), 0);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_INTERRUPT_PIN, 1), 1);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_COMMAND, 2), 0);
    ck_assert_uint_eq(fake_pci_get(&pci, 0, PCI_CLASS_DEVICE, 2), 0x0600);
    ck_assert_uint_eq(fake_pci_get(&pci, 0, PCI_STATUS, 2), 0);
}
END_TEST

START_TEST(each_width_at_each_offset_is_a_part_of_the_space)
{
    uint8_t space[PCI_CONFIG_SIZE];

    for (unsigned i = 0; i < sizeof(space); i++)
        space[i] = (uint8_t)fake_pci_get(&pci, SLOT, i, 1);
    for (unsigned size = 1; size <= 4; size *= 2) {
        for (unsigned offset = 0; offset + size <= sizeof(space); offset++) {
            uint32_t expected = 0;
            memcpy(&expected, space + offset, size);
            ck_assert_uint_eq(fake_pci_get(&pci, SLOT, offset, size), expected);
            if (offset % 4 + size <= 4)
                ck_assert_uint_eq(port_get(SLOT, offset, size), expected);
        }
    }
}
END_TEST

/* Which bits of the space the guest may change, counted from PCI Local Bus 3.0, 6.1 and 6.2. */
static uint8_t writable_bits(unsigned offset)
{
    switch (offset) {
    case PCI_COMMAND:
        return PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    case PCI_COMMAND + 1:
        return PCI_COMMAND_INTX_DISABLE >> 8;
    case PCI_CACHE_LINE_SIZE:
    case PCI_INTERRUPT_LINE:
    case BAR0 + 2:
    case BAR0 + 3:
    case BAR2 + 2:
    case BAR2 + 3:
        return 0xff;
    case BAR0 + 1:
        return 0xf0;
    case BAR2 + 1:
        return 0x80;
    default:
        return 0;
    }
}

START_TEST(only_what_may_be_written_changes)
{
    for (unsigned offset = 0; offset < PCI_CONFIG_SIZE; offset++) {
        for (unsigned ways = 0; ways < 2; ways++) {

            const uint32_t before = fake_pci_get(&pci, SLOT, offset, 1);
            if (ways == 0)
                port_set(SLOT, offset, 1, ~before);
            else
                fake_pci_set(&pci, SLOT, offset, 1, ~before);
            ck_assert_uint_eq(fake_pci_get(&pci, SLOT, offset, 1) ^ before, writable_bits(offset));
            fake_pci_set(&pci, SLOT, offset, 1, before);
        }
    }
}
END_TEST

START_TEST(writes_of_each_width_reach_their_bytes_only)
{
    for (unsigned size = 1; size <= 4; size *= 2) {
        fake_pci_set(&pci, SLOT, BAR0, 4, 0);
        fake_pci_set(&pci, SLOT, BAR0 + 4 - size, size, UINT32_MAX);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, BAR0, 4), (size == 4 ? 0xfffff000u : UINT32_MAX << 8 * (4 - size)));
        port_set(SLOT, BAR0, 4, 0);
        port_set(SLOT, BAR0 + 4 - size, size, UINT32_MAX);
        ck_assert_uint_eq(port_get(SLOT, BAR0 + 4 - size, size), mask(size) & (size == 4 ? 0xfffff000u : UINT32_MAX));
    }
}
END_TEST

START_TEST(what_is_not_there_reads_all_ones)
{
    for (unsigned size = 1; size <= 4; size *= 2) {
        for (unsigned slot = 0; slot < PCI_SLOT_COUNT; slot++) {
            const bool is_there = slot == 0 || slot == SLOT || slot == OTHER;
            ck_assert_int_eq(fake_pci_get(&pci, slot, 0, size) == mask(size), !is_there);
            ck_assert_int_eq(port_get(slot, 0, size) == mask(size), !is_there);
            /* Functions and buses. */
            ck_assert_uint_eq(fake_pci_get(&pci, slot, 0x1000, size), mask(size));
        }
    }
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, port_address(SLOT, 0) | 1 << 8);
    ck_assert_uint_eq(bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT + 4, 4), UINT32_MAX);
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, port_address(SLOT, 0) | 1 << 16);
    ck_assert_uint_eq(bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT + 4, 4), UINT32_MAX);
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, port_address(SLOT, 0) & INT32_MAX);
    ck_assert_uint_eq(bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT + 4, 4), UINT32_MAX);
    /* And writes to it reach nobody. */
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT + 4 + 4, 4, UINT32_MAX);
    fake_pci_set(&pci, 9, BAR0, 4, UINT32_MAX);
    fake_pci_set(&pci, SLOT, 0x1000 + BAR0, 4, UINT32_MAX);
    ck_assert_uint_eq(first.config_writes + second.config_writes, 0);
}
END_TEST

START_TEST(extended_space_is_empty)
{
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, 0x100, 4), 0);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, 0xffc, 4), 0);
    fake_pci_set(&pci, SLOT, 0x100, 4, UINT32_MAX);
    fake_pci_set(&pci, SLOT, 0xfe, 4, UINT32_MAX);
    ck_assert_uint_eq(first.config_writes, 0);
    /* Across its beginning nothing is. */
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, 0xfe, 4), UINT32_MAX);
}
END_TEST

START_TEST(address_register_has_reserved_bits)
{
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, UINT32_MAX);
    ck_assert_uint_eq(bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4), 0x80fffffc);
    /* Only whole accesses are its own: 3.2.2.3.2. */
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 1, 0);
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 2, 0);
    ck_assert_uint_eq(bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4), 0x80fffffc);
    ck_assert_uint_eq(bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT, 2), 0xffff);
}
END_TEST

START_TEST(size_of_a_register_is_asked_as_the_standard_says)
{
    const uint32_t before = fake_pci_get(&pci, SLOT, BAR2, 4);

    ck_assert_uint_eq(before % LARGE, 0);
    ck_assert_uint_ge(before, WINDOW);
    fake_pci_set(&pci, SLOT, BAR0, 4, UINT32_MAX);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, BAR0, 4), ~(SMALL - 1u));
    fake_pci_set(&pci, SLOT, BAR2, 4, UINT32_MAX);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, BAR2, 4), ~(LARGE - 1u));
    fake_pci_set(&pci, SLOT, BAR2, 4, before);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, BAR2, 4), before);
    /* Registers that there are not. */
    for (unsigned bar = 0; bar < PCI_BAR_COUNT; bar++) {
        if (bar == 0 || bar == 2)
            continue;
        fake_pci_set(&pci, SLOT, PCI_BASE_ADDRESS_0 + 4 * bar, 4, UINT32_MAX);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_BASE_ADDRESS_0 + 4 * bar, 4), 0);
    }
    fake_pci_set(&pci, SLOT, PCI_ROM_ADDRESS, 4, UINT32_MAX);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_ROM_ADDRESS, 4), 0);
}
END_TEST

START_TEST(registers_answer_where_they_are_decoded)
{
    const uint32_t gpa = fake_pci_get(&pci, SLOT, BAR2, 4);

    ck_assert_uint_eq(bus_read(pci.mmio, gpa, 4), UINT32_MAX);
    ck_assert_uint_eq(first.accesses, 0);
    decode(SLOT);
    ck_assert_uint_eq(bus_read(pci.mmio, gpa + 0x120, 1), SECRET);
    ck_assert_uint_eq(first.bar, 2);
    ck_assert_uint_eq(first.offset, 0x120);
    for (unsigned size = 1; size <= 8; size *= 2) {
        bus_write(pci.mmio, gpa + LARGE - size, size, UINT64_MAX);
        ck_assert_uint_eq(first.offset, LARGE - size);
        ck_assert_uint_eq(first.size, size);
        ck_assert_uint_eq(first.value, size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1);
    }
    /* Over its end nobody answers. */
    first.accesses = 0;
    ck_assert_uint_eq(bus_read(pci.mmio, gpa + LARGE - 2, 4), UINT32_MAX);
    bus_write(pci.mmio, gpa + LARGE - 2, 4, 0);
    ck_assert_uint_eq(first.accesses, 0);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, 0);
    ck_assert_uint_eq(bus_read(pci.mmio, gpa, 8), UINT64_MAX);
    ck_assert_uint_eq(first.accesses, 0);
    ck_assert_uint_eq(first.moved_to, UINT64_MAX);
}
END_TEST

static bool answers_at(struct probe *probe, uint64_t gpa)
{
    probe->accesses = 0;
    const uint64_t value = bus_read(pci.mmio, gpa, 4);
    ck_assert_uint_eq(value, probe->accesses > 0 ? 0x44332242 : UINT32_MAX);
    return probe->accesses > 0;
}

START_TEST(registers_move_inside_of_the_window_only)
{
    static const uint32_t outside[] = {0, 0x1000, WINDOW - LARGE, (uint32_t)WINDOW_END, 0xfee00000, 0xffff8000};

    decode(SLOT);
    fake_pci_set(&pci, SLOT, BAR2, 4, WINDOW + 0x100000);
    ck_assert(answers_at(&first, WINDOW + 0x100000));
    ck_assert_uint_eq(first.moved_to, WINDOW + 0x100000);
    fake_pci_set(&pci, SLOT, BAR2, 4, (uint32_t)WINDOW_END - LARGE);
    ck_assert(answers_at(&first, WINDOW_END - LARGE));
    ck_assert(answers_at(&first, WINDOW_END - 4));
    ck_assert(!answers_at(&first, WINDOW + 0x100000));
    for (unsigned i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        fake_pci_set(&pci, SLOT, BAR2, 4, outside[i]);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, BAR2, 4), outside[i] & ~(LARGE - 1u));
        ck_assert_uint_eq(first.moved_to, UINT64_MAX);
        ck_assert(!answers_at(&first, outside[i]));
    }
}
END_TEST

START_TEST(lower_slot_answers_where_two_are)
{
    const uint32_t place = WINDOW + 0x200000;

    decode(SLOT);
    decode(OTHER);
    fake_pci_set(&pci, OTHER, BAR2, 4, place);
    ck_assert(answers_at(&second, place));
    fake_pci_set(&pci, SLOT, BAR0, 4, place);
    second.accesses = 0;
    ck_assert(answers_at(&first, place));
    ck_assert_uint_eq(second.accesses, 0);
    /* What the other has beyond is still its own. */
    ck_assert(answers_at(&second, place + SMALL));
    fake_pci_set(&pci, SLOT, BAR0, 4, WINDOW);
    ck_assert(answers_at(&second, place));
}
END_TEST

START_TEST(capabilities_are_a_list)
{
    unsigned at = fake_pci_get(&pci, SLOT, PCI_CAPABILITY_LIST, 1);

    ck_assert_uint_ne(fake_pci_get(&pci, SLOT, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
    ck_assert_uint_eq(at, 0x40);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, at, 1), PCI_CAP_ID_VNDR);
    at = fake_pci_get(&pci, SLOT, at + 1, 1);
    ck_assert_uint_eq(at, 0x48);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, at, 1), PCI_CAP_ID_MSIX);
    ck_assert_uint_eq(fake_pci_get(&pci, SLOT, at + 1, 1), 0);
}
END_TEST

START_TEST(pins_share_a_line_and_can_be_forbidden)
{
    struct probe third;
    const uint32_t gsi = pci_slot_gsi(SLOT);

    attach(&third, SLOT + LAYOUT_PCI_GSI_COUNT);
    pci_function_set_pin(&first.function, true);
    ck_assert_int_eq(pci.levels[gsi], 1);
    ck_assert_int_eq(pci.levels[pci_slot_gsi(OTHER)], 0);
    pci_function_set_pin(&third.function, true);
    pci_function_set_pin(&first.function, false);
    ck_assert_int_eq(pci.levels[gsi], 1);
    pci_function_set_pin(&third.function, false);
    ck_assert_int_eq(pci.levels[gsi], 0);
    fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
    pci_function_set_pin(&first.function, true);
    ck_assert_int_eq(pci.levels[gsi], 0);
}
END_TEST

/* 6.2.3: whether the pin is forbidden or not. */
START_TEST(status_register_tells_of_the_interrupt)
{
    for (unsigned forbidden = 0; forbidden < 2; forbidden++) {
        fake_pci_set(&pci, SLOT, PCI_COMMAND, 2, forbidden ? PCI_COMMAND_INTX_DISABLE : 0);
        pci_function_set_pin(&first.function, true);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_STATUS, 2), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_STATUS, 1), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_COMMAND, 4) >> 16, PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_STATUS + 1, 1), 0);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_COMMAND, 2), forbidden ? PCI_COMMAND_INTX_DISABLE : 0);
        pci_function_set_pin(&first.function, false);
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
    }
}
END_TEST

START_TEST(reset_puts_everything_back)
{
    uint8_t before[PCI_CONFIG_SIZE];
    const uint32_t gpa = fake_pci_get(&pci, SLOT, BAR2, 4);

    for (unsigned i = 0; i < sizeof(before); i++)
        before[i] = (uint8_t)fake_pci_get(&pci, SLOT, i, 1);
    for (unsigned i = 0; i < sizeof(before); i += 4)
        fake_pci_set(&pci, SLOT, i, 4, 0xc1c2c3c7);
    bus_write(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4, port_address(SLOT, 0));
    pci_bus_reset(pci.bus);
    for (unsigned i = 0; i < sizeof(before); i++)
        ck_assert_uint_eq(fake_pci_get(&pci, SLOT, i, 1), before[i]);
    ck_assert_uint_eq(bus_read(pci.ports, LAYOUT_PCI_CONFIG_PORT, 4), 0);
    ck_assert_uint_eq(first.moved_to, UINT64_MAX);
    decode(SLOT);
    ck_assert(answers_at(&first, gpa));
}
END_TEST

START_TEST(slots_and_the_window_are_finite)
{
    struct probe more;
    struct error error;
    const struct pci_identity identity = {.vendor = VENDOR};
    static const unsigned taken[] = {0, SLOT, PCI_SLOT_COUNT};

    for (unsigned i = 0; i < 3; i++) {
        pci_function_init(&more.function, &probe_ops, &identity);
        ck_assert_int_eq(pci_bus_attach(pci.bus, taken[i], &more.function, &error), -1);
        ck_assert_ptr_nonnull(strstr(error.text, "PCI slot"));
    }
    pci_function_init(&more.function, &probe_ops, &identity);
    pci_function_add_bar(&more.function, 1, LAYOUT_PCI_WINDOW_SIZE);
    ck_assert_int_eq(pci_bus_attach(pci.bus, 7, &more.function, &error), -1);
    ck_assert_ptr_nonnull(strstr(error.text, "no room"));
    ck_assert_uint_eq(fake_pci_get(&pci, 7, 0, 4), UINT32_MAX);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("pci");
    TCase *tests = tcase_create("pci");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, ids_are_where_they_belong);
    tcase_add_test(tests, each_width_at_each_offset_is_a_part_of_the_space);
    tcase_add_test(tests, only_what_may_be_written_changes);
    tcase_add_test(tests, writes_of_each_width_reach_their_bytes_only);
    tcase_add_test(tests, what_is_not_there_reads_all_ones);
    tcase_add_test(tests, extended_space_is_empty);
    tcase_add_test(tests, address_register_has_reserved_bits);
    tcase_add_test(tests, size_of_a_register_is_asked_as_the_standard_says);
    tcase_add_test(tests, registers_answer_where_they_are_decoded);
    tcase_add_test(tests, registers_move_inside_of_the_window_only);
    tcase_add_test(tests, lower_slot_answers_where_two_are);
    tcase_add_test(tests, capabilities_are_a_list);
    tcase_add_test(tests, pins_share_a_line_and_can_be_forbidden);
    tcase_add_test(tests, status_register_tells_of_the_interrupt);
    tcase_add_test(tests, reset_puts_everything_back);
    tcase_add_test(tests, slots_and_the_window_are_finite);
    suite_add_tcase(all, tests);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
