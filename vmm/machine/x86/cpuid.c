#include "vmm/machine/x86/cpuid.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Leaves: Intel SDM vol. 2A, CPUID; from 8000_0000h on AMD APM vol. 3, appendix E.4. */
enum {
    LEAF_VENDOR = 0x0,
    LEAF_FEATURES = 0x1,
    LEAF_CACHE = 0x4,
    LEAF_TOPOLOGY = 0xb,
    LEAF_SGX = 0x12,
    LEAF_TOPOLOGY_V2 = 0x1f,
};
#define LEAF_AMD_FEATURES 0x80000001u
#define LEAF_ADDRESS_SIZES 0x80000008u
#define LEAF_AMD_SVM 0x8000000au
#define LEAF_AMD_CACHE 0x8000001du
#define LEAF_AMD_TOPOLOGY 0x8000001eu
#define LEAF_AMD_TOPOLOGY_V2 0x80000026u

/* Two topology leaves of three subleaves each. */
enum { ADDED_ENTRIES = 6 };

/* More than any kernel has; its own limit is not in its headers. */
enum { FIRST_SUPPORTED_ENTRIES = 128, MAX_SUPPORTED_ENTRIES = 8192 };

/* Leaf 1's EDX, as AMD repeats it in 8000_0001h. */
#define AMD_REPEATED_FEATURES 0x0183f3ffu

static struct kvm_cpuid2 *allocate_table(size_t entries)
{
    return calloc(1, sizeof(struct kvm_cpuid2) + entries * sizeof(struct kvm_cpuid_entry2));
}

int cpuid_read_supported(int system_fd, struct kvm_cpuid2 **ret_supported, struct error *error)
{
    for (uint32_t entries = FIRST_SUPPORTED_ENTRIES; entries <= MAX_SUPPORTED_ENTRIES; entries *= 2) {
        struct kvm_cpuid2 *table = allocate_table(entries);
        if (table == NULL)
            return error_set(error, ERROR_HOST, "no memory for KVM's CPUID table");
        table->nent = entries;
        if (ioctl(system_fd, KVM_GET_SUPPORTED_CPUID, table) == 0) {
            *ret_supported = table;
            return 0;
        }
        int reason = errno;
        free(table);
        if (reason != E2BIG)
            return error_set(error, ERROR_HOST, "KVM refused KVM_GET_SUPPORTED_CPUID: %s", strerror(reason));
    }
    return error_set(error, ERROR_HOST, "KVM_GET_SUPPORTED_CPUID has more than %d entries", MAX_SUPPORTED_ENTRIES);
}

static bool entry_is(const struct kvm_cpuid_entry2 *entry, uint32_t leaf, uint32_t subleaf)
{
    return entry->function == leaf &&
           ((entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0 || entry->index == subleaf);
}

static const struct kvm_cpuid_entry2 *find_constant(const struct kvm_cpuid2 *table, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < table->nent; i++)
        if (entry_is(&table->entries[i], leaf, subleaf))
            return &table->entries[i];
    return NULL;
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *table, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < table->nent; i++)
        if (entry_is(&table->entries[i], leaf, subleaf))
            return &table->entries[i];
    return NULL;
}

static uint32_t read_register(const struct kvm_cpuid_entry2 *entry, enum cpuid_register reg)
{
    const uint32_t values[] = {entry->eax, entry->ebx, entry->ecx, entry->edx};

    return values[reg];
}

static uint32_t *register_of(struct kvm_cpuid_entry2 *entry, enum cpuid_register reg)
{
    uint32_t *const registers[] = {&entry->eax, &entry->ebx, &entry->ecx, &entry->edx};

    return registers[reg];
}

/* AMD, and Hygon, which follows it. */
static bool is_amd(const struct kvm_cpuid2 *table)
{
    const struct kvm_cpuid_entry2 *entry = find_constant(table, LEAF_VENDOR, 0);
    char vendor[12];

    if (entry == NULL)
        return false;
    memcpy(vendor, &entry->ebx, 4);
    memcpy(vendor + 4, &entry->edx, 4);
    memcpy(vendor + 8, &entry->ecx, 4);
    return memcmp(vendor, "AuthenticAMD", sizeof(vendor)) == 0 || memcmp(vendor, "HygonGenuine", sizeof(vendor)) == 0;
}

/* How many bits of a local APIC id tell the cores apart. */
static uint32_t core_id_bits(uint32_t cpu_count)
{
    return cpu_count <= 1 ? 0 : 32 - (uint32_t)__builtin_clz(cpu_count - 1);
}

/* What is left out: topologies are the machine's own, and for the rest see cpuid_build(). */
static bool is_left_out(uint32_t leaf)
{
    return leaf == LEAF_TOPOLOGY || leaf == LEAF_TOPOLOGY_V2 || leaf == LEAF_AMD_TOPOLOGY_V2 || leaf == LEAF_SGX ||
           leaf == LEAF_AMD_SVM;
}

static void copy_entries(const struct kvm_cpuid2 *supported, struct kvm_cpuid2 *table)
{
    for (uint32_t i = 0; i < supported->nent; i++)
        if (!is_left_out(supported->entries[i].function))
            table->entries[table->nent++] = supported->entries[i];
}

static void set_feature(struct kvm_cpuid2 *table, const char *name, bool value)
{
    const struct cpu_feature *feature = cpu_feature_find(name);

    assert(feature != NULL);
    struct kvm_cpuid_entry2 *entry = find(table, feature->leaf, feature->subleaf);
    if (entry == NULL)
        return;
    uint32_t *reg = register_of(entry, feature->reg);
    *reg = value ? *reg | feature->mask : *reg & ~feature->mask;
}

/* Leaf 1, EBX: bits 31-24 are the initial APIC id, 23-16 how many ids the package has. */
static void set_identity(struct kvm_cpuid2 *table, uint32_t cpu_count, uint32_t index)
{
    struct kvm_cpuid_entry2 *entry = find(table, LEAF_FEATURES, 0);

    if (entry != NULL)
        entry->ebx = (entry->ebx & 0xffffu) | cpu_count << 16 | index << 24;
    set_feature(table, "ht", cpu_count > 1);
}

static void set_features(struct kvm_cpuid2 *table, const struct cpuid_options *options)
{
    set_feature(table, "hypervisor", true);
    set_feature(table, "x2apic", true);
    set_feature(table, "tsc_deadline_timer", options->has_tsc_deadline);
    set_feature(table, "vmx", false);
    set_feature(table, "svm", false);
    set_feature(table, "sgx", false);
    set_feature(table, "sgx_lc", false);
}

/*
 * EAX of a cache's subleaf: bits 4-0 are its type, 7-5 its level, 25-14 how many logical processors share it, less one;
 * in leaf 4 a number of ids, so a power of two, and bits 31-26 how many core ids the package has, less one.
 * Levels 1 and 2 are a core's own, what is above is everybody's.
 */
static void set_cache_sharing(struct kvm_cpuid_entry2 *entry, uint32_t cpu_count)
{
    const uint32_t last_id = (1u << core_id_bits(cpu_count)) - 1;
    const bool shared = ((entry->eax >> 5) & 7) > 2;

    if ((entry->eax & 0x1f) == 0)
        return;
    if (entry->function == LEAF_CACHE)
        entry->eax = (entry->eax & 0x3fffu) | (shared ? last_id : 0) << 14 | (last_id < 63 ? last_id : 63) << 26;
    else
        entry->eax = (entry->eax & ~0x3ffc000u) | (shared ? cpu_count - 1 : 0) << 14;
}

static void set_caches(struct kvm_cpuid2 *table, uint32_t cpu_count)
{
    for (uint32_t i = 0; i < table->nent; i++)
        if (table->entries[i].function == LEAF_CACHE || table->entries[i].function == LEAF_AMD_CACHE)
            set_cache_sharing(&table->entries[i], cpu_count);
}

/* One level of leaf 0BH or 1FH: EAX is where the next level's ids begin, ECX bits 15-8 are the level's type. */
static void add_level(struct kvm_cpuid2 *table, struct kvm_cpuid_entry2 level)
{
    level.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    table->entries[table->nent++] = level;
}

static void add_topology(struct kvm_cpuid2 *table, uint32_t leaf, uint32_t cpu_count, uint32_t index)
{
    enum { TYPE_INVALID = 0, TYPE_SMT = 1, TYPE_CORE = 2 };
    const struct kvm_cpuid_entry2 *vendor = find_constant(table, LEAF_VENDOR, 0);

    if (vendor == NULL || vendor->eax < leaf)
        return;
    add_level(table, (struct kvm_cpuid_entry2){
                         .function = leaf, .index = 0, .eax = 0, .ebx = 1, .ecx = 0 | TYPE_SMT << 8, .edx = index});
    add_level(table, (struct kvm_cpuid_entry2){.function = leaf,
                                               .index = 1,
                                               .eax = core_id_bits(cpu_count),
                                               .ebx = cpu_count,
                                               .ecx = 1 | TYPE_CORE << 8,
                                               .edx = index});
    add_level(table,
              (struct kvm_cpuid_entry2){.function = leaf, .index = 2, .ecx = 2 | TYPE_INVALID << 8, .edx = index});
}

/* Functions 8000_0008h (ECX: bits 7-0 cores less one, 15-12 width of a core's id) and 8000_001Eh (ids, no node). */
static void set_amd_topology(struct kvm_cpuid2 *table, uint32_t cpu_count, uint32_t index)
{
    struct kvm_cpuid_entry2 *sizes = find(table, LEAF_ADDRESS_SIZES, 0);
    struct kvm_cpuid_entry2 *ids = find(table, LEAF_AMD_TOPOLOGY, 0);

    set_feature(table, "cmp_legacy", cpu_count > 1);
    if (sizes != NULL)
        sizes->ecx = (sizes->ecx & ~0xf0ffu) | (cpu_count - 1) | core_id_bits(cpu_count) << 12;
    if (ids != NULL) {
        ids->eax = index;
        ids->ebx = index;
        ids->ecx = 0;
        ids->edx = 0;
    }
}

static void hide_feature(struct kvm_cpuid2 *table, const struct cpu_feature *feature)
{
    struct kvm_cpuid_entry2 *entry = find(table, feature->leaf, feature->subleaf);

    if (entry != NULL)
        *register_of(entry, feature->reg) &= ~feature->mask;
    if (feature->leaf != LEAF_FEATURES || feature->reg != CPUID_EDX || !is_amd(table))
        return;
    entry = find(table, LEAF_AMD_FEATURES, 0);
    if (entry != NULL)
        entry->edx &= ~(feature->mask & AMD_REPEATED_FEATURES);
}

int cpuid_build(const struct kvm_cpuid2 *supported, const struct cpuid_options *options, uint32_t index,
                struct kvm_cpuid2 **ret_table, struct error *error)
{
    const uint32_t cpu_count = options->cpu_count;
    struct kvm_cpuid2 *table = allocate_table((size_t)supported->nent + ADDED_ENTRIES);

    assert(cpu_count >= 1 && cpu_count <= 255 && index < cpu_count);
    if (table == NULL)
        return error_set(error, ERROR_HOST, "no memory for the CPUID table of vCPU %u", index);
    copy_entries(supported, table);
    set_identity(table, cpu_count, index);
    set_features(table, options);
    set_caches(table, cpu_count);
    add_topology(table, LEAF_TOPOLOGY, cpu_count, index);
    add_topology(table, LEAF_TOPOLOGY_V2, cpu_count, index);
    if (is_amd(table))
        set_amd_topology(table, cpu_count, index);
    for (size_t i = 0; i < options->hide_count; i++)
        hide_feature(table, options->hide[i]);
    *ret_table = table;
    return 0;
}

bool cpuid_has_feature(const struct kvm_cpuid2 *table, const struct cpu_feature *feature)
{
    const struct kvm_cpuid_entry2 *entry = find_constant(table, feature->leaf, feature->subleaf);

    return entry != NULL && (read_register(entry, feature->reg) & feature->mask) == feature->mask;
}

uint8_t cpuid_physical_address_bits(const struct kvm_cpuid2 *table)
{
    /* Intel SDM vol. 3A, 4.1.4: without the leaf, processors with PAE have 36. */
    enum { DEFAULT_BITS = 36 };
    const struct kvm_cpuid_entry2 *entry = find_constant(table, LEAF_ADDRESS_SIZES, 0);

    if (entry == NULL || (entry->eax & 0xff) == 0)
        return DEFAULT_BITS;
    /* EAX bits 23-16, where not 0: what a guest can use, with nested page tables of fewer levels. */
    const uint8_t bits = (uint8_t)entry->eax;
    const uint8_t guest_bits = (uint8_t)(entry->eax >> 16);
    return guest_bits != 0 && guest_bits < bits ? guest_bits : bits;
}

bool cpuid_has_1gib_pages(const struct kvm_cpuid2 *table)
{
    return cpuid_has_feature(table, cpu_feature_find("pdpe1gb"));
}
