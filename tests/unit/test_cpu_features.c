#include "vmm/machine/x86/cpu_features.h"

#include "unit_test.h"

#include <linux/kvm_para.h>
#include <string.h>

struct place {
    const char *name;
    uint32_t leaf;
    uint8_t subleaf;
    enum cpuid_register reg;
    uint32_t mask;
};

/* One of each group, from the manuals. */
static const struct place places[] = {
    {"sse2", 0x1, 0, CPUID_EDX, 1u << 26},
    {"x2apic", 0x1, 0, CPUID_ECX, 1u << 21},
    {"tsc_deadline_timer", 0x1, 0, CPUID_ECX, 1u << 24},
    {"hypervisor", 0x1, 0, CPUID_ECX, 1u << 31},
    {"arat", 0x6, 0, CPUID_EAX, 1u << 2},
    {"aperfmperf", 0x6, 0, CPUID_ECX, 1u << 0},
    {"avx512f", 0x7, 0, CPUID_EBX, 1u << 16},
    {"smap", 0x7, 0, CPUID_EBX, 1u << 20},
    {"la57", 0x7, 0, CPUID_ECX, 1u << 16},
    {"arch_capabilities", 0x7, 0, CPUID_EDX, 1u << 29},
    {"avx_vnni", 0x7, 1, CPUID_EAX, 1u << 4},
    {"avx_vnni_int8", 0x7, 1, CPUID_EDX, 1u << 4},
    {"xsaves", 0xd, 1, CPUID_EAX, 1u << 3},
    {"pdpe1gb", 0x80000001, 0, CPUID_EDX, 1u << 26},
    {"svm", 0x80000001, 0, CPUID_ECX, 1u << 2},
    {"topoext", 0x80000001, 0, CPUID_ECX, 1u << 22},
    {"succor", 0x80000007, 0, CPUID_EBX, 1u << 1},
    {"nonstop_tsc", 0x80000007, 0, CPUID_EDX, 1u << 8},
    {"clzero", 0x80000008, 0, CPUID_EBX, 1u << 0},
    {"sev_es", 0x8000001f, 0, CPUID_EAX, 1u << 3},
    {"autoibrs", 0x80000021, 0, CPUID_EAX, 1u << 8},
    {"perfmon_v2", 0x80000022, 0, CPUID_EAX, 1u << 0},
    {"kvm_pv_eoi", KVM_CPUID_FEATURES, 0, CPUID_EAX, 1u << KVM_FEATURE_PV_EOI},
};

START_TEST(a_name_stands_for_its_bit)
{
    const struct place *place = &places[_i];
    const struct cpu_feature *feature = cpu_feature_find(place->name);

    ck_assert_ptr_nonnull(feature);
    ck_assert_str_eq(feature->name, place->name);
    ck_assert_uint_eq(feature->leaf, place->leaf);
    ck_assert_uint_eq(feature->subleaf, place->subleaf);
    ck_assert_uint_eq(feature->reg, place->reg);
    ck_assert_uint_eq(feature->mask, place->mask);
}
END_TEST

START_TEST(kvmclock_is_both_of_its_bits)
{
    const struct cpu_feature *feature = cpu_feature_find("kvmclock");

    ck_assert_ptr_nonnull(feature);
    ck_assert_uint_eq(feature->mask, 1u << KVM_FEATURE_CLOCKSOURCE | 1u << KVM_FEATURE_CLOCKSOURCE2);
}
END_TEST

START_TEST(names_are_unique_and_whole)
{
    ck_assert_uint_ge(cpu_feature_count(), 200);
    for (size_t i = 0; i < cpu_feature_count(); i++) {
        const struct cpu_feature *feature = cpu_feature_at(i);
        size_t length = strnlen(feature->name, CPU_FEATURE_NAME_SIZE);
        ck_assert_uint_gt(length, 0);
        ck_assert_uint_lt(length, CPU_FEATURE_NAME_SIZE);
        ck_assert_ptr_eq(cpu_feature_find(feature->name), feature);
    }
}
END_TEST

static int same_place(const struct cpu_feature *a, const struct cpu_feature *b)
{
    return a->leaf == b->leaf && a->subleaf == b->subleaf && a->reg == b->reg && (a->mask & b->mask) != 0;
}

START_TEST(no_two_names_share_a_bit_but_the_ones_of_the_invariant_tsc)
{
    const struct cpu_feature *invariant = cpu_feature_find("nonstop_tsc");

    for (size_t i = 0; i < cpu_feature_count(); i++)
        for (size_t j = i + 1; j < cpu_feature_count(); j++) {
            const struct cpu_feature *a = cpu_feature_at(i);
            const struct cpu_feature *b = cpu_feature_at(j);
            ck_assert_msg(!same_place(a, b) || same_place(a, invariant), "%s and %s", a->name, b->name);
        }
}
END_TEST

START_TEST(an_unknown_name_is_not_found)
{
    ck_assert_ptr_null(cpu_feature_find(""));
    ck_assert_ptr_null(cpu_feature_find("avx51"));
    ck_assert_ptr_null(cpu_feature_find("AVX"));
    ck_assert_ptr_null(cpu_feature_find("avx512f "));
}
END_TEST

START_TEST(a_slip_of_the_pen_finds_the_name)
{
    ck_assert_str_eq(cpu_feature_nearest("avx512-f"), "avx512f");
    ck_assert_str_eq(cpu_feature_nearest("kvm_clock"), "kvmclock");
    ck_assert_str_eq(cpu_feature_nearest("tsc-deadline-timer"), "tsc_deadline_timer");
}
END_TEST

START_TEST(a_word_that_is_like_no_name_finds_nothing)
{
    ck_assert_ptr_null(cpu_feature_nearest("philodendron"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu_features");
    TCase *table = tcase_create("table");
    TCase *search = tcase_create("search");

    tcase_add_loop_test(table, a_name_stands_for_its_bit, 0, sizeof(places) / sizeof(places[0]));
    tcase_add_test(table, kvmclock_is_both_of_its_bits);
    tcase_add_test(table, names_are_unique_and_whole);
    tcase_add_test(table, no_two_names_share_a_bit_but_the_ones_of_the_invariant_tsc);
    suite_add_tcase(suite, table);
    tcase_add_test(search, an_unknown_name_is_not_found);
    tcase_add_test(search, a_slip_of_the_pen_finds_the_name);
    tcase_add_test(search, a_word_that_is_like_no_name_finds_nothing);
    suite_add_tcase(suite, search);
    return unit_test_run(suite);
}
