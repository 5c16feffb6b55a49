/*
 * Page tables made by hand, for each way of paging.
 */
#include "vmm/debug/x86/walk.h"

#include "unit_test.h"

#include <asm/processor-flags.h>
#include <string.h>

static const uint64_t LMA = 1u << 10;
static const uint64_t NX = UINT64_C(1) << 63;
/* Present, write, user. */
static const uint64_t P = 1;
static const uint64_t PW = 3;
static const uint64_t PU = 5;
static const uint64_t PWU = 7;
static const uint64_t PS = 0x80;

/* 64 KiB of memory from here on, and nothing else. */
enum { MEMORY_GPA = 0x10000, MEMORY_SIZE = 0x10000 };
enum { T5 = 0x10000, T4 = 0x11000, T3 = 0x12000, T2 = 0x13000, T1 = 0x14000 };

static uint8_t memory[MEMORY_SIZE];
static unsigned reads;

static bool read_memory(void *context, uint64_t gpa, void *buffer, size_t size)
{
    ck_assert_ptr_eq(context, memory);
    reads++;
    if (gpa < MEMORY_GPA || gpa - MEMORY_GPA > MEMORY_SIZE - size)
        return false;
    memcpy(buffer, &memory[gpa - MEMORY_GPA], size);
    return true;
}

static void put64(uint64_t table, unsigned index, uint64_t entry)
{
    memcpy(&memory[table - MEMORY_GPA + index * 8], &entry, sizeof(entry));
}

static void put32(uint64_t table, unsigned index, uint32_t entry)
{
    memcpy(&memory[table - MEMORY_GPA + index * 4], &entry, sizeof(entry));
}

/* PCID and the no-flush bit's kin are no part of the root's address. */
static const struct walk_registers long5 = {X86_CR0_PG | X86_CR0_WP, T5 | 0x123, X86_CR4_PAE | X86_CR4_LA57,
                                            1u << 10 | 1u << 11};
static const struct walk_registers long4 = {X86_CR0_PG | X86_CR0_WP, T4 | 0xfff, X86_CR4_PAE, 1u << 10 | 1u << 11};
static const struct walk_registers pae = {X86_CR0_PG | X86_CR0_WP, T3 | 0x20 | 0x18, X86_CR4_PAE, 1u << 11};
static const struct walk_registers pse = {X86_CR0_PG | X86_CR0_WP, T2 | 0x18, X86_CR4_PSE, 0};
static const struct walk_registers two = {X86_CR0_PG | X86_CR0_WP, T2, 0, 0};

static const uint64_t linear5 = UINT64_C(0xffff123456789abc);
static const uint64_t linear4 = UINT64_C(0xffff923456789abc);

static unsigned part(uint64_t linear, unsigned shift)
{
    return (unsigned)(linear >> shift & 0x1ff);
}

/* Tables for 5 and 4 levels, all rights. */
static void make_tables(uint64_t linear)
{
    memset(memory, 0, sizeof(memory));
    put64(T5, part(linear, 48), T4 | PWU);
    put64(T4, part(linear, 39), T3 | PWU);
    put64(T3, part(linear, 30), T2 | PWU);
    put64(T2, part(linear, 21), T1 | PWU);
    put64(T1, part(linear, 12), UINT64_C(0x000edcba98765000) | PWU);
}

static struct walk walk_of(const struct walk_registers *registers, uint64_t linear)
{
    struct walk walk;

    reads = 0;
    walk_address(registers, read_memory, memory, linear, &walk);
    ck_assert_uint_le(reads, WALK_MAX_LEVELS);
    ck_assert_uint_eq(reads, walk.level_count);
    ck_assert(walk.is_mapped == (walk.problem == NULL));
    return walk;
}

static void expect_page(const struct walk *walk, uint64_t gpa, uint64_t size, unsigned levels)
{
    ck_assert_msg(walk->is_mapped, "%s", walk->problem);
    ck_assert_uint_eq(walk->gpa, gpa);
    ck_assert_uint_eq(walk->page_size, size);
    ck_assert_uint_eq(walk->level_count, levels);
}

static void expect_problem(const struct walk *walk, const char *problem, unsigned levels)
{
    ck_assert(!walk->is_mapped);
    ck_assert_str_eq(walk->problem, problem);
    ck_assert_uint_eq(walk->level_count, levels);
    ck_assert(!walk->is_writable && !walk->is_user && !walk->is_executable);
}

START_TEST(without_paging_addresses_are_physical)
{
    const struct walk_registers registers = {.cr3 = T4, .cr4 = X86_CR4_PAE};
    struct walk walk = walk_of(&registers, 0xfedcba98);

    expect_page(&walk, 0xfedcba98, 4096, 0);
    ck_assert(walk.is_writable && walk.is_executable && walk.is_user);
    walk = walk_of(&registers, UINT64_C(0x100000000));
    expect_problem(&walk, "outside of 64-bit mode addresses end at 4 GiB", 0);
}
END_TEST

START_TEST(five_and_four_levels_lead_to_small_pages)
{
    make_tables(linear5);
    struct walk walk = walk_of(&long5, linear5);
    static const char *const names[] = {"PML5", "PML4", "PDPT", "PD", "PT"};

    expect_page(&walk, UINT64_C(0x000edcba98765abc), 4096, 5);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_str_eq(walk.levels[i].name, names[i]);
        ck_assert(walk.levels[i].readable);
        ck_assert_uint_eq(walk.levels[i].entry_size, 8);
    }
    ck_assert_uint_eq(walk.levels[0].entry_gpa, T5 + part(linear5, 48) * 8);
    ck_assert_uint_eq(walk.levels[4].entry_gpa, T1 + part(linear5, 12) * 8);
    ck_assert_uint_eq(walk.levels[3].entry, T1 | PWU);

    make_tables(linear4);
    walk = walk_of(&long4, linear4);
    expect_page(&walk, UINT64_C(0x000edcba98765abc), 4096, 4);
    ck_assert_str_eq(walk.levels[0].name, "PML4");
}
END_TEST

START_TEST(large_pages_keep_more_of_the_address)
{
    make_tables(linear4);
    put64(T2, part(linear4, 21), UINT64_C(0x7ffffe01000) | PS | PWU); /* bit 12 is the PAT's */
    struct walk walk = walk_of(&long4, linear4);
    expect_page(&walk, UINT64_C(0x7ffffe00000) | (linear4 & 0x1fffff), 1u << 21, 3);
    put64(T3, part(linear4, 30), UINT64_C(0x7ffc0001000) | PS | PWU);
    walk = walk_of(&long4, linear4);
    expect_page(&walk, UINT64_C(0x7ffc0000000) | (linear4 & 0x3fffffff), 1u << 30, 2);

    make_tables(linear5);
    put64(T3, part(linear5, 30), UINT64_C(0x7ffc0000000) | PS | PWU);
    walk = walk_of(&long5, linear5);
    expect_page(&walk, UINT64_C(0x7ffc0000000) | (linear5 & 0x3fffffff), 1u << 30, 3);
}
END_TEST

START_TEST(a_root_is_no_page)
{
    make_tables(linear5);
    put64(T4, part(linear5, 39), T3 | PS | PWU);
    struct walk walk = walk_of(&long5, linear5);
    expect_problem(&walk, "its PML4 entry has the reserved bit 7 set", 2);
    put64(T5, part(linear5, 48), T4 | PS | PWU);
    walk = walk_of(&long5, linear5);
    expect_problem(&walk, "its PML5 entry has the reserved bit 7 set", 1);
}
END_TEST

START_TEST(each_level_can_be_absent)
{
    static const uint64_t tables[] = {T5, T4, T3, T2, T1};
    static const char *const problems[] = {"its PML5 entry is not present", "its PML4 entry is not present",
                                           "its PDPT entry is not present", "its PD entry is not present",
                                           "its PT entry is not present"};

    make_tables(linear5);
    put64(tables[_i], part(linear5, 48 - (unsigned)_i * 9), UINT64_C(0xfffffffffffffffe));
    struct walk walk = walk_of(&long5, linear5);
    expect_problem(&walk, problems[_i], (unsigned)_i + 1);
    ck_assert(walk.levels[_i].readable);
    ck_assert_uint_eq(walk.levels[_i].entry, UINT64_C(0xfffffffffffffffe));
}
END_TEST

START_TEST(each_table_can_lie_outside_of_memory)
{
    static const uint64_t tables[] = {T5, T4, T3, T2};
    static const char *const problems[] = {
        "its PML4 entry lies where there is no memory", "its PDPT entry lies where there is no memory",
        "its PD entry lies where there is no memory", "its PT entry lies where there is no memory"};

    make_tables(linear5);
    put64(tables[_i], part(linear5, 48 - (unsigned)_i * 9), UINT64_C(0x000ffffffffff000) | PWU);
    struct walk walk = walk_of(&long5, linear5);
    expect_problem(&walk, problems[_i], (unsigned)_i + 2);
    ck_assert(!walk.levels[_i + 1].readable);
    ck_assert_uint_eq(walk.levels[_i + 1].entry, 0);
}
END_TEST

START_TEST(a_root_can_lie_outside_of_memory)
{
    struct walk_registers registers = long4;

    registers.cr3 = UINT64_MAX;
    struct walk walk = walk_of(&registers, linear4);
    expect_problem(&walk, "its PML4 entry lies where there is no memory", 1);
}
END_TEST

START_TEST(addresses_are_canonical)
{
    make_tables(linear5);
    /* Fine for 5 levels, not for 4. */
    struct walk walk = walk_of(&long4, linear5);
    expect_problem(&walk, "it is not canonical", 0);
    walk = walk_of(&long4, UINT64_C(0x0000800000000000));
    expect_problem(&walk, "it is not canonical", 0);
    walk = walk_of(&long4, UINT64_C(0xffff7fffffffffff));
    expect_problem(&walk, "it is not canonical", 0);
    walk = walk_of(&long4, UINT64_C(0x00007fffffffffff));
    expect_problem(&walk, "its PML4 entry is not present", 1);
    walk = walk_of(&long4, UINT64_C(0xffff800000000000));
    expect_problem(&walk, "its PML4 entry is not present", 1);
    walk = walk_of(&long5, UINT64_C(0x0100000000000000));
    expect_problem(&walk, "it is not canonical", 0);
    walk = walk_of(&long5, UINT64_C(0xfeffffffffffffff));
    expect_problem(&walk, "it is not canonical", 0);
    walk = walk_of(&long5, UINT64_C(0x00ffffffffffffff));
    expect_problem(&walk, "its PML5 entry is not present", 1);
}
END_TEST

/* Rights are those that all levels give. */
START_TEST(rights_accumulate)
{
    static const uint64_t tables[] = {T4, T3, T2, T1};
    struct walk_registers registers = long4;
    uint64_t entry;

    make_tables(linear4);
    struct walk walk = walk_of(&registers, linear4);
    ck_assert(walk.is_writable && walk.is_user && walk.is_executable);

    const unsigned index = part(linear4, 39 - (unsigned)_i * 9);
    memcpy(&entry, &memory[tables[_i] - MEMORY_GPA + index * 8], sizeof(entry));
    put64(tables[_i], index, (entry & ~PWU) | PU);
    walk = walk_of(&registers, linear4);
    ck_assert(walk.is_mapped && !walk.is_writable && walk.is_user && walk.is_executable);
    registers.cr0 &= ~X86_CR0_WP;
    walk = walk_of(&registers, linear4);
    ck_assert(walk.is_writable);

    registers = long4;
    put64(tables[_i], index, (entry & ~PWU) | PW);
    walk = walk_of(&registers, linear4);
    ck_assert(walk.is_writable && !walk.is_user && walk.is_executable);

    put64(tables[_i], index, entry | NX);
    walk = walk_of(&registers, linear4);
    ck_assert(walk.is_writable && walk.is_user && !walk.is_executable);
    expect_page(&walk, UINT64_C(0x000edcba98765abc), 4096, 4);
    /* Without EFER.NXE the bit says nothing. */
    registers.efer = LMA;
    walk = walk_of(&registers, linear4);
    ck_assert(walk.is_executable);
}
END_TEST

START_TEST(pae_has_four_roots_without_rights)
{
    memset(memory, 0, sizeof(memory));
    /* CR3 selects 32 bytes: the second group of four. */
    put64(T3 | 0x20, 3, T2 | P);
    put64(T2, 0x1ff, T1 | PWU);
    put64(T1, 0x1fe, UINT64_C(0xf12345000) | PWU | NX);
    struct walk walk = walk_of(&pae, 0xffffeabc);
    expect_page(&walk, UINT64_C(0xf12345abc), 4096, 3);
    ck_assert(walk.is_writable && walk.is_user && !walk.is_executable);
    ck_assert_str_eq(walk.levels[0].name, "PDPT");
    ck_assert_uint_eq(walk.levels[0].entry_gpa, (T3 | 0x20) + 24);

    put64(T2, 0x1ff, UINT64_C(0xabcde0000000) | PS | PW);
    walk = walk_of(&pae, 0xffffeabc);
    expect_page(&walk, UINT64_C(0xabcde0000000) | 0x1feabc, 1u << 21, 2);
    ck_assert(!walk.is_user);

    walk = walk_of(&pae, 0x3fffffff);
    expect_problem(&walk, "its PDPT entry is not present", 1);
    walk = walk_of(&pae, UINT64_C(0xffffffffffffeabc));
    expect_problem(&walk, "outside of 64-bit mode addresses end at 4 GiB", 0);
    /* No page of 1 GiB. */
    put64(T3 | 0x20, 3, T2 | PS | P);
    walk = walk_of(&pae, 0xffffeabc);
    expect_problem(&walk, "its PDPT entry has the reserved bit 7 set", 1);
}
END_TEST

START_TEST(two_levels_have_narrow_entries)
{
    memset(memory, 0, sizeof(memory));
    put32(T2, 0x3ff, T1 | (uint32_t)PWU);
    put32(T2, 0x3fe, T1 | (uint32_t)PS | (uint32_t)PW);
    put32(T1, 0x3fe, 0xfedcb000 | (uint32_t)PU);
    struct walk walk = walk_of(&two, 0xffffeabc);
    expect_page(&walk, 0xfedcbabc, 4096, 2);
    ck_assert(!walk.is_writable && walk.is_user && walk.is_executable);
    ck_assert_uint_eq(walk.levels[0].entry_size, 4);
    ck_assert_uint_eq(walk.levels[1].entry_gpa, T1 + 0x3fe * 4);
    ck_assert_uint_eq(walk.levels[1].entry, 0xfedcb005);
    /* Without CR4.PSE the bit for a large page is ignored. */
    walk = walk_of(&two, 0xffbfeabc);
    expect_page(&walk, 0xfedcbabc, 4096, 2);
    walk = walk_of(&two, 0x00000000);
    expect_problem(&walk, "its PD entry is not present", 1);
    walk = walk_of(&two, 0xfffff000);
    expect_problem(&walk, "its PT entry is not present", 2);
    walk = walk_of(&two, UINT64_C(0x1ffffeabc));
    expect_problem(&walk, "outside of 64-bit mode addresses end at 4 GiB", 0);
}
END_TEST

START_TEST(pse36_pages_lie_beyond_4_gib)
{
    memset(memory, 0, sizeof(memory));
    put32(T2, 0x300, 0xc0000000 | (uint32_t)PS | (uint32_t)PW);
    put32(T2, 0x301, 0x12400000 | 0xa5u << 13 | (uint32_t)PS | (uint32_t)PW);
    struct walk walk = walk_of(&pse, 0xc0345678);
    expect_page(&walk, 0xc0345678, 1u << 22, 1);
    ck_assert(walk.is_writable && !walk.is_user && walk.is_executable);
    walk = walk_of(&pse, 0xc0745678);
    expect_page(&walk, UINT64_C(0xa512745678), 1u << 22, 1);
}
END_TEST

/* As Windows and old kernels have it on purpose, and a hostile one anyhow. */
START_TEST(tables_may_be_their_own)
{
    memset(memory, 0, sizeof(memory));
    for (unsigned i = 0; i < 512; i++)
        put64(T4, i, T4 | PWU);
    struct walk walk = walk_of(&long4, linear4);
    expect_page(&walk, T4 | 0xabc, 4096, 4);

    for (unsigned i = 0; i < 1024; i++)
        put32(T2, i, T2 | (uint32_t)PWU);
    walk = walk_of(&two, 0x12345678);
    expect_page(&walk, T2 | 0x678, 4096, 2);
}
END_TEST

struct text {
    char bytes[2048];
    size_t size;
};

static void append(void *context, const char *bytes, size_t size)
{
    struct text *text = context;

    ck_assert_uint_lt(size, sizeof(text->bytes) - text->size);
    memcpy(&text->bytes[text->size], bytes, size);
    text->size += size;
    text->bytes[text->size] = '\0';
}

static void expect_text(const struct walk_registers *registers, uint64_t linear, const char *expected)
{
    struct text text = {0};
    const struct debug_output output = {append, &text};
    struct walk walk = walk_of(registers, linear);

    walk_print(&walk, linear, &output);
    ck_assert_str_eq(text.bytes, expected);
}

START_TEST(a_walk_is_printed_level_by_level)
{
    make_tables(linear4);
    put64(T2, part(linear4, 21), UINT64_C(0x1ffffe00000) | PS | P | NX | 0x160);
    expect_text(&long4, linear4,
                "linear   0xffff923456789abc\n"
                "PML4     at 0x11920: 0x0000000000012007 write user\n"
                "PDPT     at 0x12688: 0x0000000000013007 write user\n"
                "PD       at 0x13598: 0x800001ffffe001e1 accessed dirty global no-execute\n"
                "physical 0x1fffff89abc, in a page of 2 MiB: read-only, no code, for the kernel alone\n");
    put64(T3, part(linear4, 30), UINT64_C(0x7ffffffff000) | PWU);
    expect_text(&long4, linear4,
                "linear   0xffff923456789abc\n"
                "PML4     at 0x11920: 0x0000000000012007 write user\n"
                "PDPT     at 0x12688: 0x00007ffffffff007 write user\n"
                "PD       at 0x7ffffffff598: no memory there\n"
                "not mapped: its PD entry lies where there is no memory\n");
    put32(T2, 0x300, 0x1000);
    expect_text(&pse, 0xc0345678,
                "linear   0xc0345678\n"
                "PD       at 0x13c00: 0x00001000 not present\n"
                "not mapped: its PD entry is not present\n");
    const struct walk_registers none = {0};
    expect_text(&none, 0xfff0,
                "linear   0xfff0\n"
                "physical 0xfff0, without paging\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("walk");
    TCase *cases = tcase_create("all");

    tcase_add_test(cases, without_paging_addresses_are_physical);
    tcase_add_test(cases, five_and_four_levels_lead_to_small_pages);
    tcase_add_test(cases, large_pages_keep_more_of_the_address);
    tcase_add_test(cases, a_root_is_no_page);
    tcase_add_loop_test(cases, each_level_can_be_absent, 0, 5);
    tcase_add_loop_test(cases, each_table_can_lie_outside_of_memory, 0, 4);
    tcase_add_test(cases, a_root_can_lie_outside_of_memory);
    tcase_add_test(cases, addresses_are_canonical);
    tcase_add_loop_test(cases, rights_accumulate, 0, 4);
    tcase_add_test(cases, pae_has_four_roots_without_rights);
    tcase_add_test(cases, two_levels_have_narrow_entries);
    tcase_add_test(cases, pse36_pages_lie_beyond_4_gib);
    tcase_add_test(cases, tables_may_be_their_own);
    tcase_add_test(cases, a_walk_is_printed_level_by_level);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
