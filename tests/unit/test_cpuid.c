#include "vmm/machine/x86/cpuid.h"

#include "unit_test.h"

#include <fcntl.h>
#include <linux/kvm_para.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static struct kvm_cpuid2 *make_table(const struct kvm_cpuid_entry2 *entries, uint32_t count)
{
    struct kvm_cpuid2 *table = calloc(1, sizeof(*table) + count * sizeof(*entries));

    ck_assert_ptr_nonnull(table);
    table->nent = count;
    memcpy(table->entries, entries, count * sizeof(*entries));
    return table;
}

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

/* As KVM reports a server of Intel's: 56 cores of two threads, three levels of cache, and remains of the host's ids. */
static struct kvm_cpuid2 *intel_host(void)
{
    static const struct kvm_cpuid_entry2 entries[] = {
        {.function = 0x0, .eax = 0x1f, .ebx = 0x756e6547, .edx = 0x49656e69, .ecx = 0x6c65746e},
        {.function = 0x1, .eax = 0x806f8, .ebx = 0x37700800, .ecx = 0x76da32ab, .edx = 0x1f8bfbff},
        {.function = 0x4, .index = 0, .flags = INDEXED, .eax = 0xfc004121, .ebx = 0x2c0003f, .ecx = 0x3f},
        {.function = 0x4, .index = 1, .flags = INDEXED, .eax = 0xfc004122, .ebx = 0x1c0003f, .ecx = 0x3f},
        {.function = 0x4, .index = 2, .flags = INDEXED, .eax = 0xfc004143, .ebx = 0x3c0003f, .ecx = 0x7ff},
        {.function = 0x4, .index = 3, .flags = INDEXED, .eax = 0xfc1fc163, .ebx = 0x380003f, .ecx = 0x1bfff},
        {.function = 0x4, .index = 4, .flags = INDEXED},
        {.function = 0x7, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 0xf1bf07af, .ecx = 0x5b415f6e},
        {.function = 0x7, .index = 1, .flags = INDEXED, .eax = 0x30},
        {.function = 0xa, .eax = 0x8300802, .edx = 0x603},
        {.function = 0xb, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 0x77},
        {.function = 0xb, .index = 1, .flags = INDEXED, .eax = 7, .ebx = 0x70, .ecx = 0x201, .edx = 0x77},
        {.function = 0x12, .index = 0, .flags = INDEXED, .eax = 0x403},
        {.function = 0x1f, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 0x77},
        {.function = 0x80000000, .eax = 0x80000008},
        {.function = 0x80000001, .ecx = 0x121, .edx = 0x2c100800},
        {.function = 0x80000008, .eax = 0x3034, .ecx = 0},
        {.function = KVM_CPUID_SIGNATURE, .eax = KVM_CPUID_FEATURES, .ebx = 0x4b4d564b},
        {.function = KVM_CPUID_FEATURES, .eax = 0x01007efb},
    };

    return make_table(entries, sizeof(entries) / sizeof(entries[0]));
}

/* A server of AMD's: 64 cores, nested paging of fewer bits than the processor's. */
static struct kvm_cpuid2 *amd_host(void)
{
    static const struct kvm_cpuid_entry2 entries[] = {
        {.function = 0x0, .eax = 0x10, .ebx = 0x68747541, .edx = 0x69746e65, .ecx = 0x444d4163},
        {.function = 0x1, .eax = 0xa20f10, .ebx = 0x21800800, .ecx = 0x76f8320b, .edx = 0x178bfbff},
        {.function = 0x7, .index = 0, .flags = INDEXED, .ebx = 0x219c97a9},
        {.function = 0xb, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 0x21},
        {.function = 0x80000000, .eax = 0x80000026},
        {.function = 0x80000001, .ecx = 0x004003f7, .edx = 0x2fd3fbff},
        {.function = 0x80000008, .eax = 0x00303034, .ebx = 0x111ed205, .ecx = 0x0002707f},
        {.function = 0x8000000a, .eax = 1, .ebx = 8, .edx = 0x1bcff},
        {.function = 0x8000001d, .index = 0, .flags = INDEXED, .eax = 0x4121, .ebx = 0x1c0003f, .ecx = 0x3f},
        {.function = 0x8000001d, .index = 1, .flags = INDEXED, .eax = 0x4122, .ebx = 0x1c0003f, .ecx = 0x3f},
        {.function = 0x8000001d, .index = 2, .flags = INDEXED, .eax = 0x4143, .ebx = 0x1c0003f, .ecx = 0x3ff},
        {.function = 0x8000001d, .index = 3, .flags = INDEXED, .eax = 0x3c163, .ebx = 0x3c0003f, .ecx = 0x7fff},
        {.function = 0x8000001d, .index = 4, .flags = INDEXED},
        {.function = 0x8000001e, .eax = 0x21, .ebx = 0x110, .ecx = 0x301},
        {.function = 0x80000026, .index = 0, .flags = INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 0x21},
        {.function = KVM_CPUID_SIGNATURE, .eax = KVM_CPUID_FEATURES, .ebx = 0x4b4d564b},
        {.function = KVM_CPUID_FEATURES, .eax = 0x01007efb},
    };

    return make_table(entries, sizeof(entries) / sizeof(entries[0]));
}

typedef struct kvm_cpuid2 *host_maker(void);
static host_maker *const hosts[] = {intel_host, amd_host};
enum { HOST_COUNT = sizeof(hosts) / sizeof(hosts[0]) };

static const uint32_t cpu_counts[] = {1, 2, 4, 240};
static const uint32_t id_bits[] = {0, 1, 2, 8};
enum { CPU_COUNT_COUNT = sizeof(cpu_counts) / sizeof(cpu_counts[0]) };

static struct kvm_cpuid2 *build_with(host_maker *host, const struct cpuid_options *options, uint32_t index)
{
    struct kvm_cpuid2 *supported = host();
    struct kvm_cpuid2 *table = NULL;
    struct error error;

    ck_assert_int_eq(cpuid_build(supported, options, index, &table, &error), 0);
    ck_assert_ptr_nonnull(table);
    free(supported);
    return table;
}

static struct kvm_cpuid2 *build(host_maker *host, uint32_t cpu_count, uint32_t index)
{
    const struct cpuid_options options = {.cpu_count = cpu_count, .has_tsc_deadline = true};

    return build_with(host, &options, index);
}

/* What the guest's CPUID would find: all zeros where there is nothing. */
static struct kvm_cpuid_entry2 look(const struct kvm_cpuid2 *table, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < table->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &table->entries[i];
        if (entry->function == leaf && ((entry->flags & INDEXED) == 0 || entry->index == subleaf))
            return *entry;
    }
    return (struct kvm_cpuid_entry2){0};
}

static bool has(const struct kvm_cpuid2 *table, const char *name)
{
    const struct cpu_feature *feature = cpu_feature_find(name);

    ck_assert_msg(feature != NULL, "%s", name);
    return cpuid_has_feature(table, feature);
}

START_TEST(leaf_1_has_the_vcpus_id_and_the_machines_count)
{
    const uint32_t cpu_count = cpu_counts[_i];

    for (unsigned host = 0; host < HOST_COUNT; host++) {
        struct kvm_cpuid2 *table = build(hosts[host], cpu_count, cpu_count - 1);
        const struct kvm_cpuid_entry2 leaf = look(table, 0x1, 0);
        ck_assert_uint_eq(leaf.ebx >> 24, cpu_count - 1);
        ck_assert_uint_eq((leaf.ebx >> 16) & 0xff, cpu_count);
        /* The size of a cache line is the host's. */
        ck_assert_uint_eq(leaf.ebx & 0xffff, 0x0800);
        ck_assert_int_eq(has(table, "ht"), cpu_count > 1);
        free(table);
    }
}
END_TEST

static void expect_topology(const struct kvm_cpuid2 *table, uint32_t leaf, uint32_t cpu_count, uint32_t bits)
{
    const struct kvm_cpuid_entry2 smt = look(table, leaf, 0);
    const struct kvm_cpuid_entry2 core = look(table, leaf, 1);
    const struct kvm_cpuid_entry2 end = look(table, leaf, 2);

    ck_assert_uint_eq(smt.eax, 0);
    ck_assert_uint_eq(smt.ebx, 1);
    ck_assert_uint_eq(smt.ecx, 0x100);
    ck_assert_uint_eq(smt.edx, cpu_count - 1);
    ck_assert_uint_eq(core.eax, bits);
    ck_assert_uint_eq(core.ebx, cpu_count);
    ck_assert_uint_eq(core.ecx, 0x201);
    ck_assert_uint_eq(core.edx, cpu_count - 1);
    ck_assert_uint_eq(end.eax, 0);
    ck_assert_uint_eq(end.ebx, 0);
    ck_assert_uint_eq(end.ecx, 2);
    ck_assert_uint_eq(end.edx, cpu_count - 1);
}

START_TEST(topology_is_one_package_of_cores_of_one_thread)
{
    const uint32_t cpu_count = cpu_counts[_i];

    struct kvm_cpuid2 *table = build(intel_host, cpu_count, cpu_count - 1);
    expect_topology(table, 0xb, cpu_count, id_bits[_i]);
    expect_topology(table, 0x1f, cpu_count, id_bits[_i]);
    free(table);
    table = build(amd_host, cpu_count, cpu_count - 1);
    expect_topology(table, 0xb, cpu_count, id_bits[_i]);
    free(table);
}
END_TEST

START_TEST(no_topology_leaf_lies_past_the_last_one)
{
    struct kvm_cpuid2 *table = build(amd_host, 4, 0);

    for (uint32_t i = 0; i < table->nent; i++) {
        uint32_t leaf = table->entries[i].function;
        ck_assert(leaf <= 0x10 || leaf >= 0x40000000);
    }
    free(table);
}
END_TEST

START_TEST(every_leaf_and_subleaf_is_there_once)
{
    for (unsigned host = 0; host < HOST_COUNT; host++) {
        struct kvm_cpuid2 *table = build(hosts[host], 4, 1);
        for (uint32_t i = 0; i < table->nent; i++)
            for (uint32_t j = i + 1; j < table->nent; j++)
                ck_assert(table->entries[i].function != table->entries[j].function ||
                          table->entries[i].index != table->entries[j].index);
        free(table);
    }
}
END_TEST

START_TEST(intel_caches_are_shared_from_level_3_on)
{
    static const uint32_t last_ids[] = {0, 1, 3, 255};
    static const uint32_t last_cores[] = {0, 1, 3, 63};
    struct kvm_cpuid2 *table = build(intel_host, cpu_counts[_i], 0);

    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq((look(table, 0x4, i).eax >> 14) & 0xfff, 0);
        ck_assert_uint_eq(look(table, 0x4, i).eax >> 26, last_cores[_i]);
    }
    ck_assert_uint_eq((look(table, 0x4, 3).eax >> 14) & 0xfff, last_ids[_i]);
    ck_assert_uint_eq(look(table, 0x4, 3).eax >> 26, last_cores[_i]);
    /* Type, level and size are the host's, and the end stays the end. */
    ck_assert_uint_eq(look(table, 0x4, 3).eax & 0x3fff, 0x163);
    ck_assert_uint_eq(look(table, 0x4, 3).ecx, 0x1bfff);
    ck_assert_uint_eq(look(table, 0x4, 4).eax, 0);
    free(table);
}
END_TEST

START_TEST(amd_caches_are_shared_from_level_3_on)
{
    struct kvm_cpuid2 *table = build(amd_host, cpu_counts[_i], 0);

    for (uint32_t i = 0; i < 3; i++)
        ck_assert_uint_eq(look(table, 0x8000001d, i).eax >> 14, 0);
    ck_assert_uint_eq(look(table, 0x8000001d, 3).eax, 0x163 | (cpu_counts[_i] - 1) << 14);
    ck_assert_uint_eq(look(table, 0x8000001d, 4).eax, 0);
    free(table);
}
END_TEST

START_TEST(amd_counts_its_cores)
{
    const uint32_t cpu_count = cpu_counts[_i];
    struct kvm_cpuid2 *table = build(amd_host, cpu_count, cpu_count - 1);
    const struct kvm_cpuid_entry2 sizes = look(table, 0x80000008, 0);
    const struct kvm_cpuid_entry2 ids = look(table, 0x8000001e, 0);

    ck_assert_uint_eq(sizes.ecx & 0xff, cpu_count - 1);
    ck_assert_uint_eq((sizes.ecx >> 12) & 0xf, id_bits[_i]);
    ck_assert_uint_eq(sizes.ecx >> 16, 0x2);
    ck_assert_uint_eq(sizes.ebx, 0x111ed205);
    ck_assert_uint_eq(ids.eax, cpu_count - 1);
    ck_assert_uint_eq(ids.ebx, cpu_count - 1);
    ck_assert_uint_eq(ids.ecx, 0);
    ck_assert_int_eq(has(table, "cmp_legacy"), cpu_count > 1);
    free(table);
}
END_TEST

START_TEST(amds_topology_leaf_of_the_host_is_gone)
{
    struct kvm_cpuid2 *table = build(amd_host, 4, 0);

    ck_assert_uint_eq(look(table, 0x80000026, 0).ecx, 0);
    ck_assert_uint_eq(look(table, 0x80000026, 0).edx, 0);
    free(table);
}
END_TEST

START_TEST(intels_address_sizes_stay_as_they_are)
{
    struct kvm_cpuid2 *table = build(intel_host, 4, 0);

    ck_assert_uint_eq(look(table, 0x80000008, 0).ecx, 0);
    ck_assert(!has(table, "cmp_legacy"));
    free(table);
}
END_TEST

START_TEST(a_guest_knows_that_it_is_one_and_has_x2apic)
{
    struct kvm_cpuid2 *table = build(hosts[_i], 2, 1);

    ck_assert(has(table, "hypervisor"));
    ck_assert(has(table, "x2apic"));
    ck_assert(has(table, "kvmclock"));
    ck_assert_uint_eq(look(table, KVM_CPUID_SIGNATURE, 0).eax, KVM_CPUID_FEATURES);
    free(table);
}
END_TEST

START_TEST(the_deadline_timer_follows_the_option)
{
    struct cpuid_options options = {.cpu_count = 2, .has_tsc_deadline = true};

    struct kvm_cpuid2 *table = build_with(hosts[_i], &options, 0);
    ck_assert(has(table, "tsc_deadline_timer"));
    free(table);
    options.has_tsc_deadline = false;
    table = build_with(hosts[_i], &options, 0);
    ck_assert(!has(table, "tsc_deadline_timer"));
    free(table);
}
END_TEST

START_TEST(nested_virtualisation_and_sgx_are_not_offered)
{
    struct kvm_cpuid2 *table = build(intel_host, 2, 0);

    ck_assert(!has(table, "vmx"));
    ck_assert(!has(table, "sgx"));
    ck_assert(!has(table, "sgx_lc"));
    ck_assert_uint_eq(look(table, 0x12, 0).eax, 0);
    free(table);
    table = build(amd_host, 2, 0);
    ck_assert(!has(table, "svm"));
    ck_assert_uint_eq(look(table, 0x8000000a, 0).edx, 0);
    free(table);
}
END_TEST

START_TEST(the_performance_counters_stay)
{
    struct kvm_cpuid2 *table = build(intel_host, 2, 0);

    ck_assert_uint_eq(look(table, 0xa, 0).eax, 0x8300802);
    free(table);
}
END_TEST

START_TEST(hidden_features_are_gone_and_no_others)
{
    const struct cpu_feature *hide[] = {
        cpu_feature_find("avx2"),   cpu_feature_find("avx_vnni"),           cpu_feature_find("kvmclock"),
        cpu_feature_find("x2apic"), cpu_feature_find("tsc_deadline_timer"),
    };
    const struct cpuid_options options = {
        .cpu_count = 2, .has_tsc_deadline = true, .hide = hide, .hide_count = sizeof(hide) / sizeof(hide[0])};
    struct kvm_cpuid2 *table = build_with(intel_host, &options, 0);
    struct kvm_cpuid2 *whole = build(intel_host, 2, 0);

    for (size_t i = 0; i < cpu_feature_count(); i++) {
        const struct cpu_feature *feature = cpu_feature_at(i);
        bool hidden = false;
        for (size_t j = 0; j < options.hide_count; j++)
            hidden = hidden || hide[j] == feature;
        ck_assert_msg(cpuid_has_feature(table, feature) == (!hidden && cpuid_has_feature(whole, feature)), "%s",
                      feature->name);
    }
    ck_assert(cpuid_has_feature(whole, hide[0]) && cpuid_has_feature(whole, hide[1]));
    free(whole);
    free(table);
}
END_TEST

START_TEST(amd_repeats_a_feature_and_both_are_hidden)
{
    const struct cpu_feature *hide[] = {cpu_feature_find("mmx"), cpu_feature_find("sep"), cpu_feature_find("sse2")};
    const struct cpuid_options options = {.cpu_count = 1, .hide = hide, .hide_count = 3};
    struct kvm_cpuid2 *table = build_with(amd_host, &options, 0);

    ck_assert_uint_eq(look(table, 0x80000001, 0).edx & (1u << 23), 0);
    /* Bits 11 and 26 are SYSCALL and 1 GiB pages there, and no business of SEP and SSE2. */
    ck_assert(has(table, "syscall"));
    ck_assert(has(table, "pdpe1gb"));
    ck_assert(!has(table, "mmx"));
    ck_assert(!has(table, "sep"));
    free(table);
}
END_TEST

START_TEST(hiding_what_is_not_there_changes_nothing)
{
    const struct cpu_feature *hide[] = {cpu_feature_find("perfmon_v2")};
    const struct cpuid_options options = {.cpu_count = 2, .has_tsc_deadline = true, .hide = hide, .hide_count = 1};
    struct kvm_cpuid2 *table = build_with(amd_host, &options, 0);
    struct kvm_cpuid2 *whole = build(amd_host, 2, 0);

    ck_assert_uint_eq(table->nent, whole->nent);
    ck_assert_int_eq(memcmp(table->entries, whole->entries, table->nent * sizeof(table->entries[0])), 0);
    free(whole);
    free(table);
}
END_TEST

START_TEST(an_empty_host_gives_a_table_too)
{
    struct kvm_cpuid2 supported = {.nent = 0};
    const struct cpuid_options options = {.cpu_count = 4};
    struct kvm_cpuid2 *table = NULL;
    struct error error;

    ck_assert_int_eq(cpuid_build(&supported, &options, 3, &table, &error), 0);
    ck_assert_uint_eq(table->nent, 0);
    ck_assert_uint_eq(cpuid_physical_address_bits(table), 36);
    ck_assert(!cpuid_has_1gib_pages(table));
    free(table);
}
END_TEST

START_TEST(addresses_are_as_wide_as_the_guest_can_use)
{
    struct kvm_cpuid2 *table = build(intel_host, 1, 0);

    ck_assert_uint_eq(cpuid_physical_address_bits(table), 52);
    free(table);
    table = build(amd_host, 1, 0);
    ck_assert_uint_eq(cpuid_physical_address_bits(table), 48);
    free(table);
}
END_TEST

START_TEST(pages_of_1_gib_follow_their_feature)
{
    const struct cpu_feature *hide[] = {cpu_feature_find("pdpe1gb")};
    const struct cpuid_options options = {.cpu_count = 1, .hide = hide, .hide_count = 1};

    struct kvm_cpuid2 *table = build(intel_host, 1, 0);
    ck_assert(cpuid_has_1gib_pages(table));
    free(table);
    table = build_with(intel_host, &options, 0);
    ck_assert(!cpuid_has_1gib_pages(table));
    free(table);
}
END_TEST

START_TEST(what_is_not_kvm_is_an_error_of_the_host)
{
    struct kvm_cpuid2 *supported = NULL;
    struct error error = {0};
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(cpuid_read_supported(fd, &supported, &error), -1);
    close(fd);
    ck_assert_int_eq(error.kind, ERROR_HOST);
    ck_assert_ptr_nonnull(strstr(error.text, "KVM_GET_SUPPORTED_CPUID"));
    ck_assert_ptr_null(supported);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpuid");
    TCase *topology = tcase_create("topology");
    TCase *features = tcase_create("features");
    TCase *readers = tcase_create("readers");

    tcase_add_loop_test(topology, leaf_1_has_the_vcpus_id_and_the_machines_count, 0, CPU_COUNT_COUNT);
    tcase_add_loop_test(topology, topology_is_one_package_of_cores_of_one_thread, 0, CPU_COUNT_COUNT);
    tcase_add_test(topology, no_topology_leaf_lies_past_the_last_one);
    tcase_add_test(topology, every_leaf_and_subleaf_is_there_once);
    tcase_add_loop_test(topology, intel_caches_are_shared_from_level_3_on, 0, CPU_COUNT_COUNT);
    tcase_add_loop_test(topology, amd_caches_are_shared_from_level_3_on, 0, CPU_COUNT_COUNT);
    tcase_add_loop_test(topology, amd_counts_its_cores, 0, CPU_COUNT_COUNT);
    tcase_add_test(topology, amds_topology_leaf_of_the_host_is_gone);
    tcase_add_test(topology, intels_address_sizes_stay_as_they_are);
    suite_add_tcase(suite, topology);

    tcase_add_loop_test(features, a_guest_knows_that_it_is_one_and_has_x2apic, 0, HOST_COUNT);
    tcase_add_loop_test(features, the_deadline_timer_follows_the_option, 0, HOST_COUNT);
    tcase_add_test(features, nested_virtualisation_and_sgx_are_not_offered);
    tcase_add_test(features, the_performance_counters_stay);
    tcase_add_test(features, hidden_features_are_gone_and_no_others);
    tcase_add_test(features, amd_repeats_a_feature_and_both_are_hidden);
    tcase_add_test(features, hiding_what_is_not_there_changes_nothing);
    suite_add_tcase(suite, features);

    tcase_add_test(readers, an_empty_host_gives_a_table_too);
    tcase_add_test(readers, addresses_are_as_wide_as_the_guest_can_use);
    tcase_add_test(readers, pages_of_1_gib_follow_their_feature);
    tcase_add_test(readers, what_is_not_kvm_is_an_error_of_the_host);
    suite_add_tcase(suite, readers);
    return unit_test_run(suite);
}
