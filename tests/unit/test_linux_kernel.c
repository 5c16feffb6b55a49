/*
 * Kernels in memory, imitations of them, and where they have been moved to.
 */
#include "vmm/debug/linux/kaslr.h"
#include "vmm/debug/linux/kernel.h"

#include "linux_fixture.h"
#include "unit_test.h"

#include <asm/processor-flags.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void expect_found(const struct linux_memory *memory, uint64_t gpa, bool is_certain)
{
    struct linux_kernel kernel;
    struct error error = {0};

    ck_assert_msg(linux_kernel_find(memory, &kernel, &error) == 0, "%s", error.text);
    ck_assert_uint_eq(kernel.info_gpa, gpa);
    ck_assert(kernel.is_certain == is_certain);
    ck_assert_uint_eq(kernel.tables.cr3, FIXTURE_ROOT);
    ck_assert_ptr_eq(kernel.memory, memory);
}

static void expect_none(const struct linux_memory *memory, const char *start)
{
    struct linux_kernel kernel;
    struct error error = {0};

    ck_assert_int_eq(linux_kernel_find(memory, &kernel, &error), -1);
    ck_assert_msg(strncmp(error.text, start, strlen(start)) == 0, "%s", error.text);
}

static const char none[] = "there is no Linux kernel's VMCOREINFO in the guest's memory: it has none before";
static const char none_fits[] = "there is no Linux kernel's VMCOREINFO in the guest's memory that fits";

START_TEST(a_kernel_is_found_wherever_the_vcpu_is)
{
    struct walk_registers registers = fixture_registers();
    const struct linux_memory alone = fixture_memory(NULL), memory = fixture_memory(&registers);

    fixture_make(4, 10);
    expect_found(&alone, FIXTURE_INFO, false);
    expect_found(&memory, FIXTURE_INFO, true);
    /* Paging off, tables that are not there, and tables of something else. */
    registers.cr0 = 0;
    expect_found(&memory, FIXTURE_INFO, false);
    registers = fixture_registers();
    registers.cr3 = UINT64_C(0x123456789000);
    expect_found(&memory, FIXTURE_INFO, false);
    registers.cr3 = 0;
    expect_found(&memory, FIXTURE_INFO, false);
}
END_TEST

/* User code's root maps none of the kernel's data; the kernel's lies before it. */
START_TEST(isolated_tables_lead_to_the_kernels)
{
    struct walk_registers registers = fixture_registers();
    const struct linux_memory memory = fixture_memory(&registers);

    fixture_make(4, 10);
    memcpy(&fixture_bytes[0xc2000], &fixture_bytes[FIXTURE_ROOT], 4096);
    registers.cr3 = 0xc3000 | 0x802;
    expect_found(&memory, FIXTURE_INFO, true);
}
END_TEST

START_TEST(five_levels_are_told_of)
{
    const struct linux_memory memory = fixture_memory(NULL);
    struct linux_kernel kernel;
    struct error error = {0};

    fixture_make(4, 10);
    fixture_put64(0xc0000 + 511 * 8, FIXTURE_ROOT | 3);
    fixture_change_line("SYMBOL(init_top_pgt)", "SYMBOL(init_top_pgt)=ffffffff810c0000");
    fixture_change_line("NUMBER(pgtable_l5_enabled)", "NUMBER(pgtable_l5_enabled)=1");
    ck_assert_msg(linux_kernel_find(&memory, &kernel, &error) == 0, "%s", error.text);
    ck_assert_uint_eq(kernel.tables.cr3, 0xc0000);
    ck_assert_uint_eq(kernel.tables.cr4, X86_CR4_PAE | X86_CR4_LA57);
}
END_TEST

/* What a kernel before init_top_pgt was told of says; and with nothing told, a vCPU's tables serve. */
START_TEST(other_ways_to_the_tables_are_taken)
{
    struct walk_registers registers = fixture_registers();
    const struct linux_memory alone = fixture_memory(NULL), memory = fixture_memory(&registers);

    fixture_make(4, 10);
    fixture_change_line("SYMBOL(init_top_pgt)", "");
    expect_found(&alone, FIXTURE_INFO, false);
    fixture_change_line("SYMBOL(swapper_pg_dir)", "");
    expect_none(&alone, none_fits);
    expect_found(&memory, FIXTURE_INFO, false);
}
END_TEST

struct lie {
    const char *line, *lie;
};

static const struct lie lies[] = {
    {"OSRELEASE=", "OSRELEASE=6.1.0-fixturf"},
    {"OSRELEASE=", "OSRELEASE="},
    {"SYMBOL(init_uts_ns)", ""},
    {"SYMBOL(init_uts_ns)", "SYMBOL(init_uts_ns)=ffffffff81047000"},
    {"SYMBOL(init_uts_ns)", "SYMBOL(init_uts_ns)=8000000000000000"},
    {"SYMBOL(init_uts_ns)", "SYMBOL(init_uts_ns)=ffffffffffffffff"},
    {"OFFSET(uts_namespace.name)", "OFFSET(uts_namespace.name)=18446744073709551615"},
    {"NUMBER(phys_base)", ""},
    {"NUMBER(phys_base)", "NUMBER(phys_base)=0"},
    {"NUMBER(phys_base)", "NUMBER(phys_base)=9223372036854775808"},
    {"SYMBOL(init_top_pgt)", "SYMBOL(init_top_pgt)=ffffffff81001008"},
    {"SYMBOL(init_top_pgt)", "SYMBOL(init_top_pgt)=ffffffff81000000"},
    {"SYMBOL(init_top_pgt)", "SYMBOL(init_top_pgt)=0"},
    {"NUMBER(pgtable_l5_enabled)", "NUMBER(pgtable_l5_enabled)=1"},
};

START_TEST(a_page_that_does_not_fit_the_rest_is_none)
{
    const struct linux_memory memory = fixture_memory(NULL);

    fixture_make(4, 10);
    fixture_change_line(lies[_i].line, lies[_i].lie);
    expect_none(&memory, none_fits);
}
END_TEST

/* The true one is found behind any number of pages that lie, in whichever way. */
START_TEST(imitations_are_told_apart)
{
    struct walk_registers registers = fixture_registers();
    const struct linux_memory alone = fixture_memory(NULL), memory = fixture_memory(&registers);
    uint64_t gpa = 0xa000;

    fixture_make(2, 10);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++, gpa += 4096) {
        fixture_change_line(lies[i].line, lies[i].lie);
        fixture_put_info(gpa);
        fixture_make_info();
    }
    expect_found(&alone, FIXTURE_INFO, false);
    expect_found(&memory, FIXTURE_INFO, true);
    /* One that fits, but for the log. */
    fixture_change_line("SYMBOL(prb)", "SYMBOL(prb)=ffffffff81000000");
    fixture_put_info(0x9000 + 0x1000 * 20);
    fixture_make_info();
    expect_found(&alone, FIXTURE_INFO, false);
    expect_found(&memory, FIXTURE_INFO, true);
}
END_TEST

START_TEST(the_first_of_equals_is_taken)
{
    const struct linux_memory memory = fixture_memory(NULL);

    fixture_make(4, 10);
    fixture_change_line("SYMBOL(prb)", "");
    fixture_put_info(0xf0000);
    expect_found(&memory, FIXTURE_INFO, false);
}
END_TEST

/* An imitation with tables, a name and a log of its own is as good as the kernel's, until a vCPU is asked. */
START_TEST(a_vcpus_tables_decide)
{
    struct walk_registers registers = fixture_registers();
    const struct linux_memory alone = fixture_memory(NULL), memory = fixture_memory(&registers);
    struct linux_kernel kernel;
    struct error error = {0};

    fixture_make(2, 10);
    memcpy(&fixture_bytes[0xc0000], &fixture_bytes[FIXTURE_ROOT], 0x4000);
    fixture_put64(0xc0000 + 511 * 8, 0xc1000 | 7);
    fixture_put64(0xc1000 + 510 * 8, 0xc2000 | 7);
    fixture_put64(0xc2000 + 8 * 8, 0xc3000 | 7);
    memcpy(&fixture_bytes[0xc4000], &fixture_bytes[FIXTURE_UTS], 4096);
    fixture_put64(0xc3000 + 0x46 * 8, 0xc4000 | 7);
    fixture_change_line("SYMBOL(init_top_pgt)", "SYMBOL(init_top_pgt)=ffffffff810c0000");
    fixture_put_info(0x2000 * 8);
    fixture_make_info();

    ck_assert_int_eq(linux_kernel_find(&alone, &kernel, &error), 0);
    ck_assert_uint_eq(kernel.info_gpa, 0x10000);
    expect_found(&memory, FIXTURE_INFO, true);
    /* User code cannot have a vCPU's tables confirm what it has mapped itself. */
    registers.cr3 = 0xc0000;
    ck_assert_int_eq(linux_kernel_find(&memory, &kernel, &error), 0);
    ck_assert(!kernel.is_certain);
}
END_TEST

/* Memory that is one page over and over, for as long as anyone looks. */
static uint64_t looked_at;

static bool read_endless(void *context, uint64_t gpa, void *buffer, size_t size)
{
    (void)context;
    looked_at++;
    memcpy(buffer, &fixture_bytes[FIXTURE_INFO + gpa % 4096], size);
    return true;
}

static bool next_endless(void *context, uint64_t gpa, struct linux_range *ret_range)
{
    (void)context;
    *ret_range = (struct linux_range){0, UINT64_C(1) << 52, NULL};
    return gpa < ret_range->size;
}

START_TEST(the_search_ends)
{
    const struct linux_memory memory = {.read = read_endless, .next_range = next_endless};

    fixture_make(4, 10);
    expect_none(&memory, "32768 pages of the guest imitate VMCOREINFO; none of these is a kernel's");
    ck_assert_uint_lt(looked_at, 32768 * 10);
}
END_TEST

START_TEST(nothing_is_found_where_nothing_is)
{
    const struct linux_memory memory = fixture_memory(NULL);

    memset(fixture_bytes, 0, sizeof(fixture_bytes));
    expect_none(&memory, none);
    /* Only pages' first bytes count. */
    fixture_make(4, 10);
    memmove(&fixture_bytes[FIXTURE_INFO + 16], &fixture_bytes[FIXTURE_INFO], 2048);
    memset(&fixture_bytes[FIXTURE_INFO], 0, 16);
    expect_none(&memory, none);
}
END_TEST

START_TEST(memory_is_read_across_pages_as_mapped)
{
    const struct linux_memory memory = fixture_memory(NULL);
    struct linux_kernel kernel;
    struct error error = {0};
    uint8_t bytes[8200];

    fixture_make(4, 10);
    ck_assert_int_eq(linux_kernel_find(&memory, &kernel, &error), 0);
    /* Linear pages 0xf0, 0xf1, 0xf2 are physical 0xf2, 0xf0, 0xf3. */
    fixture_put64(FIXTURE_PT + 0xf0 * 8, 0xf2003);
    fixture_put64(FIXTURE_PT + 0xf1 * 8, 0xf0003);
    fixture_put64(FIXTURE_PT + 0xf2 * 8, 0xf3003);
    for (uint64_t page = 0xf0; page < 0xf4; page++)
        memset(&fixture_bytes[page * 4096], (int)page, 4096);
    ck_assert(linux_kernel_read(&kernel, FIXTURE_LINEAR + 0xf0ffe, bytes, 4100));
    ck_assert_uint_eq(bytes[1], 0xf2);
    ck_assert_uint_eq(bytes[2], 0xf0);
    ck_assert_uint_eq(bytes[4097], 0xf0);
    ck_assert_uint_eq(bytes[4098], 0xf3);
    fixture_put64(FIXTURE_PT + 0xf2 * 8, 0);
    ck_assert(!linux_kernel_read(&kernel, FIXTURE_LINEAR + 0xf0ffe, bytes, 4099));
    ck_assert(linux_kernel_read(&kernel, FIXTURE_LINEAR + 0xf0ffe, bytes, 4098));
    ck_assert(!linux_kernel_read(&kernel, UINT64_MAX, bytes, 2));
}
END_TEST

static void expect_kaslr(const struct linux_memory *memory, const char *expected)
{
    struct fixture_text text;
    const struct debug_output output = fixture_output(&text);
    struct kaslr kaslr;
    struct error error = {0};

    ck_assert_msg(kaslr_find(memory, &kaslr, &error) == 0, "%s", error.text);
    kaslr_print(&kaslr, &output);
    ck_assert_str_eq(text.bytes, expected);
    free(text.bytes);
}

static void expect_no_kaslr(const struct linux_memory *memory, const char *part)
{
    struct kaslr kaslr;
    struct error error = {0};

    ck_assert_int_eq(kaslr_find(memory, &kaslr, &error), -1);
    ck_assert_msg(strstr(error.text, part) != NULL, "%s", error.text);
}

START_TEST(the_kernel_says_where_it_is)
{
    const struct linux_memory memory = fixture_memory(NULL);

    fixture_make(4, 10);
    expect_kaslr(&memory, "Linux 6.1.0-fixture, build ID 0123456789abcdef0123456789abcdef01234567\n"
                          "KASLR offset 0x1c000000\n"
                          "In gdb, with the vmlinux that has this build ID (readelf -n vmlinux):\n"
                          "    symbol-file -o 0x1c000000 vmlinux\n"
                          "or, to keep the symbols that are loaded,\n"
                          "    add-symbol-file vmlinux -o 0x1c000000\n");
    fixture_change_line("BUILD-ID=", "");
    expect_kaslr(&memory, "Linux 6.1.0-fixture, build ID unknown\n"
                          "KASLR offset 0x1c000000\n"
                          "In gdb, with the vmlinux that the guest runs:\n"
                          "    symbol-file -o 0x1c000000 vmlinux\n"
                          "or, to keep the symbols that are loaded,\n"
                          "    add-symbol-file vmlinux -o 0x1c000000\n");
    fixture_change_line("KERNELOFFSET", "KERNELOFFSET=40000000");
    expect_no_kaslr(&memory, "no KERNELOFFSET");
    fixture_change_line("KERNELOFFSET", "");
    expect_no_kaslr(&memory, "no KERNELOFFSET");
    memset(&fixture_bytes[FIXTURE_INFO], 0, 4096);
    expect_no_kaslr(&memory, "no Linux kernel's VMCOREINFO");
}
END_TEST

START_TEST(before_that_the_vcpus_tables_do)
{
    struct walk_registers registers = fixture_registers();
    const struct linux_memory memory = fixture_memory(&registers);
    struct kaslr kaslr;
    struct error error = {0};

    fixture_make(4, 10);
    memset(&fixture_bytes[FIXTURE_INFO], 0, 4096);
    expect_kaslr(&memory,
                 "The kernel does not say it (yet): from the first page that it has mapped, if it was linked to "
                 "the usual address,\n"
                 "KASLR offset 0x0\n"
                 "In gdb, with the vmlinux that the guest runs:\n"
                 "    symbol-file -o 0x0 vmlinux\n"
                 "or, to keep the symbols that are loaded,\n"
                 "    add-symbol-file vmlinux -o 0x0\n");
    fixture_put64(FIXTURE_PD + 8 * 8, 0);
    fixture_put64(FIXTURE_PD + 100 * 8, 0x83);
    ck_assert_int_eq(kaslr_find(&memory, &kaslr, &error), 0);
    ck_assert_uint_eq(kaslr.offset, 92 * 0x200000);
    ck_assert(!kaslr.is_said);
    /* User code's, not to be executed, below the least address, nothing, and no paging. */
    fixture_put64(FIXTURE_PD + 100 * 8, UINT64_C(0x8000000000000083));
    expect_no_kaslr(&memory, "map no kernel text");
    fixture_put64(FIXTURE_PD + 100 * 8, 0);
    fixture_put64(FIXTURE_PD + 7 * 8, 0x83);
    expect_no_kaslr(&memory, "map no kernel text");
    fixture_put64(FIXTURE_PD + 7 * 8, 0);
    expect_no_kaslr(&memory, "map no kernel text");
    registers.cr0 = 0;
    expect_no_kaslr(&memory, "map no kernel text");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("linux_kernel");
    TCase *cases = tcase_create("all");

    tcase_add_test(cases, a_kernel_is_found_wherever_the_vcpu_is);
    tcase_add_test(cases, isolated_tables_lead_to_the_kernels);
    tcase_add_test(cases, five_levels_are_told_of);
    tcase_add_test(cases, other_ways_to_the_tables_are_taken);
    tcase_add_loop_test(cases, a_page_that_does_not_fit_the_rest_is_none, 0, sizeof(lies) / sizeof(lies[0]));
    tcase_add_test(cases, imitations_are_told_apart);
    tcase_add_test(cases, the_first_of_equals_is_taken);
    tcase_add_test(cases, a_vcpus_tables_decide);
    tcase_add_test(cases, the_search_ends);
    tcase_add_test(cases, nothing_is_found_where_nothing_is);
    tcase_add_test(cases, memory_is_read_across_pages_as_mapped);
    tcase_add_test(cases, the_kernel_says_where_it_is);
    tcase_add_test(cases, before_that_the_vcpus_tables_do);
    suite_add_tcase(suite, cases);
    return unit_test_run(suite);
}
