/*
 * vmm/maps: what a configuration puts where, and what it cannot.
 */
#include "memory/x86/layout.h"
#include "vmm/maps/memory_plan.h"

#include "unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct config config;
static struct memory_plan plan;
static struct error error;

static int plan_of(const char *text)
{
    memory_plan_free(&plan);
    config_free(&config);
    ck_assert_int_eq(config_defaults(&config, &error), 0);
    if (config_parse(&config, "vm.toml", text, strlen(text), &error) < 0 || config_check(&config, &error) < 0)
        ck_abort_msg("%s", error.text);
    return memory_plan_create(&config, &plan, &error);
}

static void assert_refused(const char *text, const char *message)
{
    ck_assert_int_eq(plan_of(text), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_str_eq(error.text, message);
    ck_assert_ptr_null(plan.spaces);
}

static void assert_range(size_t space, size_t index, uint64_t gpa, uint64_t size, const char *name, size_t memory,
                         uint64_t offset, bool is_alias)
{
    ck_assert_uint_lt(index, plan.spaces[space].count);
    const struct plan_range *range = &plan.spaces[space].ranges[index];
    ck_assert_uint_eq(range->gpa, gpa);
    ck_assert_uint_eq(range->size, size);
    ck_assert_str_eq(range->name, name);
    ck_assert_uint_eq(range->memory, memory);
    ck_assert_uint_eq(range->offset, offset);
    ck_assert_int_eq(range->is_alias, is_alias);
}

static void teardown(void)
{
    memory_plan_free(&plan);
    config_free(&config);
}

START_TEST(kernel_has_ram_around_the_holes_and_a_rom)
{
    ck_assert_int_eq(plan_of("boot.kernel = '/k'\nmemory.size = '4GiB'\n"), 0);
    ck_assert_uint_eq(plan.space_count, 1);
    ck_assert_uint_eq(plan.memory_count, 2);
    ck_assert_uint_eq(plan.spaces[0].count, 4);
    assert_range(0, 0, 0, 640 << 10, "ram", PLAN_RAM, 0, false);
    assert_range(0, 1, LAYOUT_ROM_GPA, LAYOUT_ROM_SIZE, "rom", 1, 0, false);
    assert_range(0, 2, MIB(1), GIB(3) - MIB(1), "ram", PLAN_RAM, MIB(1), false);
    assert_range(0, 3, GIB(4), GIB(1), "ram", PLAN_RAM, GIB(3), false);
    ck_assert_uint_eq(plan.spaces[0].ranges[1].flags, HV_MEMORY_READ | HV_MEMORY_EXEC);
    ck_assert_int_eq(plan.spaces[0].ranges[0].policy, HVX_POLICY_CLIENT);
}
END_TEST

START_TEST(flat_binary_has_page_tables_where_it_starts_and_needs_them)
{
    ck_assert_int_eq(plan_of("boot.flat = '/k'\nmemory.size = '32MiB'\n"), 0);
    ck_assert_uint_eq(plan.memory_count, 1);
    ck_assert_int_eq(plan_of("boot.flat = '/k'\nboot.mode = 'long'\nmemory.size = '32MiB'\n"
                             "[[space]]\nname = 'a'\n[[space]]\nname = 'b'\n[[vcpu]]\nspace = 'b'\n"),
                     0);
    ck_assert_uint_eq(plan.spaces[0].count, 2);
    ck_assert_uint_eq(plan.spaces[1].count, 0);
    ck_assert_uint_eq(plan.spaces[2].count, 1);
    assert_range(2, 0, LAYOUT_FLAT_PAGE_TABLES_GPA, LAYOUT_FLAT_PAGE_TABLES_SIZE, "page-tables", 1, 0, false);
    /* One more vCPU, which has no entry and so is in the default space. */
    ck_assert_int_eq(plan_of("boot.flat = '/k'\nboot.mode = 'long'\nmemory.size = '32MiB'\ncpu.count = 2\n"
                             "[[space]]\nname = 'b'\n[[vcpu]]\nspace = 'b'\n"),
                     0);
    ck_assert_uint_eq(plan.spaces[0].count, 3);
}
END_TEST

START_TEST(alias_shows_each_piece_of_memory_that_it_spans)
{
    ck_assert_int_eq(plan_of("boot.kernel = '/k'\nmemory.size = '32MiB'\n"
                             "[[space]]\nname = 'a'\n"
                             "[[space.range]]\nname = 'own'\nat = 0\nsize = '8KiB'\nflags = 'r'\nfault = 'count'\n"
                             "[[space.range]]\nname = 'low'\nat = '4GiB'\nsize = '132KiB'\n"
                             "of = 'default'\nfrom = 0x9f000\n"
                             "[[space]]\nname = 'b'\n"
                             "[[space.range]]\nname = 'back'\nat = 0x7000\nsize = '4KiB'\nof = 'a'\nfrom = 0x1000\n"),
                     -1);
    /* Between 640 KiB and the ROM there is nothing. */
    ck_assert_str_eq(error.text, "vm.toml:15:6: range.of: \"low\" shows \"default\" from 0x9f000 on, which has no "
                                 "memory of its own at 0xa0000; change range.from or range.size");

    ck_assert_int_eq(plan_of("boot.kernel = '/k'\nmemory.size = '32MiB'\n"
                             "[[space]]\nname = 'a'\n"
                             "[[space.range]]\nname = 'own'\nat = 0\nsize = '8KiB'\nflags = 'r'\nfault = 'count'\n"
                             "[[space.range]]\nname = 'low'\nat = '4GiB'\nsize = '8KiB'\n"
                             "of = 'default'\nfrom = 0xff000\n"
                             "[[space]]\nname = 'b'\n"
                             "[[space.range]]\nname = 'back'\nat = 0x7000\nsize = '4KiB'\nof = 'a'\nfrom = 0x1000\n"),
                     0);
    ck_assert_uint_eq(plan.spaces[1].count, 3);
    assert_range(1, 0, 0, 8 << 10, "own", 2, 0, false);
    ck_assert_uint_eq(plan.spaces[1].ranges[0].flags, HV_MEMORY_READ);
    ck_assert_int_eq(plan.spaces[1].ranges[0].policy, HVX_POLICY_COUNT);
    assert_range(1, 1, GIB(4), 4 << 10, "low", 1, LAYOUT_ROM_SIZE - 0x1000, true);
    assert_range(1, 2, GIB(4) + 0x1000, 4 << 10, "low", PLAN_RAM, MIB(1), true);
    assert_range(2, 0, 0x7000, 4 << 10, "back", 2, 0x1000, true);
}
END_TEST

START_TEST(overlaps_name_both_owners)
{
    static const char kernel[] = "boot.kernel = '/k'\nmemory.size = '32MiB'\n";
    char text[512];

    (void)snprintf(text, sizeof(text), "%s[[memory.range]]\nname = 'x'\nat = 0x1fff000\nsize = '8KiB'\n", kernel);
    assert_refused(text, "vm.toml:5:6: range.at: \"x\" of line 3 (0x1fff000 - 0x2000fff) overlaps \"ram\" "
                         "(0x100000 - 0x1ffffff) in space \"default\"; move one of them");
    (void)snprintf(text, sizeof(text), "%s[[memory.range]]\nname = 'x'\nat = 0xfec00000\nsize = '4KiB'\n", kernel);
    assert_refused(text, "vm.toml:5:6: range.at: \"x\" of line 3 (0xfec00000 - 0xfec00fff) overlaps the I/O APIC "
                         "(0xfec00000 - 0xfec00fff), which this machine has there; move it");
    (void)snprintf(text, sizeof(text), "%s[[memory.range]]\nname = 'x'\nat = '3GiB'\nsize = '1GiB'\n", kernel);
    assert_refused(text, "vm.toml:5:6: range.at: \"x\" of line 3 (0xc0000000 - 0xffffffff) overlaps the I/O APIC "
                         "(0xfec00000 - 0xfec00fff), which this machine has there; move it");
    (void)snprintf(text, sizeof(text),
                   "%s[[space]]\nname = 's'\n[[space.range]]\nname = 'x'\nat = 0x2000\nsize = '8KiB'\n"
                   "[[space.range]]\nname = 'y'\nat = 0\nsize = '12KiB'\nof = 'default'\n",
                   kernel);
    assert_refused(text, "vm.toml:11:6: range.at: \"y\" of line 9 (0x0 - 0x2fff) overlaps \"x\" of line 5 "
                         "(0x2000 - 0x3fff) in space \"s\"; move one of them");
    (void)snprintf(text, sizeof(text), "%s[[memory.range]]\nname = 'x'\nat = 0xfffffffff000\nsize = '8KiB'\n", kernel);
    assert_refused(text, "vm.toml:6:8: range.size: \"x\" would end above 256TiB; make it smaller, or place it lower");
}
END_TEST

START_TEST(neighbours_do_not_overlap)
{
    ck_assert_int_eq(plan_of("boot.kernel = '/k'\nmemory.size = '32MiB'\n"
                             "[[memory.range]]\nname = 'x'\nat = 0x2000000\nsize = '4KiB'\n"
                             "[[memory.range]]\nname = 'y'\nat = 0x2001000\nsize = '4KiB'\n"
                             "[[memory.range]]\nname = 'z'\nat = 0xfffffffff000\nsize = '4KiB'\n"
                             /* The other spaces have none of KVM's. */
                             "[[space]]\nname = 's'\n[[space.range]]\nname = 'x'\nat = 0xfec00000\nsize = '4KiB'\n"),
                     0);
}
END_TEST

START_TEST(host_can_be_asked_too_much)
{
    const hvx_host_limits_t limits = {.spaces = 2, .vcpus = 4, .slots = 3, .address_bits = 36};
    static const char kernel[] = "boot.kernel = '/k'\nmemory.size = '32MiB'\n";
    char text[512];

    ck_assert_int_eq(plan_of(kernel), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), 0);

    (void)snprintf(text, sizeof(text), "%scpu.count = 5\n", kernel);
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    ck_assert_str_eq(error.text, "vm.toml:3:13: cpu.count: this host's KVM has 4 vCPUs at most");

    (void)snprintf(text, sizeof(text), "%s[[space]]\nname = 'a'\n[[space]]\nname = 'b'\n", kernel);
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    ck_assert_str_eq(error.text, "vm.toml:5:1: space: there can be 1 of them at most, besides the default one");

    /* A range without flags is no slot. */
    (void)snprintf(text, sizeof(text), "%s[[memory.range]]\nname = 'x'\nat = 0xd0000000\nsize = '4KiB'\nflags = ''\n",
                   kernel);
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), 0);
    (void)snprintf(text, sizeof(text), "%s[[memory.range]]\nname = 'x'\nat = 0xd0000000\nsize = '4KiB'\n", kernel);
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    ck_assert_str_eq(error.text, "space \"default\" has 4 ranges, and this host's KVM has 3 slots for a space; join "
                                 "some of them");

    (void)snprintf(text, sizeof(text), "%s[[memory.range]]\nname = 'x'\nat = '64GiB'\nsize = '4KiB'\nflags = ''\n",
                   kernel);
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    ck_assert_str_eq(error.text, "vm.toml:5:6: range.at: \"x\" ends above the 2^36 bytes that this host's processor "
                                 "addresses; place it lower");

    ck_assert_int_eq(plan_of("boot.kernel = '/k'\nmemory.size = '64GiB'\n"), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    ck_assert_str_eq(error.text, "vm.toml:2:15: memory.size: this host's processor addresses 2^36 bytes; make it "
                                 "smaller");
}
END_TEST

START_TEST(tables_of_kvm_fit_the_host)
{
    /* 10 bytes for each page: 20 MiB for 8 GiB. */
    const hvx_host_limits_t limits = {.spaces = 2, .vcpus = 4, .slots = 8, .address_bits = 46, .memory = MIB(40)};
    static const char spaces[] = "boot.kernel = '/k'\nmemory.size = '7GiB'\n[[space]]\nname = 's'\n"
                                 "[[space.range]]\nname = 'x'\nat = 0\nsize = '%s'\n%s";
    char text[512];

    ck_assert_int_eq(plan_of("boot.kernel = '/k'\nmemory.size = '8GiB'\n"), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), 0);
    ck_assert_int_eq(plan_of("boot.kernel = '/k'\nmemory.size = '9GiB'\n"), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    ck_assert_int_eq(error.kind, ERROR_CONFIG);
    ck_assert_str_eq(error.text,
                     "vm.toml:2:15: memory.size: with what else is mapped KVM would need 22 MiB for its own "
                     "tables, which may be half of the host's 40 MiB; make it smaller");

    /* What is mapped once more has tables once more; what nobody may touch has none. */
    (void)snprintf(text, sizeof(text), spaces, "2GiB", "of = 'default'\nfrom = '1MiB'\n");
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    (void)snprintf(text, sizeof(text), spaces, "2GiB", "flags = ''\n");
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), 0);

    (void)snprintf(text, sizeof(text), spaces, "64TiB", "");
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_int_eq(memory_plan_check_host(&plan, &limits, &error), -1);
    ck_assert_str_eq(error.text, "vm.toml:8:8: range.size: with what else is mapped KVM would need 163857 MiB for its "
                                 "own tables, which may be half of the host's 40 MiB; make it smaller");
}
END_TEST

START_TEST(few_tables_cannot_ask_for_millions_of_ranges)
{
    static const char range[] = "[[space.range]]\nname = 'r%u'\nat = %u\nsize = '%uKiB'\n%s";
    enum { OWN = 4096, ALIASES = PLAN_ALIASES_MAX / OWN, SIZE = (OWN + ALIASES + 1) * 128 };
    char *text = malloc(SIZE);
    size_t used = (size_t)snprintf(text, SIZE, "boot.kernel = '/k'\n[[space]]\nname = 'own'\n");

    for (unsigned i = 0; i < OWN; i++)
        used += (size_t)snprintf(text + used, SIZE - used, range, i, i * 4096, 4, "");
    used += (size_t)snprintf(text + used, SIZE - used, "[[space]]\nname = 'alias'\n");
    for (unsigned i = 0; i < ALIASES; i++)
        used += (size_t)snprintf(text + used, SIZE - used, range, i, i * OWN * 4096, OWN * 4, "of = 'own'\n");
    ck_assert_int_eq(plan_of(text), 0);
    ck_assert_uint_eq(plan.spaces[2].count, PLAN_ALIASES_MAX);
    (void)snprintf(text + used, SIZE - used, range, ALIASES, ALIASES * OWN * 4096, 4, "of = 'own'\n");
    assert_refused(text, "vm.toml:16474:6: range.of: \"r16\" has a piece for each range of \"own\" that it shows, and "
                         "all such pieces would be more than 65536; show less, or join ranges of \"own\"");
    free(text);
}
END_TEST

static Suite *suite(void)
{
    Suite *all = suite_create("memory_plan");
    TCase *plans = tcase_create("plans");

    tcase_add_checked_fixture(plans, NULL, teardown);
    tcase_add_test(plans, kernel_has_ram_around_the_holes_and_a_rom);
    tcase_add_test(plans, flat_binary_has_page_tables_where_it_starts_and_needs_them);
    tcase_add_test(plans, alias_shows_each_piece_of_memory_that_it_spans);
    tcase_add_test(plans, overlaps_name_both_owners);
    tcase_add_test(plans, neighbours_do_not_overlap);
    tcase_add_test(plans, host_can_be_asked_too_much);
    tcase_add_test(plans, tables_of_kvm_fit_the_host);
    tcase_add_test(plans, few_tables_cannot_ask_for_millions_of_ranges);
    suite_add_tcase(all, plans);
    return all;
}

int main(void)
{
    return unit_test_run(suite());
}
